//! From environment to environment: which release may enter which, and why others may not yet.

use std::time::Duration;

use backstay_manifest::Selector;
use backstay_types::{EnvironmentName, NodeName, ReleaseId, StackName, Timestamp, UndoId};
use serde::{Deserialize, Serialize};

use crate::snapshot::{FleetSnapshot, NodeFacts, TryState};

/// For which part of the fleet a stack is planned.
#[derive(Debug, Clone)]
pub enum Within {
    /// All of it: there are no environments.
    Everyone,
    /// An environment.
    Environment(EnvironmentFacts),
    /// Nodes that are in none of these.
    Outside(Vec<Selector>),
    /// Nodes that follow this branch instead of the deployed one, whatever environment they are in. They are in no other
    /// part of the fleet.
    Branch(String),
}

impl Within {
    /// Whether a node is in it, as far as a stack goes.
    pub fn holds(&self, stack: &StackName, node: &NodeFacts) -> bool {
        let matches = |selector: &Selector| node.is_in(selector);
        match (self, node.branch_of(stack)) {
            (Self::Branch(branch), followed) => return followed == Some(branch.as_str()),
            (_, Some(_)) => return false,
            (_, None) => {}
        }
        match self {
            Self::Everyone => true,
            Self::Branch(_) => false,
            Self::Environment(environment) => {
                matches(&environment.nodes) && !environment.earlier.iter().any(matches)
            }
            Self::Outside(others) => !others.iter().any(matches),
        }
    }

    /// The environment's name, when it is one.
    pub fn environment(&self) -> Option<&EnvironmentName> {
        match self {
            Self::Environment(environment) => Some(&environment.name),
            Self::Everyone | Self::Outside(_) | Self::Branch(_) => None,
        }
    }

    /// The branch that is followed, when it is one other than the deployed.
    pub fn branch(&self) -> Option<&str> {
        match self {
            Self::Branch(branch) => Some(branch),
            Self::Everyone | Self::Environment(_) | Self::Outside(_) => None,
        }
    }
}

/// An environment, as a stack sees it.
#[derive(Debug, Clone)]
pub struct EnvironmentFacts {
    /// Its name.
    pub name: EnvironmentName,
    /// Its nodes, unless one of `earlier` has them.
    pub nodes: Selector,
    /// The nodes of environments before it in the manifest.
    pub earlier: Vec<Selector>,
    /// The environments that a release comes from. With none it follows the branch.
    pub after: Vec<EnvironmentName>,
    /// Whether a person lets releases in.
    pub by_hand: bool,
    /// How long a release is watched here before it goes on.
    pub soak: Duration,
    /// The release that it is meant to run, whether or not it may be planned.
    pub asked: Option<ReleaseId>,
    /// Since when.
    pub since: Option<Timestamp>,
    /// Which in order it was let in, among those of the stack.
    pub turn: Option<i64>,
    /// What it is meant to run at once instead, because an undo took back something that is in `asked`.
    pub undone: Option<(ReleaseId, UndoId)>,
}

/// Whether a release may enter an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The position in [`FleetSnapshot::stacks`] of the stack within the environment.
    pub stack: usize,
    /// The release that comes next, when there is one.
    pub next: Option<ReleaseId>,
    /// Whether it may.
    pub entry: Entry,
    /// What that was decided from, where a release was looked at.
    pub inputs: Option<EntryInputs>,
}

/// What it goes by whether a release enters an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryInputs {
    /// The undo that takes back what is there, if one does.
    pub undo: Option<UndoId>,
    /// Whether a person lets releases in.
    pub by_hand: bool,
    /// How the release stands in the environments that it comes from.
    pub before: Vec<SourceInputs>,
    /// Why everything is stopped, if it is.
    pub stopped: Option<String>,
    /// The hub's time.
    pub now: Timestamp,
}

/// How a release stands in an environment that it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceInputs {
    /// The environment.
    pub environment: EnvironmentName,
    /// Why the release may not be planned there, if so.
    pub refused: Option<String>,
    /// How far it has come.
    pub passing: Passing,
    /// Since when it is meant to run there.
    pub since: Option<Timestamp>,
    /// How long it is watched there, in seconds.
    pub soak_seconds: u64,
}

/// Whether a release may enter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// There is nothing newer for it.
    Has,
    /// It enters, for this reason.
    Enters(String),
    /// It enters at once, whatever the environments before say: an undo took back what is here.
    Undo(UndoId),
    /// It may, and a person has to say so.
    ByHand(String),
    /// Not yet, and why.
    Not(String),
}

/// How far an environment has come with what it is meant to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passing {
    /// Nodes of it that the stack is assigned to.
    pub nodes: u64,
    /// Of these, those that run the release.
    pub run: u64,
    /// Of these, those on which it failed.
    pub failed: u64,
    /// The first by name that does not run it.
    pub missing: Option<NodeName>,
    /// When the last of them came to run it.
    pub last_end: Option<Timestamp>,
}

/// How far the stack at a position has come with a release.
pub fn passing(world: &FleetSnapshot, stack: usize, release: ReleaseId) -> Passing {
    let mut passing = Passing::default();
    let Some(facts) = world.stacks.get(stack) else { return passing };
    for (index, node) in world.nodes.iter().enumerate().filter(|(_, node)| facts.is_assigned(node)) {
        let past = world.past.of(stack, index);
        let rests = !past.latest.is_some_and(|latest| latest.is_open());
        let settled = past.settled.filter(|settled| rests && settled.release == release);
        let failed = past.latest.is_some_and(|latest| {
            latest.release == release && latest.state == TryState::Failed && !latest.removal
        });
        passing.nodes += 1;
        passing.failed += u64::from(failed);
        match settled {
            Some(settled) => {
                passing.run += 1;
                passing.last_end = passing.last_end.max(settled.ended_at);
            }
            None if passing.missing.as_ref().is_none_or(|missing| node.name() < missing) => {
                passing.missing = Some(node.name().clone());
            }
            None => {}
        }
    }
    passing
}

/// What may enter each environment that comes after others; those that follow the branch are left out.
pub fn verdicts(world: &FleetSnapshot) -> Vec<Verdict> {
    let of = |(stack, facts): (usize, &crate::StackFacts)| match &facts.within {
        Within::Environment(environment) if !environment.after.is_empty() => {
            Some(match look(world, stack, environment) {
                Ok((next, inputs)) => {
                    Verdict { stack, next: Some(next), entry: entry(&inputs), inputs: Some(inputs) }
                }
                Err(entry) => Verdict { stack, next: None, entry, inputs: None },
            })
        }
        _ => None,
    };
    world.stacks.iter().enumerate().filter_map(of).collect()
}

/// What comes next to an environment and what its entry goes by; nothing where nothing does.
fn look(
    world: &FleetSnapshot,
    stack: usize,
    environment: &EnvironmentFacts,
) -> Result<(ReleaseId, EntryInputs), Entry> {
    let mut inputs = EntryInputs {
        undo: None,
        by_hand: environment.by_hand,
        before: Vec::new(),
        stopped: world.stopped.as_deref().map(str::to_owned),
        now: world.now,
    };
    if let Some((release, undo)) = environment.undone {
        inputs.undo = Some(undo);
        return Ok((release, inputs));
    }
    let before = sources(world, stack, environment).map_err(Entry::Not)?;
    let mut next = None;
    for (_, source) in &before {
        let Some(asked) = source.asked else {
            return Err(Entry::Not(format!("nothing has come to `{}` yet", source.name)));
        };
        if next.is_some_and(|next| next != asked) {
            return Err(Entry::Not("the environments before it do not run the same release".to_owned()));
        }
        next = Some(asked);
    }
    let release = next.ok_or(Entry::Has)?;
    // What came here after it had come there was let in past it.
    let stale =
        environment.turn.is_some_and(|turn| before.iter().all(|(_, b)| b.turn.is_none_or(|b| b <= turn)));
    if environment.asked == Some(release) || stale {
        return Err(Entry::Has);
    }
    let source = |(at, source): (usize, &EnvironmentFacts)| SourceInputs {
        environment: source.name.clone(),
        refused: world.stacks.get(at).and_then(|facts| facts.release.as_ref().err()).cloned(),
        passing: passing(world, at, release),
        since: source.since,
        soak_seconds: source.soak.as_secs(),
    };
    inputs.before = before.into_iter().map(source).collect();
    Ok((release, inputs))
}

/// Decides whether a release enters.
pub fn entry(inputs: &EntryInputs) -> Entry {
    if let Some(undo) = inputs.undo {
        return Entry::Undo(undo);
    }
    if let Some(reason) = inputs.before.iter().find_map(|source| passes(source, inputs.now).err()) {
        return Entry::Not(reason);
    }
    if let Some(reason) = &inputs.stopped {
        return Entry::Not(format!("everything is stopped: {reason}"));
    }
    let names: Vec<_> = inputs.before.iter().map(|source| format!("`{}`", source.environment)).collect();
    let reason = format!("all of {} runs it and nothing failed", names.join(" and "));
    if inputs.by_hand { Entry::ByHand(reason) } else { Entry::Enters(reason) }
}

/// Why a release enters at once, for an undo.
pub fn taken_back_by(undo: UndoId) -> String {
    format!("undo {undo} takes it back at once")
}

/// The environments before one, for the same stack.
fn sources<'w>(
    world: &'w FleetSnapshot,
    stack: usize,
    environment: &EnvironmentFacts,
) -> Result<Vec<(usize, &'w EnvironmentFacts)>, String> {
    let name = world.stacks.get(stack).map(|facts| &facts.name);
    let find = |after: &EnvironmentName| {
        let found = world.stacks.iter().enumerate().find_map(|(at, facts)| match &facts.within {
            Within::Environment(known) if known.name == *after && Some(&facts.name) == name => {
                Some((at, known))
            }
            _ => None,
        });
        found.ok_or_else(|| format!("there is no environment `{after}`"))
    };
    environment.after.iter().map(find).collect()
}

/// Whether an environment runs a release, all of it and without a failure, and has for long enough.
fn passes(source: &SourceInputs, now: Timestamp) -> Result<(), String> {
    let name = &source.environment;
    if let Some(reason) = &source.refused {
        return Err(reason.clone());
    }
    let Passing { nodes, run, failed, missing, last_end } = &source.passing;
    match missing {
        _ if *nodes == 0 => {
            return Err(format!("no node of `{name}` is assigned the stack, so nobody has tried it"));
        }
        _ if *failed > 0 => return Err(format!("it failed on {failed} of {nodes} nodes of `{name}`")),
        Some(missing) => {
            return Err(format!("{run} of {nodes} nodes of `{name}` run it, {missing} does not"));
        }
        None => {}
    }
    let soak = Duration::from_secs(source.soak_seconds);
    let since = (*last_end).max(source.since);
    let watched = since.map(|since| Duration::try_from(now.duration_since(since)).unwrap_or_default());
    match watched {
        Some(watched) if watched < soak => {
            let left = (soak - watched).as_secs() + 1;
            Err(format!("`{name}` is watched for {left} s more"))
        }
        _ => Ok(()),
    }
}

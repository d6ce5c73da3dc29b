//! The world as the planner sees it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use backstay_manifest::{Selector, Window};
use backstay_types::{
    Cause, CommitId, Constraint, ConstraintOrigin, DeploymentId, Effect, Figures, FleetThresholds, Labels,
    MigrationId, NodeId, NodeName, PartName, ReleaseId, RepositoryId, Rollout, RolloutId, RolloutKind,
    RolloutStrategy, StackName, Timestamp, TreeDigest, UndoId,
};

use crate::{promotion::Within, reach::Reach};

/// Why something was decided. The same words serve a whole fleet, so they are shared.
pub type Reason = Arc<str>;

/// Who is in the waves of a rollout that go by labels, as it was when it began: the wave by node, from 0.
pub type Members = HashMap<NodeId, u32, foldhash::fast::FixedState>;

/// Everything that a step of planning looks at.
#[derive(Debug, Clone)]
pub struct FleetSnapshot {
    /// The hub's time.
    pub now: Timestamp,
    /// Nodes that are not revoked.
    pub nodes: Vec<NodeFacts>,
    /// Stacks that a repository carries now, and those that it carried and that may be taken away.
    pub stacks: Vec<StackFacts>,
    /// Trees of all releases named in here.
    pub trees: HashMap<ReleaseId, TreeDigest>,
    /// Rollouts that run, and for each stack the newest one.
    pub rollouts: Vec<Rollout>,
    /// What each node has tried of each stack.
    pub past: Pasts,
    /// Who is in those waves of the rollouts that go by labels.
    pub members: HashMap<RolloutId, Arc<Members>>,
    /// What nodes say about themselves, by stack and part, where a rollout that runs goes by it.
    pub told: HashMap<(StackName, Option<PartName>), HashMap<NodeId, Told>>,
    /// Constraints; those not in force at `now` are ignored.
    pub constraints: Vec<Constraint>,
    /// From when on the health of all nodes slows or stops rollouts.
    pub thresholds: FleetThresholds,
    /// Why nothing forward may begin anywhere, when someone stopped everything.
    pub stopped: Option<String>,
}

/// What a node says about itself while it runs a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The release's tree: that of the part, where a part rolls out.
    pub tree: TreeDigest,
    /// The figures.
    pub figures: Figures,
}

/// A node.
#[derive(Debug, Clone)]
pub struct NodeFacts {
    /// Its id.
    pub id: NodeId,
    name: NodeName,
    labels: Labels,
    /// Stand for name and labels where a whole fleet is asked.
    pub(crate) tags: Tags,
    /// Whether it is heard from. An absent node is given its orders, but takes no place among those updating.
    pub online: bool,
    /// When it turned unhealthy, if it is: something of it does not run as it should, or it fell silent.
    pub sick_since: Option<Timestamp>,
    /// Whether it is known to have fallen silent; a hub that has just started knows of nobody.
    pub silent: bool,
    /// Set while it is taken out of the fleet: it is assigned nothing, and loses what it runs.
    pub leaving: Option<Leaving>,
    /// The branches that it follows instead of the deployed one; at most one for a stack.
    pub follows: Vec<Follow>,
    /// Stacks that were moved to it, or away; at most one word for a stack.
    pub moves: Vec<Moved>,
}

/// A node on its way out of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    /// Since when: a removal that failed before is tried again.
    pub since: Timestamp,
    /// By whom, and why.
    pub reason: Reason,
}

/// Hashes of what a node is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tags {
    pub(crate) name: u64,
    pub(crate) labels: u64,
}

impl NodeFacts {
    /// A node that is heard from.
    pub fn new(id: NodeId, name: NodeName, labels: Labels) -> Self {
        let mut of_labels = DefaultHasher::new();
        labels.iter().for_each(|pair| pair.hash(&mut of_labels));
        let tags = Tags { name: tag_of(name.as_str()), labels: of_labels.finish() };
        Self {
            id,
            name,
            labels,
            tags,
            online: true,
            sick_since: None,
            silent: false,
            leaving: None,
            follows: Vec::new(),
            moves: Vec::new(),
        }
    }

    /// The same, heard from or known to have fallen silent.
    #[must_use]
    pub fn with_presence(self, online: bool, silent: bool) -> Self {
        Self { online, silent, ..self }
    }

    /// Its name.
    pub fn name(&self) -> &NodeName {
        &self.name
    }

    /// Its labels.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The branch that it was told to follow for a stack, if it was.
    pub fn follow(&self, stack: &StackName) -> Option<&Follow> {
        self.follows.iter().find(|follow| follow.stack == *stack)
    }

    /// Whether a stack was moved to it, or away, whatever assignments say.
    pub fn moved(&self, stack: &StackName) -> Option<&Moved> {
        self.moves.iter().find(|moved| moved.stack == *stack)
    }

    /// The move that takes a stack away from it, if one does.
    pub(crate) fn moved_away(&self, stack: &StackName) -> Option<&Moved> {
        self.moved(stack).filter(|moved| moved.here.is_none())
    }

    /// The branch that it does follow for a stack: what is held there it leaves to the fleet's own.
    pub(crate) fn branch_of(&self, stack: &StackName) -> Option<&str> {
        self.follow(stack).filter(|follow| !follow.held).map(|follow| follow.branch.as_str())
    }

    /// Whether a selector matches it.
    pub fn is_in(&self, selector: &Selector) -> bool {
        selector.matches(&self.name, &self.labels)
    }
}

/// Which nodes are taken out of the fleet, read once for all nodes.
#[derive(Debug)]
pub struct Leavers(Vec<(Reach, Leaving)>);

impl Leavers {
    /// What constraints say of it at `now`.
    pub fn of(constraints: &[Constraint], now: Timestamp) -> Self {
        let one = |constraint: &Constraint| {
            let reason = format!("decommissioned by {}: {}", constraint.by, constraint.reason).into();
            let leaving = Leaving { since: constraint.created_at, reason };
            Some((Reach::of_scope(&constraint.scope)?, leaving))
        };
        let all = constraints.iter().filter(|c| c.effect == Effect::Decommission && c.is_in_force(now));
        Self(all.filter_map(one).collect())
    }

    /// What they say of a node.
    pub fn leave_of(&self, node: &NodeFacts) -> Option<Leaving> {
        let mine = self.0.iter().filter(|(reach, _)| reach.concerns(node));
        mine.max_by_key(|(_, leaving)| leaving.since).map(|(_, leaving)| leaving.clone())
    }
}

/// A stack that was moved to a node, or away from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The stack.
    pub stack: StackName,
    /// To it, and the first release that it runs there; or away.
    pub here: Option<ReleaseId>,
    /// By which migration.
    pub migration: MigrationId,
    /// Since when: a removal that failed before is tried again.
    pub since: Timestamp,
    /// By whom, and why.
    pub reason: Reason,
}

/// Which nodes stacks were moved to, or away from, read once for all nodes.
#[derive(Debug)]
pub struct Movers(Vec<(Reach, Moved)>);

impl Movers {
    /// What constraints say of it at `now`. Of several for the same stack and node the newest counts.
    pub fn of(constraints: &[Constraint], now: Timestamp) -> Self {
        let one = |constraint: &&Constraint| {
            let (stack, here) = match &constraint.effect {
                Effect::RunsHere { stack, release } => (stack.clone(), Some(*release)),
                Effect::RunsNot { stack } => (stack.clone(), None),
                _ => return None,
            };
            let ConstraintOrigin::Migration { migration } = constraint.origin else { return None };
            let way = if here.is_some() { "here" } else { "away" };
            let reason = format!("moved {way} by {}: {}", constraint.by, constraint.reason).into();
            let moved = Moved { stack, here, migration, since: constraint.created_at, reason };
            Some((Reach::of_scope(&constraint.scope)?, moved))
        };
        let mut newest_first: Vec<_> = constraints.iter().filter(|c| c.is_in_force(now)).collect();
        newest_first.sort_by_key(|constraint| std::cmp::Reverse(constraint.id));
        Self(newest_first.iter().filter_map(one).collect())
    }

    /// What they say of a node.
    pub fn moves_of(&self, node: &NodeFacts) -> Vec<Moved> {
        let mut found: Vec<Moved> = Vec::new();
        for (reach, moved) in &self.0 {
            if reach.concerns(node) && !found.iter().any(|known| known.stack == moved.stack) {
                found.push(moved.clone());
            }
        }
        found
    }
}

/// A branch that a node was told to follow instead of the deployed one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Follow {
    /// For which stack.
    pub stack: StackName,
    /// The branch.
    pub branch: String,
    /// Whether its release is held, so that the node runs what the fleet does.
    pub held: bool,
    /// By whom, and why; or what keeps it from it.
    pub reason: Reason,
}

/// The branches that may be followed, by stack and name, each with why its release is held if it is.
pub type Branches = BTreeMap<(StackName, String), Option<String>>;

/// Which nodes follow a branch of their own, read once for all nodes.
#[derive(Debug)]
pub struct Followers(Vec<(Reach, Follow)>);

impl Followers {
    /// What constraints say of it at `now`. Of several for the same stack the newest counts. A branch of which nothing is
    /// known moves nobody off what the fleet runs.
    pub fn of(constraints: &[Constraint], branches: &Branches, now: Timestamp) -> Self {
        let one = |constraint: &&Constraint| {
            let Effect::Follow { stack, branch } = &constraint.effect else { return None };
            let reach = Reach::of_scope(&constraint.scope)?;
            let held = match branches.get(&(stack.clone(), branch.clone())) {
                None => Some("not read yet"),
                Some(held) => held.as_deref(),
            };
            let (by, why) = (&constraint.by, &constraint.reason);
            let reason = match held {
                None => format!("follows branch `{branch}`, set by {by}: {why}"),
                Some(held) => format!(
                    "set by {by} to follow branch `{branch}` ({why}), whose release is {held}; until then what the fleet runs"
                ),
            };
            let (stack, branch) = (stack.clone(), branch.clone());
            Some((reach, Follow { stack, branch, held: held.is_some(), reason: reason.into() }))
        };
        let mut newest_first: Vec<_> = constraints.iter().filter(|c| c.is_in_force(now)).collect();
        newest_first.sort_by_key(|constraint| std::cmp::Reverse(constraint.id));
        Self(newest_first.iter().filter_map(one).collect())
    }

    /// What they say of a node: nothing of one that leaves the fleet.
    pub fn follows_of(&self, node: &NodeFacts) -> Vec<Follow> {
        let mut found: Vec<Follow> = Vec::new();
        for (reach, follow) in self.0.iter().filter(|_| node.leaving.is_none()) {
            if reach.concerns(node) && !found.iter().any(|known| known.stack == follow.stack) {
                found.push(follow.clone());
            }
        }
        found
    }
}

/// What stands for a text.
pub(crate) fn tag_of(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// A stack and what its branch asks for.
#[derive(Debug, Clone)]
pub struct StackFacts {
    /// Its name.
    pub name: StackName,
    /// The repository that carries it.
    pub repository: RepositoryId,
    /// The release that the branch asks for, when it may be planned; otherwise why not.
    pub release: Result<ReleaseId, String>,
    /// How that release came to be asked for.
    pub origin: Origin,
    /// Origins of releases that pins ask for.
    pub pin_origins: BTreeMap<ReleaseId, Origin>,
    /// The nodes it is assigned to.
    pub assignments: Vec<Assignment>,
    /// How many nodes may be updating at once.
    pub max_updating: MaxUpdating,
    /// When nodes may begin something new of it.
    pub windows: Vec<Window>,
    /// How its rollouts go out.
    pub strategy: RolloutStrategy,
    /// Where nodes go back to from the release that the branch asks for, when its rollout stopped and was to be taken
    /// back everywhere.
    pub go_back: Option<GoBack>,
    /// Releases that contain what an undo took back, where a rollout forward runs: who runs one of them or was told of it
    /// goes back at once.
    pub undone: BTreeSet<ReleaseId>,
    /// Set where an undo asks for a release that has not proved itself: no rollout of it succeeded. Who does not run what
    /// is undone gets it in waves.
    pub unproven: Option<Unproven>,
    /// The release of the last rollout that succeeded, where one forward runs.
    pub last_good: Option<ReleaseId>,
    /// From how many nodes of the fleet it may be taken away at once, when it is no longer assigned to them; `None`
    /// is the rule: from none, ever.
    pub prune: Option<MaxUpdating>,
    /// What set off that it is no longer assigned.
    pub removal_cause: Cause,
    /// For which part of the fleet this is: where there are environments, a stack is planned once for each; and once for
    /// each branch that nodes follow instead of the deployed one.
    pub within: Within,
    /// Which share of the stack this is: one that is divided is planned once for each of its parts.
    pub share: Share,
}

impl StackFacts {
    /// Whether a node is meant to run the stack.
    pub fn is_assigned(&self, node: &NodeFacts) -> bool {
        let said = || self.assignments.iter().any(|a| node.is_in(&a.nodes));
        node.leaving.is_none()
            && self.holds(node)
            && node.moved(&self.name).map_or_else(said, |moved| moved.here.is_some())
    }

    /// Whether a node is in the part of the fleet that this is for.
    pub fn holds(&self, node: &NodeFacts) -> bool {
        self.within.holds(&self.name, node)
    }
}

/// A release that has not proved itself on all of the fleet, or of its environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unproven {
    /// The nodes on which it has done well: they go back to it at once.
    pub ran: BTreeSet<NodeId>,
}

/// Which share of a stack is planned. Releases are those of the share.
#[derive(Debug, Clone, Default)]
pub enum Share {
    /// All of it: it moves as one.
    #[default]
    All,
    /// All parts of one that is divided, at once, on nodes that do not run it divided as it is now: those that run nothing
    /// of it, or one from before.
    Together {
        /// Releases of the whole stack that are divided as it is now.
        divided: BTreeSet<ReleaseId>,
        /// Releases of parts: a pin to one of them is for that part alone.
        parts: BTreeSet<ReleaseId>,
    },
    /// One part, on nodes that run the stack divided as it is now.
    Part {
        /// Its name.
        name: PartName,
        /// What a pin to a release of the whole stack, or of a part, asks of this one.
        pins: BTreeMap<ReleaseId, ReleaseId>,
        /// What it needs of others.
        needs: Vec<Need>,
    },
}

impl Share {
    /// The part.
    pub fn part(&self) -> Option<&PartName> {
        match self {
            Self::Part { name, .. } => Some(name),
            Self::All | Self::Together { .. } => None,
        }
    }

    /// What a part needs of others.
    pub(crate) fn needs(&self) -> &[Need] {
        match self {
            Self::Part { needs, .. } => needs,
            Self::All | Self::Together { .. } => &[],
        }
    }
}

/// What the release of a part that the branch asks for needs of another part on the same node.
#[derive(Debug, Clone)]
pub struct Need {
    /// The other part.
    pub part: PartName,
    /// Its releases that will do.
    pub accepts: BTreeSet<ReleaseId>,
    /// The words for a node that has none of them.
    pub reason: Reason,
}

/// A return that a stopped rollout asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoBack {
    /// The release that was stopped.
    pub from: ReleaseId,
    /// The release of the last rollout that succeeded.
    pub to: ReleaseId,
}

/// Nodes that a stack is assigned to.
#[derive(Debug, Clone)]
pub struct Assignment {
    /// Which.
    pub nodes: Selector,
}

/// How a release came to be asked for.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Forward or back.
    pub kind: RolloutKind,
    /// What set it off.
    pub cause: Cause,
}

impl Origin {
    /// An undo asks for a way back, a commit for one forward.
    pub fn of(undo: Option<UndoId>, repository: RepositoryId, commit: &CommitId) -> Self {
        match undo {
            Some(undo) => Self { kind: RolloutKind::Rollback, cause: Cause::Undo { undo } },
            None => Self {
                kind: RolloutKind::Update,
                cause: Cause::Change { repository, commit: commit.clone() },
            },
        }
    }
}

/// A limit on how many nodes update at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxUpdating {
    /// None.
    All,
    /// So many.
    Nodes(u32),
    /// So many per hundred of those assigned; at least one.
    Percent(u32),
}

impl MaxUpdating {
    /// The limit for `nodes` nodes.
    pub fn of(self, nodes: usize) -> usize {
        match self {
            Self::All => usize::MAX,
            Self::Nodes(n) => (n as usize).max(1),
            Self::Percent(p) => (nodes * p as usize / 100).max(1),
        }
    }
}

/// What each node has tried of each stack: a row for each stack and a column for each node, in the snapshot's order.
#[derive(Debug, Clone, Default)]
pub struct Pasts(Vec<Vec<Past>>);

impl Pasts {
    /// What the node at a position has tried of the stack at a position; nothing where nothing is known.
    pub fn of(&self, stack: usize, node: usize) -> &Past {
        const NOTHING: &Past = &Past { latest: None, settled: None };
        self.0.get(stack).and_then(|row| row.get(node)).unwrap_or(NOTHING)
    }

    /// The same, to be filled in.
    pub fn at(&mut self, stack: usize, node: usize) -> &mut Past {
        if self.0.len() <= stack {
            self.0.resize_with(stack + 1, Vec::new);
        }
        let row = &mut self.0[stack];
        if row.len() <= node {
            row.resize_with(node + 1, Past::default);
        }
        &mut row[node]
    }
}

/// What a node has tried of a stack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Past {
    /// Its newest attempt.
    pub latest: Option<Try>,
    /// What it runs unless something is under way. None after a removal.
    pub settled: Option<Settled>,
}

/// What came of the newest attempt that succeeded. A whole fleet's are read at every step: no more than is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// The attempt.
    pub deployment: DeploymentId,
    /// The release.
    pub release: ReleaseId,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

impl Past {
    /// Whether the node never tried anything of the stack, as far as that is known.
    pub fn is_empty(&self) -> bool {
        self.latest.is_none() && self.settled.is_none()
    }

    /// The releases that the node runs, and that it has been told of and is not done with.
    pub fn told(&self) -> impl Iterator<Item = ReleaseId> {
        let open = self.latest.filter(Try::is_open).map(|latest| latest.release);
        self.settled.map(|settled| settled.release).into_iter().chain(open)
    }

    /// Whether the node runs a release, or is on its way there.
    pub fn is_at(&self, release: ReleaseId) -> bool {
        self.told().any(|told| told == release)
    }
}

/// An attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Try {
    /// Its id.
    pub deployment: DeploymentId,
    /// The release.
    pub release: ReleaseId,
    /// The rollout.
    pub rollout: RolloutId,
    /// Where it stands.
    pub state: TryState,
    /// Whether it takes the stack away.
    pub removal: bool,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// When it failed by its node's own fault (a full disk, and such), whatever the release: when it is tried again.
    pub again_at: Option<Timestamp>,
}

/// Where an attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryState {
    /// The agent has not begun.
    Pending,
    /// The agent is at it.
    Running,
    /// The release runs.
    Succeeded,
    /// It failed, and the node came back or did not.
    Failed,
    /// Something newer took its place.
    Superseded,
}

impl Try {
    /// The same as what it came to.
    pub fn settled(&self) -> Settled {
        Settled { deployment: self.deployment, release: self.release, ended_at: self.ended_at }
    }

    /// Whether it has not ended.
    pub fn is_open(&self) -> bool {
        matches!(self.state, TryState::Pending | TryState::Running)
    }
}

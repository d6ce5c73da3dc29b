//! What the failures of a stopped rollout have in common: which fact sets the failed nodes apart, which failures are
//! the same, and whose commits it brought.

mod blame;
mod chance;
mod elsewhere;
mod reason;

use std::collections::{BTreeMap, BTreeSet};

use backstay_types::{
    Change, ErrorGroup, FailureKind, FailurePattern, Feature, HostFacts, Labels, NodeName, StackName, Step,
    Sureness, Timestamp,
};
use chance::Chances;
pub use elsewhere::OtherFailure;
pub use reason::same_for_all;

/// A feature that fewer of the failed have than this share sets nothing apart.
const LEAST_SHARE: f64 = 0.75;
/// Of the succeeded no more may have it than this part of the share that the failed have.
const MOST_OF_GOOD: f64 = 0.5;
/// What would come about by chance more often than this does not stand out.
const MOST_CHANCE: f64 = 0.1;
const MOST_FEATURES: usize = 8;
const MOST_GROUPS: usize = 20;
const MOST_NAMES: usize = 5;

/// A node's attempt under a rollout, with what is known of the node.
#[derive(Debug, Clone, PartialEq)]
pub struct Tried {
    /// Its name.
    pub node: NodeName,
    /// Facts by what they are of; a fact may have several values. A fact that is not known is not in here.
    pub facts: BTreeMap<String, BTreeSet<String>>,
    /// When its attempt began, in seconds after the rollout did.
    pub began: Option<u64>,
    /// How long the attempt took, in seconds.
    pub took: u64,
    /// What became of it.
    pub outcome: TriedOutcome,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TriedOutcome {
    /// It has not ended.
    Open,
    /// The release runs.
    Succeeded,
    /// It failed.
    Failed {
        /// The step.
        step: Step,
        /// What kind of failure.
        failure: FailureKind,
        /// Why, in the node's words.
        reason: String,
    },
}

/// What a node's labels, the other stacks that it runs and its host say, as facts.
pub fn facts_of(
    labels: &Labels,
    others: impl IntoIterator<Item = StackName>,
    host: Option<&HostFacts>,
) -> BTreeMap<String, BTreeSet<String>> {
    let mut facts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    // Of a node that runs no other, this is known too.
    facts.insert("also runs stack".to_owned(), others.into_iter().map(|stack| stack.to_string()).collect());
    for (key, value) in labels.iter() {
        facts.entry(format!("label {key}")).or_default().insert(value.to_owned());
    }
    let Some(host) = host else { return facts };
    let single = [
        ("os", &host.os),
        ("arch", &host.arch),
        ("agent version", &host.agent_version),
        ("system", &host.system),
        ("kernel", &host.kernel),
        ("model", &host.model),
        ("network", &host.network),
        ("link", &host.link),
        ("seen from network", &host.seen_from),
    ];
    for (what, value) in single.into_iter().filter(|(_, value)| !value.is_empty()) {
        facts.entry(what.to_owned()).or_default().insert(value.clone());
    }
    if !host.runtimes.is_empty() {
        facts.insert("runtime".to_owned(), host.runtimes.iter().cloned().collect());
    }
    if let Some(share) = host.disk_free_bytes.saturating_mul(100).checked_div(host.disk_total_bytes) {
        let value = if share < 10 { "under 10 % free" } else { "10 % free or more" };
        facts.entry("disk".to_owned()).or_default().insert(value.to_owned());
    }
    if host.memory_bytes > 0 {
        // To the next power of two of GiB: firmware keeps a little for itself.
        let size = host.memory_bytes.div_ceil(1 << 30).next_power_of_two();
        facts.entry("memory".to_owned()).or_default().insert(format!("up to {size} GiB"));
    }
    facts
}

/// Looks at the attempts of a rollout of a stack that was stopped, at what failed in other stacks about then, and at the
/// commits that it brought, oldest first. In whatever order attempts and failures are given, the same comes out.
pub fn analyse(
    stack: &StackName,
    tried: &[Tried],
    others: &[OtherFailure],
    brought: &[Change],
    now: Timestamp,
) -> FailurePattern {
    let count =
        |wanted: fn(&TriedOutcome) -> bool| tried.iter().filter(|t| wanted(&t.outcome)).count() as u64;
    let (blamed, unlinked) = blame::blame(brought);
    FailurePattern {
        at: now,
        failed: count(|outcome| matches!(outcome, TriedOutcome::Failed { .. })),
        succeeded: count(|outcome| *outcome == TriedOutcome::Succeeded),
        open: count(|outcome| *outcome == TriedOutcome::Open),
        errors: errors(stack, tried, others),
        apart: apart(tried),
        blamed,
        unlinked,
    }
}

/// A pattern in words, a line each.
pub fn findings(pattern: &FailurePattern) -> Vec<String> {
    let FailurePattern { failed, succeeded, .. } = pattern;
    let mut lines = vec![format!("failed on {failed}, succeeded on {succeeded}")];
    for group in pattern.errors.iter().take(3) {
        let way = if group.nodes > 1 { " the same way" } else { "" };
        // As one of them said it: what is the same for all has its numbers and names taken out.
        lines.push(format!("{} of {failed} failed{way}: {}", group.nodes, group.example));
        lines.extend(group.elsewhere.iter().map(elsewhere::describe));
    }
    for feature in &pattern.apart {
        lines.push(describe(feature));
    }
    if pattern.apart.is_empty() && *failed > 1 && *succeeded == 0 {
        lines.push("every attempt that ended failed, so that nothing sets them apart".to_owned());
    }
    let alone = pattern.blamed.iter().any(|blame| blame.sure == Sureness::Only);
    match (pattern.blamed.len(), pattern.unlinked.len()) {
        (0, _) => {}
        (_, _) if alone => {
            lines.push("it brought the commits of one conversation and nothing else".to_owned())
        }
        (n, 0) => lines.push(format!("it brought commits of {n} conversations")),
        (n, others) => {
            lines.push(format!("it brought commits of {n} conversations and {others} of unknown origin"));
        }
    }
    lines
}

/// A feature as a sentence without its end.
pub fn describe(feature: &Feature) -> String {
    let Feature { what, value, failed, of_failed, succeeded, of_succeeded, lift, chance } = feature;
    format!(
        "{what} {value}: {failed} of {of_failed} that failed, {succeeded} of {of_succeeded} that succeeded \
         ({lift:.1} times likelier to fail; {:.1} % by chance)",
        chance * 100.0
    )
}

/// A failure of a node.
struct Failed<'a> {
    attempt: &'a Tried,
    step: Step,
    failure: FailureKind,
    reason: &'a str,
}

fn errors(stack: &StackName, tried: &[Tried], others: &[OtherFailure]) -> Vec<ErrorGroup> {
    // Steps and kinds have no order of their own; their names do.
    let mut groups: BTreeMap<(String, String, String), Vec<Failed<'_>>> = BTreeMap::new();
    for attempt in tried {
        let TriedOutcome::Failed { step, failure, reason } = &attempt.outcome else { continue };
        let same = same_for_all(reason, &attempt.node);
        let failed = Failed { attempt, step: *step, failure: *failure, reason };
        groups.entry((same, format!("{step:?}"), format!("{failure:?}"))).or_default().push(failed);
    }
    let mut found: Vec<_> =
        groups.into_iter().filter_map(|((reason, ..), members)| group(reason, members)).collect();
    found.sort_by_key(|group| std::cmp::Reverse(group.nodes));
    found.truncate(MOST_GROUPS);
    elsewhere::find(stack, &mut found, others);
    found
}

fn group(reason: String, mut members: Vec<Failed<'_>>) -> Option<ErrorGroup> {
    members.sort_by(|a, b| a.attempt.node.cmp(&b.attempt.node));
    let first = members.first()?;
    let took = || members.iter().map(|failed| failed.attempt.took);
    Some(ErrorGroup {
        step: first.step,
        failure: first.failure,
        reason,
        example: first.reason.to_owned(),
        nodes: members.len() as u64,
        names: members.iter().take(MOST_NAMES).map(|failed| failed.attempt.node.clone()).collect(),
        soonest_seconds: took().min().unwrap_or(0),
        latest_seconds: took().max().unwrap_or(0),
        elsewhere: Vec::new(),
    })
}

/// How many nodes have something, of those that failed and of those that succeeded.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    failed: u64,
    succeeded: u64,
}

impl Tally {
    fn add(&mut self, outcome: &TriedOutcome) {
        match outcome {
            TriedOutcome::Failed { .. } => self.failed += 1,
            TriedOutcome::Succeeded => self.succeeded += 1,
            TriedOutcome::Open => {}
        }
    }
}

fn apart(tried: &[Tried]) -> Vec<Feature> {
    let ended: Vec<_> = tried.iter().filter(|attempt| attempt.outcome != TriedOutcome::Open).collect();
    // Of how many nodes a fact is known, and how many have each of its values.
    let mut known: BTreeMap<&str, Tally> = BTreeMap::new();
    let mut tallies: BTreeMap<(&str, &str), Tally> = BTreeMap::new();
    for attempt in &ended {
        for (what, values) in &attempt.facts {
            known.entry(what).or_default().add(&attempt.outcome);
            for value in values {
                tallies.entry((what, value)).or_default().add(&attempt.outcome);
            }
        }
    }
    let mut all = Tally::default();
    ended.iter().for_each(|attempt| all.add(&attempt.outcome));
    let chances = Chances::up_to(all.failed + all.succeeded);
    let feature =
        |what: &str, value: String, have: Tally, of: Tally| stands_out(&chances, what, value, have, of);
    let mut found: Vec<Feature> = tallies
        .iter()
        .filter_map(|((what, value), have)| {
            // A label is known of every node: it has it or not.
            let of = if what.starts_with("label ") { all } else { known.get(what).copied()? };
            feature(what, (*value).to_owned(), *have, of)
        })
        .collect();
    found.extend(times(&ended).into_iter().filter_map(|(value, have, of)| feature("began", value, have, of)));
    found.sort_by(|a, b| a.chance.total_cmp(&b.chance).then(b.lift.total_cmp(&a.lift)));
    found.truncate(MOST_FEATURES);
    found
}

/// When the failed began: none before, or none after.
fn times(ended: &[&Tried]) -> Vec<(String, Tally, Tally)> {
    let timed: Vec<_> = ended.iter().filter_map(|attempt| Some((attempt.began?, &attempt.outcome))).collect();
    let failed = || timed.iter().filter(|(_, outcome)| matches!(outcome, TriedOutcome::Failed { .. }));
    let (Some(first), Some(last)) = (failed().map(|(at, _)| *at).min(), failed().map(|(at, _)| *at).max())
    else {
        return Vec::new();
    };
    let tally = |wanted: &dyn Fn(u64) -> bool| {
        let mut tally = Tally::default();
        timed.iter().filter(|(at, _)| wanted(*at)).for_each(|(_, outcome)| tally.add(outcome));
        tally
    };
    let all = tally(&|_| true);
    vec![
        (format!("{first} s after the rollout or later"), tally(&|at| at >= first), all),
        (format!("within {last} s of the rollout"), tally(&|at| at <= last), all),
    ]
}

fn stands_out(chances: &Chances, what: &str, value: String, have: Tally, of: Tally) -> Option<Feature> {
    if have.failed < 2 || of.succeeded == 0 {
        return None;
    }
    let share = have.failed as f64 / of.failed as f64;
    let lift = (have.failed as f64 / (have.failed + have.succeeded) as f64)
        / (of.failed as f64 / (of.failed + of.succeeded) as f64);
    let chance =
        chances.at_least(have.failed, have.failed + have.succeeded, of.failed, of.failed + of.succeeded);
    let good = have.succeeded as f64 / of.succeeded as f64;
    let stands_out = share >= LEAST_SHARE && good <= share * MOST_OF_GOOD && chance <= MOST_CHANCE;
    stands_out.then(|| Feature {
        what: what.to_owned(),
        value,
        failed: have.failed,
        of_failed: of.failed,
        succeeded: have.succeeded,
        of_succeeded: of.succeeded,
        lift,
        chance,
    })
}

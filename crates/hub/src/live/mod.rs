//! What is known of nodes now: soft state, in memory, flushed in batches.
//! A check-in touches nothing else.

mod census;
mod feed;
mod follow;
mod node_state;
mod questions;
mod roster;
mod shared;
mod waiters;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use backstay_store::nodes::SoftState;
use backstay_types::{
    Drift, HostFacts, HostFigures, MOST_CONTAINERS, NodeId, NodeSafety, NodeState, ObservedStack, SafeMode,
    StackHealth, StackName, Timestamp,
};

pub(crate) use self::{
    census::Census,
    feed::{Feed, News},
    follow::{Follower, Follows, Piece},
    node_state::{Rhythm, node_state},
    questions::Questions,
    roster::{Roster, Trees},
    shared::Shared,
    waiters::Waiters,
};

/// What a node said last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// When it was heard from.
    pub(crate) last_seen_at: Option<Timestamp>,
    /// Its machine.
    pub(crate) facts: Option<HostFacts>,
    /// What it runs.
    pub(crate) observed: Option<Vec<ObservedStack>>,
    /// What its machine measured, and when that came. Never in the database.
    pub(crate) figures: Option<(Timestamp, HostFigures)>,
    /// How safe it is.
    pub(crate) safety: Option<NodeSafety>,
    /// Check-ins that are held right now.
    held: u32,
    /// Whether it has said what it runs since this hub started.
    told: bool,
    /// When something of it stopped running as it should, as far as this hub heard.
    sick_since: Option<Timestamp>,
    /// Counts how often what departs there, or how safe it is, came to be another.
    unrest: u64,
    /// What is not in the database yet.
    dirty: Dirty,
}

/// What departs of all that a node runs, by stack.
fn drifts(all: &[ObservedStack]) -> impl Iterator<Item = (&StackName, &Drift)> {
    all.iter().flat_map(|one| one.drift.iter().map(|drift| (&one.stack, drift)))
}

/// What of a node is told to those who follow events as soon as it is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Glimpse {
    /// Whether it is heard from.
    pub(crate) state: NodeState,
    /// The worst health of what it runs.
    pub(crate) health: Option<StackHealth>,
    /// Another number whenever what departs there, or how safe it is, has changed.
    unrest: u64,
}

/// Which parts are not in the database yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Dirty {
    time: bool,
    facts: bool,
    observed: bool,
    safety: bool,
}

impl Seen {
    /// The safe mode that it is in.
    pub(crate) fn safe_mode(&self) -> Option<&SafeMode> {
        self.safety.as_ref()?.safe_mode.as_ref()
    }

    /// Compares what the node says now with what it said before. What it says nothing of is as it was.
    fn note_unrest(&mut self, observed: Option<&[ObservedStack]>, safety: Option<&NodeSafety>) {
        let before = self.observed.as_deref().unwrap_or_default();
        let drifted = observed.is_some_and(|now| drifts(now).ne(drifts(before)));
        if drifted || safety.is_some() && safety != self.safety.as_ref() {
            self.unrest += 1;
        }
    }

    /// What the database should get, if anything; parts that it has are left out.
    fn take_dirty(&mut self, node: NodeId) -> Option<SoftState> {
        let Dirty { time, facts, observed, safety } = std::mem::take(&mut self.dirty);
        let any = time || facts || observed || safety;
        Some(SoftState {
            node,
            last_seen_at: self.last_seen_at.filter(|_| any)?,
            facts: facts.then(|| self.facts.clone()).flatten(),
            observed: observed.then(|| self.observed.clone()).flatten(),
            safety: safety.then(|| self.safety.clone()).flatten(),
        })
    }
}

/// Soft state of all nodes.
#[derive(Debug)]
pub(crate) struct Live {
    nodes: Mutex<HashMap<NodeId, Seen>>,
    rhythm: Rhythm,
}

impl Live {
    /// As the database has it from before; that is shown, but proves nobody online.
    pub(crate) fn new(
        started_at: Timestamp,
        hold: Duration,
        interval: Duration,
        known: Vec<SoftState>,
    ) -> Self {
        let from_before = |SoftState { node, last_seen_at, facts, observed, safety }| {
            (node, Seen { last_seen_at: Some(last_seen_at), facts, observed, safety, ..Seen::default() })
        };
        let nodes = Mutex::new(known.into_iter().map(from_before).collect());
        Self { nodes, rhythm: Rhythm { started_at, hold, interval } }
    }

    /// Takes a check-in in. True when the node should say again what it runs.
    pub(crate) fn heard(
        &self,
        node: NodeId,
        now: Timestamp,
        facts: Option<HostFacts>,
        observed: Option<Vec<ObservedStack>>,
        safety: Option<NodeSafety>,
    ) -> bool {
        let mut nodes = self.lock();
        let seen = nodes.entry(node).or_default();
        if let Some(observed) = &observed {
            let (was, is) = (is_sick(seen.observed.as_deref()), is_sick(Some(observed)));
            // What it was already when this hub started has no beginning here.
            seen.sick_since = if is { seen.sick_since.or((!was).then_some(now)) } else { None };
        }
        seen.note_unrest(observed.as_deref(), safety.as_ref());
        seen.last_seen_at = Some(now);
        seen.dirty.time = true;
        seen.dirty.facts |= facts.is_some();
        seen.dirty.observed |= observed.is_some();
        seen.dirty.safety |= safety.is_some();
        seen.safety = safety.or_else(|| seen.safety.take());
        seen.facts = facts.or_else(|| seen.facts.take());
        seen.told |= observed.is_some();
        seen.observed = observed.or_else(|| seen.observed.take());
        !seen.told || seen.facts.is_none()
    }

    /// Knows nothing of a node any more: another machine has joined under its name.
    pub(crate) fn forget(&self, node: NodeId) {
        self.lock().remove(&node);
    }

    /// Takes a machine's figures in.
    pub(crate) fn measured(&self, node: NodeId, now: Timestamp, mut figures: HostFigures) {
        figures.containers.truncate(MOST_CONTAINERS);
        self.lock().entry(node).or_default().figures = Some((now, figures));
    }

    /// Counts a held check-in until the guard is dropped.
    pub(crate) fn hold(&self, node: NodeId) -> HeldGuard<'_> {
        self.lock().entry(node).or_default().held += 1;
        HeldGuard { live: self, node }
    }

    /// What is known of a node.
    pub(crate) fn seen(&self, node: NodeId) -> Seen {
        self.lock().get(&node).cloned().unwrap_or_default()
    }

    /// Whether a node is heard from.
    pub(crate) fn state(&self, node: NodeId, revoked: bool, now: Timestamp) -> NodeState {
        let nodes = self.lock();
        let seen = nodes.get(&node);
        let last_seen_at = seen.and_then(|seen| seen.last_seen_at);
        node_state(revoked, last_seen_at, seen.is_some_and(|seen| seen.held > 0), now, self.rhythm)
    }

    /// Whether a node is known to be away. Not the same as not online: a hub that has just started knows of nobody.
    pub(crate) fn is_silent(&self, node: NodeId, now: Timestamp) -> bool {
        self.rhythm.is_silent(self.state(node, false, now), now)
    }

    /// Every node that was ever heard from, as those who follow events know it.
    pub(crate) fn glance(&self, now: Timestamp) -> HashMap<NodeId, Glimpse> {
        let nodes = self.lock();
        let glance = |seen: &Seen| Glimpse {
            state: node_state(false, seen.last_seen_at, seen.held > 0, now, self.rhythm),
            health: worst(seen.observed.as_deref().unwrap_or_default()),
            unrest: seen.unrest,
        };
        nodes.iter().map(|(id, seen)| (*id, glance(seen))).collect()
    }

    /// When a node turned unhealthy, if it is: something of it does not run as it should, or it fell silent.
    pub(crate) fn unhealthy_since(&self, node: NodeId, now: Timestamp) -> Option<Timestamp> {
        let nodes = self.lock();
        let seen = nodes.get(&node)?;
        match node_state(false, seen.last_seen_at, seen.held > 0, now, self.rhythm) {
            NodeState::Offline => seen.last_seen_at?.checked_add(self.rhythm.patience()).ok(),
            NodeState::Online => seen.sick_since,
            _ => None,
        }
    }

    /// Looks at what is known of a node, without taking a copy of it.
    pub(crate) fn with<T>(&self, node: NodeId, look: impl FnOnce(Option<&Seen>) -> T) -> T {
        look(self.lock().get(&node))
    }

    /// Looks at what is known of all nodes at once. Check-ins wait meanwhile: look, and think later.
    pub(crate) fn look<T>(&self, now: Timestamp, look: impl FnOnce(&Look<'_>) -> T) -> T {
        look(&Look { nodes: &self.lock(), now, rhythm: self.rhythm })
    }

    /// How many nodes that are heard from have a machine in which condition.
    pub(crate) fn conditions(&self, now: Timestamp) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        for seen in self.lock().values() {
            let Some((_, figures)) = &seen.figures else { continue };
            if node_state(false, seen.last_seen_at, seen.held > 0, now, self.rhythm) != NodeState::Online {
                continue;
            }
            for condition in figures.conditions(seen.facts.as_ref().map_or(0, |facts| facts.cpus)) {
                *counts.entry(condition.word()).or_default() += 1;
            }
        }
        counts
    }

    /// How many check-ins are held.
    pub(crate) fn held(&self) -> u64 {
        self.lock().values().map(|seen| u64::from(seen.held)).sum()
    }

    /// Takes what is not in the database yet.
    pub(crate) fn take_dirty(&self) -> Vec<SoftState> {
        self.lock().iter_mut().filter_map(|(node, seen)| seen.take_dirty(*node)).collect()
    }

    /// Gives back what could not be written.
    pub(crate) fn put_back(&self, taken: Vec<SoftState>) {
        let mut nodes = self.lock();
        for state in taken {
            let dirty = &mut nodes.entry(state.node).or_default().dirty;
            dirty.time = true;
            dirty.facts |= state.facts.is_some();
            dirty.observed |= state.observed.is_some();
            dirty.safety |= state.safety.is_some();
        }
    }

    /// Takes in what nodes told other hubs, where that is newer than what they told this one.
    pub(crate) fn merge(&self, states: Vec<SoftState>) {
        let mut nodes = self.lock();
        for state in states {
            let seen = nodes.entry(state.node).or_default();
            if seen.last_seen_at.is_none_or(|at| at < state.last_seen_at) {
                seen.note_unrest(state.observed.as_deref(), state.safety.as_ref());
                seen.last_seen_at = Some(state.last_seen_at);
                seen.facts = state.facts.or_else(|| seen.facts.take());
                seen.observed = state.observed.or_else(|| seen.observed.take());
                seen.safety = state.safety.or_else(|| seen.safety.take());
                // What it says here next has to be whole again.
                seen.told = false;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<NodeId, Seen>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All nodes at one moment.
pub(crate) struct Look<'a> {
    nodes: &'a HashMap<NodeId, Seen>,
    now: Timestamp,
    rhythm: Rhythm,
}

impl Look<'_> {
    /// What is known of a node.
    pub(crate) fn seen(&self, node: NodeId) -> Option<&Seen> {
        self.nodes.get(&node)
    }

    /// Whether a node is heard from.
    pub(crate) fn state(&self, node: NodeId, revoked: bool) -> NodeState {
        let seen = self.seen(node);
        let last_seen_at = seen.and_then(|seen| seen.last_seen_at);
        node_state(revoked, last_seen_at, seen.is_some_and(|seen| seen.held > 0), self.now, self.rhythm)
    }
}

/// The worst health among stacks; none without any.
pub(crate) fn worst(stacks: &[ObservedStack]) -> Option<StackHealth> {
    stacks.iter().map(|stack| stack.health).max_by_key(|health| badness(*health))
}

fn is_sick(stacks: Option<&[ObservedStack]>) -> bool {
    matches!(stacks.and_then(worst), Some(StackHealth::Degraded | StackHealth::Down))
}

/// The word under which the API writes a state.
pub(crate) fn word<T: serde::Serialize>(state: &T) -> String {
    match serde_json::to_value(state) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// What needs a person most is the highest.
pub(crate) fn badness(health: StackHealth) -> u8 {
    match health {
        StackHealth::Healthy => 0,
        StackHealth::Unknown => 1,
        StackHealth::Deploying => 2,
        StackHealth::Degraded => 3,
        StackHealth::Down => 4,
    }
}

/// A held check-in.
#[derive(Debug)]
pub(crate) struct HeldGuard<'a> {
    live: &'a Live,
    node: NodeId,
}

impl Drop for HeldGuard<'_> {
    fn drop(&mut self) {
        if let Some(seen) = self.live.lock().get_mut(&self.node) {
            seen.held = seen.held.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use backstay_types::Id as _;

    use super::*;

    #[test]
    fn a_node_turns_unhealthy_when_it_says_so_or_falls_silent() {
        let node = NodeId::from_uuid(uuid::Uuid::from_u128(1));
        let at = |second| Timestamp::from_second(second).unwrap();
        let stack = |health| {
            vec![ObservedStack {
                stack: "web".parse().unwrap(),
                current: None,
                previous: None,
                deployment: None,
                health,
                detail: String::new(),
                can_return: false,
                figures: Default::default(),
                containers: Vec::new(),
                drift: Vec::new(),
            }]
        };
        let live = Live::new(at(0), Duration::from_secs(60), Duration::from_secs(30), Vec::new());
        live.heard(node, at(10), None, Some(stack(StackHealth::Healthy)), None);
        assert_eq!(live.unhealthy_since(node, at(10)), None);
        live.heard(node, at(20), None, Some(stack(StackHealth::Down)), None);
        live.heard(node, at(30), None, Some(stack(StackHealth::Degraded)), None);
        assert_eq!(live.unhealthy_since(node, at(30)), Some(at(20)));
        live.heard(node, at(40), None, Some(stack(StackHealth::Healthy)), None);
        assert_eq!(live.unhealthy_since(node, at(160)), None, "it may be silent for two minutes");
        assert_eq!(live.unhealthy_since(node, at(400)), Some(at(160)), "since it was taken for silent");
        // What a hub that starts finds down has been so for who knows how long.
        let known = SoftState {
            node,
            last_seen_at: at(1),
            facts: None,
            observed: Some(stack(StackHealth::Down)),
            safety: None,
        };
        let live = Live::new(at(2), Duration::from_secs(60), Duration::from_secs(30), vec![known]);
        live.heard(node, at(10), None, Some(stack(StackHealth::Down)), None);
        assert_eq!(live.unhealthy_since(node, at(10)), None);
    }

    #[test]
    fn what_could_not_be_written_is_written_later_with_what_came_since() {
        let node = NodeId::from_uuid(uuid::Uuid::from_u128(1));
        let at = |second| Timestamp::from_second(second).unwrap();
        let live = Live::new(at(0), Duration::ZERO, Duration::from_secs(1), Vec::new());
        assert!(
            live.heard(node, at(1), Some(HostFacts::default()), None, None),
            "it has not said what it runs"
        );
        assert!(!live.heard(node, at(2), None, Some(Vec::new()), None));
        let taken = live.take_dirty();
        assert!(live.take_dirty().is_empty());
        assert!(!live.heard(node, at(3), None, None, None));
        live.put_back(taken);
        let again = live.take_dirty();
        let state = &again[0];
        assert_eq!(state.last_seen_at, at(3));
        assert!(state.facts.is_some() && state.observed.is_some());
        live.heard(node, at(4), None, None, None);
        let state = &live.take_dirty()[0];
        assert!(state.facts.is_none() && state.observed.is_none(), "the database has these");
        let held = live.hold(node);
        assert_eq!(live.held(), 1);
        drop(held);
        assert_eq!(live.held(), 0);
    }
}

//! Which nodes are asked to run a new agent, and when the next wave is.

use std::time::Duration;

use backstay_types::{
    AgentOutcome, AgentUpdate, AgentUpdateId, AgentUpdateState, Constraint, Digest, Effect, NodeId, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::{
    policy::Policy,
    snapshot::{FleetSnapshot, NodeFacts, Reason},
};

/// A node, as far as an update of agents goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentNode {
    /// Its id.
    pub id: NodeId,
    /// What became of the update there.
    pub outcome: Option<AgentOutcome>,
    /// It is not heard from: nobody waits for it.
    pub silent: bool,
    /// It has been told of the update already.
    pub told: bool,
    /// Why it may not be told now, if so.
    pub held: Option<AgentHeld>,
}

impl AgentNode {
    /// Whether it has been told, and that is not taken back: who has not answered may not have begun, and does not while
    /// something holds it back. An agent that is at it comes to its end all the same.
    fn stays_told(&self) -> bool {
        self.told && (self.outcome.is_some() || self.held.is_none())
    }
}

/// Why a node may not be asked now to run another agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgentHeld {
    /// It keeps what it runs, whatever is asked of others (updates are off, maintenance): nobody waits for it.
    Rests(Reason),
    /// It may begin later: everything is stopped, a freeze, its windows are closed. Its wave waits for it.
    Waits(Reason),
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentStep {
    /// The nodes that are asked.
    pub asked: Vec<NodeId>,
    /// How the update stands from now on, with the wave, when that changes.
    pub next: Option<AgentsNext>,
    /// What that was decided from, while it runs.
    pub inputs: Option<AgentsInputs>,
}

/// How an update stands from now on: its state, its wave, why.
pub type AgentsNext = (AgentUpdateState, u32, String);

/// What an update of agents goes on by, kept so that a decision can be made again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentsInputs {
    /// The wave that is open, from 0.
    pub wave: u32,
    /// How many waves there are.
    pub waves: u32,
    /// Since when.
    pub wave_at: Timestamp,
    /// How long a wave is watched, in seconds.
    pub soak_seconds: u64,
    /// Nodes in the open waves that are asked.
    pub asked: u64,
    /// Of these, those that answered.
    pub answered: u64,
    /// Of these, those on which it failed.
    pub failed: u64,
    /// Of these, those that did not answer and are heard from.
    pub waiting: u64,
    /// Why nodes that it waits for may not begin now, if so.
    pub held: Option<String>,
    /// What it was said to be held by before.
    pub said: Option<String>,
    /// The hub's time.
    pub now: Timestamp,
}

/// A node's place in line: the same for all time, and another for each update.
pub fn agent_place(update: AgentUpdateId, node: NodeId) -> Digest {
    Digest::of(format!("{update} {node}").as_bytes())
}

/// What holds nodes back from running another agent, in the snapshot's order: what holds them back from anything new of all
/// that they run. What is set for one stack alone is nothing to the agent.
pub fn agents_held(world: &FleetSnapshot) -> Vec<Option<AgentHeld>> {
    let holds = |effect: &Effect| {
        matches!(
            effect,
            Effect::Freeze { .. } | Effect::UpdatesOff { .. } | Effect::Maintenance | Effect::Decommission
        )
    };
    let nothing_holds = world.stopped.is_none()
        && world.stacks.iter().all(|stack| stack.windows.is_empty())
        && !world.constraints.iter().any(|constraint| holds(&constraint.effect));
    if nothing_holds {
        return vec![None; world.nodes.len()];
    }
    if let Some(reason) = &world.stopped {
        let stopped = AgentHeld::Waits(format!("everything is stopped: {reason}").into());
        return vec![Some(stopped); world.nodes.len()];
    }
    let of_all = |constraint: &&Constraint| match &constraint.effect {
        Effect::Freeze { stack } | Effect::UpdatesOff { stack } => stack.is_none(),
        _ => true,
    };
    let general: Vec<_> = world.constraints.iter().filter(of_all).cloned().collect();
    let of_nodes = Policy::of_nodes(&general, world.now);
    let of_stacks: Vec<_> =
        world.stacks.iter().map(|stack| Policy::new(stack, &general, world.now)).collect();
    let held = |node: &NodeFacts| {
        if let Some(leaving) = &node.leaving {
            return Some(AgentHeld::Rests(leaving.reason.clone()));
        }
        let mine = || std::iter::once(&of_nodes).chain(of_stacks.iter().filter(|p| p.is_assigned(node)));
        let rests = mine().find_map(|policy| policy.rest(node));
        rests
            .map(|rest| AgentHeld::Rests(rest.reason.clone()))
            .or_else(|| mine().find_map(|policy| policy.held_back(node)).cloned().map(AgentHeld::Waits))
    };
    world.nodes.iter().map(held).collect()
}

/// Looks at an update of agents. More than a twentieth of those asked failing stops it; among fewer than 20 any failure.
/// Who is held back is not asked; what it was told and has not answered is taken back.
pub fn agents(update: &AgentUpdate, nodes: &[AgentNode], now: Timestamp) -> AgentStep {
    let share = match update.state {
        AgentUpdateState::Done => 100,
        AgentUpdateState::Halted => 0,
        AgentUpdateState::Running => update.waves.get(update.wave as usize).copied().unwrap_or(100),
    };
    let mut line: Vec<_> = nodes.iter().map(|node| (agent_place(update.id, node.id), node)).collect();
    line.sort_by_key(|(place, _)| *place);
    let count = (nodes.len() * usize::from(share)).div_ceil(100);
    let (within, after) = line.split_at(count);
    let within: Vec<_> = within.iter().map(|(_, node)| *node).collect();
    let runs = update.state == AgentUpdateState::Running;
    let inputs = runs.then(|| look(update, nodes, &within, now));
    let next = inputs.as_ref().and_then(agents_next);
    // Who might be asked only now, since nothing holds it back any more or it has just joined, is not when it stops.
    let stops = matches!(next, Some((AgentUpdateState::Halted, ..)));
    let told = after.iter().map(|(_, node)| *node).filter(|node| node.stays_told());
    let may = |node: &&AgentNode| node.stays_told() || (!stops && node.held.is_none());
    let asked = within.iter().copied().filter(may).chain(told);
    AgentStep { asked: asked.map(|node| node.id).collect(), next, inputs }
}

/// The words that an update which is held back begins its reason with.
const WAITS: &str = "it waits: ";

/// Decides again from what was kept; how the update stood from then on.
///
/// # Errors
/// When what was kept cannot be understood, such as that of a newer version.
pub fn agents_replayed(inputs: &serde_json::Value) -> Result<Option<AgentsNext>, serde_json::Error> {
    AgentsInputs::deserialize(inputs).map(|inputs| agents_next(&inputs))
}

fn look(update: &AgentUpdate, all: &[AgentNode], within: &[&AgentNode], now: Timestamp) -> AgentsInputs {
    let asked: Vec<_> = within.iter().filter(|node| node.stays_told() || node.held.is_none()).collect();
    let count = |wanted: &dyn Fn(&AgentNode) -> bool| asked.iter().filter(|node| wanted(node)).count() as u64;
    let waits = |node: &AgentNode| match &node.held {
        Some(AgentHeld::Waits(reason)) if !node.stays_told() => Some(format!("{WAITS}{reason}")),
        _ => None,
    };
    // No wave opens in which nobody may begin.
    let nobody_may = all.iter().filter(|node| !node.stays_told()).all(|node| waits(node).is_some());
    let held = within.iter().filter(|node| !node.silent).find_map(|node| waits(node));
    AgentsInputs {
        wave: update.wave,
        waves: u32::try_from(update.waves.len()).unwrap_or(u32::MAX),
        wave_at: update.wave_at,
        soak_seconds: update.soak_seconds,
        asked: asked.len() as u64,
        answered: count(&|node| node.outcome.is_some()),
        failed: count(&|node| matches!(node.outcome, Some(AgentOutcome::Failed { .. }))),
        waiting: count(&|node| node.outcome.is_none() && !node.silent),
        held: held.or_else(|| all.iter().filter(|_| nobody_may).find_map(waits)),
        said: update.reason.starts_with(WAITS).then(|| update.reason.clone()),
        now,
    }
}

/// Decides how an update goes on; nothing while it stands as it did.
pub fn agents_next(inputs: &AgentsInputs) -> Option<AgentsNext> {
    let AgentsInputs { wave, asked, answered, failed, waiting, .. } = *inputs;
    if failed * 20 > asked {
        let reason = format!("it failed on {failed} of {asked} nodes that were asked");
        return Some((AgentUpdateState::Halted, wave, reason));
    }
    match (&inputs.held, &inputs.said) {
        (Some(reason), Some(said)) if said == reason => return None,
        (Some(reason), _) => return Some((AgentUpdateState::Running, wave, reason.clone())),
        (None, Some(_)) => {
            let reason = "nothing holds it back any more".to_owned();
            return Some((AgentUpdateState::Running, wave, reason));
        }
        (None, None) => {}
    }
    let soaked = Duration::try_from(inputs.now.duration_since(inputs.wave_at))
        .is_ok_and(|since| since >= Duration::from_secs(inputs.soak_seconds));
    if asked == 0 || waiting > 0 || answered == 0 || !soaked {
        return None;
    }
    let reason = format!("{answered} of {asked} nodes answered and none too many failed");
    match wave + 1 {
        next if next >= inputs.waves => Some((AgentUpdateState::Done, wave, reason)),
        next => Some((AgentUpdateState::Running, next, reason)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use backstay_types::Id as _;

    use super::*;

    fn update(wave: u32) -> AgentUpdate {
        AgentUpdate {
            id: AgentUpdateId::from_uuid(uuid::Uuid::from_u128(1)),
            version: "2".into(),
            builds: Vec::new(),
            waves: vec![5, 25, 100],
            soak_seconds: 60,
            wave,
            wave_at: Timestamp::UNIX_EPOCH,
            state: AgentUpdateState::Running,
            reason: String::new(),
            by: "me".into(),
            created_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn nodes(count: u128) -> Vec<AgentNode> {
        let node = |n| AgentNode {
            id: NodeId::from_uuid(uuid::Uuid::from_u128(n)),
            outcome: None,
            silent: false,
            told: false,
            held: None,
        };
        (0..count).map(node).collect()
    }

    fn late() -> Timestamp {
        Timestamp::from_second(61).unwrap()
    }

    /// A step, which comes out the same from what is kept of it.
    fn agents(update: &AgentUpdate, nodes: &[AgentNode], now: Timestamp) -> AgentStep {
        let step = super::agents(update, nodes, now);
        if let Some(inputs) = &step.inputs {
            let kept = serde_json::to_value(inputs).unwrap();
            assert_eq!(agents_replayed(&kept).unwrap(), step.next, "{kept:#}");
        }
        step
    }

    /// All that are asked answer like this.
    fn answer(nodes: &mut [AgentNode], step: &AgentStep, outcome: &AgentOutcome) {
        for node in nodes.iter_mut().filter(|node| step.asked.contains(&node.id)) {
            node.outcome = Some(outcome.clone());
        }
    }

    #[test]
    fn waves_open_one_after_the_other_and_whoever_was_asked_stays_asked() {
        let mut all = nodes(200);
        let mut before: Vec<NodeId> = Vec::new();
        for (wave, count) in [(0, 10), (1, 50), (2, 200)] {
            let step = agents(&update(wave), &all, late());
            assert_eq!((step.asked.len(), &step.next), (count, &None), "nobody has answered yet");
            assert!(before.iter().all(|node| step.asked.contains(node)));
            answer(&mut all, &step, &AgentOutcome::Updated);
            assert_eq!(agents(&update(wave), &all, Timestamp::UNIX_EPOCH).next, None, "it is watched first");
            let next = agents(&update(wave), &all, late()).next.unwrap();
            let expected =
                if wave == 2 { (AgentUpdateState::Done, 2) } else { (AgentUpdateState::Running, wave + 1) };
            assert_eq!((next.0, next.1), expected);
            before = step.asked;
        }
    }

    #[test]
    fn a_failure_among_few_and_a_twentieth_among_many_stop_it() {
        let mut all = nodes(10);
        let step = agents(&update(0), &all, late());
        assert_eq!(step.asked.len(), 1);
        answer(&mut all, &step, &AgentOutcome::Failed { reason: "x".into() });
        assert_eq!(agents(&update(0), &all, late()).next.unwrap().0, AgentUpdateState::Halted);
        let mut all = nodes(200);
        let step = agents(&update(2), &all, late());
        answer(&mut all, &step, &AgentOutcome::Updated);
        for node in all.iter_mut().take(11) {
            node.outcome = Some(AgentOutcome::Failed { reason: "x".into() });
        }
        assert_eq!(agents(&update(2), &all, late()).next.unwrap().0, AgentUpdateState::Halted);
        all[0].outcome = Some(AgentOutcome::Updated);
        assert_eq!(
            agents(&update(2), &all, late()).next.unwrap().0,
            AgentUpdateState::Done,
            "10 of 200 are few enough"
        );
    }

    #[test]
    fn those_that_are_not_heard_from_hold_nobody_up_but_are_no_answer() {
        let mut all = nodes(2);
        for node in &mut all {
            node.silent = true;
        }
        assert_eq!(agents(&update(2), &all, late()).next, None);
        all[0].outcome = Some(AgentOutcome::Left { reason: "no loader".into() });
        assert_eq!(agents(&update(2), &all, late()).next.unwrap().0, AgentUpdateState::Done);
    }

    #[test]
    fn what_stopped_asks_nobody_more_and_what_is_done_asks_all() {
        let mut all = nodes(200);
        let step = agents(&update(0), &all, late());
        for node in all.iter_mut().filter(|node| step.asked.contains(&node.id)) {
            node.told = true;
        }
        // Others come, who stand before some of these in line.
        all.extend(nodes(400).split_off(200));
        let halted = AgentUpdate { state: AgentUpdateState::Halted, ..update(0) };
        let stays: std::collections::BTreeSet<_> = agents(&halted, &all, late()).asked.into_iter().collect();
        assert_eq!((stays, agents(&halted, &all, late()).next), (step.asked.into_iter().collect(), None));
        let done = AgentUpdate { state: AgentUpdateState::Done, ..update(2) };
        assert_eq!(agents(&done, &all, late()).asked.len(), 400);
    }

    #[test]
    fn what_stops_asks_nobody_more_in_the_same_step() {
        // All may be asked, and one was before a freeze held the others back; it fails when that has just ended.
        let mut all = nodes(10);
        all[0].told = true;
        all[0].outcome = Some(AgentOutcome::Failed { reason: "x".into() });
        let step = agents(&update(2), &all, late());
        assert_eq!(step.next.unwrap().0, AgentUpdateState::Halted);
        assert_eq!(step.asked, [all[0].id]);
    }

    #[test]
    fn who_is_held_back_is_not_asked_and_its_wave_waits_unless_it_rests() {
        let mut all = nodes(200);
        let first = agents(&update(0), &all, late()).asked;
        let waits = |reason: &str| Some(AgentHeld::Waits(reason.into()));
        for node in &mut all {
            node.held = waits("everything is stopped: no");
        }
        let step = agents(&update(0), &all, late());
        assert_eq!(step.asked, Vec::new());
        let (state, wave, reason) = step.next.unwrap();
        assert_eq!((state, wave), (AgentUpdateState::Running, 0));
        assert_eq!(reason, "it waits: everything is stopped: no");
        let held = AgentUpdate { reason, ..update(0) };
        assert_eq!(agents(&held, &all, late()).next, None, "it is said once");
        // One was told before that and has answered; one keeps what it runs whatever comes.
        for node in &mut all {
            node.told = node.id == first[0];
            node.outcome = node.told.then_some(AgentOutcome::Updated);
            node.held =
                if node.id == first[1] { Some(AgentHeld::Rests("updates are off".into())) } else { None };
        }
        let step = agents(&held, &all, late());
        assert_eq!(step.next.unwrap().2, "nothing holds it back any more");
        assert_eq!(step.asked.len(), 9);
        let mut answered = all.clone();
        answer(&mut answered, &agents(&update(0), &all, late()), &AgentOutcome::Updated);
        assert_eq!(agents(&update(0), &answered, late()).next.unwrap().1, 1, "nobody waits for who rests");
        // With one that may begin later it does not go on.
        answered.iter_mut().find(|node| node.id == first[2]).unwrap().outcome = None;
        answered.iter_mut().find(|node| node.id == first[2]).unwrap().held = waits("frozen");
        let step = agents(&update(0), &answered, late());
        assert!(!step.asked.contains(&first[2]));
        assert_eq!(step.next.unwrap().2, "it waits: frozen");
        // What was told and nobody has answered is taken back.
        let mut told = answered.clone();
        told.iter_mut().for_each(|node| node.told = first.contains(&node.id));
        let step = agents(&update(0), &told, late());
        assert!(!step.asked.contains(&first[2]) && step.asked.contains(&first[3]), "{:?}", step.asked);
        assert_eq!(step.next.unwrap().2, "it waits: frozen");
        let done = AgentUpdate { state: AgentUpdateState::Done, ..update(2) };
        assert!(!agents(&done, &told, late()).asked.contains(&first[2]), "also when it has ended");
        // Nor where nobody in the next wave may.
        for node in &mut answered {
            node.told = first.contains(&node.id);
            node.held = if node.told { None } else { waits("everything is stopped: no") };
            node.outcome = node.told.then_some(AgentOutcome::Updated);
        }
        let (_, wave, reason) = agents(&update(0), &answered, late()).next.unwrap();
        assert_eq!((wave, reason.as_str()), (0, "it waits: everything is stopped: no"));
    }
}

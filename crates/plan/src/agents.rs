//! Which nodes are asked to run a new agent, and when the next wave is.

use std::time::Duration;

use backstay_types::{AgentOutcome, AgentUpdate, AgentUpdateId, AgentUpdateState, Digest, NodeId, Timestamp};

/// A node, as far as an update of agents goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentNode {
    /// Its id.
    pub id: NodeId,
    /// What became of the update there.
    pub outcome: Option<AgentOutcome>,
    /// It is not heard from: nobody waits for it.
    pub silent: bool,
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentStep {
    /// The nodes that are asked.
    pub asked: Vec<NodeId>,
    /// How the update stands from now on, with the wave, when that changes.
    pub next: Option<(AgentUpdateState, u32, String)>,
}

/// A node's place in line: the same for all time, and another for each update.
pub fn agent_place(update: AgentUpdateId, node: NodeId) -> Digest {
    Digest::of(format!("{update} {node}").as_bytes())
}

/// Looks at an update of agents. More than a twentieth of those asked failing stops it; among fewer than 20 any failure.
pub fn agents(update: &AgentUpdate, nodes: &[AgentNode], now: Timestamp) -> AgentStep {
    let share = match update.state {
        AgentUpdateState::Done => 100,
        _ => update.waves.get(update.wave as usize).copied().unwrap_or(100),
    };
    let mut line: Vec<_> = nodes.iter().map(|node| (agent_place(update.id, node.id), node)).collect();
    line.sort_by_key(|(place, _)| *place);
    let count = (nodes.len() * usize::from(share)).div_ceil(100);
    let asked: Vec<_> = line.into_iter().take(count).map(|(_, node)| node).collect();
    let next = if update.state == AgentUpdateState::Running { step(update, &asked, now) } else { None };
    AgentStep { asked: asked.into_iter().map(|node| node.id).collect(), next }
}

fn step(
    update: &AgentUpdate,
    asked: &[&AgentNode],
    now: Timestamp,
) -> Option<(AgentUpdateState, u32, String)> {
    let failed =
        asked.iter().filter(|node| matches!(node.outcome, Some(AgentOutcome::Failed { .. }))).count();
    if failed * 20 > asked.len() {
        let reason = format!("it failed on {failed} of {} nodes that were asked", asked.len());
        return Some((AgentUpdateState::Halted, update.wave, reason));
    }
    let answered = asked.iter().filter(|node| node.outcome.is_some()).count();
    let waiting = asked.iter().any(|node| node.outcome.is_none() && !node.silent);
    let soaked = Duration::try_from(now.duration_since(update.wave_at))
        .is_ok_and(|since| since >= Duration::from_secs(update.soak_seconds));
    if asked.is_empty() || waiting || answered == 0 || !soaked {
        return None;
    }
    let next = update.wave + 1;
    let reason = format!("{answered} of {} nodes answered and none too many failed", asked.len());
    if next as usize >= update.waves.len() {
        return Some((AgentUpdateState::Done, update.wave, reason));
    }
    Some((AgentUpdateState::Running, next, reason))
}

#[cfg(test)]
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
        let node =
            |n| AgentNode { id: NodeId::from_uuid(uuid::Uuid::from_u128(n)), outcome: None, silent: false };
        (0..count).map(node).collect()
    }

    fn late() -> Timestamp {
        Timestamp::from_second(61).unwrap()
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
        let all = nodes(200);
        let halted = AgentUpdate { state: AgentUpdateState::Halted, ..update(0) };
        let step = agents(&halted, &all, late());
        assert_eq!((step.asked.len(), step.next), (10, None));
        let done = AgentUpdate { state: AgentUpdateState::Done, ..update(2) };
        assert_eq!(agents(&done, &all, late()).asked.len(), 200);
    }
}

//! New agents for the fleet: that no more nodes are asked than may be, by what those before said; that what holds nodes back
//! holds this back too.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use backstay_engine::WantedAgent;
use backstay_plan::agent_place;
use backstay_store::agents;
use backstay_types::{AgentOutcome, AgentUpdate, AgentUpdateId, AgentUpdateState, Digest, NodeId};

use super::{
    Sim,
    limits::{Limited, OPERATOR},
};
use crate::{
    hub::{Failed, Parts},
    invariant::{Invariant, Planted},
    program::Make,
};

/// Shares of the fleet that are asked, in percent.
const WAVES: [u8; 2] = [30, 100];

/// What is known of updates of agents.
#[derive(Debug, Default)]
pub(super) struct Agents {
    /// Whether any was ever begun.
    pub(super) begun: bool,
    /// Which nodes have been asked.
    asked: BTreeMap<AgentUpdateId, BTreeSet<NodeId>>,
    /// What nodes said that the hub has acknowledged.
    pub(super) said: BTreeMap<(AgentUpdateId, NodeId), AgentOutcome>,
    /// The newest, as the hub had it last.
    newest: Option<AgentUpdate>,
}

impl Sim {
    /// An operator has a new agent brought to the fleet.
    pub(super) fn bring_agents(&mut self, number: usize, make: Make) -> io::Result<()> {
        if !self.hub.is_up() {
            return Ok(());
        }
        // Who was asked before is known before.
        self.settle()?;
        let version = format!("0.2.{number}");
        let program = make.program(&version);
        self.cx.truth.programs.insert(Digest::of(&program), make);
        let wanted = WantedAgent { version: version.clone(), waves: WAVES.to_vec(), soak_seconds: 60 };
        let now = self.hub_clock();
        let done = self.hub.call(now, async |parts: Parts| {
            parts.engine.keep_agent(&version, "x86_64", &program, OPERATOR).await?;
            parts.engine.update_agents(wanted, OPERATOR).await
        });
        // Where the hub died of it nobody knows whether it has begun.
        self.agents.begun = true;
        match done {
            Ok(update) => {
                self.cx.say(OPERATOR, format_args!("brings agent {}: {make:?}", update.version));
            }
            Err(Failed::Down) => self.hub_died(),
            Err(Failed::Error(error)) => {
                self.cx.say(OPERATOR, format_args!("may not bring an agent: {error}"));
            }
        }
        self.look_if_recorded();
        Ok(())
    }

    /// After the hub has recorded something: whether those might be asked who are asked now.
    pub(super) fn judge_agents(&mut self) -> io::Result<()> {
        if !self.agents.begun {
            return Ok(());
        }
        let now = self.hub_clock();
        let read = self.hub.call(now, async |parts: Parts| {
            let newest = parts.engine.newest_agent_update().await?;
            Ok((newest, agents::said(&mut parts.store.read()).await?))
        });
        let Some((Some(update), said)) = self.answered(read)? else { return Ok(()) };
        let before = self.agents.newest.replace(update.clone());
        if before.is_none_or(|before| {
            (before.id, before.state, before.wave) != (update.id, update.state, update.wave)
        }) {
            let AgentUpdate { version, state, wave, reason, .. } = &update;
            self.cx.say("hub", format_args!("agent {version}: {state:?}, wave {}: {reason}", wave + 1));
        }
        let known = self.agents.asked.entry(update.id).or_default().clone();
        let new: Vec<_> =
            self.nodes.iter().map(|node| node.id).filter(|id| said.get(id) == Some(&update.id)).collect();
        for id in new.into_iter().filter(|id| !known.contains(id)) {
            // What was decided before the hub died is seen late.
            if self.looked_at == self.cx.now {
                self.judge_asked(&update, id);
            }
            self.agents.asked.entry(update.id).or_default().insert(id);
        }
        Ok(())
    }

    fn judge_asked(&mut self, update: &AgentUpdate, id: NodeId) {
        let Some(index) = self.index_of(id) else { return };
        let answers = || self.agents.said.iter().filter(|((of, _), _)| *of == update.id);
        let failed = answers().find(|(_, outcome)| matches!(outcome, AgentOutcome::Failed { .. }));
        let mut line: Vec<_> =
            self.nodes.iter().map(|node| (agent_place(update.id, node.id), node.id)).collect();
        line.sort();
        let first = (line.len() * usize::from(WAVES[0])).div_ceil(100);
        let at = line.iter().position(|(_, node)| *node == id).unwrap_or(0);
        let why = if let Some(((_, node), _)) = failed {
            let node = self.index_of(*node).map_or_else(String::new, |index| self.nodes[index].who());
            format!("it failed on {node}")
        } else if at >= first && answers().next().is_none() {
            "nobody of the first wave has said how it does".to_owned()
        } else if self.stopped.is_some() {
            "everything is stopped".to_owned()
        } else if self.limits.contains(&Limited::Frozen) {
            "everything is frozen".to_owned()
        } else if self.limits.contains(&Limited::Off) && index == 0 {
            "its updates are off".to_owned()
        } else if self.vanished.is_none() && self.is_outside(index, self.hub_clock().as_second()) {
            "its windows are closed".to_owned()
        } else {
            return;
        };
        let node = self.nodes[index].who();
        let what = format!("{node} is asked to run agent {}, and {why}", update.version);
        self.cx.violated(Invariant::Agents, what);
    }

    /// An update of agents that has not come to its end, or a node that does not run what it should after it.
    pub(super) fn agents_unrest(&self) -> Option<String> {
        let update = self.agents.newest.as_ref()?;
        match update.state {
            AgentUpdateState::Running => {
                Some(format!("the update to agent {} has not ended: {}", update.version, update.reason))
            }
            AgentUpdateState::Halted => None,
            AgentUpdateState::Done => {
                let program = update.builds.first()?.sha256;
                let node = self.nodes.iter().find(|node| {
                    let failed = node.slots.state.why_failed(&program.to_string()).is_some();
                    node.slots.program(node.slot) != Some(program) && !failed
                })?;
                Some(format!("{} does not run agent {}", node.name, update.version))
            }
        }
    }

    /// For bugs that are planted: everyone is asked at once, or whatever they say.
    pub(super) fn plant_agents(&mut self) -> io::Result<()> {
        if self.cx.has(Planted::AsksEveryone) {
            let wave = "replace(value, '\"wave\":0', '\"wave\":9')";
            self.edit(&format!("UPDATE hub_state SET value = {wave} WHERE key = 'agent_update'"))?;
        }
        if self.cx.has(Planted::HearsOnlyGood) {
            self.edit("UPDATE agent_update_nodes SET outcome = '{\"outcome\":\"updated\"}'")?;
        }
        Ok(())
    }
}

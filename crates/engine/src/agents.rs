//! New agents for nodes: programs are kept here, and asked for wave by wave.

use std::collections::{BTreeMap, HashMap, HashSet};

use backstay_api::statement::DesiredAgent;
use backstay_plan::{
    AgentNode, AgentStep, AgentsInputs, FleetSnapshot, NodeFacts, agents, agents_held, agents_replayed,
};
use backstay_store::{Executor, StoreError, Tx, agents as kept, hub_state};
use backstay_types::{
    AgentBuild, AgentDecision, AgentOutcome, AgentUpdate, AgentUpdateState, Digest, Event, NodeId, Refs,
    Timestamp,
};

use crate::{Engine, EngineError};

const KEY: &str = "agent_update";

/// A decision about an update of agents, and what it came to when it was made again.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplayedAgentDecision {
    /// As it was made.
    pub decision: AgentDecision,
    /// Whether the same came out; none where a person decided, or when it was not asked for.
    pub same: Option<bool>,
    /// What came out, or why it could not be made again.
    pub came_out: Option<String>,
}

/// A new agent that is wanted.
#[derive(Debug, Clone)]
pub struct WantedAgent {
    /// The version; its programs are here.
    pub version: String,
    /// Shares of the fleet in percent, ascending; 100 is added when it is not the last.
    pub waves: Vec<u8>,
    /// How long a wave is watched, in seconds.
    pub soak_seconds: u64,
}

/// Which nodes' statements should speak of an update.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) agent: Option<DesiredAgent>,
    pub(crate) nodes: HashSet<NodeId>,
    /// Those whose statement does not yet, or does and no longer should.
    pub(crate) news: HashSet<NodeId>,
}

impl Asked {
    /// What a node's statement says of its agent.
    pub(crate) fn of(&self, node: NodeId) -> Option<DesiredAgent> {
        self.agent.clone().filter(|_| self.nodes.contains(&node))
    }
}

/// The newest update.
async fn current(ex: &mut impl Executor) -> Result<Option<AgentUpdate>, EngineError> {
    let Some(text) = hub_state::get(ex, KEY).await?.filter(|text| !text.is_empty()) else { return Ok(None) };
    Ok(Some(serde_json::from_str(&text).map_err(StoreError::from)?))
}

/// Keeps how an update stands since `at`, with what the hub decided that from.
async fn keep(
    tx: &mut Tx,
    update: &AgentUpdate,
    (by, at): (&str, Timestamp),
    inputs: Option<&AgentsInputs>,
) -> Result<(), EngineError> {
    hub_state::set(tx, KEY, &serde_json::to_string(update).map_err(StoreError::from)?).await?;
    let decision = AgentDecision {
        number: 0,
        at,
        state: update.state,
        wave: update.wave,
        reason: update.reason.clone(),
        by: inputs.is_none().then(|| by.to_owned()),
        inputs: serde_json::to_value(inputs).map_err(StoreError::from)?,
    };
    kept::decide(tx, update.id, &decision).await?;
    let event = Event::AgentUpdateChanged {
        update: update.id,
        version: update.version.clone(),
        state: update.state,
        wave: update.wave + 1,
        reason: update.reason.clone(),
        by: by.to_owned(),
    };
    tx.record(event, Refs::default())?;
    Ok(())
}

impl Engine {
    /// Keeps an agent's program. The same one again is kept once.
    ///
    /// # Errors
    /// When it is no program for that kind of processor, or the store fails.
    pub async fn keep_agent(
        &self,
        version: &str,
        arch: &str,
        content: &[u8],
        by: &str,
    ) -> Result<AgentBuild, EngineError> {
        check_program(arch, content)?;
        if version.is_empty() || version.len() > 40 || !version.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(EngineError::Invalid(
                "version: expected 1 to 40 characters without spaces".to_owned(),
            ));
        }
        let build = AgentBuild {
            version: version.to_owned(),
            arch: arch.to_owned(),
            sha256: Digest::of(content),
            bytes: content.len() as u64,
        };
        let mut tx = self.inner.store.begin().await?;
        let known = kept::builds(&mut tx).await?;
        if let Some(other) =
            known.iter().find(|b| b.version == version && b.arch == arch && b.sha256 != build.sha256)
        {
            let reason = format!(
                "version {version} for {arch} is here already, with SHA-256 {}",
                other.sha256.short()
            );
            return Err(EngineError::Conflict(reason));
        }
        if kept::insert_build(&mut tx, &build, content, by, self.inner.world.now()).await? {
            let detail = format!("agent {version} for {arch} was uploaded, SHA-256 {}", build.sha256);
            tx.record(Event::AgentKept { detail, by: by.to_owned() }, Refs::default())?;
            tx.commit().await?;
        }
        Ok(build)
    }

    /// Begins to bring a version to the nodes.
    ///
    /// # Errors
    /// When there is no such version, another update runs, or the store fails.
    pub async fn update_agents(&self, wanted: WantedAgent, by: &str) -> Result<AgentUpdate, EngineError> {
        let waves = waves(wanted.waves)?;
        let mut tx = self.inner.store.begin().await?;
        let builds: Vec<_> = kept::builds(&mut tx)
            .await?
            .into_iter()
            .filter(|build| build.version == wanted.version)
            .collect();
        if builds.is_empty() {
            return Err(EngineError::not_found("agent version", &wanted.version));
        }
        if let Some(running) = current(&mut tx).await?.filter(|u| u.state == AgentUpdateState::Running) {
            let reason = format!("the update to {} runs; halt it first", running.version);
            return Err(EngineError::Conflict(reason));
        }
        let now = self.inner.world.now();
        let update = AgentUpdate {
            id: self.inner.world.mint(),
            version: wanted.version,
            builds,
            waves,
            soak_seconds: wanted.soak_seconds,
            wave: 0,
            wave_at: now,
            state: AgentUpdateState::Running,
            reason: "it was asked for".to_owned(),
            by: by.to_owned(),
            created_at: now,
        };
        keep(&mut tx, &update, (by, now), None).await?;
        tx.commit().await?;
        self.wake();
        Ok(update)
    }

    /// Stops an update: who was asked stays asked, nobody else is.
    ///
    /// # Errors
    /// When none runs, or the store fails.
    pub async fn halt_agents(&self, reason: &str, by: &str) -> Result<AgentUpdate, EngineError> {
        let mut tx = self.inner.store.begin().await?;
        let Some(update) = current(&mut tx).await?.filter(|u| u.state == AgentUpdateState::Running) else {
            return Err(EngineError::Conflict("no update of agents runs".to_owned()));
        };
        let update = AgentUpdate { state: AgentUpdateState::Halted, reason: reason.to_owned(), ..update };
        keep(&mut tx, &update, (by, self.inner.world.now()), None).await?;
        tx.commit().await?;
        Ok(update)
    }

    /// The newest update with what became of it, by node.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn agent_update(
        &self,
    ) -> Result<Option<(AgentUpdate, HashMap<NodeId, AgentOutcome>)>, EngineError> {
        let mut store = self.inner.store.read();
        let Some(update) = current(&mut store).await? else { return Ok(None) };
        let answers = kept::answers(&mut store, update.id).await?;
        Ok(Some((update, answers)))
    }

    /// Everything that was decided about the newest update, in order; with `replay`, decided again from what was kept.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn agent_decisions(&self, replay: bool) -> Result<Vec<ReplayedAgentDecision>, EngineError> {
        let mut store = self.inner.store.read();
        let Some(update) = current(&mut store).await? else { return Ok(Vec::new()) };
        let again = |decision: AgentDecision| match replay && decision.by.is_none() {
            true => replayed(decision),
            false => ReplayedAgentDecision { decision, same: None, came_out: None },
        };
        Ok(kept::decisions(&mut store, update.id).await?.into_iter().map(again).collect())
    }

    /// The newest update of agents, without what nodes say of it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn newest_agent_update(&self) -> Result<Option<AgentUpdate>, EngineError> {
        current(&mut self.inner.store.read()).await
    }

    /// Takes the update a step on, and says which nodes' statements should speak of it. True when it moved.
    pub(crate) async fn step_agents(
        &self,
        tx: &mut Tx,
        world: &FleetSnapshot,
    ) -> Result<(Asked, bool), EngineError> {
        let Some(update) = current(tx).await? else { return Ok((Asked::default(), false)) };
        let runs = update.state == AgentUpdateState::Running;
        let held = agents_held(world);
        // Once nothing is decided any more, what nodes answered is for people alone, unless something holds nodes back.
        let asks = runs || held.iter().any(Option::is_some);
        let mut answers = if asks { kept::answers(tx, update.id).await? } else { HashMap::new() };
        let said = kept::said(tx).await?;
        let told = |node: &NodeFacts| said.get(&node.id) == Some(&update.id);
        let node = |(node, held): (&NodeFacts, _)| AgentNode {
            id: node.id,
            outcome: answers.remove(&node.id),
            silent: node.silent,
            told: told(node),
            held,
        };
        let fleet: Vec<_> = world.nodes.iter().zip(held).map(node).collect();
        let AgentStep { asked, next, inputs } = agents(&update, &fleet, world.now);
        let mut moved = false;
        if let Some((state, wave, reason)) = next {
            let wave_at = if wave == update.wave { update.wave_at } else { world.now };
            let update = AgentUpdate { state, wave, wave_at, reason, ..update.clone() };
            keep(tx, &update, ("the hub", world.now), inputs.as_ref()).await?;
            moved = true;
        }
        let nodes: HashSet<_> = asked.into_iter().collect();
        let is_news = |node: &&NodeFacts| nodes.contains(&node.id) != told(node);
        let news = world.nodes.iter().filter(is_news).map(|node| node.id).collect();
        let agent = DesiredAgent { update: update.id, version: update.version, builds: update.builds };
        Ok((Asked { agent: Some(agent), nodes, news }, moved))
    }

    /// Takes in what an agent says of its update.
    pub(crate) async fn agent_answered(
        &self,
        tx: &mut Tx,
        node: NodeId,
        update: backstay_types::AgentUpdateId,
        version: &str,
        outcome: &AgentOutcome,
    ) -> Result<(), EngineError> {
        if current(tx).await?.is_none_or(|current| current.id != update) {
            return Ok(());
        }
        if kept::answer(tx, update, node, outcome, self.inner.world.now()).await? {
            let event = Event::AgentUpdated { version: version.to_owned(), outcome: outcome.clone() };
            tx.record(event, Refs { node: Some(node), ..Refs::default() })?;
        }
        Ok(())
    }
}

fn replayed(decision: AgentDecision) -> ReplayedAgentDecision {
    let (same, came_out) = match agents_replayed(&decision.inputs) {
        Ok(Some((state, wave, reason))) => {
            let same = (state, wave, &reason) == (decision.state, decision.wave, &decision.reason);
            (same, if same { reason } else { format!("{state:?}, wave {}: {reason}", wave + 1) })
        }
        Ok(None) => (false, "it stays as it is".to_owned()),
        Err(error) => (false, format!("what was kept cannot be read: {error}")),
    };
    ReplayedAgentDecision { decision, same: Some(same), came_out: Some(came_out) }
}

fn waves(mut waves: Vec<u8>) -> Result<Vec<u8>, EngineError> {
    let ascending = waves.windows(2).all(|pair| pair[0] < pair[1]);
    if !ascending || waves.iter().any(|share| !(1..=100).contains(share)) || waves.len() > 20 {
        return Err(EngineError::Invalid(
            "waves: expected ascending shares of 1 to 100 percent, at most 20".to_owned(),
        ));
    }
    if waves.last() != Some(&100) {
        waves.push(100);
    }
    Ok(waves)
}

/// Whether it is a Linux program for that kind of processor.
fn check_program(arch: &str, content: &[u8]) -> Result<(), EngineError> {
    let known = BTreeMap::from([("x86_64", 62u16), ("aarch64", 183), ("arm", 40), ("riscv64", 243)]);
    let Some(machine) = known.get(arch) else {
        return Err(EngineError::Invalid("arch: expected x86_64, aarch64, arm or riscv64".to_owned()));
    };
    let found = content.get(18..20).and_then(|bytes| bytes.try_into().ok()).map(u16::from_le_bytes);
    if !content.starts_with(b"\x7fELF") || found != Some(*machine) {
        return Err(EngineError::Invalid(format!("body: it is no Linux program for {arch}")));
    }
    Ok(())
}

//! `/api/v1/agents`: which agents run, and bringing another to the nodes.

use std::collections::HashMap;

use backstay_api::v1::{
    AgentDecisionView, AgentDecisions, AgentNodeView, AgentsView, GetAgentDecisions, GetAgents, HaltAgents,
    UpdateAgents, UploadAgent,
};
use backstay_engine::{ReplayedAgentDecision, WantedAgent};
use backstay_store::agents;
use backstay_types::{AgentBuild, AgentOutcome, AgentUpdate};

use crate::{
    http::{ApiError, Call, reason},
    live::Census,
};

/// No agent is larger.
pub(crate) const LARGEST: usize = 64 << 20;
/// No more nodes are named.
const NAMED: usize = 100;
const WAVES: [u8; 3] = [5, 25, 100];
const SOAK: u64 = 600;
const LONGEST_SOAK: u64 = 7 * 24 * 3600;

/// Which agents run, and how the newest update stands.
pub(crate) async fn get_agents(call: Call<GetAgents>) -> Result<AgentsView, ApiError> {
    let app = call.app;
    let mut store = app.store.read();
    let census = Census::take(&app, &mut store).await?;
    let builds = agents::builds(&mut store).await?;
    let nodes = app.roster.nodes(&mut store).await?;
    let (update, answers) = app.engine.agent_update().await?.unzip();
    let answers: HashMap<_, _> = answers.unwrap_or_default();
    let updated = answers.values().filter(|outcome| **outcome == AgentOutcome::Updated).count() as u64;
    let not_updated = nodes.iter().filter_map(|node| {
        let outcome = answers.get(&node.id).filter(|outcome| **outcome != AgentOutcome::Updated)?;
        Some(AgentNodeView { node: node.name.clone(), outcome: outcome.clone() })
    });
    let not_updated = not_updated.take(NAMED).collect();
    Ok(AgentsView { versions: census.agents, builds, update, updated, not_updated })
}

/// What was decided about the newest update.
pub(crate) async fn get_agent_decisions(call: Call<GetAgentDecisions>) -> Result<AgentDecisions, ApiError> {
    let replay = call.query.replay.unwrap_or(false);
    let view = |one: ReplayedAgentDecision| AgentDecisionView {
        decision: one.decision,
        same: one.same,
        came_out: one.came_out,
    };
    let decisions = call.app.engine.agent_decisions(replay).await?;
    Ok(AgentDecisions { decisions: decisions.into_iter().map(view).collect() })
}

/// Keeps a program.
pub(crate) async fn upload_agent(call: Call<UploadAgent>) -> Result<AgentBuild, ApiError> {
    let Call { app, caller, query, body, .. } = call;
    Ok(app.engine.keep_agent(&query.version, &query.arch, &body.0, &caller.by()).await?)
}

/// Brings a version to all nodes.
pub(crate) async fn update_agents(call: Call<UpdateAgents>) -> Result<AgentUpdate, ApiError> {
    let Call { app, caller, body, .. } = call;
    let soak_seconds = body.soak_seconds.unwrap_or(SOAK);
    if soak_seconds > LONGEST_SOAK {
        return Err(ApiError::invalid("soak_seconds", format!("expected at most {LONGEST_SOAK}")));
    }
    let waves = if body.waves.is_empty() { WAVES.to_vec() } else { body.waves };
    Ok(app
        .engine
        .update_agents(WantedAgent { version: body.version, waves, soak_seconds }, &caller.by())
        .await?)
}

/// Stops the update that runs.
pub(crate) async fn halt_agents(call: Call<HaltAgents>) -> Result<AgentUpdate, ApiError> {
    let why = reason(&call.body.reason)?;
    Ok(call.app.engine.halt_agents(why, &call.caller.by()).await?)
}

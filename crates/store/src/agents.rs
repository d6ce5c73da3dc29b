//! Agents' programs, and what became of bringing them to nodes.

use std::collections::HashMap;

use backstay_types::{AgentBuild, AgentDecision, AgentOutcome, AgentUpdateId, Digest, NodeId, Timestamp};

use crate::{
    Result, Tx,
    db::{Executor, Row, query},
    value::{json, word},
};

/// Keeps a program. The same one again changes nothing; true when it is new.
///
/// # Errors
/// When the database refuses.
pub async fn insert_build(
    tx: &mut Tx,
    build: &AgentBuild,
    content: &[u8],
    by: &str,
    now: Timestamp,
) -> Result<bool> {
    let insert = "INSERT INTO agent_builds (sha256, version, arch, bytes, content, created_by, created_at) \
                  VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (sha256) DO NOTHING";
    let insert = query(insert).bind(build.sha256).bind(build.version.as_str()).bind(build.arch.as_str());
    Ok(insert.bind(build.bytes).bind(content).bind(by).bind(now).run(tx).await? > 0)
}

/// All programs, newest first, without their content.
///
/// # Errors
/// When the database cannot be read.
pub async fn builds(ex: &mut impl Executor) -> Result<Vec<AgentBuild>> {
    let read = |row: &Row| {
        Ok(AgentBuild {
            version: row.get("version")?,
            arch: row.get("arch")?,
            sha256: row.get("sha256")?,
            bytes: row.get("bytes")?,
        })
    };
    query("SELECT sha256, version, arch, bytes FROM agent_builds ORDER BY created_at DESC, arch")
        .all(ex, read)
        .await
}

/// A program.
///
/// # Errors
/// When the database cannot be read.
pub async fn content(ex: &mut impl Executor, sha256: Digest) -> Result<Option<Vec<u8>>> {
    query("SELECT content FROM agent_builds WHERE sha256 = $1")
        .bind(sha256)
        .optional(ex, |row| row.get("content"))
        .await
}

/// Notes what became of an update on a node. True when that is news.
///
/// # Errors
/// When the database refuses.
pub async fn answer(
    tx: &mut Tx,
    update: AgentUpdateId,
    node: NodeId,
    outcome: &AgentOutcome,
    now: Timestamp,
) -> Result<bool> {
    let text = serde_json::to_string(outcome)?;
    let known = query("SELECT outcome FROM agent_update_nodes WHERE update_id = $1 AND node_id = $2");
    let known: Option<String> = known.bind(update).bind(node).optional(tx, |row| row.get("outcome")).await?;
    if known.as_deref() == Some(&text) {
        return Ok(false);
    }
    let upsert = "INSERT INTO agent_update_nodes (update_id, node_id, outcome, at) VALUES ($1, $2, $3, $4) \
                  ON CONFLICT (update_id, node_id) DO UPDATE SET outcome = excluded.outcome, at = excluded.at";
    query(upsert).bind(update).bind(node).bind(text).bind(now).run(tx).await?;
    Ok(true)
}

/// What became of an update on the nodes that have answered.
///
/// # Errors
/// When the database cannot be read.
pub async fn answers(ex: &mut impl Executor, update: AgentUpdateId) -> Result<HashMap<NodeId, AgentOutcome>> {
    let select = query("SELECT node_id, outcome FROM agent_update_nodes WHERE update_id = $1").bind(update);
    let read = |row: &Row| Ok((row.get::<NodeId>("node_id")?, row.get::<String>("outcome")?));
    let mut answers = HashMap::new();
    for (node, text) in select.all(ex, read).await? {
        answers.insert(node, serde_json::from_str(&text)?);
    }
    Ok(answers)
}

/// Which update each node's statement speaks of.
///
/// # Errors
/// When the database cannot be read.
pub async fn said(ex: &mut impl Executor) -> Result<HashMap<NodeId, AgentUpdateId>> {
    let read = |row: &Row| Ok((row.get("node_id")?, row.get("update_id")?));
    Ok(query("SELECT node_id, update_id FROM desired_agents").all(ex, read).await?.into_iter().collect())
}

/// Notes that nodes' statements speak of an update.
///
/// # Errors
/// When the database refuses.
pub async fn say(tx: &mut Tx, update: AgentUpdateId, nodes: &[NodeId]) -> Result<()> {
    for node in nodes {
        let upsert = "INSERT INTO desired_agents (node_id, update_id) VALUES ($1, $2) \
                      ON CONFLICT (node_id) DO UPDATE SET update_id = excluded.update_id";
        query(upsert).bind(*node).bind(update).run(tx).await?;
    }
    Ok(())
}

/// Notes that nodes' statements speak of no update any more.
///
/// # Errors
/// When the database refuses.
pub async fn say_no_more(tx: &mut Tx, nodes: &[NodeId]) -> Result<()> {
    for node in nodes {
        query("DELETE FROM desired_agents WHERE node_id = $1").bind(*node).run(tx).await?;
    }
    Ok(())
}

/// Keeps a decision about an update under its next number; the one that it carries is not looked at.
///
/// # Errors
/// [`Conflict`](crate::StoreError::Conflict) when another was kept at the same moment.
pub async fn decide(tx: &mut Tx, update: AgentUpdateId, decision: &AgentDecision) -> Result<()> {
    let number = query("SELECT COALESCE(MAX(number), 0) AS n FROM agent_decisions WHERE update_id = $1");
    let number: u32 = number.bind(update).optional(tx, |row| row.get("n")).await?.unwrap_or(0);
    query(
        "INSERT INTO agent_decisions (update_id, number, at, state, wave, reason, decided_by, inputs) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(update)
    .bind(number + 1)
    .bind(decision.at)
    .bind(word(&decision.state)?)
    .bind(decision.wave)
    .bind(decision.reason.as_str())
    .bind(decision.by.as_deref())
    .bind(json(&decision.inputs)?)
    .run(tx)
    .await
    .map_err(|e| e.or_conflict("decision", update))
    .map(drop)
}

/// All decisions about an update, in order.
///
/// # Errors
/// When the database cannot be read.
pub async fn decisions(ex: &mut impl Executor, update: AgentUpdateId) -> Result<Vec<AgentDecision>> {
    let read = |row: &Row| {
        Ok(AgentDecision {
            number: row.get("number")?,
            at: row.get("at")?,
            state: row.word("state")?,
            wave: row.get("wave")?,
            reason: row.get("reason")?,
            by: row.opt("decided_by")?,
            inputs: row.json("inputs")?,
        })
    };
    let select = query("SELECT * FROM agent_decisions WHERE update_id = $1 ORDER BY number");
    select.bind(update).all(ex, read).await
}

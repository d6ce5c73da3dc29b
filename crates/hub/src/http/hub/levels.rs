//! Figures that are read from state when someone asks.

use std::{collections::BTreeMap, time::Duration};

use backstay_store::{
    Reader,
    backups::{jobs, repositories as kept},
    figures, ledger, nodes, repositories,
};
use backstay_types::{NodeState, Repository, RepositoryHealth};

use crate::{
    app::App,
    http::{ApiError, backups::standing::standing},
    metrics::Levels,
};

/// All figures as they are now.
pub(crate) async fn levels(app: &App) -> Result<Levels, ApiError> {
    let mut store = app.store.read();
    let pending = figures::unsealed(&mut store).await?;
    let now = app.world.now();
    let age = |at| Duration::try_from(now.duration_since(at)).unwrap_or_default();
    let backups = standing(app).await?;
    let (rate, drills) = (backups.rate(), backups.drill_rate());
    let words = backups.by_state().into_iter().map(|(state, count)| (word(&state), count)).collect();
    let mut open = BTreeMap::new();
    for job in jobs::open(&mut store).await? {
        *open.entry(word(&job.state)).or_default() += 1;
    }
    let telemetry = app.telemetry.figures().await;
    let logs = app.telemetry.logs.figures().await;
    Ok(Levels {
        telemetry,
        logs,
        backups: words,
        oldest_proven: backups.oldest_proven_at().map(age).unwrap_or_default(),
        proven_by_stack: backups
            .proven_by_stack()
            .into_iter()
            .map(|(stack, at)| (stack.to_string(), age(at)))
            .collect(),
        backup_rate: (rate.done, rate.failed),
        drill_rate: (drills.done, drills.failed),
        oldest_drilled: backups.oldest_drilled_at().map(age).unwrap_or_default(),
        restores: backups.restore_ms().into_iter().map(|(stack, ms)| (stack.to_string(), ms)).collect(),
        repository_bytes: kept::totals(&mut store).await?,
        backup_jobs: open,
        waiters: app.live.held(),
        ledger_head: ledger::head(&mut store).await?.seq,
        ledger_pending: pending.entries,
        seal_lag: pending.oldest.map(age).unwrap_or_default(),
        nodes: nodes_by_state(app, &mut store).await?,
        deployments: figures::latest_deployments_by_state(&mut store).await?,
        hosts: app.live.conditions(now),
        repositories: count(repositories::list(&mut store).await?.iter().map(mirror_word)),
    })
}

/// The word under which it is written.
fn word(value: &impl serde::Serialize) -> String {
    let word = serde_json::to_value(value).ok();
    word.and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Nodes by state.
pub(super) async fn nodes_by_state(app: &App, store: &mut Reader) -> Result<BTreeMap<String, u64>, ApiError> {
    let mut counts = BTreeMap::new();
    let mut after = None;
    loop {
        let batch = nodes::list(store, after.as_ref(), 1000).await?;
        let Some(last) = batch.last() else { return Ok(counts) };
        after = Some(last.name.clone());
        for node in &batch {
            *counts.entry(node_word(app.node_state(node)).to_owned()).or_default() += 1;
        }
    }
}

fn count(words: impl Iterator<Item = &'static str>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for word in words {
        *counts.entry(word.to_owned()).or_default() += 1;
    }
    counts
}

fn node_word(state: NodeState) -> &'static str {
    match state {
        NodeState::Joined => "joined",
        NodeState::Online => "online",
        NodeState::Offline => "offline",
        NodeState::Unknown => "unknown",
        NodeState::Revoked => "revoked",
    }
}

fn mirror_word(repository: &Repository) -> &'static str {
    match repository.health {
        RepositoryHealth::New => "new",
        RepositoryHealth::Ok => "ok",
        RepositoryHealth::Unreachable { .. } => "unreachable",
        RepositoryHealth::Invalid { .. } => "invalid",
        RepositoryHealth::Rewritten { .. } => "rewritten",
    }
}

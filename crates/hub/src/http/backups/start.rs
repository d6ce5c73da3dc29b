//! Backups, checks and prunes begun by hand.

use backstay_api::v1::{
    BackupJobView, PlannedSnapshot, PruneBackups, PruneView, StartBackup, StartBackupRequest, StartDrill,
    StartDrillRequest, StartedBackups, VerifyBackups,
};
use backstay_engine::backups::{Wanted, WantedDrill, Whose};
use backstay_manifest::Selector;
use backstay_store::{Executor, backups::snapshots, nodes};
use backstay_types::{
    ErrorCode, Node,
    backup::{BackupJob, BackupReason, BackupTask, SaveWork},
};

use super::{job_view, job_views, whose};
use crate::{
    app::App,
    http::{ApiError, Call, find},
};

/// How many jobs are named in an answer.
const NAMED: usize = 1000;

/// Backs up now.
pub(crate) async fn start(call: Call<StartBackup>) -> Result<StartedBackups, ApiError> {
    let Call { app, caller, body, .. } = call;
    let stacks: Vec<_> = body.stack.clone().into_iter().collect();
    let work =
        SaveWork { stacks, reason: BackupReason::Manual, deployment: None, conversation: None, last: false };
    let wanted = of_whom(&app, &body).await?.into_iter();
    let wanted: Vec<_> =
        wanted.map(|whose| Wanted { whose, task: BackupTask::Save(work.clone()), id: None }).collect();
    let jobs = app.engine.ask_backups(wanted, &caller.by()).await?;
    started(&app, jobs).await
}

async fn started(app: &App, mut jobs: Vec<BackupJob>) -> Result<StartedBackups, ApiError> {
    app.backups.wake.notify_one();
    let count = jobs.len() as u64;
    jobs.truncate(NAMED);
    let mut jobs = job_views(&mut app.store.read(), jobs).await?;
    jobs.sort_by(|a, b| a.node_name.cmp(&b.node_name));
    Ok(StartedBackups { jobs, count })
}

/// Drills now.
pub(crate) async fn drill(call: Call<StartDrill>) -> Result<StartedBackups, ApiError> {
    let Call { app, caller, body, .. } = call;
    let wanted = match &body.snapshot {
        Some(digits) => vec![of_snapshot(&app, &body, digits).await?],
        None => of_stacks(&app, &body).await?,
    };
    let jobs = app.engine.ask_drills(wanted, &caller.by()).await?;
    started(&app, jobs).await
}

/// The drill of one snapshot: its own node and stack, which whoever asks may name.
async fn of_snapshot(app: &App, body: &StartDrillRequest, digits: &str) -> Result<WantedDrill, ApiError> {
    let found = app.engine.find_snapshot(digits).await?;
    let stack = found.kept.snapshot.tags.stack.clone();
    let (Some(id), Some(stack)) = (found.whose, stack) else {
        let text = "this is a snapshot of the hub's own state: `backstay hub restore` tries it";
        return Err(ApiError::invalid("snapshot", text));
    };
    let mut store = app.store.read();
    let own = nodes::get(&mut store, id).await?.ok_or_else(|| ApiError::missing("node", id))?;
    let node = match &body.node {
        Some(name) => find::node(&mut store, name).await?,
        None => own,
    };
    let fits = body.stack.as_ref().is_none_or(|given| *given == stack);
    if node.id != id || !fits {
        return Err(ApiError::missing("snapshot of this node and stack", digits));
    }
    Ok(WantedDrill {
        node: active(node)?,
        stack,
        snapshot: Some(digits.to_owned()),
        files_only: body.files_only,
    })
}

/// The drills of all stacks that are meant and of which there is a proven snapshot.
async fn of_stacks(app: &App, body: &StartDrillRequest) -> Result<Vec<WantedDrill>, ApiError> {
    if body.node.is_none() && body.stack.is_none() {
        return Err(ApiError::invalid("node", "give a node, a stack or a snapshot"));
    }
    let mut store = app.store.read();
    let meant = match &body.node {
        Some(name) => vec![active(find::node(&mut store, name).await?)?],
        None => nodes::active(&mut store).await?,
    };
    let stacks = snapshots::newest_of_stacks(&mut store).await?;
    let mut wanted = Vec::new();
    for (id, stack, _) in stacks {
        let node = meant.iter().find(|node| node.id == id);
        let Some(node) = node.filter(|_| body.stack.as_ref().is_none_or(|given| *given == stack)) else {
            continue;
        };
        let (node, files_only) = (node.clone(), body.files_only);
        wanted.push(WantedDrill { node, stack, snapshot: None, files_only });
    }
    if wanted.is_empty() {
        let text = "there is no proven snapshot that this fits; `backstay backup list` shows all";
        return Err(ApiError::new(ErrorCode::BS9017, text));
    }
    Ok(wanted)
}

fn active(node: Node) -> Result<Node, ApiError> {
    match node.revoked_at {
        None => Ok(node),
        Some(_) => Err(ApiError::invalid("node", format!("{} is no longer in the fleet", node.name))),
    }
}

/// Whose data is meant.
async fn of_whom(app: &App, body: &StartBackupRequest) -> Result<Vec<Whose>, ApiError> {
    let given = [body.node.is_some(), body.nodes.is_some(), body.all, body.hub];
    if given.iter().filter(|given| **given).count() != 1 {
        return Err(ApiError::invalid("node", "give exactly one of node, nodes, all and hub"));
    }
    if body.hub {
        return match &body.stack {
            Some(_) => Err(ApiError::invalid("stack", "the hub's own state has no stacks")),
            None => Ok(vec![None]),
        };
    }
    let mut store = app.store.read();
    if let Some(name) = &body.node {
        let node = find::node(&mut store, name).await?;
        return Ok(vec![Some(active(node)?.id)]);
    }
    let chosen = fitting(&mut store, body.nodes.as_deref()).await?;
    Ok(chosen.into_iter().map(|node| Some(node.id)).collect())
}

/// The nodes of the fleet that a label selector matches, all without one; by name.
pub(super) async fn fitting(ex: &mut impl Executor, selector: Option<&str>) -> Result<Vec<Node>, ApiError> {
    let selector = selector.map(str::parse::<Selector>).transpose();
    let selector = selector.map_err(|error| ApiError::invalid("nodes", error))?;
    let mut all = nodes::active(ex).await?;
    all.retain(|node| selector.as_ref().is_none_or(|selector| selector.matches(&node.name, &node.labels)));
    Ok(all)
}

/// Reads back now.
pub(crate) async fn verify(call: Call<VerifyBackups>) -> Result<BackupJobView, ApiError> {
    let Call { app, caller, body, .. } = call;
    let whose = whose(&app, &body.node).await?;
    let snapshots = match &body.snapshot {
        None => Vec::new(),
        Some(digits) => {
            let found = app.engine.find_snapshot(digits).await?;
            if found.whose != whose {
                return Err(ApiError::missing("snapshot of this node", digits));
            }
            vec![found.kept.snapshot.id]
        }
    };
    one(&app, whose, BackupTask::Verify { snapshots }, &caller.by()).await
}

/// Forgets and takes away, or says what that would be.
pub(crate) async fn prune(call: Call<PruneBackups>) -> Result<PruneView, ApiError> {
    let Call { app, caller, body, .. } = call;
    let whose = whose(&app, &body.node).await?;
    let planned = app.engine.retention_of(whose).await?;
    let snapshots = planned
        .into_iter()
        .map(|(one, fate)| PlannedSnapshot {
            id: one.snapshot.id,
            at: one.snapshot.at,
            stack: one.snapshot.tags.stack,
            proof: one.snapshot.proof,
            stays: fate.stays,
            reason: fate.why,
        })
        .collect();
    let job = one(&app, whose, BackupTask::Prune { dry_run: body.dry_run }, &caller.by()).await?;
    Ok(PruneView { snapshots, job })
}

async fn one(app: &App, whose: Whose, task: BackupTask, by: &str) -> Result<BackupJobView, ApiError> {
    let mut jobs = app.engine.ask_backups(vec![Wanted { whose, task, id: None }], by).await?;
    app.backups.wake.notify_one();
    let job = jobs.pop().ok_or_else(|| ApiError::internal("no job"))?;
    job_view(&mut app.store.read(), job).await
}

//! Stopping, starting and asking the stack whose data is put back.

use std::{collections::BTreeSet, time::Duration};

use backstay_agent_core::Prepared;
use backstay_manifest::BackupSource;
use backstay_types::Step;

use super::Restoring;
use crate::{
    backup::{BackupError, DataPlan, database::Postgres, desk::Desk, exec::Scene},
    runtime::compose::Engine,
    step::{Failed, Records, Work},
};

/// How long a database may take until it can be asked.
const READY: Duration = Duration::from_secs(120);
/// How long making services anew may take.
const START: Duration = Duration::from_secs(10 * 60);

fn prepared(state: &Restoring) -> Result<&Prepared, BackupError> {
    let prepared = state.committed.prepared.as_ref();
    prepared.ok_or_else(|| BackupError::Restore("it is not known how the stack runs".to_owned()))
}

fn said(failed: Failed) -> BackupError {
    BackupError::Restore(failed.reason)
}

/// The services that are asked for their data, and so have to run until that is done.
fn servers(plan: &DataPlan) -> BTreeSet<&str> {
    plan.backups.items.iter().filter_map(|item| item.what.service()).collect()
}

/// Stops what writes, under Compose: all services but those that are asked for their data. With `remove` the engine cannot
/// start them again.
pub(in crate::backup) async fn stop_writers(plan: &DataPlan, remove: bool) -> Result<(), BackupError> {
    if plan.runtime != "compose" {
        return Ok(());
    }
    let (engine, servers) = (Engine::new(), servers(plan));
    let failed = || BackupError::restore("the container engine");
    let running = engine.containers(&plan.project).await.map_err(failed())?;
    let writers = running.into_iter().filter(|one| one.running && !servers.contains(one.service.as_str()));
    for container in writers {
        engine.tell(&container.id, "stop").await.map_err(failed())?;
        if remove {
            // The engine would start it again when the power goes, and it must not meet other data.
            engine.remove(&container.id).await.map_err(failed())?;
        }
    }
    Ok(())
}

pub(in crate::backup) async fn down(desk: &Desk, state: &Restoring) -> Result<(), BackupError> {
    let mut records = Records::new(desk.machine.world.clone());
    let tree = Some(state.committed.tree);
    desk.machine.down(&state.stack, tree, prepared(state)?, &mut records).await.map_err(said)
}

pub(in crate::backup) async fn up(desk: &Desk, state: &Restoring) -> Result<(), BackupError> {
    let mut records = Records::new(desk.machine.world.clone());
    let to = (&state.stack, state.committed.tree);
    let up = desk.machine.up(to, None, prepared(state)?, Step::Return, &mut records).await;
    up.map(drop).map_err(said)
}

pub(in crate::backup) async fn probe(desk: &Desk, state: &Restoring) -> Result<(), BackupError> {
    let tree = state.committed.tree;
    let healthy = desk.machine.probe(&state.stack, tree, prepared(state)?, Step::Return).await;
    healthy.map(drop).map_err(said)
}

/// Puts loaded databases in the place of those that were.
pub(in crate::backup) async fn swap_databases(desk: &Desk, state: &Restoring) -> Result<(), BackupError> {
    if state.databases.is_empty() {
        return Ok(());
    }
    serve(desk, state).await?;
    let scene = desk.scene(&state.stack, state.committed.tree);
    for base in &state.databases {
        let server = server(state, &scene, &base.item).await?;
        server.ready(READY).await?;
        server.swap(&base.name, &base.new, &base.old).await?;
    }
    Ok(())
}

/// Puts those that were back.
pub(in crate::backup) async fn swap_databases_back(
    desk: &Desk,
    state: &Restoring,
) -> Result<(), BackupError> {
    if state.databases.is_empty() {
        return Ok(());
    }
    serve(desk, state).await?;
    stop_writers(&state.plan, state.deployment.is_some()).await?;
    let scene = desk.scene(&state.stack, state.committed.tree);
    for base in &state.databases {
        let server = server(state, &scene, &base.item).await?;
        server.ready(READY).await?;
        server.swap_back(&base.name, &base.new, &base.old).await?;
    }
    Ok(())
}

/// Takes away databases that are not needed any more: those that were replaced, and those that were loaded in vain.
pub(in crate::backup) async fn forget_databases(desk: &Desk, state: &Restoring) -> Result<(), BackupError> {
    let scene = desk.scene(&state.stack, state.committed.tree);
    for base in &state.databases {
        let server = server(state, &scene, &base.item).await?;
        server.ready(READY).await?;
        server.forget(&base.name, &base.new).await?;
        server.forget(&base.name, &base.old).await?;
    }
    Ok(())
}

/// Makes what the stack has of volumes, where nothing of it ran before: with the content and the owner that its images give
/// them. Nothing is started but the servers into which dumps are to be loaded.
pub(in crate::backup) async fn make_room(desk: &Desk, state: &Restoring) -> Result<(), BackupError> {
    if state.plan.runtime != "compose" {
        return Ok(());
    }
    let work = Work::Recreate {
        stack: state.stack.clone(),
        committed: state.committed.clone(),
        services: Vec::new(),
    };
    let mut records = Records::new(desk.machine.world.clone());
    desk.machine.child(work, Step::Snapshot, START, &mut records).await.map(drop).map_err(said)?;
    let is_postgres = |what: &BackupSource| matches!(what, BackupSource::Postgres(_));
    let items = state.plan.backups.items.iter().filter(|item| is_postgres(&item.what));
    serve_these(desk, state, items.filter_map(|item| item.what.service()).collect()).await?;
    let scene = desk.scene(&state.stack, state.committed.tree);
    for item in state.plan.backups.items.iter().filter(|item| is_postgres(&item.what)) {
        server(state, &scene, &item.name).await?.ready(READY).await?;
    }
    Ok(())
}

/// Has the servers run that an agent which died may have left stopped.
async fn serve(desk: &Desk, state: &Restoring) -> Result<(), BackupError> {
    let bases: BTreeSet<&str> = state.databases.iter().map(|base| base.item.as_str()).collect();
    let items = state.plan.backups.items.iter().filter(|item| bases.contains(item.name.as_str()));
    serve_these(desk, state, items.filter_map(|item| item.what.service()).collect()).await
}

async fn serve_these(desk: &Desk, state: &Restoring, wanted: BTreeSet<&str>) -> Result<(), BackupError> {
    if state.plan.runtime != "compose" || wanted.is_empty() {
        return Ok(());
    }
    let running = Engine::new().containers(&state.plan.project).await;
    let running = running.map_err(BackupError::restore("the container engine"))?;
    let runs = |service: &str| running.iter().any(|one| one.running && one.service == service);
    let services: BTreeSet<_> = wanted.into_iter().filter(|service| !runs(service)).collect();
    if services.is_empty() {
        return Ok(());
    }
    let work = Work::Recreate {
        stack: state.stack.clone(),
        committed: state.committed.clone(),
        services: services.into_iter().map(str::to_owned).collect(),
    };
    let mut records = Records::new(desk.machine.world.clone());
    desk.machine.child(work, Step::Return, START, &mut records).await.map(drop).map_err(said)
}

async fn server<'a>(
    state: &'a Restoring,
    scene: &'a Scene,
    item: &'a str,
) -> Result<Postgres<'a>, BackupError> {
    let found = state.plan.backups.items.iter().find(|known| known.name == item);
    match found.map(|item| &item.what) {
        Some(BackupSource::Postgres(source)) => Postgres::new(scene, &state.plan.project, item, source).await,
        _ => Err(BackupError::Restore(format!("item `{item}` is no PostgreSQL server any more"))),
    }
}

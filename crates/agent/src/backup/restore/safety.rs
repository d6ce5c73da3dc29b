//! Stopping what uses the data, and saving what is there before it is replaced.

use std::{fs, time::Duration};

use backstay_manifest::BackupSource;
use backstay_types::backup::{BackupOrder, BackupPhase, BackupReason, SaveWork};

use super::{Restoring, others::find_others, stack, stop_others};
use crate::{
    backup::{
        BackupError,
        database::Postgres,
        desk::Desk,
        exec::Scene,
        progress::Progress,
        save::{NotSaved, Ready, Saving},
    },
    crash::crash_point,
};

/// How long a server that runs on may take to say so.
const ANSWER: Duration = Duration::from_secs(5);

/// Stops what uses the data and saves what is there, to the last byte that was written.
pub(super) async fn stop_and_save(
    desk: &Desk,
    order: &BackupOrder,
    state: &mut Restoring,
    progress: &Progress,
) -> Result<(), BackupError> {
    progress.phase(BackupPhase::Stopping, &state.stack);
    let (stack, tree) = (state.stack.clone(), state.committed.tree);
    // What the release to come has besides is not there to be saved.
    let mut plan = desk.plan(&stack, tree).await?;
    if state.first {
        // Nothing runs that could tell.
        plan.backups.items.retain(|item| !is_command(&item.what) && !is_openclaw(&item.what));
    }
    let scene = desk.scene(&stack, tree);
    let mut saving = Saving {
        desk,
        progress,
        stack: &stack,
        plan: &plan,
        tree,
        scene: &scene,
        stopped: true,
        safety: true,
    };
    let mut ready = Ready::default();
    let said = |failed: NotSaved| failed.error;
    let outcome = state.outcome.clone();
    let names: Vec<_> = outcome.items.iter().map(|item| item.item.as_str()).collect();
    if find_others(desk, state, &names).await? {
        // It came while the data was fetched.
        desk.store.restoring(state).map_err(BackupError::Restore)?;
    }
    stop_others(desk, state).await?;
    let is_asked_first = |what: &BackupSource| plan.runtime != "compose" && is_command(what);
    if plan.runtime == "compose" {
        // Services that are asked for their data run on; nobody writes any more.
        stack::stop_writers(&state.plan, state.deployment.is_some()).await?;
    } else {
        // A command may have to ask what runs. Whatever else is asked is asked after the last write.
        saving.ask_of(&mut ready, is_asked_first).await.map_err(said)?;
        stack::down(desk, state).await?;
        saving.stopped = servers_run_on(desk, state, &saving).await?;
    }
    let is_undo = state.deployment.is_some();
    crash_point(if is_undo { "exchange.stopped" } else { "restore.stopped" });
    progress.phase(BackupPhase::Safety, &state.stack);
    saving.ask_of(&mut ready, |what| !is_asked_first(what)).await.map_err(said)?;
    saving.prepare(&mut ready).await.map_err(said)?;
    let (deployment, reason) = (state.deployment, BackupReason::Safety);
    let save = SaveWork { stacks: Vec::new(), reason, deployment, conversation: None, last: false };
    let about = (desk.tags(&stack, tree, reason, &save), desk.now());
    let repository = desk.repository(order);
    let sent = saving.send(ready, &repository, about, desk.bytes_per_second(order)).await;
    state.outcome.snapshots.extend(sent.map_err(said)?.map(|saved| saved.snapshot));
    crash_point(if is_undo { "exchange.saved" } else { "restore.safe" });
    keep_told(&saving, state)
}

fn is_command(what: &BackupSource) -> bool {
    matches!(what, BackupSource::Command(_))
}

fn is_openclaw(what: &BackupSource) -> bool {
    matches!(what, BackupSource::Openclaw { .. })
}

/// Whether the servers that are asked for databases run on now that the stack is stopped. One that was stopped with it has to
/// run, and with it whoever writes there; an undo, which needs the stack stopped, ends with that.
async fn servers_run_on(desk: &Desk, state: &Restoring, saving: &Saving<'_>) -> Result<bool, BackupError> {
    for item in &saving.plan.backups.items {
        let BackupSource::Postgres(source) = &item.what else { continue };
        let scene: &Scene = saving.scene;
        let server = Postgres::new(scene, &saving.plan.project, &item.name, source).await?;
        let Err(error) = server.answers(ANSWER).await else { continue };
        if state.deployment.is_some() {
            return Err(BackupError::Restore(format!(
                "item `{}`: its server does not run without the stack, so that its data cannot go back with a release: \
                 restore it in place ({error})",
                item.name
            )));
        }
        stack::up(desk, state).await?;
        return Ok(false);
    }
    Ok(true)
}

/// Keeps what the commands told that are given something else, so that they can be given it again.
fn keep_told(saving: &Saving<'_>, state: &mut Restoring) -> Result<(), BackupError> {
    let given = |name: &String| state.commands.iter().any(|(given, _)| given == name);
    let told: Vec<_> = saving.plan.backups.items.iter().filter(|item| is_command(&item.what)).collect();
    for item in told.into_iter().filter(|item| given(&item.name)).collect::<Vec<_>>() {
        let from = saving.staging(item);
        let to = state.kept(saving.desk).join(".told").join(&item.name);
        let failed = || BackupError::restore(to.display());
        let _ = fs::remove_dir_all(&to);
        to.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed())?;
        fs::rename(&from, &to).map_err(failed())?;
        state.told.push((item.name.clone(), to));
    }
    Ok(())
}

//! The last snapshot of a stack that moves to another node: what writes is stopped and stays so, and all of it is saved to the
//! last byte, with a checksum of what was left. Whoever asked takes the stack away then, or starts it again.

use std::{path::PathBuf, time::Duration};

use backstay_manifest::{BackupSource, PathPattern};
use backstay_types::{
    StackName,
    backup::{BackupOrder, BackupPhase, ItemResult, SaveWork},
};
use tokio::time::Instant;

use super::{
    BackupError,
    chore::{self, Chore},
    desk::Desk,
    drill::compare::Survey,
    keeper::SavedStack,
    progress::Progress,
    restore::stack,
    save::{NotSaved, Ready, Saving},
};
use crate::{
    crash::crash_point,
    step::{Failed, Records},
};

/// Stops what writes and saves what is there.
pub(super) async fn save_last(
    desk: &Desk,
    order: &BackupOrder,
    save: &SaveWork,
    stack: &StackName,
    progress: &Progress,
) -> SavedStack {
    let early = |error: BackupError| (Vec::new(), Duration::ZERO, error.to_string());
    let committed = desk.committed(stack).map_err(early)?;
    let plan = desk.plan(stack, committed.tree).await.map_err(early)?;
    if plan.backups.off {
        return Ok(None);
    }
    let scene = desk.scene(stack, committed.tree);
    let (stopped, safety, tree) = (true, false, committed.tree);
    let saving = Saving { desk, progress, stack, plan: &plan, tree, scene: &scene, stopped, safety };
    let told = |failed: NotSaved| failed.told(stack, &plan);
    let since = Instant::now();
    let mut ready = Ready::default();
    progress.phase(BackupPhase::Stopping, stack);
    // A command may have to ask what runs. Whatever else is asked is asked after the last write.
    let is_asked_first =
        |what: &BackupSource| plan.runtime != "compose" && matches!(what, BackupSource::Command(_));
    saving.ask_of(&mut ready, is_asked_first).await.map_err(told)?;
    match (plan.runtime.as_str(), &committed.prepared) {
        // Services that are asked for their data run on; nobody writes any more.
        ("compose", _) => stack::stop_writers(&plan, true).await.map_err(early)?,
        (_, Some(prepared)) => {
            let mut records = Records::new(desk.machine.world.clone());
            let down = desk.machine.down(stack, Some(committed.tree), prepared, &mut records).await;
            down.map_err(|Failed { reason, .. }| early(BackupError::Prepare(reason)))?;
        }
        (_, None) => {
            return Err(early(BackupError::Prepare("it is not known how the stack runs".to_owned())));
        }
    }
    crash_point("leave.stopped");
    progress.phase(BackupPhase::Preparing, stack);
    saving.ask_of(&mut ready, |what| !is_asked_first(what)).await.map_err(told)?;
    saving.prepare(&mut ready).await.map_err(told)?;
    let about = (desk.tags(stack, committed.tree, save.reason, save), desk.now());
    let repository = desk.repository(order);
    let (sent, read) =
        tokio::join!(saving.send(ready, &repository, about, desk.bytes_per_second(order)), surveys(&saving),);
    let mut saved = sent.map_err(told)?;
    let read = read.map_err(early)?;
    crash_point("leave.saved");
    if let Some(saved) = &mut saved {
        saved.still = since.elapsed();
        for outcome in &mut saved.items {
            let survey = read.iter().find(|(item, _)| *item == outcome.item);
            if let (ItemResult::Done { digest, .. }, Some((_, survey))) = (&mut outcome.result, survey) {
                *digest = Some(survey.digest);
            }
        }
    }
    Ok(saved)
}

/// What each item holds, read where it was saved from.
async fn surveys(saving: &Saving<'_>) -> Result<Vec<(String, Survey)>, BackupError> {
    let mut found = Vec::new();
    for item in &saving.plan.backups.items {
        let in_place: Option<(PathBuf, Vec<PathPattern>)> = match item.what.is_files() {
            true => saving.find(item).await?.filter(|(folder, _)| folder.is_dir()),
            false => None,
        };
        let (root, exclude) = in_place.unwrap_or_else(|| (saving.staging(item), Vec::new()));
        if root.is_dir() {
            found.push((item.name.clone(), survey(root, exclude, None, 0).await?));
        }
    }
    Ok(found)
}

/// Reads all of a folder; or a single file as if it were alone in one, under a name.
pub(super) async fn survey(
    root: PathBuf,
    exclude: Vec<PathPattern>,
    name: Option<String>,
    nice: u32,
) -> Result<Survey, BackupError> {
    match chore::run(&Chore::Checksum { root, exclude, name }, nice).await? {
        chore::Done::Surveyed(survey) => Ok(survey),
        _ => {
            Err(BackupError::Prepare("a child of the agent did something else than it was asked".to_owned()))
        }
    }
}

//! Data of a stack that moves here, fetched while it still runs elsewhere, so that little is left to be fetched once it has
//! stopped there.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use backstay_types::{
    StackName,
    backup::{
        BackupOrder, BackupPhase, RestoreWork, WorkOutcome,
        job::{Done, Job, Place as Wanted, RestoreTask, Task},
    },
};

use super::{Desk, Progress, failed, first_failure, outcome_of};
use crate::{
    backup::{BackupError, copy},
    crash::crash_point,
    disk,
};

/// What nobody has come for in this time is not waited for any more.
const FORGOTTEN: Duration = Duration::from_secs(2 * 86_400);

impl Desk {
    /// Where data waits that was fetched ahead.
    fn ahead(&self) -> PathBuf {
        self.layout().backups().join("ahead")
    }
}

/// Fetches all of a snapshot. What is there of an earlier one and still right is not fetched again.
pub(in crate::backup) async fn ahead(
    desk: &Desk,
    order: &BackupOrder,
    work: &RestoreWork,
    progress: &Progress,
) -> WorkOutcome {
    progress.phase(BackupPhase::Restoring, &work.stack);
    let folder = desk.ahead().join(work.stack.as_str());
    if let Err(error) = fs::create_dir_all(&folder) {
        return failed(&BackupError::restore(folder.display())(error).to_string());
    }
    let all = Wanted { path: String::new(), into: folder.display().to_string() };
    let (places, keep_free) = (vec![all], desk.margin());
    let task = RestoreTask { snapshot: work.snapshot, places, delete_others: true, reuse: true, keep_free };
    let (repository, bytes_per_second) = (desk.source(order, work), desk.bytes_per_second(order));
    let job = Job { repository, bytes_per_second, task: Task::Restore(task) };
    let fetched = match desk.program.run(&job, progress).await {
        Ok(Done::Restore(restored)) if restored.damaged.is_empty() => match enough_left(desk) {
            Ok(()) => Ok(restored),
            Err(why) => Err((why, Vec::new())),
        },
        Ok(Done::Restore(restored)) => {
            let paths = restored.damaged.into_iter().take(20).map(|problem| problem.at).collect();
            Err(("files are damaged in the snapshot".to_owned(), paths))
        }
        Ok(_) => Err(("the program did something else than it was asked".to_owned(), Vec::new())),
        Err(refusal) => Err((refusal.message, refusal.paths)),
    };
    crash_point("ahead.fetched");
    let mut outcome = WorkOutcome::default();
    outcome.items.push(outcome_of(&work.stack, "all", &fetched));
    outcome.failed = first_failure(&outcome.items);
    if outcome.failed.is_some() {
        clear(desk, &work.stack);
    }
    outcome
}

/// Whether what has to stay free still is: better to know that while the stack runs elsewhere.
fn enough_left(desk: &Desk) -> Result<(), String> {
    let dir = desk.layout().data();
    let (free, _) = disk::free(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let margin = desk.margin();
    match free >= margin {
        true => Ok(()),
        false => Err(format!(
            "with the data of the stack {free} bytes are free at {}; {margin} have to stay free",
            dir.display()
        )),
    }
}

/// Puts what was fetched ahead of an item where the item is fetched to. Where that is another file system all is fetched there.
pub(super) fn take(desk: &Desk, stack: &StackName, item: &str, into: &Path) {
    let from = desk.ahead().join(stack.as_str()).join(item);
    if from.is_dir() && fs::symlink_metadata(into).is_err() {
        match fs::rename(&from, into) {
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, item, "what was fetched ahead is on another file system"),
        }
    }
    crash_point("ahead.taken");
}

/// Nobody comes for it any more.
pub(in crate::backup) fn clear(desk: &Desk, stack: &StackName) {
    remove(&desk.ahead().join(stack.as_str()));
}

/// Takes away what was fetched for moves that never came.
pub(in crate::backup) fn sweep(desk: &Desk) {
    for entry in fs::read_dir(desk.ahead()).into_iter().flatten().flatten() {
        let touched = entry.metadata().and_then(|meta| meta.modified());
        let age = touched.ok().and_then(|at| crate::backup::wall_clock().duration_since(at).ok());
        if age.is_some_and(|age| age > FORGOTTEN) {
            remove(&entry.path());
        }
    }
}

fn remove(folder: &Path) {
    if let Err(error) = copy::clear(folder) {
        tracing::warn!(%error, folder = %folder.display(), "data that was fetched ahead cannot be removed");
    }
}

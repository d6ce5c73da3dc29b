//! Hooks around the saving of an item. What `before` has frozen goes on again by `after`, whatever becomes of the agent: it
//! is written down before `before` runs.

use backstay_manifest::BackupItem;
use backstay_types::{StackName, TreeDigest};
use serde::{Deserialize, Serialize};

use super::{BackupError, desk::Desk, keeper::known, save::Saving};
use crate::crash::crash_point;

/// A hook `after` that is to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Due {
    pub(super) stack: StackName,
    /// The release that it is of.
    tree: TreeDigest,
    pub(super) item: String,
    /// Program and arguments.
    after: Vec<String>,
}

impl Saving<'_> {
    /// Runs an item's hook `before`. From here on its `after` is due, also when `before` fails.
    pub(super) async fn before(&self, item: &BackupItem) -> Result<(), BackupError> {
        if !item.after.is_empty() {
            let due = Due {
                stack: self.stack.clone(),
                tree: self.tree,
                item: item.name.clone(),
                after: item.after.clone(),
            };
            self.desk.store.hook_due(&due).map_err(BackupError::Prepare)?;
        }
        let done = self.scene.hook(&item.name, &item.before).await;
        crash_point("backup.hooked");
        done
    }

    /// Runs an item's hook `after`. One that fails is due still.
    pub(super) async fn after(&self, item: &BackupItem) -> Result<(), BackupError> {
        if item.after.is_empty() {
            return Ok(());
        }
        self.scene.hook(&item.name, &item.after).await?;
        self.desk.store.hook_done(self.stack, &item.name).map_err(BackupError::Prepare)
    }
}

/// Runs each hook `after` that an agent which died, or a job that was torn off, has not run. One that fails is tried again the
/// next time, for as long as its release is there.
pub(super) async fn recover(desk: &Desk) {
    for due in known(|| desk.store.hooks_due()).await {
        let scene = desk.scene(&due.stack, due.tree);
        let ran = match scene.dir.is_dir() {
            true => scene.hook(&due.item, &due.after).await,
            false => Ok(()),
        };
        let done =
            ran.and_then(|()| desk.store.hook_done(&due.stack, &due.item).map_err(BackupError::Prepare));
        if let Err(error) = done {
            tracing::error!(stack = %due.stack, %error, "a hook `after` of a backup that was cut off fails");
        }
    }
}

//! How far it is: kept for people on the node, and sent to the hub, which may say that it should end.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use backstay_api::{
    Empty,
    agent::{BackupJobPath, SendBackupProgress},
};
use backstay_client::Client;
use backstay_types::{
    BackupJobId, StackName,
    backup::{BackupPhase, BackupProgress},
};
use serde_json::json;
use tokio::{sync::watch, time::sleep};

use crate::disk::Layout;

/// How often the hub is told.
const EVERY: Duration = Duration::from_secs(10);

/// How far a job is.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    now: Arc<watch::Sender<BackupProgress>>,
    file: Arc<PathBuf>,
    job: BackupJobId,
}

impl Progress {
    pub(crate) fn new(layout: &Layout, job: BackupJobId) -> Self {
        let now = BackupProgress {
            phase: BackupPhase::Waiting,
            stack: None,
            files: 0,
            files_total: None,
            bytes: 0,
            bytes_total: None,
        };
        let progress = Self { now: Arc::new(watch::Sender::new(now)), file: Arc::new(file(layout)), job };
        progress.note();
        progress
    }

    /// Another phase begins.
    pub(crate) fn phase(&self, phase: BackupPhase, stack: &StackName) {
        self.now.send_replace(BackupProgress {
            phase,
            stack: Some(stack.clone()),
            files: 0,
            files_total: None,
            bytes: 0,
            bytes_total: None,
        });
        tracing::info!(job = %self.job, %stack, ?phase, "backup");
        self.note();
    }

    pub(crate) fn count(&self, files: u64, files_total: Option<u64>, bytes: u64, bytes_total: Option<u64>) {
        self.now.send_modify(|now| {
            (now.files, now.files_total, now.bytes, now.bytes_total) =
                (files, files_total, bytes, bytes_total);
        });
    }

    /// Tells the hub again and again; ends when it says that the job should.
    pub(crate) async fn tell(&self, hub: &Client) {
        let path = BackupJobPath { job: self.job };
        loop {
            sleep(EVERY).await;
            self.note();
            let now = self.now.borrow().clone();
            match hub.call::<SendBackupProgress>(&path, &Empty {}, &now).await {
                Ok(answer) if !answer.go_on => return,
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "the hub was not told how far a backup is"),
            }
        }
    }

    /// For people on the node; lost with the power, which is no harm.
    fn note(&self) {
        let now = self.now.borrow().clone();
        if let Ok(text) = serde_json::to_vec(&json!({ "job": self.job, "progress": now })) {
            let _ = self.file.parent().map(fs::create_dir_all);
            let _ = fs::write(&*self.file, text);
        }
    }

    pub(crate) fn over(&self) {
        let _ = fs::remove_file(&*self.file);
    }
}

/// Where it is kept.
pub(crate) fn file(layout: &Layout) -> PathBuf {
    layout.backups().join("progress.json")
}

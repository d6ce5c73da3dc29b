//! `backstay backup jobs` and `cancel`.

use backstay_api::{
    Empty,
    v1::{BackupJobPath, BackupJobsQuery, CancelBackupJob, GetBackupJob, ListBackupJobs},
};
use backstay_types::backup::{BackupJobState, BackupTaskKind};
use clap::{Args, ValueEnum};

use super::{Outcome, done};
use crate::{context::Context, lookup, views::backup};

/// Jobs about backups, newest first; with an id, that one with what came of it.
#[derive(Debug, Args)]
pub(crate) struct Jobs {
    /// A job
    #[arg(conflicts_with_all = ["node", "task", "state"])]
    job: Option<String>,
    /// Only of this node; `hub` is the hub's own state
    #[arg(long)]
    node: Option<String>,
    /// Only of this kind
    #[arg(long)]
    task: Option<Task>,
    /// Only those that stand so
    #[arg(long)]
    state: Option<State>,
    /// The most to show
    #[arg(long, default_value_t = 20)]
    limit: u32,
}

/// What a job does.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Task {
    /// Makes snapshots
    Save,
    /// Puts data back
    Restore,
    /// Reads snapshots back
    Verify,
    /// Checks a repository
    Check,
    /// Forgets and frees
    Prune,
    /// Lists files
    Files,
}

/// How a job stands.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum State {
    /// Waits
    Queued,
    /// Runs
    Running,
    /// Ended well
    Done,
    /// Ended, and something is missing
    Failed,
    /// Somebody ended it
    Cancelled,
}

/// End a job that waits or runs.
#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// The job
    job: String,
}

impl Jobs {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let api = cx.api()?;
        if let Some(text) = &self.job {
            let path = BackupJobPath { job: lookup::backup_job(&api, text).await? };
            let job = api.call::<GetBackupJob>(path, Empty {}, Empty {}).await?;
            cx.ui.data(&job, || backup::job(&job, &cx.frame()))?;
            return done();
        }
        let query = BackupJobsQuery {
            node: self.node,
            task: self.task.map(Into::into),
            state: self.state.map(Into::into),
            limit: Some(self.limit),
            cursor: None,
        };
        let page = api.call::<ListBackupJobs>(Empty {}, query, Empty {}).await?;
        cx.ui.data(&page.items, || backup::jobs(&page.items, &cx.frame()))?;
        done()
    }
}

impl Cancel {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let api = cx.api()?;
        let path = BackupJobPath { job: lookup::backup_job(&api, &self.job).await? };
        let job = api.call::<CancelBackupJob>(path, Empty {}, Empty {}).await?;
        cx.ui.data(&job, || match job.job.state {
            BackupJobState::Running => {
                format!("The {} ends as soon as it is heard there.\n", backup::about(&job))
            }
            _ => format!("The {} is cancelled.\n", backup::about(&job)),
        })?;
        done()
    }
}

impl From<Task> for BackupTaskKind {
    fn from(task: Task) -> Self {
        match task {
            Task::Save => Self::Save,
            Task::Restore => Self::Restore,
            Task::Verify => Self::Verify,
            Task::Check => Self::Check,
            Task::Prune => Self::Prune,
            Task::Files => Self::Files,
        }
    }
}

impl From<State> for BackupJobState {
    fn from(state: State) -> Self {
        match state {
            State::Queued => Self::Queued,
            State::Running => Self::Running,
            State::Done => Self::Done,
            State::Failed => Self::Failed,
            State::Cancelled => Self::Cancelled,
        }
    }
}

//! The program `backstay-backup`: one job on its standard input, lines on its output. It gets its limits before its job.

use std::{path::PathBuf, process::Stdio, time::Duration};

use backstay_config::AgentSettings;
use backstay_types::backup::job::{Done, Failed, FailedKind, Job, Line};
use rustix::process::{Pid, Resource, Rlimit, prlimit, setpriority_process};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

use super::{BackupError, chore::Group, progress::Progress};
use crate::child;

/// The longest line that is read.
const LINE: u64 = 64 << 20;
/// A program that says nothing for so long is wedged.
const SILENT: Duration = Duration::from_secs(15 * 60);

/// How it is run on this node.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    path: PathBuf,
    nice: u32,
    memory: u64,
}

/// How a job failed.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) kind: Option<FailedKind>,
    pub(super) message: String,
    pub(super) paths: Vec<String>,
}

impl From<Refusal> for BackupError {
    fn from(refusal: Refusal) -> Self {
        let paths = refusal.paths.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        let paths = if paths.is_empty() { paths } else { format!(": {paths}") };
        Self::Program(format!("{}{paths}", refusal.message))
    }
}

impl Program {
    pub(crate) fn of(settings: &AgentSettings) -> Self {
        let beside = || {
            let own = std::env::current_exe().unwrap_or_default();
            let beside = own.with_file_name("backstay-backup");
            // An agent that was updated runs from a slot; the program is where the first one was installed.
            if beside.exists() { beside } else { PathBuf::from("/usr/local/bin/backstay-backup") }
        };
        let path = settings.backup_program.clone().unwrap_or_else(beside);
        Self { path, nice: settings.backup_nice, memory: settings.backup_memory_bytes }
    }

    /// Whether it is there.
    pub(crate) fn check(&self) -> Result<(), BackupError> {
        if self.path.is_file() {
            return Ok(());
        }
        Err(BackupError::Program(format!(
            "{} is not there: expected the program `backstay-backup` beside the agent's, or where `backup_program` says",
            self.path.display()
        )))
    }

    /// Has it do a job.
    pub(super) async fn run(&self, job: &Job, progress: &Progress) -> Result<Done, Refusal> {
        let said = |message: String| Refusal { kind: None, message, paths: Vec::new() };
        let text = serde_json::to_vec(job).map_err(|error| said(error.to_string()))?;
        let mut command = Command::new(&self.path);
        command.env_clear().envs(child::environment()).env("PATH", child::PATH);
        command.process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|error| said(format!("`{}` cannot be started: {error}", self.path.display())))?;
        let group = Group::of(&child);
        self.limit(&child).await;
        if let Some(mut stdin) = child.stdin.take() {
            // One that ends before it has read its job says why.
            let _ = stdin.write_all(&text).await;
        }
        let errors = child.stderr.take();
        let errors = tokio::spawn(async move {
            let mut kept = Vec::new();
            if let Some(stderr) = errors {
                let _ = stderr.take(64 << 10).read_to_end(&mut kept).await;
            }
            kept
        });
        let mut last = None;
        if let Some(stdout) = child.stdout.take() {
            let mut lines = BufReader::new(stdout.take(LINE * 16));
            let mut line = String::new();
            while timeout(SILENT, lines.read_line(&mut line))
                .await
                .map_err(|_| said("the program has said nothing for too long".to_owned()))?
                .map_err(|error| said(error.to_string()))?
                > 0
            {
                match serde_json::from_str::<Line>(&line) {
                    Ok(Line::Progress { files, files_total, bytes, bytes_total }) => {
                        progress.count(files, files_total, bytes, bytes_total);
                    }
                    Ok(end) => last = Some(end),
                    Err(error) => {
                        return Err(said(format!("the program said what cannot be understood: {error}")));
                    }
                }
                line.clear();
            }
        }
        let status = child.wait().await.map_err(|error| said(error.to_string()))?;
        group.done();
        match last {
            Some(Line::Done(done)) => Ok(*done),
            Some(Line::Failed(Failed { kind, message, problems })) => {
                let paths = problems.into_iter().map(|problem| format!("{} ({})", problem.at, problem.what));
                Err(Refusal { kind: Some(kind), message, paths: paths.collect() })
            }
            _ => {
                let errors = errors.await.unwrap_or_default();
                let errors = String::from_utf8_lossy(&errors);
                let errors: String =
                    errors.trim().chars().rev().take(500).collect::<Vec<_>>().into_iter().rev().collect();
                Err(said(format!("the program was cut off ({status}): {}", errors.replace('\n', "; "))))
            }
        }
    }

    /// It waits for its job, so that all of it stays within these.
    async fn limit(&self, child: &Child) {
        let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) else {
            return;
        };
        if self.memory > 0 {
            let limit = Rlimit { current: Some(self.memory), maximum: Some(self.memory) };
            if let Err(error) = prlimit(Some(pid), Resource::Data, limit) {
                tracing::warn!(%error, "the memory of the backup program cannot be limited");
            }
        }
        if self.nice == 0 {
            return;
        }
        let _ = setpriority_process(Some(pid), i32::try_from(self.nice).unwrap_or(19));
        // Not on every system; without it the disk is shared as usual.
        let pid = pid.as_raw_nonzero().to_string();
        let mut ionice = Command::new("ionice");
        ionice.args(["-c", "3", "-p", &pid]).env_clear().envs(child::environment());
        ionice.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let _ = timeout(Duration::from_secs(5), ionice.status()).await;
    }
}

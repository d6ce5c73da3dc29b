//! The program that works on repositories: one job each time, with a deadline and a limit of memory.

use std::{io, path::PathBuf, process::Stdio, time::Duration};

use backstay_types::backup::{
    SnapshotId,
    job::{Done, Failed, Job, Line},
};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::Command,
};

/// The most that is read of what it prints.
const MOST: u64 = 256 << 20;
/// The most that is kept of what it complains.
const COMPLAINT: u64 = 4096;

/// How the program is run.
#[derive(Debug, Clone)]
pub(crate) struct Child {
    /// The program.
    pub(crate) program: PathBuf,
    /// How much memory it may use.
    pub(crate) memory_bytes: u64,
    /// How long it may take.
    pub(crate) deadline: Duration,
}

/// Why a job came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChildError {
    /// The program could not be started.
    #[error("{}: the program that works on repositories cannot be started: {source}", .program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It took longer than it may.
    #[error("it took longer than {0:?} (backup.deadline)")]
    Deadline(Duration),
    /// It ended without saying how: it was killed, or it has used up its memory (`backup.memory_bytes`).
    #[error("the program ended without an answer ({status}): {complaint}")]
    CutOff {
        /// Its status.
        status: String,
        /// The end of what it complained.
        complaint: String,
    },
    /// Somebody cancelled it.
    #[error("it was cancelled")]
    Cancelled,
    /// It said why.
    #[error("{}", .0.message)]
    Failed(Box<Failed>),
    /// It answered something else than it was asked.
    #[error("the program answered something else than it was asked; it may be of another version")]
    OtherAnswer,
    /// These could not be read or copied, and the others could: they are tried again on their own.
    #[error("{} snapshots could not be {what}, the first, {}: {why}", .snapshots.len(), first(.snapshots))]
    Stuck {
        /// Which.
        snapshots: Vec<SnapshotId>,
        /// `read back` or `copied`.
        what: &'static str,
        /// Why the first could not.
        why: String,
    },
    /// A password does not open, or the database fails.
    #[error("{0}")]
    Hub(String),
}

fn first(snapshots: &[SnapshotId]) -> String {
    snapshots.first().map(ToString::to_string).unwrap_or_default()
}

impl ChildError {
    /// Whether it says nothing of the target or of this hub, only of what was worked on: another snapshot may be read all
    /// the same.
    pub(crate) fn is_of_one(&self) -> bool {
        matches!(self, Self::Deadline(_) | Self::CutOff { .. })
    }
}

impl Child {
    /// Does a job. `told` hears how far it is, and says whether to go on.
    ///
    /// # Errors
    /// When it came to nothing; the program no longer runs then.
    pub(crate) async fn run<F: Future<Output = bool>>(
        &self,
        job: &Job,
        mut told: impl FnMut(Line) -> F,
    ) -> Result<Done, ChildError> {
        let failed = |source| ChildError::Start { program: self.program.clone(), source };
        let mut command = Command::new(&self.program);
        command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in ["PATH", "HOME", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        let mut child = command.kill_on_drop(true).spawn().map_err(failed)?;
        // It waits for its job: the limit is there before it does anything.
        if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
            let limit = Rlimit { current: Some(self.memory_bytes), maximum: Some(self.memory_bytes) };
            prlimit(Some(pid), Resource::Data, limit).map_err(|error| failed(error.into()))?;
        }
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
            return Err(failed(io::Error::other("it has no pipes")));
        };
        let text = serde_json::to_vec(job).map_err(|error| failed(error.into()))?;
        let work = async {
            // That it does not want to hear all of it is told by what it prints.
            let _ = stdin.write_all(&text).await;
            drop(stdin);
            let mut lines = BufReader::new(stdout.take(MOST)).lines();
            let mut last = None;
            while let Ok(Some(line)) = lines.next_line().await {
                match serde_json::from_str(&line) {
                    Ok(progress @ Line::Progress { .. }) => {
                        if !told(progress).await {
                            return Err(ChildError::Cancelled);
                        }
                    }
                    Ok(end) => last = Some(end),
                    Err(_) => {}
                }
            }
            Ok(last)
        };
        let complaint = async {
            let mut text = Vec::new();
            let mut stderr = stderr;
            let mut piece = vec![0; 4096];
            while let Ok(read @ 1..) = stderr.read(&mut piece).await {
                text.extend_from_slice(&piece[..read]);
                let much = text.len().saturating_sub(usize::try_from(COMPLAINT).unwrap_or(usize::MAX));
                text.drain(..much);
            }
            String::from_utf8_lossy(&text).trim().to_owned()
        };
        let both = async { tokio::join!(work, complaint) };
        // Dropped at its deadline, the child is killed.
        let (ended, complaint) = tokio::time::timeout(self.deadline, both)
            .await
            .map_err(|_| ChildError::Deadline(self.deadline))?;
        let last = ended?;
        let status = child.wait().await.map_err(failed)?;
        match last {
            Some(Line::Done(done)) => Ok(*done),
            Some(Line::Failed(failed)) => Err(ChildError::Failed(Box::new(failed))),
            _ => Err(ChildError::CutOff { status: status.to_string(), complaint }),
        }
    }
}

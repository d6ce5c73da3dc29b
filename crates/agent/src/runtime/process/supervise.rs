//! The supervisor of one process, `backstay-agent internal supervise SPEC`: a
//! session of its own that outlives the agent. It starts the process, starts it
//! again when it ends, keeps its log within bounds, and ends it when asked.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use backstay_manifest::Restart;
use rustix::{
    fs::{FlockOperation, flock},
    process::{Pid, Signal, getpid, kill_process_group, setsid},
};
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    time::{interval, timeout},
};

use super::{
    record::{Ref, Spec, Status},
    stop::number,
};

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A process that ran so long was all right; the next pause is short again.
const STEADY: Duration = Duration::from_secs(60);
const LOOK_AT_LOG: Duration = Duration::from_secs(10);

/// Runs until it is told to end, or its process ended and is not to be started again.
pub(crate) fn main(path: &Path) -> io::Result<()> {
    // Fails only when it leads a session already.
    let _ = setsid();
    let wrong = || io::Error::from(io::ErrorKind::InvalidInput);
    let dir = path.parent().ok_or_else(wrong)?.to_owned();
    let name = path.file_stem().and_then(|name| name.to_str()).ok_or_else(wrong)?;
    // One supervisor for a process, also when the one who asked for it died and asks again.
    let Some(_lock) = lock(&dir, name)? else { return Ok(()) };
    let Some(spec) = Spec::read(&dir, name)? else { return Ok(()) };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(Supervisor::new(dir, spec).run())
}

/// The lock of a process's supervisor; nothing when another holds it.
fn lock(dir: &Path, name: &str) -> io::Result<Option<File>> {
    let file = File::options().create(true).truncate(false).write(true).open(lock_path(dir, name))?;
    let deadline = Instant::now() + Duration::from_secs(1);
    while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        if Instant::now() > deadline {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(Some(file))
}

/// Whether a supervisor is there, even one that has not said so yet.
pub(super) fn is_locked(dir: &Path, name: &str) -> bool {
    let Ok(file) = File::options().write(true).open(lock_path(dir, name)) else { return false };
    flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
}

fn lock_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.lock"))
}

struct Supervisor {
    dir: PathBuf,
    spec: Spec,
    status: Status,
}

enum Ended {
    Told,
    Exited(io::Result<ExitStatus>),
}

impl Supervisor {
    fn new(dir: PathBuf, spec: Spec) -> Self {
        let log_from = fs::metadata(&spec.log).map_or(0, |meta| meta.len());
        let status = Status {
            supervisor: Ref::of(getpid()),
            child: None,
            restarts: 0,
            last: None,
            spawned: false,
            rests: false,
            log_from,
            image: spec.image.clone(),
            config: spec.config,
            deployment: spec.deployment,
            directory: Some(spec.directory.clone()),
        };
        Self { dir, spec, status }
    }

    async fn run(mut self) -> io::Result<()> {
        let mut told = signal(SignalKind::terminate())?;
        let mut pause = FIRST_PAUSE;
        loop {
            let since = Instant::now();
            self.renew();
            let again = match self.start() {
                Ok(mut child) => {
                    self.status.spawned = true;
                    self.status.child = child
                        .id()
                        .and_then(|id| i32::try_from(id).ok())
                        .and_then(Pid::from_raw)
                        .and_then(Ref::of);
                    self.save()?;
                    let ended = tokio::select! {
                        _ = told.recv() => Ended::Told,
                        status = self.watch(&mut child) => Ended::Exited(status),
                    };
                    match ended {
                        Ended::Told => return self.stop(&mut child).await,
                        Ended::Exited(status) => self.exited(status),
                    }
                }
                Err(error) => {
                    let program = self.spec.program.display();
                    self.status.last = Some(format!("`{program}` cannot be started: {error}"));
                    true
                }
            };
            self.status.child = None;
            self.status.rests = !again;
            self.save()?;
            if !again {
                // Its end stands in the status; somebody still has to say when it may be forgotten.
                told.recv().await;
                return Ok(());
            }
            pause = if since.elapsed() > STEADY { FIRST_PAUSE } else { pause };
            if timeout(pause, told.recv()).await.is_ok() {
                return Ok(());
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            self.status.restarts += 1;
        }
    }

    /// Takes over where it is started from, should a newer release that is the same to it be there.
    fn renew(&mut self) {
        if let Ok(Some(spec)) = Spec::read(&self.dir, &self.spec.name)
            && spec.config == self.spec.config
        {
            self.status.directory = Some(spec.directory.clone());
            self.spec = spec;
        }
    }

    fn start(&self) -> io::Result<Child> {
        let log = || OpenOptions::new().append(true).create(true).open(&self.spec.log);
        Command::new(&self.spec.program)
            .args(&self.spec.arguments)
            .current_dir(&self.spec.directory)
            .env_clear()
            .envs(&self.spec.environment)
            .stdin(Stdio::null())
            .stdout(log()?)
            .stderr(log()?)
            .process_group(0)
            .spawn()
    }

    /// Waits for the end of the process and keeps its log within bounds.
    async fn watch(&self, child: &mut Child) -> io::Result<ExitStatus> {
        let mut look = interval(LOOK_AT_LOG);
        loop {
            tokio::select! {
                status = child.wait() => return status,
                _ = look.tick() => drop(rotate(&self.spec.log, self.spec.log_bytes)),
            }
        }
    }

    /// Notes how it ended. True when it is to be started again.
    fn exited(&mut self, status: io::Result<ExitStatus>) -> bool {
        // What it left behind in its group must not meet its successor.
        if let Some(group) = self.status.child.as_ref().and_then(|child| Pid::from_raw(child.pid)) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let good = status.as_ref().is_ok_and(ExitStatus::success);
        self.status.last = Some(match status {
            Ok(status) => format!("it ended with {status}"),
            Err(error) => format!("its end cannot be told: {error}"),
        });
        match self.spec.restart {
            Restart::Always => true,
            Restart::OnFailure => !good,
        }
    }

    async fn stop(&mut self, child: &mut Child) -> io::Result<()> {
        let Some(group) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) else {
            return Ok(());
        };
        let _ = kill_process_group(group, number(self.spec.signal));
        let _ = timeout(self.spec.grace, child.wait()).await;
        let _ = kill_process_group(group, Signal::KILL);
        let _ = timeout(Duration::from_secs(1), child.wait()).await;
        Ok(())
    }

    fn save(&self) -> io::Result<()> {
        self.status.write(&self.dir, &self.spec.name)
    }
}

/// Moves a log that has grown too large aside. It is emptied in place, since the process writes on into it.
fn rotate(log: &Path, limit: u64) -> io::Result<()> {
    if fs::metadata(log)?.len() <= limit {
        return Ok(());
    }
    fs::copy(log, log.with_extension("log.1"))?;
    File::options().write(true).open(log)?.set_len(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_rotated_when_it_is_too_large() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("web.log");
        fs::write(&log, "0123456789").unwrap();
        rotate(&log, 10).unwrap();
        assert_eq!(fs::read_to_string(&log).unwrap(), "0123456789");
        rotate(&log, 9).unwrap();
        assert_eq!(fs::read_to_string(&log).unwrap(), "");
        assert_eq!(fs::read_to_string(dir.path().join("web.log.1")).unwrap(), "0123456789");
    }
}

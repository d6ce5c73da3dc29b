//! One agent for a folder, and no work left over from one that died.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::{FdFlags, fcntl_setfd},
    process::{Pid, Signal, getpid, kill_process_group},
};

use super::Layout;
use crate::{AgentError, proc};

/// How long leftovers may take to be gone after they were killed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Held as long as the agent lives.
#[derive(Debug)]
pub(crate) struct AgentLock {
    _file: File,
}

impl AgentLock {
    /// Takes the lock, or says who has it.
    pub(crate) fn take(layout: &Layout) -> Result<Self, AgentError> {
        let path = layout.data().join("agent.lock");
        let file = open(&path).map_err(AgentError::io(&path))?;
        // An agent that was just killed may hold it a moment longer.
        let deadline = Instant::now() + Duration::from_millis(500);
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    // For who has something to say to it. A disk that is full or read-only must not end it here.
                    let _ = file.set_len(0).and_then(|()| {
                        writeln!(
                            &file,
                            "{} {}",
                            getpid().as_raw_nonzero(),
                            proc::start_time(getpid()).unwrap_or(0)
                        )
                    });
                    return Ok(Self { _file: file });
                }
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(10));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(AgentError::InUse(layout.data().to_owned()));
                }
                Err(error) => return Err(AgentError::io(&path)(error.into())),
            }
        }
    }
}

/// The agent that holds the lock, if one does that can still be told from others.
pub(crate) fn running_agent(layout: &Layout) -> Option<Pid> {
    let text = std::fs::read_to_string(layout.data().join("agent.lock")).ok()?;
    let (pid, started) = text.trim().split_once(' ')?;
    let pid = Pid::from_raw(pid.parse().ok()?)?;
    (proc::start_time(pid)? == started.parse::<u64>().ok()?).then_some(pid)
}

/// Held by the child that works for the agent, and by every program that it starts: as long as one of them
/// lives, so does the lock. The file names their process groups.
#[derive(Debug)]
pub(crate) struct WorkLock {
    file: File,
}

impl WorkLock {
    fn path(layout: &Layout) -> PathBuf {
        layout.data().join("work.lock")
    }

    /// Of its own, since a drill must not keep deployments waiting.
    fn drill_path(layout: &Layout) -> PathBuf {
        layout.data().join("drill.lock")
    }

    /// Takes the lock in a child, whose process group is its own.
    pub(crate) fn take(layout: &Layout) -> io::Result<Self> {
        Self::take_at(&Self::path(layout))
    }

    /// The same for a child that works on a drill.
    pub(crate) fn take_for_drill(layout: &Layout) -> io::Result<Self> {
        Self::take_at(&Self::drill_path(layout))
    }

    fn take_at(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if Instant::now() > deadline {
                return Err(error.into());
            }
            thread::sleep(Duration::from_millis(5));
        }
        file.set_len(0)?;
        let mut lock = Self { file };
        lock.add(getpid())?;
        Ok(lock)
    }

    /// Notes another process group that works here.
    pub(crate) fn add(&mut self, group: Pid) -> io::Result<()> {
        let started = proc::start_time(group).unwrap_or(0);
        self.file.seek(io::SeekFrom::End(0))?;
        writeln!(self.file, "{} {started}", group.as_raw_nonzero())
    }

    /// Whether programs that are started from now on hold the lock too.
    pub(crate) fn inherit(&self, yes: bool) -> io::Result<()> {
        fcntl_setfd(&self.file, if yes { FdFlags::empty() } else { FdFlags::CLOEXEC }).map_err(Into::into)
    }

    /// Ends what a child left running, and waits until it is gone. Called by the agent.
    pub(crate) fn clear(layout: &Layout) -> io::Result<()> {
        Self::clear_at(&Self::path(layout))
    }

    /// The same for what a child left running of a drill.
    pub(crate) fn clear_drill(layout: &Layout) -> io::Result<()> {
        Self::clear_at(&Self::drill_path(layout))
    }

    fn clear_at(path: &Path) -> io::Result<()> {
        let mut file = open(path)?;
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if Instant::now() > deadline {
                return Err(error.into());
            }
            kill_groups(&mut file)?;
            thread::sleep(Duration::from_millis(5));
        }
        file.set_len(0)
    }
}

fn kill_groups(file: &mut File) -> io::Result<()> {
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    for line in text.lines() {
        let mut parts = line.split(' ').map(str::parse::<u64>);
        let (Some(Ok(group)), Some(Ok(started))) = (parts.next(), parts.next()) else { continue };
        let Some(group) = i32::try_from(group).ok().and_then(Pid::from_raw) else { continue };
        // The leader may be gone while its group lives; another process under its number is left alone.
        if proc::start_time(group).is_none_or(|now| now == started) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

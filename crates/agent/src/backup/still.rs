//! Making services stand still for a moment, and a small process that lets them go again whatever becomes of the agent.

use std::{
    io::{self, BufRead as _, Write as _},
    process::Stdio,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group, setsid};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin},
};

use super::{BackupError, desk::Desk, hooks, keeper, store::Store};
use crate::{AgentError, child, crash::crash_point, proc, runtime::compose::Engine};

/// How much longer than allowed the small process waits for its agent.
const SLACK: Duration = Duration::from_secs(10);
/// A request that an agent had sent when it died may still be on its way.
const LATE: Duration = Duration::from_secs(3);
/// How long making one of them stand still may take: the engine waits this long for a container to stop.
const HOLD: Duration = Duration::from_secs(10 * 60);
/// How long letting go is tried.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// Something that stands still.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(crate) enum Thing {
    /// A container that is paused.
    Paused { container: String },
    /// A container that is stopped.
    Stopped { container: String },
    /// A process group that is stopped by a signal.
    Frozen { group: i32, started: u64 },
    /// A unit of systemd that is frozen.
    FrozenUnit { unit: String },
    /// A unit of systemd that is stopped.
    StoppedUnit { unit: String },
}

impl Thing {
    async fn hold(&self, engine: &Engine) -> io::Result<()> {
        match self {
            Self::Paused { container } => engine.tell(container, "pause").await,
            Self::Stopped { container } => engine.tell(container, "stop").await,
            Self::Frozen { group, started } => signal(*group, *started, Signal::STOP),
            Self::FrozenUnit { unit } => systemctl("freeze", unit).await,
            Self::StoppedUnit { unit } => systemctl("stop", unit).await,
        }
    }

    /// Lets go. What is not there, or was let go before, is let go.
    async fn let_go(&self, engine: &Engine) -> io::Result<()> {
        match self {
            Self::Paused { container } => match engine.state(container).await?.as_deref() {
                Some("paused") => engine.tell(container, "unpause").await,
                _ => Ok(()),
            },
            Self::Stopped { container } => match engine.state(container).await?.as_deref() {
                Some("exited" | "created") => engine.tell(container, "start").await,
                _ => Ok(()),
            },
            Self::Frozen { group, started } => signal(*group, *started, Signal::CONT),
            Self::FrozenUnit { unit } => systemctl("thaw", unit).await,
            Self::StoppedUnit { unit } => systemctl("start", unit).await,
        }
    }
}

fn signal(group: i32, started: u64, signal: Signal) -> io::Result<()> {
    let Some(group) = Pid::from_raw(group) else { return Ok(()) };
    if proc::start_time(group) != Some(started) {
        return Ok(());
    }
    kill_process_group(group, signal).map_err(Into::into)
}

async fn systemctl(what: &str, unit: &str) -> io::Result<()> {
    let mut command = tokio::process::Command::new("systemctl");
    command.args([what, "--", unit]).env_clear().envs(child::environment()).stdin(Stdio::null());
    let output = command.kill_on_drop(true).output().await?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "systemctl {what} {unit}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}

/// Lets everything go, trying until it works or patience ends.
pub(crate) async fn let_go(things: &[Thing], patience: Duration) -> io::Result<()> {
    let (engine, since) = (Engine::new(), Instant::now());
    let mut left: Vec<_> = things.iter().rev().collect();
    loop {
        let mut failed = None;
        let mut still = Vec::new();
        for thing in left {
            if let Err(error) = thing.let_go(&engine).await {
                failed = Some(error);
                still.push(thing);
            }
        }
        let Some(error) = failed else { return Ok(()) };
        if since.elapsed() > patience {
            return Err(error);
        }
        left = still;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// What stands still, and the process that watches over it. When it is dropped without an end, that process lets go.
#[derive(Debug)]
pub(crate) struct Still {
    things: Vec<Thing>,
    watcher: Child,
    line: ChildStdin,
    since: Instant,
    /// Since when all of it stands still.
    held: Instant,
    longest: Duration,
    store: Store,
    row: i64,
}

impl Still {
    /// Makes things stand still, for `longest` at most. Written down, and watched over, before anything is touched.
    pub(crate) async fn hold(
        store: &Store,
        things: Vec<Thing>,
        longest: Duration,
    ) -> Result<Self, BackupError> {
        let failed =
            |error: io::Error| BackupError::io("what uses the data cannot be made to stand still")(error);
        let row = store.stands_still(&things).map_err(BackupError::Prepare)?;
        let mut command = child::own_program(&["internal", "still"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut watcher = tokio::process::Command::from(command).spawn().map_err(failed)?;
        let (Some(mut line), Some(stdout)) = (watcher.stdin.take(), watcher.stdout.take()) else {
            return Err(failed(io::ErrorKind::BrokenPipe.into()));
        };
        let hold = HOLD * u32::try_from(things.len()).unwrap_or(u32::MAX);
        let call = Watch { things: things.clone(), hold, longest: longest + SLACK };
        let text = serde_json::to_string(&call).map_err(|error| failed(error.into()))?;
        line.write_all(format!("{text}\n").as_bytes()).await.map_err(failed)?;
        let mut ready = String::new();
        BufReader::new(stdout).read_line(&mut ready).await.map_err(failed)?;
        if ready != "ready\n" {
            return Err(failed(io::Error::other("nobody watches over it")));
        }
        crash_point("backup.watched");
        let (since, store) = (Instant::now(), store.clone());
        let mut still = Self { things, watcher, line, since, held: since, longest, store, row };
        let engine = Engine::new();
        for thing in &still.things {
            if let Err(error) = thing.hold(&engine).await {
                still.end().await?;
                return Err(failed(error));
            }
        }
        // Its time begins now: it may have taken long until the last one had stopped.
        still.held = Instant::now();
        if let Err(error) = still.line.write_all(b"held\n").await {
            still.end().await?;
            return Err(failed(error));
        }
        crash_point("backup.still");
        Ok(still)
    }

    /// Lets go; how long it stood still. Fails too when it may have moved before: the one who watches let it go.
    pub(crate) async fn end(mut self) -> Result<Duration, BackupError> {
        let failed = BackupError::io("what was made to stand still cannot be let go");
        let moved =
            self.held.elapsed() >= self.longest + SLACK || !matches!(self.watcher.try_wait(), Ok(None));
        let_go(&self.things, PATIENCE).await.map_err(failed)?;
        let stood = self.since.elapsed();
        crash_point("backup.let_go");
        let _ = self.line.write_all(b"done\n").await;
        drop(self.line);
        let _ = tokio::time::timeout(SLACK, self.watcher.wait()).await;
        self.store.moves_again(self.row).map_err(BackupError::Prepare)?;
        if moved {
            let reason = "what uses the data was let go before the copy had ended: the copy is torn";
            return Err(BackupError::Prepare(reason.to_owned()));
        }
        Ok(stood)
    }
}

/// What an agent that died, or a job that was torn off, had made to stand still.
pub(super) async fn recover(desk: &Desk) {
    for (row, things) in keeper::known(|| desk.store.standing_still()).await {
        match let_go(&things, PATIENCE).await {
            Ok(()) => drop(desk.store.moves_again(row)),
            Err(error) => tracing::error!(%error, ?things, "what stood still for a backup cannot be let go"),
        }
    }
    // They may have to ask what was let go.
    hooks::recover(desk).await;
}

#[derive(Debug, Serialize, Deserialize)]
struct Watch {
    things: Vec<Thing>,
    /// How long it may take until all of it stands still.
    hold: Duration,
    /// How long it may stand still from then on.
    longest: Duration,
}

/// The small process's life: `backstay-agent internal still`. It is told what is made to stand still, then that it does, then
/// that it does not any more. When that does not come, because its agent is gone or the time is over, it lets go itself.
pub(crate) fn main() -> Result<(), AgentError> {
    let other = |error: io::Error| AgentError::Other(format!("still: {error}"));
    // Whoever ends the agent with all of its group does not end this.
    let _ = setsid();
    let (lines, told) = mpsc::channel();
    thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    let first = told.recv().map_err(|_| AgentError::Other("still: nothing was said".to_owned()))?;
    let watch: Watch = serde_json::from_str(&first).map_err(|error| AgentError::Other(error.to_string()))?;
    let mut stdout = io::stdout();
    stdout.write_all(b"ready\n").and_then(|()| stdout.flush()).map_err(other)?;
    let held = told.recv_timeout(watch.hold);
    if held.is_ok_and(|line| line == "done" || told.recv_timeout(watch.longest).is_ok()) {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(other)?;
    runtime.block_on(async {
        let since = Instant::now();
        loop {
            let_go(&watch.things, PATIENCE).await.map_err(other)?;
            if since.elapsed() > LATE {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
}

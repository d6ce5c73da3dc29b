//! An agent that is wedged, alive but no longer turning, is ended, so that it can be started again: by systemd, which
//! is told of every turn, and by a thread of the agent's own where there is no systemd or it does not mind.

use std::{
    env,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// The agent's own thread looks at least so often.
const LOOK: Duration = Duration::from_secs(5);
/// Without a watchdog of systemd's the loop turns at least so often.
const TURN: Duration = Duration::from_secs(60);

/// The turning of the loop.
#[derive(Debug, Clone)]
pub(crate) struct Pulse {
    began: Instant,
    /// Milliseconds after `began`.
    last: Arc<AtomicU64>,
    every: Duration,
    systemd: Option<Arc<Systemd>>,
}

/// Who started this program and wants to be told how it is.
#[derive(Debug)]
struct Systemd {
    socket: UnixDatagram,
    address: SocketAddr,
    watches: bool,
}

impl Pulse {
    /// A pulse that nobody feels.
    pub(crate) fn unwatched() -> Self {
        Self { began: Instant::now(), last: Arc::default(), every: TURN, systemd: None }
    }

    /// A pulse that is felt by a thread, which ends the program when it has stopped for longer than `limit`, and by
    /// systemd when it was this program's start.
    pub(crate) fn watched(limit: Duration) -> Self {
        let systemd = Systemd::of_environment();
        let theirs = systemd.as_ref().and_then(|(_, limit)| *limit);
        let shortest = theirs.map_or(limit, |theirs| theirs.min(limit));
        let pulse = Self {
            every: (shortest / 4).min(TURN),
            systemd: systemd.map(|(systemd, _)| Arc::new(systemd)),
            ..Self::unwatched()
        };
        let felt = pulse.clone();
        thread::spawn(move || felt.watch(limit));
        pulse
    }

    /// How often the loop has to turn, whether or not something happens.
    pub(crate) fn every(&self) -> Duration {
        self.every
    }

    /// The loop turned.
    pub(crate) fn turn(&self) {
        let now = millis(self.began.elapsed());
        let before = self.last.swap(now, Ordering::Relaxed);
        // Not at each of many turns in a row.
        let due = now.saturating_sub(before) >= 1000 || before == 0 || self.every < Duration::from_secs(1);
        if let Some(systemd) = self.systemd.as_ref().filter(|systemd| systemd.watches && due) {
            systemd.say("WATCHDOG=1");
        }
    }

    /// The agent works from now on, or ends.
    pub(crate) fn say(&self, state: &str) {
        if let Some(systemd) = &self.systemd {
            systemd.say(state);
        }
    }

    fn watch(&self, limit: Duration) {
        loop {
            thread::sleep((limit / 4).min(LOOK));
            let still = millis(self.began.elapsed()).saturating_sub(self.last.load(Ordering::Relaxed));
            if still > millis(limit) {
                tracing::error!(still_ms = still, "the agent is wedged; it ends, to be started again");
                std::process::abort();
            }
        }
    }
}

impl Systemd {
    /// As the environment says (sd_notify(3)), with how long systemd waits for a sign of life.
    fn of_environment() -> Option<(Self, Option<Duration>)> {
        let path = env::var("NOTIFY_SOCKET").ok()?;
        let address = match path.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&path),
        };
        let mine = env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        let limit = env::var("WATCHDOG_USEC").ok().filter(|_| mine).and_then(|text| text.parse().ok());
        let limit = limit.map(Duration::from_micros);
        let socket = UnixDatagram::unbound().ok()?;
        Some((Self { socket, address: address.ok()?, watches: limit.is_some() }, limit))
    }

    fn say(&self, state: &str) {
        if let Err(error) = self.socket.send_to_addr(state.as_bytes(), &self.address) {
            tracing::debug!(%error, "systemd was not told");
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

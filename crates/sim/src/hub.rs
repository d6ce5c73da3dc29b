//! The hub: the real engine on the real store, asked as the hub's handlers ask it, one call after the other. It can be
//! killed between two calls and in the middle of one, and goes on from its store.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use backstay_engine::{Engine, EngineError, Presence, Settings};
use backstay_store::{Store, desired, ledger};
use backstay_types::{NodeId, NodeSafety, RepositoryId, Secret, Timestamp};
use ed25519_dalek::SigningKey;
use tokio::{runtime::Runtime, sync::watch};

use crate::pulse::{Died, Pulse};

/// How long an agent lets itself be held.
pub(crate) const HOLD: Duration = Duration::from_secs(55);
/// How long it waits between check-ins, and the random part of it.
pub(crate) const INTERVAL: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(5));

/// A hub, running or not.
#[derive(Debug)]
pub(crate) struct Hub {
    dir: PathBuf,
    pub(crate) key: SigningKey,
    seed: u64,
    lives: u64,
    running: Option<Running>,
    /// When each node was heard from, as the database would have it.
    heard: Arc<Mutex<HashMap<NodeId, Timestamp>>>,
    /// How safe each node said last that it is, as the database would have it.
    pub(crate) safety: BTreeMap<NodeId, NodeSafety>,
    /// Check-ins that are held: the life of the agent, its request, and what it has.
    pub(crate) held: BTreeMap<usize, Held>,
    pub(crate) repository: Option<RepositoryId>,
    /// How far its clock is off, in seconds.
    pub(crate) clock: i64,
    /// What of each node's statement is newest.
    pub(crate) versions: HashMap<NodeId, desired::Version>,
}

/// A check-in that is held.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) life: u32,
    pub(crate) seq: u64,
    pub(crate) have: Option<backstay_api::agent::Have>,
}

#[derive(Debug)]
struct Running {
    // Before the runtime: what it holds ends with it.
    engine: Engine,
    store: Store,
    pulse: Pulse,
    commits: watch::Receiver<u64>,
    runtime: Runtime,
}

/// What the engine and the store are to a call.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) engine: Engine,
    pub(crate) store: Store,
}

/// Why a call has no answer.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The hub is down, or died of it.
    Down,
    /// It refused, or failed.
    Error(EngineError),
}

impl Hub {
    pub(crate) fn new(dir: &Path, seed: u64, key: SigningKey) -> Self {
        Self {
            dir: dir.to_owned(),
            key,
            seed,
            lives: 0,
            running: None,
            heard: Arc::default(),
            safety: BTreeMap::new(),
            held: BTreeMap::new(),
            repository: None,
            clock: 0,
            versions: HashMap::new(),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.running.is_some()
    }

    /// Starts it on its store.
    pub(crate) fn start(&mut self, now: Timestamp) -> io::Result<()> {
        self.lives += 1;
        let pulse = Pulse::new(now, self.seed.wrapping_mul(1_000_003).wrapping_add(self.lives));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let presence = Seen { pulse: pulse.clone(), started_at: now, heard: Arc::clone(&self.heard) };
        let (path, world) = (self.dir.join("hub.db"), pulse.world());
        let (key, data) = (self.key.clone(), self.dir.join("data"));
        let opened = runtime.block_on(async move {
            let store = Store::open(&path.display().to_string(), world.clone()).await?;
            let settings = Settings::new(data);
            Ok::<_, EngineError>((
                Engine::new(store.clone(), world, key, Arc::new(presence), settings),
                store,
            ))
        });
        let (engine, store) = opened.map_err(io::Error::other)?;
        let commits = store.commits();
        self.running = Some(Running { engine, store, pulse, commits, runtime });
        self.versions.clear();
        Ok(())
    }

    /// Kills it. What it had not committed is as if it had never been.
    pub(crate) fn kill(&mut self) {
        self.held.clear();
        if let Some(Running { engine, store, runtime, .. }) = self.running.take() {
            drop((engine, store));
            // Work that blocks is a child's: it comes to its end, as it would without its parent.
            drop(runtime);
        }
    }

    /// Has it die in the middle of what it will do.
    pub(crate) fn light_fuse(&mut self, beats: u32) {
        if let Some(running) = &self.running {
            running.pulse.light(beats);
        }
    }

    /// Has it live on.
    pub(crate) fn take_fuse(&mut self) {
        if let Some(running) = &self.running {
            running.pulse.spare();
        }
    }

    /// Asks it for something, at a time by its clock.
    pub(crate) fn call<T>(
        &mut self,
        now: Timestamp,
        ask: impl AsyncFnOnce(Parts) -> Result<T, EngineError>,
    ) -> Result<T, Failed> {
        let Some(running) = &self.running else { return Err(Failed::Down) };
        running.pulse.set(now);
        let parts = Parts { engine: running.engine.clone(), store: running.store.clone() };
        let pulse = running.pulse.clone();
        let answer = catch_unwind(AssertUnwindSafe(|| running.runtime.block_on(ask(parts))));
        match answer {
            // Something that it does beside the call has died of the fuse.
            _ if pulse.is_dead() => {
                self.kill();
                Err(Failed::Down)
            }
            Ok(answer) => answer.map_err(Failed::Error),
            Err(end) if end.is::<Died>() => {
                self.kill();
                Err(Failed::Down)
            }
            Err(panic) => resume_unwind(panic),
        }
    }

    /// A node was heard from.
    pub(crate) fn heard(&self, node: NodeId, now: Timestamp) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).insert(node, now);
    }

    /// Whether anything was recorded since this was asked last.
    pub(crate) fn has_recorded(&mut self) -> bool {
        self.running.as_mut().is_some_and(|running| {
            let changed = running.commits.has_changed().unwrap_or(false);
            running.commits.mark_unchanged();
            changed
        })
    }

    /// Seals what was recorded, and looks which statements are newest.
    pub(crate) fn settle(&mut self, now: Timestamp) -> Result<(), Failed> {
        let versions = self.call(now, async |parts: Parts| {
            while let ledger::Sealed::Entries(_) = ledger::seal(&parts.store, "hub").await? {}
            Ok(desired::versions(&mut parts.store.read()).await?)
        })?;
        self.versions = versions.into_iter().map(|version| (version.node, version)).collect();
        Ok(())
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.dir.join("hub.db")
    }
}

/// Which nodes are heard from: the hub's own rule.
#[derive(Debug)]
struct Seen {
    pulse: Pulse,
    started_at: Timestamp,
    heard: Arc<Mutex<HashMap<NodeId, Timestamp>>>,
}

impl Seen {
    /// Online, silent, or (neither) not known yet.
    fn state(&self, node: NodeId) -> (bool, bool) {
        let now = self.pulse.world().now();
        let since = |at: Timestamp| Duration::try_from(now.duration_since(at)).unwrap_or_default();
        let patience = (INTERVAL.0 + INTERVAL.1) * 2 + HOLD;
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner).get(&node).copied();
        match heard {
            None => (false, true),
            Some(at) if at >= self.started_at && since(at) <= patience => (true, false),
            Some(_) => (false, since(self.started_at) > patience),
        }
    }
}

impl Presence for Seen {
    fn is_online(&self, node: NodeId) -> bool {
        self.state(node).0
    }

    fn is_silent(&self, node: NodeId) -> bool {
        self.state(node).1
    }

    fn unseal(&self, _: &str) -> Option<Secret> {
        None
    }
}

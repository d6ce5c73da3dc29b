//! Logs that the hub keeps: their store, who sends too much, and who reads along.

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use backstay_config::TelemetrySettings;
use backstay_telemetry::logs::{
    Key, LogOptions, LogRecord, LogStatus, LogStore, LogsStored, ingest::IncomingLogs,
};
use backstay_types::{ErrorCode, Secret, Timestamp, World};
use tokio::sync::{Semaphore, broadcast};

use super::{AGAIN, later, upkeep::Upkeep};
use crate::{app::App, http::ApiError};

/// A line as it is stored.
pub(crate) type Line = (Key, Arc<LogRecord>);

/// Batches that a reader may be behind before it misses some.
const BEHIND: usize = 256;
/// For how many seconds a sender may bring all that it has at once.
const BURST: f64 = 10.0;

/// What the hub has for logs.
#[derive(Debug)]
pub(crate) struct Logs {
    store: Result<Arc<LogStore>, String>,
    upkeep: Upkeep,
    /// What is stored, to who reads along.
    live: broadcast::Sender<Arc<Vec<Line>>>,
    rate: f64,
    /// Bytes that each sender may still bring, and when that was so.
    senders: Mutex<HashMap<String, (f64, Timestamp)>>,
    /// Requests that were held off for it.
    pub(crate) held_off: AtomicU64,
    /// Room for searches: each takes a processor.
    pub(crate) readers: Semaphore,
    world: World,
}

impl Logs {
    /// Opens the store below the folder of telemetry. When that fails, the hub runs without it.
    pub(super) fn open(settings: &TelemetrySettings, folder: &Path, world: &World) -> Self {
        let store = if settings.enabled {
            open(settings, folder, world).map(Arc::new)
        } else {
            Err("telemetry.enabled is false".to_owned())
        };
        if let Err(error) = &store
            && settings.enabled
        {
            tracing::error!(error, "logs are not kept until the hub is started again");
        }
        Self {
            store,
            upkeep: Upkeep::of("logs"),
            live: broadcast::Sender::new(BEHIND),
            rate: settings.logs_bytes_per_second as f64,
            senders: Mutex::default(),
            held_off: AtomicU64::new(0),
            readers: Semaphore::new(usize::try_from(settings.queries_at_once).unwrap_or(1)),
            world: world.clone(),
        }
    }

    /// The store.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn store(&self) -> Result<&Arc<LogStore>, ApiError> {
        self.store.as_ref().map_err(|why| {
            ApiError::new(ErrorCode::BS0032, format!("this hub keeps no logs: {why}")).retry_after(AGAIN)
        })
    }

    /// Why there is no store, if there is none.
    pub(crate) fn problem(&self) -> Option<&str> {
        self.store.as_ref().err().map(String::as_str)
    }

    /// What the last upkeep could not do.
    pub(crate) fn upkeep_problem(&self) -> Option<String> {
        self.upkeep.problem()
    }

    /// How the store stands, and how many requests were held off.
    pub(crate) async fn figures(&self) -> Option<(LogStatus, u64)> {
        let store = self.store.as_ref().ok()?.clone();
        let status = tokio::task::spawn_blocking(move || store.status()).await.ok()?;
        Some((status, self.held_off.load(Relaxed)))
    }

    /// Gets what is stored from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Vec<Line>>> {
        self.live.subscribe()
    }

    /// Stores what a sender brought.
    ///
    /// # Errors
    /// When nothing of it was acknowledged.
    pub(crate) async fn take(&self, incoming: IncomingLogs, sender: &str) -> Result<LogsStored, ApiError> {
        let store = self.store()?.clone();
        self.hold_off(sender, incoming.bytes())?;
        let stored = tokio::task::spawn_blocking(move || store.append(incoming.records));
        let stored = stored.await.map_err(ApiError::internal)?.map_err(later)?;
        if !stored.new.is_empty() {
            // Without readers it goes nowhere.
            let _ = self.live.send(Arc::new(stored.new.clone()));
        }
        Ok(stored)
    }

    /// Holds off a sender that brings more than it may: the others go on.
    fn hold_off(&self, sender: &str, bytes: u64) -> Result<(), ApiError> {
        let now = self.world.now();
        let most = self.rate * BURST;
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        // Who has all of it back is as one who never came.
        let left = |(left, at): &(f64, Timestamp)| {
            let passed = now.duration_since(*at).as_secs_f64().max(0.0);
            (left + passed * self.rate).min(most)
        };
        senders.retain(|_, known| left(known) < most);
        let known = senders.get(sender).map_or(most, left);
        // One request may be larger than all of it: it is taken when its sender has been quiet.
        if known < bytes as f64 && known < most {
            self.held_off.fetch_add(1, Relaxed);
            let wait = ((bytes as f64).min(most) - known) / self.rate;
            let detail = format!(
                "{sender} brings more than {} bytes of logs a second; the others go on",
                self.rate as u64
            );
            let again = Duration::from_secs_f64(wait.ceil().clamp(1.0, 60.0));
            return Err(ApiError::new(ErrorCode::BS0035, detail).retry_after(again));
        }
        senders.insert(sender.to_owned(), (known - bytes as f64, now));
        Ok(())
    }
}

fn open(settings: &TelemetrySettings, folder: &Path, world: &World) -> Result<LogStore, String> {
    let known_secrets = match &settings.known_secrets {
        // Without them something might be written that must not be.
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| format!("telemetry.known_secrets: {}: {error}", path.display()))?
            .lines()
            .map(|line| Secret::new(line.trim()))
            .collect(),
        None => Vec::new(),
    };
    let options = LogOptions {
        keep: Duration::from_secs(u64::from(settings.logs_keep_days) * 86_400),
        max_bytes: settings.logs_max_bytes,
        memory_bytes: settings.logs_memory_bytes,
        keep_free_bytes: settings.keep_free_bytes,
        known_secrets,
        ..LogOptions::in_folder(folder.join("logs"))
    };
    LogStore::open(options, world.clone()).map_err(|error| error.to_string())
}

/// Looks after the store until the hub stops: parts, merges, retention, damage.
pub(crate) async fn keep_logs(app: Arc<App>) {
    let Ok(store) = app.telemetry.logs.store().cloned() else { return };
    let upkeep = &app.telemetry.logs.upkeep;
    upkeep
        .run(&app.stopping, &store, |store, verify| {
            store.maintain()?;
            if verify { store.verify().map(drop) } else { Ok(()) }
        })
        .await;
    // What was acknowledged is in the log.
    let _ = tokio::task::spawn_blocking(move || store.close()).await;
}

//! Metrics and logs that the hub keeps: their stores, and what looks after them.
//!
//! Nothing here is in the way of anything else: a store that cannot be opened, a full disk or a slow one are said and
//! counted, and deployments and rollbacks go on (O7). All work on the disk is done on threads of its own.

mod logs;
mod upkeep;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use backstay_config::TelemetrySettings;
use backstay_telemetry::{
    Labels,
    ingest::{Incoming, text},
    store::{Options, Status, Store, StoreError, Stored},
};
use backstay_types::{ErrorCode, World};
use tokio::{sync::Semaphore, time::sleep};

pub(crate) use self::logs::{Line, Logs, keep_logs};
use self::upkeep::Upkeep;
use crate::{
    app::App,
    http::{ApiError, levels},
};

/// How many requests with samples are read at once: each may take memory.
const AT_ONCE: usize = 4;
/// How long a sender is told to wait.
pub(crate) const AGAIN: Duration = Duration::from_secs(5);

/// What the hub has for telemetry.
#[derive(Debug)]
pub(crate) struct Telemetry {
    store: Result<Arc<Store>, String>,
    folder: PathBuf,
    upkeep: Upkeep,
    /// Room for requests that are being read.
    pub(crate) room: Semaphore,
    /// Samples that the hub does not keep by their kind.
    pub(crate) unsupported: AtomicU64,
    /// Logs, in a store of their own.
    pub(crate) logs: Logs,
}

impl Telemetry {
    /// Opens the store. When that fails, the hub runs without it.
    pub(crate) fn open(settings: &TelemetrySettings, data_dir: &Path, world: &World) -> Self {
        let folder = settings.folder.clone().unwrap_or_else(|| data_dir.join("telemetry"));
        let store = if settings.enabled {
            Store::open(options(settings, &folder), world.clone())
                .map(Arc::new)
                .map_err(|error| error.to_string())
        } else {
            Err("telemetry.enabled is false".to_owned())
        };
        if let Err(error) = &store
            && settings.enabled
        {
            tracing::error!(error, "metrics are not kept until the hub is started again");
        }
        let logs = Logs::open(settings, &folder, world);
        Self {
            store,
            folder,
            upkeep: Upkeep::of("metrics"),
            room: Semaphore::new(AT_ONCE),
            unsupported: AtomicU64::new(0),
            logs,
        }
    }

    /// The store.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn store(&self) -> Result<&Arc<Store>, ApiError> {
        self.store.as_ref().map_err(|why| {
            ApiError::new(ErrorCode::BS0032, format!("this hub keeps no metrics: {why}")).retry_after(AGAIN)
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

    /// How the store stands, and how many samples were not kept by their kind.
    pub(crate) async fn figures(&self) -> Option<(Status, u64)> {
        let store = self.store.as_ref().ok()?.clone();
        let status = tokio::task::spawn_blocking(move || store.status()).await.ok()?;
        Some((status, self.unsupported.load(Relaxed)))
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Stores what a sender brought.
    ///
    /// # Errors
    /// When nothing of it was acknowledged.
    pub(crate) async fn take(&self, incoming: Incoming) -> Result<Stored, ApiError> {
        let store = self.store()?.clone();
        self.unsupported.fetch_add(incoming.rejected.count, Relaxed);
        let stored = tokio::task::spawn_blocking(move || {
            store.learn(incoming.metadata);
            store.append(incoming.batch)
        });
        stored.await.map_err(ApiError::internal)?.map_err(later)
    }
}

/// A sender should come again.
fn later(error: StoreError) -> ApiError {
    ApiError::new(ErrorCode::BS0031, error.to_string()).retry_after(AGAIN)
}

/// Too many senders at once.
pub(crate) fn busy() -> ApiError {
    ApiError::new(ErrorCode::BS0031, "too many senders at once").retry_after(AGAIN)
}

fn options(settings: &TelemetrySettings, folder: &Path) -> Options {
    Options {
        keep: Duration::from_secs(u64::from(settings.keep_days) * 86_400),
        max_bytes: settings.max_bytes,
        memory_bytes: settings.memory_bytes,
        max_series: settings.max_series,
        late: settings.out_of_order_window,
        keep_free_bytes: settings.keep_free_bytes,
        ..Options::in_folder(folder)
    }
}

/// Looks after the store until the hub stops: blocks, merges, retention, damage.
pub(crate) async fn keep(app: Arc<App>) {
    let Ok(store) = app.telemetry.store().cloned() else { return };
    let upkeep = &app.telemetry.upkeep;
    upkeep
        .run(&app.stopping, &store, |store, verify| {
            store.maintain()?;
            if verify { store.verify().map(drop) } else { Ok(()) }
        })
        .await;
    // What was acknowledged is in the log.
    let _ = tokio::task::spawn_blocking(move || store.close()).await;
}

/// Writes the hub's own metrics to the store until the hub stops.
pub(crate) async fn keep_own(app: Arc<App>) {
    let every = app.settings.telemetry.own_every;
    if every.is_zero() || app.telemetry.problem().is_some() {
        return;
    }
    loop {
        tokio::select! {
            () = sleep(every) => {}
            () = app.stopping.cancelled() => return,
        }
        if let Err(error) = write_own(&app).await {
            tracing::debug!(%error, "the hub's own metrics were not stored");
        }
    }
}

async fn write_own(app: &App) -> Result<(), ApiError> {
    let at = app.world.now().as_millisecond();
    let instance = app.address.get().map(ToString::to_string).unwrap_or_default();
    let target = Labels::from_pairs([("job", "backstay-hub"), ("instance", &*instance)]);
    let said = app.metrics.render(&levels(app).await?);
    let mut incoming = text::read(&said, at, &target).map_err(ApiError::internal)?;
    let mut up = target.to_builder();
    up.set(backstay_telemetry::METRIC_NAME, "up");
    let up_now = backstay_telemetry::Sample { at, value: 1.0 };
    incoming.batch.push((up.build(), vec![up_now]));
    app.telemetry.take(incoming).await.map(drop)
}

//! Reconcilers: each looks at the world, lets `plan` decide, and applies what
//! was decided in one transaction.
//!
//! What is deliberately not here: HTTP, SQL, and any decision that `plan` could
//! make. The engine never answers a request of its own accord; the hub calls
//! the few commands below, and everything else follows from what is stored.

mod conversations;
mod error;
mod fleet;
mod holds;
mod mirrors;
mod nodes;
mod provenance;
mod reconcile;
mod related;
mod reports;
mod run;
mod statements;
mod sync;
mod undo;
mod why;

use std::{path::PathBuf, sync::Arc, time::Duration};

use backstay_store::Store;
use backstay_types::World;
use ed25519_dalek::SigningKey;
use tokio::sync::Notify;

pub use conversations::{Observation, Observed, Push};
pub use error::EngineError;
use mirrors::Mirrors;
pub use nodes::Presence;
pub use related::{RelatedItem, Start};
pub use undo::{UndoCommand, WantedUndo};
pub use why::{Why, WhyQuestion};

/// How the engine is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where mirrors live: one bare repository each, below `mirrors/`.
    pub data_dir: PathBuf,
    /// How often each repository is fetched without being told to.
    pub poll_every: Duration,
    /// How long a statement is valid. Renewed at half of it.
    pub statement_life: Duration,
}

impl Settings {
    /// The defaults under `data_dir`: poll every minute, statements live a day.
    pub fn new(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            poll_every: Duration::from_secs(60),
            statement_life: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// The engine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    world: World,
    settings: Settings,
    key: SigningKey,
    mirrors: Mirrors,
    presence: Arc<dyn Presence>,
    /// Something may have to be planned.
    wake: Notify,
    /// One writer of desired state at a time in this process; the lease guards it between processes.
    planning: tokio::sync::Mutex<()>,
}

//! Reconcilers: each looks at the world, lets `plan` decide, and applies what
//! was decided in one transaction.
//!
//! What is deliberately not here: HTTP, SQL, and any decision that `plan` could
//! make. The engine never answers a request of its own accord; the hub calls
//! the few commands below, and everything else follows from what is stored.

mod agents;
pub mod backups;
mod branches;
mod check;
mod contents;
mod conversations;
mod decisions;
mod decommission;
mod emergency;
mod environments;
mod error;
mod health;
mod holds;
mod labels;
mod limits;
mod migrations;
mod mirrors;
mod news;
mod nodes;
mod parts;
mod past;
mod patterns;
mod progress;
mod proven;
mod provenance;
mod publish;
mod reconcile;
mod reports;
mod repositories;
mod rollouts;
mod run;
mod safe_mode;
mod statements;
mod sync;
mod undo;
mod warnings;
mod why;
mod windows;

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use backstay_store::Store;
use backstay_types::{RolloutId, Timestamp, World};
use ed25519_dalek::SigningKey;
use tokio::sync::Notify;

pub use agents::{ReplayedAgentDecision, WantedAgent};
pub use branches::FollowedBranch;
pub use check::{Checked, CheckedStack};
pub use contents::{ExplainedFile, Listed};
pub use conversations::{Observation, Observed, Push};
pub use decisions::ReplayedDecision;
pub use decommission::leaving;
pub use emergency::EmergencyStop;
pub use environments::{EnvironmentStack, EnvironmentState, WantedPromotion};
pub use error::EngineError;
pub use labels::{Labelled, NewLabels};
pub use limits::{LimitEffect, NewLimit};
pub use migrations::WantedMigration;
use mirrors::Mirrors;
pub use nodes::{Presence, Said};
pub use parts::StackPartState;
pub use progress::Progress;
pub use publish::Publish;
pub use repositories::NewRepository;
pub use undo::{Resolution, WantedUndo, double_sign_why};
pub use why::{Why, WhyQuestion};
pub use windows::WindowSeen;

/// How the engine is set up.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where mirrors live, one bare repository each below `mirrors/`, and the hub's ssh key below `ssh/`.
    pub data_dir: PathBuf,
    /// How often each repository is fetched without being told to.
    pub poll_every: Duration,
    /// How long a statement is valid. Renewed at half of it.
    pub statement_life: Duration,
    /// Repositories, by name, to which statements are pushed; and how often what has changed is.
    pub publish: Publish,
    /// By which rules backups are made and kept; none are when absent.
    pub backups: Option<backups::BackupRules>,
    /// Names this hub among those that share a database; the same after a restart, so that it goes on at once.
    pub holder: String,
}

impl Settings {
    /// The defaults under `data_dir` for the only hub of its database: poll every minute, statements live a day.
    pub fn new(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            poll_every: Duration::from_secs(60),
            statement_life: Duration::from_secs(24 * 60 * 60),
            publish: Publish::default(),
            backups: None,
            holder: "hub".to_owned(),
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
    /// Where agents' reports wait to be taken.
    desk: reports::Desk,
    /// Something may have to be planned.
    wake: Notify,
    /// How far running rollouts were when this process last planned; empty when another one plans.
    progress: std::sync::Mutex<HashMap<RolloutId, Progress>>,
    /// Who is in those waves of rollouts under way that go by labels: noted once, and never changed.
    members: std::sync::Mutex<HashMap<RolloutId, Arc<backstay_plan::Members>>>,
    /// When planning has to look again, whether anything was stored or not.
    look_at: std::sync::Mutex<Option<Timestamp>>,
    /// Stacks whose parts could not be put together lately.
    uncomposed: parts::Uncomposed,
    /// Which tip of each repository was looked over, and when.
    looked_over: warnings::LookedOver,
    /// One step of planning at a time in this process; the lease guards it between processes.
    planning: tokio::sync::Mutex<()>,
    /// One change of what is deployed at a time.
    advancing: tokio::sync::Mutex<()>,
}

impl Engine {
    /// An engine over a store. Nothing happens until [`Engine::run`] or a command.
    pub fn new(
        store: Store,
        world: World,
        key: SigningKey,
        presence: Arc<dyn Presence>,
        settings: Settings,
    ) -> Self {
        let mirrors = Mirrors::new(&settings.data_dir);
        let inner = Inner {
            store,
            world,
            settings,
            key,
            mirrors,
            presence,
            desk: reports::Desk::default(),
            wake: Notify::new(),
            progress: std::sync::Mutex::default(),
            members: std::sync::Mutex::default(),
            look_at: std::sync::Mutex::default(),
            uncomposed: parts::Uncomposed::default(),
            looked_over: warnings::LookedOver::default(),
            planning: tokio::sync::Mutex::default(),
            advancing: tokio::sync::Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// What a Git host is given so that it lets the hub in over ssh; nothing where no key could be made.
    pub fn ssh_public_key(&self) -> Option<String> {
        self.inner.mirrors.ssh().and_then(backstay_source::Ssh::public_key)
    }
}

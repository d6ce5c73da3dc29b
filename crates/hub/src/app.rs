//! What handlers and background work share.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use backstay_api::v1::{DatabaseState, Overview};
use backstay_config::Settings;
use backstay_engine::{Engine, Presence, Said};
use backstay_store::Store;
use backstay_types::{
    Figures, Node, NodeId, NodeState, Secret, StackHealth, StackName, Timestamp, TreeDigest, World,
};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    auth::SignIn,
    backups::Backups,
    http::{Encoded, Hosts, Kept, ServerEvent},
    keys::Keys,
    live::{Feed, Follows, Live, Questions, Roster, Shared, Waiters},
    metrics::Metrics,
    packs::Packs,
    telemetry::Telemetry,
};

/// What a repository's credential is sealed for.
pub(crate) const REPOSITORY_CREDENTIAL: &str = "repository credential";

/// The hub's parts.
#[derive(Debug)]
pub(crate) struct App {
    /// Time and random numbers.
    pub(crate) world: World,
    /// The settings.
    pub(crate) settings: Settings,
    /// The database.
    pub(crate) store: Store,
    /// Decisions.
    pub(crate) engine: Engine,
    /// The hub's keys.
    pub(crate) keys: Arc<Keys>,
    /// Soft state of nodes.
    pub(crate) live: Arc<Live>,
    /// Held check-ins.
    pub(crate) waiters: Waiters,
    /// Questions to agents.
    pub(crate) questions: Questions,
    /// Nodes and what they should run, as the database has them.
    pub(crate) roster: Roster,
    /// Who follows events.
    pub(crate) feed: Feed,
    /// The overview, for all pages that show it.
    pub(crate) overview: Shared<Encoded<Overview>>,
    /// The last answers, for when the database is away.
    pub(crate) kept: Kept,
    /// Who follows logs.
    pub(crate) follows: Follows,
    /// Packs on disk.
    pub(crate) packs: Packs,
    /// Repositories of backups, and who has an order.
    pub(crate) backups: Backups,
    /// The store of metrics.
    pub(crate) telemetry: Telemetry,
    /// Figures.
    pub(crate) metrics: Metrics,
    /// Signing in: passwords, and word of sessions that ended.
    pub(crate) sign_in: SignIn,
    /// Names under which requests are answered.
    pub(crate) hosts: Hosts,
    /// Position of the newest ledger entry that this process has seen sealed.
    pub(crate) sealed: watch::Sender<u64>,
    /// Handlers that must come to their end.
    pub(crate) tasks: TaskTracker,
    /// Set when the hub stops.
    pub(crate) stopping: CancellationToken,
    /// Where it listens, once it does.
    pub(crate) address: OnceLock<SocketAddr>,
    /// When this process started.
    pub(crate) started_at: Timestamp,
}

impl App {
    /// Whether a node is heard from.
    pub(crate) fn node_state(&self, node: &Node) -> NodeState {
        self.live.state(node.id, node.revoked_at.is_some(), self.world.now())
    }

    /// The database could not be read; who follows events is told of it.
    pub(crate) fn database_is_away(&self) {
        if self.kept.lost() {
            tracing::warn!("the database is away; what was asked before is answered as it was");
            self.tell_of_database(Some(self.world.now()));
        }
    }

    /// The database was read.
    pub(crate) fn database_answers(&self) {
        if self.kept.found() {
            tracing::info!("the database is back");
            self.tell_of_database(None);
        }
    }

    fn tell_of_database(&self, away_since: Option<Timestamp>) {
        match ServerEvent::json(&DatabaseState { away_since }) {
            Ok(event) => self.feed.tell(None, event.named("database")),
            Err(error) => tracing::error!(%error, "the state of the database could not be told"),
        }
    }

    /// How long a check-in may be held at most.
    pub(crate) fn hold(&self) -> Duration {
        self.settings.poll.hold
    }
}

/// What the hub lends the engine: who is there, and secrets opened.
#[derive(Debug)]
pub(crate) struct HubPresence {
    /// Soft state.
    pub(crate) live: Arc<Live>,
    /// The hub's keys.
    pub(crate) keys: Arc<Keys>,
    /// The time.
    pub(crate) world: World,
}

impl Presence for HubPresence {
    fn is_online(&self, node: NodeId) -> bool {
        self.live.state(node, false, self.world.now()) == NodeState::Online
    }

    fn is_silent(&self, node: NodeId) -> bool {
        self.live.is_silent(node, self.world.now())
    }

    fn unhealthy_since(&self, node: NodeId) -> Option<Timestamp> {
        self.live.unhealthy_since(node, self.world.now())
    }

    fn figures(&self, node: NodeId, stack: &StackName) -> Option<(TreeDigest, Figures)> {
        self.live.with(node, |seen| {
            let told = seen?.observed.as_ref()?.iter().find(|one| one.stack == *stack)?;
            Some((told.current?, told.figures.clone()))
        })
    }

    fn said(&self, node: NodeId, stack: &StackName) -> Option<Said> {
        self.live.with(node, |seen| {
            let seen = seen?;
            let told = seen.observed.iter().flatten().find(|one| one.stack == *stack);
            Some(Said {
                heard_at: seen.last_seen_at?,
                current: told.and_then(|told| told.current),
                deploying: told.is_some_and(|told| told.health == StackHealth::Deploying),
            })
        })
    }

    fn unseal(&self, sealed: &str) -> Option<Secret> {
        self.keys.open(sealed, REPOSITORY_CREDENTIAL).inspect_err(|error| tracing::error!(%error)).ok()
    }
}

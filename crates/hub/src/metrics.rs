//! The hub's own figures, in the OpenMetrics text format. Counts only: nothing here names a node, a person
//! or a conversation, since `/metrics` asks for no token.

mod telemetry;

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use backstay_telemetry::{logs::LogStatus, store::Status};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};

use self::telemetry::{LogFigures, StoreFigures};

/// The media type of what [`Metrics::render`] gives.
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    endpoint: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByEndpoint {
    endpoint: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByState {
    state: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStack {
    stack: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCondition {
    condition: &'static str,
}

type Seconds = Gauge<f64, AtomicU64>;

/// All figures.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<Answered, Counter>,
    durations: Family<ByEndpoint, Histogram>,
    check_ins: Family<ByOutcome, Counter>,
    deliveries: Family<ByOutcome, Counter>,
    reports: Counter,
    waiters: Gauge,
    ledger_head: Gauge,
    ledger_pending: Gauge,
    seal_lag: Seconds,
    nodes: Family<ByState, Gauge>,
    deployments: Family<ByState, Gauge>,
    repositories: Family<ByState, Gauge>,
    hosts: Family<ByCondition, Gauge>,
    flush_failures: Counter,
    telemetry: StoreFigures,
    logs: LogFigures,
    repository_writes: Counter,
    repository_bytes: Counter,
    repository_refused: Counter,
    backups: Family<ByState, Gauge>,
    backup_oldest_proven: Seconds,
    backup_done: Gauge,
    backup_failed: Gauge,
    backup_bytes: Gauge,
    backup_damaged: Gauge,
    backup_jobs: Family<ByState, Gauge>,
    drills_done: Gauge,
    drills_failed: Gauge,
    oldest_drilled: Seconds,
    restores: Family<ByStack, Seconds>,
    proven_by_stack: Family<ByStack, Seconds>,
}

/// Figures that are read from state when they are asked for.
#[derive(Debug, Default)]
pub(crate) struct Levels {
    /// Held check-ins.
    pub(crate) waiters: u64,
    /// Position of the newest sealed entry.
    pub(crate) ledger_head: u64,
    /// Entries that wait to be sealed.
    pub(crate) ledger_pending: u64,
    /// Age of the oldest of them.
    pub(crate) seal_lag: Duration,
    /// Nodes by state.
    pub(crate) nodes: BTreeMap<String, u64>,
    /// Each node's newest deployments by state.
    pub(crate) deployments: BTreeMap<String, u64>,
    /// Repositories by the state of their mirror.
    pub(crate) repositories: BTreeMap<String, u64>,
    /// Nodes that are heard from by what about their machine someone should look at.
    pub(crate) hosts: BTreeMap<&'static str, u64>,
    /// Nodes by how their backups stand.
    pub(crate) backups: BTreeMap<String, u64>,
    /// Age of the newest proven snapshot of the node that has waited longest.
    pub(crate) oldest_proven: Duration,
    /// Backups of the last 90 days: those that ended well, those that failed.
    pub(crate) backup_rate: (u64, u64),
    /// Bytes that repositories take, and how many are damaged.
    pub(crate) repository_bytes: (u64, u64),
    /// Open jobs by state.
    pub(crate) backup_jobs: BTreeMap<String, u64>,
    /// Drills of the last 90 days: those that passed, those that failed.
    pub(crate) drill_rate: (u64, u64),
    /// Age of the newest drilled snapshot, of that stack on that node where it is the oldest.
    pub(crate) oldest_drilled: Duration,
    /// Milliseconds that restoring took in the newest drill of each stack, on the node where it took longest.
    pub(crate) restores: BTreeMap<String, u64>,
    /// How the store of metrics stands, and how many samples are not kept by their kind; nothing where there is none.
    pub(crate) telemetry: Option<(Status, u64)>,
    /// How the store of logs stands, and how many requests were held off; nothing where there is none.
    pub(crate) logs: Option<(LogStatus, u64)>,
    /// How old the newest proven snapshot of each stack is, on the node where it is the oldest.
    pub(crate) proven_by_stack: BTreeMap<String, Duration>,
}

impl Metrics {
    /// All at zero.
    pub(crate) fn new() -> Self {
        // Held check-ins end at about the hold; the buckets reach beyond it.
        let buckets = || Histogram::new([0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 30.0, 60.0, 120.0]);
        let mut metrics = Self {
            registry: Mutex::new(Registry::default()),
            requests: Family::default(),
            durations: Family::new_with_constructor(buckets as fn() -> Histogram),
            check_ins: Family::default(),
            deliveries: Family::default(),
            reports: Counter::default(),
            waiters: Gauge::default(),
            ledger_head: Gauge::default(),
            ledger_pending: Gauge::default(),
            seal_lag: Seconds::default(),
            nodes: Family::default(),
            deployments: Family::default(),
            repositories: Family::default(),
            hosts: Family::default(),
            flush_failures: Counter::default(),
            telemetry: StoreFigures::default(),
            logs: LogFigures::default(),
            repository_writes: Counter::default(),
            repository_bytes: Counter::default(),
            repository_refused: Counter::default(),
            backups: Family::default(),
            backup_oldest_proven: Seconds::default(),
            backup_done: Gauge::default(),
            backup_failed: Gauge::default(),
            backup_bytes: Gauge::default(),
            backup_damaged: Gauge::default(),
            backup_jobs: Family::default(),
            drills_done: Gauge::default(),
            drills_failed: Gauge::default(),
            oldest_drilled: Seconds::default(),
            restores: Family::default(),
            proven_by_stack: Family::default(),
        };
        metrics.registry = Mutex::new(metrics.register());
        metrics
    }

    fn register(&self) -> Registry {
        let mut all = Registry::with_prefix("backstay");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        all.register("build", "The hub's version", build);
        all.register("http_requests", "Answered requests", self.requests.clone());
        let name = "http_request_duration";
        all.register_with_unit(
            name,
            "Time to answer; check-ins are held",
            Unit::Seconds,
            self.durations.clone(),
        );
        all.register("check_ins", "Check-ins by how they ended", self.check_ins.clone());
        all.register(
            "webhook_deliveries",
            "Webhook deliveries by what became of them",
            self.deliveries.clone(),
        );
        all.register("reports", "Reports taken from agents", self.reports.clone());
        all.register("check_ins_held", "Check-ins that are held now", self.waiters.clone());
        all.register("ledger_head", "Position of the newest sealed ledger entry", self.ledger_head.clone());
        all.register("ledger_pending", "Ledger entries that wait to be sealed", self.ledger_pending.clone());
        let name = "ledger_seal_lag";
        all.register_with_unit(
            name,
            "Age of the oldest entry that waits",
            Unit::Seconds,
            self.seal_lag.clone(),
        );
        all.register("nodes", "Nodes by state", self.nodes.clone());
        all.register(
            "deployments",
            "Newest deployment of each node and stack, by state",
            self.deployments.clone(),
        );
        all.register("repositories", "Repositories by the state of their mirror", self.repositories.clone());
        // Counts by condition, never a series for each node: those are asked for one by one, with a token.
        all.register("hosts", "Machines in a condition that someone should look at", self.hosts.clone());
        self.register_backups(&mut all);
        self.telemetry.register(&mut all);
        self.logs.register(&mut all);
        all.register("soft_state_flush_failures", "Failed writes of soft state", self.flush_failures.clone());
        all
    }

    fn register_backups(&self, all: &mut Registry) {
        let writes = self.repository_writes.clone();
        all.register("repository_files_written", "Files that nodes added to their repositories", writes);
        let bytes = self.repository_bytes.clone();
        all.register_with_unit(
            "repository_written",
            "What nodes added to their repositories",
            Unit::Bytes,
            bytes,
        );
        let refused = self.repository_refused.clone();
        all.register("repository_writes_refused", "Attempts of nodes to change or delete backups", refused);
        all.register("backups", "Nodes by how their backups stand", self.backups.clone());
        let age = self.backup_oldest_proven.clone();
        let help = "Age of the newest proven snapshot of the node that has waited longest";
        all.register_with_unit("backup_oldest_proven_age", help, Unit::Seconds, age);
        all.register(
            "backups_done_90d",
            "Backups of the last 90 days that ended well",
            self.backup_done.clone(),
        );
        all.register(
            "backups_failed_90d",
            "Backups of the last 90 days that failed",
            self.backup_failed.clone(),
        );
        let bytes = self.backup_bytes.clone();
        all.register_with_unit("backup_repositories", "What all repositories take", Unit::Bytes, bytes);
        all.register("backup_repositories_damaged", "Damaged repositories", self.backup_damaged.clone());
        all.register("drills_passed_90d", "Drills of the last 90 days that passed", self.drills_done.clone());
        all.register(
            "drills_failed_90d",
            "Drills of the last 90 days that failed",
            self.drills_failed.clone(),
        );
        let help = "Age of the newest drilled snapshot, of that stack on that node where it is the oldest";
        let age = self.oldest_drilled.clone();
        all.register_with_unit("backup_oldest_drilled_age", help, Unit::Seconds, age);
        let help = "Time to restore a stack's data in its newest drill, on the node where it took longest";
        all.register_with_unit("drill_restore", help, Unit::Seconds, self.restores.clone());
        let help = "Age of a stack's newest proven snapshot, on the node where it is the oldest";
        all.register_with_unit("backup_proven_age", help, Unit::Seconds, self.proven_by_stack.clone());
        all.register("backup_jobs_open", "Jobs about backups that wait or run", self.backup_jobs.clone());
    }

    /// A node added a file to its repository.
    pub(crate) fn repository_written(&self, bytes: u64) {
        self.repository_writes.inc();
        self.repository_bytes.inc_by(bytes);
    }

    /// A node tried to change what is in its repository.
    pub(crate) fn repository_refused(&self) {
        self.repository_refused.inc();
    }

    /// A request was answered.
    pub(crate) fn answered(&self, endpoint: &'static str, status: u16, after: Duration) {
        self.requests.get_or_create(&Answered { endpoint, status }).inc();
        self.durations.get_or_create(&ByEndpoint { endpoint }).observe(after.as_secs_f64());
    }

    /// A check-in ended: `changed`, `unchanged` or `asked`.
    pub(crate) fn checked_in(&self, outcome: &'static str) {
        self.check_ins.get_or_create(&ByOutcome { outcome }).inc();
    }

    /// A delivery was `new`, `replayed` or `unrecognised`.
    pub(crate) fn delivered(&self, outcome: &'static str) {
        self.deliveries.get_or_create(&ByOutcome { outcome }).inc();
    }

    /// Reports were taken.
    pub(crate) fn reported(&self, count: usize) {
        self.reports.inc_by(count as u64);
    }

    /// Soft state could not be written.
    pub(crate) fn flush_failed(&self) {
        self.flush_failures.inc();
    }

    /// All figures as text.
    pub(crate) fn render(&self, levels: &Levels) -> String {
        let int = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.waiters.set(int(levels.waiters));
        self.ledger_head.set(int(levels.ledger_head));
        self.ledger_pending.set(int(levels.ledger_pending));
        self.seal_lag.set(levels.seal_lag.as_secs_f64());
        let families = [
            (&self.nodes, &levels.nodes),
            (&self.deployments, &levels.deployments),
            (&self.repositories, &levels.repositories),
            (&self.backups, &levels.backups),
            (&self.backup_jobs, &levels.backup_jobs),
        ];
        for (family, counts) in families {
            family.clear();
            for (state, count) in counts {
                family.get_or_create(&ByState { state: state.clone() }).set(int(*count));
            }
        }
        self.backup_oldest_proven.set(levels.oldest_proven.as_secs_f64());
        self.backup_done.set(int(levels.backup_rate.0));
        self.backup_failed.set(int(levels.backup_rate.1));
        self.backup_bytes.set(int(levels.repository_bytes.0));
        self.backup_damaged.set(int(levels.repository_bytes.1));
        self.drills_done.set(int(levels.drill_rate.0));
        self.drills_failed.set(int(levels.drill_rate.1));
        self.oldest_drilled.set(levels.oldest_drilled.as_secs_f64());
        self.proven_by_stack.clear();
        for (stack, age) in &levels.proven_by_stack {
            self.proven_by_stack.get_or_create(&ByStack { stack: stack.clone() }).set(age.as_secs_f64());
        }
        self.restores.clear();
        for (stack, ms) in &levels.restores {
            let took = Duration::from_millis(*ms).as_secs_f64();
            self.restores.get_or_create(&ByStack { stack: stack.clone() }).set(took);
        }
        if let Some((status, unsupported)) = &levels.telemetry {
            self.telemetry.set(status, *unsupported);
        }
        if let Some((status, held_off)) = &levels.logs {
            self.logs.set(status, *held_off);
        }
        self.hosts.clear();
        for (condition, count) in &levels.hosts {
            self.hosts.get_or_create(&ByCondition { condition }).set(int(*count));
        }
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a string does not fail.
        let _ = encode(&mut text, &registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_that_are_gone_are_not_shown_any_more() {
        let metrics = Metrics::new();
        metrics.answered("GetHub", 200, Duration::from_millis(3));
        let mut levels = Levels { waiters: 2, ..Levels::default() };
        levels.nodes = BTreeMap::from([("online".to_owned(), 3)]);
        levels.hosts = BTreeMap::from([("under_voltage", 2)]);
        let text = metrics.render(&levels);
        assert!(
            text.contains("backstay_http_requests_total{endpoint=\"GetHub\",status=\"200\"} 1\n"),
            "{text}"
        );
        assert!(text.contains("backstay_nodes{state=\"online\"} 3\n"), "{text}");
        assert!(text.contains("backstay_check_ins_held 2\n"), "{text}");
        assert!(text.contains("backstay_hosts{condition=\"under_voltage\"} 2\n"), "{text}");
        assert!(text.ends_with("# EOF\n"));
        levels.nodes = BTreeMap::from([("offline".to_owned(), 3)]);
        let text = metrics.render(&levels);
        assert!(!text.contains("online"), "{text}");
    }
}

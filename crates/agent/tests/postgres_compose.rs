//! PostgreSQL in a container of a Compose stack, under write load: its dump holds what was committed before, comes back in
//! place with the writers stopped, and is loaded by a drill into a server of the drill's own.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{fs, time::Duration};

use backstay_testkit::{Docker, Failed};
use backstay_types::{
    BackupJobId, DeploymentState,
    backup::{
        BackupReason, Destination, DrillCheckKind, DrillResult, DrillStart, DrillVerdict, Snapshot,
        WorkOutcome,
    },
};
use support::{FakeHub, Node, Repository, Stack, eventually_within};

const LIMIT: Duration = Duration::from_secs(180);

/// `writer` writes to both tables in one transaction, all the time, once they are there.
const COMPOSE: &str = "services:\n  db:\n    image: db:16\n    stop_signal: SIGINT\n    volumes: [\"pg:/data\"]\n  \
    writer:\n    image: db:16\n    healthcheck: {disable: true}\n    stop_grace_period: 1s\n    \
    entrypoint: [\"sh\", \"-c\", \"trap 'exit 0' TERM; while true; do psql -h db -d orders -qc 'begin; insert into a select coalesce(max(n), 0) + 1 from a; insert into b select max(n) from a; commit' || sleep 0.3; done\"]\n\
    volumes: {pg: {}}\n";
const MANIFEST: &str = "[[probe]]\ncontainer = true\nevery = \"200ms\"\nwithin = \"60s\"\n\
    [[backup]]\nname = \"orders\"\npostgres = { service = \"db\", database = \"orders\" }\n";

struct Kept {
    hub: FakeHub,
    node: Node,
    docker: Docker,
}

impl Kept {
    fn start() -> Option<Self> {
        let docker = Docker::require()?;
        docker.postgres_image("db:16")?;
        let hub = FakeHub::start();
        let mut node = Node::join(&hub);
        node.env = docker.env().map(|(name, value)| (name.to_owned(), value)).to_vec();
        Repository::give(&mut node);
        node.start("");
        let stack = Stack::new("web").file("compose.yaml", COMPOSE).file("stack.toml", MANIFEST);
        let deployment = hub.deploy(&stack);
        let end = eventually_within(LIMIT, "it runs", || hub.ends(deployment).pop());
        assert_eq!(end, DeploymentState::Succeeded, "{}", node.log());
        let kept = Self { hub, node, docker };
        eventually_within(LIMIT, "the server is the one that stays", || {
            kept.try_sql("postgres", "select 1").is_ok().then_some(())
        });
        kept.sql("postgres", "create database orders");
        kept.sql("orders", "create table a (n bigint primary key); create table b (n bigint)");
        kept.writes();
        Some(kept)
    }

    fn try_sql(&self, database: &str, sql: &str) -> Result<String, Failed> {
        self.docker.try_run(&["exec", "web-db-1", "psql", "-XAtqd", database, "-c", sql])
    }

    fn sql(&self, database: &str, sql: &str) -> String {
        self.try_sql(database, sql).unwrap_or_else(|failed| panic!("{failed}\n{}", self.node.log()))
    }

    /// The last number that was committed; both tables have all of them.
    fn last(&self, database: &str) -> u64 {
        let sql =
            "select (select count(*) from a), (select coalesce(max(n), 0) from a), (select count(*) from b)";
        let counts = self.sql(database, sql);
        let counts: Vec<u64> = counts.trim().split('|').map(|n| n.parse().unwrap()).collect();
        assert!(counts[0] == counts[1] && counts[0] == counts[2], "both or neither, and all: {counts:?}");
        counts[0]
    }

    /// Waits until the writer goes on.
    fn writes(&self) {
        let from = self.last("orders");
        eventually_within(LIMIT, "it writes", || (self.last("orders") > from + 3).then_some(()));
    }

    fn outcome(&self, job: BackupJobId) -> WorkOutcome {
        let outcome = eventually_within(LIMIT, "the job's outcome", || self.hub.outcomes(job).pop());
        assert_eq!(outcome.failed, None, "{}", self.node.log());
        outcome
    }

    /// What a snapshot's dump holds.
    fn dumped(&self, snapshot: &Snapshot, database: &str) -> u64 {
        let folder = self.node.root().join(database);
        let to = Destination::Folder { path: folder.display().to_string() };
        self.outcome(self.hub.want_restore(snapshot.id, &[], to));
        let dump = folder.join("orders/orders.dump").display().to_string();
        assert!(fs::metadata(&dump).unwrap().len() > 0);
        self.docker.run(&["cp", &dump, &format!("web-db-1:/tmp/{database}.dump")]);
        self.sql("postgres", &format!("create database {database}"));
        let dump = format!("/tmp/{database}.dump");
        self.docker.run(&["exec", "web-db-1", "pg_restore", "--exit-on-error", "-d", database, &dump]);
        let last = self.last(database);
        self.sql("postgres", &format!("drop database {database}"));
        last
    }
}

#[test]
fn compose_postgres_in_a_container_under_write_load() {
    let Some(kept) = Kept::start() else { return };
    let before = kept.last("orders");
    let saved = kept.outcome(kept.hub.want_backup());
    let after = kept.last("orders");
    let snapshot = &saved.snapshots[0];
    let held = kept.dumped(snapshot, "saved");
    assert!((before..=after).contains(&held), "{before} before, {after} after, {held} saved");

    // In place: the writer is stopped, what was committed until then is in the safety snapshot.
    kept.writes();
    kept.sql("orders", "create table later (n int)");
    let before = kept.last("orders");
    let restored = kept.outcome(kept.hub.want_restore(snapshot.id, &[], Destination::InPlace));
    assert_eq!(restored.snapshots[0].tags.reason, BackupReason::Safety);
    kept.writes();
    assert_eq!(kept.sql("orders", "select count(*) from pg_tables where tablename = 'later'").trim(), "0");
    let safety = kept.dumped(&restored.snapshots[0], "safety");
    assert!(safety >= before, "{before} were committed before it was asked for, {safety} are saved");
    let left = "select string_agg(datname, ',' order by datname) from pg_database where not datistemplate";
    assert_eq!(kept.sql("postgres", left).trim(), "orders,postgres", "nothing is left beside it");

    // A drill: the dump is loaded into a server of its own, beside the one that runs.
    let job = kept.hub.want_drill(snapshot, snapshot.bytes, false);
    let report = *kept.outcome(job).drill.unwrap();
    assert_eq!((report.verdict, &report.start), (DrillVerdict::Passed, &DrillStart::Yes), "{report:#?}");
    let loaded = report.checks.iter().find(|check| check.kind == DrillCheckKind::Load);
    assert_eq!(loaded.map(|check| &check.result), Some(&DrillResult::Passed), "{report:#?}");
    assert_eq!(kept.sql("postgres", left).trim(), "orders,postgres");
    kept.writes();
    let drilled = kept.docker.run(&["ps", "--all", "--quiet", "--filter", "label=dev.backstay.drill"]);
    assert_eq!(drilled, "", "nothing of it is left");
}

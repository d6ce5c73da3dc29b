//! Drills: a snapshot restored to scratch and compared, with real files, SQLite and PostgreSQL. What runs is not touched, what is
//! wrong is named, and nothing stays behind, whenever the agent dies.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use backstay_testkit::PostgresServer;
use backstay_types::{
    BackupJobId, DeploymentState,
    backup::{DrillCheckKind, DrillReport, DrillResult, DrillStart, DrillVerdict, Snapshot, WorkOutcome},
};
use rusqlite::Connection;
use support::{FakeHub, Node, Repository, Stack, eventually, eventually_within, process_stack};

const LIMIT: Duration = Duration::from_secs(120);
const DATA: &str = "[[backup]]\npath = \"notes\"\n[[backup]]\nsqlite = \"app.db\"\n";

struct Kept {
    hub: FakeHub,
    node: Node,
    repository: Repository,
}

fn with_data(version: &str, backups: &str) -> Stack {
    let stack = process_stack(version, "true");
    let manifest = stack.files.iter().find(|f| f.path == "stack.toml").unwrap().content.clone();
    // Keys of the whole come before its tables.
    let (above, items) = backups.split_once("---\n").unwrap_or(("", backups));
    stack.file("stack.toml", &format!("{above}{}{items}", String::from_utf8(manifest).unwrap()))
}

impl Kept {
    fn start(backups: &str, values: &str) -> Self {
        let hub = FakeHub::start();
        let mut node = Node::join(&hub);
        let repository = Repository::give(&mut node);
        if !values.is_empty() {
            use std::os::unix::fs::PermissionsExt as _;
            let path = node.env_dir().join("web.env");
            fs::create_dir_all(node.env_dir()).unwrap();
            fs::write(&path, values).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        node.start("");
        let deployment = hub.deploy(&with_data("a", backups));
        assert_eq!(eventually("it runs", || hub.ends(deployment).pop()), DeploymentState::Succeeded);
        Self { hub, node, repository }
    }

    fn state(&self) -> PathBuf {
        self.node.stack().join("state")
    }

    /// Notes and a database, saved.
    fn saved(&self) -> Snapshot {
        fs::create_dir_all(self.state().join("notes/deep")).unwrap();
        fs::write(self.state().join("notes/deep/one"), "as it was").unwrap();
        fs::write(self.state().join("notes/two"), "two").unwrap();
        let db = Connection::open(self.state().join("app.db")).unwrap();
        db.execute_batch("create table t (x text); create index i on t (x);").unwrap();
        for n in 0..2000 {
            db.execute("insert into t values (?1)", [format!("row {n} {}", "x".repeat(50))]).unwrap();
        }
        drop(db);
        self.save()
    }

    fn save(&self) -> Snapshot {
        let outcome = self.outcome(self.hub.want_backup());
        assert_eq!(outcome.failed, None, "{}", self.node.log());
        outcome.snapshots[0].clone()
    }

    fn outcome(&self, job: BackupJobId) -> WorkOutcome {
        eventually_within(LIMIT, "the job's outcome", || self.hub.outcomes(job).pop())
    }

    fn drill(&self, snapshot: &Snapshot) -> (DrillReport, Option<String>) {
        let outcome = self.outcome(self.hub.want_drill(snapshot, snapshot.bytes, false));
        self.check_clean();
        (*outcome.drill.unwrap(), outcome.failed)
    }

    fn scratch(&self) -> PathBuf {
        self.node.data().join("backups/drill")
    }

    fn check_clean(&self) {
        assert!(!self.scratch().exists(), "scratch is taken away");
        let db = Connection::open(self.node.data().join("agent.db")).unwrap();
        let left: i64 = db.query_row("select count(*) from backup_drill", [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0);
    }
}

fn result<'a>(report: &'a DrillReport, kind: DrillCheckKind, what: &str) -> &'a DrillResult {
    let found = report.checks.iter().find(|check| check.kind == kind && check.what == what);
    &found.unwrap_or_else(|| panic!("{kind:?} {what}: {report:#?}")).result
}

fn failed_with(result: &DrillResult, part: &str) -> Vec<String> {
    match result {
        DrillResult::Failed { why, paths } if why.contains(part) => paths.clone(),
        other => panic!("{part}: {other:?}"),
    }
}

#[test]
fn files_and_databases_are_compared_and_what_runs_is_not_touched() {
    let kept = Kept::start(DATA, "");
    let snapshot = kept.saved();
    fs::write(kept.state().join("notes/two"), "changed since").unwrap();
    let (report, failed) = kept.drill(&snapshot);
    assert_eq!((report.verdict, failed), (DrillVerdict::Passed, None), "{report:#?}\n{}", kept.node.log());
    assert_eq!(result(&report, DrillCheckKind::Files, "files"), &DrillResult::Passed);
    assert_eq!(result(&report, DrillCheckKind::Database, "app.db"), &DrillResult::Passed);
    // The items' folders, what is in them, and the database.
    assert_eq!(report.files, 6);
    assert!(report.digest.is_some() && report.total_ms >= report.restore_ms);
    let DrillStart::No { why } = &report.start else { panic!("{report:#?}") };
    assert!(why.contains("`process`"), "{why}");
    assert_eq!(fs::read_to_string(kept.state().join("notes/two")).unwrap(), "changed since");
    let (again, _) = kept.drill(&snapshot);
    assert_eq!(again.digest, report.digest, "the same snapshot, the same digest");
}

#[test]
fn data_that_is_wrong_is_named() {
    let kept = Kept::start(DATA, "");
    let snapshot = kept.saved();
    // The program says that all is well.
    kept.repository.mode("cut notes/deep/one");
    let (report, failed) = kept.drill(&snapshot);
    assert_eq!(report.verdict, DrillVerdict::Failed);
    let paths = failed_with(result(&report, DrillCheckKind::Files, "files"), "1 paths");
    assert_eq!(paths, ["notes/deep/one has 8 bytes, expected 9"]);
    let failed = failed.unwrap();
    assert!(failed.contains("notes/deep/one") && failed.contains("BS9031"), "{failed}");
    kept.repository.mode("zero app.db/app.db");
    let (report, failed) = kept.drill(&snapshot);
    assert_eq!(report.verdict, DrillVerdict::Failed);
    failed_with(result(&report, DrillCheckKind::Database, "app.db"), "app.db");
    assert!(failed.unwrap().contains("app.db"));
    kept.repository.mode("");
    assert_eq!(kept.drill(&snapshot).0.verdict, DrillVerdict::Passed);
}

#[test]
fn a_drill_makes_way_and_says_so() {
    let kept = Kept::start(DATA, "");
    let snapshot = kept.saved();
    let outcome = kept.outcome(kept.hub.want_drill(&snapshot, u64::MAX / 16, false));
    let report = outcome.drill.unwrap();
    assert_eq!(report.verdict, DrillVerdict::PutOff);
    let why = outcome.failed.unwrap();
    assert!(why.contains("bytes are free") && why.contains("BS9032") && why.contains("BS9034"), "{why}");
    kept.check_clean();

    // The target is away: that says nothing about the snapshot.
    kept.repository.mode("away");
    assert_eq!(kept.drill(&snapshot).0.verdict, DrillVerdict::PutOff);

    // A deployment waits for its snapshot.
    kept.repository.mode("slow");
    let job = kept.hub.want_drill(&snapshot, snapshot.bytes, false);
    eventually("it restores", || kept.scratch().exists().then_some(()));
    let deployment = kept.hub.deploy(&with_data("b", DATA));
    let outcome = kept.outcome(job);
    let report = outcome.drill.unwrap();
    assert_eq!(report.verdict, DrillVerdict::PutOff, "{report:#?}");
    assert!(outcome.failed.unwrap().contains("a deployment of the node came first"));
    let end = eventually_within(LIMIT, "the deployment", || kept.hub.ends(deployment).pop());
    assert_eq!(end, DeploymentState::Succeeded, "{}", kept.node.log());
    kept.check_clean();
}

#[test]
fn what_is_not_to_be_drilled_is_not() {
    let kept = Kept::start(&format!("[backups]\ndrill = \"off\"\n{DATA}"), "");
    let snapshot = kept.saved();
    let (report, failed) = kept.drill(&snapshot);
    assert_eq!((report.verdict, failed), (DrillVerdict::Off, None), "{report:#?}");
    assert!(report.why.unwrap().contains("`drill = \"off\"`") && report.checks.is_empty());
}

#[test]
fn dumps_are_loaded_into_databases_of_scratch() {
    let Some(server) = PostgresServer::require() else { return };
    let port = server.url().rsplit(':').next().unwrap().split('/').next().unwrap().to_owned();
    let tools = Path::new("/var/cache/backstay/postgres/16");
    let item = |exclusive: &str| {
        format!(
            "{exclusive}---\n[[backup]]\nname = \"orders\"\n[backup.postgres]\nhost = \"127.0.0.1\"\nport = \"${{PGPORT}}\"\nprograms = \"${{PGBIN}}\"\ndatabase = \"orders\"\n"
        )
    };
    let values = format!("PGPORT={port}\nPGBIN={0}/bin\nLD_LIBRARY_PATH={0}/lib\n", tools.display());
    server.sql("create database orders");
    let databases = || {
        server
            .sql("select string_agg(datname, ',' order by datname) from pg_database where not datistemplate")
    };
    let mut kept = Kept::start(&item(""), &values);
    let snapshot = kept.save();
    let (report, failed) = kept.drill(&snapshot);
    assert_eq!(failed, None, "{report:#?}\n{}", kept.node.log());
    assert_eq!(result(&report, DrillCheckKind::Database, "orders"), &DrillResult::Passed);
    assert_eq!(result(&report, DrillCheckKind::Load, "orders"), &DrillResult::Passed);
    assert_eq!(databases(), "orders,postgres");
    // Killed while it is there: an agent that starts takes it away.
    kept.node.kill();
    kept.node.start("drill.loaded=return");
    let job = kept.hub.want_drill(&snapshot, snapshot.bytes, false);
    kept.node.wait_killed();
    assert!(databases().contains("backstay_drill_"), "{}", databases());
    kept.node.start("");
    assert_eq!(kept.outcome(job).drill.unwrap().verdict, DrillVerdict::Passed, "{}", kept.node.log());
    assert_eq!(databases(), "orders,postgres");
    // A dump that is damaged is found.
    kept.repository.mode("zero orders/orders.dump");
    let (report, _) = kept.drill(&snapshot);
    assert_eq!(report.verdict, DrillVerdict::Failed, "{report:#?}");
    assert_eq!(databases(), "orders,postgres");
    // What is exclusive is only looked at.
    kept.repository.mode("");
    let deployment = kept.hub.deploy(&with_data("b", &item("exclusive = true\n")));
    eventually("it runs", || kept.hub.ends(deployment).pop());
    let (report, _) = kept.drill(&snapshot);
    let DrillResult::LeftOut { why } = result(&report, DrillCheckKind::Load, "orders") else {
        panic!("{report:#?}")
    };
    assert!(why.contains("`exclusive`"), "{why}");
    assert_eq!(report.verdict, DrillVerdict::Passed);
}

/// Killed at each step: nothing of the drill stays, it is done again, and the hub is told once what came of it.
#[test]
fn killed_at_every_step_of_a_drill() {
    let mut kept = Kept::start(DATA, "");
    let snapshot = kept.saved();
    for point in [
        "backup.asked",
        "drill.noted",
        "drill.fetched",
        "drill.compared",
        "drill.tried",
        "drill.clearing",
        "drill.cleared",
        "backup.outcome.before",
        "backup.outcome.after",
        "backup.told.before",
        "backup.told.after",
    ] {
        kept.node.kill();
        kept.node.start(&format!("{point}=return"));
        let job = kept.hub.want_drill(&snapshot, snapshot.bytes, false);
        kept.node.wait_killed();
        kept.node.start("");
        let outcome = kept.outcome(job);
        assert_eq!(outcome.failed, None, "{point}: {}", kept.node.log());
        let told = kept.hub.outcomes(job);
        assert!(told.iter().all(|one| *one == outcome), "{point}: one outcome, however often it is told");
        kept.check_clean();
    }
}

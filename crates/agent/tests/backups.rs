//! Saving and putting back the data of stacks: a real agent, real SQLite and PostgreSQL under write load. The program that
//! keeps what is saved is the tests' own, or the true one where `BACKSTAY_TEST_BACKUP` names it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use backstay_api::agent::ReportBody;
use backstay_testkit::PostgresServer;
use backstay_types::{
    BackupJobId, DeploymentState, Step, StepOutcome,
    backup::{BackupReason, Destination, ItemResult, Proof, WorkOutcome},
};
use rusqlite::Connection;
use support::{FakeHub, Node, Repository, Stack, eventually, eventually_within, process_stack};

const LIMIT: Duration = Duration::from_secs(120);

/// A node that runs a stack with data, and what keeps it.
struct Kept {
    hub: FakeHub,
    node: Node,
    repository: Repository,
}

fn with_data(version: &str, check: &str, backups: &str) -> Stack {
    let stack = process_stack(version, check);
    let manifest =
        String::from_utf8(stack.files.iter().find(|f| f.path == "stack.toml").unwrap().content.clone());
    stack.file("stack.toml", &format!("{}{backups}", manifest.unwrap()))
}

impl Kept {
    fn start(stack: &Stack, values: &str, points: &str) -> Self {
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
        node.start(points);
        let deployment = hub.deploy(stack);
        assert_eq!(eventually("it runs", || hub.ends(deployment).pop()), DeploymentState::Succeeded);
        let kept = Self { hub, node, repository };
        fs::create_dir_all(kept.state()).unwrap();
        kept
    }

    fn state(&self) -> PathBuf {
        self.node.stack().join("state")
    }

    fn outcome(&self, job: BackupJobId) -> WorkOutcome {
        eventually_within(LIMIT, "the job's outcome", || self.hub.outcomes(job).pop())
    }

    fn save(&self) -> WorkOutcome {
        let outcome = self.outcome(self.hub.want_backup());
        assert_eq!(outcome.failed, None, "{}", self.node.log());
        outcome
    }

    /// Nothing that was made ready or fetched is left.
    fn check_clean(&self) {
        let staging = self.node.data().join("backups/staging");
        eventually("no copies are left", || (!staging.exists()).then_some(()));
        let left: Vec<_> = walk(self.node.data()).into_iter().filter(|p| p.contains(".backstay-")).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn walk(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        found.push(entry.path().display().to_string());
        if entry.file_type().unwrap().is_dir() {
            found.extend(walk(&entry.path()));
        }
    }
    found
}

fn done(outcome: &WorkOutcome, item: &str) -> (u64, u64) {
    let found =
        outcome.items.iter().find(|found| found.item == item).unwrap_or_else(|| panic!("{outcome:?}"));
    match &found.result {
        ItemResult::Done { files, bytes, .. } => (*files, *bytes),
        ItemResult::Failed { why, .. } => panic!("{item}: {why}"),
    }
}

/// Somebody who writes all the time, and who has written so much for certain.
struct Writer {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Writer {
    fn start(write: impl Fn(u64) + Send + 'static) -> Self {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (stop.clone(), written.clone());
        let thread = thread::spawn(move || {
            for n in 1.. {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                write(n);
                count.store(n, Ordering::SeqCst);
            }
        });
        let writer = Self { stop, written, thread: Some(thread) };
        eventually("something is written", || (writer.written() > 20).then_some(()));
        writer
    }

    fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

fn write_sqlite(path: PathBuf) -> impl Fn(u64) + Send {
    let db = Connection::open(path).unwrap();
    db.busy_timeout(Duration::from_secs(30)).unwrap();
    db.pragma_update(None, "journal_mode", "wal").unwrap();
    db.execute_batch(
        "create table if not exists a (n integer, pad blob); create table if not exists b (n integer);",
    )
    .unwrap();
    move |n| {
        // Both or neither: a torn copy has one of them.
        let sql = format!(
            "begin immediate; insert into a values ({n}, randomblob(3000)); insert into b values ({n}); commit;"
        );
        db.execute_batch(&sql).unwrap();
    }
}

/// The last number in a saved database, which must be whole.
fn check_sqlite(path: &Path) -> u64 {
    let db = Connection::open(path).unwrap();
    let verdict: String = db.query_row("pragma integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    let count = |table: &str| -> (u64, u64) {
        let sql = format!("select count(*), coalesce(max(n), 0) from {table}");
        db.query_row(&sql, [], |row| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64)))
            .unwrap()
    };
    assert_eq!(count("a"), count("b"), "both or neither");
    assert_eq!(count("a").0, count("a").1, "none is missing");
    count("a").0
}

fn to_folder(kept: &Kept, outcome: &WorkOutcome, folder: &Path) -> WorkOutcome {
    let to = Destination::Folder { path: folder.display().to_string() };
    let restored = kept.outcome(kept.hub.want_restore(outcome.snapshots[0].id, &[], to));
    assert_eq!(restored.failed, None, "{}", kept.node.log());
    restored
}

#[test]
fn sqlite_under_write_load_and_files_that_stand_still() {
    let backups =
        "[[backup]]\npath = \"data\"\nexclude = [\"cache\"]\n[[backup]]\nsqlite = \"data/app.db\"\n";
    let mut kept = Kept::start(&with_data("a", "true", backups), "", "");
    let data = kept.state().join("data");
    fs::create_dir_all(data.join("cache")).unwrap();
    fs::write(data.join("file"), "one").unwrap();
    fs::write(data.join("cache/x"), "not saved").unwrap();
    let writer = Writer::start(write_sqlite(data.join("app.db")));
    let before = writer.written();
    let saved = kept.save();
    let after = writer.written();
    drop(writer);
    let snapshot = &saved.snapshots[0];
    assert_eq!((snapshot.proof, snapshot.tags.reason), (Proof::Matched, BackupReason::Schedule));
    assert_eq!(snapshot.tags.stack.as_ref().unwrap().as_str(), "web");
    assert!(saved.still_ms < 5000, "it stood still for {} ms", saved.still_ms);
    assert!(done(&saved, "data-app.db").1 > 0);
    let log = kept.repository.log();
    assert!(log.contains("nice 10;") && log.contains("1073741824"), "limits before the job: {log}");

    let folder = kept.node.root().join("restored");
    to_folder(&kept, &saved, &folder);
    let count = check_sqlite(&folder.join("data-app.db/app.db"));
    assert!(
        (before..=after + 1).contains(&count),
        "{before} were in before, {after} after, {count} are saved"
    );
    assert_eq!(fs::read_to_string(folder.join("data/file")).unwrap(), "one");
    for left_out in ["data/cache", "data/app.db", "data/app.db-wal", "data/app.db-shm"] {
        assert!(!folder.join(left_out).exists(), "{left_out}");
    }

    // In place: what is there goes into a safety snapshot, what is left out stays.
    let pids = kept.node.pids();
    fs::write(data.join("file"), "two").unwrap();
    fs::write(data.join("more"), "later").unwrap();
    let more = Writer::start({
        let write = write_sqlite(data.join("app.db"));
        move |n| write(1_000_000 + n)
    });
    drop(more);
    let restored = kept.outcome(kept.hub.want_restore(snapshot.id, &[], Destination::InPlace));
    assert_eq!(restored.failed, None, "{}", kept.node.log());
    assert_eq!(check_sqlite(&data.join("app.db")), count);
    assert_eq!(fs::read_to_string(data.join("file")).unwrap(), "one");
    assert_eq!(fs::read_to_string(data.join("cache/x")).unwrap(), "not saved");
    assert!(!data.join("more").exists());
    assert!(kept.node.running() == ["a"] && kept.node.pids() != pids, "it was stopped and started");
    assert_eq!(restored.snapshots[0].tags.reason, BackupReason::Safety);
    kept.check_clean();

    // The way back of the way back.
    let folder = kept.node.root().join("safety");
    to_folder(&kept, &restored, &folder);
    assert_eq!(fs::read_to_string(folder.join("data/file")).unwrap(), "two");
    assert_eq!(fs::read_to_string(folder.join("data/more")).unwrap(), "later");
    kept.node.terminate();
}

#[test]
fn postgres_under_write_load_saved_and_put_back() {
    let Some(server) = PostgresServer::require() else { return };
    let port = server.url().rsplit(':').next().unwrap().split('/').next().unwrap().to_owned();
    let tools = PathBuf::from("/var/cache/backstay/postgres/16");
    let backups = "[[backup]]\nname = \"orders\"\n[backup.postgres]\nhost = \"127.0.0.1\"\nport = \"${PGPORT}\"\nprograms = \"${PGBIN}\"\ndatabase = \"orders\"\n";
    let values = format!("PGPORT={port}\nPGBIN={0}/bin\nLD_LIBRARY_PATH={0}/lib\n", tools.display());
    server.sql("create database orders");
    let url = format!("{}/orders", server.url().strip_suffix("/postgres").unwrap());
    let orders = move |server: &PostgresServer, sql: &str| {
        let _ = server;
        let mut command = std::process::Command::new("/var/cache/backstay/postgres/16/bin/psql");
        command.env("LD_LIBRARY_PATH", "/var/cache/backstay/postgres/16/lib");
        let output = command.args([url.as_str(), "-XAtqc", sql]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    orders(&server, "create table a (n bigint); create table b (n bigint);");
    let mut kept = Kept::start(&with_data("a", "true", backups), &values, "");
    let server = Arc::new(server);
    let write = {
        let (server, orders) = (server.clone(), orders.clone());
        move |n: u64| {
            drop(orders(
                &server,
                &format!("begin; insert into a values ({n}); insert into b values ({n}); commit;"),
            ))
        }
    };
    let writer = Writer::start(write);
    let before = writer.written();
    let saved = kept.save();
    drop(writer);
    assert!(done(&saved, "orders").1 > 0);
    orders(&server, "drop table a");

    let restored = kept.outcome(kept.hub.want_restore(saved.snapshots[0].id, &[], Destination::InPlace));
    assert_eq!(restored.failed, None, "{}", kept.node.log());
    let counts =
        orders(&server, "select (select count(*) from a), (select count(*) from b), (select max(n) from a)");
    let counts: Vec<u64> = counts.split('|').map(|n| n.parse().unwrap()).collect();
    assert!(
        counts[0] == counts[1] && counts[0] == counts[2] && counts[0] >= before,
        "{counts:?}, {before} before"
    );
    let left = server
        .sql("select string_agg(datname, ',' order by datname) from pg_database where not datistemplate");
    assert_eq!(left, "orders,postgres", "nothing is left beside it");

    // Killed while there is no database of that name at all, and right after.
    for point in ["restore.database.half", "restore.databases"] {
        orders(&server, "drop table b");
        kept.node.kill();
        kept.node.start(&format!("{point}=return"));
        let job = kept.hub.want_restore(saved.snapshots[0].id, &[], Destination::InPlace);
        kept.node.wait_killed();
        kept.node.start("");
        assert_eq!(kept.outcome(job).failed, None, "{point}: {}", kept.node.log());
        assert_eq!(orders(&server, "select count(*) from b"), counts[1].to_string(), "{point}");
    }

    // Together with a release, and away again with it.
    let has_b = || orders(&server, "select count(*) from pg_tables where tablename = 'b'");
    for (n, (point, healthy)) in [
        ("restore.database.half", true),
        ("exchange.databases", true),
        ("exchange.exchanged.after", true),
        ("exchange.undoing.after", false),
        ("exchange.databases_back", false),
    ]
    .into_iter()
    .enumerate()
    {
        orders(&server, "drop table b");
        kept.node.kill();
        kept.node.start(&format!("{point}=return"));
        let release = with_data(&format!("undo {n}"), if healthy { "true" } else { "false" }, backups);
        let undone = kept.hub.deploy_with_data(&release, saved.snapshots[0].id);
        kept.node.wait_killed();
        kept.node.start("");
        let end = eventually_within(LIMIT, "it ends", || kept.hub.ends(undone).pop());
        if healthy {
            assert_eq!(end, DeploymentState::Succeeded, "{point}: {}", kept.node.log());
            assert_eq!(orders(&server, "select count(*) from b"), counts[1].to_string(), "{point}");
        } else {
            assert!(matches!(end, DeploymentState::RolledBack { .. }), "{point}: {end:?}");
            assert_eq!(has_b(), "0", "{point}: the data from before is back");
            orders(&server, "create table b (n bigint)");
        }
        eventually_within(LIMIT, "nothing is left beside it", || {
            let sql = "select count(*) from pg_database where datname like 'backstay_%'";
            (server.sql(sql) == "0").then_some(())
        });
    }

    // A dump that cannot be made is no backup.
    server.sql("drop database orders with (force)");
    let outcome = kept.outcome(kept.hub.want_backup());
    let why = outcome.failed.unwrap();
    assert!(why.contains("orders") && why.contains("does not exist") && why.contains("BS9023"), "{why}");
    assert!(outcome.snapshots.is_empty());
}

#[test]
fn hooks_commands_and_what_fails_leaves_no_snapshot() {
    let backups = "[[backup]]\npath = \"data\"\nbefore = [\"./before\"]\nafter = [\"./after\"]\n\
        [[backup]]\nname = \"stream\"\ncommand = [\"./export\"]\nrestore = [\"./import\"]\n\
        [[backup]]\nname = \"folder\"\ncommand = [\"./fill\"]\nfolder = true\n";
    let stack = with_data("a", "true", backups)
        .program("before", "echo before >> $BACKSTAY_STATE_DIR/hooks")
        .program("after", "echo after >> $BACKSTAY_STATE_DIR/hooks")
        .program("export", "cat $BACKSTAY_STATE_DIR/exported")
        .program("import", "cat > $BACKSTAY_STATE_DIR/imported")
        .program("fill", "echo $BACKSTAY_STACK > $BACKSTAY_FOLDER/name");
    let kept = Kept::start(&stack, "", "");
    fs::create_dir_all(kept.state().join("data")).unwrap();
    fs::write(kept.state().join("data/x"), "x").unwrap();
    fs::write(kept.state().join("exported"), "all").unwrap();
    let saved = kept.save();
    assert_eq!(saved.still_ms, 0, "the hook makes it stand still");
    let folder = kept.node.root().join("restored");
    to_folder(&kept, &saved, &folder);
    let read = |path: &str| fs::read_to_string(folder.join(path)).unwrap();
    assert_eq!(
        (read("data/x"), read("stream/output"), read("folder/name")),
        ("x".into(), "all".into(), "web\n".into())
    );
    assert_eq!(fs::read_to_string(kept.state().join("hooks")).unwrap(), "before\nafter\n");

    // A command takes back what it gave.
    let restored =
        kept.outcome(kept.hub.want_restore(saved.snapshots[0].id, &["stream"], Destination::InPlace));
    assert_eq!(restored.failed, None, "{}", kept.node.log());
    assert_eq!(fs::read_to_string(kept.state().join("imported")).unwrap(), "all");
    let refused =
        kept.outcome(kept.hub.want_restore(saved.snapshots[0].id, &["folder"], Destination::InPlace));
    assert!(refused.failed.as_ref().unwrap().contains("no `restore`"), "{refused:?}");

    // Its program fails: nothing of the stack is in a snapshot, and `after` ran all the same.
    fs::remove_file(kept.state().join("exported")).unwrap();
    let outcome = kept.outcome(kept.hub.want_backup());
    assert!(outcome.failed.as_ref().unwrap().contains("exported"), "{outcome:?}");
    assert!(outcome.snapshots.is_empty() && outcome.items.len() == 3);
    kept.check_clean();
}

/// What `before` has frozen goes on, also when the agent is killed meanwhile, or the hub wants the job no longer.
#[test]
fn hooks_run_to_their_end_whatever_happens_between() {
    let backups = "[[backup]]\npath = \"data\"\nconsistency = \"hook\"\nbefore = [\"./before\"]\n\
        after = [\"./after\"]\n[[backup]]\nname = \"stream\"\ncommand = [\"./export\"]\n\
        before = [\"./before\"]\nafter = [\"./after\"]\n";
    let stack = with_data("a", "true", backups)
        .program("before", "echo before >> $BACKSTAY_STATE_DIR/hooks")
        .program("after", "echo after >> $BACKSTAY_STATE_DIR/hooks")
        .program("export", "test ! -e $BACKSTAY_STATE_DIR/slow || sleep 20000\necho all");
    let mut kept = Kept::start(&stack, "", "");
    let hooks = kept.state().join("hooks");
    let read = || fs::read_to_string(&hooks).unwrap_or_default();
    fs::create_dir_all(kept.state().join("data")).unwrap();
    let whole = "before\nafter\n".repeat(2);
    kept.node.kill();
    kept.node.start("backup.hooked=return");
    let job = kept.hub.want_backup();
    kept.node.wait_killed();
    assert_eq!(read(), "before\n");
    kept.node.start("");
    assert_eq!(kept.outcome(job).failed, None, "{}", kept.node.log());
    assert_eq!(read(), format!("before\nafter\n{whole}"));

    fs::remove_file(&hooks).unwrap();
    fs::write(kept.state().join("slow"), "").unwrap();
    let job = kept.hub.want_backup();
    eventually("it is asked for its data", || (read() == "before\n").then_some(()));
    kept.hub.cancel_backups();
    let outcome = kept.outcome(job);
    assert!(outcome.failed.as_ref().unwrap().contains("should end"), "{outcome:?}");
    assert_eq!(read(), "before\nafter\n");
}

#[test]
fn what_the_program_says_is_what_the_hub_is_told() {
    let mut kept = Kept::start(&with_data("a", "true", ""), "", "");
    let nothing = kept.outcome(kept.hub.want_backup());
    assert!(nothing.failed.is_none() && nothing.snapshots.is_empty(), "there is no data: {nothing:?}");
    fs::write(kept.state().join("x"), "x").unwrap();
    for (mode, part) in [("away", "does not answer (BS9024)"), ("cut", "cut off")] {
        kept.repository.mode(mode);
        let outcome = kept.outcome(kept.hub.want_backup());
        assert!(outcome.failed.as_ref().unwrap().contains(part), "{outcome:?}");
    }
    kept.repository.mode("");
    // The outcome of a job is told until the hub has it, also after the agent was killed.
    kept.hub.forgetful(true);
    let job = kept.hub.want_backup();
    eventually_within(LIMIT, "it is told", || (!kept.hub.outcomes(job).is_empty()).then_some(()));
    kept.node.kill();
    kept.hub.forgetful(false);
    kept.node.start("");
    eventually_within(LIMIT, "it is told again", || (kept.hub.outcomes(job).len() > 1).then_some(()));
    let told = kept.hub.outcomes(job);
    assert!(told.iter().all(|outcome| *outcome == told[0]), "{told:?}");
    // Without the program it says what to do.
    fs::remove_file(kept.node.root().join("backup-program")).unwrap();
    let outcome = kept.outcome(kept.hub.want_backup());
    assert!(outcome.failed.as_ref().unwrap().contains("backup_program"), "{outcome:?}");
}

fn snapshot_step(hub: &FakeHub, deployment: backstay_types::DeploymentId) -> (StepOutcome, String) {
    let step = |report: backstay_api::agent::Report| match report.body {
        ReportBody::StepFinished { deployment: of, record }
            if of == deployment && record.step == Step::Snapshot =>
        {
            Some((record.outcome, record.detail))
        }
        _ => None,
    };
    eventually("its step is told", || hub.reports().into_iter().find_map(step))
}

#[test]
fn a_deployment_saves_the_data_first_as_far_as_it_has_to() {
    let backups = |more: &str| format!("[backups]\nwait = \"10s\"\n{more}[[backup]]\npath = \"data\"\n");
    let kept = Kept::start(&with_data("a", "true", &backups("")), "", "");
    let data = kept.state().join("data");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("x"), "a").unwrap();
    let deploy = |stack: &Stack| {
        let deployment = kept.hub.deploy(stack);
        (deployment, eventually_within(LIMIT, "its end", || kept.hub.ends(deployment).pop()))
    };
    // Not set up: it goes on, and says so.
    let (deployment, end) = deploy(&with_data("b", "true", &backups("")));
    assert_eq!(end, DeploymentState::Succeeded);
    let (outcome, said) = snapshot_step(&kept.hub, deployment);
    assert!(outcome == StepOutcome::Skipped && said.contains("not set up"), "{said}");

    // Set up: what was there when `b` ran is saved before `c` runs.
    kept.hub.set_up_backups();
    fs::write(data.join("x"), "b").unwrap();
    let (deployment, end) = deploy(&with_data("c", "true", &backups("require = true\n")));
    assert_eq!(end, DeploymentState::Succeeded, "{}", kept.node.log());
    let (outcome, said) = snapshot_step(&kept.hub, deployment);
    assert!(outcome == StepOutcome::Done && said.starts_with("snapshot "), "{said}");
    let tags = walk(&kept.repository.dir).into_iter().find(|path| path.ends_with(".tags"));
    if let Some(tags) = tags {
        let tags = fs::read_to_string(tags).unwrap();
        assert!(tags.contains(&format!("backstay:deployment={deployment}")), "{tags}");
        assert!(tags.contains("backstay:reason=deployment"), "{tags}");
    }

    // `c` requires a snapshot, and the target is away: nothing is touched.
    kept.repository.mode("away");
    let (_, end) = deploy(&with_data("d", "true", &backups("")));
    let DeploymentState::Failed { step, reason, .. } = end else { panic!("{end:?}") };
    assert!(step == Step::Snapshot && reason.contains("BS9025"), "{reason}");
    assert_eq!(kept.node.running(), ["c"]);
    // Nor does one that takes too long hold it up for ever.
    kept.repository.mode("hang");
    let (_, end) = deploy(&with_data("e", "true", &backups("")));
    assert!(
        matches!(&end, DeploymentState::Failed { reason, .. } if reason.contains("longer than 10s")),
        "{end:?}"
    );
    // The way back of a bad release asks for no snapshot: it goes back though the target is away.
    kept.repository.mode("");
    let (deployment, end) = deploy(&with_data("bad", "false", &backups("")));
    assert!(matches!(end, DeploymentState::RolledBack { .. }), "{end:?}");
    assert_eq!(snapshot_step(&kept.hub, deployment).0, StepOutcome::Done);
    eventually("it runs as before", || (kept.node.running() == ["c"]).then_some(()));
}

#[test]
fn data_that_does_not_prove_itself_is_taken_back() {
    let backups = "[[backup]]\npath = \"data\"\n[[backup]]\nsqlite = \"data/app.db\"\n";
    let check = "grep -q good ../../state/data/x";
    let hub_stack = |check: &str| with_data("a", check, backups);
    let mut kept = {
        // Healthy exactly when its data says so.
        let kept = Kept::start(&hub_stack("true"), "", "");
        let data = kept.state().join("data");
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join("x"), "bad").unwrap();
        drop(Writer::start(write_sqlite(data.join("app.db"))));
        kept
    };
    let data = kept.state().join("data");
    let saved = kept.save();
    fs::write(data.join("x"), "good").unwrap();
    let count = check_sqlite(&data.join("app.db"));
    let deployment = kept.hub.deploy(&hub_stack(check).file("version", "b"));
    assert_eq!(eventually("it runs", || kept.hub.ends(deployment).pop()), DeploymentState::Succeeded);
    let restored = kept.outcome(kept.hub.want_restore(saved.snapshots[0].id, &[], Destination::InPlace));
    let why = restored.failed.unwrap();
    assert!(why.contains("the data from before is back") && why.contains("BS9026"), "{why}");
    assert_eq!(fs::read_to_string(data.join("x")).unwrap(), "good");
    assert_eq!(check_sqlite(&data.join("app.db")), count);
    eventually("it runs as before", || (kept.node.running() == ["b"]).then_some(()));
    assert_eq!(restored.snapshots.len(), 1, "the safety snapshot is told");
    kept.check_clean();

    // Killed on the way back, on each side of each step.
    for point in ["restore.undoing.before", "restore.undoing.after", "restore.swapped_back"] {
        kept.node.kill();
        kept.node.start(&format!("{point}=return"));
        let job = kept.hub.want_restore(saved.snapshots[0].id, &[], Destination::InPlace);
        kept.node.wait_killed();
        kept.node.start("");
        let why = kept.outcome(job).failed.unwrap();
        assert!(why.contains("the data from before is back"), "{point}: {why}");
        assert_eq!(fs::read_to_string(data.join("x")).unwrap(), "good", "{point}");
        assert_eq!(check_sqlite(&data.join("app.db")), count, "{point}");
        kept.check_clean();
    }
}

/// What goes wrong after the first folder was exchanged is no end: everything is as before.
#[test]
fn what_cannot_be_put_in_place_is_taken_back() {
    let backups = "[[backup]]\npath = \"data\"\n[[backup]]\npath = \"other\"\n";
    // When it is stopped, it takes away what was fetched of the second folder.
    let serve = "trap 'rm -rf ../../state/.backstay-new-*-other; exit 0' TERM\nsleep 20000 &\nwait";
    let kept = Kept::start(&with_data("a", "true", backups).program("serve", serve), "", "");
    let write = |text: &str| {
        for name in ["data", "other"] {
            fs::create_dir_all(kept.state().join(name)).unwrap();
            fs::write(kept.state().join(name).join("x"), text).unwrap();
        }
    };
    write("saved");
    let saved = kept.save();
    write("changed");
    let restored = kept.outcome(kept.hub.want_restore(saved.snapshots[0].id, &[], Destination::InPlace));
    let why = restored.failed.unwrap();
    assert!(why.contains("the data from before is back") && !why.contains("not healthy"), "{why}");
    assert!(restored.items.iter().all(|item| matches!(item.result, ItemResult::Failed { .. })));
    for name in ["data", "other"] {
        assert_eq!(fs::read_to_string(kept.state().join(name).join("x")).unwrap(), "changed", "{name}");
    }
    eventually("it runs as before", || (kept.node.running() == ["a"]).then_some(()));
    kept.check_clean();
}

/// Once the data has proved itself, what was there before is taken away: nothing leads back from there.
#[test]
fn killed_after_the_data_proved_itself_it_stays() {
    let backups = "[[backup]]\npath = \"data\"\n";
    let check = "grep -q good ../../state/data/x && ! test -e ../../state/unwell";
    let mut kept = Kept::start(&with_data("a", "true", backups), "", "");
    let data = kept.state().join("data");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("x"), "good, saved").unwrap();
    let saved = kept.save();
    let deployment = kept.hub.deploy(&with_data("a", check, backups));
    assert_eq!(eventually("it runs", || kept.hub.ends(deployment).pop()), DeploymentState::Succeeded);
    for point in ["restore.over.before", "restore.over.after", "restore.cleaned", "backup.outcome.before"] {
        fs::write(data.join("x"), "good, changed").unwrap();
        kept.node.kill();
        kept.node.start(&format!("{point}=return"));
        let job = kept.hub.want_restore(saved.snapshots[0].id, &[], Destination::InPlace);
        kept.node.wait_killed();
        // From then on it is unwell whatever its data.
        let proved = point != "restore.over.before";
        if proved {
            fs::write(kept.state().join("unwell"), "").unwrap();
        }
        kept.node.start("");
        let outcome = kept.outcome(job);
        assert_eq!(outcome.failed, None, "{point}: {}", kept.node.log());
        assert_eq!(fs::read_to_string(data.join("x")).unwrap(), "good, saved", "{point}");
        kept.check_clean();
        let _ = fs::remove_file(kept.state().join("unwell"));
    }
}

#[test]
fn a_deployment_does_not_wait_for_a_backup_of_its_stack() {
    let backups = "[[backup]]\npath = \"data\"\n";
    let kept = Kept::start(&with_data("a", "true", backups), "", "");
    fs::create_dir_all(kept.state().join("data")).unwrap();
    fs::write(kept.state().join("data/x"), "a").unwrap();
    kept.repository.mode("hang");
    let job = kept.hub.want_backup();
    eventually_within(LIMIT, "it is being sent", || kept.repository.log().contains("snapshot").then_some(()));
    kept.repository.mode("");
    let deployment = kept.hub.deploy(&with_data("b", "true", backups));
    let end = eventually_within(LIMIT, "its end", || kept.hub.ends(deployment).pop());
    assert_eq!(end, DeploymentState::Succeeded, "{}", kept.node.log());
    let outcome = kept.outcome(job);
    assert!(outcome.failed.as_ref().unwrap().contains("a deployment of the stack came first"), "{outcome:?}");
    assert_eq!(snapshot_step(&kept.hub, deployment).0, StepOutcome::Done, "{}", kept.node.log());
}

#[test]
fn a_backup_ends_when_the_hub_says_so() {
    let kept = Kept::start(&with_data("a", "true", ""), "", "");
    fs::write(kept.state().join("x"), "x").unwrap();
    kept.repository.mode("hang");
    kept.hub.cancel_backups();
    let outcome = kept.outcome(kept.hub.want_backup());
    assert!(outcome.failed.as_ref().unwrap().contains("should end"), "{outcome:?}");
    let pretends = |entry: fs::DirEntry| {
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let mine = kept.repository.dir.as_os_str().as_encoded_bytes();
        command.windows(mine.len()).any(|window| window == mine)
    };
    assert!(!fs::read_dir("/proc").unwrap().flatten().any(pretends), "its program is gone");
}

/// A server of the test's own, and what a stack has to know about it.
struct Server {
    server: PostgresServer,
    values: String,
}

const TOOLS: &str = "/var/cache/backstay/postgres/16";

impl Server {
    fn require() -> Option<Self> {
        let server = PostgresServer::require()?;
        let port = server.url().rsplit(':').next().unwrap().split('/').next().unwrap().to_owned();
        let values = format!("PGPORT={port}\nPGBIN={TOOLS}/bin\nLD_LIBRARY_PATH={TOOLS}/lib\n");
        Some(Self { server, values })
    }

    fn sql(&self, database: &str, sql: &str) -> String {
        self.server.sql_in(database, sql)
    }
}

const REACHED: &str = "host = \"127.0.0.1\"\nport = \"${PGPORT}\"\nprograms = \"${PGBIN}\"\n";

#[test]
fn a_database_that_was_dropped_comes_back_with_the_roles_that_own_it() {
    let Some(server) = Server::require() else { return };
    let backups = format!(
        "[[backup]]\npath = \"data\"\n[[backup]]\nsqlite = \"app.db\"\n\
         [[backup]]\nname = \"shop\"\n[backup.postgres]\n{REACHED}database = \"shop\"\n"
    );
    let kept = Kept::start(&with_data("a", "true", &backups), &server.values, "");
    server.sql(
        "postgres",
        "create role shop_owner login password 'first'; create role reader; create role other",
    );
    server.sql("postgres", "grant reader to shop_owner; alter role other password 'first'");
    server.sql("postgres", "create database shop owner shop_owner");
    server.sql(
        "shop",
        "set role shop_owner; create table orders (n int); insert into orders values (1), (2); \
                        grant select on orders to reader",
    );
    fs::create_dir_all(kept.state().join("data")).unwrap();
    fs::write(kept.state().join("data/file"), "one").unwrap();
    Connection::open(kept.state().join("app.db"))
        .unwrap()
        .execute_batch("create table t (n); insert into t values (7)")
        .unwrap();
    let secret = server.sql("postgres", "select rolpassword from pg_authid where rolname = 'shop_owner'");
    let saved = kept.save();

    // Somebody lost all of it; of a role that is in use the password was changed since.
    server.sql("postgres", "drop database shop");
    server.sql("postgres", "drop role shop_owner; drop role reader; alter role other password 'second'");
    let other = server.sql("postgres", "select rolpassword from pg_authid where rolname = 'other'");
    fs::remove_dir_all(kept.state().join("data")).unwrap();
    fs::remove_file(kept.state().join("app.db")).unwrap();
    let restored = kept.outcome(kept.hub.want_restore(saved.snapshots[0].id, &[], Destination::InPlace));
    assert_eq!(restored.failed, None, "{}", kept.node.log());
    assert_eq!(server.sql("shop", "set role reader; select sum(n) from orders"), "3");
    let owner =
        server.sql("postgres", "select pg_get_userbyid(datdba) from pg_database where datname = 'shop'");
    assert_eq!(owner, "shop_owner");
    let password = |role: &str| {
        server.sql("postgres", &format!("select rolpassword from pg_authid where rolname = '{role}'"))
    };
    assert_eq!((password("shop_owner"), password("other")), (secret, other), "what is in use stays as it is");
    let member = "select count(*) from pg_auth_members where pg_get_userbyid(member) = 'shop_owner'";
    assert_eq!(server.sql("postgres", member), "1");
    assert_eq!(fs::read_to_string(kept.state().join("data/file")).unwrap(), "one");
    let db = Connection::open(kept.state().join("app.db")).unwrap();
    let n: i64 = db.query_row("select n from t", [], |row| row.get(0)).unwrap();
    assert_eq!(n, 7);
    kept.check_clean();
}

#[test]
fn a_server_is_saved_file_by_file_under_write_load_and_another_starts_from_that() {
    let Some(server) = Server::require() else { return };
    let backups = format!("[[backup]]\nname = \"server\"\n[backup.postgres]\n{REACHED}method = \"base\"\n");
    let kept = Kept::start(&with_data("a", "true", &backups), &server.values, "");
    server.sql("postgres", "create role shop_owner login");
    server.sql("postgres", "create database shop owner shop_owner");
    server.sql("shop", "create table a (n bigint); create table b (n bigint)");
    let server = Arc::new(server);
    let writing = server.clone();
    let writer = Writer::start(move |n| {
        writing
            .sql("shop", &format!("begin; insert into a values ({n}); insert into b values ({n}); commit;"));
    });
    let before = writer.written();
    let saved = kept.save();
    drop(writer);
    assert!(done(&saved, "server").0 > 500, "it has many files");
    let refused = kept.outcome(kept.hub.want_restore(saved.snapshots[0].id, &[], Destination::InPlace));
    assert!(refused.failed.unwrap().contains("restore it into a folder"));

    let folder = kept.node.root().join("restored");
    to_folder(&kept, &saved, &folder);
    let restored = PostgresServer::from_folder(&folder.join("server")).unwrap();
    assert_eq!(restored.sql("select count(*) from pg_roles where rolname = 'shop_owner'"), "1");
    let counts = restored
        .sql_in("shop", "select (select count(*) from a), (select count(*) from b), (select max(n) from a)");
    let counts: Vec<u64> = counts.split('|').map(|n| n.parse().unwrap()).collect();
    assert!(
        counts[0] == counts[1] && counts[0] == counts[2] && counts[0] >= before,
        "{counts:?}, {before} before"
    );
    assert_eq!(restored.sql("select pg_is_in_recovery()"), "f");
}

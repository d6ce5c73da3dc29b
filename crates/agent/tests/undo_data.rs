//! Undo with data: code and data go back together, or neither does. A real agent, real files and a real SQLite database with
//! a migration that only goes forward: the old release refuses to start on what the new one has migrated, and the new one
//! migrates whatever it is started on. So whatever is mixed at any time is seen at the end. The rows of the matrix kill the
//! agent at every step of it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{fs, path::PathBuf, time::Duration};

use backstay_types::{
    DeploymentId, DeploymentState, Step,
    backup::{BackupReason, Destination, Snapshot},
};
use rusqlite::Connection;
use support::{FakeHub, Node, PackMode, Repository, Stack, eventually_within, process_stack};

const LIMIT: Duration = Duration::from_secs(120);
/// The low byte of SQLite's `user_version`.
const VERSION: &str = "63";
const BACKUPS: &str = "[backups]\nmigrations = \"forward_only\"\n\
    [[backup]]\npath = \"data\"\nexclude = [\"cache\"]\n[[backup]]\nsqlite = \"data/app.db\"\n";

/// A release that works with the first schema alone.
fn old(version: &str, check: &str) -> Stack {
    let first = format!("test \"$(od -An -j{VERSION} -N1 -tu1 ../../state/data/app.db | tr -d ' ')\" = 1");
    let serve = format!("{first} || exit 1\necho \"serving $(cat version)\"\nexec sleep 1000");
    stack(version, &format!("{first} && {check}")).program("serve", &serve)
}

/// A release that brings the data to the second schema when it starts.
fn new() -> Stack {
    let serve = format!(
        "printf '\\2' | dd of=\"$BACKSTAY_STATE_DIR/data/app.db\" bs=1 seek={VERSION} conv=notrunc 2>/dev/null\n\
         grep -q two \"$BACKSTAY_STATE_DIR/data/file\" || echo two > \"$BACKSTAY_STATE_DIR/data/file\"\necho \"serving $(cat version)\"\nexec sleep 1000"
    );
    stack("new", "true").program("serve", &serve)
}

fn stack(version: &str, check: &str) -> Stack {
    let stack = process_stack(version, check);
    let manifest = stack.files.iter().find(|file| file.path == "stack.toml").unwrap();
    let text = String::from_utf8(manifest.content.clone()).unwrap();
    stack.file("stack.toml", &format!("{text}{BACKUPS}"))
}

/// A node on which the new release has migrated the data of the old one and written to it.
struct Migrated {
    hub: FakeHub,
    node: Node,
    repository: Repository,
    /// From just before the new release came.
    snapshot: Snapshot,
}

/// What the database is: its schema, and what was written.
#[derive(Debug, PartialEq, Eq)]
struct Data {
    schema: i64,
    rows: String,
    file: String,
}

impl Migrated {
    fn start() -> Self {
        Self::start_with("")
    }

    fn start_with(settings: &str) -> Self {
        let hub = FakeHub::start();
        let mut node = Node::join(&hub);
        node.settings = settings.to_owned();
        let repository = Repository::give(&mut node);
        let data = node.stack().join("state/data");
        fs::create_dir_all(data.join("cache")).unwrap();
        fs::write(data.join("file"), "one\n").unwrap();
        fs::write(data.join("cache/x"), "kept").unwrap();
        let db = Connection::open(data.join("app.db")).unwrap();
        db.execute_batch(
            "create table t (word text); insert into t values ('before'); pragma user_version = 1;",
        )
        .unwrap();
        drop(db);
        hub.set_up_backups();
        node.start("");
        let ends = |deployment| {
            let end = eventually_within(LIMIT, "it ends", || hub.ends(deployment).pop());
            assert_eq!(end, DeploymentState::Succeeded, "{}", node.log());
        };
        ends(hub.deploy(&old("old", "true")));
        ends(hub.deploy(&new()));
        let snapshot = hub.all_outcomes().pop().unwrap().snapshots.remove(0);
        assert_eq!(snapshot.tags.reason, BackupReason::Deployment);
        let migrated = Self { hub, node, repository, snapshot };
        migrated.write("after");
        eventually_within(LIMIT, "it has migrated", || (migrated.data() == after()).then_some(()));
        migrated
    }

    /// What was started may be on its way still.
    fn runs(&self, version: &str) {
        eventually_within(LIMIT, "what should run", || (self.node.running() == [version]).then_some(()));
    }

    fn succeeds(&self, deployment: DeploymentId) {
        let end = eventually_within(LIMIT, "it ends", || self.hub.ends(deployment).pop());
        assert_eq!(end, DeploymentState::Succeeded, "{}", self.node.log());
    }

    fn folder(&self) -> PathBuf {
        self.node.stack().join("state/data")
    }

    fn write(&self, word: &str) {
        let db = Connection::open(self.folder().join("app.db")).unwrap();
        db.execute("insert into t values (?1)", [word]).unwrap();
    }

    fn data(&self) -> Data {
        let db = Connection::open(self.folder().join("app.db")).unwrap();
        let rows = "select group_concat(word, ',') from (select word from t order by rowid)";
        Data {
            schema: db.query_row("pragma user_version", [], |row| row.get(0)).unwrap(),
            rows: db.query_row(rows, [], |row| row.get(0)).unwrap(),
            file: fs::read_to_string(self.folder().join("file")).unwrap(),
        }
    }

    /// Nothing is left of what was fetched, kept or noted.
    fn check_clean(&self) {
        eventually_within(LIMIT, "nothing is left beside the data", || {
            let names = |dir: PathBuf| -> Vec<String> {
                let entries = fs::read_dir(dir).into_iter().flatten().flatten();
                entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
            };
            let mut beside = names(self.node.stack().join("state"));
            beside.extend(names(self.folder()));
            let db = Connection::open(self.node.data().join("agent.db")).unwrap();
            let rows: i64 =
                db.query_row("select count(*) from backup_exchanges", [], |row| row.get(0)).unwrap();
            (rows == 0 && !beside.iter().any(|name| name.contains("backstay"))).then_some(())
        });
        assert_eq!(fs::read_to_string(self.folder().join("cache/x")).unwrap(), "kept");
    }
}

fn before() -> Data {
    Data { schema: 1, rows: "before".to_owned(), file: "one\n".to_owned() }
}

fn after() -> Data {
    Data { schema: 2, rows: "before,after".to_owned(), file: "two\n".to_owned() }
}

#[test]
fn code_alone_cannot_go_back_and_with_its_data_it_does() {
    let mut migrated = Migrated::start();
    // Without: the old release refuses what the new one has migrated.
    let alone = migrated.hub.deploy(&old("old", "true"));
    let end = eventually_within(LIMIT, "it ends", || migrated.hub.ends(alone).pop());
    assert!(matches!(end, DeploymentState::RolledBack { step: Step::Probe, .. }), "{end:?}");
    assert_eq!(migrated.data(), after());
    migrated.runs("new");

    let undone = migrated.hub.deploy_with_data(&old("older", "true"), migrated.snapshot.id);
    migrated.succeeds(undone);
    assert_eq!(migrated.data(), before());
    migrated.runs("older");
    migrated.check_clean();
    let safety = migrated.hub.all_outcomes().pop().unwrap();
    assert_eq!(safety.failed, None);
    let safety = &safety.snapshots[0];
    assert_eq!((safety.tags.reason, safety.tags.deployment), (BackupReason::Safety, Some(undone)));

    // The undo of the undo: what was there comes back, with the release that understands it.
    migrated.write("meanwhile");
    migrated.succeeds(migrated.hub.deploy_with_data(&new(), safety.id));
    assert_eq!(migrated.data(), after());
    migrated.runs("new");
    migrated.check_clean();
    migrated.node.terminate();
}

#[test]
fn what_cannot_be_fetched_touches_nothing() {
    let mut migrated = Migrated::start();
    let pids = migrated.node.pids();
    migrated.repository.mode("away");
    let undone = migrated.hub.deploy_with_data(&old("older", "true"), migrated.snapshot.id);
    let end = eventually_within(LIMIT, "it ends", || migrated.hub.ends(undone).pop());
    let DeploymentState::Failed { step: Step::Snapshot, reason, .. } = &end else { panic!("{end:?}") };
    assert!(reason.contains("BS9044") && reason.contains("does not answer"), "{reason}");
    assert_eq!((migrated.data(), migrated.node.pids()), (after(), pids), "nothing was stopped");
    migrated.check_clean();
    migrated.node.terminate();
}

#[test]
fn a_newer_statement_while_data_is_made_ready() {
    let mut migrated = Migrated::start();
    migrated.repository.mode("slow");
    let undone = migrated.hub.deploy_with_data(&old("older", "true"), migrated.snapshot.id);
    eventually_within(LIMIT, "it is fetched", || migrated.repository.log().contains("restore").then_some(()));
    migrated.repository.mode("");
    let newest = migrated.hub.deploy(&newest());
    migrated.succeeds(newest);
    let end = migrated.hub.ends(undone).pop();
    assert_eq!(end, Some(DeploymentState::Superseded), "{}", migrated.node.log());
    assert_eq!(migrated.data(), after());
    migrated.check_clean();
    let folder = migrated.node.root().join("restored");
    let to = Destination::Folder { path: folder.display().to_string() };
    let job = migrated.hub.want_restore(migrated.snapshot.id, &["data"], to);
    eventually_within(LIMIT, "a restore", || migrated.hub.outcomes(job).pop());
    assert_eq!(fs::read_to_string(folder.join("data/file")).unwrap(), "one\n");
    migrated.node.terminate();
}

/// A release that goes back to the data of the old one and fails there, in a way that `also` leaves.
fn failing(also: &str) -> Stack {
    old("older", &format!("{{ {also}; }}; false"))
}

/// A release that neither cares for its data nor touches it.
fn newest() -> Stack {
    stack("newest", "true").program("serve", "echo serving newest\nexec sleep 1000")
}

impl Migrated {
    /// The undo goes back, and that fails too.
    fn breaks(&self, release: &Stack) -> DeploymentId {
        let undone = self.hub.deploy_with_data(release, self.snapshot.id);
        let end = eventually_within(LIMIT, "it ends", || self.hub.ends(undone).pop());
        assert!(matches!(end, DeploymentState::Broken { .. }), "{end:?}");
        undone
    }

    /// What was there before the undo is there again, under a release that came after it and runs on.
    fn check_newest(&mut self, deployment: DeploymentId) {
        self.succeeds(deployment);
        self.check_clean();
        assert_eq!(self.data(), after(), "{}", self.node.log());
        assert_eq!(self.node.running(), ["newest"], "nothing was stopped under it");
        self.node.terminate();
    }
}

#[test]
fn data_that_could_not_be_put_back_is_before_a_newer_release_comes() {
    let mut migrated = Migrated::start_with("check_every = \"10m\"");
    let state = migrated.node.stack().join("state");
    migrated.breaks(&failing("[ -d ../../state.away ] || mv ../../state ../../state.away"));
    // Until it can be put back, nothing else runs on what is there.
    let refused = migrated.hub.deploy(&stack("refused", "true"));
    let log = || migrated.node.log();
    eventually_within(LIMIT, "it is tried", || log().contains("an earlier undo could not").then_some(()));
    assert!(migrated.hub.ends(refused).is_empty() && !state.exists(), "{}", log());
    fs::rename(migrated.node.stack().join("state.away"), &state).unwrap();
    let newest = migrated.hub.deploy(&newest());
    migrated.check_newest(newest);
}

#[test]
fn data_of_a_deployment_that_ended_otherwise_does_not_stay() {
    let mut migrated = Migrated::start_with("check_every = \"10m\"");
    let db = Connection::open(migrated.node.data().join("agent.db")).unwrap();
    db.busy_timeout(LIMIT).unwrap();
    // It cannot even be noted that the data goes back.
    db.execute_batch(
        "create trigger full before insert on backup_exchanges when new.state like '%\"undoing\"%' \
         begin select raise(abort, 'the disk is full'); end;",
    )
    .unwrap();
    migrated.breaks(&failing("true"));
    eventually_within(LIMIT, "nothing is under way", || {
        migrated.node.status()["operation"].is_null().then_some(())
    });
    // Another deployment fails meanwhile.
    migrated.hub.packs(PackMode::Other);
    let other = migrated.hub.deploy(&stack("other", "true"));
    eventually_within(LIMIT, "it ends", || migrated.hub.ends(other).pop());
    migrated.hub.packs(PackMode::Good);
    db.execute_batch("drop trigger full").unwrap();
    let newest = migrated.hub.deploy(&newest());
    migrated.check_newest(newest);
}

#[test]
fn a_restore_in_place_settles_an_undo_first() {
    let mut migrated = Migrated::start_with("check_every = \"10m\"");
    let state = migrated.node.stack().join("state");
    migrated.breaks(&failing("[ -d ../../state.away ] || mv ../../state ../../state.away"));
    fs::rename(migrated.node.stack().join("state.away"), &state).unwrap();
    let job = migrated.hub.want_restore(migrated.snapshot.id, &[], Destination::InPlace);
    let outcome = eventually_within(LIMIT, "a restore", || migrated.hub.outcomes(job).pop());
    assert_eq!(outcome.failed, None, "{}", migrated.node.log());
    migrated.check_clean();
    // The release that runs migrates what was put in place; what was written since the snapshot is gone.
    eventually_within(LIMIT, "it has migrated", || {
        let data = migrated.data();
        (data.schema == 2 && data.file == "two\n").then_some(())
    });
    assert_eq!(migrated.data().rows, "before");
    // The way back had failed: the agent looks anew at what runs, and puts it right.
    eventually_within(LIMIT, "it runs", || (migrated.node.running() == ["new"]).then_some(()));
    migrated.node.terminate();
}

impl Migrated {
    /// How often files were fetched from the repository.
    fn fetched(&self) -> usize {
        self.repository.log().matches("{\"task\":\"restore\"").count()
    }

    /// An undo whose safety snapshot does not end, so that the stack is stopped for as long.
    fn undo_that_is_stopped(&self) -> DeploymentId {
        let before = self.fetched();
        let undone = self.hub.deploy_with_data(&old("older", "true"), self.snapshot.id);
        eventually_within(LIMIT, "it is fetched", || (self.fetched() > before).then_some(()));
        self.repository.mode("wait-snapshot");
        eventually_within(LIMIT, "the stack is stopped", || self.node.running().is_empty().then_some(()));
        undone
    }

    /// It goes on, and comes to its end as if nothing else had been asked for.
    fn check_undone(&mut self, undone: DeploymentId) {
        assert_eq!(self.hub.ends(undone), [], "{}", self.node.log());
        self.repository.mode("");
        self.succeeds(undone);
        assert_eq!(self.data(), before());
        self.runs("older");
        self.check_clean();
        self.node.terminate();
    }
}

#[test]
fn an_undo_outlives_the_drill_that_made_way_for_it() {
    let mut migrated = Migrated::start();
    migrated.repository.mode("wait");
    let drill = migrated.hub.want_drill(&migrated.snapshot, migrated.snapshot.bytes, false);
    eventually_within(LIMIT, "it restores", || (migrated.fetched() == 1).then_some(()));
    let undone = migrated.undo_that_is_stopped();
    migrated.hub.cancel_backup(drill);
    let outcome = eventually_within(LIMIT, "the drill", || migrated.hub.outcomes(drill).pop());
    assert!(outcome.failed.as_ref().unwrap().contains("came first"), "{outcome:?}");
    migrated.check_undone(undone);
}

#[test]
fn an_undo_outlives_the_backup_that_waits_for_it() {
    let mut migrated = Migrated::start();
    migrated.node.kill();
    // The deployment is under way long before it comes to its data.
    migrated.node.start("stage.placed=sleep(2000)");
    migrated.repository.mode("wait-snapshot");
    let undone = migrated.hub.deploy_with_data(&old("older", "true"), migrated.snapshot.id);
    eventually_within(LIMIT, "it begins", || (!migrated.node.status()["operation"].is_null()).then_some(()));
    let save = migrated.hub.want_backup();
    eventually_within(LIMIT, "the stack is stopped", || migrated.node.running().is_empty().then_some(()));
    migrated.hub.cancel_backup(save);
    eventually_within(LIMIT, "it hears of it", || (migrated.hub.progress_of(save) > 0).then_some(()));
    assert!(migrated.hub.outcomes(save).is_empty(), "it waits for the undo");
    let fetched = migrated.fetched();
    migrated.check_undone(undone);
    let outcome = eventually_within(LIMIT, "the backup", || migrated.hub.outcomes(save).pop());
    assert!(outcome.failed.as_ref().unwrap().contains("should end"), "{outcome:?}");
    assert_eq!(migrated.fetched(), fetched, "it was made ready once");
}

/// How a row ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Old code and old data.
    Undone,
    /// The release that it goes back to fails its probes: new code and new data.
    Back,
}

/// A row for each: name, way, and the points of the runs that die.
macro_rules! rows {
    ($($name:ident: $way:ident [$($points:literal),+];)*) => {$(
        #[test]
        fn $name() {
            row(Way::$way, &[$($points),+]);
        }
    )*};
}

rows! {
    saving_after: Undone ["saving.after=return"];
    asked: Undone ["backup.asked=return"];
    fetching_before: Undone ["exchange.fetching.before=return"];
    fetching_after: Undone ["exchange.fetching.after=return"];
    fetched: Undone ["restore.fetched=return"];
    stopping_before: Undone ["exchange.stopping.before=return"];
    stopping_after: Undone ["exchange.stopping.after=return"];
    stopped: Undone ["exchange.stopped=return"];
    safety_sent: Undone ["backup.sent=return"];
    saved: Undone ["exchange.saved=return"];
    ready_before: Undone ["exchange.ready.before=return"];
    ready_after: Undone ["exchange.ready.after=return"];
    outcome_before: Undone ["backup.outcome.before=return"];
    outcome_after: Undone ["backup.outcome.after=return"];
    exchanging_before: Undone ["exchanging.before=return"];
    exchanging_open: Undone ["exchanging.open=return"];
    exchanging_after: Undone ["exchanging.after=return"];
    swapping_before: Undone ["exchange.swapping.before=return"];
    swapping_after: Undone ["exchange.swapping.after=return"];
    half_exchanged: Undone ["restore.exchanged=return"];
    swapped: Undone ["exchange.swapped=return"];
    exchanged_before: Undone ["exchange.exchanged.before=return"];
    exchanged_after: Undone ["exchange.exchanged.after=return"];
    activating_before: Undone ["activating.before=return"];
    activating_after: Undone ["activating.after=return"];
    up_before: Undone ["up.before=return"];
    up_after: Undone ["up.after=return"];
    probing_after: Undone ["probing.after=return"];
    committed_before: Undone ["committed.before=return"];
    committed_after: Undone ["committed.after=return"];
    cleaned: Undone ["restore.cleaned=return"];
    over_before: Undone ["exchange.over.before=return"];
    over_after: Undone ["exchange.over.after=return"];
    at_every_step: Undone [
        "exchange.stopped=return", "exchange.ready.after=return", "exchange.swapping.after=return",
        "restore.exchanged=return", "exchange.swapped=return", "exchange.exchanged.after=return",
        "activating.after=return", "committed.before=return", "restore.cleaned=return"
    ];
    started_twice: Back ["exchange.exchanged.after=return", "up.after=return", "up.after=return"];

    back_returning_before: Back ["returning.before=return"];
    back_returning_after: Back ["returning.after=return"];
    back_undoing_before: Back ["exchange.undoing.before=return"];
    back_undoing_after: Back ["exchange.undoing.after=return"];
    back_down_after: Back ["returning.after=return", "down.after=return"];
    back_swapped: Back ["exchange.swapped_back=return"];
    back_before: Back ["exchange.back.before=return"];
    back_after: Back ["exchange.back.after=return"];
    back_up_before: Back ["exchange.back.after=return", "up.before=return"];
    back_up_after: Back ["exchange.back.after=return", "up.after=return"];
    back_returned_before: Back ["returned.before=return"];
    back_returned_after: Back ["returned.after=return"];
    back_over_before: Back ["exchange.over.before=return"];
    back_at_every_step: Back [
        "returning.after=return", "exchange.undoing.after=return", "exchange.swapped_back=return",
        "exchange.back.after=return", "up.before=return", "returned.before=return"
    ];
}

fn row(way: Way, runs: &[&str]) {
    let mut migrated = Migrated::start();
    migrated.node.kill();
    let check = match way {
        Way::Back if !runs.iter().any(|points| points.starts_with("exchange.exchanged")) => "false",
        _ => "true",
    };
    let undone = migrated.hub.deploy_with_data(&old("older", check), migrated.snapshot.id);
    for points in runs {
        migrated.node.start(points);
        migrated.node.wait_killed();
    }
    migrated.node.start("");
    let end = eventually_within(LIMIT, "it ends", || migrated.hub.ends(undone).pop());
    eventually_within(LIMIT, "nothing is under way", || {
        migrated.node.status()["operation"].is_null().then_some(())
    });
    let (runs, data) = match (way, &end) {
        (Way::Undone, DeploymentState::Succeeded) => ("older", before()),
        (Way::Back, DeploymentState::RolledBack { .. }) => ("new", after()),
        _ => panic!("{end:?}: {}", migrated.node.log()),
    };
    eventually_within(LIMIT, "what should run", || (migrated.node.running() == [runs]).then_some(()));
    assert_eq!(migrated.data(), data, "{}", migrated.node.log());
    migrated.check_clean();
    let safety = |outcome: &backstay_types::backup::WorkOutcome| {
        outcome.snapshots.iter().any(|one| one.tags.deployment == Some(undone))
    };
    assert!(migrated.hub.all_outcomes().iter().any(safety), "there is a safety snapshot");
    migrated.node.terminate();
}

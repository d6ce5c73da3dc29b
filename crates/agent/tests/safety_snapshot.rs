//! The safety snapshot before data is replaced: it holds all that was written until the stack was stopped, also what was
//! written by stopping it, and what commands have to ask of a stack that runs.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{fs, path::PathBuf, time::Duration};

use backstay_types::{
    DeploymentState,
    backup::{BackupReason, Destination, Snapshot, WorkOutcome},
};
use rusqlite::Connection;
use support::{FakeHub, Node, Repository, Stack, eventually_within, process_stack};

const LIMIT: Duration = Duration::from_secs(120);
const DATA: &str = "[[backup]]\npath = \"data\"\n[[backup]]\nsqlite = \"app.db\"\n";
const COMMAND: &str = "[[backup]]\nname = \"export\"\ncommand = [\"./export\"]\nrestore = [\"./import\"]\n";

struct Kept {
    hub: FakeHub,
    node: Node,
    /// Of what there was at first.
    first: Snapshot,
}

/// It writes its last words when it is stopped: into a file, and into the low byte of SQLite's `user_version`. What it
/// exports it gives while it runs.
fn stack(version: &str, check: &str, backups: &str) -> Stack {
    let stack = process_stack(version, check);
    let manifest = stack.files.iter().find(|file| file.path == "stack.toml").unwrap();
    let text = String::from_utf8(manifest.content.clone()).unwrap();
    let serve = "state=$BACKSTAY_STATE_DIR\necho $$ > $state/pid\n\
        trap 'echo last > $state/data/file; printf \"\\7\" | dd of=$state/app.db bs=1 seek=63 conv=notrunc 2>/dev/null; exit 0' TERM\n\
        while true; do sleep 0.05; done";
    stack
        .file("stack.toml", &format!("{text}{backups}"))
        .program("serve", serve)
        .program("export", "kill -0 $(cat $BACKSTAY_STATE_DIR/pid) && cat $BACKSTAY_STATE_DIR/exported")
        .program("import", "cat > $BACKSTAY_STATE_DIR/imported")
}

impl Kept {
    fn start(check: &str, backups: &str) -> Self {
        let hub = FakeHub::start();
        let mut node = Node::join(&hub);
        Repository::give(&mut node);
        let state = node.stack().join("state");
        fs::create_dir_all(state.join("data")).unwrap();
        fs::write(state.join("data/file"), "first\n").unwrap();
        fs::write(state.join("exported"), "first").unwrap();
        let db = Connection::open(state.join("app.db")).unwrap();
        db.execute_batch("create table t (n); pragma user_version = 1").unwrap();
        drop(db);
        node.start("");
        let deployment = hub.deploy(&stack("a", "true", backups));
        let ended = |deployment| eventually_within(LIMIT, "it runs", || hub.ends(deployment).pop());
        assert_eq!(ended(deployment), DeploymentState::Succeeded);
        let job = hub.want_backup();
        let saved = eventually_within(LIMIT, "a backup", || hub.outcomes(job).pop());
        assert_eq!(saved.failed, None, "{}", node.log());
        let deployment = hub.deploy(&stack("b", check, backups));
        assert_eq!(ended(deployment), DeploymentState::Succeeded, "{}", node.log());
        fs::write(state.join("data/file"), "second\n").unwrap();
        fs::write(state.join("exported"), "second").unwrap();
        let db = Connection::open(state.join("app.db")).unwrap();
        db.execute_batch("pragma user_version = 2").unwrap();
        Self { first: saved.snapshots[0].clone(), hub, node }
    }

    fn state(&self) -> PathBuf {
        self.node.stack().join("state")
    }

    fn restore(&self, from: &Snapshot, to: Destination) -> WorkOutcome {
        let job = self.hub.want_restore(from.id, &[], to);
        eventually_within(LIMIT, "a restore", || self.hub.outcomes(job).pop())
    }

    /// The safety snapshot holds what was there last.
    fn check_safety(&self, outcome: &WorkOutcome, exports: bool) {
        let safety = &outcome.snapshots[0];
        assert_eq!(safety.tags.reason, BackupReason::Safety);
        let folder = self.node.root().join("safety");
        let restored = self.restore(safety, Destination::Folder { path: folder.display().to_string() });
        assert_eq!(restored.failed, None, "{}", self.node.log());
        assert_eq!(fs::read_to_string(folder.join("data/file")).unwrap(), "last\n");
        let db = Connection::open(folder.join("app.db/app.db")).unwrap();
        let version: i64 = db.query_row("pragma user_version", [], |row| row.get(0)).unwrap();
        assert_eq!(version, 7, "what was committed by stopping it is in");
        if exports {
            assert_eq!(fs::read_to_string(folder.join("export/output")).unwrap(), "second");
        }
    }
}

#[test]
fn before_an_undo() {
    for backups in [DATA.to_owned(), format!("{DATA}{COMMAND}")] {
        let kept = Kept::start("true", &backups);
        let undone = kept.hub.deploy_with_data(&stack("c", "true", &backups), kept.first.id);
        let end = eventually_within(LIMIT, "it ends", || kept.hub.ends(undone).pop());
        assert_eq!(end, DeploymentState::Succeeded, "{}", kept.node.log());
        let outcome = kept.hub.all_outcomes().pop().unwrap();
        kept.check_safety(&outcome, backups.contains("export"));
    }
}

#[test]
fn before_a_restore_in_place() {
    for backups in [DATA.to_owned(), format!("{DATA}{COMMAND}")] {
        let kept = Kept::start("true", &backups);
        let outcome = kept.restore(&kept.first, Destination::InPlace);
        assert_eq!(outcome.failed, None, "{}", kept.node.log());
        assert_eq!(fs::read_to_string(kept.state().join("data/file")).unwrap(), "first\n");
        kept.check_safety(&outcome, backups.contains("export"));
    }
}

/// What a command was given goes back too when the stack is not healthy with it.
#[test]
fn a_command_gets_back_what_it_told() {
    let backups = format!("{DATA}{COMMAND}");
    let kept = Kept::start("grep -q '^first' ../../state/data/file && exit 1; true", &backups);
    let outcome = kept.restore(&kept.first, Destination::InPlace);
    let why = outcome.failed.as_ref().unwrap();
    assert!(why.contains("the data from before is back"), "{why}");
    assert_eq!(fs::read_to_string(kept.state().join("data/file")).unwrap(), "last\n");
    assert_eq!(fs::read_to_string(kept.state().join("imported")).unwrap(), "second");
    kept.check_safety(&outcome, true);
}

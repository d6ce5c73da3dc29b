//! A stack that moves: on one node it is stopped, saved to the last byte and taken away; on a node where nothing of it ran it
//! starts once, and with that data. A real agent and real files; the stack notes on every start what data it found. The rows
//! kill the agent at every step of both.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{fs, path::PathBuf, time::Duration};

use backstay_types::{
    DeploymentId, DeploymentState, Step,
    backup::{BackupReason, ItemResult, SnapshotId, WorkOutcome},
};
use support::{FakeHub, Node, Repository, Stack, eventually_within, process_stack};

const LIMIT: Duration = Duration::from_secs(120);

/// It notes what data it starts with, and goes on counting in it.
fn stack(check: &str) -> Stack {
    let serve = "cat \"$BACKSTAY_STATE_DIR/data/file\" >> \"$BACKSTAY_STATE_DIR/starts\" 2>/dev/null || \
                 echo EMPTY >> \"$BACKSTAY_STATE_DIR/starts\"\necho \"serving $(cat version)\"\n\
                 n=0; while :; do n=$((n+1)); echo $n > \"$BACKSTAY_STATE_DIR/data/count\"; sleep 0.05; done";
    let stack = process_stack("one", check).program("serve", serve);
    let manifest = stack.files.iter().find(|file| file.path == "stack.toml").unwrap();
    let text = String::from_utf8(manifest.content.clone()).unwrap();
    stack.file("stack.toml", &format!("{text}[[backup]]\npath = \"data\"\n"))
}

struct Place {
    hub: FakeHub,
    node: Node,
    repository: Repository,
}

impl Place {
    /// A node that runs the stack, which has data.
    fn running() -> Self {
        let hub = FakeHub::start();
        let mut node = Node::join(&hub);
        let repository = Repository::give(&mut node);
        fs::create_dir_all(node.stack().join("state/data")).unwrap();
        fs::write(node.stack().join("state/data/file"), "kept\n").unwrap();
        hub.set_up_backups();
        node.start("");
        let place = Self { hub, node, repository };
        let first = place.hub.deploy(&stack("true"));
        place.ends(first, &DeploymentState::Succeeded);
        place
    }

    fn state(&self) -> PathBuf {
        self.node.stack().join("state")
    }

    fn ends(&self, deployment: DeploymentId, expected: &DeploymentState) {
        let end = eventually_within(LIMIT, "it ends", || self.hub.ends(deployment).pop());
        assert_eq!(end, *expected, "{}", self.node.log());
    }

    fn starts(&self) -> String {
        fs::read_to_string(self.state().join("starts")).unwrap_or_default()
    }

    /// The newest outcome that holds the last snapshot.
    fn last(&self) -> WorkOutcome {
        let is_last = |one: &WorkOutcome| {
            one.failed.is_none() && one.snapshots.iter().any(|one| one.tags.reason == BackupReason::Migration)
        };
        self.hub.all_outcomes().into_iter().rfind(is_last).unwrap()
    }

    /// Leaves nothing of it: as a node on which it never ran.
    fn forget(&self) {
        fs::remove_dir_all(self.state()).unwrap();
    }

    /// Has it leave, and gives the last snapshot.
    fn leave(&mut self) -> SnapshotId {
        let leaves = self.hub.leave(&stack("true"));
        self.ends(leaves, &DeploymentState::Succeeded);
        eventually_within(LIMIT, "nothing runs", || self.node.running().is_empty().then_some(()));
        self.last().snapshots[0].id
    }
}

fn digest(outcome: &WorkOutcome) -> Option<backstay_types::Digest> {
    outcome.items.iter().find_map(|item| match &item.result {
        ItemResult::Done { digest, .. } => *digest,
        ItemResult::Failed { .. } => None,
    })
}

#[test]
fn what_was_written_until_the_stop_arrives_and_is_the_same() {
    let mut place = Place::running();
    let snapshot = place.leave();
    let left = fs::read_to_string(place.state().join("data/count")).unwrap();
    let before = digest(&place.last()).expect("what was left is read");
    assert!(place.last().still_ms > 0);
    place.forget();
    let arrives = place.hub.deploy_with_data(&stack("true"), snapshot);
    place.ends(arrives, &DeploymentState::Succeeded);
    assert_eq!(place.starts(), "kept\n", "it started once, and with its data");
    let after = digest(&place.hub.all_outcomes().pop().unwrap());
    assert_eq!(after, Some(before), "{left}");
    place.node.terminate();
}

#[test]
fn what_is_not_healthy_there_is_stopped_and_its_data_taken_away() {
    let mut place = Place::running();
    let snapshot = place.leave();
    place.forget();
    let arrives = place.hub.deploy_with_data(&stack("false"), snapshot);
    let end = eventually_within(LIMIT, "it ends", || place.hub.ends(arrives).pop());
    assert!(matches!(end, DeploymentState::RolledBack { step: Step::Probe, .. }), "{end:?}");
    eventually_within(LIMIT, "nothing runs", || place.node.running().is_empty().then_some(()));
    eventually_within(LIMIT, "nothing is left", || (!place.state().join("data").exists()).then_some(()));
    place.node.terminate();
}

#[test]
fn what_cannot_be_fetched_is_not_started_without() {
    let mut place = Place::running();
    let snapshot = place.leave();
    place.forget();
    place.repository.mode("away");
    let arrives = place.hub.deploy_with_data(&stack("true"), snapshot);
    let end = eventually_within(LIMIT, "it ends", || place.hub.ends(arrives).pop());
    assert!(matches!(end, DeploymentState::Failed { step: Step::Snapshot, .. }), "{end:?}");
    assert_eq!((place.starts().as_str(), place.node.running().len()), ("", 0));
    place.node.terminate();
}

#[test]
fn what_cannot_be_saved_runs_on_where_it_is() {
    let mut place = Place::running();
    place.repository.mode("away");
    let leaves = place.hub.leave(&stack("true"));
    let end = eventually_within(LIMIT, "it ends", || place.hub.ends(leaves).pop());
    let DeploymentState::RolledBack { step: Step::Snapshot, reason, .. } = &end else { panic!("{end:?}") };
    assert!(reason.contains("BS9055"), "{reason}");
    eventually_within(LIMIT, "it runs", || (place.node.running() == ["one"]).then_some(()));
    assert!(place.starts().lines().all(|line| line == "kept"), "{}", place.starts());
    place.node.terminate();
}

/// What the rows are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It leaves: it ends as nothing, with a last snapshot.
    Leaves,
    /// It arrives where nothing of it ran: it ends as running, with its data.
    Arrives,
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
    leaves_operation_after: Leaves ["operation.after=return"];
    leaves_asked: Leaves ["backup.asked=return"];
    leaves_down: Leaves ["down.after=return"];
    leaves_stopped: Leaves ["leave.stopped=return"];
    leaves_sent: Leaves ["backup.sent=return"];
    leaves_saved: Leaves ["leave.saved=return"];
    leaves_outcome_before: Leaves ["backup.outcome.before=return"];
    leaves_outcome_after: Leaves ["backup.outcome.after=return"];
    leaves_removing_before: Leaves ["removing.before=return"];
    leaves_removing_after: Leaves ["removing.after=return"];
    leaves_removed_before: Leaves ["removed.before=return"];
    leaves_removed_after: Leaves ["removed.after=return"];
    leaves_at_every_step: Leaves [
        "operation.after=return", "leave.stopped=return", "leave.saved=return", "removing.before=return",
        "removed.before=return"
    ];
    arrives_saving_after: Arrives ["saving.after=return"];
    arrives_asked: Arrives ["backup.asked=return"];
    arrives_fetching: Arrives ["exchange.fetching.after=return"];
    arrives_fetched: Arrives ["restore.fetched=return"];
    arrives_stopped: Arrives ["exchange.stopped=return"];
    arrives_ready_before: Arrives ["exchange.ready.before=return"];
    arrives_ready_after: Arrives ["exchange.ready.after=return"];
    arrives_outcome_after: Arrives ["backup.outcome.after=return"];
    arrives_exchanging_after: Arrives ["exchanging.after=return"];
    arrives_swapping: Arrives ["exchange.swapping.after=return"];
    arrives_half_exchanged: Arrives ["restore.exchanged=return"];
    arrives_exchanged: Arrives ["exchange.exchanged.after=return"];
    arrives_activating_after: Arrives ["activating.after=return"];
    arrives_up_after: Arrives ["up.after=return"];
    arrives_committed_before: Arrives ["committed.before=return"];
    arrives_committed_after: Arrives ["committed.after=return"];
    arrives_cleaned: Arrives ["restore.cleaned=return"];
    arrives_at_every_step: Arrives [
        "backup.asked=return", "exchange.ready.after=return", "exchange.swapping.after=return",
        "exchange.exchanged.after=return", "activating.after=return", "committed.before=return"
    ];
}

fn row(way: Way, runs: &[&str]) {
    let mut place = Place::running();
    let snapshot = (way == Way::Arrives).then(|| {
        let snapshot = place.leave();
        place.forget();
        snapshot
    });
    place.node.kill();
    let deployment = match snapshot {
        Some(snapshot) => place.hub.deploy_with_data(&stack("true"), snapshot),
        None => place.hub.leave(&stack("true")),
    };
    for points in runs {
        place.node.start(points);
        place.node.wait_killed();
    }
    place.node.start("");
    place.ends(deployment, &DeploymentState::Succeeded);
    eventually_within(LIMIT, "nothing is under way", || {
        place.node.status()["operation"].is_null().then_some(())
    });
    match way {
        Way::Leaves => {
            eventually_within(LIMIT, "nothing runs", || place.node.running().is_empty().then_some(()));
            assert_eq!(place.last().snapshots[0].tags.deployment, Some(deployment));
            assert_eq!(fs::read_to_string(place.state().join("data/file")).unwrap(), "kept\n");
        }
        Way::Arrives => {
            eventually_within(LIMIT, "it runs", || (place.node.running() == ["one"]).then_some(()));
            assert!(place.starts().lines().all(|line| line == "kept"), "{}", place.starts());
        }
    }
    place.node.terminate();
}

//! Stacks that move from node to node: with their data, through the real planner and store, with agents that are played. Whatever
//! happens on the way, a stack never runs on two nodes.

use backstay_api::{
    agent::{BackupBefore, Report, ReportBody},
    statement::DesiredStack,
};
use backstay_engine::{
    EngineError, LimitEffect, WantedMigration,
    backups::{NextOrder, WantedRestore},
};
use backstay_store::{backups::jobs, constraints, migrations, nodes, rollouts};
use backstay_types::{
    Cause, DataFor, DeploymentState, Digest, Effect, Migration, MigrationId, MigrationState, MigrationStep,
    Node, NodeId, RolloutKind,
    backup::{
        BackupJob, BackupTask, Destination, ItemOutcome, ItemResult, Proof, RestoreWork, Snapshot,
        SnapshotId, SnapshotTags, WorkOutcome,
    },
};

use crate::{fleet::Fleet, limits::limit};

/// What nodes do about data.
#[derive(Debug, Default)]
pub(crate) struct Keepers {
    /// Data does not arrive as it was left.
    spoils: bool,
    /// Nothing can be saved.
    saves_nothing: bool,
    made: u64,
    /// What was done, in order.
    log: Vec<String>,
}

impl Fleet {
    /// A node does what it is asked to about data: for a line of its statement, or what is due.
    pub(crate) async fn keep(&mut self, id: NodeId, line: Option<&DesiredStack>) -> bool {
        if self.keepers.is_none() {
            return false;
        }
        let node = nodes::get(&mut self.store.read(), id).await.unwrap().unwrap();
        let before = line.map(|line| BackupBefore { stack: line.stack.clone(), deployment: line.deployment });
        let NextOrder::Do(job, ..) = self.engine.next_backup(&node, before.as_ref()).await.unwrap() else {
            return false;
        };
        let outcome = self.outcome(&job, node.name.as_str());
        let well = outcome.failed.is_none();
        self.engine.finish_backup(&node, job.id, outcome).await.unwrap();
        well
    }

    fn outcome(&mut self, job: &BackupJob, name: &str) -> WorkOutcome {
        let now = self.world.now();
        let keepers = self.keepers.as_mut().unwrap();
        keepers.made += 1;
        let item = |digest: &str| ItemOutcome {
            stack: "web".parse().unwrap(),
            item: "data".to_owned(),
            result: ItemResult::Done {
                files: 1,
                bytes: 4,
                proof: Proof::Matched,
                digest: Some(Digest::of(digest.as_bytes())),
            },
        };
        match &job.task {
            BackupTask::Save(work) => {
                keepers.log.push(format!("{name} saves{}", if work.last { " the last" } else { "" }));
                if keepers.saves_nothing && work.last {
                    return WorkOutcome {
                        failed: Some("the disk is broken".to_owned()),
                        ..WorkOutcome::default()
                    };
                }
                let digest = Digest::of(format!("{name} {}", keepers.made).as_bytes());
                let tags = SnapshotTags {
                    node: job.node,
                    node_name: None,
                    stack: Some("web".parse().unwrap()),
                    tree: None,
                    deployment: work.deployment,
                    conversation: None,
                    reason: work.reason,
                };
                let snapshot = Snapshot {
                    id: SnapshotId::new(digest),
                    at: now,
                    tags,
                    proof: Proof::Matched,
                    files: 1,
                    bytes: 4,
                    added_bytes: 4,
                    manifest: digest,
                };
                WorkOutcome { snapshots: vec![snapshot], items: vec![item("data")], ..WorkOutcome::default() }
            }
            BackupTask::Restore(work) => {
                let ahead = work.destination == Destination::Ahead;
                keepers.log.push(format!("{name} {}", if ahead { "fetches ahead" } else { "puts in place" }));
                let digest = if keepers.spoils { "spoilt" } else { "data" };
                WorkOutcome { items: vec![item(digest)], ..WorkOutcome::default() }
            }
            other => panic!("{other:?}"),
        }
    }

    /// `web` on node `one` alone, whose keepers work.
    async fn of_one(stack: &str) -> Self {
        let mut fleet = Self::empty().await;
        let assign = "[[assign]]\nstack = \"web\"\nnodes = \"name=one\"\n";
        fleet.work.write("fleet.toml", &format!("{assign}[prune]\nenabled = true\nmax = 3\n"));
        fleet.commit("On one", None);
        fleet.deploy().await;
        fleet.work.write("fleet.toml", assign);
        fleet.work.write("stacks/web/compose.yaml", crate::fleet::COMPOSE);
        fleet.work.write("stacks/web/stack.toml", stack);
        fleet.commit("And what it saves", None);
        for id in fleet.nodes.clone().into_values() {
            fleet.with_repository(id).await;
        }
        fleet.keepers = Some(Keepers::default());
        fleet.deploy().await;
        assert_eq!(fleet.who_runs(), ["one"]);
        fleet
    }

    fn who_runs(&self) -> Vec<String> {
        let mut names: Vec<_> = self.runs.keys().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    async fn wanted(&self, from: &str, to: &str) -> WantedMigration {
        WantedMigration {
            id: None,
            from: self.node(from).await,
            to: self.node(to).await,
            back_of: None,
            stacks: Vec::new(),
            from_gone: false,
            confirm: Vec::new(),
            reason: "the disk is old".to_owned(),
        }
    }

    async fn migrate(&self, from: &str, to: &str) -> Migration {
        self.engine.migrate(&self.wanted(from, to).await, "ada").await.unwrap()
    }

    async fn moved(&self, id: MigrationId) -> Migration {
        migrations::get(&mut self.store.read(), id).await.unwrap().unwrap().migration
    }

    async fn step(&self, id: MigrationId) -> MigrationStep {
        self.moved(id).await.stacks[0].step
    }

    async fn play_on(&mut self) {
        self.later();
        self.play(|_, _| true).await;
    }
}

#[tokio::test]
async fn a_stack_moves_with_its_data_and_back() {
    let mut fleet = Fleet::of_one("").await;
    let begun = fleet.migrate("one", "two").await;
    let again = WantedMigration { id: Some(begun.id), ..fleet.wanted("one", "two").await };
    assert_eq!(fleet.engine.migrate(&again, "ada").await.unwrap().id, begun.id);
    let second = fleet.engine.migrate(&fleet.wanted("one", "three").await, "ada").await;
    assert!(matches!(second, Err(EngineError::CannotMove(_))), "{second:?}");
    fleet.play_on().await;
    assert_eq!(fleet.who_runs(), ["two"]);
    let ended = fleet.moved(begun.id).await;
    assert_eq!((ended.state(), ended.stacks[0].step), (MigrationState::Done, MigrationStep::Switched));
    assert!(ended.stacks[0].checks[0].is_equal() && ended.stacks[0].checks[0].from.is_some(), "{ended:#?}");
    let log = &fleet.keepers.as_ref().unwrap().log;
    assert_eq!(*log, ["one saves", "two fetches ahead", "one saves the last", "two puts in place"]);
    // What moved brought nothing to the fleet: the next release goes where the stack is.
    let of_move = rollouts::list(&mut fleet.store.read(), None, None, 9).await.unwrap();
    assert!(of_move.iter().any(|one| {
        one.kind == RolloutKind::Removal && one.cause == Cause::Migration { migration: begun.id }
    }));
    let a = fleet.conversation();
    fleet.change("blue", "green", a);
    fleet.deploy().await;
    assert_eq!(fleet.who_runs(), ["two"]);
    fleet.assert_runs("two", &["green"], &[]).await;
    let standing = constraints::of_migrations(&mut fleet.store.read()).await.unwrap();
    assert_eq!(standing.len(), 2, "fleet.toml says otherwise");
    for one in standing {
        let lifted = fleet.engine.lift(one.id, "by hand", "ada").await;
        assert!(matches!(lifted, Err(EngineError::Conflict(_))), "{lifted:?}");
    }

    let back = WantedMigration { back_of: Some(begun.id), ..fleet.wanted("two", "one").await };
    let back = fleet.engine.migrate(&back, "ada").await.unwrap();
    fleet.play_on().await;
    assert_eq!(
        (fleet.who_runs(), fleet.step(back.id).await),
        (vec!["one".to_owned()], MigrationStep::Switched)
    );
    fleet.assert_runs("one", &["green"], &[]).await;
    fleet.play_on().await;
    let standing = constraints::of_migrations(&mut fleet.store.read()).await.unwrap();
    assert!(standing.is_empty(), "fleet.toml says the same: {standing:?}");
    let over = fleet.engine.abort_migration(back.id, false, "ada").await;
    assert!(matches!(over, Err(EngineError::MigrationOver(_))), "{over:?}");
}

#[tokio::test]
async fn while_the_node_that_it_leaves_is_cut_off_nothing_starts() {
    let mut fleet = Fleet::of_one("").await;
    let begun = fleet.migrate("one", "two").await;
    fleet.engine.reconcile().await.unwrap();
    // It has copied, and is not heard from when it should stop.
    let (one, two) = (fleet.nodes["one"], fleet.nodes["two"]);
    assert!(fleet.keep(one, None).await);
    fleet.engine.reconcile().await.unwrap();
    assert!(fleet.keep(two, None).await);
    fleet.away.push("one".to_owned());
    for _ in 0..5 {
        fleet.play_on().await;
        assert_eq!(
            (fleet.step(begun.id).await, fleet.who_runs()),
            (MigrationStep::Stopping, vec!["one".to_owned()])
        );
        assert!(fleet.statement(two).await.is_none_or(|statement| statement.stacks.is_empty()));
    }
    // Cancelled, it stays: also where one comes back only then.
    fleet.engine.abort_migration(begun.id, false, "ada").await.unwrap();
    fleet.play_on().await;
    fleet.away.clear();
    fleet.play_on().await;
    assert_eq!(
        (fleet.step(begun.id).await, fleet.who_runs()),
        (MigrationStep::Stayed, vec!["one".to_owned()])
    );
    assert_eq!(fleet.moved(begun.id).await.state(), MigrationState::Cancelled);
    let line = fleet.statement(one).await.unwrap().stacks.remove(0);
    assert!(!line.save && line.data.is_none(), "{line:?}");
}

#[tokio::test]
async fn what_does_not_start_there_runs_again_where_it_was_whatever_stands_between() {
    for way in ["unhealthy", "spoilt", "unsaved"] {
        let mut fleet = Fleet::of_one("").await;
        let keepers = fleet.keepers.as_mut().unwrap();
        (keepers.spoils, keepers.saves_nothing) = (way == "spoilt", way == "unsaved");
        let begun = fleet.migrate("one", "two").await;
        fleet.engine.limit(limit(LimitEffect::Freeze { stack: None }, None), "ada").await.unwrap();
        fleet.later();
        if way == "unsaved" {
            // As an agent does that cannot save it: it tells that it runs on.
            fleet.play(|_, _| true).await;
            fleet.fail_removal("one").await;
        }
        fleet.play(|name, _| name != "two" || way != "unhealthy").await;
        fleet.play_on().await;
        let ended = fleet.moved(begun.id).await;
        assert_eq!(
            (fleet.who_runs(), ended.stacks[0].step),
            (vec!["one".to_owned()], MigrationStep::Stayed),
            "{way}"
        );
        assert_eq!(ended.state(), MigrationState::Failed);
        let why = ended.stacks[0].failed.clone().unwrap();
        let words = match way {
            "unhealthy" => "the page says no",
            "spoilt" => "arrived other than it was left",
            _ => "did not let it go",
        };
        assert!(why.contains(words), "{way}: {why}");
        let all = constraints::in_force(&mut fleet.store.read(), fleet.world.now()).await.unwrap();
        assert!(!all.iter().any(|one| matches!(one.effect, Effect::Ban { .. })), "{way}: {all:?}");
        fleet.play_on().await;
        assert_eq!(fleet.who_runs(), ["one"], "{way}");
        // Another try is another matter.
        fleet.keepers = Some(Keepers::default());
        let again = fleet.migrate("one", "two").await;
        fleet.play_on().await;
        assert_eq!(
            (fleet.who_runs(), fleet.step(again.id).await),
            (vec!["two".to_owned()], MigrationStep::Switched)
        );
    }
}

#[tokio::test]
async fn keys_of_a_validator_rest_between_two_machines() {
    let marked = "[[backup]]\npath = \"keys\"\ndouble_sign = true\n";
    let mut fleet = Fleet::of_one(marked).await;
    let begun = fleet.migrate("one", "two").await;
    fleet.play_on().await;
    assert_eq!((fleet.step(begun.id).await, fleet.who_runs().len()), (MigrationStep::Resting, 0));
    for _ in 0..10 {
        fleet.play_on().await;
        assert_eq!(fleet.who_runs().len(), 0);
    }
    for _ in 0..4 {
        fleet.play_on().await;
    }
    assert_eq!(
        (fleet.step(begun.id).await, fleet.who_runs()),
        (MigrationStep::Switched, vec!["two".to_owned()])
    );
}

#[tokio::test]
async fn where_nobody_knows_whether_it_started_there_it_is_not_started_where_it_was() {
    let mut fleet = Fleet::of_one("").await;
    let begun = fleet.migrate("one", "two").await;
    let two = fleet.nodes["two"];
    // Two is told to start it, and not heard from any more.
    for _ in 0..20 {
        fleet.later();
        fleet.engine.reconcile().await.unwrap();
        if fleet.step(begun.id).await == MigrationStep::Starting {
            break;
        }
        for name in ["one", "two"] {
            let id = fleet.nodes[name];
            fleet.keep(id, None).await;
        }
        fleet.away = vec!["two".to_owned()];
        fleet.play(|_, _| true).await;
        fleet.away.clear();
    }
    assert_eq!(fleet.step(begun.id).await, MigrationStep::Starting);
    fleet.away.push("two".to_owned());
    let unheard = fleet.statement(two).await.unwrap();
    assert!(unheard.stacks[0].data.is_some(), "with its data or not at all: {unheard:?}");
    fleet.engine.abort_migration(begun.id, false, "ada").await.unwrap();
    for _ in 0..3 {
        fleet.play_on().await;
        assert_eq!((fleet.step(begun.id).await, fleet.who_runs().len()), (MigrationStep::GoingBack, 0));
    }
    // Somebody knows that its machine burned.
    fleet.engine.abort_migration(begun.id, true, "ada").await.unwrap();
    fleet.play_on().await;
    assert_eq!(
        (fleet.step(begun.id).await, fleet.who_runs()),
        (MigrationStep::Stayed, vec!["one".to_owned()])
    );
}

#[tokio::test]
async fn whatever_happens_on_the_way_it_never_runs_twice_and_in_the_end_once() {
    for seed in 0..8_u64 {
        let mut fleet = Fleet::of_one("").await;
        let begun = fleet.migrate("one", "two").await;
        let mut chance = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut roll = |sides: u64| {
            chance ^= chance << 13;
            chance ^= chance >> 7;
            chance ^= chance << 17;
            chance % sides
        };
        for _ in 0..18 {
            fleet.away = ["one", "two"].into_iter().filter(|_| roll(3) == 0).map(str::to_owned).collect();
            match roll(12) {
                0 => drop(fleet.engine.abort_migration(begun.id, false, "ada").await),
                1 => fleet.restart().await,
                2 => {
                    let name = if roll(2) == 0 { "one" } else { "two" };
                    let id = fleet.nodes[name];
                    // It dies after it was told what to do about data, and is told again.
                    let node = fleet.node(name).await;
                    let _ = fleet.engine.next_backup(&node, None).await.unwrap();
                    let _ = fleet.statement(id).await;
                }
                3 => drop(fleet.later()),
                _ => {}
            }
            fleet.keepers.as_mut().unwrap().spoils = roll(6) == 0;
            let sound = roll(4) != 0;
            fleet.later();
            fleet.play(|name, _| name == "one" || sound).await;
        }
        fleet.away.clear();
        fleet.keepers.as_mut().unwrap().spoils = false;
        for _ in 0..4 {
            fleet.play_on().await;
        }
        let ended = fleet.moved(begun.id).await;
        assert!(ended.finished_at.is_some(), "{seed}: {ended:#?}");
        let expected = match ended.stacks[0].step {
            MigrationStep::Switched => "two",
            _ => "one",
        };
        assert_eq!(fleet.who_runs(), [expected], "{seed}: {ended:#?}");
    }
}

/// Asks that a snapshot of `web` be in place before that starts.
async fn wants_before_start(fleet: &Fleet, node: &Node, snapshot: SnapshotId) -> BackupJob {
    let work = RestoreWork {
        snapshot,
        stack: "web".parse().unwrap(),
        of_node: None,
        items: Vec::new(),
        paths: Vec::new(),
        destination: Destination::BeforeStart { deployment: None },
    };
    let wanted = WantedRestore { id: None, node: node.clone(), work };
    fleet.engine.ask_restores(vec![wanted], "ada").await.unwrap().remove(0)
}

#[tokio::test]
async fn a_machine_that_takes_anothers_place_is_not_told_to_run_what_has_no_data_yet() {
    let mut fleet = Fleet::of_one("").await;
    let one = fleet.node("one").await;
    let snapshot = fleet.snapshot(one.id, |_| {}).await;
    // As `nodes replace` asks for it, and the machine that joins has nothing.
    wants_before_start(&fleet, &one, snapshot).await;
    (fleet.runs, fleet.done) = Default::default();
    fleet.engine.reconcile().await.unwrap();
    let line = fleet.statement(one.id).await.unwrap().stacks.remove(0);
    assert_eq!(line.data, Some(snapshot), "{line:?}");
    // It does not start: it is not told to run it without its data either.
    fleet.play(|_, _| false).await;
    assert!(fleet.statement(one.id).await.unwrap().stacks.is_empty());
    fleet.play_on().await;
    assert!(fleet.who_runs().is_empty());
    // Put back once more, it does.
    fleet.later();
    let second = wants_before_start(&fleet, &one, snapshot).await;
    fleet.play_on().await;
    assert_eq!(fleet.who_runs(), ["one"]);
    let newest = fleet.deployments().await.into_iter().max_by_key(|one| one.id).unwrap();
    assert_eq!(newest.state, DeploymentState::Succeeded);
    assert_eq!(newest.data.unwrap().asked_by, DataFor::Restore { job: second.id });
    assert!(jobs::awaited(&mut fleet.store.read()).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_waits_for_its_data_starts_without_by_somebodys_word_alone() {
    let mut fleet = Fleet::of_one("").await;
    let one = fleet.node("one").await;
    let snapshot = fleet.snapshot(one.id, |_| {}).await;
    let job = wants_before_start(&fleet, &one, snapshot).await;
    (fleet.runs, fleet.done) = Default::default();
    fleet.engine.reconcile().await.unwrap();
    let line = fleet.statement(one.id).await.unwrap().stacks.remove(0);
    assert_eq!(line.data, Some(snapshot));
    fleet.engine.cancel_backup(job.id, "ada").await.unwrap();
    fleet.engine.reconcile().await.unwrap();
    // Whoever has been told of it already gets no data any more, and says so.
    assert!(!fleet.keep(one.id, Some(&line)).await);
    let state = DeploymentState::Failed {
        step: backstay_types::Step::Snapshot,
        failure: backstay_types::FailureKind::Node,
        reason: "the hub wants none".to_owned(),
    };
    let body = ReportBody::DeploymentFinished { deployment: line.deployment, state, containers: Vec::new() };
    let report = Report { id: fleet.world.mint(), at: fleet.world.now(), body };
    fleet.engine.take_reports(one.id, vec![report]).await.unwrap();
    fleet.play_on().await;
    assert_eq!(fleet.who_runs(), ["one"]);
    let line = fleet.statement(one.id).await.unwrap().stacks.remove(0);
    assert_eq!(line.data, None);
}

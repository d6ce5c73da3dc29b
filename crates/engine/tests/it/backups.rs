//! What keeps snapshots from being forgotten, and the snapshot that a deployment waits for.

use std::time::Duration;

use backstay_api::agent::BackupBefore;
use backstay_engine::{
    EngineError,
    backups::{
        BackupRules, Ceiling, DrillRhythm, Keep, NextOrder, Repairing, Rhythm, UpkeepRules, Wanted,
        WantedRestore, WantedSnapshot,
    },
};
use backstay_store::{
    backups::{jobs, snapshots},
    constraints, deployments, nodes,
};
use backstay_types::{
    Constraint, ConstraintOrigin, Deployment, Digest, Effect, Node, NodeId, Scope,
    backup::{
        BackupJobState, BackupReason, BackupTask, Destination, Proof, RestoreWork, SaveWork, Snapshot,
        SnapshotId, SnapshotTags, WorkOutcome,
    },
};

use crate::fleet::Fleet;

/// Of each stack the newest proven one is kept, and what somebody needs.
pub(crate) fn rules() -> BackupRules {
    let hour = Duration::from_secs(3600);
    BackupRules {
        rhythm: Rhythm { every: 6 * hour, jitter: hour, parallel: 8 },
        keep: Keep { days: 90, hourly: 0, daily: 0, weekly: 0, monthly: 0, at_least: 1 },
        upkeep: UpkeepRules { read_all_every: 28 * 24 * hour, second: false },
        ceiling: Ceiling::default(),
        drills: DrillRhythm { every: Duration::ZERO, parallel: 8 },
        deadline: hour,
    }
}

impl Fleet {
    pub(crate) async fn node(&self, name: &str) -> Node {
        nodes::get(&mut self.store.read(), self.nodes[name]).await.unwrap().unwrap()
    }

    /// Makes the repository of a node known.
    pub(crate) async fn with_repository(&self, node: NodeId) {
        self.engine.keep_passwords(Some(node), "sealed", "sealed").await.unwrap();
        let now = self.world.now();
        self.engine.note_repository(Some(node), |facts| facts.made_at = Some(now)).await.unwrap();
    }

    /// A proven snapshot of the stack on a node, begun now; a minute passes.
    pub(crate) async fn snapshot(&self, node: NodeId, change: impl FnOnce(&mut Snapshot)) -> SnapshotId {
        let now = self.world.now();
        let digest = Digest::of(now.to_string().as_bytes());
        let tags = SnapshotTags {
            node: Some(node),
            node_name: None,
            stack: Some("web".parse().unwrap()),
            tree: None,
            deployment: None,
            conversation: None,
            reason: BackupReason::Schedule,
        };
        let mut snapshot = Snapshot {
            id: SnapshotId::new(digest),
            at: now,
            tags,
            proof: Proof::Matched,
            files: 1,
            bytes: 1,
            added_bytes: 1,
            manifest: digest,
        };
        change(&mut snapshot);
        let mut tx = self.store.begin().await.unwrap();
        snapshots::insert(&mut tx, Some(node), &snapshot, Some(self.world.mint()), now).await.unwrap();
        snapshots::verified(&mut tx, Some(node), snapshot.id, now).await.unwrap();
        tx.commit().await.unwrap();
        self.later();
        snapshot.id
    }

    /// Why each snapshot of a node stays that does, newest first.
    async fn staying(&self, node: NodeId) -> Vec<(SnapshotId, String)> {
        let fates = self.engine.retention_of(Some(node)).await.unwrap();
        fates
            .into_iter()
            .filter(|(_, fate)| fate.stays)
            .map(|(one, fate)| (one.snapshot.id, fate.why))
            .collect()
    }

    async fn open_deployment(&self, node: NodeId) -> Deployment {
        let open = deployments::open(&mut self.store.read()).await.unwrap();
        open.into_iter().find(|one| one.node == node).unwrap()
    }
}

#[tokio::test]
async fn restores_and_pins_keep_the_newest_proven_one_from_before() {
    let fleet = Fleet::new().await;
    let one = fleet.node("one").await;
    fleet.with_repository(one.id).await;
    let first = fleet.snapshot(one.id, |_| {}).await;
    let second = fleet.snapshot(one.id, |_| {}).await;
    let pinned_at = fleet.world.now();
    fleet.later();
    let damaged = fleet.snapshot(one.id, |_| {}).await;
    let newest = fleet.snapshot(one.id, |_| {}).await;
    assert_eq!(fleet.staying(one.id).await.len(), 1, "nobody needs the others");

    let stack = "web".parse().unwrap();
    let release = backstay_store::releases::of_stack(&mut fleet.store.read(), &stack, None, 1).await.unwrap();
    let pin = Constraint {
        id: fleet.world.mint(),
        scope: Scope::Fleet,
        effect: Effect::Pin { stack: stack.clone(), release: release[0].id },
        reason: "it works".to_owned(),
        by: "ann".to_owned(),
        origin: ConstraintOrigin::Person,
        created_at: pinned_at,
        from: None,
        until: None,
        lifted_at: None,
    };
    let mut tx = fleet.store.begin().await.unwrap();
    constraints::insert(&mut tx, &pin).await.unwrap();
    tx.commit().await.unwrap();
    let staying = fleet.staying(one.id).await;
    assert_eq!(staying.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [newest, second]);
    assert!(staying[1].1.contains("ann pinned the stack"), "{staying:?}");

    // One that is being restored stays, whichever it is.
    let work = RestoreWork {
        snapshot: first,
        stack: stack.clone(),
        items: Vec::new(),
        paths: Vec::new(),
        destination: Destination::InPlace,
        of_node: None,
    };
    let wanted = vec![WantedRestore { id: None, node: one.clone(), work }];
    let job = fleet.engine.ask_restores(wanted, "ann").await.unwrap().remove(0);
    let staying = fleet.staying(one.id).await;
    assert_eq!(staying.last().unwrap(), &(first, format!("job {} needs it", job.id)));

    // What was found to be damaged keeps nothing from being the newest proven one before, and is not restored.
    fleet.engine.note_checked(Some(one.id), &[], &[damaged, second], false, |_| {}).await.unwrap();
    let staying = fleet.staying(one.id).await;
    assert!(staying.iter().any(|(id, why)| *id == first && !why.is_empty()), "{staying:?}");
    let at = WantedSnapshot::At(fleet.world.now());
    let found = fleet.engine.proven_snapshot(Some(one.id), &stack, &at).await.unwrap();
    assert_eq!(found.kept.snapshot.id, newest);
    let named = WantedSnapshot::Named(second.to_string());
    let refused = fleet.engine.proven_snapshot(Some(one.id), &stack, &named).await.unwrap_err();
    assert!(matches!(refused, EngineError::NothingProven(_)), "{refused}");
}

#[tokio::test]
async fn a_deployment_gets_one_snapshot_made_which_stays_while_it_is_under_way() {
    let mut fleet = Fleet::new().await;
    let (one, two) = (fleet.node("one").await, fleet.node("two").await);
    fleet.with_repository(one.id).await;
    let old = fleet.snapshot(one.id, |_| {}).await;
    let by = fleet.conversation();
    fleet.change("hello", "welcome", by);
    fleet.away = ["one", "two", "three"].map(str::to_owned).to_vec();
    fleet.deploy().await;
    let deployment = fleet.open_deployment(one.id).await;
    let stack = deployment.stack.clone();
    let before = BackupBefore { stack: stack.clone(), deployment: deployment.id };

    // Somebody else's deployment is none of a node's.
    let refused = fleet.engine.next_backup(&two, Some(&before)).await.unwrap_err();
    assert!(matches!(refused, EngineError::NotFound { .. }), "{refused}");
    let order = async |fleet: &Fleet| match fleet.engine.next_backup(&one, Some(&before)).await.unwrap() {
        NextOrder::Do(job, ..) => *job,
        other => panic!("{other:?}"),
    };
    let job = order(&fleet).await;
    assert_eq!(order(&fleet).await.id, job.id, "the same until it was told");
    let BackupTask::Save(work) = &job.task else { panic!("{job:?}") };
    assert_eq!((work.reason, work.deployment), (BackupReason::Deployment, Some(deployment.id)));
    assert_eq!((work.conversation, work.stacks.as_slice()), (Some(by), &[stack.clone()][..]));
    // A backup of everything that somebody asks for meanwhile is another one.
    let all = BackupTask::Save(backstay_types::backup::SaveWork {
        stacks: Vec::new(),
        reason: BackupReason::Manual,
        deployment: None,
        conversation: None,
        last: false,
    });
    let wanted = Wanted { whose: Some(one.id), task: all, id: None };
    let asked = fleet.engine.ask_backups(vec![wanted], "ann").await.unwrap();
    assert_ne!(asked[0].id, job.id);

    fleet.later();
    let own = fleet.snapshot(one.id, |one| one.tags.deployment = Some(deployment.id)).await;
    let outcome = WorkOutcome::default();
    fleet.engine.finish_backup(&one, job.id, outcome).await.unwrap();
    assert!(matches!(fleet.engine.next_backup(&one, Some(&before)).await.unwrap(), NextOrder::Nothing));
    // It, and the data from before it, stay while the deployment is under way; then the newest is enough.
    let newest = fleet.snapshot(one.id, |_| {}).await;
    let staying: Vec<_> = fleet.staying(one.id).await;
    let ids: Vec<_> = staying.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [newest, own, old], "{staying:?}");
    let before_it = WantedSnapshot::Before(deployment.id);
    let found = fleet.engine.proven_snapshot(Some(one.id), &stack, &before_it).await.unwrap();
    assert_eq!(found.kept.snapshot.id, own);
    fleet.away.clear();
    fleet.play(|_, _| true).await;
    assert_eq!(fleet.staying(one.id).await.len(), 1);
}

/// An order, or why there is none yet.
async fn order(fleet: &Fleet, node: &Node) -> Result<backstay_types::BackupJobId, &'static str> {
    match fleet.engine.next_backup(node, None).await.unwrap() {
        NextOrder::Do(job, ..) => Ok(job.id),
        NextOrder::NotReady(why) => Err(why),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nobody_uses_a_repository_that_is_being_repaired() {
    let fleet = Fleet::new().await;
    let pass = |by: Duration| fleet.clock.set(fleet.world.now() + by);
    let (one, two) = (fleet.node("one").await, fleet.node("two").await);
    fleet.with_repository(one.id).await;
    fleet.with_repository(two.id).await;
    let first = fleet.snapshot(one.id, |_| {}).await;
    let save = SaveWork {
        stacks: Vec::new(),
        reason: BackupReason::Manual,
        deployment: None,
        conversation: None,
        last: false,
    };
    let save = |node: &Node| Wanted { whose: Some(node.id), task: BackupTask::Save(save.clone()), id: None };
    fleet.engine.ask_backups(vec![save(&one)], "ann").await.unwrap();

    // Who repairs keeps the writer out, and every other hub.
    let mark = fleet.engine.begin_repair(Some(one.id)).await.unwrap().unwrap();
    assert_eq!(fleet.engine.begin_repair(Some(one.id)).await.unwrap(), None);
    assert!(order(&fleet, &one).await.unwrap_err().contains("being taken out"));
    // What others note of the repository meanwhile changes nothing about that.
    fleet.engine.note_repository(Some(one.id), |facts| facts.bytes = 7).await.unwrap();
    pass(Repairing::SAID);
    let mark = fleet.engine.still_repairing(Some(one.id), mark).await.unwrap().unwrap();
    pass(Duration::from_secs(270));
    assert!(order(&fleet, &one).await.is_err(), "it was said again");
    fleet.engine.end_repair(Some(one.id), mark).await.unwrap();

    // And the other way round.
    let job = order(&fleet, &one).await.unwrap();
    assert_eq!(fleet.engine.begin_repair(Some(one.id)).await.unwrap(), None);
    fleet.engine.finish_backup(&one, job, WorkOutcome::default()).await.unwrap();

    // A hub that was killed keeps nobody out for long, and has lost its right.
    let lost = fleet.engine.begin_repair(Some(one.id)).await.unwrap().unwrap();
    fleet.engine.ask_backups(vec![save(&one)], "ann").await.unwrap();
    assert!(order(&fleet, &one).await.is_err());
    pass(Duration::from_secs(301));
    let job = order(&fleet, &one).await.unwrap();
    assert_eq!(fleet.engine.still_repairing(Some(one.id), lost).await.unwrap(), None);
    fleet.engine.end_repair(Some(one.id), lost).await.unwrap();
    fleet.engine.finish_backup(&one, job, WorkOutcome::default()).await.unwrap();

    // Another node that reads from it is as good as a writer.
    let work = RestoreWork {
        snapshot: first,
        stack: "web".parse().unwrap(),
        items: Vec::new(),
        paths: Vec::new(),
        destination: Destination::Folder { path: "/tmp/x".to_owned() },
        of_node: Some(one.id),
    };
    let wanted = vec![WantedRestore { id: None, node: two.clone(), work }];
    fleet.engine.ask_restores(wanted, "ann").await.unwrap();
    let mark = fleet.engine.begin_repair(Some(one.id)).await.unwrap().unwrap();
    assert!(order(&fleet, &two).await.is_err());
    fleet.engine.end_repair(Some(one.id), mark).await.unwrap();
    let job = order(&fleet, &two).await.unwrap();
    assert_eq!(fleet.engine.begin_repair(Some(one.id)).await.unwrap(), None);
    let own = fleet.engine.begin_repair(Some(two.id)).await.unwrap();
    assert_eq!(own, None, "its own is used too");
    fleet.engine.finish_backup(&two, job, WorkOutcome::default()).await.unwrap();
    assert!(fleet.engine.begin_repair(Some(one.id)).await.unwrap().is_some());
}

/// Without room no backups are made by themselves but those without which there are too few.
#[tokio::test]
async fn at_its_ceiling_a_node_is_saved_until_it_has_what_must_be_kept() {
    let mut fleet = Fleet::new().await;
    let keep = Keep { at_least: 2, ..rules().keep };
    fleet.set_up_backups_by(BackupRules { keep, ceiling: Ceiling { all: None, each: Some(100) }, ..rules() });
    let nodes = [fleet.node("one").await, fleet.node("two").await, fleet.node("three").await];
    for node in &nodes {
        fleet.with_repository(node.id).await;
        fleet.engine.note_repository(Some(node.id), |facts| facts.bytes = 1000).await.unwrap();
    }
    fleet.snapshot(nodes[0].id, |_| {}).await;
    for _ in 0..2 {
        fleet.snapshot(nodes[1].id, |_| {}).await;
    }
    fleet.clock.set(fleet.world.now() + Duration::from_secs(7 * 3600));
    fleet.engine.schedule_backups().await.unwrap();
    let mut given: Vec<_> =
        jobs::open(&mut fleet.store.read()).await.unwrap().into_iter().filter_map(|job| job.node).collect();
    given.sort();
    let mut wanted = vec![nodes[0].id, nodes[2].id];
    wanted.sort();
    assert_eq!(given, wanted, "two has enough; three has none yet");
}

/// A machine that takes a lost one's place may come late; a stack that does not come to one that is there is another matter.
#[tokio::test]
async fn a_restore_waits_for_its_machine_as_long_as_it_takes_and_for_its_stack_a_week() {
    waits_for_its_machine(Destination::InPlace).await;
    waits_for_its_machine(Destination::BeforeStart { deployment: None }).await;
}

async fn waits_for_its_machine(destination: Destination) {
    let fleet = Fleet::new().await;
    let one = fleet.node("one").await;
    fleet.with_repository(one.id).await;
    let snapshot = fleet.snapshot(one.id, |_| {}).await;
    let mut tx = fleet.store.begin().await.unwrap();
    nodes::revoke(&mut tx, one.id, fleet.world.now()).await.unwrap();
    nodes::forget_soft(&mut tx, one.id).await.unwrap();
    tx.commit().await.unwrap();
    let work = RestoreWork {
        snapshot,
        stack: "web".parse().unwrap(),
        items: Vec::new(),
        paths: Vec::new(),
        destination,
        of_node: None,
    };
    let wanted = WantedRestore { id: None, node: one.clone(), work };
    let job = fleet.engine.ask_restores(vec![wanted], "ann").await.unwrap().remove(0);
    let days = |days: i64| {
        let now = fleet.world.now().checked_add(jiff::SignedDuration::from_hours(24 * days)).unwrap();
        fleet.clock.set(now);
        now
    };
    let state = async || {
        fleet.engine.schedule_backups().await.unwrap();
        jobs::get(&mut fleet.store.read(), job.id).await.unwrap().unwrap().state
    };
    days(30);
    assert_eq!(state().await, BackupJobState::Queued, "no machine has come");
    let mut tx = fleet.store.begin().await.unwrap();
    nodes::set_credential(&mut tx, one.id, Digest::of(b"new")).await.unwrap();
    nodes::rejoined(&mut tx, one.id, fleet.world.now()).await.unwrap();
    tx.commit().await.unwrap();
    days(6);
    assert_eq!(state().await, BackupJobState::Queued, "its stack may still come");
    days(2);
    assert_eq!(state().await, BackupJobState::Cancelled);
    assert_eq!(fleet.told("backup_cancelled").await.len(), 1, "the ledger says so");
}

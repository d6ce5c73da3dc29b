//! What keeps snapshots from being forgotten, and the snapshot that a deployment waits for.

use std::time::Duration;

use backstay_api::agent::BackupBefore;
use backstay_engine::{
    EngineError,
    backups::{
        BackupRules, Ceiling, DrillRhythm, Keep, NextOrder, Rhythm, UpkeepRules, Wanted, WantedRestore,
        WantedSnapshot,
    },
};
use backstay_store::{backups::snapshots, constraints, deployments, nodes};
use backstay_types::{
    Constraint, ConstraintOrigin, Deployment, Digest, Effect, Node, NodeId, Scope,
    backup::{
        BackupReason, BackupTask, Destination, Proof, RestoreWork, Snapshot, SnapshotId, SnapshotTags,
        WorkOutcome,
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
    let job =
        fleet.engine.ask_restore(WantedRestore { id: None, node: one.clone(), work }, "ann").await.unwrap();
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

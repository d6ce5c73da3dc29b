//! Undo with data at the hub: which snapshot each place goes back to, what is refused by name, what a node is told, and when
//! it is verified.

use backstay_api::agent::BackupBefore;
use backstay_engine::{EngineError, Resolution, WantedUndo};
use backstay_store::{backups::jobs, backups::snapshots, deployments};
use backstay_types::{
    BackupJobId, DemandKind, Deployment, DeploymentState, Digest, ErrorCode, Node, Undo, UndoScope,
    UndoSelector, UndoState,
    backup::{BackupReason, BackupTask, Destination, Proof, Snapshot, SnapshotId, SnapshotTags, WorkOutcome},
};

use crate::fleet::{Fleet, want};

fn made(fleet: &Fleet, node: &Node, of: Option<&Deployment>, proof: Proof, reason: BackupReason) -> Snapshot {
    let id: BackupJobId = fleet.world.mint();
    let digest = Digest::of(id.to_string().as_bytes());
    Snapshot {
        id: SnapshotId::new(digest),
        at: fleet.world.now(),
        tags: SnapshotTags {
            node: Some(node.id),
            node_name: Some(node.name.clone()),
            stack: Some("web".parse().unwrap()),
            tree: None,
            deployment: of.map(|one| one.id),
            conversation: None,
            reason,
        },
        proof,
        files: 3,
        bytes: 1_200_000_000,
        added_bytes: 100,
        manifest: digest,
    }
}

impl Fleet {
    /// A node saved its data, before a deployment or just so.
    async fn saved(&self, name: &str, of: Option<&Deployment>, proof: Proof) -> SnapshotId {
        let node = self.node(name).await;
        let one = made(self, &node, of, proof, BackupReason::Deployment);
        let mut tx = self.store.begin().await.unwrap();
        snapshots::insert(&mut tx, Some(node.id), &one, None, self.world.now()).await.unwrap();
        tx.commit().await.unwrap();
        one.id
    }

    async fn latest(&self, name: &str) -> Deployment {
        let all = deployments::latest_of_node(&mut self.store.read(), self.nodes[name]).await.unwrap();
        all.into_iter().find(|one| one.stack.as_str() == "web").unwrap()
    }

    /// Something bad was rolled out, with a snapshot before it on these nodes.
    async fn bad(&mut self, saved: &[(&str, Proof)]) -> Vec<SnapshotId> {
        let conversation = self.conversation();
        self.change("blue", "red", conversation);
        self.deploy().await;
        let mut ids = Vec::new();
        for (name, proof) in saved {
            let deployment = self.latest(name).await;
            ids.push(self.saved(name, Some(&deployment), *proof).await);
        }
        ids
    }

    async fn with_backups() -> Self {
        let mut fleet = Self::new().await;
        fleet.set_up_backups();
        fleet
    }
}

fn last() -> WantedUndo {
    WantedUndo { with_data: true, ..want(UndoSelector::Last) }
}

async fn refused(fleet: &Fleet, want: WantedUndo) -> (ErrorCode, String) {
    let events = fleet.events().await;
    let error: EngineError = fleet.engine.create_undo(want, "test").await.unwrap_err();
    assert_eq!(fleet.events().await, events, "nothing was changed");
    (error.code(), error.to_string())
}

const ALL: [(&str, Proof); 3] =
    [("one", Proof::Verified), ("two", Proof::Replicated), ("three", Proof::Drilled)];

#[tokio::test]
async fn each_node_goes_back_to_the_snapshot_from_just_before() {
    let mut fleet = Fleet::with_backups().await;
    // An older one of each, which is not meant.
    for (name, _) in ALL {
        fleet.saved(name, None, Proof::Verified).await;
    }
    fleet.later();
    let ids = fleet.bad(&ALL).await;
    let bad = fleet.latest("two").await;
    let undo_of = bad.id;
    let plan = fleet
        .engine
        .plan_undo(&WantedUndo { with_data: true, ..want(UndoSelector::Deployment { deployment: undo_of }) })
        .await
        .unwrap();
    assert_eq!((plan.data.len(), plan.demands.len()), (3, 0), "{:?}", plan.demands);
    let mut from: Vec<_> = plan.data.iter().map(|one| one.from.as_ref().unwrap().snapshot).collect();
    let mut wanted = ids.clone();
    from.sort();
    wanted.sort();
    assert_eq!(from, wanted);
    let two = plan.data.iter().find(|one| one.node.as_str() == "two").unwrap();
    assert_eq!(two.before, Some(bad.id));
    let words = two.words.join("\n");
    for said in
        ["goes back to snapshot", "1200 MB", "is taken back; a safety snapshot keeps it", "stands still"]
    {
        assert!(words.contains(said), "{said}: {words}");
    }

    fleet.later();
    let undo = fleet.engine.create_undo(last(), "test").await.unwrap();
    // Every statement names the snapshot, under the signature.
    for (name, id) in ["one", "two", "three"].iter().zip(&ids) {
        let statement = fleet.statement(fleet.nodes[*name]).await.unwrap();
        assert_eq!(statement.stacks[0].data, Some(*id), "{name}");
    }
    let safety = prepare(&fleet, "two", ids[1]).await;
    fleet.play(|_, _| true).await;
    let undo = fleet.settled_push(undo.id).await;
    fleet.assert_verified(&undo);
    let two = undo.plan.data.iter().find(|one| one.node.as_str() == "two").unwrap();
    assert_eq!(two.safety, Some(safety));
    // Told once: an agent that has forgotten everything is not told to put old data in place again.
    fleet.engine.reconcile().await.unwrap();
    let latest = fleet.latest("two").await;
    assert_eq!(latest.data.unwrap().snapshot, ids[1]);
    let node = fleet.node("two").await;
    let before = BackupBefore { stack: "web".parse().unwrap(), deployment: latest.id };
    let next = fleet.engine.next_backup(&node, Some(&before)).await.unwrap();
    assert!(matches!(next, backstay_engine::backups::NextOrder::Nothing), "{next:?}");

    undo_of_undo(&mut fleet, &undo, safety).await;
}

/// What the undo saved comes back; where it saved nothing, that is said by name.
async fn undo_of_undo(fleet: &mut Fleet, undo: &Undo, safety: SnapshotId) {
    fleet.later();
    let again = WantedUndo { with_data: true, ..want(UndoSelector::Undo { undo: undo.id }) };
    let (code, why) = refused(fleet, again.clone()).await;
    assert_eq!(code, ErrorCode::BS9041, "{why}");
    assert!(why.contains("one/web") && why.contains("three/web") && !why.contains("two/web"), "{why}");
    let accepted = WantedUndo { without_data: vec!["one/web".to_owned(), "three/web".to_owned()], ..again };
    let undo = fleet.undo(accepted).await;
    fleet.assert_verified(&undo);
    assert_eq!(fleet.latest("two").await.data.unwrap().snapshot, safety);
    assert_eq!(fleet.latest("one").await.data, None);
}

/// Plays the part of an agent's keeper: asks, and says that all is ready.
async fn prepare(fleet: &Fleet, name: &str, wanted: SnapshotId) -> SnapshotId {
    let node = fleet.node(name).await;
    let deployment = fleet.latest(name).await;
    let before = BackupBefore { stack: deployment.stack.clone(), deployment: deployment.id };
    // Its repository is not made in this test; the job is there all the same.
    fleet.engine.next_backup(&node, Some(&before)).await.unwrap();
    fleet.engine.next_backup(&node, Some(&before)).await.unwrap();
    let known = jobs::for_deployment(&mut fleet.store.read(), deployment.id).await.unwrap();
    let [job] = &known[..] else { panic!("one job, however often it is asked: {known:?}") };
    let BackupTask::Restore(work) = &job.task else { panic!("{job:?}") };
    assert_eq!(work.snapshot, wanted);
    assert_eq!(work.destination, Destination::WithDeployment { deployment: deployment.id });
    let safety = made(fleet, &node, Some(&deployment), Proof::Matched, BackupReason::Safety);
    let outcome = WorkOutcome { snapshots: vec![safety.clone()], still_ms: 5, ..WorkOutcome::default() };
    fleet.engine.finish_backup(&node, job.id, outcome).await.unwrap();
    // The undo needs both, whatever retention says.
    fleet.clock.set(fleet.world.now() + std::time::Duration::from_secs(40 * 86_400));
    let fates = fleet.engine.retention_of(Some(node.id)).await.unwrap();
    for id in [wanted, safety.id] {
        let (_, fate) = fates.iter().find(|(kept, _)| kept.snapshot.id == id).unwrap();
        // The safety snapshot is that of a deployment under way, too.
        assert!(fate.stays && (id == safety.id || fate.why.contains("undo")), "{fate:?}");
    }
    let mut tx = fleet.store.begin().await.unwrap();
    snapshots::verified(&mut tx, Some(node.id), safety.id, fleet.world.now()).await.unwrap();
    tx.commit().await.unwrap();
    safety.id
}

#[tokio::test]
async fn without_a_proven_snapshot_it_is_refused_by_name() {
    let mut fleet = Fleet::with_backups().await;
    let ids =
        fleet.bad(&[("one", Proof::Verified), ("two", Proof::Matched), ("three", Proof::Verified)]).await;
    let mut tx = fleet.store.begin().await.unwrap();
    snapshots::damaged(&mut tx, Some(fleet.nodes["three"]), ids[2], fleet.world.now()).await.unwrap();
    tx.commit().await.unwrap();
    let (code, why) = refused(&fleet, last()).await;
    assert_eq!(code, ErrorCode::BS9041);
    for said in ["two/web: snapshot", "was not read back yet", "three/web: snapshot", "found to be damaged"] {
        assert!(why.contains(said), "{said}: {why}");
    }
    assert!(!why.contains("one/web"), "{why}");
    let some = WantedUndo { without_data: vec!["two/web".to_owned()], ..last() };
    assert_eq!(refused(&fleet, some).await.0, ErrorCode::BS9041, "three is not named");
    let undo = fleet.undo(WantedUndo { without_data: vec!["all".to_owned()], ..last() }).await;
    fleet.assert_verified(&undo);
    assert!(fleet.latest("one").await.data.is_some() && fleet.latest("two").await.data.is_none());
}

/// With conflicts it is not known yet for whom an undo is: what has to be said of their data is said when they are settled.
#[tokio::test]
async fn after_a_conflict_what_has_to_be_said_of_data_can_be_said() {
    let mut fleet = Fleet::with_backups().await;
    let (a, b) = (fleet.conversation(), fleet.conversation());
    fleet.change("hello", "welcome", a);
    fleet.deploy().await;
    for name in ["one", "three"] {
        let deployment = fleet.latest(name).await;
        fleet.saved(name, Some(&deployment), Proof::Verified).await;
    }
    fleet.change("welcome", "good morning", b);
    fleet.deploy().await;
    let want = WantedUndo { with_data: true, ..fleet.only_its(a) };
    let undo = fleet.engine.create_undo(want, "test").await.unwrap();
    assert_eq!((&undo.state, undo.plan.demands.len()), (&UndoState::Conflicted, 0));
    // While it waits, life goes on.
    fleet.later();
    fleet.change("blue", "green", b);
    fleet.deploy().await;
    fleet.later();

    let text = crate::fleet::COMPOSE.replace("hello", "good day").replace("blue", "green");
    let files = [("fleet:stacks/web/compose.yaml".to_owned(), Some(text))].into();
    let silent = Resolution { files, ..Resolution::default() };
    let refused = fleet.engine.resolve_undo(undo.id, silent.clone()).await.unwrap_err();
    assert!(refused.code() == ErrorCode::BS9041 && refused.to_string().contains("two/web"), "{refused}");
    assert_eq!(fleet.undo_state(undo.id).await, UndoState::Conflicted, "it still waits");
    let plan = fleet.engine.plan_resolved_undo(undo.id, silent.clone()).await.unwrap();
    let demands: Vec<_> = plan.demands.iter().map(|one| (one.demand, one.say.as_str())).collect();
    assert_eq!(demands, [(DemandKind::WithoutData, "two/web")]);
    let said = Resolution { without_data: vec!["two/web".to_owned()], ..silent };
    assert_eq!(fleet.engine.plan_resolved_undo(undo.id, said.clone()).await.unwrap().demands, []);
    assert_eq!(fleet.undo_state(undo.id).await, UndoState::Conflicted, "nothing was changed");
    let undo = fleet.engine.resolve_undo(undo.id, said).await.unwrap();
    fleet.play(|_, _| true).await;
    let undo = fleet.settled_push(undo.id).await;
    fleet.assert_verified(&undo);
    fleet.assert_all_run(&["good day", "green"], &["good morning"]).await;
    for (name, has) in [("one", true), ("two", false), ("three", true)] {
        assert_eq!(fleet.latest(name).await.data.is_some(), has, "{name}");
    }
}

#[tokio::test]
async fn marks_in_the_manifest_ask_for_words() {
    let mut fleet = Fleet::with_backups().await;
    let manifest = "[backups]\nmigrations = \"forward_only\"\n[[backup]]\npath = \"keys\"\ndouble_sign = true\nexclude = [\"log\"]\nshared_with = [\"other\"]\n";
    fleet.work.write("stacks/web/stack.toml", manifest);
    fleet.work.write("stacks/other/compose.yaml", crate::fleet::COMPOSE);
    fleet.commit("Marks", None);
    fleet.deploy().await;
    fleet.bad(&ALL).await;
    let scope = UndoScope { nodes: Some("name=one".to_owned()), ..UndoScope::default() };
    // Without data it is said that code alone will not do.
    let plan = fleet.engine.plan_undo(&want(UndoSelector::Last)).await.unwrap();
    assert!(plan.notes.iter().any(|note| note.contains("only go forward")), "{:?}", plan.notes);
    let with = WantedUndo { scope, ..last() };
    let plan = fleet.engine.plan_undo(&with).await.unwrap();
    let demands: Vec<_> = plan.demands.iter().map(|one| (one.demand, one.say.as_str())).collect();
    assert_eq!(demands, [(DemandKind::DoubleSign, "one/web"), (DemandKind::SharedData, "other")]);
    assert!(!plan.notes.iter().any(|note| note.contains("only go forward")), "{:?}", plan.notes);
    assert!(plan.data[0].words.iter().any(|words| words == "of `keys` this stays as it is: log"));
    assert_eq!(refused(&fleet, with.clone()).await.0, ErrorCode::BS9043);
    let wrong = WantedUndo { confirm: vec!["yes".to_owned()], ..with.clone() };
    assert_eq!(refused(&fleet, wrong).await.0, ErrorCode::BS9043);
    let confirmed = WantedUndo { confirm: vec!["one/web".to_owned()], ..with };
    let (code, why) = refused(&fleet, confirmed.clone()).await;
    assert!(code == ErrorCode::BS9042 && why.contains("other on one uses the same data"), "{why}");
    let undo = fleet.undo(WantedUndo { shared_data: vec!["other".parse().unwrap()], ..confirmed }).await;
    fleet.assert_verified(&undo);
    assert!(fleet.latest("one").await.data.is_some());
    let tree = fleet.runs[&("one".to_owned(), "web".to_owned())];
    let marked = fleet.engine.double_sign(&"web".parse().unwrap(), &[tree], &[]).await.unwrap();
    assert_eq!(marked.into_iter().collect::<Vec<_>>(), ["keys"], "restores ask the same");
}

/// What no node can put back in place is said before anything is begun, by name.
#[tokio::test]
async fn what_cannot_be_put_back_in_place_is_named_first() {
    let mut fleet = Fleet::with_backups().await;
    let manifest = "[[backup]]\npath = \"keys\"\n[[backup]]\nname = \"export\"\ncommand = [\"true\"]\n";
    fleet.work.write("stacks/web/stack.toml", manifest);
    fleet.commit("A command that takes nothing back", None);
    fleet.deploy().await;
    fleet.bad(&ALL).await;
    let plan = fleet.engine.plan_undo(&last()).await.unwrap();
    assert!(plan.demands.iter().all(|one| one.demand == DemandKind::WithoutData), "{:?}", plan.demands);
    assert!(plan.demands[0].why.contains("`export`: it has no `restore`"), "{:?}", plan.demands);
    let stack = "web".parse().unwrap();
    let node = fleet.node("one").await.id;
    let stuck = async |named: &[String]| fleet.engine.not_in_place(node, &stack, named).await.unwrap();
    assert_eq!(stuck(&[]).await.len(), 1, "a restore of all of it says the same");
    assert_eq!(stuck(&["keys".to_owned()]).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_node_whose_data_could_not_go_back_is_no_success() {
    let mut fleet = Fleet::with_backups().await;
    fleet.bad(&ALL).await;
    fleet.later();
    let undo = fleet.engine.create_undo(last(), "test").await.unwrap();
    let to = undo.plan.nodes[0].to;
    fleet.play(|name, tree| name != "two" || tree != to).await;
    let UndoState::Failed { reason } = fleet.undo_state(undo.id).await else { panic!() };
    assert!(reason.starts_with("two: "), "{reason}");
    assert!(matches!(fleet.latest("two").await.state, DeploymentState::RolledBack { .. }));
}

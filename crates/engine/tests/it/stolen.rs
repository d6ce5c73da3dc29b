//! A node's key in somebody else's hands: what it tells of snapshots makes none of the good ones go.

use backstay_engine::backups::{BackupRules, Keep, NextOrder, Wanted, WantedSnapshot};
use backstay_store::backups::snapshots;
use backstay_types::{
    BackupJobId, Digest, Node, Timestamp,
    backup::{BackupReason, BackupTask, Proof, SaveWork, Snapshot, SnapshotId, SnapshotTags, WorkOutcome},
};
use jiff::SignedDuration;

use crate::{backups::rules, fleet::Fleet};

fn snapshot(node: &Node, at: Timestamp) -> Snapshot {
    let digest = Digest::of(at.to_string().as_bytes());
    let tags = SnapshotTags {
        node: Some(node.id),
        node_name: None,
        stack: Some("web".parse().unwrap()),
        tree: None,
        deployment: None,
        conversation: None,
        reason: BackupReason::Schedule,
    };
    let id = SnapshotId::new(digest);
    Snapshot { id, at, tags, proof: Proof::Matched, files: 1, bytes: 1, added_bytes: 1, manifest: digest }
}

impl Fleet {
    fn hours_later(&self, hours: i64) -> Timestamp {
        let now = self.world.now().checked_add(SignedDuration::from_hours(hours)).unwrap();
        self.clock.set(now);
        now
    }

    /// A backup of a node: what it tells when its job ends, a minute after it was given it. All of that is read back.
    async fn backed_up(&self, node: &Node, tell: impl FnOnce(Timestamp) -> Vec<Snapshot>) -> Vec<SnapshotId> {
        let task = BackupTask::Save(SaveWork {
            stacks: Vec::new(),
            reason: BackupReason::Manual,
            deployment: None,
            conversation: None,
            last: false,
        });
        let wanted = Wanted { whose: Some(node.id), task, id: None };
        self.engine.ask_backups(vec![wanted], "ann").await.unwrap();
        let NextOrder::Do(job, ..) = self.engine.next_backup(node, None).await.unwrap() else { panic!() };
        let begun = self.world.now();
        self.later();
        self.finished(node, job.id, tell(begun)).await
    }

    async fn finished(&self, node: &Node, job: BackupJobId, snapshots: Vec<Snapshot>) -> Vec<SnapshotId> {
        let ids: Vec<_> = snapshots.iter().map(|one| one.id).collect();
        let outcome = WorkOutcome { snapshots, ..WorkOutcome::default() };
        self.engine.finish_backup(node, job, outcome).await.unwrap();
        self.engine.note_verified(Some(node.id), &ids, None).await.unwrap();
        ids
    }

    async fn all_staying(&self, node: &Node) -> Vec<SnapshotId> {
        let fates = self.engine.retention_of(Some(node.id)).await.unwrap();
        fates.into_iter().filter(|(_, fate)| fate.stays).map(|(one, _)| one.snapshot.id).collect()
    }
}

/// Every six hours for twenty days; then somebody has the key.
async fn twenty_days() -> (Fleet, Node, Vec<SnapshotId>) {
    let mut fleet = Fleet::new().await;
    let keep = Keep { days: 90, hourly: 24, daily: 14, weekly: 8, monthly: 3, at_least: 3 };
    fleet.set_up_backups_by(BackupRules { keep, ..rules() });
    let node = fleet.node("one").await;
    fleet.engine.keep_passwords(Some(node.id), "sealed", "sealed").await.unwrap();
    let now = fleet.world.now();
    fleet.engine.note_repository(Some(node.id), |facts| facts.made_at = Some(now)).await.unwrap();
    let mut all = Vec::new();
    for _ in 0..80 {
        fleet.hours_later(6);
        all.extend(fleet.backed_up(&node, |begun| vec![snapshot(&node, begun)]).await);
    }
    fleet.engine.note_listed(Some(node.id), all_of(&fleet, &node).await).await.unwrap();
    (fleet, node, all)
}

async fn all_of(fleet: &Fleet, node: &Node) -> Vec<Snapshot> {
    let all = snapshots::of(&mut fleet.store.read(), Some(node.id)).await.unwrap();
    all.into_iter().map(|one| one.snapshot).collect()
}

/// One for each hour of the last day, each day, week and month, a second before each of them ends.
fn forged(node: &Node, now: Timestamp) -> Vec<Snapshot> {
    let hours = (0..24).map(|hour| hour * 3600);
    let days = (1..40).map(|day| day * 86_400 + 7);
    let before = |seconds: i64| now.checked_sub(SignedDuration::from_secs(seconds)).unwrap();
    hours.chain(days).map(|seconds| snapshot(node, before(seconds))).collect()
}

#[tokio::test]
async fn what_a_stolen_key_tells_with_other_dates_makes_no_good_one_go() {
    let (fleet, node, all) = twenty_days().await;
    let theft = fleet.world.now();
    fleet.hours_later(1);
    fleet.backed_up(&node, |begun| vec![snapshot(&node, begun)]).await;
    let before = fleet.all_staying(&node).await;
    assert!(before.len() > 15 && before.len() < 60, "{}", before.len());
    let told = fleet.backed_up(&node, |begun| forged(&node, begun)).await;
    let after = fleet.all_staying(&node).await;
    let gone: Vec<_> = before.iter().filter(|id| all.contains(id) && !after.contains(id)).collect();
    assert!(gone.is_empty(), "{} of {} good ones go", gone.len(), before.len());
    assert!(told.iter().all(|id| after.contains(id)), "what is wrong stays for a person to look at");

    // Whoever asks for a time from before gets what there was then, and it is said what is not to be believed.
    let stack = "web".parse().unwrap();
    let found =
        fleet.engine.proven_snapshot(Some(node.id), &stack, &WantedSnapshot::At(theft)).await.unwrap();
    assert_eq!(Some(&found.kept.snapshot.id), all.last());
    let kept = snapshots::of(&mut fleet.store.read(), Some(node.id)).await.unwrap();
    let doubted = kept.iter().filter(|one| one.claimed_at.is_some()).count();
    assert_eq!(doubted, told.len() - 1, "all but the one of now");
    let day = SignedDuration::from_hours(24);
    assert!(
        kept.iter()
            .filter(|one| told.contains(&one.snapshot.id))
            .all(|one| { one.heard_at.duration_since(one.snapshot.at) < day })
    );
    let (_, count, _) = snapshots::misdated(&mut fleet.store.read(), theft).await.unwrap().remove(0);
    assert_eq!(count, told.len() as u64 - 1);

    // They go in the end, when nobody kept them.
    fleet.hours_later(91 * 24);
    fleet.backed_up(&node, |begun| vec![snapshot(&node, begun)]).await;
    let after = fleet.all_staying(&node).await;
    assert!(!told[1..].iter().any(|id| after.contains(id)), "the first is of now, as others are");
}

/// Without telling: they are found in the repository; or told for a job that this hub does not know.
#[tokio::test]
async fn what_a_stolen_key_leaves_in_the_repository_makes_no_good_one_go() {
    for told in [false, true] {
        let (fleet, node, all) = twenty_days().await;
        let before = fleet.all_staying(&node).await;
        let theft = fleet.hours_later(23);
        let forged = forged(&node, theft);
        let ids: Vec<_> = forged.iter().map(|one| one.id).collect();
        if told {
            fleet.finished(&node, fleet.world.mint(), forged).await;
        } else {
            let found = all_of(&fleet, &node).await.into_iter().chain(forged).collect();
            fleet.engine.note_listed(Some(node.id), found).await.unwrap();
            fleet.engine.note_verified(Some(node.id), &ids, None).await.unwrap();
        }
        let after = fleet.all_staying(&node).await;
        assert!(before.iter().all(|id| after.contains(id)), "told: {told}");
        let stack = "web".parse().unwrap();
        let long_ago = theft.checked_sub(SignedDuration::from_hours(30)).unwrap();
        let at = WantedSnapshot::At(long_ago);
        let found = fleet.engine.proven_snapshot(Some(node.id), &stack, &at).await.unwrap();
        assert!(all.contains(&found.kept.snapshot.id), "told: {told}");
    }
}

/// A node cannot make a snapshot that of a deployment of long ago.
#[tokio::test]
async fn what_a_snapshot_was_made_for_is_what_its_job_was_for() {
    let mut fleet = Fleet::new().await;
    let by = fleet.conversation();
    fleet.change("hello", "welcome", by);
    fleet.away = ["one", "two", "three"].map(str::to_owned).to_vec();
    fleet.deploy().await;
    let open = backstay_store::deployments::open(&mut fleet.store.read()).await.unwrap();
    let node = fleet.node("one").await;
    let deployment = open.into_iter().find(|one| one.node == node.id).unwrap();
    fleet.engine.keep_passwords(Some(node.id), "sealed", "sealed").await.unwrap();
    let now = fleet.world.now();
    fleet.engine.note_repository(Some(node.id), |facts| facts.made_at = Some(now)).await.unwrap();
    let told = fleet
        .backed_up(&node, |begun| {
            let mut one = snapshot(&node, begun);
            one.tags.deployment = Some(deployment.id);
            one.tags.reason = BackupReason::Deployment;
            vec![one]
        })
        .await;
    let kept = snapshots::get(&mut fleet.store.read(), Some(node.id), told[0]).await.unwrap().unwrap();
    assert_eq!((kept.snapshot.tags.deployment, kept.snapshot.tags.reason), (None, BackupReason::Manual));
}

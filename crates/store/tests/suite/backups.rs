//! Backups: repositories, snapshots with their proof, jobs.

use backstay_store::backups::{drills, jobs, repositories, snapshots};
use backstay_types::{
    backup::{
        BackupHistory, BackupJob, BackupJobState, BackupReason, BackupTask, BackupTaskKind, DrillHistory,
        Proof, RepositoryFacts, SaveWork, Snapshot, SnapshotHold, SnapshotId, SnapshotTags,
    },
    *,
};

use crate::fixture::{Fixture, both, stack};

fn snapshot(t: &Fixture, name: &str, of: Option<&str>) -> Snapshot {
    let digest = Digest::of(name.as_bytes());
    let tags = SnapshotTags {
        node: None,
        node_name: None,
        stack: of.map(stack),
        tree: None,
        deployment: None,
        conversation: None,
        reason: BackupReason::Schedule,
    };
    Snapshot {
        id: SnapshotId::new(digest),
        at: t.later(),
        tags,
        proof: Proof::Matched,
        files: 1,
        bytes: 2,
        added_bytes: 3,
        manifest: digest,
    }
}

fn job(t: &Fixture, node: Option<NodeId>) -> BackupJob {
    let work = SaveWork {
        stacks: Vec::new(),
        reason: BackupReason::Manual,
        deployment: None,
        conversation: None,
        last: false,
    };
    BackupJob {
        id: t.mint(),
        node,
        task: BackupTask::Save(work),
        state: BackupJobState::Queued,
        by: "ann".to_owned(),
        asked_at: t.later(),
        started_at: None,
        lease_until: None,
        ended_at: None,
        cancelled_by: None,
        progress: None,
        result: None,
    }
}

async fn passwords_are_kept_once_and_facts_change(t: Fixture) {
    let node: NodeId = t.mint();
    let mut tx = t.begin().await;
    let first = repositories::keep(&mut tx, Some(node), "one", "two").await.unwrap();
    let again = repositories::keep(&mut tx, Some(node), "three", "four").await.unwrap();
    assert_eq!(first, again, "a password that a repository has is never replaced");
    repositories::keep(&mut tx, None, "hub", "").await.unwrap();
    let facts = RepositoryFacts { made_at: Some(t.later()), bytes: 7, ..RepositoryFacts::default() };
    repositories::set_facts(&mut tx, Some(node), &facts).await.unwrap();
    assert_eq!(repositories::get(&mut tx, Some(node)).await.unwrap().unwrap().facts, facts);
    assert_eq!(repositories::list(&mut tx).await.unwrap().len(), 2);
    assert_eq!(repositories::totals(&mut tx).await.unwrap(), (7, 0));
    // Together they are more than the database can count.
    let much = RepositoryFacts { bytes: u64::MAX, ..RepositoryFacts::default() };
    repositories::set_facts(&mut tx, None, &much).await.unwrap();
    assert_eq!(repositories::totals(&mut tx).await.unwrap(), (i64::MAX as u64 + 7, 0));
    // Who repairs is said apart from the rest, and by one alone.
    let (first, second) = (Some(t.later()), Some(t.later()));
    assert!(repositories::set_repairing(&mut tx, Some(node), None, first).await.unwrap());
    assert!(!repositories::set_repairing(&mut tx, Some(node), None, second).await.unwrap());
    repositories::set_facts(&mut tx, Some(node), &facts).await.unwrap();
    let repairing =
        async |tx: &mut _| repositories::get(tx, Some(node)).await.unwrap().unwrap().facts.repairing_until;
    assert_eq!(repairing(&mut tx).await, first);
    assert!(repositories::set_repairing(&mut tx, Some(node), first, second).await.unwrap());
    assert!(repositories::set_repairing(&mut tx, Some(node), second, None).await.unwrap());
    assert_eq!(repairing(&mut tx).await, None);
    assert!(repositories::set_facts(&mut tx, Some(t.mint()), &facts).await.is_err());
    let at = t.later();
    repositories::tried(&mut tx, None, at).await.unwrap();
    let history = BackupHistory { last_tried_at: Some(at), ..BackupHistory::default() };
    assert_eq!(repositories::histories(&mut tx).await.unwrap()[&None], history);
    assert_eq!(repositories::history(&mut tx, Some(node)).await.unwrap(), BackupHistory::default());
    tx.commit().await.unwrap();
}

async fn snapshots_are_counted_by_stack(t: Fixture) {
    let (one, two): (NodeId, NodeId) = (t.mint(), t.mint());
    let mut tx = t.begin().await;
    let all =
        [(one, "a", Some("web")), (one, "b", Some("web")), (one, "c", Some("db")), (two, "d", Some("web"))];
    for (node, name, stack) in all.into_iter().chain([(one, "e", None)]) {
        let made = snapshot(&t, name, stack);
        snapshots::insert(&mut tx, Some(node), &made, None, t.later()).await.unwrap();
        if name == "a" || name == "c" {
            snapshots::verified(&mut tx, Some(node), made.id, t.later()).await.unwrap();
        }
        if name == "c" {
            snapshots::damaged(&mut tx, Some(node), made.id, t.later()).await.unwrap();
        }
    }
    let undone = async |tx: &mut _, copied| {
        let all = snapshots::undone(tx, Some(one), copied).await.unwrap();
        all.into_iter().map(|kept| kept.snapshot.at).collect::<Vec<_>>().len()
    };
    assert_eq!((undone(&mut tx, false).await, undone(&mut tx, true).await), (2, 3), "b and e; a has no copy");
    let counts = snapshots::counts(&mut tx, &[one]).await.unwrap();
    let wanted = [((one, stack("web")), (2, 1)), ((one, stack("db")), (1, 0))];
    assert_eq!(counts, wanted.into());
    assert!(snapshots::counts(&mut tx, &[]).await.unwrap().is_empty());
}

async fn snapshots_are_proven_ever_further_and_only_damage_takes_that_back(t: Fixture) {
    let (one, two): (NodeId, NodeId) = (t.mint(), t.mint());
    let mut tx = t.begin().await;
    let (old, new) = (snapshot(&t, "old", Some("web")), snapshot(&t, "new", Some("web")));
    for snapshot in [&old, &new] {
        assert!(snapshots::insert(&mut tx, Some(one), snapshot, None, t.later()).await.unwrap());
        assert!(!snapshots::insert(&mut tx, Some(one), snapshot, None, t.later()).await.unwrap());
    }
    // The same id in another node's repository is another snapshot: who tells of it takes nothing from the first.
    assert!(snapshots::insert(&mut tx, Some(two), &old, None, t.later()).await.unwrap());
    let web = stack("web");
    let proven = async |tx: &mut backstay_store::Tx, at| {
        let found = snapshots::proven_at(tx, Some(one), Some(&web), at).await.unwrap();
        found.map(|kept| kept.snapshot.id)
    };
    assert_eq!(proven(&mut tx, Timestamp::MAX).await, None, "matched is not proven");
    for id in [old.id, new.id] {
        snapshots::verified(&mut tx, Some(one), id, t.later()).await.unwrap();
    }
    snapshots::replicated(&mut tx, Some(one), old.id, new.id).await.unwrap();
    snapshots::verified(&mut tx, Some(one), old.id, t.later()).await.unwrap();
    let kept = snapshots::get(&mut tx, Some(one), old.id).await.unwrap().unwrap();
    assert_eq!((kept.snapshot.proof, kept.copy), (Proof::Replicated, Some(new.id)), "it stays replicated");
    assert_eq!(proven(&mut tx, Timestamp::MAX).await, Some(new.id));
    assert_eq!(proven(&mut tx, old.at).await, Some(old.id));
    assert_eq!(snapshots::newest_proven(&mut tx).await.unwrap(), [(Some(one), new.at)]);
    snapshots::damaged(&mut tx, Some(one), new.id, t.later()).await.unwrap();
    assert_eq!(proven(&mut tx, Timestamp::MAX).await, Some(old.id));
    assert_eq!(snapshots::lost(&mut tx).await.unwrap(), [(Some(one), 1, new.at)]);
    assert_eq!(snapshots::forget_copies(&mut tx, Some(one)).await.unwrap(), 1);
    let kept = snapshots::get(&mut tx, Some(one), old.id).await.unwrap().unwrap();
    assert_eq!((kept.snapshot.proof, kept.copy), (Proof::Verified, None), "it is to be copied again");
    let other = snapshots::get(&mut tx, Some(two), old.id).await.unwrap().unwrap();
    assert_eq!(other.snapshot.proof, Proof::Matched);
    assert!(snapshots::verified(&mut tx, Some(t.mint()), old.id, t.later()).await.is_err());
    tx.commit().await.unwrap();
}

async fn what_was_drilled_is_known_until_it_is_found_to_be_damaged(t: Fixture) {
    let node: NodeId = t.mint();
    let mut tx = t.begin().await;
    let (one, two) = (snapshot(&t, "one", Some("web")), snapshot(&t, "two", Some("web")));
    for snapshot in [&one, &two] {
        snapshots::insert(&mut tx, Some(node), snapshot, None, t.later()).await.unwrap();
    }
    let proof = async |tx: &mut backstay_store::Tx, id| {
        let kept = snapshots::get(tx, Some(node), id).await.unwrap().unwrap();
        (kept.snapshot.proof, kept.drilled_at.is_some())
    };
    let at = t.later();
    assert!(!snapshots::drilled(&mut tx, Some(node), one.id, at, false).await.unwrap(), "not read back yet");
    assert_eq!(proof(&mut tx, one.id).await, (Proof::Matched, false));
    assert!(snapshots::newest_of_stacks(&mut tx).await.unwrap().is_empty());
    for id in [one.id, two.id] {
        snapshots::verified(&mut tx, Some(node), id, t.later()).await.unwrap();
    }
    let known = snapshots::newest_of_stacks(&mut tx).await.unwrap();
    assert_eq!(
        known.iter().map(|(node, stack, _)| (*node, stack.clone())).collect::<Vec<_>>(),
        [(node, stack("web"))]
    );
    assert!(snapshots::drilled(&mut tx, Some(node), one.id, at, false).await.unwrap());
    assert_eq!(proof(&mut tx, one.id).await, (Proof::Drilled, true));
    // Where there has to be a copy, a drill shows that only together with it.
    assert!(snapshots::drilled(&mut tx, Some(node), two.id, at, true).await.unwrap());
    assert_eq!(proof(&mut tx, two.id).await, (Proof::Verified, true));
    snapshots::replicated(&mut tx, Some(node), two.id, one.id).await.unwrap();
    assert_eq!(proof(&mut tx, two.id).await, (Proof::Drilled, true));
    snapshots::damaged(&mut tx, Some(node), one.id, t.later()).await.unwrap();
    assert_eq!(proof(&mut tx, one.id).await, (Proof::Matched, false));
    snapshots::verified(&mut tx, Some(node), one.id, t.later()).await.unwrap();
    assert_eq!(proof(&mut tx, one.id).await, (Proof::Verified, false), "it has to be drilled again");

    let history = DrillHistory { failed_in_a_row: 2, tried_at: Some(at), ..DrillHistory::default() };
    let web = stack("web");
    assert_eq!(drills::history(&mut tx, node, &web).await.unwrap(), DrillHistory::default());
    for _ in 0..2 {
        drills::set_history(&mut tx, node, &web, &history).await.unwrap();
    }
    assert_eq!(drills::history(&mut tx, node, &web).await.unwrap(), history);
    assert_eq!(drills::all(&mut tx).await.unwrap(), [(node, web, history)]);
    tx.commit().await.unwrap();
}

async fn snapshots_are_listed_in_pages_found_by_digits_held_and_forgotten(t: Fixture) {
    let node: NodeId = t.mint();
    let mut tx = t.begin().await;
    let all: Vec<_> = (0..5).map(|n| snapshot(&t, &n.to_string(), Some("web"))).collect();
    for one in &all {
        snapshots::insert(&mut tx, Some(node), one, Some(t.mint()), t.later()).await.unwrap();
    }
    let own = snapshot(&t, "hub", None);
    snapshots::insert(&mut tx, None, &own, None, t.later()).await.unwrap();
    let wanted = snapshots::Wanted { whose: Some(Some(node)), limit: 2, ..Default::default() };
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = snapshots::list(&mut tx, &snapshots::Wanted { after, ..wanted.clone() }).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.kept.snapshot.at, last.kept.snapshot.id));
        seen.extend(page.iter().map(|one| one.kept.snapshot.id));
    }
    assert_eq!(seen, all.iter().rev().map(|one| one.id).collect::<Vec<_>>());
    let hub = snapshots::Wanted { whose: Some(None), limit: 10, ..Default::default() };
    assert_eq!(snapshots::list(&mut tx, &hub).await.unwrap().len(), 1);
    let proven = snapshots::Wanted { proof: Some(Proof::Verified), limit: 10, ..Default::default() };
    assert!(snapshots::list(&mut tx, &proven).await.unwrap().is_empty());
    let digits = &all[2].id.to_string()[..10];
    let found = snapshots::find(&mut tx, digits).await.unwrap();
    assert_eq!(found.iter().map(|one| one.kept.snapshot.id).collect::<Vec<_>>(), [all[2].id]);
    let hold = SnapshotHold { reason: "the last".into(), by: "ann".into(), until: None };
    snapshots::set_hold(&mut tx, Some(node), all[2].id, Some(&hold)).await.unwrap();
    assert_eq!(snapshots::get(&mut tx, Some(node), all[2].id).await.unwrap().unwrap().hold, Some(hold));
    assert_eq!(snapshots::forget(&mut tx, Some(node), &[all[0].id, own.id]).await.unwrap(), 1);
    assert_eq!(snapshots::of(&mut tx, Some(node)).await.unwrap().len(), 4);
    assert_eq!(snapshots::of(&mut tx, None).await.unwrap().len(), 1, "another repository's stays");
    tx.commit().await.unwrap();
}

async fn jobs_move_from_the_state_that_they_are_in_and_are_counted(t: Fixture) {
    let node: NodeId = t.mint();
    let mut tx = t.begin().await;
    let (mut first, own) = (job(&t, Some(node)), job(&t, None));
    assert!(jobs::insert(&mut tx, &first).await.unwrap() && !jobs::insert(&mut tx, &first).await.unwrap());
    jobs::insert(&mut tx, &own).await.unwrap();
    assert_eq!(
        jobs::waiting_nodes(&mut tx).await.unwrap(),
        [(node, BackupJobState::Queued)],
        "the hub does its own"
    );
    first.state = BackupJobState::Running;
    jobs::update(&mut tx, BackupJobState::Queued, &first).await.unwrap();
    assert!(jobs::update(&mut tx, BackupJobState::Queued, &first).await.is_err(), "it is no longer queued");
    let since = t.world.now();
    for (state, count) in [(BackupJobState::Done, 3), (BackupJobState::Failed, 1)] {
        for _ in 0..count {
            let ended = BackupJob { state, ended_at: Some(t.later()), ..job(&t, Some(node)) };
            jobs::insert(&mut tx, &ended).await.unwrap();
        }
    }
    assert_eq!(jobs::rates(&mut tx, BackupTaskKind::Save, since).await.unwrap()[&Some(node)], (3, 1));
    assert!(jobs::rates(&mut tx, BackupTaskKind::Drill, since).await.unwrap().is_empty());
    assert_eq!(jobs::open(&mut tx).await.unwrap().len(), 2);
    assert_eq!(jobs::open_of(&mut tx, Some(node)).await.unwrap(), [first.clone()]);
    let wanted = jobs::Wanted { whose: Some(Some(node)), limit: 10, ..Default::default() };
    assert_eq!(jobs::list(&mut tx, &wanted).await.unwrap().len(), 5);
    jobs::set_files(&mut tx, first.id, &[]).await.unwrap();
    assert_eq!(jobs::files(&mut tx, first.id).await.unwrap(), Some(Vec::new()));
    jobs::sweep(&mut tx, t.later(), t.later()).await.unwrap();
    assert_eq!(jobs::open(&mut tx).await.unwrap().len(), 2, "what has not ended stays");
    assert_eq!(jobs::list(&mut tx, &wanted).await.unwrap().len(), 1);
    tx.commit().await.unwrap();
}

both!(
    passwords_are_kept_once_and_facts_change,
    snapshots_are_counted_by_stack,
    snapshots_are_proven_ever_further_and_only_damage_takes_that_back,
    what_was_drilled_is_known_until_it_is_found_to_be_damaged,
    snapshots_are_listed_in_pages_found_by_digits_held_and_forgotten,
    jobs_move_from_the_state_that_they_are_in_and_are_counted,
);

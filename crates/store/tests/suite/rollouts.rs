//! Rollouts.

use backstay_store::{StoreError, rollouts};
use backstay_types::*;

use crate::fixture::{Fixture, both, commit, stack};

async fn moves_only_from_the_state_that_was_seen(t: Fixture) {
    let repository = t.mint();
    let cause = Cause::Change { repository, commit: commit("a") };
    let rollout = t.rollout(&t.release(repository, "web", "1"), cause);
    let mut tx = t.begin().await;
    rollouts::insert(&mut tx, &rollout).await.unwrap();
    assert_eq!(rollouts::get(&mut tx, rollout.id).await.unwrap().as_ref(), Some(&rollout));
    assert_eq!(rollouts::running(&mut tx).await.unwrap(), [rollout.clone()]);
    let at = t.later();
    let (running, halted) = (RolloutState::Running, RolloutState::Halted);
    rollouts::transition(&mut tx, rollout.id, running, halted, "a node failed", at).await.unwrap();
    let stale = rollouts::transition(&mut tx, rollout.id, running, RolloutState::Succeeded, "", at).await;
    assert!(matches!(stale, Err(StoreError::Stale { what: "rollout", .. })));
    let after = rollouts::get(&mut tx, rollout.id).await.unwrap().unwrap();
    assert_eq!((after.state, after.reason.as_str(), after.finished_at), (halted, "a node failed", Some(at)));
    assert!(rollouts::running(&mut tx).await.unwrap().is_empty());
    rollouts::transition(&mut tx, rollout.id, halted, running, "resumed", at).await.unwrap();
    assert_eq!(rollouts::get(&mut tx, rollout.id).await.unwrap().unwrap().finished_at, None);
}

async fn an_id_is_taken_once(t: Fixture) {
    let rollout = t.rollout(&t.release(t.mint(), "web", "1"), Cause::Undo { undo: t.mint() });
    let mut tx = t.begin().await;
    rollouts::insert(&mut tx, &rollout).await.unwrap();
    assert!(matches!(rollouts::insert(&mut tx, &rollout).await, Err(StoreError::Conflict { .. })));
}

async fn found_by_stack_cause_and_time(t: Fixture) {
    let (repository, undo) = (t.mint(), t.mint());
    let change = Cause::Change { repository, commit: commit("a") };
    let web = |tree, cause: &Cause| t.rollout(&t.release(repository, "web", tree), cause.clone());
    let undone = Cause::Undo { undo };
    let all = [
        web("1", &change),
        Rollout { max_updating: None, ..web("2", &change) },
        Rollout { kind: RolloutKind::Rollback, ..web("3", &undone) },
        t.rollout(&t.release(repository, "api", "4"), change.clone()),
    ];
    let mut tx = t.begin().await;
    let mut ended = Vec::new();
    for rollout in &all {
        rollouts::insert(&mut tx, rollout).await.unwrap();
    }
    for (rollout, to) in
        all.iter().zip([RolloutState::Succeeded, RolloutState::Halted, RolloutState::Succeeded])
    {
        ended.push(t.later());
        rollouts::transition(&mut tx, rollout.id, RolloutState::Running, to, "", ended[ended.len() - 1])
            .await
            .unwrap();
    }
    let ids = |found: Vec<Rollout>| found.into_iter().map(|r| r.id).collect::<Vec<_>>();
    let id = |i: usize| all[i].id;
    assert_eq!(ids(rollouts::list(&mut tx, None, None, 9).await.unwrap()), [id(3), id(2), id(1), id(0)]);
    let page = rollouts::list(&mut tx, Some(&stack("web")), Some(id(2)), 1).await.unwrap();
    assert_eq!(ids(page), [id(1)]);
    let succeeded = Some(RolloutState::Succeeded);
    assert_eq!(ids(rollouts::list_in(&mut tx, None, succeeded, None, 9).await.unwrap()), [id(2), id(0)]);
    let running = rollouts::list_in(&mut tx, Some(&stack("web")), Some(RolloutState::Running), None, 9).await;
    assert_eq!(ids(running.unwrap()), []);
    assert_eq!(ids(rollouts::newest_of_each_stack(&mut tx).await.unwrap()), [id(3), id(2)]);
    assert_eq!(ids(rollouts::of_undo(&mut tx, undo).await.unwrap()), [id(2)]);
    let of_commit = rollouts::of_commit(&mut tx, repository, &commit("a")).await.unwrap();
    assert_eq!(ids(of_commit), [id(0), id(1), id(3)]);
    assert_eq!(rollouts::many(&mut tx, &[id(0), id(2)]).await.unwrap().len(), 2);
    let mut completed =
        async |at: Timestamp| rollouts::completed_at(&mut tx, &stack("web"), at).await.unwrap().map(|r| r.id);
    assert_eq!(completed(Timestamp::UNIX_EPOCH).await, None);
    assert_eq!(completed(ended[0]).await, Some(id(0)));
    assert_eq!(completed(ended[1]).await, Some(id(0)), "a halted one does not count");
    assert_eq!(completed(ended[2]).await, Some(id(2)));
}

async fn of_a_branch_is_not_of_the_fleet(t: Fixture) {
    let repository = t.mint();
    let cause = Cause::Change { repository, commit: commit("a") };
    let release = t.release(repository, "web", "1");
    let own = |branch: Option<&str>| Rollout {
        branch: branch.map(str::to_owned),
        state: RolloutState::Succeeded,
        finished_at: Some(t.later()),
        ..t.rollout(&release, cause.clone())
    };
    let all = [own(None), own(Some("try/it")), own(Some("other")), own(Some("try/it"))];
    let mut tx = t.begin().await;
    for rollout in &all {
        rollouts::insert(&mut tx, rollout).await.unwrap();
        assert_eq!(rollouts::get(&mut tx, rollout.id).await.unwrap().as_ref(), Some(rollout));
    }
    let (web, end) = (stack("web"), Timestamp::MAX);
    let first = Some(&all[0]);
    assert_eq!(rollouts::newest_of_fleet(&mut tx, &web).await.unwrap().as_ref(), first);
    assert_eq!(rollouts::completed_at(&mut tx, &web, end).await.unwrap().as_ref(), first);
    assert_eq!(rollouts::completed_of(&mut tx, &web, None, end).await.unwrap().as_ref(), first);
    assert_eq!(rollouts::succeeded_in(&mut tx, &web, None, end, 9).await.unwrap(), all[..1]);
    assert_eq!(rollouts::of_release(&mut tx, release.id, None).await.unwrap(), all[..1]);
    assert_eq!(
        rollouts::before(&mut tx, &all[3]).await.unwrap().as_ref(),
        Some(&all[1]),
        "of its own branch"
    );
    assert_eq!(rollouts::before(&mut tx, &all[2]).await.unwrap(), None);
    let newest: Vec<_> =
        rollouts::newest_of_each_stack(&mut tx).await.unwrap().iter().map(|r| r.id).collect();
    assert_eq!(newest, [all[0].id, all[2].id, all[3].id]);
}

both!(
    moves_only_from_the_state_that_was_seen,
    an_id_is_taken_once,
    found_by_stack_cause_and_time,
    of_a_branch_is_not_of_the_fleet
);

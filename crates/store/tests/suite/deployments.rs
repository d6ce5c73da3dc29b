//! Deployments, their steps and containers.

use std::collections::BTreeMap;

use backstay_store::{
    StoreError, changes,
    deployments::{self, Filter},
    releases, rollouts,
};
use backstay_types::*;

use crate::fixture::{Fixture, both, commit, container, digest, known, stack};

fn rollout(t: &Fixture, name: &str) -> Rollout {
    t.rollout(&t.release(t.mint(), name, "1"), Cause::Undo { undo: t.mint() })
}

fn failed() -> DeploymentState {
    DeploymentState::RolledBack {
        step: Step::Probe,
        failure: FailureKind::Unhealthy,
        reason: "502 from /startupz".into(),
    }
}

async fn from_pending_to_its_end(t: Fixture) {
    let data = DeploymentData {
        asked_by: backstay_types::DataFor::Undo { undo: t.mint() },
        snapshot: backstay_types::backup::SnapshotId::new(digest("snapshot")),
    };
    let deployment = Deployment { data: Some(data), ..t.deployment(t.mint(), &rollout(&t, "web")) };
    let id = deployment.id;
    let mut tx = t.begin().await;
    deployments::insert(&mut tx, std::slice::from_ref(&deployment)).await.unwrap();
    assert_eq!(deployments::get(&mut tx, id).await.unwrap().as_ref(), Some(&deployment));
    let started = t.later();
    deployments::start(&mut tx, id, Some(digest("before")), started).await.unwrap();
    assert!(deployments::start(&mut tx, id, None, started).await.is_err(), "it has begun already");
    deployments::advance(&mut tx, id, Step::Probe).await.unwrap();
    let running = deployments::get(&mut tx, id).await.unwrap().unwrap();
    assert_eq!(running.state, DeploymentState::Running { step: Step::Probe });
    assert_eq!((running.started_at, running.previous), (Some(started), Some(digest("before"))));
    assert_eq!(deployments::open(&mut tx).await.unwrap(), [running]);
    let containers = [container("web", "c0ffee00"), container("db", "c0ffee01")];
    let ended = t.later();
    deployments::finish(&mut tx, id, &failed(), ended, &containers).await.unwrap();
    let after = deployments::get(&mut tx, id).await.unwrap().unwrap();
    assert_eq!((after.state, after.finished_at), (failed(), Some(ended)));
    assert_eq!(after.containers, containers);
    assert!(deployments::open(&mut tx).await.unwrap().is_empty());
}

async fn a_final_state_never_changes(t: Fixture) {
    let mut tx = t.begin().await;
    let finals = [
        DeploymentState::Succeeded,
        failed(),
        DeploymentState::Superseded,
        DeploymentState::Failed { step: Step::Fetch, failure: FailureKind::DiskFull, reason: String::new() },
        DeploymentState::Broken { step: Step::Return, failure: FailureKind::Start, reason: String::new() },
    ];
    for state in &finals {
        let deployment = t.deployment(t.mint(), &rollout(&t, "web"));
        let id = deployment.id;
        deployments::insert(&mut tx, &[deployment]).await.unwrap();
        let pending = DeploymentState::Pending;
        assert!(deployments::finish(&mut tx, id, &pending, t.later(), &[]).await.is_err(), "not an end");
        deployments::finish(&mut tx, id, state, t.later(), &[]).await.unwrap();
        let before = deployments::get(&mut tx, id).await.unwrap();
        for other in &finals {
            let again = deployments::finish(&mut tx, id, other, t.later(), &[container("a", "b")]).await;
            assert!(matches!(again, Err(StoreError::Stale { what: "deployment", .. })));
        }
        assert!(deployments::advance(&mut tx, id, Step::Bake).await.is_err());
        assert!(deployments::start(&mut tx, id, None, t.later()).await.is_err());
        assert_eq!(deployments::get(&mut tx, id).await.unwrap(), before);
        assert!(deployments::containers_of(&mut tx, &[id]).await.unwrap().is_empty());
    }
}

async fn steps_in_order_with_a_digest(t: Fixture) {
    let deployment = t.deployment(t.mint(), &rollout(&t, "web"));
    let id = deployment.id;
    let mut tx = t.begin().await;
    deployments::insert(&mut tx, &[deployment]).await.unwrap();
    let steps: Vec<_> = [Step::Fetch, Step::Verify, Step::Fetch]
        .into_iter()
        .map(|step| StepRecord {
            step,
            started_at: t.later(),
            millis: 12,
            outcome: StepOutcome::Done,
            detail: format!("{step:?} done"),
        })
        .collect();
    let empty = deployments::steps_digest(&mut tx, id).await.unwrap();
    for step in &steps {
        deployments::add_step(&mut tx, id, step).await.unwrap();
    }
    assert_eq!(deployments::steps(&mut tx, id).await.unwrap(), steps);
    assert_ne!(deployments::steps_digest(&mut tx, id).await.unwrap(), empty);
    assert!(deployments::steps(&mut tx, t.mint()).await.unwrap().is_empty());
}

async fn containers_are_found_by_their_first_digits(t: Fixture) {
    let node = t.mint();
    let rollout = rollout(&t, "web");
    let (first, second) = (t.deployment(node, &rollout), t.deployment(node, &rollout));
    let mut tx = t.begin().await;
    deployments::insert(&mut tx, &[first.clone(), second.clone()]).await.unwrap();
    let kept = container("db", "abc111");
    let finish = [kept.clone(), container("web", "abc222"), kept.clone()];
    deployments::finish(&mut tx, first.id, &DeploymentState::Succeeded, t.later(), &finish).await.unwrap();
    let finish = [kept, container("web", "def333")];
    deployments::finish(&mut tx, second.id, &DeploymentState::Succeeded, t.later(), &finish).await.unwrap();
    let mut found = async |prefix: &str| {
        let found = deployments::find_container(&mut tx, prefix, 9).await.unwrap();
        found.into_iter().map(|c| (c.id, c.deployment, c.service)).collect::<Vec<_>>()
    };
    let (abc1, abc2) = ("abc111".to_owned(), "abc222".to_owned());
    let expected = [
        (abc1.clone(), second.id, "db".to_owned()),
        (abc1, first.id, "db".to_owned()),
        (abc2, first.id, "web".to_owned()),
    ];
    assert_eq!(found("abc").await, expected);
    assert_eq!(found("def333").await.len(), 1);
    assert!(found("abd").await.is_empty());
    let of = deployments::containers_of(&mut tx, &[first.id]).await.unwrap();
    assert_eq!(of.len(), 2);
    assert!(of.iter().all(|c| c.node == node));
}

async fn the_latest_of_each_node_and_stack(t: Fixture) {
    let (a, b) = (t.mint(), t.mint());
    let (web, api) = (rollout(&t, "web"), rollout(&t, "api"));
    let old = t.deployment(a, &web);
    let all = [t.deployment(a, &web), t.deployment(b, &web), t.deployment(a, &api)];
    let mut tx = t.begin().await;
    deployments::insert(&mut tx, &all).await.unwrap();
    // Written later, but made earlier.
    deployments::insert(&mut tx, &[old]).await.unwrap();
    let latest = deployments::latest(&mut tx, a, &stack("web")).await.unwrap();
    assert_eq!(latest.as_ref(), Some(&all[0]));
    let of_node = deployments::latest_of_node(&mut tx, a).await.unwrap();
    assert_eq!(of_node, [all[2].clone(), all[0].clone()]);
    assert_eq!(deployments::latest_of_all(&mut tx, None).await.unwrap().len(), 3);
    assert_eq!(deployments::latest_of_all(&mut tx, Some(&stack("web"))).await.unwrap().len(), 2);
    assert_eq!(deployments::latest(&mut tx, b, &stack("api")).await.unwrap(), None);
    // The newest of several in one write counts.
    let two = [t.deployment(b, &api), t.deployment(b, &api)];
    deployments::insert(&mut tx, &two).await.unwrap();
    let latest = deployments::latest(&mut tx, b, &stack("api")).await.unwrap();
    assert_eq!(latest.as_ref(), Some(&two[1]));
    let again = deployments::insert(&mut tx, &two).await;
    assert!(matches!(again, Err(StoreError::Conflict { .. })));
}

async fn what_ran_at_a_time(t: Fixture) {
    let (a, b) = (t.mint(), t.mint());
    let web = rollout(&t, "web");
    let mut tx = t.begin().await;
    let mut ends = Vec::new();
    for (node, state) in [
        (a, DeploymentState::Succeeded),
        (b, DeploymentState::Succeeded),
        (a, failed()),
        (a, DeploymentState::Succeeded),
    ] {
        let deployment = t.deployment(node, &web);
        deployments::insert(&mut tx, std::slice::from_ref(&deployment)).await.unwrap();
        let at = t.later();
        deployments::finish(&mut tx, deployment.id, &state, at, &[]).await.unwrap();
        ends.push((deployment.id, at));
    }
    let good = deployments::previous_good(&mut tx, a, &stack("web"), ends[3].1).await.unwrap();
    assert_eq!(good.unwrap().id, ends[0].0, "the failed one in between does not count");
    let none = deployments::previous_good(&mut tx, a, &stack("web"), ends[0].1).await.unwrap();
    assert_eq!(none, None);
    let mut ran = async |at| {
        let ran = deployments::ran_at(&mut tx, at).await.unwrap();
        ran.into_iter().map(|d| (d.node, d.id)).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(ran(Timestamp::UNIX_EPOCH).await, BTreeMap::new());
    assert_eq!(ran(ends[0].1).await, BTreeMap::from([(a, ends[0].0)]));
    assert_eq!(ran(ends[2].1).await, BTreeMap::from([(a, ends[0].0), (b, ends[1].0)]));
    assert_eq!(ran(ends[3].1).await, BTreeMap::from([(a, ends[3].0), (b, ends[1].0)]));
    let run_by = async |tx: &mut _, nodes: &[NodeId]| {
        let runs = deployments::run_by(tx, nodes).await.unwrap();
        runs.into_iter().map(|d| (d.node, d.id)).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(run_by(&mut tx, &[a, t.mint()]).await, BTreeMap::from([(a, ends[3].0)]));
    let all = BTreeMap::from([(a, ends[3].0), (b, ends[1].0)]);
    assert_eq!(run_by(&mut tx, &[a, b]).await, all);
    // What was taken away runs no more.
    let gone = Rollout {
        kind: RolloutKind::Removal,
        ..t.rollout(&t.release(t.mint(), "web", "1"), Cause::Decommission)
    };
    rollouts::insert(&mut tx, &gone).await.unwrap();
    assert_eq!(rollouts::get(&mut tx, gone.id).await.unwrap().unwrap().cause, Cause::Decommission);
    let deployment = t.deployment(b, &gone);
    deployments::insert(&mut tx, std::slice::from_ref(&deployment)).await.unwrap();
    assert_eq!(run_by(&mut tx, &[a, b]).await, all, "it is still under way");
    deployments::finish(&mut tx, deployment.id, &DeploymentState::Succeeded, t.later(), &[]).await.unwrap();
    assert_eq!(run_by(&mut tx, &[a, b]).await, BTreeMap::from([(a, ends[3].0)]));
}

async fn filters_pages_and_counts(t: Fixture) {
    let repository = t.mint();
    let release = t.release(repository, "web", "1");
    let (node, conversation) = (t.mint(), t.mint());
    let mut tx = t.begin().await;
    let release = releases::ensure(&mut tx, &release).await.unwrap().0;
    let mut change = t.change(repository, "a");
    change.links = vec![Link { conversation, source: LinkSource::Trailer }];
    changes::insert(&mut tx, &known(change)).await.unwrap();
    let mut guessed = t.change(repository, "b");
    let guess = t.mint();
    guessed.links = vec![Link { conversation: guess, source: LinkSource::Guess }];
    changes::insert(&mut tx, &known(guessed)).await.unwrap();
    releases::add_commit(&mut tx, release.id, repository, &commit("b")).await.unwrap();
    let ours = t.rollout(&release, Cause::Change { repository, commit: commit("a") });
    let theirs = rollout(&t, "api");
    let all = [t.deployment(node, &ours), t.deployment(t.mint(), &ours), t.deployment(node, &theirs)];
    deployments::insert(&mut tx, &all).await.unwrap();
    deployments::finish(&mut tx, all[1].id, &DeploymentState::Succeeded, t.later(), &[]).await.unwrap();
    let id = |i: usize| all[i].id;
    let mut listed = async |filter: Filter, before, limit| {
        let found = deployments::list(&mut tx, &filter, before, limit).await.unwrap();
        found.into_iter().map(|d| d.id).collect::<Vec<_>>()
    };
    assert_eq!(listed(Filter::default(), None, 2).await, [id(2), id(1)]);
    assert_eq!(listed(Filter::default(), Some(id(1)), 2).await, [id(0)]);
    let of = Filter { node: Some(node), stack: Some(stack("web")), ..Filter::default() };
    assert_eq!(listed(of, None, 9).await, [id(0)]);
    assert_eq!(listed(Filter { rollout: Some(ours.id), ..Filter::default() }, None, 9).await, [id(1), id(0)]);
    assert_eq!(listed(Filter { release: Some(release.id), ..Filter::default() }, None, 9).await.len(), 2);
    let of = Filter { conversation: Some(conversation), ..Filter::default() };
    assert_eq!(listed(of, None, 9).await, [id(1), id(0)]);
    let of = Filter { conversation: Some(guess), ..Filter::default() };
    assert!(listed(of, None, 9).await.is_empty(), "a guess leads nowhere");
    assert_eq!(deployments::of_rollout(&mut tx, ours.id).await.unwrap().len(), 2);
    assert_eq!(deployments::many(&mut tx, &[id(0), id(2), t.mint()]).await.unwrap().len(), 2);
    let counts = deployments::count_by_state(&mut tx, ours.id).await.unwrap();
    assert_eq!(counts, BTreeMap::from([("pending".to_owned(), 1), ("succeeded".to_owned(), 1)]));
}

async fn what_failed_in_other_stacks_is_found_newest_first(t: Fixture) {
    let (web, db) = (rollout(&t, "web"), rollout(&t, "db"));
    let mut tx = t.begin().await;
    let mut planned = Vec::new();
    // An old failure, one of the stack itself, one that is open, and two that count.
    for (rollout, ends) in [(&db, true), (&web, true), (&db, false), (&db, true), (&db, true)] {
        let deployment = t.deployment(t.mint(), rollout);
        deployments::insert(&mut tx, std::slice::from_ref(&deployment)).await.unwrap();
        if ends {
            deployments::finish(&mut tx, deployment.id, &failed(), t.later(), &[]).await.unwrap();
        }
        planned.push(deployment);
        t.later();
    }
    let since = planned[1].created_at;
    let found = deployments::failed_of_others(&mut tx, &stack("web"), since, 10).await.unwrap();
    let ids: Vec<_> = found.iter().map(|one| one.id).collect();
    assert_eq!(ids, [planned[4].id, planned[3].id]);
    assert_eq!(found[0].state, failed());
    let newest = deployments::failed_of_others(&mut tx, &stack("web"), since, 1).await.unwrap();
    assert_eq!(newest.iter().map(|one| one.id).collect::<Vec<_>>(), [planned[4].id]);
}

both!(
    what_failed_in_other_stacks_is_found_newest_first,
    from_pending_to_its_end,
    a_final_state_never_changes,
    steps_in_order_with_a_digest,
    containers_are_found_by_their_first_digits,
    the_latest_of_each_node_and_stack,
    what_ran_at_a_time,
    filters_pages_and_counts,
);

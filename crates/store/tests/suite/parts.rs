//! Releases, rollouts and newest attempts of parts.

use std::collections::BTreeMap;

use backstay_store::{deployments, releases, rollouts};
use backstay_types::{Cause, PartName, Release, Rollout, RolloutState};

use crate::fixture::{Fixture, both, commit, digest, stack};

fn part(name: &str) -> PartName {
    name.parse().unwrap()
}

async fn a_part_is_found_apart_from_the_whole(t: Fixture) {
    let repository = t.mint();
    let layout = Some(digest("layout"));
    let of = |name: &str, tree: &str| Release {
        part: Some(part(name)),
        layout,
        ..t.release(repository, "web", tree)
    };
    let mut tx = t.begin().await;
    let policy = releases::ensure_part(&mut tx, &of("policy", "same")).await.unwrap();
    let base = releases::ensure_part(&mut tx, &of("base", "same")).await.unwrap();
    assert_ne!(policy.id, base.id, "the same content in two parts");
    let again = releases::ensure_part(&mut tx, &of("policy", "same")).await.unwrap();
    assert_eq!(again.id, policy.id);
    let parts = BTreeMap::from([(part("policy"), policy.id), (part("base"), base.id)]);
    let whole = Release { layout, parts: parts.clone(), ..t.release(repository, "web", "same") };
    let (whole, new) = releases::ensure(&mut tx, &whole).await.unwrap();
    assert!(new && whole.part.is_none());
    releases::add_commit(&mut tx, policy.id, repository, &commit("c")).await.unwrap();
    releases::share_commits(&mut tx, policy.id, whole.id).await.unwrap();
    releases::share_commits(&mut tx, policy.id, whole.id).await.unwrap();

    let cause = || Cause::Change { repository, commit: commit("c") };
    let done = |rollout: Rollout| Rollout {
        state: RolloutState::Succeeded,
        finished_at: Some(t.later()),
        ..rollout
    };
    let first = done(t.rollout(&whole, cause()));
    let second = done(Rollout { part: Some(part("policy")), ..t.rollout(&policy, cause()) });
    for rollout in [&first, &second] {
        rollouts::insert(&mut tx, rollout).await.unwrap();
    }
    let node = t.node("one");
    backstay_store::nodes::insert(&mut tx, &node, digest("one")).await.unwrap();
    let tries: Vec<_> = [&first, &second, &second].map(|r| t.deployment(node.id, r)).into();
    deployments::insert(&mut tx, &tries).await.unwrap();
    let moved = [(&tries[0], None), (&tries[1], second.part.as_ref()), (&tries[2], second.part.as_ref())];
    deployments::note_parts(&mut tx, &moved).await.unwrap();
    deployments::note_parts(&mut tx, &moved[..2]).await.unwrap();
    tx.commit().await.unwrap();

    let mut read = t.store.read();
    let web = stack("web");
    assert_eq!(releases::by_tree(&mut read, &web, digest("same")).await.unwrap().unwrap().id, whole.id);
    assert_eq!(releases::with_tree(&mut read, digest("same")).await.unwrap().len(), 1);
    assert_eq!(releases::of_parts(&mut read, &web, &parts).await.unwrap().unwrap(), whole);
    assert_eq!(releases::of_stack(&mut read, &web, None, 9).await.unwrap().len(), 1);
    let touched = releases::parts_of_commit(&mut read, &web, repository, &commit("c")).await.unwrap();
    assert_eq!(touched, [part("policy")]);
    let carried = releases::commits(&mut read, whole.id).await.unwrap();
    assert!(carried.contains(&(repository, commit("c"))));
    let newest = rollouts::newest_of_part(&mut read, &web, &part("policy")).await.unwrap().unwrap();
    assert_eq!(newest, second);
    let at = t.later();
    let all = rollouts::completed_of(&mut read, &web, None, at).await.unwrap().unwrap();
    assert_eq!(all.id, first.id);
    assert_eq!(rollouts::before(&mut read, &second).await.unwrap(), None, "another share of the stack");
    assert_eq!(rollouts::newest_of_each_stack(&mut read).await.unwrap().len(), 2);
    let latest = deployments::latest_of_parts(&mut read, &web).await.unwrap();
    let of = |name: Option<&PartName>| latest.iter().find(|l| l.part.as_ref() == name).unwrap().deployment.id;
    assert_eq!((of(None), of(Some(&part("policy")))), (tries[0].id, tries[2].id));
}

both!(a_part_is_found_apart_from_the_whole);

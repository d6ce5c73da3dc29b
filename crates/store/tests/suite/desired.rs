//! Desired state.

use std::time::Duration;

use backstay_store::{
    StoreError, Tx,
    desired::{self, Desired, DesiredStack},
    leases::{self, Lease},
    releases,
};
use backstay_types::*;

use crate::fixture::{Fixture, both, digest, stack};

async fn lease(t: &Fixture, tx: &mut Tx, holder: &str) -> Lease {
    leases::acquire(tx, "plan", holder, t.world.now(), Duration::from_secs(5)).await.unwrap().unwrap()
}

fn want(t: &Fixture, node: NodeId, epoch: u64, generation: u64, text: &str) -> Desired {
    Desired {
        node,
        epoch,
        generation,
        digest: digest(text),
        statement: format!("{{\"payload\":\"{text}\"}}"),
        updated_at: t.later(),
    }
}

fn row(t: &Fixture, node: NodeId, name: &str) -> DesiredStack {
    DesiredStack {
        node,
        stack: stack(name),
        release: t.mint(),
        deployment: t.mint(),
        reason: "the branch asks for it".into(),
    }
}

async fn replaced_whole(t: Fixture) {
    let (a, b) = (t.mint(), t.mint());
    let mut tx = t.begin().await;
    let lease = lease(&t, &mut tx, "one").await;
    let first = [want(&t, a, 1, 1, "x"), want(&t, b, 1, 1, "y")];
    let stacks = [row(&t, a, "api"), row(&t, a, "web"), row(&t, b, "web")];
    desired::replace(&mut tx, &lease, &first, &stacks).await.unwrap();
    assert_eq!(desired::get(&mut tx, a).await.unwrap().as_ref(), Some(&first[0]));
    assert_eq!(desired::stacks_of(&mut tx, a).await.unwrap(), stacks[..2]);
    let second = [want(&t, a, 1, 2, "z")];
    let only = [row(&t, a, "web")];
    desired::replace(&mut tx, &lease, &second, &only).await.unwrap();
    assert_eq!(desired::stacks_of(&mut tx, a).await.unwrap(), only);
    assert_eq!(desired::stacks_of(&mut tx, b).await.unwrap(), stacks[2..]);
    assert_eq!(desired::all_stacks(&mut tx).await.unwrap().len(), 2);
    assert_eq!(desired::many(&mut tx, &[a, b, t.mint()]).await.unwrap().len(), 2);
    assert_eq!(desired::list(&mut tx, None, 1).await.unwrap(), second);
    assert_eq!(desired::list(&mut tx, Some(a), 9).await.unwrap(), first[1..]);
    let versions = desired::versions(&mut tx).await.unwrap();
    let of_a = versions.iter().find(|v| v.node == a).unwrap();
    assert_eq!((of_a.epoch, of_a.generation, of_a.digest), (1, 2, digest("z")));
    desired::replace(&mut tx, &lease, &[], &[]).await.unwrap();
    let mut reworded = desired::stacks_of(&mut tx, only[0].node).await.unwrap();
    reworded[0].reason = "in other words".to_owned();
    desired::reword(&mut tx, &lease, &reworded).await.unwrap();
    assert_eq!(desired::stacks_of(&mut tx, only[0].node).await.unwrap(), reworded);
}

async fn a_statement_is_handed_over_when_it_is_another_or_was_renewed(t: Fixture) {
    let (node, other) = (t.mint(), t.mint());
    let mut tx = t.begin().await;
    let lease = lease(&t, &mut tx, "one").await;
    assert_eq!(desired::newer(&mut tx, node, None).await.unwrap(), None);
    let want = want(&t, node, 2, 5, "a");
    desired::replace(&mut tx, &lease, std::slice::from_ref(&want), &[]).await.unwrap();
    let statement = Some(want.statement.clone());
    let has = desired::versions(&mut tx).await.unwrap()[0];
    let earlier = has.updated_at.checked_sub(Duration::from_millis(1)).unwrap();
    assert_eq!(desired::newer(&mut tx, other, Some(&has)).await.unwrap(), None);
    assert_eq!(desired::newer(&mut tx, node, Some(&has)).await.unwrap(), None);
    assert_eq!(desired::newer(&mut tx, node, None).await.unwrap(), statement);
    for known in [
        desired::Version { updated_at: earlier, ..has },
        desired::Version { generation: 4, ..has },
        desired::Version { epoch: 1, ..has },
        // What an agent holds that this hub never signed.
        desired::Version { generation: 6, ..has },
        desired::Version { digest: digest("b"), ..has },
    ] {
        assert_eq!(desired::newer(&mut tx, node, Some(&known)).await.unwrap(), statement, "{known:?}");
    }
}

async fn never_back_and_never_the_same_with_another_digest(t: Fixture) {
    let node = t.mint();
    let mut tx = t.begin().await;
    let lease = lease(&t, &mut tx, "one").await;
    let mut put = async |epoch, generation, text: &str| {
        desired::replace(&mut tx, &lease, &[want(&t, node, epoch, generation, text)], &[]).await
    };
    put(2, 5, "a").await.unwrap();
    put(2, 5, "a").await.unwrap();
    put(2, 6, "b").await.unwrap();
    for (epoch, generation, text) in [(2, 6, "c"), (2, 5, "a"), (1, 9, "d")] {
        let stale = put(epoch, generation, text).await;
        assert!(matches!(stale, Err(StoreError::Stale { .. })), "{epoch} {generation} {text}");
    }
    put(3, 1, "e").await.unwrap();
}

async fn only_the_holder_of_the_lease_writes(t: Fixture) {
    let node = t.mint();
    let mut tx = t.begin().await;
    let old = lease(&t, &mut tx, "one").await;
    t.world.advance(Duration::from_secs(6));
    let new = lease(&t, &mut tx, "two").await;
    let refused = desired::replace(&mut tx, &old, &[want(&t, node, 1, 1, "a")], &[]).await;
    assert!(matches!(refused, Err(StoreError::LeaseLost { .. })));
    assert_eq!(desired::get(&mut tx, node).await.unwrap(), None);
    desired::replace(&mut tx, &new, &[want(&t, node, 1, 1, "a")], &[]).await.unwrap();
}

async fn a_node_may_fetch_what_it_should_run(t: Fixture) {
    let (a, b) = (t.mint(), t.mint());
    let mut tx = t.begin().await;
    let lease = lease(&t, &mut tx, "one").await;
    let release = releases::ensure(&mut tx, &t.release(t.mint(), "web", "tree")).await.unwrap().0;
    let stacks = [DesiredStack { release: release.id, ..row(&t, a, "web") }];
    let both = [want(&t, a, 1, 1, "x"), want(&t, b, 1, 1, "y")];
    desired::replace(&mut tx, &lease, &both, &stacks).await.unwrap();
    assert!(desired::may_fetch(&mut tx, a, release.tree).await.unwrap());
    assert!(!desired::may_fetch(&mut tx, a, digest("other")).await.unwrap());
    assert!(!desired::may_fetch(&mut tx, b, release.tree).await.unwrap());
}

both!(
    replaced_whole,
    a_statement_is_handed_over_when_it_is_another_or_was_renewed,
    never_back_and_never_the_same_with_another_digest,
    only_the_holder_of_the_lease_writes,
    a_node_may_fetch_what_it_should_run,
);

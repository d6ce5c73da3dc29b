//! Leases.

use std::time::Duration;

use backstay_store::{StoreError, leases};

use crate::fixture::{Fixture, both};

const TTL: Duration = Duration::from_secs(10);

async fn one_holder_at_a_time(t: Fixture) {
    let now = t.world.now();
    let mut tx = t.begin().await;
    let a = leases::acquire(&mut tx, "plan", "a", now, TTL).await.unwrap().unwrap();
    assert_eq!(a.token, 1);
    assert_eq!(leases::acquire(&mut tx, "plan", "b", now, TTL).await.unwrap(), None);
    assert_eq!(leases::get(&mut tx, "plan").await.unwrap(), Some(a.clone()));
    assert!(leases::acquire(&mut tx, "other", "b", now, TTL).await.unwrap().is_some());
    leases::fence(&mut tx, &a).await.unwrap();
    tx.commit().await.unwrap();
}

async fn a_lease_that_ran_out_is_taken_over_and_the_old_one_fenced_off(t: Fixture) {
    let mut tx = t.begin().await;
    let a = leases::acquire(&mut tx, "plan", "a", t.world.now(), TTL).await.unwrap().unwrap();
    t.world.advance(TTL);
    let b = leases::acquire(&mut tx, "plan", "b", t.world.now(), TTL).await.unwrap().unwrap();
    assert!(b.token > a.token);
    assert!(matches!(leases::fence(&mut tx, &a).await, Err(StoreError::LeaseLost { .. })));
    assert!(matches!(
        leases::renew(&mut tx, &a, t.world.now(), TTL).await,
        Err(StoreError::LeaseLost { .. })
    ));
    leases::release(&mut tx, &a).await.unwrap();
    leases::fence(&mut tx, &b).await.unwrap();
    let renewed = leases::renew(&mut tx, &b, t.later(), TTL).await.unwrap();
    assert_eq!(renewed.token, b.token);
    assert!(renewed.expires_at > b.expires_at);
}

async fn the_same_holder_renews_and_keeps_its_token(t: Fixture) {
    let mut tx = t.begin().await;
    let first = leases::acquire(&mut tx, "plan", "a", t.world.now(), TTL).await.unwrap().unwrap();
    let second = leases::acquire(&mut tx, "plan", "a", t.later(), TTL).await.unwrap().unwrap();
    assert_eq!(first.token, second.token);
    leases::release(&mut tx, &second).await.unwrap();
    let other = leases::acquire(&mut tx, "plan", "b", t.world.now(), TTL).await.unwrap().unwrap();
    assert!(other.token > second.token);
    t.world.advance(TTL * 2);
    let back = leases::acquire(&mut tx, "plan", "b", t.world.now(), TTL).await.unwrap().unwrap();
    assert!(back.token > other.token, "after a lapse nobody may rely on the old token");
}

async fn of_many_at_once_one_gets_it(t: Fixture) {
    let now = t.world.now();
    let contenders = (0..8).map(|i| {
        let store = t.store.clone();
        tokio::spawn(async move {
            let mut tx = store.begin().await.unwrap();
            let lease = leases::acquire(&mut tx, "plan", &format!("h{i}"), now, TTL).await.unwrap();
            tx.commit().await.unwrap();
            lease.is_some()
        })
    });
    let mut winners = 0;
    for contender in contenders.collect::<Vec<_>>() {
        winners += usize::from(contender.await.unwrap());
    }
    assert_eq!(winners, 1);
}

both!(
    one_holder_at_a_time,
    a_lease_that_ran_out_is_taken_over_and_the_old_one_fenced_off,
    the_same_holder_renews_and_keeps_its_token,
    of_many_at_once_one_gets_it,
);

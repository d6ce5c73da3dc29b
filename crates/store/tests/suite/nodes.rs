//! Nodes and their soft state.

use backstay_store::{
    StoreError,
    nodes::{self, SoftState},
};
use backstay_types::*;

use crate::fixture::{Fixture, both, container, digest, stack};

async fn by_id_name_and_credential(t: Fixture) {
    let node = t.node("one");
    let mut tx = t.begin().await;
    nodes::insert(&mut tx, &node, digest("secret")).await.unwrap();
    tx.commit().await.unwrap();
    let read = &mut t.store.read();
    assert_eq!(nodes::get(read, node.id).await.unwrap().as_ref(), Some(&node));
    assert_eq!(nodes::by_name(read, &node.name).await.unwrap().as_ref(), Some(&node));
    assert_eq!(nodes::by_credential(read, digest("secret")).await.unwrap().as_ref(), Some(&node));
    assert_eq!(nodes::by_credential(read, digest("other")).await.unwrap(), None);
    assert_eq!(nodes::many(read, &[node.id, t.mint()]).await.unwrap(), [node]);
    let mut tx = t.begin().await;
    let taken = nodes::insert(&mut tx, &t.node("one"), digest("another")).await;
    assert!(matches!(taken, Err(StoreError::Conflict { what: "node", .. })));
}

async fn revoked_once_and_replaced(t: Fixture) {
    let node = t.node("one");
    let mut tx = t.begin().await;
    nodes::insert(&mut tx, &node, digest("old")).await.unwrap();
    let at = t.later();
    nodes::revoke(&mut tx, node.id, at).await.unwrap();
    assert!(matches!(nodes::revoke(&mut tx, node.id, at).await, Err(StoreError::Stale { .. })));
    assert!(nodes::active(&mut tx).await.unwrap().is_empty());
    let known = nodes::by_credential(&mut tx, digest("old")).await.unwrap().unwrap();
    assert_eq!(known.revoked_at, Some(at));
    nodes::set_credential(&mut tx, node.id, digest("new")).await.unwrap();
    assert_eq!(nodes::by_credential(&mut tx, digest("old")).await.unwrap(), None);
    assert_eq!(nodes::active(&mut tx).await.unwrap(), [node.clone()]);
    let labels = Labels::parse(["role=db"]).unwrap();
    nodes::set_labels(&mut tx, node.id, &labels).await.unwrap();
    assert_eq!(nodes::get(&mut tx, node.id).await.unwrap().unwrap().labels, labels);
}

async fn listed_by_name_in_byte_order(t: Fixture) {
    let mut tx = t.begin().await;
    let mut names = ["b", "a-1", "a.1", "a1", "a_1", "10", "9"];
    for name in names {
        nodes::insert(&mut tx, &t.node(name), digest(name)).await.unwrap();
    }
    names.sort_unstable();
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = nodes::list(&mut tx, after.as_ref(), 3).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.name.clone());
        listed.extend(page.into_iter().map(|n| n.name.to_string()));
    }
    assert_eq!(listed, names);
}

async fn soft_state_keeps_what_a_flush_leaves_out(t: Fixture) {
    let facts = HostFacts { os: "linux".into(), disk_free_bytes: u64::MAX, ..HostFacts::default() };
    let observed = vec![ObservedStack {
        stack: stack("web"),
        current: Some(digest("1")),
        previous: None,
        deployment: Some(t.mint()),
        health: StackHealth::Healthy,
        detail: String::new(),
        can_return: true,
        drift: Vec::new(),
        figures: Default::default(),
        containers: vec![container("web", "c1")],
    }];
    let (a, b) = (t.mint(), t.mint());
    let state = |node, at, facts: Option<&HostFacts>, observed: Option<&Vec<ObservedStack>>| SoftState {
        node,
        last_seen_at: at,
        facts: facts.cloned(),
        observed: observed.cloned(),
        safety: facts.map(|_| NodeSafety { ssh: SshState::Listening, ..NodeSafety::default() }),
    };
    let (first, second) = (t.later(), t.later());
    let mut tx = t.begin().await;
    nodes::flush_soft(&mut tx, &[state(a, first, Some(&facts), None), state(b, first, None, None)])
        .await
        .unwrap();
    nodes::flush_soft(&mut tx, &[state(a, second, None, Some(&observed)), state(b, second, None, None)])
        .await
        .unwrap();
    nodes::flush_soft(&mut tx, &[]).await.unwrap();
    let whole = state(a, second, Some(&facts), Some(&observed));
    assert_eq!(nodes::soft(&mut tx, a).await.unwrap().as_ref(), Some(&whole));
    // A flush that comes late does not turn the clock back.
    nodes::flush_soft(&mut tx, &[state(a, first, None, Some(&Vec::new()))]).await.unwrap();
    assert_eq!(nodes::soft(&mut tx, a).await.unwrap(), Some(whole));
    assert_eq!(nodes::all_soft(&mut tx).await.unwrap().len(), 2);
    assert_eq!(nodes::soft(&mut tx, t.mint()).await.unwrap(), None);
}

async fn only_nodes_heard_from_since_are_given(t: Fixture) {
    let mut tx = t.begin().await;
    let said = |node| SoftState { node, last_seen_at: t.later(), facts: None, observed: None, safety: None };
    let (old, new) = (said(t.mint()), said(t.mint()));
    nodes::flush_soft(&mut tx, &[old.clone(), new.clone()]).await.unwrap();
    assert_eq!(nodes::soft_since(&mut tx, old.last_seen_at).await.unwrap(), [new]);
}

both!(
    only_nodes_heard_from_since_are_given,
    by_id_name_and_credential,
    revoked_once_and_replaced,
    listed_by_name_in_byte_order,
    soft_state_keeps_what_a_flush_leaves_out,
);

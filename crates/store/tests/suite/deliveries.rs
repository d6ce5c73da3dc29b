//! Deliveries and tool events.

use backstay_store::{
    StoreError,
    deliveries::{self, Filter, NewDelivery, Received},
    tool_events,
};
use backstay_types::*;

use crate::fixture::{Fixture, both, commit};

fn delivery<'a>(
    t: &Fixture,
    source: &'a str,
    key: &'a str,
    headers: &'a [(String, String)],
) -> NewDelivery<'a> {
    NewDelivery { id: t.mint(), source, key, received_at: t.later(), headers, body: b"\0{\xff}" }
}

async fn a_replay_changes_nothing(t: Fixture) {
    let headers = [("webhook-id".to_owned(), "k".to_owned())];
    let first = delivery(&t, "openclaw", "k", &headers);
    let mut tx = t.begin().await;
    assert_eq!(deliveries::receive(&mut tx, &first).await.unwrap(), Received::New);
    tx.commit().await.unwrap();
    let mut tx = t.begin().await;
    let replay = NewDelivery { body: b"another", ..delivery(&t, "openclaw", "k", &[]) };
    assert_eq!(deliveries::receive(&mut tx, &replay).await.unwrap(), Received::Replay(first.id));
    let elsewhere = delivery(&t, "github", "k", &[]);
    assert_eq!(deliveries::receive(&mut tx, &elsewhere).await.unwrap(), Received::New);
    let raw = deliveries::raw(&mut tx, first.id).await.unwrap().unwrap();
    assert_eq!((raw.headers.as_slice(), raw.body.as_slice()), (headers.as_slice(), first.body));
    assert_eq!((raw.delivery.bytes, raw.delivery.events), (4, 0));
    assert_eq!(deliveries::find(&mut tx, "openclaw", "k").await.unwrap(), Some(first.id));
    assert_eq!(deliveries::raw(&mut tx, t.mint()).await.unwrap(), None);
}

async fn of_many_at_once_one_is_new(t: Fixture) {
    let tasks = (0..8).map(|_| {
        let (store, id, at) = (t.store.clone(), t.mint(), t.later());
        tokio::spawn(async move {
            let mut tx = store.begin().await.unwrap();
            let new = NewDelivery { id, source: "s", key: "k", received_at: at, headers: &[], body: b"" };
            let received = deliveries::receive(&mut tx, &new).await.unwrap();
            tx.commit().await.unwrap();
            (id, received)
        })
    });
    let mut all = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        all.push(task.await.unwrap());
    }
    let new: Vec<_> = all.iter().filter(|(_, r)| *r == Received::New).map(|(id, _)| *id).collect();
    assert_eq!(new.len(), 1);
    assert_eq!(all.iter().filter(|(_, r)| *r == Received::Replay(new[0])).count(), 7);
}

async fn listed_newest_first_by_source_and_outcome(t: Fixture) {
    let mut tx = t.begin().await;
    let mut ids = Vec::new();
    for i in 0..6 {
        let key = i.to_string();
        let new = delivery(&t, if i % 2 == 0 { "a" } else { "b" }, &key, &[]);
        deliveries::receive(&mut tx, &new).await.unwrap();
        let why = (i > 3).then_some("no such event");
        deliveries::set_outcome(&mut tx, new.id, i, why).await.unwrap();
        ids.push(new.id);
    }
    let listed = async |tx: &mut _, source: Option<&str>, unrecognised, before, limit| {
        let filter = Filter { source: source.map(str::to_owned), unrecognised };
        let found = deliveries::list(tx, &filter, before, limit).await.unwrap();
        found.into_iter().map(|d| d.events).collect::<Vec<_>>()
    };
    assert_eq!(listed(&mut tx, None, false, None, 3).await, [5, 4, 3]);
    assert_eq!(listed(&mut tx, None, false, Some(ids[3]), 9).await, [2, 1, 0]);
    assert_eq!(listed(&mut tx, Some("a"), false, None, 9).await, [4, 2, 0]);
    assert_eq!(listed(&mut tx, None, true, None, 9).await, [5, 4]);
    assert_eq!(listed(&mut tx, Some("b"), true, None, 9).await, [5]);
    let unknown = deliveries::set_outcome(&mut tx, t.mint(), 0, None).await;
    assert!(matches!(unknown, Err(StoreError::Stale { .. })));
    let third = deliveries::raw(&mut tx, ids[2]).await.unwrap().unwrap().delivery.received_at;
    assert_eq!(deliveries::prune(&mut tx, third).await.unwrap(), 2);
}

fn event(t: &Fixture, conversation: Option<ConversationId>, commits: &[&str]) -> ToolEvent {
    ToolEvent {
        id: t.mint(),
        conversation,
        delivery: t.mint(),
        at: t.later(),
        kind: ToolEventKind::ToolCall,
        summary: "write a file".into(),
        commits: commits.iter().map(|c| (*c).to_owned()).collect(),
    }
}

async fn events_of_a_conversation(t: Fixture) {
    let (a, b): (ConversationId, ConversationId) = (t.mint(), t.mint());
    let events: Vec<_> = [Some(a), Some(a), Some(b), None, Some(a)].map(|c| event(&t, c, &[])).into();
    let mut tx = t.begin().await;
    tool_events::insert(&mut tx, &events).await.unwrap();
    tool_events::insert(&mut tx, &[]).await.unwrap();
    let of_a = tool_events::of_conversation(&mut tx, a, 10).await.unwrap();
    assert_eq!(of_a, [events[0].clone(), events[1].clone(), events[4].clone()]);
    let newest = tool_events::of_conversation(&mut tx, a, 2).await.unwrap();
    assert_eq!(newest, [events[1].clone(), events[4].clone()]);
    let between = tool_events::between(&mut tx, events[1].at, events[3].at, 10).await.unwrap();
    assert_eq!(between, [events[1].clone(), events[2].clone()]);
    let (count, before) = tool_events::digest(&mut tx, a).await.unwrap();
    assert_eq!(count, 3);
    assert_eq!(tool_events::prune(&mut tx, events[1].at).await.unwrap(), 1);
    let (count, after) = tool_events::digest(&mut tx, a).await.unwrap();
    assert_eq!(count, 2);
    assert_ne!(before, after);
}

async fn events_are_found_by_the_commits_that_they_name(t: Fixture) {
    let whole = commit("0123456789abcdef");
    let text = whole.as_str();
    let events = [
        event(&t, None, &[text, text]),
        event(&t, None, &[&text[..7].to_ascii_uppercase()]),
        event(&t, None, &[&text[..6]]),
        event(&t, None, &["fffffff"]),
    ];
    let mut tx = t.begin().await;
    tool_events::insert(&mut tx, &events).await.unwrap();
    let naming = tool_events::naming_commit(&mut tx, &whole).await.unwrap();
    assert_eq!(naming, events[..2]);
    tool_events::prune(&mut tx, t.later()).await.unwrap();
    assert!(tool_events::naming_commit(&mut tx, &whole).await.unwrap().is_empty());
}

both!(
    a_replay_changes_nothing,
    of_many_at_once_one_is_new,
    listed_newest_first_by_source_and_outcome,
    events_of_a_conversation,
    events_are_found_by_the_commits_that_they_name,
);

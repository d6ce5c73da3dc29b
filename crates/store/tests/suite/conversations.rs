//! Conversations and their foreign ids.

use backstay_store::{
    StoreError,
    conversations::{self, Key},
};
use backstay_types::*;

use crate::fixture::{Fixture, both};

fn id(kind: &str, value: &str) -> ForeignId {
    ForeignId { tool: "openclaw".into(), kind: kind.into(), value: value.into() }
}

async fn minted_at_first_sight_and_found_again_by_any_id(t: Fixture) {
    let (key, first, second) =
        (id("session_key", "agent:a:main"), id("session_id", "1"), id("session_id", "2"));
    let mut tx = t.begin().await;
    let at = t.later();
    let minted =
        conversations::resolve(&mut tx, "openclaw", &[key.clone(), first.clone()], at).await.unwrap();
    assert!(minted.minted);
    assert_eq!(minted.attached.len(), 2);
    let later = t.later();
    let ids = [key.clone(), second.clone()];
    let again = conversations::resolve(&mut tx, "openclaw", &ids, later).await.unwrap();
    assert_eq!((again.id, again.minted, again.attached), (minted.id, false, vec![second.clone()]));
    let third = conversations::resolve(&mut tx, "openclaw", &[second.clone()], later).await.unwrap();
    assert_eq!((third.id, third.minted), (minted.id, false));
    tx.commit().await.unwrap();
    let read = &mut t.store.read();
    let conversation = conversations::get(read, minted.id).await.unwrap().unwrap();
    let mut expected = vec![key, first, second.clone()];
    expected.sort();
    assert_eq!(conversation.foreign_ids, expected);
    assert_eq!((conversation.first_seen_at, conversation.last_seen_at), (at, later));
    assert_eq!(conversations::find(read, &second).await.unwrap(), Some(minted.id));
    assert_eq!(conversations::find(read, &id("session_id", "3")).await.unwrap(), None);
}

async fn the_first_known_id_decides_and_others_keep_their_own(t: Fixture) {
    let (a, b) = (id("session_key", "a"), id("session_key", "b"));
    let mut tx = t.begin().await;
    let of_a = conversations::resolve(&mut tx, "x", &[a.clone()], t.later()).await.unwrap().id;
    let of_b = conversations::resolve(&mut tx, "x", &[b.clone()], t.later()).await.unwrap().id;
    assert_ne!(of_a, of_b);
    let both = conversations::resolve(&mut tx, "x", &[b.clone(), a.clone()], t.later()).await.unwrap();
    assert_eq!((both.id, both.attached), (of_b, vec![]));
    assert_eq!(conversations::find(&mut tx, &a).await.unwrap(), Some(of_a));
    let twice = [id("run_id", "r"), id("run_id", "r")];
    let resolved = conversations::resolve(&mut tx, "x", &twice, t.later()).await.unwrap();
    assert_eq!(resolved.attached, [id("run_id", "r")]);
    assert!(conversations::resolve(&mut tx, "x", &[], t.later()).await.is_err());
}

async fn of_many_at_once_one_mints(t: Fixture) {
    let at = t.later();
    let tasks = (0..8).map(|_| {
        let store = t.store.clone();
        tokio::spawn(async move {
            let mut tx = store.begin().await.unwrap();
            let resolved =
                conversations::resolve(&mut tx, "x", &[id("session_key", "same")], at).await.unwrap();
            tx.commit().await.unwrap();
            resolved
        })
    });
    let mut resolved = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        resolved.push(task.await.unwrap());
    }
    assert_eq!(resolved.iter().filter(|r| r.minted).count(), 1);
    assert!(resolved.iter().all(|r| r.id == resolved[0].id));
    assert_eq!(conversations::list(&mut t.store.read(), None, 10).await.unwrap().len(), 1);
}

async fn ends_and_goes_on(t: Fixture) {
    let mut tx = t.begin().await;
    let conversation = t.mint();
    let (first, second) = (t.later(), t.later());
    assert!(conversations::ensure(&mut tx, conversation, "git", second).await.unwrap());
    assert!(!conversations::ensure(&mut tx, conversation, "git", second).await.unwrap());
    conversations::heard(&mut tx, conversation, first).await.unwrap();
    conversations::set_title(&mut tx, conversation, "A title").await.unwrap();
    assert!(conversations::end(&mut tx, conversation, second).await.unwrap());
    assert!(!conversations::end(&mut tx, conversation, t.later()).await.unwrap());
    let got = conversations::get(&mut tx, conversation).await.unwrap().unwrap();
    assert_eq!((got.first_seen_at, got.last_seen_at, got.ended_at), (first, second, Some(second)));
    assert_eq!((got.title.as_deref(), got.tool.as_str()), (Some("A title"), "git"));
    assert!(conversations::reopen(&mut tx, conversation).await.unwrap());
    assert!(!conversations::reopen(&mut tx, conversation).await.unwrap());
    let unknown = conversations::heard(&mut tx, t.mint(), first).await;
    assert!(matches!(unknown, Err(StoreError::Stale { .. })));
    let attached = conversations::attach(&mut tx, conversation, &id("run_id", "r")).await.unwrap();
    assert!(attached);
    assert!(!conversations::attach(&mut tx, t.mint(), &id("run_id", "r")).await.unwrap());
}

async fn listed_by_when_they_were_heard_of(t: Fixture) {
    let mut tx = t.begin().await;
    let at = t.later();
    let mut ids: Vec<ConversationId> = Vec::new();
    for i in 0..5 {
        let conversation = t.mint();
        // Two share a time, so that the id decides.
        let at = if i < 2 { at } else { t.later() };
        conversations::ensure(&mut tx, conversation, "x", at).await.unwrap();
        conversations::attach(&mut tx, conversation, &id("n", &i.to_string())).await.unwrap();
        ids.push(conversation);
    }
    ids.reverse();
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let page = conversations::list(&mut tx, after, 2).await.unwrap();
        assert!(page.iter().all(|c| c.foreign_ids.len() == 1));
        let Some(last) = page.last() else { break };
        after = Some(Key { last_seen_at: last.last_seen_at, id: last.id });
        listed.extend(page.iter().map(|c| c.id));
    }
    assert_eq!(listed, ids);
    assert_eq!(conversations::many(&mut tx, &ids[..3]).await.unwrap().len(), 3);
}

both!(
    minted_at_first_sight_and_found_again_by_any_id,
    the_first_known_id_decides_and_others_keep_their_own,
    of_many_at_once_one_mints,
    ends_and_goes_on,
    listed_by_when_they_were_heard_of,
);

//! Changes, their links, and what waits for a conversation.

use backstay_store::{
    StoreError,
    changes::{self, KnownChange},
    links::{self, Waiting},
};
use backstay_types::*;

use crate::fixture::{Fixture, both, commit, digest, known};

async fn a_change_is_kept_once_with_all_that_is_known(t: Fixture) {
    let repository = t.mint();
    let mut change = t.change(repository, "b");
    change.parents = vec![commit("a"), commit("c")];
    change.reverts = vec![commit("d"), commit("d")];
    let link = |source| Link { conversation: t.mint(), source };
    change.links = vec![link(LinkSource::Note), link(LinkSource::Trailer), link(LinkSource::Guess)];
    let mut whole = KnownChange {
        position: Some(-3),
        undo: Some(t.mint()),
        patch_digest: Some(digest("patch")),
        ..known(change)
    };
    let mut tx = t.begin().await;
    assert!(changes::insert(&mut tx, &whole).await.unwrap());
    let other = KnownChange { position: Some(9), ..whole.clone() };
    assert!(!changes::insert(&mut tx, &other).await.unwrap());
    tx.commit().await.unwrap();
    whole.change.links.sort_unstable();
    let read = &mut t.store.read();
    assert_eq!(changes::get(read, repository, &commit("b")).await.unwrap().as_ref(), Some(&whole));
    assert_eq!(changes::get(read, t.mint(), &commit("b")).await.unwrap(), None);
    let found = changes::many(read, repository, &[commit("b"), commit("f")]).await.unwrap();
    assert_eq!(found, [whole.clone()]);
    assert_eq!(changes::reverting(read, repository, &commit("d")).await.unwrap(), [whole.clone()]);
    assert_eq!(changes::reverting(read, t.mint(), &commit("d")).await.unwrap(), []);
    assert_eq!(changes::by_patch(read, repository, digest("patch")).await.unwrap(), [whole]);
}

async fn the_same_commit_in_two_repositories_is_two_changes(t: Fixture) {
    let (one, two) = (t.mint(), t.mint());
    let conversation = t.mint();
    let mut tx = t.begin().await;
    let mut first = known(t.change(one, "a"));
    first.change.links = vec![Link { conversation, source: LinkSource::Trailer }];
    let second = known(t.change(two, "a"));
    changes::insert(&mut tx, &first).await.unwrap();
    changes::insert(&mut tx, &second).await.unwrap();
    let both = changes::by_prefix(&mut tx, "aaaaaaa", 10).await.unwrap();
    assert_eq!(both.len(), 2);
    assert!(both.contains(&first) && both.contains(&second), "links stay apart: {both:?}");
    assert_eq!(links::changes_of(&mut tx, conversation).await.unwrap(), [first]);
}

async fn found_by_the_first_digits(t: Fixture) {
    let repository = t.mint();
    let mut tx = t.begin().await;
    for digits in ["a0", "a1", "af", "b"] {
        changes::insert(&mut tx, &known(t.change(repository, digits))).await.unwrap();
    }
    let found = async |tx: &mut _, prefix: &str, limit| {
        let found = changes::by_prefix(tx, prefix, limit).await.unwrap();
        found.into_iter().map(|k| k.change.commit).collect::<Vec<_>>()
    };
    assert_eq!(found(&mut tx, "a", 9).await, [commit("a0"), commit("a1"), commit("af")]);
    assert_eq!(found(&mut tx, "a", 2).await.len(), 2);
    assert_eq!(found(&mut tx, "afaf", 9).await, [commit("af")]);
    assert_eq!(found(&mut tx, commit("b").as_str(), 9).await, [commit("b")]);
    assert!(found(&mut tx, "c", 9).await.is_empty());
    assert!(found(&mut tx, "a%", 9).await.is_empty());
}

async fn the_branch_as_a_line(t: Fixture) {
    let repository = t.mint();
    let mut tx = t.begin().await;
    assert_eq!(changes::last_position(&mut tx, repository).await.unwrap(), None);
    for (digits, position) in [("a", Some(1)), ("b", Some(2)), ("c", Some(3)), ("d", None)] {
        let change = KnownChange { position, ..known(t.change(repository, digits)) };
        changes::insert(&mut tx, &change).await.unwrap();
    }
    let ids = |found: Vec<KnownChange>| found.into_iter().map(|k| k.change.commit).collect::<Vec<_>>();
    let history = changes::history(&mut tx, repository, None, 2).await.unwrap();
    assert_eq!(ids(history), [commit("c"), commit("b")]);
    let history = changes::history(&mut tx, repository, Some(2), 9).await.unwrap();
    assert_eq!(ids(history), [commit("a")]);
    let range = changes::on_branch(&mut tx, repository, 2, 9).await.unwrap();
    assert_eq!(ids(range), [commit("b"), commit("c")]);
    assert_eq!(changes::last_position(&mut tx, repository).await.unwrap(), Some(3));
    for digits in ["b", "c"] {
        changes::set_position(&mut tx, repository, &commit(digits), None).await.unwrap();
    }
    changes::set_position(&mut tx, repository, &commit("d"), Some(2)).await.unwrap();
    let range = changes::on_branch(&mut tx, repository, 0, 9).await.unwrap();
    assert_eq!(ids(range), [commit("a"), commit("d")]);
    let unknown = changes::set_position(&mut tx, repository, &commit("e"), None).await;
    assert!(matches!(unknown, Err(StoreError::Stale { .. })));
    // What was on another branch has come to this one when it lands, and is not told again.
    let at = t.later();
    changes::land(&mut tx, repository, &commit("c"), 3, at).await.unwrap();
    changes::land(&mut tx, repository, &commit("c"), 4, t.later()).await.unwrap();
    changes::land(&mut tx, repository, &commit("a"), 1, t.later()).await.unwrap();
    let landed = changes::many(&mut tx, repository, &[commit("c")]).await.unwrap().remove(0);
    assert_eq!((landed.position, landed.landed_at), (Some(4), Some(at)));
    let stayed = changes::many(&mut tx, repository, &[commit("a")]).await.unwrap().remove(0);
    assert_eq!((stayed.position, stayed.landed_at), (Some(1), None));
    let unknown = changes::land(&mut tx, repository, &commit("e"), 5, at).await;
    assert!(matches!(unknown, Err(StoreError::Stale { .. })));
}

async fn the_strongest_link_stands(t: Fixture) {
    let (repository, conversation): (RepositoryId, ConversationId) = (t.mint(), t.mint());
    let mut tx = t.begin().await;
    changes::insert(&mut tx, &known(t.change(repository, "a"))).await.unwrap();
    let mut link = async |source| {
        links::link(&mut tx, repository, &commit("a"), &Link { conversation, source }).await.unwrap()
    };
    assert!(link(LinkSource::Guess).await);
    assert!(link(LinkSource::Note).await);
    assert!(!link(LinkSource::Note).await);
    assert!(!link(LinkSource::Derived).await);
    assert!(link(LinkSource::Trailer).await);
    let change = changes::get(&mut tx, repository, &commit("a")).await.unwrap().unwrap();
    assert_eq!(change.change.links, [Link { conversation, source: LinkSource::Trailer }]);
    assert!(links::unlink(&mut tx, repository, &commit("a"), conversation).await.unwrap());
    assert!(!links::unlink(&mut tx, repository, &commit("a"), conversation).await.unwrap());
}

async fn commits_wait_for_their_conversation(t: Fixture) {
    let (repository, conversation) = (t.mint(), t.mint());
    let id = |value: &str| ForeignId {
        tool: "claude-code".into(),
        kind: "session_id".into(),
        value: value.into(),
    };
    let waiting = |digits: &str, value: &str| Waiting {
        repository,
        commit: commit(digits),
        id: id(value),
        source: LinkSource::ForeignTrailer,
    };
    let mut tx = t.begin().await;
    for digits in ["a", "b"] {
        changes::insert(&mut tx, &known(t.change(repository, digits))).await.unwrap();
    }
    for w in [waiting("a", "1"), waiting("b", "1"), waiting("b", "2"), waiting("b", "1")] {
        links::wait(&mut tx, &w).await.unwrap();
    }
    let strong = Link { conversation, source: LinkSource::Trailer };
    links::link(&mut tx, repository, &commit("b"), &strong).await.unwrap();
    assert_eq!(links::waiting_for(&mut tx, &id("1")).await.unwrap(), [waiting("a", "1"), waiting("b", "1")]);
    let settled = links::settle(&mut tx, conversation, &[id("1"), id("3")]).await.unwrap();
    assert_eq!(settled, [waiting("a", "1")], "the other was linked by more already");
    assert!(links::waiting_for(&mut tx, &id("1")).await.unwrap().is_empty());
    assert_eq!(links::waiting_for(&mut tx, &id("2")).await.unwrap(), [waiting("b", "2")]);
    let linked = links::changes_of(&mut tx, conversation).await.unwrap();
    assert_eq!(linked.iter().map(|k| &k.change.commit).collect::<Vec<_>>(), [&commit("a"), &commit("b")]);
}

both!(
    a_change_is_kept_once_with_all_that_is_known,
    the_same_commit_in_two_repositories_is_two_changes,
    found_by_the_first_digits,
    the_branch_as_a_line,
    the_strongest_link_stands,
    commits_wait_for_their_conversation,
);

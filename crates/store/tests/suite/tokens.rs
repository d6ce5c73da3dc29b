//! Tokens.

use std::time::Duration;

use backstay_store::{
    StoreError,
    tokens::{self, Token, TokenKind, TokenSecret},
};

use crate::fixture::{Fixture, both, digest};

fn token(t: &Fixture, kind: TokenKind, life: Option<u64>) -> Token {
    let created_at = t.later();
    Token {
        id: t.mint(),
        kind,
        name: "for a test".into(),
        created_at,
        expires_at: life.map(|s| created_at.checked_add(Duration::from_secs(s)).unwrap()),
        revoked_at: None,
        used_at: None,
    }
}

fn secret(text: &str) -> TokenSecret {
    TokenSecret { hash: digest(text), sealed: Some(format!("sealed {text}")) }
}

async fn a_join_token_works_once(t: Fixture) {
    let token = token(&t, TokenKind::Join, Some(60));
    let mut tx = t.begin().await;
    tokens::insert(&mut tx, &token, &secret("s")).await.unwrap();
    tx.commit().await.unwrap();
    let at = t.later();
    let tasks = (0..8).map(|_| {
        let (store, node, id) = (t.store.clone(), t.mint(), token.id);
        tokio::spawn(async move {
            let mut tx = store.begin().await.unwrap();
            let used = tokens::consume(&mut tx, id, digest("s"), node, at).await.unwrap();
            tx.commit().await.unwrap();
            used
        })
    });
    let mut used = 0;
    for task in tasks.collect::<Vec<_>>() {
        used += usize::from(task.await.unwrap());
    }
    assert_eq!(used, 1);
    let (after, _) = tokens::get(&mut t.store.read(), token.id).await.unwrap().unwrap();
    assert_eq!(after.used_at, Some(at));
    assert!(!after.works_at(at));
}

async fn a_join_token_that_is_wrong_late_or_revoked_is_not_used_up(t: Fixture) {
    let (late, gone, wrong) = (
        token(&t, TokenKind::Join, Some(60)),
        token(&t, TokenKind::Join, Some(60)),
        token(&t, TokenKind::Join, Some(60)),
    );
    let api = token(&t, TokenKind::Api { role: "admin".into() }, Some(60));
    let mut tx = t.begin().await;
    for token in [&late, &gone, &wrong, &api] {
        tokens::insert(&mut tx, token, &secret("s")).await.unwrap();
    }
    tokens::revoke(&mut tx, gone.id, t.world.now()).await.unwrap();
    let now = t.world.now();
    let end = late.expires_at.unwrap();
    assert!(!tokens::consume(&mut tx, late.id, digest("s"), t.mint(), end).await.unwrap());
    assert!(!tokens::consume(&mut tx, gone.id, digest("s"), t.mint(), now).await.unwrap());
    assert!(!tokens::consume(&mut tx, wrong.id, digest("x"), t.mint(), now).await.unwrap());
    assert!(!tokens::consume(&mut tx, api.id, digest("s"), t.mint(), now).await.unwrap());
    assert!(!tokens::consume(&mut tx, t.mint(), digest("s"), t.mint(), now).await.unwrap());
    assert!(tokens::consume(&mut tx, late.id, digest("s"), t.mint(), now).await.unwrap());
    assert!(tokens::consume(&mut tx, wrong.id, digest("s"), t.mint(), now).await.unwrap());
}

async fn several_secrets_of_a_source_while_they_are_rotated(t: Fixture) {
    let webhook = |source: &str| TokenKind::Webhook { source: source.into() };
    let all = [
        token(&t, webhook("github"), None),
        token(&t, webhook("github"), Some(60)),
        token(&t, webhook("github"), None),
        token(&t, webhook("gitlab"), None),
        token(&t, TokenKind::Api { role: "viewer".into() }, None),
    ];
    let mut tx = t.begin().await;
    for (i, token) in all.iter().enumerate() {
        tokens::insert(&mut tx, token, &secret(&i.to_string())).await.unwrap();
    }
    tokens::revoke(&mut tx, all[2].id, t.later()).await.unwrap();
    assert!(matches!(tokens::revoke(&mut tx, all[2].id, t.later()).await, Err(StoreError::Stale { .. })));
    let found = tokens::of_source(&mut tx, "github", t.world.now()).await.unwrap();
    assert_eq!(found, [(all[1].clone(), secret("1")), (all[0].clone(), secret("0"))]);
    let found = tokens::of_source(&mut tx, "github", all[1].expires_at.unwrap()).await.unwrap();
    assert_eq!(found.len(), 1);
    let (got, kept) = tokens::get(&mut tx, all[4].id).await.unwrap().unwrap();
    assert_eq!((&got, &kept), (&all[4], &secret("4")));
    assert!(got.works_at(t.world.now()));
    assert!(!format!("{kept:?}").contains("sealed"), "{kept:?}");
    let page = tokens::list(&mut tx, Some(all[4].id), 2).await.unwrap();
    assert_eq!(page.iter().map(|t| t.id).collect::<Vec<_>>(), [all[3].id, all[2].id]);
    assert!(matches!(tokens::insert(&mut tx, &all[0], &secret("x")).await, Err(StoreError::Conflict { .. })));
}

async fn who_used_a_join_token_is_told_to_who_has_its_secret(t: Fixture) {
    let mut tx = t.begin().await;
    let (join, node) = (token(&t, TokenKind::Join, Some(60)), t.mint());
    tokens::insert(&mut tx, &join, &secret("a")).await.unwrap();
    let hash = secret("a").hash;
    assert_eq!(tokens::used_by(&mut tx, join.id, hash, t.world.now()).await.unwrap(), None);
    assert!(tokens::consume(&mut tx, join.id, hash, node, t.later()).await.unwrap());
    assert_eq!(tokens::used_by(&mut tx, join.id, hash, t.world.now()).await.unwrap(), Some(node));
    assert_eq!(tokens::used_by(&mut tx, join.id, digest("other"), t.world.now()).await.unwrap(), None);
    t.world.advance(Duration::from_secs(60));
    assert_eq!(tokens::used_by(&mut tx, join.id, hash, t.world.now()).await.unwrap(), None);
}

both!(
    who_used_a_join_token_is_told_to_who_has_its_secret,
    a_join_token_works_once,
    a_join_token_that_is_wrong_late_or_revoked_is_not_used_up,
    several_secrets_of_a_source_while_they_are_rotated,
);

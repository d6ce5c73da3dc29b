//! Users, their sessions and links, and failures to sign in.

use std::time::Duration;

use backstay_store::{
    StoreError,
    sessions::{self, Session},
    sign_in_links::{self, LinkKind, SignInLink},
    sign_in_tries::{self, Tries},
    users::{self, PasswordHash, User},
};
use backstay_types::Timestamp;

use crate::fixture::{Fixture, both, digest};

fn user(t: &Fixture, name: &str) -> User {
    User {
        id: t.mint(),
        name: name.parse().unwrap(),
        role: "viewer".into(),
        created_at: t.later(),
        disabled_at: None,
        last_sign_in_at: None,
    }
}

async fn users_are_kept_changed_and_named_once(t: Fixture) {
    let (ada, bob) = (user(&t, "ada"), user(&t, "bob"));
    let hash = PasswordHash("$argon2id$…".into());
    assert!(!format!("{hash:?}").contains("argon"), "{hash:?}");
    let mut tx = t.begin().await;
    assert!(!users::any(&mut tx).await.unwrap());
    users::insert(&mut tx, &bob, Some(&hash)).await.unwrap();
    users::insert(&mut tx, &ada, None).await.unwrap();
    assert!(users::any(&mut tx).await.unwrap());
    assert_eq!(users::list(&mut tx).await.unwrap(), [ada.clone(), bob.clone()]);
    assert_eq!(users::by_name(&mut tx, &bob.name).await.unwrap(), Some(bob.clone()));
    assert_eq!(users::password(&mut tx, ada.id).await.unwrap(), None);
    assert_eq!(users::password(&mut tx, bob.id).await.unwrap(), Some(hash.clone()));
    users::set_password(&mut tx, ada.id, &hash).await.unwrap();
    assert_eq!(users::password(&mut tx, ada.id).await.unwrap(), Some(hash.clone()));
    let at = t.later();
    assert!(users::signed_in(&mut tx, ada.id, at).await.unwrap());
    users::update(&mut tx, &bob, "admin", Some(at)).await.unwrap();
    let stale = users::update(&mut tx, &bob, "viewer", None).await;
    assert!(matches!(stale, Err(StoreError::Stale { .. })), "{stale:?}");
    let now = users::get(&mut tx, bob.id).await.unwrap().unwrap();
    assert_eq!((now.role.as_str(), now.disabled_at), ("admin", Some(at)));
    assert!(!users::signed_in(&mut tx, bob.id, at).await.unwrap());
    let refused = users::set_password(&mut tx, bob.id, &hash).await;
    assert!(matches!(refused, Err(StoreError::Stale { .. })), "{refused:?}");
    users::update(&mut tx, &now, "admin", None).await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = t.begin().await;
    let again = users::insert(&mut tx, &User { id: t.mint(), ..ada }, None).await;
    assert!(matches!(again, Err(StoreError::Conflict { .. })), "{again:?}");
}

async fn sessions_end_one_by_one_and_all_together(t: Fixture) {
    let (ada, bob) = (t.mint(), t.mint());
    let now = t.later();
    let session = |user| Session {
        id: t.mint(),
        user,
        created_at: now,
        seen_at: now,
        expires_at: now + Duration::from_secs(100),
    };
    let all = [Some(ada), Some(ada), Some(ada), Some(bob), None, None].map(session);
    let mut tx = t.begin().await;
    for (i, session) in all.iter().enumerate() {
        sessions::insert(&mut tx, session, digest(&i.to_string())).await.unwrap();
    }
    let got = sessions::get(&mut tx, all[4].id).await.unwrap();
    assert_eq!(got, Some((all[4].clone(), digest("4"))));
    let later = now + Duration::from_secs(50);
    sessions::seen(&mut tx, all[3].id, later).await.unwrap();
    sessions::seen(&mut tx, all[3].id, now).await.unwrap();
    assert_eq!(sessions::get(&mut tx, all[3].id).await.unwrap().unwrap().0.seen_at, later, "never back");
    sessions::end(&mut tx, all[0].id).await.unwrap();
    assert_eq!(sessions::end_all(&mut tx, Some(ada), Some(all[1].id)).await.unwrap(), 1);
    assert!(sessions::get(&mut tx, all[1].id).await.unwrap().is_some());
    assert_eq!(sessions::end_all(&mut tx, None, None).await.unwrap(), 2, "the owner's alone");
    assert_eq!(sessions::prune(&mut tx, now, now + Duration::from_secs(10)).await.unwrap(), 1, "idle");
    assert!(sessions::get(&mut tx, all[3].id).await.unwrap().is_some());
    assert_eq!(sessions::prune(&mut tx, now + Duration::from_secs(101), now).await.unwrap(), 1, "run out");
}

async fn a_link_is_used_by_one_of_many(t: Fixture) {
    let now = t.later();
    let link = |kind| SignInLink { id: t.mint(), kind, expires_at: now + Duration::from_secs(60) };
    let (ada, open, first) = (t.mint(), link(LinkKind::Open), link(LinkKind::FirstUser));
    let of_ada = link(LinkKind::User(ada));
    let mut tx = t.begin().await;
    for link in [&open, &first, &of_ada] {
        sign_in_links::insert(&mut tx, link, digest("s")).await.unwrap();
        assert_eq!(
            sign_in_links::get(&mut tx, link.id, digest("s"), now).await.unwrap().as_ref(),
            Some(link)
        );
        assert_eq!(sign_in_links::get(&mut tx, link.id, digest("x"), now).await.unwrap(), None);
        assert_eq!(sign_in_links::get(&mut tx, link.id, digest("s"), link.expires_at).await.unwrap(), None);
        assert!(!sign_in_links::consume(&mut tx, link.id, digest("x"), now).await.unwrap());
        assert!(!sign_in_links::consume(&mut tx, link.id, digest("s"), link.expires_at).await.unwrap());
    }
    assert_eq!(sign_in_links::revoke(&mut tx, Some(ada)).await.unwrap(), 1);
    assert_eq!(sign_in_links::revoke(&mut tx, None).await.unwrap(), 1);
    tx.commit().await.unwrap();
    let tasks = (0..8).map(|_| {
        let (store, id) = (t.store.clone(), open.id);
        tokio::spawn(async move {
            let mut tx = store.begin().await.unwrap();
            let used = sign_in_links::consume(&mut tx, id, digest("s"), now).await.unwrap();
            tx.commit().await.unwrap();
            used
        })
    });
    let mut used = 0;
    for task in tasks.collect::<Vec<_>>() {
        used += usize::from(task.await.unwrap());
    }
    assert_eq!(used, 1);
    let mut tx = t.begin().await;
    sign_in_links::insert(&mut tx, &link(LinkKind::Open), digest("s")).await.unwrap();
    assert_eq!(sign_in_links::prune(&mut tx, now).await.unwrap(), 0);
    assert_eq!(sign_in_links::prune(&mut tx, now + Duration::from_secs(61)).await.unwrap(), 1);
}

async fn tries_at_the_same_time_are_all_counted(t: Fixture) {
    let at = t.later();
    let tasks = (0..8).map(|_| {
        let store = t.store.clone();
        tokio::spawn(async move {
            let mut tx = store.begin().await.unwrap();
            let tries = sign_in_tries::lock(&mut tx, digest("ada")).await.unwrap();
            let tries = Tries { failures: tries.failures + 1, last_at: at };
            sign_in_tries::set(&mut tx, digest("ada"), tries).await.unwrap();
            tx.commit().await.unwrap();
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let mut tx = t.begin().await;
    let other = sign_in_tries::lock(&mut tx, digest("bob")).await.unwrap();
    assert_eq!(other, Tries { failures: 0, last_at: Timestamp::UNIX_EPOCH });
    sign_in_tries::take_back(&mut tx, digest("bob")).await.unwrap();
    assert_eq!(sign_in_tries::lock(&mut tx, digest("bob")).await.unwrap().failures, 0);
    let ada = sign_in_tries::lock(&mut tx, digest("ada")).await.unwrap();
    assert_eq!(ada, Tries { failures: 8, last_at: at });
    sign_in_tries::take_back(&mut tx, digest("ada")).await.unwrap();
    assert_eq!(sign_in_tries::lock(&mut tx, digest("ada")).await.unwrap().failures, 7);
    assert_eq!(sign_in_tries::prune(&mut tx, at).await.unwrap(), 1, "bob's");
    sign_in_tries::forget(&mut tx, digest("ada")).await.unwrap();
    assert_eq!(sign_in_tries::lock(&mut tx, digest("ada")).await.unwrap().failures, 0);
}

both!(
    users_are_kept_changed_and_named_once,
    sessions_end_one_by_one_and_all_together,
    a_link_is_used_by_one_of_many,
    tries_at_the_same_time_are_all_counted,
);

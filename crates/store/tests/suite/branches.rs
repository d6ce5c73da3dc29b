//! Branches that nodes follow.

use backstay_store::{
    StoreError,
    branches::{self, Branch},
};
use backstay_types::*;

use crate::fixture::{Fixture, both, commit, stack};

fn branch(t: &Fixture, name: &str, release: ReleaseId) -> Branch {
    Branch {
        stack: stack("web"),
        branch: name.to_owned(),
        repository: t.mint(),
        tip: commit("b"),
        commit: commit("a"),
        release,
        schema: 2,
        base: Some(7),
        health: RepositoryHealth::Ok,
        updated_at: t.later(),
    }
}

async fn one_is_kept_as_it_was_read_last(t: Fixture) {
    let first = branch(&t, "try/it", t.mint());
    let other = Branch { stack: stack("api"), base: None, ..branch(&t, "try/it", t.mint()) };
    let mut tx = t.begin().await;
    assert!(branches::list(&mut tx).await.unwrap().is_empty());
    branches::put(&mut tx, &first, &[commit("a"), commit("b")]).await.unwrap();
    branches::put(&mut tx, &other, &[]).await.unwrap();
    assert_eq!(branches::get(&mut tx, &first.stack, "try/it").await.unwrap().as_ref(), Some(&first));
    assert_eq!(branches::get(&mut tx, &first.stack, "try").await.unwrap(), None);
    assert_eq!(branches::list(&mut tx).await.unwrap(), [other.clone(), first.clone()]);
    let next = Branch { tip: commit("c"), release: t.mint(), updated_at: t.later(), ..first.clone() };
    branches::put(&mut tx, &next, &[commit("b"), commit("c")]).await.unwrap();
    assert_eq!(branches::get(&mut tx, &first.stack, "try/it").await.unwrap(), Some(next));
    let own = branches::commits(&mut tx, &first.stack, "try/it").await.unwrap();
    assert_eq!(own, [commit("b"), commit("c")].into());
    assert!(branches::commits(&mut tx, &other.stack, "try/it").await.unwrap().is_empty());
}

async fn its_state_changes_only_from_what_was_seen(t: Fixture) {
    let seen = branch(&t, "try", t.mint());
    let gone = RepositoryHealth::Unreachable { code: "BS2002".into(), message: "gone".into() };
    let mut tx = t.begin().await;
    branches::put(&mut tx, &seen, &[]).await.unwrap();
    branches::set_health(&mut tx, &seen, &gone, t.later()).await.unwrap();
    let stale = branches::set_health(&mut tx, &seen, &RepositoryHealth::Ok, t.later()).await;
    assert!(matches!(stale, Err(StoreError::Stale { .. })), "it is another already");
    let now = branches::get(&mut tx, &seen.stack, "try").await.unwrap().unwrap();
    assert_eq!(now.health, gone);
    let moved = Branch { tip: commit("d"), ..now };
    assert!(matches!(
        branches::set_health(&mut tx, &moved, &RepositoryHealth::Ok, t.later()).await,
        Err(StoreError::Stale { .. })
    ));
}

async fn a_release_is_found_by_itself_or_by_its_commit(t: Fixture) {
    let (mine, other): (ReleaseId, ReleaseId) = (t.mint(), t.mint());
    let row = branch(&t, "try", mine);
    let mut tx = t.begin().await;
    branches::put(&mut tx, &row, &[commit("b")]).await.unwrap();
    let web = stack("web");
    let of = async |tx: &mut _, stack: &StackName, release, at: &str| {
        branches::with_release(tx, stack, release, &commit(at)).await.unwrap().is_some()
    };
    assert!(of(&mut tx, &web, mine, "f").await);
    assert!(of(&mut tx, &web, other, "b").await, "an earlier one of the same branch");
    assert!(!of(&mut tx, &web, other, "f").await);
    assert!(!of(&mut tx, &stack("api"), mine, "b").await);
}

both!(
    one_is_kept_as_it_was_read_last,
    its_state_changes_only_from_what_was_seen,
    a_release_is_found_by_itself_or_by_its_commit
);

//! Releases.

use backstay_store::releases;
use backstay_types::*;

use crate::fixture::{Fixture, both, commit, digest, stack};

async fn the_same_tree_is_the_same_release(t: Fixture) {
    let repository = t.mint();
    let first = t.release(repository, "web", "tree");
    let mut tx = t.begin().await;
    assert_eq!(releases::ensure(&mut tx, &first).await.unwrap(), (first.clone(), true));
    let again = Release { commit: commit("b"), ..t.release(repository, "web", "tree") };
    assert_eq!(releases::ensure(&mut tx, &again).await.unwrap(), (first.clone(), false));
    let (other, new) = releases::ensure(&mut tx, &t.release(repository, "api", "tree")).await.unwrap();
    assert!(new);
    assert!(releases::add_commit(&mut tx, first.id, repository, &commit("c")).await.unwrap());
    assert!(!releases::add_commit(&mut tx, first.id, repository, &commit("c")).await.unwrap());
    let mut commits = releases::commits(&mut tx, first.id).await.unwrap();
    commits.sort();
    assert_eq!(commits, ["a", "b", "c"].map(|c| (repository, commit(c))));
    assert_eq!(releases::of_commit(&mut tx, repository, &commit("b")).await.unwrap(), [first.clone()]);
    assert_eq!(releases::of_commit(&mut tx, t.mint(), &commit("b")).await.unwrap(), []);
    assert_eq!(releases::get(&mut tx, first.id).await.unwrap().as_ref(), Some(&first));
    assert_eq!(
        releases::by_tree(&mut tx, &stack("api"), digest("tree")).await.unwrap().as_ref(),
        Some(&other)
    );
    assert_eq!(releases::by_tree(&mut tx, &stack("api"), digest("none")).await.unwrap(), None);
    assert_eq!(releases::with_tree(&mut tx, digest("tree")).await.unwrap(), [first.clone(), other.clone()]);
    assert_eq!(releases::many(&mut tx, &[first.id, t.mint(), other.id]).await.unwrap().len(), 2);
}

async fn a_stacks_releases_newest_first(t: Fixture) {
    let repository = t.mint();
    let mut tx = t.begin().await;
    let mut ids = Vec::new();
    for tree in ["1", "2", "3"] {
        ids.push(releases::ensure(&mut tx, &t.release(repository, "web", tree)).await.unwrap().0.id);
        releases::ensure(&mut tx, &t.release(repository, "api", tree)).await.unwrap();
    }
    let first = releases::of_stack(&mut tx, &stack("web"), None, 2).await.unwrap();
    assert_eq!(first.iter().map(|r| r.id).collect::<Vec<_>>(), [ids[2], ids[1]]);
    let rest = releases::of_stack(&mut tx, &stack("web"), Some(ids[1]), 2).await.unwrap();
    assert_eq!(rest.iter().map(|r| r.id).collect::<Vec<_>>(), [ids[0]]);
}

both!(the_same_tree_is_the_same_release, a_stacks_releases_newest_first);

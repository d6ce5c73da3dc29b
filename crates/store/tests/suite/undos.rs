//! Undos.

use backstay_store::{StoreError, undos};
use backstay_types::*;

use crate::fixture::{Fixture, both, commit, stack};

fn part(repository: RepositoryId, commits: &[&str], made: Option<&str>) -> RepositoryUndo {
    RepositoryUndo {
        repository,
        route: UndoRoute::Branch,
        base: commit("f"),
        commits: commits.iter().map(|c| commit(c)).collect(),
        skipped: vec![SkippedChange { commit: commit("e"), reason: "undone already".into() }],
        conflicts: vec![],
        files: vec!["stacks/web/compose.yaml".into()],
        commit: made.map(commit),
        push: PushState::NotYet,
    }
}

async fn from_planned_to_verified(t: Fixture) {
    let (repository, conversation) = (t.mint(), t.mint());
    let selector = UndoSelector::Conversation { conversation, meaning: Meaning::OnlyIts };
    let mut undo = t.undo(selector);
    undo.scope = UndoScope {
        nodes: Some("role=web".into()),
        stack: Some(stack("web")),
        part: Some("policy".parse().unwrap()),
    };
    undo.plan.repositories = vec![part(repository, &["a", "b"], None)];
    let id = undo.id;
    let mut tx = t.begin().await;
    undos::insert(&mut tx, &undo, "{\"asked\":1}").await.unwrap();
    assert_eq!(undos::get(&mut tx, id).await.unwrap().as_ref(), Some(&undo));
    assert_eq!(undos::request(&mut tx, id).await.unwrap().as_deref(), Some("{\"asked\":1}"));
    undos::set_request(&mut tx, id, "{\"asked\":2}").await.unwrap();
    assert_eq!(undos::request(&mut tx, id).await.unwrap().as_deref(), Some("{\"asked\":2}"));
    assert_eq!(undos::of_conversation(&mut tx, conversation).await.unwrap(), [undo.clone()]);
    assert_eq!(undos::open(&mut tx).await.unwrap().len(), 1);
    let plan = UndoPlan { repositories: vec![part(repository, &["a", "b"], Some("c"))], ..undo.plan.clone() };
    let (planned, rolling) = (UndoState::Planned, UndoState::RollingOut);
    undos::update(&mut tx, id, &planned, &rolling, &plan, t.later()).await.unwrap();
    let stale = undos::update(&mut tx, id, &planned, &UndoState::Verified, &plan, t.later()).await;
    assert!(matches!(stale, Err(StoreError::Stale { what: "undo", .. })));
    undos::update(&mut tx, id, &rolling, &rolling, &plan, t.later()).await.unwrap();
    let at = t.later();
    undos::update(&mut tx, id, &rolling, &UndoState::Verified, &plan, at).await.unwrap();
    let after = undos::get(&mut tx, id).await.unwrap().unwrap();
    assert_eq!((after.state, after.plan, after.finished_at), (UndoState::Verified, plan, Some(at)));
    assert!(undos::open(&mut tx).await.unwrap().is_empty());
    let commits = undos::commits(&mut tx, id).await.unwrap();
    let commits: Vec<_> = commits.into_iter().map(|c| (c.commit, c.made)).collect();
    assert_eq!(commits, [(commit("a"), false), (commit("b"), false), (commit("c"), true)]);
    assert!(undos::of_commit(&mut tx, repository, &commit("c")).await.unwrap()[0].made);
    assert!(undos::of_commit(&mut tx, t.mint(), &commit("c")).await.unwrap().is_empty());
}

async fn every_selector_and_state_comes_back(t: Fixture) {
    let first = t.mint();
    let selectors = [
        UndoSelector::Time { to: t.later(), exact: true },
        UndoSelector::Commit { repository: t.mint(), to: commit("a") },
        UndoSelector::Deployment { deployment: t.mint() },
        UndoSelector::Last,
        UndoSelector::Undo { undo: first },
    ];
    let mut tx = t.begin().await;
    let mut all = Vec::new();
    for selector in selectors {
        let undo = Undo {
            state: UndoState::Failed { reason: "it 'would' not\0".into() },
            finished_at: Some(t.later()),
            ..t.undo(selector)
        };
        undos::insert(&mut tx, &undo, "{}").await.unwrap();
        all.push(undo);
    }
    all.reverse();
    assert_eq!(undos::list(&mut tx, None, 3).await.unwrap(), all[..3]);
    assert_eq!(undos::list(&mut tx, Some(all[2].id), 9).await.unwrap(), all[3..]);
    assert_eq!(undos::of_undo(&mut tx, first).await.unwrap(), all[..1]);
    assert_eq!(undos::many(&mut tx, &[all[0].id, t.mint()]).await.unwrap(), all[..1]);
    assert!(matches!(undos::insert(&mut tx, &all[0], "{}").await, Err(StoreError::Conflict { .. })));
}

both!(from_planned_to_verified, every_selector_and_state_comes_back);

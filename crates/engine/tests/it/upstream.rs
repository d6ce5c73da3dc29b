use backstay_types::PushState;

use crate::fleet::Fleet;

#[tokio::test]
async fn a_protected_branch_gets_a_branch_and_nodes_stay_back_until_it_is_merged() {
    let mut fleet = Fleet::new().await;
    let a = fleet.conversation();
    fleet.change("hello", "welcome", a);
    fleet.deploy().await;
    fleet.upstream.protect("main");
    let undo = fleet.undo(fleet.only_its(a)).await;
    fleet.assert_verified(&undo);
    fleet.assert_all_run(&["hello"], &["welcome"]).await;
    let PushState::AwaitingMerge { branch: Some(branch), command, .. } = &undo.plan.repositories[0].push
    else {
        panic!("{:?}", undo.plan.repositories[0].push)
    };
    assert!(command.contains(branch), "{command}");
    assert!(fleet.upstream.tip(branch).is_some());
    fleet.deploy().await;
    fleet.assert_all_run(&["hello"], &["welcome"]).await;

    // Work goes on upstream without the undo; nodes get it with the undo on top.
    fleet.upstream.unprotect();
    fleet.change("quiet", "loud", fleet.conversation());
    fleet.upstream.protect("main");
    fleet.deploy().await;
    fleet.assert_all_run(&["hello", "loud"], &["welcome"]).await;
    let again = fleet.settled_push(undo.id).await;
    let PushState::AwaitingMerge { branch: Some(second), .. } = &again.plan.repositories[0].push else {
        panic!("{:?}", again.plan.repositories[0].push)
    };
    assert_ne!(second, branch, "the first branch stays as somebody may have seen it");
    assert!(fleet.upstream.file(second, "stacks/web/compose.yaml").unwrap().contains("loud"));

    // A person merges it.
    fleet.upstream.unprotect();
    fleet.work.git(&["fetch", "origin", second]);
    fleet.work.git(&["merge", "--no-edit", "FETCH_HEAD"]);
    fleet.work.push();
    fleet.deploy().await;
    fleet.assert_all_run(&["hello", "loud"], &["welcome"]).await;
    let undo = fleet.settled_push(undo.id).await;
    assert_eq!(undo.plan.repositories[0].push, PushState::Done);
}

#[tokio::test]
async fn nodes_go_back_while_git_is_away_and_the_push_follows() {
    let mut fleet = Fleet::new().await;
    let a = fleet.conversation();
    fleet.change("hello", "welcome", a);
    fleet.deploy().await;
    let path = fleet.upstream.dir().to_owned();
    let aside = path.with_extension("aside");
    std::fs::rename(&path, &aside).unwrap();
    let undo = fleet.undo(fleet.only_its(a)).await;
    fleet.assert_verified(&undo);
    fleet.assert_all_run(&["hello"], &["welcome"]).await;
    assert!(matches!(undo.plan.repositories[0].push, PushState::AwaitingMerge { branch: None, .. }));
    // Asking again and again is no news.
    let events = fleet.events().await;
    for _ in 0..3 {
        fleet.engine.push_pending(fleet.repository).await.unwrap();
    }
    assert_eq!(fleet.events().await, events);
    std::fs::rename(&aside, &path).unwrap();
    fleet.engine.sync_repository(fleet.repository).await.unwrap();
    fleet.engine.push_pending(fleet.repository).await.unwrap();
    let undo = fleet.settled_push(undo.id).await;
    assert_eq!(undo.plan.repositories[0].push, PushState::Done);
    assert!(fleet.upstream.file("main", "stacks/web/compose.yaml").unwrap().contains("hello"));
}

#[tokio::test]
async fn a_tip_that_moved_is_met_by_computing_again() {
    let mut fleet = Fleet::new().await;
    let a = fleet.conversation();
    fleet.change("hello", "welcome", a);
    fleet.deploy().await;
    // Pushed, but not fetched yet.
    fleet.change("quiet", "loud", fleet.conversation());
    let undo = fleet.undo(fleet.only_its(a)).await;
    assert_eq!(undo.plan.repositories[0].push, PushState::Done);
    fleet.deploy().await;
    fleet.assert_all_run(&["hello", "loud"], &["welcome"]).await;
    let upstream = fleet.upstream.file("main", "stacks/web/compose.yaml").unwrap();
    assert!(upstream.contains("hello") && upstream.contains("loud"), "{upstream}");
}

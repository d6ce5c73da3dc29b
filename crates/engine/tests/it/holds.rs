use backstay_types::ReleaseStanding;

use crate::fleet::Fleet;

#[tokio::test]
async fn an_unrelated_commit_on_top_does_not_slip_a_held_change_through() {
    let mut fleet = Fleet::new().await;
    let a = fleet.conversation();
    fleet.work.write("stacks/web/compose.yaml", &crate::fleet::COMPOSE.replace("hello", "welcome"));
    let held = fleet.commit("Held", Some(a));
    fleet.away = vec!["one".to_owned(), "two".to_owned(), "three".to_owned()];
    fleet.deploy().await;
    let hold = fleet.engine.hold_commit(fleet.repository, held, "not yet", None, "test").await.unwrap();
    fleet.away.clear();
    fleet.change("quiet", "loud", fleet.conversation());
    fleet.deploy().await;
    fleet.assert_all_run(&["hello", "quiet"], &[]).await;

    let stack =
        backstay_store::stacks::get(&mut fleet.store.read(), &"web".parse().unwrap()).await.unwrap().unwrap();
    let release = backstay_store::releases::get(&mut fleet.store.read(), stack.release.unwrap())
        .await
        .unwrap()
        .unwrap();
    let standing = fleet.engine.standing(&release).await.unwrap();
    assert!(matches!(standing, ReleaseStanding::Held { .. }), "{standing:?}");

    fleet.engine.lift(hold.id, "go", "test").await.unwrap();
    fleet.play(|_, _| true).await;
    fleet.assert_all_run(&["welcome", "loud"], &[]).await;
}

#[tokio::test]
async fn a_hold_stands_against_what_contains_the_change_and_nothing_before_it() {
    let mut fleet = Fleet::new().await;
    fleet.change("hello", "welcome", fleet.conversation());
    fleet.deploy().await;
    let b = fleet.conversation();
    let held = fleet.change("quiet", "loud", b);
    fleet.deploy().await;
    fleet.engine.hold_commit(fleet.repository, held, "not this one", None, "test").await.unwrap();
    let stack = "web".parse().unwrap();
    let found = backstay_store::releases::of_stack(&mut fleet.store.read(), &stack, None, 9).await.unwrap();
    let mut standing = Vec::new();
    for release in &found {
        standing.push(fleet.engine.standing(release).await.unwrap() == ReleaseStanding::Eligible);
    }
    assert_eq!(standing, [false, true, true], "newest first");
    // What takes the change back brings a tree from before it, and goes out although the hold stands.
    let undo = fleet.undo(fleet.only_its(b)).await;
    fleet.assert_verified(&undo);
    fleet.assert_all_run(&["welcome", "quiet"], &["loud"]).await;
}

#[tokio::test]
async fn a_force_push_that_drops_the_undo_does_not_bring_the_change_back() {
    let mut fleet = Fleet::new().await;
    let a = fleet.conversation();
    fleet.change("hello", "welcome", a);
    fleet.deploy().await;
    let with_change = fleet.work.head();
    fleet.undo(fleet.only_its(a)).await;
    fleet.work.pull();
    fleet.work.reset(&with_change);
    fleet.work.write("README.md", "Rewritten.\n");
    fleet.work.commit(&backstay_testkit::CommitSpec::new("Without the undo"));
    fleet.work.push_force();
    let repository = fleet.deploy().await;
    let backstay_types::RepositoryHealth::Rewritten { found } = repository.health else {
        panic!("{:?}", repository.health)
    };
    fleet.engine.accept_rewrite(fleet.repository, found, "test").await.unwrap();
    fleet.play(|_, _| true).await;
    fleet.assert_all_run(&["hello"], &["welcome"]).await;
}

#[tokio::test]
async fn a_nodes_full_disk_bans_no_release_and_is_tried_again_later() {
    let mut fleet = Fleet::new().await;
    fleet.full = vec!["two".to_owned()];
    let a = fleet.conversation();
    fleet.change("hello", "welcome", a);
    fleet.deploy().await;
    for (node, with, without) in
        [("one", "welcome", "hello"), ("two", "hello", "welcome"), ("three", "welcome", "hello")]
    {
        fleet.assert_runs(node, &[with], &[without]).await;
    }
    let now = fleet.world.now();
    let standing = backstay_store::constraints::in_force(&mut fleet.store.read(), now).await.unwrap();
    assert!(standing.is_empty(), "{standing:?}");
    let attempts = fleet.deployments().await.len();
    fleet.full.clear();
    fleet.later();
    fleet.play(|_, _| true).await;
    assert_eq!(fleet.deployments().await.len(), attempts, "not at once");
    for _ in 0..15 {
        fleet.later();
    }
    fleet.play(|_, _| true).await;
    fleet.assert_all_run(&["welcome"], &["hello"]).await;
    assert_eq!(fleet.deployments().await.len(), attempts + 1);
}

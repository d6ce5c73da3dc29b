//! The hub's clock is set back: what is planned goes on in the order in which it happened.

use backstay_types::{LeaveSafeMode, RolloutState, UndoState};

use crate::fleet::Fleet;

/// Planning again comes to nothing.
async fn assert_quiet(fleet: &Fleet) {
    fleet.engine.reconcile().await.unwrap();
    let (events, deployments) = (fleet.events().await, fleet.deployments().await.len());
    for _ in 0..5 {
        fleet.engine.reconcile().await.unwrap();
    }
    assert_eq!((fleet.events().await, fleet.deployments().await.len()), (events, deployments));
}

#[tokio::test]
async fn a_clock_that_is_set_back_sets_nothing_off_again() {
    for (hours, restarts) in [(1, false), (1, true), (24 * 365 * 50, true)] {
        let mut fleet = Fleet::new().await;
        let before = fleet.deployments().await.len();
        let conversation = fleet.conversation();
        fleet.change("hello", "welcome", conversation);
        fleet.deploy().await;
        fleet.set_back(hours);
        if restarts {
            fleet.restart().await;
        }
        assert_quiet(&fleet).await;
        fleet.change("quiet", "loud", fleet.conversation());
        fleet.deploy().await;
        fleet.assert_all_run(&["welcome", "loud"], &[]).await;
        assert_eq!(fleet.deployments().await.len(), before + 6, "two for each node, {hours} hours");
        assert_quiet(&fleet).await;
        let undo = fleet.undo(fleet.only_its(conversation)).await;
        assert_eq!(undo.state, UndoState::Verified, "{hours} hours");
        fleet.assert_all_run(&["hello", "loud"], &["welcome"]).await;
        assert_eq!(fleet.deployments().await.len(), before + 9, "three for each node, {hours} hours");
        let all = backstay_store::rollouts::list(&mut fleet.store.read(), None, None, 100).await.unwrap();
        assert!(all.iter().all(|rollout| rollout.state == RolloutState::Succeeded), "{all:#?}");
        assert_quiet(&fleet).await;
    }
}

#[tokio::test]
async fn an_operators_word_reaches_its_node_once_after_the_clock_was_set_back() {
    let fleet = Fleet::new().await;
    let node = fleet.nodes["one"];
    let held = fleet.statement(node).await.unwrap();
    fleet.later();
    let safe_mode = fleet.world.mint();
    let word = LeaveSafeMode { safe_mode, by: "op".to_owned(), reason: "mended".to_owned() };
    fleet.engine.leave_safe_mode(node, word.clone()).await.unwrap();
    fleet.set_back(1);
    fleet.engine.reconcile().await.unwrap();
    let given = fleet.statement(node).await.unwrap();
    assert_eq!(given.leave_safe_mode, Some(word));
    assert!(given.issued_at > held.issued_at, "its agent takes it");
    for _ in 0..3 {
        fleet.later();
        fleet.engine.reconcile().await.unwrap();
    }
    assert_eq!(fleet.statement(node).await.unwrap(), given, "it is said once");
}

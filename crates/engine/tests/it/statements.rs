//! What nodes are told.

use backstay_types::{DeploymentState, LeaveSafeMode};

use crate::fleet::Fleet;

#[tokio::test]
async fn a_node_that_has_nothing_to_run_hears_an_operators_word_and_nothing_twice() {
    let mut fleet = Fleet::new().await;
    fleet.join("four").await;
    let node = fleet.nodes["four"];
    // Nothing ever ran there, and the first release does not either: its statement has no line left.
    fleet.change("hello", "welcome", fleet.conversation());
    fleet.later();
    fleet.engine.sync_repository(fleet.repository).await.unwrap();
    fleet.play(|name, _| name != "four").await;
    let held = fleet.statement(node).await.unwrap();
    assert_eq!(held.stacks, []);
    fleet.later();
    let safe_mode = fleet.world.mint();
    let word = LeaveSafeMode { safe_mode, by: "op".to_owned(), reason: "mended".to_owned() };
    fleet.engine.leave_safe_mode(node, word.clone()).await.unwrap();
    fleet.later();
    fleet.engine.reconcile().await.unwrap();
    let given = fleet.statement(node).await.unwrap();
    assert_eq!(given.leave_safe_mode, Some(word));
    assert!(given.issued_at > held.issued_at);
    fleet.later();
    fleet.engine.reconcile().await.unwrap();
    assert_eq!(fleet.statement(node).await.unwrap(), given);
}

#[tokio::test]
async fn what_a_node_did_while_it_could_not_be_told_that_it_was_given_up_is_what_it_runs() {
    let mut fleet = Fleet::new().await;
    let conversation = fleet.conversation();
    let commit = fleet.change("hello", "welcome", conversation);
    fleet.later();
    fleet.engine.sync_repository(fleet.repository).await.unwrap();
    fleet.engine.reconcile().await.unwrap();
    let told = fleet.statement(fleet.nodes["one"]).await.unwrap().stacks.pop().unwrap();
    let (node, reports) = fleet.obey_unheard("one").await;
    // It is held, and given up where nobody has begun, as far as the hub knows.
    fleet.later();
    fleet.engine.hold_commit(fleet.repository, commit, "not now", None, "op").await.unwrap();
    fleet.play(|_, _| true).await;
    let given_up = fleet.deployments().await.into_iter().find(|d| d.id == told.deployment).unwrap();
    assert_eq!(given_up.state, DeploymentState::Superseded);
    fleet.engine.take_reports(node, reports).await.unwrap();
    let count = fleet.deployments().await.len();
    fleet.play(|_, _| true).await;
    let done = fleet.deployments().await.into_iter().find(|d| d.id == told.deployment).unwrap();
    assert_eq!(done.state, DeploymentState::Succeeded);
    let says = fleet.statement(node).await.unwrap().stacks.pop().unwrap();
    assert_eq!(
        says.deployment, told.deployment,
        "it is asked for what it has done, and not for what was before"
    );
    assert_eq!(fleet.deployments().await.len(), count, "and nothing is planned for it");
    // What is taken back is taken back there too.
    let undo = fleet.undo(fleet.only_its(conversation)).await;
    fleet.assert_verified(&undo);
    fleet.assert_all_run(&["hello"], &["welcome"]).await;
}

#[tokio::test]
async fn a_stack_that_leaves_its_repository_half_way_ends_its_rollout() {
    let mut fleet = Fleet::new().await;
    fleet.work.write("fleet.toml", "[rollout]\nwaves = [\"ring=one\", \"100%\"]\nsoak = \"1h\"\n");
    fleet.work.write("stacks/other/compose.yaml", crate::fleet::COMPOSE);
    fleet.commit("Another stack, and waves", None);
    fleet.deploy().await;
    for _ in 0..61 {
        fleet.later();
    }
    fleet.play(|_, _| true).await;
    fleet.change("hello", "welcome", fleet.conversation());
    fleet.deploy().await;
    fleet.assert_runs("one", &["welcome"], &[]).await;
    fleet.assert_runs("two", &["hello"], &[]).await;
    fleet.work.remove("stacks/web/compose.yaml");
    fleet.commit("It is gone", None);
    fleet.deploy().await;
    let running = backstay_store::rollouts::running(&mut fleet.store.read()).await.unwrap();
    assert!(running.is_empty(), "{running:#?}");
    assert!(fleet.deployments().await.iter().all(|deployment| deployment.state.is_final()));
    // Nobody said that it may be taken away.
    fleet.assert_runs("one", &["welcome"], &[]).await;
    fleet.assert_runs("two", &["hello"], &[]).await;
}

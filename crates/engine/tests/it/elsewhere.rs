//! Data of one node in the place of what another one has: who has to have proven what first.

use backstay_engine::EngineError;
use backstay_store::nodes;
use backstay_types::{
    Digest, Node,
    backup::{Destination, RestoreWork, SnapshotId},
};

use crate::fleet::Fleet;

async fn node(fleet: &Fleet, name: &str) -> Node {
    nodes::get(&mut fleet.store.read(), fleet.nodes[name]).await.unwrap().unwrap()
}

async fn check(fleet: &Fleet, of: &str, on: &str, destination: Destination) -> Result<(), EngineError> {
    let (of, on) = (node(fleet, of).await, node(fleet, on).await);
    let work = RestoreWork {
        snapshot: SnapshotId::new(Digest::of(b"x")),
        stack: "web".parse().unwrap(),
        of_node: Some(of.id),
        items: Vec::new(),
        paths: Vec::new(),
        destination,
    };
    fleet.engine.check_elsewhere(&of, &on, &work, None).await
}

#[tokio::test]
async fn a_stack_that_must_not_run_twice_has_to_have_stopped_where_its_data_is_from() {
    let mut fleet = Fleet::new().await;
    check(&fleet, "one", "two", Destination::InPlace).await.unwrap();
    fleet.work.write("stacks/web/stack.toml", "exclusive = true\n");
    fleet.commit("It must not run twice", None);
    fleet.deploy().await;
    let refused = check(&fleet, "one", "two", Destination::InPlace).await;
    assert!(
        matches!(&refused, Err(EngineError::NotStopped { node, .. }) if node.as_str() == "one"),
        "{refused:?}"
    );
    let folder = Destination::Folder { path: "/tmp/x".to_owned() };
    check(&fleet, "one", "two", folder).await.unwrap();
    // That nobody hears of it any more proves nothing.
    fleet.away.push("one".to_owned());
    fleet.engine.decommission(&node(&fleet, "one").await, false, "it is old", "ada").await.unwrap();
    fleet.play(|_, _| true).await;
    let refused = check(&fleet, "one", "two", Destination::InPlace).await;
    assert!(matches!(refused, Err(EngineError::NotStopped { .. })), "{refused:?}");
    // Its agent told that it took it away.
    fleet.away.clear();
    fleet.play(|_, _| true).await;
    assert!(node(&fleet, "one").await.revoked_at.is_some());
    check(&fleet, "one", "two", Destination::InPlace).await.unwrap();
    // A node that has nothing of it has nothing to be replaced.
    fleet.engine.decommission(&node(&fleet, "three").await, false, "it is old", "ada").await.unwrap();
    fleet.play(|_, _| true).await;
    let refused = check(&fleet, "two", "three", Destination::InPlace).await;
    assert!(matches!(refused, Err(EngineError::RunsNot { .. })), "{refused:?}");
}

#[tokio::test]
async fn one_that_was_revoked_while_it_ran_proves_nothing() {
    let mut fleet = Fleet::new().await;
    fleet.work.write("stacks/web/stack.toml", "exclusive = true\n");
    fleet.commit("It must not run twice", None);
    fleet.deploy().await;
    fleet.engine.decommission(&node(&fleet, "one").await, true, "it burned", "ada").await.unwrap();
    let refused = check(&fleet, "one", "two", Destination::InPlace).await;
    assert!(matches!(refused, Err(EngineError::NotStopped { .. })), "{refused:?}");
}

#[tokio::test]
async fn data_waits_for_no_stack_that_was_taken_away() {
    let mut fleet = Fleet::new().await;
    let (web, never) = ("web".parse().unwrap(), "never".parse().unwrap());
    let one = node(&fleet, "one").await;
    fleet.engine.check_comes(&one, &web).await.unwrap();
    fleet.engine.check_comes(&one, &never).await.unwrap();
    // The machine is lost: another one may take its name.
    fleet.engine.decommission(&node(&fleet, "two").await, true, "it burned", "ada").await.unwrap();
    fleet.engine.check_comes(&node(&fleet, "two").await, &web).await.unwrap();
    // It was taken away, and told so.
    fleet.engine.decommission(&node(&fleet, "three").await, false, "it is old", "ada").await.unwrap();
    fleet.play(|_, _| true).await;
    let refused = fleet.engine.check_comes(&node(&fleet, "three").await, &web).await;
    assert!(
        matches!(&refused, Err(EngineError::RunsNot { node, .. }) if node.as_str() == "three"),
        "{refused:?}"
    );
}

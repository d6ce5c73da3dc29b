//! Nodes that are taken out of the fleet: what they run goes first, then their credential, and nothing holds that but a stop.

use backstay_engine::{EngineError, LimitEffect};
use backstay_store::{constraints, nodes, rollouts};
use backstay_types::{Cause, Effect, Node, RolloutKind, RolloutState};

use crate::{
    fleet::{COMPOSE, Fleet},
    limits::limit,
    parts::claw,
};

async fn node(fleet: &Fleet, name: &str) -> Node {
    nodes::get(&mut fleet.store.read(), fleet.nodes[name]).await.unwrap().unwrap()
}

async fn decommission(fleet: &Fleet, name: &str, keep_running: bool) {
    let node = node(fleet, name).await;
    fleet.engine.decommission(&node, keep_running, "it is old", "ada").await.unwrap();
}

async fn is_revoked(fleet: &Fleet, name: &str) -> bool {
    node(fleet, name).await.revoked_at.is_some()
}

fn runs(fleet: &Fleet, name: &str) -> bool {
    fleet.runs.contains_key(&(name.to_owned(), "web".to_owned()))
}

#[tokio::test]
async fn what_a_node_runs_goes_in_spite_of_freezes_and_then_it_is_revoked() {
    let mut fleet = Fleet::new().await;
    // Not one may be taken away by `[prune]`: this is no such removal.
    fleet
        .work
        .write("fleet.toml", "[[window]]\nopens = \"0 3 * * *\"\nlasts = \"1m\"\ntime_zone = \"UTC\"\n");
    fleet.commit("A window that is shut", None);
    fleet.deploy().await;
    fleet.engine.limit(limit(LimitEffect::Freeze { stack: None }, None), "ada").await.unwrap();
    fleet.engine.limit(limit(LimitEffect::Maintenance, Some("name=two")), "ada").await.unwrap();
    let looked = fleet.engine.plan_decommission(&node(&fleet, "two").await).await.unwrap();
    assert_eq!((looked.since, looked.stacks.len(), looked.stacks[0].stack.as_str()), (None, 1, "web"));
    fleet.engine.set_emergency_stop(true, "smoke", "ada").await.unwrap();
    decommission(&fleet, "two", false).await;
    let events = fleet.events().await;
    decommission(&fleet, "two", false).await;
    assert_eq!(fleet.events().await, events, "asked twice, it is done once");
    fleet.play(|_, _| true).await;
    assert!(runs(&fleet, "two") && !is_revoked(&fleet, "two").await, "everything is stopped");

    fleet.engine.set_emergency_stop(false, "air", "ada").await.unwrap();
    fleet.play(|_, _| true).await;
    assert!(!runs(&fleet, "two") && runs(&fleet, "one") && runs(&fleet, "three"));
    assert!(is_revoked(&fleet, "two").await);
    let removal = rollouts::list(&mut fleet.store.read(), None, None, 1).await.unwrap().remove(0);
    assert_eq!((removal.kind, &removal.cause), (RolloutKind::Removal, &Cause::Decommission));
    assert_eq!(
        (removal.state, removal.reason.as_str()),
        (RolloutState::Succeeded, "taken away from 1 of 1 nodes")
    );
    assert_eq!(fleet.told("node_decommissioned").await.len(), 1);
    assert_eq!(fleet.told("node_revoked").await[0].refs.node, Some(fleet.nodes["two"]));
    let left = constraints::in_force(&mut fleet.store.read(), fleet.world.now()).await.unwrap();
    assert!(left.iter().all(|one| one.effect != Effect::Decommission), "joined again, it stays");
    let events = fleet.events().await;
    fleet.play(|_, _| true).await;
    assert_eq!(fleet.events().await, events, "and that is all");
    let again = fleet.engine.plan_decommission(&node(&fleet, "two").await).await;
    assert!(matches!(again, Err(EngineError::Conflict(_))), "{again:?}");
}

#[tokio::test]
async fn one_that_is_away_waits_gets_nothing_new_holds_nobody_up_and_may_stay_after_all() {
    let mut fleet = Fleet::new().await;
    fleet.away.push("two".to_owned());
    decommission(&fleet, "two", false).await;
    fleet.play(|_, _| true).await;
    let a = fleet.conversation();
    fleet.change("blue", "green", a);
    fleet.deploy().await;
    fleet.assert_all_run(&["green"], &[]).await;
    let all = rollouts::list(&mut fleet.store.read(), None, None, 9).await.unwrap();
    let of = |kind| all.iter().find(|r| r.kind == kind).map(|r| r.state);
    assert_eq!(of(RolloutKind::Update), Some(RolloutState::Succeeded), "it is waited for by nobody");
    assert_eq!(of(RolloutKind::Removal), Some(RolloutState::Running));
    let undo = fleet.undo(fleet.only_its(a)).await;
    fleet.assert_verified(&undo);
    assert!(undo.plan.nodes.iter().all(|place| place.node.as_str() != "two"), "{:?}", undo.plan.nodes);
    assert!(!is_revoked(&fleet, "two").await);

    fleet.engine.cancel_decommission(&node(&fleet, "two").await, "we need it", "ada").await.unwrap();
    let twice = fleet.engine.cancel_decommission(&node(&fleet, "two").await, "we need it", "ada").await;
    assert!(matches!(twice, Err(EngineError::Conflict(_))), "{twice:?}");
    fleet.away.clear();
    fleet.play(|_, _| true).await;
    fleet.assert_all_run(&["blue"], &["green"]).await;
    assert!(!is_revoked(&fleet, "two").await);
    // Had it been away until now, it would go when it comes.
    decommission(&fleet, "two", false).await;
    fleet.play(|_, _| true).await;
    assert!(!runs(&fleet, "two") && is_revoked(&fleet, "two").await);
}

#[tokio::test]
async fn with_its_stacks_left_running_it_is_revoked_at_once() {
    let mut fleet = Fleet::new().await;
    decommission(&fleet, "two", true).await;
    assert!(is_revoked(&fleet, "two").await && runs(&fleet, "two"));
    fleet.play(|_, _| true).await;
    assert!(runs(&fleet, "two"));
    assert!(rollouts::list(&mut fleet.store.read(), None, None, 9).await.unwrap().len() == 1);
}

#[tokio::test]
async fn what_has_left_the_repository_goes_too_and_the_cap_counts_others_alone() {
    let mut fleet = Fleet::new().await;
    fleet.work.write("stacks/other/compose.yaml", COMPOSE);
    fleet.commit("Another", None);
    fleet.deploy().await;
    fleet.work.remove("stacks/web/compose.yaml");
    fleet.work.write("fleet.toml", "[[assign]]\nstack = \"other\"\nnodes = \"ring!=one\"\n");
    fleet.commit("Without the first", None);
    fleet.deploy().await;
    assert!(runs(&fleet, "two"), "nothing was said about taking away");
    decommission(&fleet, "two", false).await;
    fleet.play(|_, _| true).await;
    assert!(fleet.runs.keys().all(|(node, _)| node != "two"), "{:?}", fleet.runs);
    assert!(is_revoked(&fleet, "two").await);
    assert!(runs(&fleet, "one") && runs(&fleet, "three"));
    // One of the two that are left may lose what it is not assigned; that another leaves takes nothing of that.
    fleet.work.write(
        "fleet.toml",
        "[[assign]]\nstack = \"other\"\nnodes = \"ring=nobody\"\n[prune]\nenabled = true\nmax = 2\n",
    );
    decommission(&fleet, "three", false).await;
    fleet.commit("Nobody", None);
    fleet.deploy().await;
    assert!(is_revoked(&fleet, "three").await && fleet.runs.is_empty(), "{:?}", fleet.runs);
}

#[tokio::test]
async fn a_stack_in_parts_goes_whole() {
    let mut fleet = claw().await;
    decommission(&fleet, "two", false).await;
    fleet.play(|_, _| true).await;
    assert!(!runs(&fleet, "two") && is_revoked(&fleet, "two").await);
    fleet.work.write("stacks/web/policy/text", "2");
    fleet.commit("Another policy", None);
    fleet.deploy().await;
    assert!(runs(&fleet, "one") && !runs(&fleet, "two"));
}

#[tokio::test]
async fn a_removal_that_failed_is_tried_again_when_it_is_asked_for_again() {
    let mut fleet = Fleet::new().await;
    decommission(&fleet, "two", false).await;
    fleet.engine.reconcile().await.unwrap();
    fleet.fail_removal("two").await;
    fleet.play(|_, _| true).await;
    assert!(runs(&fleet, "two") && !is_revoked(&fleet, "two").await, "a person has to look");
    fleet.later();
    fleet.engine.cancel_decommission(&node(&fleet, "two").await, "it hung", "ada").await.unwrap();
    fleet.play(|_, _| true).await;
    fleet.later();
    decommission(&fleet, "two", false).await;
    fleet.play(|_, _| true).await;
    assert!(!runs(&fleet, "two") && is_revoked(&fleet, "two").await);
}

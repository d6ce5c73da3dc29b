//! Stacks that are no longer assigned: taken away only where `fleet.toml` says so, and never from more than it allows.

use backstay_engine::WhyQuestion;
use backstay_store::{desired, rollouts};
use backstay_types::{Cause, RepositoryHealth, Rollout, RolloutKind, RolloutState};

use crate::fleet::{COMPOSE, Fleet, want};

const ASSIGN_ONE: &str = "[[assign]]\nstack = \"web\"\nnodes = \"ring=one\"\n";
const ASSIGN_TWO: &str = "[[assign]]\nstack = \"web\"\nnodes = \"ring in (one,two)\"\n";
const PRUNE: &str = "[prune]\nenabled = true\n";

async fn removals(fleet: &Fleet) -> Vec<Rollout> {
    let mut all = rollouts::list(&mut fleet.store.read(), None, None, 100).await.unwrap();
    all.retain(|rollout| rollout.kind == RolloutKind::Removal);
    all
}

fn runs(fleet: &Fleet) -> Vec<&str> {
    let mut names: Vec<_> =
        fleet.runs.keys().filter(|(_, stack)| stack == "web").map(|(node, _)| node.as_str()).collect();
    names.sort_unstable();
    names
}

/// Why the statement of a node says what it says of the stack.
async fn reason(fleet: &Fleet, node: &str) -> Option<String> {
    let id = fleet.nodes[node];
    let all = desired::all_stacks(&mut fleet.store.read()).await.unwrap();
    all.into_iter().find(|line| line.node == id && line.stack.as_str() == "web").map(|line| line.reason)
}

#[tokio::test]
async fn a_node_loses_a_stack_only_with_leave_and_gets_it_back_by_an_undo() {
    let mut fleet = Fleet::new().await;
    fleet.work.write("fleet.toml", ASSIGN_TWO);
    let assigned = fleet.commit("Two are enough", None);
    fleet.deploy().await;
    assert_eq!(runs(&fleet).len(), 3, "nothing was said about taking away");
    assert!(reason(&fleet, "three").await.unwrap().contains("left as it is"));

    let a = fleet.conversation();
    fleet.work.write("fleet.toml", &format!("{ASSIGN_TWO}{PRUNE}"));
    fleet.commit("And take it away", Some(a));
    fleet.deploy().await;
    assert_eq!(runs(&fleet), ["one", "two"]);
    let removal = removals(&fleet).await.pop().unwrap();
    assert_eq!(removal.state, RolloutState::Succeeded);
    assert_eq!(removal.reason, "taken away from 1 of 1 nodes");
    assert_eq!(removal.cause, Cause::Change { repository: fleet.repository, commit: assigned });
    let events = fleet.events().await;
    fleet.engine.reconcile().await.unwrap();
    assert_eq!(fleet.events().await, events, "and that is all");
    assert_eq!(reason(&fleet, "three").await, None);
    assert!(fleet.statement(fleet.nodes["three"]).await.unwrap().stacks.is_empty());

    // Where it was taken away, nobody is told that it runs; what ran last is still explained.
    let why = async |node: &str, file: Option<&str>| {
        let (stack, file) = ("web".parse().unwrap(), file.map(str::to_owned));
        let question = WhyQuestion { node: fleet.nodes[node], stack, line: file.as_ref().map(|_| 5), file };
        fleet.engine.why(&question).await.unwrap()
    };
    for file in [None, Some("compose.yaml")] {
        let gone = why("three", file).await;
        let removed = gone.removed.unwrap();
        assert_eq!(removed.rollout, removal.id);
        assert!(
            removed.at >= removal.created_at
                && removed.reason.starts_with("no longer assigned since commit ")
        );
        let there = why("one", file).await;
        assert_eq!((gone.release.id, there.removed), (there.release.id, None));
    }

    fleet.work.write("fleet.toml", &format!("{ASSIGN_ONE}{PRUNE}"));
    fleet.commit("One is enough", Some(a));
    fleet.deploy().await;
    assert_eq!(runs(&fleet), ["one"]);
    let undo = fleet.undo(fleet.only_its(a)).await;
    fleet.assert_verified(&undo);
    let moved: Vec<_> = undo.plan.nodes.iter().map(|m| m.node.as_str()).collect();
    assert_eq!(moved, ["two"], "the plan says who gets it back");
    assert_eq!(runs(&fleet), ["one", "two"]);
    fleet.assert_runs("two", &["hello"], &[]).await;
    let question =
        WhyQuestion { node: fleet.nodes["two"], stack: "web".parse().unwrap(), file: None, line: None };
    assert_eq!(fleet.engine.why(&question).await.unwrap().removed, None, "it has it back");
}

#[tokio::test]
async fn a_stack_that_leaves_the_repository_goes_as_far_as_is_allowed() {
    let mut fleet = Fleet::new().await;
    fleet.work.write("stacks/other/compose.yaml", COMPOSE).write("fleet.toml", PRUNE);
    fleet.commit("Another", None);
    fleet.deploy().await;
    let a = fleet.conversation();
    fleet.work.remove("stacks/web/compose.yaml");
    fleet.commit("Without the first", Some(a));
    fleet.deploy().await;
    assert_eq!(runs(&fleet).len(), 3, "three are more than a tenth");
    let why = reason(&fleet, "one").await.unwrap();
    assert!(why.contains("no longer in the repository") && why.contains("3 nodes would lose it"), "{why}");
    assert!(why.contains("allows 1 at once ([prune] max)"), "{why}");

    fleet.work.write("fleet.toml", &format!("{PRUNE}max = \"100%\"\n"));
    fleet.commit("From all of them", None);
    fleet.deploy().await;
    assert!(runs(&fleet).is_empty());
    let removal = removals(&fleet).await.pop().unwrap();
    assert_eq!((removal.state, removal.finished_at.is_some()), (RolloutState::Succeeded, true));
    let undo = fleet.undo(fleet.only_its(a)).await;
    fleet.assert_verified(&undo);
    assert_eq!((runs(&fleet).len(), undo.plan.nodes.len()), (3, 3));
    fleet.assert_all_run(&["hello"], &[]).await;
}

#[tokio::test]
async fn what_cannot_be_read_or_lists_nothing_takes_nothing_away() {
    let mut fleet = Fleet::new().await;
    fleet.work.write("fleet.toml", &format!("{PRUNE}max = \"100%\"\n"));
    fleet.commit("Allow everything", None);
    fleet.deploy().await;
    let path = fleet.upstream.dir().to_owned();
    let aside = path.with_extension("aside");
    std::fs::rename(&path, &aside).unwrap();
    let gone = fleet.deploy().await;
    assert!(matches!(gone.health, RepositoryHealth::Unreachable { .. }), "{:?}", gone.health);
    std::fs::rename(&aside, &path).unwrap();
    fleet.work.write("fleet.toml", &format!("{PRUNE}max = \"100%\"\n[[assign]]\nstack = 1\n"));
    fleet.commit("Break it", None);
    fleet.deploy().await;
    fleet.work.write("fleet.toml", &format!("{PRUNE}max = \"100%\"\n"));
    fleet.work.remove("stacks/web/compose.yaml");
    fleet.commit("Nothing at all", None);
    fleet.deploy().await;
    assert_eq!((runs(&fleet).len(), removals(&fleet).await.len()), (3, 0));
    let to = backstay_types::UndoSelector::Last;
    assert!(
        fleet.engine.plan_undo(&want(to)).await.is_err(),
        "and nothing was rolled out that could be undone"
    );
}

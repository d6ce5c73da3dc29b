//! The crash matrix: `kill -9` of the agent at every step of a deployment, of a
//! way back and of a removal, on each side of each write. Each row names the
//! points at which successive runs of the agent die; then it runs undisturbed,
//! and the end state must be exactly the one that the row says: journal, links,
//! processes and reports, old or new and never neither.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use backstay_api::agent::ReportBody;
use backstay_types::{DeploymentId, DeploymentState, FailureKind, TreeDigest};
use support::{FakeHub, Node, Stack, eventually, process_stack};

/// What is deployed on top of what, and how it must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// `b` on top of `a`: it ends as `b`.
    Forward,
    /// `b`, watched for a while, on top of `a`: it ends as `b`.
    Baked,
    /// A bad release on top of `a` and `b`: it ends as `b`.
    Back,
    /// A bad release on top of nothing: it ends as nothing.
    BackToNothing,
    /// `b` on top of `a`, interrupted too often while it is started: it ends as `a`.
    GivenUp,
    /// `b` on top of `a` and, before it ended, `a` again: it ends as `a`.
    Undone,
    /// `b` is to be removed: it ends as nothing.
    Removed,
}

/// A row for each: name, way, and the points of the runs that die.
macro_rules! rows {
    ($($name:ident: $way:ident [$($points:literal),+];)*) => {$(
        #[test]
        fn $name() {
            row(Way::$way, &[$($points),+]);
        }
    )*};
}

rows! {
    // A deployment.
    statement_and_operation_before: Forward ["operation.before=return"];
    statement_and_operation_open: Forward ["operation.open=return"];
    statement_and_operation_after: Forward ["operation.after=return"];
    fetched: Forward ["fetch.downloaded=return"];
    unpacked: Forward ["stage.unpacked=return"];
    files_synced: Forward ["stage.synced=return"];
    release_renamed: Forward ["stage.renamed=return"];
    release_placed: Forward ["stage.placed=return"];
    staged_before: Forward ["staged.before=return"];
    staged_open: Forward ["staged.open=return"];
    staged_after: Forward ["staged.after=return"];
    ready_before: Forward ["ready.before=return"];
    ready_open: Forward ["ready.open=return"];
    ready_after: Forward ["ready.after=return"];
    saving_before: Forward ["saving.before=return"];
    saving_open: Forward ["saving.open=return"];
    saving_after: Forward ["saving.after=return"];
    activating_before: Forward ["activating.before=return"];
    activating_open: Forward ["activating.open=return"];
    activating_after: Forward ["activating.after=return"];
    previous_before: Forward ["link.previous.before=1*off->return"];
    previous_made: Forward ["link.previous.made=return"];
    previous_after: Forward ["link.previous.after=1*off->return"];
    current_before: Forward ["link.current.before=1*off->return"];
    current_made: Forward ["link.current.made=return"];
    current_after: Forward ["link.current.after=1*off->return"];
    up_before: Forward ["up.before=return"];
    up_old_stopped: Forward ["up.stopped=return"];
    up_new_started: Forward ["up.started=return"];
    up_after: Forward ["up.after=return"];
    probing_before: Forward ["probing.before=return"];
    probing_open: Forward ["probing.open=return"];
    probing_after: Forward ["probing.after=return"];
    committed_before: Forward ["committed.before=return"];
    committed_open: Forward ["committed.open=return"];
    committed_after: Forward ["committed.after=return"];
    acknowledged_before: Forward ["acked.before=return"];
    acknowledged_open: Forward ["acked.open=return"];
    acknowledged_after: Forward ["acked.after=return"];
    baking_before: Baked ["baking.before=return"];
    baking_open: Baked ["baking.open=return"];
    baking_after: Baked ["baking.after=return"];
    baked_committed_before: Baked ["committed.before=return"];
    baked_committed_after: Baked ["committed.after=return"];

    // Several deaths in a row.
    at_every_early_step: Forward [
        "operation.after=return", "fetch.downloaded=return", "stage.renamed=return", "staged.after=return",
        "ready.after=return", "activating.before=return", "committed.before=return"
    ];
    probing_again_and_again: Forward [
        "probing.after=return", "committed.before=return", "committed.open=return", "committed.before=return"
    ];
    recovering_before: Forward ["up.after=return", "recovered.before=return"];
    recovering_open: Forward ["up.after=return", "recovered.open=return"];
    just_started: Forward ["up.before=return", "start.opened=return"];

    // A second interruption of the start goes back.
    started_twice_up_after: GivenUp ["up.after=return", "up.after=return"];
    started_twice_links: GivenUp ["link.current.made=return", "up.before=return"];
    started_twice_in_the_child: GivenUp ["up.stopped=return", "up.stopped=return"];
    given_up_recovering_before: GivenUp ["up.after=return", "up.after=return", "recovered.before=return"];
    given_up_recovering_after: GivenUp ["up.after=return", "up.after=return", "recovered.after=return"];
    given_up_returned_before: GivenUp ["up.after=return", "up.after=return", "returned.before=return"];

    // The way back.
    returning_before: Back ["returning.before=return"];
    returning_open: Back ["returning.open=return"];
    returning_after: Back ["returning.after=return"];
    back_current_before: Back ["link.current.before=2*off->return"];
    back_current_made: Back ["link.current.made=1*off->return"];
    back_current_after: Back ["link.current.after=2*off->return"];
    back_previous_before: Back ["link.previous.before=2*off->return"];
    back_previous_made: Back ["link.previous.made=1*off->return"];
    back_previous_after: Back ["link.previous.after=2*off->return"];
    back_up_before: Back ["up.before=1*off->return"];
    back_up_bad_stopped: Back ["returning.after=return", "up.stopped=return"];
    back_up_old_started: Back ["returning.after=return", "up.started=return"];
    back_up_after: Back ["up.after=1*off->return"];
    returned_before: Back ["returned.before=return"];
    returned_open: Back ["returned.open=return"];
    returned_after: Back ["returned.after=return"];
    back_acknowledged_before: Back ["acked.before=return"];
    back_again_and_again: Back [
        "returning.after=return", "up.before=return", "up.stopped=return", "up.after=return",
        "returned.before=return"
    ];

    // The way back to nothing.
    nothing_returning_before: BackToNothing ["returning.before=return"];
    nothing_returning_after: BackToNothing ["returning.after=return"];
    nothing_current_after: BackToNothing ["link.current.after=1*off->return"];
    nothing_down_before: BackToNothing ["down.before=return"];
    nothing_down_after: BackToNothing ["down.after=return"];
    nothing_returned_before: BackToNothing ["returned.before=return"];
    nothing_returned_after: BackToNothing ["returned.after=return"];

    // A newer statement asks for what ran before.
    undone_returning_before: Undone ["probing.after=return", "returning.before=return"];
    undone_returning_after: Undone ["probing.after=return", "returning.after=return"];
    undone_up_after: Undone ["probing.after=return", "up.after=return"];
    undone_returned_before: Undone ["probing.after=return", "returned.before=return"];
    undone_returned_after: Undone ["probing.after=return", "returned.after=return"];
    undone_same_before: Undone ["probing.after=return", "same.before=return"];
    undone_same_after: Undone ["probing.after=return", "same.after=return"];

    // A removal.
    removal_operation_before: Removed ["operation.before=return"];
    removal_operation_after: Removed ["operation.after=return"];
    removal_down_before: Removed ["down.before=return"];
    removal_down_after: Removed ["down.after=return"];
    removed_before: Removed ["removed.before=return"];
    removed_after: Removed ["removed.after=return"];
    removed_current_before: Removed ["link.current.before=1*off->return"];
    removed_current_after: Removed ["link.current.after=1*off->return"];
    removed_prune_renamed: Removed ["prune.renamed=return"];
    removed_prune_removed: Removed ["prune.removed=return"];
}

fn row(way: Way, runs: &[&str]) {
    let hub = FakeHub::start();
    let mut node = Node::join(&hub);
    let (a, b, bad) = (process_stack("a", "true"), process_stack("b", "true"), process_stack("bad", "false"));
    let b = match way {
        Way::Baked => baked(b, "150ms"),
        // Long enough for the newer statement to come while it is watched.
        Way::Undone => baked(b, "10s"),
        _ => b,
    };
    let before: &[&Stack] = match way {
        Way::Forward | Way::Baked | Way::GivenUp | Way::Undone => &[&a],
        Way::Back => &[&a, &b],
        Way::BackToNothing => &[],
        Way::Removed => &[&b],
    };
    node.start("");
    for stack in before {
        let deployment = hub.deploy(stack);
        eventually("the state before", || hub.ends(deployment).pop());
    }
    eventually("all is told", || told(&node).then_some(()));
    node.kill();

    let mut deployment = match way {
        Way::Forward | Way::Baked | Way::GivenUp | Way::Undone => hub.deploy(&b),
        Way::Back | Way::BackToNothing => hub.deploy(&bad),
        Way::Removed => hub.remove(&b),
    };
    let whole: Vec<TreeDigest> = [&a, &b, &bad].map(Stack::tree).to_vec();
    for (n, points) in runs.iter().enumerate() {
        node.start(points);
        node.wait_killed();
        for link in ["current", "previous"] {
            assert!(node.link(link).is_none_or(|tree| whole.contains(&tree)), "{link} after {points}");
        }
        let nothing = matches!(way, Way::BackToNothing | Way::Removed);
        assert!(nothing || node.link("current").is_some(), "neither the old nor the new after {points}");
        if way == Way::Undone && n == 0 {
            deployment = hub.deploy(&a);
        }
    }
    node.start("");
    eventually("the end is told", || hub.ends(deployment).pop());
    eventually("all is told", || told(&node).then_some(()));
    eventually("nothing is left over", || node.leftovers().is_empty().then_some(()));
    check(way, &hub, &node, deployment, [&a, &b]);
}

fn baked(stack: Stack, time: &str) -> Stack {
    let manifest = stack.files.iter().find(|file| file.path == "stack.toml").unwrap();
    let text = String::from_utf8(manifest.content.clone()).unwrap();
    stack.file("stack.toml", &format!("{text}[bake]\nfor = \"{time}\"\n"))
}

/// Whether nothing is under way and the hub knows all.
fn told(node: &Node) -> bool {
    let status = node.status();
    status["operation"].is_null() && status["unsent_reports"] == 0
}

fn check(way: Way, hub: &FakeHub, node: &Node, deployment: DeploymentId, [a, b]: [&Stack; 2]) {
    let end = hub.ends(deployment);
    let [end] = &end[..] else { panic!("it ended more than once: {end:?}") };
    let as_promised = match (way, end) {
        (Way::Forward | Way::Baked | Way::Undone | Way::Removed, DeploymentState::Succeeded) => true,
        (Way::Back | Way::BackToNothing, DeploymentState::RolledBack { failure, .. }) => {
            *failure == FailureKind::Unhealthy
        }
        (Way::GivenUp, DeploymentState::RolledBack { failure, .. }) => *failure == FailureKind::Interrupted,
        _ => false,
    };
    assert!(as_promised, "{way:?} ended as {end:?}");
    let starts = hub.reports().into_iter().filter(
        |report| matches!(report.body, ReportBody::DeploymentStarted { deployment: d, .. } if d == deployment),
    );
    assert_eq!(starts.count(), 1, "it began once");

    let (current, previous, runs): (_, _, &[&str]) = match way {
        Way::Forward | Way::Baked | Way::Back => (Some(b.tree()), Some(a.tree()), &["b"]),
        Way::GivenUp | Way::Undone => (Some(a.tree()), None, &["a"]),
        Way::BackToNothing | Way::Removed => (None, None, &[]),
    };
    assert_eq!((node.link("current"), node.link("previous")), (current, previous), "links");
    eventually("the processes that should run", || (node.running() == runs).then_some(()));
    let record = &node.status()["stacks"]["web"];
    let text =
        |tree: Option<TreeDigest>| tree.map_or(serde_json::Value::Null, |tree| tree.to_string().into());
    assert_eq!((&record["committed"], &record["previous"]), (&text(current), &text(previous)), "journal");
}

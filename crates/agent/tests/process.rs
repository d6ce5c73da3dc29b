//! The process runtime, end to end with the real agent and a fake hub.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use backstay_types::{DeploymentState, FailureKind, Step};
use support::{FakeHub, Node, eventually, process_stack};

#[test]
fn a_release_is_deployed_and_a_bad_one_taken_back() {
    let hub = FakeHub::start();
    let mut node = Node::join(&hub);
    let (a, b, bad) = (process_stack("a", "true"), process_stack("b", "true"), process_stack("bad", "false"));
    node.start("");
    let first = hub.deploy(&a);
    eventually("a runs", || hub.ends(first).pop().filter(|end| *end == DeploymentState::Succeeded));
    assert_eq!((node.link("current"), node.link("previous")), (Some(a.tree()), None));
    assert_eq!(node.running(), ["a"]);

    let second = hub.deploy(&b);
    eventually("b runs", || hub.ends(second).pop().filter(|end| *end == DeploymentState::Succeeded));
    assert_eq!((node.link("current"), node.link("previous")), (Some(b.tree()), Some(a.tree())));
    assert_eq!(node.running(), ["b"]);

    let third = hub.deploy(&bad);
    let end = eventually("bad ends", || hub.ends(third).pop());
    let DeploymentState::RolledBack { step, failure, reason } = end else { panic!("{end:?}") };
    assert_eq!((step, failure), (Step::Probe, FailureKind::Unhealthy), "{reason}");
    assert_eq!((node.link("current"), node.link("previous")), (Some(b.tree()), Some(a.tree())));
    assert_eq!(node.running(), ["b"]);
    assert!(node.leftovers().is_empty());
}

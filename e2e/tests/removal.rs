//! Stacks that are no longer meant for a node: taken away only where `fleet.toml` says so; their data stays.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{fs, thread, time::Duration};

use backstay_e2e::{Fleet, Node, stacks::conf};
use backstay_testkit::eventually;
use backstay_types::NodeState;

const ASSIGN_ALPHA: &str = "[[assign]]\nstack = \"web\"\nnodes = \"name=alpha\"\n";
const ASSIGN_NOBODY: &str = "[[assign]]\nstack = \"web\"\nnodes = \"name=nobody\"\n";
const PRUNE: &str = "[prune]\nenabled = true\n";

/// Waits until the hub has seen `fleet.toml` as it is now.
fn set_fleet(fleet: &Fleet, text: &str, conversation: Option<backstay_types::ConversationId>) {
    fleet.tree.write("fleet.toml", text);
    let commit = fleet.commit("Say who runs it", conversation);
    eventually("the hub to see it", || {
        let tip = fleet.api.sync(backstay_e2e::REPOSITORY).tip.map(|tip| tip.to_string());
        if tip.as_deref() == Some(&commit) { Ok(()) } else { Err(format!("{tip:?}")) }
    });
}

fn is_gone(node: &Node) {
    eventually("the stack to be taken away", || match node.get("app.conf") {
        Ok(text) => Err(text),
        Err(_) => Ok(()),
    });
}

#[test]
fn a_stack_is_taken_away_in_so_many_words_and_its_data_stays() {
    let Some(fleet) = Fleet::of_processes(2) else { return };
    let beta = &fleet.nodes[1];
    let kept = beta.data().join("stacks/web/state/kept");
    fs::create_dir_all(kept.parent().unwrap()).unwrap();
    fs::write(&kept, "precious").unwrap();
    let a = fleet.api.conversation("session-a");

    set_fleet(&fleet, ASSIGN_ALPHA, None);
    thread::sleep(Duration::from_secs(2));
    fleet.all_serve(&conf(&[]));
    let shown = fleet.cli.run(&["nodes", "show", "beta"]);
    assert!(shown.contains("left as it is: no assignment selects this node"), "{shown}");

    set_fleet(&fleet, &format!("{ASSIGN_ALPHA}{PRUNE}"), Some(a));
    is_gone(beta);
    fleet.serves(&fleet.nodes[0], &conf(&[]));
    assert_eq!(fs::read_to_string(&kept).unwrap(), "precious");
    eventually("the hub to know", || {
        let view = fleet.api.node("beta");
        let runs = view.observed.iter().any(|stack| stack.current.is_some());
        if runs || !view.desired.is_empty() { Err(format!("{view:?}")) } else { Ok(()) }
    });
    let rollouts = fleet.cli.run(&["rollouts"]);
    assert!(rollouts.contains("taken away"), "{rollouts}");
    let newest = fleet.api.deployments("beta", "web").into_iter().next().unwrap();
    assert!(newest.deployment.state == backstay_types::DeploymentState::Succeeded);

    // One node of two is all that may go at once.
    set_fleet(&fleet, &format!("{ASSIGN_NOBODY}{PRUNE}max = 1\n"), Some(a));
    is_gone(&fleet.nodes[0]);
    let undo = fleet.cli.json(&["rollback", "--conversation", &a.to_string(), "--yes"]);
    assert_eq!(undo["state"]["state"], "verified", "{undo:#}");
    // Before the conversation, alpha alone was assigned.
    fleet.serves(&fleet.nodes[0], &conf(&[]));
    fleet.tree.pull();
    fleet.tree.remove("fleet.toml");
    let commit = fleet.commit("For everyone", None);
    fleet.deployed(&commit);
    fleet.all_serve(&conf(&[]));
    assert_eq!(fs::read_to_string(&kept).unwrap(), "precious");

    set_fleet(&fleet, &format!("{ASSIGN_NOBODY}{PRUNE}"), None);
    thread::sleep(Duration::from_secs(2));
    fleet.all_serve(&conf(&[]));
    let shown = fleet.cli.run(&["nodes", "show", "alpha"]);
    assert!(shown.contains("2 nodes would lose it"), "{shown}");
    fleet.cli.run(&["audit", "verify"]);
}

#[test]
fn a_node_is_taken_out_of_the_fleet_and_comes_back_as_the_same() {
    let Some(mut fleet) = Fleet::of_processes(2) else { return };
    let kept = fleet.nodes[1].data().join("stacks/web/state/kept");
    fs::create_dir_all(kept.parent().unwrap()).unwrap();
    fs::write(&kept, "precious").unwrap();
    let before = fleet.api.node("beta").node;
    let freeze = fleet.cli.json(&["freeze", "add", "--reason", "the fair"]);
    let looked = fleet.cli.run(&["nodes", "decommission", "beta", "--dry-run"]);
    assert!(looked.contains("stacks/web/state"), "{looked}");
    fleet.cli.run(&["nodes", "decommission", "beta", "--reason", "it is old", "--yes"]);
    is_gone(&fleet.nodes[1]);
    eventually("it is revoked", || match fleet.api.node("beta").state {
        NodeState::Revoked => Ok(()),
        state => Err(format!("{state:?}")),
    });
    assert_eq!(fs::read_to_string(&kept).unwrap(), "precious");
    fleet.serves(&fleet.nodes[0], &conf(&[]));
    let shown = fleet.cli.run(&["rollouts"]);
    let removal = shown.lines().find(|line| line.contains("taken away")).unwrap_or_else(|| panic!("{shown}"));
    assert!(removal.contains("succeeded") && removal.contains("decommission"), "{shown}");
    let ended = fleet.cli.run(&["timeline", "--node", "beta"]);
    assert!(ended.contains("taken out of the fleet") && ended.contains("it is old"), "{ended}");

    // Back again, in the same folder and under the same name.
    fleet.cli.run(&["freeze", "lift", freeze[0]["id"].as_str().unwrap(), "--reason", "over"]);
    let url = fleet.hub.url();
    fleet.nodes[1].join_again(url, &fleet.api);
    fleet.serves(&fleet.nodes[1], &conf(&[]));
    let back = fleet.api.node("beta").node;
    assert!(back.joined_at > before.joined_at, "what is due to it counts from when it came back");
    let joined_at = back.joined_at;
    assert_eq!(back, backstay_types::Node { joined_at, ..before }, "the same identity, with its labels");
    assert_eq!(fs::read_to_string(&kept).unwrap(), "precious");
    fleet.cli.run(&["audit", "verify"]);
}

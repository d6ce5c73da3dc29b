//! Going back to a time, and to a commit.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{thread::sleep, time::Duration};

use backstay_api::{Empty, v1};
use backstay_e2e::{
    Fleet,
    stacks::{conf, set_line},
};

/// The time by the hub's clock, which is this machine's, with room on both sides.
fn now(fleet: &Fleet) -> String {
    sleep(Duration::from_millis(1_100));
    let head = fleet.api.call::<v1::GetHub>(&Empty {}, &Empty {}, &Empty {});
    assert!(head.ledger.seq > 0);
    let output =
        std::process::Command::new("date").args(["--utc", "+%Y-%m-%dT%H:%M:%S.%NZ"]).output().unwrap();
    sleep(Duration::from_millis(100));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn back_to_a_time() {
    let Some(fleet) = Fleet::of_processes(3) else { return };
    let a = fleet.api.conversation("session-a");
    fleet.change(a, 2, "A2");
    let then = now(&fleet);
    fleet.change(a, 3, "A3");
    fleet.change(a, 4, "A4");
    let undo = fleet.rollback(&["--to", &then]);
    assert_eq!(undo["state"]["state"], "verified", "{undo:#}");
    fleet.all_serve(&conf(&[(2, "A2")]));
    assert_eq!(fleet.upstream_conf(), conf(&[(2, "A2")]));
}

#[test]
fn back_to_a_commit_by_its_first_digits() {
    let Some(fleet) = Fleet::of_processes(3) else { return };
    let a = fleet.api.conversation("session-a");
    let good = fleet.change(a, 2, "A2");
    fleet.change(a, 3, "A3");
    let undo = fleet.rollback(&["--to", &good[..10]]);
    assert_eq!(undo["state"]["state"], "verified", "{undo:#}");
    fleet.all_serve(&conf(&[(2, "A2")]));
    assert_eq!(fleet.upstream_conf(), conf(&[(2, "A2")]));
    let message = fleet.bare.message("main");
    assert!(message.contains("Backstay-Undo: "), "{message}");
}

#[test]
fn a_time_at_which_nodes_differed_is_the_branchs_or_each_nodes_own() {
    let Some(mut fleet) = Fleet::of_processes(3) else { return };
    let a = fleet.api.conversation("session-a");
    fleet.nodes[2].kill_agent();
    set_line(&fleet.tree, 2, "A2");
    fleet.commit("Set line 2", Some(a));
    for node in &fleet.nodes[..2] {
        fleet.serves(node, &conf(&[(2, "A2")]));
    }
    let then = now(&fleet);
    fleet.nodes[2].start_agent();
    fleet.settle();
    fleet.change(a, 3, "A3");
    fleet.all_serve(&conf(&[(2, "A2"), (3, "A3")]));

    // The rollout of line 2 was not complete then: the branch's state was the one before it.
    let plan = fleet.cli.json(&["rollback", "--to", &then, "--dry-run"]);
    let notes = plan["notes"].to_string();
    assert!(
        notes.contains("alpha") && notes.contains("beta"),
        "those that ran otherwise are listed: {plan:#}"
    );
    let exact = fleet.rollback(&["--to", &then, "--exact"]);
    assert_eq!(exact["state"]["state"], "verified", "{exact:#}");
    for node in &fleet.nodes {
        fleet.serves(node, &if node.name() == "gamma" { conf(&[]) } else { conf(&[(2, "A2")]) });
    }
}

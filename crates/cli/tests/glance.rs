//! What needs a person, as `backstay status`, `nodes list` and `drift` say it.

use std::fs;

use serde_json::json;

use crate::{
    hub::Fleet,
    played::{Played, drifting, safe_mode},
};

fn first_line(fleet: &Fleet) -> String {
    fleet.run(&["status"]).lines().next().unwrap().to_owned()
}

/// Whether there are colours, or what is left of them without their first character.
fn has_colours(text: &str) -> bool {
    text.contains('\u{1b}') || ["[0m", "[1m", "[2m", "[31m", "[32m"].iter().any(|code| text.contains(code))
}

#[test]
fn an_emergency_stop_is_said_first_with_what_ends_it() {
    let fleet = Fleet::following();
    assert!(first_line(&fleet).starts_with("All well  "), "{}", first_line(&fleet));
    fleet.run(&["emergency-stop", "--reason", "smoke in the rack"]);
    let text = fleet.run(&["status"]);
    assert!(text.starts_with("EVERYTHING IS STOPPED  "), "{text}");
    assert!(
        text.contains("smoke in the rack") && text.contains("`backstay emergency-stop --lift WHY`"),
        "{text}"
    );
    assert_eq!(fleet.json(&["status"])["stop"]["stopped"], true);
    fleet.run(&["emergency-stop", "--lift", "a false alarm"]);
    assert!(first_line(&fleet).starts_with("All well  "), "{}", first_line(&fleet));
}

#[test]
fn a_freeze_is_counted_while_it_is_in_force() {
    let fleet = Fleet::following();
    fleet.run(&["freeze", "add", "--reason", "later", "--from", "in 2h"]);
    assert!(first_line(&fleet).starts_with("All well  "), "{}", first_line(&fleet));
    fleet.run(&["freeze", "add", "--reason", "the fair"]);
    let text = fleet.run(&["status"]);
    assert!(text.starts_with("All well, 1 freeze in force  "), "{text}");
    assert!(text.contains("the fair") && text.contains("backstay hold lift ID"), "{text}");
}

#[test]
fn nodes_that_need_a_person_are_counted_named_and_found() {
    let fleet = Fleet::start();
    let [one, two] = ["n1", "n2"].map(|name| Played::join(&fleet, name, &json!({ "role": "web" })));
    one.says(&json!([]), &safe_mode());
    two.says(&drifting(), &json!({}));
    let text = fleet.run(&["status"]);
    assert!(text.starts_with("1 in safe mode, 1 drift given up on  "), "{text}");
    assert!(text.contains("backstay nodes leave-safe-mode n1 --reason WHY"), "{text}");
    assert!(text.contains("backstay drift n2"), "{text}");

    let listed = |only: &str| {
        let nodes = fleet.json(&["nodes", "list", "--only", only]);
        let names = nodes.as_array().unwrap().iter().map(|node| node["name"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(listed("safe-mode"), ["n1"]);
    assert_eq!(listed("drift"), ["n2"]);
    assert_eq!(listed("drifting"), ["n2"]);
    assert_eq!(listed("online"), ["n1", "n2"]);
    assert_eq!(listed("healthy"), ["n2"]);
    assert!(listed("offline").is_empty());
    assert_eq!(fleet.run(&["nodes", "list", "--only", "offline"]), "No node fits.\n");
    let both = fleet.run(&["nodes", "list", "--only", "online", "--nodes", "name=n2"]);
    assert!(both.contains("n2") && !both.contains("n1"), "{both}");
    assert_eq!(fleet.try_run(&["nodes", "list", "--only", "sleepy"]).code, 2);

    // Without a terminal there is no colour, and a cell within a cell leaves nothing of one.
    let table = fleet.run(&["nodes", "list"]);
    assert!(table.contains("online, safe mode  ") && !has_colours(&table), "{table}");
    for args in [&["nodes", "show", "n1"][..], &["status"], &["drift"], &["timeline"], &["hold", "list"]] {
        assert!(!has_colours(&fleet.run(args)), "{args:?}");
    }

    one.says(&json!([]), &json!({}));
    two.says(&json!([]), &json!({}));
    fleet.eventually("all is well again", || first_line(&fleet).starts_with("All well  "));
}

#[test]
fn drift_is_listed_for_all_or_for_one_node() {
    let fleet = Fleet::start();
    assert!(fleet.run(&["drift"]).starts_with("Nothing departs"));
    let [one, _two] = ["n1", "n2"].map(|name| Played::join(&fleet, name, &json!({})));
    one.says(&drifting(), &json!({}));
    let text = fleet.run(&["drift"]);
    let line = text.lines().nth(1).unwrap();
    for part in ["n1", "web", "NEEDS A PERSON", "file page.conf", "3×", "another SHA-256"] {
        assert!(line.contains(part), "{part}: {text}");
    }
    let found = fleet.json(&["drift", "n1"]);
    assert_eq!(
        (&found[0]["name"], &found[0]["drift"]["state"]),
        (&json!("n1"), &json!("escalated")),
        "{found}"
    );
    assert_eq!(fleet.json(&["drift", "n2"]), json!([]));
    let ran = fleet.try_run(&["drift", "nobody"]);
    assert!(ran.code == 4 && ran.err.starts_with("error[BS4004]"), "{}", ran.err);
    assert!(fleet.run(&["nodes", "show", "n1"]).contains("its content has another SHA-256"));
}

#[test]
fn agents_are_uploaded_brought_out_and_halted() {
    let fleet = Fleet::start();
    let node = Played::join(&fleet, "n1", &json!({}));
    node.says(&json!([]), &json!({}));
    let text = fleet.run(&["agents", "list"]);
    assert!(text.contains("0.1.0") && !text.contains("Here"), "{text}");
    // A program for another kind of machine: it cannot be asked for its version here.
    let mut program = vec![0; 64];
    program[..4].copy_from_slice(b"\x7fELF");
    program[18] = 243;
    fs::write(fleet.place.path("agent"), &program).unwrap();
    fleet.place.write("text", "no program");
    for (args, says) in [
        (&["agents", "update", "--to", "text"][..], "is no Linux program"),
        (&["agents", "update", "--to", "agent"], "does not say its version"),
        (&["agents", "update", "--to", "0.9.0"], "0.9.0"),
        (&["agents", "update", "--to", "agent", "--as", "0.2.0", "--soak", "long"], "not a length of time"),
        (&["agents", "update", "--to", "agent", "--as", "0.2.0", "--waves", "50,20"], "waves"),
        (&["agents", "halt", "--reason", "none runs"], "update"),
    ] {
        let ran = fleet.try_run(args);
        assert!(ran.code != 0 && ran.err.contains(says), "{args:?}: {} {}", ran.code, ran.err);
    }
    assert!(fleet.json(&["agents", "list"])["update"].is_null());
    assert_eq!(fleet.run(&["agents", "explain"]), "No update of agents was asked for.\n");

    let args = ["agents", "update", "--to", "agent", "--as", "0.2.0", "--waves", "50,100", "--soak", "1h"];
    let text = fleet.run(&args);
    assert!(text.contains("agent 0.2.0 for riscv64") && text.contains("goes out in 2 waves"), "{text}");
    let listed = fleet.json(&["agents", "list"]);
    assert_eq!(listed["update"]["version"], "0.2.0", "{listed}");
    assert_eq!(listed["builds"][0]["arch"], "riscv64", "{listed}");
    assert!(fleet.run(&["agents", "list"]).contains("Update to 0.2.0"));
    assert_ne!(fleet.try_run(&args).code, 0, "one at a time");

    fleet.run(&["agents", "halt", "--reason", "it smells"]);
    assert_eq!(fleet.json(&["agents", "list"])["update"]["state"], "halted");
    let text = fleet.run(&["status"]);
    assert!(text.starts_with("the update of agents halted  "), "{text}");
    assert!(text.contains("it smells") && text.contains("`backstay agents update --to VERSION`"), "{text}");

    let decided = fleet.json(&["agents", "explain", "--replay"]);
    let seen: Vec<_> =
        decided.as_array().unwrap().iter().map(|one| (&one["number"], &one["state"])).collect();
    assert_eq!(seen.first().unwrap(), &(&json!(1), &json!("running")), "{decided:#}");
    assert_eq!(
        (seen.last().unwrap().1, &decided[seen.len() - 1]["reason"]),
        (&json!("halted"), &json!("it smells"))
    );
    let text = fleet.run(&["agents", "explain", "--inputs"]);
    assert!(text.contains("  wave 1 by ") && text.contains(": it was asked for"), "{text}");
    assert!(text.lines().last().unwrap().contains(": it smells"), "{text}");
}

#[test]
fn a_fleet_that_is_not_well_is_never_called_well() {
    let fleet = Fleet::following();
    let nodes = ["n1", "n2", "n3", "n4"].map(|name| Played::join(&fleet, name, &json!({})));
    let rules = "[rollout.fleet]\nmin_nodes = 3\nwarn = \"5%\"\nhalt = \"10%\"\nstop = \"100%\"\n";
    fleet.place.write("fleet/fleet.toml", rules);
    fleet.git(&["add", "."]);
    let tip = fleet.change("Welcome", "Hello", "session-a");
    nodes.iter().for_each(|node| node.comes_to(&fleet, &tip));
    fleet.eventually("all is well", || first_line(&fleet).starts_with("All well  "));
    let down = |node: &Played| {
        let mut runs = drifting();
        runs[0]["health"] = json!("down");
        runs[0]["drift"] = json!([]);
        node.says(&runs, &json!({}));
    };
    nodes[..3].iter().for_each(down);
    fleet.eventually("it is not well", || {
        let text = fleet.run(&["status"]);
        text.starts_with("the fleet is not well, 3 not healthy  ")
            && text.contains("rollouts are paused")
            && text.contains("`backstay rollout resume ID --reason WHY`")
    });
    down(&nodes[3]);
    fleet.eventually("all of it was stopped", || {
        let text = fleet.run(&["status"]);
        text.starts_with("EVERYTHING IS STOPPED, the fleet is not well, 4 not healthy  ")
            && text.contains("4 of 4 nodes turned unhealthy")
            && text.contains("`backstay emergency-stop --lift WHY` and")
    });
}

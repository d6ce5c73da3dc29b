//! Freezes, pins, nodes left alone and windows, as people set and lift them, and what a node is told meanwhile.

use jiff::{Timestamp, civil::Weekday, tz::TimeZone};
use serde_json::{Value, json};

use crate::{hub::Fleet, played::Played};

/// A hub that follows a repository, and a node that runs its first commit.
fn running() -> (Fleet, Played, String) {
    let fleet = Fleet::following();
    let node = Played::join(&fleet, "n1", &json!({ "role": "web" }));
    let first = fleet.git(&["rev-parse", "HEAD"]).trim().to_owned();
    node.comes_to(&fleet, &first);
    (fleet, node, first)
}

/// What comes next waits: its rollout is there, and the node stays on what it runs.
fn waits(fleet: &Fleet, node: &Played, next: &str, runs: &str) -> String {
    let rollout = || {
        let all = fleet.json(&["rollouts", "--stack", "web"]);
        all.as_array().unwrap().iter().find(|one| one["commit"] == next).cloned()
    };
    fleet.eventually("the next rollout is there", || rollout().is_some());
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(node.does(fleet), runs, "it stays");
    rollout().unwrap()["id"].as_str().unwrap().to_owned()
}

fn refused(fleet: &Fleet, args: &[&str], code: i32, says: &str) {
    let ran = fleet.try_run(args);
    assert!(ran.code == code && ran.err.contains(says), "{args:?}: {} {}{}", ran.code, ran.out, ran.err);
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect()
}

#[test]
fn a_freeze_keeps_what_is_new_until_it_is_lifted() {
    let (fleet, node, first) = running();
    assert!(fleet.run(&["freeze", "list"]).starts_with("Nothing is"));
    let set = fleet.json(&["freeze", "add", "--reason", "the fair", "--until", "monday 06:00"]);
    assert_eq!((&set[0]["effect"], &set[0]["reason"]), (&json!("freeze"), &json!("the fair")));
    let until: Timestamp = set[0]["until"].as_str().unwrap().parse().unwrap();
    let until = until.to_zoned(TimeZone::UTC);
    assert_eq!((until.weekday(), until.hour()), (Weekday::Monday, 6), "in the time zone of the test");
    assert!(until.timestamp() > Timestamp::UNIX_EPOCH && set[0]["from"].is_null());
    assert_eq!(ids(&fleet.json(&["freeze", "list"])), ids(&set), "it is in force");
    let text = fleet.run(&["freeze", "list"]);
    assert!(text.contains("the fair") && text.contains("everyone") && text.contains("(in "), "{text}");
    assert_eq!(fleet.json(&["pin", "list"]), json!([]), "each lists its own");
    assert_eq!(ids(&fleet.json(&["hold", "list"])), ids(&set));

    let second = fleet.change("Welcome", "Hello", "session-a");
    let rollout = waits(&fleet, &node, &second, &first);
    let why = fleet.run(&["rollout", "explain", &rollout]);
    assert!(why.contains("the fair"), "{why}");
    let id = set[0]["id"].as_str().unwrap();
    fleet.run(&["freeze", "lift", id, "--reason", "it is over"]);
    node.comes_to(&fleet, &second);
    assert!(fleet.run(&["freeze", "list"]).starts_with("Nothing is"));
    assert!(fleet.run(&["freeze", "list", "--all"]).contains("lifted"));
}

#[test]
fn a_freeze_that_begins_later_holds_nothing_yet_and_one_rollout_may_go_past_another() {
    let (fleet, node, first) = running();
    let set = fleet.json(&["freeze", "add", "--reason", "the audit", "--from", "in 2h", "--until", "3 days"]);
    let at = |name: &str| set[0][name].as_str().unwrap().parse::<Timestamp>().unwrap();
    assert_eq!(at("until").duration_since(at("from")).as_hours(), 72, "a length counts from the beginning");
    assert!(fleet.run(&["freeze", "list"]).contains("from "));
    let second = fleet.change("Welcome", "Hello", "session-a");
    node.comes_to(&fleet, &second);
    fleet.run(&["freeze", "add", "--reason", "now", "--stack", "web", "--nodes", "role=web"]);
    let third = fleet.change("grey", "teal", "session-b");
    let rollout = waits(&fleet, &node, &third, &second);
    fleet.run(&["rollout", "override", &rollout, "--reason", "the shop is down"]);
    node.comes_to(&fleet, &third);
    assert_ne!(first, third);
}

#[test]
fn limits_that_make_no_sense_are_refused_and_nothing_is_set() {
    let (fleet, _node, _first) = running();
    let add = |args: &[&'static str]| [args, &["--reason", "x"]].concat();
    refused(&fleet, &["freeze", "add"], 2, "--reason");
    for (args, code, says) in [
        (add(&["freeze", "add", "--until", "yesterday"]), 2, "has passed already"),
        (add(&["freeze", "add", "--until", "someday"]), 2, "is not a time"),
        (add(&["freeze", "add", "--from", "2026-01-01 18:00"]), 2, "has passed already"),
        (add(&["freeze", "add", "--from", "in 2h", "--until", "in 1h"]), 1, "ends before it begins"),
        (add(&["freeze", "add", "--nodes", "nobody"]), 1, "matches none of 1 nodes"),
        (add(&["freeze", "add", "--nodes", "a in ("]), 1, "cannot read the selector"),
        (add(&["freeze", "add", "--stack", "Web!"]), 2, "no stack's name"),
        (add(&["freeze", "add", "--stack", "other"]), 4, "no stack `other`"),
        (add(&["freeze", "lift", "zz"]), 2, "is not a"),
        (add(&["freeze", "lift", "deadbeef"]), 2, "deadbeef"),
        (add(&["pin", "add", "other"]), 4, "no stack `other`"),
        (add(&["pin", "add", "web", "--to", "deadbeef"]), 4, "deadbeef"),
        (add(&["updates-off", "add", "nobody"]), 1, "matches none"),
        (add(&["maintenance", "add"]), 2, "<NODES>"),
        (add(&["maintenance", "add", ""]), 1, "expected which nodes"),
    ] {
        refused(&fleet, &args, code, says);
    }
    assert_eq!(fleet.json(&["hold", "list", "--all"]), json!([]));
}

#[test]
fn a_pin_holds_nodes_on_a_commit() {
    let (fleet, node, first) = running();
    let second = fleet.change("Welcome", "Hello", "session-a");
    node.comes_to(&fleet, &second);
    let set =
        fleet.json(&["pin", "add", "web", "--to", &first[..10], "--nodes", "n1", "--reason", "a trial"]);
    assert_eq!(
        (&set[0]["effect"], &set[0]["scope"]["selector"]),
        (&json!("pin"), &json!("name=n1")),
        "{set}"
    );
    node.comes_to(&fleet, &first);
    let text = fleet.run(&["pin", "list"]);
    assert!(text.contains("pin web to") && text.contains("a trial") && text.contains("name=n1"), "{text}");
    let names = |only: &str| fleet.run(&["nodes", "list", "--only", only]);
    assert!(names("pinned").contains("n1"), "{}", names("pinned"));
    fleet.run(&["pin", "lift", set[0]["id"].as_str().unwrap(), "--reason", "done"]);
    node.comes_to(&fleet, &second);
    // Without a commit: what the last rollout that did well brought.
    fleet.eventually("the rollout has succeeded", || {
        let all = fleet.json(&["rollouts", "--stack", "web"]);
        let is_it = |one: &&Value| one["commit"] == second.as_str() && one["state"] == "succeeded";
        node.does(&fleet) == second && all.as_array().unwrap().iter().any(|one| is_it(&one))
    });
    let all = fleet.json(&["rollouts", "--stack", "web"]);
    let set = fleet.json(&["pin", "add", "web", "--reason", "stay"]);
    let third = fleet.change("grey", "teal", "session-b");
    fleet.eventually("the commit is there", || fleet.json(&["stacks", "web"]).to_string().contains(&third));
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(node.does(&fleet), second, "first {first}; {all}");
    fleet.run(&["pin", "lift", set[0]["id"].as_str().unwrap(), "--reason", "go"]);
    node.comes_to(&fleet, &third);
}

#[test]
fn a_node_follows_another_branch_until_that_is_lifted() {
    let (fleet, node, first) = running();
    assert!(fleet.run(&["follow", "branches"]).starts_with("Every node follows the deployed branch"));
    let add =
        |more: &[&'static str]| [&["follow", "add", "--stack", "web", "--reason", "a trial"], more].concat();
    for (args, code, says) in [
        (add(&["n1", "--branch", "nothing"]), 1, "BS2002"),
        (add(&["n1", "--branch", "-x"]), 2, "--branch"),
        (add(&["n1", "--branch=../x"]), 1, "BS2004"),
        (add(&["n1", "--branch", "main"]), 1, "BS4019"),
        (add(&["nobody", "--branch", "main"]), 1, "matches none of 1 nodes"),
        (add(&["n1", "--branch", "main", "--until", "yesterday"]), 2, "has passed already"),
        (add(&["n1"]), 2, "--branch"),
    ] {
        refused(&fleet, &args, code, says);
    }
    assert_eq!(fleet.json(&["follow", "list"]), json!([]));
    fleet.git(&["switch", "--quiet", "--create", "try"]);
    fleet.place.write("fleet/stacks/web/tried.conf", "yes\n");
    fleet.git(&["add", "."]);
    fleet.git(&["commit", "--quiet", "--message", "Try it"]);
    fleet.git(&["push", "--quiet", "origin", "try"]);
    let tried = fleet.git(&["rev-parse", "HEAD"]).trim().to_owned();
    fleet.git(&["switch", "--quiet", "main"]);
    let set = fleet.json(&add(&["n1", "--branch", "try", "--until", "2h"]));
    assert_eq!(
        (&set[0]["effect"], &set[0]["branch"], &set[0]["scope"]["selector"]),
        (&json!("follow"), &json!("try"), &json!("name=n1")),
        "{set}"
    );
    node.comes_to(&fleet, &tried);
    let text = fleet.run(&["follow", "list"]);
    assert!(text.contains("web from branch try") && text.contains("a trial"), "{text}");
    let text = fleet.run(&["follow", "branches"]);
    assert!(text.contains("try") && text.contains("followed") && text.contains(&tried[..7]), "{text}");
    assert!(fleet.run(&["nodes", "list", "--only", "following"]).contains("n1"));
    let shown = fleet.run(&["nodes", "show", "n1"]);
    assert!(shown.contains("follows branch `try`"), "{shown}");
    assert!(fleet.run(&["timeline"]).contains("some nodes follow branch try"));
    // The deployed branch goes on without it.
    let second = fleet.change("grey", "teal", "session-b");
    fleet.eventually("the stack is at it", || fleet.json(&["stacks", "web"]).to_string().contains(&second));
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(node.does(&fleet), tried, "first {first}");
    fleet.run(&["follow", "lift", set[0]["id"].as_str().unwrap(), "--reason", "it was tried"]);
    node.comes_to(&fleet, &second);
    assert!(fleet.run(&["follow", "list"]).starts_with("Nothing is"));
}

#[test]
fn nodes_are_left_alone_until_that_is_lifted() {
    let (fleet, node, mut runs) = running();
    let lines = [("Welcome", "Hello", "session-a"), ("grey", "teal", "session-b")];
    for ((limit, effect), (from, to, session)) in
        [("updates-off", "updates_off"), ("maintenance", "maintenance")].into_iter().zip(lines)
    {
        let set = fleet.json(&[limit, "add", "n1", "--reason", "new disks", "--until", "2h"]);
        assert_eq!(
            (&set[0]["effect"], &set[0]["scope"]["selector"]),
            (&json!(effect), &json!("name=n1")),
            "{set}"
        );
        assert_eq!(ids(&fleet.json(&[limit, "list"])), ids(&set));
        let text = fleet.run(&[limit, "list"]);
        assert!(text.contains("new disks") && text.contains(&limit.replace('-', " ")), "{text}");
        assert!(fleet.run(&["nodes", "list", "--only", limit]).contains("n1"));
        let next = fleet.change(from, to, session);
        fleet.eventually("the stack is at it", || fleet.json(&["stacks", "web"]).to_string().contains(&next));
        std::thread::sleep(std::time::Duration::from_millis(500));
        assert_eq!(node.does(&fleet), runs, "{limit}");
        fleet.run(&[limit, "lift", set[0]["id"].as_str().unwrap(), "--reason", "they are in"]);
        node.comes_to(&fleet, &next);
        assert!(fleet.run(&[limit, "list"]).starts_with("Nothing is"));
        assert_eq!(fleet.run(&["nodes", "list", "--only", limit]), "No node fits.\n");
        runs = next;
    }
}

#[test]
fn windows_are_listed_and_keep_what_is_new() {
    let (fleet, node, first) = running();
    assert!(fleet.run(&["windows"]).starts_with("There are no windows"));
    assert_eq!(fleet.json(&["windows"]), json!([]));
    // Open for a minute on the last of February in leap years; by another clock that is days away at any time.
    let window =
        "schema = 1\n[[window]]\nopens = \"0 12 29 2 *\"\nfor = \"1m\"\ntime_zone = \"Asia/Tokyo\"\n";
    fleet.place.write("fleet/fleet.toml", &window.replace("0 12 29 2 *", "0 12 31 2 *"));
    let ran = fleet.try_run(&["check", "fleet"]);
    assert!(ran.code == 1 && ran.out.contains("fleet.toml:3"), "{}{}", ran.out, ran.err);
    fleet.place.write("fleet/fleet.toml", window);
    fleet.git(&["add", "."]);
    let second = fleet.change("Welcome", "Hello", "session-a");
    fleet.eventually("the window is known", || fleet.json(&["windows"])[0]["open"] == false);
    let windows = fleet.json(&["windows"]);
    assert_eq!((&windows[0]["opens"], &windows[0]["nodes"]), (&json!("0 12 29 2 *"), &json!(1)), "{windows}");
    let text = fleet.run(&["windows"]);
    assert!(
        text.contains("closed") && text.contains("everyone (1)") && text.contains("Asia/Tokyo"),
        "{text}"
    );
    let rollout = waits(&fleet, &node, &second, &first);
    let why = fleet.run(&["rollout", "explain", &rollout]);
    assert!(why.contains("window"), "{why}");
    fleet.place.write("fleet/fleet.toml", "schema = 1\n");
    let third = fleet.change("grey", "teal", "session-b");
    node.comes_to(&fleet, &third);
}

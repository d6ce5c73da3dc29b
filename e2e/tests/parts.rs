//! A stack in parts, from the commit to the container: hub, agents, Docker Compose.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use backstay_e2e::{Fleet, Node};
use backstay_testkit::{Image, eventually};
use serde_json::Value;

const PARTS: &str = r#"
[[probe]]
container = true
every = "300ms"
within = "10s"

[[part]]
name = "policy"
paths = ["policy"]
channel = "policy"
apply = "reload"
reload = ["sh", "-c", "cat /policy/rules >> /data/told"]
reload_in = "web"

[[part]]
name = "upstream"
paths = ["compose.yaml"]
channel = "upstream"
version = { file = "compose.yaml", after = "web:" }
preflight = ["./preflight"]

[[part]]
name = "plugin"
paths = ["plugin"]
[[part.requires]]
part = "upstream"
at_least = "1"
"#;

fn upstream(fleet: &Fleet, version: &str) {
    let yaml = format!(
        "services:\n  web:\n    image: web:{version}\n    volumes: ['./data:/data', './policy:/policy:ro']\n    healthcheck: {{retries: 2}}\n  side:\n    image: web:v1\n"
    );
    fleet.tree.write("stacks/web/compose.yaml", &yaml);
}

/// Nodes that run the first of everything.
fn claw(nodes: usize) -> Option<Fleet> {
    let fleet = Fleet::of(nodes).containers().start()?;
    for node in &fleet.nodes {
        for version in ["v1", "v2", "v3"] {
            node.docker().image(&format!("web:{version}"), &Image::web(version));
        }
    }
    upstream(&fleet, "v1");
    let first = fleet.nodes[0].name();
    let channels = format!(
        "[[channel]]\nname = \"policy\"\n[[channel]]\nname = \"upstream\"\nwaves = [\"name={first}\", \"100%\"]\n"
    );
    fleet
        .tree
        .write("fleet.toml", &channels)
        .write("stacks/web/stack.toml", PARTS)
        .write("stacks/web/policy/rules", "one\n")
        .write("stacks/web/plugin/code", "one\n")
        .write_executable(
            "stacks/web/preflight",
            "#!/bin/sh\n# As a release asks whether it can read the data that is there.\n\
             grep -q web:v3 compose.yaml || exit 0\n\
             [ -n \"$BACKSTAY_IMAGE_WEB\" ] && echo 'incompatible: the database is of schema 2' && exit 1\n",
        );
    fleet.commit("Add web", None);
    fleet.follow();
    fleet.settle();
    Some(fleet)
}

fn ids(node: &Node) -> BTreeMap<String, String> {
    let running = node.docker().containers().into_iter().filter(|container| container.state == "running");
    running.map(|container| (container.service, container.id)).collect()
}

fn all_ids(fleet: &Fleet) -> Vec<BTreeMap<String, String>> {
    fleet.nodes.iter().map(ids).collect()
}

fn policy_in(node: &Node) -> String {
    let web = ids(node)["web"].clone();
    node.docker().run(&["exec", &web, "cat", "/policy/rules"])
}

fn rollouts(fleet: &Fleet, part: &str) -> Vec<Value> {
    let all = fleet.cli.json(&["rollouts", "--stack", "web"]);
    all.as_array().unwrap().iter().filter(|one| one["part"] == part).cloned().collect()
}

#[test]
fn compose_parts_go_out_stop_and_come_back_by_themselves() {
    let Some(fleet) = claw(2) else { return };
    let (a, b, c) = (
        fleet.api.conversation("session-a"),
        fleet.api.conversation("session-b"),
        fleet.api.conversation("session-c"),
    );
    let before = all_ids(&fleet);

    // A policy alone: the same containers see it, and were told.
    fleet.tree.write("stacks/web/policy/rules", "two\n");
    fleet.deployed(&fleet.commit("Stricter", Some(a)));
    assert_eq!(all_ids(&fleet), before);
    assert!(fleet.nodes.iter().all(|node| policy_in(node) == "two"));
    let told = fleet.nodes[0].docker().run(&["exec", &before[0]["web"], "cat", "/data/told"]);
    assert_eq!(told, "two");

    // A bump, in waves of its own: what it changes is started anew, and the policy stays.
    upstream(&fleet, "v2");
    fleet.deployed(&fleet.commit("A bump", Some(b)));
    eventually("the bump to be everywhere", || match rollouts(&fleet, "upstream").first() {
        Some(one) if one["state"] == "succeeded" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let bumped = all_ids(&fleet);
    assert!(
        bumped.iter().zip(&before).all(|(now, was)| now["web"] != was["web"] && now["side"] == was["side"])
    );
    assert!(fleet.nodes.iter().all(|node| policy_in(node) == "two"));

    // One that cannot read the data is refused before anything is touched; a policy goes out beside it.
    upstream(&fleet, "v3");
    fleet.commit("Too new", Some(c));
    fleet.api.sync(backstay_e2e::REPOSITORY);
    eventually("the bump to be stopped", || match rollouts(&fleet, "upstream").first() {
        Some(one) if one["state"] == "halted" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(all_ids(&fleet), bumped);
    let stopped = rollouts(&fleet, "upstream")[0]["id"].as_str().unwrap().to_owned();
    let explained = fleet.cli.run(&["rollouts", &stopped]);
    assert!(explained.contains("upstream") && explained.contains("schema 2"), "{explained}");
    fleet.tree.write("stacks/web/policy/rules", "three\n");
    fleet.deployed(&fleet.commit("Stricter still", Some(a)));
    assert_eq!(all_ids(&fleet), bumped);
    assert!(fleet.nodes.iter().all(|node| policy_in(node) == "three"));

    // Each part is shown with what it is asked to be.
    let shown = fleet.cli.run(&["stacks", "web"]);
    for text in ["base", "policy", "upstream", "plugin", "at least 1", "halted", "succeeded"] {
        assert!(shown.contains(text), "{text} in {shown}");
    }

    // What a conversation did to the policy is taken back, and nothing else moves.
    let undo = fleet.rollback(&["--conversation", &a.to_string(), "--stack", "web", "--part", "policy"]);
    assert_eq!(undo["state"]["state"], "verified", "{undo:#}");
    assert!(fleet.nodes.iter().all(|node| policy_in(node) == "one"));
    assert_eq!(all_ids(&fleet), bumped);
}

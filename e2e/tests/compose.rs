//! The same with containers: Docker Compose, with an engine for each node.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use backstay_e2e::{Fleet, Node, REPOSITORY};
use backstay_testkit::{Docker, Failed, Image, Registry, capture, eventually, eventually_within};
use backstay_types::{ConversationId, DeploymentState};

/// A stack of two services: `web` on the node's port, with `./data`; `side` beside it.
fn write_stack(fleet: &Fleet, web: &str, side: &str) {
    let yaml = format!(
        "services:
  web:
    image: {web}
    ports: ['127.0.0.1:${{PORT}}:8080']
    volumes: ['./data:/data', './conf:/conf:ro']
    healthcheck: {{retries: 2}}
  side:
    image: {side}
"
    );
    let manifest = "[[probe]]\ncontainer = true\nevery = \"500ms\"\nwithin = \"10s\"\n";
    fleet
        .tree
        .write("stacks/web/compose.yaml", &yaml)
        .write("stacks/web/stack.toml", manifest)
        .write("stacks/web/.env.template", "PORT=\n");
    if !fleet.tree.dir().join("stacks/web/conf/note").exists() {
        fleet.tree.write("stacks/web/conf/note", "one\n");
    }
}

/// A fleet that runs `web:v1` and `side:v1`, with `web:v1` to `web:v3` at hand.
fn fleet_of(nodes: usize) -> Option<Fleet> {
    let fleet = Fleet::of(nodes).containers().start()?;
    for node in &fleet.nodes {
        for version in ["v1", "v2", "v3"] {
            node.docker().image(&format!("web:{version}"), &Image::web(version));
        }
        node.docker().image("side:v1", &Image::web("side"));
    }
    write_stack(&fleet, "web:v1", "side:v1");
    fleet.commit("Add web", None);
    fleet.follow();
    fleet.settle();
    Some(fleet)
}

fn deploy(fleet: &Fleet, web: &str, by: ConversationId) {
    write_stack(fleet, web, "side:v1");
    let commit = fleet.commit(&format!("Run {web}"), Some(by));
    fleet.deployed(&commit);
}

fn ids(node: &Node) -> BTreeMap<String, String> {
    let running = node.docker().containers().into_iter().filter(|container| container.state == "running");
    running.map(|container| (container.service, container.id)).collect()
}

/// The file to which every start of `web` appended its version, wherever the agent keeps the state.
fn starts(node: &Node) -> String {
    let state = node.data().join("stacks/web/state");
    let mut open = vec![state];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap().flatten() {
            if entry.path().is_dir() {
                open.push(entry.path());
            } else if entry.file_name() == "starts" {
                return fs::read_to_string(entry.path()).unwrap();
            }
        }
    }
    panic!("no state below {}", node.data().display());
}

#[test]
fn compose_data_survives_releases_an_undo_and_a_prune() {
    let Some(fleet) = fleet_of(3) else { return };
    let (a, b) = (fleet.api.conversation("session-a"), fleet.api.conversation("session-b"));
    deploy(&fleet, "web:v2", a);
    fleet.tree.write("stacks/web/conf/other", "b\n");
    let commit = fleet.commit("Add a file", Some(b));
    fleet.deployed(&commit);
    for node in &fleet.nodes {
        assert_eq!(node.get("").unwrap(), "v2");
    }
    let undo = fleet.rollback(&["--conversation", &a.to_string()]);
    assert_eq!(undo["state"]["state"], "verified", "{undo:#}");
    for node in &fleet.nodes {
        assert_eq!(node.get("").unwrap(), "v1");
        let starts = starts(node);
        assert!(starts.starts_with("v1\nv2\n") && starts.ends_with("v1\n"), "{starts}");
    }
    assert_eq!(fleet.bare.file("main", "stacks/web/conf/other").as_deref(), Some("b"));
    for node in &fleet.nodes {
        node.docker().prune_images();
        node.docker().run(&["volume", "prune", "--force"]);
        let before = starts(node);
        deploy_nothing(&fleet);
        assert_eq!(starts(node), before);
    }
    deploy(&fleet, "web:v1", b);
    assert!(fleet.nodes.iter().all(|node| starts(node).starts_with("v1\nv2\n")));
}

fn deploy_nothing(fleet: &Fleet) {
    fleet.api.sync(backstay_e2e::REPOSITORY);
    fleet.settle();
}

#[test]
fn compose_leaves_containers_alone_whose_service_did_not_change() {
    let Some(fleet) = fleet_of(1) else { return };
    let (a, node) = (fleet.api.conversation("session-a"), &fleet.nodes[0]);
    let before = ids(node);
    assert_eq!(before.len(), 2);
    deploy(&fleet, "web:v2", a);
    let after = ids(node);
    assert_eq!(after["side"], before["side"]);
    assert_ne!(after["web"], before["web"]);
    // A file that only web mounts.
    fleet.tree.write("stacks/web/conf/note", "two\n");
    let commit = fleet.commit("Change a note", Some(a));
    fleet.deployed(&commit);
    assert_eq!(ids(node)["side"], before["side"]);
    assert_ne!(ids(node)["web"], after["web"]);
    // A file that no service mounts.
    let now = ids(node);
    fleet.tree.write("stacks/web/README.md", "For people.\n");
    let commit = fleet.commit("Say what it is", Some(a));
    fleet.deployed(&commit);
    assert_eq!(ids(node), now);
}

#[test]
fn compose_returns_whole_when_a_release_fails() {
    let Some(fleet) = fleet_of(1) else { return };
    let (a, node) = (fleet.api.conversation("session-a"), &fleet.nodes[0]);
    node.docker().image("web:exits", &Image::exits("exits"));
    node.docker().image("web:sick", &Image::unhealthy("sick"));
    let good = fleet.running_tree(node);
    let images = |node: &Node| -> BTreeMap<_, _> {
        let running = node.docker().containers().into_iter().filter(|container| container.state == "running");
        running.map(|container| (container.service, container.image)).collect()
    };
    let before = images(node);
    for bad in ["web:exits", "web:sick"] {
        write_stack(&fleet, bad, "side:v1");
        let commit = fleet.commit(&format!("Run {bad}"), Some(a));
        let state = fails(&fleet, node, &commit);
        assert!(matches!(state, DeploymentState::RolledBack { .. }), "{bad}: {state:?}");
        assert_eq!(node.get("").unwrap(), "v1");
        assert_eq!(images(node), before);
        assert_eq!(fleet.running_tree(node), good);
    }
}

/// Waits until the deployment of a commit has ended, and gives how.
fn fails(fleet: &Fleet, node: &Node, commit: &str) -> DeploymentState {
    eventually("the release to fail", || {
        let newest = fleet.api.deployments(node.name(), "web").into_iter().next().unwrap();
        let ours = newest.commit.to_string() == commit && newest.deployment.state.is_final();
        if ours { Ok(newest.deployment.state) } else { Err(format!("{newest:?}")) }
    })
}

#[test]
fn compose_returns_with_the_registry_gone_and_images_pruned() {
    let Some(mut registry) = Registry::require() else { return };
    let Some(fleet) = fleet_of(1) else { return };
    let (a, node) = (fleet.api.conversation("session-a"), &fleet.nodes[0]);
    node.docker().image("web:sick", &Image::unhealthy("sick"));
    let [first, second, sick] = ["web:v2", "web:v3", "web:sick"].map(|image| {
        let pinned = registry.push(node.docker(), image);
        node.docker().run(&["rmi", image, &registry.reference(image)]);
        pinned
    });
    deploy(&fleet, &first, a);
    assert_eq!(node.get("").unwrap(), "v2");
    deploy(&fleet, &second, a);
    assert_eq!(node.get("").unwrap(), "v3");
    // The failing release is fetched, then the registry goes and everything unused is pruned.
    node.docker().run(&["pull", "--quiet", &sick]);
    node.docker().run(&["create", "--name", "keep-sick", &sick]);
    registry.stop();
    node.docker().prune_images();
    write_stack(&fleet, &sick, "side:v1");
    let commit = fleet.commit("Run what is sick", Some(a));
    let state = fails(&fleet, node, &commit);
    assert!(matches!(state, DeploymentState::RolledBack { .. }), "{state:?}");
    assert_eq!(node.get("").unwrap(), "v3");
    // And an undo to the release before, whose image nothing runs any more.
    node.docker().prune_images();
    let undo = fleet.rollback(&["--to", &fleet.tree.git(&["rev-parse", "HEAD~2"])]);
    assert_eq!(undo["state"]["state"], "verified", "{undo:#}");
    assert_eq!(node.get("").unwrap(), "v2");
}

#[test]
fn compose_takes_over_containers_and_keeps_their_data_where_it_is() {
    let Some(fleet) = Fleet::of(1).containers().start() else { return };
    let node = &fleet.nodes[0];
    for version in ["v1", "v2"] {
        node.docker().image(&format!("web:{version}"), &Image::web(version));
    }
    node.docker().image("side:v1", &Image::web("side"));
    write_stack(&fleet, "web:v1", "side:v1");
    // Somebody ran it by hand, from a checkout of their own.
    let by_hand = tempfile::tempdir().unwrap();
    let folder = by_hand.path().join("web");
    fs::create_dir_all(folder.join("data")).unwrap();
    fs::create_dir_all(folder.join("conf")).unwrap();
    fs::copy(fleet.tree.dir().join("stacks/web/compose.yaml"), folder.join("compose.yaml")).unwrap();
    let mut compose = node.docker().command();
    compose.args(["compose", "up", "--detach", "--wait"]).current_dir(&folder);
    let up = compose.env("PORT", node.port().to_string()).output().unwrap();
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    let starts = || fs::read_to_string(folder.join("data/starts")).unwrap();
    assert_eq!(starts(), "v1\n");
    let before = ids(node);

    fleet.commit("Add web", None);
    fleet.follow();
    fleet.settle();
    assert_ne!(ids(node)["web"], before["web"]);
    assert_eq!(starts(), "v1\nv1\n", "the new container writes where the old one did");
    let deployment = fleet.api.deployments(node.name(), "web").remove(0);
    let steps = fleet.api.deployment(&deployment).steps;
    let said = format!("./data stays at {}", folder.join("data").display());
    assert!(steps.iter().any(|step| step.detail.contains(&said)), "{steps:?}");

    // With the containers gone it is not forgotten.
    let all = node.docker().run(&["ps", "--quiet", "--all"]);
    let mut remove = vec!["rm", "--force"];
    remove.extend(all.lines());
    node.docker().run(&remove);
    deploy(&fleet, "web:v2", fleet.api.conversation("session-a"));
    assert!(starts().ends_with("v2\n"), "{}", starts());
}

/// Images go along in a bundle: from an engine that has them to one that has not, with neither hub nor registry.
#[test]
fn compose_runs_images_that_came_in_a_bundle() {
    let Some(mut fleet) = fleet_of(1) else { return };
    let Some(elsewhere) = Docker::require() else { return };
    let wanted = elsewhere.image("web:v9", &Image::web("v9"));
    let has = |node: &Node| node.docker().try_run(&["image", "inspect", "web:v9"]).is_ok();
    fleet.nodes[0].kill_agent();
    write_stack(&fleet, "web:v9", "side:v1");
    let commit = fleet.commit("Run web:v9", None);
    eventually_within(Duration::from_secs(60), "the node to be asked to run it", || {
        fleet.api.sync(REPOSITORY);
        let desired = fleet.api.node("alpha").desired;
        let asked = desired.iter().any(|desired| desired.commit.to_string() == commit);
        if asked { Ok(()) } else { Err(format!("{desired:?}")) }
    });
    let file = fleet.dir().join("alpha.bundle");
    let path = file.display().to_string();
    let cli = elsewhere.env().iter().fold(fleet.cli.clone(), |cli, (key, value)| cli.env(key, value));
    let export = ["bundle", "export", "--node", "alpha", "--image", "web:v9", "--output", &path];
    let said = cli.run(&export);
    assert!(said.contains("for node alpha"), "{said}");
    fleet.hub.kill();

    // What was changed on the way is refused whole: no image is loaded and nothing is touched.
    let node = &fleet.nodes[0];
    let before = ids(node);
    assert!(!has(node));
    let whole = fs::read(&file).unwrap();
    let mut tampered = whole.clone();
    // The image is nearly all of the file.
    tampered[whole.len() / 2] ^= 1;
    let other = fleet.dir().join("tampered.bundle");
    fs::write(&other, tampered).unwrap();
    let refused = apply(node, &other).unwrap_err().output;
    assert!(refused.contains("BS3016") && refused.contains("image web:v9 has another SHA-256"), "{refused}");
    assert!(!has(node) && ids(node) == before, "{refused}");
    assert_eq!(node.get("").unwrap(), "v1");

    let said = apply(node, &file).unwrap();
    assert!(said.contains("web: runs "), "{said}");
    assert_eq!(node.docker().service("web").unwrap().image, wanted);
    eventually("it to serve", || match node.get("")?.as_str() {
        "v9" => Ok(()),
        other => Err(other.to_owned()),
    });
    assert_eq!(ids(node)["side"], before["side"]);
    let left: Vec<_> = fs::read_dir(node.data().join("bundled")).unwrap().flatten().collect();
    assert!(left.iter().all(|entry| entry.path().extension().is_none_or(|end| end != "tar")), "{left:?}");

    // The hub hears of it when it is back.
    fleet.hub.restart();
    fleet.nodes[0].start_agent();
    fleet.settle();
    let newest = fleet.api.deployments("alpha", "web").remove(0);
    assert_eq!((newest.commit.to_string(), newest.deployment.state), (commit, DeploymentState::Succeeded));
}

/// `backstay-agent apply`, as a person on the node does it.
fn apply(node: &Node, bundle: &Path) -> Result<String, Failed> {
    capture(&mut node.command(&["apply", &bundle.display().to_string()]))
}

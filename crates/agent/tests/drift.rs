//! Deep looks by the real agent: what somebody changed behind its back is named, put right, and in the end left to
//! a person.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use backstay_api::agent::ReportBody;
use backstay_testkit::{Docker, Image, Registry, run};
use backstay_types::{DeploymentId, DeploymentState, Drift, DriftPart, DriftState, LeaveSafeMode};
use support::{FakeHub, Node, PackMode, Stack, eventually, eventually_within, process_stack};

const LIMIT: Duration = Duration::from_secs(120);

fn deploy(hub: &FakeHub, stack: &Stack) -> DeploymentId {
    let deployment = hub.deploy(stack);
    let end = eventually_within(LIMIT, "the deployment's end", || hub.ends(deployment).pop());
    assert_eq!(end, DeploymentState::Succeeded);
    deployment
}

/// What was told of drift: text, healed, escalated.
fn told(hub: &FakeHub) -> Vec<(String, bool, bool)> {
    let drift = |body| match body {
        ReportBody::Drift { detail, healed, escalated, .. } => Some((detail, healed, escalated)),
        _ => None,
    };
    hub.reports().into_iter().filter_map(|report| drift(report.body)).collect()
}

fn observed(hub: &FakeHub) -> Vec<Drift> {
    let last = hub.check_ins().into_iter().rev().find_map(|check_in| check_in.observed);
    last.into_iter().flatten().flat_map(|stack| stack.drift).collect()
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn files_that_were_changed_are_named_and_put_right_in_place() {
    let hub = FakeHub::start();
    let mut node = Node::join(&hub);
    node.settings =
        "check_every = \"1s\"\ndeep_check_every = \"1s\"\ndeep_check_bytes_per_second = 0".to_owned();
    node.start("");
    let stack = process_stack("a", "true").file("conf/app.toml", "good").program("tool", "true");
    deploy(&hub, &stack);
    let lists = node.stack().join("lists");
    eventually("the first deep look", || fs::read_dir(&lists).ok()?.next().map(drop));
    // A probe is a process too, for a moment.
    let pids = eventually("only the service runs", || Some(node.pids()).filter(|pids| pids.len() == 1));
    let release = node.stack().join("releases").join(stack.tree().to_string());
    fs::write(release.join("conf/app.toml"), "evil").unwrap();
    chmod(&release.join("tool"), 0o4777);
    fs::remove_file(release.join("version")).unwrap();
    fs::write(release.join("conf/left-by-someone"), "mine").unwrap();
    eventually("all is put right", || {
        let right = fs::read_to_string(release.join("conf/app.toml")).ok()? == "good"
            && fs::read_to_string(release.join("version")).is_ok_and(|version| version == "a")
            && fs::metadata(release.join("tool")).ok()?.permissions().mode() & 0o7777 == 0o755;
        right.then_some(())
    });
    let said = eventually("it is told", || {
        let said: Vec<_> =
            told(&hub).into_iter().filter(|(_, healed, _)| *healed).map(|(text, ..)| text).collect();
        let said = said.join("\n");
        ["conf/app.toml", "tool", "version"].iter().all(|name| said.contains(name)).then_some(said)
    });
    assert!(said.contains("its mode is 4777 instead of 0755"), "{said}");
    assert!(said.contains("its content has SHA-256"), "{said}");
    assert!(!said.contains("evil"), "what is in files is not told");
    // What is not of the release is told of and left alone.
    eventually("the stray is shown", || {
        let stray = observed(&hub).into_iter().find(|one| one.part == DriftPart::Stray)?;
        (stray.name == "conf/left-by-someone" && stray.state == DriftState::Left).then_some(())
    });
    assert_eq!(fs::read_to_string(release.join("conf/left-by-someone")).unwrap(), "mine");
    eventually("what runs kept running", || (node.pids() == pids).then_some(()));
    assert_eq!(node.leftovers(), Vec::<String>::new());
}

#[test]
fn what_comes_back_each_time_is_given_up_and_said_so_once() {
    let hub = FakeHub::start();
    let mut node = Node::join(&hub);
    node.settings = "deep_check_every = \"1s\"\ndrift_heals = 2".to_owned();
    node.start("");
    let stack = process_stack("a", "true");
    deploy(&hub, &stack);
    let file = node.stack().join("releases").join(stack.tree().to_string()).join("version");
    let escalated = || told(&hub).into_iter().filter(|(_, _, escalated)| *escalated).count();
    eventually_within(LIMIT, "it is given up", || {
        if fs::read_to_string(&file).is_ok_and(|text| text == "a") && escalated() == 0 {
            fs::write(&file, "b").unwrap();
        }
        (escalated() > 0).then_some(())
    });
    let shown = eventually("it is shown", || {
        observed(&hub).into_iter().find(|one| one.state == DriftState::Escalated)
    });
    assert_eq!((shown.part, shown.name.as_str(), shown.heals), (DriftPart::File, "version", 2));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(
        (fs::read_to_string(&file).unwrap().as_str(), escalated()),
        ("b", 1),
        "it is not touched again"
    );
    // It is still known after a restart. A person puts it right.
    node.terminate();
    node.start("");
    eventually("it is still shown", || observed(&hub).pop().filter(|one| one.state == DriftState::Escalated));
    fs::write(&file, "a").unwrap();
    eventually("it is over", || {
        let last = hub.check_ins().into_iter().rev().find_map(|check_in| check_in.observed)?;
        last.iter().all(|stack| stack.drift.is_empty()).then_some(())
    });
}

/// A node whose stack's file `version` is changed until that is given up; it is well while `check` says so.
fn given_up(check: &str) -> (FakeHub, Node, std::path::PathBuf) {
    let hub = FakeHub::start();
    let mut node = Node::join(&hub);
    node.settings = "check_every = \"1s\"\ndeep_check_every = \"1s\"\ndrift_heals = 2".to_owned();
    node.start("");
    let stack = process_stack("a", check);
    deploy(&hub, &stack);
    let file = node.stack().join("releases").join(stack.tree().to_string()).join("version");
    eventually_within(LIMIT, "it is given up", || {
        let given_up = told(&hub).iter().any(|(_, _, escalated)| *escalated);
        if !given_up && fs::read_to_string(&file).is_ok_and(|text| text == "a") {
            fs::write(&file, "b").unwrap();
        }
        given_up.then_some(())
    });
    (hub, node, file)
}

#[test]
fn what_was_given_up_and_makes_the_stack_unwell_leads_to_safe_mode_and_a_word_leads_out() {
    let (hub, node, file) = given_up("[ \"$(cat version)\" = a ]");
    let mode = eventually_within(LIMIT, "safe mode", || hub.safety().safe_mode);
    let reason = mode.reason();
    for part in ["web: file `version` departed again", "2 times", "SHA-256", "./check"] {
        assert!(reason.contains(part), "{reason}");
    }
    // What runs is left as it is, for as long as it takes.
    let pids = eventually("only the service runs", || Some(node.pids()).filter(|pids| pids.len() == 1));
    std::thread::sleep(Duration::from_secs(4));
    eventually("it still runs", || (node.pids() == pids).then_some(()));
    assert_eq!(fs::read_to_string(&file).unwrap(), "b", "and nobody touches it");
    let entered =
        |report: &backstay_api::agent::Report| matches!(report.body, ReportBody::SafeModeEntered { .. });
    assert_eq!(hub.reports().iter().filter(|report| entered(report)).count(), 1);
    hub.say(LeaveSafeMode { safe_mode: mode.id, by: "op".into(), reason: "looked at it".into() });
    eventually("it is put right anew", || fs::read_to_string(&file).ok().filter(|text| text == "a"));
    eventually("it has left", || hub.safety().safe_mode.is_none().then_some(()));
    // It is well again: nothing brings it back there.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(hub.safety().safe_mode, None);
}

#[test]
fn what_was_given_up_keeps_nothing_from_a_stack_that_is_well() {
    let (hub, node, file) = given_up("true");
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!((hub.safety().safe_mode, fs::read_to_string(&file).unwrap().as_str()), (None, "b"));
    deploy(&hub, &process_stack("c", "true"));
    assert_eq!(node.running(), ["c"]);
}

#[test]
fn what_cannot_be_put_right_for_now_is_tried_again_when_the_hub_is_back() {
    let hub = FakeHub::start();
    let mut node = Node::join(&hub);
    node.settings = "deep_check_every = \"1s\"\ndrift_heals = 50".to_owned();
    node.start("");
    let stack = process_stack("a", "true");
    deploy(&hub, &stack);
    hub.packs(PackMode::Gone);
    let file = node.stack().join("releases").join(stack.tree().to_string()).join("version");
    fs::write(&file, "b").unwrap();
    eventually("it is told", || {
        told(&hub).into_iter().find(|(text, healed, _)| !healed && text.contains("version"))
    });
    assert_eq!(fs::read_to_string(&file).unwrap(), "b");
    hub.packs(PackMode::Good);
    eventually("it is put right", || fs::read_to_string(&file).ok().filter(|text| text == "a"));
    let failures = told(&hub).into_iter().filter(|(_, healed, _)| !healed).count();
    assert_eq!(failures, 1, "that it failed is said once");
}

#[test]
fn containers_that_were_changed_are_made_anew() {
    let Some(docker) = Docker::require() else { return };
    let hub = FakeHub::start();
    let mut node = Node::join(&hub);
    node.env = docker.env().map(|(name, value)| (name.to_owned(), value)).to_vec();
    node.settings = "deep_check_every = \"2s\"\ndrift_heals = 20".to_owned();
    docker.image("web:v1", &Image::web("v1"));
    node.start("");
    let compose = "services:\n  web:\n    image: web:v1\n    mem_limit: 64m\n    environment: {PASSWORD: hunter2}\n    \
                   volumes: [\"./config:/config:ro\", \"./data:/data\"]\n  side:\n    image: web:v1\n";
    let probe = "[[probe]]\ncontainer = true\nevery = \"100ms\"\nwithin = \"8s\"\n";
    let stack = Stack::new("web")
        .file("compose.yaml", compose)
        .file("stack.toml", probe)
        .file("config/app.conf", "1");
    deploy(&hub, &stack);
    let (web, side) = (docker.service("web").unwrap().id, docker.service("side").unwrap().id);
    // Some deep looks that find nothing.
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(told(&hub), []);
    assert_eq!(docker.service("web").unwrap().id, web);

    docker.run(&["update", "--memory", "128m", "--memory-swap", "128m", &web]);
    let said = eventually_within(LIMIT, "the limit is put right", || {
        told(&hub).into_iter().find(|(text, healed, _)| *healed && text.contains("memory limit"))
    });
    assert!(said.0.contains("container `web`"), "{said:?}");
    let anew = docker.service("web").unwrap().id;
    assert_ne!(anew, web);
    assert_eq!(docker.service("side").unwrap().id, side, "the other one was left alone");

    // What a container sees of a tracked file.
    let mounts = node.stack().join("mounts");
    let mounted =
        fs::read_dir(&mounts).unwrap().flatten().find(|entry| entry.path().join("app.conf").exists());
    let mounted = mounted.unwrap().path().join("app.conf");
    fs::write(&mounted, "2").unwrap();
    eventually_within(LIMIT, "the mount is put right", || {
        told(&hub).into_iter().find(|(text, healed, _)| *healed && text.contains("mount `config/app.conf`"))
    });
    assert_eq!(fs::read_to_string(&mounted).unwrap(), "1");
    let seen = docker.run(&["exec", &docker.service("web").unwrap().id, "cat", "/config/app.conf"]);
    assert_eq!(seen.trim(), "1");
    assert!(told(&hub).iter().all(|(text, ..)| !text.contains("hunter2")));
}

/// Somebody gives a tag to another image and makes the container anew; then one is taken away that nothing runs.
#[test]
fn images_that_were_changed_or_taken_away_come_back() {
    let (Some(registry), Some(docker)) = (Registry::require(), Docker::require()) else { return };
    let hub = FakeHub::start();
    let mut node = Node::join(&hub);
    node.env = docker.env().map(|(name, value)| (name.to_owned(), value)).to_vec();
    // The light look sees this one; a deep one would first see what else is another's about such a container.
    node.settings = "check_every = \"1s\"\ndeep_check_every = \"1h\"".to_owned();
    let [first, second] =
        ["v1", "v2"].map(|version| docker.image(&format!("web:{version}"), &Image::web(version)));
    docker.image("once:v1", &Image::web("once"));
    let once = registry.push(&docker, "once:v1");
    node.start("");
    let compose = format!(
        "services:\n  web:\n    image: web:v1\n  once:\n    image: {once}\n    entrypoint: [\"/bin/true\"]\n"
    );
    let probe = "[[probe]]\ncommand = [\"true\"]\nevery = \"100ms\"\nwithin = \"8s\"\n[bake]\nfor = \"2s\"\n";
    let stack = Stack::new("web").file("compose.yaml", &compose).file("stack.toml", probe);
    deploy(&hub, &stack);
    let web = docker.service("web").unwrap();
    assert_eq!(web.image, first);

    docker.run(&["tag", "web:v2", "web:v1"]);
    let file = node.stack().join("releases").join(stack.tree().to_string()).join("compose.yaml");
    let by_hand = ["compose", "--project-name", "web", "--file", file.to_str().unwrap(), "up", "--detach"];
    run(docker.command().args(by_hand).args(["--force-recreate", "web"]));
    let said = eventually_within(LIMIT, "the image is put right", || {
        told(&hub).into_iter().find(|(text, healed, _)| *healed && text.contains("`web` ran"))
    });
    let short = |image: &str| image["sha256:".len()..][..12].to_owned();
    let wanted = format!("`web` ran {} instead of {}", short(&second), short(&first));
    assert!(said.0.contains(&wanted), "{wanted}: {said:?}");
    let now = docker.service("web").unwrap();
    assert_eq!((now.image.as_str(), now.state.as_str()), (first.as_str(), "running"));
    assert_ne!(now.id, web.id);

    // The light look does not see this one: its container has ended, as it should.
    node.terminate();
    node.settings = "check_every = \"1s\"\ndeep_check_every = \"2s\"".to_owned();
    node.start("");
    let image = docker.service("once").unwrap().image;
    docker.run(&["rmi", "--force", &image]);
    assert!(docker.try_run(&["image", "inspect", &image]).is_err());
    eventually_within(LIMIT, "the image is fetched again", || {
        told(&hub).into_iter().find(|(text, healed, _)| *healed && text.contains("image `once`"))
    });
    docker.run(&["image", "inspect", &image]);
    assert!(hub.safety().safe_mode.is_none());
}

//! The Compose runtime, with a real engine and Compose v2.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
    time::Duration,
};

use backstay_api::agent::{Answer, Question, ReportBody};
use backstay_testkit::{Docker, Image, Part, Registry, RunningContainer, find_tool, left_out::require};
use backstay_types::{DeploymentId, DeploymentState, FailureKind, StackHealth, Step};
use support::{FakeHub, Node, Stack, eventually_within, process_stack};

const LIMIT: Duration = Duration::from_secs(120);

struct Fleet {
    hub: FakeHub,
    node: Node,
    docker: Docker,
}

impl Fleet {
    fn start() -> Option<Self> {
        let docker = Docker::require()?;
        let hub = FakeHub::start();
        let mut node = Node::join(&hub);
        node.env = docker.env().map(|(name, value)| (name.to_owned(), value)).to_vec();
        node.settings = "check_every = \"1s\"".to_owned();
        node.start("");
        Some(Self { hub, node, docker })
    }

    fn end(&self, deployment: DeploymentId) -> DeploymentState {
        eventually_within(LIMIT, "the deployment's end", || self.hub.ends(deployment).pop())
    }

    fn deploy(&self, stack: &Stack) -> DeploymentId {
        let deployment = self.hub.deploy(stack);
        assert_eq!(self.end(deployment), DeploymentState::Succeeded);
        deployment
    }

    fn service(&self, name: &str) -> RunningContainer {
        self.docker.service(name).unwrap()
    }

    fn label(&self, service: &str, label: &str) -> String {
        let format = format!("{{{{index .Config.Labels \"dev.backstay.{label}\"}}}}");
        self.docker.run(&["inspect", "--format", &format, &self.service(service).id])
    }
}

/// Two services; `web` mounts a tracked file and keeps its state in `./data`.
fn stack(web: &str, side: &str) -> Stack {
    let compose = format!(
        "services:\n  web:\n    image: {web}\n    volumes: [\"./config:/config:ro\", \"./data:/data\"]\n  side:\n    image: {side}\n"
    );
    let probe = "[[probe]]\ncontainer = true\nevery = \"100ms\"\nwithin = \"8s\"\n";
    Stack::new("web").file("compose.yaml", &compose).file("stack.toml", probe).file("config/app.conf", "1")
}

#[test]
fn compose_changes_only_what_changed_and_says_whose_change_it_was() {
    let Some(fleet) = Fleet::start() else { return };
    for version in ["v1", "v2"] {
        fleet.docker.image(&format!("web:{version}"), &Image::web(version));
    }
    let first = fleet.deploy(&stack("web:v1", "web:v1"));
    let (web, side) = (fleet.service("web"), fleet.service("side"));
    assert_eq!(fleet.label("web", "deployment"), first.to_string());
    assert_eq!(fleet.label("web", "node"), "node-1");

    // Another image for one service: the other keeps its container and its labels.
    let second = fleet.deploy(&stack("web:v2", "web:v1"));
    assert_ne!(fleet.service("web").id, web.id);
    assert_eq!(fleet.service("side").id, side.id);
    assert_eq!(fleet.label("web", "deployment"), second.to_string());
    assert_eq!(fleet.label("side", "deployment"), first.to_string());

    // A file that one mounts: that one is made anew. A file that nobody mounts: nobody.
    let web = fleet.service("web");
    fleet.deploy(&stack("web:v2", "web:v1").file("config/app.conf", "2"));
    assert_ne!(fleet.service("web").id, web.id);
    assert_eq!(fleet.service("side").id, side.id);
    let web = fleet.service("web");
    let unmounted = stack("web:v2", "web:v1").file("config/app.conf", "2").file("README.md", "hi");
    fleet.deploy(&unmounted);
    assert_eq!((fleet.service("web").id, fleet.service("side").id), (web.id, side.id));

    // State is where it was from the first release on, through all of them.
    let starts = fs::read_to_string(fleet.node.stack().join("state/data/starts")).unwrap();
    assert_eq!(starts, "v1\nv2\nv2\n");
    assert_eq!(fleet.docker.run(&["exec", &fleet.service("web").id, "cat", "/config/app.conf"]), "2");
}

#[test]
fn compose_starts_nothing_anew_when_only_a_policy_changes() {
    let Some(fleet) = Fleet::start() else { return };
    fleet.docker.image("web:v1", &Image::web("v1"));
    let part = "[[probe]]\ncontainer = true\nevery = \"100ms\"\nwithin = \"8s\"\n\
        [[part]]\nname = \"policy\"\npaths = [\"config\"]\napply = \"reload\"\n\
        reload = [\"sh\", \"-c\", \"cat /config/app.conf >> /data/told\"]\nreload_in = \"web\"\n";
    let claw =
        |policy: &str| stack("web:v1", "web:v1").file("stack.toml", part).file("config/app.conf", policy);
    fleet.deploy(&claw("1"));
    let ids = || (fleet.service("web").id, fleet.service("side").id);
    let before = ids();
    let seen = || fleet.docker.run(&["exec", &fleet.service("web").id, "sh", "-c", "cat /config/*"]);

    // Another file in it, and one fewer: the same containers see them, and are told.
    fleet.deploy(&claw("2").file("config/more.conf", "+"));
    assert_eq!((ids(), seen()), (before.clone(), "2+".to_owned()));
    fleet.deploy(&claw("3"));
    assert_eq!((ids(), seen()), (before.clone(), "3".to_owned()));
    assert_eq!(fs::read_to_string(fleet.node.stack().join("state/data/told")).unwrap(), "23");

    // It goes back without a start too: one of which the service cannot be told.
    let refusing =
        part.replace("cat /config/app.conf", "grep -vq 4 /config/app.conf && cat /config/app.conf");
    fleet.deploy(&claw("3").file("stack.toml", &refusing));
    assert_eq!(ids(), before, "the manifest is nothing that a container sees");
    let deployment = fleet.hub.deploy(&claw("4").file("stack.toml", &refusing));
    let DeploymentState::RolledBack { step, reason, .. } = fleet.end(deployment) else { panic!("refused") };
    assert!(step == Step::Activate && reason.contains("BS3020"), "{reason}");
    assert_eq!((ids(), seen()), (before.clone(), "3".to_owned()));

    // Together with something else: what only sees the policy is made anew, since nobody told it.
    fleet.docker.image("web:v2", &Image::web("v2"));
    let both = stack("web:v1", "web:v2").file("stack.toml", &refusing).file("config/app.conf", "5");
    fleet.deploy(&both);
    assert_ne!(fleet.service("web").id, before.0);
    assert_ne!(fleet.service("side").id, before.1);
    assert_eq!(seen(), "5");
}

#[test]
fn compose_goes_back_without_registry_and_after_a_prune() {
    let Some(fleet) = Fleet::start() else { return };
    let Some(mut registry) = Registry::require() else { return };
    let mut references = Vec::new();
    for (version, image) in
        [("v1", Image::web("v1")), ("v2", Image::unhealthy("v2")), ("v3", Image::web("v3"))]
    {
        fleet.docker.image(&format!("web:{version}"), &image);
        references.push(registry.push(&fleet.docker, &format!("web:{version}")));
    }
    fleet.docker.prune_images();
    let first = fleet.deploy(&stack(&references[0], &references[0]));
    let image = fleet.service("web").image;
    let bad = stack(&references[1], &references[0]);
    // The images of the bad release come before anything is touched; then the registry goes.
    let desired = fleet.hub.offer(&bad);
    let deployment = desired.deployment;
    fleet.hub.state(vec![desired]);
    eventually_within(LIMIT, "the bad release is started", || {
        fleet.docker.service("web").filter(|web| web.image != image)
    });
    registry.stop();
    fleet.docker.prune_images();
    let end = fleet.end(deployment);
    let DeploymentState::RolledBack { step: Step::Probe, failure: FailureKind::Unhealthy, reason } = end
    else {
        panic!("{end:?}")
    };
    assert!(reason.contains("`web` is"), "{reason}");
    let web = fleet.service("web");
    assert_eq!((web.image, web.state.as_str(), web.health.as_str()), (image, "running", "healthy"));
    assert_eq!(fleet.label("web", "deployment"), first.to_string());
    assert_eq!(fs::read_to_string(fleet.node.stack().join("state/data/starts")).unwrap(), "v1\nv2\nv1\n");

    // And the same on purpose, by the hub: nothing is fetched, nothing pulled.
    let again = fleet.hub.deploy(&stack(&references[0], &references[0]));
    assert_eq!(fleet.end(again), DeploymentState::Succeeded);

    // An image that cannot be had while the registry is away is waited for; one that is not in it is not.
    let waiting = fleet.hub.deploy(&stack(&references[2], &references[0]));
    std::thread::sleep(Duration::from_secs(3));
    assert!(fleet.hub.ends(waiting).is_empty());
    registry.start();
    assert_eq!(fleet.end(waiting), DeploymentState::Succeeded);
    let missing = fleet.hub.deploy(&stack(&registry.reference("web:nope"), &references[0]));
    let end = fleet.end(missing);
    let DeploymentState::Failed { failure: FailureKind::Invalid, reason, .. } = end else {
        panic!("{end:?}")
    };
    assert!(reason.contains("web:nope"), "{reason}");
}

#[test]
fn compose_refuses_before_it_touches_and_stops_what_never_ran_before() {
    let Some(fleet) = Fleet::start() else { return };
    fleet.docker.image("web:v1", &Image::web("v1"));
    fleet.docker.image("web:bad", &Image::exits("bad"));

    // The first release fails: it is stopped, its volumes stay.
    let with_volume = stack("web:bad", "web:v1").file(
        "compose.yaml",
        "services:\n  web:\n    image: web:bad\n    volumes: [\"kept:/data\"]\nvolumes:\n  kept:\n",
    );
    let deployment = fleet.hub.deploy(&with_volume);
    let end = fleet.end(deployment);
    assert!(
        matches!(&end, DeploymentState::RolledBack { reason, .. } if reason.contains("nothing ran before")),
        "{end:?}"
    );
    assert!(fleet.docker.service("web").is_none());
    assert_eq!(fleet.docker.run(&["volume", "ls", "--quiet"]), "web_kept");
    assert_eq!(fleet.node.link("current"), None);

    fleet.deploy(&stack("web:v1", "web:v1"));
    let web = fleet.service("web").id;
    for (bad, says) in [
        (stack("web:v1", "web:v1").file("compose.yaml", "services: [\n"), "compose.yaml"),
        (
            stack("web:v1", "web:v1").file("stack.toml", "project = \"other\"\n"),
            "volumes would be left behind",
        ),
        (
            stack("web:v1", "web:v1").file(
                "compose.yaml",
                "services:\n  web:\n    image: web:v1\n    volumes: [\"./config:/config\"]\n",
            ),
            "writable",
        ),
        (stack("web:v1", "web:v1").file(".env.template", "TOKEN=\n"), "no value for TOKEN"),
        (
            stack("web:v1", "web:v1").program("validate", "echo the port is taken >&2; exit 3"),
            "the port is taken",
        ),
    ] {
        let end = fleet.end(fleet.hub.deploy(&bad));
        assert!(
            matches!(&end, DeploymentState::Failed { reason, .. } if reason.contains(says)),
            "{says}: {end:?}"
        );
        assert_eq!(fleet.service("web").id, web, "{says}");
    }
}

#[test]
fn compose_runs_on_without_the_agent_and_is_healed_by_it() {
    let Some(mut fleet) = Fleet::start() else { return };
    fleet.docker.image("web:v1", &Image::web("v1"));
    fleet.docker.image("web:v2", &Image::web("v2"));
    fleet.docker.image("side:v1", &Image::web("side"));
    fleet.deploy(&stack("web:v1", "side:v1"));
    fleet.deploy(&stack("web:v2", "side:v1"));
    let web = fleet.service("web").id;
    fleet.node.terminate();
    assert_eq!((fleet.service("web").id, fleet.service("web").state), (web.clone(), "running".to_owned()));

    // Without the agent someone takes a container and the way back.
    fleet.docker.run(&["system", "prune", "--all", "--force"]);
    fleet.docker.run(&["rm", "--force", &web]);
    fleet.node.start("");
    eventually_within(LIMIT, "the container is back", || {
        fleet.docker.service("web").filter(|web| web.health == "healthy")
    });
    let drift = eventually_within(LIMIT, "the drift is told", || {
        fleet.hub.reports().into_iter().find_map(|report| match report.body {
            ReportBody::Drift { detail, healed: true, .. } => Some(detail),
            _ => None,
        })
    });
    assert!(drift.contains("`web` was gone"), "{drift}");

    // The previous release's image cannot be had again: said, not hidden.
    eventually_within(LIMIT, "the closed way back is told", || {
        let observed = fleet.hub.check_ins().into_iter().rev().find_map(|check_in| check_in.observed)?;
        observed.iter().find(|stack| !stack.can_return && stack.health == StackHealth::Degraded).cloned()
    });

    fleet.hub.ask_logs(&"web".parse().unwrap(), 10);
    let answer = eventually_within(LIMIT, "logs", || fleet.hub.answers().pop());
    assert!(matches!(answer, Answer::Logs { .. }), "{answer:?}");
    follow_logs(&fleet);
}

/// What a container logs is told once, each time behind what was told before.
fn follow_logs(fleet: &Fleet) {
    let container = fleet.service("web").id;
    let say = |text: &str| {
        let command = format!("echo {text} > /proc/1/fd/1; echo {text} again > /proc/1/fd/1");
        fleet.docker.run(&["exec", &container, "sh", "-c", &command]);
    };
    let ask = |after: Option<String>, lines| {
        let known = fleet.hub.answers().len();
        let stack = "web".parse().unwrap();
        fleet.hub.ask(Question::NewLogs { stack, after, lines, wait_ms: 5000 });
        let answer = eventually_within(LIMIT, "what is new", || fleet.hub.answers().into_iter().nth(known));
        let Answer::NewLogs { lines, after, dropped: false } = answer else { panic!("{answer:?}") };
        let texts: Vec<_> = lines.into_iter().map(|line| line.text).collect();
        (texts, Some(after))
    };
    say("one");
    let (told, after) = ask(None, 1);
    assert_eq!(told, ["one again"], "a follower begins with the last lines");
    say("two");
    let (mut told, after) = ask(after, 1);
    assert_eq!(told, ["two"]);
    let (more, after) = ask(after, 10);
    told.extend(more);
    assert_eq!(told, ["two", "two again"]);
    let (told, _) = ask(after, 10);
    assert!(told.is_empty(), "{told:?}");
}

/// The engine dies and forgets its containers: it is started again, and the agent makes them anew from its own record.
#[test]
fn compose_outlives_an_engine_that_forgets() {
    let Some(mut fleet) = Fleet::start() else { return };
    fleet.docker.image("web:v1", &Image::web("v1"));
    fleet.node.kill();
    let restart = fleet.docker.restart_program(fleet.node.root());
    fleet.node.settings = format!("check_every = \"1s\"\nengine_restart = [\"{}\"]", restart.display());
    fleet.node.start("");
    let first = fleet.deploy(&stack("web:v1", "web:v1"));
    let web = fleet.service("web").id;
    fleet.docker.kill_engine();
    fleet.docker.lose_containers();
    // What runs cannot be told: that is said, and the stack is left alone.
    eventually_within(LIMIT, "it is told that nothing can be told", || {
        let observed = fleet.hub.check_ins().into_iter().rev().find_map(|check_in| check_in.observed)?;
        observed.iter().find(|stack| stack.health == StackHealth::Unknown).cloned()
    });
    // Nobody but the agent starts it.
    eventually_within(LIMIT * 3, "the engine runs again", || fleet.docker.try_run(&["version"]).ok());
    assert!(fleet.node.log().contains("told the container engine to start again"));
    let again = eventually_within(LIMIT, "the containers are there again", || {
        fleet.docker.service("web").filter(|web| web.health == "healthy")
    });
    assert_ne!(again.id, web);
    assert_eq!(
        fleet.label("web", "deployment"),
        first.to_string(),
        "from its own record, under its own name"
    );
    assert!(fleet.hub.safety().safe_mode.is_none());
    fleet.deploy(&stack("web:v1", "web:v1").file("README.md", "it goes on"));
}

/// The crash matrix's rows that are about containers: links, images and labels end as the journal says.
#[test]
fn compose_is_killed_while_it_switches() {
    let Some(mut fleet) = Fleet::start() else { return };
    for version in ["v1", "v2"] {
        fleet.docker.image(&format!("web:{version}"), &Image::web(version));
    }
    fleet.docker.image("web:bad", &Image::unhealthy("bad"));
    fleet.deploy(&stack("web:v1", "web:v1"));
    let image = |fleet: &Fleet| fleet.service("web").image;
    let [v1, v2] =
        ["web:v1", "web:v2"].map(|name| fleet.docker.run(&["inspect", "--format", "{{.Id}}", name]));

    // Killed in the middle of Compose's own work, which must not go on beside the next run's.
    fleet.node.kill();
    let deployment = fleet.hub.deploy(&stack("web:v2", "web:v1"));
    fleet.node.start("");
    eventually_within(LIMIT, "Compose is at work", || {
        fleet.node.log().contains("\"message\":\"activate\"").then_some(())
    });
    fleet.node.kill();
    fleet.node.start("");
    assert_eq!(fleet.end(deployment), DeploymentState::Succeeded);
    assert_eq!((image(&fleet), fleet.label("web", "deployment")), (v2.clone(), deployment.to_string()));

    // Killed on either side of the start, forward: it goes on.
    for (point, version, id) in [
        ("up.before=return", "web:v1", &v1),
        ("up.started=return", "web:v2", &v2),
        ("probing.after=return", "web:v1", &v1),
    ] {
        fleet.node.kill();
        let deployment = fleet.hub.deploy(&stack(version, "web:v1"));
        fleet.node.start(point);
        fleet.node.wait_killed();
        fleet.node.start("");
        assert_eq!(fleet.end(deployment), DeploymentState::Succeeded, "{point}");
        assert_eq!(
            (&image(&fleet), fleet.label("web", "deployment")),
            (id, deployment.to_string()),
            "{point}"
        );
    }

    // Killed on the way back: it goes back all the same.
    for point in ["returning.after=return", "up.after=1*off->return", "returned.before=return"] {
        fleet.node.kill();
        let deployment = fleet.hub.deploy(&stack("web:bad", "web:v1"));
        fleet.node.start(point);
        fleet.node.wait_killed();
        fleet.node.start("");
        let end = fleet.end(deployment);
        assert!(matches!(end, DeploymentState::RolledBack { .. }), "{point}: {end:?}");
        assert_eq!((image(&fleet), fleet.service("web").health.as_str()), (v1.clone(), "healthy"), "{point}");
        // One that goes well: several failures in a row would make the node wait before the next.
        fleet.deploy(&stack("web:v1", if fleet.service("side").image == v1 { "web:v2" } else { "web:v1" }));
    }

    // Killed twice while it was started: it goes back.
    fleet.node.kill();
    let deployment = fleet.hub.deploy(&stack("web:v2", "web:v1"));
    for _ in 0..2 {
        fleet.node.start("up.after=return");
        fleet.node.wait_killed();
    }
    fleet.node.start("");
    let end = fleet.end(deployment);
    assert!(matches!(end, DeploymentState::RolledBack { failure: FailureKind::Interrupted, .. }), "{end:?}");
    assert_eq!(image(&fleet), v1);
}

#[test]
fn a_stack_that_changes_its_runtime_leaves_nothing_of_the_other_running() {
    let Some(fleet) = Fleet::start() else { return };
    fleet.docker.image("web:v1", &Image::web("v1"));
    let containers =
        || fleet.docker.run(&["ps", "--all", "--quiet", "--filter", "label=dev.backstay.stack=web"]);
    let compose = stack("web:v1", "web:v1");
    fleet.deploy(&compose);
    assert_eq!(containers().lines().count(), 2);
    // Forward to processes.
    let processes = process_stack("p1", "true");
    fleet.deploy(&processes);
    assert_eq!((containers().as_str(), fleet.node.running()), ("", vec!["p1".to_owned()]));
    // Back from a Compose release that fails.
    let bad = stack("web:v1", "web:v1")
        .file("stack.toml", "[[probe]]\nhttp = \"http://127.0.0.1:1/\"\nwithin = \"1s\"\n");
    let deployment = fleet.hub.deploy(&bad);
    assert!(fleet.end(deployment).is_failure());
    assert_eq!((containers().as_str(), fleet.node.running()), ("", vec!["p1".to_owned()]));
    // And to Compose again.
    fleet.deploy(&stack("web:v1", "web:v1").file("README.md", "again"));
    assert_eq!((containers().lines().count(), fleet.node.running()), (2, Vec::<String>::new()));
}

/// OpenClaw from an image, with the shipped preflight.
fn openclaw(image: &str) -> Stack {
    let compose = format!(
        "services:\n  openclaw-gateway:\n    image: {image}\n    volumes: [\"./openclaw:/home/node/.openclaw\"]\n"
    );
    let manifest = "[[part]]\nname = \"upstream\"\npaths = [\"compose.yaml\"]\npreflight = [\"./preflight\"]\n\
                    [[probe]]\ncontainer = true\nevery = \"100ms\"\nwithin = \"8s\"\n";
    let preflight = include_str!("../../../stacks/openclaw/preflight");
    let body = preflight.strip_prefix("#!/bin/sh\n").unwrap();
    Stack::new("web").file("compose.yaml", &compose).file("stack.toml", manifest).program("preflight", body)
}

#[test]
fn openclaws_own_word_on_its_database_lets_a_release_in_or_refuses_it() {
    let Some(mut fleet) = Fleet::start() else { return };
    let sqlite = find_tool("sqlite3").ok_or_else(|| "not installed".to_owned());
    let Some(sqlite) = require(Part::Sqlite, sqlite) else { return };
    fleet.node.kill();
    fleet.node.settings = "failure_pause = \"100ms\"".to_owned();
    fleet.node.start("");
    let values = fleet.node.env_dir().join("web.env");
    fs::write(&values, "OPENCLAW_PREFLIGHT_WITHIN=15\n").unwrap();
    fs::set_permissions(&values, fs::Permissions::from_mode(0o600)).unwrap();
    // Without a database nobody is asked: this image has no `openclaw`.
    fleet.docker.image("claw:none", &Image::web("none"));
    fleet.deploy(&openclaw("claw:none"));

    // OpenClaw writes to it: what is newest stands in the log beside it.
    let place = fleet.node.stack().join("state/openclaw/state");
    fs::create_dir_all(&place).unwrap();
    let mut writer =
        Command::new(sqlite).arg(place.join("openclaw.sqlite")).stdin(Stdio::piped()).spawn().unwrap();
    let said = "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(x); INSERT INTO t VALUES ('newest');\n";
    writer.stdin.as_mut().unwrap().write_all(said.as_bytes()).unwrap();
    eventually_within(LIMIT, "it is written", || {
        fs::metadata(place.join("openclaw.sqlite-wal")).ok().filter(|log| log.len() > 4096)
    });

    // It is asked about a whole copy, by the words that it knows.
    let asked =
        "[ \"$1 $2 $4\" = 'database preflight --json' ] && busybox grep -q newest \"$3\" || exit 64\n";
    let answers = [
        ("exact", "echo '{\"status\": \"exact\"}'", true),
        ("incompatible", "echo '{\"status\": \"incompatible\"}'", false),
        ("indeterminate", "echo '{\"status\": \"indeterminate\"}'", false),
        ("repairable", "echo '{\"status\": \"startup-repairable\"}'", true),
        ("words", "echo 'all is \"exact\", it seems'", false),
        ("two", "echo '{\"status\": \"incompatible\", \"before\": \"exact\"}'", false),
        ("migration", "echo '{\"status\": \"migration-required\"}'", true),
        ("other", "echo '{\"status\": \"fine\"}'", false),
        ("silent", "true", false),
        ("again", "echo '{\"status\": \"exact\"}'", true),
        ("fails", "echo '{\"status\": \"exact\"}'; exit 3", false),
        ("hangs", "trap '' TERM; while :; do sleep 1; done", false),
        ("good", "echo '{\"status\": \"exact\"}'", true),
    ];
    for (name, answer, lets_in) in answers {
        let image = format!("claw:{name}");
        let made = fleet
            .docker
            .image(&image, &Image::web(name).with_program("openclaw", &format!("{asked}{answer}")));
        let runs = fleet.service("openclaw-gateway");
        let end = fleet.end(fleet.hub.deploy(&openclaw(&image)));
        let now = fleet.service("openclaw-gateway");
        if lets_in {
            assert_eq!((&end, &now.image), (&DeploymentState::Succeeded, &made), "{name}");
        } else {
            let DeploymentState::Failed { step, failure, reason } = &end else { panic!("{name}: {end:?}") };
            assert_eq!((*step, *failure), (Step::Validate, FailureKind::Invalid), "{name}: {reason}");
            assert!(reason.contains("BS3019") && reason.contains("database"), "{name}: {reason}");
            assert_eq!(now, runs, "{name}: what runs stays");
        }
    }
    // An image that has no such program says nothing.
    let end = fleet.end(fleet.hub.deploy(&openclaw("claw:none")));
    let refused =
        matches!(&end, DeploymentState::Failed { reason, .. } if reason.contains("preflight failed"));
    assert!(refused, "{end:?}");
    let left = fleet.docker.containers().into_iter().filter(|one| one.name.contains("preflight")).count();
    assert_eq!(left, 0, "nothing that was asked is left");
    let _ = writer.kill();
    let _ = writer.wait();
}

//! The systemd runtime, on a machine that systemd really runs. The agent itself runs beside it and speaks to it by
//! systemd's own programs.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{fs, os::unix::fs::PermissionsExt as _, thread, time::Duration};

use backstay_api::agent::{Answer, Question, ReportBody};
use backstay_testkit::SystemdNode;
use backstay_types::{DeploymentId, DeploymentState, FailureKind, Step};
use support::{FakeHub, Node, Stack, eventually_within};

const LIMIT: Duration = Duration::from_secs(120);

struct Fleet {
    // Dropped first: what the agent has installed goes with the machine.
    node: Node,
    hub: FakeHub,
    machine: SystemdNode,
}

impl Fleet {
    fn start() -> Option<Self> {
        let hub = FakeHub::start();
        let mut node = Node::join(&hub);
        // Units run as users of their own; a test's folder is closed to them otherwise.
        fs::set_permissions(node.root(), fs::Permissions::from_mode(0o755)).unwrap();
        let machine = SystemdNode::require(node.root(), &node.root().join("units"))?;
        node.env = machine.programs(&node.root().join("programs"));
        node.settings = "check_every = \"1s\"\nfailure_pause = \"100ms\"".to_owned();
        node.start("");
        Some(Self { node, hub, machine })
    }

    fn end(&self, deployment: DeploymentId) -> DeploymentState {
        eventually_within(LIMIT, "the deployment's end", || self.hub.ends(deployment).pop())
    }

    fn deploy(&self, stack: &Stack) -> DeploymentId {
        let deployment = self.hub.deploy(stack);
        assert_eq!(self.end(deployment), DeploymentState::Succeeded);
        deployment
    }

    fn invocation(&self, unit: &str) -> String {
        self.machine.property(unit, "InvocationID")
    }

    fn state(&self, unit: &str) -> String {
        self.machine.property(unit, "ActiveState")
    }

    /// The version that a unit's program was started with.
    fn says(&self, unit: &str) -> String {
        let pid = self.machine.property(unit, "MainPID");
        let environ = self.machine.run(&["cat", &format!("/proc/{pid}/cmdline")]);
        environ.replace('\0', " ").trim().to_owned()
    }
}

/// `web.service` runs `serve`, as nobody; `web-side.service` runs by itself; a timer starts `web-clean.service`.
fn stack(version: &str) -> Stack {
    Stack::new("web")
        .file(
            "stack.toml",
            "runtime = \"systemd\"\n\
             [[unit]]\nfile = \"units/web.service\"\n\
             [[unit]]\nfile = \"units/web-side.service\"\n\
             [[unit]]\nfile = \"units/web-clean.service\"\n\
             [[unit]]\nfile = \"units/web-clean.timer\"\n\
             [[unit]]\nfile = \"units/web-once.service\"\n\
             [[probe]]\nsystemd = \"web.service\"\nevery = \"100ms\"\nwithin = \"4s\"\n",
        )
        .file(
            "units/web.service",
            "[Unit]\nDescription=Web\n[Service]\nUser=nobody\nExecStart=@release@/serve\nRestart=always\n\
             [Install]\nWantedBy=multi-user.target\n",
        )
        .program("serve", &format!("echo \"serving {version} for $BACKSTAY_STACK\"\nexec sleep 9{version}00"))
        .file("units/web-side.service", "[Service]\nExecStart=/bin/sleep 2000\n")
        .file("units/web-clean.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n")
        .file("units/web-clean.timer", "[Timer]\nOnCalendar=daily\n[Install]\nWantedBy=timers.target\n")
        .file("units/web-once.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n")
        .file("README.md", version)
}

#[test]
fn units_come_change_go_back_and_go() {
    let Some(fleet) = Fleet::start() else { return };
    let Fleet { node, hub, machine } = &fleet;
    let first = fleet.deploy(&stack("1"));
    assert_eq!(fleet.says("web.service"), "sleep 9100");
    assert_eq!(machine.property("web.service", "UnitFileState"), "enabled");
    assert_eq!(fleet.state("web-clean.timer"), "active");
    assert_eq!(machine.property("web-once.service", "Result"), "success");
    let environment = machine.property("web.service", "Environment");
    for part in [format!("BACKSTAY_DEPLOYMENT={first}"), "BACKSTAY_NODE=node-1".to_owned()] {
        assert!(environment.contains(&part), "{environment}");
    }

    // What is the same keeps running; what one unit refers to changes: that one alone is started again.
    let (web, side) = (fleet.invocation("web.service"), fleet.invocation("web-side.service"));
    fleet.deploy(&stack("1").file("README.md", "another tree"));
    assert_eq!(
        (fleet.invocation("web.service"), fleet.invocation("web-side.service")),
        (web.clone(), side.clone())
    );
    let second = fleet.deploy(&stack("2"));
    assert_eq!(fleet.says("web.service"), "sleep 9200");
    assert_eq!(fleet.invocation("web-side.service"), side);
    assert!(machine.property("web.service", "Environment").contains(&second.to_string()));
    assert!(!machine.property("web-side.service", "Environment").contains(&second.to_string()));

    // Values reach units through a file that only root reads.
    let values = node.env_dir().join("web.env");
    fs::write(&values, "TOKEN=s3cr3t\n").unwrap();
    fs::set_permissions(&values, fs::Permissions::from_mode(0o600)).unwrap();
    fleet.deploy(&stack("3").program("serve", "echo \"token $TOKEN\"\nexec sleep 9300"));
    let log = |part: &'static str| {
        eventually_within(LIMIT, part, || {
            let known = hub.answers().len();
            hub.ask_logs(&"web".parse().unwrap(), 20);
            let answer = eventually_within(LIMIT, "logs", || hub.answers().into_iter().nth(known));
            let Answer::Logs { lines } = answer else { panic!("{answer:?}") };
            lines.into_iter().any(|l| l.service == "web.service" && l.text.contains(part)).then_some(())
        });
    };
    log("token s3cr3t");
    log("serving 2 for web");
    follow(&fleet);

    // A release that does not start, and one that does not stay up: the earlier units are back as they were.
    let text = fs::read_to_string(node.root().join("units/web.service")).unwrap();
    for (name, serve, step) in [("4", "exit 3", Step::Probe), ("5", "sleep 0.2; exit 1", Step::Probe)] {
        let bad = stack(name)
            .program("serve", serve)
            .file("units/web.service", "[Service]\nExecStart=@release@/serve\nRestart=no\n");
        let end = fleet.end(hub.deploy(&bad));
        let DeploymentState::RolledBack { step: at, failure, reason } = end else { panic!("{end:?}") };
        assert_eq!((at, failure), (step, FailureKind::Unhealthy), "{reason}");
        assert_eq!(fs::read_to_string(node.root().join("units/web.service")).unwrap(), text);
        assert_eq!(fleet.says("web.service"), "sleep 9300");
        assert_eq!(machine.property("web.service", "UnitFileState"), "enabled");
    }

    // Removed: stopped, disabled, gone; data stays.
    fs::write(node.stack().join("state/kept"), "data").unwrap();
    fs::create_dir_all(node.root().join("units/ssh.service.d")).unwrap();
    let gone = hub.remove(&stack("3"));
    assert_eq!(fleet.end(gone), DeploymentState::Succeeded);
    for unit in ["web.service", "web-side.service", "web-clean.timer"] {
        assert_eq!(machine.property(unit, "LoadState"), "not-found", "{unit}");
    }
    let left: Vec<_> = fs::read_dir(node.root().join("units")).unwrap().flatten().collect();
    let left: Vec<_> = left.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    assert!(!left.iter().any(|name| name.starts_with("web")), "{left:?}");
    assert_eq!(fs::read_to_string(node.stack().join("state/kept")).unwrap(), "data");
}

/// What a unit logs is told once, each time behind what was told before.
fn follow(fleet: &Fleet) {
    let ask = |after: Option<String>| {
        let known = fleet.hub.answers().len();
        let stack = "web".parse().unwrap();
        fleet.hub.ask(Question::NewLogs { stack, after, lines: 50, wait_ms: 5000 });
        let answer = eventually_within(LIMIT, "what is new", || fleet.hub.answers().into_iter().nth(known));
        let Answer::NewLogs { lines, after, .. } = answer else { panic!("{answer:?}") };
        let mine = lines.into_iter().filter(|line| line.service == "web.service");
        (mine.map(|line| line.text).collect::<Vec<_>>(), Some(after))
    };
    let (_, after) = ask(None);
    fleet.machine.run(&["systemctl", "restart", "web.service"]);
    let (mut told, mut place) = ask(after);
    for _ in 0..3 {
        let (more, after) = ask(place);
        told.extend(more);
        place = after;
    }
    let mine: Vec<_> = told.iter().filter(|line| line.contains("token")).collect();
    assert_eq!(mine, ["token s3cr3t"], "{told:?}");
}

#[test]
fn units_that_departed_are_put_right_and_others_are_never_touched() {
    let Some(mut fleet) = Fleet::start() else { return };
    let Fleet { node, hub, machine } = &fleet;
    fleet.deploy(&stack("1"));
    let unit = node.root().join("units/web.service");
    let text = fs::read_to_string(&unit).unwrap();
    let healed = |what: &str, look: &dyn Fn() -> bool| {
        eventually_within(LIMIT, what, || look().then_some(()));
        eventually_within(LIMIT, "the drift is told", || {
            hub.reports().into_iter().find(|r| matches!(&r.body, ReportBody::Drift { healed: true, .. }))
        });
    };
    fs::write(&unit, text.replace("User=nobody", "User=root")).unwrap();
    machine.run(&["systemctl", "stop", "web.service"]);
    healed("the unit's text is back, and it runs", &|| {
        fs::read_to_string(&unit).is_ok_and(|now| now == text) && fleet.state("web.service") == "active"
    });
    machine.run(&["systemctl", "disable", "web.service"]);
    healed("it is enabled again", &|| machine.property("web.service", "UnitFileState") == "enabled");
    fs::remove_file(&unit).unwrap();
    healed("its file is there again", &|| unit.exists() && fleet.state("web.service") == "active");

    // A timer that waits and a program that has done its work are as they should be.
    thread::sleep(Duration::from_secs(3));
    let reports = hub.reports().len();
    thread::sleep(Duration::from_secs(4));
    assert_eq!(hub.reports().len(), reports, "{:?}", hub.reports().last());

    // Another's unit, of the system or by hand, is not taken over.
    fs::write(node.root().join("units/web-other.service"), "[Service]\nExecStart=/bin/sleep 9\n").unwrap();
    machine.run(&["systemctl", "daemon-reload"]);
    for (file, manifest, says) in [
        ("web-other.service", "web-other.service", "already"),
        ("ssh.service", "ssh.service", "does not belong to stack"),
        ("web-x.service", "web-y.service", "No such file"),
    ] {
        let text = format!("runtime = \"systemd\"\n[[unit]]\nfile = \"{manifest}\"\n");
        let bad =
            Stack::new("web").file("stack.toml", &text).file(file, "[Service]\nExecStart=/bin/sleep 9\n");
        let end = fleet.end(hub.deploy(&bad));
        assert!(matches!(&end, DeploymentState::Failed { reason, .. } if reason.contains(says)), "{end:?}");
    }
    let broken = stack("2").file("units/web.service", "[Service]\nExecStart=nothing\n");
    let end = fleet.end(hub.deploy(&broken));
    assert!(
        matches!(&end, DeploymentState::Failed { reason, .. } if reason.contains("systemd-analyze verify")),
        "{end:?}"
    );
    let missing = stack("2").file("units/web.service", "[Service]\nExecStart=@release@/none\n");
    let end = fleet.end(hub.deploy(&missing));
    assert!(
        matches!(&end, DeploymentState::Failed { reason, .. } if reason.contains("@release@/none")),
        "{end:?}"
    );
    assert_eq!(fleet.says("web.service"), "sleep 9100");

    // The machine boots: what is enabled runs without the agent, the rest when it looks.
    machine.reboot();
    fleet.node.kill();
    fleet.node.start("");
    eventually_within(LIMIT, "all runs again", || {
        let up =
            ["web.service", "web-side.service", "web-clean.timer"].map(|unit| fleet.state(unit) == "active");
        up.iter().all(|up| *up).then_some(())
    });
}

/// The agent as systemd runs it on a machine: ready when it says so, and started again when it hangs.
#[test]
fn systemd_starts_a_wedged_agent_again() {
    let hub = FakeHub::start();
    let mut node = Node::join(&hub);
    let units = node.root().join("units");
    let Some(machine) = SystemdNode::require(node.root(), &units) else { return };
    // Its own watchdog would be late: it is systemd that notices.
    node.settings = "watchdog = \"1h\"".to_owned();
    node.status();
    let program = node.root().join("backstay-agent");
    fs::copy(env!("CARGO_BIN_EXE_backstay-agent"), &program).unwrap();
    let loader = node.root().join("backstay-loader");
    fs::copy(env!("CARGO_BIN_EXE_backstay-loader"), &loader).unwrap();
    let unit = include_str!("../../../deploy/systemd/backstay-agent.service");
    let start = format!(
        "ExecStart={} {root}/agents {} run --config {root}/settings.toml",
        loader.display(),
        program.display(),
        root = node.root().display()
    );
    let unit = unit
        .replace(
            "ExecStart=/usr/local/bin/backstay-loader /var/lib/backstay/agents /usr/local/bin/backstay-agent run --config /etc/backstay/settings.toml",
            &start,
        )
        .replace("WatchdogSec=3min", "WatchdogSec=2s\nEnvironment=FAILPOINTS=driver.wedge=40*off->return");
    assert!(unit.contains(&start) && unit.contains("WatchdogSec=2s"));
    fs::write(units.join("backstay-agent.service"), unit).unwrap();
    machine.run(&["systemctl", "daemon-reload"]);
    machine.run(&["systemctl", "start", "backstay-agent.service"]);
    assert_eq!(machine.property("backstay-agent.service", "ActiveState"), "active");
    eventually_within(LIMIT, "it is started again", || {
        (machine.property("backstay-agent.service", "NRestarts") != "0").then_some(())
    });
    let log = machine.run(&["journalctl", "--no-pager", "--unit=backstay-agent.service"]);
    assert!(log.contains("Watchdog timeout"), "{log}");
    assert_eq!(log.matches("the agent runs").count(), 2, "{log}");
}

/// The crash matrix's rows that are about units: files, states and names end as the journal says.
#[test]
fn units_are_switched_by_an_agent_that_is_killed() {
    let Some(mut fleet) = Fleet::start() else { return };
    fleet.deploy(&stack("1"));
    let mut version = 1;
    for point in [
        "up.before=return",
        "units.claimed=return",
        "units.written=1*off->return",
        "units.switched=return",
        "units.switched=1*off->return",
        "up.started=return",
        "up.after=return",
        "probing.after=return",
        "committed.before=return",
    ] {
        version += 1;
        fleet.node.kill();
        let deployment = fleet.hub.deploy(&stack(&version.to_string()));
        fleet.node.start(point);
        fleet.node.wait_killed();
        fleet.node.start("");
        assert_eq!(fleet.end(deployment), DeploymentState::Succeeded, "{point}");
        assert_eq!(fleet.says("web.service"), format!("sleep 9{version}00"), "{point}");
    }
    // A release without one of the units; the agent dies while that is taken away.
    let without = |version: u32| {
        let all = stack(&version.to_string());
        let manifest = all.files.iter().find(|file| file.path == "stack.toml").unwrap();
        let text = String::from_utf8(manifest.content.clone()).unwrap();
        all.file("stack.toml", &text.replace("[[unit]]\nfile = \"units/web-side.service\"\n", ""))
    };
    for point in ["units.stopped=return", "units.removed=return"] {
        version += 2;
        fleet.deploy(&stack(&(version - 1).to_string()));
        assert_eq!(fleet.state("web-side.service"), "active");
        fleet.node.kill();
        let deployment = fleet.hub.deploy(&without(version));
        fleet.node.start(point);
        fleet.node.wait_killed();
        fleet.node.start("");
        assert_eq!(fleet.end(deployment), DeploymentState::Succeeded, "{point}");
        assert_eq!(fleet.machine.property("web-side.service", "LoadState"), "not-found", "{point}");
        assert!(!fleet.node.root().join("units/web-side.service.d").exists(), "{point}");
    }
    // And on the way back.
    for point in ["returning.after=return", "units.written=2*off->return", "returned.before=return"] {
        fleet.node.kill();
        let bad = stack("999")
            .program("serve", "exit 3")
            .file("units/web.service", "[Service]\nExecStart=@release@/serve\nRestart=no\n");
        let deployment = fleet.hub.deploy(&bad.file("README.md", point));
        fleet.node.start(point);
        fleet.node.wait_killed();
        fleet.node.start("");
        let end = fleet.end(deployment);
        assert!(matches!(end, DeploymentState::RolledBack { .. }), "{point}: {end:?}");
        assert_eq!(fleet.says("web.service"), format!("sleep 9{version}00"), "{point}");
        fleet.deploy(&without(version).file("README.md", &format!("after {point}")));
    }
}

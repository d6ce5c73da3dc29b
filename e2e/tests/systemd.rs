//! A machine that systemd runs, with the agent installed on it as the guides say: by the shipped unit, from which the
//! loader starts it. Whatever becomes of the agent, what it runs goes on.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{fs, path::Path, process::Command, thread, time::Duration};

use backstay_api::{Empty, v1};
use backstay_e2e::Fleet;
use backstay_testkit::{Program, SystemdNode, eventually_within, run};
use backstay_types::{StackHealth, Timestamp};

const LONG: Duration = Duration::from_secs(120);
const UNIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/systemd/backstay-agent.service");
const AGENT: &str = "backstay-agent.service";
const STARTS: &str = "/var/lib/backstay/stacks/job/state/starts";

/// A hub and a repository here, and one node: the machine.
struct Place {
    machine: SystemdNode,
    fleet: Fleet,
}

impl Place {
    /// Installs the agent as docs/guides/updating-agents.md has it, with the unit as it is shipped, and joins.
    fn start() -> Option<Self> {
        let machine = SystemdNode::require_linked()?;
        let host = machine.host();
        let fleet = Fleet::of(0).reachable().hub_setting("BACKSTAY_HUB_ALLOWED_HOSTS", &host).start()?;
        for name in ["backstay-agent", "backstay-loader"] {
            let program = Program::ours(name, fleet.dir());
            machine.put(&stripped(program.path(), fleet.dir()), &format!("/usr/local/bin/{name}"));
        }
        machine.write("/etc/backstay/settings.toml", "[agent]\ncheck_every = \"1s\"\n");
        let asked = v1::CreateJoinTokenRequest::default();
        let token = fleet.api.call::<v1::CreateJoinToken>(&Empty {}, &Empty {}, &asked).token;
        let url = format!("http://{host}:{}", fleet.hub.port());
        let join = ["/usr/local/bin/backstay-agent", "join", "--config", "/etc/backstay/settings.toml"];
        let as_whom = ["--hub", &url, "--name", "pi", "--token", token.expose()];
        machine.run(&[&join[..], &as_whom].concat());
        machine.put(Path::new(UNIT), &format!("/etc/systemd/system/{AGENT}"));
        machine.run(&["systemctl", "daemon-reload"]);
        machine.run(&["systemctl", "enable", "--now", AGENT]);
        Some(Self { machine, fleet })
    }

    fn agent(&self) -> String {
        self.machine.property(AGENT, "MainPID")
    }

    /// Waits until both stacks run what they should, as the machine has said since `since`.
    fn at_rest(&self, since: Timestamp) {
        eventually_within(LONG, "both stacks to run as they should", || {
            let view = self.fleet.api.node("pi");
            let fits = |desired: &v1::DesiredView| {
                view.observed.iter().any(|seen| {
                    seen.stack == desired.stack
                        && seen.current == Some(desired.tree)
                        && seen.health == StackHealth::Healthy
                })
            };
            let heard = view.last_seen_at.is_some_and(|at| at > since);
            let settled = view.desired.len() == 2 && view.desired.iter().all(fits);
            if heard && settled { Ok(()) } else { Err(format!("{view:#?}\n{}", self.log())) }
        });
    }

    fn log(&self) -> String {
        self.machine.run(&["journalctl", "--no-pager", "--lines=40", &format!("--unit={AGENT}")])
    }

    /// What runs: the numbers of all processes that `job` ever was, and the unit's process with its life.
    fn runs(&self) -> (String, String, String) {
        let starts = self.machine.run(&["cat", STARTS]);
        let last = starts.lines().last().unwrap().to_owned();
        self.machine.run(&["kill", "-0", &last]);
        let unit = |property| self.machine.property("tick.service", property);
        assert_eq!(unit("ActiveState"), "active");
        (starts, unit("MainPID"), unit("InvocationID"))
    }
}

/// A program without what is in it for debuggers.
fn stripped(program: &Path, dir: &Path) -> std::path::PathBuf {
    let to = dir.join(program.file_name().unwrap());
    run(Command::new("strip").arg("-o").arg(&to).arg(program));
    to
}

/// `job` runs as a process and says each time that it is started; `tick` is a unit.
fn write_stacks(fleet: &Fleet) {
    fleet
        .tree
        .write(
            "stacks/job/stack.toml",
            "runtime = \"process\"\n[[process]]\nname = \"job\"\ncommand = [\"./run\"]\nstop_grace = \"1s\"\n\
             [[probe]]\ncommand = [\"true\"]\nevery = \"100ms\"\nwithin = \"5s\"\n[bake]\nfor = \"300ms\"\n",
        )
        .write_executable(
            "stacks/job/run",
            "#!/bin/sh\necho $$ >> \"$BACKSTAY_STATE_DIR/starts\"\nexec sleep 100000\n",
        )
        .write(
            "stacks/tick/stack.toml",
            "runtime = \"systemd\"\n[[unit]]\nfile = \"tick.service\"\n\
             [[probe]]\nsystemd = \"tick.service\"\nevery = \"100ms\"\nwithin = \"5s\"\n",
        )
        .write("stacks/tick/tick.service", "[Service]\nExecStart=/bin/sleep 100000\n");
    fleet.commit("Add two stacks", None);
    fleet.follow();
}

#[test]
fn what_runs_goes_on_while_systemd_restarts_the_agent_and_the_loader_updates_it() {
    let Some(place) = Place::start() else { return };
    let Place { machine, fleet } = &place;
    write_stacks(fleet);
    let now = || backstay_agent::system().now();
    place.at_rest(now());
    let runs = place.runs();
    assert_eq!(runs.0.lines().count(), 1, "{}", runs.0);

    // Restarted by a person; killed; and wedged, until systemd's watchdog ends it.
    let hurry = "[Service]\nWatchdogSec=4s\n";
    let ways: [(&str, &dyn Fn()); 3] = [
        ("restarted", &|| drop(machine.run(&["systemctl", "restart", AGENT]))),
        ("killed", &|| drop(machine.run(&["systemctl", "kill", "--kill-who=main", "--signal=KILL", AGENT]))),
        ("wedged", &|| {
            machine.write(&format!("/etc/systemd/system/{AGENT}.d/hurry.conf"), hurry);
            machine.run(&["systemctl", "daemon-reload"]);
            machine.run(&["systemctl", "restart", AGENT]);
            machine.run(&["kill", "-STOP", &place.agent()]);
        }),
    ];
    for (what, happens) in ways {
        let (before, since) = (place.agent(), now());
        happens();
        let stopped = if what == "wedged" { place.agent() } else { before };
        eventually_within(LONG, "systemd to start another agent", || {
            let pid = place.agent();
            let up = machine.property(AGENT, "ActiveState") == "active";
            if up && pid != stopped && pid != "0" { Ok(()) } else { Err(format!("{what}: {pid}")) }
        });
        place.at_rest(since);
        // It has looked at what runs more than once.
        thread::sleep(Duration::from_secs(3));
        assert_eq!(place.runs(), runs, "{what}: {}", place.log());
    }
    assert!(place.log().contains("Watchdog timeout"), "{}", place.log());

    // Started by the loader, it takes another agent's place.
    let another = fleet.dir().join("another");
    let mut program = fs::read(fleet.dir().join("backstay-agent")).unwrap();
    program.extend_from_slice(b"another");
    fs::write(&another, program).unwrap();
    fleet.cli.run(&["agents", "update", "--as", "9.9.9", "--to", another.to_str().unwrap()]);
    eventually_within(LONG, "the agent to run from its slot", || {
        // While it is started anew it has no process.
        let exe = machine.try_run(&["readlink", &format!("/proc/{}/exe", place.agent())]);
        let exe = exe.map_err(|failed| failed.to_string())?;
        if exe.starts_with("/var/lib/backstay/agents/") { Ok(()) } else { Err(exe) }
    });
    place.at_rest(now());
    assert_eq!(place.runs(), runs, "updated: {}", place.log());

    // It does its work: a release reaches both.
    fleet.tree.write("stacks/job/note", "2\n");
    fleet.tree.write("stacks/tick/tick.service", "[Service]\nExecStart=/bin/sleep 200000\n");
    let commit = fleet.commit("Change both", None);
    fleet.deployed(&commit);
    place.at_rest(now());
    let (_, unit, life) = place.runs();
    assert!(unit != runs.1 && life != runs.2, "{}", place.log());
}

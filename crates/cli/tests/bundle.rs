//! `backstay bundle export`, taken up by a real agent that reaches no network.

use std::{fs, process::Command};

use backstay_testkit::kill_under;

use crate::{
    hub::Fleet,
    support::{Ran, program, ran},
};

const STACK: &str = "runtime = \"process\"\n[[process]]\nname = \"job\"\ncommand = [\"sleep\", \"1000\"]\nstop_grace = \"1s\"\n\
                     [[probe]]\ncommand = [\"true\"]\nevery = \"50ms\"\nwithin = \"2s\"\n[bake]\nfor = \"100ms\"\n";

/// The agent of a node, in the fleet's folder.
fn agent(fleet: &Fleet, args: &[&str]) -> Ran {
    let agent = program().with_file_name("backstay-agent");
    assert!(agent.is_file(), "{} is not built: run `cargo build --workspace --bins` first", agent.display());
    let mut command: Command = fleet.place.command(agent);
    command.args(args).env("BACKSTAY_AGENT_DATA_DIR", fleet.place.path("node/data"));
    command.env("BACKSTAY_AGENT_RUN_DIR", fleet.place.path("node/run"));
    command.env("BACKSTAY_AGENT_ENV_DIR", fleet.place.path("node/env"));
    command.env("BACKSTAY_AGENT_DISK_MARGIN_BYTES", "1000000");
    ran(command.output().unwrap())
}

/// What a node started goes with the test.
struct Started<'a>(&'a Fleet);

impl Drop for Started<'_> {
    fn drop(&mut self) {
        kill_under(&self.0.place.path("node"));
    }
}

#[test]
fn a_bundle_takes_a_release_to_a_node_that_never_reached_the_hub_again() {
    let fleet = Fleet::following();
    fleet.git(&["rm", "-rq", "stacks/web"]);
    fleet.place.write("fleet/stacks/job/stack.toml", STACK);
    fleet.git(&["add", "."]);
    fleet.git(&["commit", "-q", "-m", "A job"]);
    fleet.git(&["push", "-q", "origin", "main"]);
    let hub = fleet.place.read("hub/hub.url").trim().to_owned();
    let token = fleet.json(&["nodes", "token"])["token"].as_str().unwrap().to_owned();
    let _started = Started(&fleet);
    let joined = agent(&fleet, &["join", "--hub", &hub, "--token", &token, "--name", "camera-7"]);
    assert_eq!(joined.code, 0, "{}{}", joined.out, joined.err);
    fleet.run(&["repos", "sync", "fleet"]);
    let node = || fleet.json(&["nodes", "show", "camera-7"]);
    fleet.eventually("it should run the job", || node()["desired"][0]["stack"] == "job");

    let out = fleet.run(&[
        "bundle",
        "export",
        "--node",
        "camera-7",
        "--output",
        "camera-7.bundle",
        "--valid",
        "90d",
    ]);
    assert!(
        out.contains("for node camera-7") && out.contains("backstay-agent apply camera-7.bundle"),
        "{out}"
    );
    let bytes = fs::read(fleet.place.path("camera-7.bundle")).unwrap();
    assert!(bytes.starts_with(b"backstay-bundle-1\n"));
    let applied = agent(&fleet, &["apply", "camera-7.bundle"]);
    assert_eq!(applied.code, 0, "{}{}", applied.out, applied.err);
    assert!(applied.out.contains("job: runs "), "{}", applied.out);
    let status = agent(&fleet, &["status"]);
    let tree = node()["desired"][0]["tree"].as_str().unwrap()[..12].to_owned();
    assert!(status.out.contains("job") && status.out.contains(&tree), "{tree}: {}", status.out);
}

#[test]
fn a_bundle_that_cannot_be_made_leaves_no_file() {
    let fleet = Fleet::start();
    let args = |more: &[&'static str]| [&["bundle", "export", "-o", "out/x.bundle"], more].concat();
    fs::create_dir(fleet.place.path("out")).unwrap();
    for (args, code, says) in [
        (args(&["--node", "nobody"]), 4, "nobody"),
        (args(&["--node", "nobody", "--valid", "soon"]), 2, "not a length of time"),
        (args(&["--node", "nobody", "--image=-x"]), 2, "is no image"),
        (args(&[]), 2, "--node"),
        (vec!["bundle", "export", "--node", "nobody", "-o", "nowhere/x.bundle"], 1, "cannot be written"),
    ] {
        let ran = fleet.try_run(&args);
        assert!(ran.code == code && ran.err.contains(says), "{args:?}: {} {}", ran.code, ran.err);
    }
    assert_eq!(fs::read_dir(fleet.place.path("out")).unwrap().count(), 0);
}

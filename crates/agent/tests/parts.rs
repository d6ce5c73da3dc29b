//! Parts of a stack on a node: switched without a start, asked beforehand, taken back.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;

use backstay_api::statement::{DesiredStack, PartSource};
use backstay_testkit::{BareRepository, CommitSpec, WorkTree};
use backstay_types::{CommitId, DeploymentId, DeploymentState, FailureKind, Step, tree::Mode};
use support::{FakeHub, Node, PackMode, Stack, eventually};

/// A gateway that goes by a policy, which is reloaded, and a plugin, whose preflight looks at what runs.
fn claw(policy: &str, plugin: &str) -> Stack {
    let manifest = "runtime = \"process\"\n\
        [[process]]\nname = \"gateway\"\ncommand = [\"./serve\"]\nstop_grace = \"2s\"\n\
        [[probe]]\ncommand = [\"./check\"]\nevery = \"30ms\"\ntimeout = \"2s\"\nwithin = \"300ms\"\n\
        [[part]]\nname = \"policy\"\npaths = [\"policy\"]\napply = \"reload\"\nreload = [\"./tell\"]\n\
        [[part]]\nname = \"plugin\"\npaths = [\"plugin\"]\npreflight = [\"./preflight\"]\n";
    Stack::new("web")
        .file("stack.toml", manifest)
        .program("serve", "while :; do cat \"$BACKSTAY_CURRENT/policy/rules\" > \"$BACKSTAY_STATE_DIR/seen\"; sleep 0.05; done")
        .program("check", "! grep -q sick policy/rules")
        .program("tell", "kill -0 \"$BACKSTAY_PID_GATEWAY\" || exit 9\ngrep -q deaf policy/rules && exit 7\ncat policy/rules >> \"$BACKSTAY_STATE_DIR/told\"")
        .program("preflight", "grep -q incompatible plugin/code && { echo 'schema 7 cannot be read'; exit 3; }\necho \"$BACKSTAY_PART ${BACKSTAY_RUNNING:+after}\" >> \"$BACKSTAY_STATE_DIR/asked\"; true")
        .file("policy/rules", &format!("{policy}\n"))
        .file("plugin/code", plugin)
}

fn end(hub: &FakeHub, deployment: DeploymentId) -> DeploymentState {
    eventually("the deployment's end", || hub.ends(deployment).pop())
}

fn running(stack: &Stack) -> (FakeHub, Node) {
    let hub = FakeHub::start();
    let mut node = Node::join(&hub);
    fs::create_dir_all(node.stack().join("state")).unwrap();
    node.settings = "check_every = \"1s\"\nkeep_releases = 2".to_owned();
    node.start("");
    assert_eq!(end(&hub, hub.deploy(stack)), DeploymentState::Succeeded);
    (hub, node)
}

fn state(node: &Node, file: &str) -> String {
    fs::read_to_string(node.stack().join("state").join(file)).unwrap_or_default()
}

fn sees(node: &Node, policy: &str) {
    eventually(&format!("it goes by {policy}"), || (state(node, "seen").trim() == policy).then_some(()));
}

/// The ids of the gateway's own processes, without what it starts.
fn servers(node: &Node) -> Vec<String> {
    let is_server = |pid: &String| {
        fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line.windows(7).any(|part| part == b"./serve" || part == b"/serve\0"))
    };
    let found: Vec<String> = node.pids().into_iter().filter(is_server).collect();
    // What it starts looks like it for a moment.
    let parent = |pid: &String| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().find_map(|line| line.strip_prefix("PPid:").map(|id| id.trim().to_owned()))
    };
    let own = |pid: &&String| parent(pid).is_some_and(|parent| !found.contains(&parent));
    found.iter().filter(own).cloned().collect()
}

#[test]
fn a_policy_is_switched_without_a_start_and_comes_back_when_it_fails() {
    let (hub, node) = running(&claw("one", "a"));
    sees(&node, "one");
    let pids = servers(&node);
    assert_eq!(state(&node, "told"), "", "a start tells it all");

    let second = claw("two", "a");
    assert_eq!(end(&hub, hub.deploy(&second)), DeploymentState::Succeeded);
    sees(&node, "two");
    assert_eq!(node.link("current"), Some(second.tree()));
    assert_eq!(state(&node, "told"), "two\n");
    assert_eq!(servers(&node), pids);

    // One that is not healthy goes back, and what runs is told so.
    let DeploymentState::RolledBack { step, failure, .. } = end(&hub, hub.deploy(&claw("sick", "a"))) else {
        panic!("it is not healthy");
    };
    assert_eq!((step, failure), (Step::Probe, FailureKind::Unhealthy));
    sees(&node, "two");
    assert_eq!(servers(&node), pids);
    assert_eq!(state(&node, "told"), "two\nsick\ntwo\n");

    // One of which it cannot be told is not there either.
    let DeploymentState::RolledBack { step, reason, .. } = end(&hub, hub.deploy(&claw("deaf", "a"))) else {
        panic!("it cannot be told");
    };
    assert_eq!(step, Step::Activate);
    assert!(reason.contains("part `policy`") && reason.contains("BS3020"), "{reason}");
    assert_eq!(servers(&node), pids, "the way back it was told again");
    sees(&node, "two");
}

#[test]
fn what_runs_keeps_the_release_that_it_was_started_from_and_is_started_again_from_the_newest() {
    let (hub, node) = running(&claw("0", "a"));
    let first = node.link("current").unwrap();
    let pids = servers(&node);
    for policy in ["1", "2", "3", "4", "5"] {
        assert_eq!(end(&hub, hub.deploy(&claw(policy, "a"))), DeploymentState::Succeeded);
        sees(&node, policy);
    }
    assert!(node.stack().join(format!("releases/{first}")).is_dir(), "it runs in there");
    let gone = claw("1", "a").tree();
    eventually("releases that nobody needs are gone", || {
        (!node.stack().join(format!("releases/{gone}")).exists()).then_some(())
    });
    assert_eq!(servers(&node), pids);
    std::process::Command::new("kill").arg("-9").args(&pids).status().unwrap();
    eventually("it is started again", || Some(servers(&node)).filter(|now| !now.is_empty() && *now != pids));
    sees(&node, "5");

    // A change of anything else starts it anew.
    let pids = servers(&node);
    assert_eq!(end(&hub, hub.deploy(&claw("5", "b"))), DeploymentState::Succeeded);
    eventually("it is another one", || Some(servers(&node)).filter(|now| !now.is_empty() && *now != pids));
}

#[test]
fn a_preflight_is_asked_first_and_its_refusal_changes_nothing() {
    let (hub, node) = running(&claw("one", "a"));
    assert_eq!(state(&node, "asked"), "plugin \n", "nothing ran before");
    let (pids, links) = (servers(&node), (node.link("current"), node.link("previous")));

    let DeploymentState::Failed { step, failure, reason } =
        end(&hub, hub.deploy(&claw("two", "incompatible")))
    else {
        panic!("it is refused");
    };
    assert_eq!((step, failure), (Step::Validate, FailureKind::Invalid));
    assert!(reason.contains("part `plugin`") && reason.contains("schema 7 cannot be read"), "{reason}");
    assert!(reason.contains("BS3019"), "{reason}");
    assert_eq!((node.link("current"), node.link("previous")), links);
    assert_eq!(servers(&node), pids);
    sees(&node, "one");

    // A part that does not change is not asked; one that does is.
    assert_eq!(end(&hub, hub.deploy(&claw("two", "a"))), DeploymentState::Succeeded);
    assert_eq!(state(&node, "asked"), "plugin \n");
    assert_eq!(end(&hub, hub.deploy(&claw("two", "b"))), DeploymentState::Succeeded);
    assert_eq!(state(&node, "asked"), "plugin \nplugin after\n");
}

#[test]
fn parts_of_several_commits_are_put_together_from_git_when_the_hub_has_no_pack() {
    let (hub, node) = running(&claw("one", "a"));
    let dir = tempfile::tempdir().unwrap();
    let bare = BareRepository::create(&dir.path().join("bare.git"));
    let work = WorkTree::clone_from(&bare.url(), &dir.path().join("work"));
    let commit = |stack: &Stack| {
        for file in &stack.files {
            let path = format!("stacks/web/{}", file.path);
            let text = String::from_utf8(file.content.clone()).unwrap();
            match file.mode {
                Mode::File => work.write(&path, &text),
                Mode::Executable => work.write_executable(&path, &text),
            };
        }
        let commit = work.commit(&CommitSpec::new("stack"));
        work.push();
        commit.parse::<CommitId>().unwrap()
    };
    let (first, second) = (commit(&claw("one", "b")), commit(&claw("two", "incompatible")));
    let source =
        |part: &str, commit: &CommitId| PartSource { part: part.parse().unwrap(), commit: commit.clone() };
    hub.packs(PackMode::Gone);
    let wanted = claw("two", "b");
    let desired = DesiredStack {
        // One of the hub's own, which nobody else has.
        commit: "f".repeat(40).parse().unwrap(),
        path: "stacks/web".to_owned(),
        endpoints: vec![bare.url()],
        sources: vec![source("base", &first), source("plugin", &first), source("policy", &second)],
        data: None,
        save: false,
        ..hub.offer(&wanted)
    };
    let deployment = desired.deployment;
    hub.state(vec![desired.clone()]);
    assert_eq!(end(&hub, deployment), DeploymentState::Succeeded);
    assert_eq!(node.link("current"), Some(wanted.tree()));
    sees(&node, "two");

    // What does not come to what was signed is not taken, and what runs stays.
    let other = claw("three", "b");
    let lie = DesiredStack {
        sources: desired.sources,
        commit: desired.commit,
        path: desired.path,
        endpoints: desired.endpoints,
        ..hub.offer(&other)
    };
    let deployment = lie.deployment;
    hub.state(vec![lie]);
    let DeploymentState::Failed { failure, .. } = end(&hub, deployment) else {
        panic!("it is not what was signed")
    };
    assert_eq!(failure, FailureKind::Mismatch);
    sees(&node, "two");
}

//! Without the hub: the newest signed statement comes from a real Git server, and nothing else is believed.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{path::Path, process::Command, time::Duration};

use backstay_api::{
    agent::ReportBody,
    statement::{SignedStatement, Statement, statement_place},
};
use backstay_testkit::{BareRepository, CommitSpec, GitServer, WorkTree};
use backstay_types::{DeploymentState, NodeId};
use ed25519_dalek::SigningKey;
use support::{FakeHub, Node, Stack, eventually_within, process_stack};

const LIMIT: Duration = Duration::from_secs(120);

/// Puts a file on the ref of a node's statement, as a commit without parents.
fn publish(repository: &BareRepository, place: (String, String), text: &str) {
    let git = |args: &[&str], stdin: &Path| {
        let output = Command::new("git")
            .arg("--git-dir")
            .arg(repository.dir())
            .args(args)
            .stdin(std::fs::File::open(stdin).unwrap())
            .env("GIT_AUTHOR_NAME", "t")
            .env("GIT_AUTHOR_EMAIL", "t@example.org")
            .env("GIT_COMMITTER_NAME", "t")
            .env("GIT_COMMITTER_EMAIL", "t@example.org")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let blob = git(&["hash-object", "-w", "--stdin"], file.path());
    std::fs::write(file.path(), format!("100644 blob {blob}\t{}\n", place.1)).unwrap();
    let tree = git(&["mktree"], file.path());
    let commit = git(&["commit-tree", "-m", "x", &tree], Path::new("/dev/null"));
    git(&["update-ref", &place.0, &commit], Path::new("/dev/null"));
}

fn running(node: &Node, version: &str) {
    eventually_within(LIMIT, version, || (node.running() == [version]).then_some(()));
}

#[test]
fn a_newer_statement_is_taken_from_git_and_nothing_else() {
    let Some(git) = GitServer::require() else { return };
    let repository = git.repository("fleet.git");
    let dir = backstay_testkit::scratch_dir();
    let work = WorkTree::clone_from(&repository.url(), &dir.path().join("work"));
    let commit_of = |stack: &Stack| {
        for file in &stack.files {
            let (path, text) =
                (format!("stacks/web/{}", file.path), String::from_utf8(file.content.clone()).unwrap());
            match file.mode {
                backstay_types::tree::Mode::File => work.write(&path, &text),
                backstay_types::tree::Mode::Executable => work.write_executable(&path, &text),
            };
        }
        let commit = work.commit(&CommitSpec::new("a release"));
        work.push();
        commit
    };
    let hub = FakeHub::start();
    let mut node = Node::join(&hub);
    node.settings = "statement_from_git_after = \"2s\"".to_owned();
    node.start("");
    let (a, b) = (process_stack("a", "true"), process_stack("b", "true"));
    let desired = |stack: &Stack, commit: &str| {
        let mut desired = hub.offer(stack);
        desired.commit = commit.parse().unwrap();
        desired.path = "stacks/web".to_owned();
        desired.endpoints = vec![git.url("fleet.git")];
        desired
    };
    let first = desired(&a, &commit_of(&a));
    let held = hub.state(vec![first]);
    running(&node, "a");
    let deployed = hub.reports().len();
    assert!(deployed > 0);

    hub.deaf(true);
    let second = desired(&b, &commit_of(&b));
    let newer = hub.statement(vec![second.clone()], held.epoch, held.generation + 1);
    let place = || statement_place(held.node);
    let put =
        |signed: &SignedStatement| publish(&repository, place(), &serde_json::to_string(signed).unwrap());
    // Nobody who can write to the repository can make the node do anything.
    put(&Statement { generation: 99, ..newer.clone() }.sign(&SigningKey::from_bytes(&[9; 32])));
    eventually_within(LIMIT, "a forged one is refused", || {
        node.log().contains("is not signed by the hub").then_some(())
    });
    let other: NodeId = backstay_agent::system().mint();
    put(&hub.sign(&Statement { node: other, ..newer.clone() }));
    eventually_within(LIMIT, "another node's is refused", || {
        node.log().contains("it is for node").then_some(())
    });
    put(&hub.sign(&Statement { epoch: 0, generation: 1000, ..newer.clone() }));
    eventually_within(LIMIT, "an older one is refused", || {
        node.log().contains("is older than").then_some(())
    });
    publish(&repository, place(), "not a statement");
    eventually_within(LIMIT, "nonsense is refused", || node.log().contains("is no statement").then_some(()));
    assert_eq!(node.running(), ["a"]);

    put(&hub.sign(&newer));
    running(&node, "b");
    assert_eq!(node.status()["generation"], newer.generation);

    // The hub is back: what was done meanwhile is told, and who was refused.
    hub.give(newer.clone());
    hub.deaf(false);
    let end = eventually_within(LIMIT, "the end is told", || hub.ends(second.deployment).pop());
    assert_eq!(end, DeploymentState::Succeeded);
    let refused: Vec<_> = hub
        .reports()
        .into_iter()
        .filter_map(|report| match report.body {
            ReportBody::StatementRefused { reason } => Some(reason),
            _ => None,
        })
        .collect();
    assert_eq!(refused.len(), 3, "{refused:?}");
    assert!(refused.iter().all(|reason| reason.starts_with("from Git (http://127.0.0.1:")), "{refused:?}");
}

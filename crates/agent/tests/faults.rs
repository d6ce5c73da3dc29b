//! What the world does wrong, and what the agent makes of it: content, statements, disks, a lost journal.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use backstay_api::{
    agent::ReportBody,
    statement::{DesiredStack, Statement},
};
use backstay_testkit::{BareRepository, CommitSpec, GitServer, Part, WorkTree, left_out::leave_out};
use backstay_types::{DeploymentId, DeploymentState, FailureKind, StackHealth};
use ed25519_dalek::SigningKey;
use support::{FakeHub, Node, PackMode, Stack, eventually, process_stack};

fn end(hub: &FakeHub, deployment: DeploymentId) -> DeploymentState {
    eventually("the deployment's end", || hub.ends(deployment).pop())
}

/// A node that runs `a`.
fn running() -> (FakeHub, Node) {
    let hub = FakeHub::start();
    let mut node = Node::join(&hub);
    node.start("");
    let deployment = hub.deploy(&process_stack("a", "true"));
    assert_eq!(end(&hub, deployment), DeploymentState::Succeeded);
    eventually("a runs", || (node.running() == ["a"]).then_some(()));
    (hub, node)
}

fn failed(state: &DeploymentState) -> (FailureKind, &str) {
    match state {
        DeploymentState::Failed { failure, reason, .. } => (*failure, reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn content_that_is_not_what_was_signed_changes_nothing() {
    let (hub, node) = running();
    let pids = node.pids();
    for mode in [PackMode::Damaged, PackMode::Truncated, PackMode::Other] {
        hub.packs(mode);
        let state = end(&hub, hub.deploy(&process_stack(&format!("{mode:?}"), "true")));
        let (kind, reason) = failed(&state);
        assert_eq!(kind, FailureKind::Mismatch, "{mode:?}: {reason}");
        assert!(reason.contains("BS3003"), "{reason}");
        assert_eq!(node.pids(), pids, "{mode:?}");
        eventually("nothing is left over", || node.leftovers().is_empty().then_some(()));
    }
    hub.packs(PackMode::Good);
    assert_eq!(end(&hub, hub.deploy(&process_stack("b", "true"))), DeploymentState::Succeeded);
}

#[test]
fn a_hub_that_comes_back_is_waited_for_and_a_newer_release_does_not_wait() {
    let (hub, node) = running();
    hub.packs(PackMode::Gone);
    let stuck = hub.deploy(&process_stack("b", "true"));
    eventually("b is wanted", || node.log().contains("the hub does not give the release").then_some(()));
    let newer = hub.deploy(&process_stack("c", "true"));
    assert_eq!(end(&hub, stuck), DeploymentState::Superseded);
    hub.packs(PackMode::Good);
    assert_eq!(end(&hub, newer), DeploymentState::Succeeded);
    eventually("c runs", || (node.running() == ["c"]).then_some(()));
}

/// A repository whose commit carries the stack in a folder.
fn repository(dir: &Path, stack: &Stack) -> (BareRepository, String) {
    let bare = BareRepository::create(&dir.join("bare.git"));
    let commit = commit(&bare.url(), &dir.join("work"), stack);
    (bare, commit)
}

fn commit(url: &str, dir: &Path, stack: &Stack) -> String {
    let work = WorkTree::clone_from(url, dir);
    for file in &stack.files {
        let path = format!("stacks/web/{}", file.path);
        let text = String::from_utf8(file.content.clone()).unwrap();
        match file.mode {
            backstay_types::tree::Mode::File => work.write(&path, &text),
            backstay_types::tree::Mode::Executable => work.write_executable(&path, &text),
        };
    }
    work.write("elsewhere/README.md", "not of this stack");
    let commit = work.commit(&CommitSpec::new("stack"));
    work.push();
    commit
}

fn from_git(hub: &FakeHub, stack: &Stack, commit: &str, endpoints: &[&str]) -> DesiredStack {
    DesiredStack {
        commit: commit.parse().unwrap(),
        path: "stacks/web".to_owned(),
        endpoints: endpoints.iter().map(|endpoint| (*endpoint).to_owned()).collect(),
        ..hub.offer(stack)
    }
}

#[test]
fn git_helps_out_when_the_hub_has_no_pack_and_arrives_at_the_same_digest() {
    let (hub, node) = running();
    let dir = tempfile::tempdir().unwrap();
    let b = process_stack("b", "true");
    let (bare, commit) = repository(dir.path(), &b);
    hub.packs(PackMode::Gone);
    let started = Instant::now();
    let desired = from_git(&hub, &b, &commit, &["/nowhere.git", &bare.url()]);
    let deployment = desired.deployment;
    hub.state(vec![desired]);
    assert_eq!(end(&hub, deployment), DeploymentState::Succeeded);
    assert!(started.elapsed() < Duration::from_secs(120), "failing over took {:?}", started.elapsed());
    assert_eq!(node.link("current"), Some(b.tree()));
    eventually("nothing is left over", || node.leftovers().is_empty().then_some(()));

    // A damaged pack is mended by Git too.
    hub.packs(PackMode::Damaged);
    let c = process_stack("c", "true");
    let commit = self::commit(&bare.url(), &dir.path().join("work-c"), &c);
    let desired = from_git(&hub, &c, &commit, &[&bare.url()]);
    let deployment = desired.deployment;
    hub.state(vec![desired]);
    assert_eq!(end(&hub, deployment), DeploymentState::Succeeded);

    // A repository that says something else than the hub signed is not believed.
    hub.packs(PackMode::Gone);
    let d = process_stack("d", "true");
    let desired = from_git(&hub, &d, &commit, &[&bare.url()]);
    let deployment = desired.deployment;
    hub.state(vec![desired]);
    let state = end(&hub, deployment);
    assert_eq!(failed(&state).0, FailureKind::Mismatch, "{state:?}");
    assert_eq!(node.link("current"), Some(c.tree()));
}

#[test]
fn git_over_http_gives_the_one_commit() {
    let Some(server) = GitServer::require() else { return };
    let (hub, node) = running();
    let dir = tempfile::tempdir().unwrap();
    server.repository("fleet");
    let b = process_stack("b", "true");
    let commit = commit(&server.url("fleet"), &dir.path().join("work"), &b);
    hub.packs(PackMode::Gone);
    let desired = from_git(&hub, &b, &commit, &[&server.url("fleet")]);
    let deployment = desired.deployment;
    hub.state(vec![desired]);
    assert_eq!(end(&hub, deployment), DeploymentState::Succeeded);
    assert_eq!(node.link("current"), Some(b.tree()));
}

#[test]
fn statements_that_are_forged_replayed_or_contradictory_change_nothing() {
    let (hub, node) = running();
    let pids = node.pids();
    let b = hub.offer(&process_stack("b", "true"));
    let old = hub.statement(vec![b.clone()], 1, 1);
    let held = hub.statement(Vec::new(), 1, 5);
    hub.give(held);
    eventually("generation 5 is held", || (node.status()["generation"] == 5).then_some(()));
    let forged = hub.statement(vec![b.clone()], 1, 9);
    let signed = forged.sign(&SigningKey::from_bytes(&[9; 32]));
    let other_node =
        Statement { node: backstay_agent::system().mint(), ..hub.statement(vec![b.clone()], 1, 9) };
    let contradictory = hub.statement(vec![b.clone()], 1, 5);
    let refused = |says: &str| {
        eventually(says, || {
            let reports = hub.reports();
            let mut refusals = reports.iter().filter_map(|report| match &report.body {
                ReportBody::StatementRefused { reason } => Some(reason),
                _ => None,
            });
            refusals.any(|reason| reason.contains(says)).then_some(())
        });
    };
    // After a refusal the agent waits before it asks again; it is started anew to save time.
    let mut node = node;
    let again = |node: &mut Node| {
        node.kill();
        node.start("");
    };
    hub.give_signed(forged, signed);
    refused("not signed by the hub");
    hub.give(old);
    again(&mut node);
    refused("older than epoch 1, generation 5");
    hub.give(contradictory);
    again(&mut node);
    refused("two hubs speak with one key");
    hub.give(other_node);
    again(&mut node);
    refused("it is for node");
    assert_eq!((node.pids(), node.running()), (pids.clone(), vec!["a".to_owned()]));

    // One that has expired is held and changes nothing; renewed, it is acted on.
    let mut expired = hub.statement(vec![b.clone()], 2, 1);
    expired.issued_at = backstay_agent::system().now() - Duration::from_secs(7200);
    expired.expires_at = backstay_agent::system().now() - Duration::from_secs(3600);
    hub.give(expired);
    again(&mut node);
    eventually("epoch 2 is held", || (node.status()["epoch"] == 2).then_some(()));
    thread::sleep(Duration::from_millis(500));
    assert_eq!(node.pids(), pids);
    hub.give(hub.statement(vec![b.clone()], 2, 1));
    assert_eq!(end(&hub, b.deployment), DeploymentState::Succeeded);
}

#[test]
fn a_release_for_a_newer_agent_is_refused_by_name() {
    let (hub, node) = running();
    let desired = DesiredStack { manifest_schema: 99, ..hub.offer(&process_stack("b", "true")) };
    let deployment = desired.deployment;
    hub.state(vec![desired]);
    let state = end(&hub, deployment);
    let (kind, reason) = failed(&state);
    assert_eq!(kind, FailureKind::Invalid);
    assert!(reason.contains("stack web needs manifest schema 99"), "{reason}");
    assert_eq!(node.running(), ["a"]);
}

/// A small file system in memory; unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// Nothing when this user may not mount: the test is left out then.
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m", "tmpfs", path]).status();
        if !status.is_ok_and(|status| status.success()) {
            leave_out(Part::Mount, "mount failed");
            return None;
        }
        Some(Self(dir))
    }

    fn fill(&self, leave: u64) -> std::path::PathBuf {
        let filler = self.0.path().join("filler");
        let stat = rustix::fs::statvfs(self.0.path()).unwrap();
        let free = stat.f_bavail * stat.f_frsize;
        let filling = fs::write(&filler, vec![1; usize::try_from(free.saturating_sub(leave)).unwrap()]);
        // The agent may have taken the last of it meanwhile: then it is full all the same.
        let full = filling.is_err_and(|error| error.kind() == std::io::ErrorKind::StorageFull);
        assert!(full || fs::metadata(&filler).is_ok());
        filler
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["--lazy".as_ref(), self.0.path().as_os_str()]).status();
    }
}

fn on_small_disk() -> Option<(FakeHub, Node, SmallDisk)> {
    let disk = SmallDisk::mount()?;
    let hub = FakeHub::start();
    let mut node = Node::new().with_data(&disk.0.path().join("data"));
    assert!(node.try_join(&hub, &hub.token()).status.success());
    node.start("");
    assert_eq!(end(&hub, hub.deploy(&process_stack("a", "true"))), DeploymentState::Succeeded);
    Some((hub, node, disk))
}

#[test]
fn a_full_disk_is_said_and_survived() {
    let Some((hub, node, disk)) = on_small_disk() else { return };
    // Too little for the release: refused before anything is fetched.
    let big = process_stack("b", "true").file("blob", &"x".repeat(3 << 20));
    let filler = disk.fill(2 << 20);
    let state = end(&hub, hub.deploy(&big));
    let (kind, reason) = failed(&state);
    assert_eq!(kind, FailureKind::DiskFull, "{reason}");
    assert!(reason.contains("BS3001") && reason.contains("are needed"), "{reason}");
    assert_eq!(node.running(), ["a"]);

    // The hub was wrong about its size: the disk fills up on the way.
    let lying =
        DesiredStack { bytes: 1, ..hub.offer(&process_stack("b2", "true").file("blob", &noise(3 << 20))) };
    let deployment = lying.deployment;
    hub.state(vec![lying]);
    let state = end(&hub, deployment);
    assert_eq!(failed(&state).0, FailureKind::DiskFull, "{state:?}");
    assert_eq!(node.running(), ["a"]);
    eventually("nothing is left over", || node.leftovers().is_empty().then_some(()));

    // Not a byte left: what runs keeps running, and the next release is taken when there is room.
    fs::remove_file(&filler).unwrap();
    let filler = disk.fill(0);
    let state = end(&hub, hub.deploy(&process_stack("c", "true")));
    assert_eq!(failed(&state).0, FailureKind::DiskFull, "{state:?}");
    assert_eq!(node.running(), ["a"]);
    fs::remove_file(&filler).unwrap();
    assert_eq!(end(&hub, hub.deploy(&process_stack("c", "true"))), DeploymentState::Succeeded);
}

#[test]
fn what_drifted_on_a_full_disk_is_put_right_when_there_is_room() {
    let Some(disk) = SmallDisk::mount() else { return };
    let hub = FakeHub::start();
    let mut node = Node::new().with_data(&disk.0.path().join("data"));
    node.settings = "deep_check_every = \"1s\"\ndrift_heals = 100".to_owned();
    assert!(node.try_join(&hub, &hub.token()).status.success());
    node.start("");
    let a = process_stack("a", "true");
    assert_eq!(end(&hub, hub.deploy(&a)), DeploymentState::Succeeded);
    let filler = disk.fill(0);
    let file = node.stack().join("releases").join(a.tree().to_string()).join("check");
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let drifts = |healed: bool| {
        hub.reports().into_iter().any(|report| match report.body {
            ReportBody::Drift { detail, healed: is, .. } => {
                is == healed && detail.contains("its mode is 0600")
            }
            _ => false,
        })
    };
    thread::sleep(Duration::from_secs(4));
    assert!(!drifts(true));
    assert_eq!(node.running(), ["a"]);
    fs::remove_file(&filler).unwrap();
    eventually("it is put right", || drifts(true).then_some(()));
}

/// Text that does not pack.
fn noise(len: usize) -> String {
    let world = backstay_agent::system();
    let mut text = String::with_capacity(len);
    while text.len() < len {
        for byte in world.random::<256>() {
            text.push(char::from(b'!' + byte % 90));
        }
    }
    text
}

/// A folder seen read-only under its own name, until dropped.
struct ReadOnly(std::path::PathBuf);

impl ReadOnly {
    fn mount(dir: &Path) -> Option<Self> {
        let run = |arguments: &[&str]| {
            Command::new("mount").args(arguments).arg(dir).status().is_ok_and(|status| status.success())
        };
        let mounted = Self(dir.to_owned());
        let done = run(&["--bind", dir.to_str().unwrap()]) && run(&["-o", "remount,bind,ro"]);
        if !done {
            leave_out(Part::Mount, "mount failed");
        }
        done.then_some(mounted)
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .args(["--lazy".as_ref(), self.0.as_os_str()])
            .stderr(Stdio::null())
            .status();
    }
}

#[test]
fn a_read_only_disk_is_survived() {
    let (hub, mut node) = running();
    let pids = node.pids();
    let Some(read_only) = ReadOnly::mount(node.data()) else { return };
    // It becomes read-only under the running agent.
    let state = end(&hub, hub.deploy(&process_stack("b", "true")));
    let (kind, reason) = failed(&state);
    assert!(kind == FailureKind::Node && reason.contains("Read-only file system"), "{state:?}");
    // It is read-only when the agent starts.
    node.kill();
    node.start("");
    assert!(!node.wait().success(), "an agent that cannot write says so and ends");
    assert_eq!((node.pids(), node.running()), (pids, vec!["a".to_owned()]));
    drop(read_only);
    node.start("");
    assert_eq!(end(&hub, hub.deploy(&process_stack("c", "true"))), DeploymentState::Succeeded);
}

#[test]
fn a_lost_journal_is_made_up_from_the_links() {
    let (hub, mut node) = running();
    let a = process_stack("a", "true");
    let b = hub.deploy(&process_stack("b", "true"));
    assert_eq!(end(&hub, b), DeploymentState::Succeeded);
    eventually("b runs", || (node.running() == ["b"]).then_some(()));
    node.kill();
    let pids = node.pids();
    for name in ["agent.db", "agent.db-wal", "agent.db-shm"] {
        let _ = fs::remove_file(node.data().join(name));
    }
    // With the hub away it keeps what runs, and shows it.
    hub.deaf(true);
    node.start("");
    eventually("b is adopted", || {
        (node.status()["stacks"]["web"]["committed"] == process_stack("b", "true").tree().to_string())
            .then_some(())
    });
    assert_eq!(node.link("previous"), Some(a.tree()));
    hub.deaf(false);
    eventually("the deployment is known again", || {
        (node.status()["stacks"]["web"]["deployment"] == b.to_string()).then_some(())
    });
    assert_eq!(node.pids(), pids, "nothing was started again");
    // The way back still works.
    let bad = hub.deploy(&process_stack("bad", "false"));
    assert!(matches!(end(&hub, bad), DeploymentState::RolledBack { .. }));
    eventually("b runs", || (node.running() == ["b"]).then_some(()));
}

#[test]
fn what_was_taken_or_killed_behind_its_back_is_put_right() {
    let hub = FakeHub::start();
    let mut node = Node::join(&hub);
    node.settings = "check_every = \"1s\"".to_owned();
    node.start("");
    let [a, b] = ["a", "b"].map(|version| process_stack(version, "true"));
    for stack in [&a, &b] {
        assert_eq!(end(&hub, hub.deploy(stack)), DeploymentState::Succeeded);
    }
    let healed = |says: &str| {
        eventually(says, || {
            let reports = hub.reports();
            let mut healed = reports.iter().filter_map(|report| match &report.body {
                ReportBody::Drift { detail, healed: true, .. } => Some(detail),
                _ => None,
            });
            healed.any(|detail| detail.contains(says)).then_some(())
        });
    };
    fs::remove_file(node.stack().join("current")).unwrap();
    std::os::unix::fs::symlink("/etc", node.stack().join("current")).unwrap();
    healed("the links");
    assert_eq!((node.link("current"), node.link("previous")), (Some(b.tree()), Some(a.tree())));

    fs::remove_dir_all(node.stack().join("releases").join(a.tree().to_string())).unwrap();
    healed("the previous release");
    assert_eq!(node.link("previous"), Some(a.tree()));

    // Supervisor and process, both.
    let supervisor = fs::read_dir("/proc").unwrap().flatten().find(|entry| {
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).into_owned();
        command.contains("supervise") && command.contains(node.env_dir().parent().unwrap().to_str().unwrap())
    });
    let supervisor = supervisor.unwrap().file_name().to_string_lossy().into_owned();
    for pid in node.pids().into_iter().chain([supervisor]) {
        let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    healed("`web` did not run");
    eventually("b runs again", || (node.running() == ["b"]).then_some(()));
    eventually("it is shown as healthy", || {
        let seen = hub.check_ins().into_iter().rev().find_map(|check_in| check_in.observed)?;
        (seen.first()?.health == StackHealth::Healthy).then_some(())
    });
}

//! Data that two stacks of a node use: while it is exchanged neither of them runs, and afterwards both do, on what is in place,
//! wherever the agent was killed.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{fs, path::PathBuf, time::Duration};

use backstay_types::{
    DeploymentState,
    backup::{Destination, SnapshotId},
};
use support::{FakeHub, Node, Repository, Stack, eventually_within, process_stack};

const LIMIT: Duration = Duration::from_secs(120);

struct Shared {
    hub: FakeHub,
    node: Node,
    /// From when the data said `saved`.
    snapshot: SnapshotId,
}

/// It has the data, and is healthy when `check` ends with 0.
fn web(version: &str, check: &str) -> Stack {
    let stack = process_stack(version, check);
    let manifest = stack.files.iter().find(|file| file.path == "stack.toml").unwrap();
    let text = String::from_utf8(manifest.content.clone()).unwrap();
    stack.file("stack.toml", &format!("{text}[[backup]]\npath = \"data\"\nshared_with = [\"other\"]\n"))
}

/// It works in the data of `web`, so that what it works in is seen from outside.
fn other() -> Stack {
    let manifest = process_stack("", "true");
    let manifest = manifest.files.into_iter().find(|file| file.path == "stack.toml").unwrap();
    Stack::new("other")
        .file("stack.toml", &String::from_utf8(manifest.content).unwrap())
        .program("check", "true")
        .program("serve", "cd ../../../web/state/data && exec sleep 30000")
}

impl Shared {
    fn start(check: &str) -> Self {
        let hub = FakeHub::start();
        let mut node = Node::join(&hub);
        node.settings = "check_every = \"1s\"".to_owned();
        Repository::give(&mut node);
        fs::create_dir_all(node.stack().join("state/data")).unwrap();
        fs::write(node.stack().join("state/data/which"), "saved").unwrap();
        hub.set_up_backups();
        node.start("");
        let desired = vec![hub.offer(&web("first", "true")), hub.offer(&other())];
        let deployments = [desired[0].deployment, desired[1].deployment];
        hub.state(desired);
        for deployment in deployments {
            let end = eventually_within(LIMIT, "it runs", || hub.ends(deployment).pop());
            assert_eq!(end, DeploymentState::Succeeded, "{}", node.log());
        }
        let job = hub.want_backup();
        let saved = eventually_within(LIMIT, "a backup", || hub.outcomes(job).pop());
        assert_eq!(saved.failed, None, "{}", node.log());
        let of_web = |one: &&backstay_types::backup::Snapshot| {
            one.tags.stack.as_ref().is_some_and(|stack| stack.as_str() == "web")
        };
        let snapshot = saved.snapshots.iter().find(of_web).unwrap().id;
        let shared = Self { hub, node, snapshot };
        shared.write("changed");
        let deployment = shared.hub.deploy(&web("web", check));
        let end = eventually_within(LIMIT, "it runs", || shared.hub.ends(deployment).pop());
        assert_eq!(end, DeploymentState::Succeeded, "{}", shared.node.log());
        shared
    }

    fn data(&self) -> PathBuf {
        self.node.stack().join("state/data")
    }

    fn write(&self, which: &str) {
        fs::write(self.data().join("which"), which).unwrap();
    }

    fn which(&self) -> String {
        fs::read_to_string(self.data().join("which")).unwrap()
    }

    /// Where `other` works, if it runs.
    fn others_place(&self) -> Option<PathBuf> {
        let places = fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
            fs::read(entry.path().join("cmdline")).is_ok_and(|command| command == b"sleep\x0030000\0")
        });
        let places = places.filter_map(|entry| fs::read_link(entry.path().join("cwd")).ok());
        places.into_iter().find(|place| place.starts_with(self.node.root()))
    }

    /// Dies at a point while `ask` is being done, and goes on; what it did is asked of `end`.
    fn row(&mut self, point: &str, ask: impl Fn(&Self), end: impl Fn(&Self) -> bool, which: &str) {
        self.write("changed");
        eventually_within(LIMIT, "both run", || self.is_right("changed").then_some(()));
        self.node.kill();
        self.node.start(&format!("{point}=return"));
        ask(self);
        self.node.wait_killed();
        let place = self.others_place();
        assert!(place.is_none() || place == Some(self.data()), "{point}: it works in {place:?}");
        self.node.start("");
        eventually_within(LIMIT, point, || end(self).then_some(()));
        eventually_within(LIMIT, point, || self.is_right(which).then_some(()));
        eventually_within(LIMIT, "nothing is left beside the data", || {
            let names = fs::read_dir(self.node.stack().join("state")).unwrap().flatten();
            let mut names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
            (!names.any(|name| name.contains("backstay"))).then_some(())
        });
    }

    fn is_right(&self, which: &str) -> bool {
        self.which() == which && self.others_place() == Some(self.data()) && self.node.running().len() == 1
    }

    fn rows_in_place(&mut self, points: &[&str], which: &str) {
        for point in points {
            let job = std::cell::Cell::new(None);
            let ask = |shared: &Self| {
                job.set(Some(shared.hub.want_restore(shared.snapshot, &[], Destination::InPlace)));
            };
            let end = |shared: &Self| {
                let outcome = shared.hub.outcomes(job.get().unwrap()).pop();
                outcome.is_some_and(|outcome| outcome.failed.is_none() == (which == "saved"))
            };
            self.row(point, ask, end, which);
        }
    }

    fn rows_with_a_release(&mut self, points: &[&str], which: &str) {
        for point in points {
            let check = if which == "saved" { "true" } else { "false" };
            let release = web(point, check);
            let undone = std::cell::Cell::new(None);
            let ask =
                |shared: &Self| undone.set(Some(shared.hub.deploy_with_data(&release, shared.snapshot)));
            let end = |shared: &Self| match shared.hub.ends(undone.get().unwrap()).pop() {
                Some(DeploymentState::Succeeded) => which == "saved",
                Some(DeploymentState::RolledBack { .. }) => which == "changed",
                _ => false,
            };
            self.row(point, ask, end, which);
        }
    }
}

#[test]
fn in_place_both_stacks_are_stopped_and_started_again() {
    let mut shared = Shared::start("true");
    let points = [
        "restore.stopping.after",
        "restore.stopped",
        "restore.safe",
        "restore.swapping.before",
        "restore.swapping.after",
        "restore.databases",
        "restore.exchanged",
        "restore.swapped",
        "restore.others",
        "restore.starting.before",
        "restore.starting.after",
        "restore.up",
        "restore.over.before",
        "restore.over.after",
        "restore.cleaned",
    ];
    shared.rows_in_place(&points, "saved");
    shared.node.terminate();
}

#[test]
fn in_place_both_stacks_are_back_on_the_data_from_before() {
    let mut shared = Shared::start("grep -q changed ../../state/data/which");
    let points = ["restore.undoing.before", "restore.undoing.after", "restore.swapped_back"];
    shared.rows_in_place(&points, "changed");
    shared.node.terminate();
}

#[test]
fn with_a_release_both_stacks_are_stopped_and_started_again() {
    let mut shared = Shared::start("true");
    let points = [
        "exchange.stopping.after",
        "exchange.stopped",
        "exchange.saved",
        "exchange.ready.after",
        "exchange.swapping.after",
        "restore.exchanged",
        "exchange.swapped",
        "exchange.exchanged.before",
        "exchange.exchanged.after",
    ];
    shared.rows_with_a_release(&points, "saved");
    shared.node.terminate();
}

#[test]
fn with_a_release_both_stacks_are_back_on_the_data_from_before() {
    let mut shared = Shared::start("true");
    let points = ["exchange.undoing.after", "exchange.swapped_back", "exchange.back.before"];
    shared.rows_with_a_release(&points, "changed");
    shared.node.terminate();
}

//! A volume that containers of several stacks mount, and nobody said so: what is put back for one stack is put back for all,
//! and none of them goes on writing to what was taken away.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{fs, path::PathBuf, thread, time::Duration};

use backstay_testkit::{Docker, Image, RunningContainer};
use backstay_types::{
    DeploymentState,
    backup::{Destination, SnapshotId, WorkOutcome},
};
use support::{FakeHub, Node, Repository, Stack, eventually_within};

const LIMIT: Duration = Duration::from_secs(120);

struct Shared {
    hub: FakeHub,
    node: Node,
    docker: Docker,
    /// From when the data said `saved`.
    snapshot: SnapshotId,
}

/// A stack with one service of its name, which writes to the volume all the time.
fn stack(name: &str, manifest: &str) -> Stack {
    let compose = format!(
        "services:\n  {name}:\n    image: web:v1\n    volumes: [\"the-data:/data\"]\n    \
         entrypoint: [\"sh\", \"-c\", \"trap 'exit 0' TERM; while true; do echo x >> /data/{name}; sleep 0.05; done\"]\n    \
         healthcheck: {{disable: true}}\n    stop_grace_period: 1s\nvolumes: {{the-data: {{external: true}}}}\n"
    );
    let probe = "[[probe]]\ncontainer = true\nevery = \"100ms\"\nwithin = \"20s\"\n";
    Stack::new(name).file("compose.yaml", &compose).file("stack.toml", &format!("{probe}{manifest}"))
}

fn web(version: &str) -> Stack {
    stack("web", &format!("# {version}\n[[backup]]\nvolume = \"the-data\"\n"))
}

impl Shared {
    fn start() -> Option<Self> {
        let docker = Docker::require()?;
        docker.image("web:v1", &Image::web("v1"));
        docker.run(&["volume", "create", "the-data"]);
        let hub = FakeHub::start();
        let mut node = Node::join(&hub);
        node.env = docker.env().map(|(name, value)| (name.to_owned(), value)).to_vec();
        node.settings = "check_every = \"1s\"".to_owned();
        Repository::give(&mut node);
        node.start("");
        let off = "[backups]\noff = true\n";
        let desired = vec![hub.offer(&web("first")), hub.offer(&stack("other", off))];
        let deployments = [desired[0].deployment, desired[1].deployment];
        hub.state(desired);
        for deployment in deployments {
            let end = eventually_within(LIMIT, "it runs", || hub.ends(deployment).pop());
            assert_eq!(end, DeploymentState::Succeeded, "{}", node.log());
        }
        let mut shared =
            Self { hub, node, docker, snapshot: SnapshotId::new(backstay_types::Digest::of(b"none")) };
        fs::write(shared.volume().join("which"), "saved").unwrap();
        let job = shared.hub.want_backup();
        let saved = eventually_within(LIMIT, "a backup", || shared.hub.outcomes(job).pop());
        assert_eq!(saved.failed, None, "{}", shared.node.log());
        shared.snapshot = saved.snapshots[0].id;
        Some(shared)
    }

    fn volume(&self) -> PathBuf {
        self.docker.run(&["volume", "inspect", "--format", "{{.Mountpoint}}", "the-data"]).into()
    }

    fn change(&self) {
        fs::write(self.volume().join("which"), "changed").unwrap();
    }

    fn which(&self) -> String {
        fs::read_to_string(self.volume().join("which")).unwrap()
    }

    fn container(&self, service: &str) -> RunningContainer {
        self.docker.service(service).unwrap()
    }

    /// Waits until both write to what is in place.
    fn check_both_write(&self) {
        for name in ["web", "other"] {
            let len = || fs::metadata(self.volume().join(name)).map_or(0, |meta| meta.len());
            eventually_within(LIMIT, &format!("{name} writes to what is in place"), || {
                let before = len();
                thread::sleep(Duration::from_millis(300));
                (len() > before).then_some(())
            });
        }
    }

    fn restore(&self) -> WorkOutcome {
        let job = self.hub.want_restore(self.snapshot, &[], Destination::InPlace);
        eventually_within(LIMIT, "a restore", || self.hub.outcomes(job).pop())
    }
}

#[test]
fn compose_stacks_that_mount_a_volume_that_is_put_back_are_stopped_and_started_again() {
    let Some(mut shared) = Shared::start() else { return };
    shared.change();
    let outcome = shared.restore();
    assert_eq!((outcome.failed, shared.which()), (None, "saved".to_owned()), "{}", shared.node.log());
    shared.check_both_write();

    // Killed while they are stopped, in both ways of putting data back.
    for (point, with_release) in
        [("restore.stopped", false), ("restore.swapped", false), ("exchange.swapped", true)]
    {
        shared.change();
        shared.node.kill();
        shared.node.start(&format!("{point}=return"));
        let job = if with_release {
            let undone = shared.hub.deploy_with_data(&web(point), shared.snapshot);
            shared.node.wait_killed();
            shared.node.start("");
            eventually_within(LIMIT, point, || {
                let end = shared.hub.ends(undone).pop()?;
                assert_eq!(end, DeploymentState::Succeeded, "{}", shared.node.log());
                Some(())
            });
            None
        } else {
            Some(shared.hub.want_restore(shared.snapshot, &[], Destination::InPlace))
        };
        if let Some(job) = job {
            shared.node.wait_killed();
            shared.node.start("");
            let outcome = eventually_within(LIMIT, point, || shared.hub.outcomes(job).pop());
            assert_eq!(outcome.failed, None, "{point}: {}", shared.node.log());
        }
        assert_eq!(shared.which(), "saved", "{point}");
        shared.check_both_write();
    }
}

#[test]
fn compose_a_container_of_nobodys_keeps_its_volume_from_being_put_back() {
    let Some(shared) = Shared::start() else { return };
    shared.change();
    shared.docker.run(&[
        "run",
        "-d",
        "--name",
        "by-hand",
        "--network",
        "none",
        "-v",
        "the-data:/data",
        "web:v1",
    ]);
    let before = shared.container("web");
    let why = shared.restore().failed.unwrap();
    assert!(why.contains("`by-hand` uses volume `the-data` too") && why.contains("stop it first"), "{why}");
    assert_eq!(
        (shared.which().as_str(), shared.container("web")),
        ("changed", before),
        "nothing was touched"
    );
    // Stopped, it finds what is in place when it is started again.
    shared.docker.run(&["stop", "by-hand"]);
    let outcome = shared.restore();
    assert_eq!((outcome.failed, shared.which()), (None, "saved".to_owned()), "{}", shared.node.log());
}

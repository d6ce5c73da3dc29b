//! Volumes of real containers: saved while they are written to, put back in place, and the agent killed at every step of
//! both. What stands still is let go whatever becomes of the agent.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use backstay_testkit::{Docker, Image};
use backstay_types::{
    BackupJobId, DeploymentState,
    backup::{BackupReason, Destination, WorkOutcome},
};
use support::{FakeHub, Node, Repository, Stack, eventually_within};

const LIMIT: Duration = Duration::from_secs(90);

struct Kept {
    hub: FakeHub,
    node: Node,
    docker: Docker,
    repository: Repository,
}

/// `web` has a volume and writes to it all the time; `side` has nothing to do with it.
fn stack(manifest: &str) -> Stack {
    let compose = "services:\n  web:\n    image: web:v1\n    volumes: [\"data:/data\"]\n    \
        entrypoint: [\"sh\", \"-c\", \"trap 'exit 0' TERM; n=0; while true; do n=$$((n+1)); echo $$n >> /data/log; echo $$n > /data/last.new; cat /data/last.new > /data/last; done\"]\n    \
        healthcheck: {disable: true}\n    stop_grace_period: 1s\n  side:\n    image: web:v1\nvolumes: {data: {}}\n";
    let probe = "[[probe]]\ncontainer = true\nevery = \"100ms\"\nwithin = \"10s\"\n";
    Stack::new("web").file("compose.yaml", compose).file("stack.toml", &format!("{probe}{manifest}"))
}

impl Kept {
    fn start(manifest: &str) -> Option<Self> {
        let docker = Docker::require()?;
        docker.image("web:v1", &Image::web("v1"));
        let hub = FakeHub::start();
        let mut node = Node::join(&hub);
        node.env = docker.env().map(|(name, value)| (name.to_owned(), value)).to_vec();
        node.settings = "check_every = \"1s\"".to_owned();
        let repository = Repository::give(&mut node);
        node.start("");
        let deployment = hub.deploy(&stack(manifest));
        let end = eventually_within(LIMIT, "it runs", || hub.ends(deployment).pop());
        assert_eq!(end, DeploymentState::Succeeded, "{}", node.log());
        let kept = Self { hub, node, docker, repository };
        kept.writes();
        Some(kept)
    }

    fn outcome(&self, job: BackupJobId) -> WorkOutcome {
        eventually_within(LIMIT, "the job's outcome", || self.hub.outcomes(job).pop())
    }

    fn volume(&self) -> std::path::PathBuf {
        self.docker.run(&["volume", "inspect", "--format", "{{.Mountpoint}}", "web_data"]).into()
    }

    /// Waits until `web` writes.
    fn writes(&self) {
        let len = || fs::metadata(self.volume().join("log")).map_or(0, |meta| meta.len());
        eventually_within(LIMIT, "it writes", || {
            let before = len();
            thread::sleep(Duration::from_millis(100));
            (len() > before).then_some(())
        });
    }

    fn state(&self, service: &str) -> String {
        self.docker.service(service).map_or_else(|| "gone".to_owned(), |container| container.state)
    }

    fn check_clean(&self) {
        let dir = self.volume().parent().unwrap().to_owned();
        eventually_within(LIMIT, "nothing is left beside the volume", || {
            let names =
                fs::read_dir(&dir).unwrap().flatten().map(|e| e.file_name().to_string_lossy().into_owned());
            let left: Vec<_> = names.filter(|name| name != "_data").collect();
            left.is_empty().then_some(())
        });
    }
}

/// The two files are of one moment: the last number that was logged is the last one that was written, or the one before.
fn check_moment(folder: &std::path::Path) {
    let log = fs::read_to_string(folder.join("log")).unwrap();
    let logged: u64 = log.lines().last().unwrap().parse().unwrap();
    assert_eq!(log.lines().count() as u64, log.lines().filter(|line| !line.is_empty()).count() as u64);
    let new = fs::read_to_string(folder.join("last.new")).unwrap();
    let new: u64 = new.trim().parse().unwrap_or(logged - 1);
    assert!(new == logged || new + 1 == logged, "{logged} was logged last, and {new} written");
}

#[test]
fn compose_a_volume_is_of_one_moment_and_the_rest_goes_on() {
    let Some(kept) = Kept::start("") else { return };
    let before = fs::metadata(kept.volume().join("log")).unwrap().len();
    let side = kept.docker.service("side").unwrap();
    let saved = kept.outcome(kept.hub.want_backup());
    assert_eq!(saved.failed, None, "{}", kept.node.log());
    assert!((1..3000).contains(&saved.still_ms), "it stood still for {} ms", saved.still_ms);
    let folder = kept.node.root().join("restored");
    let to = Destination::Folder { path: folder.display().to_string() };
    let restored = kept.outcome(kept.hub.want_restore(saved.snapshots[0].id, &[], to));
    assert_eq!(restored.failed, None, "{}", kept.node.log());
    check_moment(&folder.join("data"));
    assert!(fs::metadata(folder.join("data/log")).unwrap().len() >= before);
    kept.writes();
    assert_eq!(kept.docker.service("side").unwrap(), side, "it has nothing to do with the volume");
    assert!(
        kept.hub
            .reports()
            .iter()
            .all(|report| { !matches!(report.body, backstay_api::agent::ReportBody::Drift { .. }) }),
        "a pause is no drift"
    );

    // In place, and back again.
    let len = |name: &str| fs::metadata(kept.volume().join(name)).map_or(0, |meta| meta.len());
    fs::write(kept.volume().join("later"), "later").unwrap();
    let restored =
        kept.outcome(kept.hub.want_restore(saved.snapshots[0].id, &["data"], Destination::InPlace));
    assert_eq!(restored.failed, None, "{}", kept.node.log());
    assert!(restored.snapshots[0].tags.reason == BackupReason::Safety && restored.still_ms > 0);
    assert_eq!(len("later"), 0);
    kept.writes();
    let safety = restored.snapshots[0].id;
    let restored = kept.outcome(kept.hub.want_restore(safety, &["data"], Destination::InPlace));
    assert_eq!((restored.failed, len("later")), (None, 5));
    kept.writes();
    kept.check_clean();
}

#[test]
fn compose_what_is_stopped_is_started_again() {
    let Some(kept) = Kept::start("[[backup]]\nvolume = \"data\"\nconsistency = \"stop\"\n") else { return };
    let before = kept.docker.service("web").unwrap();
    let saved = kept.outcome(kept.hub.want_backup());
    assert_eq!(saved.failed, None, "{}", kept.node.log());
    let after = kept.docker.service("web").unwrap();
    assert!(
        before.id == after.id && before.started_at != after.started_at,
        "stopped and started, not made anew"
    );
    kept.writes();
    assert!(kept.repository.log().contains("\"name\":\"data\""));
}

/// Killed at each step of a backup: nothing stands still, the job is done again, and the hub is told once what came of it.
#[test]
fn compose_killed_at_every_step_of_a_backup() {
    let Some(mut kept) = Kept::start("") else { return };
    for point in [
        "backup.asked",
        "backup.dumped",
        "backup.copied",
        "backup.watched",
        "backup.still",
        "backup.let_go",
        "backup.ready",
        "backup.sent",
        "backup.outcome.before",
        "backup.outcome.after",
        "backup.told.before",
        "backup.told.after",
    ] {
        kept.node.kill();
        kept.node.start(&format!("{point}=return"));
        let job = kept.hub.want_backup();
        kept.node.wait_killed();
        let since = Instant::now();
        // Without an agent.
        eventually_within(LIMIT, point, || (kept.state("web") == "running").then_some(()));
        assert!(since.elapsed() < Duration::from_secs(20), "{point}: {:?}", since.elapsed());
        kept.node.start("");
        let outcome = kept.outcome(job);
        assert_eq!(outcome.failed, None, "{point}: {}", kept.node.log());
        let told = kept.hub.outcomes(job);
        assert!(told.iter().all(|one| *one == outcome), "{point}: one outcome, however often it is told");
        kept.writes();
    }
    assert!(!kept.node.data().join("backups/staging").exists());
}

/// Killed at each step of a restore in place: the volume is the old or the new one, and in the end the stack runs with
/// the data of the snapshot.
#[test]
fn compose_killed_at_every_step_of_a_restore() {
    let Some(mut kept) = Kept::start("") else { return };
    fs::write(kept.volume().join("which"), "saved").unwrap();
    let saved = kept.outcome(kept.hub.want_backup());
    assert_eq!(saved.failed, None, "{}", kept.node.log());
    for point in [
        "restore.fetching.before",
        "restore.fetching.after",
        "restore.fetched",
        "restore.stopping.before",
        "restore.stopping.after",
        "restore.stopped",
        "restore.safe",
        "restore.swapping.before",
        "restore.swapping.after",
        "restore.databases",
        "restore.exchanged",
        "restore.swapped",
        "restore.starting.before",
        "restore.starting.after",
        "restore.up",
        "restore.over.before",
        "restore.over.after",
        "restore.cleaned",
        "backup.outcome.before",
        "backup.outcome.after",
    ] {
        fs::write(kept.volume().join("which"), "changed").unwrap();
        kept.node.kill();
        kept.node.start(&format!("{point}=return"));
        let job = kept.hub.want_restore(saved.snapshots[0].id, &["data"], Destination::InPlace);
        kept.node.wait_killed();
        let which = fs::read_to_string(kept.volume().join("which")).unwrap();
        assert!(which == "changed" || which == "saved", "{point}: {which}");
        kept.node.start("");
        let outcome = kept.outcome(job);
        assert_eq!(outcome.failed, None, "{point}: {}", kept.node.log());
        assert_eq!(fs::read_to_string(kept.volume().join("which")).unwrap(), "saved", "{point}");
        kept.writes();
        kept.check_clean();
        assert_eq!(kept.state("side"), "running", "{point}");
    }
}

/// Killed at each step of an undo with data: the volume comes with the release that goes back, and goes away with it when
/// that does not become healthy. Services that have nothing to do with it come back as well.
#[test]
fn compose_killed_at_every_step_of_an_undo_with_data() {
    let Some(mut kept) = Kept::start("") else { return };
    fs::write(kept.volume().join("which"), "saved").unwrap();
    let saved = kept.outcome(kept.hub.want_backup());
    assert_eq!(saved.failed, None, "{}", kept.node.log());
    let snapshot = saved.snapshots[0].id;
    let sick = "[[probe]]\ncommand = [\"false\"]\nevery = \"100ms\"\nwithin = \"1s\"\n";
    for (point, healthy) in [
        ("restore.fetched", true),
        ("exchange.stopped", true),
        ("exchange.saved", true),
        ("exchange.ready.after", true),
        ("exchange.swapping.after", true),
        ("exchange.databases", true),
        ("restore.exchanged", true),
        ("exchange.swapped", true),
        ("exchange.exchanged.after", true),
        ("up.after", true),
        ("committed.after", true),
        ("exchange.undoing.after", false),
        ("exchange.swapped_back", false),
        ("exchange.back.after", false),
        ("returned.before", false),
    ] {
        fs::write(kept.volume().join("which"), "changed").unwrap();
        kept.node.kill();
        kept.node.start(&format!("{point}=return"));
        let manifest = format!("# {point}\n{}", if healthy { "" } else { sick });
        let undone = kept.hub.deploy_with_data(&stack(&manifest), snapshot);
        kept.node.wait_killed();
        let which = fs::read_to_string(kept.volume().join("which")).unwrap();
        assert!(which == "changed" || which == "saved", "{point}: {which}");
        kept.node.start("");
        let end = eventually_within(LIMIT, "it ends", || kept.hub.ends(undone).pop());
        let which = fs::read_to_string(kept.volume().join("which")).unwrap();
        match healthy {
            true => assert_eq!((end, which.as_str()), (DeploymentState::Succeeded, "saved"), "{point}"),
            false => {
                assert!(matches!(end, DeploymentState::RolledBack { .. }), "{point}: {end:?}");
                assert_eq!(which, "changed", "{point}");
            }
        }
        kept.writes();
        kept.check_clean();
        assert_eq!(kept.state("side"), "running", "{point}");
    }
}

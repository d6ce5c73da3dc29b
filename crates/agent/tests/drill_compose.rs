//! Drills of real containers: the stack is started with restored data beside the one that runs, cut off from everything, asked,
//! and taken away without a trace, whenever the agent dies.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use backstay_testkit::{Docker, Image, Port, http};
use backstay_types::{
    BackupJobId, DeploymentState,
    backup::{DrillCheckKind, DrillReport, DrillResult, DrillStart, DrillVerdict, Snapshot, WorkOutcome},
};
use support::{FakeHub, Node, Repository, Stack, eventually_within};

const LIMIT: Duration = Duration::from_secs(120);

struct Kept {
    hub: FakeHub,
    node: Node,
    docker: Docker,
    repository: Repository,
    port: Port,
}

/// `web` serves its volume at a port of the machine, under a name and in a network of its own; `side` has nothing to do with
/// it. It is healthy while `which` is in the volume.
fn stack(port: u16, above: &str) -> Stack {
    let compose = format!(
        "services:\n  web:\n    image: web:v1\n    container_name: the-web\n    hostname: web\n    restart: always\n    \
         ports: [\"127.0.0.1:{port}:8080\"]\n    volumes: [\"data:/data\"]\n    networks: {{inner: {{aliases: [www]}}}}\n    \
         labels: {{proxy.enable: \"true\"}}\n    \
         entrypoint: [\"sh\", \"-c\", \"httpd -f -p 8080 -h /data & trap 'kill $$!; exit 0' TERM; wait $$!\"]\n    \
         healthcheck: {{disable: true}}\n    stop_grace_period: 1s\n  side:\n    image: web:v1\n\
         networks: {{inner: {{name: the-inner}}}}\nvolumes: {{data: {{name: the-data}}}}\n"
    );
    let probes = format!(
        "[[probe]]\nhttp = \"http://127.0.0.1:{port}/which\"\nevery = \"100ms\"\nwithin = \"20s\"\n\
         [[probe]]\ncontainer = true\nevery = \"100ms\"\nwithin = \"20s\"\n"
    );
    Stack::new("web").file("compose.yaml", &compose).file("stack.toml", &format!("{above}{probes}"))
}

impl Kept {
    fn start(above: &str) -> Option<Self> {
        let docker = Docker::require()?;
        docker.image("web:v1", &Image::web("v1"));
        let hub = FakeHub::start();
        let mut node = Node::join(&hub);
        node.env = docker.env().map(|(name, value)| (name.to_owned(), value)).to_vec();
        node.settings = "check_every = \"1s\"".to_owned();
        let repository = Repository::give(&mut node);
        node.start("");
        // The volume is there before the stack, with what makes it healthy.
        docker.run(&["volume", "create", "the-data"]);
        let port = Port::take();
        let number = port.number();
        let kept = Self { hub, node, docker, repository, port };
        fs::write(kept.volume().join("which"), "saved").unwrap();
        let deployment = kept.hub.deploy(&stack(number, above));
        let end = eventually_within(LIMIT, "it runs", || kept.hub.ends(deployment).pop());
        assert_eq!(end, DeploymentState::Succeeded, "{}", kept.node.log());
        Some(kept)
    }

    fn volume(&self) -> PathBuf {
        self.docker.run(&["volume", "inspect", "--format", "{{.Mountpoint}}", "the-data"]).into()
    }

    fn outcome(&self, job: BackupJobId) -> WorkOutcome {
        eventually_within(LIMIT, "the job's outcome", || self.hub.outcomes(job).pop())
    }

    fn save(&self) -> Snapshot {
        let outcome = self.outcome(self.hub.want_backup());
        assert_eq!(outcome.failed, None, "{}", self.node.log());
        outcome.snapshots[0].clone()
    }

    /// What is at the port of the stack that runs.
    fn served(&self) -> Option<String> {
        http::get(&format!("http://127.0.0.1:{}/which", self.port.number()))
            .ok()
            .map(|response| response.body)
    }

    /// Everything that the engine has, by name.
    fn all(&self) -> Vec<String> {
        let lists: [&[&str]; 3] = [
            &["ps", "--all", "--format", "{{.Names}} {{.ID}}"],
            &["network", "ls", "--format", "{{.Name}}"],
            &["volume", "ls", "--format", "{{.Name}}"],
        ];
        let mut all: Vec<_> = lists
            .iter()
            .flat_map(|list| self.docker.run(list).lines().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        all.sort();
        all
    }
}

fn of(outcome: WorkOutcome) -> DrillReport {
    *outcome.drill.unwrap()
}

#[test]
fn compose_the_stack_is_started_beside_itself_and_both_answer() {
    let Some(kept) = Kept::start("") else { return };
    let snapshot = kept.save();
    // What runs goes on with other data than what is drilled.
    fs::write(kept.volume().join("which"), "changed since").unwrap();
    let before = kept.all();
    let (seen, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let job = kept.hub.want_drill(&snapshot, snapshot.bytes, false);
    let report = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                assert_eq!(kept.served().as_deref(), Some("changed since"), "what runs answers all the time");
                // Beside it: another container of the same service, without its name, its port or its labels.
                let list = kept.docker.try_run(&["ps", "--filter", "label=dev.backstay.drill", "--format",
                    "{{.Names}}|{{.Ports}}|{{.Label \"proxy.enable\"}}|{{.Label \"dev.backstay.stack\"}}|{{.Networks}}"]);
                for line in list.unwrap_or_default().lines().filter(|line| line.contains("-web-")) {
                    let parts: Vec<_> = line.split('|').collect();
                    assert!(parts[0].starts_with("web-drill-"), "{line}");
                    assert!(!parts[1].contains("->"), "nothing is published: {line}");
                    assert_eq!((parts[2], parts[3]), ("", ""), "{line}");
                    assert!(parts[4].ends_with("_inner") && parts[4] != "the-inner", "{line}");
                    seen.store(true, Ordering::SeqCst);
                }
                thread::sleep(Duration::from_millis(50));
            }
        });
        let report = of(kept.outcome(job));
        over.store(true, Ordering::SeqCst);
        report
    });
    assert_eq!(
        (report.verdict, &report.start),
        (DrillVerdict::Passed, &DrillStart::Yes),
        "{report:#?}\n{}",
        kept.node.log()
    );
    assert!(seen.load(Ordering::SeqCst), "it was there");
    let probes: Vec<_> = report.checks.iter().filter(|check| check.kind == DrillCheckKind::Probe).collect();
    assert_eq!(probes.len(), 2);
    assert!(probes.iter().all(|probe| probe.result == DrillResult::Passed), "{probes:#?}");
    assert_eq!(kept.all(), before, "nothing of it is left, and what runs is the same");
    assert!(!kept.node.data().join("backups/drill").exists());
    let drift = |report: &backstay_api::agent::Report| {
        matches!(report.body, backstay_api::agent::ReportBody::Drift { .. })
    };
    assert!(!kept.hub.reports().iter().any(drift), "it is no drift");

    // Data with which it is not healthy is found, though every file is right.
    fs::remove_file(kept.volume().join("which")).unwrap();
    let snapshot = kept.save();
    fs::write(kept.volume().join("which"), "there again").unwrap();
    let outcome = kept.outcome(kept.hub.want_drill(&snapshot, snapshot.bytes, false));
    let failed = outcome.failed.clone().unwrap();
    assert!(failed.contains("404") && failed.contains("BS9031"), "{failed}");
    assert_eq!(of(outcome).verdict, DrillVerdict::Failed);
    assert_eq!(kept.all(), before);
    // Only its files, when that is asked for.
    let report = of(kept.outcome(kept.hub.want_drill(&snapshot, snapshot.bytes, true)));
    assert_eq!(report.verdict, DrillVerdict::Passed);
    assert!(matches!(&report.start, DrillStart::No { why } if why.contains("only files")), "{report:#?}");
    assert!(kept.repository.log().contains("restore"));
}

#[test]
fn compose_an_exclusive_stack_is_never_started() {
    let Some(kept) = Kept::start("exclusive = true\n") else { return };
    let snapshot = kept.save();
    let job = kept.hub.want_drill(&snapshot, snapshot.bytes, false);
    let report = eventually_within(LIMIT, "the job's outcome", || {
        let list = kept.docker.run(&["ps", "--all", "--quiet", "--filter", "label=dev.backstay.drill"]);
        assert_eq!(list, "", "nothing of it is ever made");
        kept.hub.outcomes(job).pop()
    });
    let report = of(report);
    assert_eq!(report.verdict, DrillVerdict::Passed, "{report:#?}");
    assert!(matches!(&report.start, DrillStart::No { why } if why.contains("`exclusive`")), "{report:#?}");
}

/// Killed at each step: when the agent is back, nothing of the drill is left, and it is done again to its end.
#[test]
fn compose_killed_at_every_step_of_a_drill() {
    let Some(mut kept) = Kept::start("") else { return };
    let snapshot = kept.save();
    let before = kept.all();
    for point in [
        "drill.noted",
        "drill.fetched",
        "drill.compared",
        "drill.rehearsed",
        "drill.started",
        "drill.probed",
        "drill.tried",
        "drill.clearing",
        "drill.cleared",
        "backup.outcome.after",
    ] {
        kept.node.kill();
        kept.node.start(&format!("{point}=return"));
        let job = kept.hub.want_drill(&snapshot, snapshot.bytes, false);
        kept.node.wait_killed();
        kept.node.start("");
        let outcome = kept.outcome(job);
        assert_eq!(outcome.failed, None, "{point}: {}", kept.node.log());
        assert_eq!(kept.all(), before, "{point}");
        assert!(!kept.node.data().join("backups/drill").exists(), "{point}");
        assert_eq!(kept.served().as_deref(), Some("saved"), "{point}");
    }
    // Killed by somebody else, with what it had begun, while services are started.
    for wait in [100, 300, 600, 900] {
        let job = kept.hub.want_drill(&snapshot, snapshot.bytes, false);
        eventually_within(LIMIT, "it begins", || {
            kept.node.data().join("backups/drill/data").exists().then_some(())
        });
        thread::sleep(Duration::from_millis(wait));
        kept.node.kill();
        kept.node.start("");
        let outcome = kept.outcome(job);
        assert_eq!(outcome.failed, None, "{wait}: {}", kept.node.log());
        assert_eq!(kept.all(), before, "{wait}");
    }
}

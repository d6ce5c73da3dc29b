//! Hub and node lost with all that was on them, and back from a bucket.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use backstay_api::{Empty, v1::GetOverview};
use backstay_e2e::{Fleet, Node};
use backstay_testkit::{Restic, S3Server, eventually_within};
use backstay_types::backup::BackupReason;

use crate::{
    figures::{Figures, timed},
    saved::{self, ByHand},
    stack::{self, MISSING},
    swarm::Swarm,
};

/// Simulated nodes beside the real one.
const SIMULATED: usize = 50;
/// What is in the real one's volume, in MB.
pub(crate) const MB: u64 = 2_048;
const PATIENCE: Duration = Duration::from_secs(1_800);

/// In seconds, from the loss until every node was heard from and the real one serves with all its data; the baseline is
/// restic alone, which restores that data from the same bucket.
pub(crate) fn measure(mb: u64) -> Result<Figures, String> {
    let s3 = S3Server::require().ok_or(MISSING)?;
    let restic = Restic::require().ok_or(MISSING)?;
    let target = format!(
        "{{ s3 = {{ endpoint = \"{}\", region = \"us-east-1\", bucket = \"{}\", prefix = \"fleet\", \
         access_key = \"bench\", secret_key = \"bench\" }} }}",
        s3.url(),
        S3Server::BUCKET
    );
    let setting = ("BACKSTAY_BACKUP_TARGET", target.as_str());
    let fleet = Fleet::of(1).containers().as_shipped().hub_setting(setting.0, setting.1).start();
    let mut fleet = fleet.ok_or(MISSING)?;
    let mut swarm = Swarm::new()?;
    set_up(&fleet, &mut swarm)?;
    let at = saved::volume(&fleet.nodes[0], "shop_data");
    saved::fill(&at, mb, 1)?;
    let wanted = saved::sum(&at)?;
    let key = fleet.dir().join("recovery.key").display().to_string();
    fleet.cli.run(&["backup", "recovery-key", "make", "--out", &key]);
    let ((), saving) = timed(|| {
        fleet.cli.run(&["backup", "now", "alpha"]);
        saved::proven(&fleet, "alpha", BackupReason::Manual);
    });
    let by_hand = ByHand::open(&fleet, restic, "alpha", &key);
    fleet.cli.run(&["backup", "now", "--own-state"]);
    eprintln!("{mb} MB saved and read back in {:.0} s", saving / 1e3);

    let data = fleet.dir().join("hub");
    fleet.hub.kill();
    fleet.nodes[0].lose();
    lose_containers(&fleet.nodes[0]);
    fs::remove_dir_all(&data).map_err(|error| error.to_string())?;
    let mut steps = Steps::new();
    restore_hub(&fleet, &data, &key, setting)?;
    steps.done("hub_restored_s");
    fleet.hub.restart_on(&data);
    (fleet.api, fleet.cli) = (fleet.hub.api(), fleet.hub.cli());
    steps.done("hub_ready_s");
    let replaced = fleet.cli.json(&["nodes", "replace", "alpha", "--yes"]);
    let token = replaced["token"]["token"].as_str().ok_or("no token")?;
    let url = fleet.hub.url().to_owned();
    fleet.nodes[0].join_in_its_place(&url, token);
    steps.done("node_joined_s");
    eventually_within(PATIENCE, "the node to be healthy with its data", || healthy(&fleet));
    steps.done("node_healthy_s");
    eventually_within(PATIENCE, "all nodes to be heard from", || all_online(&fleet));
    steps.done("all_heard_from_s");
    let value = steps.total();
    let found = saved::sum(&saved::volume(&fleet.nodes[0], "shop_data"))?;
    if found != wanted {
        return Err(format!("other data came back: {found} instead of {wanted}"));
    }

    let to = fleet.dir().join("by-hand").display().to_string();
    let (done, baseline) = timed(|| by_hand.run(&["restore", "latest", "--target", &to]));
    done?;
    let mut figures = Figures { value, baseline: Some(baseline / 1e3), ..Figures::default() };
    for (name, seconds) in steps.done {
        figures = figures.with(name, seconds);
    }
    Ok(figures.with("mb", mb as f64).with("nodes", (SIMULATED + 1) as f64).with("saved_s", saving / 1e3))
}

/// A stack with a volume on the real node, another on the simulated ones.
fn set_up(fleet: &Fleet, swarm: &mut Swarm) -> Result<(), String> {
    stack::images(&fleet.nodes[0]);
    let (port, probe) = (fleet.nodes[0].port(), "[[probe]]\ncontainer = true\n");
    let compose = stack::compose("web:v1", &port.to_string());
    fleet
        .tree
        .write("stacks/shop/compose.yaml", &format!("{compose}    volumes: ['data:/data']\nvolumes: {{data: {{}}}}\n"))
        .write("stacks/shop/stack.toml", probe)
        .write("stacks/other/compose.yaml", &compose)
        .write("stacks/other/stack.toml", probe)
        .write(
            "fleet.toml",
            "[[assign]]\nstack = \"shop\"\nnodes = \"role=web\"\n[[assign]]\nstack = \"other\"\nnodes = \"role!=web\"\n",
        );
    fleet.commit("Add shop and other", None);
    fleet.follow();
    fleet.settle();
    swarm.grow(fleet, SIMULATED)?;
    eventually_within(PATIENCE, "the simulated nodes to be at rest", || all_online(fleet));
    Ok(())
}

/// A machine that is lost takes its containers and volumes with it.
fn lose_containers(node: &Node) {
    let docker = node.docker();
    let remove = |list: &[&str], remove: &[&str]| {
        let found = docker.run(list);
        if !found.trim().is_empty() {
            docker.run(&[remove, &found.split_whitespace().collect::<Vec<_>>()].concat());
        }
    };
    remove(&["ps", "-aq"], &["rm", "-f"]);
    remove(&["volume", "ls", "-q"], &["volume", "rm"]);
}

/// `backstay hub restore` on a new machine: the bucket, its key and the recovery key are all it has.
fn restore_hub(fleet: &Fleet, data: &Path, key: &str, setting: (&str, &str)) -> Result<(), String> {
    let mut restore = fleet.cli.command(&["hub", "restore", "--recovery-key", key]);
    restore.env(setting.0, setting.1).env("BACKSTAY_HUB_DATA_DIR", data);
    backstay_testkit::capture(&mut restore).map(drop).map_err(|failed| failed.to_string())
}

fn all_online(fleet: &Fleet) -> Result<(), String> {
    thread::sleep(Duration::from_millis(100));
    let seen = fleet.api.call::<GetOverview>(&Empty {}, &Empty {}, &Empty {}).nodes;
    let online = seen.get("online").copied().unwrap_or_default();
    if online > SIMULATED as u64 { Ok(()) } else { Err(format!("{seen:?}")) }
}

/// Whether its data was restored and the stack serves.
fn healthy(fleet: &Fleet) -> Result<(), String> {
    thread::sleep(Duration::from_millis(100));
    let jobs = fleet.cli.json(&["backup", "jobs", "--node", "alpha"]);
    let restores =
        jobs["items"].as_array().into_iter().flatten().filter(|job| job["job"]["task"]["task"] == "restore");
    let states: Vec<_> = restores.map(|job| job["job"]["state"].clone()).collect();
    if states.is_empty() || states.iter().any(|state| state != "done") {
        return Err(format!("{states:?}"));
    }
    let served = fleet.nodes[0].get("")?;
    if served.trim() == "v1" { Ok(()) } else { Err(served) }
}

/// When each step ended.
struct Steps {
    begun: Instant,
    last: Instant,
    done: Vec<(&'static str, f64)>,
}

impl Steps {
    fn new() -> Self {
        let now = Instant::now();
        Self { begun: now, last: now, done: Vec::new() }
    }

    fn done(&mut self, name: &'static str) {
        let took = self.last.elapsed().as_secs_f64();
        eprintln!("{name}: {took:.1}");
        self.last = Instant::now();
        self.done.push((name, took));
    }

    fn total(&self) -> f64 {
        self.last.duration_since(self.begun).as_secs_f64()
    }
}

//! Ten thousand nodes on one hub: what a check-in takes, what the hub needs, and how all come back after it was away.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use backstay_api::{
    Empty,
    agent::{CheckIn, CheckInRequest, JoinNode, JoinRequest},
    v1::{GetMetrics, GetOverview, ListRollouts, NodePath, RevokeNode, RolloutsQuery},
};
use backstay_client::Client;
use backstay_e2e::Fleet;
use backstay_types::{HostFacts, Labels, NodeId, RolloutState};

use crate::{
    figures::{Figures, millis, timed},
    procfs::{cpu_seconds, rss_mb},
    stack::{self, MISSING, Proof},
    swarm::{self, Swarm},
    undo_fleet::all_run,
};

/// So many nodes, unless asked otherwise.
pub(crate) const NODES: usize = 10_000;
/// A check-in is held for 20 s and then 10 to 12 s pass: each node asks every 31 s, and hears of a change at once while it
/// is held.
const RHYTHM: [(&str, &str); 3] =
    [("BACKSTAY_POLL_HOLD", "20s"), ("BACKSTAY_POLL_INTERVAL", "10s"), ("BACKSTAY_POLL_JITTER", "2s")];
const INTERVAL: Duration = Duration::from_secs(32);
/// Further nodes that ask once a second, are not held, and time it. They run nothing.
const PROBES: usize = 50;
/// What is assigned to whom: nothing to those that only time it.
const FLEET: &str = "[[assign]]\nstack = \"web\"\nnodes = \"!probe\"\n";
/// How long the quiet fleet is looked at.
const WATCH: Duration = Duration::from_secs(60);
/// The fleet to which memory and processor time are extrapolated.
const LARGE: f64 = 100_000.0;

/// The 99th percentile of a check-in that is not held, in milliseconds; the baseline is the same with no other nodes.
pub(crate) fn measure(nodes: usize) -> Result<Figures, String> {
    let fleet =
        RHYTHM.iter().fold(Fleet::of(0).as_shipped(), |fleet, (name, value)| fleet.hub_setting(name, value));
    let mut fleet = fleet.start().ok_or(MISSING)?;
    stack::write(&fleet.tree, "web", "web:v1", "8080", Proof::Health);
    fleet.tree.write("fleet.toml", FLEET);
    fleet.commit("Add web", None);
    fleet.follow();
    let pid = fleet.hub.pid().ok_or("the hub has ended")?;
    let empty_mb = rss_mb(pid)?;
    let mut swarm = Swarm::new()?;
    let probes = Probes::join(&fleet)?;
    let alone = probes.watch(&swarm, WATCH / 3);
    let (joined, join_ms) = timed(|| swarm.grow(&fleet, nodes).and_then(|()| all_run(&fleet, nodes)));
    joined?;
    eprintln!("{} nodes run the stack after {:.0} s", swarm.len(), join_ms / 1e3);
    let push_s = deploy(&fleet, nodes, "web:v2")?;
    eprintln!("a push reached all of them in {push_s:.1} s");
    thread::sleep(INTERVAL);
    let (before, started) = (cpu_seconds(pid)?, Instant::now());
    let mut busy = probes.watch(&swarm, WATCH);
    let cpu = (cpu_seconds(pid)? - before) / started.elapsed().as_secs_f64();
    let quiet_mb = rss_mb(pid)?;
    probes.leave(&fleet);
    let back = restart(&mut fleet, nodes)?;
    let kb = (quiet_mb - empty_mb) * 1e3 / nodes as f64;
    let mut alone = alone;
    let scale = LARGE / nodes as f64;
    let figures = Figures {
        value: percentile(&mut busy, 0.99),
        baseline: Some(percentile(&mut alone, 0.99)),
        ..Figures::default()
    };
    Ok(figures
        .with("check_in_median_ms", percentile(&mut busy, 0.5))
        .with("check_in_worst_ms", percentile(&mut busy, 1.0))
        .with("check_ins_timed", busy.len() as f64)
        .with("join_all_s", join_ms / 1e3)
        .with("push_to_all_s", push_s)
        .with("hub_mb", quiet_mb)
        .with("hub_kb_a_node", kb)
        .with("hub_cores", cpu)
        .with("hub_gb_at_100000", (empty_mb + kb * LARGE / 1e3) / 1e3)
        .with("hub_cores_at_100000", cpu * scale)
        .with("back_intervals", back.all.as_secs_f64() / INTERVAL.as_secs_f64())
        .with("back_s", back.all.as_secs_f64())
        .with("falsely_offline", back.falsely_offline as f64)
        .with("reports_lost", back.lost as f64)
        .with("busiest_second", back.rates.iter().copied().fold(0.0, f64::max))
        .with_all("requests_a_second_after_restart", &back.rates))
}

/// Pushes a change and waits until all nodes run it. In seconds.
fn deploy(fleet: &Fleet, nodes: usize, image: &str) -> Result<f64, String> {
    stack::write(&fleet.tree, "web", image, "8080", Proof::Health);
    fleet.commit(&format!("Run {image}"), None);
    let (done, took) = timed(|| {
        fleet.api.sync(backstay_e2e::REPOSITORY);
        all_run(fleet, nodes)
    });
    done.map(|()| took / 1e3)
}

/// How a fleet came back.
struct Back {
    /// Until each node had been heard from.
    all: Duration,
    /// The most nodes that were called offline at any moment.
    falsely_offline: u64,
    /// Nodes whose part of the rollout that was under way is not known to have ended well.
    lost: u64,
    /// Requests of agents, by second.
    rates: Vec<f64>,
}

/// Kills the hub in the middle of a rollout and starts it again.
fn restart(fleet: &mut Fleet, nodes: usize) -> Result<Back, String> {
    stack::write(&fleet.tree, "web", "web:v3", "8080", Proof::Health);
    fleet.commit("Run web:v3", None);
    fleet.api.sync(backstay_e2e::REPOSITORY);
    backstay_testkit::eventually_within(Duration::from_secs(120), "a third of the rollout", || match newest(
        fleet,
    )
    .1
    .get("succeeded")
    {
        Some(count) if *count > nodes as u64 / 3 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    fleet.hub.kill();
    thread::sleep(Duration::from_secs(10));
    fleet.hub.restart();
    let started = Instant::now();
    let mut back = Back { all: Duration::ZERO, falsely_offline: 0, lost: 0, rates: Vec::new() };
    let mut asked = 0.0;
    while back.all.is_zero() || started.elapsed() < 2 * INTERVAL {
        thread::sleep(Duration::from_secs(1));
        let all = requests(fleet);
        back.rates.push(all - asked);
        asked = all;
        let seen = fleet.api.call::<GetOverview>(&Empty {}, &Empty {}, &Empty {}).nodes;
        let of = |state: &str| seen.get(state).copied().unwrap_or_default();
        back.falsely_offline = back.falsely_offline.max(of("offline"));
        if back.all.is_zero() && of("online") >= nodes as u64 {
            back.all = started.elapsed();
        }
        if started.elapsed() > 10 * INTERVAL {
            return Err(format!("not all came back: {seen:?}"));
        }
    }
    eprintln!("all were back after {:.0} s", back.all.as_secs_f64());
    all_run(fleet, nodes)?;
    backstay_testkit::eventually_within(Duration::from_secs(60), "the end of the rollout", || match newest(
        fleet,
    )
    .0
    {
        RolloutState::Running => Err("it runs".to_owned()),
        _ => Ok(()),
    });
    let (_, deployments) = newest(fleet);
    back.lost = (nodes as u64).saturating_sub(deployments.get("succeeded").copied().unwrap_or_default());
    Ok(back)
}

/// The newest rollout's state, and its deployments by state.
fn newest(fleet: &Fleet) -> (RolloutState, BTreeMap<String, u64>) {
    let query = RolloutsQuery { limit: Some(1), ..RolloutsQuery::default() };
    let found = fleet.api.call::<ListRollouts>(&Empty {}, &query, &Empty {}).items;
    let newest = found.into_iter().next().expect("a rollout");
    (newest.rollout.state, newest.deployments)
}

/// Requests of agents that the hub has answered since it started.
fn requests(fleet: &Fleet) -> f64 {
    let text = fleet.api.call::<GetMetrics>(&Empty {}, &Empty {}, &Empty {});
    let of_agents = |line: &&str| {
        line.starts_with("backstay_http_requests_total")
            && ["CheckIn", "SendReports", "GetPack"].iter().any(|name| line.contains(&format!("\"{name}\"")))
    };
    text.0.lines().filter(of_agents).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Nodes that ask and time it.
struct Probes {
    clients: Vec<(NodeId, Client)>,
}

impl Probes {
    fn join(fleet: &Fleet) -> Result<Self, String> {
        let hub = fleet.hub.url();
        let clients = (0..PROBES).map(|number| {
            let body = JoinRequest {
                token: swarm::token(fleet),
                name: format!("probe-{number}").parse().map_err(|_| "a name")?,
                labels: Labels::parse(["probe=yes"]).map_err(|error| error.to_string())?,
                facts: HostFacts::default(),
            };
            let joined = fleet.api.call::<JoinNode>(&Empty {}, &Empty {}, &body);
            let client = Client::new(hub, Some(joined.credential)).map_err(|error| error.to_string())?;
            Ok((joined.node, client))
        });
        Ok(Self { clients: clients.collect::<Result<_, String>>()? })
    }

    /// They are no nodes any more: who has stopped asking would be called offline, and rightly.
    fn leave(self, fleet: &Fleet) {
        for (node, _) in self.clients {
            fleet.api.call::<RevokeNode>(&NodePath { node: node.to_string() }, &Empty {}, &Empty {});
        }
    }

    /// How long check-ins took, in milliseconds.
    fn watch(&self, swarm: &Swarm, time: Duration) -> Vec<f64> {
        let took = Arc::new(Mutex::new(Vec::new()));
        let ask = |(number, (_, client)): (usize, &(NodeId, Client))| {
            let (client, took) = (client.clone(), took.clone());
            swarm.beside(async move {
                // Not all in the same moment.
                tokio::time::sleep(Duration::from_secs(1) * u32::try_from(number).unwrap_or(0) / 50).await;
                let (mut observed, mut facts) = (Some(Vec::new()), Some(HostFacts::default()));
                loop {
                    let (observed, facts) = (observed.take(), facts.take());
                    let asked = CheckInRequest {
                        have: None,
                        hold_ms: 0,
                        observed,
                        facts,
                        figures: None,
                        safety: None,
                        nonce: None,
                    };
                    let start = Instant::now();
                    if client.call::<CheckIn>(&Empty {}, &Empty {}, &asked).await.is_ok() {
                        took.lock().unwrap_or_else(PoisonError::into_inner).push(millis(start.elapsed()));
                    }
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            })
        };
        let asking: Vec<_> = self.clients.iter().enumerate().map(ask).collect();
        thread::sleep(time);
        asking.iter().for_each(tokio::task::AbortHandle::abort);
        std::mem::take(&mut *took.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The value below which a share of all lie.
fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len().max(1)) - 1;
    values.get(place).copied().unwrap_or(f64::NAN)
}

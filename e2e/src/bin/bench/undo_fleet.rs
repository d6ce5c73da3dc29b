//! One conversation's change on many nodes, taken back: agents speak the real protocol to a real hub and run nothing.

use std::{sync::Arc, time::Duration};

use backstay_agent::simulated::Simulated;
use backstay_api::{
    Empty,
    v1::{CreateJoinToken, CreateJoinTokenRequest, ListStacks},
};
use backstay_e2e::Fleet;
use backstay_types::Labels;
use tokio::{runtime::Runtime, sync::Semaphore, task::JoinSet};

use crate::{
    figures::{Figures, median, timed},
    stack::{self, MISSING, Proof},
};

const SIZES: [usize; 3] = [10, 100, 1000];
const ROUNDS: usize = 3;

/// In seconds for 1,000 nodes, until each has said that it is healthy on the earlier release; the baseline is 10 nodes.
pub(crate) fn measure() -> Result<Figures, String> {
    let fleet = Fleet::of(0).as_shipped().start().ok_or(MISSING)?;
    stack::write(&fleet.tree, "web", "web:v1", "8080", Proof::Health);
    fleet.commit("Add web", None);
    fleet.follow();
    let runtime = Runtime::new().map_err(|error| error.to_string())?;
    let mut agents = JoinSet::new();
    let mut figures = Figures::default();
    for size in SIZES {
        join(&runtime, &fleet, &mut agents, size)?;
        let mut took = Vec::new();
        for round in 0..ROUNDS {
            took.push(undo(&fleet, size, round)? / 1e3);
        }
        eprintln!("{size} nodes: {took:.2?} s");
        let middle = median(&took);
        figures = figures.with(&format!("nodes_{size}_s"), middle);
        figures.baseline.get_or_insert(middle);
        figures.value = middle;
    }
    Ok(figures)
}

/// Joins agents until there are so many, and waits until all run the stack.
fn join(runtime: &Runtime, fleet: &Fleet, agents: &mut JoinSet<()>, size: usize) -> Result<(), String> {
    let few = Arc::new(Semaphore::new(32));
    for number in agents.len()..size {
        let body = CreateJoinTokenRequest::default();
        let token = fleet.api.call::<CreateJoinToken>(&Empty {}, &Empty {}, &body).token;
        let (few, hub) = (few.clone(), fleet.hub.url().to_owned());
        let name = format!("node-{number:04}").parse().map_err(|_| "a name")?;
        let live = async move {
            let permit = few.acquire_owned().await;
            let world = backstay_agent::system();
            let agent = Simulated::join(&hub, token, name, Labels::default(), world).await;
            drop(permit);
            let ended = match agent {
                Ok(agent) => agent.run(Duration::ZERO).await,
                Err(error) => Err(error),
            };
            if let Err(error) = ended {
                eprintln!("a simulated agent ended: {error}");
            }
        };
        agents.spawn_on(live, runtime.handle());
    }
    all_run(fleet, size)
}

/// Waits until all nodes have said that they run what the branch asks for.
fn all_run(fleet: &Fleet, size: usize) -> Result<(), String> {
    backstay_testkit::eventually_within(
        Duration::from_secs(300),
        &format!("{size} nodes to be at rest"),
        || {
            let stacks = fleet.api.call::<ListStacks>(&Empty {}, &Empty {}, &Empty {}).items;
            let web = stacks.first().ok_or("no stack yet")?;
            let wanted = web.release.as_ref().map(|release| release.tree);
            let running = web.nodes.iter().find(|version| Some(version.tree) == wanted);
            match running.map_or(0, |version| version.nodes) {
                count if count == size as u64 => Ok(()),
                count => Err(format!("{count} of {size} run {wanted:?}; {:?}", web.nodes)),
            }
        },
    );
    Ok(())
}

fn undo(fleet: &Fleet, size: usize, round: usize) -> Result<f64, String> {
    let conversation = fleet.api.conversation(&format!("{size}-{round}"));
    stack::write(&fleet.tree, "web", &format!("web:{size}-{round}"), "8080", Proof::Health);
    let commit = fleet.commit("Run another", Some(conversation));
    fleet.api.sync(backstay_e2e::REPOSITORY);
    all_run(fleet, size)?;
    let id = conversation.to_string();
    let (undo, took) = timed(|| fleet.cli.json(&["rollback", "--conversation", &id, "--yes"]));
    if undo["state"]["state"] != "verified" {
        return Err(format!("the undo ended otherwise: {}", undo["state"]));
    }
    match undo["plan"]["nodes"].as_array().map_or(0, Vec::len) {
        planned if planned == size => {}
        planned => return Err(format!("the plan has {planned} of {size} nodes")),
    }
    backstay_testkit::eventually("the undo to be pushed", || {
        let tip = fleet.bare.tip("main");
        if tip.as_deref() == Some(commit.as_str()) { Err("not yet".to_owned()) } else { Ok(()) }
    });
    fleet.tree.pull();
    all_run(fleet, size)?;
    Ok(took)
}

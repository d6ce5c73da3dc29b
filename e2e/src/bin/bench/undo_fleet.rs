//! One conversation's change on many nodes, taken back: agents speak the real protocol to a real hub and run nothing.

use std::time::Duration;

use backstay_api::{Empty, v1::ListStacks};
use backstay_e2e::Fleet;

use crate::{
    figures::{Figures, median, timed},
    stack::{self, MISSING, Proof},
    swarm::Swarm,
};

const SIZES: [usize; 3] = [10, 100, 1000];
const ROUNDS: usize = 3;

/// In seconds for 1,000 nodes, until each has said that it is healthy on the earlier release; the baseline is 10 nodes.
pub(crate) fn measure() -> Result<Figures, String> {
    let fleet = Fleet::of(0).as_shipped().start().ok_or(MISSING)?;
    stack::write(&fleet.tree, "web", "web:v1", "8080", Proof::Health);
    fleet.commit("Add web", None);
    fleet.follow();
    let mut swarm = Swarm::new()?;
    let mut figures = Figures::default();
    for size in SIZES {
        swarm.grow(&fleet, size)?;
        all_run(&fleet, size)?;
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

/// Waits until all nodes have said that they run what the branch asks for.
pub(crate) fn all_run(fleet: &Fleet, size: usize) -> Result<(), String> {
    backstay_testkit::eventually_within(
        Duration::from_secs(600),
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

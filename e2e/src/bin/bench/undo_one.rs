//! One conversation's change on one node, taken back: from the command to verified healthy.

use backstay_e2e::Fleet;

use crate::{
    figures::{Figures, median, timed},
    hand::Hand,
    stack::{self, Proof, runs},
};

const ROUNDS: usize = 7;

/// In milliseconds; the baseline is `git revert` and `docker compose up --detach --wait` on the same engine.
pub(crate) fn measure() -> Result<Figures, String> {
    let fleet = stack::fleet_of_one(Proof::Health)?;
    let hand = Hand::start(fleet.nodes[0].docker(), fleet.dir());
    let (mut ours, mut by_hand) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        ours.push(undo(&fleet, round, Proof::Health)?);
        hand.change("web:v2");
        hand.up();
        let ((), took) = timed(|| {
            hand.revert();
            hand.up();
        });
        by_hand.push(took);
        eprintln!("round {}: undo {:.0} ms, by hand {:.0} ms", round + 1, ours[round], by_hand[round]);
    }
    drop(hand);
    drop(fleet);
    let fleet = stack::fleet_of_one(Proof::Whole)?;
    let whole: Vec<f64> = (0..3).map(|round| undo(&fleet, round, Proof::Whole)).collect::<Result<_, _>>()?;
    let figures = Figures { value: median(&ours), baseline: Some(median(&by_hand)), ..Figures::default() };
    Ok(figures
        .with("over_baseline_ms", median(&ours) - median(&by_hand))
        .with("with_all_probes_and_bake_ms", median(&whole))
        .with_all("rounds_ms", &ours)
        .with_all("baseline_rounds_ms", &by_hand))
}

/// Deploys a conversation's change, and times the command that takes it back.
fn undo(fleet: &Fleet, round: usize, proof: Proof) -> Result<f64, String> {
    let node = &fleet.nodes[0];
    let conversation = fleet.api.conversation(&format!("round-{round}"));
    stack::write(&fleet.tree, "web", "web:v2", &node.port().to_string(), proof);
    // What was taken back is held: the same change under another name would be too.
    fleet.tree.write("stacks/web/README.md", &format!("Round {round}.\n"));
    let commit = fleet.commit("Run web:v2", Some(conversation));
    fleet.deployed(&commit);
    runs(node, "web:v2")?;
    let id = conversation.to_string();
    let (undo, took) = timed(|| fleet.cli.json(&["rollback", "--conversation", &id, "--yes"]));
    runs(node, "web:v1")?;
    if undo["state"]["state"] != "verified" {
        return Err(format!("the undo ended otherwise: {undo:#}"));
    }
    fleet.settle();
    backstay_testkit::eventually("the undo to be pushed", || {
        let tip = fleet.bare.tip("main");
        if tip.as_deref() == Some(commit.as_str()) { Err("not yet".to_owned()) } else { Ok(()) }
    });
    fleet.tree.pull();
    Ok(took)
}

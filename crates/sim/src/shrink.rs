//! Making a failing run small: fewer things that happen, fewer nodes, the same invariant.

use std::io;

use crate::{Planted, Scenario, Violation, run};

/// A failing scenario that was made small.
#[derive(Debug, Clone)]
pub struct Shrunk {
    /// The scenario.
    pub scenario: Scenario,
    /// What does not hold in it.
    pub violation: Violation,
    /// How many runs it took.
    pub runs: u32,
}

impl Shrunk {
    /// The command that runs it again.
    pub fn command(&self) -> String {
        let numbers: Vec<_> =
            self.scenario.happenings.iter().map(|planned| planned.number.to_string()).collect();
        let Scenario { seed, nodes, .. } = self.scenario;
        format!("cargo xtask sim --seed {seed} --nodes {nodes} --only {}", numbers.join(","))
    }
}

/// Takes away what is not needed for an invariant to fail, by halves and then one by one, in at most `most` runs.
///
/// # Errors
/// When a run itself fails.
pub fn shrink(
    scenario: &Scenario,
    violation: &Violation,
    planted: Option<Planted>,
    most: u32,
) -> io::Result<Shrunk> {
    let mut best = Shrunk { scenario: scenario.clone(), violation: violation.clone(), runs: 0 };
    let mut size = scenario.happenings.len().div_ceil(2);
    while size > 0 && best.runs < most {
        let mut from = 0;
        while from < best.scenario.happenings.len() && best.runs < most {
            let kept = best.scenario.happenings.iter().enumerate();
            let kept = kept.filter(|(at, _)| !(from..from + size).contains(at)).map(|(_, p)| p.number);
            let kept: Vec<_> = kept.collect();
            if !attempt(&mut best, &kept, scenario.nodes, planted)? {
                from += size;
            }
        }
        size /= 2;
    }
    let numbers: Vec<_> = best.scenario.happenings.iter().map(|planned| planned.number).collect();
    for nodes in 1..scenario.nodes {
        if best.runs >= most || attempt(&mut best, &numbers, nodes, planted)? {
            break;
        }
    }
    Ok(best)
}

/// Whether the same invariant fails with less.
fn attempt(best: &mut Shrunk, numbers: &[usize], nodes: usize, planted: Option<Planted>) -> io::Result<bool> {
    best.runs += 1;
    let less = best.scenario.only(numbers, nodes);
    let found = run(&less, planted, false)?.violation;
    let same = found.filter(|found| found.invariant == best.violation.invariant);
    let Some(violation) = same else { return Ok(false) };
    (best.scenario, best.violation) = (less, violation);
    Ok(true)
}

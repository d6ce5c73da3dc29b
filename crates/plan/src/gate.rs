//! Waves and what stops them: who is in which wave, what a gate sees, and what follows.

use std::time::Duration;

use backstay_manifest::{Figure, StopRule, Wave};
use backstay_types::{Digest, NodeId, RolloutStrategy, Timestamp, TreeDigest};

use crate::snapshot::{NodeFacts, Try, TryState};

/// What a gate sees of a rollout.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GateFigures {
    /// Nodes that are in the waves that are open.
    pub members: u64,
    /// Of these, those that have not come to an end of their attempt.
    pub open: u64,
    /// Attempts that ended, failed ones too. One that failed by its node's own fault is none.
    pub ended: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Nodes that run the release.
    pub run: u64,
    /// Of these, those that have fallen silent.
    pub silent: u64,
    /// When the last of the attempts ended.
    pub last_end: Option<Timestamp>,
}

impl GateFigures {
    /// Takes in a node of the open waves with its newest attempt under the rollout.
    pub fn add(&mut self, node: &NodeFacts, latest: Option<&Try>) {
        self.members += 1;
        let Some(latest) = latest else {
            // A node that has fallen silent holds nobody up. One of which a hub that has just started knows nothing does.
            self.open += u64::from(!node.silent);
            return;
        };
        match latest.state {
            TryState::Pending | TryState::Running => self.open += u64::from(!node.silent),
            TryState::Succeeded => {
                (self.ended, self.run) = (self.ended + 1, self.run + 1);
                self.silent += u64::from(node.silent);
                self.last_end = self.last_end.max(latest.ended_at);
            }
            TryState::Failed if latest.again_at.is_none() => {
                (self.ended, self.failed) = (self.ended + 1, self.failed + 1);
                self.last_end = self.last_end.max(latest.ended_at);
            }
            TryState::Failed | TryState::Superseded => {}
        }
    }

    fn value(&self, figure: Figure) -> f64 {
        let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        match figure {
            Figure::Failed => self.failed as f64,
            Figure::FailedRatio => share(self.failed, self.ended),
            Figure::OfflineRatio => share(self.silent, self.run),
        }
    }
}

/// What follows from what a gate sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gate {
    /// It goes on as it is, for this reason.
    Wait(String),
    /// The next wave begins.
    Open(String),
    /// It is stopped.
    Stop(String),
}

/// Decides. `last` says that every wave is open.
pub fn gate(strategy: &RolloutStrategy, figures: &GateFigures, last: bool, now: Timestamp) -> Gate {
    if let Some(reason) = stops(strategy, figures) {
        return Gate::Stop(reason);
    }
    if figures.open > 0 {
        return Gate::Wait(format!("{} of {} nodes are not there yet", figures.open, figures.members));
    }
    if last {
        return Gate::Wait("every wave is open".to_owned());
    }
    if figures.members > 0 && figures.ended == 0 {
        return Gate::Wait(format!("none of {} nodes has tried it yet: they are away", figures.members));
    }
    let seen = format!("{} of {} nodes run it, {} failed", figures.run, figures.members, figures.failed);
    // Where nobody moved there is nothing to watch.
    let since = figures.last_end.map(|end| Duration::try_from(now.duration_since(end)).unwrap_or_default());
    let soak = Duration::from_secs(strategy.soak_seconds);
    match since {
        Some(since) if since < soak => {
            let left = (soak - since).as_secs() + 1;
            Gate::Wait(format!("{seen}; watched for {left} s more"))
        }
        _ => Gate::Open(seen),
    }
}

/// Why it must be stopped, if it must.
fn stops(strategy: &RolloutStrategy, figures: &GateFigures) -> Option<String> {
    let GateFigures { ended, failed, .. } = *figures;
    if ended < u64::from(strategy.min_sample) {
        return (failed > 0).then(|| format!("failed on {failed} of the first {ended}"));
    }
    strategy.stop.iter().find_map(|text| {
        let rule: StopRule = text.parse().ok()?;
        let value = figures.value(rule.figure);
        rule.holds(value).then(|| {
            let value =
                if rule.figure == Figure::Failed { format!("{value}") } else { format!("{value:.3}") };
            format!("{rule} holds: it is {value}, with {failed} of {ended} failed")
        })
    })
}

/// A node's place in the line of a release: fixed, spread evenly over all places, and another for each release.
pub fn place_in_line(node: NodeId, tree: TreeDigest) -> u32 {
    use backstay_types::Id as _;
    let digest = Digest::of(&[node.uuid().as_bytes().as_slice(), tree.as_bytes()].concat());
    let bytes = digest.as_bytes();
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// The highest place of each wave that goes by share, for a fleet of these nodes: at least one node goes in each.
pub fn cuts<'a>(
    strategy: &RolloutStrategy,
    tree: TreeDigest,
    nodes: impl Iterator<Item = &'a NodeFacts>,
) -> Vec<Option<u32>> {
    let mut line: Vec<_> = nodes.map(|node| place_in_line(node.id, tree)).collect();
    line.sort_unstable();
    let cut = |wave: &String| match wave.parse() {
        Ok(Wave::Percent(100)) => Some(u32::MAX),
        Ok(Wave::Percent(share)) => {
            let count = (line.len() * usize::from(share)).div_ceil(100).max(1);
            Some(line.get(count - 1).copied().unwrap_or(u32::MAX))
        }
        Ok(Wave::Nodes(_)) | Err(_) => None,
    };
    strategy.waves.iter().map(cut).collect()
}

/// The waves of a rollout, read once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Waves {
    /// In order; one that cannot be read holds nobody, so that what cannot be understood moves nobody early.
    waves: Vec<(Option<Wave>, Option<u32>)>,
    tree: Option<TreeDigest>,
}

impl Waves {
    /// Of a strategy with its cuts, for a release.
    pub fn of(strategy: &RolloutStrategy, cuts: &[Option<u32>], tree: Option<TreeDigest>) -> Self {
        let wave = |(index, text): (usize, &String)| (text.parse().ok(), cuts.get(index).copied().flatten());
        Self { waves: strategy.waves.iter().enumerate().map(wave).collect(), tree }
    }

    /// The wave that a node goes in, from 0: the first that it is in. The last is everyone.
    pub fn wave_of(&self, node: &NodeFacts) -> u32 {
        let Some(last) = self.waves.len().checked_sub(1) else { return 0 };
        let place = self.tree.map(|tree| place_in_line(node.id, tree));
        let is_in = |(wave, cut): &(Option<Wave>, Option<u32>)| match wave {
            Some(Wave::Nodes(selector)) => selector.matches(&node.name, &node.labels),
            Some(Wave::Percent(_)) => place.zip(*cut).is_some_and(|(place, cut)| place <= cut),
            None => false,
        };
        u32::try_from(self.waves.iter().position(is_in).unwrap_or(last)).unwrap_or(u32::MAX)
    }
}

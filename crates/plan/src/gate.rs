//! Waves and what stops them: who is in which wave, what a gate sees, and what follows.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use backstay_manifest::{Figure, Over, StopRule, Wave};
use backstay_types::{Figures, NodeId, RolloutStrategy, Timestamp, TreeDigest};
use serde::{Deserialize, Serialize};

use crate::snapshot::{Members, NodeFacts, Reason, Try, TryState};

/// What a gate sees of a rollout.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateFigures {
    /// Nodes that are in the waves that are open.
    pub members: u64,
    /// Of these, those that have not come to an end of their attempt.
    pub open: u64,
    /// Of these, those that may not begin now, and why the first of them may not.
    pub held_back: u64,
    /// See there.
    #[serde(with = "crate::inputs::reason")]
    pub held_by: Option<Reason>,
    /// Attempts that ended, failed ones too. One that failed by its node's own fault is none.
    pub ended: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Nodes that failed by their own fault.
    #[serde(default)]
    pub hindered: u64,
    /// Nodes that have not come to an end of their attempt, and are not heard from.
    #[serde(default)]
    pub away: u64,
    /// Nodes that run the release.
    pub run: u64,
    /// Of these, those that have fallen silent.
    pub silent: u64,
    /// Nodes that said that they began.
    #[serde(default)]
    pub began: u64,
    /// Of these, those that have fallen silent.
    #[serde(default)]
    pub gone: u64,
    /// What nodes that run the release say about themselves, by figure.
    #[serde(default)]
    pub reported: BTreeMap<String, Reported>,
    /// When the last of the attempts ended.
    pub last_end: Option<Timestamp>,
}

/// A figure over several nodes. The numbers are finite.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Reported {
    /// How many nodes said it.
    pub nodes: u64,
    /// The sum of what they said.
    pub sum: f64,
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
}

impl Eq for Reported {}

impl Reported {
    fn over(&self, over: Over) -> f64 {
        match over {
            Over::Mean => self.sum / self.nodes as f64,
            Over::Max => self.max,
            Over::Min => self.min,
            Over::Sum => self.sum,
        }
    }
}

impl GateFigures {
    /// Takes in a node of the open waves that has made no attempt under the rollout. `there` says that it runs the
    /// release all the same, `held_by` why it may not begin.
    pub fn add_untried(&mut self, node: &NodeFacts, there: bool, held_by: Option<&Reason>) {
        self.members += 1;
        if there {
            self.run += 1;
            self.silent += u64::from(node.silent);
            return;
        }
        // A node that has fallen silent holds nobody up. One of which a hub that has just started knows nothing does.
        self.wait_for(node);
        if let Some(reason) = held_by.filter(|_| !node.silent) {
            self.held_back += 1;
            self.held_by.get_or_insert_with(|| reason.clone());
        }
    }

    /// Takes in a node with its newest attempt under the rollout.
    pub fn add(&mut self, node: &NodeFacts, latest: &Try) {
        self.members += 1;
        if matches!(latest.state, TryState::Running | TryState::Succeeded | TryState::Failed) {
            self.began += 1;
            self.gone += u64::from(node.silent);
        }
        match latest.state {
            TryState::Pending | TryState::Running => self.wait_for(node),
            TryState::Succeeded => {
                (self.ended, self.run) = (self.ended + 1, self.run + 1);
                self.silent += u64::from(node.silent);
                self.last_end = self.last_end.max(latest.ended_at);
            }
            TryState::Failed if latest.again_at.is_none() => {
                (self.ended, self.failed) = (self.ended + 1, self.failed + 1);
                self.last_end = self.last_end.max(latest.ended_at);
            }
            TryState::Failed => self.hindered += 1,
            TryState::Superseded => {}
        }
    }

    fn wait_for(&mut self, node: &NodeFacts) {
        *(if node.silent { &mut self.away } else { &mut self.open }) += 1;
    }

    /// Whether nobody has shown yet how the release does, and those who should failed by their own fault.
    pub(crate) fn is_hindered(&self) -> bool {
        let Self { open, ended, run, hindered, .. } = *self;
        hindered > 0 && (open, ended, run) == (0, 0, 0)
    }

    /// Whether it is for nodes that failed by their own fault to show how the release does: nobody else has, or too few
    /// have for the next wave to begin.
    pub(crate) fn waits_for_hindered(&self, strategy: &RolloutStrategy, last: bool) -> bool {
        self.is_hindered()
            || (self.hindered > 0 && self.open == 0 && !last && short(strategy, self).is_some())
    }

    /// Takes in what a node that runs the release says about itself.
    pub fn add_reported(&mut self, figures: &Figures) {
        for (name, value) in figures.iter() {
            let known = Reported { nodes: 0, sum: 0.0, min: value, max: value };
            let known = self.reported.entry(name.to_owned()).or_insert(known);
            *known = Reported {
                nodes: known.nodes + 1,
                sum: known.sum + value,
                min: known.min.min(value),
                max: known.max.max(value),
            };
        }
    }

    /// A figure's value; none where no node has said it.
    fn value(&self, figure: &Figure) -> Option<f64> {
        let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        Some(match figure {
            Figure::Failed => self.failed as f64,
            Figure::FailedRatio => share(self.failed, self.ended),
            Figure::OfflineRatio => share(self.silent, self.run),
            Figure::HeartbeatDrop => share(self.gone, self.began),
            Figure::Reported { name, over } => self.reported.get(name)?.over(*over),
        })
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
        let mut text = format!("{} of {} nodes are not there yet", figures.open, figures.members);
        if let Some(reason) = &figures.held_by {
            text.push_str(&format!("; {} may not begin: {reason}", figures.held_back));
        }
        return Gate::Wait(text);
    }
    if figures.is_hindered() {
        let GateFigures { hindered, members, .. } = figures;
        return Gate::Wait(format!(
            "none of {members} nodes could try it: {hindered} failed by their own fault and will try again"
        ));
    }
    if last {
        return Gate::Wait("every wave is open".to_owned());
    }
    if figures.members > 0 && figures.ended == 0 && figures.run == 0 {
        return Gate::Wait(format!(
            "none of {} nodes has tried it yet: they are away: wait for them, or promote it by hand",
            figures.members
        ));
    }
    if let Some(short) = short(strategy, figures) {
        return short.gate(figures);
    }
    let seen = format!("{} of {} nodes run it, {} failed", figures.run, figures.members, figures.failed);
    if figures.run > 0
        && let Some(name) = not_said(strategy, figures)
    {
        return Gate::Wait(format!("{seen}; none of them has said `{name}` yet"));
    }
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

/// What a wave has not shown yet for the next one to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Short {
    /// So many nodes have to run the release.
    pub(crate) run: u64,
    /// So many attempts have to have come to an end, or nodes to run it all the same.
    pub(crate) ended: u64,
}

/// What the open waves have to show before the next one begins: a share of their nodes runs the release, and enough have come
/// to an end for their failures to say something; of few nodes half of them.
pub fn needs(strategy: &RolloutStrategy, members: u64) -> (u64, u64) {
    // Rollouts that began before there was such a share go by what was said then.
    if strategy.min_success_percent == 0 {
        return (0, 0);
    }
    let run = (members * u64::from(strategy.min_success_percent)).div_ceil(100);
    (run, u64::from(strategy.min_sample).min(members.div_ceil(2)))
}

/// What they have not shown, if so.
pub(crate) fn short(strategy: &RolloutStrategy, figures: &GateFigures) -> Option<Short> {
    let (run, ended) = needs(strategy, figures.members);
    // Who runs it without an attempt of its own has come to an end as well.
    let came = figures.failed + figures.run;
    (figures.run < run || came < ended).then_some(Short { run, ended })
}

impl Short {
    fn gate(self, figures: &GateFigures) -> Gate {
        let GateFigures { members, run, failed, away, hindered, .. } = *figures;
        let seen = format!("{run} of {members} nodes run it, {failed} failed");
        // Who failed is not sent there again under the same rollout.
        if members - failed.min(members) < self.run {
            return Gate::Stop(format!(
                "{seen}: the next wave begins once {} do, and so many cannot",
                self.run
            ));
        }
        let needed = match run < self.run {
            true => format!("{} do", self.run),
            false => format!("{} have tried it", self.ended),
        };
        let others = match (away, hindered) {
            (0, 0) => String::new(),
            (away, 0) => format!("{away} are away: "),
            (0, hindered) => format!("{hindered} failed by their own fault and will try again: "),
            (away, hindered) => format!("{away} are away, {hindered} failed by their own fault: "),
        };
        Gate::Wait(format!(
            "{seen}; the next wave begins once {needed}. {others}wait for them, or promote it by hand"
        ))
    }
}

/// A rule that stops a rollout, and what it is judged by now.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// The rule.
    pub rule: String,
    /// The figure that it is about; absent where nothing is known of it.
    pub value: Option<f64>,
    /// Whether it is too much. It stops the rollout once enough attempts have ended.
    pub holds: bool,
}

/// What each rule of a strategy sees, in their order. Those that cannot be read are left out, as gates do.
pub fn judged(strategy: &RolloutStrategy, figures: &GateFigures) -> Vec<Judged> {
    let one = |text: &String| {
        let rule: StopRule = text.parse().ok()?;
        let value = figures.value(&rule.figure);
        Some(Judged { rule: rule.to_string(), value, holds: value.is_some_and(|value| rule.holds(value)) })
    };
    strategy.stop.iter().filter_map(one).collect()
}

/// Why it must be stopped, if it must. What nodes say about themselves counts from the first on; shares count once
/// enough was seen, and before that any failure does. Silence of one node is no drop.
fn stops(strategy: &RolloutStrategy, figures: &GateFigures) -> Option<String> {
    let GateFigures { ended, failed, began, gone, .. } = *figures;
    let sample = u64::from(strategy.min_sample);
    if ended < sample && failed > 0 {
        return Some(format!("failed on {failed} of the first {ended}"));
    }
    let rules = strategy.stop.iter().filter_map(|text| text.parse::<StopRule>().ok());
    rules.into_iter().find_map(|rule| {
        let seen = match rule.figure {
            Figure::Reported { .. } => true,
            Figure::HeartbeatDrop if began < sample => gone * 2 >= began,
            Figure::HeartbeatDrop => true,
            _ => ended >= sample,
        };
        let enough = seen && (rule.figure != Figure::HeartbeatDrop || gone > 1);
        let value = figures.value(&rule.figure).filter(|value| enough && rule.holds(*value))?;
        let value = if rule.figure == Figure::Failed { format!("{value}") } else { format!("{value:.3}") };
        Some(match &rule.figure {
            Figure::HeartbeatDrop => {
                format!("{rule} holds: it is {value}, {gone} of {began} that began have fallen silent")
            }
            Figure::Reported { name, .. } => {
                let nodes = figures.reported.get(name).map_or(0, |reported| reported.nodes);
                format!("{rule} holds: it is {value} over {nodes} nodes")
            }
            _ => format!("{rule} holds: it is {value}, with {failed} of {ended} failed"),
        })
    })
}

/// A figure that a rule goes by and no node has said yet.
fn not_said(strategy: &RolloutStrategy, figures: &GateFigures) -> Option<String> {
    let rules = strategy.stop.iter().filter_map(|text| text.parse::<StopRule>().ok());
    let mut names = rules.filter_map(|rule| rule.reported().map(str::to_owned));
    names.find(|name| !figures.reported.contains_key(name))
}

/// A node's place in the line of a release: fixed, spread evenly over all places, and another for each release.
pub fn place_in_line(node: NodeId, tree: TreeDigest) -> u32 {
    use backstay_types::Id as _;
    let (high, low) = node.uuid().as_u64_pair();
    let tree = tree.as_bytes();
    let half = |at: usize| u64::from_be_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|byte: usize| tree[at + byte]));
    let mixed = mix(mix(high ^ half(0)).wrapping_add(low ^ half(8)));
    u32::try_from(mixed >> 32).unwrap_or(u32::MAX)
}

/// Spreads what is near each other over all numbers. Nothing rests on it being hard to foresee, and a fleet's places are
/// asked for at every step: it takes a few multiplications (the finish of SplitMix64).
fn mix(mut number: u64) -> u64 {
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
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

/// Who is in a wave that goes by labels: noted when the rollout begins, so that nobody changes waves while it runs,
/// whatever becomes of its labels.
pub fn members<'a>(
    strategy: &RolloutStrategy,
    cuts: &[Option<u32>],
    tree: TreeDigest,
    nodes: impl Iterator<Item = &'a NodeFacts>,
) -> Vec<(NodeId, u32)> {
    let waves: Vec<Option<Wave>> = strategy.waves.iter().map(|text| text.parse().ok()).collect();
    if !waves.iter().any(|wave| matches!(wave, Some(Wave::Nodes(_)))) {
        return Vec::new();
    }
    let in_line = Waves::of(strategy, cuts, Some(tree), None);
    let by_label = |node: &&NodeFacts| {
        let selected = |wave: &Option<Wave>| match wave {
            Some(Wave::Nodes(selector)) => node.is_in(selector),
            _ => false,
        };
        let first = u32::try_from(waves.iter().position(selected)?).ok()?;
        (first <= in_line.wave_of(node)).then_some((node.id, first))
    };
    nodes.filter_map(|node| by_label(&node)).collect()
}

/// The waves of a rollout, read once.
#[derive(Debug, Clone, Default)]
pub struct Waves {
    /// The highest place of each, in order. One without is for those who are noted, so that what cannot be understood
    /// moves nobody early.
    cuts: Vec<Option<u32>>,
    tree: Option<TreeDigest>,
    members: Option<Arc<Members>>,
}

impl Waves {
    /// Of a strategy with its cuts, for a release, with those who are in waves that go by labels.
    pub fn of(
        strategy: &RolloutStrategy,
        cuts: &[Option<u32>],
        tree: Option<TreeDigest>,
        members: Option<Arc<Members>>,
    ) -> Self {
        let cuts = (0..strategy.waves.len()).map(|index| cuts.get(index).copied().flatten()).collect();
        Self { cuts, tree, members }
    }

    /// The same with members as [`members`] notes them.
    #[must_use]
    pub fn with_members(self, noted: &[(NodeId, u32)]) -> Self {
        let members: Members = noted.iter().copied().collect();
        Self { members: (!members.is_empty()).then(|| Arc::new(members)), ..self }
    }

    /// The wave that a node goes in, from 0: the one that it was noted for by its labels when the rollout began, else the
    /// first whose share it is in by its place in line. Who came later goes by place in line alone. The last is everyone.
    pub fn wave_of(&self, node: &NodeFacts) -> u32 {
        let Some(last) = self.cuts.len().checked_sub(1) else { return 0 };
        if let Some(wave) = self.members.as_ref().and_then(|members| members.get(&node.id)) {
            return *wave;
        }
        let place = self.tree.map(|tree| place_in_line(node.id, tree));
        let is_in = |cut: &Option<u32>| place.zip(*cut).is_some_and(|(place, cut)| place <= cut);
        u32::try_from(self.cuts.iter().position(is_in).unwrap_or(last)).unwrap_or(u32::MAX)
    }
}

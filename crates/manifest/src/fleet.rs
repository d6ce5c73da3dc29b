//! `fleet.toml`: which nodes run which stacks, and how updates go out.

use std::{fmt, str::FromStr};

use backstay_types::{CommitId, FleetThresholds, Labels, NodeName, RolloutStrategy, StackName, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::de::DeValue;

use crate::{
    Environment, Problem, Selector, code,
    environment::read_environments,
    problem::nearest,
    read::{Table, read},
    strategy::{Written, read_strategy},
    window::{Freeze, Window, read_freeze, read_window},
};

/// What `fleet.toml` says. The default is what holds without one: every stack on every node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FleetManifest {
    /// Which nodes run which stacks. None at all: every stack on every node.
    pub assignments: Vec<Assignment>,
    /// How updates go out.
    pub rollout: RolloutSettings,
    /// Nodes held at a commit.
    pub pins: Vec<Pin>,
    /// What happens to what is no longer listed.
    pub prune: PruneSettings,
    /// When nodes may begin something new.
    #[serde(default)]
    pub windows: Vec<Window>,
    /// When nothing forward begins.
    #[serde(default)]
    pub freezes: Vec<Freeze>,
    /// Where releases go first. None at all: everywhere at once.
    #[serde(default)]
    pub environments: Vec<Environment>,
    /// Ways in which stacks and parts of them go out.
    #[serde(default)]
    pub channels: Vec<Channel>,
}

/// `[[channel]]`: how stacks whose assignment names it go out, and parts that name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// How many nodes may be updating at once; as `[rollout]` says when absent.
    pub max_updating: Option<MaxUpdating>,
    /// Waves, and what stops them. What it does not say is as if `[rollout]` did not say it either.
    pub strategy: RolloutStrategy,
    /// The line in `fleet.toml`.
    pub line: u32,
    /// The line of its `waves`.
    #[serde(default)]
    pub waves_line: u32,
}

/// `[[assign]]`: these nodes run this stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Assignment {
    /// The stack.
    pub stack: StackName,
    /// The nodes.
    pub nodes: Selector,
    /// The `[[channel]]` that says how the stack goes out; as `[rollout]` says when absent. All assignments of a stack that
    /// name one name the same.
    pub channel: Option<String>,
    /// The line in `fleet.toml`.
    pub line: u32,
}

/// `[rollout]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RolloutSettings {
    /// How many of the nodes of a rollout may be updating at once; all of them when absent.
    pub max_updating: Option<MaxUpdating>,
    /// Waves, and what stops them.
    pub strategy: RolloutStrategy,
    /// From when on the health of the whole fleet slows or stops rollouts.
    #[serde(default)]
    pub fleet: FleetThresholds,
    /// Figures that nodes have to report for its rules, each with the line in `fleet.toml`.
    #[serde(default)]
    pub reported: Vec<(String, u32)>,
    /// The line of its `waves` in `fleet.toml`.
    #[serde(default)]
    pub waves_line: u32,
}

/// A number of nodes, or a share of them. Written `5` or `"20%"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum MaxUpdating {
    /// So many nodes.
    Count(u32),
    /// So many of a hundred, 1 to 100.
    Percent(u8),
}

/// `[[pin]]`: these nodes run this stack as it is in a commit, whatever rollouts say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pin {
    /// The stack.
    pub stack: StackName,
    /// The nodes.
    pub nodes: Selector,
    /// The commit whose tree of the stack they run.
    pub commit: CommitId,
    /// Why.
    pub reason: String,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
    /// The line in `fleet.toml`.
    #[serde(default)]
    pub line: u32,
}

/// `[prune]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PruneSettings {
    /// Whether a stack that is no longer assigned to a node is removed from it. Off unless said.
    pub enabled: bool,
    /// From how many nodes of the fleet a stack may be removed at once; [`PruneSettings::MAX`] when absent.
    /// What would be more is a mistake until this says otherwise, and removes nothing.
    pub max: Option<MaxUpdating>,
}

impl PruneSettings {
    /// What holds when nothing is said: a tenth of the fleet, at least one node.
    pub const MAX: MaxUpdating = MaxUpdating::Percent(10);
}

impl FleetManifest {
    /// Reads `fleet.toml`. `file` is its path, for messages.
    ///
    /// # Errors
    /// Everything that is wrong with it, not only the first.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, Vec<Problem>> {
        read(file, bytes, |root| {
            let mut rollout = root.table("rollout").map(read_rollout).unwrap_or_default();
            let channels = read_channels(root, &mut rollout.reported);
            Self {
                assignments: read_assignments(root, &channels),
                rollout,
                channels,
                pins: root.tables("pin").into_iter().filter_map(read_pin).collect(),
                prune: root.table("prune").map(read_prune).unwrap_or_default(),
                windows: root.tables("window").into_iter().filter_map(read_window).collect(),
                freezes: root.tables("freeze").into_iter().filter_map(read_freeze).collect(),
                environments: read_environments(root),
            }
        })
    }

    /// A channel by its name.
    pub fn channel(&self, name: &str) -> Option<&Channel> {
        self.channels.iter().find(|channel| channel.name == name)
    }

    /// The channel by which a stack goes out, where its assignments name one. Parts that name another go by that.
    pub fn channel_of(&self, stack: &StackName) -> Option<&Channel> {
        let of_stack = self.assignments.iter().filter(|assignment| assignment.stack == *stack);
        of_stack.filter_map(|assignment| self.channel(assignment.channel.as_deref()?)).next()
    }

    /// Whether a node runs a stack.
    pub fn is_assigned(&self, stack: &StackName, node: &NodeName, labels: &Labels) -> bool {
        self.assignments.is_empty()
            || self.assignments.iter().any(|a| &a.stack == stack && a.nodes.matches(node, labels))
    }

    /// The pins of a node for a stack that hold at `now`; the first one counts.
    pub fn pins_of<'a>(
        &'a self,
        stack: &'a StackName,
        node: &'a NodeName,
        labels: &'a Labels,
        now: Timestamp,
    ) -> impl Iterator<Item = &'a Pin> {
        self.pins
            .iter()
            .filter(move |pin| &pin.stack == stack && pin.until.is_none_or(|until| now < until))
            .filter(|pin| pin.nodes.matches(node, labels))
    }
}

impl MaxUpdating {
    /// How many of `total` nodes that is: a share is rounded down, but is never less than one node.
    pub fn of(self, total: u32) -> u32 {
        match self {
            Self::Count(count) => count.max(1),
            Self::Percent(share) => {
                u32::try_from(u64::from(total) * u64::from(share) / 100).unwrap_or(u32::MAX).max(1)
            }
        }
    }
}

impl fmt::Display for MaxUpdating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(share) => write!(f, "{share}%"),
        }
    }
}

impl FromStr for MaxUpdating {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let value = match text.strip_suffix('%') {
            Some(share) => share.parse().ok().filter(|share| (1..=100).contains(share)).map(Self::Percent),
            None => text.parse().ok().filter(|count| *count > 0).map(Self::Count),
        };
        value.ok_or_else(|| {
            format!("`{text}`: expected a number of nodes from 1, or a share from \"1%\" to \"100%\"")
        })
    }
}

impl TryFrom<String> for MaxUpdating {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<MaxUpdating> for String {
    fn from(value: MaxUpdating) -> Self {
        value.to_string()
    }
}

/// The assignments. A stack goes out in one way: those of one stack may not name different channels.
fn read_assignments(root: &mut Table<'_, '_>, channels: &[Channel]) -> Vec<Assignment> {
    let mut all = Vec::new();
    let mut named: Vec<(StackName, String, u32)> = Vec::new();
    for mut table in root.tables("assign") {
        let stack: Option<StackName> =
            table.required_parsed("stack", code::BAD_STACK_NAME, "the name of a stack");
        let nodes = read_nodes(&mut table);
        let channel = table.string("channel");
        if let Some(channel) = &channel {
            if !channels.iter().any(|known| known.name == *channel) {
                table.report(unknown_channel(&table, channel, channels));
            } else if let Some(stack) = &stack {
                match named.iter().find(|(of, ..)| of == stack) {
                    None => named.push((stack.clone(), channel.clone(), table.line_of("channel"))),
                    Some((_, first, line)) if first != channel => {
                        let message = format!(
                            "`{stack}` goes out by channel `{first}` (line {line}): expected the same here, since a stack goes out in one way"
                        );
                        table.wrong::<()>("channel", code::WRONG_VALUE, message);
                    }
                    Some(_) => {}
                }
            }
        }
        let line = table.line();
        table.finish();
        if let (Some(stack), Some(nodes)) = (stack, nodes) {
            all.push(Assignment { stack, nodes, channel, line });
        }
    }
    all
}

fn unknown_channel(table: &Table<'_, '_>, channel: &str, channels: &[Channel]) -> Problem {
    let known = || channels.iter().map(|channel| channel.name.as_str());
    let expected = match channels {
        [] => "expected none, or a [[channel]] of this name".to_owned(),
        _ => format!("expected one of {}", known().collect::<Vec<_>>().join(", ")),
    };
    let problem =
        table.problem("channel", code::WRONG_VALUE, format!("no channel is called `{channel}`: {expected}"));
    match nearest(channel, known()) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None => problem,
    }
}

fn read_nodes(table: &mut Table<'_, '_>) -> Option<Selector> {
    let expected = "a label selector such as \"role=web,region in (eu,us)\", or \"\" for every node";
    table.required_parsed("nodes", code::BAD_SELECTOR, expected)
}

fn read_rollout(mut table: Table<'_, '_>) -> RolloutSettings {
    let max_updating = read_share(&mut table, "max_updating");
    let Written { strategy, reported, waves_line } = read_strategy(&mut table);
    let fleet = table.table("fleet").map(read_thresholds).unwrap_or_default();
    table.finish();
    RolloutSettings { max_updating, strategy, fleet, reported, waves_line }
}

/// The channels; figures that nodes have to report for their rules join those of `[rollout]`.
fn read_channels(root: &mut Table<'_, '_>, reported: &mut Vec<(String, u32)>) -> Vec<Channel> {
    let mut all: Vec<Channel> = Vec::new();
    for mut table in root.tables("channel") {
        let name = table.required("name", "the channel's name, such as \"policy\"");
        let max_updating = read_share(&mut table, "max_updating");
        let Written { strategy, reported: figures, waves_line } = read_strategy(&mut table);
        let first = name.as_ref().and_then(|name| all.iter().find(|known| known.name == *name));
        if let Some(Channel { name, line, .. }) = first {
            let message = format!(
                "two channels are called `{name}` (the other in line {line}): expected different names"
            );
            table.wrong::<()>("name", code::DUPLICATE_NAME, message);
        }
        let line = table.line();
        table.finish();
        reported.extend(figures);
        let Some(name) = name else { continue };
        all.push(Channel { name, max_updating, strategy, line, waves_line });
    }
    all
}

fn read_thresholds(mut table: Table<'_, '_>) -> FleetThresholds {
    let rest = FleetThresholds::default();
    let max_updating_percent = read_percent(&mut table, "max_updating");
    let mut least = 0;
    let mut percent = |key: &'static str, usual: u8| {
        let share = read_percent(&mut table, key).unwrap_or(usual);
        if share < least {
            let message =
                format!("`{share}%`, and `{least}%` before it: expected `warn` <= `halt` <= `stop`");
            table.wrong::<()>(key, code::WRONG_VALUE, message);
        }
        least = share;
        share
    };
    let warn_percent = percent("warn", rest.warn_percent);
    let halt_percent = percent("halt", rest.halt_percent);
    let stop_percent = percent("stop", rest.stop_percent);
    let within_seconds = table.duration("within").map_or(rest.within_seconds, |within| within.as_secs());
    let min_nodes = table.number("min_nodes", 1..=1_000_000).unwrap_or(rest.min_nodes);
    table.finish();
    FleetThresholds {
        warn_percent,
        halt_percent,
        stop_percent,
        within_seconds,
        min_nodes,
        max_updating_percent,
    }
}

/// A share of the nodes, and no number of them.
pub(crate) fn read_percent(table: &mut Table<'_, '_>, key: &'static str) -> Option<u8> {
    match read_share(table, key)? {
        MaxUpdating::Percent(share) => Some(share),
        MaxUpdating::Count(_) => table.wrong(key, code::WRONG_VALUE, "expected a share such as \"10%\""),
    }
}

/// A number of nodes, or a share of them.
fn read_share(table: &mut Table<'_, '_>, key: &'static str) -> Option<MaxUpdating> {
    let item = table.get(key)?;
    let text = match item.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
        _ => {
            let message = "expected a number of nodes or a share such as \"20%\"";
            return table.wrong(key, code::WRONG_TYPE, message);
        }
    };
    text.parse().map_or_else(|message: String| table.wrong(key, code::WRONG_VALUE, message), Some)
}

fn read_pin(mut table: Table<'_, '_>) -> Option<Pin> {
    let stack = table.required_parsed("stack", code::BAD_STACK_NAME, "the name of a stack");
    let nodes = read_nodes(&mut table);
    let commit = table.required_parsed("commit", code::WRONG_VALUE, "a commit's full id");
    let reason = table.required("reason", "why the nodes are pinned");
    let until = table.timestamp("until");
    let line = table.line();
    table.finish();
    Some(Pin { stack: stack?, nodes: nodes?, commit: commit?, reason: reason?, until, line })
}

fn read_prune(mut table: Table<'_, '_>) -> PruneSettings {
    let enabled = table.boolean("enabled").unwrap_or(false);
    let max = read_share(&mut table, "max");
    table.finish();
    PruneSettings { enabled, max }
}

#[cfg(test)]
#[path = "fleet_tests.rs"]
mod tests;

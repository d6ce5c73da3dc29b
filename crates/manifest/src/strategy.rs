//! How rollouts go out: waves, and what stops them.

use std::{fmt, str::FromStr};

use backstay_types::{Figures, OnStop, RolloutStrategy};
use serde::{Deserialize, Serialize};

use crate::{Selector, code, fleet::read_percent, problem::nearest, read::Table};

/// A wave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wave {
    /// So many of a hundred nodes, 1 to 100, by their place in line.
    Percent(u8),
    /// The nodes that a selector matches.
    Nodes(Selector),
}

/// What a rollout is judged by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Figure {
    /// Attempts that failed.
    Failed,
    /// Their share of the attempts that ended.
    FailedRatio,
    /// The share of nodes that run the release and are not heard from any more.
    OfflineRatio,
    /// The share of nodes that began and are not heard from any more.
    HeartbeatDrop,
    /// What nodes that run the release say about themselves.
    Reported {
        /// The figure's name.
        name: String,
        /// How the figures of several nodes become one.
        over: Over,
    },
}

/// How the figures of several nodes become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Over {
    /// Their mean, when nothing else is said.
    Mean,
    /// The highest.
    Max,
    /// The lowest.
    Min,
    /// Their sum.
    Sum,
}

impl Figure {
    const OWN: [(&'static str, Self); 4] = [
        ("failed", Self::Failed),
        ("failed_ratio", Self::FailedRatio),
        ("offline_ratio", Self::OfflineRatio),
        ("heartbeat_drop", Self::HeartbeatDrop),
    ];

    /// A figure that every rollout has, by its name.
    pub(crate) fn own(name: &str) -> Option<Self> {
        Self::OWN.iter().find(|(word, _)| *word == name).map(|(_, figure)| figure.clone())
    }

    /// The names of figures that every rollout has.
    pub(crate) fn own_names() -> impl Iterator<Item = &'static str> {
        Self::OWN.iter().map(|(name, _)| *name)
    }
}

impl Over {
    const ALL: [(&'static str, Self); 4] =
        [("mean", Self::Mean), ("max", Self::Max), ("min", Self::Min), ("sum", Self::Sum)];
}

/// How a figure is compared with a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Than {
    /// `>`
    Above,
    /// `>=`
    AtLeast,
    /// `<`
    Below,
    /// `<=`
    AtMost,
}

impl Than {
    const ALL: [(&'static str, Self); 4] =
        [(">=", Self::AtLeast), ("<=", Self::AtMost), (">", Self::Above), ("<", Self::Below)];
}

/// A rule that stops a rollout: `FIGURE > NUMBER`, or with `>=`, `<`, `<=`. A figure that nodes report is the mean over
/// the nodes that run the release, or `max(…)`, `min(…)`, `sum(…)`.
#[derive(Debug, Clone, PartialEq)]
pub struct StopRule {
    /// What is judged.
    pub figure: Figure,
    /// How.
    pub than: Than,
    /// The limit.
    pub limit: f64,
}

impl StopRule {
    /// Whether a value of its figure is too much, or too little.
    pub fn holds(&self, value: f64) -> bool {
        match self.than {
            Than::Above => value > self.limit,
            Than::AtLeast => value >= self.limit,
            Than::Below => value < self.limit,
            Than::AtMost => value <= self.limit,
        }
    }

    /// The name of the figure that nodes have to report for it; none for those that every rollout has.
    pub fn reported(&self) -> Option<&str> {
        match &self.figure {
            Figure::Reported { name, .. } => Some(name),
            _ => None,
        }
    }
}

impl FromStr for Wave {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim().strip_suffix('%') {
            Some(share) => share
                .parse()
                .ok()
                .filter(|share| (1..=100).contains(share))
                .map(Self::Percent)
                .ok_or_else(|| format!("`{text}`: expected a share from \"1%\" to \"100%\"")),
            None if text.trim().is_empty() => {
                Err("expected a share such as \"5%\" or a label selector".to_owned())
            }
            None => text.parse().map(Self::Nodes).map_err(|error| {
                format!("`{text}`: expected a share such as \"5%\" or a label selector ({error})")
            }),
        }
    }
}

impl fmt::Display for Wave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(share) => write!(f, "{share}%"),
            Self::Nodes(selector) => selector.fmt(f),
        }
    }
}

impl FromStr for StopRule {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected such as \"failed_ratio > 0.05\"";
        let wrong = || format!("`{text}`: {EXPECTED}");
        let at = text.find(['<', '>']).ok_or_else(wrong)?;
        let (left, rest) = text.split_at(at);
        let than = Than::ALL.iter().find_map(|(sign, than)| Some((rest.strip_prefix(sign)?, *than)));
        let (number, than) = than.ok_or_else(wrong)?;
        let figure = read_figure(left.trim()).ok_or_else(wrong)?;
        let limit: f64 =
            number.trim().parse().map_err(|_| format!("`{}` is not a number: {EXPECTED}", number.trim()))?;
        let most = match figure {
            Figure::Reported { .. } if limit.is_finite() => return Ok(Self { figure, than, limit }),
            Figure::Reported { .. } => return Err(wrong()),
            Figure::Failed => f64::from(u32::MAX),
            _ => 1.0,
        };
        if matches!(than, Than::Below | Than::AtMost) {
            return Err(format!("`{text}`: too little of it is no harm; {EXPECTED}"));
        }
        if !(0.0..=most).contains(&limit) {
            return Err(format!("`{text}`: expected a limit from 0 to {most}"));
        }
        Ok(Self { figure, than, limit })
    }
}

/// `name`, or `max(name)` and such for what nodes report.
fn read_figure(text: &str) -> Option<Figure> {
    let (over, name) = match text.strip_suffix(')').and_then(|text| text.split_once('(')) {
        Some((over, name)) => (Some(Over::ALL.iter().find(|(word, _)| *word == over.trim())?.1), name.trim()),
        None => (None, text),
    };
    match Figure::own(name) {
        Some(own) => over.is_none().then_some(own),
        None if Figures::is_name(name) => {
            Some(Figure::Reported { name: name.to_owned(), over: over.unwrap_or(Over::Mean) })
        }
        None => None,
    }
}

/// What a rule is wrong in, when no stack reports its figure: with the names that are known.
pub(crate) fn unknown_figure(name: &str, declared: &[&str]) -> (String, Option<String>) {
    let mut known: Vec<&str> = Figure::own_names().collect();
    known.extend(declared);
    let hint = nearest(name, known.iter().copied()).map(|word| format!("did you mean `{word}`?"));
    let message = format!(
        "`{name}` is not a figure: expected one of {}, or one that a stack reports by `[[figure]]`",
        known.join(", ")
    );
    (message, hint)
}

impl fmt::Display for StopRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.figure {
            Figure::Reported { name, over: Over::Mean } => f.write_str(name)?,
            Figure::Reported { name, over } => {
                let word = Over::ALL.iter().find(|(_, one)| one == over).map_or("mean", |(word, _)| word);
                write!(f, "{word}({name})")?;
            }
            own => {
                let name = Figure::OWN.iter().find(|(_, figure)| figure == own).map_or("", |(name, _)| name);
                f.write_str(name)?;
            }
        }
        let sign = Than::ALL.iter().find(|(_, than)| *than == self.than).map_or(">", |(sign, _)| sign);
        write!(f, " {sign} {}", self.limit)
    }
}

/// A strategy as it stands in the file.
pub(crate) struct Written {
    pub(crate) strategy: RolloutStrategy,
    /// The figures that nodes have to report for it, with their lines.
    pub(crate) reported: Vec<(String, u32)>,
    /// The line of its `waves`.
    pub(crate) waves_line: u32,
}

/// `waves`, `soak`, `min_sample`, `min_success`, `on_stop` and `[[rollout.stop]]`.
pub(crate) fn read_strategy(table: &mut Table<'_, '_>) -> Written {
    let rest = RolloutStrategy::default();
    let waves = read_waves(table);
    let soak = table.duration("soak");
    if soak.is_some() && waves.len() < 2 {
        let message = "there is nothing to wait for: `waves` has fewer than two";
        table.wrong::<()>("soak", code::WRONG_VALUE, message);
    }
    let min_sample = table.number("min_sample", 1..=100_000);
    let min_success_percent = read_percent(table, "min_success");
    if min_success_percent.is_some() && waves.len() < 2 {
        let message = "no wave follows another: `waves` has fewer than two";
        table.wrong::<()>("min_success", code::WRONG_VALUE, message);
    }
    let on_stop = table.choice("on_stop", &[("keep", OnStop::Keep), ("return", OnStop::Return)]);
    let (mut stop, mut reported) = (Vec::new(), Vec::new());
    for mut rule in table.tables("stop") {
        let when = rule.required_parsed::<StopRule>(
            "when",
            code::WRONG_VALUE,
            "what stops it, such as \"failed_ratio > 0.05\"",
        );
        let line = rule.line();
        rule.finish();
        let name = when.as_ref().and_then(StopRule::reported).map(str::to_owned);
        reported.extend(name.map(|name| (name, line)));
        stop.extend(when.map(|rule| rule.to_string()));
    }
    let strategy = RolloutStrategy {
        waves: waves.iter().map(ToString::to_string).collect(),
        soak_seconds: soak.unwrap_or_default().as_secs(),
        min_sample: min_sample.unwrap_or(rest.min_sample),
        min_success_percent: min_success_percent.unwrap_or(rest.min_success_percent),
        stop: if stop.is_empty() { rest.stop } else { stop },
        on_stop: on_stop.unwrap_or(rest.on_stop),
    };
    Written { strategy, reported, waves_line: table.line_of("waves") }
}

fn read_waves(table: &mut Table<'_, '_>) -> Vec<Wave> {
    let mut waves = Vec::new();
    let mut share = 0;
    for text in table.strings("waves").unwrap_or_default() {
        match text.parse() {
            Ok(wave) => {
                if let Wave::Percent(next) = wave {
                    if next <= share {
                        let message = format!(
                            "`{next}%` after `{share}%`: a wave takes in those before it, so expected more"
                        );
                        table.wrong::<()>("waves", code::WRONG_VALUE, message);
                    }
                    share = next;
                }
                waves.push(wave);
            }
            Err(message) => {
                table.wrong::<()>("waves", code::WRONG_VALUE, message);
            }
        }
    }
    if !waves.is_empty() && waves.last() != Some(&Wave::Percent(100)) {
        table.wrong::<()>(
            "waves",
            code::WRONG_VALUE,
            "the last wave is everyone: expected \"100%\" at the end",
        );
    }
    waves
}

//! How rollouts go out: waves, and what stops them.

use std::{fmt, str::FromStr};

use backstay_types::{OnStop, RolloutStrategy};
use serde::{Deserialize, Serialize};

use crate::{Selector, code, problem::nearest, read::Table};

/// A wave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wave {
    /// So many of a hundred nodes, 1 to 100, by their place in line.
    Percent(u8),
    /// The nodes that a selector matches.
    Nodes(Selector),
}

/// What a rollout is judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Figure {
    /// Attempts that failed.
    Failed,
    /// Their share of the attempts that ended.
    FailedRatio,
    /// The share of nodes that run the release and are not heard from any more.
    OfflineRatio,
}

impl Figure {
    const ALL: [(&'static str, Self); 3] = [
        ("failed", Self::Failed),
        ("failed_ratio", Self::FailedRatio),
        ("offline_ratio", Self::OfflineRatio),
    ];
}

/// A rule that stops a rollout: `FIGURE > NUMBER`, or `>=`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StopRule {
    /// What is judged.
    pub figure: Figure,
    /// Whether the limit itself is too much.
    pub or_equal: bool,
    /// The limit.
    pub limit: f64,
}

impl StopRule {
    /// Whether a value of its figure is too much.
    pub fn holds(&self, value: f64) -> bool {
        value > self.limit || (self.or_equal && value >= self.limit)
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
        let (name, rest) = text.split_once('>').ok_or_else(|| format!("`{text}`: {EXPECTED}"))?;
        let (or_equal, number) = match rest.strip_prefix('=') {
            Some(number) => (true, number),
            None => (false, rest),
        };
        let name = name.trim();
        let figure = Figure::ALL.iter().find(|(word, _)| *word == name).map(|(_, figure)| *figure);
        let figure = figure.ok_or_else(|| {
            let known: Vec<_> = Figure::ALL.iter().map(|(word, _)| *word).collect();
            let hint = nearest(name, known.iter().copied()).map(|word| format!("; did you mean `{word}`?"));
            format!(
                "`{name}` is not a figure: expected one of {}{}",
                known.join(", "),
                hint.unwrap_or_default()
            )
        })?;
        let limit: f64 =
            number.trim().parse().map_err(|_| format!("`{}` is not a number: {EXPECTED}", number.trim()))?;
        let most = if figure == Figure::Failed { f64::from(u32::MAX) } else { 1.0 };
        if !(0.0..=most).contains(&limit) {
            return Err(format!("`{text}`: expected a limit from 0 to {most}"));
        }
        Ok(Self { figure, or_equal, limit })
    }
}

impl fmt::Display for StopRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Figure::ALL.iter().find(|(_, figure)| *figure == self.figure).map_or("", |(name, _)| name);
        write!(f, "{name} {} {}", if self.or_equal { ">=" } else { ">" }, self.limit)
    }
}

/// `waves`, `soak`, `min_sample`, `on_stop` and `[[rollout.stop]]`.
pub(crate) fn read_strategy(table: &mut Table<'_, '_>) -> RolloutStrategy {
    let rest = RolloutStrategy::default();
    let waves = read_waves(table);
    let soak = table.duration("soak");
    if soak.is_some() && waves.len() < 2 {
        let message = "there is nothing to wait for: `waves` has fewer than two";
        table.wrong::<()>("soak", code::WRONG_VALUE, message);
    }
    let min_sample = table.number("min_sample", 1..=100_000);
    let on_stop = table.choice("on_stop", &[("keep", OnStop::Keep), ("return", OnStop::Return)]);
    let mut stop = Vec::new();
    for mut rule in table.tables("stop") {
        let when = rule.required_parsed::<StopRule>(
            "when",
            code::WRONG_VALUE,
            "what stops it, such as \"failed_ratio > 0.05\"",
        );
        rule.finish();
        stop.extend(when.map(|rule| rule.to_string()));
    }
    RolloutStrategy {
        waves: waves.iter().map(ToString::to_string).collect(),
        soak_seconds: soak.unwrap_or_default().as_secs(),
        min_sample: min_sample.unwrap_or(rest.min_sample),
        stop: if stop.is_empty() { rest.stop } else { stop },
        on_stop: on_stop.unwrap_or(rest.on_stop),
    }
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

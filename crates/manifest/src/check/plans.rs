//! What of `fleet.toml` contradicts itself or the clock.

use std::{collections::BTreeMap, time::Duration};

use backstay_types::{Timestamp, tree::in_folder};

use super::FILE;
use crate::{Fleet, FleetManifest, Part, Problem, Stack, Wave, Window, code, format_duration};

/// Pins and freezes that are over, windows in which nothing comes to its end, and waves that stand twice.
pub(super) fn contradictions(fleet: &Fleet, now: Timestamp) -> Vec<Problem> {
    let manifest = &fleet.manifest;
    let mut problems = run_out(manifest, now);
    problems.extend(channels_beside_environments(fleet));
    for window in &manifest.windows {
        problems.extend(does_not_fit(fleet, window, now));
    }
    for (waves, line, field) in super::ways(manifest) {
        let selectors: Vec<_> =
            waves.iter().filter(|wave| matches!(wave.parse(), Ok(Wave::Nodes(_)))).collect();
        for (at, wave) in selectors.iter().enumerate().filter(|(at, wave)| selectors[..*at].contains(wave)) {
            let first = selectors[..at].iter().position(|one| one == wave).map_or(0, |first| first + 1);
            let message =
                format!("the wave `{wave}` stands twice and is passed: its nodes are in wave {first}");
            let problem = Problem::warning(code::SELECTOR_MATCHES_NOTHING, FILE, message);
            problems.push(problem.at(line, 0).field(field).hint("take one of them out"));
        }
    }
    problems
}

/// Channels of parts in a fleet with environments, through which a stack goes as a whole.
fn channels_beside_environments(fleet: &Fleet) -> Vec<Problem> {
    if fleet.manifest.environments.is_empty() {
        return Vec::new();
    }
    let of_stack = |stack: &Stack| {
        let file = in_folder(&stack.path, "stack.toml");
        let of_part = |part: &Part| {
            let (channel, name) = (part.channel.as_deref()?, &part.name);
            let message = format!(
                "the channel `{channel}` of the part `{name}` counts for nothing: the fleet has environments, and a stack \
                 goes through them as a whole"
            );
            let problem = Problem::warning(code::CHANNEL_OF_NO_USE, &file, message);
            let hint = "take `channel` out, or use waves by labels in the place of environments";
            Some(problem.at(part.line, 0).field("part.channel").hint(hint))
        };
        stack.manifest.parts.0.iter().filter_map(of_part).collect::<Vec<_>>()
    };
    fleet.stacks.values().flat_map(of_stack).collect()
}

fn run_out(manifest: &FleetManifest, now: Timestamp) -> Vec<Problem> {
    let pins = manifest.pins.iter().map(|pin| (pin.until, pin.line, "pin"));
    let freezes = manifest.freezes.iter().map(|freeze| (freeze.until, freeze.line, "freeze"));
    let mut problems = Vec::new();
    for (until, line, what) in pins.chain(freezes) {
        if let Some(until) = until.filter(|until| *until <= now) {
            let problem = Problem::warning(code::RUN_OUT, FILE, format!("this {what} ran out at {until}"));
            problems.push(problem.at(line, 0).field(format!("{what}.until")).hint("take it out"));
        }
    }
    problems
}

/// A window that never opens, or in which no two waves of what it is for have room.
fn does_not_fit(fleet: &Fleet, window: &Window, now: Timestamp) -> Vec<Problem> {
    let problem = |message: String, hint| {
        let problem = Problem::warning(code::WINDOW_DOES_NOT_FIT, FILE, message);
        problem.at(window.line, 0).field("window").hint(hint)
    };
    if !window.is_open(now) && window.changes_at(now).is_none() {
        let message = "this window does not open within five years: dates of blackout cover every opening";
        return vec![problem(message.to_owned(), "take out dates of `blackout`")];
    }
    let mut problems = Vec::new();
    let stacks = fleet.stacks.values().filter(|stack| window.is_for(&stack.name));
    let soaks: BTreeMap<_, _> = stacks.flat_map(|stack| soaks(fleet, stack)).collect();
    for (channel, soak) in soaks.into_iter().filter(|(_, soak)| *soak > window.lasts) {
        let of = channel.map(|channel| format!(" of channel `{channel}`")).unwrap_or_default();
        let message = format!(
            "it is open for {}, and a wave{of} is watched for {}: each wave waits for a window of its own",
            format_duration(window.lasts),
            format_duration(soak)
        );
        problems.push(problem(message, "a shorter `soak`, or a longer window"));
    }
    problems
}

/// How long the waves of a stack and of its parts are watched, by the channel that says so; `[rollout]` does without one.
fn soaks<'a>(fleet: &'a Fleet, stack: &'a Stack) -> Vec<(Option<&'a str>, Duration)> {
    let manifest = &fleet.manifest;
    let own = manifest.channel_of(&stack.name);
    // Through environments a stack goes as one.
    let parts = stack.manifest.parts.iter().filter(|_| manifest.environments.is_empty());
    let of_parts = parts.filter_map(|part| manifest.channel(part.channel.as_deref()?));
    let mut found: Vec<_> = own
        .into_iter()
        .chain(of_parts)
        .map(|channel| (Some(channel.name.as_str()), channel.strategy.soak_seconds))
        .collect();
    if own.is_none() {
        found.push((None, manifest.rollout.strategy.soak_seconds));
    }
    found.into_iter().map(|(channel, seconds)| (channel, Duration::from_secs(seconds))).collect()
}

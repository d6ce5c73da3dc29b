//! What the failures of a rollout have in common.

use backstay_types::{Blame, FailurePattern, Feature, Sureness};

use super::event;
use crate::ids;

/// A pattern as lines, indented.
pub(crate) fn view_pattern(pattern: &FailurePattern) -> String {
    let mut lines = vec![format!(
        "{} failed, {} succeeded{}",
        pattern.failed,
        pattern.succeeded,
        if pattern.open > 0 { format!(", {} are still at it", pattern.open) } else { String::new() }
    )];
    for group in &pattern.errors {
        let more = group.nodes.saturating_sub(group.names.len() as u64);
        let mut names: Vec<_> = group.names.iter().map(ToString::to_string).collect();
        if more > 0 {
            names.push(format!("{more} more"));
        }
        lines.push(format!("{} the same way: {} ({})", group.nodes, group.reason, names.join(", ")));
        if group.example != group.reason {
            lines.push(format!("  such as: {}", group.example));
        }
    }
    lines.extend(pattern.apart.iter().map(view_feature));
    if pattern.apart.is_empty() && pattern.failed > 1 {
        let why = match pattern.succeeded {
            0 => "every attempt that ended failed",
            _ => "no fact of a node stands out",
        };
        lines.push(format!("nothing sets them apart: {why}"));
    }
    lines.extend(pattern.blamed.iter().map(view_blame));
    if !pattern.unlinked.is_empty() {
        let commits: Vec<_> = pattern.unlinked.iter().map(|commit| commit.short()).collect();
        lines.push(format!("it brought {} too, of which no conversation is known", commits.join(", ")));
    }
    lines.into_iter().map(|line| format!("  {line}\n")).collect()
}

fn view_feature(feature: &Feature) -> String {
    let Feature { what, value, failed, of_failed, succeeded, of_succeeded, lift, chance } = feature;
    format!(
        "{what} {value}: {failed} of {of_failed} that failed, {succeeded} of {of_succeeded} that did not \
         ({lift:.1} times likelier; {:.1} % by chance)",
        chance * 100.0
    )
}

fn view_blame(blame: &Blame) -> String {
    let sure = match blame.sure {
        Sureness::Only => "it brought its commits and nothing else",
        Sureness::OneOf => "one of several that it may be",
    };
    let commits: Vec<_> = blame.commits.iter().map(|commit| commit.short()).collect();
    let (id, how) = (ids::short(blame.conversation), event::link(blame.source));
    format!("conversation {id}: {sure} ({}, {how})", commits.join(", "))
}

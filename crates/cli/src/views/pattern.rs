//! What the failures of a rollout have in common.

use backstay_types::{Blame, FailurePattern, Feature, SameElsewhere, Sureness};

use super::event;
use crate::{ids, ui::count};

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
        lines.extend(group.elsewhere.iter().map(view_elsewhere));
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

fn view_elsewhere(one: &SameElsewhere) -> String {
    let nodes = count(usize::try_from(one.nodes).unwrap_or(usize::MAX), "node");
    let names: Vec<_> = one.names.iter().map(ToString::to_string).collect();
    let more = if one.nodes > one.names.len() as u64 { ", …" } else { "" };
    format!("  stack {} failed in that way too, on {nodes} ({}{more})", one.stack, names.join(", "))
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

#[cfg(test)]
mod tests {
    use backstay_types::{ErrorGroup, FailureKind, Step, Timestamp};

    use super::*;

    #[test]
    fn what_sets_the_failed_apart_and_where_else_it_failed_is_a_line_each() {
        let names = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect();
        let pattern = FailurePattern {
            at: Timestamp::UNIX_EPOCH,
            failed: 3,
            succeeded: 8,
            open: 0,
            errors: vec![ErrorGroup {
                step: Step::Probe,
                failure: FailureKind::Unhealthy,
                reason: "port N is closed".to_owned(),
                example: "port 8080 is closed".to_owned(),
                nodes: 3,
                names: names(&["n1", "n2", "n3"]),
                soonest_seconds: 1,
                latest_seconds: 2,
                elsewhere: vec![
                    SameElsewhere { stack: "db".parse().unwrap(), nodes: 7, names: names(&["n1", "n7"]) },
                    SameElsewhere { stack: "mail".parse().unwrap(), nodes: 1, names: names(&["n9"]) },
                ],
            }],
            apart: vec![Feature {
                what: "also runs stack".to_owned(),
                value: "proxy".to_owned(),
                failed: 3,
                of_failed: 3,
                succeeded: 0,
                of_succeeded: 8,
                lift: 3.67,
                chance: 0.006,
            }],
            blamed: Vec::new(),
            unlinked: Vec::new(),
        };
        let expected = "  3 failed, 8 succeeded\n\
            \x20 3 the same way: port N is closed (n1, n2, n3)\n\
            \x20   such as: port 8080 is closed\n\
            \x20   stack db failed in that way too, on 7 nodes (n1, n7, …)\n\
            \x20   stack mail failed in that way too, on 1 node (n9)\n\
            \x20 also runs stack proxy: 3 of 3 that failed, 0 of 8 that did not (3.7 times likelier; 0.6 % by chance)\n";
        assert_eq!(view_pattern(&pattern), expected);
    }
}

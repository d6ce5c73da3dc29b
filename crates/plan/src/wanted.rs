//! What a node should come to run of a stack, leaving aside when.

use std::str::FromStr as _;

use backstay_manifest::Selector;
use backstay_types::{Constraint, Effect, ReleaseId, Scope, Timestamp};

use crate::{
    constraint::in_force,
    snapshot::{NodeFacts, Past, StackFacts},
};

/// What a node should come to run of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// This release.
    Release {
        /// The release.
        release: ReleaseId,
        /// Whether a pin says so.
        pinned: bool,
        /// Why.
        reason: String,
    },
    /// Nothing: what it runs is taken away, and its data stays.
    Gone {
        /// Why.
        reason: String,
    },
    /// Whatever it runs now, or nothing if it never ran it.
    Keep {
        /// Why.
        reason: String,
    },
}

/// What `node` should come to run of `stack`. A pin goes before everything; of several, the newest.
/// A stack that is not assigned is taken away where that is allowed in so many words. Otherwise it is left as it is,
/// as is one whose release may not be planned.
pub fn wanted(
    stack: &StackFacts,
    node: &NodeFacts,
    past: &Past,
    constraints: &[Constraint],
    now: Timestamp,
) -> Wanted {
    let pin = constraints
        .iter()
        .filter(|c| in_force(c, now) && concerns(&c.scope, node))
        .filter_map(|c| match &c.effect {
            Effect::Pin { stack: pinned, release } if *pinned == stack.name => Some((c, *release)),
            _ => None,
        })
        .max_by_key(|(c, _)| (c.created_at, c.id));
    if let Some((constraint, release)) = pin {
        let reason = format!("pinned by {}: {}", constraint.by, constraint.reason);
        return Wanted::Release { release, pinned: true, reason };
    }
    if !stack.assignments.iter().any(|a| a.nodes.matches(&node.name, &node.labels)) {
        let reason = match &stack.release {
            Err(reason) if stack.assignments.is_empty() => format!("the stack is {reason}"),
            _ => "no assignment selects this node".to_owned(),
        };
        return if stack.prune.is_some() { Wanted::Gone { reason } } else { Wanted::Keep { reason } };
    }
    match &stack.release {
        Ok(release) => Wanted::Release {
            release: *release,
            pinned: false,
            reason: "the deployed branch asks for it".to_owned(),
        },
        Err(reason) => match stack.go_back {
            Some(back) if past.is_at(back.from) => Wanted::Release {
                release: back.to,
                pinned: false,
                reason: format!("the branch's release is {reason}"),
            },
            _ => Wanted::Keep { reason: format!("the branch's release is {reason}") },
        },
    }
}

/// A selector that cannot be read selects nobody: what cannot be understood changes nothing.
fn concerns(scope: &Scope, node: &NodeFacts) -> bool {
    match scope {
        Scope::Fleet => true,
        Scope::Nodes { selector } => {
            Selector::from_str(selector).is_ok_and(|s| s.matches(&node.name, &node.labels))
        }
    }
}

//! What a node should come to run of a stack, leaving aside when.

use backstay_types::ReleaseId;

use crate::{
    policy::Policy,
    snapshot::{NodeFacts, Past, Reason, StackFacts},
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
        reason: Reason,
    },
    /// Nothing: what it runs is taken away, and its data stays.
    Gone {
        /// Why.
        reason: Reason,
    },
    /// Whatever it runs now, or nothing if it never ran it.
    Keep {
        /// Why.
        reason: Reason,
    },
}

/// What `node` should come to run of `stack`: nothing where it is taken out of the fleet, or the stack was moved away. A node that is to be left alone keeps what it runs; then a pin goes before
/// everything, and a branch that it follows before the deployed one. A stack that is not assigned is taken away where that is allowed in so many words. Otherwise it is left
/// as it is, as is one whose release may not be planned.
pub fn wanted(stack: &StackFacts, node: &NodeFacts, past: &Past, policy: &Policy) -> Wanted {
    if let (None, Some(rest)) = (&node.leaving, policy.rest(node)) {
        return Wanted::Keep { reason: rest.reason.clone() };
    }
    asked(stack, node, past, policy)
}

/// The same for a node that is not to be left alone.
pub(crate) fn asked(stack: &StackFacts, node: &NodeFacts, past: &Past, policy: &Policy) -> Wanted {
    if let Some(leaving) = &node.leaving {
        return Wanted::Gone { reason: leaving.reason.clone() };
    }
    if let Some(moved) = node.moved_away(&stack.name) {
        return Wanted::Gone { reason: moved.reason.clone() };
    }
    let first = node.moved(&stack.name).filter(|_| past.settled.is_none() && stack.share.part().is_none());
    if let Some((release, moved)) = first.and_then(|moved| Some((moved.here?, moved))) {
        return Wanted::Release { release, pinned: false, reason: moved.reason.clone() };
    }
    let assigned = policy.is_assigned(node);
    if let Some((release, reason)) = policy.pin(node, assigned) {
        return Wanted::Release { release, pinned: true, reason: reason.clone() };
    }
    let follow = node.follow(&stack.name);
    if !assigned {
        let reason = follow.map_or(&policy.unassigned, |follow| &follow.reason).clone();
        // Who waits for what is held on its own branch is not rid of the stack meanwhile.
        let gone = stack.prune.is_some() && follow.is_none();
        return if gone { Wanted::Gone { reason } } else { Wanted::Keep { reason } };
    }
    let followed = follow.filter(|_| stack.release.is_ok());
    let reason = followed.map_or(&policy.branch, |follow| &follow.reason).clone();
    match &stack.release {
        Ok(release) => Wanted::Release { release: *release, pinned: false, reason },
        Err(_) => match stack.go_back {
            Some(back) if past.is_at(back.from) => {
                Wanted::Release { release: back.to, pinned: false, reason }
            }
            _ => Wanted::Keep { reason },
        },
    }
}

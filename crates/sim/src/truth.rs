//! What is really so, seen from outside: what trees contain, what nodes did, what was promised. The invariants are
//! judged by this and never by what the hub or an agent believes.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use backstay_types::{
    CommitId, ConversationId, DeploymentId, DeploymentState, Digest, NodeId, RolloutId, StackName,
    TreeDigest, UndoId,
};

use crate::{content::Content, program::Make};

/// What is really so.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// What trees contain.
    pub(crate) contents: HashMap<TreeDigest, Content>,
    /// Trees as they travel.
    pub(crate) packs: HashMap<TreeDigest, Vec<u8>>,
    /// What became of attempts, as the nodes did it.
    pub(crate) attempts: HashMap<DeploymentId, Attempt>,
    /// What was pushed, by the number of its push from 1.
    pub(crate) pushes: BTreeMap<usize, Push>,
    /// Ends of deployments that the hub acknowledged.
    pub(crate) acknowledged: BTreeMap<DeploymentId, DeploymentState>,
    /// Undos that the hub said yes to.
    pub(crate) undos: Vec<UndoId>,
    /// Stacks for which nodes went into safe mode, that the hub has not been seen to know of yet.
    pub(crate) safe_modes: Vec<SafeModeEntry>,
    /// What agents' programs do.
    pub(crate) programs: HashMap<Digest, Make>,
    /// How attempts ended on nodes, in order of time.
    pub(crate) ends: Vec<End>,
    /// Stacks that were gone from the branch, as somebody meant it.
    pub(crate) removable: HashSet<StackName>,
}

/// A stack for which a node went into safe mode.
#[derive(Debug, Clone)]
pub(crate) struct SafeModeEntry {
    pub(crate) node: NodeId,
    pub(crate) stack: StackName,
    pub(crate) reason: String,
}

/// How an attempt ended, as its node has it durably.
#[derive(Debug, Clone)]
pub(crate) struct End {
    pub(crate) deployment: DeploymentId,
    pub(crate) at: Duration,
    pub(crate) node: NodeId,
    pub(crate) stack: StackName,
    pub(crate) tree: TreeDigest,
    pub(crate) state: DeploymentState,
}

/// A change that was pushed.
#[derive(Debug, Clone)]
pub(crate) struct Push {
    pub(crate) commit: CommitId,
    pub(crate) conversation: ConversationId,
    pub(crate) stack: StackName,
    /// Whether it is held or undone: nothing new may bring it.
    pub(crate) forbidden: bool,
}

/// An attempt, as the node made it.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) node: NodeId,
    pub(crate) rollout: RolloutId,
    pub(crate) tree: TreeDigest,
    pub(crate) started: u32,
    pub(crate) activated: u32,
    pub(crate) ended: Option<DeploymentState>,
}

impl Truth {
    /// What a tree contains; one that nobody has seen contains nothing bad.
    pub(crate) fn content(&self, tree: TreeDigest) -> Content {
        self.contents.get(&tree).cloned().unwrap_or_else(|| Content::of(&[]))
    }

    /// A tree in words.
    pub(crate) fn describe(&self, tree: TreeDigest) -> String {
        self.contents.get(&tree).map_or_else(|| tree.short(), |content| format!("[{}]", content.describe()))
    }

    /// The first change in a tree that may not come back, if there is one.
    pub(crate) fn forbidden_in(&self, stack: &StackName, tree: TreeDigest) -> Option<usize> {
        let content = self.contents.get(&tree)?;
        let forbidden = |(number, push): &(&usize, &Push)| {
            push.forbidden && push.stack == *stack && content.contains(**number)
        };
        self.pushes.iter().find(forbidden).map(|(number, _)| *number)
    }
}

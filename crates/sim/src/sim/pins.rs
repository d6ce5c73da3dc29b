//! Pins: who is pinned runs what the pin says while it is in force and nothing else, and follows the branch again after it.

use std::{io, time::Duration};

use backstay_store::releases;
use backstay_types::{Constraint, ConstraintId, Deployment, Effect, StackName, Timestamp, TreeDigest};

use super::{Sim, limits::OPERATOR};
use crate::{
    hub::Parts,
    invariant::{Invariant, Planted},
};

/// A pin that the hub has said yes to.
#[derive(Debug, Clone)]
pub(super) struct Pin {
    pub(super) id: ConstraintId,
    stack: StackName,
    /// For all nodes; else for the first.
    everyone: bool,
    tree: TreeDigest,
    /// When it ends by itself, by the hub's clock.
    until: Option<Timestamp>,
    /// When it was set.
    since: Duration,
}

impl Pin {
    fn concerns(&self, index: usize, stack: &StackName, now: Timestamp) -> bool {
        let in_force = self.until.is_none_or(|until| now < until);
        in_force && self.stack == *stack && (self.everyone || index == 0)
    }
}

impl Sim {
    /// A pin was set.
    pub(super) fn pinned(&mut self, constraint: &Constraint, everyone: bool) -> io::Result<()> {
        let Effect::Pin { stack, release } = &constraint.effect else { return Ok(()) };
        let (now, release) = (self.hub_clock(), *release);
        let read = self
            .hub
            .call(now, async |parts: Parts| Ok(releases::get(&mut parts.store.read(), release).await?));
        let Some(Some(release)) = self.answered(read)? else { return Ok(()) };
        self.learn_tree(release.tree)?;
        let content = self.cx.truth.describe(release.tree);
        self.cx.say(OPERATOR, format_args!("pins {stack} to {content}"));
        if self.cx.has(Planted::IgnoresPins) {
            let (id, by) = (constraint.id, "planted");
            let lifted = self.hub.call(now, async |parts: Parts| parts.engine.lift(id, by, by).await);
            self.answered(lifted)?;
        }
        self.pins.retain(|known| known.id != constraint.id);
        self.pins.push(Pin {
            id: constraint.id,
            stack: stack.clone(),
            everyone,
            tree: release.tree,
            until: constraint.until,
            since: self.cx.now,
        });
        Ok(())
    }

    /// The newest pin of a node that is in force.
    fn pin_of(&self, index: usize, stack: &StackName, now: Timestamp) -> Option<&Pin> {
        self.pins.iter().rev().find(|pin| pin.concerns(index, stack, now))
    }

    /// A deployment was planned: of a node that is pinned only to what the pin says.
    pub(super) fn judge_pins(&mut self, deployment: &Deployment, tree: TreeDigest) {
        let Some(index) = self.index_of(deployment.node) else { return };
        let Some(pin) = self.pin_of(index, &deployment.stack, deployment.created_at) else { return };
        let rollout = self.rollouts.get(&deployment.rollout);
        if pin.tree == tree || rollout.is_some_and(|rollout| self.same_for(rollout, pin.tree, tree)) {
            return;
        }
        let to = self.cx.truth.describe(pin.tree);
        let (name, node) = (self.cx.trace.name(deployment.id), self.nodes[index].who());
        self.cx.violated(Invariant::Pinned, format!("{name} is planned for {node}, which is pinned to {to}"));
    }

    /// What nodes are pinned to, as far as they have not shown that it fails there: node, stack and tree.
    pub(super) fn pinned_nodes(&self) -> Vec<(usize, StackName, TreeDigest)> {
        let now = self.hub_clock();
        let mut found = Vec::new();
        for (index, stack) in (0..self.nodes.len()).flat_map(|n| self.stacks.iter().map(move |s| (n, s))) {
            if let Some(pin) = self.pin_of(index, stack, now) {
                found.push((index, stack.clone(), pin.tree));
            }
        }
        found
    }

    /// A pinned node that does not run what the pin says, once all has come to rest.
    pub(super) fn unpinned(&self) -> Option<String> {
        let now = self.hub_clock();
        self.pinned_nodes().into_iter().find_map(|(index, stack, tree)| {
            let node = &self.nodes[index];
            let since = self.pin_of(index, &stack, now)?.since;
            let (content, id) = (self.cx.truth.content(tree), node.id);
            let failed = |end: &&crate::truth::End| {
                let tried = (end.node, &end.stack, end.tree) == (id, &stack, tree);
                tried && end.at >= since && end.state.is_failure()
            };
            if !content.does_well(node.odd)
                || self.cx.truth.ends.iter().any(|end| failed(&end))
                || node.runtime.runs.get(&stack) == Some(&tree)
            {
                return None;
            }
            let runs = node.runtime.runs.get(&stack).map(|tree| self.cx.truth.describe(*tree));
            let runs = runs.unwrap_or_else(|| "nothing".to_owned());
            Some(format!("{} runs {runs} of {stack} and is pinned to {}", node.name, content.describe()))
        })
    }

    /// Once all rests: lets go of pins that are still in force. Whether there were any, so that it has to rest anew.
    pub(super) fn let_go_of_pins(&mut self) -> io::Result<bool> {
        if self.pinned_nodes().is_empty() {
            return Ok(false);
        }
        self.cx.say("-", format_args!("at rest with pins"));
        self.lift_limits(false)?;
        Ok(true)
    }
}

//! Stacks that are divided into parts: that what moves one leaves the others as they are, and that one which needs another
//! waits for it.

use std::io;

use backstay_store::{releases, stacks};
use backstay_types::{
    Deployment, DeploymentState, NodeId, ReleaseStanding, Rollout, RolloutKind, RolloutState, StackName,
    TreeDigest,
};

use super::Sim;
use crate::{
    content::{Content, DIVISION, NEEDED, NEEDS},
    hub::Parts,
    invariant::{Invariant, Planted},
    truth::Attempt,
};

impl Sim {
    /// What the branch asks for, as the hub has fetched it, and what rollouts of parts bring.
    pub(super) fn look_at_parts(&mut self, rollouts: &[Rollout]) -> io::Result<()> {
        if !self.scenario.divided {
            return Ok(());
        }
        let new = rollouts.iter().filter(|rollout| !self.part_trees.contains_key(&rollout.id));
        let new: Vec<_> = new.map(|rollout| (rollout.id, rollout.release)).collect();
        let now = self.hub_clock();
        let read = self.hub.call(now, async |parts: Parts| {
            let mut read = parts.store.read();
            let stacks = stacks::list(&mut read).await?;
            let tips = stacks.into_iter().filter(|stack| stack.present);
            let tips: Vec<_> = tips.filter_map(|stack| Some((stack.name, stack.release?))).collect();
            let ids: Vec<_> = new.iter().map(|(_, id)| *id).chain(tips.iter().map(|(_, id)| *id)).collect();
            Ok((tips, releases::many(&mut read, &ids).await?))
        });
        let Some((tips, found)) = self.answered(read)? else { return Ok(()) };
        let tree = |id| found.iter().find(|release| release.id == id).map(|release| release.tree);
        self.part_trees.extend(new.iter().filter_map(|(rollout, release)| Some((*rollout, tree(*release)?))));
        self.tips = tips.into_iter().filter_map(|(stack, id)| Some((stack, tree(id)?))).collect();
        for tip in self.tips.values().copied().collect::<Vec<_>>() {
            self.learn_tree(tip)?;
        }
        Ok(())
    }

    /// What a node runs of a stack: as its journal has it, and as the hub has heard of it.
    fn runs_of(&self, id: NodeId, stack: &StackName) -> Vec<Content> {
        let index = self.index_of(id);
        let record = index.and_then(|index| self.nodes[index].disk.files().journal.stacks.get(stack));
        let committed = record.and_then(|record| record.committed.as_ref()).map(|committed| committed.tree);
        let heard = self.cx.truth.ends.iter().rev().find(|end| {
            let succeeded = end.state == DeploymentState::Succeeded;
            let known = self.cx.truth.acknowledged.contains_key(&end.deployment);
            succeeded && known && end.node == id && end.stack == *stack
        });
        let trees = committed.into_iter().chain(heard.map(|end| end.tree));
        trees.map(|tree| self.cx.truth.content(tree)).collect()
    }

    /// A deployment of a part was planned: nothing but that part may differ from what runs, and what it needs must be there.
    pub(super) fn judge_part(&mut self, deployment: &Deployment, tree: TreeDigest) {
        let Some(rollout) = self.rollouts.get(&deployment.rollout).cloned() else { return };
        let Some(part) = rollout.part.as_ref().map(|part| part.as_str()) else { return };
        let runs = self.runs_of(deployment.node, &deployment.stack);
        let forgetful = self.index_of(deployment.node).is_none_or(|index| self.nodes[index].forgetful);
        if runs.is_empty() || forgetful {
            return;
        }
        let new = self.cx.truth.content(tree);
        let others = || DIVISION.iter().map(|(name, _)| *name).filter(|name| *name != part);
        let alone = |old: &Content| others().all(|other| old.part(other) == new.part(other));
        let tip = self.tips.get(&deployment.stack).map(|tip| self.cx.truth.content(*tip));
        let lacks = |tip: &Content| {
            let forward = rollout.kind == RolloutKind::Update && new.part(NEEDS) == tip.part(NEEDS);
            part == NEEDS && forward && !runs.iter().any(|old| old.part(NEEDED) == tip.part(NEEDED))
        };
        let why = if !runs.iter().any(alone) {
            format!("changes others with {part}")
        } else if tip.is_some_and(|tip| lacks(&tip)) && !self.ways_back.contains(&deployment.id) {
            format!("comes before {NEEDED}, which it needs")
        } else {
            return;
        };
        let (name, node) = (self.cx.trace.name(deployment.id), self.index_of(deployment.node));
        let node = node.map_or_else(String::new, |index| self.nodes[index].who());
        self.cx.violated(Invariant::Apart, format!("{name} for {node} {why}: {}", new.describe()));
    }

    /// The first change in what a deployment brings that may not come back; what the node runs it does not bring.
    pub(super) fn brings_back(&self, deployment: &Deployment, tree: TreeDigest) -> Option<usize> {
        let push = self.cx.truth.forbidden_in(&deployment.stack, tree)?;
        if !self.scenario.divided {
            return Some(push);
        }
        let runs = self.runs_of(deployment.node, &deployment.stack);
        let content = self.cx.truth.content(tree);
        let pushes = self.cx.truth.pushes.iter();
        let forbidden = pushes.filter(|(_, push)| push.forbidden && push.stack == deployment.stack);
        let mut numbers = forbidden.map(|(number, _)| *number).filter(|number| content.contains(*number));
        numbers.find(|number| !runs.iter().any(|old| old.contains(*number)))
    }

    /// Whether what is forbidden in a tree is in the part that a deployment moves; where the stack moves as one it always is.
    pub(super) fn concerns_part(&self, deployment: &Deployment, tree: TreeDigest) -> bool {
        let part = self.rollouts.get(&deployment.rollout).and_then(|rollout| rollout.part.as_ref());
        let Some(part) = part else { return true };
        let content = self.cx.truth.content(tree);
        let forbidden = |push: usize| {
            let push = self.cx.truth.pushes.get(&push);
            push.is_some_and(|push| push.forbidden && push.stack == deployment.stack)
        };
        content.part(part.as_str()).iter().any(|one| forbidden(one.push))
    }

    /// Whether two trees are the same, as far as a rollout goes.
    pub(super) fn same_for(&self, rollout: &Rollout, one: TreeDigest, other: TreeDigest) -> bool {
        match &rollout.part {
            None => one == other,
            Some(part) => {
                let (one, other) = (self.cx.truth.content(one), self.cx.truth.content(other));
                one.part(part.as_str()) == other.part(part.as_str())
            }
        }
    }

    /// Whether all parts that a rollout of a whole divided stack brings have come to the end of one.
    pub(super) fn all_parts_finished(&self, rollout: &Rollout, tree: TreeDigest) -> bool {
        let finished = |part: &str| {
            let new = self.cx.truth.content(tree);
            self.cx.truth.attempts.values().any(|attempt| {
                let other = self.rollouts.get(&attempt.rollout);
                let other = other.filter(|other| other.id != rollout.id && other.stack == rollout.stack);
                let its =
                    other.is_some_and(|other| other.part.as_ref().is_none_or(|own| own.as_str() == part));
                its && other.is_some_and(|other| other.state == RolloutState::Succeeded)
                    && self.cx.truth.content(attempt.tree).part(part) == new.part(part)
            })
        };
        self.scenario.divided && DIVISION.iter().all(|(part, _)| finished(part))
    }

    /// Whether a rollout waits because what its part needs has failed on some node, or may not be planned: that may last.
    pub(super) fn waits_for_another(&self, rollout: &Rollout) -> bool {
        let needs = rollout.part.as_ref().is_some_and(|part| part.as_str() == NEEDS);
        let Some(tip) = self.tips.get(&rollout.stack).filter(|_| needs) else { return false };
        let tip = self.cx.truth.content(*tip);
        let lacks = |node: &crate::node::Node| {
            let runs = node.runtime.runs.get(&rollout.stack).map(|tree| self.cx.truth.content(*tree));
            runs.is_none_or(|runs| runs.part(NEEDED) != tip.part(NEEDED))
        };
        self.nodes.iter().any(lacks)
    }

    /// At rest: a node that does not run a part as the branch has it, though it is good, may be planned, and has what it needs.
    pub(super) fn unwanted_parts(&mut self) -> io::Result<Option<String>> {
        if !self.scenario.divided {
            return Ok(None);
        }
        let pinned = self.pinned_nodes();
        for (stack, tip) in self.tips.clone() {
            let (now, name) = (self.hub_clock(), stack.clone());
            let read = self.hub.call(now, async |parts: Parts| {
                let mut may = Vec::new();
                for part in parts.engine.stack_parts(&name).await? {
                    if parts.engine.standing(&part.release).await? == ReleaseStanding::Eligible {
                        may.push(part.name.to_string());
                    }
                }
                Ok(may)
            });
            let Some(may) = self.answered(read)? else { return Ok(None) };
            let tip = self.cx.truth.content(tip);
            for node in &self.nodes {
                if pinned.iter().any(|(index, of, _)| *index == node.index && *of == stack) {
                    continue;
                }
                let Some(runs) = node.runtime.runs.get(&stack).map(|tree| self.cx.truth.content(*tree))
                else {
                    continue;
                };
                let lacking = DIVISION.iter().map(|(name, _)| *name).find(|part| {
                    let good = self.nodes.iter().all(|node| tip.part_does_well(part, node.odd));
                    let has = *part != NEEDS || runs.part(NEEDED) == tip.part(NEEDED);
                    let may = may.iter().any(|name| name == part);
                    may && good && has && runs.part(part) != tip.part(part)
                });
                if let Some(part) = lacking {
                    let (runs, tip) = (runs.describe(), tip.describe());
                    return Ok(Some(format!(
                        "{} runs {runs} of {stack}, and {part} is not as in {tip}",
                        node.name
                    )));
                }
            }
        }
        Ok(None)
    }

    /// Whether an attempt under a rollout of a part did well, or some node runs what it brings.
    pub(super) fn part_did_well(&self, rollout: &Rollout) -> bool {
        let own: Vec<&Attempt> =
            self.cx.truth.attempts.values().filter(|attempt| attempt.rollout == rollout.id).collect();
        let Some(tree) = own.first().map(|attempt| attempt.tree) else { return true };
        let committed = |node: &crate::node::Node| {
            let record = node.disk.files().journal.stacks.get(&rollout.stack);
            record.and_then(|record| record.committed.as_ref()).map(|committed| committed.tree)
        };
        let runs =
            |node: &crate::node::Node| committed(node).is_some_and(|own| self.same_for(rollout, own, tree));
        own.iter().any(|attempt| attempt.ended == Some(DeploymentState::Succeeded))
            || self.nodes.iter().any(runs)
    }

    /// For bugs that are planted: parts are not kept apart, or their needs not known.
    pub(super) fn plant_parts(&mut self) -> io::Result<()> {
        if self.cx.has(Planted::MixesParts) {
            let tip = "(SELECT release_id FROM stacks WHERE name = deployments.stack)";
            self.edit(&format!("UPDATE deployments SET release_id = {tip} WHERE state = 'pending'"))?;
        }
        if self.cx.has(Planted::ForgetsNeeds) {
            let none = "'$.parts[0].requires', json('[]'), '$.parts[1].requires', json('[]'), '$.parts[2].requires', json('[]')";
            self.edit(&format!("UPDATE stacks SET manifest = json_set(manifest, {none})"))?;
        }
        Ok(())
    }

    /// The tree that decides about places in a rollout's waves.
    pub(super) fn tree_in_line(&self, rollout: &Rollout, tried: TreeDigest) -> TreeDigest {
        self.part_trees.get(&rollout.id).copied().unwrap_or(tried)
    }

    /// Whether a deployment brings what was stopped under another rollout.
    pub(super) fn was_stopped(&self, deployment: &Deployment) -> Option<&Rollout> {
        let own = self.rollouts.get(&deployment.rollout);
        let brings = own.filter(|own| own.part.is_some()).map_or(deployment.release, |own| own.release);
        self.rollouts.values().find(|rollout| {
            let same = rollout.stack == deployment.stack && rollout.release == brings;
            same && self.cx.halted.contains(&rollout.id)
        })
    }
}

//! Environments: that a release enters one only where those before have run it without a failure for long enough, and that
//! nodes run only what has entered.

use std::{io, time::Duration};

use backstay_engine::WantedPromotion;
use backstay_store::{environments, environments::EnvironmentRelease, releases};
use backstay_types::{Deployment, DeploymentState, EnvironmentName, StackName, TreeDigest};

use super::{Sim, limits::OPERATOR};
use crate::{
    Stage,
    hub::Parts,
    invariant::{Invariant, Planted},
};

/// A release that has entered: the stack, the environment, what it brings.
pub(super) type Entered = (StackName, EnvironmentName, TreeDigest);

impl Sim {
    /// After the hub has recorded something: whether what has entered environments might.
    pub(super) fn judge_entries(&mut self) -> io::Result<()> {
        if self.scenario.stages.is_empty() {
            return Ok(());
        }
        self.plant_stages()?;
        let now = self.hub_clock();
        let read = self.hub.call(now, async |parts: Parts| {
            let mut read = parts.store.read();
            let rows = environments::list(&mut read).await?;
            let ids: Vec<_> = rows.iter().map(|row| row.release).collect();
            Ok((rows, releases::many(&mut read, &ids).await?))
        });
        let Some((rows, releases)) = self.answered(read)? else { return Ok(()) };
        for row in rows {
            let key = (row.stack.clone(), row.environment.clone());
            if self.turns.insert(key, row.turn) == Some(row.turn) {
                continue;
            }
            let Some(release) = releases.iter().find(|release| release.id == row.release) else { continue };
            let tree = release.tree;
            self.learn_tree(tree)?;
            let content = self.cx.truth.describe(tree);
            let (stack, name, by) = (&row.stack, &row.environment, &row.by);
            self.cx.say("hub", format_args!("{content} of {stack} enters {name} by {by}: {}", row.reason));
            self.judge_entry(&row, tree);
            self.entered.insert((row.stack, row.environment, tree));
        }
        Ok(())
    }

    fn judge_entry(&mut self, row: &EnvironmentRelease, tree: TreeDigest) {
        let stages = self.scenario.stages.clone();
        let Some(stage) = stages.iter().find(|stage| stage.name == row.environment.as_str()) else { return };
        let before = stage.before(&stages);
        // An undo waits for no environment.
        if before.is_empty() || row.undo.is_some() {
            return;
        }
        let mut why = before.iter().find_map(|before| self.has_not_passed(before, &row.stack, tree));
        if stage.by_hand && row.by != OPERATOR {
            why = Some("a person lets releases in there".to_owned());
        } else if self.stopped.is_some() {
            why = Some("everything is stopped".to_owned());
        }
        if let Some(why) = why {
            let content = self.cx.truth.describe(tree);
            let what = format!("{content} of {} enters {}, and {why}", row.stack, row.environment);
            self.cx.violated(Invariant::Promoted, what);
        }
    }

    /// Why a release may not go on from an environment, by what its nodes did.
    fn has_not_passed(&self, stage: &Stage, stack: &StackName, tree: TreeDigest) -> Option<String> {
        let (name, stages) = (stage.name, &self.scenario.stages);
        let mut last = None;
        let mut nodes = 0;
        let members = self.nodes.iter().filter(|node| Stage::of(stages, node.index) == Some(stage));
        for node in members {
            nodes += 1;
            let mut ends = self.cx.truth.ends.iter().rev().filter(|end| {
                let of_it = end.node == node.id && end.stack == *stack && end.tree == tree;
                of_it && end.state != DeploymentState::Superseded
            });
            match ends.next() {
                // What it knew of the past was taken away.
                None if node.forgetful => {}
                // It has done again what the hub knew already.
                Some(end) if node.forgetful && end.state == DeploymentState::Succeeded => {}
                None => return Some(format!("{} of {name} has not run it", node.name)),
                Some(end) if end.state == DeploymentState::Succeeded => last = last.max(Some(end.at)),
                Some(end) => return Some(format!("{} of {name} {}", node.name, end.state.word())),
            }
        }
        if nodes == 0 {
            return Some(format!("no node is in {name}"));
        }
        let watched = last.map_or(Duration::MAX, |last| self.cx.now.saturating_sub(last));
        let soak = Duration::from_secs(stage.soak);
        let too_soon = watched < soak && !self.hub_clock_was_wrong;
        too_soon.then(|| format!("{name} was watched for {watched:?} instead of {soak:?}"))
    }

    /// A deployment was planned: what it brings must have entered the environment of its node.
    pub(super) fn judge_stage(&mut self, deployment: &Deployment, tree: TreeDigest) {
        let Some(index) = self.index_of(deployment.node) else { return };
        let stages = &self.scenario.stages;
        let Some(stage) = Stage::of(stages, index).filter(|stage| !stage.before(stages).is_empty()) else {
            return;
        };
        let same = |(stack, name, brought): &Entered| {
            *stack == deployment.stack && name.as_str() == stage.name && *brought == tree
        };
        if !self.entered.iter().any(same) {
            let (name, to) = (self.cx.trace.name(deployment.id), stage.name);
            let what = format!("{name} is planned for {}, and never entered {to}", self.nodes[index].name);
            self.cx.violated(Invariant::Promoted, what);
        }
    }

    /// Whether a node is in an environment; with none all are.
    pub(super) fn is_in(&self, index: usize, environment: Option<&EnvironmentName>) -> bool {
        let stage = Stage::of(&self.scenario.stages, index);
        environment.is_none_or(|name| stage.is_some_and(|stage| stage.name == name.as_str()))
    }

    /// Whether something can come to a node at all: nobody tries it where no node is, or where nodes are `pinned`.
    pub(super) fn can_come_to(&self, index: usize, pinned: bool) -> bool {
        let stages = &self.scenario.stages;
        let has_nodes =
            |stage: &&Stage| (0..self.nodes.len()).any(|node| Stage::of(stages, node) == Some(*stage));
        let Some(stage) = Stage::of(stages, index) else { return true };
        let mut open = stage.before(stages);
        if pinned && !open.is_empty() {
            return false;
        }
        while let Some(before) = open.pop() {
            if !has_nodes(&before) {
                return false;
            }
            open.extend(before.before(stages));
        }
        true
    }

    /// A person lets in what may enter where a person has to. How much there was.
    pub(super) fn promote(&mut self) -> io::Result<usize> {
        if !self.scenario.stages.iter().any(|stage| stage.by_hand) || !self.hub.is_up() {
            return Ok(0);
        }
        // What was let in before that is known before.
        self.settle()?;
        let now = self.hub_clock();
        let done = self.hub.call(now, async |parts: Parts| {
            let mut count = 0;
            for state in parts.engine.environments().await? {
                for stack in state.stacks.into_iter().filter(|stack| stack.ready) {
                    let Some(release) = stack.next.map(|next| next.id) else { continue };
                    let want = WantedPromotion {
                        stack: stack.stack,
                        environment: state.environment.name.clone(),
                        release,
                        reason: "it may".to_owned(),
                        force: false,
                    };
                    parts.engine.promote(&want, OPERATOR).await?;
                    count += 1;
                }
            }
            Ok(count)
        });
        let count = self.answered(done)?.unwrap_or(0);
        if count > 0 {
            self.cx.say(OPERATOR, format_args!("lets {count} releases in"));
            self.hub.has_recorded();
            self.settle()?;
            self.look_after(super::LOOK_SOON);
        }
        Ok(count)
    }

    /// For bugs that are planted: environments are not kept as they are written.
    fn plant_stages(&mut self) -> io::Result<()> {
        if self.cx.has(Planted::SkipsSoak) {
            self.edit("UPDATE stacks SET manifest = json_set(manifest, '$.environments[0].soak', '0s')")?;
        }
        if self.cx.has(Planted::OpensDoors) {
            self.edit(
                "UPDATE stacks SET manifest = json_set(manifest, '$.environments[1].promotion', 'auto')",
            )?;
        }
        if self.cx.has(Planted::KnowsOneStage) {
            self.edit("UPDATE stacks SET manifest = json_set(manifest, '$.environments', json('[]'))")?;
        }
        if self.cx.has(Planted::LetsAllIn) {
            self.let_all_in()?;
        }
        Ok(())
    }

    fn let_all_in(&mut self) -> io::Result<()> {
        let now = self.hub_clock();
        let done = self.hub.call(now, async |parts: Parts| {
            for state in parts.engine.environments().await? {
                for stack in state.stacks {
                    let Some(release) = stack.next.map(|next| next.id) else { continue };
                    let (environment, reason) = (state.environment.name.clone(), "planted".to_owned());
                    let want =
                        WantedPromotion { stack: stack.stack, environment, release, reason, force: true };
                    // What is held may not, by no force.
                    let _ = parts.engine.promote(&want, "planted").await;
                }
            }
            Ok(())
        });
        self.answered(done)?;
        Ok(())
    }
}

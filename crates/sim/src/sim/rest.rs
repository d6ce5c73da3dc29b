//! The end of a run: whether everything has come to rest where it should.

use std::{io, time::Duration};

use backstay_store::{deployments, releases, rollouts, stacks, undos};
use backstay_types::{ReleaseStanding, StackName, TreeDigest, UndoState};

use super::Sim;
use crate::{context::Event, hub::Parts, invariant::Invariant};

/// How long everything has to come to rest.
pub(super) const PATIENCE: Duration = Duration::from_secs(5 * 3600);
/// How often it is looked at.
pub(super) const EVERY: Duration = Duration::from_secs(300);

impl Sim {
    /// Whether everything rests. What does not in time is a violation.
    pub(super) fn rests(&mut self) -> io::Result<bool> {
        self.judge_safe_mode()?;
        let open = match self.promote()? {
            0 => self.unrest()?,
            count => Some(format!("{count} releases have just been let in")),
        };
        let Some(open) = open else {
            if self.let_go_of_pins()? {
                self.rest_until = self.cx.now + PATIENCE;
                self.cx.after(EVERY, Event::Rests);
                return Ok(false);
            }
            self.cx.say("-", format_args!("at rest"));
            self.judge_store()?;
            return Ok(true);
        };
        if self.cx.now >= self.rest_until {
            self.cx.violated(Invariant::Converges, open);
            return Ok(true);
        }
        self.lead_out()?;
        self.cx.after(EVERY, Event::Rests);
        Ok(false)
    }

    /// The first thing that has not come to rest.
    fn unrest(&mut self) -> io::Result<Option<String>> {
        if !self.hub.is_up() {
            return Ok(Some("the hub is down".to_owned()));
        }
        if let Some(open) = self.nodes.iter().find_map(|node| self.node_unrest(node)) {
            return Ok(Some(open));
        }
        let now = self.hub_clock();
        let read = self.hub.call(now, async |parts: Parts| {
            let mut read = parts.store.read();
            let running = rollouts::running(&mut read).await?;
            let open = deployments::open(&mut read).await?;
            let undos = undos::open(&mut read).await?;
            let mut wanted: Vec<(StackName, TreeDigest)> = Vec::new();
            for stack in stacks::list(&mut read).await?.into_iter().filter(|stack| stack.present) {
                let Some(release) = stack.release else { continue };
                let Some(release) = releases::get(&mut read, release).await? else { continue };
                if matches!(parts.engine.standing(&release).await?, ReleaseStanding::Eligible) {
                    wanted.push((stack.name, release.tree));
                }
            }
            Ok((running, open, undos, wanted))
        });
        let Some((running, open, undos, wanted)) = self.answered(read)? else { return Ok(None) };
        if let Some(rollout) = running.iter().find(|rollout| !self.waits_for_another(rollout)) {
            let waits = rollout.reason.clone();
            return Ok(Some(format!("a rollout of {} runs and does not end ({waits})", rollout.stack)));
        }
        if let Some(open) = open.first() {
            let name = self.cx.trace.name(open.id);
            return Ok(Some(format!("{name} has not ended at the hub: {}", open.state.word())));
        }
        if undos.iter().any(|undo| undo.state == UndoState::RollingOut) {
            return Ok(Some("an undo has not ended".to_owned()));
        }
        match self.unpinned().or_else(|| self.agents_unrest()) {
            Some(open) => Ok(Some(open)),
            None => match self.unwanted_parts()? {
                Some(open) => Ok(Some(open)),
                None => self.unwanted(&wanted),
            },
        }
    }

    /// A node that does not run what the branch asks for, though it is good and may be planned.
    fn unwanted(&mut self, wanted: &[(StackName, TreeDigest)]) -> io::Result<Option<String>> {
        let pinned = self.pinned_nodes();
        for (stack, tree) in wanted {
            if !self.stacks.contains(stack) {
                continue;
            }
            if self.scenario.divided {
                continue;
            }
            self.learn_tree(*tree)?;
            let content = self.cx.truth.content(*tree);
            if !self.nodes.iter().all(|node| content.does_well(node.odd)) {
                continue;
            }
            let elsewhere = |node: &&crate::node::Node| {
                let is_pinned = pinned.iter().any(|(index, of, _)| *index == node.index && of == stack);
                // Where it failed, it is not sent again under a rollout that succeeded elsewhere.
                let failed = self.cx.truth.ends.iter().any(|end| {
                    (end.node, &end.stack, end.tree) == (node.id, stack, *tree) && end.state.is_failure()
                });
                let tolerated = failed && self.scenario.strategy.failed_percent > 0;
                !is_pinned
                    && !tolerated
                    && self.can_come_to(node.index, !pinned.is_empty())
                    && node.runtime.runs.get(stack) != Some(tree)
            };
            if let Some(node) = self.nodes.iter().find(elsewhere) {
                let runs = node.runtime.runs.get(stack).map(|tree| self.cx.truth.describe(*tree));
                let runs = runs.unwrap_or_else(|| "nothing".to_owned());
                let what = format!("{} runs {runs} of {stack} instead of {}", node.name, content.describe());
                return Ok(Some(what));
            }
        }
        Ok(None)
    }

    fn node_unrest(&self, node: &crate::node::Node) -> Option<String> {
        let name = &node.name;
        let files = node.disk.files();
        if node.agent.is_none() {
            return Some(format!("the agent of {name} does not run"));
        }
        if let Some(operation) = &files.journal.operation {
            return Some(format!("{name} is still {} {}", operation.phase.word(), operation.target.stack));
        }
        if !files.spool.is_empty() {
            return Some(format!("{name} has {} reports that the hub does not have", files.spool.len()));
        }
        let held = files.journal.held.as_ref();
        let has = held.map(|held| (held.epoch, held.generation));
        let wanted = self.hub.versions.get(&node.id).map(|version| (version.epoch, version.generation));
        if has != wanted {
            return Some(format!("{name} holds {has:?} and should hold {wanted:?}"));
        }
        if files.journal.safety.safe_mode.is_some() {
            return Some(format!("{name} is in safe mode"));
        }
        for line in held.iter().flat_map(|held| &held.stacks) {
            let settled =
                files.journal.stacks.get(&line.stack).is_some_and(|r| r.is_settled(line.deployment));
            if !settled {
                return Some(format!("{name} has not done what it was told of {}", line.stack));
            }
        }
        for (stack, record) in &files.journal.stacks {
            let committed = record.committed.as_ref().map(|committed| committed.tree);
            let runs = node.runtime.runs.get(stack).copied();
            if runs != committed {
                let describe = |tree: Option<TreeDigest>| {
                    tree.map_or_else(|| "nothing".to_owned(), |tree| self.cx.truth.describe(tree))
                };
                let (runs, committed) = (describe(runs), describe(committed));
                return Some(format!("{name} runs {runs} of {stack} and means to run {committed}"));
            }
            let links = files.links.get(stack).copied().unwrap_or_default();
            if links.current != committed {
                return Some(format!("{name}: `current` of {stack} points elsewhere"));
            }
        }
        None
    }

    /// When nothing is left to happen.
    pub(super) fn judge_end(&mut self) {
        if let Some(node) = self.nodes.iter().find(|node| !node.powered) {
            let what = format!("{} has no power at the end", node.name);
            self.cx.violated(Invariant::Converges, what);
        }
    }
}

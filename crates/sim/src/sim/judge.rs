//! Whether what must hold holds, judged by the truth.

use std::{collections::BTreeSet, io, sync::Arc, time::Duration};

use backstay_plan::{NodeFacts, Waves};
use backstay_store::{deployments, ledger, releases, rollouts, undos};
use backstay_types::{
    Cause, Deployment, DeploymentId, DeploymentState, Labels, Release, Rollout, RolloutKind, RolloutState,
    TreeDigest,
};

use super::Sim;
use crate::{
    hub::{Failed, Parts},
    invariant::{Invariant, Planted},
};

/// More deployments than this for each node are a wheel that turns.
const MOST: usize = 60;

impl Sim {
    /// After something about a node: that what runs, and the way back, are on its disk, come what may.
    pub(super) fn judge_node(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let there = node.disk.files().releases.clone();
        let durable = node.disk.durable().releases.clone();
        node.lost.retain(|key| there.get(key) != Some(&true) || durable.get(key) != Some(&true));
        let mut missing = None;
        for (stack, record) in &node.disk.durable().journal.stacks {
            for (what, kept) in [("what it runs", &record.committed), ("the way back", &record.previous)] {
                let Some(kept) = kept else { continue };
                let key = (stack.clone(), kept.tree);
                let whole = durable.get(&key) == Some(&true) && there.get(&key) == Some(&true);
                if !whole && !node.lost.contains(&key) {
                    missing = Some(format!("{}: {what} of {stack} is not on its disk", node.name));
                }
            }
        }
        if let Some(missing) = missing {
            self.cx.violated(Invariant::Working, missing);
        }
    }

    /// Attempts that have just begun: whether they might.
    pub(super) fn judge_begun(&mut self) {
        for deployment in std::mem::take(&mut self.cx.begun) {
            let Some(attempt) = self.cx.truth.attempts.get(&deployment).cloned() else { continue };
            let Some(rollout) = self.rollouts.get(&attempt.rollout).cloned() else { continue };
            if rollout.kind == RolloutKind::Rollback {
                self.judge_way_back(deployment, &rollout);
            }
            if rollout.kind != RolloutKind::Update || rollout.state != RolloutState::Running {
                continue;
            }
            let Some(index) = self.index_of(attempt.node) else { continue };
            let wave = self.wave_of(&rollout, attempt.tree, index);
            let back = self.ways_back.contains(&deployment);
            if wave > rollout.wave && !back && !self.nodes[index].forgetful {
                let (name, open) = (&self.nodes[index].name, rollout.wave + 1);
                let what = format!("{name} of wave {} begins while {open} are open", wave + 1);
                self.cx.violated(Invariant::Confined, what);
            }
            if !back {
                self.judge_late(deployment, index);
                if !self.nodes[index].forgetful {
                    self.judge_orders(deployment, rollout.id, index);
                }
            }
            self.judge_limit(&rollout);
        }
    }

    /// That no more nodes than may are at a rollout forward. A node of which the hub cannot know what it does (cut off,
    /// without power) holds up no other, and is not counted.
    fn judge_limit(&mut self, rollout: &Rollout) {
        let Some(limit) = self.scenario.strategy.max_updating else { return };
        // Where messages are lost it may take for away whoever it has not heard from.
        if self.cx.lossy > 0 {
            return;
        }
        let known = Duration::from_secs(180);
        // So may a hub whose clock has just been set.
        if self.hub_clock_was_wrong && self.cx.now < self.hub_clock_set + known {
            return;
        }
        let at_it = |node: &&crate::node::Node| {
            if node.well_since + known > self.cx.now || !self.cx.reaches(node.index) {
                return false;
            }
            let operation = node.disk.files().journal.operation.as_ref();
            // Who goes back waits for nobody, under whichever rollout that is.
            operation.is_some_and(|o| {
                let forward =
                    o.target.rollout == rollout.id && !self.ways_back.contains(&o.target.deployment);
                forward && o.phase.is_activated()
            })
        };
        let count = self.nodes.iter().filter(at_it).count();
        if count > usize::try_from(limit).unwrap_or(usize::MAX) {
            let what = format!("{count} nodes change at once, and {limit} may");
            self.cx.violated(Invariant::Confined, what);
        }
    }

    /// After the hub has recorded something: whether what it decided may be.
    pub(super) fn judge_hub(&mut self) -> io::Result<()> {
        self.plant_parts()?;
        let now = self.hub_clock();
        let known: BTreeSet<_> = self.rollouts.keys().copied().collect();
        let read = self.hub.call(now, async |parts: Parts| {
            let mut read = parts.store.read();
            let rollouts = rollouts::list(&mut read, None, None, 40).await?;
            let open = deployments::open(&mut read).await?;
            let ids: Vec<_> = open.iter().map(|deployment| deployment.release).collect();
            let mut members = Vec::new();
            for rollout in rollouts.iter().filter(|rollout| !known.contains(&rollout.id)) {
                members.push((rollout.id, rollouts::members(&mut read, rollout.id).await?));
            }
            Ok((rollouts, open, releases::many(&mut read, &ids).await?, members))
        });
        let Some((rollouts, open, releases, members)) = self.answered(read)? else { return Ok(()) };
        for (id, members) in members {
            self.members.insert(id, Arc::new(members.into_iter().collect()));
        }
        self.look_at_parts(&rollouts)?;
        for rollout in rollouts {
            self.judge_rollout(rollout);
        }
        self.judge_entries()?;
        self.judge_agents()?;
        for deployment in open {
            if self.known_deployments.insert(deployment.id) {
                let release = releases.iter().find(|release| release.id == deployment.release);
                if let Some(release) = release {
                    self.learn_tree(release.tree)?;
                    self.judge_deployment(&deployment, release);
                }
            }
        }
        if self.known_deployments.len() > MOST * self.nodes.len() {
            let what = format!("{} deployments, and no end", self.known_deployments.len());
            self.cx.violated(Invariant::Converges, what);
        }
        self.plant_windows()?;
        if self.cx.has(Planted::OpenGates) {
            self.open_gates()?;
        }
        if self.cx.has(Planted::OpensForOne) {
            self.edit(
                "UPDATE rollouts SET strategy = json_set(strategy, '$.min_success_percent', 1, '$.min_sample', 1)",
            )?;
        }
        if self.cx.has(Planted::CallsItGood) {
            self.edit("UPDATE rollouts SET state = 'succeeded' WHERE state = 'halted'")?;
        }
        if self.cx.has(Planted::RushesBack) {
            self.edit(
                "UPDATE rollouts SET kind = 'rollback', wave = 99 WHERE cause_undo_id IS NOT NULL AND state = 'running'",
            )?;
        }
        if self.cx.has(Planted::LosesOrder) {
            self.edit("UPDATE deployment_latest SET deployment_id = (SELECT MIN(d.id) FROM deployments d WHERE d.node_id = deployment_latest.node_id AND d.stack = deployment_latest.stack)")?;
        }
        Ok(())
    }

    fn judge_rollout(&mut self, rollout: Rollout) {
        let before = self.rollouts.get(&rollout.id);
        let (was, had) = (before.map(|before| before.state), before.map_or(0, |before| before.wave));
        if was != Some(rollout.state) {
            let id = self.rollout_name(&rollout);
            self.cx
                .say("hub", format_args!("{id} {:?} {:?}: {}", rollout.kind, rollout.state, rollout.reason));
            if rollout.state == RolloutState::Halted && rollout.kind == RolloutKind::Update {
                self.cx.halted.insert(rollout.id);
            }
        }
        if rollout.wave > had && rollout.kind == RolloutKind::Update {
            self.judge_gate(&rollout, had);
        }
        if rollout.state == RolloutState::Succeeded && was != Some(rollout.state) {
            self.judge_success(&rollout);
        }
        self.rollouts.insert(rollout.id, rollout);
    }

    /// A wave was opened: by what came of those before it, it must have been allowed to.
    fn judge_gate(&mut self, rollout: &Rollout, had: u32) {
        let id = self.rollout_name(rollout);
        self.cx.say("hub", format_args!("{id} opens wave {}", rollout.wave + 1));
        let of_rollout = self.cx.truth.attempts.iter().filter(|(_, attempt)| attempt.rollout == rollout.id);
        let ends = of_rollout.filter_map(|(id, _)| self.cx.truth.acknowledged.get(id));
        let (mut ended, mut failed) = (0u32, 0u32);
        for end in ends {
            match end {
                DeploymentState::Succeeded => ended += 1,
                DeploymentState::Failed { failure, .. }
                | DeploymentState::RolledBack { failure, .. }
                | DeploymentState::Broken { failure, .. }
                    if !failure.is_of_node() =>
                {
                    (ended, failed) = (ended + 1, failed + 1);
                }
                _ => {}
            }
        }
        let (tree, pinned) = (self.tree_of(rollout), self.pinned_nodes());
        let members = (0..self.nodes.len())
            .filter(|index| self.is_in(*index, rollout.environment.as_ref()))
            .filter(|index| !pinned.iter().any(|(of, stack, _)| of == index && *stack == rollout.stack))
            .filter(|index| tree.is_some_and(|tree| self.wave_of(rollout, tree, *index) <= had))
            .count();
        let (run, uncertain) = (self.did_well(rollout, had), usize::from(self.scenario.limits_the_first()));
        let strategy = &self.scenario.strategy;
        let share = usize::try_from(strategy.success_percent).unwrap_or(100);
        let too_few = !self.scenario.divided && run * 100 < share * members.saturating_sub(uncertain);
        let too_many = f64::from(failed) > f64::from(ended) * f64::from(strategy.failed_percent) / 100.0;
        // One that nobody wants any more ends in the same breath, and opens waves for nobody.
        let runs = rollout.state == RolloutState::Running;
        let why = if runs && members > 0 && ended == 0 {
            "although nobody has tried it yet"
        } else if ended < strategy.min_sample && failed > 0 {
            "although it failed and the sample is small"
        } else if runs && too_few {
            "although too few of its nodes run it"
        } else if ended >= strategy.min_sample && too_many {
            "although too many failed"
        } else {
            return;
        };
        let what = format!(
            "{id} opens wave {} {why}: {failed} of {ended} failed, {run} of {members} run it",
            rollout.wave + 1
        );
        self.cx.violated(Invariant::Confined, what);
    }

    /// How many nodes of the first waves have really come to run what a rollout brings.
    fn did_well(&self, rollout: &Rollout, had: u32) -> usize {
        let Some(tree) = self.tree_of(rollout) else { return 0 };
        let well = |index: &usize| {
            let id = self.nodes[*index].id;
            let mut attempts = self.cx.truth.attempts.values();
            attempts.any(|attempt| {
                (attempt.node, attempt.tree) == (id, tree)
                    && attempt.ended == Some(DeploymentState::Succeeded)
            }) || self.runs_already(*index, &rollout.stack, tree)
        };
        let within = |index: &usize| self.wave_of(rollout, tree, *index) <= had;
        (0..self.nodes.len()).filter(|index| within(index) && well(index)).count()
    }

    /// A rollout forward is said to have succeeded: somewhere it must have done well.
    fn judge_success(&mut self, rollout: &Rollout) {
        let Some(tree) = self.tree_of(rollout).filter(|_| rollout.kind == RolloutKind::Update) else {
            return;
        };
        if rollout.part.is_some() && self.part_did_well(rollout) {
            return;
        }
        let well = |attempt: &crate::truth::Attempt| {
            attempt.tree == tree && attempt.ended == Some(DeploymentState::Succeeded)
        };
        let runs = |node: &crate::node::Node| {
            let record = node.disk.files().journal.stacks.get(&rollout.stack);
            record
                .and_then(|record| record.committed.as_ref())
                .is_some_and(|committed| committed.tree == tree)
        };
        if !self.cx.truth.attempts.values().any(well) && !self.nodes.iter().any(runs) {
            let id = self.rollout_name(rollout);
            let what = format!("{id} is said to have succeeded, and did well nowhere: {}", rollout.reason);
            self.cx.violated(Invariant::Proven, what);
        }
    }

    /// An undo has a node begin at once: it must run what is undone, or what it goes to must have done well, there or in a
    /// rollout to its end.
    fn judge_way_back(&mut self, deployment: DeploymentId, rollout: &Rollout) {
        let (Some(attempt), Cause::Undo { .. }) = (self.cx.truth.attempts.get(&deployment), &rollout.cause)
        else {
            return;
        };
        let (node, tree) = (attempt.node, attempt.tree);
        let Some(index) = self.index_of(node) else { return };
        let well = |other: &crate::truth::Attempt| {
            let succeeded = other.ended == Some(DeploymentState::Succeeded);
            other.node == node && succeeded && self.same_for(rollout, other.tree, tree)
        };
        let finished = |other: &&Rollout| {
            (other.release, &other.environment) == (rollout.release, &rollout.environment)
                && other.state == RolloutState::Succeeded
                && other.id != rollout.id
        };
        let free = self.scenario.strategy.waves.is_empty()
            || self.ways_back.contains(&deployment)
            || self.nodes[index].forgetful
            || self.cx.truth.attempts.values().any(well)
            || self.rollouts.values().any(|other| finished(&other))
            || self.all_parts_finished(rollout, tree);
        if !free {
            let (name, id) = (self.nodes[index].who(), self.rollout_name(rollout));
            let what = format!("{name} is taken by {id} at once to what has not proved itself");
            self.cx.violated(Invariant::Proven, what);
        }
    }

    /// A deployment was made: it must not bring back what is to stay away.
    fn judge_deployment(&mut self, deployment: &Deployment, release: &Release) {
        let name = self.cx.trace.name(deployment.id);
        let content = self.cx.truth.describe(release.tree);
        let index = self.index_of(deployment.node);
        let node = index.map_or_else(String::new, |index| self.nodes[index].who());
        self.cx.say("hub", format_args!("plans {name} for {node}: {content}"));
        let told =
            self.told.insert((deployment.node, deployment.stack.clone()), (deployment.id, release.tree));
        if self.goes_back(deployment, index, told) {
            self.ways_back.insert(deployment.id);
        }
        let rollout = self.rollouts.get(&deployment.rollout);
        let kind = rollout.map_or(RolloutKind::Update, |rollout| rollout.kind);
        if kind == RolloutKind::Removal {
            return;
        }
        self.planned_at.insert(deployment.id, self.cx.now);
        self.judge_limits(deployment, release, kind);
        self.judge_windows(deployment, release.tree, kind);
        self.judge_pins(deployment, release.tree);
        self.judge_stage(deployment, release.tree);
        self.judge_part(deployment, release.tree);
        if let Some(push) = self.brings_back(deployment, release.tree) {
            let what = format!("{name} for {node} brings back push {push}, which is held or undone");
            self.cx.violated(Invariant::StaysAway, what);
        }
        if let Some(halted) = self.was_stopped(deployment) {
            let what = format!("{name} for {node} brings back what was stopped: {}", halted.reason);
            self.cx.violated(Invariant::StaysAway, what);
        }
    }

    /// Whether a node runs what is undone, or was told of it last and has not come back from there: it waits for no wave.
    fn goes_back(
        &self,
        deployment: &Deployment,
        index: Option<usize>,
        told: Option<(DeploymentId, TreeDigest)>,
    ) -> bool {
        let stack = &deployment.stack;
        let journal = index.map(|index| &self.nodes[index].disk.files().journal);
        let runs = journal.and_then(|journal| journal.stacks.get(stack)?.committed.as_ref());
        let returned =
            |id: &DeploymentId| self.cx.truth.acknowledged.get(id).is_some_and(|end| end.is_failure());
        let told = told.filter(|(id, _)| !returned(id)).map(|(_, tree)| tree);
        let mut trees = runs.map(|committed| committed.tree).into_iter().chain(told);
        trees.any(|tree| {
            self.cx.truth.forbidden_in(stack, tree).is_some() && self.concerns_part(deployment, tree)
        })
    }

    /// After the hub was started again, and at the end: that its store has what it acknowledged, and its ledger is whole.
    pub(super) fn judge_store(&mut self) -> io::Result<()> {
        let now = self.hub_clock();
        let ids: Vec<_> = self.cx.truth.acknowledged.keys().copied().collect();
        let asked = self.cx.truth.undos.clone();
        let read = self.hub.call(now, async |parts: Parts| {
            let mut read = parts.store.read();
            let kept = deployments::many(&mut read, &ids).await?;
            let undos = undos::many(&mut read, &asked).await?;
            let ledger = ledger::verify(&mut parts.store.snapshot().await?, 1, None).await?;
            Ok((kept, undos, ledger))
        });
        let (kept, undos, ledger) = match read {
            Ok(read) => read,
            Err(Failed::Down) => {
                self.hub_died();
                return Ok(());
            }
            Err(Failed::Error(error)) => {
                self.unsound(format!("its store cannot be read: {error}"));
                return Ok(());
            }
        };
        for (id, state) in self.cx.truth.acknowledged.clone() {
            let name = self.cx.trace.name(id);
            match kept.iter().find(|kept| kept.id == id) {
                None => self.cx.violated(Invariant::Acknowledged, format!("{name} is gone")),
                Some(kept) if kept.state.word() != state.word() => {
                    let (is, was) = (kept.state.word(), state.word());
                    let what = format!("{name} ended as {was}, and the hub has {is}");
                    self.cx.violated(Invariant::Acknowledged, what);
                }
                Some(_) => {}
            }
        }
        if undos.len() != self.cx.truth.undos.len() {
            self.cx.violated(Invariant::Acknowledged, "an undo that was said yes to is gone");
        }
        if let Some(flaw) = ledger.flaw {
            self.cx.violated(Invariant::Ledger, format!("entry {}: {}", flaw.seq, flaw.what));
        }
        Ok(())
    }

    /// A rollout in the account: the same in every run of a seed.
    fn rollout_name(&mut self, rollout: &Rollout) -> String {
        let next = self.rollout_names.len() + 1;
        format!("R{} of {}", self.rollout_names.entry(rollout.id).or_insert(next), rollout.stack)
    }

    fn tree_of(&self, rollout: &Rollout) -> Option<TreeDigest> {
        let mut attempts = self.cx.truth.attempts.values();
        attempts.find(|attempt| attempt.rollout == rollout.id).map(|attempt| attempt.tree)
    }

    fn wave_of(&self, rollout: &Rollout, tree: TreeDigest, index: usize) -> u32 {
        let node = &self.nodes[index];
        let ring = if index == 0 { "ring=first" } else { "ring=rest" };
        let facts = NodeFacts::new(node.id, node.name.clone(), Labels::parse([ring]).unwrap_or_default());
        let members = self.members.get(&rollout.id).cloned();
        let tree = self.tree_in_line(rollout, tree);
        Waves::of(&rollout.strategy, &rollout.cuts, Some(tree), members).wave_of(&facts)
    }
}

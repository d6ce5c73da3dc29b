//! Tasks of the core on a machine that is not there: each begins, does something half-way, and ends.

use std::time::Duration;

use backstay_agent_core::{
    Committed, Done, Failure, Finished, Input, Prepared, PreparedService, Seen, StackRecord, Task, TaskId,
};
use backstay_api::statement::DesiredStack;
use backstay_types::{
    Container, Digest, FailureKind, ImageId, StackName, Step, StepOutcome, StepRecord, TreeDigest, tree,
};

use super::Node;
use crate::{
    content::Kind,
    context::{Context, Event, MachineEvent, NodeEvent},
    disk::Mood,
    invariant::{Invariant, Planted},
};

impl Node {
    /// A task was started.
    pub(super) fn begin_task(&mut self, cx: &mut Context) {
        let Some(task) = self.agent.as_ref().and_then(|agent| agent.task.as_ref()) else { return };
        let (id, word) = (task.id, task.task.word());
        let factor = cx.lines[self.index].factor;
        let wait = match word {
            "fetch" => self.chance.millis(100, 2500) * factor,
            "prepare" => self.chance.millis(100, 1500),
            "check" | "prune" => self.chance.millis(10, 200),
            _ => self.chance.millis(100, 2000),
        };
        self.later(wait, NodeEvent::Task(id), cx);
    }

    /// A task has come to its half-way point, or to its end.
    pub(super) fn task_goes_on(&mut self, id: TaskId, cx: &mut Context) {
        let Some(agent) = &mut self.agent else { return };
        let Some(running) = agent.task.as_mut().filter(|task| task.id == id) else { return };
        running.stage += 1;
        let (stage, task) = (running.stage, running.task.clone());
        self.look_at_clock(cx);
        if stage == 1 {
            match self.half_way(&task, cx) {
                Ok(wait) => self.later(wait, NodeEvent::Task(id), cx),
                Err(failure) => self.finish(id, &task, Err(failure), cx),
            }
        } else {
            let result = self.end(&task, cx);
            self.finish(id, &task, result, cx);
        }
    }

    fn finish(&mut self, id: TaskId, task: &Task, result: Result<Done, Failure>, cx: &mut Context) {
        if let Err(failure) = &result {
            let (kind, reason) = (failure.kind, failure.reason.clone());
            cx.say(&self.who(), format_args!("{} fails, {kind:?}: {reason}", task.word()));
        }
        if let Some(agent) = &mut self.agent {
            agent.task = None;
        }
        let step = step_of(task);
        let outcome = if result.is_ok() { StepOutcome::Done } else { StepOutcome::Failed };
        let record =
            StepRecord { step, started_at: self.world.now(), millis: 1, outcome, detail: String::new() };
        self.input(Input::Finished(Finished { id, records: vec![record], result }), cx);
    }

    /// What a task does first, and how long the rest takes.
    fn half_way(&mut self, task: &Task, cx: &mut Context) -> Result<Duration, Failure> {
        match task {
            Task::Fetch { target } => self.fetch(target, cx)?,
            Task::Activate { target, .. } => {
                self.check_activation(target, cx);
                self.start(&target.stack, target.tree, Step::Activate, cx)?;
            }
            Task::Return { stack, to, failed_tree, .. } => match to {
                Some(to) => self.start(stack, to.tree, Step::Return, cx)?,
                None if self.runtime.silent => {
                    let what = "the container engine does not answer";
                    return Err(failed(Step::Return, FailureKind::Node, what));
                }
                None => self.stop(stack, Some(*failed_tree), cx),
            },
            Task::Remove { stack, .. } => self.remove(stack, cx),
            Task::Stop { stack, .. } => drop(self.runtime.runs.remove(stack)),
            Task::Prune { stack, keep, .. } => self.prune(stack, keep, cx),
            Task::Heal { stack, record, runtime, release, previous } => {
                return self.heal(stack, record, (*runtime, *release, *previous), cx);
            }
            Task::Bake { prepared, .. } => return Ok(prepared.bake),
            Task::Probe { target, .. } => return Ok(self.until_healthy(target.tree, cx)),
            Task::Prepare { .. }
            | Task::Snapshot { .. }
            | Task::SaveLast { .. }
            | Task::Exchange { .. }
            | Task::Check { .. }
            | Task::Compare { .. }
            | Task::Mend { .. }
            | Task::Ask { .. }
            | Task::RestartEngine {} => {}
        }
        Ok(self.chance.millis(5, 800))
    }

    /// How a task ends.
    fn end(&mut self, task: &Task, cx: &mut Context) -> Result<Done, Failure> {
        match task {
            Task::Fetch { .. } => {
                self.disk.sync().map_err(|mood| unwritable(Step::Stage, mood))?;
                Ok(Done::Fetched)
            }
            Task::Prepare { target, .. } => self.prepare(target, cx),
            Task::Snapshot { .. } | Task::SaveLast { .. } => Ok(Done::Saved),
            Task::Exchange { .. } => Ok(Done::Exchanged),
            Task::Activate { target, .. } => Ok(Done::Activated(self.containers(&target.stack)?)),
            Task::Probe { target, .. } => self.healthy(target, Step::Probe, cx),
            Task::Bake { target, .. } => self.healthy(target, Step::Bake, cx),
            Task::Return { stack, to, .. } => match to {
                Some(to) => {
                    let content = cx.truth.content(to.tree);
                    if content.has(Kind::Unhealthy) || (content.has(Kind::Some) && self.odd) {
                        return Err(failed(
                            Step::Return,
                            FailureKind::Unhealthy,
                            "what ran before is not healthy",
                        ));
                    }
                    Ok(Done::Returned(self.containers(stack)?))
                }
                None => Ok(Done::Returned(Vec::new())),
            },
            Task::Remove { .. } => Ok(Done::Removed),
            Task::Stop { .. } => Ok(Done::Stopped),
            Task::RestartEngine {} => Ok(Done::EngineRestarted),
            // What a deep look would find, the vandal of the scenario leaves to the light one.
            Task::Compare { .. } => Ok(Done::Compared(Vec::new())),
            Task::Mend { .. } => Ok(Done::Mended(Vec::new())),
            Task::Ask { stack, .. } => {
                let runs = self.containers(stack)?.len();
                Ok(Done::Asked(if runs > 0 { Ok(()) } else { Err("it does not run".to_owned()) }))
            }
            Task::Prune { .. } => Ok(Done::Pruned),
            Task::Check { stacks } => {
                Ok(Done::Checked(stacks.iter().map(|(stack, record)| self.look(stack, record)).collect()))
            }
            Task::Heal { stack, record, .. } => {
                let _ = self.disk.sync();
                Ok(Done::Healed(Box::new(self.look(stack, record))))
            }
        }
    }

    /// Gets a release: from the hub, or from Git when the hub does not give the right thing.
    fn fetch(&mut self, target: &DesiredStack, cx: &mut Context) -> Result<(), Failure> {
        let key = (target.stack.clone(), target.tree);
        if self.disk.files().releases.get(&key) == Some(&true) {
            return Ok(());
        }
        if self.disk.mood == Mood::Full {
            return Err(failed(Step::Fetch, FailureKind::DiskFull, "no space left"));
        }
        self.get(target.tree, cx)?;
        let synced = !cx.has(Planted::UnsyncedRelease);
        self.disk.place(&target.stack, target.tree, synced).map_err(|mood| unwritable(Step::Stage, mood))?;
        Ok(())
    }

    /// Whether the right content can be had.
    fn get(&mut self, tree: TreeDigest, cx: &mut Context) -> Result<(), Failure> {
        if !cx.reaches(self.index) {
            return Err(failed(Step::Fetch, FailureKind::Unavailable, "nobody can be reached"));
        }
        if cx.hub_up && self.unpacks(tree, cx.corrupt, cx) {
            return Ok(());
        }
        // Git gives the files themselves; what came of them is compared with what was signed all the same.
        if cx.git_up && self.unpacks(tree, false, cx) {
            return Ok(());
        }
        let kind = if cx.hub_up { FailureKind::Mismatch } else { FailureKind::Unavailable };
        Err(failed(Step::Fetch, kind, "neither the hub nor Git gives it"))
    }

    fn unpacks(&mut self, tree: TreeDigest, corrupt: bool, cx: &Context) -> bool {
        let Some(mut pack) = cx.truth.packs.get(&tree).cloned() else { return false };
        if corrupt && !pack.is_empty() {
            let at = self.chance.index(pack.len());
            pack[at] ^= 1 << self.chance.below(8);
        }
        let mut files = Vec::new();
        tree::unpack(&pack[..], tree, &mut files).is_ok()
    }

    fn prepare(&mut self, target: &DesiredStack, cx: &mut Context) -> Result<Done, Failure> {
        let content = cx.truth.content(target.tree);
        if content.has(Kind::Invalid) {
            return Err(failed(Step::Validate, FailureKind::Invalid, "it is not valid"));
        }
        if content.has(Kind::Image) {
            return Err(failed(Step::Validate, FailureKind::Unavailable, "its image cannot be had"));
        }
        let service = PreparedService {
            image: ImageId(target.tree.to_string()),
            config: target.tree,
            deployment: target.deployment,
            release: target.release,
            conversations: target.conversations.clone(),
        };
        Ok(Done::Prepared(Box::new(Prepared {
            runtime: "process".to_owned(),
            project: target.stack.to_string(),
            services: [("main".to_owned(), service)].into(),
            probes: Vec::new(),
            bake: content.bake,
            figures: Vec::new(),
            inputs: Digest::of(target.tree.as_bytes()),
        })))
    }

    /// Has a release's processes run instead of what ran.
    fn start(
        &mut self,
        stack: &StackName,
        tree: TreeDigest,
        step: Step,
        cx: &mut Context,
    ) -> Result<(), Failure> {
        if self.runtime.silent {
            return Err(failed(step, FailureKind::Node, "the container engine does not answer"));
        }
        let files = self.disk.files();
        match files.releases.get(&(stack.clone(), tree)) {
            None => return Err(failed(step, FailureKind::Other, "the release is not there")),
            Some(false) => {
                let what = format!("{} starts {stack} from a release that is not whole", self.name);
                cx.violated(Invariant::Working, what);
            }
            Some(true) => {}
        }
        self.runtime.runs.remove(stack);
        if cx.truth.content(tree).has(Kind::Start) {
            return Err(failed(step, FailureKind::Start, "it does not start"));
        }
        self.runtime.runs.insert(stack.clone(), tree);
        self.started(stack, tree, cx);
        Ok(())
    }

    /// What a release does some time after it was started.
    pub(super) fn started(&mut self, stack: &StackName, tree: TreeDigest, cx: &mut Context) {
        let content = cx.truth.content(tree);
        let later = [
            (Kind::Crash, MachineEvent::Crashes(stack.clone(), tree), (1, 5)),
            (Kind::Fill, MachineEvent::Filled(stack.clone(), tree), (1, 40)),
        ];
        for (kind, event, (low, high)) in later {
            // Once all is calm, somebody sees to it that disks do not fill up any more.
            if content.has(kind) && !(cx.calm && kind == Kind::Fill) {
                let wait = self.chance.seconds(low, high);
                cx.after(wait, Event::Machine(self.index, self.boots, event));
            }
        }
    }

    fn stop(&mut self, stack: &StackName, failed: Option<TreeDigest>, cx: &mut Context) {
        let runs = self.runtime.runs.remove(stack);
        if runs.is_some() && runs != failed {
            let what = format!("{} stops {stack}, which it was not to touch", self.name);
            cx.violated(Invariant::UnknownRemovesNothing, what);
        }
    }

    fn remove(&mut self, stack: &StackName, cx: &mut Context) {
        if !cx.truth.removable.contains(stack) {
            let what = format!("{} removes {stack}, which nobody asked for", self.name);
            cx.violated(Invariant::UnknownRemovesNothing, what);
        }
        self.runtime.runs.remove(stack);
    }

    fn prune(&mut self, stack: &StackName, keep: &[TreeDigest], cx: &mut Context) {
        let mut keep = keep.to_vec();
        if cx.has(Planted::PrunesTheWayBack) {
            let record = self.disk.files().journal.stacks.get(stack);
            let previous = record.and_then(|record| record.previous.as_ref()).map(|previous| previous.tree);
            keep.retain(|tree| Some(*tree) != previous);
        }
        let gone: Vec<_> = self.disk.files().releases.keys().cloned().collect();
        for (of, tree) in gone.into_iter().filter(|(of, tree)| of == stack && !keep.contains(tree)) {
            let _ = self.disk.delete(&of, tree);
        }
    }

    fn heal(
        &mut self,
        stack: &StackName,
        record: &StackRecord,
        (runtime, release, previous): (bool, bool, bool),
        cx: &mut Context,
    ) -> Result<Duration, Failure> {
        if runtime && self.runtime.silent {
            let what = format!("{} puts {stack} right although it cannot tell what runs", self.name);
            cx.violated(Invariant::UnknownRemovesNothing, what);
        }
        let wanted = [(release, &record.committed), (previous, &record.previous)];
        for tree in wanted.iter().filter(|(wanted, _)| *wanted).filter_map(|(_, c)| Some(c.as_ref()?.tree)) {
            self.get(tree, cx)?;
            self.disk.place(stack, tree, true).map_err(|mood| unwritable(Step::Stage, mood))?;
        }
        if let Some(Committed { tree, .. }) = record.committed.as_ref().filter(|_| runtime) {
            self.start(stack, *tree, Step::Return, cx)?;
        }
        Ok(self.chance.millis(50, 1000))
    }

    fn until_healthy(&mut self, tree: TreeDigest, cx: &Context) -> Duration {
        let content = cx.truth.content(tree);
        if content.has(Kind::Unhealthy) || (content.has(Kind::Some) && self.odd) {
            Duration::from_secs(60)
        } else if content.has(Kind::Slow) || content.has(Kind::Crash) {
            self.chance.seconds(20, 55)
        } else {
            self.chance.seconds(1, 6)
        }
    }

    fn healthy(&mut self, target: &DesiredStack, step: Step, cx: &mut Context) -> Result<Done, Failure> {
        let content = cx.truth.content(target.tree);
        let ill = match step {
            Step::Bake => content.has(Kind::Bake),
            _ => {
                content.has(Kind::Unhealthy)
                    || (content.has(Kind::Some) && self.odd)
                    || (content.has(Kind::Bake) && content.bake.is_zero())
            }
        };
        if ill && !cx.has(Planted::BlindProbes) {
            return Err(failed(step, FailureKind::Unhealthy, "it says that it is not well"));
        }
        Ok(Done::Healthy(self.containers(&target.stack)?))
    }

    fn containers(&self, stack: &StackName) -> Result<Vec<Container>, Failure> {
        if self.runtime.silent {
            return Err(failed(Step::Probe, FailureKind::Node, "the container engine does not answer"));
        }
        Ok(self.runtime.runs.get(stack).map(|tree| container(*tree)).into_iter().collect())
    }

    fn look(&self, stack: &StackName, record: &StackRecord) -> Seen {
        let files = self.disk.files();
        let here = |committed: &Option<Committed>| {
            committed.as_ref().is_some_and(|c| files.releases.contains_key(&(stack.clone(), c.tree)))
        };
        Seen {
            stack: stack.clone(),
            links: files.links.get(stack).copied().unwrap_or_default(),
            containers: self.containers(stack).map_err(|failure| failure.reason),
            release: here(&record.committed),
            previous: here(&record.previous),
            figures: Default::default(),
        }
    }

    fn check_activation(&mut self, target: &DesiredStack, cx: &mut Context) {
        let name = cx.trace.name(target.deployment);
        let Some(attempt) = cx.truth.attempts.get_mut(&target.deployment) else { return };
        attempt.activated += 1;
        let what = match (attempt.activated, &attempt.ended) {
            (_, Some(ended)) => format!("activates {name}, which has ended as {}", ended.word()),
            (3.., None) => format!("activates {name} for the third time"),
            _ => return,
        };
        if !self.forgetful {
            cx.violated(Invariant::Once, format!("{} {what}", self.name));
        }
    }
}

fn container(tree: TreeDigest) -> Container {
    Container {
        service: "main".to_owned(),
        id: tree.short(),
        name: "main".to_owned(),
        image: ImageId(tree.to_string()),
        running: true,
        health: None,
        deployment: None,
    }
}

fn failed(step: Step, kind: FailureKind, reason: &str) -> Failure {
    Failure { step, kind, reason: reason.to_owned() }
}

fn unwritable(step: Step, mood: Mood) -> Failure {
    match mood {
        Mood::Full => failed(step, FailureKind::DiskFull, "no space left"),
        _ => failed(step, FailureKind::Node, "the disk can only be read"),
    }
}

fn step_of(task: &Task) -> Step {
    match task {
        Task::Fetch { .. } => Step::Fetch,
        Task::Prepare { .. } => Step::Validate,
        Task::Snapshot { .. } | Task::SaveLast { .. } | Task::Exchange { .. } => Step::Snapshot,
        Task::Activate { .. } => Step::Activate,
        Task::Probe { .. } => Step::Probe,
        Task::Bake { .. } => Step::Bake,
        Task::Return { .. } | Task::Heal { .. } => Step::Return,
        _ => Step::Commit,
    }
}

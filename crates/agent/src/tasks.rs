//! Tasks of the core, done on this machine.

mod check;
mod deep;
mod fetch;
mod figures;
pub(crate) mod probe;
mod snapshot;
mod watch;

use std::{sync::Arc, time::Duration};

use backstay_agent_core::{Committed, Done, Failure, Finished, Prepared, Task, TaskId};
use backstay_client::Client;
use backstay_config::AgentSettings;
use backstay_types::{Container, DeploymentId, FailureKind, StackName, Step, TreeDigest, World};

use crate::{
    backup::{Errand, Handle},
    child,
    disk::{Layout, SAFE_MODE},
    step::{Fail, Failed, Follows, Outcome, Place, PrepareCall, Records, Reply, StepCall, Work},
};

/// How long work that has no limit of its own may take: pulling and building images, starting containers.
const LONG: Duration = Duration::from_secs(30 * 60);

/// How long starting the container engine again may take.
const ENGINE: Duration = Duration::from_secs(120);

/// What tasks need of the agent.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) world: World,
    pub(crate) layout: Layout,
    pub(crate) place: Place,
    pub(crate) settings: Arc<AgentSettings>,
    pub(crate) hub: Client,
    pub(crate) backups: Handle,
}

impl Machine {
    /// Does a task.
    pub(crate) async fn run(self, id: TaskId, task: Task) -> Finished {
        let mut records = Records::new(self.world.clone());
        let result = self.work(task, &mut records).await;
        let result = result.map_err(|Failed { step, kind, reason }| Failure { step, kind, reason });
        Finished { id, records: records.take(), result }
    }

    async fn work(&self, task: Task, records: &mut Records) -> Result<Done, Failed> {
        match task {
            Task::Fetch { target } if target.stack.as_str() == SAFE_MODE => {
                let reason = format!("`{SAFE_MODE}` is the agent's own stack: expected another name");
                Err(Fail::of(Step::Validate, FailureKind::Invalid, reason))
            }
            Task::Fetch { target } => self.fetch(&target, records).await.map(|()| Done::Fetched),
            Task::Prepare { target, known, running, project, from } => {
                noted(self.settle(&target.stack).await, records)?;
                let call = PrepareCall {
                    stack: target.stack,
                    tree: target.tree,
                    release: target.release,
                    deployment: target.deployment,
                    conversations: target.conversations,
                    known,
                    running,
                    project,
                    preflight: Some(Follows { from }),
                };
                self.prepare(call, records).await.map(|prepared| Done::Prepared(Box::new(prepared)))
            }
            Task::Snapshot { target, running } => {
                self.snapshot(&target, running.as_deref(), records).await.map(|()| Done::Saved)
            }
            Task::SaveLast { target, .. } => self.save_last(&target, records).await.map(|()| Done::Saved),
            Task::Exchange { target } => self.exchange(&target, records).await.map(|()| Done::Exchanged),
            Task::Activate { target, prepared, from } => {
                let to = (&target.stack, target.tree);
                let containers = self.up(to, from, &prepared, Step::Activate, records).await?;
                if target.data.is_some() {
                    let give = Errand::Give(target.deployment, target.tree);
                    noted(self.errand(give, Step::Activate).await, records)?;
                }
                Ok(Done::Activated(containers))
            }
            Task::Probe { target, prepared } => {
                let started = records.start();
                let result = self.probe(&target.stack, target.tree, &prepared, Step::Probe).await;
                let containers = noted(result, records)?;
                records.done(started, Step::Probe, watch::describe(&prepared));
                Ok(Done::Healthy(containers))
            }
            Task::Bake { target, prepared } => {
                let started = records.start();
                let result = self.bake(&target.stack, target.tree, &prepared).await;
                let containers = noted(result, records)?;
                records.done(started, Step::Bake, format!("watched for {:?}", prepared.bake));
                Ok(Done::Healthy(containers))
            }
            Task::Return { stack, failed, failed_tree, to, data } => {
                if let Some(deployment) = data {
                    let back = Errand::PutBack(deployment, failed_tree, Box::new(failed.clone()));
                    noted(self.errand(back, Step::Return).await, records)?;
                }
                let to = to.map(|to| *to);
                self.go_back(&stack, (&failed, failed_tree), to, data, records).await.map(Done::Returned)
            }
            Task::Remove { stack, running } => {
                // Data stays when its stack goes; the data from before, where that is known.
                if let Err(failed) = self.settle(&stack).await {
                    tracing::error!(%stack, reason = failed.reason, "a stack is removed with the data of an undo that failed");
                }
                self.stop(&stack, running.as_deref(), records).await.map(|()| Done::Removed)
            }
            Task::Stop { stack, running } => {
                self.stop(&stack, running.as_deref(), records).await.map(|()| Done::Stopped)
            }
            Task::Prune { stack, keep, .. } => {
                if let Err(reason) = self.backups.errand(Errand::Settle(stack.clone())).await {
                    tracing::error!(%stack, reason, "data of a deployment that is over cannot be cleared away");
                }
                let pruned = self.child(Work::Prune { stack, keep }, Step::Commit, LONG, records).await;
                pruned.map(|_| Done::Pruned)
            }
            Task::RestartEngine {} => self.restart_engine().await.map(|()| Done::EngineRestarted),
            Task::Check { stacks } => Ok(Done::Checked(self.check(stacks).await)),
            Task::Compare { stack, record } => {
                self.compare(&stack, &record, records).await.map(Done::Compared)
            }
            Task::Mend { stack, record, found } => {
                self.mend(&stack, &record, &found, records).await.map(Done::Mended)
            }
            Task::Ask { stack, record } => self.is_well(&stack, &record).await.map(Done::Asked),
            Task::Heal { stack, record, runtime, release, previous } => {
                let wanted = check::Wanted { runtime, release, previous };
                self.heal(&stack, &record, wanted, records).await.map(|seen| Done::Healed(Box::new(seen)))
            }
        }
    }

    /// Has the machine start its container engine again, as the settings say.
    async fn restart_engine(&self) -> Result<(), Failed> {
        let Some((program, arguments)) = self.settings.engine_restart.split_first() else { return Ok(()) };
        let failed = |why: String| Fail::of(Step::Return, FailureKind::Node, why);
        let mut command = tokio::process::Command::new(program);
        command.args(arguments).env_clear().envs(child::environment()).kill_on_drop(true);
        command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
        let output = tokio::time::timeout(ENGINE, command.output()).await;
        let output = output.map_err(|_| failed(format!("`{program}` took too long")))?;
        let output = output.map_err(|error| failed(format!("`{program}` cannot be started: {error}")))?;
        let said = String::from_utf8_lossy(&output.stderr);
        tracing::warn!(status = %output.status, said = said.trim(), "told the container engine to start again");
        if output.status.success() {
            Ok(())
        } else {
            Err(failed(format!("`{program}` ended with {}", output.status)))
        }
    }

    /// Runs the minimal stack, unless it runs.
    pub(crate) async fn run_minimal(&self, stack: &StackName, tree: TreeDigest) -> Result<(), Failed> {
        let mut records = Records::new(self.world.clone());
        let call = PrepareCall {
            stack: stack.clone(),
            tree,
            release: self.world.mint(),
            deployment: self.world.mint(),
            conversations: Vec::new(),
            known: None,
            running: None,
            project: None,
            preflight: None,
        };
        let prepared = self.prepare(call, &mut records).await?;
        let runs = crate::runtime::process::runs(&self.layout, stack, &prepared);
        if !runs.map_err(Fail::io(Step::Activate, "what runs cannot be told"))? {
            self.up((stack, tree), None, &prepared, Step::Return, &mut records).await?;
        }
        Ok(())
    }

    /// Sees that the minimal stack does not run.
    pub(crate) async fn stop_minimal(&self, stack: &StackName) -> Result<(), Failed> {
        if !crate::runtime::process::is_known(&self.layout, stack) {
            return Ok(());
        }
        let work = Work::Down {
            stack: stack.clone(),
            tree: None,
            runtime: "process".to_owned(),
            project: stack.to_string(),
        };
        let mut records = Records::new(self.world.clone());
        self.child(work, Step::Return, LONG, &mut records).await.map(drop)
    }

    async fn prepare(&self, call: PrepareCall, records: &mut Records) -> Result<Prepared, Failed> {
        match self.child(Work::Prepare(Box::new(call)), Step::Validate, LONG, records).await? {
            Reply::Prepared(prepared) => Ok(*prepared),
            _ => Err(odd(Step::Validate)),
        }
    }

    pub(crate) async fn up(
        &self,
        (stack, tree): (&StackName, TreeDigest),
        from: Option<TreeDigest>,
        prepared: &Prepared,
        step: Step,
        records: &mut Records,
    ) -> Result<Vec<Container>, Failed> {
        crate::crash::crash_point("up.before");
        let work = Work::Up { stack: stack.clone(), tree, from, prepared: Box::new(prepared.clone()), step };
        let reply = self.child(work, step, LONG, records).await?;
        crate::crash::crash_point("up.after");
        match reply {
            Reply::Containers(containers) => Ok(containers),
            _ => Err(odd(step)),
        }
    }

    pub(crate) async fn down(
        &self,
        stack: &StackName,
        tree: Option<TreeDigest>,
        prepared: &Prepared,
        records: &mut Records,
    ) -> Result<(), Failed> {
        crate::crash::crash_point("down.before");
        let (runtime, project) = (prepared.runtime.clone(), prepared.project.clone());
        let work = Work::Down { stack: stack.clone(), tree, runtime, project };
        self.child(work, Step::Return, LONG, records).await?;
        crate::crash::crash_point("down.after");
        Ok(())
    }

    /// Stops what runs of a stack. Of what was found without a journal it has to be read first how it runs.
    async fn stop(
        &self,
        stack: &StackName,
        running: Option<&Committed>,
        records: &mut Records,
    ) -> Result<(), Failed> {
        let Some(running) = running else { return Ok(()) };
        let prepared = self.prepared(stack, running, records).await?;
        self.down(stack, Some(running.tree), &prepared, records).await
    }

    /// Runs what ran before, as it was made ready then, and sees that it is healthy.
    async fn go_back(
        &self,
        stack: &StackName,
        (failed, failed_tree): (&Prepared, TreeDigest),
        to: Option<Committed>,
        data: Option<DeploymentId>,
        records: &mut Records,
    ) -> Result<Vec<Container>, Failed> {
        let Some(to) = to else {
            let started = records.start();
            self.down(stack, Some(failed_tree), failed, records).await?;
            records.done(started, Step::Return, "nothing ran before: it was stopped");
            return Ok(Vec::new());
        };
        let prepared = self.prepared(stack, &to, records).await?;
        self.up((stack, to.tree), Some(failed_tree), &prepared, Step::Return, records).await?;
        if let Some(deployment) = data {
            noted(self.errand(Errand::GiveBack(deployment), Step::Return).await, records)?;
        }
        let result = self.probe(stack, to.tree, &prepared, Step::Return).await;
        noted(result, records)
    }

    /// How a committed release runs. One that was found here without a journal is made ready first.
    async fn prepared(
        &self,
        stack: &StackName,
        committed: &Committed,
        records: &mut Records,
    ) -> Result<Prepared, Failed> {
        if let Some(prepared) = &committed.prepared {
            return Ok(prepared.clone());
        }
        let target = committed.target.as_ref();
        let call = PrepareCall {
            stack: stack.clone(),
            tree: committed.tree,
            release: target.map_or_else(|| self.world.mint(), |t| t.release),
            deployment: committed.deployment.unwrap_or_else(|| self.world.mint()),
            conversations: target.map(|t| t.conversations.clone()).unwrap_or_default(),
            known: None,
            running: None,
            project: None,
            preflight: None,
        };
        self.prepare(call, records).await
    }

    /// Has a child do some work and takes over its records.
    pub(crate) async fn child(
        &self,
        work: Work,
        step: Step,
        limit: Duration,
        records: &mut Records,
    ) -> Result<Reply, Failed> {
        let Outcome { records: steps, result } =
            child::work(&StepCall { place: self.place.clone(), work }, step, limit).await;
        records.extend(steps);
        result
    }
}

/// Notes a failure that did not come from a child.
fn noted<T>(result: Result<T, Failed>, records: &mut Records) -> Result<T, Failed> {
    result.inspect_err(|failed| records.failed(failed))
}

fn odd(step: Step) -> Failed {
    crate::step::Fail::other(step, "a child of the agent answered something else than it was asked")
}

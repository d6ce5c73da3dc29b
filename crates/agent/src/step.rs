//! Work in a short-lived child, `backstay-agent internal step`: a call as JSON
//! on its standard input, the outcome on its standard output. Unpacking,
//! parsing what came from outside and talking to runtimes all happen there, so
//! that the agent itself stays small, and nothing that a release does to a
//! parser can take the agent down.

mod command;
mod context;
mod deep;
mod fail;
mod git;
mod parts;
mod prepare;
mod release;
mod stage;
mod validate;

use std::{
    io::{Read as _, Write as _},
    path::PathBuf,
    time::Duration,
};

use backstay_agent_core::{Committed, Finding, Prepared, StackRecord, Step};
use backstay_api::statement::{DesiredStack, SignedStatement};
use backstay_types::{
    Container, ConversationId, DeploymentId, FailureKind, NodeId, NodeName, StackName, StepRecord, TreeDigest,
};
use rustix::process::{Signal, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};

pub(crate) use self::{
    context::Context,
    fail::{Fail, Records},
    release::{Loaded, invalid, read_rendered},
};
use crate::{
    backup::DataPlan,
    crash,
    disk::{Layout, WorkLock},
    runtime::{
        Runtimes,
        compose::{Compose, Rehearsal, Scratch},
    },
};

/// A call to a child.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StepCall {
    pub(crate) place: Place,
    pub(crate) work: Work,
}

/// Where the child works, and within which limits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) data_dir: PathBuf,
    pub(crate) run_dir: Option<PathBuf>,
    pub(crate) env_dir: PathBuf,
    pub(crate) unit_dir: PathBuf,
    pub(crate) node: NodeName,
    pub(crate) validate_timeout: Duration,
    pub(crate) log_bytes: u64,
}

/// What a child is to do.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Work {
    /// Whether a release is here and is what it should be.
    Verify { stack: StackName, tree: TreeDigest },
    /// Unpack a pack into its release.
    Unpack { stack: StackName, deployment: DeploymentId, tree: TreeDigest },
    /// Read the node's statement from Git.
    Statements { node: NodeId, endpoints: Vec<String>, timeout: Duration },
    /// Get a release from Git.
    Git { target: Box<DesiredStack>, timeout: Duration },
    /// Validate and make ready.
    Prepare(Box<PrepareCall>),
    /// Have the runtime run it.
    Up {
        stack: StackName,
        tree: TreeDigest,
        /// What runs until then.
        #[serde(default)]
        from: Option<TreeDigest>,
        prepared: Box<Prepared>,
        /// What it is done for: to activate a release, or to return to one.
        step: Step,
    },
    /// Stop it and remove its containers.
    Down { stack: StackName, tree: Option<TreeDigest>, runtime: String, project: String },
    /// Compare everything of a stack with what it should be.
    Compare { stack: StackName, record: Box<StackRecord>, bytes_per_second: u64 },
    /// Put the files of a release right, from the pack of a deployment.
    Repair { stack: StackName, deployment: DeploymentId, tree: TreeDigest },
    /// Make services anew; with none, under Compose, make all that it has and start nothing.
    Recreate { stack: StackName, committed: Box<Committed>, services: Vec<String> },
    /// Read what a release has of data that is saved.
    Data { stack: StackName, tree: TreeDigest },
    /// Delete all releases but these, and what was held for them.
    Prune { stack: StackName, keep: Vec<TreeDigest> },
    /// Make ready what a drill starts beside what runs.
    Rehearse {
        stack: StackName,
        tree: TreeDigest,
        prepared: Box<Prepared>,
        scratch: Scratch,
        saved: Vec<String>,
    },
    /// Start services of a drill; all when none is named.
    StartDrill { stack: StackName, tree: TreeDigest, scratch: Scratch, services: Vec<String> },
}

/// See [`Work::Prepare`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PrepareCall {
    pub(crate) stack: StackName,
    pub(crate) tree: TreeDigest,
    pub(crate) release: backstay_types::ReleaseId,
    pub(crate) deployment: DeploymentId,
    pub(crate) conversations: Vec<ConversationId>,
    pub(crate) known: Option<Prepared>,
    pub(crate) running: Option<Prepared>,
    pub(crate) project: Option<String>,
    /// What runs now, when it is to be asked whether the release may follow it.
    #[serde(default)]
    pub(crate) preflight: Option<Follows>,
}

/// What a release is to follow.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Follows {
    /// The tree that runs, if any.
    pub(crate) from: Option<TreeDigest>,
}

/// How the work ended.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) records: Vec<StepRecord>,
    pub(crate) result: Result<Reply, Failed>,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    Verified(bool),
    Done,
    Prepared(Box<Prepared>),
    Containers(Vec<Container>),
    Found(Vec<Finding>),
    Data(Box<DataPlan>),
    Rehearsed(Rehearsal),
    Statements(Vec<(String, Result<SignedStatement, String>)>),
}

/// Why it failed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Failed {
    pub(crate) step: Step,
    pub(crate) kind: FailureKind,
    pub(crate) reason: String,
}

/// Runs a child's whole life. The exit code is 0 whenever an outcome could be written.
pub(crate) fn main() -> Result<(), crate::AgentError> {
    crash::in_child();
    let other = |error: std::io::Error| crate::AgentError::Other(format!("step: {error}"));
    // Dies with the agent; what it started is found by the work lock.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|e| other(e.into()))?;
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).map_err(other)?;
    let call: StepCall =
        serde_json::from_str(&text).map_err(|error| crate::AgentError::Other(format!("step: {error}")))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(other)?;
    let outcome = runtime.block_on(run(call));
    let bytes = serde_json::to_vec(&outcome).map_err(|e| crate::AgentError::Other(e.to_string()))?;
    std::io::stdout().write_all(&bytes).map_err(other)
}

async fn run(call: StepCall) -> Outcome {
    let mut records = Records::new(crate::world::system());
    let result = work(call, &mut records).await;
    let result = result.inspect_err(|failed| records.failed(failed));
    Outcome { records: records.take(), result }
}

async fn work(call: StepCall, records: &mut Records) -> Result<Reply, Failed> {
    let place = call.place;
    let layout = crate::disk::Layout::new(&place.data_dir, place.run_dir.as_deref(), &place.env_dir);
    let layout = layout.with_units(&place.unit_dir);
    if let Work::Statements { node, endpoints, timeout } = &call.work {
        // It touches no release, so it need not wait for work that does.
        let dir = layout.data().join(".tmp-statements.git");
        return Ok(Reply::Statements(git::statements(&dir, *node, endpoints, *timeout).await));
    }
    if let Work::Data { stack, tree } = &call.work {
        // It only reads.
        let loaded = release::load(&layout, stack, *tree, Step::Snapshot)?;
        return crate::runtime::data(&loaded).map(|plan| Reply::Data(Box::new(plan)));
    }
    if let Work::Rehearse { .. } | Work::StartDrill { .. } = &call.work {
        return drill(layout, place, call.work).await;
    }
    let lock =
        WorkLock::take(&layout).map_err(|e| Fail::other(Step::Fetch, format!("the work lock: {e}")))?;
    let mut cx = Context { layout, place, lock };
    match call.work {
        Work::Verify { stack, tree } => stage::verify(&cx, &stack, tree).map(Reply::Verified),
        Work::Unpack { stack, deployment, tree } => {
            stage::unpack(&cx, &stack, deployment, tree, records).map(|()| Reply::Done)
        }
        Work::Statements { .. } | Work::Data { .. } | Work::Rehearse { .. } | Work::StartDrill { .. } => {
            Ok(Reply::Done)
        }
        Work::Git { target, timeout } => {
            git::fetch(&mut cx, &target, timeout, records).await.map(|()| Reply::Done)
        }
        Work::Prepare(call) => {
            prepare::prepare(&mut cx, *call, records).await.map(|p| Reply::Prepared(Box::new(p)))
        }
        Work::Up { stack, tree, from, prepared, step } => {
            up(&mut cx, (&stack, tree), from, &prepared, step, records).await.map(Reply::Containers)
        }
        Work::Down { stack, tree, runtime, project } => {
            Runtimes::new(&runtime)?.down(&mut cx, &stack, tree, &project).await?;
            Ok(Reply::Done)
        }
        Work::Compare { stack, record, bytes_per_second } => {
            // What runs goes first.
            let _ = rustix::process::nice(10);
            deep::compare(&mut cx, &stack, &record, bytes_per_second).await.map(Reply::Found)
        }
        Work::Repair { stack, deployment, tree } => {
            deep::repair(&cx, &stack, deployment, tree).map(|()| Reply::Done)
        }
        Work::Recreate { stack, committed, services } => {
            deep::recreate(&mut cx, &stack, &committed, &services).await.map(|()| Reply::Done)
        }
        Work::Prune { stack, keep } => {
            crate::runtime::prune(&mut cx, &stack, &keep).await.map(|()| Reply::Done)
        }
    }
}

/// What a drill starts is none of what the work lock is for: deployments go on beside it.
async fn drill(layout: Layout, place: Place, work: Work) -> Result<Reply, Failed> {
    let step = Step::Probe;
    let lock = WorkLock::take_for_drill(&layout);
    let lock = lock.map_err(|error| Fail::other(step, format!("the drill's lock: {error}")))?;
    let cx = Context { layout, place, lock };
    match work {
        Work::Rehearse { stack, tree, prepared, scratch, saved } => {
            let loaded = release::load(&cx.layout, &stack, tree, step)?;
            loaded.render(&cx, step)?;
            let ready = Compose::rehearse(&cx, &loaded, &prepared, &scratch, saved).await;
            ready.map(Reply::Rehearsed)
        }
        Work::StartDrill { stack, tree, scratch, services } => {
            let loaded = release::load(&cx.layout, &stack, tree, step)?;
            Compose::start_drill(&cx, &loaded, &scratch, &services).await.map(|()| Reply::Done)
        }
        _ => Ok(Reply::Done),
    }
}

async fn up(
    cx: &mut Context,
    (stack, tree): (&StackName, TreeDigest),
    from: Option<TreeDigest>,
    prepared: &Prepared,
    step: Step,
    records: &mut Records,
) -> Result<Vec<Container>, Failed> {
    let started = records.start();
    let loaded = release::load(&cx.layout, stack, tree, step)?;
    loaded.render(cx, step)?;
    crate::runtime::leave_others(cx, stack, &prepared.runtime).await?;
    let (containers, said) = parts::switch(cx, &loaded, from, prepared, step).await?;
    crash::crash_point("up.started");
    records.done(started, step, said);
    Ok(containers)
}

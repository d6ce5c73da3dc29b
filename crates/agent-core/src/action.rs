//! What goes into the core and what comes out of it.

use std::{collections::BTreeMap, time::Duration};

use backstay_api::{
    agent::{Report, ReportBody},
    statement::{DesiredStack, Statement},
};
pub use backstay_types::Step;
use backstay_types::{
    Container, DeploymentId, FailureKind, ImageId, ReportId, StackName, StepRecord, Timestamp, TreeDigest,
};

use crate::{
    drift::Seen,
    journal::{Committed, Links, Operation, Prepared, StackRecord},
    recurrence::Finding,
    safety::Safety,
};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A statement whose signature is the pinned hub's.
    Statement(Box<Statement>),
    /// A statement that could not be taken for one.
    Unreadable {
        /// Why.
        reason: String,
    },
    /// A task ended.
    Finished(Finished),
    /// Something for the hub to know that is no business of the core's.
    Tell(ReportBody),
    /// The hub has these reports durably.
    Acked(Vec<ReportId>),
    /// The hub answered.
    Heard {
        /// Its time, signed for this very answer, when it was asked for.
        time: Option<Timestamp>,
    },
    /// The hub does not answer.
    Silence {
        /// For how long, by the monotonic clock.
        silent: Duration,
    },
    /// Something wants a stack to be left alone for a while, or all of them.
    Hold(Hold),
    /// It does not any more.
    Release {
        /// Which hold.
        id: u64,
    },
    /// Time passed; see [`crate::Core::deadline`].
    Tick,
}

/// Who saves or restores data wants to be alone with it. Granted once nothing is done to it; while it is wanted, nothing new
/// is begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Names it.
    pub id: u64,
    /// The stack; all of them when absent.
    pub stack: Option<StackName>,
}

/// A task that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Which.
    pub id: TaskId,
    /// The steps that it took, for the deployment's record.
    pub records: Vec<StepRecord>,
    /// How it ended.
    pub result: Result<Done, Failure>,
}

/// How a task ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// The release's folder is there and has the right digest.
    Fetched,
    /// It can run.
    Prepared(Box<Prepared>),
    /// The data is saved as it was before, or is not and the stack allows to go on.
    Saved,
    /// The data is in place, and nothing of the stack runs.
    Exchanged,
    /// The runtime took it. These are its containers.
    Activated(Vec<Container>),
    /// All probes said so. These are its containers.
    Healthy(Vec<Container>),
    /// What ran before runs again.
    Returned(Vec<Container>),
    /// Its containers are gone.
    Removed,
    /// The engine was told to start again.
    EngineRestarted,
    /// It does not run any more; all that it needs to run again is there.
    Stopped,
    /// Old releases are gone.
    Pruned,
    /// What was seen.
    Checked(Vec<Seen>),
    /// What was put right, and what is seen now.
    Healed(Box<Seen>),
    /// What a deep look found to differ.
    Compared(Vec<Finding>),
    /// What is still there of what was to be put right.
    Mended(Vec<Finding>),
    /// Whether the stack is well; else what it or its probes said.
    Asked(Result<(), String>),
}

/// How a task ended badly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// In which step.
    pub step: Step,
    /// What kind.
    pub kind: FailureKind,
    /// Why, for people.
    pub reason: String,
}

/// Names a task within a run of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub u64);

/// Something to do, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// What.
    pub act: Act,
    /// Why, for logs.
    pub why: String,
}

/// Something to do. In the order given; the next only when the one before is done
/// (a task is done being started when it runs).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Make durable, all or nothing.
    Persist(Transaction),
    /// Point the links: `previous` first when going forward, `current` first when going back.
    SetLinks {
        /// The stack.
        stack: StackName,
        /// Where.
        links: Links,
        /// Going back.
        back: bool,
    },
    /// Start a task; an [`Input::Finished`] follows.
    Run {
        /// Its id.
        id: TaskId,
        /// What.
        task: Box<Task>,
    },
    /// Stop the task that runs. Nothing of it may happen afterwards, and its end is not awaited.
    Abort {
        /// Its id.
        id: TaskId,
    },
}

/// Changes to the journal that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// What it is for, in one word; crash points are named by it.
    pub name: &'static str,
    /// The changes.
    pub changes: Vec<Change>,
}

/// A change to the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A statement was accepted.
    Hold(Box<Statement>),
    /// A stack's record, whole.
    Stack(StackName, Box<StackRecord>),
    /// The operation, whole; none when it ended.
    Operation(Option<Box<Operation>>),
    /// Safe mode and outage, whole.
    Safety(Box<Safety>),
    /// A report for the hub, after all earlier ones.
    Report(Report),
    /// Reports that the hub has.
    Forget(Vec<ReportId>),
}

/// Work that takes time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Bring the release's files here: check free space, get them from the hub or from Git,
    /// verify, stage. When they are here already: verify.
    Fetch {
        /// What.
        target: DesiredStack,
    },
    /// Validate and make ready to run: manifest, values, images, the stack's own check.
    Prepare {
        /// What.
        target: DesiredStack,
        /// How it was made ready before: its files are valid, the stack's own check need not run again.
        known: Option<Prepared>,
        /// What runs now.
        running: Option<Prepared>,
        /// The runtime's name for the stack, when it is fixed.
        project: Option<String>,
        /// The tree that runs now.
        from: Option<TreeDigest>,
    },
    /// Save the data of what runs, before another release takes its place. Where the target says which data is to come
    /// with it, that is made ready beside its place, and what runs has been stopped at the end.
    Snapshot {
        /// What is to come.
        target: DesiredStack,
        /// What runs; nothing where data is to be here before the stack first starts.
        running: Option<Box<Committed>>,
    },
    /// Stop what writes, save the data once more, and leave it stopped: the stack moves to another node.
    SaveLast {
        /// What is to be taken away.
        target: DesiredStack,
        /// What runs.
        running: Box<Committed>,
    },
    /// Put the data that was made ready in place, and keep what was there. Done again it comes to the same.
    Exchange {
        /// What is to come.
        target: DesiredStack,
    },
    /// Have the runtime run it.
    Activate {
        /// What.
        target: DesiredStack,
        /// How.
        prepared: Prepared,
        /// The tree that ran until now.
        from: Option<TreeDigest>,
    },
    /// Ask until it is healthy or time is up.
    Probe {
        /// What.
        target: DesiredStack,
        /// How it runs.
        prepared: Prepared,
    },
    /// Watch it.
    Bake {
        /// What.
        target: DesiredStack,
        /// How it runs.
        prepared: Prepared,
    },
    /// Have the runtime run what ran before, and see that it does; or stop it when nothing did.
    Return {
        /// The stack.
        stack: StackName,
        /// What failed.
        failed: Prepared,
        /// The tree of what failed.
        failed_tree: TreeDigest,
        /// What ran before.
        to: Option<Box<Committed>>,
        /// The deployment whose data is to be taken away again first, where it put any in place.
        data: Option<DeploymentId>,
    },
    /// Stop the stack and remove its containers, never its data.
    Remove {
        /// The stack.
        stack: StackName,
        /// What runs.
        running: Option<Box<Committed>>,
    },
    /// Stop the stack, since not even its last good release runs; nothing of it is forgotten.
    Stop {
        /// The stack.
        stack: StackName,
        /// What should run.
        running: Option<Box<Committed>>,
    },
    /// Delete releases of the stack that are not to be kept, with the images held for them.
    Prune {
        /// The stack.
        stack: StackName,
        /// Their trees.
        keep: Vec<TreeDigest>,
        /// The runtime's name for the stack.
        project: Option<String>,
    },
    /// Start the container engine again, which does not answer.
    RestartEngine {},
    /// Look at what runs, lightly.
    Check {
        /// What should be there.
        stacks: BTreeMap<StackName, Box<StackRecord>>,
    },
    /// Look at what runs, deeply: every file, every image, how containers are set up.
    Compare {
        /// The stack.
        stack: StackName,
        /// What should be there.
        record: Box<StackRecord>,
    },
    /// Put right what a deep look found, then look again.
    Mend {
        /// The stack.
        stack: StackName,
        /// What should be there.
        record: Box<StackRecord>,
        /// What departed.
        found: Vec<Finding>,
    },
    /// Ask the probes of what runs whether it is well, often enough that one bad answer is not taken for an illness. A
    /// stack without probes is well while its services run.
    Ask {
        /// The stack.
        stack: StackName,
        /// What should be there.
        record: Box<StackRecord>,
    },
    /// Put right what departed, then look again.
    Heal {
        /// The stack.
        stack: StackName,
        /// What should be there.
        record: Box<StackRecord>,
        /// Whether what runs is to be started again.
        runtime: bool,
        /// Whether the release itself is gone.
        release: bool,
        /// Whether the way back is to be opened again.
        previous: bool,
    },
}

impl Task {
    /// One word for logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Fetch { .. } => "fetch",
            Self::Prepare { .. } => "prepare",
            Self::Snapshot { .. } => "snapshot",
            Self::SaveLast { .. } => "save_last",
            Self::Exchange { .. } => "exchange",
            Self::Activate { .. } => "activate",
            Self::Probe { .. } => "probe",
            Self::Bake { .. } => "bake",
            Self::Return { .. } => "return",
            Self::Remove { .. } => "remove",
            Self::Stop { .. } => "stop",
            Self::Prune { .. } => "prune",
            Self::RestartEngine { .. } => "engine",
            Self::Check { .. } => "check",
            Self::Heal { .. } => "heal",
            Self::Compare { .. } => "compare",
            Self::Mend { .. } => "mend",
            Self::Ask { .. } => "ask",
        }
    }

    /// The deployment that it belongs to, if any.
    pub fn deployment(&self) -> Option<DeploymentId> {
        match self {
            Self::Fetch { target }
            | Self::Prepare { target, .. }
            | Self::Snapshot { target, .. }
            | Self::SaveLast { target, .. }
            | Self::Exchange { target }
            | Self::Activate { target, .. }
            | Self::Probe { target, .. }
            | Self::Bake { target, .. } => Some(target.deployment),
            _ => None,
        }
    }
}

impl Prepared {
    /// The image of every service.
    pub fn images(&self) -> BTreeMap<&str, &ImageId> {
        self.services.iter().map(|(name, service)| (name.as_str(), &service.image)).collect()
    }
}

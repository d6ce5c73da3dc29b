//! What survives a crash: the statement that is held, every stack's record and
//! the operation under way. Each state says all that is needed to go on from it.

use std::{collections::BTreeMap, time::Duration};

use backstay_api::statement::{DesiredStack, Statement};
use backstay_manifest::Probe;
use backstay_types::{
    Container, ConversationId, DeploymentId, Digest, FailureKind, ImageId, ReleaseId, StackName, Step,
    Timestamp, TreeDigest,
};
use serde::{Deserialize, Serialize};

use crate::recurrence::Departures;
use crate::safety::{Safety, Trouble};

/// Everything that the agent knows durably.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// The newest statement that was accepted.
    pub held: Option<Statement>,
    /// Every stack that was ever asked for here.
    pub stacks: BTreeMap<StackName, StackRecord>,
    /// What is being done; one thing at a time.
    pub operation: Option<Operation>,
    /// Safe mode, and what is remembered of a time without a hub.
    #[serde(default)]
    pub safety: Safety,
}

/// What is known of a stack.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackRecord {
    /// What should run, as long as no operation says otherwise.
    pub committed: Option<Committed>,
    /// What ran before it.
    pub previous: Option<Committed>,
    /// The last attempt that ended here without becoming `committed`; it is not tried again.
    pub ended: Option<Ended>,
    /// The newest attempt that has made here what it was to make. None before it is made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<Asked>,
    /// Releases whose files are here and were found valid.
    pub validated: BTreeMap<TreeDigest, Validated>,
    /// The runtime's name for the stack (Compose project), fixed at the first activation:
    /// another one would leave the volumes behind.
    pub project: Option<String>,
    /// What departed from what should be.
    #[serde(default, skip_serializing_if = "Departures::is_empty")]
    pub departures: Departures,
    /// Updates that failed, one after the other.
    #[serde(default, skip_serializing_if = "Trouble::is_none")]
    pub trouble: Trouble,
}

/// A release that was found valid here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validated {
    /// When.
    pub at: Timestamp,
    /// How it was made ready then. What needs no second look need not be done again.
    pub prepared: Prepared,
}

/// A release that runs or ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// Its tree.
    pub tree: TreeDigest,
    /// What the hub said about it; absent when it was found here without a journal.
    pub target: Option<DesiredStack>,
    /// The deployment that it counts for; absent when it was found here.
    pub deployment: Option<DeploymentId>,
    /// How it runs; absent when it was found here.
    pub prepared: Option<Prepared>,
    /// What ran when it was committed.
    pub containers: Vec<Container>,
    /// When it was committed.
    pub at: Timestamp,
}

/// An attempt that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The deployment.
    pub deployment: DeploymentId,
    /// Epoch of the statement that asked for it.
    pub epoch: u64,
    /// Generation of the statement that asked for it.
    pub generation: u64,
    /// Why it ended.
    pub reason: String,
}

/// An attempt, and the life of the hub's store in which it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Epoch of the statement that asked for it.
    pub epoch: u64,
    /// The deployment. Their ids come in the order in which a hub makes them.
    pub deployment: DeploymentId,
}

/// A release made ready to run on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// `compose` or `process`.
    pub runtime: String,
    /// The runtime's name for the stack.
    pub project: String,
    /// The services.
    pub services: BTreeMap<String, PreparedService>,
    /// What says whether it is healthy.
    pub probes: Vec<Probe>,
    /// How long it is watched after it became healthy.
    pub bake: Duration,
    /// What it reports about itself.
    #[serde(default)]
    pub figures: Vec<backstay_manifest::FigureSource>,
    /// Over all that it was made from: files, values, images. The same means that all of this still holds.
    pub inputs: Digest,
}

/// A service made ready to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedService {
    /// The local image, or the digest of the executable.
    pub image: ImageId,
    /// Over everything that makes it what it is, its ids left out. The same means it keeps running.
    pub config: Digest,
    /// The deployment that last changed it.
    pub deployment: DeploymentId,
    /// The release that it came with.
    pub release: ReleaseId,
    /// The conversations that caused that deployment.
    pub conversations: Vec<ConversationId>,
}

/// Names a boot of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(pub String);

/// What is being done to a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// What the hub asked for.
    pub target: DesiredStack,
    /// Epoch of the statement that asked.
    pub epoch: u64,
    /// Generation of the statement that asked.
    pub generation: u64,
    /// When it began.
    pub started_at: Timestamp,
    /// How far it is.
    pub phase: Phase,
}

/// How far an operation is. Each is what the journal says *before* the act that it names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// The files are to be fetched, verified and staged.
    Fetching(Fetching),
    /// The files are here; they are to be validated and made ready.
    Staged(Staged),
    /// It is ready; nothing that runs has been touched.
    Ready(Ready),
    /// The data of what runs is being saved; nothing that runs has been touched.
    Saving(Saving),
    /// Data is being put in the place of what is there; nothing of the stack runs.
    Exchanging(Exchanging),
    /// Links and runtime are being switched.
    Activating(Activating),
    /// It was started; it has yet to prove itself.
    Probing(Probing),
    /// It is healthy and being watched.
    Baking(Baking),
    /// It failed; the way back is being taken.
    Returning(Returning),
    /// What writes is being stopped and its data saved once more, before the stack is taken away.
    Leaving(Leaving),
    /// The stack is being taken away.
    Removing(Removing),
}

/// See [`Phase::Fetching`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetching {}

/// See [`Phase::Staged`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {}

/// See [`Phase::Ready`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// How it will run.
    pub prepared: Prepared,
}

/// See [`Phase::Saving`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saving {
    /// How it will run.
    pub prepared: Prepared,
}

/// See [`Phase::Exchanging`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchanging {
    /// How it will run.
    pub prepared: Prepared,
}

/// See [`Phase::Activating`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activating {
    /// How it will run.
    pub prepared: Prepared,
    /// The boot in which this attempt began.
    pub boot: BootId,
    /// From 1; a second interruption goes back.
    pub attempt: u32,
}

/// See [`Phase::Probing`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probing {
    /// How it runs.
    pub prepared: Prepared,
    /// The boot in which it was started.
    pub boot: BootId,
    /// As in [`Activating`].
    pub attempt: u32,
}

/// See [`Phase::Baking`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baking {
    /// How it runs.
    pub prepared: Prepared,
    /// The boot in which it was started.
    pub boot: BootId,
    /// As in [`Activating`].
    pub attempt: u32,
    /// What runs.
    pub containers: Vec<Container>,
}

/// See [`Phase::Returning`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returning {
    /// How the failed release was to run.
    pub prepared: Prepared,
    /// Why it goes back.
    pub cause: ReturnCause,
    /// Failed tries so far.
    pub failures: u32,
}

/// See [`Phase::Leaving`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// How it runs.
    pub prepared: Prepared,
    /// Failed tries so far.
    #[serde(default)]
    pub failures: u32,
}

/// See [`Phase::Removing`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removing {
    /// Failed tries so far.
    pub failures: u32,
}

/// Why a release is given up after it was activated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum ReturnCause {
    /// It failed.
    Failed {
        /// The step.
        step: Step,
        /// The kind of failure.
        failure: FailureKind,
        /// Why, for people.
        reason: String,
    },
    /// Something newer asks for what ran before.
    Superseded {
        /// The newer deployment.
        by: DeploymentId,
    },
}

/// Where the links of a stack should point.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Links {
    /// `current`.
    pub current: Option<TreeDigest>,
    /// `previous`.
    pub previous: Option<TreeDigest>,
}

/// What the links of a stack say when there is no journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// Where they point.
    pub links: Links,
}

impl Phase {
    /// Whether data, links or the runtime may have been touched.
    pub fn is_activated(&self) -> bool {
        matches!(
            self,
            Self::Exchanging(_)
                | Self::Activating(_)
                | Self::Probing(_)
                | Self::Baking(_)
                | Self::Returning(_)
                | Self::Leaving(_)
        )
    }

    /// One word, for logs, crash points and people.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Fetching(_) => "fetching",
            Self::Staged(_) => "staged",
            Self::Ready(_) => "ready",
            Self::Saving(_) => "saving",
            Self::Exchanging(_) => "exchanging",
            Self::Activating(_) => "activating",
            Self::Probing(_) => "probing",
            Self::Baking(_) => "baking",
            Self::Returning(_) => "returning",
            Self::Leaving(_) => "leaving",
            Self::Removing(_) => "removing",
        }
    }
}

impl Journal {
    /// Whether this deployment is the one that is under way.
    pub fn is_under_way(&self, deployment: DeploymentId) -> bool {
        self.operation.as_ref().is_some_and(|operation| operation.target.deployment == deployment)
    }

    /// Where a stack's links should point now.
    pub fn links(&self, stack: &StackName) -> Links {
        let Some(record) = self.stacks.get(stack) else { return Links::default() };
        let committed = record.committed.as_ref().map(|c| c.tree);
        let previous = record.previous.as_ref().map(|c| c.tree);
        match self.operation.as_ref().filter(|o| &o.target.stack == stack) {
            Some(Operation {
                phase: Phase::Activating(_) | Phase::Probing(_) | Phase::Baking(_),
                target,
                ..
            }) => {
                // Starting again what already runs leaves the way back as it is.
                let before = if committed == Some(target.tree) { previous } else { committed };
                Links { current: Some(target.tree), previous: before }
            }
            _ => Links { current: committed, previous },
        }
    }
}

impl StackRecord {
    /// Whether this attempt already has its end here.
    pub fn is_settled(&self, deployment: DeploymentId) -> bool {
        let committed = self.committed.as_ref().and_then(|c| c.deployment);
        committed == Some(deployment) || self.ended.as_ref().is_some_and(|e| e.deployment == deployment)
    }

    /// Whether an attempt is an older one than what made what is here: who asks for it does not know that yet.
    pub fn is_past(&self, asked: Asked) -> bool {
        self.newest.is_some_and(|done| done.epoch == asked.epoch && done.deployment > asked.deployment)
    }

    /// An attempt has made what it was to make.
    pub(crate) fn made(&mut self, asked: Asked) {
        let later = |known: &Asked| (known.epoch, known.deployment) > (asked.epoch, asked.deployment);
        self.newest = Some(self.newest.filter(later).unwrap_or(asked));
    }
}

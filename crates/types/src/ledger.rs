//! The ledger: the record of every decision, sealed into a hash chain.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    AgentOutcome, AgentUpdateId, AgentUpdateState, CommitId, ConstraintId, ConversationId, DeploymentId,
    DeploymentState, Digest, Effect, EnvironmentName, EventId, Labels, MigrationId, MigrationStep, NodeId,
    NodeName, ReleaseId, RepositoryHealth, RepositoryId, RepositoryWarning, RolloutId, RolloutState,
    StackName, TreeDigest, UndoId, UndoState, UserName, id::Id as _,
};

/// The ids that an entry can be found by. Indexed; correlation reads these, never bodies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refs {
    /// The conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<ConversationId>,
    /// The repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepositoryId>,
    /// The commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitId>,
    /// The stack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<StackName>,
    /// The release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseId>,
    /// The rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutId>,
    /// The deployment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<DeploymentId>,
    /// The node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// The undo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<UndoId>,
    /// The constraint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraint: Option<ConstraintId>,
}

/// A sealed entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LedgerEntry {
    /// Position in the chain: gapless, from 1.
    pub seq: u64,
    /// Its id.
    pub id: EventId,
    /// When it happened.
    pub at: Timestamp,
    /// Its kind, the `kind` of its body.
    pub kind: String,
    /// What it is about.
    pub refs: Refs,
    /// The body; absent once erased.
    pub event: Option<Event>,
    /// [`body_hash`] of the body's JSON as it was stored.
    pub body_hash: Digest,
    /// The chain's hash up to and including this entry.
    pub hash: Digest,
}

/// The newest sealed entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LedgerHead {
    /// Its position; 0 when the ledger is empty.
    pub seq: u64,
    /// Its hash.
    pub hash: Digest,
}

/// `H(salt ‖ body)`: what the chain holds of a body, so that erasing salt and body leaves the chain verifiable.
pub fn body_hash(salt: &[u8], body: &[u8]) -> Digest {
    let hash = Sha256::new().chain_update(salt).chain_update(body).finalize();
    Digest::from_bytes(hash.into())
}

/// `H(prev ‖ seq ‖ kind ‖ ids ‖ at ‖ H(salt ‖ body))`, each text behind its length, numbers little endian.
/// Before the first entry, `prev` is 32 zero bytes. The ids are the entry's own 16 bytes, in front of `kind`,
/// and `refs` as their JSON with absent ids left out.
pub fn chain_hash(
    prev: Digest,
    seq: u64,
    id: EventId,
    kind: &str,
    refs: &Refs,
    at: Timestamp,
    body: Digest,
) -> Digest {
    let refs = serde_json::to_string(refs).unwrap_or_default();
    let mut hash = Sha256::new_with_prefix(prev.as_bytes());
    hash.update(seq.to_le_bytes());
    hash.update(id.uuid().as_bytes());
    for text in [kind, &refs] {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    hash.update(at.as_microsecond().to_le_bytes());
    hash.update(body.as_bytes());
    Digest::from_bytes(hash.finalize().into())
}

/// What happened. Typed and versioned: a variant is added, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// A conversation was heard of for the first time.
    ConversationOpened {
        /// The tool.
        tool: String,
    },
    /// A conversation ended.
    ConversationClosed {
        /// The tool's reason.
        reason: String,
        /// How many tool events were kept.
        tool_events: u64,
        /// Digest over their ids and kinds, in order.
        digest: Digest,
    },
    /// A repository was added.
    RepositoryAdded {
        /// Its name.
        name: String,
    },
    /// The state of a mirror changed.
    RepositoryHealthChanged {
        /// The new state.
        health: RepositoryHealth,
    },
    /// A branch that nodes follow instead of the deployed one was read, or its state changed.
    BranchChanged {
        /// The branch.
        branch: String,
        /// The commit that its nodes should run from now on, unless `health` says otherwise.
        tip: CommitId,
        /// Its state.
        health: RepositoryHealth,
    },
    /// Someone should look at something in a repository that was not so before. It keeps nothing from being deployed.
    RepositoryWarned {
        /// What is new; the first 10.
        warnings: Vec<RepositoryWarning>,
        /// How many are new.
        new: u64,
    },
    /// A commit was seen on the deployed branch.
    ChangeSeen {
        /// First line of its message.
        subject: String,
        /// Who wrote it.
        author: String,
    },
    /// A commit was linked to a conversation after it had been seen.
    ChangeLinked {
        /// How the link is known.
        source: crate::LinkSource,
    },
    /// A release was made.
    ReleaseCreated {
        /// Its tree.
        tree: TreeDigest,
    },
    /// A node joined.
    NodeJoined {
        /// Its name.
        name: NodeName,
    },
    /// A node's labels were changed.
    NodeLabelled {
        /// Those that were set, with what they are now.
        set: Labels,
        /// Keys of those that were taken off.
        removed: Vec<String>,
        /// Why, where somebody said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// Who.
        by: String,
    },
    /// A node was taken out of the fleet: by now it runs nothing, or what it ran was left running.
    NodeDecommissioned {
        /// Whether what it ran was left running.
        kept_running: bool,
        /// Why.
        reason: String,
        /// Who.
        by: String,
    },
    /// A node's credential was taken away.
    NodeRevoked {
        /// Its name.
        name: NodeName,
    },
    /// A rollout began.
    RolloutStarted {
        /// Why.
        reason: String,
    },
    /// A rollout changed state.
    RolloutStateChanged {
        /// The new state.
        state: RolloutState,
        /// Why.
        reason: String,
    },
    /// A rollout's next wave began.
    RolloutWaveOpened {
        /// Which, from 1.
        wave: u32,
        /// Why: what the gate saw.
        reason: String,
    },
    /// A release was let into an environment.
    ReleasePromoted {
        /// Which.
        environment: EnvironmentName,
        /// Why.
        reason: String,
        /// Who: a user, or `promotion` when it came in by itself.
        by: String,
        /// Whether the environments before had not run it as they should.
        forced: bool,
    },
    /// What the failures of a stopped rollout have in common was looked at.
    RolloutAnalysed {
        /// What was found, a line each.
        findings: Vec<String>,
        /// The conversations whose commits it brought.
        blamed: Vec<ConversationId>,
    },
    /// A rollout was paused, or went on.
    RolloutPaused {
        /// Whether it was paused.
        paused: bool,
        /// Why.
        reason: String,
        /// Who.
        by: String,
    },
    /// A rollout was let go on in spite of freezes and closed windows.
    RolloutOverridden {
        /// Why.
        reason: String,
        /// Who.
        by: String,
    },
    /// How well the whole fleet is came to another level.
    FleetHealthChanged {
        /// What follows now.
        level: crate::HealthLevel,
        /// How many nodes turned unhealthy within the while.
        unhealthy: u64,
        /// Of how many.
        nodes: u64,
        /// The same in words.
        reason: String,
    },
    /// Everything was stopped, or let go on.
    EmergencyStopSet {
        /// Whether it was stopped.
        stopped: bool,
        /// Why.
        reason: String,
        /// Who.
        by: String,
    },
    /// What a node should run changed.
    DesiredChanged {
        /// The new generation.
        generation: u64,
        /// Digest of the statement.
        digest: Digest,
    },
    /// A deployment began on a node.
    DeploymentStarted,
    /// A deployment ended.
    DeploymentFinished {
        /// How.
        state: DeploymentState,
        /// Digest over its recorded steps.
        steps: Digest,
    },
    /// What runs departed from what should, or came back to it.
    DriftReported {
        /// What was found and done.
        detail: String,
    },
    /// A node went into safe mode.
    SafeModeEntered {
        /// Why.
        reason: String,
    },
    /// An operator said that a node may leave safe mode.
    SafeModeLeaveAsked {
        /// Why.
        reason: String,
        /// Who.
        by: String,
    },
    /// A node left safe mode.
    SafeModeLeft {
        /// What led it out.
        reason: String,
    },
    /// A node is back after it had no hub.
    NodeWasCutOff {
        /// Since when.
        from: Timestamp,
        /// Until when.
        to: Timestamp,
        /// What happened there meanwhile.
        detail: String,
    },
    /// A constraint was set.
    ConstraintSet {
        /// What it does.
        effect: Effect,
        /// Why.
        reason: String,
        /// Who.
        by: String,
    },
    /// A constraint was lifted or ran out.
    ConstraintLifted {
        /// Why.
        reason: String,
        /// Who.
        by: String,
    },
    /// An undo was asked for.
    UndoRequested {
        /// Who.
        by: String,
        /// Why.
        reason: String,
    },
    /// An undo changed state.
    UndoStateChanged {
        /// The new state.
        state: UndoState,
    },
    /// An undo commit was made, pushed or refused.
    UndoPushed {
        /// What became of it.
        push: crate::PushState,
    },
    /// A program for agents was uploaded.
    AgentKept {
        /// Which.
        detail: String,
        /// Who.
        by: String,
    },
    /// An update of agents began, opened a wave, stopped or ended.
    AgentUpdateChanged {
        /// Its id.
        update: AgentUpdateId,
        /// The version that nodes should run.
        version: String,
        /// How it stands.
        state: AgentUpdateState,
        /// The wave, from 1.
        wave: u32,
        /// Why.
        reason: String,
        /// Who.
        by: String,
    },
    /// A node's agent was updated, or not.
    AgentUpdated {
        /// The version that it should run.
        version: String,
        /// What became of it.
        #[serde(flatten)]
        outcome: AgentOutcome,
    },
    /// A node's data, or the hub's own state, was saved. Some of it may be missing then: `failed` says so.
    BackupMade {
        /// Why it was made.
        reason: crate::backup::BackupReason,
        /// How many snapshots there are of it.
        snapshots: u64,
        /// Bytes of content in them.
        bytes: u64,
        /// What is missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failed: Option<String>,
    },
    /// A backup came to nothing.
    BackupFailed {
        /// Why.
        why: String,
    },
    /// Snapshots were read back at the target and are right.
    BackupVerified {
        /// Which.
        snapshots: Vec<crate::backup::SnapshotId>,
        /// Whether that was at the second target.
        second: bool,
    },
    /// A repository was found to be damaged, or to be right again.
    BackupRepositoryChecked {
        /// How many problems there are.
        problems: u64,
        /// The first of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        first: Option<String>,
    },
    /// Somebody asked for data to be put back.
    RestoreAsked {
        /// From which snapshot.
        snapshot: crate::backup::SnapshotId,
        /// Whether it goes where it came from.
        in_place: bool,
        /// The node whose data it is, where that is another one: its backups are read meanwhile.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of_node: Option<NodeId>,
        /// Who.
        by: String,
    },
    /// Data was put back, or was not.
    RestoreFinished {
        /// From which snapshot.
        snapshot: crate::backup::SnapshotId,
        /// Why not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failed: Option<String>,
    },
    /// Somebody asked for a drill: whether a snapshot can be put back.
    DrillAsked {
        /// With which snapshot.
        snapshot: crate::backup::SnapshotId,
        /// Who.
        by: String,
    },
    /// It was tried whether a snapshot can be put back.
    DrillFinished {
        /// With which snapshot.
        snapshot: crate::backup::SnapshotId,
        /// Whether the stack was started with it.
        started: bool,
        /// How long it took to fetch and write its data, in milliseconds.
        restore_ms: u64,
        /// Why it did not pass.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failed: Option<String>,
    },
    /// Snapshots that retention does not keep were forgotten, and what none needs was taken away.
    BackupsPruned {
        /// Which were forgotten.
        snapshots: Vec<crate::backup::SnapshotId>,
        /// Bytes that were freed.
        deleted_bytes: u64,
    },
    /// A node tried to change or delete what is in a repository. Told once an hour at most.
    BackupWriteRefused {
        /// What it tried first.
        what: String,
        /// How often since this was told last.
        times: u64,
    },
    /// A snapshot is kept whatever retention says, or no longer.
    SnapshotHeld {
        /// Which.
        snapshot: crate::backup::SnapshotId,
        /// Whether it is kept.
        held: bool,
        /// Why.
        reason: String,
        /// Who.
        by: String,
    },
    /// A job about backups was cancelled.
    BackupCancelled {
        /// Which.
        job: crate::BackupJobId,
        /// Who.
        by: String,
    },
    /// The passwords of repositories are sealed to this recovery key from now on.
    RecoveryKeySet {
        /// Its public part.
        recipient: String,
        /// Who.
        by: String,
    },
    /// What is at a backup target now was taken for what should be there: what seems to be gone is.
    BackupTargetAccepted {
        /// Where.
        place: String,
        /// Who.
        by: String,
    },
    /// Stacks are to be moved from one node to another, with their data.
    MigrationStarted {
        /// Which move.
        migration: MigrationId,
        /// To which node.
        to: NodeId,
        /// The stacks.
        stacks: Vec<StackName>,
        /// Whether somebody said that the node that they leave is gone for good.
        from_gone: bool,
        /// Why.
        reason: String,
        /// Who.
        by: String,
    },
    /// A stack came a step further on its way to another node, or back.
    MigrationMoved {
        /// Which move.
        migration: MigrationId,
        /// To which node.
        to: NodeId,
        /// The step that it is at now.
        step: MigrationStep,
        /// Why, where it does not go on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// Somebody said that stacks are not to move after all.
    MigrationCancelled {
        /// Which move.
        migration: MigrationId,
        /// Who.
        by: String,
    },
    /// This hub was restored from a backup.
    HubRestored {
        /// From which snapshot.
        snapshot: crate::backup::SnapshotId,
        /// The epoch from now on.
        epoch: u64,
    },
    /// A token was made or taken away.
    TokenChanged {
        /// What was done, and to which.
        detail: String,
    },
    /// Something about who may sign in changed.
    UserChanged {
        /// The user.
        name: UserName,
        /// What was done.
        change: UserChange,
        /// Who did it.
        by: String,
    },
}

/// What was done to a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum UserChange {
    /// Made.
    Created {
        /// Its role: `viewer`, `operator` or `admin`.
        role: String,
    },
    /// Given another role.
    RoleChanged {
        /// The role before.
        from: String,
        /// The role now.
        to: String,
    },
    /// Kept from signing in; all sessions ended.
    Disabled,
    /// Let in again.
    Enabled,
    /// Given a one-time link with which a password can be set.
    LinkMade,
    /// Given a password, by a link or by itself; other sessions ended.
    PasswordSet,
    /// Signed out everywhere.
    SignedOut,
}

//! Backups: what there is, how it stands, and what is to be done about it.

use std::collections::BTreeMap;

use backstay_types::{
    BackupJobId, DeploymentId, NodeId, NodeName, Secret, StackName, Timestamp,
    backup::{
        BackupHistory, BackupJob, BackupJobState, BackupTaskKind, Damage, Destination, DrillHistory,
        KeptSnapshot, Proof, RepositoryFacts, Snapshot, SnapshotId, job::FileEntry,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Page;
use crate::endpoint::endpoints;

endpoints! {
    /// Backups at a glance: whether they are set up and where they go, how the fleet stands, what runs.
    GetBackups = Get "/api/v1/backups" Viewer () -> BackupsView;
    /// How each node's backups stand, what needs a person first, then by name. The hub's own comes first of all.
    ListBackupStatus = Get "/api/v1/backups/nodes" Viewer (query: BackupStatusQuery) -> Page<BackupStatus>;
    /// Snapshots, newest first.
    ListSnapshots = Get "/api/v1/backups/snapshots" Viewer (query: SnapshotsQuery) -> Page<SnapshotView>;
    /// One snapshot.
    GetSnapshot = Get "/api/v1/backups/snapshots/{snapshot}" Viewer (path: SnapshotPath) -> SnapshotView;
    /// Keeps a snapshot from being forgotten, whatever retention says.
    HoldSnapshot = Post "/api/v1/backups/snapshots/{snapshot}/hold" Operator
        (path: SnapshotPath, body: HoldSnapshotRequest) -> SnapshotView;
    /// Lets retention decide about a snapshot again.
    ReleaseSnapshot = Delete "/api/v1/backups/snapshots/{snapshot}/hold" Operator (path: SnapshotPath) -> SnapshotView;
    /// Jobs about backups, newest first: backups, restores, and what the hub does with repositories.
    ListBackupJobs = Get "/api/v1/backups/jobs" Viewer (query: BackupJobsQuery) -> Page<BackupJobView>;
    /// One job.
    GetBackupJob = Get "/api/v1/backups/jobs/{job}" Viewer (path: BackupJobPath) -> BackupJobView;
    /// Ends a job: one that waits at once, one that runs as soon as whoever does it hears of it.
    CancelBackupJob = Post "/api/v1/backups/jobs/{job}/cancel" Operator (path: BackupJobPath) -> BackupJobView;
    /// Makes backups now: of a node, of a stack, of the nodes that a selector names, of all, of the hub's own state.
    StartBackup = Post "/api/v1/backups" Operator (body: StartBackupRequest) -> StartedBackups;
    /// Reads a node's snapshots back at the target now: one of them, or its whole repository with all data.
    VerifyBackups = Post "/api/v1/backups/verify" Operator (body: VerifyBackupsRequest) -> BackupJobView;
    /// Forgets what retention does not keep and takes away what no snapshot needs; or says what would go.
    PruneBackups = Post "/api/v1/backups/prune" Operator (body: PruneBackupsRequest) -> PruneView;
    /// Puts data back on a node; or says what would be put back.
    StartRestore = Post "/api/v1/backups/restores" Operator (body: RestoreRequest) -> RestoreView;
    /// Tries now whether snapshots can be put back: each is restored to scratch on its node, compared, and, where its stack
    /// allows it, started there beside the one that runs.
    StartDrill = Post "/api/v1/backups/drills" Operator (body: StartDrillRequest) -> StartedBackups;
    /// Asks what a snapshot holds. The answer is read with `get_snapshot_files` once the job is done.
    AskSnapshotFiles = Post "/api/v1/backups/snapshots/{snapshot}/files" Operator
        (path: SnapshotPath, body: SnapshotFilesRequest) -> BackupJobView;
    /// What a snapshot holds, as a job of `ask_snapshot_files` found it. Kept for a day.
    GetSnapshotFiles = Get "/api/v1/backups/jobs/{job}/files" Operator (path: BackupJobPath) -> SnapshotFiles;
    /// Takes what is at a target now for what should be there, where the hub does not know it again: it was emptied on
    /// purpose. What was there counts as lost.
    AcceptBackupTarget = Post "/api/v1/backups/target/accept" Admin (body: AcceptTargetRequest) -> BackupTargetView;
    /// The owner's recovery key: its public part, and which repositories it opens.
    GetRecoveryKey = Get "/api/v1/backups/recovery-key" Viewer () -> RecoveryKeyView;
    /// Says to which key the passwords of all repositories are sealed. Only its public part is ever sent here.
    SetRecoveryKey = Post "/api/v1/backups/recovery-key" Admin (body: SetRecoveryKeyRequest) -> RecoveryKeyView;
    /// A repository's password, sealed to the recovery key (age, armored): only its owner can open it.
    GetRepositoryRecovery = Get "/api/v1/backups/nodes/{node}/recovery" Admin
        (path: BackupRepositoryPath) -> RepositoryRecovery;
}

/// Backups at a glance.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct BackupsView {
    /// Where backups go and by which rules; absent when they are not set up at the hub.
    pub settings: Option<BackupSettingsView>,
    /// How many nodes there are whose stacks have been seen to run.
    pub nodes: u64,
    /// How many nodes are in each state.
    pub by_state: BTreeMap<BackupHealth, u64>,
    /// How backups of the last 90 days ended.
    pub last_90_days: BackupRate,
    /// When the newest proven snapshot of that node was begun whose newest one is the oldest of all.
    pub oldest_proven_at: Option<Timestamp>,
    /// How drills of the last 90 days ended. One that was put off or cancelled is not counted.
    pub drills_90_days: BackupRate,
    /// When the newest snapshot with which a drill passed was begun, of that stack on that node where it is the oldest.
    pub oldest_drilled_at: Option<Timestamp>,
    /// How long it took to fetch and write a stack's data in the newest drill that passed, in milliseconds: of each stack
    /// the node where it took longest.
    pub restore_ms: BTreeMap<StackName, u64>,
    /// Bytes that all repositories take at the target.
    pub bytes: u64,
    /// Jobs that run now, at most 100.
    pub running: Vec<BackupJobView>,
    /// How many jobs wait.
    pub queued: u64,
    /// What a person should do something about, most urgent first.
    pub warnings: Vec<BackupWarning>,
}

/// Where backups go and by which rules. No secrets are in here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupSettingsView {
    /// Where repositories are.
    pub target: BackupTargetView,
    /// Where copies of them are.
    pub second: Option<BackupTargetView>,
    /// How often, in seconds.
    pub every_seconds: u64,
    /// What retention keeps.
    pub keep: KeepView,
    /// How many bytes all repositories may take before the schedule makes no more than must be kept.
    pub max_bytes: Option<u64>,
    /// How many bytes a node's may take before the schedule makes no more than must be kept of it.
    pub max_bytes_per_node: Option<u64>,
    /// Within how many seconds all data is read once.
    pub read_all_every_seconds: u64,
    /// How many nodes make backups at once.
    pub parallel: u32,
    /// Bytes a second that a node may send.
    pub bytes_per_second: Option<u64>,
    /// How often each stack of each node is drilled, in seconds; 0 when that is only done by hand.
    pub drill_every_seconds: u64,
}

/// A target, as people should see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupTargetView {
    /// A folder, or `s3://bucket/prefix at endpoint`.
    pub place: String,
    /// Whether what this hub holds is enough to delete there. While it is, who takes over the hub can delete backups;
    /// nodes cannot in any case.
    pub hub_can_delete: bool,
    /// The same in words, and what to do about it.
    pub note: String,
    /// Why it is not used now: it is not the one that the hub knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_used: Option<String>,
}

/// What retention keeps. Each is a number of snapshots, of each stack on each node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeepView {
    /// Nothing that is older is kept, but for `at_least`, holds and what an undo needs.
    pub days: u32,
    /// Hours of which the newest is kept.
    pub hourly: u32,
    /// Days of which the newest is kept.
    pub daily: u32,
    /// Weeks of which the newest is kept.
    pub weekly: u32,
    /// Months of which the newest is kept.
    pub monthly: u32,
    /// So many proven ones are kept however old they are.
    pub at_least: u32,
}

/// Something about backups that a person should do something about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupWarning {
    /// The node; absent when it concerns the hub or all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// What is wrong and what to do.
    pub text: String,
}

/// How backups ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupRate {
    /// That ended well.
    pub done: u64,
    /// That failed.
    pub failed: u64,
}

/// How a node's backups stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackupHealth {
    /// The repository is damaged.
    Damaged,
    /// The newest one failed.
    Failed,
    /// A size ceiling is reached: only what must be kept stays, and the schedule makes no new ones.
    Full,
    /// The newest proven one is older than twice the rhythm.
    Late,
    /// There is one, but none that was read back.
    Unproven,
    /// None was made yet.
    Never,
    /// Proven, and not late.
    Good,
    /// Nothing on it is to be saved.
    Nothing,
}

/// Which nodes' backups.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BackupStatusQuery {
    /// Only this node, by name or id; `hub` is the hub's own state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Only nodes with backups of this stack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<StackName>,
    /// Only those in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<BackupHealth>,
    /// At most this many items; 100 when absent, 1000 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// From the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// How a node's backups stand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BackupStatus {
    /// The node; absent for the hub's own state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// Its name; `hub` for the hub's own state.
    pub name: String,
    /// How they stand.
    pub state: BackupHealth,
    /// Why, in words; empty when all is well.
    pub why: String,
    /// Its stacks of which there is a snapshot.
    pub stacks: Vec<StackBackups>,
    /// When the newest proven snapshot was begun.
    pub proven_at: Option<Timestamp>,
    /// What was tried.
    pub history: BackupHistory,
    /// When the next one is due.
    pub next_at: Option<Timestamp>,
    /// The job that runs or waits.
    pub job: Option<BackupJobView>,
    /// The repository.
    pub repository: RepositoryFacts,
    /// What is wrong with the repository, when something is.
    pub damaged: Option<Damage>,
    /// How backups of the last 90 days ended.
    pub last_90_days: BackupRate,
    /// How drills of the last 90 days ended.
    pub drills_90_days: BackupRate,
}

/// How backups of a stack on a node stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StackBackups {
    /// The stack; absent for the hub's own state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<StackName>,
    /// How many snapshots there are.
    pub snapshots: u64,
    /// The newest.
    pub newest: Option<Snapshot>,
    /// The newest that is proven.
    pub proven: Option<Snapshot>,
    /// How drills of it went; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill: Option<DrillHistory>,
    /// When the next drill is due; absent when drills are only made by hand, or nothing is proven yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_drill_at: Option<Timestamp>,
}

/// Which snapshots.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SnapshotsQuery {
    /// Only of this node, by name or id; `hub` is the hub's own state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Only of this stack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<StackName>,
    /// Only those that are proven so far, or further.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// Only those begun before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Timestamp>,
    /// At most this many items; 100 when absent, 1000 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// From the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A snapshot as people should see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotView {
    /// The snapshot. `node_name` is the node's name when it was made.
    #[serde(flatten)]
    pub kept: KeptSnapshot,
    /// Whether its node is still in the fleet.
    pub node_is_there: bool,
}

/// Which snapshot.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotPath {
    /// Its id, or the first 8 digits or more of it.
    pub snapshot: String,
}

/// Why a snapshot is kept.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct HoldSnapshotRequest {
    /// Why.
    pub reason: String,
    /// Until when; for ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// Which jobs.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BackupJobsQuery {
    /// Only of this node, by name or id; `hub` is the hub's own state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Only of this kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<BackupTaskKind>,
    /// Only those in this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<BackupJobState>,
    /// At most this many items; 100 when absent, 1000 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// From the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Which job.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct BackupJobPath {
    /// Its id.
    pub job: BackupJobId,
}

/// A job with the name of its node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupJobView {
    /// The job.
    #[serde(flatten)]
    pub job: BackupJob,
    /// The node's name; `hub` for the hub's own state.
    pub node_name: String,
}

/// What to back up now. Exactly one of `node`, `nodes`, `all` and `hub` is given.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StartBackupRequest {
    /// A node, by name or id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Nodes by their labels, as in `role=assistant,region in (eu,us)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<String>,
    /// All nodes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// The hub's own state.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hub: bool,
    /// Only this stack; all that a node runs when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<StackName>,
}

/// What to drill now. At least one of `node`, `stack` and `snapshot` is given.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StartDrillRequest {
    /// Only on this node, by name or id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Only this stack; every one of which there is a proven snapshot when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<StackName>,
    /// With this snapshot, by its id or the first 8 digits or more of it; the newest that is proven when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// Only files are compared and databases checked; nothing is started.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub files_only: bool,
}

/// Backups that were begun. A node that has one under way gets no second one: its job is named.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StartedBackups {
    /// The jobs, by the node's name; the first 1000.
    pub jobs: Vec<BackupJobView>,
    /// How many there are.
    pub count: u64,
}

/// What to read back.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct VerifyBackupsRequest {
    /// The node, by name or id; `hub` is the hub's own state.
    pub node: String,
    /// Only this snapshot; the whole repository when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
}

/// What to prune.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PruneBackupsRequest {
    /// The node, by name or id; `hub` is the hub's own state.
    pub node: String,
    /// Only says what would go.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a prune takes away.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PruneView {
    /// Every snapshot of the repository, newest first, with what becomes of it.
    pub snapshots: Vec<PlannedSnapshot>,
    /// The job that does it, or that counts what it would free.
    pub job: BackupJobView,
}

/// What becomes of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedSnapshot {
    /// Its id.
    pub id: SnapshotId,
    /// When it was begun.
    pub at: Timestamp,
    /// The stack.
    pub stack: Option<StackName>,
    /// How far it is proven.
    pub proof: Proof,
    /// Whether it stays.
    pub stays: bool,
    /// Why.
    pub reason: String,
}

/// What to put back, and where.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RestoreRequest {
    /// The id that the job gets; the hub's choice when absent. Who asks again under the same id gets the same job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<BackupJobId>,
    /// The node whose data it is, by name or id; the snapshot's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The stack; the snapshot's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<StackName>,
    /// Which snapshot.
    pub from: RestoreFrom,
    /// Only these items of `[[backup]]`; all when empty.
    #[serde(default)]
    pub items: Vec<String>,
    /// Only these paths inside the snapshot; all when empty.
    #[serde(default)]
    pub paths: Vec<String>,
    /// The node on which it is put back, by name or id; the one whose data it is when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
    /// Where it goes on the node.
    pub destination: Destination,
    /// Only says what would be put back.
    #[serde(default)]
    pub dry_run: bool,
    /// `NODE/STACK`, typed by a person, where older data could make a validator sign twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
}

/// Which snapshot is put back. Only proven ones are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestoreFrom {
    /// The newest.
    Latest,
    /// This one, by its id or the first 8 digits or more of it.
    Snapshot(String),
    /// The newest that was begun at this time or before.
    At(Timestamp),
    /// The one that was made for this deployment; else the newest from before it began.
    BeforeDeployment(DeploymentId),
}

/// A restore that was begun, or what it would be.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RestoreView {
    /// What is put back.
    pub snapshot: SnapshotView,
    /// The node on which.
    pub node_name: NodeName,
    /// The node whose data it is, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_node: Option<NodeName>,
    /// The stack.
    pub stack: StackName,
    /// Whether it waits until the node is in the fleet and runs the stack.
    #[serde(default)]
    pub waits: bool,
    /// What happens, step by step, in words.
    pub steps: Vec<String>,
    /// What of today's data would be lost, in words; empty when nothing is.
    pub lost: Vec<String>,
    /// What a person has to type, since older data could make a validator sign twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
    /// The job; absent in a dry run.
    pub job: Option<BackupJobView>,
}

/// Which files of a snapshot.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SnapshotFilesRequest {
    /// Below this path; all of it when empty.
    pub path: String,
    /// All the way down, or only what is directly there.
    pub recursive: bool,
}

/// Files of a snapshot.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotFiles {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Below this path.
    pub path: String,
    /// By path; the first 50,000.
    pub files: Vec<FileEntry>,
    /// How many there are.
    pub count: u64,
}

/// The owner's recovery key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecoveryKeyView {
    /// Its public part (`age1…`); absent when none is set, and then nobody can open backups once this hub is lost.
    pub recipient: Option<String>,
    /// How many repositories it opens.
    pub sealed: u64,
    /// How many it does not open yet.
    pub unsealed: u64,
}

/// Which target.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct AcceptTargetRequest {
    /// The second one.
    #[serde(default)]
    pub second: bool,
}

/// To which key passwords are sealed.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SetRecoveryKeyRequest {
    /// Its public part (`age1…`).
    pub recipient: String,
    /// Takes the place of another one that is set.
    #[serde(default)]
    pub replace: bool,
}

/// Whose repository.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct BackupRepositoryPath {
    /// The node, by name or id; `hub` is the hub's own state.
    pub node: String,
}

/// What opens a repository without the hub.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RepositoryRecovery {
    /// Where it is, as restic wants it: `/folder/…` or `s3:https://…/bucket/prefix/…`.
    pub place: String,
    /// Its password, sealed to the recovery key (age, armored).
    pub sealed: Secret,
}

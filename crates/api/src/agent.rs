//! What agents and hub say to each other. Agents ask; the hub never calls a node.

use backstay_types::{
    AgentOutcome, AgentUpdateId, BackupJobId, Container, DeploymentId, DeploymentState, Digest, HostFacts,
    HostFigures, Labels, NodeId, NodeName, NodeSafety, ObservedStack, ReportId, RequestId, SafeModeId,
    Secret, StackName, StepRecord, Timestamp, TreeDigest,
    backup::{BackupOrder, BackupProgress, WorkOutcome},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    body::Binary,
    endpoint::{Empty, endpoints},
    statement::SignedStatement,
    time::SignedTime,
};

endpoints! {
    /// Exchanges a one-time join token for a node's own credential.
    JoinNode = Post "/agent/v1/join" Public (body: JoinRequest) -> JoinResponse;
    /// Asks what to run. Held until something changes or the hold ends.
    CheckIn = Post "/agent/v1/check-in" Agent (body: CheckInRequest) -> CheckInResponse;
    /// Hands over reports; each is taken once, and acknowledged once durable.
    SendReports = Post "/agent/v1/reports" Agent (body: ReportsRequest) -> ReportsResponse;
    /// Answers a question that came with a check-in.
    SendAnswer = Post "/agent/v1/answers/{request}" Agent (path: AnswerPath, body: Answer) -> Empty;
    /// A release's files as one pack, for any node that should run it. Immutable.
    GetPack = Get "/agent/v1/trees/{pack}" Agent (path: PackPath) -> Binary;
    /// An agent's program, named by its SHA-256. Immutable.
    GetAgentBuild = Get "/agent/v1/agents/{sha256}" Agent (path: AgentBuildPath) -> Binary;
    /// What the node should do about backups now. The same order comes again until its outcome was taken.
    NextBackup = Post "/agent/v1/backups/next" Agent (body: NextBackupRequest) -> NextBackupResponse;
    /// Tells how far a backup or restore is; about every ten seconds. Says whether to go on.
    SendBackupProgress = Post "/agent/v1/backups/{job}/progress" Agent (path: BackupJobPath, body: BackupProgress) -> BackupGoOn;
    /// Tells how it ended; taken once.
    FinishBackup = Post "/agent/v1/backups/{job}/outcome" Agent (path: BackupJobPath, body: WorkOutcome) -> Empty;
}

/// A node wants to join.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct JoinRequest {
    /// The one-time token, as printed by `backstay nodes token`.
    pub token: Secret,
    /// The name it wants.
    pub name: NodeName,
    /// Its labels.
    pub labels: Labels,
    /// Its machine.
    pub facts: HostFacts,
}

/// The node has joined.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct JoinResponse {
    /// Its id.
    pub node: NodeId,
    /// Its own bearer credential; the hub keeps only a hash.
    pub credential: Secret,
    /// The hub's Ed25519 public key, base64; must have the fingerprint that the token pins.
    pub hub_key: String,
    /// The time by the hub's clock.
    pub now: Timestamp,
}

/// What the agent has, and what it sees.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CheckInRequest {
    /// The newest statement that the agent holds.
    pub have: Option<Have>,
    /// How long the agent is willing to be held, in milliseconds. 0: answer at once.
    pub hold_ms: u64,
    /// What runs. Absent when nothing has changed since the last check-in that the hub answered.
    pub observed: Option<Vec<ObservedStack>>,
    /// The machine; sent at start and when it changes.
    pub facts: Option<HostFacts>,
    /// What the machine measures; sent now and then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figures: Option<HostFigures>,
    /// How safe the node is: safe mode, updates that wait. Absent when nothing has changed, as with `observed`.
    #[serde(default)]
    pub safety: Option<NodeSafety>,
    /// Set when the agent wants to know the time for certain: random text, which the signed time must name.
    #[serde(default)]
    pub nonce: Option<String>,
}

/// Which statement an agent holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Have {
    /// Its epoch.
    pub epoch: u64,
    /// Its generation.
    pub generation: u64,
    /// Its digest.
    pub digest: Digest,
    /// When it was issued, so that the hub can tell whether to renew it.
    pub issued_at: Timestamp,
}

/// The hub's answer.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CheckInResponse {
    /// The time by the hub's clock.
    pub now: Timestamp,
    /// A newer or renewed statement, when there is one.
    pub statement: Option<SignedStatement>,
    /// Questions for the agent.
    pub requests: Vec<AgentRequest>,
    /// The hub has forgotten what this agent sees (it restarted): send `observed` and `facts` next time.
    pub resend: bool,
    /// When and how to ask next.
    pub cadence: Cadence,
    /// The time, signed, when the agent asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<SignedTime>,
    /// There is something to do about backups: ask for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backup: bool,
}

/// Server-set rhythm of check-ins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cadence {
    /// How long to let the hub hold a check-in, in milliseconds.
    pub hold_ms: u64,
    /// How long to wait between check-ins, in milliseconds.
    pub interval_ms: u64,
    /// A random part to add, up to this many milliseconds.
    pub jitter_ms: u64,
}

/// A question for an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentRequest {
    /// The id to answer under.
    pub id: RequestId,
    /// The question.
    #[serde(flatten)]
    pub question: Question,
}

/// What a hub may ask an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Question {
    /// The last lines of a stack's logs.
    Logs {
        /// The stack.
        stack: StackName,
        /// Only this service.
        service: Option<String>,
        /// How many lines of each service.
        lines: u32,
    },
    /// What a stack's logs have that is new; held until there is some.
    NewLogs {
        /// The stack.
        stack: StackName,
        /// Behind this place, as an answer before gave it; the last lines when absent.
        after: Option<String>,
        /// At most so many lines of each service.
        lines: u32,
        /// How long to wait for something new, in milliseconds.
        wait_ms: u64,
    },
    /// Something that a newer hub asks and this agent does not know. It says so, and goes by the rest of the answer.
    #[serde(other)]
    Unknown,
}

impl Question {
    /// The stack that it is about, where that is known.
    pub fn stack(&self) -> Option<&StackName> {
        match self {
            Self::Logs { stack, .. } | Self::NewLogs { stack, .. } => Some(stack),
            Self::Unknown => None,
        }
    }
}

/// The request that is answered.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AnswerPath {
    /// The request's id.
    pub request: RequestId,
}

/// An agent's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// Log lines, oldest first.
    Logs {
        /// The lines.
        lines: Vec<LogLine>,
    },
    /// What is new.
    NewLogs {
        /// The lines, oldest first for each service.
        lines: Vec<LogLine>,
        /// Where to go on.
        after: String,
        /// Some lines before these are gone.
        dropped: bool,
    },
    /// It could not be answered.
    Failed {
        /// Why.
        reason: String,
    },
}

/// A line of a stack's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// The service.
    pub service: String,
    /// When, where the runtime knows it.
    pub at: Option<Timestamp>,
    /// The text.
    pub text: String,
}

/// What a node wants to do about backups.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct NextBackupRequest {
    /// A deployment of this node waits for a snapshot of this stack. Absent: whatever is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<BackupBefore>,
}

/// A deployment that waits for a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupBefore {
    /// The stack.
    pub stack: StackName,
    /// The deployment.
    pub deployment: DeploymentId,
}

/// What to do about backups.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct NextBackupResponse {
    /// The order; absent when there is nothing to do, or backups are not set up at the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<BackupOrder>,
    /// Whether backups are set up at the hub.
    pub set_up: bool,
}

/// Which job.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct BackupJobPath {
    /// The job's id.
    pub job: BackupJobId,
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub struct BackupGoOn {
    /// False: somebody cancelled it, or the hub has given it up. End it and tell the outcome.
    pub go_on: bool,
}

/// Which program.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AgentBuildPath {
    /// Its SHA-256.
    pub sha256: Digest,
}

/// Which pack.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct PackPath {
    /// `<tree digest>.pack`.
    pub pack: String,
}

/// Reports, oldest first.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReportsRequest {
    /// At most 500.
    pub reports: Vec<Report>,
}

/// What was taken; the agent forgets these and keeps the rest.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReportsResponse {
    /// Durable at the hub.
    pub accepted: Vec<ReportId>,
}

/// Something an agent did or saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Its id; the hub takes each once.
    pub id: ReportId,
    /// When, by the agent's clock.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub body: ReportBody,
}

/// What an agent reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "report", rename_all = "snake_case")]
pub enum ReportBody {
    /// A deployment began.
    DeploymentStarted {
        /// The deployment.
        deployment: DeploymentId,
        /// What ran before.
        previous: Option<TreeDigest>,
    },
    /// A step of a deployment ended.
    StepFinished {
        /// The deployment.
        deployment: DeploymentId,
        /// The step.
        record: StepRecord,
    },
    /// A deployment ended.
    DeploymentFinished {
        /// The deployment.
        deployment: DeploymentId,
        /// How; a final state.
        state: DeploymentState,
        /// What runs now.
        containers: Vec<Container>,
    },
    /// What runs departed from what should, and what was done about it.
    Drift {
        /// The stack.
        stack: StackName,
        /// What was found.
        detail: String,
        /// Whether it was put right.
        healed: bool,
        /// Whether it came back so often, or could not be put right, that it is left to a person.
        #[serde(default)]
        escalated: bool,
    },
    /// A stack was removed as asked.
    StackRemoved {
        /// The stack.
        stack: StackName,
        /// The deployment that asked for it.
        deployment: DeploymentId,
    },
    /// What became of an update of the agent itself.
    AgentUpdate {
        /// The update.
        update: AgentUpdateId,
        /// The version that was asked for.
        version: String,
        /// What became of it.
        #[serde(flatten)]
        outcome: AgentOutcome,
    },
    /// A statement was refused; the reason says whether someone should worry.
    StatementRefused {
        /// Why.
        reason: String,
    },
    /// The node went into safe mode.
    SafeModeEntered {
        /// Names this time in safe mode.
        safe_mode: SafeModeId,
        /// The stack that failed.
        stack: StackName,
        /// Why.
        reason: String,
    },
    /// The node left safe mode.
    SafeModeLeft {
        /// Which time in safe mode ended.
        safe_mode: SafeModeId,
        /// What led it out.
        reason: String,
    },
    /// The node has a hub again, after five minutes or more without.
    Outage {
        /// Since when there was none.
        from: Timestamp,
        /// Until when.
        to: Timestamp,
        /// What happened meanwhile, in words.
        detail: String,
    },
    /// Something that a newer agent reports and this hub does not know. It is acknowledged and changes nothing.
    #[serde(other)]
    Unknown,
}

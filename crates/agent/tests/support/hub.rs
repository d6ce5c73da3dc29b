//! The fake hub.

use std::{
    collections::{BTreeMap, HashSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use backstay_api::{
    Empty,
    agent::{
        AgentRequest, Answer, Cadence, CheckInRequest, CheckInResponse, JoinRequest, JoinResponse, Question,
        Report, ReportBody, ReportsRequest, ReportsResponse,
    },
    bundle::{Head, Part, PartContent},
    statement::{
        DesiredAction, DesiredAgent, DesiredStack, STATEMENT_VERSION, SignedStatement, Statement,
        key_fingerprint,
    },
    time::HubTime,
};
use backstay_types::{
    AgentBuild, AgentOutcome, DeploymentId, DeploymentState, Digest, LeaveSafeMode, LedgerHead, NodeId,
    NodeSafety, ReportId, RequestId, Secret, StackName, Timestamp,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use ed25519_dalek::SigningKey;
use tokio::sync::Notify;

use super::{
    Stack,
    backups::{self, Backups},
};

/// How the hub answers requests for packs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PackMode {
    Good,
    Damaged,
    Truncated,
    Other,
    Gone,
}

#[derive(Debug)]
pub(crate) struct FakeHub {
    pub(crate) url: String,
    pub(crate) key: SigningKey,
    pub(crate) node: NodeId,
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<Inner>,
    changed: Notify,
    key: SigningKey,
    node: NodeId,
}

#[derive(Debug)]
pub(super) struct Inner {
    statement: Option<(Statement, SignedStatement)>,
    packs: BTreeMap<String, Vec<u8>>,
    mode: PackMode,
    /// Each once, in the order in which they came.
    reports: Vec<Report>,
    known: HashSet<ReportId>,
    check_ins: Vec<CheckInRequest>,
    questions: Vec<AgentRequest>,
    answers: Vec<Answer>,
    pub(super) deaf: bool,
    /// Reports are taken but the answer is lost.
    pub(super) forgetful: bool,
    pub(super) backups: Backups,
    hold: Duration,
    generation: u64,
}

impl FakeHub {
    pub(crate) fn start() -> Self {
        let world = backstay_agent::system();
        let node = world.mint();
        let key = SigningKey::from_bytes(&world.random());
        let state = Mutex::new(Inner {
            statement: None,
            packs: BTreeMap::new(),
            mode: PackMode::Good,
            reports: Vec::new(),
            known: HashSet::new(),
            check_ins: Vec::new(),
            questions: Vec::new(),
            answers: Vec::new(),
            deaf: false,
            forgetful: false,
            backups: Backups::default(),
            hold: Duration::from_secs(20),
            generation: 0,
        });
        let shared = Arc::new(Shared { state, changed: Notify::new(), key: key.clone(), node });
        let (send, receive) = std::sync::mpsc::channel();
        let served = Arc::clone(&shared);
        thread::spawn(move || serve(served, send));
        let address: SocketAddr = receive.recv().unwrap();
        Self { url: format!("http://{address}"), key, node, shared }
    }

    /// There is something new for the node.
    pub(super) fn wake(&self) {
        self.shared.changed.notify_waiters();
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.shared.lock()
    }

    pub(crate) fn token(&self) -> String {
        format!("bsj.id.secret.{}", key_fingerprint(&self.key.verifying_key()))
    }

    /// Offers a stack's pack and returns what a statement would say of it.
    pub(crate) fn offer(&self, stack: &Stack) -> DesiredStack {
        self.inner().packs.insert(format!("{}.pack", stack.tree()), stack.pack());
        stack.desired()
    }

    /// States what the node should run, with the next generation.
    pub(crate) fn state(&self, stacks: Vec<DesiredStack>) -> Statement {
        let generation = self.inner().generation + 1;
        let statement = self.statement(stacks, 1, generation);
        self.give(statement.clone());
        statement
    }

    /// Offers a stack and states that the node should run it. Returns the deployment.
    pub(crate) fn deploy(&self, stack: &Stack) -> DeploymentId {
        let desired = self.offer(stack);
        let deployment = desired.deployment;
        self.state(vec![desired]);
        deployment
    }

    /// States that a stack should go.
    pub(crate) fn remove(&self, stack: &Stack) -> DeploymentId {
        let desired = DesiredStack { action: DesiredAction::Remove, ..stack.desired() };
        let deployment = desired.deployment;
        self.state(vec![desired]);
        deployment
    }

    pub(crate) fn statement(&self, stacks: Vec<DesiredStack>, epoch: u64, generation: u64) -> Statement {
        let now = backstay_agent::system().now();
        Statement {
            version: STATEMENT_VERSION,
            node: self.node,
            epoch,
            generation,
            digest: Statement::digest_of(&stacks),
            issued_at: now,
            expires_at: now + Duration::from_secs(3600),
            ledger: LedgerHead { seq: 0, hash: Digest::from_bytes([0; 32]) },
            stacks,
            leave_safe_mode: None,
            agent: None,
        }
    }

    /// Renews what it stated, with an operator's word in it.
    pub(crate) fn say(&self, word: LeaveSafeMode) {
        let held = self.inner().statement.clone().unwrap().0;
        let renewed = self.statement(held.stacks, held.epoch, held.generation);
        self.give(Statement { leave_safe_mode: Some(word), ..renewed });
    }

    /// How safe the node is, as it said last.
    pub(crate) fn safety(&self) -> NodeSafety {
        self.inner().check_ins.iter().rev().find_map(|check_in| check_in.safety.clone()).unwrap_or_default()
    }

    /// A bundle of a statement with the packs of stacks.
    pub(crate) fn bundle(&self, statement: &Statement, stacks: &[&Stack]) -> Vec<u8> {
        let part = |stack: &&Stack| {
            let pack = stack.pack();
            let content = PartContent::Pack { tree: stack.tree() };
            Part { content, bytes: pack.len() as u64, sha256: Digest::of(&pack) }
        };
        let head = Head {
            node: statement.node,
            made_at: statement.issued_at,
            statement: statement.sign(&self.key),
            parts: stacks.iter().map(part).collect(),
        };
        let packs = stacks.iter().flat_map(|stack| stack.pack());
        head.write(&self.key).into_iter().chain(packs).collect()
    }

    /// Asks for another agent, as a renewal of what it stated. Gives its SHA-256.
    pub(crate) fn ask_agent(&self, program: &[u8], damaged: bool) -> Digest {
        let sha256 = Digest::of(program);
        let bytes = program.len() as u64;
        let held = self.inner().statement.clone().unwrap().0;
        let mut given = program.to_vec();
        if damaged && let Some(last) = given.last_mut() {
            *last ^= 1;
        }
        self.inner().packs.insert(format!("agent {sha256}"), given);
        let arch = std::env::consts::ARCH.to_owned();
        let version = format!("new-{}", sha256.short());
        let builds = vec![AgentBuild { version: version.clone(), arch, sha256, bytes }];
        let agent = DesiredAgent { update: backstay_agent::system().mint(), version, builds };
        let renewed = self.statement(held.stacks, held.epoch, held.generation);
        self.give(Statement { agent: Some(agent), ..renewed });
        sha256
    }

    /// What was told of updates of the agent.
    pub(crate) fn agent_outcomes(&self) -> Vec<AgentOutcome> {
        let outcome = |report: Report| match report.body {
            ReportBody::AgentUpdate { outcome, .. } => Some(outcome),
            _ => None,
        };
        self.reports().into_iter().filter_map(outcome).collect()
    }

    /// What was told last of the update to an agent with this SHA-256.
    pub(crate) fn agent_outcome(&self, sha256: Digest) -> Option<AgentOutcome> {
        let its = format!("new-{}", sha256.short());
        let outcome = |report: &Report| match &report.body {
            ReportBody::AgentUpdate { version, outcome, .. } if *version == its => Some(outcome.clone()),
            _ => None,
        };
        self.inner().reports.iter().rev().find_map(outcome)
    }

    /// Gives an agent no longer: the memory is wanted for others.
    pub(crate) fn forget_agent(&self, sha256: Digest) {
        self.inner().packs.remove(&format!("agent {sha256}"));
    }

    /// Signs a statement without giving it.
    pub(crate) fn sign(&self, statement: &Statement) -> SignedStatement {
        statement.sign(&self.key)
    }

    /// Gives a statement, whatever it is, signed.
    pub(crate) fn give(&self, statement: Statement) {
        let signed = statement.sign(&self.key);
        self.give_signed(statement, signed);
    }

    pub(crate) fn give_signed(&self, statement: Statement, signed: SignedStatement) {
        let mut inner = self.inner();
        inner.generation = inner.generation.max(statement.generation);
        inner.statement = Some((statement, signed));
        drop(inner);
        self.shared.changed.notify_waiters();
    }

    pub(crate) fn packs(&self, mode: PackMode) {
        self.inner().mode = mode;
    }

    /// While deaf, the hub answers every request with an error.
    pub(crate) fn deaf(&self, deaf: bool) {
        self.inner().deaf = deaf;
        self.shared.changed.notify_waiters();
    }

    /// While forgetful, reports are kept but their acknowledgement is lost.
    pub(crate) fn forgetful(&self, forgetful: bool) {
        self.inner().forgetful = forgetful;
    }

    pub(crate) fn hold(&self, hold: Duration) {
        self.inner().hold = hold;
    }

    pub(crate) fn ask_logs(&self, stack: &StackName, lines: u32) {
        self.ask(Question::Logs { stack: stack.clone(), service: None, lines });
    }

    pub(crate) fn ask(&self, question: Question) {
        let id: RequestId = backstay_agent::system().mint();
        self.inner().questions.push(AgentRequest { id, question });
        self.shared.changed.notify_waiters();
    }

    pub(crate) fn answers(&self) -> Vec<Answer> {
        self.inner().answers.clone()
    }

    /// Every report once, in the order in which they came first.
    pub(crate) fn reports(&self) -> Vec<Report> {
        self.inner().reports.clone()
    }

    pub(crate) fn check_ins(&self) -> Vec<CheckInRequest> {
        self.inner().check_ins.clone()
    }

    /// The ends that were reported for a deployment.
    pub(crate) fn ends(&self, wanted: DeploymentId) -> Vec<DeploymentState> {
        let end = |report: &Report| match &report.body {
            ReportBody::DeploymentFinished { deployment, state, .. } if *deployment == wanted => {
                Some(state.clone())
            }
            _ => None,
        };
        self.inner().reports.iter().filter_map(end).collect()
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap()
    }
}

fn serve(shared: Arc<Shared>, ready: std::sync::mpsc::Sender<SocketAddr>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        ready.send(listener.local_addr().unwrap()).unwrap();
        let router = Router::new()
            .route("/agent/v1/join", post(join))
            .route("/agent/v1/check-in", post(check_in))
            .route("/agent/v1/reports", post(reports))
            .route("/agent/v1/answers/{request}", post(answer))
            .route("/agent/v1/trees/{pack}", get(pack))
            .route("/agent/v1/agents/{sha256}", get(program));
        let router = backups::routes(router).with_state(shared);
        axum::serve(listener, router).await.unwrap();
    });
}

type Answered<T> = Result<Json<T>, StatusCode>;

async fn join(State(shared): State<Arc<Shared>>, Json(_): Json<JoinRequest>) -> Json<JoinResponse> {
    Json(JoinResponse {
        node: shared.node,
        credential: Secret::new("credential"),
        hub_key: BASE64_STANDARD.encode(shared.key.verifying_key().as_bytes()),
        now: Timestamp::UNIX_EPOCH,
    })
}

async fn check_in(
    State(shared): State<Arc<Shared>>,
    Json(request): Json<CheckInRequest>,
) -> Answered<CheckInResponse> {
    let hold = shared.lock().hold.min(Duration::from_millis(request.hold_ms));
    let deadline = tokio::time::Instant::now() + hold;
    shared.lock().check_ins.push(request.clone());
    loop {
        let changed = shared.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        {
            let mut inner = shared.lock();
            if inner.deaf {
                return Err(StatusCode::SERVICE_UNAVAILABLE);
            }
            let statement = inner.statement.as_ref().filter(|(statement, _)| {
                request.have.is_none_or(|have| {
                    (have.epoch, have.generation, have.digest, have.issued_at)
                        != (statement.epoch, statement.generation, statement.digest, statement.issued_at)
                })
            });
            let statement = statement.map(|(_, signed)| signed.clone());
            let requests = std::mem::take(&mut inner.questions);
            let time = request.nonce.clone().map(|nonce| {
                let now = backstay_agent::system().now();
                HubTime { node: shared.node, nonce, now }.sign(&shared.key)
            });
            let backup = inner.backups.order.is_some();
            if statement.is_some()
                || backup
                || !requests.is_empty()
                || time.is_some()
                || tokio::time::Instant::now() >= deadline
            {
                let cadence = Cadence { hold_ms: 20_000, interval_ms: 20, jitter_ms: 10 };
                return Ok(Json(CheckInResponse {
                    now: Timestamp::UNIX_EPOCH,
                    statement,
                    requests,
                    resend: false,
                    cadence,
                    time,
                    backup,
                }));
            }
        }
        let _ = tokio::time::timeout_at(deadline, changed).await;
    }
}

async fn reports(
    State(shared): State<Arc<Shared>>,
    Json(request): Json<ReportsRequest>,
) -> Answered<ReportsResponse> {
    let mut inner = shared.lock();
    if inner.deaf {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    let accepted = request.reports.iter().map(|report| report.id).collect();
    for report in request.reports {
        // One that is told again, word by word, is nothing new.
        if inner.known.insert(report.id) || !inner.reports.contains(&report) {
            inner.reports.push(report);
        }
    }
    if inner.forgetful {
        return Err(StatusCode::BAD_GATEWAY);
    }
    Ok(Json(ReportsResponse { accepted }))
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    Path(_): Path<String>,
    Json(answer): Json<Answer>,
) -> Json<Empty> {
    shared.lock().answers.push(answer);
    Json(Empty {})
}

async fn pack(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Result<Bytes, StatusCode> {
    let inner = shared.lock();
    if inner.deaf {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    let pack = inner.packs.get(&name).cloned().ok_or(StatusCode::NOT_FOUND)?;
    match inner.mode {
        PackMode::Good => Ok(pack.into()),
        PackMode::Gone => Err(StatusCode::SERVICE_UNAVAILABLE),
        PackMode::Truncated => Ok(pack[..pack.len() / 2].to_vec().into()),
        PackMode::Damaged => {
            let mut pack = pack;
            let middle = pack.len() / 2;
            pack[middle] ^= 0x55;
            Ok(pack.into())
        }
        PackMode::Other => {
            let other = Stack::new("other").file("x", "another tree");
            Ok(other.pack().into())
        }
    }
}

async fn program(State(shared): State<Arc<Shared>>, Path(sha256): Path<String>) -> Result<Bytes, StatusCode> {
    let program = shared.lock().packs.get(&format!("agent {sha256}")).cloned();
    program.map(Bytes::from).ok_or(StatusCode::NOT_FOUND)
}

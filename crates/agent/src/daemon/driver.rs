//! The loop around the core: inputs in, actions done in order, reports sent.

use std::{
    collections::BTreeSet,
    future::pending,
    pin::Pin,
    time::{Duration, Instant},
};

use backstay_agent_core::{Act, Action, Core, Cx, Input, Phase, Prepared};
use backstay_api::{
    Empty,
    agent::{AgentRequest, Have, ReportsRequest, SendReports},
    statement::DesiredAgent,
};
use backstay_client::{Client, ClientError};
use backstay_types::{NodeSafety, ObservedStack, ReportId, StackName, World};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::sleep,
};

use super::{Contact, Hands, Pulse, check_in::backoff};
use crate::{AgentError, crash};

/// How many reports go at once; the hub takes 500.
const BATCH: usize = 100;
/// How long to wait before trying again to write what could not be written.
const RETRY: Duration = Duration::from_secs(1);

/// What comes to the driver.
#[derive(Debug)]
pub(crate) enum Event {
    /// Something for the core.
    Input(Input),
    /// A statement, and whom to tell that it was dealt with.
    Statement(Input, oneshot::Sender<()>),
    /// A question of the hub's.
    Question(AgentRequest),
}

/// What check-ins tell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct View {
    pub(crate) have: Option<Have>,
    pub(crate) observed: Vec<ObservedStack>,
    /// How safe the node is, as far as the core knows.
    pub(crate) safety: NodeSafety,
    /// Nothing is being done that will change it soon.
    pub(crate) settled: bool,
    /// Where the stacks that are asked for come from.
    pub(crate) endpoints: Vec<String>,
    /// The agent that is asked for.
    pub(crate) agent: Option<DesiredAgent>,
    /// The hold that the core grants.
    pub(crate) granted: Option<u64>,
    /// Something waits for that to end.
    pub(crate) awaited: bool,
}

impl View {
    pub(crate) fn of(core: &Core, cx: &Cx<'_>) -> Self {
        let journal = core.journal();
        let stacks = journal.held.iter().flat_map(|held| &held.stacks);
        let endpoints: BTreeSet<_> = stacks.flat_map(|stack| stack.endpoints.iter().cloned()).collect();
        Self {
            have: core.have(),
            observed: core.observed(),
            safety: core.safety(cx),
            settled: journal.operation.is_none(),
            endpoints: endpoints.into_iter().collect(),
            agent: journal.held.as_ref().and_then(|held| held.agent.clone()),
            granted: core.granted(),
            awaited: core.is_awaited(cx),
        }
    }
}

/// Answers questions; simulated agents have nothing to say.
pub(crate) trait Answering: Send + Sync + Clone + 'static {
    fn answer_to(
        self,
        request: AgentRequest,
        prepared: Option<Prepared>,
        hub: Client,
    ) -> impl Future<Output = ()> + Send + 'static;
}

/// The core, its hands, and what they share.
#[derive(Debug)]
pub(crate) struct Driver<H> {
    pub(crate) core: Core,
    pub(crate) hands: H,
    pub(crate) hub: Client,
    pub(crate) world: World,
    pub(crate) started: Instant,
    pub(crate) view: watch::Sender<View>,
    pub(crate) contact: Contact,
    pub(crate) pulse: Pulse,
}

type Sending = Pin<Box<dyn Future<Output = Result<Vec<ReportId>, ClientError>> + Send>>;

impl<H: Hands> Driver<H> {
    /// Runs until nobody can send events any more.
    pub(crate) async fn run(
        mut self,
        actions: Vec<Action>,
        mut inbox: mpsc::Receiver<Event>,
        answers: impl Answering,
    ) -> Result<(), AgentError> {
        let mut sending: Option<Sending> = None;
        let mut failures = 0u32;
        self.perform(actions).await;
        loop {
            self.pulse.turn();
            crash::wedge_point("driver.wedge");
            if sending.is_none() {
                sending = self.next_reports(failures)?;
            }
            let deadline = self.core.deadline().map(|at| self.started + at);
            let event = tokio::select! {
                event = inbox.recv() => event,
                () = until(deadline) => Some(Event::Input(Input::Tick)),
                // Merely to show that it turns.
                () = sleep(self.pulse.every()) => continue,
                sent = poll(&mut sending) => {
                    sending = None;
                    match sent {
                        Ok(ids) => { failures = 0; self.contact.heard(); Some(Event::Input(Input::Acked(ids))) }
                        Err(error) => {
                            failures = failures.saturating_add(1);
                            tracing::debug!(%error, "reports wait");
                            continue;
                        }
                    }
                }
            };
            match event {
                None => return Ok(()),
                Some(Event::Input(input)) => self.handle(input).await,
                Some(Event::Statement(input, done)) => {
                    self.handle(input).await;
                    let _ = done.send(());
                }
                Some(Event::Question(request)) => {
                    let prepared = self.prepared(&request);
                    tokio::spawn(answers.clone().answer_to(request, prepared, self.hub.clone()));
                }
            }
        }
    }

    async fn handle(&mut self, input: Input) {
        let cx = Cx { world: &self.world, mono: self.started.elapsed() };
        let actions = self.core.handle(input, &cx);
        self.perform(actions).await;
        let cx = Cx { world: &self.world, mono: self.started.elapsed() };
        let view = View::of(&self.core, &cx);
        self.view.send_if_modified(|old| {
            let changed = *old != view;
            *old = view;
            changed
        });
    }

    async fn perform(&mut self, actions: Vec<Action>) {
        for Action { act, why } in actions {
            self.log(&act, &why);
            match act {
                Act::Run { id, task } => self.hands.start(id, *task),
                Act::Abort { id } => self.hands.abort(id),
                // Nothing that follows may happen before this has: it is tried until it works.
                Act::Persist(_) | Act::SetLinks { .. } => {
                    let mut told = false;
                    while let Err(error) = self.durable(&act) {
                        if !told {
                            tracing::error!(%error, code = %error.code(), "cannot write; nothing is changed until it works");
                            told = true;
                        }
                        self.pulse.turn();
                        sleep(RETRY).await;
                    }
                }
            }
        }
    }

    fn durable(&mut self, act: &Act) -> Result<(), AgentError> {
        match act {
            Act::Persist(transaction) => self.hands.persist(transaction),
            Act::SetLinks { stack, links, back } => self.hands.set_links(stack, *links, *back),
            Act::Run { .. } | Act::Abort { .. } => Ok(()),
        }
    }

    fn log(&self, act: &Act, why: &str) {
        let operation = self.core.journal().operation.as_ref();
        let (stack, deployment) = (
            operation.map(|o| tracing::field::display(&o.target.stack)),
            operation.map(|o| tracing::field::display(o.target.deployment)),
        );
        match act {
            Act::Persist(transaction) if transaction.name == "acked" => {}
            Act::Persist(transaction) => tracing::info!(stack, deployment, why, "{}", transaction.name),
            Act::Run { task, .. } => tracing::debug!(stack, deployment, why, "{}", task.word()),
            Act::SetLinks { .. } => tracing::debug!(stack, deployment, why, "links"),
            Act::Abort { .. } => tracing::info!(stack, deployment, why, "stopped"),
        }
    }

    /// The next batch of reports on its way; after failures it waits first.
    fn next_reports(&self, failures: u32) -> Result<Option<Sending>, AgentError> {
        let reports = self.hands.spooled(BATCH)?;
        if reports.is_empty() {
            return Ok(None);
        }
        let (hub, pause) =
            (self.hub.clone(), backoff(&self.world, failures, self.contact.reach().longest_pause()));
        Ok(Some(Box::pin(async move {
            sleep(pause).await;
            let request = ReportsRequest { reports };
            Ok(hub.call::<SendReports>(&Empty {}, &Empty {}, &request).await?.accepted)
        })))
    }

    /// How the stack that a question is about runs.
    fn prepared(&self, request: &AgentRequest) -> Option<Prepared> {
        self.prepared_now(request.question.stack()?)
    }

    fn prepared_now(&self, stack: &StackName) -> Option<Prepared> {
        let journal = self.core.journal();
        let operation = journal.operation.as_ref().filter(|o| &o.target.stack == stack);
        match operation.map(|o| &o.phase) {
            Some(Phase::Activating(phase)) => Some(phase.prepared.clone()),
            Some(Phase::Probing(phase)) => Some(phase.prepared.clone()),
            Some(Phase::Baking(phase)) => Some(phase.prepared.clone()),
            _ => journal.stacks.get(stack)?.committed.as_ref()?.prepared.clone(),
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => pending().await,
    }
}

async fn poll(sending: &mut Option<Sending>) -> Result<Vec<ReportId>, ClientError> {
    match sending {
        Some(sending) => sending.await,
        None => pending().await,
    }
}

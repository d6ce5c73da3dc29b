//! The hands of an agent on a real machine.

use std::time::{Duration, Instant};

use backstay_agent_core::{Input, Links, Prepared, Task, TaskId, Transaction};
use backstay_api::{
    Empty,
    agent::{AgentRequest, Answer, AnswerPath, LogLine, Question, Report, SendAnswer},
    statement::SignedStatement,
};
use backstay_client::Client;
use backstay_types::{HostFacts, HostFigures, NodeId, ObservedStack, StackName};
use tokio::{sync::mpsc, task::JoinHandle, time::sleep};

use super::{Answering, Event, Hands, Host};
use crate::{
    AgentError,
    disk::{JournalDb, Layout, WorkLock, set_links},
    facts::{self, Measure},
    runtime::{Cursor, LogsWanted, NewLines, Runtimes},
    tasks::Machine,
};

/// An answer holds no more lines than this.
const MOST_LINES: u32 = 10_000;
/// How often logs are looked at while somebody waits for something new in them, and for how long at most.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What this machine says of itself.
#[derive(Debug)]
pub(super) struct Measured {
    layout: Layout,
    machine: Machine,
    node: NodeId,
    every: Duration,
    began: Instant,
    measure: Measure,
}

impl Measured {
    pub(super) fn new(machine: &Machine, node: NodeId) -> Self {
        let (layout, every) = (machine.layout.clone(), machine.settings.figures_every);
        Self { layout, machine: machine.clone(), node, every, began: Instant::now(), measure: Measure::new() }
    }
}

impl Host for Measured {
    async fn facts(&mut self) -> HostFacts {
        facts::facts(&self.layout).await
    }

    fn patience(&self) -> Option<Duration> {
        Some(self.machine.settings.statement_from_git_after)
    }

    async fn statements(&mut self, endpoints: &[String]) -> Vec<(String, SignedStatement)> {
        let known = &self.machine.settings.statement_endpoints;
        let endpoints: Vec<_> =
            known.iter().chain(endpoints.iter().filter(|one| !known.contains(one))).cloned().collect();
        self.machine.statements(self.node, endpoints).await
    }

    fn figures_every(&self) -> Duration {
        self.every
    }

    fn figures(&mut self, observed: &[ObservedStack], clock_offset: Option<i64>) -> Option<HostFigures> {
        Some(self.measure.figures(self.layout.data(), observed, clock_offset, self.began.elapsed()))
    }
}

#[derive(Debug)]
pub(super) struct MachineHands {
    db: JournalDb,
    machine: Machine,
    events: mpsc::Sender<Event>,
    task: Option<(TaskId, JoinHandle<()>)>,
}

impl MachineHands {
    pub(super) fn new(db: JournalDb, machine: Machine, events: mpsc::Sender<Event>) -> Self {
        Self { db, machine, events, task: None }
    }
}

impl Hands for MachineHands {
    fn persist(&mut self, transaction: &Transaction) -> Result<(), AgentError> {
        self.db.persist(transaction)
    }

    fn set_links(&mut self, stack: &StackName, links: Links, back: bool) -> Result<(), AgentError> {
        let dir = self.machine.layout.stack(stack);
        if links == Links::default() && !dir.exists() {
            return Ok(());
        }
        set_links(&dir, links, back).map_err(AgentError::io(dir))
    }

    fn start(&mut self, id: TaskId, task: Task) {
        let (machine, events) = (self.machine.clone(), self.events.clone());
        let work = async move {
            let finished = machine.run(id, task).await;
            let _ = events.send(Event::Input(Input::Finished(finished))).await;
        };
        self.task = Some((id, tokio::spawn(work)));
    }

    fn abort(&mut self, id: TaskId) {
        let Some((_, task)) = self.task.take_if(|(running, _)| *running == id) else { return };
        task.abort();
        // Its child, and whatever that started, must be gone before anything else begins.
        if let Err(error) = WorkLock::clear(&self.machine.layout) {
            tracing::warn!(%error, "work that was stopped does not end");
        }
    }

    fn spooled(&self, limit: usize) -> Result<Vec<Report>, AgentError> {
        self.db.spooled(limit)
    }
}

/// Answers the hub's questions.
#[derive(Debug, Clone)]
pub(super) struct Answers(pub(super) Machine);

impl Answering for Answers {
    async fn answer_to(self, request: AgentRequest, prepared: Option<Prepared>, hub: Client) {
        let most = |lines: &u32| (*lines).min(MOST_LINES) as usize;
        let answer = match &request.question {
            Question::Logs { stack, service, lines } => {
                let wanted =
                    LogsWanted { service: service.as_deref(), lines: most(lines), since_start: false };
                self.logs(stack, prepared, wanted).await.map(|lines| Answer::Logs { lines })
            }
            Question::NewLogs { stack, after, lines, wait_ms } => {
                let wait = Duration::from_millis(*wait_ms).min(LONGEST_WAIT);
                self.new_logs(stack, prepared, after.as_deref(), most(lines), wait).await
            }
            Question::Unknown => Err("this agent is older than the question".to_owned()),
        };
        let answer = answer.unwrap_or_else(|reason| Answer::Failed { reason });
        let path = AnswerPath { request: request.id };
        if let Err(error) = hub.call::<SendAnswer>(&path, &Empty {}, &answer).await {
            // Whoever asked sees that the node did not answer in time.
            tracing::debug!(%error, "an answer was not taken");
        }
    }
}

impl Answers {
    async fn logs(
        &self,
        stack: &StackName,
        prepared: Option<Prepared>,
        wanted: LogsWanted<'_>,
    ) -> Result<Vec<LogLine>, String> {
        let prepared = prepared.ok_or_else(|| format!("stack {stack} does not run here"))?;
        if let Some(service) = wanted.service
            && !prepared.services.contains_key(service)
        {
            return Err(format!("stack {stack} has no service `{service}`"));
        }
        let runtime = Runtimes::new(&prepared.runtime).map_err(|failed| failed.reason)?;
        runtime.logs(&self.0.layout, stack, &prepared, wanted).await.map_err(|error| error.to_string())
    }

    /// What is new, once there is something or the wait is over.
    async fn new_logs(
        &self,
        stack: &StackName,
        prepared: Option<Prepared>,
        after: Option<&str>,
        most: usize,
        wait: Duration,
    ) -> Result<Answer, String> {
        let prepared = prepared.ok_or_else(|| format!("stack {stack} does not run here"))?;
        let after = after.map(Cursor::read).transpose()?;
        let runtime = Runtimes::new(&prepared.runtime).map_err(|failed| failed.reason)?;
        let began = Instant::now();
        loop {
            let new = runtime.new_logs(&self.0.layout, stack, &prepared, after.as_ref(), most).await;
            let NewLines { lines, cursor, dropped } = new.map_err(|error| error.to_string())?;
            if after.is_none() || dropped || !lines.is_empty() || began.elapsed() >= wait {
                return Ok(Answer::NewLogs { lines, after: cursor.to_text(), dropped });
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

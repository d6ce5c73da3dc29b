//! Agents that speak the real protocol and decide with the real core, but run
//! nothing: for benchmarks of the hub with a fleet in one process.

mod machine;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use backstay_agent_core::{
    BootId, Change, Committed, Core, Cx, Done, Finished, Input, Journal, Links, Prepared, PreparedService,
    Seen, Settings, Task, TaskId, Transaction,
};
use backstay_api::{
    Empty,
    agent::{AgentRequest, Answer, AnswerPath, Report, SendAnswer},
    statement::DesiredStack,
};
use backstay_client::Client;
use backstay_types::{
    Container, Digest, ImageId, Labels, NodeId, NodeName, Secret, StackName, Step, StepOutcome, StepRecord,
    World,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::sleep,
};

use self::machine::Pretended;
use crate::{
    AgentError, Identity,
    daemon::{Answering, Asking, CheckIn, Contact, Driver, Event, Hands, Pulse, View},
    join,
    minimal::Local,
};

/// A simulated agent: joined, not yet running.
#[derive(Debug)]
pub struct Simulated {
    identity: Identity,
    world: World,
    client: Client,
}

impl Simulated {
    /// Joins a hub with a one-time token.
    ///
    /// # Errors
    /// When the hub refuses, cannot be reached, or is another than the token pins.
    pub async fn join(
        hub: &str,
        token: Secret,
        name: NodeName,
        labels: Labels,
        world: World,
    ) -> Result<Self, AgentError> {
        let facts = Pretended::new(name.clone()).facts_at(Duration::ZERO);
        let asked = join::Join { hub: hub.to_owned(), token, name, labels };
        let identity = join::exchange(&join::client(hub, None, None)?, asked, facts).await?;
        let client = join::client(hub, Some(identity.credential.clone()), None)?;
        Ok(Self { identity, world, client })
    }

    /// The node's id.
    pub fn node(&self) -> NodeId {
        self.identity.node
    }

    /// Runs until the future is dropped. Each step of a deployment takes `step`, which may be zero.
    ///
    /// # Errors
    /// When the hub's key cannot be read.
    pub async fn run(self, step: Duration) -> Result<(), AgentError> {
        let Self { identity, world, client } = self;
        let key = identity.verifying_key()?;
        let settings = Settings::new(identity.node);
        let started = Instant::now();
        let cx = Cx { world: &world, mono: Duration::ZERO };
        let boot = BootId("simulated".to_owned());
        let (core, actions) = Core::start(settings, Journal::default(), boot, BTreeMap::new(), &cx);
        let (events, inbox) = mpsc::channel(16);
        let (view, seen) = watch::channel(View::of(&core, &cx));
        let contact = Contact::default();
        let hands =
            Pretend { step, world: world.clone(), events: events.clone(), spool: Vec::new(), task: None };
        let driver = Driver {
            core,
            hands,
            hub: client.clone(),
            world: world.clone(),
            started,
            view,
            contact: contact.clone(),
            pulse: Pulse::unwatched(),
        };
        let asking = Asking {
            backups: None,
            hub: client,
            key,
            node: identity.node,
            world,
            contact,
            local: Local::default(),
        };
        let check_in = CheckIn::new(asking, events, seen).run(Pretended::new(identity.name));
        tokio::select! {
            result = driver.run(actions, inbox, Silent) => result,
            () = check_in => Ok(()),
        }
    }
}

/// Hands that do nothing, well.
#[derive(Debug)]
struct Pretend {
    step: Duration,
    world: World,
    events: mpsc::Sender<Event>,
    spool: Vec<Report>,
    task: Option<(TaskId, JoinHandle<()>)>,
}

impl Hands for Pretend {
    fn persist(&mut self, transaction: &Transaction) -> Result<(), AgentError> {
        for change in &transaction.changes {
            match change {
                Change::Report(report) => self.spool.push(report.clone()),
                Change::Forget(ids) => self.spool.retain(|report| !ids.contains(&report.id)),
                _ => {}
            }
        }
        Ok(())
    }

    fn set_links(&mut self, _: &StackName, _: Links, _: bool) -> Result<(), AgentError> {
        Ok(())
    }

    fn start(&mut self, id: TaskId, task: Task) {
        let (events, step) = (self.events.clone(), self.step);
        let finished = pretend(id, task, &self.world, step);
        let work = async move {
            sleep(step).await;
            let _ = events.send(Event::Input(Input::Finished(finished))).await;
        };
        self.task = Some((id, tokio::spawn(work)));
    }

    fn abort(&mut self, id: TaskId) {
        if let Some((_, task)) = self.task.take_if(|(running, _)| *running == id) {
            task.abort();
        }
    }

    fn spooled(&self, limit: usize) -> Result<Vec<Report>, AgentError> {
        Ok(self.spool.iter().take(limit).cloned().collect())
    }
}

fn pretend(id: TaskId, task: Task, world: &World, took: Duration) -> Finished {
    let step = match &task {
        Task::Fetch { .. } => Some(Step::Fetch),
        Task::Prepare { .. } => Some(Step::Validate),
        Task::Snapshot { .. } | Task::SaveLast { .. } | Task::Exchange { .. } => Some(Step::Snapshot),
        Task::Activate { .. } => Some(Step::Activate),
        Task::Probe { .. } => Some(Step::Probe),
        Task::Bake { .. } => Some(Step::Bake),
        Task::Return { .. } => Some(Step::Return),
        _ => None,
    };
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let record = |step| StepRecord {
        step,
        started_at: world.now(),
        millis,
        outcome: StepOutcome::Done,
        detail: "simulated".to_owned(),
    };
    Finished { id, records: step.map(record).into_iter().collect(), result: Ok(done(task)) }
}

fn done(task: Task) -> Done {
    match task {
        Task::Fetch { .. } => Done::Fetched,
        Task::Prepare { target, .. } => Done::Prepared(Box::new(prepared(&target))),
        Task::Snapshot { .. } | Task::SaveLast { .. } => Done::Saved,
        Task::Exchange { .. } => Done::Exchanged,
        Task::Activate { prepared, .. } => Done::Activated(containers(&prepared)),
        Task::Probe { prepared, .. } | Task::Bake { prepared, .. } => Done::Healthy(containers(&prepared)),
        Task::Return { to, .. } => Done::Returned(committed(to.as_deref())),
        Task::Remove { .. } => Done::Removed,
        Task::Stop { .. } => Done::Stopped,
        Task::RestartEngine {} => Done::EngineRestarted,
        Task::Prune { .. } => Done::Pruned,
        Task::Check { stacks } => {
            Done::Checked(stacks.into_iter().map(|(stack, record)| seen(stack, &record)).collect())
        }
        Task::Compare { .. } => Done::Compared(Vec::new()),
        Task::Mend { .. } => Done::Mended(Vec::new()),
        Task::Ask { .. } => Done::Asked(Ok(())),
        Task::Heal { stack, record, .. } => Done::Healed(Box::new(seen(stack, &record))),
    }
}

fn prepared(target: &DesiredStack) -> Prepared {
    let service = PreparedService {
        image: ImageId(format!("sha256:{}", target.tree)),
        config: target.tree,
        deployment: target.deployment,
        release: target.release,
        conversations: target.conversations.clone(),
    };
    Prepared {
        runtime: "process".to_owned(),
        project: target.stack.to_string(),
        services: BTreeMap::from([("main".to_owned(), service)]),
        probes: Vec::new(),
        bake: Duration::ZERO,
        figures: Vec::new(),
        inputs: Digest::of(target.tree.as_bytes()),
    }
}

fn containers(prepared: &Prepared) -> Vec<Container> {
    let container = |(name, service): (&String, &PreparedService)| Container {
        service: name.clone(),
        id: service.config.short(),
        name: name.clone(),
        image: service.image.clone(),
        running: true,
        health: Some("healthy".to_owned()),
        deployment: Some(service.deployment),
    };
    prepared.services.iter().map(container).collect()
}

fn committed(committed: Option<&Committed>) -> Vec<Container> {
    committed.and_then(|committed| committed.prepared.as_ref()).map(containers).unwrap_or_default()
}

fn seen(stack: StackName, record: &backstay_agent_core::StackRecord) -> Seen {
    Seen {
        stack,
        links: Links {
            current: record.committed.as_ref().map(|c| c.tree),
            previous: record.previous.as_ref().map(|c| c.tree),
        },
        containers: Ok(committed(record.committed.as_ref())),
        release: record.committed.is_some(),
        previous: record.previous.is_some(),
        figures: Default::default(),
    }
}

#[derive(Debug, Clone, Copy)]
struct Silent;

impl Answering for Silent {
    async fn answer_to(self, request: AgentRequest, _: Option<Prepared>, hub: Client) {
        let answer = Answer::Failed { reason: "simulated agents have no logs".to_owned() };
        let _ = hub.call::<SendAnswer>(&AnswerPath { request: request.id }, &Empty {}, &answer).await;
    }
}

//! A node: a machine with a disk and a runtime, and on it the real core, driven as the agent drives it.

mod driver;
mod talk;
mod tasks;
mod update;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use backstay_agent_core::{Action, Adopted, BootId, Core, Cx, InSafeMode, Input, Settings, Task, TaskId};
use backstay_api::statement::Statement;
use backstay_loader::Slot;
use backstay_types::{
    AgentOutcome, AgentUpdateId, DeploymentId, Digest, FixedClock, NodeId, NodeName, SeededEntropy,
    StackName, TreeDigest, World,
};

use crate::{
    chance::Chance,
    context::{Context, Event, MachineEvent, NodeEvent},
    disk::Disk,
    invariant::Planted,
    program::{Make, Slots},
};

/// A machine with an agent.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) index: usize,
    pub(crate) name: NodeName,
    pub(crate) id: NodeId,
    /// Whether it is of the kind on which some releases fail.
    pub(crate) odd: bool,
    /// Whether its runtime starts again by itself, after a boot, what it ran before.
    restarts: bool,
    chance: Chance,
    world: World,
    clock: Arc<FixedClock>,
    /// How far its clock is off, in seconds.
    pub(crate) offset: i64,
    pub(crate) disk: Disk,
    pub(crate) runtime: Runtime,
    pub(crate) agent: Option<Agent>,
    pub(crate) powered: bool,
    /// Raised at each start and end of the agent, so that what was meant for another life is told apart.
    pub(crate) life: u32,
    boots: u32,
    /// What it was ever given.
    pub(crate) given: Vec<Statement>,
    /// When it was first told of each deployment.
    pub(crate) told_at: BTreeMap<DeploymentId, Duration>,
    /// Its journal was taken away: what it knew of the past is gone, and may be done again.
    pub(crate) forgetful: bool,
    /// Since when nothing bad has happened to it.
    pub(crate) well_since: Duration,
    /// Releases that somebody has deleted under the agent, until they are there again.
    pub(crate) lost: BTreeSet<(StackName, TreeDigest)>,
    /// Its safe mode, as its journal has it, and since when it has been just so.
    pub(crate) safe_mode: Option<InSafeMode>,
    pub(crate) safe_mode_at: Duration,
    /// Agents' programs, and the slot from which the agent was started last.
    pub(crate) slots: Slots,
    pub(crate) slot: Slot,
    /// How often programs that do not work were started.
    bad_starts: BTreeMap<Digest, u32>,
    /// What is the newest that it ever held durably.
    pub(crate) newest: (u64, u64),
}

/// What runs on a machine.
#[derive(Debug, Default)]
pub(crate) struct Runtime {
    /// The release that each stack's processes are of.
    pub(crate) runs: BTreeMap<StackName, TreeDigest>,
    /// Nobody can tell what runs.
    pub(crate) silent: bool,
}

/// An agent that runs.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) core: Core,
    since: Duration,
    inbox: VecDeque<Input>,
    acts: VecDeque<Action>,
    /// How many of the act's parts are done.
    parts: usize,
    busy: bool,
    task: Option<Running>,
    tick_at: Option<Duration>,
    asked: Option<u64>,
    sent: Option<u64>,
    seq: u64,
    failures: u32,
    send_failures: u32,
    /// When the hub answered last.
    heard_at: Duration,
    /// Whether the core is to be told that it answers: at first, and after a silence.
    to_tell: bool,
    /// Whether the hub has answered this one.
    was_heard: bool,
    /// It talks to nobody.
    deaf: bool,
    /// Something is being done about another agent.
    updating: bool,
    /// What it said last of another agent, so that it is said once.
    said: Option<(AgentUpdateId, AgentOutcome)>,
}

#[derive(Debug)]
struct Running {
    id: TaskId,
    task: Task,
    stage: u8,
}

impl Node {
    pub(crate) fn new(seed: u64, index: usize, id: NodeId) -> Self {
        let mut chance = Chance::of(seed, &format!("node {index}"));
        let clock = Arc::new(FixedClock::new(backstay_types::Timestamp::UNIX_EPOCH));
        let entropy = SeededEntropy::new(chance.any());
        let name = format!("node-{index}").parse();
        Self {
            index,
            name: name.unwrap_or_else(|_| unreachable!("a name of this form is valid")),
            id,
            odd: index % 3 == 1,
            restarts: chance.coin(),
            world: World::new(Arc::clone(&clock) as _, Arc::new(entropy)),
            chance,
            clock,
            offset: 0,
            disk: Disk::new(),
            runtime: Runtime::default(),
            agent: None,
            powered: false,
            life: 0,
            boots: 0,
            given: Vec::new(),
            told_at: BTreeMap::new(),
            forgetful: false,
            well_since: Duration::ZERO,
            lost: BTreeSet::new(),
            safe_mode: None,
            safe_mode_at: Duration::ZERO,
            slots: Slots::new(),
            slot: Slot::Installed,
            bad_starts: BTreeMap::new(),
            newest: (0, 0),
        }
    }

    /// A new id.
    pub(crate) fn mint<I: backstay_types::Id>(&self) -> I {
        self.world.mint()
    }

    /// How it is called in the account.
    pub(crate) fn who(&self) -> String {
        self.name.to_string()
    }

    /// The machine gets power.
    pub(crate) fn boot(&mut self, cx: &mut Context) {
        if self.powered {
            return;
        }
        self.powered = true;
        self.boots += 1;
        self.well_since = cx.now;
        cx.say(&self.who(), format_args!("boots, boot {}", self.boots));
        let restarted: Vec<_> = self.runtime.runs.clone().into_iter().collect();
        for (stack, tree) in restarted {
            self.started(&stack, tree, cx);
        }
        let wait = self.chance.millis(800, 4000);
        cx.after(wait, Event::Machine(self.index, self.boots, MachineEvent::AgentStarts));
    }

    /// The power goes.
    pub(crate) fn lose_power(&mut self, lasts: Duration, cx: &mut Context) {
        if !self.powered {
            return;
        }
        cx.say(&self.who(), format_args!("loses power for {lasts:?}"));
        self.powered = false;
        self.well_since = cx.now;
        self.end_agent(cx);
        self.disk.lose_power(&mut self.chance);
        if !self.restarts {
            self.runtime.runs.clear();
        }
        cx.after(lasts, Event::Machine(self.index, self.boots, MachineEvent::Boots));
    }

    /// The agent's process dies and is started again.
    pub(crate) fn kill_agent(&mut self, cx: &mut Context) {
        if self.agent.is_none() {
            return;
        }
        cx.say(&self.who(), format_args!("its agent dies"));
        self.end_agent(cx);
        let wait = self.chance.millis(100, 1500);
        cx.after(wait, Event::Machine(self.index, self.boots, MachineEvent::AgentStarts));
    }

    /// Something about the machine.
    pub(crate) fn on_machine(&mut self, boot: u32, event: MachineEvent, cx: &mut Context) {
        if boot != self.boots {
            return;
        }
        match event {
            MachineEvent::Boots => self.boot(cx),
            MachineEvent::AgentStarts if self.powered && self.agent.is_none() => self.start_agent(cx),
            MachineEvent::Crashes(stack, tree)
                if self.powered && self.runtime.runs.get(&stack) == Some(&tree) =>
            {
                cx.say(&self.who(), format_args!("{stack} takes the machine down"));
                let wait = self.chance.seconds(3, 20);
                self.lose_power(wait, cx);
            }
            // Once all is calm, somebody sees to it that disks do not fill up any more.
            MachineEvent::Filled(stack, tree)
                if self.powered && !cx.calm && self.runtime.runs.get(&stack) == Some(&tree) =>
            {
                cx.say(&self.who(), format_args!("{stack} has filled the disk"));
                self.disk.mood = crate::disk::Mood::Full;
            }
            _ => {}
        }
    }

    /// Something about the agent.
    pub(crate) fn on_agent(&mut self, life: u32, event: NodeEvent, cx: &mut Context) {
        if life != self.life || self.agent.is_none() {
            return;
        }
        match event {
            NodeEvent::Acted => self.acted(cx),
            NodeEvent::Task(id) => self.task_goes_on(id, cx),
            NodeEvent::Tick => self.tick(cx),
            NodeEvent::Ask => self.ask(cx),
            NodeEvent::Send => self.send_again(cx),
            NodeEvent::Answer { seq, statement } => self.answered(seq, statement, cx),
            NodeEvent::Accepted { seq, ids } => self.accepted(seq, ids, cx),
            NodeEvent::NoAnswer { seq } => self.not_answered(seq, cx),
            NodeEvent::Downloaded(program) => self.downloaded(program, cx),
            NodeEvent::Placed(program) => self.placed(program, cx),
            NodeEvent::UpdateAgain => self.update_again(cx),
            NodeEvent::Confirm => self.confirm(cx),
            NodeEvent::Unproven => self.unproven(cx),
        }
    }

    fn start_agent(&mut self, cx: &mut Context) {
        self.life += 1;
        let make = self.load(cx);
        if self.comes_to_nothing(make, cx) {
            return;
        }
        self.look_at_clock(cx);
        let mut journal = self.disk.files().journal.clone();
        if cx.has(Planted::DoesItAgain) {
            for record in journal.stacks.values_mut() {
                record.ended = None;
                record.committed.iter_mut().for_each(|committed| committed.deployment = None);
            }
        }
        self.check_held(cx);
        let lost = journal.stacks.is_empty() && journal.held.is_none();
        let found = if lost { self.adoptable() } else { BTreeMap::new() };
        let boot = BootId(self.boots.to_string());
        let core_cx = Cx { world: &self.world, mono: Duration::ZERO };
        cx.say(&self.who(), format_args!("its agent starts"));
        let (core, actions) = Core::start(Settings::new(self.id), journal, boot, found, &core_cx);
        self.agent = Some(Agent {
            core,
            since: cx.now,
            inbox: VecDeque::new(),
            acts: actions.into(),
            parts: 0,
            busy: false,
            task: None,
            tick_at: None,
            asked: None,
            sent: None,
            seq: 0,
            failures: 0,
            send_failures: 0,
            heard_at: cx.now,
            to_tell: true,
            was_heard: false,
            deaf: make == Make::Deaf,
            updating: false,
            said: None,
        });
        if self.slots.is_on_trial(self.slot) {
            self.later(update::CONFIRM_WITHIN, NodeEvent::Unproven, cx);
        }
        self.advance(cx);
        let wait = self.chance.millis(50, 500);
        self.later(wait, NodeEvent::Ask, cx);
    }

    fn end_agent(&mut self, cx: &mut Context) {
        let Some(agent) = self.agent.take() else { return };
        self.life += 1;
        self.well_since = cx.now;
        // What was being written when it died may have been written.
        if agent.busy && self.chance.coin() {
            self.write_front(agent.acts.front(), cx);
        }
    }

    /// What the links say, for when there is no journal.
    fn adoptable(&self) -> BTreeMap<StackName, Adopted> {
        let files = self.disk.files();
        let mut found = BTreeMap::new();
        for (stack, links) in &files.links {
            let here = |tree: Option<TreeDigest>| {
                tree.filter(|tree| files.releases.contains_key(&(stack.clone(), *tree)))
            };
            let links =
                backstay_agent_core::Links { current: here(links.current), previous: here(links.previous) };
            found.insert(stack.clone(), Adopted { links });
        }
        found
    }

    /// Something about the agent after a while, if it still lives.
    fn later(&self, wait: Duration, event: NodeEvent, cx: &mut Context) {
        cx.after(wait, Event::Node(self.index, self.life, event));
    }

    fn look_at_clock(&self, cx: &Context) {
        self.clock.set(cx.clock(self.offset));
    }
}

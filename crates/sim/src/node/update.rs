//! The agent's own update: into the slot that is not used, tried under the loader's eye, kept when it has shown that it works;
//! as the agent's updater and the loader do it.

use std::time::Duration;

use backstay_agent_core::Input;
use backstay_api::{agent::ReportBody, statement::DesiredAgent};
use backstay_loader::{STRIKES, Slot};
use backstay_types::{AgentOutcome, Digest};

use super::Node;
use crate::{
    context::{Context, Event, MachineEvent, NodeEvent},
    disk::Mood,
    invariant::{Invariant, Planted},
    program::{Make, Slots},
};

/// How long a new agent may take to be answered by the hub.
pub(super) const CONFIRM_WITHIN: Duration = Duration::from_secs(180);
/// The pause after something that may work later.
const LATER: Duration = Duration::from_secs(300);
/// The pause before something is written again.
const AGAIN: Duration = Duration::from_secs(5);

/// What to do about an agent that is asked for.
enum Next {
    Nothing,
    Tell(AgentOutcome),
    Install(Digest),
}

impl Node {
    /// The loader: which agent is started, with its start counted before it is made.
    pub(super) fn load(&mut self, cx: &mut Context) -> Make {
        let good = self.slots.state.good;
        let mut state = self.slots.state.clone();
        if let Some(trial) = state.trial.as_mut().filter(|_| cx.has(Planted::CountsNoStrikes)) {
            trial.starts = 0;
        }
        let (mut slot, changed) = state.start();
        let writable = self.disk.mood == Mood::Fine;
        match (changed, writable) {
            // A start that cannot be counted is not made.
            (true, false) => slot = good,
            (true, true) => self.slots.state = state,
            _ => {}
        }
        if self.make(slot, cx) == Make::NoProgram && slot != good {
            cx.say(&self.who(), format_args!("its new agent cannot be started"));
            if writable {
                self.slots.state.give_up("it cannot be started");
            }
            slot = good;
        }
        self.slot = slot;
        let make = self.make(slot, cx);
        self.judge_start(make, cx);
        make
    }

    /// What the program in a slot does here.
    fn make(&self, slot: Slot, cx: &Context) -> Make {
        let program = self.slots.program(slot);
        let make = program.and_then(|program| cx.truth.programs.get(&program).copied());
        let installed = program == Some(Slots::installed());
        make.map_or(if installed { Make::Works } else { Make::NoProgram }, |make| make.on(self.odd))
    }

    /// An agent is started: one that does not work no more often than it may be tried.
    fn judge_start(&mut self, make: Make, cx: &mut Context) {
        if let Some(program) = self.slots.program(self.slot).filter(|_| make != Make::Works) {
            let starts = self.bad_starts.entry(program).or_default();
            *starts += 1;
            if *starts > STRIKES {
                let what =
                    format!("{} starts for the {starts}th time an agent that does not work", self.name);
                cx.violated(Invariant::Agents, what);
            }
        }
        self.judge_slots(cx);
    }

    /// The agent that is started when all else fails must work.
    fn judge_slots(&self, cx: &mut Context) {
        if self.make(self.slots.state.good, cx) != Make::Works {
            cx.violated(Invariant::Agents, format!("{} has no agent that is known to work", self.name));
        }
    }

    /// One that does not work was started: it comes to nothing. True when it did.
    pub(super) fn comes_to_nothing(&mut self, make: Make, cx: &mut Context) -> bool {
        let wait = match make {
            Make::Works | Make::Deaf => return false,
            Make::Hangs => CONFIRM_WITHIN,
            Make::Dies | Make::DiesOnSome | Make::NoProgram => self.chance.millis(100, 3000),
        };
        cx.say(&self.who(), format_args!("its new agent comes to nothing: {make:?}"));
        self.well_since = cx.now;
        cx.after(wait, Event::Machine(self.index, self.boots, MachineEvent::AgentStarts));
        true
    }

    /// Nothing is being done: looks whether another agent is to be run, and whether this one has shown that it works.
    pub(super) fn look_at_update(&mut self, cx: &mut Context) {
        let Some(agent) = &mut self.agent else { return };
        if self.slots.is_on_trial(self.slot) {
            if agent.was_heard && !agent.updating {
                self.confirm(cx);
            }
            return;
        }
        let Some(desired) = self.disk.files().journal.held.as_ref().and_then(|held| held.agent.clone())
        else {
            return;
        };
        match self.next(&desired) {
            Next::Nothing => {}
            Next::Tell(outcome) => self.tell(&desired, outcome, cx),
            Next::Install(program) => self.install(program, cx),
        }
    }

    /// It works: it is the one that is started from now on.
    pub(super) fn confirm(&mut self, cx: &mut Context) {
        if self.disk.mood != Mood::Fine {
            if let Some(agent) = &mut self.agent {
                agent.updating = true;
            }
            return self.later(AGAIN, NodeEvent::Confirm, cx);
        }
        self.slots.state.confirm();
        cx.say(&self.who(), format_args!("keeps its new agent"));
        self.judge_slots(cx);
        self.update_again(cx);
    }

    /// What was put off is tried again.
    pub(super) fn update_again(&mut self, cx: &mut Context) {
        if let Some(agent) = &mut self.agent {
            agent.updating = false;
        }
        self.look_at_update(cx);
    }

    /// It has not shown in time that it works: the loader decides what is started next.
    pub(super) fn unproven(&mut self, cx: &mut Context) {
        if self.slots.is_on_trial(self.slot) {
            cx.say(&self.who(), format_args!("its new agent has not shown that it works"));
            self.become_loader(cx);
        }
    }

    /// What the agent's `decide` says.
    fn next(&self, desired: &DesiredAgent) -> Next {
        let Some(build) = desired.builds.iter().find(|build| build.arch == "x86_64") else {
            return Next::Tell(AgentOutcome::Left { reason: "there is no program for x86_64".to_owned() });
        };
        if self.slots.program(self.slot) == Some(build.sha256) {
            return Next::Tell(AgentOutcome::Updated);
        }
        if let Some(why) = self.slots.state.why_failed(&build.sha256.to_string()) {
            return Next::Tell(AgentOutcome::Failed { reason: why.to_owned() });
        }
        let settled = self.disk.files().journal.operation.is_none();
        if settled { Next::Install(build.sha256) } else { Next::Nothing }
    }

    fn tell(&mut self, desired: &DesiredAgent, outcome: AgentOutcome, cx: &mut Context) {
        let Some(agent) = &mut self.agent else { return };
        let told = (desired.update, outcome);
        if agent.said.as_ref() == Some(&told) {
            return;
        }
        let (update, version, outcome) = (desired.update, desired.version.clone(), told.1.clone());
        agent.said = Some(told);
        cx.say(&self.who(), format_args!("says of agent {version}: {outcome:?}"));
        self.input(Input::Tell(ReportBody::AgentUpdate { update, version, outcome }), cx);
    }

    fn install(&mut self, program: Digest, cx: &mut Context) {
        let Some(agent) = self.agent.as_mut().filter(|agent| !agent.updating) else { return };
        agent.updating = true;
        if self.disk.mood == Mood::Full {
            return self.later(LATER, NodeEvent::UpdateAgain, cx);
        }
        let wait = self.chance.millis(300, 5000) * cx.lines[self.index].factor;
        self.later(wait, NodeEvent::Downloaded(program), cx);
    }

    /// The program has come, if it has.
    pub(super) fn downloaded(&mut self, program: Digest, cx: &mut Context) {
        let came = cx.hub_up && cx.reaches(self.index) && !cx.corrupt;
        if !came || self.disk.mood != Mood::Fine {
            return self.later(LATER, NodeEvent::UpdateAgain, cx);
        }
        let slot = self.new_slot(cx);
        self.slots.place(slot, program);
        self.judge_slots(cx);
        let wait = self.chance.millis(1, 30);
        self.later(wait, NodeEvent::Placed(program), cx);
    }

    /// It is in its slot: it is put on trial, and the agent becomes the loader.
    pub(super) fn placed(&mut self, program: Digest, cx: &mut Context) {
        if self.disk.mood != Mood::Fine {
            return self.later(LATER, NodeEvent::UpdateAgain, cx);
        }
        let slot = self.new_slot(cx);
        self.slots.state.try_out(slot, program.to_string());
        cx.say(&self.who(), format_args!("tries a new agent in slot {}", slot.word()));
        self.become_loader(cx);
    }

    /// Only the slot that nothing is started from.
    fn new_slot(&self, cx: &Context) -> Slot {
        let good = self.slots.state.good;
        if cx.has(Planted::OverwritesGood) && good != Slot::Installed { good } else { good.other() }
    }

    fn become_loader(&mut self, cx: &mut Context) {
        self.end_agent(cx);
        let wait = self.chance.millis(20, 300);
        cx.after(wait, Event::Machine(self.index, self.boots, MachineEvent::AgentStarts));
    }
}

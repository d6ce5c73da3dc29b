//! What the scenario says, done and ended.

use std::{io, time::Duration};

use super::{Sim, limits::Limited};
use crate::{
    Happening,
    context::Event,
    disk::Mood,
    invariant::{Invariant, Planted},
    upstream::Edit,
};

impl Sim {
    /// Something that the scenario says happens.
    pub(super) fn planned(&mut self, index: usize) -> io::Result<()> {
        let what = self.scenario.happenings[index].what.clone();
        let number = self.scenario.happenings[index].number;
        self.cx.say("-", format_args!("#{number} {what:?}"));
        if let Some(lasts) = lasts(&what) {
            self.going_on.insert(index, what.clone());
            self.cx.after(lasts, Event::Over(index));
        }
        self.disturb(&what);
        match what {
            Happening::Push { push, kind, stack, part } => return self.push(push, kind, stack, part),
            Happening::Undo { push } => return self.undo(push + 1),
            Happening::Hold { push } => return self.hold(push + 1),
            Happening::Pause { .. } => return self.pause(true),
            Happening::Stop { .. } => return self.stop(true),
            Happening::Freeze { .. } => return self.limit(Limited::Frozen),
            Happening::UpdatesOff { .. } => return self.limit(Limited::Off),
            Happening::Pin { stack, .. } => return self.limit(Limited::Pinned(stack)),
            Happening::PinAll { stack, lasts } => {
                return self.limit(Limited::AllPinned(stack, lasts.as_secs()));
            }
            Happening::Promote => return self.promote().map(drop),
            Happening::Agent { number, make } => return self.bring_agents(number, make),
            Happening::Misspell { .. } => {
                let text = format!("{}\n[rolout]\n", self.fleet_toml);
                return self.commit("Misspell fleet.toml", &[("fleet.toml".to_owned(), Edit::Text(text))]);
            }
            Happening::Vanish { stack, .. } => return self.vanish(stack, true),
            Happening::AgentDies { node } => self.on_node(node, |node, cx| node.kill_agent(cx)),
            Happening::PowerLoss { node, lasts } => {
                self.on_node(node, |node, cx| node.lose_power(lasts, cx));
            }
            Happening::Replay { node } => self.replay(node),
            Happening::JournalLost { node } => self.on_node(node, |node, cx| {
                node.kill_agent(cx);
                node.disk.lose_journal();
                node.forgetful = true;
                node.safe_mode = None;
                node.newest = (0, 0);
            }),
            Happening::Vandal { node, how } => self.vandal(node, how),
            Happening::HubDown { lasts } => self.hub_goes(lasts),
            Happening::HubDies { beats, .. } => self.hub.light_fuse(beats),
            _ => self.apply_state()?,
        }
        Ok(())
    }

    /// What something did that lasted is over.
    pub(super) fn over(&mut self, index: usize) -> io::Result<()> {
        let Some(what) = self.going_on.remove(&index) else { return Ok(()) };
        let number = self.scenario.happenings[index].number;
        self.cx.say("-", format_args!("#{number} is over"));
        self.disturb(&what);
        match what {
            Happening::Pause { .. } => self.pause(false),
            Happening::Stop { .. } => self.stop(false),
            // Pins that are in force once all is calm stay until everything has come to rest with them.
            Happening::Freeze { .. } | Happening::UpdatesOff { .. } | Happening::Pin { .. } => {
                self.lift_limits(self.cx.calm)
            }
            // It ends by itself.
            Happening::PinAll { .. } => Ok(()),
            Happening::Misspell { .. } => {
                let text = self.fleet_toml.clone();
                self.commit("Mend fleet.toml", &[("fleet.toml".to_owned(), Edit::Text(text))])
            }
            Happening::Vanish { stack, .. } => self.vanish(stack, false),
            Happening::GitAway { .. } => {
                self.apply_state()?;
                self.sync()
            }
            // A fuse that did not burn down is taken out.
            Happening::HubDies { .. } => {
                self.hub.take_fuse();
                Ok(())
            }
            _ => self.apply_state(),
        }
    }

    /// Sets everything that lasts to what it is now: several may be at once.
    fn apply_state(&mut self) -> io::Result<()> {
        for line in &mut self.cx.lines {
            (line.out_cut, line.in_cut, line.factor) = (false, false, 1);
        }
        for node in &mut self.nodes {
            if node.disk.mood == Mood::ReadOnly {
                node.disk.mood = Mood::Fine;
            }
            (node.runtime.silent, node.offset) = (false, 0);
        }
        let (mut git_away, mut hub_clock) = (false, 0);
        (self.cx.lossy, self.cx.corrupt) = (0, false);
        let going_on: Vec<_> = self.going_on.values().cloned().collect();
        // Somebody has made room on every disk of which nothing says that it is full.
        let full = |index: usize| {
            going_on.iter().any(|what| matches!(what, Happening::DiskFull { node, .. } if *node == index))
        };
        for index in 0..self.nodes.len() {
            let disk = &mut self.nodes[index].disk;
            if full(index) {
                disk.mood = Mood::Full;
            } else if disk.mood == Mood::Full {
                disk.mood = Mood::Fine;
            }
        }
        for what in going_on {
            match what {
                Happening::Partition { nodes, out, back, .. } => {
                    for node in nodes.into_iter().filter(|node| *node < self.nodes.len()) {
                        self.cx.lines[node].out_cut |= out;
                        self.cx.lines[node].in_cut |= back;
                    }
                }
                Happening::Slow { node, factor, .. } if node < self.nodes.len() => {
                    self.cx.lines[node].factor = factor;
                }
                Happening::Lossy { permille, .. } => self.cx.lossy = self.cx.lossy.max(permille),
                Happening::ReadOnly { node, .. } if node < self.nodes.len() => {
                    self.nodes[node].disk.mood = Mood::ReadOnly;
                }
                Happening::RuntimeSilent { node, .. } if node < self.nodes.len() => {
                    self.nodes[node].runtime.silent = true;
                }
                Happening::NodeClock { node, seconds, .. } if node < self.nodes.len() => {
                    self.nodes[node].offset = seconds;
                }
                Happening::HubClock { seconds, .. } => hub_clock = seconds,
                Happening::GitAway { .. } => git_away = true,
                Happening::Corrupt { .. } => self.cx.corrupt = true,
                _ => {}
            }
        }
        if self.hub.clock != hub_clock {
            self.hub_clock_set = self.cx.now;
        }
        self.hub.clock = hub_clock;
        self.hub_clock_was_wrong |= hub_clock != 0;
        self.cx.git_up = !git_away;
        self.upstream.set_away(git_away)
    }

    /// From now on nothing bad happens, and what is bad is mended.
    pub(super) fn calm(&mut self) -> io::Result<()> {
        self.cx.say("-", format_args!("calm"));
        self.cx.calm = true;
        self.hub.take_fuse();
        let left: Vec<_> = self.going_on.keys().copied().collect();
        for index in left {
            self.over(index)?;
        }
        self.apply_state()?;
        if !self.hub.is_up() {
            self.hub_starts()?;
        }
        self.pause(false)?;
        self.stop(false)?;
        self.lift_limits(true)?;
        self.take_windows_away()?;
        self.sync()?;
        self.rest_until = self.cx.now + super::rest::PATIENCE;
        self.cx.after(super::rest::EVERY, Event::Rests);
        Ok(())
    }

    /// The hub is killed.
    fn hub_goes(&mut self, lasts: Duration) {
        if !self.hub.is_up() {
            return;
        }
        self.hub.kill();
        self.cx.hub_up = false;
        self.cx.say("hub", format_args!("is killed"));
        self.cx.after(lasts, Event::HubStarts);
    }

    /// The hub has died of what it did.
    pub(super) fn hub_died(&mut self) {
        if !self.cx.hub_up {
            return;
        }
        self.cx.hub_up = false;
        self.cx.say("hub", format_args!("dies in the middle of something"));
        let wait = if self.cx.calm { Duration::from_secs(1) } else { self.chance.seconds(1, 240) };
        self.cx.after(wait, Event::HubStarts);
    }

    pub(super) fn hub_starts(&mut self) -> io::Result<()> {
        if self.hub.is_up() {
            return Ok(());
        }
        self.hub.start(self.hub_clock())?;
        self.cx.hub_up = true;
        self.hub_since = self.cx.now;
        self.cx.say("hub", format_args!("starts"));
        if self.cx.has(Planted::ForgetsHolds) {
            self.forget_holds()?;
        }
        if self.cx.has(Planted::EditsLedger) {
            self.edit_ledger()?;
        }
        self.settle()?;
        self.judge_store()?;
        self.sync()
    }

    fn on_node(
        &mut self,
        node: usize,
        what: impl FnOnce(&mut crate::node::Node, &mut crate::context::Context),
    ) {
        if let Some(node) = self.nodes.get_mut(node) {
            what(node, &mut self.cx);
        }
    }

    fn vanish(&mut self, stack: usize, gone: bool) -> io::Result<()> {
        let Some(stack) = self.stacks.get(stack).cloned() else { return Ok(()) };
        let folder = format!("stacks/{stack}");
        if gone {
            self.vanished = Some(self.upstream.folder(&folder)?);
            let other = "[[assign]]\nstack = \"other\"\nnodes = \"name=nobody\"\n";
            let text = self.without(&stack) + other;
            // One stack must be left, or it would be no repository of stacks.
            return self.commit(
                &format!("{stack} is gone"),
                &[
                    (folder, Edit::Gone),
                    ("stacks/other/compose.yaml".to_owned(), Edit::Text(OTHER.to_owned())),
                    ("fleet.toml".to_owned(), Edit::Text(text)),
                ],
            );
        }
        let Some(tree) = self.vanished.take() else { return Ok(()) };
        self.commit(
            &format!("{stack} is there again"),
            &[
                ("stacks/other".to_owned(), Edit::Gone),
                (folder, Edit::Folder(tree)),
                ("fleet.toml".to_owned(), Edit::Text(self.fleet_toml.clone())),
            ],
        )
    }

    /// `fleet.toml` without a stack's assignment.
    fn without(&self, stack: &backstay_types::StackName) -> String {
        self.fleet_toml.replace(&format!("[[assign]]\nstack = \"{stack}\"\nnodes = \"\"\n"), "")
    }

    fn replay(&mut self, node: usize) {
        let Some(node) = self.nodes.get_mut(node) else { return };
        let Some(old) = node.given.first().cloned() else { return };
        if self.cx.has(Planted::TakesAnything) {
            node.forget_held(&mut self.cx);
        }
        node.replay(old, &mut self.cx);
    }

    fn vandal(&mut self, node: usize, how: u8) {
        let Some(node) = self.nodes.get_mut(node) else { return };
        let files = node.disk.files().clone();
        let Some((stack, record)) = files.journal.stacks.iter().next() else { return };
        match how {
            0 => drop(node.runtime.runs.remove(stack)),
            1 => {
                if let Some(previous) = &record.previous {
                    node.lost.insert((stack.clone(), previous.tree));
                    let _ = node.disk.delete(stack, previous.tree);
                    let _ = node.disk.sync();
                }
            }
            _ => {
                let _ = node.disk.current(stack, None);
                let _ = node.disk.sync();
            }
        }
    }

    /// Something has happened to these nodes: they may take their time.
    fn disturb(&mut self, what: &Happening) {
        let now = self.cx.now;
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let concerns = match what {
                Happening::Partition { nodes, .. } => nodes.contains(&index),
                Happening::AgentDies { node }
                | Happening::PowerLoss { node, .. }
                | Happening::Slow { node, .. }
                | Happening::DiskFull { node, .. }
                | Happening::ReadOnly { node, .. }
                | Happening::RuntimeSilent { node, .. }
                | Happening::NodeClock { node, .. }
                | Happening::Vandal { node, .. }
                | Happening::Replay { node }
                | Happening::JournalLost { node } => *node == index,
                Happening::Lossy { .. } => true,
                _ => false,
            };
            if concerns {
                node.well_since = now;
            }
        }
    }

    /// For a bug that is planted: somebody edits the ledger.
    fn edit_ledger(&mut self) -> io::Result<()> {
        self.edit("UPDATE ledger SET kind = 'edited' WHERE seq = 2")
    }

    /// For bugs that are planted: somebody changes what the hub has stored.
    pub(super) fn edit(&mut self, statement: &str) -> io::Result<()> {
        let edited = rusqlite::Connection::open(self.hub.database()).and_then(|db| db.execute(statement, []));
        edited.map(drop).map_err(io::Error::other)
    }

    pub(super) fn unsound(&mut self, what: String) {
        self.cx.violated(Invariant::Sound, what);
    }
}

const OTHER: &str = "services:\n  main:\n    image: main:1\n";

/// How long something lasts.
fn lasts(what: &Happening) -> Option<Duration> {
    match what {
        Happening::Pause { lasts }
        | Happening::Stop { lasts }
        | Happening::Freeze { lasts }
        | Happening::UpdatesOff { lasts }
        | Happening::Pin { lasts, .. }
        | Happening::PinAll { lasts, .. }
        | Happening::Misspell { lasts }
        | Happening::Vanish { lasts, .. }
        | Happening::Partition { lasts, .. }
        | Happening::Slow { lasts, .. }
        | Happening::Lossy { lasts, .. }
        | Happening::DiskFull { lasts, .. }
        | Happening::ReadOnly { lasts, .. }
        | Happening::RuntimeSilent { lasts, .. }
        | Happening::NodeClock { lasts, .. }
        | Happening::HubClock { lasts, .. }
        | Happening::HubDies { lasts, .. }
        | Happening::GitAway { lasts }
        | Happening::Corrupt { lasts } => Some(*lasts),
        _ => None,
    }
}

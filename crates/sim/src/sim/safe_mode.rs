//! Whether the hub knows who is in safe mode, and why: judged once nothing bad happens any more.

use std::{io, time::Duration};

use backstay_store::ledger;
use backstay_types::{Event, LedgerEntry};

use super::Sim;
use crate::{hub::Parts, invariant::Invariant, node::Node, truth::SafeModeEntry};

/// More of a kind than a run can have.
const ALL: u32 = 10_000;
/// By when the hub has heard from a node that can be reached: after a check-in that is held, and one more.
const HEARD: Duration = Duration::from_secs(180);

impl Sim {
    /// That what brought nodes into safe mode is in the ledger, and that check-ins say it of those that are there now.
    pub(super) fn judge_safe_mode(&mut self) -> io::Result<()> {
        if !self.hub.is_up() {
            return Ok(());
        }
        self.judge_recorded()?;
        let silent = self.nodes.iter().find_map(|node| self.is_silent(node));
        if let Some(what) = silent {
            self.cx.violated(Invariant::Told, what);
        }
        Ok(())
    }

    fn judge_recorded(&mut self) -> io::Result<()> {
        let forgetful: Vec<_> = self.nodes.iter().filter(|node| node.forgetful).map(|node| node.id).collect();
        // Of what a node knew before its journal was taken away nobody can be told any more.
        self.cx.truth.safe_modes.retain(|entry| !forgetful.contains(&entry.node));
        if self.cx.truth.safe_modes.is_empty() {
            return Ok(());
        }
        self.settle()?;
        let now = self.hub_clock();
        let filter =
            ledger::Filter { kind: Some("safe_mode_entered".to_owned()), ..ledger::Filter::default() };
        let read = self.hub.call(now, async |parts: Parts| {
            Ok(ledger::timeline(&mut parts.store.read(), &filter, ledger::Window::Newest, ALL).await?)
        });
        let Some(recorded) = self.answered(read)? else { return Ok(()) };
        self.cx.truth.safe_modes.retain(|entry| !recorded.iter().any(|known| is_of(known, entry)));
        // What is still on its way may come.
        let sent = |entry: &&SafeModeEntry| {
            let node = self.nodes.iter().find(|node| node.id == entry.node);
            node.is_some_and(|node| node.disk.files().spool.is_empty())
        };
        if let Some(entry) = self.cx.truth.safe_modes.iter().find(sent) {
            let name = self.index_of(entry.node).map_or_else(String::new, |index| self.nodes[index].who());
            let what =
                format!("{name} went into safe mode for {} and never said so: {}", entry.stack, entry.reason);
            self.cx.violated(Invariant::Told, what);
        }
        Ok(())
    }

    /// What a node in safe mode should have said in its check-ins and has not.
    fn is_silent(&self, node: &Node) -> Option<String> {
        let mode = node.safe_mode.as_ref()?;
        let since = node.safe_mode_at.max(node.well_since);
        if node.agent.is_none() || !self.cx.reaches(node.index) || self.cx.now < since + HEARD {
            return None;
        }
        let told = self.hub.safety.get(&node.id).and_then(|safety| safety.safe_mode.as_ref());
        let same = told.is_some_and(|told| {
            let reasons = told.stacks.iter().map(|one| (&one.stack, &one.reason));
            told.id == mode.id && reasons.eq(mode.stacks.iter())
        });
        if same {
            return None;
        }
        let reasons: Vec<_> = mode.stacks.values().map(String::as_str).collect();
        Some(format!("{} is in safe mode ({}), and the hub knows {told:?}", node.who(), reasons.join("; ")))
    }
}

/// Whether an entry of the ledger is the record of that.
fn is_of(known: &LedgerEntry, entry: &SafeModeEntry) -> bool {
    let reason = matches!(&known.event, Some(Event::SafeModeEntered { reason }) if *reason == entry.reason);
    reason && known.refs.node == Some(entry.node) && known.refs.stack.as_ref() == Some(&entry.stack)
}

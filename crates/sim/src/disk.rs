//! A node's disk: what is durable, and what only seems to be until it is synced.

use std::collections::{BTreeMap, BTreeSet};

use backstay_agent_core::{Change, Journal, Links, Transaction};
use backstay_api::agent::Report;
use backstay_types::{StackName, TreeDigest};

use crate::chance::Chance;

/// Files, as one sees them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Files {
    pub(crate) journal: Journal,
    pub(crate) spool: Vec<Report>,
    /// Release folders; whether all of their content is there.
    pub(crate) releases: BTreeMap<(StackName, TreeDigest), bool>,
    pub(crate) links: BTreeMap<StackName, Links>,
}

/// What a disk does when it is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Fine,
    Full,
    ReadOnly,
}

/// A change that is not synced yet.
#[derive(Debug, Clone)]
enum Op {
    Place {
        stack: StackName,
        tree: TreeDigest,
    },
    Delete {
        stack: StackName,
        tree: TreeDigest,
    },
    Current {
        stack: StackName,
        to: Option<TreeDigest>,
    },
    Previous {
        stack: StackName,
        to: Option<TreeDigest>,
    },
    /// A transaction that only seems to be synced, and is lost with the power.
    Journal,
}

/// A disk.
#[derive(Debug)]
pub(crate) struct Disk {
    live: Files,
    durable: Files,
    pending: Vec<Op>,
    /// Releases whose content nobody has synced.
    soft: BTreeSet<(StackName, TreeDigest)>,
    pub(crate) mood: Mood,
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self {
            live: Files::default(),
            durable: Files::default(),
            pending: Vec::new(),
            soft: BTreeSet::new(),
            mood: Mood::Fine,
        }
    }

    /// What one sees now.
    pub(crate) fn files(&self) -> &Files {
        &self.live
    }

    /// What would be there if the power went now and nothing of what is not synced had reached the disk.
    pub(crate) fn durable(&self) -> &Files {
        &self.durable
    }

    /// A transaction of the journal: synced when it returns. With `lies`, it only seems to be.
    pub(crate) fn commit(&mut self, transaction: &Transaction, lies: bool) -> Result<(), Mood> {
        if self.mood != Mood::Fine {
            return Err(self.mood);
        }
        for change in &transaction.changes {
            apply(&mut self.live, change);
        }
        if lies {
            self.pending.push(Op::Journal);
        } else {
            self.durable.journal = self.live.journal.clone();
            self.durable.spool = self.live.spool.clone();
        }
        Ok(())
    }

    /// Renames a staged release into its place. `synced` says whether its content was synced before that.
    pub(crate) fn place(&mut self, stack: &StackName, tree: TreeDigest, synced: bool) -> Result<(), Mood> {
        self.write(Op::Place { stack: stack.clone(), tree })?;
        if !synced {
            self.soft.insert((stack.clone(), tree));
        }
        Ok(())
    }

    /// Deletes a release.
    pub(crate) fn delete(&mut self, stack: &StackName, tree: TreeDigest) -> Result<(), Mood> {
        self.write(Op::Delete { stack: stack.clone(), tree })
    }

    /// Points `current`.
    pub(crate) fn current(&mut self, stack: &StackName, to: Option<TreeDigest>) -> Result<(), Mood> {
        self.write(Op::Current { stack: stack.clone(), to })
    }

    /// Points `previous`.
    pub(crate) fn previous(&mut self, stack: &StackName, to: Option<TreeDigest>) -> Result<(), Mood> {
        self.write(Op::Previous { stack: stack.clone(), to })
    }

    /// Syncs the folders.
    pub(crate) fn sync(&mut self) -> Result<(), Mood> {
        if self.mood == Mood::ReadOnly {
            return Err(self.mood);
        }
        for op in std::mem::take(&mut self.pending) {
            if matches!(op, Op::Journal) {
                self.pending.push(op);
            } else {
                change(&mut self.durable, &op);
            }
        }
        Ok(())
    }

    /// The power goes. Of what is not synced some is there and some is not, in any order.
    pub(crate) fn lose_power(&mut self, chance: &mut Chance) {
        for op in std::mem::take(&mut self.pending) {
            if !matches!(op, Op::Journal) && chance.coin() {
                change(&mut self.durable, &op);
            }
        }
        for key in std::mem::take(&mut self.soft) {
            if chance.coin() {
                self.durable.releases.entry(key).and_modify(|whole| *whole = false);
            }
        }
        self.live = self.durable.clone();
    }

    /// Somebody takes the journal away.
    pub(crate) fn lose_journal(&mut self) {
        for files in [&mut self.live, &mut self.durable] {
            files.journal = Journal::default();
            files.spool.clear();
        }
    }

    fn write(&mut self, op: Op) -> Result<(), Mood> {
        if self.mood != Mood::Fine && !matches!((&op, self.mood), (Op::Delete { .. }, Mood::Full)) {
            return Err(self.mood);
        }
        change(&mut self.live, &op);
        self.pending.push(op);
        Ok(())
    }
}

/// Applies a change to what one sees.
fn change(files: &mut Files, op: &Op) {
    match op {
        Op::Place { stack, tree } => drop(files.releases.insert((stack.clone(), *tree), true)),
        Op::Delete { stack, tree } => drop(files.releases.remove(&(stack.clone(), *tree))),
        Op::Current { stack, to } => files.links.entry(stack.clone()).or_default().current = *to,
        Op::Previous { stack, to } => files.links.entry(stack.clone()).or_default().previous = *to,
        Op::Journal => {}
    }
}

fn apply(files: &mut Files, change: &Change) {
    match change {
        Change::Hold(statement) => files.journal.held = Some((**statement).clone()),
        Change::Stack(stack, record) => {
            files.journal.stacks.insert(stack.clone(), (**record).clone());
        }
        Change::Operation(operation) => files.journal.operation = operation.as_deref().cloned(),
        Change::Safety(safety) => files.journal.safety = (**safety).clone(),
        Change::Report(report) => files.spool.push(report.clone()),
        Change::Forget(ids) => files.spool.retain(|report| !ids.contains(&report.id)),
    }
}

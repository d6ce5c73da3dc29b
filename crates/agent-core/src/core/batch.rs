//! Actions in the making: changes gather until something must not happen before they are durable.

use backstay_api::agent::{Report, ReportBody};
use backstay_types::{ReportId, Timestamp};

use crate::action::{Act, Action, Change, Transaction};

#[derive(Debug, Default)]
pub(super) struct Batch {
    actions: Vec<Action>,
    changes: Vec<Change>,
    name: Option<&'static str>,
}

impl Batch {
    /// A change for the next transaction.
    pub(super) fn change(&mut self, change: Change) {
        self.changes.push(change);
    }

    pub(super) fn report(&mut self, id: ReportId, at: Timestamp, body: ReportBody) {
        self.changes.push(Change::Report(Report { id, at, body }));
    }

    /// What the transaction is for, unless something says it better before it is closed.
    pub(super) fn name(&mut self, name: &'static str) {
        self.name = Some(name);
    }

    /// Closes the transaction.
    pub(super) fn flush(&mut self, name: &'static str, why: &str) {
        self.name = None;
        if !self.changes.is_empty() {
            let transaction = Transaction { name, changes: std::mem::take(&mut self.changes) };
            self.actions.push(Action { act: Act::Persist(transaction), why: why.to_owned() });
        }
    }

    /// An act that comes after all changes so far.
    pub(super) fn act(&mut self, act: Act, why: impl Into<String>) {
        self.close();
        self.actions.push(Action { act, why: why.into() });
    }

    pub(super) fn finish(mut self) -> Vec<Action> {
        self.close();
        self.actions
    }

    fn close(&mut self) {
        let name = self.name.take().unwrap_or("noted");
        self.flush(name, "");
    }
}

//! Agents' programs and the slots that they are in: the loader's own rules, on a disk that is not there.

use backstay_loader::{Slot, State};
use backstay_types::Digest;

/// What an agent's program does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Make {
    /// It works.
    Works,
    /// It ends soon after it was started.
    Dies,
    /// It is there and does nothing.
    Hangs,
    /// It does everything but talk to the hub.
    Deaf,
    /// It ends soon after it was started, on nodes with the label `kind=odd`.
    DiesOnSome,
    /// It cannot be started.
    NoProgram,
}

impl Make {
    /// What it does on a node.
    pub(crate) fn on(self, odd: bool) -> Self {
        match (self, odd) {
            (Self::DiesOnSome, true) => Self::Dies,
            (Self::DiesOnSome, false) => Self::Works,
            (make, _) => make,
        }
    }

    /// A program of it, for x86-64 as far as its first bytes say.
    pub(crate) fn program(self, version: &str) -> Vec<u8> {
        let mut bytes = vec![0; 20];
        bytes[..4].copy_from_slice(b"\x7fELF");
        bytes[18] = 62;
        bytes.extend_from_slice(format!("{self:?} {version}").as_bytes());
        bytes
    }
}

/// A node's slots. All of it is durable: the agent syncs each step before the next.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    /// What the loader goes by.
    pub(crate) state: State,
    a: Option<Digest>,
    b: Option<Digest>,
}

impl Slots {
    /// Nothing but what was installed.
    pub(crate) fn new() -> Self {
        Self { state: State::default(), a: None, b: None }
    }

    /// The program that was installed with the loader.
    pub(crate) fn installed() -> Digest {
        Digest::of(b"installed")
    }

    /// What is in a slot.
    pub(crate) fn program(&self, slot: Slot) -> Option<Digest> {
        match slot {
            Slot::Installed => Some(Self::installed()),
            Slot::A => self.a,
            Slot::B => self.b,
        }
    }

    /// Puts a program into a slot; the installed one is not touched.
    pub(crate) fn place(&mut self, slot: Slot, program: Digest) {
        match slot {
            Slot::Installed => {}
            Slot::A => self.a = Some(program),
            Slot::B => self.b = Some(program),
        }
    }

    /// Whether what is in a slot has yet to show that it works.
    pub(crate) fn is_on_trial(&self, slot: Slot) -> bool {
        self.state.trial.as_ref().is_some_and(|trial| trial.slot == slot)
    }
}

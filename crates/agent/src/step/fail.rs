//! How work in a child says what it did and why it failed.

use std::{fmt::Display, time::Instant};

use backstay_types::{ErrorCode, FailureKind, Step, StepOutcome, StepRecord, Timestamp, World};

use super::Failed;

/// Makes failures. The code that people look up is part of the reason.
pub(crate) struct Fail;

impl Fail {
    pub(crate) fn of(step: Step, kind: FailureKind, reason: impl Display) -> Failed {
        let reason = match code(kind) {
            Some(code) => format!("{reason} ({code})"),
            None => reason.to_string(),
        };
        Failed { step, kind, reason }
    }

    pub(crate) fn coded(step: Step, kind: FailureKind, code: ErrorCode, reason: impl Display) -> Failed {
        Failed { step, kind, reason: format!("{reason} ({code})") }
    }

    pub(crate) fn other(step: Step, reason: impl Display) -> Failed {
        Self::of(step, FailureKind::Other, reason)
    }

    /// A failure to read or write. A full disk is a kind of its own, and so is one that cannot be written or read at
    /// all: that is the node's, not the release's.
    pub(crate) fn io(step: Step, what: impl Display) -> impl FnOnce(std::io::Error) -> Failed {
        move |error| {
            use std::io::ErrorKind;
            /// Input/output error, as a broken disk gives it.
            const EIO: i32 = 5;
            let kind = match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => FailureKind::DiskFull,
                ErrorKind::ReadOnlyFilesystem => FailureKind::Node,
                _ if error.raw_os_error() == Some(EIO) => FailureKind::Node,
                _ => FailureKind::Other,
            };
            Self::of(step, kind, format!("{what}: {error}"))
        }
    }
}

fn code(kind: FailureKind) -> Option<ErrorCode> {
    match kind {
        FailureKind::DiskFull => Some(ErrorCode::BS3001),
        FailureKind::Unavailable => Some(ErrorCode::BS3002),
        FailureKind::Mismatch => Some(ErrorCode::BS3003),
        FailureKind::Invalid => Some(ErrorCode::BS3006),
        FailureKind::Start => Some(ErrorCode::BS3008),
        FailureKind::Unhealthy => Some(ErrorCode::BS3009),
        FailureKind::Node | FailureKind::Interrupted | FailureKind::Other => None,
    }
}

/// The steps taken so far.
#[derive(Debug)]
pub(crate) struct Records {
    world: World,
    began: Started,
    records: Vec<StepRecord>,
}

/// When a step began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Started {
    at: Timestamp,
    since: Instant,
}

impl Records {
    pub(crate) fn new(world: World) -> Self {
        let began = Started { at: world.now(), since: Instant::now() };
        Self { world, began, records: Vec::new() }
    }

    pub(crate) fn start(&mut self) -> Started {
        self.began = Started { at: self.world.now(), since: Instant::now() };
        self.began
    }

    pub(crate) fn done(&mut self, started: Started, step: Step, detail: impl Into<String>) {
        self.push(started, step, StepOutcome::Done, detail.into());
    }

    pub(crate) fn skipped(&mut self, step: Step, detail: impl Into<String>) {
        let started = self.start();
        self.push(started, step, StepOutcome::Skipped, detail.into());
    }

    pub(crate) fn failed(&mut self, failed: &Failed) {
        self.push(self.began, failed.step, StepOutcome::Failed, failed.reason.clone());
    }

    pub(crate) fn extend(&mut self, records: Vec<StepRecord>) {
        self.records.extend(records);
    }

    pub(crate) fn take(self) -> Vec<StepRecord> {
        self.records
    }

    fn push(&mut self, started: Started, step: Step, outcome: StepOutcome, detail: String) {
        let millis = u64::try_from(started.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.records.push(StepRecord { step, started_at: started.at, millis, outcome, detail });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_nodes_is_told_from_what_is_the_releases() {
        for (errno, kind) in [(28, FailureKind::DiskFull), (30, FailureKind::Node), (5, FailureKind::Node)] {
            let failed = Fail::io(Step::Verify, "a file")(std::io::Error::from_raw_os_error(errno));
            assert_eq!(failed.kind, kind, "{}", failed.reason);
            assert!(failed.kind.is_of_node());
        }
        let failed = Fail::io(Step::Verify, "a file")(std::io::Error::from_raw_os_error(2));
        assert!(!failed.kind.is_of_node());
    }
}

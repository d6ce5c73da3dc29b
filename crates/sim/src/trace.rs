//! What happened, as text: a digest over all of it, and the lines for who wants to read them.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    time::Duration,
};

use backstay_types::{DeploymentId, Digest};
use sha2::{Digest as _, Sha256};

/// How many lines are kept when nobody asked for all of them.
const TAIL: usize = 60;

/// The account of a run.
#[derive(Debug)]
pub(crate) struct Trace {
    digest: Sha256,
    lines: VecDeque<String>,
    all: bool,
    count: u64,
    names: HashMap<DeploymentId, usize>,
}

impl Trace {
    /// An account that keeps every line, or only the last ones.
    pub(crate) fn new(all: bool) -> Self {
        Self { digest: Sha256::new(), lines: VecDeque::new(), all, count: 0, names: HashMap::new() }
    }

    /// Something happened.
    pub(crate) fn say(&mut self, at: Duration, who: &str, what: fmt::Arguments<'_>) {
        let (seconds, millis) = (at.as_secs(), at.subsec_millis());
        let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let line = format!("{h:02}:{m:02}:{s:02}.{millis:03} {who:<8} {what}");
        self.digest.update(line.as_bytes());
        self.digest.update(b"\n");
        self.count += 1;
        self.lines.push_back(line);
        if !self.all && self.lines.len() > TAIL {
            self.lines.pop_front();
        }
    }

    /// A deployment's name here: short, and the same in every run of a seed.
    pub(crate) fn name(&mut self, deployment: DeploymentId) -> String {
        let next = self.names.len() + 1;
        format!("D{}", self.names.entry(deployment).or_insert(next))
    }

    /// How many lines there were.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The digest over all lines, and those that were kept.
    pub(crate) fn finish(self) -> (Digest, Vec<String>) {
        (Digest::from_bytes(self.digest.finalize().into()), self.lines.into())
    }
}

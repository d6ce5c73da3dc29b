//! What senders bring, as samples: pure, from bytes to a batch.
//!
//! [`remote_write`] is Prometheus' own protocol, [`otlp`] OpenTelemetry's, with names as Prometheus gives them, and
//! [`text`] what a scrape gets.

mod limits;
pub mod otlp;
pub mod remote_write;
pub mod text;

pub use self::limits::{Limited, inflate};
use crate::{Metadata, store::Batch};

/// What a request brings.
#[derive(Debug, Default)]
pub struct Incoming {
    /// Series with their samples.
    pub batch: Batch,
    /// What is said about metrics, by name.
    pub metadata: Vec<(String, Metadata)>,
    /// What is not taken, in data points or samples.
    pub rejected: Rejected,
    /// Exemplars, of which none is kept.
    pub exemplars: u64,
}

/// What a request brings and is not taken.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// How many samples or data points.
    pub count: u64,
    /// Why, each reason once.
    pub reasons: Vec<String>,
}

impl Rejected {
    pub(crate) fn add(&mut self, count: usize, reason: impl Into<String>) {
        self.count += count as u64;
        let reason = reason.into();
        // A sender that does it wrong does it often.
        if self.reasons.len() < 8 && !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    /// What to tell the sender; nothing when all was taken.
    pub fn message(&self) -> Option<String> {
        (self.count > 0).then(|| format!("{} were not taken: {}", self.count, self.reasons.join("; ")))
    }
}

/// Why nothing of a request can be read. Sending it again is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is larger than allowed, as it came or unpacked.
    #[error("the request is larger than {0} bytes when it is unpacked")]
    TooLarge(usize),
    /// It is not what it says it is.
    #[error("{0}")]
    Malformed(String),
}

impl Incoming {
    /// Puts a label on every series, in the place of one that the sender set: what the hub knows better.
    pub fn label_all(&mut self, name: &str, value: &str) {
        let (name, value) = (std::sync::Arc::<str>::from(name), std::sync::Arc::<str>::from(value));
        for (labels, _) in &mut self.batch {
            let mut builder = labels.to_builder();
            builder.set(name.clone(), value.clone());
            *labels = builder.build();
        }
    }
}

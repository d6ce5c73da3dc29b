//! `[poll]`

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Complaint, check_range};

/// The rhythm of check-ins. Agents obey what the hub sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PollSettings {
    /// How long a check-in is held while nothing changes. A change is answered at once.
    #[serde(with = "crate::duration")]
    #[schemars(with = "String")]
    pub hold: Duration,
    /// How long an agent waits between check-ins that were answered because the hold ended.
    #[serde(with = "crate::duration")]
    #[schemars(with = "String")]
    pub interval: Duration,
    /// The most that an agent adds to the interval at random, so that a fleet does not ask all at once.
    #[serde(with = "crate::duration")]
    #[schemars(with = "String")]
    pub jitter: Duration,
    /// How long a signed statement counts. After it an agent changes nothing until it hears from the hub;
    /// what runs keeps running.
    #[serde(with = "crate::duration")]
    #[schemars(with = "String")]
    pub statement_valid: Duration,
}

impl Default for PollSettings {
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(60),
            interval: Duration::from_secs(30),
            jitter: Duration::from_secs(5),
            statement_valid: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

impl PollSettings {
    pub(crate) fn check(&self) -> Result<(), Complaint> {
        check_range("poll", "hold", self.hold, 0..=600_000)?;
        check_range("poll", "interval", self.interval, 100..=86_400_000)?;
        check_range("poll", "jitter", self.jitter, 0..=86_400_000)?;
        check_range("poll", "statement_valid", self.statement_valid, 60_000..=365 * 86_400_000)
    }
}

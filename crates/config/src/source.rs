//! `[source]`

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Complaint, check_range};

/// How the hub reads Git repositories.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SourceSettings {
    /// How often each repository is asked for news. A push webhook makes it ask at once.
    #[serde(with = "crate::duration")]
    #[schemars(with = "String")]
    pub poll_every: Duration,
    /// How long one fetch or push may take.
    #[serde(with = "crate::duration")]
    #[schemars(with = "String")]
    pub timeout: Duration,
}

impl Default for SourceSettings {
    fn default() -> Self {
        Self { poll_every: Duration::from_secs(60), timeout: Duration::from_secs(120) }
    }
}

impl SourceSettings {
    pub(crate) fn check(&self) -> Result<(), Complaint> {
        check_range("source", "poll_every", self.poll_every, 200..=86_400_000)?;
        check_range("source", "timeout", self.timeout, 1_000..=3_600_000)
    }
}

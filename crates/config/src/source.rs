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
    /// The names of repositories to which the signed statements of nodes are pushed, on `refs/backstay/desired/`, for
    /// agents that cannot reach the hub. The hub must be allowed to push there.
    pub publish_to: Vec<String>,
    /// How often what has changed is pushed.
    #[serde(with = "crate::duration")]
    #[schemars(with = "String")]
    pub publish_every: Duration,
}

impl Default for SourceSettings {
    fn default() -> Self {
        Self {
            poll_every: Duration::from_secs(60),
            timeout: Duration::from_secs(120),
            publish_to: Vec::new(),
            publish_every: Duration::from_secs(30),
        }
    }
}

impl SourceSettings {
    pub(crate) fn check(&self) -> Result<(), Complaint> {
        check_range("source", "poll_every", self.poll_every, 200..=86_400_000)?;
        check_range("source", "publish_every", self.publish_every, 200..=86_400_000)?;
        check_range("source", "timeout", self.timeout, 1_000..=3_600_000)
    }
}

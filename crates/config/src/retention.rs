//! `[retention]`

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Complaint, check_range};

/// How long the hub keeps what tools sent. The ledger, deployments and conversations are not touched by this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionSettings {
    /// Webhook deliveries as they arrived.
    #[serde(with = "crate::duration")]
    #[schemars(with = "String")]
    pub deliveries: Duration,
    /// What was read from them: the tool calls of conversations.
    #[serde(with = "crate::duration")]
    #[schemars(with = "String")]
    pub tool_events: Duration,
}

impl Default for RetentionSettings {
    fn default() -> Self {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        Self { deliveries: days(90), tool_events: days(365) }
    }
}

impl RetentionSettings {
    pub(crate) fn check(&self) -> Result<(), Complaint> {
        // A sender may repeat a delivery for some days; forgotten, it would be taken twice.
        let range = 7 * 86_400_000..=100 * 365 * 86_400_000;
        check_range("retention", "deliveries", self.deliveries, range.clone())?;
        check_range("retention", "tool_events", self.tool_events, range)
    }
}

//! Settings: one TOML file for hub and agent, one section a file here.
//!
//! Order of precedence: environment (`BACKSTAY_<SECTION>_<KEY>`), file,
//! defaults. Unknown keys are errors with the line and the nearest known key.
//! Secrets are not written in the settings; they come from files that the
//! settings name, or from the environment. The JSON schema and the documented
//! example are made from the structs, so that they cannot drift.

mod agent;
mod backup;
mod document;
pub mod duration;
mod environment;
mod error;
mod hub;
mod load;
mod poll;
mod retention;
mod source;
mod telemetry;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::{
    agent::AgentSettings,
    backup::{BackupSettings, S3Settings, TargetSettings},
    document::{example, schema},
    error::ConfigError,
    hub::HubSettings,
    load::{load, parse},
    poll::PollSettings,
    retention::RetentionSettings,
    source::SourceSettings,
    telemetry::TelemetrySettings,
};

/// All settings. Every key has a default, so an empty file is a valid one.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The hub: where it listens and where it keeps its data.
    pub hub: HubSettings,
    /// The rhythm that the hub sets for its agents.
    pub poll: PollSettings,
    /// How the hub reads Git repositories.
    pub source: SourceSettings,
    /// How long the hub keeps what tools sent.
    pub retention: RetentionSettings,
    /// Backups: where they go, how often, what is kept.
    pub backup: BackupSettings,
    /// Metrics that the hub keeps itself.
    pub telemetry: TelemetrySettings,
    /// The agent: where it keeps releases, and what it may use.
    pub agent: AgentSettings,
}

impl Settings {
    /// The same as text of a settings file. Passwords of object stores are left out.
    pub fn to_text(&self) -> String {
        toml::to_string(self).unwrap_or_default()
    }

    /// Checks what types cannot say.
    fn check(&self) -> Result<(), Complaint> {
        self.hub.check()?;
        self.poll.check()?;
        self.source.check()?;
        self.retention.check()?;
        self.backup.check()?;
        self.telemetry.check()?;
        self.agent.check()
    }
}

/// A value that is of the right type and still wrong.
#[derive(Debug)]
pub(crate) struct Complaint {
    section: &'static str,
    key: &'static str,
    message: String,
}

impl Complaint {
    pub(crate) fn new(section: &'static str, key: &'static str, message: impl Into<String>) -> Self {
        Self { section, key, message: message.into() }
    }
}

/// Complains when a duration is out of range.
pub(crate) fn check_range(
    section: &'static str,
    key: &'static str,
    value: std::time::Duration,
    range: std::ops::RangeInclusive<u64>,
) -> Result<(), Complaint> {
    if range.contains(&u64::try_from(value.as_millis()).unwrap_or(u64::MAX)) {
        return Ok(());
    }
    let show = |ms| duration::show(std::time::Duration::from_millis(ms));
    let (low, high) = (show(*range.start()), show(*range.end()));
    Err(Complaint::new(
        section,
        key,
        format!("{} is out of range: expected {low} to {high}", duration::show(value)),
    ))
}

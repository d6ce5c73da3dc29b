//! Logs that the hub keeps.

use std::collections::BTreeMap;

use backstay_types::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Page;
use crate::{
    body::{Binary, Events},
    endpoint::endpoints,
};

endpoints! {
    /// Lines that the hub keeps, the newest first.
    SearchLogs = Get "/api/v1/logs" Operator (query: LogSearch) -> Page<StoredLine>;
    /// The newest lines that fit (`limit`, none when absent), then all that come, as server-sent events, oldest first. Each
    /// plain event is a line as JSON. An event `gap` says that lines before the next one are left out, since the reader was
    /// too slow; the search has them. `order` and `cursor` are not for this.
    TailLogs = Get "/api/v1/logs/tail" Operator (query: LogSearch) -> Events;
    /// How many lines there are over time, by level.
    CountLogs = Get "/api/v1/logs/histogram" Operator (query: LogCount) -> LogHistogram;
    /// All lines that fit, one JSON document a line, oldest first. `limit`, `order` and `cursor` are not for this.
    ExportLogs = Get "/api/v1/logs/export" Operator (query: LogSearch) -> Binary;
}

/// Which lines. All that is said has to fit.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LogSearch {
    /// Only of this node, by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Only of this stack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// Only of this service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Only of this release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Only of this deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// Only of this conversation: its id here, or the one that its tool gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation: Option<String>,
    /// Only of this trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// Only as severe as this, or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<LogLevel>,
    /// Only with this in their text, letter by letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// From this time on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Up to this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// Which end comes first; the newest when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<LogOrder>,
    /// At most this many items; 100 when absent, 1000 at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// From the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Which lines are counted, and in which steps.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LogCount {
    /// As in a search.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// As in a search.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// As in a search.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// As in a search.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// As in a search.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// As in a search.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation: Option<String>,
    /// As in a search.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// As in a search.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<LogLevel>,
    /// As in a search.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// From this time on, down to a whole step; an hour before `to` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Up to this time, up to a whole step; now when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// Seconds of a step, 60 when absent. At most 10,000 steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<u32>,
}

impl LogCount {
    /// The lines that are counted.
    pub fn search(&self) -> LogSearch {
        let of = self.clone();
        LogSearch {
            node: of.node,
            stack: of.stack,
            service: of.service,
            release: of.release,
            deployment: of.deployment,
            conversation: of.conversation,
            trace: of.trace,
            level: of.level,
            text: of.text,
            from: of.from,
            to: of.to,
            ..LogSearch::default()
        }
    }
}

/// How severe a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Nobody said.
    Unknown,
    /// Every step.
    Trace,
    /// For who looks for a fault.
    Debug,
    /// What happens.
    Info,
    /// Something to look at.
    Warn,
    /// Something failed.
    Error,
    /// It does not go on.
    Fatal,
}

/// Which end comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogOrder {
    /// The newest line first.
    #[default]
    Newest,
    /// The oldest line first.
    Oldest,
}

/// A line of a log. What is not known is left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StoredLine {
    /// When it was written.
    pub time: Timestamp,
    /// When it was seen first.
    pub observed: Timestamp,
    /// How severe it is.
    pub level: LogLevel,
    /// The same as OpenTelemetry numbers it, 1 to 24; 0 when nobody said.
    pub severity: u8,
    /// The node that it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The stack there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// What wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The release that ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// The deployment that put it there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// The conversation that it belongs to, as its sender knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<String>,
    /// The trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// The span.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<String>,
    /// What it says. Secrets are hidden.
    pub text: String,
    /// All else that its sender said.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub attributes: serde_json::Map<String, serde_json::Value>,
}

/// How many lines there are over time.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct LogHistogram {
    /// Seconds of a step.
    pub step: u32,
    /// Steps with lines in them, oldest first.
    pub buckets: Vec<LogBucket>,
}

/// Lines of a step.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LogBucket {
    /// Where it begins.
    pub from: Timestamp,
    /// Lines by level; levels without any are left out.
    pub counts: BTreeMap<LogLevel, u64>,
}

/// How the store of logs stands.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct LogStoreView {
    /// Why no logs are kept, when none are.
    pub problem: Option<String>,
    /// What the last upkeep (parts, merges, retention) could not do, if anything.
    pub upkeep_problem: Option<String>,
    /// Lines in memory.
    pub memory_lines: u64,
    /// Bytes of memory that they take.
    pub memory_bytes: u64,
    /// How many they may take.
    pub max_memory_bytes: u64,
    /// Bytes of the write-ahead log.
    pub log_bytes: u64,
    /// Parts on disk.
    pub parts: u64,
    /// Their lines.
    pub part_lines: u64,
    /// Their bytes.
    pub part_bytes: u64,
    /// Parts that were set aside because they were damaged.
    pub damaged: Vec<String>,
    /// The time of the oldest line.
    pub oldest: Option<Timestamp>,
    /// The time of the newest line.
    pub newest: Option<Timestamp>,
    /// Lines that were stored since the hub was started.
    pub stored: u64,
    /// Bytes of their text.
    pub text_bytes: u64,
    /// Lines since then that were there already.
    pub duplicates: u64,
    /// Lines since then that were refused: too old, or from the future.
    pub refused: u64,
    /// Batches since then of which nothing was acknowledged: senders come again.
    pub batches_refused: u64,
    /// Requests since then that were held off because their sender sent too much at once.
    pub held_off: u64,
    /// Secrets since then that were hidden, by what told them.
    pub hidden: HiddenSecrets,
}

/// Secrets that were hidden in logs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HiddenSecrets {
    /// The hub knows them.
    pub known: u64,
    /// Their form, or the name before them.
    pub pattern: u64,
    /// They look random.
    pub entropy: u64,
}

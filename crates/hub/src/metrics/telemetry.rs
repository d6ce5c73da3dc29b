//! What the stores of metrics and logs say of themselves.

use backstay_telemetry::{logs::LogStatus, store::Status};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

/// Figures of the store.
#[derive(Debug, Default)]
pub(super) struct StoreFigures {
    samples: Family<ByOutcome, Counter>,
    batches_refused: Counter,
    upkeep_failures: Counter,
    active_series: Gauge,
    memory: Gauge,
    log: Gauge,
    blocks: Gauge,
    damaged: Gauge,
}

impl StoreFigures {
    pub(super) fn register(&self, all: &mut Registry) {
        let samples = self.samples.clone();
        all.register("telemetry_samples", "Samples that senders brought, by what became of them", samples);
        let refused = self.batches_refused.clone();
        all.register("telemetry_batches_refused", "Batches that senders were told to repeat", refused);
        let failures = self.upkeep_failures.clone();
        all.register("telemetry_upkeep_failures", "Times that blocks could not be kept in order", failures);
        all.register("telemetry_active_series", "Series with samples in memory", self.active_series.clone());
        let memory = self.memory.clone();
        all.register_with_unit("telemetry_memory", "Memory that samples take", Unit::Bytes, memory);
        all.register_with_unit("telemetry_log", "The log of samples", Unit::Bytes, self.log.clone());
        all.register_with_unit("telemetry_blocks", "Blocks of samples", Unit::Bytes, self.blocks.clone());
        let damaged = self.damaged.clone();
        all.register("telemetry_blocks_damaged", "Blocks that were set aside as damaged", damaged);
    }

    /// Takes what the store says, and how many samples the hub does not keep by their kind.
    pub(super) fn set(&self, status: &Status, unsupported: u64) {
        let counts = &status.counts;
        let outcomes = [
            ("stored", counts.stored),
            ("duplicate", counts.duplicates),
            ("conflict", counts.conflicts),
            ("too_old", counts.too_old),
            ("too_new", counts.too_new),
            ("over_series", counts.over_series),
            ("bad_labels", counts.bad_labels),
            ("unsupported", unsupported),
        ];
        for (outcome, count) in outcomes {
            reach(&self.samples.get_or_create(&ByOutcome { outcome }), count);
        }
        reach(&self.batches_refused, counts.batches_refused);
        reach(&self.upkeep_failures, counts.upkeep_failures);
        let gauges = [
            (&self.active_series, status.active_series),
            (&self.memory, status.memory_bytes),
            (&self.log, status.log_bytes),
            (&self.blocks, status.block_bytes()),
            (&self.damaged, status.damaged.len() as u64),
        ];
        for (gauge, value) in gauges {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByLayer {
    layer: &'static str,
}

/// Figures of the store of logs.
#[derive(Debug, Default)]
pub(super) struct LogFigures {
    lines: Family<ByOutcome, Counter>,
    hidden: Family<ByLayer, Counter>,
    text: Counter,
    batches_refused: Counter,
    held_off: Counter,
    upkeep_failures: Counter,
    memory: Gauge,
    disk: Gauge,
    damaged: Gauge,
}

impl LogFigures {
    pub(super) fn register(&self, all: &mut Registry) {
        let lines = self.lines.clone();
        all.register("telemetry_log_lines", "Lines that senders brought, by what became of them", lines);
        let hidden = self.hidden.clone();
        all.register("telemetry_secrets_hidden", "Secrets hidden in logs, by what told them", hidden);
        let text = self.text.clone();
        all.register_with_unit("telemetry_logs_stored", "Text of lines that were stored", Unit::Bytes, text);
        let refused = self.batches_refused.clone();
        all.register(
            "telemetry_log_batches_refused",
            "Batches of lines that senders were told to repeat",
            refused,
        );
        let held_off = self.held_off.clone();
        all.register("telemetry_log_requests_held_off", "Requests of senders that bring too much", held_off);
        let failures = self.upkeep_failures.clone();
        all.register("telemetry_log_upkeep_failures", "Times that logs could not be kept in order", failures);
        let memory = self.memory.clone();
        all.register_with_unit("telemetry_logs_memory", "Memory that lines take", Unit::Bytes, memory);
        let disk = self.disk.clone();
        all.register_with_unit("telemetry_logs_disk", "Logs on disk, and their log", Unit::Bytes, disk);
        all.register(
            "telemetry_log_parts_damaged",
            "Parts that were set aside as damaged",
            self.damaged.clone(),
        );
    }

    /// Takes what the store says, and how many requests were held off.
    pub(super) fn set(&self, status: &LogStatus, held_off: u64) {
        let counts = &status.counts;
        let outcomes = [
            ("stored", counts.stored),
            ("duplicate", counts.duplicates),
            ("too_old", counts.too_old),
            ("too_new", counts.too_new),
        ];
        for (outcome, count) in outcomes {
            reach(&self.lines.get_or_create(&ByOutcome { outcome }), count);
        }
        let layers = [
            ("known", counts.hidden_known),
            ("pattern", counts.hidden_pattern),
            ("entropy", counts.hidden_entropy),
        ];
        for (layer, count) in layers {
            reach(&self.hidden.get_or_create(&ByLayer { layer }), count);
        }
        reach(&self.text, counts.text_bytes);
        reach(&self.batches_refused, counts.batches_refused);
        reach(&self.held_off, held_off);
        reach(&self.upkeep_failures, counts.upkeep_failures);
        let gauges = [
            (&self.memory, status.memory_bytes),
            (&self.disk, status.part_bytes + status.log_bytes),
            (&self.damaged, status.damaged.len() as u64),
        ];
        for (gauge, value) in gauges {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }
}

/// The store counts; here the count is only shown.
fn reach(counter: &Counter, count: u64) {
    counter.inc_by(count.saturating_sub(counter.get()));
}

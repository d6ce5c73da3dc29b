//! What the store of metrics says of itself.

use backstay_telemetry::store::Status;
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

/// The store counts; here the count is only shown.
fn reach(counter: &Counter, count: u64) {
    counter.inc_by(count.saturating_sub(counter.get()));
}

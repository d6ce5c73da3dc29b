//! What the store of logs counts about itself.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

crate::store::counters! {
    LogCounts;
    /// Lines that were stored and acknowledged.
    stored,
    /// Lines that were there already.
    duplicates,
    /// Lines refused because they are older than what is kept.
    too_old,
    /// Lines refused because their time has not come yet.
    too_new,
    /// Lines whose text was cut because it was too long.
    cut,
    /// Secrets hidden because the hub knows them.
    hidden_known,
    /// Secrets hidden by their form or name.
    hidden_pattern,
    /// Secrets hidden because they look random.
    hidden_entropy,
    /// Bytes of text that were acknowledged.
    text_bytes,
    /// Batches refused as a whole: memory or disk full, the log not writable.
    batches_refused,
    /// Bytes written to the log.
    log_bytes,
    /// Syncs of the log: fewer than batches where several share one.
    log_syncs,
    /// Ends of the log that were cut at the start, since a write had not come to its end.
    torn,
    /// Records of the log that were not what was written.
    log_damaged,
    /// Lines that the start took from the log.
    replayed,
    /// Parts written from memory.
    flushed,
    /// Merges of parts.
    compacted,
    /// Parts dropped by age or bytes.
    dropped,
    /// Parts set aside because they were damaged.
    set_aside,
    /// Times that upkeep could not do what it had to.
    upkeep_failures,
}

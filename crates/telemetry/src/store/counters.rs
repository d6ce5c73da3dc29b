//! What the store counts about itself.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($counts:ident; $($(#[doc = $doc:literal])+ $name:ident,)*) => {
        /// Counts since the store was opened.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(pub(super) $name: AtomicU64,)*
        }

        /// Counts since the store was opened.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $counts {
            $($(#[doc = $doc])+ pub $name: u64,)*
        }

        impl Counters {
            pub(super) fn read(&self) -> $counts {
                $counts { $($name: self.$name.load(Relaxed),)* }
            }
        }
    };
}

pub(crate) use counters;

counters! {
    Counts;
    /// Samples that were stored and acknowledged.
    stored,
    /// Samples that were there already, with the same value.
    duplicates,
    /// Samples refused because another value is there for that time.
    conflicts,
    /// Samples refused because they came too late.
    too_old,
    /// Samples refused because their time has not come yet.
    too_new,
    /// Samples refused because there are too many series.
    over_series,
    /// Series refused because their labels cannot be.
    bad_labels,
    /// Batches refused as a whole: memory or disk full, the log not writable.
    batches_refused,
    /// Batches that were acknowledged.
    batches,
    /// Bytes written to the log.
    log_bytes,
    /// Syncs of the log: fewer than batches where several share one.
    log_syncs,
    /// Ends of the log that were cut at the start, since a write had not come to its end.
    torn,
    /// Records of the log that were not what was written.
    log_damaged,
    /// Samples that the start took from the log.
    replayed,
    /// Blocks written from memory.
    flushed,
    /// Merges of blocks.
    compacted,
    /// Blocks dropped by age or bytes.
    dropped,
    /// Blocks set aside because they were damaged.
    set_aside,
    /// Times that upkeep could not do what it had to.
    upkeep_failures,
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Relaxed);
}

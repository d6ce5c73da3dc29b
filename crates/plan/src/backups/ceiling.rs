//! How much room repositories may take, and what follows when they take it.

use std::fmt;

use backstay_types::Timestamp;

/// The most that repositories may take, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ceiling {
    /// All of them.
    pub all: Option<u64>,
    /// A node's. The hub's own state has none: it is small, and nothing comes back without it.
    pub each: Option<u64>,
}

/// A ceiling that is reached: retention keeps only what must be kept, and the schedule makes no more than that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// By a node's own repository.
    Own {
        /// What it takes.
        bytes: u64,
        /// What it may take.
        most: u64,
    },
    /// By all repositories together.
    All {
        /// What they take.
        bytes: u64,
        /// What they may take.
        most: u64,
    },
}

impl Ceiling {
    /// Whether there is any.
    pub fn is_set(&self) -> bool {
        self.all.is_some() || self.each.is_some()
    }

    /// Whether it is reached by a repository that takes `own` bytes, where all of them take `all`. `None` for `own` is
    /// the hub's own state.
    pub fn reached(&self, own: Option<u64>, all: u64) -> Option<Reached> {
        let by_own = self.each.zip(own).filter(|(most, bytes)| bytes >= most);
        let by_all = self.all.filter(|most| all >= *most);
        by_own
            .map(|(most, bytes)| Reached::Own { bytes, most })
            .or_else(|| by_all.map(|most| Reached::All { bytes: all, most }))
    }
}

/// What there is of a stack that a node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SavedStack {
    /// Since when the node runs it.
    pub since: Timestamp,
    /// Its snapshots.
    pub snapshots: u64,
    /// Those that are proven.
    pub proven: u64,
}

/// Whether of some stack of a node there are fewer proven snapshots than must be kept: backups are made all the same
/// then, until there are. A stack without any counts until all was saved once since it is there: it may have no data.
pub fn is_below_floor(stacks: &[SavedStack], at_least: u32, all_saved_at: Option<Timestamp>) -> bool {
    stacks.iter().any(|stack| match stack.snapshots {
        0 => at_least > 0 && all_saved_at.is_none_or(|at| at < stack.since),
        _ => stack.proven < u64::from(at_least),
    })
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whose, bytes, key, most) = match self {
            Self::Own { bytes, most } => ("its repository takes", bytes, "backup.max_bytes_per_node", most),
            Self::All { bytes, most } => ("all repositories take", bytes, "backup.max_bytes", most),
        };
        write!(
            f,
            "{whose} {bytes} bytes and may take {most} ({key}): only what must be kept stays, and the schedule makes no \
             more than that; raise {key}, release holds, or save less"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_what_must_be_kept_backups_go_on() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let stack = |since, snapshots, proven| SavedStack { since: at(since), snapshots, proven };
        let below = |stacks: &[SavedStack], saved: Option<i64>| is_below_floor(stacks, 3, saved.map(at));
        assert!(!below(&[], None), "nothing runs");
        assert!(below(&[stack(0, 2, 2)], Some(9)) && !below(&[stack(0, 3, 3)], Some(9)));
        assert!(below(&[stack(0, 5, 2)], Some(9)), "those that are not proven may be none");
        assert!(below(&[stack(0, 4, 4), stack(0, 1, 1)], Some(9)), "each stack for itself");
        assert!(below(&[stack(5, 0, 0)], None) && below(&[stack(5, 0, 0)], Some(4)), "it was never saved");
        assert!(!below(&[stack(5, 0, 0)], Some(6)), "it has nothing to save");
        assert!(!is_below_floor(&[stack(0, 0, 0), stack(0, 1, 0)], 0, None));
    }

    #[test]
    fn a_nodes_own_counts_before_that_of_all_and_the_hub_has_none_of_its_own() {
        let ceiling = Ceiling { all: Some(1000), each: Some(100) };
        assert_eq!(ceiling.reached(Some(99), 999), None);
        assert_eq!(ceiling.reached(Some(100), 1000), Some(Reached::Own { bytes: 100, most: 100 }));
        assert_eq!(ceiling.reached(Some(1), 1000), Some(Reached::All { bytes: 1000, most: 1000 }));
        assert_eq!(ceiling.reached(None, 999), None);
        assert_eq!(ceiling.reached(None, 1001), Some(Reached::All { bytes: 1001, most: 1000 }));
        assert_eq!(Ceiling::default().reached(Some(u64::MAX), u64::MAX), None);
        assert!(!Ceiling::default().is_set() && ceiling.is_set());
    }
}

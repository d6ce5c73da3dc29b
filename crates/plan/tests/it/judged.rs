//! What the rules of a rollout see.

use backstay_plan::{Gate, GateFigures, gate, judged};
use backstay_types::{RolloutStrategy, Timestamp};
use proptest::prelude::*;

proptest! {
    #[test]
    fn a_rule_holds_where_its_gate_would_stop(ended in 1..200_u64, failed in 0..200_u64, limit in 0..100_u32) {
        let failed = failed.min(ended);
        let rule = format!("failed_ratio > {}", f64::from(limit) / 100.0);
        let strategy = RolloutStrategy { stop: vec![rule], min_sample: 1, ..RolloutStrategy::default() };
        let figures = GateFigures { members: ended, ended, failed, run: ended - failed, ..GateFigures::default() };
        let seen = judged(&strategy, &figures);
        prop_assert_eq!(seen.len(), 1);
        prop_assert_eq!(seen[0].value, Some(failed as f64 / ended as f64));
        let stops = matches!(gate(&strategy, &figures, true, Timestamp::UNIX_EPOCH), Gate::Stop(_));
        prop_assert_eq!(seen[0].holds, stops);
    }
}

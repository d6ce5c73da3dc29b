//! Which lanes are shown: those with trouble first, then the busiest.

use std::collections::{BTreeMap, BTreeSet};

use backstay_api::v1::{Bucket, GraphItem, GraphKind, Lane};

/// So many lanes can be told apart.
const MOST: usize = 60;

/// The lanes, by name, and how many there would be more. What is in none of them any more is left out.
pub(super) fn choose(items: &mut Vec<GraphItem>, buckets: &mut Vec<Bucket>) -> (Vec<Lane>, u64) {
    // Failures, then all, by lane.
    let mut weight: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for item in items.iter() {
        let failed = u64::from(item.kind == GraphKind::Deployment && is_failure(&item.state));
        for lane in &item.lanes {
            let sum = weight.entry(lane).or_default();
            *sum = (sum.0 + failed, sum.1 + 1);
        }
    }
    for bucket in buckets.iter() {
        let sum = weight.entry(&bucket.lane).or_default();
        *sum = (sum.0 + bucket.failures, sum.1 + bucket.count);
    }
    let mut by_weight: Vec<_> = weight.into_iter().map(|(lane, sum)| (lane.to_owned(), sum)).collect();
    by_weight.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let more = by_weight.len().saturating_sub(MOST) as u64;
    by_weight.truncate(MOST);
    let chosen: BTreeSet<String> = by_weight.into_iter().map(|(lane, _)| lane).collect();
    for item in items.iter_mut().filter(|_| more > 0) {
        let somewhere = !item.lanes.is_empty();
        item.lanes.retain(|lane| chosen.contains(lane));
        // An empty list means the whole fleet, which it does not concern.
        if somewhere && item.lanes.is_empty() && item.kind == GraphKind::Deployment {
            item.id.clear();
        }
    }
    items.retain(|item| !item.id.is_empty());
    buckets.retain(|bucket| chosen.contains(&bucket.lane));
    (chosen.into_iter().map(|key| Lane { name: key.clone(), key }).collect(), more)
}

/// Whether the word is that of a deployment that ended without its release running.
fn is_failure(state: &str) -> bool {
    matches!(state, "rolled_back" | "failed" | "broken")
}

#[cfg(test)]
mod tests {
    use backstay_types::{Refs, Timestamp};

    use super::*;

    fn deployment(lane: String, state: &str) -> GraphItem {
        GraphItem {
            kind: GraphKind::Deployment,
            id: lane.clone(),
            lanes: vec![lane],
            at: Timestamp::UNIX_EPOCH,
            until: None,
            state: state.to_owned(),
            title: String::new(),
            refs: Refs::default(),
            undo: false,
        }
    }

    #[test]
    fn lanes_with_failures_are_never_left_out() {
        let mut items: Vec<_> = (0..100).map(|n| deployment(format!("n{n:03}"), "succeeded")).collect();
        items.push(deployment("z".into(), "rolled_back"));
        items.push(deployment("whole".into(), "succeeded"));
        items[101].lanes.clear();
        let mut buckets = vec![
            Bucket { lane: "y".into(), at: Timestamp::UNIX_EPOCH, count: 9, failures: 0 },
            Bucket { lane: "y2".into(), at: Timestamp::UNIX_EPOCH, count: 1, failures: 1 },
        ];
        let (lanes, more) = choose(&mut items, &mut buckets);
        let keys: Vec<_> = lanes.iter().map(|lane| lane.key.as_str()).collect();
        assert_eq!((lanes.len(), more), (MOST, 43));
        assert!(keys.contains(&"z") && keys.contains(&"y2") && keys.contains(&"y"), "{keys:?}");
        assert!(keys.is_sorted());
        assert_eq!(
            items.len(),
            MOST - 2 + 1,
            "one for each lane that is left, and the one of the whole fleet"
        );
        assert!(items.iter().all(|item| item.lanes.iter().all(|lane| keys.contains(&lane.as_str()))));
    }

    #[test]
    fn few_lanes_are_all_shown() {
        let mut items = vec![deployment("b".into(), "failed"), deployment("a".into(), "succeeded")];
        let (lanes, more) = choose(&mut items, &mut Vec::new());
        assert_eq!(lanes.iter().map(|lane| lane.key.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((more, items.len()), (0, 2));
    }
}

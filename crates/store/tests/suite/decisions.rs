//! Decisions about rollouts and what failures have in common.

use backstay_store::{decisions, patterns, rollouts};
use backstay_types::*;
use serde_json::json;

use crate::fixture::{Fixture, both, commit};

async fn decisions_are_numbered_and_kept_as_they_were(t: Fixture) {
    let (one, other): (RolloutId, RolloutId) = (t.mint(), t.mint());
    let new = |rollout, kind, topic: Option<&str>| decisions::NewDecision {
        rollout,
        at: t.later(),
        kind,
        reason: "because".to_owned(),
        by: kind_by(kind),
        inputs: json!({"about": "gate", "figures": {"failed": 3}}),
        snapshot: Some(Digest::of(b"seen")),
        topic: topic.map(str::to_owned),
    };
    let mut tx = t.begin().await;
    assert_eq!(decisions::waits_for(&mut tx, one).await.unwrap(), None);
    decisions::insert(&mut tx, &new(one, DecisionKind::Began, None)).await.unwrap();
    decisions::insert(&mut tx, &new(one, DecisionKind::Waits, Some("time in wave 1"))).await.unwrap();
    decisions::insert(&mut tx, &new(other, DecisionKind::Began, None)).await.unwrap();
    assert_eq!(decisions::waits_for(&mut tx, one).await.unwrap().as_deref(), Some("time in wave 1"));
    decisions::insert(&mut tx, &new(one, DecisionKind::Paused, None)).await.unwrap();
    assert_eq!(decisions::waits_for(&mut tx, one).await.unwrap(), None, "it does no longer");
    let kept = decisions::of_rollout(&mut tx, one).await.unwrap();
    let seen: Vec<_> = kept.iter().map(|d| (d.number, d.kind, d.by.as_deref())).collect();
    let (began, waits) = (DecisionKind::Began, DecisionKind::Waits);
    assert_eq!(seen, [(1, began, None), (2, waits, None), (3, DecisionKind::Paused, Some("test"))]);
    assert_eq!(kept[0].inputs["figures"]["failed"], 3);
    assert_eq!(kept[0].snapshot, Some(Digest::of(b"seen")));
    assert_eq!(decisions::of_rollout(&mut tx, other).await.unwrap().len(), 1);
}

fn kind_by(kind: DecisionKind) -> Option<String> {
    kind.is_by_hand().then(|| "test".to_owned())
}

async fn stopped_rollouts_are_due_until_no_attempt_is_open(t: Fixture) {
    let cause = Cause::Change { repository: t.mint(), commit: commit("a") };
    let rollout = t.rollout(&t.release(t.mint(), "web", "1"), cause.clone());
    let running = t.rollout(&t.release(t.mint(), "web", "2"), cause);
    let mut tx = t.begin().await;
    rollouts::insert(&mut tx, &rollout).await.unwrap();
    rollouts::insert(&mut tx, &running).await.unwrap();
    assert_eq!(patterns::due(&mut tx, Timestamp::UNIX_EPOCH).await.unwrap(), []);
    let (from, to) = (RolloutState::Running, RolloutState::Halted);
    rollouts::transition(&mut tx, rollout.id, from, to, "failed", t.later()).await.unwrap();
    let due: Vec<_> =
        patterns::due(&mut tx, Timestamp::UNIX_EPOCH).await.unwrap().into_iter().map(|r| r.id).collect();
    assert_eq!(due, [rollout.id]);
    assert_eq!(patterns::due(&mut tx, t.later()).await.unwrap(), [], "too long ago");
    let mut pattern = FailurePattern {
        at: t.later(),
        failed: 2,
        succeeded: 1,
        open: 3,
        errors: Vec::new(),
        apart: Vec::new(),
        blamed: Vec::new(),
        unlinked: vec![commit("b")],
    };
    patterns::put(&mut tx, rollout.id, &pattern).await.unwrap();
    assert_eq!(patterns::due(&mut tx, Timestamp::UNIX_EPOCH).await.unwrap().len(), 1);
    (pattern.open, pattern.failed) = (0, 5);
    patterns::put(&mut tx, rollout.id, &pattern).await.unwrap();
    assert_eq!(patterns::due(&mut tx, Timestamp::UNIX_EPOCH).await.unwrap(), []);
    let found = patterns::many(&mut tx, &[running.id, rollout.id]).await.unwrap();
    assert_eq!(found, [(rollout.id, pattern)]);
}

both!(decisions_are_numbered_and_kept_as_they_were, stopped_rollouts_are_due_until_no_attempt_is_open);

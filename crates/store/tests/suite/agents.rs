//! Agents' programs, and what became of bringing them to nodes.

use backstay_store::{agents, nodes};
use backstay_types::{
    AgentBuild, AgentDecision, AgentOutcome, AgentUpdateId, AgentUpdateState, Digest, NodeId, Timestamp,
};

use crate::fixture::{Fixture, both};

async fn a_program_is_kept_once_whole(t: Fixture) {
    // Larger than a page, with every byte in it.
    let content: Vec<u8> = (0..100_000u32).map(|n| (n % 256) as u8).collect();
    let build = AgentBuild {
        version: "2".into(),
        arch: "x86_64".into(),
        sha256: Digest::of(&content),
        bytes: content.len() as u64,
    };
    let mut tx = t.begin().await;
    assert!(agents::insert_build(&mut tx, &build, &content, "me", t.world.now()).await.unwrap());
    assert!(!agents::insert_build(&mut tx, &build, &content, "me", t.later()).await.unwrap());
    tx.commit().await.unwrap();
    let mut store = t.store.read();
    assert_eq!(agents::builds(&mut store).await.unwrap(), [build.clone()]);
    assert_eq!(agents::content(&mut store, build.sha256).await.unwrap(), Some(content));
    assert_eq!(agents::content(&mut store, Digest::of(b"other")).await.unwrap(), None);
}

async fn an_answer_is_news_when_it_differs(t: Fixture) {
    let (node, update): (NodeId, AgentUpdateId) = (t.mint(), t.mint());
    let failed = AgentOutcome::Failed { reason: "it did not start".into() };
    let mut tx = t.begin().await;
    assert!(agents::answer(&mut tx, update, node, &failed, t.world.now()).await.unwrap());
    assert!(!agents::answer(&mut tx, update, node, &failed, t.later()).await.unwrap());
    assert!(agents::answer(&mut tx, update, node, &AgentOutcome::Updated, t.later()).await.unwrap());
    let answers = agents::answers(&mut tx, update).await.unwrap();
    assert_eq!(answers.get(&node), Some(&AgentOutcome::Updated));
    agents::say(&mut tx, update, &[node]).await.unwrap();
    agents::say(&mut tx, update, &[node]).await.unwrap();
    assert_eq!(agents::said(&mut tx).await.unwrap().get(&node), Some(&update));
}

async fn who_was_revoked_since_is_told(t: Fixture) {
    let (node, other) = (t.node("web-1"), t.node("web-2"));
    let mut tx = t.begin().await;
    for one in [&node, &other] {
        nodes::insert(&mut tx, one, Digest::of(one.name.as_str().as_bytes())).await.unwrap();
    }
    let at = t.later();
    nodes::revoke(&mut tx, node.id, at).await.unwrap();
    assert_eq!(nodes::revoked_since(&mut tx, Timestamp::MIN).await.unwrap(), [node.id]);
    assert_eq!(nodes::revoked_since(&mut tx, at).await.unwrap(), [node.id]);
    assert_eq!(nodes::revoked_since(&mut tx, t.later()).await.unwrap(), []);
}

async fn decisions_are_numbered_and_kept_as_they_were(t: Fixture) {
    let (update, other): (AgentUpdateId, AgentUpdateId) = (t.mint(), t.mint());
    let decision = |number, wave, by: Option<&str>| AgentDecision {
        number,
        at: t.world.now(),
        state: AgentUpdateState::Running,
        wave,
        reason: "none too many failed".into(),
        by: by.map(str::to_owned),
        inputs: serde_json::json!({ "asked": 3, "held": null }),
    };
    let mut tx = t.begin().await;
    for (update, wave, by) in [(update, 0, Some("me")), (other, 0, None), (update, 1, None)] {
        agents::decide(&mut tx, update, &decision(9, wave, by)).await.unwrap();
    }
    tx.commit().await.unwrap();
    let kept = agents::decisions(&mut t.store.read(), update).await.unwrap();
    assert_eq!(kept, [decision(1, 0, Some("me")), decision(2, 1, None)]);
}

both!(
    decisions_are_numbered_and_kept_as_they_were,
    a_program_is_kept_once_whole,
    an_answer_is_news_when_it_differs,
    who_was_revoked_since_is_told,
);

use backstay_engine::{Observation, Observed, WhyQuestion};
use backstay_store::related::{Anchor, related};
use backstay_types::{DeliveryId, ForeignId, LinkSource, ToolEventKind};

use crate::fleet::Fleet;

#[tokio::test]
async fn why_finds_the_conversation_behind_a_running_line() {
    let mut fleet = Fleet::new().await;
    let (a, b) = (fleet.conversation(), fleet.conversation());
    fleet.change("hello", "welcome", a);
    fleet.deploy().await;
    fleet.change("quiet", "loud", b);
    fleet.deploy().await;
    let question = |line| WhyQuestion {
        node: fleet.nodes["one"],
        stack: "web".parse().unwrap(),
        file: Some("compose.yaml".to_owned()),
        line: Some(line),
    };
    let why = fleet.engine.why(&question(5)).await.unwrap();
    assert_eq!(why.conversations[0].id, a);
    assert!(why.text.unwrap().contains("welcome"));
    assert!(why.deployment.is_some());
    let why = fleet.engine.why(&question(9)).await.unwrap();
    assert_eq!(why.conversations[0].id, b);
    let missing = fleet.engine.why(&question(500)).await.unwrap_err();
    assert_eq!(missing.code().as_str(), "BS2008", "{missing}");
}

#[tokio::test]
async fn from_any_one_id_all_the_others() {
    let mut fleet = Fleet::new().await;
    let a = fleet.conversation();
    let commit = fleet.change("hello", "welcome", a);
    fleet.deploy().await;
    let undo = fleet.undo(fleet.only_its(a)).await;
    let deployment = fleet.deployments().await.into_iter().nth(4).unwrap();
    let starts = [
        Anchor::Conversation(a),
        Anchor::Commit(fleet.repository, commit.clone()),
        Anchor::Rollout(deployment.rollout),
        Anchor::Deployment(deployment.id),
        Anchor::Release(deployment.release),
    ];
    for start in starts {
        let related = related(&mut fleet.store.read(), &start, 1000).await.unwrap();
        let has = |kind: &str, id: String| related.iter().any(|i| i.kind == kind && i.id == id);
        assert!(has("conversation", a.to_string()), "{start:?}: {related:#?}");
        assert!(has("commit", commit.to_string()), "{start:?}: {related:#?}");
        assert!(has("rollout", deployment.rollout.to_string()), "{start:?}: {related:#?}");
        assert!(has("deployment", deployment.id.to_string()), "{start:?}: {related:#?}");
        let times: Vec<_> = related.iter().map(|i| i.at).collect();
        assert!(times.is_sorted());
    }
    let related = related(&mut fleet.store.read(), &Anchor::Undo(undo.id), 1000).await.unwrap();
    assert!(related.iter().any(|i| i.kind == "conversation" && i.id == a.to_string()), "{related:#?}");
}

#[tokio::test]
async fn an_event_that_names_a_commit_links_it_and_a_guess_is_never_acted_on() {
    let mut fleet = Fleet::new().await;
    let commit = {
        let path = "stacks/web/compose.yaml";
        fleet.work.write(path, &fleet.work.read(path).replace("hello", "welcome"));
        fleet.commit("By nobody known", None)
    };
    fleet.deploy().await;
    let id = ForeignId { tool: "claude-code".into(), kind: "session_id".into(), value: "s-1".into() };
    let conversation = fleet.engine.resolve_conversation(&id).await.unwrap().id;
    let refused = fleet.engine.plan_undo(&fleet.only_its(conversation)).await;
    assert!(refused.is_err());
    let event = Observation {
        ids: vec![id.clone()],
        what: Observed::Event {
            kind: ToolEventKind::ToolCall,
            at: fleet.world.now(),
            summary: "git commit".to_owned(),
            commits: vec![commit.as_str()[..10].to_owned()],
        },
    };
    let mut tx = fleet.store.begin().await.unwrap();
    let delivery = fleet.world.mint::<DeliveryId>();
    fleet.engine.observe(&mut tx, delivery, &[event]).await.unwrap();
    tx.commit().await.unwrap();
    let known =
        backstay_store::changes::get(&mut fleet.store.read(), fleet.repository, &commit).await.unwrap();
    let links = known.unwrap().change.links;
    assert!(
        links.iter().any(|l| l.conversation == conversation && l.source == LinkSource::Event),
        "{links:?}"
    );
    let undo = fleet.undo(fleet.only_its(conversation)).await;
    fleet.assert_verified(&undo);
    fleet.assert_all_run(&["hello"], &["welcome"]).await;
}

//! Correlation: from any one id, all the others, in time order.

use backstay_store::{
    Tx, changes, conversations, deployments, nodes,
    related::{Anchor, Item, related},
    releases, rollouts, undos,
};
use backstay_types::*;

use crate::fixture::{Fixture, both, commit, container, digest, known};

/// Two conversations, a commit each, one after the other on one stack and two nodes; the first is undone.
struct Story {
    repository: RepositoryId,
    a: Thread,
    b: Thread,
    nodes: [NodeId; 2],
    undo: UndoId,
    back: Vec<String>,
}

/// What hangs together with one conversation.
struct Thread {
    conversation: ConversationId,
    commit: CommitId,
    release: ReleaseId,
    rollout: RolloutId,
    deployments: [DeploymentId; 2],
    containers: [String; 2],
}

impl Thread {
    fn ids(&self) -> Vec<String> {
        let mut ids = vec![
            self.conversation.to_string(),
            self.commit.to_string(),
            self.release.to_string(),
            self.rollout.to_string(),
        ];
        ids.extend(self.deployments.iter().map(ToString::to_string));
        ids.extend(self.containers.iter().cloned());
        ids
    }
}

async fn deploy(
    t: &Fixture,
    tx: &mut Tx,
    rollout: &Rollout,
    nodes: [NodeId; 2],
) -> ([DeploymentId; 2], [String; 2]) {
    rollouts::insert(tx, rollout).await.unwrap();
    let all = nodes.map(|node| t.deployment(node, rollout));
    deployments::insert(tx, &all).await.unwrap();
    let ids = all.map(|d| d.id);
    let containers = ids.map(|id| format!("c{id}"));
    for (id, name) in ids.iter().zip(&containers) {
        let seen = [container("web", name)];
        deployments::finish(tx, *id, &DeploymentState::Succeeded, t.later(), &seen).await.unwrap();
    }
    (ids, containers)
}

async fn thread(
    t: &Fixture,
    tx: &mut Tx,
    repository: RepositoryId,
    digits: &str,
    nodes: [NodeId; 2],
) -> Thread {
    let conversation = t.mint();
    conversations::ensure(tx, conversation, "openclaw", t.later()).await.unwrap();
    let links = vec![Link { conversation, source: LinkSource::Trailer }];
    let change = Change { links, ..t.change(repository, digits) };
    changes::insert(tx, &known(change)).await.unwrap();
    let release = Release { commit: commit(digits), ..t.release(repository, "web", digits) };
    let release = releases::ensure(tx, &release).await.unwrap().0;
    let rollout = t.rollout(&release, Cause::Change { repository, commit: commit(digits) });
    let (deployments, containers) = deploy(t, tx, &rollout, nodes).await;
    Thread {
        conversation,
        commit: commit(digits),
        release: release.id,
        rollout: rollout.id,
        deployments,
        containers,
    }
}

async fn story(t: &Fixture) -> Story {
    let repository = t.mint();
    let mut tx = t.begin().await;
    let both = [t.node("one"), t.node("two")];
    for node in &both {
        nodes::insert(&mut tx, node, digest(node.name.as_str())).await.unwrap();
    }
    let nodes = both.map(|n| n.id);
    let a = thread(t, &mut tx, repository, "a", nodes).await;
    let b = thread(t, &mut tx, repository, "b", nodes).await;
    let mut undo =
        t.undo(UndoSelector::Conversation { conversation: a.conversation, meaning: Meaning::OnlyIts });
    undo.plan.repositories = vec![RepositoryUndo {
        repository,
        route: UndoRoute::Branch,
        base: commit("b"),
        commits: vec![commit("a")],
        skipped: vec![],
        conflicts: vec![],
        files: vec![],
        commit: Some(commit("c")),
        push: PushState::Done,
    }];
    undos::insert(&mut tx, &undo, "{}").await.unwrap();
    let made = changes::KnownChange { undo: Some(undo.id), ..known(t.change(repository, "c")) };
    changes::insert(&mut tx, &made).await.unwrap();
    let release = Release { commit: commit("c"), ..t.release(repository, "web", "c") };
    let release = releases::ensure(&mut tx, &release).await.unwrap().0;
    let rollout = t.rollout(&release, Cause::Undo { undo: undo.id });
    let (ids, containers) = deploy(t, &mut tx, &rollout, nodes).await;
    let mut back = vec![undo.id.to_string(), commit("c").to_string(), rollout.id.to_string()];
    back.extend(ids.map(|id| id.to_string()));
    back.extend(containers);
    tx.commit().await.unwrap();
    Story { repository, a, b, nodes, undo: undo.id, back }
}

async fn from(t: &Fixture, anchor: Anchor) -> Vec<Item> {
    let items = related(&mut t.store.read(), &anchor, 1000).await.unwrap();
    assert!(items.is_sorted_by_key(|item| item.at), "in time order");
    items
}

fn ids(items: &[Item]) -> Vec<&str> {
    items.iter().map(|item| item.id.as_str()).collect()
}

fn assert_has<'a>(items: &[Item], expected: impl IntoIterator<Item = &'a String>, from: &str) {
    for id in expected {
        assert!(ids(items).contains(&id.as_str()), "{from} does not lead to {id}: {items:#?}");
    }
}

fn assert_lacks<'a>(items: &[Item], unexpected: impl IntoIterator<Item = &'a String>, from: &str) {
    for id in unexpected {
        assert!(!ids(items).contains(&id.as_str()), "{from} leads to {id}: {items:#?}");
    }
}

async fn from_a_conversation_down_and_through_its_undo(t: Fixture) {
    let story = story(&t).await;
    let items = from(&t, Anchor::Conversation(story.a.conversation)).await;
    assert_has(&items, &story.a.ids(), "conversation");
    assert_has(&items, &story.back, "conversation");
    assert_has(&items, &story.nodes.map(|n| n.to_string()), "conversation");
    assert_lacks(&items, &story.b.ids(), "conversation");
    let kinds: std::collections::BTreeSet<_> = items.iter().map(|i| i.kind).collect();
    assert_eq!(kinds.len(), 8, "one of each kind: {kinds:?}");
    let items = from(&t, Anchor::Conversation(story.b.conversation)).await;
    assert_has(&items, &story.b.ids(), "conversation");
    assert_lacks(&items, &story.a.ids(), "conversation");
    assert_lacks(&items, &story.back, "conversation");
}

async fn from_each_in_between_up_and_down(t: Fixture) {
    let story = story(&t).await;
    for (name, anchor) in [
        ("commit", Anchor::Commit(story.repository, story.b.commit.clone())),
        ("release", Anchor::Release(story.b.release)),
        ("rollout", Anchor::Rollout(story.b.rollout)),
    ] {
        let items = from(&t, anchor).await;
        assert_has(&items, &story.b.ids(), name);
        assert_has(&items, &story.nodes.map(|n| n.to_string()), name);
        assert_lacks(&items, &story.a.ids(), name);
    }
}

async fn from_a_deployment_or_container_to_its_cause(t: Fixture) {
    let story = story(&t).await;
    let of = |i: usize| {
        let mut ids = story.a.ids();
        ids.retain(|id| *id != story.a.deployments[1 - i].to_string() && *id != story.a.containers[1 - i]);
        ids.push(story.nodes[i].to_string());
        ids
    };
    let deployment = from(&t, Anchor::Deployment(story.a.deployments[0])).await;
    let container = from(&t, Anchor::Container(story.a.containers[1].clone())).await;
    for (items, i, name) in [(deployment, 0, "deployment"), (container, 1, "container")] {
        assert_has(&items, &of(i), name);
        assert_has(&items, &[story.undo.to_string()], name);
        assert_lacks(&items, &[story.nodes[1 - i].to_string()], name);
        assert_lacks(&items, &story.b.ids(), name);
    }
}

async fn from_a_node_and_from_an_undo(t: Fixture) {
    let story = story(&t).await;
    let items = from(&t, Anchor::Node(story.nodes[0])).await;
    let on_it: Vec<_> = [&story.a, &story.b].map(|thread| thread.deployments[0].to_string()).into();
    assert_has(&items, &on_it, "node");
    assert_has(&items, &[story.a.conversation, story.b.conversation].map(|c| c.to_string()), "node");
    assert_lacks(&items, &[story.nodes[1].to_string(), story.a.deployments[1].to_string()], "node");
    let items = from(&t, Anchor::Undo(story.undo)).await;
    assert_has(&items, &story.back, "undo");
    let causes = [story.a.conversation.to_string(), story.a.commit.to_string()];
    assert_has(&items, &causes, "undo");
    assert_lacks(&items, &story.b.ids(), "undo");
}

async fn the_newest_deployments_up_to_the_limit_and_nothing_for_the_unknown(t: Fixture) {
    let story = story(&t).await;
    let anchor = Anchor::Conversation(story.a.conversation);
    let items = related(&mut t.store.read(), &anchor, 1).await.unwrap();
    assert_eq!(items.iter().filter(|i| i.kind == "deployment").count(), 1);
    for anchor in [
        Anchor::Conversation(t.mint()),
        Anchor::Commit(t.mint(), commit("a")),
        Anchor::Container("c".into()),
        Anchor::Node(t.mint()),
        Anchor::Undo(t.mint()),
    ] {
        let found = from(&t, anchor.clone()).await;
        assert!(found.is_empty(), "{anchor:?}: {found:?}");
    }
}

both!(
    from_a_conversation_down_and_through_its_undo,
    from_each_in_between_up_and_down,
    from_a_deployment_or_container_to_its_cause,
    from_a_node_and_from_an_undo,
    the_newest_deployments_up_to_the_limit_and_nothing_for_the_unknown,
);

use std::collections::BTreeMap;

use backstay_engine::Resolution;
use backstay_types::UndoState;

use crate::fleet::Fleet;

fn only(files: BTreeMap<String, Option<String>>) -> Resolution {
    Resolution { files, ..Resolution::default() }
}

#[tokio::test]
async fn a_conflict_names_file_and_later_commit_and_can_be_resolved() {
    let mut fleet = Fleet::new().await;
    let (a, b) = (fleet.conversation(), fleet.conversation());
    fleet.change("hello", "welcome", a);
    fleet.deploy().await;
    let later = fleet.change("welcome", "good morning", b);
    fleet.deploy().await;
    let undo = fleet.engine.create_undo(fleet.only_its(a), "test").await.unwrap();
    assert_eq!(undo.state, UndoState::Conflicted);
    let conflict = &undo.plan.repositories[0].conflicts[0];
    assert_eq!(conflict.path, "stacks/web/compose.yaml");
    assert_eq!(conflict.later, [later]);
    assert!(conflict.markers.contains("<<<<<<<"), "{}", conflict.markers);
    fleet.play(|_, _| true).await;
    fleet.assert_all_run(&["good morning"], &[]).await;

    let unfinished =
        BTreeMap::from([("fleet:stacks/web/compose.yaml".to_owned(), Some(conflict.markers.clone()))]);
    assert!(fleet.engine.resolve_undo(undo.id, only(unfinished)).await.is_err());

    let text = crate::fleet::COMPOSE.replace("hello", "good day");
    let files = BTreeMap::from([("fleet:stacks/web/compose.yaml".to_owned(), Some(text))]);
    let undo = fleet.engine.resolve_undo(undo.id, only(files)).await.unwrap();
    fleet.play(|_, _| true).await;
    let undo = fleet.settled_push(undo.id).await;
    fleet.assert_verified(&undo);
    fleet.assert_all_run(&["good day"], &["welcome", "good morning"]).await;
}

#[tokio::test]
async fn a_conflict_is_shown_to_who_asks_for_some_nodes_too() {
    let mut fleet = Fleet::new().await;
    let (a, b) = (fleet.conversation(), fleet.conversation());
    fleet.change("hello", "welcome", a);
    fleet.deploy().await;
    fleet.change("welcome", "good morning", b);
    fleet.deploy().await;
    let mut want = fleet.only_its(a);
    want.scope.nodes = Some("ring=one".to_owned());
    let undo = fleet.engine.create_undo(want, "test").await.unwrap();
    assert_eq!((undo.state, undo.plan.repositories[0].conflicts.len()), (UndoState::Conflicted, 1));
    let text = crate::fleet::COMPOSE.replace("hello", "good day");
    let files = BTreeMap::from([("fleet:stacks/web/compose.yaml".to_owned(), Some(text))]);
    let undo = fleet.engine.resolve_undo(undo.id, only(files)).await.unwrap();
    fleet.play(|_, _| true).await;
    fleet.assert_verified(&fleet.settled_push(undo.id).await);
    fleet.assert_runs("one", &["good day"], &["good morning"]).await;
    fleet.assert_runs("two", &["good morning"], &[]).await;
}

#[tokio::test]
async fn a_squash_of_two_conversations_is_refused_and_both_are_named() {
    let mut fleet = Fleet::new().await;
    let (a, b) = (fleet.conversation(), fleet.conversation());
    let path = "stacks/web/compose.yaml";
    fleet.work.write(path, &fleet.work.read(path).replace("hello", "welcome").replace("quiet", "loud"));
    let spec = backstay_testkit::CommitSpec::new("Squash of two")
        .trailer("Backstay-Conversation", &a.to_string())
        .trailer("Backstay-Conversation", &b.to_string());
    fleet.work.commit(&spec);
    fleet.work.push();
    fleet.deploy().await;
    let refused = fleet.engine.plan_undo(&fleet.only_its(a)).await.unwrap_err().to_string();
    assert!(refused.contains(&a.to_string()) && refused.contains(&b.to_string()), "{refused}");
}

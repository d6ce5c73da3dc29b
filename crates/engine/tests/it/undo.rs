use backstay_engine::{Said, WantedUndo};
use backstay_store::undos;
use backstay_types::{ConversationId, Meaning, PushState, UndoRoute, UndoScope, UndoSelector, UndoState};

use crate::fleet::{Fleet, want};

#[tokio::test]
async fn one_conversation_is_undone_and_the_other_stays() {
    let mut fleet = Fleet::new().await;
    let (a, b) = (fleet.conversation(), fleet.conversation());
    fleet.change("hello", "welcome", a);
    fleet.deploy().await;
    fleet.change("quiet", "loud", b);
    fleet.deploy().await;
    fleet.change("small", "large", a);
    fleet.deploy().await;

    let plan = fleet.engine.plan_undo(&fleet.only_its(a)).await.unwrap();
    assert_eq!(plan.repositories[0].commits.len(), 2);
    assert_eq!(plan.repositories[0].files, ["stacks/web/compose.yaml"]);
    assert_eq!(plan.nodes.len(), 3);
    fleet.assert_all_run(&["welcome", "loud", "large"], &[]).await;

    let undo = fleet.undo(fleet.only_its(a)).await;
    fleet.assert_verified(&undo);
    fleet.assert_all_run(&["hello", "loud", "small"], &["welcome", "large"]).await;
    assert_eq!(undo.plan.repositories[0].push, PushState::Done);
    let upstream = fleet.upstream.file("main", "stacks/web/compose.yaml").unwrap();
    assert!(upstream.contains("loud") && upstream.contains("hello"), "{upstream}");
    let message = fleet.upstream.message("main");
    assert!(message.contains(&format!("Backstay-Undo: {}", undo.id)), "{message}");
    assert_eq!(message.matches("Backstay-Reverts: ").count(), 2, "{message}");

    let again = fleet.engine.plan_undo(&fleet.only_its(a)).await.unwrap_err();
    assert!(again.to_string().contains("already"), "{again}");
}

#[tokio::test]
async fn a_deployment_under_way_is_taken_back_too() {
    let mut fleet = Fleet::new().await;
    let a = fleet.conversation();
    fleet.change("hello", "welcome", a);
    fleet.later();
    fleet.engine.sync_repository(fleet.repository).await.unwrap();
    // The nodes have been told, and the hub has heard nothing of what came of it.
    fleet.engine.reconcile().await.unwrap();
    fleet.later();
    let undo = fleet.engine.create_undo(fleet.only_its(a), "test").await.unwrap();
    assert_eq!(undo.plan.nodes.len(), 3, "{:#?}", undo.plan);
    fleet.engine.reconcile().await.unwrap();
    assert_eq!(fleet.settled_push(undo.id).await.state, UndoState::RollingOut);
    fleet.play(|_, _| true).await;
    let undo = fleet.settled_push(undo.id).await;
    fleet.assert_verified(&undo);
    fleet.assert_all_run(&["hello"], &["welcome"]).await;
}

#[tokio::test]
async fn undo_of_the_undo_brings_it_back_and_lifts_its_holds() {
    let mut fleet = Fleet::new().await;
    let a = fleet.conversation();
    fleet.change("hello", "welcome", a);
    fleet.deploy().await;
    let undo = fleet.undo(fleet.only_its(a)).await;
    fleet.assert_all_run(&["hello"], &["welcome"]).await;
    let back = fleet.undo(want(UndoSelector::Undo { undo: undo.id })).await;
    fleet.assert_verified(&back);
    fleet.assert_all_run(&["welcome"], &["hello"]).await;
    let again = fleet.undo(fleet.only_its(a)).await;
    fleet.assert_verified(&again);
    fleet.assert_all_run(&["hello"], &["welcome"]).await;
}

#[tokio::test]
async fn back_to_before_a_conversation_takes_later_work_along() {
    let mut fleet = Fleet::new().await;
    let (a, b) = (fleet.conversation(), fleet.conversation());
    fleet.change("blue", "red", b);
    fleet.deploy().await;
    fleet.change("hello", "welcome", a);
    fleet.deploy().await;
    fleet.change("quiet", "loud", b);
    fleet.deploy().await;
    let selector = UndoSelector::Conversation { conversation: a, meaning: Meaning::Before };
    let undo = fleet.undo(want(selector)).await;
    fleet.assert_verified(&undo);
    fleet.assert_all_run(&["hello", "quiet", "red"], &["welcome", "loud"]).await;
}

#[tokio::test]
async fn to_a_commit_and_to_a_time() {
    let mut fleet = Fleet::new().await;
    let to = fleet.change("hello", "welcome", fleet.conversation());
    fleet.deploy().await;
    let at = fleet.later();
    fleet.change("quiet", "loud", fleet.conversation());
    fleet.deploy().await;
    let undo = fleet.undo(want(UndoSelector::Time { to: at, exact: false })).await;
    fleet.assert_verified(&undo);
    fleet.assert_all_run(&["welcome", "quiet"], &["loud"]).await;

    fleet.work.pull();
    fleet.change("small", "large", fleet.conversation());
    fleet.deploy().await;
    fleet.assert_all_run(&["large"], &[]).await;
    let repository = fleet.repository;
    let undo = fleet.undo(want(UndoSelector::Commit { repository, to })).await;
    fleet.assert_verified(&undo);
    fleet.assert_all_run(&["welcome", "quiet", "small"], &["large"]).await;
}

#[tokio::test]
async fn to_a_time_at_which_nodes_differed() {
    let mut fleet = Fleet::new().await;
    fleet.change("hello", "welcome", fleet.conversation());
    fleet.later();
    fleet.engine.sync_repository(fleet.repository).await.unwrap();
    fleet.play(|node, _| node != "two").await;
    let at = fleet.later();
    fleet.change("welcome", "good morning", fleet.conversation());
    fleet.deploy().await;
    fleet.assert_all_run(&["good morning"], &[]).await;

    let plan = fleet.engine.plan_undo(&want(UndoSelector::Time { to: at, exact: false })).await.unwrap();
    assert!(plan.notes.iter().any(|n| n.contains("one ran")), "{:?}", plan.notes);
    let undo = fleet.undo(want(UndoSelector::Time { to: at, exact: true })).await;
    fleet.assert_verified(&undo);
    fleet.assert_runs("one", &["welcome"], &[]).await;
    fleet.assert_runs("two", &["hello"], &[]).await;
    fleet.assert_runs("three", &["welcome"], &[]).await;
    assert!(fleet.upstream.file("main", "fleet.toml").unwrap().contains("[[pin]]"));
}

#[tokio::test]
async fn a_deployment_and_the_last_change() {
    let mut fleet = Fleet::new().await;
    fleet.change("hello", "welcome", fleet.conversation());
    fleet.deploy().await;
    let deployment = fleet.deployments().await[0].id;
    fleet.change("quiet", "loud", fleet.conversation());
    fleet.deploy().await;
    let undo = fleet.undo(want(UndoSelector::Deployment { deployment })).await;
    fleet.assert_verified(&undo);
    fleet.assert_all_run(&["hello", "loud"], &["welcome"]).await;
    let undo = fleet.undo(want(UndoSelector::Last)).await;
    fleet.assert_verified(&undo);
    fleet.assert_all_run(&["hello", "quiet"], &[]).await;
}

#[tokio::test]
async fn on_one_of_three_nodes_the_others_stay() {
    let mut fleet = Fleet::new().await;
    let a = fleet.conversation();
    fleet.change("hello", "welcome", a);
    fleet.deploy().await;
    fleet.change("quiet", "loud", fleet.conversation());
    fleet.deploy().await;
    let mut wanted = fleet.only_its(a);
    wanted.scope.nodes = Some("name=two".to_owned());
    let undo = fleet.undo(wanted).await;
    fleet.assert_verified(&undo);
    assert_eq!(undo.plan.repositories[0].route, UndoRoute::UndoBranch);
    fleet.assert_runs("two", &["hello", "loud"], &["welcome"]).await;
    fleet.assert_runs("one", &["welcome", "loud"], &[]).await;
    assert!(fleet.upstream.tip(&format!("backstay/undo/{}", undo.id)).is_some());
    assert!(fleet.upstream.file("main", "fleet.toml").unwrap().contains("name=two"));

    let back = fleet.undo(want(UndoSelector::Undo { undo: undo.id })).await;
    fleet.assert_verified(&back);
    fleet.assert_runs("two", &["welcome", "loud"], &[]).await;
    assert!(!fleet.upstream.file("main", "fleet.toml").unwrap_or_default().contains("[[pin]]"));
}

#[tokio::test]
async fn a_node_that_was_away_follows_when_it_is_back() {
    let mut fleet = Fleet::new().await;
    let a = fleet.conversation();
    fleet.change("hello", "welcome", a);
    fleet.deploy().await;
    fleet.away = vec!["three".to_owned()];
    let undo = fleet.undo(fleet.only_its(a)).await;
    assert_eq!(undo.state, UndoState::RollingOut);
    fleet.assert_all_run(&["hello"], &[]).await;
    fleet.away.clear();
    fleet.play(|_, _| true).await;
    let undo = fleet.settled_push(undo.id).await;
    fleet.assert_verified(&undo);
    fleet.assert_all_run(&["hello"], &["welcome"]).await;
}

#[tokio::test]
async fn an_undo_that_fails_says_so() {
    let mut fleet = Fleet::new().await;
    let a = fleet.conversation();
    fleet.change("hello", "welcome", a);
    fleet.deploy().await;
    let undo = fleet.engine.create_undo(fleet.only_its(a), "test").await.unwrap();
    fleet.play(|node, _| node != "two").await;
    let undo = fleet.settled_push(undo.id).await;
    let UndoState::Failed { reason } = &undo.state else { panic!("{:?}", undo.state) };
    assert!(reason.contains("two") && reason.contains("the page says no"), "{reason}");
    fleet.assert_runs("one", &["hello"], &[]).await;
}

#[tokio::test]
async fn an_undo_back_to_what_was_stopped_is_refused_before_anything_is_pushed() {
    let mut fleet = Fleet::new().await;
    let (a, b) = (fleet.conversation(), fleet.conversation());
    fleet.change("hello", "welcome", a);
    fleet.later();
    fleet.engine.sync_repository(fleet.repository).await.unwrap();
    fleet.play(|_, _| false).await;
    fleet.change("quiet", "loud", b);
    fleet.deploy().await;
    fleet.assert_all_run(&["welcome", "loud"], &[]).await;
    // Without b's change it is again the tree that failed everywhere: nobody may be sent there.
    let tip = fleet.upstream.message("main");
    let planned = fleet.engine.plan_undo(&fleet.only_its(b)).await.unwrap_err();
    let asked = fleet.engine.create_undo(fleet.only_its(b), "test").await.unwrap_err();
    let some = UndoScope { nodes: Some("ring=one".to_owned()), ..UndoScope::default() };
    let pinned = WantedUndo { scope: some, ..fleet.only_its(b) };
    let pinned = fleet.engine.plan_undo(&pinned).await.unwrap_err();
    for error in [&planned, &asked, &pinned] {
        assert_eq!(error.code().as_str(), "BS5003", "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("hold lift")), "{error}");
    }
    let now = fleet.world.now();
    let bans = backstay_store::constraints::in_force(&mut fleet.store.read(), now).await.unwrap();
    assert!(planned.to_string().contains(&bans[0].id.to_string()), "{planned}");
    assert_eq!((fleet.upstream.message("main"), bans.len()), (tip, 1), "nothing was pushed or held");
    fleet.assert_all_run(&["welcome", "loud"], &[]).await;
    fleet.engine.lift(bans[0].id, "try again", "test").await.unwrap();
    let undo = fleet.undo(fleet.only_its(b)).await;
    fleet.assert_verified(&undo);
    fleet.assert_all_run(&["welcome", "quiet"], &["loud"]).await;
}

#[tokio::test]
async fn an_undo_of_what_runs_nowhere_may_go_back_to_what_is_banned_and_says_so() {
    let mut fleet = Fleet::new().await;
    let (a, b) = (fleet.conversation(), fleet.conversation());
    for (from, to, by) in [("hello", "welcome", a), ("quiet", "loud", b)] {
        fleet.change(from, to, by);
        fleet.later();
        fleet.engine.sync_repository(fleet.repository).await.unwrap();
        fleet.play(|_, _| false).await;
    }
    fleet.assert_all_run(&["hello", "quiet"], &[]).await;
    let plan = fleet.engine.plan_undo(&fleet.only_its(b)).await.unwrap();
    assert!(plan.notes.iter().any(|note| note.contains("is banned by")), "{:?}", plan.notes);
    let undo = fleet.undo(fleet.only_its(b)).await;
    fleet.assert_verified(&undo);
    fleet.assert_all_run(&["hello", "quiet"], &[]).await;
}

#[tokio::test]
async fn an_undo_of_what_runs_nowhere_ends_even_if_what_was_before_is_stopped() {
    let mut fleet = Fleet::new().await;
    let (a, b) = (fleet.conversation(), fleet.conversation());
    // Stopped on one, while the others had only been told of it.
    fleet.away = vec!["two".to_owned(), "three".to_owned()];
    for (from, to, by) in [("hello", "welcome", a), ("quiet", "loud", b)] {
        fleet.change(from, to, by);
        fleet.later();
        fleet.engine.sync_repository(fleet.repository).await.unwrap();
        fleet.play(|_, _| false).await;
    }
    let undo = fleet.undo(fleet.only_its(b)).await;
    assert_eq!(undo.plan.nodes.len(), 3, "{undo:#?}");
    fleet.assert_verified(&undo);
    fleet.away.clear();
    fleet.play(|_, _| true).await;
    fleet.assert_all_run(&["hello", "quiet"], &[]).await;
}

/// A node that may have begun what was stopped is waited for, until it says what it runs.
#[tokio::test]
async fn an_undo_is_not_called_verified_while_a_node_may_run_what_was_given_up() {
    let mut fleet = Fleet::new().await;
    let (a, b) = (fleet.conversation(), fleet.conversation());
    fleet.away = vec!["two".to_owned(), "three".to_owned()];
    let mut reports = None;
    for (from, to, by) in [("hello", "welcome", a), ("quiet", "loud", b)] {
        fleet.change(from, to, by);
        fleet.later();
        fleet.engine.sync_repository(fleet.repository).await.unwrap();
        if by == b {
            reports = Some(fleet.obey_unheard("two").await);
        }
        fleet.play(|_, _| false).await;
    }
    let two = fleet.nodes["two"];
    let ran = fleet.runs[&("two".to_owned(), "web".to_owned())];
    let before = fleet.runs[&("three".to_owned(), "web".to_owned())];
    let say = |fleet: &Fleet, current| {
        let said = Said { heard_at: fleet.world.now(), current: Some(current), deploying: false };
        fleet.presence.said.lock().unwrap().insert(two, said);
    };
    // It was told, and nothing came since.
    say(&fleet, before);
    let undo = fleet.undo(fleet.only_its(b)).await;
    assert_eq!(undo.state, UndoState::RollingOut, "{undo:#?}");
    // It runs it all the same.
    fleet.later();
    say(&fleet, ran);
    fleet.engine.reconcile().await.unwrap();
    assert_eq!(fleet.undo_state(undo.id).await, UndoState::RollingOut);
    // Had it never begun, it would say so.
    let (node, reports) = reports.unwrap();
    fleet.engine.take_reports(node, reports).await.unwrap();
    fleet.play(|_, _| false).await;
    let state = fleet.undo_state(undo.id).await;
    assert!(
        matches!(&state, UndoState::Failed { reason } if reason.contains("two: what it would go back to")),
        "{state:?}"
    );
}

#[tokio::test]
async fn a_node_that_says_it_runs_what_it_ran_holds_up_no_undo() {
    let mut fleet = Fleet::new().await;
    let (a, b) = (fleet.conversation(), fleet.conversation());
    fleet.away = vec!["two".to_owned(), "three".to_owned()];
    for (from, to, by) in [("hello", "welcome", a), ("quiet", "loud", b)] {
        fleet.change(from, to, by);
        fleet.later();
        fleet.engine.sync_repository(fleet.repository).await.unwrap();
        fleet.play(|_, _| false).await;
    }
    let current = Some(fleet.runs[&("two".to_owned(), "web".to_owned())]);
    fleet.later();
    let said = Said { heard_at: fleet.world.now(), current, deploying: false };
    fleet.presence.said.lock().unwrap().insert(fleet.nodes["two"], said);
    let undo = fleet.undo(fleet.only_its(b)).await;
    fleet.assert_verified(&undo);
}

/// The agent loses its journal in the middle of a deployment, and begins the next without a word of it.
#[tokio::test]
async fn what_was_under_way_when_a_journal_was_lost_has_ended_once_the_next_begins() {
    let mut fleet = Fleet::new().await;
    let a = fleet.conversation();
    fleet.change("hello", "welcome", a);
    fleet.later();
    fleet.engine.sync_repository(fleet.repository).await.unwrap();
    fleet.engine.reconcile().await.unwrap();
    fleet.begin("two").await;
    let undo = fleet.undo(fleet.only_its(a)).await;
    fleet.assert_verified(&undo);
    let open: Vec<_> = fleet.deployments().await.into_iter().filter(|one| !one.state.is_final()).collect();
    assert!(open.is_empty(), "{open:#?}");
}

#[tokio::test]
async fn an_undo_on_top_of_a_rollout_leaves_its_waves_as_they_are() {
    let mut fleet = Fleet::new().await;
    let first = |name: &str| {
        format!(
            "[rollout]\nwaves = [\"name={name}\", \"100%\"]\nsoak = \"10m\"\n[[assign]]\nstack = \"web\"\nnodes = \"\"\n"
        )
    };
    let (a, b) = (fleet.conversation(), fleet.conversation());
    fleet.work.write("fleet.toml", &first("two"));
    fleet.change("hello", "welcome", a);
    fleet.later();
    fleet.engine.sync_repository(fleet.repository).await.unwrap();
    fleet.engine.reconcile().await.unwrap();
    // It is at it for long; what comes on top reaches another first.
    fleet.begin("two").await;
    fleet.away = vec!["two".to_owned()];
    fleet.work.write("fleet.toml", &first("one"));
    fleet.commit("Another first", None);
    fleet.change("quiet", "loud", b);
    fleet.deploy().await;
    fleet.assert_runs("one", &["welcome", "loud"], &[]).await;
    fleet.assert_runs("three", &["hello", "quiet"], &[]).await;

    let undo = fleet.undo(fleet.only_its(b)).await;
    assert_eq!(undo.state, UndoState::RollingOut);
    fleet.assert_runs("one", &["welcome", "quiet"], &[]).await;
    fleet.assert_runs("three", &["hello", "quiet"], &[]).await;
    fleet.away.clear();
    fleet.play(|_, _| true).await;
    fleet.assert_verified(&fleet.settled_push(undo.id).await);
    fleet.assert_runs("two", &["welcome", "quiet"], &[]).await;
    fleet.assert_runs("three", &["hello", "quiet"], &[]).await;
    for _ in 0..12 {
        fleet.later();
    }
    fleet.play(|_, _| true).await;
    fleet.assert_all_run(&["welcome", "quiet"], &[]).await;
}

/// A fleet in three waves, in which a change of `a` has come to the first, and then one of `b` instead.
async fn half_way(a: ConversationId, b: ConversationId) -> Fleet {
    let mut fleet = Fleet::new().await;
    let waves = "[rollout]\nwaves = [\"ring=one\", \"ring=two\", \"100%\"]\nsoak = \"1h\"\n";
    fleet.work.write("fleet.toml", &format!("{waves}[[assign]]\nstack = \"web\"\nnodes = \"\"\n"));
    fleet.commit("In waves", None);
    fleet.deploy().await;
    fleet.change("hello", "welcome", a);
    fleet.deploy().await;
    fleet.assert_runs("one", &["welcome", "quiet"], &[]).await;
    fleet.change("quiet", "loud", b);
    fleet.deploy().await;
    fleet.assert_runs("one", &["welcome", "loud"], &[]).await;
    fleet.assert_runs("two", &["hello", "quiet"], &[]).await;
    fleet
}

/// The waves open one after the other.
async fn soaked(fleet: &mut Fleet) {
    for _ in 0..4 {
        for _ in 0..61 {
            fleet.later();
        }
        fleet.play(|_, _| true).await;
    }
}

#[tokio::test]
async fn what_was_superseded_before_it_proved_itself_comes_back_in_waves() {
    for brand_new in [false, true] {
        let (a, b) = (
            backstay_types::Id::from_uuid(uuid::Uuid::from_u128(1)),
            backstay_types::Id::from_uuid(uuid::Uuid::from_u128(2)),
        );
        let mut fleet = half_way(a, b).await;
        // Without b it is the release that never came further than the first wave; without a it is one that never was.
        let (undone, with, without) = if brand_new { (a, "loud", "welcome") } else { (b, "welcome", "loud") };
        let plan = fleet.engine.plan_undo(&fleet.only_its(undone)).await.unwrap();
        let note = plan.notes.iter().find(|note| note.contains("in waves"));
        assert!(note.is_some_and(|note| note.contains("2 of 3 nodes")), "{:?}", plan.notes);
        let undo = fleet.undo(fleet.only_its(undone)).await;
        fleet.assert_runs("one", &[with], &[without]).await;
        for node in ["two", "three"] {
            fleet.assert_runs(node, &["hello", "quiet"], &[]).await;
        }
        fleet.assert_verified(&undo);
        soaked(&mut fleet).await;
        fleet.assert_all_run(&[with], &[without]).await;
    }
}

#[tokio::test]
async fn what_fails_in_the_waves_of_an_undo_stops_there_and_brings_nothing_undone_back() {
    let (a, b) = (
        backstay_types::Id::from_uuid(uuid::Uuid::from_u128(1)),
        backstay_types::Id::from_uuid(uuid::Uuid::from_u128(2)),
    );
    let mut fleet = half_way(a, b).await;
    fleet.work.pull();
    let text = fleet.work.read("fleet.toml").replace("soak", "on_stop = \"return\"\nsoak");
    fleet.work.write("fleet.toml", &text);
    fleet.commit("And return", None);
    // What b brought proves itself everywhere.
    fleet.deploy().await;
    soaked(&mut fleet).await;
    fleet.assert_all_run(&["welcome", "loud"], &[]).await;
    fleet.later();
    let undo = fleet.engine.create_undo(fleet.only_its(b), "test").await.unwrap();
    fleet.play(|node, _| node == "one").await;
    // It ran well on the first before, and comes back there at once; the others are left alone until their wave.
    fleet.assert_runs("one", &["welcome", "quiet"], &["loud"]).await;
    for node in ["two", "three"] {
        fleet.assert_runs(node, &["welcome", "loud"], &[]).await;
    }
    for _ in 0..61 {
        fleet.later();
    }
    fleet.play(|node, _| node == "one").await;
    let undo = fleet.settled_push(undo.id).await;
    assert!(matches!(undo.state, UndoState::Failed { .. }), "{:?}", undo.state);
    fleet.assert_runs("two", &["welcome", "loud"], &[]).await;
    fleet.assert_runs("three", &["welcome", "loud"], &[]).await;
    // It stopped and is to be taken back everywhere: to what stood last and is not undone.
    fleet.assert_runs("one", &["hello", "quiet"], &[]).await;
}

#[tokio::test]
async fn a_result_that_is_not_valid_is_refused_before_anything_happens() {
    let mut fleet = Fleet::new().await;
    let (a, b) = (fleet.conversation(), fleet.conversation());
    fleet.work.write("stacks/other/compose.yaml", crate::fleet::COMPOSE);
    fleet.commit("Add another", Some(a));
    fleet.work.write(
        "fleet.toml",
        "[[assign]]\nstack = \"other\"\nnodes = \"\"\n[[assign]]\nstack = \"web\"\nnodes = \"\"\n",
    );
    fleet.commit("Assign it", Some(b));
    fleet.deploy().await;
    let result = fleet.engine.create_undo(fleet.only_its(a), "test").await;
    match result {
        Err(error) => assert_eq!(error.code().as_str(), "BS5002", "{error}"),
        // An assignment of a stack that is not there may be a warning only; then the stack must be named.
        Ok(undo) => assert!(undo.plan.notes.iter().any(|n| n.contains("other")), "{:?}", undo.plan.notes),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_that_others_outrun_is_computed_again() {
    let mut fleet = Fleet::new().await;
    // What is decided at one instant has no order: here several things are, and time goes on.
    let clock = std::sync::Arc::clone(&fleet.clock);
    let time = tokio::spawn(async move {
        loop {
            clock.set(
                backstay_types::Clock::now(&*clock).checked_add(std::time::Duration::from_millis(1)).unwrap(),
            );
            tokio::time::sleep(std::time::Duration::from_micros(200)).await;
        }
    });
    for round in 0..3 {
        let a = fleet.conversation();
        fleet.work.write(&format!("stacks/web/of-{round}"), "mine\n");
        fleet.commit("Mine", Some(a));
        fleet.deploy().await;
        // Upstream has moved, and the hub reads that while it undoes.
        fleet.work.write(&format!("stacks/web/note-{round}"), "theirs\n");
        fleet.commit("Theirs", None);
        let undo = fleet.engine.create_undo(fleet.only_its(a), "test");
        let (undo, read) = tokio::join!(undo, fleet.engine.sync_repository(fleet.repository));
        let (undo, _) = (undo.unwrap(), read.unwrap());
        // What upstream got meanwhile moves the nodes once more.
        fleet.play(|_, _| true).await;
        fleet.settled_push(undo.id).await;
        fleet.deploy().await;
        fleet.assert_verified(&fleet.settled_push(undo.id).await);
        fleet.work.pull();
        assert!(fleet.upstream.file("main", &format!("stacks/web/of-{round}")).is_none());
        assert!(fleet.upstream.file("main", &format!("stacks/web/note-{round}")).is_some());
    }
    time.abort();
}

/// A node ends late, on what is taken back, and what was to take it along was stopped meanwhile.
#[tokio::test]
async fn an_undo_ends_where_what_would_take_a_node_along_was_stopped() {
    let mut fleet = Fleet::new().await;
    let conversation = fleet.conversation();
    fleet.change("hello", "welcome", conversation);
    fleet.later();
    fleet.engine.sync_repository(fleet.repository).await.unwrap();
    fleet.engine.reconcile().await.unwrap();
    fleet.begin("two").await;
    let (node, reports) = fleet.obey_unheard("two").await;
    fleet.away.push("two".to_owned());
    fleet.play(|_, _| true).await;
    fleet.later();
    let undo = fleet.engine.create_undo(fleet.only_its(conversation), "test").await.unwrap();
    fleet.play(|_, _| true).await;
    fleet.settled_push(undo.id).await;
    fleet.work.pull();
    fleet.change("hello", "nonsense", fleet.conversation());
    fleet.later();
    fleet.engine.sync_repository(fleet.repository).await.unwrap();
    fleet.engine.reconcile().await.unwrap();
    fleet.engine.take_reports(node, reports).await.unwrap();
    fleet.play(|_, _| false).await;
    let undo = undos::get(&mut fleet.store.read(), undo.id).await.unwrap().unwrap();
    let UndoState::Failed { reason } = &undo.state else { panic!("{:?}", undo.state) };
    assert!(reason.contains("two: it runs what is taken back"), "{reason}");
}

/// Two undos, one after the other: the second takes the branch back to what nodes run that neither ever moved, and which the
/// first would have taken elsewhere.
#[tokio::test]
async fn an_undo_ends_where_a_later_one_asks_for_what_nodes_run() {
    let mut fleet = Fleet::new().await;
    let waves = "[rollout]\nwaves = [\"ring=one\", \"100%\"]\nsoak = \"1h\"\n";
    fleet.work.write("fleet.toml", &format!("{waves}[[assign]]\nstack = \"web\"\nnodes = \"\"\n"));
    fleet.commit("In waves", None);
    fleet.deploy().await;
    let (a, b) = (fleet.conversation(), fleet.conversation());
    // The first is superseded before anybody has said how it does; with the second it fails.
    fleet.change("blue", "red", a);
    fleet.later();
    fleet.engine.sync_repository(fleet.repository).await.unwrap();
    fleet.engine.reconcile().await.unwrap();
    fleet.change("small", "large", b);
    fleet.later();
    fleet.engine.sync_repository(fleet.repository).await.unwrap();
    fleet.play(|_, _| false).await;
    fleet.assert_all_run(&["blue", "small"], &[]).await;
    fleet.later();
    let first = fleet.engine.create_undo(fleet.only_its(b), "test").await.unwrap();
    fleet.engine.reconcile().await.unwrap();
    fleet.settled_push(first.id).await;
    let second = fleet.undo(fleet.only_its(a)).await;
    fleet.assert_verified(&second);
    fleet.assert_all_run(&["blue", "small"], &[]).await;
    assert_eq!(fleet.undo_state(first.id).await, UndoState::Verified);
}

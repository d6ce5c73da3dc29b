//! What is kept of a rollout's decisions, and what is found when it stops.

use backstay_store::{ledger, patterns, rollouts};
use backstay_types::{
    DecisionKind, Event, FailurePattern, HostFacts, LinkSource, Rollout, RolloutState, Sureness,
};

use crate::fleet::Fleet;

async fn newest(fleet: &Fleet) -> Rollout {
    rollouts::list(&mut fleet.store.read(), None, None, 1).await.unwrap().remove(0)
}

async fn pattern(fleet: &Fleet) -> FailurePattern {
    let id = newest(fleet).await.id;
    patterns::many(&mut fleet.store.read(), &[id]).await.unwrap().remove(0).1
}

/// Nodes beyond the first three, half of them ARM.
async fn larger(fleet: &mut Fleet) -> Vec<String> {
    let mut arm = Vec::new();
    for n in 0..10 {
        let name = format!("node-{n}");
        fleet.join(&name).await;
        let arch = if n % 2 == 0 { "aarch64" } else { "x86_64" };
        let facts = HostFacts { arch: arch.to_owned(), os: "linux".to_owned(), ..HostFacts::default() };
        fleet.say(&name, facts).await;
        if n % 2 == 0 {
            arm.push(name);
        }
    }
    fleet.play(|_, _| true).await;
    arm
}

#[tokio::test]
async fn a_stopped_rollout_says_what_failed_have_in_common_and_who_brought_it() {
    let mut fleet = Fleet::new().await;
    let arm = larger(&mut fleet).await;
    let (a, b) = (fleet.conversation(), fleet.conversation());
    fleet.change("hello", "hi", a);
    fleet.later();
    fleet.engine.sync_repository(fleet.repository).await.unwrap();
    fleet.play(|name, _| !arm.contains(&name.to_owned())).await;

    assert_eq!(newest(&fleet).await.state, RolloutState::Halted);
    let found = pattern(&fleet).await;
    assert_eq!((found.failed, found.succeeded, found.open), (5, 8, 0), "{found:#?}");
    assert_eq!(found.apart.len(), 1, "{found:#?}");
    assert_eq!((found.apart[0].what.as_str(), found.apart[0].value.as_str()), ("arch", "aarch64"));
    assert_eq!((found.apart[0].failed, found.apart[0].succeeded), (5, 0));
    assert_eq!((found.errors.len(), found.errors[0].nodes), (1, 5));
    assert_eq!(found.errors[0].example, "the page says no");
    let blamed: Vec<_> = found.blamed.iter().map(|one| (one.conversation, one.source, one.sure)).collect();
    assert_eq!(blamed, [(a, LinkSource::Trailer, Sureness::Only)]);

    // The ledger has it under the conversation, and not once for each failure.
    fleet.events().await;
    let filter = ledger::Filter { conversation: Some(a), ..ledger::Filter::default() };
    let entries =
        ledger::timeline(&mut fleet.store.read(), &filter, ledger::Window::After(0), 1000).await.unwrap();
    let said: Vec<_> = entries
        .iter()
        .filter_map(|entry| match &entry.event {
            Some(Event::RolloutAnalysed { findings, .. }) => Some(findings.clone()),
            _ => None,
        })
        .collect();
    assert!((1..=2).contains(&said.len()), "{said:#?}");
    assert!(said.last().unwrap().iter().any(|line| line.contains("arch aarch64: 5 of 5")), "{said:#?}");

    // Two conversations in one release: both are named, neither is sure.
    fleet.change("blue", "green", a);
    fleet.change("small", "large", b);
    fleet.later();
    fleet.engine.sync_repository(fleet.repository).await.unwrap();
    fleet.play(|name, _| name != "one").await;
    let found = pattern(&fleet).await;
    let blamed: Vec<_> = found.blamed.iter().map(|one| (one.conversation, one.sure)).collect();
    assert_eq!(blamed, [(a, Sureness::OneOf), (b, Sureness::OneOf)]);
    assert!(found.apart.is_empty(), "one failure is no pattern: {found:#?}");
}

/// What else the nodes run counts as a fact of theirs, and a failure that other stacks had too is told with them.
#[tokio::test]
async fn a_stopped_rollout_says_what_else_the_failed_run_and_where_else_the_failure_is() {
    let mut fleet = Fleet::new().await;
    let mut text = "[[assign]]\nstack = \"web\"\nnodes = \"\"\n".to_owned();
    let with_db = ["node-0", "node-1", "node-2"].map(str::to_owned);
    for n in 0..8 {
        let name = format!("node-{n}");
        fleet.join(&name).await;
        if with_db.contains(&name) {
            text.push_str(&format!("[[assign]]\nstack = \"db\"\nnodes = \"ring={name}\"\n"));
        }
    }
    fleet.work.write("fleet.toml", &text);
    let db = "services:\n  db:\n    image: db:1\n";
    fleet.work.write("stacks/db/compose.yaml", db);
    fleet.commit("A database for some", None);
    fleet.deploy().await;
    let runs_db = |name: &str| with_db.iter().any(|one| one == name);
    assert_eq!(fleet.runs.keys().filter(|(_, stack)| stack == "db").count(), with_db.len());

    // The database fails first, and a day is not over when the page does.
    fleet.work.write("stacks/db/compose.yaml", &db.replace("db:1", "db:2"));
    fleet.commit("A newer database", None);
    fleet.later();
    fleet.engine.sync_repository(fleet.repository).await.unwrap();
    fleet.play(|_, _| false).await;
    assert_eq!(newest(&fleet).await.stack.as_str(), "db");
    fleet.change("hello", "hi", fleet.conversation());
    fleet.later();
    fleet.engine.sync_repository(fleet.repository).await.unwrap();
    fleet.play(|name, _| !runs_db(name)).await;
    assert_eq!(newest(&fleet).await.stack.as_str(), "web");
    let found = pattern(&fleet).await;
    assert_eq!((found.failed, found.succeeded), (3, 8), "{found:#?}");
    let apart: Vec<_> = found.apart.iter().map(|one| (one.what.as_str(), one.value.as_str())).collect();
    assert_eq!(apart, [("also runs stack", "db")]);
    let elsewhere = &found.errors[0].elsewhere;
    assert_eq!(elsewhere.len(), 1, "{found:#?}");
    assert_eq!((elsewhere[0].stack.as_str(), elsewhere[0].nodes), ("db", 3));

    // Two days later the same failure of the database is none of this rollout's.
    fleet.clock.set(fleet.world.now().checked_add(std::time::Duration::from_secs(2 * 86_400)).unwrap());
    fleet.change("blue", "green", fleet.conversation());
    fleet.later();
    fleet.engine.sync_repository(fleet.repository).await.unwrap();
    fleet.play(|name, _| !runs_db(name)).await;
    assert_eq!(pattern(&fleet).await.errors[0].elsewhere, []);
}

#[tokio::test]
async fn every_decision_is_kept_and_comes_out_the_same_again() {
    let mut fleet = Fleet::new().await;
    let a = fleet.conversation();
    fleet
        .work
        .write("fleet.toml", "[rollout]\nwaves = [\"name=one\", \"name=two\", \"100%\"]\nsoak = \"5m\"\n");
    fleet.change("hello", "hi", a);
    fleet.deploy().await;
    let id = newest(&fleet).await.id;
    // Looking again and again at a rollout that waits for its time adds nothing.
    for _ in 0..10 {
        fleet.later();
        fleet.engine.reconcile().await.unwrap();
        if newest(&fleet).await.wave > 0 {
            break;
        }
    }
    fleet.play(|_, _| true).await;
    fleet.engine.pause_rollout(id, true, "lunch", "test").await.unwrap();
    fleet.engine.pause_rollout(id, false, "back", "test").await.unwrap();
    fleet.engine.promote_rollout(id, 1, "it is good", "test").await.unwrap();
    fleet.play(|_, _| true).await;
    assert_eq!(newest(&fleet).await.state, RolloutState::Succeeded);

    let decisions = fleet.engine.decisions(id, true).await.unwrap();
    let kinds: Vec<_> = decisions.iter().map(|one| one.decision.kind).collect();
    use DecisionKind::*;
    let expected = [Began, Waits, WaveOpened, Waits, Paused, Resumed, Promoted, Ended];
    assert_eq!(kinds, expected, "{decisions:#?}");
    for one in &decisions {
        assert_eq!(one.same, (!one.decision.kind.is_by_hand()).then_some(true), "{one:#?}");
        assert_eq!(one.decision.snapshot.is_some(), !one.decision.kind.is_by_hand());
    }
    let waits = &decisions[1].decision;
    assert_eq!(waits.inputs["figures"]["run"], 1, "{waits:#?}");
    assert_eq!(waits.inputs["strategy"]["soak_seconds"], 300);
    assert_eq!(decisions[4].decision.by.as_deref(), Some("test"));
}

/// What a rollout does because of the whole fleet's health is a decision of its own: it is slowed, and as quick as before again;
/// or it is paused. Each comes out the same from what was kept.
#[tokio::test]
async fn what_follows_from_the_fleets_health_is_kept_and_comes_out_the_same_again() {
    for (thresholds, kind) in [
        ("warn = \"70%\"\nhalt = \"80%\"\nstop = \"90%\"\n", DecisionKind::Paced),
        ("warn = \"60%\"\nhalt = \"70%\"\nstop = \"90%\"\n", DecisionKind::Halted),
    ] {
        let mut fleet = Fleet::new().await;
        fleet.join("four").await;
        let rollout = "[rollout]\nwaves = [\"name=one\", \"100%\"]\nsoak = \"1h\"\n";
        let text = format!("{rollout}[rollout.fleet]\nmin_nodes = 3\n{thresholds}");
        fleet.work.write("fleet.toml", &text);
        fleet.change("hello", "welcome", fleet.conversation());
        fleet.deploy().await;
        let now = fleet.later();
        fleet.presence.sick.lock().unwrap().extend(fleet.nodes.values().take(3).map(|node| (*node, now)));
        fleet.play(|_, _| true).await;
        let id = newest(&fleet).await.id;
        fleet.presence.sick.lock().unwrap().clear();
        fleet.later();
        fleet.play(|_, _| true).await;
        let decisions = fleet.engine.decisions(id, true).await.unwrap();
        let of_fleet: Vec<_> = decisions
            .iter()
            .filter(|one| matches!(one.decision.kind, DecisionKind::Paced | DecisionKind::Halted))
            .collect();
        assert!(of_fleet.iter().any(|one| one.decision.kind == kind), "{decisions:#?}");
        for one in &of_fleet {
            assert_eq!(one.same, Some(true), "{one:#?}");
            assert_eq!(one.decision.inputs["about"], "fleet");
        }
        let words: Vec<_> = of_fleet.iter().map(|one| one.decision.reason.as_str()).collect();
        let sick = "3 of 4 nodes turned unhealthy within 5m";
        assert!(words.contains(&&*format!("half as many nodes update at once: {sick}")), "{words:?}");
        assert!(
            words.last().unwrap().starts_with("as many nodes update at once as its rules say"),
            "{words:?}"
        );
        assert_eq!(kind == DecisionKind::Halted, words.contains(&sick), "{words:?}");
    }
}

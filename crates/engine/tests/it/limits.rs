//! Freezes, pins, and nodes that are left alone, through the engine: what they keep back, and how they end.

use std::time::Duration;

use backstay_engine::{EngineError, LimitEffect, NewLimit};
use backstay_store::{ledger, rollouts};
use backstay_types::{Effect, Event, HealthLevel, LedgerEntry, Rollout, RolloutState};

use crate::fleet::Fleet;

pub(crate) fn limit(effect: LimitEffect, nodes: Option<&str>) -> NewLimit {
    NewLimit {
        effect,
        nodes: nodes.map(str::to_owned),
        reason: "the fair".to_owned(),
        from: None,
        until: None,
    }
}

const FREEZE: LimitEffect = LimitEffect::Freeze { stack: None };

impl Fleet {
    async fn newest_rollout(&self) -> Rollout {
        rollouts::list(&mut self.store.read(), None, None, 1).await.unwrap().remove(0)
    }

    pub(crate) async fn told(&self, kind: &str) -> Vec<LedgerEntry> {
        ledger::seal(&self.store, "test").await.unwrap();
        let filter = ledger::Filter::default();
        let all = ledger::timeline(&mut self.store.read(), &filter, ledger::Window::After(0), 1000).await;
        all.unwrap().into_iter().filter(|entry| entry.kind == kind).collect()
    }
}

#[tokio::test]
async fn a_freeze_keeps_releases_back_until_it_runs_out_and_the_ledger_says_so_once() {
    let mut fleet = Fleet::new().await;
    let until = fleet.world.now().checked_add(Duration::from_secs(3600)).unwrap();
    let freeze = NewLimit { until: Some(until), ..limit(FREEZE, None) };
    let set = fleet.engine.limit(freeze.clone(), "ada").await.unwrap();
    assert_eq!(fleet.engine.limit(freeze, "ada").await.unwrap().id, set.id, "asked twice, set once");
    fleet.change("hello", "welcome", fleet.conversation());
    fleet.deploy().await;
    fleet.assert_all_run(&["hello"], &["welcome"]).await;
    let waiting = fleet.newest_rollout().await;
    assert_eq!(waiting.state, RolloutState::Running);
    let progress =
        fleet.engine.progress(std::slice::from_ref(&waiting)).await.unwrap().remove(&waiting.id).unwrap();
    assert_eq!((progress.gate.as_str(), progress.waiting), ("frozen by ada: the fair", 3));
    fleet.clock.set(until);
    fleet.play(|_, _| true).await;
    fleet.assert_all_run(&["welcome"], &["hello"]).await;
    fleet.later();
    fleet.play(|_, _| true).await;
    let lifted = fleet.told("constraint_lifted").await;
    assert_eq!(lifted.len(), 1);
    assert_eq!(lifted[0].refs.constraint, Some(set.id));
    assert!(
        matches!(&lifted[0].event, Some(Event::ConstraintLifted { reason, .. }) if reason == "its time ran out")
    );
}

#[tokio::test]
async fn an_undo_goes_through_a_freeze() {
    let mut fleet = Fleet::new().await;
    let talk = fleet.conversation();
    fleet.change("hello", "welcome", talk);
    fleet.deploy().await;
    fleet.engine.limit(limit(FREEZE, None), "ada").await.unwrap();
    let undo = fleet.undo(fleet.only_its(talk)).await;
    fleet.assert_verified(&undo);
    fleet.assert_all_run(&["hello"], &["welcome"]).await;
}

#[tokio::test]
async fn an_override_lets_one_rollout_go_on_and_the_ledger_says_who_did() {
    let mut fleet = Fleet::new().await;
    fleet.engine.limit(limit(FREEZE, None), "ada").await.unwrap();
    fleet.change("blue", "green", fleet.conversation());
    fleet.deploy().await;
    fleet.assert_all_run(&["blue"], &["green"]).await;
    let rollout = fleet.newest_rollout().await;
    for _ in 0..2 {
        fleet.engine.override_rollout(rollout.id, "the shop is down", "ada").await.unwrap();
    }
    fleet.play(|_, _| true).await;
    fleet.assert_all_run(&["green"], &["blue"]).await;
    let told = fleet.told("rollout_overridden").await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].refs.rollout, Some(rollout.id));
    // The next one is frozen again.
    fleet.change("small", "large", fleet.conversation());
    fleet.deploy().await;
    fleet.assert_all_run(&["small"], &["large"]).await;
}

#[tokio::test]
async fn a_node_in_maintenance_keeps_what_it_runs_and_an_undo_says_so() {
    let mut fleet = Fleet::new().await;
    let (first, talk) = (fleet.conversation(), fleet.conversation());
    fleet.change("hello", "welcome", first);
    fleet.deploy().await;
    let rest = fleet.engine.limit(limit(LimitEffect::Maintenance, Some("name=two")), "ada").await.unwrap();
    fleet.change("quiet", "loud", talk);
    fleet.deploy().await;
    fleet.assert_runs("one", &["loud"], &[]).await;
    fleet.assert_runs("two", &["quiet"], &[]).await;
    assert_eq!(fleet.newest_rollout().await.state, RolloutState::Succeeded, "it counts nowhere");
    let undo = fleet.undo(fleet.only_its(first)).await;
    fleet.assert_verified(&undo);
    fleet.assert_runs("two", &["welcome", "quiet"], &[]).await;
    let notes = &undo.plan.notes;
    assert!(notes.iter().any(|note| note.contains("two keeps what it runs")), "{notes:?}");
    fleet.engine.lift(rest.id, "the disk is new", "ada").await.unwrap();
    fleet.play(|_, _| true).await;
    fleet.assert_all_run(&["hello", "loud"], &["welcome"]).await;
}

#[tokio::test]
async fn a_version_pin_brings_a_commit_back_and_holds_it() {
    let mut fleet = Fleet::new().await;
    fleet.change("hello", "welcome", fleet.conversation());
    fleet.deploy().await;
    let good = fleet.work.head();
    fleet.change("blue", "green", fleet.conversation());
    fleet.deploy().await;
    let stack = "web".parse().unwrap();
    let to = Some(good[..12].to_owned());
    let pin = limit(LimitEffect::Pin { stack, to }, None);
    let set = fleet.engine.limit(pin, "ada").await.unwrap();
    fleet.play(|_, _| true).await;
    fleet.assert_all_run(&["welcome", "blue"], &["green"]).await;
    fleet.change("small", "large", fleet.conversation());
    fleet.deploy().await;
    fleet.assert_all_run(&["welcome", "small"], &["green", "large"]).await;
    fleet.engine.lift(set.id, "found it", "ada").await.unwrap();
    fleet.play(|_, _| true).await;
    fleet.assert_all_run(&["green", "large"], &[]).await;
}

#[tokio::test]
async fn what_would_never_hold_is_refused_with_its_field() {
    let fleet = Fleet::new().await;
    let past = Some("2020-01-01T00:00:00Z".parse().unwrap());
    let soon = fleet.world.now().checked_add(Duration::from_secs(60)).ok();
    let web = || "web".parse().unwrap();
    let refused = [
        (NewLimit { until: past, ..limit(FREEZE, None) }, "until: it has passed already"),
        (NewLimit { from: past, ..limit(FREEZE, None) }, "from: it has passed already"),
        (NewLimit { from: soon, until: soon, ..limit(FREEZE, None) }, "until: it ends before it begins"),
        (limit(FREEZE, Some("name=nobody")), "nodes: `name=nobody` matches none of 3 nodes"),
        (limit(FREEZE, Some("a in (")), "nodes: cannot read the selector"),
        (limit(LimitEffect::Maintenance, None), "nodes: expected which nodes"),
        (limit(LimitEffect::Freeze { stack: Some("other".parse().unwrap()) }, None), "no stack `other`"),
        (limit(LimitEffect::Pin { stack: web(), to: Some("beef".into()) }, None), "no commit `beef`"),
    ];
    for (new, message) in refused {
        let error: EngineError = fleet.engine.limit(new, "ada").await.unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
    // What was to begin a moment ago begins now, and so does what has an end to come.
    let just_now = fleet.world.now().checked_sub(Duration::from_secs(60)).ok();
    fleet.engine.limit(NewLimit { from: just_now, ..limit(FREEZE, None) }, "ada").await.unwrap();
    fleet.engine.limit(NewLimit { from: past, until: soon, ..limit(FREEZE, None) }, "ada").await.unwrap();
}

#[tokio::test]
async fn a_window_and_a_freeze_of_fleet_toml_hold_until_their_time() {
    let mut fleet = Fleet::new().await;
    // It is Sunday 2026-03-01, shortly after midnight UTC.
    fleet.work.write(
        "fleet.toml",
        "[[window]]\nnodes = \"ring in (one,two)\"\nopens = \"0 2 * * Mon\"\nfor = \"2h\"\ntime_zone = \"Europe/Berlin\"\n\n\
         [[freeze]]\nfrom = 2026-03-02T00:00:00Z\nuntil = 2026-03-02T01:30:00Z\nreason = \"the audit\"\n",
    );
    fleet.change("hello", "welcome", fleet.conversation());
    fleet.deploy().await;
    fleet.assert_runs("three", &["welcome"], &[]).await;
    fleet.assert_runs("one", &["hello"], &[]).await;
    let rollout = fleet.newest_rollout().await;
    let seen =
        fleet.engine.progress(std::slice::from_ref(&rollout)).await.unwrap().remove(&rollout.id).unwrap();
    let reason = "2 may not begin: outside its maintenance window; it opens Mon 2026-03-02 02:00 CET";
    assert!(seen.gate.contains(reason), "{}", seen.gate);
    let windows = fleet.engine.windows().await.unwrap();
    assert_eq!((windows.len(), windows[0].nodes, windows[0].open), (1, 2, false));
    let opens = windows[0].changes_at.unwrap();
    assert_eq!(opens, "2026-03-02T01:00:00Z".parse().unwrap());
    fleet.clock.set(opens);
    fleet.play(|_, _| true).await;
    fleet.assert_runs("one", &["hello"], &[]).await;
    fleet.clock.set("2026-03-02T01:30:00Z".parse().unwrap());
    fleet.play(|_, _| true).await;
    fleet.assert_all_run(&["welcome"], &["hello"]).await;
    // The freeze ran out, and stands in the file all the same: it is not set again.
    fleet.work.write("README.md", "Another word.\n");
    fleet.commit("Words", None);
    fleet.deploy().await;
    assert_eq!(fleet.told("constraint_set").await.len(), 1);
    assert_eq!(fleet.told("constraint_lifted").await.len(), 1);
    // Taken back it is at once, whatever the hour.
    fleet.clock.set("2026-03-03T12:00:00Z".parse().unwrap());
    let talk = fleet.conversation();
    fleet.change("blue", "green", talk);
    fleet.deploy().await;
    fleet.assert_runs("one", &["blue"], &[]).await;
    fleet.engine.override_rollout(fleet.newest_rollout().await.id, "the shop is down", "ada").await.unwrap();
    fleet.play(|_, _| true).await;
    fleet.assert_all_run(&["green"], &[]).await;
    let undo = fleet.undo(fleet.only_its(talk)).await;
    fleet.assert_verified(&undo);
    fleet.assert_all_run(&["blue"], &["green"]).await;
}

#[tokio::test]
async fn a_fleet_that_turns_unhealthy_is_stopped_and_goes_back_to_the_last_good() {
    let mut fleet = Fleet::new().await;
    fleet.work.write(
        "fleet.toml",
        "[rollout]\nwaves = [\"name=one\", \"100%\"]\nsoak = \"1h\"\n[rollout.fleet]\nmin_nodes = 3\n",
    );
    fleet.change("hello", "welcome", fleet.conversation());
    fleet.deploy().await;
    fleet.assert_runs("one", &["welcome"], &[]).await;
    let now = fleet.later();
    fleet.presence.sick.lock().unwrap().extend(fleet.nodes.values().map(|node| (*node, now)));
    fleet.play(|_, _| true).await;
    fleet.assert_all_run(&["hello"], &["welcome"]).await;
    let reason = "3 of 3 nodes turned unhealthy within 5m";
    let stop = fleet.engine.emergency_stop().await.unwrap().unwrap();
    assert_eq!((stop.by.as_str(), stop.reason.as_str()), ("backstay", reason));
    let health = fleet.engine.fleet_health().await.unwrap();
    assert_eq!((health.level, health.unhealthy, health.nodes), (HealthLevel::Stopped, 3, 3));
    let pins = backstay_store::constraints::in_force(&mut fleet.store.read(), now).await.unwrap();
    assert!(pins.iter().any(|one| matches!(one.effect, Effect::Pin { .. }) && one.reason.contains(reason)));
    assert_eq!(fleet.told("fleet_health_changed").await.len(), 1);
    // Well again, nothing goes on by itself: a person lifts the stop and the pin.
    fleet.presence.sick.lock().unwrap().clear();
    fleet.later();
    fleet.play(|_, _| true).await;
    assert_eq!(fleet.engine.fleet_health().await.unwrap().level, HealthLevel::Well);
    assert_eq!(fleet.told("fleet_health_changed").await.len(), 2);
    assert!(fleet.engine.emergency_stop().await.unwrap().is_some());
    fleet.assert_all_run(&["hello"], &["welcome"]).await;
}

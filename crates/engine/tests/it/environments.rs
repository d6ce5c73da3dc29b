//! Releases that go from environment to environment.

use backstay_engine::{EngineError, EnvironmentStack, LimitEffect, NewLimit, WantedPromotion};
use backstay_store::rollouts;
use backstay_types::{ConversationId, DecisionKind, Effect, RolloutKind, Scope};

use crate::fleet::Fleet;

/// One node each: `one` is dev, `two` is staging, `three` is prod, into which a person lets releases.
const LINE: &str = "[[environment]]\nname = \"dev\"\nnodes = \"ring=one\"\n[[environment]]\nname = \"staging\"\nnodes = \"ring=two\"\nafter = [\"dev\"]\nsoak = \"5m\"\n[[environment]]\nname = \"prod\"\nnodes = \"ring=three\"\nafter = [\"staging\"]\npromotion = \"by hand\"\n";

async fn in_line() -> Fleet {
    let mut fleet = Fleet::new().await;
    fleet.work.write("fleet.toml", LINE);
    fleet.commit("Go from environment to environment", None);
    fleet.deploy().await;
    fleet
}

/// How `web` stands in an environment.
async fn stands(fleet: &Fleet, environment: &str) -> EnvironmentStack {
    let found = fleet.engine.environments().await.unwrap();
    let one = found.into_iter().find(|one| one.environment.name.as_str() == environment).unwrap();
    one.stacks.into_iter().find(|stack| stack.stack.as_str() == "web").unwrap()
}

async fn promote(fleet: &mut Fleet, to: &str, force: bool) -> Result<(), EngineError> {
    let next = stands(fleet, to).await.next.unwrap();
    let want = WantedPromotion {
        stack: "web".parse().unwrap(),
        environment: to.parse().unwrap(),
        release: next.id,
        reason: "it is time".to_owned(),
        force,
    };
    fleet.engine.promote(&want, "test").await?;
    // Asked twice, it is done once.
    let before = fleet.events().await;
    fleet.engine.promote(&want, "test").await.unwrap();
    assert_eq!(fleet.events().await, before);
    fleet.play(|_, _| true).await;
    Ok(())
}

async fn wait(fleet: &mut Fleet, minutes: u32) {
    for _ in 0..minutes {
        fleet.later();
    }
    fleet.play(|_, _| true).await;
}

fn who(fleet: &Fleet) -> ConversationId {
    fleet.conversation()
}

#[tokio::test]
async fn a_release_enters_an_environment_once_all_before_it_run_it_for_long_enough() {
    let mut fleet = in_line().await;
    // What nodes ran before there were environments they keep.
    fleet.assert_runs("three", &["hello"], &[]).await;
    let a = who(&fleet);
    fleet.change("hello", "hi", a);
    fleet.deploy().await;
    // Nobody waits for dev, which is not watched: staging has it too. Prod waits until that was watched.
    fleet.assert_runs("one", &["hi"], &[]).await;
    fleet.assert_runs("two", &["hi"], &[]).await;
    fleet.assert_runs("three", &["hello"], &["hi"]).await;
    let early = stands(&fleet, "prod").await;
    assert!(early.why.contains("`staging` is watched for"), "{early:#?}");
    let refused = promote(&mut fleet, "prod", false).await.unwrap_err();
    assert!(refused.to_string().contains("may not enter `prod` yet"), "{refused}");

    wait(&mut fleet, 6).await;
    let ready = stands(&fleet, "prod").await;
    assert!(ready.ready && ready.why.contains("backstay promote"), "{ready:#?}");
    fleet.assert_runs("three", &["hello"], &["hi"]).await;
    promote(&mut fleet, "prod", false).await.unwrap();
    fleet.assert_runs("three", &["hi"], &["hello"]).await;
    let there = stands(&fleet, "prod").await;
    assert_eq!((there.passing.run, there.passing.nodes, there.next.is_none()), (1, 1, true), "{there:#?}");
    assert_eq!(there.asked.unwrap().by, "test");

    // What let it in stands first among the decisions of what followed, and comes out the same again.
    let all = rollouts::list(&mut fleet.store.read(), None, None, 3).await.unwrap();
    let followed = |environment: &str| {
        all.iter().find(|one| one.environment.as_ref().unwrap().as_str() == environment).unwrap().id
    };
    for (environment, by) in [("dev", None), ("staging", None), ("prod", Some("test"))] {
        let decisions = fleet.engine.decisions(followed(environment), true).await.unwrap();
        let first = &decisions[0];
        if environment == "dev" {
            assert_eq!(
                first.decision.kind,
                DecisionKind::Began,
                "nothing is let into what follows the branch"
            );
            continue;
        }
        assert_eq!(
            (first.decision.kind, decisions[1].decision.kind),
            (DecisionKind::LetIn, DecisionKind::Began)
        );
        assert_eq!(
            (first.decision.by.as_deref(), first.same),
            (by, by.is_none().then_some(true)),
            "{first:#?}"
        );
        let kept = &first.decision.inputs;
        if by.is_none() {
            assert_eq!(first.decision.reason, "all of `dev` runs it and nothing failed");
            let before = &kept["before"][0];
            assert_eq!(
                (&kept["about"], &before["environment"]),
                (&"entry".into(), &"dev".into()),
                "{kept:#}"
            );
            assert_eq!((&before["passing"]["run"], &before["passing"]["nodes"]), (&1.into(), &1.into()));
        } else {
            assert_eq!((first.decision.reason.as_str(), kept.is_null()), ("it is time", true));
        }
    }

    // A rollout for each environment.
    let mut all = rollouts::list(&mut fleet.store.read(), None, None, 3).await.unwrap();
    all.reverse();
    let names: Vec<_> = all.iter().map(|r| r.environment.as_ref().unwrap().as_str()).collect();
    assert_eq!(names, ["dev", "staging", "prod"]);
}

#[tokio::test]
async fn a_newer_release_in_dev_does_not_take_away_what_staging_has_been_watched_with() {
    let mut fleet = in_line().await;
    let a = who(&fleet);
    fleet.change("hello", "hi", a);
    fleet.deploy().await;
    wait(&mut fleet, 6).await;
    let watched = stands(&fleet, "prod").await.next.unwrap();
    // Dev fails with something newer: it gets no further, and what staging runs may still go to prod.
    fleet.change("blue", "red", a);
    fleet.later();
    fleet.engine.sync_repository(fleet.repository).await.unwrap();
    fleet.play(|node, _| node != "one").await;
    let staging = stands(&fleet, "staging").await;
    assert!(staging.why.contains("banned") || staging.why.contains("failed"), "{staging:#?}");
    let next = stands(&fleet, "prod").await;
    assert!(next.ready, "{next:#?}");
    assert_eq!(next.next.unwrap().id, watched.id);
    promote(&mut fleet, "prod", false).await.unwrap();
    fleet.assert_runs("three", &["hi", "blue"], &["red"]).await;
    // By no force does what is banned go further.
    let banned = promote(&mut fleet, "staging", true).await.unwrap_err();
    assert!(banned.to_string().contains("banned"), "{banned}");
    fleet.assert_runs("two", &["hi", "blue"], &["red"]).await;
}

#[tokio::test]
async fn force_is_recorded_and_moves_on() {
    let mut fleet = in_line().await;
    let a = who(&fleet);
    fleet.change("hello", "hi", a);
    fleet.deploy().await;
    promote(&mut fleet, "prod", true).await.unwrap();
    fleet.assert_runs("three", &["hi"], &[]).await;
    let asked = stands(&fleet, "prod").await.asked.unwrap();
    assert!(asked.reason.starts_with("it is time; although `staging` is watched for"), "{asked:?}");
    // What was let in past staging is not taken back by what staging runs.
    wait(&mut fleet, 6).await;
    fleet.assert_runs("three", &["hi"], &[]).await;
}

#[tokio::test]
async fn an_undo_goes_everywhere_at_once_and_takes_nothing_where_the_change_never_was() {
    let mut fleet = in_line().await;
    let (a, b) = (who(&fleet), who(&fleet));
    fleet.change("hello", "hi", a);
    fleet.deploy().await;
    wait(&mut fleet, 6).await;
    promote(&mut fleet, "prod", false).await.unwrap();
    // B has come to dev and staging alone.
    fleet.change("blue", "red", b);
    fleet.deploy().await;
    fleet.assert_runs("two", &["red"], &[]).await;
    fleet.assert_runs("three", &["hi", "blue"], &["red"]).await;
    let undo = fleet.undo(fleet.only_its(b)).await;
    fleet.assert_verified(&undo);
    let moved: Vec<_> = undo.plan.nodes.iter().map(|place| place.node.to_string()).collect();
    assert_eq!(moved, ["one", "two"]);
    fleet.assert_all_run(&["hi", "blue"], &["red"]).await;

    // A is in prod: taking it back waits for nobody.
    let undo = fleet.undo(fleet.only_its(a)).await;
    fleet.assert_verified(&undo);
    assert_eq!(undo.plan.nodes.len(), 3, "{:#?}", undo.plan);
    fleet.assert_all_run(&["hello", "blue"], &["hi", "red"]).await;
    let newest = rollouts::list(&mut fleet.store.read(), None, None, 3).await.unwrap();
    assert!(newest.iter().all(|r| r.kind == RolloutKind::Rollback), "{newest:#?}");

    // From there it goes on in order again.
    fleet.work.pull();
    fleet.change("small", "large", b);
    fleet.deploy().await;
    fleet.assert_runs("three", &["small"], &["large"]).await;
    wait(&mut fleet, 6).await;
    promote(&mut fleet, "prod", false).await.unwrap();
    fleet.assert_all_run(&["large"], &[]).await;
    let newest = rollouts::list(&mut fleet.store.read(), None, None, 1).await.unwrap().remove(0);
    assert_eq!(newest.kind, RolloutKind::Update);
}

#[tokio::test]
async fn an_undo_brings_an_environment_nothing_that_was_not_let_in_there() {
    let mut fleet = in_line().await;
    let (a, b) = (who(&fleet), who(&fleet));
    fleet.change("hello", "hi", a);
    fleet.deploy().await;
    wait(&mut fleet, 6).await;
    promote(&mut fleet, "prod", false).await.unwrap();
    fleet.assert_all_run(&["hi"], &[]).await;
    // B has come to dev, where it is watched by nobody for long enough, and to nowhere else.
    fleet.full = vec!["two".to_owned()];
    fleet.change("quiet", "loud", b);
    fleet.deploy().await;
    fleet.full.clear();
    fleet.assert_runs("three", &["hi", "quiet"], &[]).await;

    let plan = fleet.engine.plan_undo(&fleet.only_its(a)).await.unwrap();
    let said = |what: &str| plan.notes.iter().any(|note| note.contains(what));
    assert!(said("`prod` goes back to") && said("let in as any release"), "{:?}", plan.notes);
    let to: std::collections::BTreeSet<_> = plan.nodes.iter().map(|place| place.to).collect();
    assert_eq!((plan.nodes.len(), to.len()), (3, 2), "{plan:#?}");
    let undo = fleet.undo(fleet.only_its(a)).await;
    fleet.assert_verified(&undo);
    fleet.assert_runs("one", &["hello", "loud"], &["hi"]).await;
    fleet.assert_runs("three", &["hello", "quiet"], &["hi", "loud"]).await;
    // What dev has goes on from there in order, and asks for a person before prod.
    wait(&mut fleet, 20).await;
    fleet.assert_runs("two", &["hello", "loud"], &["hi"]).await;
    fleet.assert_runs("three", &["hello", "quiet"], &["hi", "loud"]).await;
    wait(&mut fleet, 6).await;
    promote(&mut fleet, "prod", false).await.unwrap();
    fleet.assert_all_run(&["hello", "loud"], &["hi"]).await;
}

#[tokio::test]
async fn a_fleet_that_turns_unhealthy_goes_back_to_the_last_good_of_each_environment() {
    let mut fleet = in_line().await;
    fleet.work.write("fleet.toml", &format!("{LINE}[rollout.fleet]\nmin_nodes = 3\n"));
    fleet.change("hello", "hi", who(&fleet));
    fleet.deploy().await;
    wait(&mut fleet, 6).await;
    promote(&mut fleet, "prod", false).await.unwrap();
    fleet.change("quiet", "loud", who(&fleet));
    fleet.deploy().await;
    wait(&mut fleet, 6).await;
    fleet.assert_runs("two", &["hi", "loud"], &[]).await;
    fleet.assert_runs("three", &["hi", "quiet"], &[]).await;
    // The next is on its way to dev when the fleet turns unhealthy.
    fleet.away = vec!["one".to_owned()];
    fleet.change("small", "large", who(&fleet));
    fleet.deploy().await;
    let now = fleet.later();
    fleet.presence.sick.lock().unwrap().extend(fleet.nodes.values().map(|node| (*node, now)));
    fleet.play(|_, _| true).await;
    fleet.away.clear();
    fleet.play(|_, _| true).await;
    let set = backstay_store::constraints::in_force(&mut fleet.store.read(), now).await.unwrap();
    let scopes: Vec<_> = set
        .iter()
        .filter(|one| matches!(one.effect, Effect::Pin { .. }))
        .map(|one| one.scope.clone())
        .collect();
    assert_eq!(scopes, [Scope::Environment { environment: "dev".parse().unwrap() }]);
    fleet.assert_runs("one", &["hi", "loud", "small"], &[]).await;
    fleet.assert_runs("two", &["hi", "loud", "small"], &[]).await;
    fleet.assert_runs("three", &["hi", "quiet", "small"], &[]).await;

    // By hand it is the same: each environment has its own, and of several it has to be said which.
    let pin = |nodes: Option<&str>| NewLimit {
        effect: LimitEffect::Pin { stack: "web".parse().unwrap(), to: None },
        nodes: nodes.map(str::to_owned),
        reason: "a quiet week".to_owned(),
        from: None,
        until: None,
    };
    let refused = fleet.engine.limit(pin(None), "ada").await.unwrap_err();
    assert!(refused.to_string().contains("each with its own last good"), "{refused}");
    fleet.engine.limit(pin(Some("ring=three")), "ada").await.unwrap();
    fleet.play(|_, _| true).await;
    fleet.assert_runs("three", &["hi", "quiet", "small"], &[]).await;
}

#[tokio::test]
async fn a_node_in_no_environment_gets_nothing_new() {
    let mut fleet = in_line().await;
    fleet.join("four").await;
    let a = who(&fleet);
    fleet.change("hello", "hi", a);
    fleet.deploy().await;
    assert!(!fleet.runs.contains_key(&("four".to_owned(), "web".to_owned())));
}

use backstay_api::agent::{Report, ReportBody};
use backstay_types::{DeploymentState, RepositoryHealth, RolloutState};

use crate::fleet::{COMPOSE, Fleet};

#[tokio::test]
async fn a_commit_becomes_a_release_on_every_node() {
    let mut fleet = Fleet::new().await;
    let a = fleet.conversation();
    fleet.change("hello", "welcome", a);
    let repository = fleet.deploy().await;
    assert_eq!(repository.health, RepositoryHealth::Ok);
    fleet.assert_all_run(&["welcome"], &["hello"]).await;
    let node = fleet.nodes["one"];
    assert_eq!(fleet.statement(node).await.unwrap().stacks[0].conversations, [a]);
}

#[tokio::test]
async fn what_vanishes_or_cannot_be_understood_changes_nothing() {
    let mut fleet = Fleet::new().await;
    let before = fleet.statement(fleet.nodes["one"]).await.unwrap();
    let path = fleet.upstream.dir().to_owned();
    let aside = path.with_extension("aside");

    std::fs::rename(&path, &aside).unwrap();
    let gone = fleet.deploy().await;
    assert!(matches!(gone.health, RepositoryHealth::Unreachable { .. }), "{:?}", gone.health);
    std::fs::rename(&aside, &path).unwrap();

    fleet.work.write("stacks/web/compose.yaml", "services: [not a mapping\n");
    fleet.commit("Break the file", None);
    let broken = fleet.deploy().await;
    let RepositoryHealth::Invalid { code, message } = &broken.health else { panic!("{:?}", broken.health) };
    assert!(code.starts_with("BS11") && message.contains("stacks/web/compose.yaml"), "{code} {message}");

    fleet.work.remove("stacks/web/compose.yaml");
    fleet.commit("Remove everything", None);
    let empty = fleet.deploy().await;
    assert!(matches!(empty.health, RepositoryHealth::Invalid { .. }), "{:?}", empty.health);
    assert_eq!(fleet.statement(fleet.nodes["one"]).await.unwrap().digest, before.digest);

    fleet.work.write("stacks/web/compose.yaml", &COMPOSE.replace("hello", "back"));
    fleet.commit("Mend it", None);
    assert_eq!(fleet.deploy().await.health, RepositoryHealth::Ok);
    fleet.assert_all_run(&["back"], &[]).await;
}

#[tokio::test]
async fn one_stack_that_goes_is_left_running() {
    let mut fleet = Fleet::new().await;
    fleet.work.write("stacks/other/compose.yaml", COMPOSE);
    fleet.commit("Another", None);
    fleet.deploy().await;
    fleet.work.remove("stacks/web/compose.yaml");
    fleet.commit("Without the first", None);
    assert_eq!(fleet.deploy().await.health, RepositoryHealth::Ok);
    let stacks = fleet.statement(fleet.nodes["one"]).await.unwrap().stacks;
    let web = stacks.iter().find(|s| s.stack.as_str() == "web");
    assert!(web.is_none_or(|s| s.action == backstay_api::statement::DesiredAction::Run));
    fleet.assert_all_run(&["hello"], &[]).await;
}

#[tokio::test]
async fn a_failure_on_one_node_halts_bans_and_is_reported_as_what_it_is() {
    let mut fleet = Fleet::new().await;
    let good = fleet.runs[&("two".to_owned(), "web".to_owned())];
    fleet.change("hello", "broken", fleet.conversation());
    fleet.later();
    fleet.engine.sync_repository(fleet.repository).await.unwrap();
    fleet.play(|node, _| node != "two").await;
    fleet.assert_runs("two", &["hello"], &[]).await;
    let rollouts = backstay_store::rollouts::list(&mut fleet.store.read(), None, None, 10).await.unwrap();
    assert_eq!(rollouts[0].state, RolloutState::Halted);
    let two = fleet.nodes["two"];
    assert_eq!(fleet.statement(two).await.unwrap().stacks[0].tree, good);
    let failed = fleet.deployments().await.into_iter().find(|d| d.node == two).unwrap();
    assert!(matches!(failed.state, DeploymentState::RolledBack { .. }), "{:?}", failed.state);

    fleet.change("broken", "mended", fleet.conversation());
    fleet.deploy().await;
    fleet.assert_all_run(&["mended"], &[]).await;
}

#[tokio::test]
async fn a_force_push_waits_for_a_person() {
    let mut fleet = Fleet::new().await;
    fleet.change("hello", "welcome", fleet.conversation());
    fleet.deploy().await;
    fleet.work.reset("HEAD~1");
    fleet.work.write("stacks/web/compose.yaml", &COMPOSE.replace("hello", "rewritten"));
    fleet.work.commit(&backstay_testkit::CommitSpec::new("Another past"));
    fleet.work.push_force();
    let repository = fleet.deploy().await;
    let RepositoryHealth::Rewritten { found } = repository.health else { panic!("{:?}", repository.health) };
    fleet.assert_all_run(&["welcome"], &["rewritten"]).await;
    fleet.engine.accept_rewrite(fleet.repository, found, "test").await.unwrap();
    fleet.play(|_, _| true).await;
    fleet.assert_all_run(&["rewritten"], &["welcome"]).await;
}

#[tokio::test]
async fn selectors_in_fleet_toml_decide_who_runs_what() {
    let mut fleet = Fleet::new().await;
    fleet.work.write("fleet.toml", "[[assign]]\nstack = \"web\"\nnodes = \"ring in (one,two)\"\n");
    fleet.change("hello", "welcome", fleet.conversation());
    fleet.deploy().await;
    fleet.assert_runs("one", &["welcome"], &[]).await;
    // Not assigned any more, and so left as it is.
    fleet.assert_runs("three", &["hello"], &[]).await;
}

#[tokio::test]
async fn reports_that_come_at_once_are_each_taken_once() {
    let fleet = Fleet::new().await;
    fleet.change("hello", "welcome", fleet.conversation());
    fleet.later();
    fleet.engine.sync_repository(fleet.repository).await.unwrap();
    fleet.engine.reconcile().await.unwrap();
    let before = fleet.events().await;
    let mut calls = Vec::new();
    for id in fleet.nodes.values() {
        let line = fleet.statement(*id).await.unwrap().stacks.remove(0);
        let body = ReportBody::DeploymentStarted { deployment: line.deployment, previous: None };
        let report = Report { id: fleet.world.mint(), at: fleet.world.now(), body };
        // As after answers that were lost: the same again, and together with the others'.
        for _ in 0..20 {
            let (engine, id, report) = (fleet.engine.clone(), *id, report.clone());
            calls.push(tokio::spawn(async move { engine.take_reports(id, vec![report]).await.unwrap() }));
        }
    }
    for call in calls {
        assert_eq!(call.await.unwrap().len(), 1, "each is acknowledged");
    }
    assert_eq!(fleet.events().await - before, 3, "each began once");
}

//! Releases that fail, a hub that is killed, nodes that are away.
#![allow(clippy::unwrap_used, reason = "tests")]

use backstay_e2e::{
    Fleet, REPOSITORY,
    stacks::{conf, set_line},
};
use backstay_testkit::eventually;
use backstay_types::DeploymentState;

#[test]
fn a_release_that_fails_its_probe_comes_back_by_itself() {
    let Some(fleet) = Fleet::of_processes(3) else { return };
    let a = fleet.api.conversation("session-a");
    let good = fleet.running_tree(&fleet.nodes[0]);
    fleet.tree.remove("stacks/web/www/healthz");
    set_line(&fleet.tree, 2, "bad");
    fleet.commit("Lose the health page", Some(a));
    for node in &fleet.nodes {
        let state = eventually("the release to fail", || {
            let newest = fleet.api.deployments(node.name(), "web").into_iter().next().unwrap();
            let state = newest.deployment.state;
            if state.is_final() && newest.tree != good { Ok(state) } else { Err(format!("{state:?}")) }
        });
        // Rolled back, or never begun because it had failed elsewhere; success never.
        assert!(
            matches!(state, DeploymentState::RolledBack { .. } | DeploymentState::Superseded),
            "{state:?}"
        );
        fleet.serves(node, &conf(&[]));
        eventually("the hub to hear what runs", || {
            let found = fleet.running_tree(node);
            if found == good { Ok(()) } else { Err(found.to_string()) }
        });
    }
    let newest = fleet.api.deployments("alpha", "web").into_iter().next().unwrap();
    let steps = fleet.api.deployment(&newest).steps;
    assert!(steps.iter().any(|record| record.step == backstay_types::Step::Return), "{steps:#?}");
    assert!(fleet.api.conversation_detail(a).view.failures > 0);

    // What supersedes it is deployed.
    fleet.tree.write("stacks/web/www/healthz", "ok\n");
    let commit = fleet.commit("Bring the health page back", Some(a));
    fleet.deployed(&commit);
    fleet.all_serve(&conf(&[(2, "bad")]));
}

#[test]
fn a_hub_killed_in_the_middle_of_a_deployment_loses_nothing() {
    let Some(mut fleet) = Fleet::of_processes(3) else { return };
    let a = fleet.api.conversation("session-a");
    for (line, text) in [(2, "A2"), (3, "A3"), (4, "A4")] {
        set_line(&fleet.tree, line, text);
        let commit = fleet.commit("Change a line", Some(a));
        fleet.api.sync(REPOSITORY);
        eventually("a deployment to be under way", || {
            let newest = fleet.api.deployments("alpha", "web").into_iter().next();
            match newest {
                Some(found) if found.commit.to_string() == commit => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        fleet.hub.kill();
        fleet.hub.restart();
        fleet.deployed(&commit);
    }
    fleet.all_serve(&conf(&[(2, "A2"), (3, "A3"), (4, "A4")]));
    for node in &fleet.nodes {
        let deployments = fleet.api.deployments(node.name(), "web");
        let succeeded =
            deployments.iter().filter(|found| found.deployment.state == DeploymentState::Succeeded);
        assert_eq!(succeeded.count(), deployments.len(), "each once, none twice: {deployments:#?}");
        assert_eq!(deployments.len(), 4);
    }
    fleet.cli.run(&["audit", "verify"]);
}

#[test]
fn a_node_that_was_away_during_a_rollback_goes_back_when_it_returns() {
    let Some(mut fleet) = Fleet::of_processes(3) else { return };
    let a = fleet.api.conversation("session-a");
    fleet.change(a, 2, "A2");
    fleet.nodes[2].kill_agent();
    fleet.cli.run(&["rollback", "--conversation", &a.to_string(), "--yes", "--no-wait"]);
    for node in &fleet.nodes[..2] {
        fleet.serves(node, &conf(&[]));
    }
    fleet.serves(&fleet.nodes[2], &conf(&[(2, "A2")]));
    fleet.nodes[2].start_agent();
    fleet.serves(&fleet.nodes[2], &conf(&[]));
    fleet.settle();
    let undos = fleet.cli.json(&["timeline", "--conversation", &a.to_string()]);
    assert!(undos.to_string().contains("undo"), "{undos:#}");
}

#[test]
fn nodes_run_on_without_hub_and_without_agent() {
    let Some(mut fleet) = Fleet::of_processes(2) else { return };
    fleet.hub.kill();
    fleet.nodes[0].kill_agent();
    std::thread::sleep(std::time::Duration::from_secs(2));
    fleet.all_serve(&conf(&[]));
    fleet.nodes[0].start_agent();
    std::thread::sleep(std::time::Duration::from_secs(1));
    fleet.all_serve(&conf(&[]));
    fleet.hub.restart();
    let a = fleet.api.conversation("session-a");
    fleet.change(a, 2, "A2");
    fleet.all_serve(&conf(&[(2, "A2")]));
}

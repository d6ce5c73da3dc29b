//! The loop with a hub on PostgreSQL, and what is left of it while the database is away.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use backstay_api::{Empty, v1};
use backstay_e2e::{
    Fleet, Hub, Place,
    stacks::{conf, set_line, write_process_stack},
};
use backstay_testkit::{Database, PostgresServer, eventually};
use backstay_types::RolloutState;

#[test]
fn the_loop_on_postgres() {
    let Some(database) = Database::require() else { return };
    let Some(fleet) = Fleet::of(2).database(&database.url()).start() else { return };
    let mut fleet = fleet.with_process_stack();
    assert_eq!(fleet.cli.json(&["status"])["hub"]["database"], "postgres");
    let (a, b) = (fleet.api.conversation("session-a"), fleet.api.conversation("session-b"));
    fleet.change(a, 2, "A2");
    fleet.change(b, 8, "B8");
    fleet.hub.kill();
    fleet.hub.restart();
    let undo = fleet.rollback(&["--conversation", &a.to_string()]);
    assert_eq!(undo["state"]["state"], "verified", "{undo:#}");
    fleet.all_serve(&conf(&[(8, "B8")]));
    assert_eq!(fleet.upstream_conf(), conf(&[(8, "B8")]));
    fleet.cli.run(&["audit", "verify"]);
    let kept: u64 = database.sql("SELECT count(*) FROM ledger").parse().unwrap();
    assert!(kept > 10, "{kept}");
}

/// Two hubs on one database. The one that plans dies in the middle of a rollout; the other, to which the nodes speak, waits
/// for its lease to run out and goes on where that one was.
#[test]
fn a_hub_goes_on_with_the_rollout_of_one_that_died() {
    let Some(database) = Database::require() else { return };
    let Some(mut fleet) = Fleet::of(0).database(&database.url()).start() else { return };
    write_process_stack(&fleet.tree);
    fleet.tree.write("fleet.toml", "[rollout]\nwaves = [\"name=alpha\", \"100%\"]\n");
    fleet.commit("Add web", None);
    fleet.follow();
    let dir = fleet.dir().to_owned();
    let mut other = Hub::beside(&dir, &dir.join("other"), &database.url());
    for name in ["alpha", "beta"] {
        fleet.join_at(name, other.url(), Place { hurried: true, ..Place::default() });
    }
    fleet.settle();

    // Alone, the first plans a rollout.
    other.kill();
    let holder = || database.sql("SELECT holder FROM leases WHERE name = 'reconciler'");
    std::thread::sleep(Duration::from_secs(16));
    set_line(&fleet.tree, 2, "A2");
    fleet.commit("Set line 2", None);
    let before = fleet.api.desired("alpha", "web");
    eventually("a rollout to be planned", || match fleet.api.desired("alpha", "web") {
        Some(tree) if Some(tree) != before => Ok(()),
        tree => Err(format!("{tree:?}")),
    });
    let first = holder();
    fleet.hub.kill();
    other.restart();
    for node in &fleet.nodes {
        fleet.serves(node, &conf(&[(2, "A2")]));
    }
    let api = other.api();
    let query = v1::RolloutsQuery { limit: Some(1), ..Default::default() };
    let newest = || api.call::<v1::ListRollouts>(&Empty {}, &query, &Empty {}).items.remove(0).rollout;
    eventually("the rollout to end", || match newest() {
        rollout if rollout.state == RolloutState::Succeeded => Ok(()),
        rollout => Err(format!("{rollout:?}")),
    });
    assert_eq!(newest().wave, 1, "it was the other that opened the second wave");
    assert_ne!(holder(), first, "the lease was taken over");
    let id = newest().id.to_string();
    let tried = database.sql(&format!("SELECT count(*) FROM deployments WHERE rollout_id = '{id}'"));
    assert_eq!(tried.trim(), "2", "each node tried it once");
    let explained = other.cli().json(&["rollout", "explain", &id, "--replay"]);
    let decisions = explained["decisions"].as_array().unwrap();
    assert!(decisions.len() > 2 && decisions.iter().all(|one| one["same"] == true), "{explained:#}");
    other.cli().run(&["audit", "verify"]);
}

#[test]
fn while_the_database_is_away_what_was_known_is_read_and_nodes_run_on() {
    let Some(server) = PostgresServer::require() else { return };
    let Some(fleet) = Fleet::of(1).database(&server.url()).start() else { return };
    let mut fleet = fleet.with_process_stack();
    let a = fleet.api.conversation("session-a");
    fleet.change(a, 2, "A2");
    let nodes = fleet.cli.run(&["nodes", "list"]);
    let before = fleet.cli.json(&["status"]);

    server.stop();
    fleet.nodes[0].kill_agent();
    fleet.nodes[0].start_agent();
    fleet.serves(&fleet.nodes[0], &conf(&[(2, "A2")]));
    eventually("the hub to say that its answer is old", || {
        let output = fleet.cli.output(&["nodes", "list"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let known = output.status.success() && said.contains("database is away: this is as of");
        known.then(|| String::from_utf8_lossy(&output.stdout).into_owned()).ok_or(said)
    });
    assert_eq!(nodes.lines().count(), fleet.cli.run(&["nodes", "list"]).lines().count());
    let status = fleet.cli.json(&["status"]);
    assert_eq!(status["stacks"], before["stacks"], "{status:#}");
    let refused = fleet.cli.output(&["rollback", "--conversation", &a.to_string(), "--yes"]);
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("BS7002"), "{said}");
    let other = fleet.cli.output(&["nodes", "show", "nobody"]);
    assert!(!other.status.success(), "what nobody asked before is not known");

    server.start();
    fleet.change(a, 3, "A3");
    let undo = fleet.rollback(&["--conversation", &a.to_string()]);
    assert_eq!(undo["state"]["state"], "verified", "{undo:#}");
    let output = fleet.cli.output(&["status"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("database is away"));
    fleet.cli.run(&["audit", "verify"]);
}

#[test]
fn a_database_that_hangs_holds_nobody_up_for_long() {
    let Some(server) = PostgresServer::require() else { return };
    let Some(fleet) = Fleet::of(1).database(&server.url()).start() else { return };
    let fleet = fleet.with_process_stack();
    let a = fleet.api.conversation("session-a");
    fleet.change(a, 2, "A2");
    fleet.cli.run(&["nodes", "list"]);

    server.pause();
    let asked = Instant::now();
    let output = fleet.cli.output(&["nodes", "list"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("database is away: this is as of"), "{said}");
    assert!(asked.elapsed() < Duration::from_secs(12), "{:?}", asked.elapsed());
    let asked = Instant::now();
    for _ in 0..5 {
        fleet.cli.run(&["nodes", "list"]);
    }
    assert!(asked.elapsed() < Duration::from_secs(30), "{:?}", asked.elapsed());
    fleet.all_serve(&conf(&[(2, "A2")]));

    server.resume();
    fleet.change(a, 3, "A3");
    fleet.all_serve(&conf(&[(2, "A2"), (3, "A3")]));
    fleet.cli.run(&["audit", "verify"]);
}

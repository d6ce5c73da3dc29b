//! The upstream repository protects its branch, is rewritten, goes away; over real Git HTTP.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;

use backstay_api::statement::statement_place;
use backstay_e2e::{
    Fleet, REPOSITORY, Upstream,
    stacks::{conf, set_line},
};
use backstay_testkit::{CommitSpec, eventually};
use backstay_types::{DeploymentState, RepositoryHealth};

fn over_http(nodes: usize) -> Option<Fleet> {
    Fleet::of(nodes).upstream(Upstream::Http).start().map(Fleet::with_process_stack)
}

#[test]
fn a_protected_branch_keeps_nodes_on_the_undo_until_it_is_merged() {
    let Some(fleet) = over_http(3) else { return };
    let (a, b) = (fleet.api.conversation("session-a"), fleet.api.conversation("session-b"));
    fleet.change(a, 2, "A2");
    fleet.bare.protect("main");
    let undo = fleet.cli.json(&["rollback", "--conversation", &a.to_string(), "--yes"]);
    assert_eq!(undo["state"]["state"], "verified", "{undo:#}");
    // Nodes do not wait for what becomes of the push.
    let id = undo["id"].as_str().unwrap();
    let pushed =
        || serde_json::to_value(&fleet.api.undo(id.parse().unwrap()).plan.repositories[0].push).unwrap();
    eventually("the push to be refused", || match pushed() {
        push if push["push"] == "awaiting_merge" => Ok(()),
        other => Err(other.to_string()),
    });
    let push = &pushed();
    let branch = push["branch"].as_str().unwrap();
    assert!(branch.starts_with("backstay/undo/"), "{branch}");
    assert!(push["command"].as_str().unwrap().contains(branch), "{push}");
    fleet.all_serve(&conf(&[]));
    assert_eq!(fleet.upstream_conf(), conf(&[(2, "A2")]), "the branch is as it was");

    // An unrelated commit on top of the held change is deployed without it.
    set_line(&fleet.tree, 9, "B9");
    fleet.commit_here("Set line 9", Some(b));
    fleet.tree.push_as_maintainer();
    fleet.all_serve(&conf(&[(9, "B9")]));
    assert_eq!(fleet.upstream_conf(), conf(&[(2, "A2"), (9, "B9")]), "upstream holds both");

    // Merged, the branch is followed again, with what came meanwhile.
    fleet.tree.git(&["fetch", "--quiet", "origin"]);
    let merged = fleet.tree.merge(&format!("origin/{branch}"));
    fleet.tree.push_as_maintainer();
    fleet.deployed(&merged);
    fleet.all_serve(&conf(&[(9, "B9")]));
}

#[test]
fn a_forced_push_deploys_nothing_until_a_person_accepts() {
    let Some(fleet) = over_http(3) else { return };
    let a = fleet.api.conversation("session-a");
    let base = fleet.tree.head();
    fleet.change(a, 2, "A2");
    fleet.tree.reset(&base);
    set_line(&fleet.tree, 7, "other");
    let rewritten = fleet.tree.commit(&CommitSpec::new("Another history"));
    fleet.tree.push_force();
    eventually("the hub to notice", || match fleet.api.sync(REPOSITORY).health {
        RepositoryHealth::Rewritten { found } if found.to_string() == rewritten => Ok(()),
        other => Err(format!("{other:?}")),
    });
    fleet.settle();
    fleet.all_serve(&conf(&[(2, "A2")]));
    fleet.cli.run(&["repos", "accept", REPOSITORY, "--tip", &rewritten, "--yes"]);
    fleet.deployed(&rewritten);
    fleet.all_serve(&conf(&[(7, "other")]));
}

#[test]
fn nodes_go_back_while_the_git_host_is_away() {
    let Some(mut fleet) = over_http(3) else { return };
    let (a, b) = (fleet.api.conversation("session-a"), fleet.api.conversation("session-b"));
    fleet.change(a, 2, "A2");
    fleet.change(b, 8, "B8");
    fleet.git.as_mut().unwrap().stop();
    let undo = fleet.cli.json(&["rollback", "--conversation", &a.to_string(), "--yes"]);
    assert_eq!(undo["state"]["state"], "verified", "{undo:#}");
    assert_eq!(undo["plan"]["repositories"][0]["push"]["push"], "awaiting_merge", "{undo:#}");
    fleet.all_serve(&conf(&[(8, "B8")]));

    fleet.git.as_mut().unwrap().start();
    eventually("the undo to reach upstream", || {
        let _ = fleet.api.sync(REPOSITORY);
        let found = fleet.upstream_conf();
        if found == conf(&[(8, "B8")]) { Ok(()) } else { Err(found) }
    });
    fleet.tree.pull();
    fleet.change(b, 9, "B9");
    fleet.all_serve(&conf(&[(8, "B8"), (9, "B9")]));
}

#[test]
fn a_repository_that_vanishes_lists_nothing_or_is_broken_changes_nothing() {
    let Some(fleet) = Fleet::of_processes(2) else { return };
    let trees: Vec<_> = fleet.nodes.iter().map(|node| fleet.running_tree(node)).collect();
    let unchanged = |what: &str| {
        std::thread::sleep(std::time::Duration::from_secs(2));
        for (node, tree) in fleet.nodes.iter().zip(&trees) {
            assert_eq!(node.get("app.conf").as_deref(), Ok(conf(&[]).as_str()), "{what}: {}", node.name());
            assert_eq!(fleet.running_tree(node), *tree, "{what}");
        }
    };
    let aside = fleet.dir().join("aside.git");
    fs::rename(fleet.bare.dir(), &aside).unwrap();
    let _ = fleet.api.try_sync(REPOSITORY);
    assert!(matches!(fleet.api.repository(REPOSITORY).health, RepositoryHealth::Unreachable { .. }));
    unchanged("the repository has vanished");
    fs::rename(&aside, fleet.bare.dir()).unwrap();

    for (what, stack) in
        [("nothing is left", None), ("the manifest is broken", Some("runtime = \"proces\"\n"))]
    {
        let good = fleet.tree.head();
        fleet.tree.git(&["rm", "-r", "--quiet", "."]);
        if let Some(text) = stack {
            fleet.tree.git(&["checkout", &good, "--", "."]);
            fleet.tree.write("stacks/web/stack.toml", text);
        }
        let bad = fleet.commit(what, None);
        eventually("the hub to say what is wrong", || match fleet.api.sync(REPOSITORY).health {
            RepositoryHealth::Invalid { code, message } => {
                assert!(code.starts_with("BS") && !message.is_empty(), "{code} {message}");
                Ok(())
            }
            other => Err(format!("{other:?} at {bad}")),
        });
        unchanged(what);
        fleet.tree.git(&["revert", "--no-edit", "HEAD"]);
        fleet.tree.push();
        fleet.deployed(&fleet.tree.head());
        unchanged("it is back");
    }
}

#[test]
fn over_ssh_the_hub_uses_its_own_key_and_notices_another_host() {
    let Some(mut fleet) = Fleet::of(1).upstream(Upstream::Ssh).start() else { return };

    let key = fleet.cli.run(&["repos", "key"]);
    assert!(key.starts_with("ssh-ed25519 "), "{key}");
    fleet.ssh.as_ref().unwrap().authorize(key.trim());
    fleet = fleet.with_process_stack();
    let a = fleet.api.conversation("session-a");
    fleet.change(a, 2, "A2");
    let undo = fleet.rollback(&["--conversation", &a.to_string()]);
    assert_eq!(undo["state"]["state"], "verified", "{undo:#}");
    eventually("the undo to be pushed", || match fleet.upstream_conf() {
        found if found == conf(&[]) => Ok(()),
        found => Err(found),
    });

    fleet.ssh.as_mut().unwrap().change_host_key();
    let health = eventually("the hub to refuse", || match fleet.api.sync(REPOSITORY).health {
        RepositoryHealth::Ok => Err("still well".to_owned()),
        other => Ok(format!("{other:?}")),
    });
    assert!(health.contains("Host key verification failed"), "{health}");
    fleet.all_serve(&conf(&[]));
}

#[test]
fn over_ssh_a_key_that_is_not_let_in_is_named() {
    let Some(fleet) = Fleet::of(0).upstream(Upstream::Ssh).start() else { return };
    fleet.follow();
    let health = fleet.api.repository(REPOSITORY).health;
    let said = format!("{health:?}");
    assert!(said.contains("Permission denied") && said.contains("repos key"), "{said}");
}

/// What the hub signed and published is read by the agent from the Git host, and applied, while the hub is away.
#[test]
fn what_the_hub_published_is_taken_up_from_git_while_it_is_away() {
    let builder = Fleet::of(1)
        .upstream(Upstream::Http)
        .hub_setting("BACKSTAY_SOURCE_PUBLISH_TO", REPOSITORY)
        .hub_setting("BACKSTAY_SOURCE_PUBLISH_EVERY", "500ms")
        .agent_setting("BACKSTAY_AGENT_STATEMENT_FROM_GIT_AFTER", "1s");
    let Some(mut fleet) = builder.start().map(Fleet::with_process_stack) else { return };
    let (name, file) = statement_place(fleet.api.node("alpha").node.id);
    let published = |fleet: &Fleet| fleet.bare.file(&name, &file);
    let first = eventually("the first statement to be published", || {
        published(&fleet).ok_or_else(|| format!("nothing at {name}:{file}"))
    });

    // The node does not hear of the next release from the hub.
    fleet.nodes[0].kill_agent();
    set_line(&fleet.tree, 2, "A2");
    let commit = fleet.commit("Set line 2", None);
    eventually("the next one to be published", || {
        fleet.api.sync(REPOSITORY);
        let asked = fleet.api.node("alpha").desired.iter().any(|want| want.commit.to_string() == commit);
        let now = published(&fleet).filter(|now| asked && *now != first);
        now.map(drop).ok_or_else(|| "it is as it was".to_owned())
    });
    fleet.hub.kill();
    fleet.nodes[0].start_agent();
    fleet.serves(&fleet.nodes[0], &conf(&[(2, "A2")]));

    // A second one without the hub changes nothing: nobody else signs.
    set_line(&fleet.tree, 3, "A3");
    fleet.commit("Set line 3", None);
    let ref_before = fleet.bare.tip(&name);
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert_eq!(fleet.bare.tip(&name), ref_before);
    fleet.serves(&fleet.nodes[0], &conf(&[(2, "A2")]));

    // The hub learns what became of it, once, and goes on from there.
    fleet.hub.restart();
    fleet.serves(&fleet.nodes[0], &conf(&[(2, "A2"), (3, "A3")]));
    fleet.settle();
    let all = fleet.api.deployments("alpha", "web");
    let of_it: Vec<_> = all.iter().filter(|view| view.commit.to_string() == commit).collect();
    assert_eq!(of_it.len(), 1, "{all:#?}");
    assert_eq!(of_it[0].deployment.state, DeploymentState::Succeeded);
    fleet.cli.run(&["audit", "verify"]);
}

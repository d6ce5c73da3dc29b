//! A node that runs another branch than the others, on real agents.
#![allow(clippy::unwrap_used, reason = "tests")]

use backstay_api::{Empty, v1};
use backstay_e2e::{
    Fleet,
    stacks::{conf, set_line},
};
use backstay_testkit::eventually;
use backstay_types::{ReleaseStanding, RepositoryHealth};

fn branch(fleet: &Fleet) -> v1::BranchView {
    fleet.api.call::<v1::ListBranches>(&Empty {}, &Empty {}, &Empty {}).items.remove(0)
}

/// Commits to the branch; the deployed one is checked out again.
fn on_branch(fleet: &Fleet, change: impl FnOnce(), subject: &str) {
    fleet.tree.switch("try/it");
    change();
    fleet.commit(subject, None);
    fleet.tree.switch("main");
}

#[test]
fn one_node_tries_a_branch_goes_back_from_what_is_bad_there_and_returns_to_the_fleet() {
    let Some(fleet) = Fleet::of_processes(2) else { return };
    let (tries, stays) = (&fleet.nodes[0], &fleet.nodes[1]);
    fleet.tree.branch("try/it", "main").switch("main");
    on_branch(&fleet, || set_line(&fleet.tree, 2, "tried"), "Try line 2");
    let name = tries.name();
    fleet.cli.run(&["follow", "add", name, "--stack", "web", "--branch", "try/it", "--reason", "a trial"]);
    fleet.serves(tries, &conf(&[(2, "tried")]));
    fleet.serves(stays, &conf(&[]));

    // The fleet goes on; the node stays with its branch, which goes on too.
    set_line(&fleet.tree, 9, "for all");
    fleet.commit("Set line 9", None);
    fleet.serves(stays, &conf(&[(9, "for all")]));
    fleet.serves(tries, &conf(&[(2, "tried")]));
    on_branch(&fleet, || set_line(&fleet.tree, 3, "more"), "Try line 3");
    fleet.serves(tries, &conf(&[(2, "tried"), (3, "more")]));

    // What is bad there goes back by itself, is not tried again, and is nobody else's.
    fleet.settle();
    let good = fleet.running_tree(tries);
    let remove = || drop(fleet.tree.git(&["rm", "--quiet", "stacks/web/www/healthz"]));
    on_branch(&fleet, remove, "Break its health");
    eventually("the bad release to be banned", || match branch(&fleet).standing {
        ReleaseStanding::Banned { .. } => Ok(()),
        other => Err(format!("{other:?}")),
    });
    fleet.settle();
    assert_eq!(fleet.running_tree(tries), good, "it is back");
    fleet.serves(tries, &conf(&[(2, "tried"), (3, "more")]));
    fleet.serves(stays, &conf(&[(9, "for all")]));
    let text = fleet.cli.run(&["status"]);
    assert!(text.contains("from branch `try/it` stopped by itself"), "{text}");

    // A branch that is gone upstream takes nothing away.
    fleet.tree.git(&["push", "--quiet", "origin", "--delete", "try/it"]);
    eventually("the hub to miss it", || match branch(&fleet).health {
        RepositoryHealth::Unreachable { code, .. } if code == "BS2002" => Ok(()),
        other => Err(format!("{other:?}")),
    });
    fleet.serves(tries, &conf(&[(2, "tried"), (3, "more")]));

    let query = v1::ConstraintsQuery { node: Some(name.to_owned()), ..Default::default() };
    let set = fleet.api.call::<v1::ListConstraints>(&Empty {}, &query, &Empty {}).items;
    let of_branch = set.iter().find(|one| one.effect.stack().is_some_and(|stack| stack.as_str() == "web"));
    let id = of_branch.unwrap().id.to_string();
    fleet.cli.run(&["follow", "lift", &id, "--reason", "it was tried"]);
    fleet.all_serve(&conf(&[(9, "for all")]));
    fleet.settle();
    assert_eq!(fleet.running_tree(tries), fleet.running_tree(stays));
}

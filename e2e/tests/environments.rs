//! Releases that go from environment to environment, on real agents.
#![allow(clippy::unwrap_used, reason = "tests")]

use backstay_e2e::{
    Fleet,
    stacks::{conf, set_line},
};
use backstay_testkit::eventually;
use serde_json::Value;

/// The first node is for tests, the second follows, the third is let in by hand.
fn in_line(fleet: &Fleet) {
    let [test, dev, prod] = [0, 1, 2].map(|at| fleet.nodes[at].name());
    let text = format!(
        "[[environment]]\nname = \"lab\"\nnodes = \"name={test}\"\ntest = true\n\
         [[environment]]\nname = \"dev\"\nnodes = \"name={dev}\"\n\
         [[environment]]\nname = \"prod\"\nnodes = \"name={prod}\"\nafter = [\"dev\"]\npromotion = \"by hand\"\n"
    );
    fleet.tree.write("fleet.toml", &text);
    fleet.deployed(&fleet.commit("Go from environment to environment", None));
}

fn web(fleet: &Fleet, environment: &str) -> Value {
    let all = fleet.cli.json(&["environments"]);
    let one = all.as_array().unwrap().iter().find(|one| one["name"] == environment).unwrap().clone();
    one["stacks"][0].clone()
}

#[test]
fn a_release_goes_through_the_test_node_and_a_bad_one_stays_there_while_an_undo_goes_everywhere() {
    let Some(fleet) = Fleet::of_processes(3) else { return };
    in_line(&fleet);
    let a = fleet.api.conversation("session-a");
    let before = fleet.running_tree(&fleet.nodes[2]);

    set_line(&fleet.tree, 2, "A2");
    fleet.commit("Set line 2", Some(a));
    fleet.serves(&fleet.nodes[1], &conf(&[(2, "A2")]));
    eventually("prod to be asked for", || match web(&fleet, "prod") {
        one if one["ready"] == true => Ok(()),
        one => Err(one.to_string()),
    });
    assert_eq!(fleet.running_tree(&fleet.nodes[2]), before, "prod waits for a person");
    fleet.cli.run(&["promote", "web", "--to", "prod", "--reason", "it is good"]);
    fleet.all_serve(&conf(&[(2, "A2")]));
    fleet.settle();

    // A bad one fails on the test node, and gets no further by any word.
    let good = fleet.running_tree(&fleet.nodes[0]);
    let b = fleet.api.conversation("session-b");
    let healthy = fleet.tree.read("stacks/web/www/healthz");
    fleet.tree.git(&["rm", "--quiet", "stacks/web/www/healthz"]);
    fleet.commit("Break its health", Some(b));
    eventually("dev to be closed to it", || {
        let why = web(&fleet, "dev")["why"].as_str().unwrap_or_default().to_owned();
        if why.contains("banned") { Ok(()) } else { Err(why) }
    });
    let refused = fleet.cli.fails(3, &["promote", "web", "--to", "dev", "--reason", "now", "--force"]);
    assert!(refused.contains("banned"), "{refused}");
    fleet.settle();
    assert!(fleet.nodes.iter().all(|node| fleet.running_tree(node) == good));
    fleet.tree.write("stacks/web/www/healthz", &healthy);
    // An undo goes to the branch's newest release without the change: the hub has to know of a good one.
    fleet.deployed(&fleet.commit("Mend it", Some(b)));

    // Undone is undone in prod too, at once.
    let undo = fleet.rollback(&["--conversation", &a.to_string()]);
    assert_eq!(undo["state"]["state"], "verified", "{undo:#}");
    fleet.all_serve(&conf(&[]));
}

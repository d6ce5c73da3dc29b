//! Two conversations change the same stack and file; one is taken back in every way there is.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;

use backstay_e2e::{
    Fleet,
    stacks::{CONF, conf, set_line},
};
use backstay_testkit::CommitSpec;
use backstay_types::ConversationId;

/// A sets lines 2 and 3, B lines 8 and 9, in turns. Gives A, B and their commits.
fn interleaved(fleet: &Fleet) -> (ConversationId, ConversationId, [String; 4]) {
    let (a, b) = (fleet.api.conversation("session-a"), fleet.api.conversation("session-b"));
    let commits = [(a, 2, "A2"), (b, 8, "B8"), (a, 3, "A3"), (b, 9, "B9")]
        .map(|(conversation, line, text)| fleet.change(conversation, line, text));
    (a, b, commits)
}

#[test]
fn one_conversation_goes_and_the_others_work_stays() {
    let Some(fleet) = Fleet::of_processes(3) else { return };
    let (a, b, commits) = interleaved(&fleet);
    fleet.all_serve(&conf(&[(2, "A2"), (3, "A3"), (8, "B8"), (9, "B9")]));
    let tip = fleet.bare.tip("main").unwrap();

    let plan = fleet.cli.json(&["rollback", "--conversation", &a.to_string(), "--dry-run"]);
    let repository = &plan["repositories"][0];
    assert_eq!(repository["commits"], serde_json::json!([commits[2], commits[0]]), "newest first");
    assert_eq!(repository["files"], serde_json::json!([CONF]));
    assert_eq!(repository["conflicts"], serde_json::json!([]));
    let mut nodes: Vec<_> =
        plan["nodes"].as_array().unwrap().iter().map(|node| node["node"].as_str().unwrap()).collect();
    nodes.sort_unstable();
    assert_eq!(nodes, ["alpha", "beta", "gamma"]);
    assert_eq!(fleet.bare.tip("main").unwrap(), tip, "a dry run changes nothing");

    let undo = fleet.rollback(&["--conversation", &a.to_string(), "--reason", "it was slow"]);
    assert_eq!(undo["state"]["state"], "verified", "{undo:#}");
    let left = conf(&[(8, "B8"), (9, "B9")]);
    fleet.all_serve(&left);
    assert_eq!(fleet.upstream_conf(), left);

    let message = fleet.bare.message("main");
    assert!(message.contains(&format!("Backstay-Undo: {}", undo["id"].as_str().unwrap())), "{message}");
    for commit in [&commits[0], &commits[2]] {
        assert!(message.contains(&format!("Backstay-Reverts: {commit}")), "{message}");
        fleet.bare.git(&["merge-base", "--is-ancestor", commit, "main"]);
    }
    assert!(fleet.api.conversation_detail(a).view.undone);
    assert!(!fleet.api.conversation_detail(b).view.undone);
    let why = fleet.cli.json(&["why", "beta/web/www/app.conf:8"]);
    assert!(why.to_string().contains(&b.to_string()), "{why:#}");
}

#[test]
fn before_a_conversation_is_before_all_that_came_after_it_too() {
    let Some(fleet) = Fleet::of_processes(3) else { return };
    let b = fleet.api.conversation("session-early");
    fleet.change(b, 10, "early");
    let (a, _, _) = interleaved(&fleet);
    fleet.all_serve(&conf(&[(2, "A2"), (3, "A3"), (8, "B8"), (9, "B9"), (10, "early")]));
    let undo = fleet.rollback(&["--conversation", &a.to_string(), "--before"]);
    assert_eq!(undo["state"]["state"], "verified", "{undo:#}");
    fleet.all_serve(&conf(&[(10, "early")]));
    assert_eq!(fleet.upstream_conf(), conf(&[(10, "early")]));
}

#[test]
fn a_conflict_changes_nothing_until_it_is_resolved() {
    let Some(fleet) = Fleet::of_processes(3) else { return };
    let (a, b) = (fleet.api.conversation("session-a"), fleet.api.conversation("session-b"));
    fleet.change(a, 2, "A2");
    fleet.change(a, 5, "A5");
    let later = fleet.change(b, 5, "B5");
    let tip = fleet.bare.tip("main");

    let said = fleet.cli.fails(3, &["rollback", "--conversation", &a.to_string(), "--yes"]);
    assert!(said.contains(CONF), "{said}");
    assert!(said.contains(&later[..7]), "who got in the way is named: {said}");
    assert_eq!(fleet.bare.tip("main"), tip);
    fleet.all_serve(&conf(&[(2, "A2"), (5, "B5")]));

    let undos = fleet.api.call::<backstay_api::v1::ListUndos>(
        &backstay_api::Empty {},
        &backstay_api::v1::Paging::default(),
        &backstay_api::Empty {},
    );
    let undo = undos.items.first().unwrap();
    assert_eq!(undo.state, backstay_types::UndoState::Conflicted);
    let resolved = fleet.dir().join("resolved");
    fs::write(&resolved, conf(&[(5, "both")])).unwrap();
    let file = format!("fleet:{CONF}={}", resolved.display());
    let done = fleet.rollback(&["--continue", &undo.id.to_string(), "--file", &file]);
    assert_eq!(done["state"]["state"], "verified", "{done:#}");
    fleet.all_serve(&conf(&[(5, "both")]));
    assert_eq!(fleet.upstream_conf(), conf(&[(5, "both")]));
}

#[test]
fn an_undo_can_be_undone() {
    let Some(fleet) = Fleet::of_processes(3) else { return };
    let (a, _, _) = interleaved(&fleet);
    let undo = fleet.rollback(&["--conversation", &a.to_string()]);
    fleet.all_serve(&conf(&[(8, "B8"), (9, "B9")]));
    let again = fleet.rollback(&["--undo", undo["id"].as_str().unwrap()]);
    assert_eq!(again["state"]["state"], "verified", "{again:#}");
    let all = conf(&[(2, "A2"), (3, "A3"), (8, "B8"), (9, "B9")]);
    fleet.all_serve(&all);
    assert_eq!(fleet.upstream_conf(), all);
    // Nothing holds the conversation's work any more.
    fleet.change(a, 4, "A4");
    fleet.all_serve(&conf(&[(2, "A2"), (3, "A3"), (4, "A4"), (8, "B8"), (9, "B9")]));
}

#[test]
fn one_of_three_nodes_goes_back_alone() {
    let Some(fleet) = Fleet::of_processes(3) else { return };
    let (a, b, _) = interleaved(&fleet);
    let undo = fleet.rollback(&["--conversation", &a.to_string(), "--node", "beta"]);
    assert_eq!(undo["state"]["state"], "verified", "{undo:#}");
    let (all, without) = (conf(&[(2, "A2"), (3, "A3"), (8, "B8"), (9, "B9")]), conf(&[(8, "B8"), (9, "B9")]));
    let expect = |others: &str, beta: &str| {
        for node in &fleet.nodes {
            fleet.serves(node, if node.name() == "beta" { beta } else { others });
        }
    };
    expect(&all, &without);
    assert_eq!(fleet.upstream_conf(), all, "the branch is everyone's");
    // Later work goes on for the others, and does not bring the change back to the one.
    set_line(&fleet.tree, 10, "B10");
    let commit = fleet.commit("Set line 10", Some(b));
    fleet.deployed(&commit);
    expect(&conf(&[(2, "A2"), (3, "A3"), (8, "B8"), (9, "B9"), (10, "B10")]), &without);
}

#[test]
fn a_squash_of_two_conversations_is_refused_by_name_and_one_of_one_is_undone() {
    let Some(fleet) = Fleet::of_processes(3) else { return };
    let (a, b) = (fleet.api.conversation("session-a"), fleet.api.conversation("session-b"));
    let trailer = |id: ConversationId| format!("Backstay-Conversation: {id}");
    let branch = |name: &str, changes: &[(usize, &str, ConversationId)]| {
        fleet.tree.branch(name, "main");
        let mut subjects = Vec::new();
        for (line, text, id) in changes {
            set_line(&fleet.tree, *line, text);
            let subject = format!("Set line {line}");
            fleet.commit(&subject, Some(*id));
            subjects.push(format!("* {subject}\n\n{}\n", trailer(*id)));
        }
        fleet.tree.switch("main");
        // As hosts do it: the commits' own messages, one after the other, trailers in between.
        let message = format!("Merge {name} (#1)\n\n{}", subjects.join("\n"));
        let commit = fleet.tree.squash(name, &CommitSpec::new(&message));
        fleet.tree.push();
        fleet.deployed(&commit);
    };
    branch("alone", &[(2, "A2", a), (3, "A3", a)]);
    branch("mixed", &[(5, "A5", a), (5, "B5", b)]);
    let all = conf(&[(2, "A2"), (3, "A3"), (5, "B5")]);
    fleet.all_serve(&all);

    let output = fleet.cli.output(&["rollback", "--conversation", &a.to_string(), "--yes"]);
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(!output.status.success(), "{said}");
    assert!(said.contains(&a.to_string()) && said.contains(&b.to_string()), "both are named: {said}");
    fleet.all_serve(&all);

    let c = fleet.api.conversation("session-c");
    branch("another", &[(8, "C8", c), (9, "C9", c)]);
    fleet.rollback(&["--conversation", &c.to_string()]);
    fleet.all_serve(&all);
    assert_eq!(fleet.upstream_conf(), all);
}

//! What a stack says about itself, asked for by the real agent: commands and files that are good, and all kinds that are
//! not. What cannot be had is left out, and holds up nothing.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use backstay_testkit::run;
use backstay_types::DeploymentState;
use support::{FakeHub, Node, Stack, eventually, eventually_within, process_stack};

const LIMIT: Duration = Duration::from_secs(120);

/// A figure's table: what a program of the release prints, or what a file of the stack's state holds.
fn table(name: &str, from: &str) -> String {
    let from =
        if from.starts_with("./") { format!("command = [\"{from}\"]") } else { format!("file = \"{from}\"") };
    format!("[[figure]]\nname = \"{name}\"\n{from}\n")
}

/// The stack of one process with these figures.
fn stack(version: &str, figures: &[(&str, &str)]) -> Stack {
    let stack = process_stack(version, "true");
    let manifest = stack.files.iter().find(|file| file.path == "stack.toml").unwrap();
    let mut text = String::from_utf8(manifest.content.clone()).unwrap();
    text.extend(figures.iter().map(|(name, from)| table(name, from)));
    stack.file("stack.toml", &text)
}

fn deploy(hub: &FakeHub, stack: &Stack) {
    let deployment = hub.deploy(stack);
    let end = eventually_within(LIMIT, "the deployment's end", || hub.ends(deployment).pop());
    assert_eq!(end, DeploymentState::Succeeded);
}

fn node(hub: &FakeHub) -> Node {
    let mut node = Node::join(hub);
    node.settings = "check_every = \"1s\"".to_owned();
    node.start("");
    node
}

/// What the hub was told last.
fn told(hub: &FakeHub) -> BTreeMap<String, f64> {
    let last = hub.check_ins().into_iter().rev().find_map(|check_in| check_in.observed);
    let stacks = last.into_iter().flatten();
    stacks
        .flat_map(|stack| stack.figures.iter().map(|(n, v)| (n.to_owned(), v)).collect::<Vec<_>>())
        .collect()
}

fn says(hub: &FakeHub, wanted: &[(&str, f64)]) {
    let wanted: BTreeMap<_, _> = wanted.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    eventually_within(LIMIT, &format!("it says {wanted:?}"), || (told(hub) == wanted).then_some(()));
}

fn write(node: &Node, name: &str, text: &str) {
    fs::write(node.stack().join("state/data").join(name), text).unwrap();
}

#[test]
fn what_commands_and_files_say_is_told_and_what_is_no_number_is_not() {
    let hub = FakeHub::start();
    let node = node(&hub);
    let figures = [
        ("printed", "./printed"),
        ("many", "./many"),
        ("failing", "./failing"),
        ("absent", "./absent"),
        ("noted", "data/noted"),
        ("garbage", "data/garbage"),
        ("missing", "data/missing"),
        ("folder", "data"),
        ("pipe", "data/pipe"),
    ];
    let stack = stack("a", &figures)
        .program("printed", "cat version-number")
        .file("version-number", " 0.25\n")
        .program("many", "yes 1")
        .program("failing", "echo 1; exit 3");
    fs::create_dir_all(node.stack().join("state/data")).unwrap();
    write(&node, "noted", "3\n");
    write(&node, "garbage", "a few\n");
    pipe(&node.stack().join("state/data/pipe"));
    deploy(&hub, &stack);
    says(&hub, &[("noted", 3.0), ("printed", 0.25)]);
    // Each look asks anew: what is no number any more is not known, which is neither nought nor what it was.
    write(&node, "noted", "none\n");
    write(&node, "garbage", "-1.5");
    says(&hub, &[("garbage", -1.5), ("printed", 0.25)]);
    write(&node, "noted", "NaN");
    write(&node, "garbage", &"1".repeat(1000));
    says(&hub, &[("printed", 0.25)]);
    // What one release says is not taken for what the next one does.
    deploy(&hub, &process_stack("b", "true"));
    says(&hub, &[]);
}

/// A pipe that nobody writes to: opened for reading it would be waited for.
fn pipe(path: &Path) {
    run(std::process::Command::new("mkfifo").arg(path));
}

#[test]
fn a_command_that_hangs_or_leaves_children_holds_up_nothing_and_is_ended() {
    let hub = FakeHub::start();
    let node = node(&hub);
    let stack = stack("a", &[("hangs", "./hangs"), ("child", "./child"), ("good", "./good")])
        .program("hangs", "sleep 1000\necho 1")
        .program("child", "sleep 1000 &\necho 2\n")
        .program("good", "echo 7");
    deploy(&hub, &stack);
    says(&hub, &[("good", 7.0)]);
    // It still takes what it is asked to while a figure hangs.
    let next = process_stack("b", "true");
    deploy(&hub, &next);
    eventually("b runs", || (node.running() == ["b"]).then_some(()));
    eventually("nothing is left of them", || (node.pids().len() == 1).then_some(()));
}

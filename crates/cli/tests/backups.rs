//! Backups by hand: a real hub, a node that the test plays, and a script in the place of the program that works on
//! repositories.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Child, Stdio},
    thread,
};

use serde_json::{Value, json};

use crate::{
    hub::Fleet,
    played::Played,
    support::{Place, Ran, program, ran},
};

/// Answers every job well: what is asked of a repository is for its own tests to try.
const PROGRAM: &str = r#"#!/bin/sh
job=$(cat)
case "$job" in
    *'"task":"verify"'*dddddddd*) echo '{"line":"failed","kind":"other","message":"it cannot be read back"}' ;;
    *'"task":"init"'*) echo '{"line":"done","done":"init","made":true,"id":"1"}' ;;
    *'"task":"verify"'*) echo '{"line":"done","done":"verify","bytes":2048}' ;;
    *'"task":"list"'*) echo '{"line":"done","done":"list","snapshots":[]}' ;;
    *'"task":"check"'*) echo '{"line":"done","done":"check","bytes":0,"problems":[]}' ;;
    *'"task":"forget"'*) echo '{"line":"done","done":"forget","gone":1}' ;;
    *'"task":"prune"'*) echo '{"line":"done","done":"prune","bytes_before":4096,"unused_bytes":1024,"deleted_bytes":0,"marked_bytes":1024}' ;;
    *'"task":"files"'*) echo '{"line":"done","done":"files","files":[{"path":"pages/a.txt","kind":"file","bytes":3,"mode":420,"modified":null}]}' ;;
    *) echo '{"line":"failed","kind":"other","message":"not in this play"}' ;;
esac
"#;

/// A hub that keeps backups in a folder, and nobody's turn comes by itself.
fn saving() -> Fleet {
    let place = Place::new();
    let program = place.write("backstay-backup", PROGRAM);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let target = place.path("target");
    fs::create_dir_all(&target).unwrap();
    let settings = format!(
        "[backup]\ntarget = {{ folder = {target:?} }}\nprogram = {program:?}\nevery = \"720h\"\njitter = \"720h\"\n"
    );
    let settings = place.write("hub.toml", &settings);
    Fleet::start_in(place, &["--config", settings.to_str().unwrap()])
}

/// A command that runs; it does not outlive a test that fails meanwhile.
struct Running(Option<Child>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Runs a command, and meanwhile something else.
fn meanwhile(fleet: &Fleet, args: &[&str], other: impl FnOnce()) -> Ran {
    let mut command = fleet.place.command(program());
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running(Some(command.spawn().unwrap()));
    other();
    ran(running.0.take().unwrap().wait_with_output().unwrap())
}

/// Waits for the node's order.
fn order(fleet: &Fleet, node: &Played) -> Value {
    let mut order = Value::Null;
    fleet.eventually("the node gets an order", || {
        order = node.next_backup().unwrap_or_default();
        order.is_object()
    });
    order
}

fn finish(node: &Played, order: &Value, outcome: &Value) {
    let job = order["job"].as_str().unwrap();
    node.post(&format!("backups/{job}/outcome"), outcome);
}

fn id(digit: char) -> String {
    digit.to_string().repeat(64)
}

fn snapshot(digit: char, reason: &str) -> Value {
    json!({
        "id": id(digit), "at": "2026-01-01T12:00:00Z", "node_name": "n1", "stack": "web", "reason": reason,
        "proof": "matched", "files": 2, "bytes": 3000, "added_bytes": 1500, "manifest": id('0'),
    })
}

fn item(result: Value) -> Value {
    let mut item = json!({ "stack": "web", "item": "pages" });
    item.as_object_mut().unwrap().extend(result.as_object().unwrap().clone());
    item
}

fn well() -> Value {
    item(json!({ "result": "done", "files": 2, "bytes": 3000, "proof": "matched" }))
}

/// A node with one snapshot.
fn saved() -> (Fleet, Played) {
    let fleet = saving();
    let node = Played::join(&fleet, "n1", &json!({}));
    let ran = meanwhile(&fleet, &["backup", "now", "n1"], || {
        let order = order(&fleet, &node);
        assert_eq!((&order["work"], &order["reason"]), (&json!("save"), &json!("manual")), "{order}");
        finish(&node, &order, &json!({ "snapshots": [snapshot('a', "manual")], "items": [well()] }));
    });
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("aaaaaaaaaaaa  n1") && ran.out.contains("matched"), "{}", ran.out);
    assert!(ran.err.contains("✓ backup of n1: done: 2 files, 2.9 KiB"), "{}", ran.err);
    (fleet, node)
}

fn refused(fleet: &Fleet, args: &[&str], code: i32, says: &str) {
    let ran = fleet.try_run(args);
    assert!(ran.code == code && ran.err.contains(says), "{args:?}: {} {}{}", ran.code, ran.out, ran.err);
}

#[test]
fn a_backup_is_made_proven_kept_listed_and_pruned() {
    let (fleet, _node) = saved();
    let job = fleet.json(&["backup", "verify", "n1"]);
    assert_eq!((&job["task"], &job["state"]), (&json!("verify"), &json!("done")), "{job}");
    fleet.eventually("it is proven", || {
        fleet.json(&["backup", "list", "--proof", "verified"]).as_array().unwrap().len() == 1
    });
    let list = fleet.json(&["backup", "list", "n1", "--stack", "web"]);
    assert_eq!((&list[0]["id"], &list[0]["proof"]), (&json!(id('a')), &json!("verified")), "{list}");
    assert_eq!(fleet.json(&["backup", "list", "--before", "2020-01-01"]), json!([]));
    assert_eq!(fleet.run(&["backup", "list", "--stack", "other"]), "No snapshots.\n");
    let text = fleet.run(&["backup", "list"]);
    assert!(text.contains("aaaaaaaaaaaa  n1") && text.contains("verified"), "{text}");
    // It was made just now, and has a date of long ago, as no job of now can have made.
    assert!(!text.contains("2026-01-01") && text.contains("its date cannot be"), "{text}");
    let shown = fleet.run(&["backup", "show", &id('a')]);
    assert!(shown.contains("2026-01-01") && shown.contains("it makes no other go"), "{shown}");

    fleet.run(&["backup", "hold", "aaaaaaaa", "--reason", "the audit", "--until", "in 90 days"]);
    let shown = fleet.run(&["backup", "show", "aaaaaaaa"]);
    for part in
        ["web on n1", "all its data was read back", "the audit", "by hand", "backstay restore n1 --snapshot"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let pruned = fleet.run(&["backup", "prune", "n1", "--dry-run"]);
    for part in [
        "aaaaaaaaaaaa",
        "stays",
        "1 of 1 snapshot stay, 0 go",
        "1.0 KiB of it no snapshot needs",
        "Nothing was",
    ] {
        assert!(pruned.contains(part), "{part}: {pruned}");
    }
    let planned = fleet.json(&["backup", "prune", "n1", "--dry-run"]);
    assert_eq!(planned["snapshots"][0]["stays"], true, "{planned}");
    assert_eq!(planned["job"]["result"]["pruned"]["unused_bytes"], 1024, "{planned}");
    assert!(fleet.json(&["backup", "release", "aaaaaaaa"])["hold"].is_null());

    let files = fleet.json(&["backup", "files", "aaaaaaaa", "pages"]);
    assert_eq!(files["files"][0]["path"], "pages/a.txt", "{files}");
    assert!(fleet.run(&["backup", "files", "aaaaaaaa"]).contains("0644  3 B"));

    let jobs = fleet.json(&["backup", "jobs", "--node", "n1", "--task", "save"]);
    assert_eq!((jobs.as_array().unwrap().len(), &jobs[0]["node_name"]), (1, &json!("n1")), "{jobs}");
    let one = jobs[0]["id"].as_str().unwrap();
    let text = fleet.run(&["backup", "jobs", &one[one.len() - 8..]]);
    assert!(text.starts_with("Backup of n1 ") && text.contains("makes snapshots (by hand)"), "{text}");

    // The hub looks at all nodes together no more often than every few seconds.
    fleet.eventually("the node counts", || fleet.json(&["backup", "status"])["backups"]["nodes"] == 1);
    let text = fleet.run(&["backup", "status"]);
    for part in ["every 30d", "Needs a person", "there is no recovery key", "n1"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = fleet.run(&["backup", "status", "n1"]);
    assert!(text.starts_with("Backups of n1\n") && text.contains("aaaaaaaaaaaa"), "{text}");
}

#[test]
fn what_is_missing_is_named_and_a_cancelled_job_is_no_success() {
    let fleet = saving();
    let node = Played::join(&fleet, "n1", &json!({}));
    let ran = meanwhile(&fleet, &["backup", "now", "--all"], || {
        let failed = json!({ "result": "failed", "why": "it is gone", "paths": ["pages/lost.txt"] });
        let outcome = json!({ "items": [item(failed)], "failed": "1 of 1 items is missing" });
        finish(&node, &order(&fleet, &node), &outcome);
    });
    assert!(
        ran.code == 1 && ran.err.contains("error[BS9024]: backup of n1: failed"),
        "{}{}",
        ran.out,
        ran.err
    );
    assert!(ran.out.contains("web/pages: it is gone") && ran.out.contains("pages/lost.txt"), "{}", ran.out);
    assert!(ran.err.contains("hint:  backstay backup jobs "), "{}", ran.err);

    let started = fleet.json(&["backup", "now", "--nodes", "name=n1", "--no-wait"]);
    assert_eq!((&started["count"], &started["jobs"][0]["state"]), (&json!(1), &json!("queued")), "{started}");
    let job = started["jobs"][0]["id"].as_str().unwrap();
    let ran = meanwhile(&fleet, &["backup", "now", "n1"], || {
        thread::sleep(std::time::Duration::from_millis(700));
        assert!(fleet.run(&["backup", "cancel", job]).contains("is cancelled"));
    });
    assert!(ran.code == 3 && ran.err.contains("backup of n1: cancelled: by "), "{}{}", ran.out, ran.err);
}

fn runs_web() -> Value {
    json!([{
        "stack": "web", "current": id('7'), "previous": null, "deployment": null, "health": "healthy", "detail": "",
        "can_return": true, "containers": [],
    }])
}

/// Another node's data: it reads that while its job runs, and no other does.
#[test]
fn data_of_one_node_is_put_back_on_another() {
    let (fleet, _node) = saved();
    fleet.run(&["backup", "verify", "n1"]);
    let other = Played::join(&fleet, "n2", &json!({}));
    refused(&fleet, &["restore", "n1", "--on", "n2", "--yes"], 1, "error[BS9053]: n2 does not run web");
    refused(&fleet, &["restore", "n1", "--on", "nobody", "--to", "/tmp/x"], 4, "nobody");
    let args = ["restore", "n1", "--on", "n2", "--to", "/tmp/x", "--yes"];
    let ran = meanwhile(&fleet, &args, || {
        let order = order(&fleet, &other);
        let of = fleet.json(&["nodes", "show", "n1"])["id"].clone();
        assert_eq!((&order["of_node"], &order["snapshot"]), (&of, &json!(id('a'))), "{order}");
        assert!(order["other_password"].is_string() && order["other_password"] != order["password"]);
        finish(&other, &order, &json!({ "items": [well()] }));
    });
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("Restore web from n1 on n2"), "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("It is in /tmp/x on n2"), "{}", ran.out);
    // A lost one's goes to one that is there; what should go to itself waits for the machine that takes its name.
    fleet.run(&["nodes", "revoke", "n1", "--yes"]);
    refused(&fleet, &["restore", "n1", "--to", "/tmp/y", "--yes"], 3, "no longer in the fleet");
    let plan = fleet.run(&["restore", "n1", "--all", "--dry-run"]);
    assert!(plan.contains("1. it waits until a machine has joined as n1\n"), "{plan}");
    assert!(plan.contains("before web starts there for the first time"), "{plan}");
    let plan = fleet.run(&["restore", "n1", "--on", "n2", "--to", "/tmp/y", "--dry-run"]);
    assert!(plan.contains("n2 reads the backups of n1 through the hub"), "{plan}");
}

#[test]
fn a_restore_says_first_what_it_does_and_names_its_way_back() {
    let (fleet, node) = saved();
    // Nothing that is not proven is put back.
    refused(&fleet, &["restore", "n1/other"], 1, "BS9017");
    fleet.run(&["backup", "verify", "n1"]);
    // As long as the node does not say that it runs the stack, its data waits for that, and is there before it starts.
    let plan = fleet.run(&["restore", "n1", "--dry-run"]);
    for part in ["1. it waits until n1 is to run web", "before web starts there for the first time"] {
        assert!(plan.contains(part), "{part}: {plan}");
    }
    let waits = fleet.json(&["restore", "n1", "--all", "--yes"]);
    assert_eq!((&waits[0]["waits"], waits.as_array().unwrap().len()), (&json!(true), 1), "{waits}");
    thread::sleep(std::time::Duration::from_secs(3));
    assert!(node.next_backup().is_none(), "it is not asked for what it cannot do");
    let job = waits[0]["job"]["id"].as_str().unwrap();
    assert!(fleet.run(&["backup", "cancel", job]).contains("is cancelled"));
    let restores = || fleet.json(&["backup", "jobs", "--task", "restore"]).as_array().unwrap().len();
    assert_eq!(restores(), 1);

    node.says(&runs_web(), &json!({}));
    fleet.eventually("it is known to run", || {
        fleet.json(&["restore", "n1/web", "--dry-run"])["waits"] == false
    });
    let plan = fleet.run(&["restore", "n1", "--dry-run"]);
    for part in [
        "Restore web on n1",
        "snapshot aaaaaaaaaaaa",
        "verified: all its data was read back",
        "1. web on n1 is stopped",
        "safety snapshot",
        "backstay restore n1/web --snapshot ID",
        "Nothing was changed",
    ] {
        assert!(plan.contains(part), "{part}: {plan}");
    }
    assert!(fleet.json(&["restore", "n1/web", "--dry-run"])["job"].is_null());
    refused(&fleet, &["restore", "n1/web"], 2, "BS8010");
    assert_eq!(restores(), 1, "nobody said yes");

    let args = ["restore", "n1/web", "--item", "pages", "--yes"];
    let ran = meanwhile(&fleet, &args, || {
        let order = order(&fleet, &node);
        assert_eq!(
            (&order["work"], &order["destination"]["to"]),
            (&json!("restore"), &json!("in_place")),
            "{order}"
        );
        assert_eq!((&order["snapshot"], &order["items"]), (&json!(id('a')), &json!(["pages"])), "{order}");
        finish(&node, &order, &json!({ "snapshots": [snapshot('b', "safety")], "items": [well()] }));
    });
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(
        ran.out.ends_with("comes back with: backstay restore n1/web --snapshot bbbbbbbbbbbb\n"),
        "{}",
        ran.out
    );

    let args =
        ["restore", "n1", "--snapshot", "aaaaaaaa", "--path", "pages/a.txt", "--to", "/tmp/x", "--yes"];
    let ran = meanwhile(&fleet, &args, || {
        let order = order(&fleet, &node);
        assert_eq!(order["destination"], json!({ "to": "folder", "path": "/tmp/x" }), "{order}");
        assert_eq!(order["paths"], json!(["pages/a.txt"]), "{order}");
        let failed = json!({ "result": "failed", "why": "damaged", "paths": ["pages/a.txt"] });
        finish(&node, &order, &json!({ "items": [item(failed)], "failed": "1 file is damaged" }));
    });
    assert!(ran.code == 1 && ran.err.contains("error[BS9026]"), "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("Missing or damaged") && ran.out.contains("      pages/a.txt\n"), "{}", ran.out);
}

#[test]
fn everything_is_put_back_at_once_and_what_is_not_is_named() {
    let (fleet, one) = saved();
    let two = Played::join(&fleet, "n2", &json!({ "role": "db" }));
    let saves = |digit, stack: &str| {
        let mut made = snapshot(digit, "manual");
        (made["node_name"], made["stack"]) = (json!("n2"), json!(stack));
        meanwhile(&fleet, &["backup", "now", "n2"], || {
            finish(&two, &order(&fleet, &two), &json!({ "snapshots": [made], "items": [well()] }));
        });
    };
    saves('c', "web");
    one.says(&runs_web(), &json!({}));
    let of = |planned: &Value| -> Vec<(String, bool)> {
        let all = planned["restores"].as_array().into_iter().flatten();
        all.map(|view| (view["node_name"].as_str().unwrap().to_owned(), view["waits"] == true)).collect()
    };
    let everything = ["restore", "--everything", "--dry-run", "--json"];
    fleet.eventually("what can be proven is, and n1 runs", || {
        let ran = fleet.try_run(&everything);
        let planned = serde_json::from_str(&ran.out).unwrap_or_default();
        of(&planned) == [("n1".to_owned(), false), ("n2".to_owned(), true)]
    });
    // This one cannot be read back.
    saves('d', "blog");
    let plan = fleet.run(&["restore", "--everything", "--dry-run"]);
    for part in [
        "Restore 2 stacks to ",
        "n1    web    aaaaaaaaaaaa",
        "a safety snapshot is made",
        "web waits until n2 is to run it, and is in its place before it starts",
        "blog on n2 stays as it is: there is no proven snapshot of blog",
        "(BS9017)",
        "Nothing was changed",
    ] {
        assert!(plan.contains(part), "{part}: {plan}");
    }
    let planned = fleet.json(&everything[..3]);
    assert_eq!(planned["left_out"].as_array().unwrap().len(), 1, "{planned}");
    assert_eq!(planned["left_out"][0]["code"], "BS9017", "{planned}");
    let planned = fleet.json(&["restore", "--everything", "--nodes", "role=db", "--dry-run"]);
    assert_eq!(of(&planned), [("n2".to_owned(), true)], "{planned}");
    refused(&fleet, &["restore", "--everything", "--nodes", "role=none", "--yes"], 1, "BS9017");
    refused(&fleet, &["restore", "--everything", "--nodes", "role in", "--yes"], 1, "BS4007");
    let before = ["restore", "--everything", "--at", "2025-06-01 12:00", "--yes"];
    refused(&fleet, &before, 1, "of 3 stacks with snapshots none can be put back as of 2025-06-01");
    refused(&fleet, &["restore", "--everything"], 2, "BS8010");
    assert_eq!(fleet.json(&["backup", "jobs", "--task", "restore"]), json!([]), "nobody said yes");

    // What runs is followed to its end; what does not run yet is told, and comes when it does.
    let ran = meanwhile(&fleet, &["restore", "--everything", "--yes"], || {
        let order = order(&fleet, &one);
        assert_eq!(
            (&order["work"], &order["destination"]["to"], &order["snapshot"]),
            (&json!("restore"), &json!("in_place"), &json!(id('a'))),
            "{order}"
        );
        finish(&one, &order, &json!({ "snapshots": [snapshot('b', "safety")], "items": [well()] }));
    });
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    for part in [
        "backstay restore n1/web --snapshot bbbbbbbbbbbb",
        "The data of web is put in its place before n2 starts it",
    ] {
        assert!(ran.out.contains(part), "{part}: {}{}", ran.out, ran.err);
    }
    assert_eq!(fleet.json(&["backup", "jobs", "--task", "restore"]).as_array().unwrap().len(), 2);
    assert!(two.next_backup().is_none(), "it is not asked for what it cannot do");
}

#[test]
fn the_recovery_key_stays_here_and_opens_what_the_hub_sealed() {
    let (fleet, _node) = saved();
    let text = fleet.run(&["backup", "recovery-key", "show"]);
    assert!(text.contains("No recovery key is set"), "{text}");
    refused(&fleet, &["backup", "open", "n1", "--recovery-key", "key", "--print"], 1, "BS8004");
    let made = fleet.json(&["backup", "recovery-key", "make", "--out", "key"]);
    let key = fleet.place.read("key");
    let secret = key.lines().last().unwrap();
    assert!(secret.starts_with("AGE-SECRET-KEY-1") && !made.to_string().contains(secret), "{made}");
    assert_eq!(fs::metadata(fleet.path("key")).unwrap().permissions().mode() & 0o777, 0o600);
    let recipient = made["recipient"].as_str().unwrap().to_owned();
    assert!(key.contains(&format!("# public key: {recipient}\n")), "{recipient}");
    assert_eq!(fleet.json(&["backup", "recovery-key", "--show"])["recipient"], recipient);
    fleet.run(&["backup", "recovery-key", "check", "--identity", "key"]);

    refused(&fleet, &["backup", "open", "n1", "--recovery-key", "key"], 2, "--print");
    let open = ["backup", "open", "n1", "--recovery-key", "key", "--print"];
    let opened = fleet.json(&open);
    assert!(opened["place"].as_str().unwrap().contains("/target/"), "{opened}");
    let text = fleet.run(&open);
    let password = opened["password"].as_str().unwrap();
    assert!(password.len() >= 40 && text.contains(&format!("RESTIC_PASSWORD='{password}'")), "{text}");
    // Without the hub: what lies at the target opens too, and is the same.
    let sealed = fleet.path("target/recovery");
    let file = |name: &dyn Fn(&str) -> bool| {
        let files = fs::read_dir(&sealed).ok()?.map(|entry| entry.unwrap().path());
        files.into_iter().find(|path| name(&path.file_name().unwrap().to_string_lossy()))
    };
    let of_node = |name: &str| !name.starts_with("hub") && name.ends_with(".age");
    fleet.eventually("it is sealed at the target", || file(&of_node).is_some());
    let path = file(&of_node).unwrap().display().to_string();
    let args =
        ["--json", "--hub", "http://127.0.0.1:9", "backup", "open", "--recovery-key", "key", "--sealed"];
    let ran = fleet.try_run(&[&args[..], &[&path, "--print"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap()["password"], password);

    refused(&fleet, &["backup", "recovery-key"], 1, "error[BS9018]: there is a recovery key already");
    refused(
        &fleet,
        &["backup", "recovery-key", "make", "--out", "key", "--replace"],
        1,
        "never written over",
    );
    let other = fleet.json(&["backup", "recovery-key", "make", "--replace"]);
    assert!(other["identity"].as_str().unwrap().starts_with("AGE-SECRET-KEY-1"), "{other}");
    refused(&fleet, &["backup", "recovery-key", "check", "--identity", "key"], 1, "BS9018");
    refused(&fleet, &open, 1, "does not open this repository");
}

#[test]
fn what_makes_no_sense_is_refused_with_what_to_do() {
    let fleet = saving();
    let _node = Played::join(&fleet, "n1", &json!({}));
    for (args, code, says) in [
        (&["backup", "now"][..], 2, "--all"),
        (&["backup", "now", "n1", "--all"], 2, "cannot be used with"),
        (&["backup", "now", "nobody"], 4, "nobody"),
        (&["backup", "now", "--nodes", "a in ("], 1, "selector"),
        (&["backup", "now", "--own-state", "--stack", "web"], 2, "cannot be used with"),
        (&["backup", "list", "--before", "someday"], 2, "is not a time"),
        (&["backup", "list", "--proof", "sure"], 2, "possible values"),
        (&["backup", "show", "cafecafe"], 4, "cafecafe"),
        (&["backup", "cancel", "zz"], 2, "is not a"),
        (&["backup", "jobs", "deadbeef"], 2, "deadbeef"),
        (&["backup", "hold", "cafecafe"], 2, "--reason"),
        (&["backup", "hold", "cafecafe", "--reason", "x", "--until", "yesterday"], 2, "has passed already"),
        (&["backup", "status", "nobody"], 4, "nobody"),
        (&["backup", "open", "--recovery-key", "key"], 2, "NODE"),
        (&["restore", "n1"], 1, "backstay backup now n1"),
        (&["restore", "hub"], 2, "brings a lost hub back"),
        (&["restore", "n1/web", "--at", "in 2h"], 2, "still to come"),
        (&["restore", "n1/web", "--at", "2h ago", "--snapshot", "aaaaaaaa"], 2, "cannot be used with"),
        (&["restore", "n1/web", "--to", "here"], 2, "no absolute path"),
        (&["restore", "n1/web", "--all"], 2, "--all takes all of a node"),
        (&["restore", "n1/web", "n1/api", "--snapshot", "aaaaaaaa"], 2, "names one snapshot"),
        (&["restore", "n1/web", "--before-deployment", "deadbeef"], 2, "deadbeef"),
    ] {
        refused(&fleet, args, code, says);
    }
    assert_eq!(fleet.json(&["backup", "jobs", "--node", "n1"]), json!([]));
}

#[test]
fn a_hub_without_a_target_says_so() {
    let fleet = Fleet::start();
    assert!(fleet.run(&["backup", "status"]).starts_with("Backups are not set up at this hub"));
    let _node = Played::join(&fleet, "n1", &json!({}));
    refused(&fleet, &["backup", "now", "n1"], 1, "error[BS9011]");
}

#[test]
fn a_drill_is_followed_to_its_report_and_its_failure_stands_out() {
    let (fleet, node) = saved();
    refused(&fleet, &["backup", "drill"], 2, "required");
    // Nothing that is not proven is tried.
    refused(&fleet, &["backup", "drill", "--stack", "other"], 1, "BS9017");
    fleet.run(&["backup", "verify", "n1"]);
    let report = |verdict: &str, checks: Value| {
        json!({
            "snapshot": id('a'), "stack": "web", "verdict": verdict, "files": 2, "bytes": 3000, "checks": checks,
            "start": { "started": "yes" }, "restore_ms": 1500, "total_ms": 4000,
        })
    };
    let passed = json!([
        { "kind": "files", "what": "files", "result": "passed" },
        { "kind": "probe", "what": "command ./check", "result": "left_out", "why": "a command would ask the stack that runs" },
    ]);
    let ran = meanwhile(&fleet, &["backup", "drill", "--node", "n1", "--stack", "web"], || {
        let order = order(&fleet, &node);
        assert_eq!((&order["work"], &order["snapshot"]), (&json!("drill"), &json!(id('a'))), "{order}");
        finish(&node, &order, &json!({ "drill": report("passed", passed) }));
    });
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    for part in [
        "Drill",
        "2 files, 2.9 KiB in 1.5 s",
        "cut off from everything",
        "✓ files",
        "– command ./check: a command",
    ] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    assert!(ran.err.contains("✓ drill of n1: done: web: 2 files, 2.9 KiB restored in 1.5 s"), "{}", ran.err);
    assert!(fleet.run(&["backup", "show", "aaaaaaaa"]).contains("drilled"));
    fleet.eventually("it is counted", || {
        fleet.json(&["backup", "status"])["backups"]["drills_90_days"]["done"] == 1
    });
    let text = fleet.run(&["backup", "status"]);
    for part in ["every 30d of each stack; in 90 days 1 passed, 0 failed", "restores in", "web 1.5 s"] {
        assert!(text.contains(part), "{part}: {text}");
    }

    let failed = json!([
        { "kind": "database", "what": "app.db", "result": "failed", "why": "it is malformed", "paths": ["app.db/app.db"] },
    ]);
    let ran = meanwhile(&fleet, &["backup", "drill", "--snapshot", "aaaaaaaa", "--files-only"], || {
        let order = order(&fleet, &node);
        assert_eq!(order["files_only"], true, "{order}");
        let outcome =
            json!({ "drill": report("failed", failed), "failed": "app.db: it is malformed (BS9031)" });
        finish(&node, &order, &outcome);
    });
    assert!(
        ran.code == 1 && ran.err.contains("error[BS9031]: drill of n1: failed: app.db"),
        "{}{}",
        ran.out,
        ran.err
    );
    assert!(
        ran.out.contains("✗ app.db: it is malformed") && ran.out.contains("app.db/app.db"),
        "{}",
        ran.out
    );
    fleet.eventually("it needs a person", || {
        fleet.run(&["status"]).contains("A drill of web on n1 failed: app.db: it is malformed")
    });
    assert!(fleet.run(&["backup", "status", "n1"]).contains("FAILED: app.db"));

    let ran = meanwhile(&fleet, &["backup", "drill", "--node", "n1"], || {
        let why = "a deployment of the node came first (BS9034)";
        let outcome = json!({ "drill": report("put_off", json!([])), "failed": why });
        finish(&node, &order(&fleet, &node), &outcome);
    });
    assert!(ran.err.contains("put off: a deployment of the node came first"), "{}{}", ran.out, ran.err);
    assert!(ran.code != 0 && ran.err.contains("error[BS9034]"), "{} {}", ran.code, ran.err);
}

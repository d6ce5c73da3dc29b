//! Rollouts, environments, the emergency stop and safe mode, steered by scripts: what each command prints as JSON.

use serde_json::{Value, json};

use crate::{
    hub::Fleet,
    played::{Played, safe_mode},
};

/// A hub whose rollouts come to `n1` first and are watched there for an hour, and both nodes on the first commit.
fn in_waves() -> (Fleet, [Played; 2]) {
    let fleet = Fleet::start();
    fleet.place.write(
        "fleet/fleet.toml",
        "[rollout]\nwaves = [\"ring=early\", \"100%\"]\nsoak = \"1h\"\n[[rollout.stop]]\nwhen = \"failed_ratio > 0.5\"\n",
    );
    fleet.git(&["add", "."]);
    fleet.git(&["commit", "-q", "-m", "In waves"]);
    fleet.git(&["push", "-q", "origin", "main"]);
    let early = Played::join(&fleet, "n1", &json!({ "ring": "early" }));
    let late = Played::join(&fleet, "n2", &json!({ "ring": "late" }));
    let upstream = fleet.path("fleet.git").display().to_string();
    fleet.run(&["repos", "add", "fleet", &upstream, "--branch", "main"]);
    let first = fleet.git(&["rev-parse", "HEAD"]).trim().to_owned();
    // What is new to the fleet goes to both by and by: the second wave is opened by hand.
    early.comes_to(&fleet, &first);
    fleet.json(&["rollout", "promote", &running(&fleet, &first), "--reason", "nothing ran before"]);
    late.comes_to(&fleet, &first);
    (fleet, [early, late])
}

/// The rollout of a commit, once it is there.
fn running(fleet: &Fleet, commit: &str) -> String {
    let found = || {
        let all = fleet.json(&["rollouts", "--stack", "web"]);
        let one = all.as_array().unwrap().iter().find(|one| one["commit"] == commit)?;
        Some(one["id"].as_str().unwrap().to_owned())
    };
    fleet.eventually("its rollout is there", || found().is_some());
    found().unwrap()
}

#[test]
fn a_rollout_is_paused_resumed_let_past_limits_and_aborted() {
    let (fleet, [early, late]) = in_waves();
    let second = fleet.change("Welcome", "Hello", "session-a");
    let id = running(&fleet, &second);
    early.comes_to(&fleet, &second);
    let before = late.does(&fleet);
    assert_ne!(before, second);
    let steer = |what: &str, reason: &str| fleet.json(&["rollout", what, &id, "--reason", reason]);

    let paused = steer("pause", "lunch");
    assert_eq!((&paused["id"], &paused["state"]), (&json!(id), &json!("running")));
    assert_eq!((&paused["paused"]["reason"], &paused["wave"]), (&json!("lunch"), &json!(0)));
    let resumed = steer("resume", "back");
    assert_eq!((&resumed["id"], &resumed["paused"]), (&json!(id), &Value::Null));
    let past = steer("override", "it cannot wait");
    assert_eq!(past["overridden"]["reason"], "it cannot wait");

    let explained = fleet.json(&["rollout", "explain", &id, "--replay", "--inputs"]);
    assert_eq!((&explained["id"], &explained["waves"][0]["run"]), (&json!(id), &json!(1)));
    let decisions = explained["decisions"].as_array().unwrap();
    assert!(decisions.iter().all(|one| one["same"] != false), "{explained:#}");
    assert!(decisions.iter().any(|one| one["kind"] == "waits" && one["same"] == true), "{explained:#}");
    for (kind, reason) in [("paused", "lunch"), ("resumed", "back"), ("overridden", "it cannot wait")] {
        let said = |one: &Value| one["kind"] == kind && one["reason"] == reason;
        assert!(decisions.iter().any(said), "{kind}: {explained:#}");
    }
    let ledger: Vec<_> = explained["ledger"].as_array().unwrap().iter().map(|one| &one["kind"]).collect();
    assert_eq!(ledger.len(), 4, "begun, paused, resumed, overridden: {ledger:?}");

    let aborted = steer("abort", "somebody saw an error");
    assert_eq!((&aborted["id"], &aborted["state"]), (&json!(id), &json!("halted")));
    assert!(aborted["reason"].as_str().unwrap().contains("somebody saw an error"), "{aborted:#}");
    // It is banned: nobody else comes to it, and it cannot be steered any more.
    assert_eq!(late.does(&fleet), before);
    let again = fleet.try_run(&["rollout", "resume", &id, "--reason", "it is good after all"]);
    assert!(again.code != 0 && again.err.contains("error[BS"), "{}{}", again.out, again.err);
    let text = fleet.run(&["rollouts", &id]);
    assert!(text.contains("halted") && text.contains("somebody saw an error"), "{text}");
    let refused = fleet.try_run(&["rollout", "abort", "no-such-rollout", "--reason", "x"]);
    assert!(refused.code != 0 && refused.err.contains("error[BS"), "{}", refused.err);

    // Something newer is tried again.
    let third = fleet.change("Hello", "Good day", "session-b");
    early.comes_to(&fleet, &third);
    let opened = fleet.json(&["rollout", "promote", &running(&fleet, &third), "--reason", "it is good"]);
    assert_eq!((&opened["wave"], &opened["commit"]), (&json!(1), &json!(third)));
    late.comes_to(&fleet, &third);
}

#[test]
fn the_status_says_what_a_rollout_waits_for() {
    let (fleet, [early, _late]) = in_waves();
    // Two more of the first wave, on which there is no room: with them too few run it.
    let full = ["full-1", "full-2"].map(|name| Played::join(&fleet, name, &json!({ "ring": "early" })));
    let first = fleet.git(&["rev-parse", "HEAD"]).trim().to_owned();
    full.iter().for_each(|node| node.comes_to(&fleet, &first));
    let second = fleet.change("Welcome", "Hello", "session-a");
    let id = running(&fleet, &second);
    full.iter().for_each(|node| node.has_no_room(&fleet, &second));
    early.comes_to(&fleet, &second);
    let gate = "1 of 3 nodes run it, 0 failed; the next wave begins once 2 do. 2 failed by their own fault and will try \
                again: wait for them, or promote it by hand";
    let line = || {
        let text = fleet.run(&["status"]);
        text.lines().find(|line| line.contains(&id[id.len() - 8..])).unwrap_or(&text).to_owned()
    };
    fleet.eventually("the status says so", || line().contains(gate));
    assert!(line().contains("web forward to ") && line().contains("wave 1 of 2: "), "{}", line());
    let json = fleet.json(&["status"]);
    let watch = &json["rollouts"][0]["watch"];
    assert_eq!((&json["rollouts"][0]["id"], &json["rollouts"][0]["gate"]), (&json!(id), &json!(gate)));
    assert_eq!((&watch["needs_run"], &watch["run"]), (&json!(2), &json!(1)));
    let explained = fleet.run(&["rollout", "explain", &id]);
    assert!(
        explained.contains(gate) && explained.contains("50% of the nodes in the open ones run it"),
        "{explained}"
    );
    fleet.json(&["rollout", "abort", &id, "--reason", "enough"]);
    assert!(!fleet.run(&["status"]).contains("Rollouts under way"));
}

#[test]
fn an_emergency_stop_says_as_json_who_stopped_what_and_that_it_ended() {
    let fleet = Fleet::following();
    assert_eq!(fleet.json(&["emergency-stop"])["stopped"], false);
    let stopped = fleet.json(&["emergency-stop", "--reason", "smoke"]);
    assert_eq!((&stopped["stopped"], &stopped["reason"]), (&json!(true), &json!("smoke")));
    assert!(stopped["by"].is_string() && stopped["since"].is_string(), "{stopped}");
    assert_eq!(fleet.json(&["emergency-stop"]), stopped);
    assert_eq!(fleet.json(&["emergency-stop", "--lift", "it was toast"])["stopped"], false);
}

#[test]
fn a_node_is_let_out_of_safe_mode_and_a_release_into_an_environment() {
    let fleet = Fleet::start();
    fleet.place.write(
        "fleet/fleet.toml",
        "[[environment]]\nname = \"dev\"\nnodes = \"stage=dev\"\n\
         [[environment]]\nname = \"prod\"\nnodes = \"stage=prod\"\nafter = [\"dev\"]\npromotion = \"by hand\"\n",
    );
    fleet.git(&["add", "."]);
    fleet.git(&["commit", "-q", "-m", "Environments"]);
    fleet.git(&["push", "-q", "origin", "main"]);
    let dev = Played::join(&fleet, "n1", &json!({ "stage": "dev" }));
    let prod = Played::join(&fleet, "n2", &json!({ "stage": "prod" }));
    let upstream = fleet.path("fleet.git").display().to_string();
    fleet.run(&["repos", "add", "fleet", &upstream, "--branch", "main"]);
    let first = fleet.git(&["rev-parse", "HEAD"]).trim().to_owned();
    dev.comes_to(&fleet, &first);
    let promote = ["promote", "web", "--to", "prod", "--reason", "it is good"];
    fleet.eventually("it may enter", || fleet.try_run(&promote).code == 0);
    let view = fleet.json(&["environments", "--stack", "web"]);
    let of_prod = view.as_array().unwrap().iter().find(|one| one["name"] == "prod").unwrap();
    assert_eq!(of_prod["stacks"][0]["release"]["commit"], json!(first));
    prod.comes_to(&fleet, &first);
    let second = fleet.change("Welcome", "Hello", "session-a");
    dev.comes_to(&fleet, &second);
    let mut said = Value::Null;
    fleet.eventually("the next one may enter", || {
        let ran = fleet.try_run(&[&["--json"], &promote[..]].concat());
        said = serde_json::from_str(&ran.out).unwrap_or_default();
        ran.code == 0
    });
    assert_eq!((&said["name"], &said["stacks"][0]["stack"]), (&json!("prod"), &json!("web")), "{said:#}");
    let stack = &said["stacks"][0];
    assert_eq!((&stack["release"]["commit"], &stack["reason"]), (&json!(second), &json!("it is good")));
    assert!(stack["by"].is_string() && stack["since"].is_string(), "{said:#}");
    prod.comes_to(&fleet, &second);

    prod.says(&json!([]), &safe_mode());
    let left = fleet.json(&["nodes", "leave-safe-mode", "n2", "--reason", "looked at it"]);
    assert_eq!((&left["name"], &left["leaving_safe_mode"]), (&json!("n2"), &json!(true)), "{left:#}");
    assert_eq!(left["safety"]["safe_mode"]["stacks"][0]["stack"], "web");
}

#[test]
fn check_with_nodes_finds_what_reaches_none_of_the_hubs_nodes() {
    let fleet = Fleet::start();
    let assign = |selector: &str| {
        let text = format!("[[assign]]\nstack = \"web\"\nnodes = \"{selector}\"\n");
        fleet.place.write("fleet/fleet.toml", &text);
    };
    let _nodes = ["n1", "n2"].map(|name| Played::join(&fleet, name, &json!({ "role": "web" })));
    let check = |more: &[&str]| fleet.try_run(&[&["check", "fleet"], more].concat());
    assign("role=wbe");
    let alone = check(&[]);
    assert!(alone.code == 0 && !alone.out.contains("BS1203"), "nobody knows the nodes: {}", alone.out);
    let with = check(&["--with-nodes"]);
    assert_eq!(with.code, 0, "a warning: {}{}", with.out, with.err);
    let said = "warning[BS1203] fleet.toml:1 assign.nodes";
    assert!(
        with.out.contains(said) && with.out.contains("`role=wbe` matches none of 2 nodes"),
        "{}",
        with.out
    );
    assert_eq!(check(&["--with-nodes", "--strict"]).code, 1);
    let found = fleet.json(&["check", "fleet", "--with-nodes"]);
    let problem = &found["problems"][0];
    assert_eq!((&problem["code"], &problem["line"]), (&json!("BS1203"), &json!(1)), "{found:#}");
    assign("role=web");
    let good = check(&["--with-nodes"]);
    assert!(good.code == 0 && !good.out.contains("BS1203"), "{}", good.out);
    // A node that is revoked counts no more.
    for name in ["n1", "n2"] {
        fleet.run(&["nodes", "revoke", name, "--yes"]);
    }
    assert!(check(&["--with-nodes"]).out.contains("`role=web` matches none of 0 nodes"));
    // Without a hub it says so, instead of finding nothing.
    let args = ["--hub", "http://127.0.0.1:1", "check", "fleet", "--with-nodes"];
    let away = fleet.try_run(&args);
    assert!(away.code != 0 && away.err.contains("error[BS"), "{}{}", away.out, away.err);
}

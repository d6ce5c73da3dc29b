//! From an assistant's session to its undo, with what `backstay track install` puts in place.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
};

use backstay_api::{Empty, v1};
use backstay_e2e::{
    Cli, Fleet,
    stacks::{conf, set_line},
};
use backstay_testkit::{CommitSpec, http};
use serde_json::{Value, json};

const SESSION: &str = "5f0c4f3e-7b1d-4f0b-9f53-1c2a7d3e9b10";

fn post(hook: &Value, body: &Value) -> http::Response {
    let authorization = hook["headers"]["Authorization"].as_str().unwrap();
    let headers = [("authorization", authorization), ("content-type", "application/json")];
    http::send("POST", hook["url"].as_str().unwrap(), &headers, body.to_string().as_bytes()).unwrap()
}

/// Runs a hook's command as the assistant does, with the payload on standard input.
fn run_hook(cli: &Cli, command: &str, payload: &Value) {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]).envs(cli.envs().iter().map(|(key, value)| (key, value)));
    let mut child = shell.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(payload.to_string().as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_session_is_followed_from_its_start_to_its_undo() {
    let Some(fleet) = Fleet::of_processes(2) else { return };
    let (home, repo) = (fleet.dir().join("claude"), fleet.tree.dir().display().to_string());
    fs::create_dir(&home).unwrap();
    let settings = home.join("settings.json");
    fs::write(&settings, "{\n  // Mine.\n  \"model\": \"opus\"\n}\n").unwrap();
    let before = fs::read_to_string(&settings).unwrap();
    let cli = fleet.cli.env("CLAUDE_CONFIG_DIR", &home.display().to_string());
    let place = ["--repo", &repo, "--only", "git", "--only", "claude-code"];
    cli.run(&[&["track", "install"], &place[..]].concat());
    let text: String = fs::read_to_string(&settings).unwrap().replace("// Mine.", "");
    let hooks = &serde_json::from_str::<Value>(&text).unwrap()["hooks"];

    // The session begins, works, commits.
    let started = hooks["SessionStart"][0]["hooks"][0]["command"].as_str().unwrap();
    let common = json!({ "session_id": SESSION, "transcript_path": "/t.jsonl", "cwd": repo });
    let with = |more: Value| {
        let mut all = common.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    run_hook(&cli, started, &with(json!({ "hook_event_name": "SessionStart", "source": "startup" })));
    let hook = &hooks["PostToolUse"][0]["hooks"][0];
    let used = with(json!({
        "hook_event_name": "PostToolUse", "tool_name": "Bash", "tool_use_id": "toolu_1",
        "tool_input": { "command": "sed -i 2s/.*/A2/ app.conf" }, "tool_response": { "stdout": "" },
    }));
    let first = post(hook, &used);
    assert_eq!(first.status, 200, "{}", first.body);
    let replay = post(hook, &used);
    assert_eq!(
        (replay.json()["replay"].clone(), replay.json()["delivery"].clone()),
        (json!(true), first.json()["delivery"].clone())
    );

    let session = cli.env("CLAUDE_CODE_SESSION_ID", SESSION);
    let tree = fleet.tree.with_env(session.envs().iter().cloned());
    set_line(&tree, 2, "A2");
    let commit = tree.commit(&CommitSpec::new("Set line 2"));
    tree.push();
    fleet.deployed(&commit);
    let other = fleet.api.conversation("other");
    fleet.change(other, 8, "B8");
    fleet.all_serve(&conf(&[(2, "A2"), (8, "B8")]));

    // One id for all of it.
    let id = format!("claude-code/session_id/{SESSION}");
    let path = v1::ConversationPath { conversation: id.clone() };
    let found = fleet.api.call::<v1::GetConversation>(&path, &Empty {}, &Empty {});
    assert_eq!(found.commits.len(), 1, "{found:#?}");
    assert_eq!(found.commits[0].commit.to_string(), commit);
    assert_eq!(
        found.events.len(),
        2,
        "the start and the tool call, the replay not again: {:#?}",
        found.events
    );
    assert_eq!(found.deployed.len(), 2);
    assert!(
        fleet
            .bare
            .message(&commit)
            .contains(&format!("Backstay-Conversation: {}", found.view.conversation.id))
    );
    let why = fleet.cli.json(&["why", "alpha/web/www/app.conf:2"]);
    assert!(why.to_string().contains(&found.view.conversation.id.to_string()), "{why:#}");

    let undo = fleet.rollback(&["--conversation", &id]);
    assert_eq!(undo["state"]["state"], "verified", "{undo:#}");
    fleet.all_serve(&conf(&[(8, "B8")]));

    // Exactly what was put in place is taken out.
    cli.run(&[&["track", "uninstall"], &place[..]].concat());
    assert_eq!(fs::read_to_string(&settings).unwrap(), before);
    assert!(!fleet.tree.dir().join(".git/hooks/prepare-commit-msg").exists());
    assert!(post(hook, &used).status >= 400, "its secret is revoked");
}

#[test]
fn a_changed_byte_a_wrong_secret_and_nonsense_are_told_apart() {
    let Some(fleet) = Fleet::of_processes(1) else { return };
    let body = v1::CreateTokenRequest {
        name: "tests".to_owned(),
        kind: v1::TokenKind::Webhook { source: "claude-code".to_owned() },
        expires_in_seconds: None,
    };
    let secret = fleet.api.call::<v1::CreateToken>(&Empty {}, &Empty {}, &body).secret;
    let url = format!("{}/hooks/claude-code", fleet.hub.url());
    let send = |secret: &str, body: &str| {
        let authorization = format!("Bearer {secret}");
        http::send("POST", &url, &[("authorization", &authorization)], body.as_bytes()).unwrap()
    };
    assert_eq!(send("whsec_d3Jvbmc=", "{}").status, 401);
    // What cannot be understood is kept and shown.
    let receipt = send(secret.expose(), "{ this is not JSON");
    assert_eq!(receipt.status, 200, "{}", receipt.body);
    let query = v1::DeliveriesQuery { unrecognised: Some(true), ..v1::DeliveriesQuery::default() };
    let kept = fleet.api.call::<v1::ListDeliveries>(&Empty {}, &query, &Empty {}).items;
    assert_eq!(kept.len(), 1, "{kept:#?}");
    assert!(kept[0].unrecognised.is_some());
    fleet.all_serve(&conf(&[]));
}

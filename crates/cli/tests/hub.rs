//! Commands against a real hub: `backstay hub` in a folder of its own, real Git, no nodes.

use std::{
    fs,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{Place, Ran, program};

/// A place with a hub that runs.
pub(crate) struct Fleet {
    pub(crate) place: Place,
    hub: Child,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = self.hub.kill();
        let _ = self.hub.wait();
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(self.place.path("hub.log")).unwrap_or_default());
        }
    }
}

const PAGE: &str = "# One\ngreeting = Welcome\n\n# Two\n\ncolour = grey\n\n# Three\n\nclosing = Bye\n";
const COMPOSE: &str = "services:\n  web:\n    image: web:1.2\n    healthcheck:\n      test: [\"CMD\", \"true\"]\n    volumes: [\"pages:/pages\"]\nvolumes: {pages: {}}\n";

impl Fleet {
    /// A hub, and a repository that it follows: `fleet` is the work tree, `fleet.git` the upstream.
    pub(crate) fn start() -> Self {
        Self::start_in(Place::new(), &[])
    }

    /// As [`Fleet::start`], in a place that has been made ready, with more options.
    pub(crate) fn start_in(place: Place, options: &[&str]) -> Self {
        let log = fs::File::create(place.path("hub.log")).unwrap();
        let hub = place
            .command(program())
            .args(["hub", "--listen", "127.0.0.1:0"])
            .args(options)
            .env("BACKSTAY_SOURCE_POLL_EVERY", "300ms")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let fleet = Self { place, hub };
        fleet.eventually("the hub serves", || fleet.try_run(&["status"]).code == 0);
        fleet.place.repository("fleet");
        fleet.place.write("fleet/stacks/web/compose.yaml", COMPOSE);
        fleet.place.write("fleet/stacks/web/page.conf", PAGE);
        fleet.place.git(".", &["init", "-q", "--bare", "-b", "main", "fleet.git"]);
        fleet.git(&["remote", "add", "origin", "../fleet.git"]);
        fleet.git(&["add", "."]);
        fleet.git(&["commit", "-q", "-m", "A page"]);
        fleet.git(&["push", "-q", "origin", "main"]);
        fleet
    }

    /// As [`Fleet::start`], with the repository added.
    pub(crate) fn following() -> Self {
        let fleet = Self::start();
        let upstream = fleet.place.path("fleet.git").display().to_string();
        fleet.run(&["repos", "add", "fleet", &upstream, "--branch", "main"]);
        fleet.eventually("the stack is found", || fleet.json(&["stacks"])[0]["stack"] == "web");
        fleet
    }

    /// A path in its folder.
    pub(crate) fn path(&self, below: &str) -> std::path::PathBuf {
        self.place.path(below)
    }

    /// Where the hub is reached.
    pub(crate) fn url(&self) -> String {
        fs::read_to_string(self.place.path("hub/hub.url")).unwrap().trim().to_owned()
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        self.place.git("fleet", args)
    }

    pub(crate) fn try_run(&self, args: &[&str]) -> Ran {
        self.place.backstay(args)
    }

    pub(crate) fn run(&self, args: &[&str]) -> String {
        let ran = self.try_run(args);
        assert_eq!(ran.code, 0, "{args:?}: {}{}", ran.out, ran.err);
        ran.out
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let text = self.run(&[&["--json"], args].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
    }

    pub(crate) fn eventually(&self, what: &str, mut look: impl FnMut() -> bool) {
        let started = Instant::now();
        while !look() {
            assert!(started.elapsed() < Duration::from_secs(60), "still waiting: {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Changes a line in a session of Claude Code, pushes, and waits until the hub has seen it.
    pub(crate) fn change(&self, from: &str, to: &str, session: &str) -> String {
        let path = self.place.path("fleet/stacks/web/page.conf");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replace(from, to)).unwrap();
        let env = [("CLAUDE_CODE_SESSION_ID", session)];
        let hub_dir = self.place.path("hub").display().to_string();
        let env = [env[0], ("BACKSTAY_HUB_DATA_DIR", &hub_dir)];
        self.place.git_with("fleet", &["commit", "-q", "-a", "-m", to], &env);
        self.git(&["push", "-q", "origin", "main"]);
        let sha = self.git(&["rev-parse", "HEAD"]).trim().to_owned();
        self.run(&["repos", "sync", "fleet"]);
        self.eventually("the commit is seen", || self.json(&["repos", "list"])[0]["tip"] == sha.as_str());
        sha
    }

    fn upstream(&self, args: &[&str]) -> String {
        self.place.git("fleet.git", args)
    }
}

fn track(fleet: &Fleet) {
    fleet.run(&["track", "install", "--repo", "fleet", "--only", "git"]);
}

#[test]
fn the_admin_of_this_machine_needs_no_options() {
    let fleet = Fleet::start();
    let overview = fleet.json(&["status"]);
    assert_eq!(overview["hub"]["database"], "sqlite");
    let text = fleet.run(&["status"]);
    assert!(text.contains("All well") && text.contains("No nodes yet"), "{text}");
    let wrong = fleet.place.write("wrong", "bst.x.y");
    let ran = fleet.try_run(&["--token-file", wrong.to_str().unwrap(), "status"]);
    assert!(
        ran.code == 5 && ran.err.starts_with("error[BS4002]") && ran.err.contains("hint:"),
        "{}",
        ran.err
    );
    // The token that this machine's hub left is for that hub alone.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let other = format!("http://{}", listener.local_addr().unwrap());
    let asker = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = vec![0; 4096];
        let count = std::io::Read::read(&mut stream, &mut request).unwrap();
        String::from_utf8_lossy(&request[..count]).to_lowercase()
    });
    assert_eq!(fleet.try_run(&["--hub", &other, "status"]).code, 6);
    let request = asker.join().unwrap();
    assert!(request.contains("host: ") && !request.contains("authorization"), "{request}");
    assert_eq!(fleet.run(&["nodes", "token"]).lines().next().unwrap().split('.').next(), Some("bsj"));
    let ran = fleet.try_run(&["nodes", "show", "nobody"]);
    assert!(ran.code == 4 && ran.err.starts_with("error[BS4004]"), "{}", ran.err);
}

#[test]
fn tokens_are_made_listed_and_revoked() {
    let fleet = Fleet::start();
    let made = fleet.json(&["tokens", "create", "my laptop", "--role", "viewer", "--expires", "30 days"]);
    let file = fleet.place.write("token", made["secret"].as_str().unwrap());
    let file = file.to_str().unwrap();
    assert_eq!(fleet.try_run(&["--token-file", file, "stacks"]).code, 0);
    let ran = fleet.try_run(&["--token-file", file, "nodes", "token"]);
    assert!(ran.code == 5 && ran.err.starts_with("error[BS4003]"), "{}", ran.err);
    assert!(fleet.run(&["tokens", "list"]).contains("api, as viewer"));
    let id = made["id"].as_str().unwrap();
    // There is nobody to ask.
    let ran = fleet.try_run(&["tokens", "revoke", &id[id.len() - 8..]]);
    assert!(ran.code == 2 && ran.err.starts_with("error[BS8010]"), "{}", ran.err);
    fleet.run(&["tokens", "revoke", &id[id.len() - 8..], "--yes"]);
    assert_eq!(fleet.try_run(&["--token-file", file, "stacks"]).code, 5);
}

#[test]
fn init_adds_a_repository_once() {
    let fleet = Fleet::start();
    let text = fleet.run(&["init", "fleet", "--write-fleet"]);
    assert!(text.contains("The hub follows fleet, branch main") && text.contains("rollback"), "{text}");
    assert!(fleet.place.read("fleet/fleet.toml").contains("stack = \"web\""));
    fleet.run(&["init", "fleet"]);
    assert_eq!(fleet.json(&["repos", "list"]).as_array().unwrap().len(), 1);
    fleet.eventually("the stack is found", || fleet.json(&["stacks"])[0]["stack"] == "web");
    let ran = fleet.try_run(&["init", "home"]);
    assert!(ran.code == 1 && ran.err.contains("git init"), "{}", ran.err);
}

#[test]
fn a_commit_is_linked_and_can_be_taken_back_while_later_work_stays() {
    let fleet = Fleet::following();
    track(&fleet);
    let first = fleet.change("Welcome", "Hello", "session-a");
    fleet.change("grey", "teal", "session-b");
    fleet.change("Bye", "See you", "session-a");
    let message = fleet.git(&["log", "-1", "--format=%B"]);
    assert!(message.contains("Backstay-Conversation: "), "{message}");
    let all = fleet.json(&["conversations", "list"]);
    assert_eq!(all.as_array().unwrap().len(), 2);
    let shown = fleet.json(&["conversations", "show", "claude-code/session_id/session-a"]);
    assert_eq!(shown["commits"].as_array().unwrap().len(), 2, "{shown}");
    let id = shown["id"].as_str().unwrap();
    let related = fleet.json(&["related", "--commit", &first[..10]]);
    let kinds: Vec<_> =
        related["items"].as_array().unwrap().iter().map(|item| item["kind"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"conversation") && kinds.contains(&"commit"), "{kinds:?}");

    let plan = fleet.json(&["rollback", "--conversation", &id[id.len() - 8..], "--dry-run"]);
    assert_eq!(plan["repositories"][0]["commits"].as_array().unwrap().len(), 2, "{plan}");
    let before = fleet.upstream(&["rev-parse", "main"]);
    let ran = fleet.try_run(&["rollback", "--conversation", id]);
    assert!(ran.code == 2 && ran.err.contains("error[BS8010]"), "{}", ran.err);
    assert_eq!(fleet.upstream(&["rev-parse", "main"]), before, "nobody said yes");

    fleet.run(&["rollback", "--conversation", id, "--yes", "--reason", "too familiar", "--wait", "30s"]);
    fleet.eventually("upstream has it", || {
        fleet.upstream(&["show", "main:stacks/web/page.conf"]) == PAGE.replace("grey", "teal")
    });
    let undos = fleet.json(&["undos"]);
    assert_eq!(
        (&undos[0]["reason"], &undos[0]["state"]["state"]),
        (&"too familiar".into(), &"verified".into())
    );
    assert!(fleet.run(&["undos", undos[0]["id"].as_str().unwrap()]).contains("too familiar"));
    assert!(fleet.run(&["timeline", "--undo", undos[0]["id"].as_str().unwrap()]).contains("too familiar"));
    let undone = |session: &str| {
        fleet.json(&["conversations", "show", &format!("claude-code/session_id/{session}")])["undone"] == true
    };
    assert!(undone("session-a") && !undone("session-b"));
    // And back again.
    fleet.run(&["rollback", "--undo", undos[0]["id"].as_str().unwrap(), "--yes", "--wait", "30s"]);
    assert!(!undone("session-a"));
    let all = PAGE.replace("grey", "teal").replace("Welcome", "Hello").replace("Bye", "See you");
    fleet.eventually("all is back", || fleet.upstream(&["show", "main:stacks/web/page.conf"]) == all);
    // By a commit, not by conversation: both are taken back all the same.
    let start = fleet.upstream(&["rev-parse", &format!("{first}~1")]);
    fleet.run(&["rollback", "--to", start.trim(), "--yes", "--wait", "30s"]);
    assert!(undone("session-a") && undone("session-b"));
}

#[test]
fn conflicts_are_shown_written_edited_and_gone_on_with() {
    let fleet = Fleet::following();
    track(&fleet);
    fleet.change("Welcome", "Hello", "session-a");
    fleet.change("greeting = Hello", "greeting = Hello, all", "session-b");
    let id = fleet.json(&["conversations", "show", "claude-code/session_id/session-a"])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let before = fleet.upstream(&["rev-parse", "main"]);
    let ran = fleet.try_run(&["rollback", "--conversation", &id, "--dry-run"]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    assert!(ran.out.contains("conflict fleet:stacks/web/page.conf"), "{}", ran.out);
    let ran = fleet.try_run(&["rollback", "--conversation", &id, "--yes", "--resolve", "conflicts"]);
    assert!(ran.code == 3 && ran.err.starts_with("error[BS8014]"), "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("--continue"), "{}", ran.err);
    assert_eq!(fleet.upstream(&["rev-parse", "main"]), before, "nothing is pushed with open conflicts");
    let undo = fleet.json(&["undos"])[0]["id"].as_str().unwrap().to_owned();
    let file = "conflicts/fleet/stacks/web/page.conf";
    assert!(fleet.place.read(file).contains("<<<<<<<"));
    let go_on = ["rollback", "--continue", &undo, "--resolve", "conflicts", "--wait", "30s"];
    let ran = fleet.try_run(&go_on);
    assert!(ran.code == 3 && ran.err.contains("still has conflict markers"), "{}", ran.err);
    let wanted = PAGE.replace("Welcome", "Good day, all");
    fleet.place.write(file, &wanted);
    fleet.run(&go_on);
    fleet.eventually("upstream has it", || fleet.upstream(&["show", "main:stacks/web/page.conf"]) == wanted);
    let ran = fleet.try_run(&go_on);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("no open conflicts"), "{}", ran.out);
}

#[test]
fn selections_that_name_nothing_are_refused() {
    let fleet = Fleet::following();
    for args in [
        &["rollback", "--conversation", "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b", "--yes"][..],
        &["rollback", "--to", "deadbeef", "--yes"],
        &["rollback", "--deployment", "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b", "--yes"],
        &["rollback", "--undo", "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b", "--yes"],
        &["rollback", "--last", "--nodes", "role in (", "--yes"],
    ] {
        let ran = fleet.try_run(args);
        assert_ne!(ran.code, 0, "{args:?}: {}", ran.out);
        assert!(ran.err.starts_with("error[BS"), "{args:?}: {}", ran.err);
    }
    assert_eq!(fleet.json(&["undos"]).as_array().unwrap().len(), 0);
}

#[test]
fn a_change_is_held_and_let_go() {
    let fleet = Fleet::following();
    let sha = fleet.change("Welcome", "Hello", "session-a");
    let held = fleet.json(&[
        "hold",
        "add",
        "--commit",
        &sha[..12],
        "--reason",
        "not on a Friday",
        "--until",
        "in 2h",
    ]);
    assert_eq!((&held[0]["effect"], &held[0]["commit"]), (&"hold".into(), &sha.as_str().into()));
    let text = fleet.run(&["hold", "list"]);
    assert!(text.contains("not on a Friday") && text.contains("(in "), "{text}");
    fleet.run(&["hold", "lift", held[0]["id"].as_str().unwrap(), "--reason", "it is Monday"]);
    assert!(fleet.run(&["hold", "list"]).contains("Nothing is"));
    assert!(fleet.run(&["hold", "list", "--all"]).contains("lifted"));
}

#[test]
fn the_ledger_is_exported_verified_and_a_change_in_it_is_seen() {
    let fleet = Fleet::following();
    let report = fleet.json(&["audit", "verify"]);
    assert_eq!(report["verified"], true);
    fleet.run(&["audit", "export", "--output", "ledger.jsonl"]);
    let text = fleet.place.read("ledger.jsonl");
    let head = format!("{}:{}", report["head"]["seq"], report["head"]["hash"].as_str().unwrap());
    fleet.run(&["audit", "verify", "--file", "ledger.jsonl", "--contains", &head]);
    let tampered = text.replacen("repository_added", "repository_addde", 1);
    assert_ne!(tampered, text);
    fleet.place.write("tampered.jsonl", &tampered);
    let ran = fleet.try_run(&["audit", "verify", "--file", "tampered.jsonl"]);
    assert!(ran.code == 1 && ran.err.starts_with("error[BS8006]"), "{}", ran.err);
}

#[test]
fn the_timeline_follows_live() {
    let fleet = Fleet::following();
    let out = fs::File::create(fleet.place.path("followed")).unwrap();
    let mut follower = fleet
        .place
        .command(program())
        .args(["timeline", "--follow", "--kind", "change_seen"])
        .stdout(out)
        .spawn()
        .unwrap();
    fleet.eventually("what was there is shown", || fleet.place.read("followed").contains("A page"));
    fleet.change("Welcome", "Hello", "session-a");
    fleet.eventually("what happens is shown", || fleet.place.read("followed").contains("Hello"));
    follower.kill().unwrap();
    follower.wait().unwrap();
    let since = fleet.run(&["timeline", "--since", "2m ago", "--kind", "repository_added"]);
    assert!(since.contains("repository fleet was added"), "{since}");
    assert!(fleet.run(&["timeline", "--until", "yesterday"]).contains("Nothing has happened"));
}

#[test]
fn tracking_makes_and_revokes_secrets_of_the_hub() {
    let fleet = Fleet::start();
    fs::create_dir_all(fleet.place.path("home/.claude")).unwrap();
    fleet.place.write("home/.openclaw/openclaw.json", "{}\n");
    let status = fleet.json(&["track", "install", "--repo", "fleet"]);
    let states: Vec<_> =
        status.as_array().unwrap().iter().map(|one| one["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["installed"; 3]);
    assert!(fleet.place.path("home/.openclaw/extensions/backstay/src/entry.js").is_file());
    let kinds = || {
        fleet
            .json(&["tokens", "list"])
            .as_array()
            .unwrap()
            .iter()
            .filter(|t| t["kind"]["kind"] == "webhook" && t["revoked_at"].is_null())
            .count()
    };
    assert_eq!(kinds(), 2);
    fleet.run(&["track", "install", "--repo", "fleet"]);
    assert_eq!(kinds(), 2, "a second time nothing new is made");
    let event =
        r#"{"session_id":"s-1","cwd":"/nowhere","hook_event_name":"SessionStart","source":"startup"}"#;
    let env_file = fleet.place.path("env");
    let mut command = fleet.place.command(program());
    command.args(["track", "session-start"]).env("CLAUDE_ENV_FILE", &env_file).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), event.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    let id = fleet.json(&["conversations", "show", "claude-code/session_id/s-1"])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let text = fs::read_to_string(env_file).unwrap();
    assert!(text.contains(&format!("export BACKSTAY_CONVERSATION={id}\n")), "{text}");
    let shown = fleet.json(&["conversations", "show", &id]);
    assert_eq!(shown["events"][0]["kind"], "session_started", "the event was posted: {shown}");
    fleet.run(&["track", "uninstall", "--repo", "fleet"]);
    assert_eq!(kinds(), 0);
    assert!(!fleet.place.path("home/.claude/settings.json").exists());
    assert_eq!(fleet.place.read("home/.openclaw/openclaw.json"), "{}\n");
}

#[test]
fn users_are_made_and_the_page_is_opened_from_the_command_line() {
    let fleet = Fleet::start();
    assert_eq!(fleet.run(&["users", "list"]), "No users.\n");
    let opened = fleet.run(&["open"]);
    let address = fs::read_to_string(fleet.place.path("hub/hub.url")).unwrap();
    assert!(opened.starts_with(&format!("{}/#/link/bsl.", address.trim())), "{opened}");
    assert_eq!(fleet.json(&["open"])["kind"], "open");
    let made = fleet.run(&["users", "add", "ada", "--role", "operator"]);
    assert!(made.contains("/#/link/bsl.") && made.contains("ada sets a password"), "{made}");
    assert_eq!(fleet.try_run(&["users", "add", "ada"]).code, 3);
    assert_eq!(fleet.try_run(&["users", "add", "A da"]).code, 2);
    assert!(fleet.run(&["users", "link", "ada"]).contains("/#/link/bsl."));
    assert_eq!(fleet.run(&["users", "role", "ada", "viewer"]), "ada is viewer now.\n");
    assert_eq!(fleet.try_run(&["users", "disable", "ada"]).code, 2, "nobody is there to say yes");
    assert!(fleet.run(&["users", "disable", "ada", "--yes"]).starts_with("ada is disabled."));
    assert_eq!(fleet.try_run(&["users", "link", "ada"]).code, 3);
    let listed = fleet.run(&["users", "list"]);
    assert!(listed.contains("ada") && listed.contains("never") && listed.contains("disabled"), "{listed}");
    assert_eq!(fleet.run(&["users", "enable", "ada"]), "ada may sign in again.\n");
    assert_eq!(fleet.try_run(&["users", "enable", "bob"]).code, 4);
    fleet.eventually("the ledger says so", || {
        let told = fleet.run(&["timeline"]);
        told.contains("user ada: made, as operator, by local admin")
            && told.contains("user ada: disabled by local admin")
    });
}

//! `backstay track`: hooks in real repositories, settings of tools.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::Value;

use crate::support::{Place, Ran, program};

const ID: &str = "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b";
const OTHER: &str = "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5c";
const CLAUDE: (&str, &str) = ("CLAUDE_CODE_SESSION_ID", "c0ffee");

fn installed() -> Place {
    let place = Place::new();
    place.repository("fleet");
    install(&place);
    place
}

fn install(place: &Place) -> Ran {
    let ran = place.backstay(&["track", "install", "--repo", "fleet", "--only", "git"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    ran
}

fn commit(place: &Place, args: &[&str], env: &[(&str, &str)]) -> String {
    place.git_with("fleet", &[&["commit", "-q", "--allow-empty"], args].concat(), env);
    message(place)
}

fn message(place: &Place) -> String {
    place.git("fleet", &["log", "-1", "--format=%B"]).trim_end().to_owned()
}

#[test]
fn a_commit_names_its_conversation() {
    let place = installed();
    let text = commit(&place, &["-m", "Subject\n\nBody."], &[("BACKSTAY_CONVERSATION", ID)]);
    assert_eq!(text, format!("Subject\n\nBody.\n\nBackstay-Conversation: {ID}"));
    assert_eq!(commit(&place, &["-m", "Alone"], &[]), "Alone");
    // No hub is there to ask.
    assert_eq!(
        commit(&place, &["-m", "Offline"], &[CLAUDE]),
        "Offline\n\nBackstay-Session: claude-code/session_id/c0ffee"
    );
    let openclaw =
        [("BACKSTAY_SESSION_TOOL", "openclaw"), ("BACKSTAY_SESSION_KEY", "agent:main:main"), CLAUDE];
    let text = commit(&place, &["--no-verify", "-m", "Key"], &openclaw);
    assert_eq!(text, "Key\n\nBackstay-Session: openclaw/session_key/agent:main:main");
}

#[test]
fn an_amended_commit_has_each_conversation_once() {
    let place = installed();
    let mine = [("BACKSTAY_CONVERSATION", ID)];
    commit(&place, &["-m", "Subject"], &mine);
    let once = format!("Subject\n\nBackstay-Conversation: {ID}");
    assert_eq!(commit(&place, &["--amend", "--no-edit"], &mine), once);
    assert_eq!(commit(&place, &["--amend", "--no-edit"], &[]), once);
    // The hub is away: this may well be the conversation that is named already.
    assert_eq!(commit(&place, &["--amend", "--no-edit"], &[CLAUDE]), once);
    let both = commit(&place, &["--amend", "--no-edit"], &[("BACKSTAY_CONVERSATION", OTHER)]);
    assert_eq!(both, format!("{once}\nBackstay-Conversation: {OTHER}"));
}

#[test]
fn merges_and_squashes_are_named_too() {
    let place = installed();
    let mine = [("BACKSTAY_CONVERSATION", ID)];
    let other = [("BACKSTAY_CONVERSATION", OTHER)];
    commit(&place, &["-m", "First"], &[]);
    place.git("fleet", &["switch", "-q", "-c", "side"]);
    place.write("fleet/a", "a\n");
    place.git("fleet", &["add", "."]);
    commit(&place, &["-m", "Side"], &other);
    place.git("fleet", &["switch", "-q", "main"]);
    commit(&place, &["-m", "Main"], &[]);
    place.git_with("fleet", &["merge", "-q", "--no-ff", "--no-edit", "side"], &mine);
    assert_eq!(message(&place), format!("Merge branch 'side'\n\nBackstay-Conversation: {ID}"));
    place.git("fleet", &["reset", "-q", "--hard", "HEAD^"]);
    place.git("fleet", &["merge", "-q", "--squash", "side"]);
    let text = commit(&place, &["--no-edit"], &mine);
    assert!(text.starts_with("Squashed commit of the following:"), "{text}");
    // The squashed commit's own, indented as Git does it, and ours as the trailer.
    assert!(text.contains(&format!("    Backstay-Conversation: {OTHER}\n")), "{text}");
    assert!(text.ends_with(&format!("\n\nBackstay-Conversation: {ID}")), "{text}");
}

#[test]
fn a_message_from_an_editor_is_named_and_an_empty_one_still_calls_the_commit_off() {
    let place = installed();
    let editor = place.write("editor", "#!/bin/sh\nprintf 'Typed\\n\\n# comment\\n' > \"$1\"\n");
    fs::set_permissions(&editor, fs::Permissions::from_mode(0o755)).unwrap();
    let mine = ("BACKSTAY_CONVERSATION", ID);
    let env = [mine, ("GIT_EDITOR", editor.to_str().unwrap())];
    assert_eq!(commit(&place, &["-v"], &env), format!("Typed\n\nBackstay-Conversation: {ID}"));
    let before = place.git("fleet", &["rev-parse", "HEAD"]);
    let ran = place.try_git("fleet", &["commit", "--allow-empty"], &[mine, ("GIT_EDITOR", "true")]);
    assert!(ran.code != 0 && ran.err.contains("empty commit message"), "{}", ran.err);
    assert_eq!(place.git("fleet", &["rev-parse", "HEAD"]), before);
}

#[test]
fn an_earlier_hook_keeps_its_say_and_comes_back() {
    let place = Place::new();
    place.repository("fleet");
    let theirs = "#!/bin/sh\ngrep -q forbidden \"$1\" && exit 1\necho 'Theirs: yes' >> \"$1\"\n";
    let hook = place.write("fleet/.git/hooks/prepare-commit-msg", theirs);
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    install(&place);
    install(&place);
    let mine = [("BACKSTAY_CONVERSATION", ID)];
    let text = commit(&place, &["-m", "Subject\n\nBody"], &mine);
    assert!(
        text.contains("Theirs: yes") && text.ends_with(&format!("Backstay-Conversation: {ID}")),
        "{text}"
    );
    let ran = place.try_git("fleet", &["commit", "--allow-empty", "-m", "forbidden"], &mine);
    assert_ne!(ran.code, 0);
    let ran = place.backstay(&["track", "uninstall", "--repo", "fleet", "--only", "git"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(place.read("fleet/.git/hooks/prepare-commit-msg"), theirs);
    let hooks = fs::read_dir(place.path("fleet/.git/hooks")).unwrap();
    let left: Vec<_> = hooks.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(left.iter().all(|name| name.ends_with(".sample") || name == "prepare-commit-msg"), "{left:?}");
}

#[test]
fn a_hook_that_replaced_ours_is_not_overwritten() {
    let place = Place::new();
    place.repository("fleet");
    place.write("fleet/.git/hooks/commit-msg", "#!/bin/sh\n# first\n");
    install(&place);
    place.write("fleet/.git/hooks/commit-msg", "#!/bin/sh\n# second\n");
    let ran = place.backstay(&["track", "install", "--repo", "fleet", "--only", "git"]);
    assert!(ran.code == 1 && ran.err.contains("error[BS8011]"), "{}", ran.err);
    assert!(place.read("fleet/.git/hooks/commit-msg").contains("second"));
    assert!(place.read("fleet/.git/hooks/commit-msg.before-backstay").contains("first"));
}

#[test]
fn a_commit_never_fails_because_of_tracking() {
    let place = installed();
    commit(&place, &["-m", "First"], &[]);
    // A hub that accepts and never answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let started = std::time::Instant::now();
    let text = commit(&place, &["-m", "Slow"], &[CLAUDE, ("BACKSTAY_HUB", &url)]);
    assert!(text.ends_with("Backstay-Session: claude-code/session_id/c0ffee"), "{text}");
    assert!(started.elapsed() < std::time::Duration::from_secs(3), "{:?}", started.elapsed());
    for hub in ["nonsense", "ftp://x"] {
        commit(&place, &["-m", "Odd"], &[CLAUDE, ("BACKSTAY_HUB", hub)]);
    }
    // The program is gone: the hooks stay quiet.
    for name in ["prepare-commit-msg", "commit-msg"] {
        let path = format!("fleet/.git/hooks/{name}");
        let moved = place.read(&path).replace(program().to_str().unwrap(), "/nowhere/backstay");
        fs::write(place.path(&path), moved).unwrap();
    }
    let ran = place.try_git("fleet", &["commit", "--allow-empty", "-m", "Gone"], &[CLAUDE]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

#[test]
fn settings_of_claude_code_go_in_and_come_out() {
    let place = Place::new();
    let before = "{\n  // mine\n  \"model\": \"opus\"\n}\n";
    let settings = place.write("home/.claude/settings.json", before);
    let secret = place.write("secret", "whsec_abc\n");
    let args = ["track", "install", "--only", "claude-code", "--secret-file", secret.to_str().unwrap()];
    for _ in 0..2 {
        let ran = place.backstay(&args);
        assert_eq!(ran.code, 0, "{}", ran.err);
    }
    let text = fs::read_to_string(&settings).unwrap();
    assert_eq!(text.matches("http://127.0.0.1:8484/hooks/claude-code").count(), 4, "{text}");
    assert_eq!(fs::metadata(&settings).unwrap().permissions().mode() & 0o007, 0);
    let status = place.backstay(&["--json", "track", "status", "--only", "claude-code"]);
    let status: Value = serde_json::from_str(&status.out).unwrap();
    assert_eq!(status[0]["state"], "installed");
    let ran = place.backstay(&["track", "uninstall", "--only", "claude-code"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("could not be revoked"), "{}", ran.err);
    assert_eq!(fs::read_to_string(&settings).unwrap(), before);
}

#[test]
fn outside_a_repository_it_says_so() {
    let place = Place::new();
    let ran = place.backstay(&["track", "install", "--repo", "home", "--only", "git"]);
    assert!(ran.code == 1 && ran.err.contains("error[BS8005]"), "{}", ran.err);
}

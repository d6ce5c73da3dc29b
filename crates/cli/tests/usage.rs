//! The command line itself: help, completion, and what happens when it is wrong.

use std::net::TcpListener;

use crate::support::Place;

#[test]
fn every_command_has_help_that_fits_a_terminal() {
    let place = Place::new();
    let all = place.backstay(&["--help"]);
    assert_eq!(all.code, 0);
    for name in ["up", "hub", "demo", "init", "join", "rollback", "why", "track", "audit", "completion"] {
        assert!(all.out.contains(&format!("\n  {name} ")), "{name} is not in --help");
        let one = place.backstay(&[name, "--help"]);
        assert_eq!(one.code, 0, "{name}");
        assert!(one.out.contains("Usage: backstay"), "{name}");
    }
    assert!(!all.out.contains("internal"));
}

#[test]
fn wrong_usage_ends_with_2_and_changes_nothing() {
    let place = Place::new();
    for args in [
        &["rollback"][..],
        &["rollback", "--last", "--to", "2h ago"],
        &["rollback", "--before", "--last"],
        &["rollback", "--last", "--node", "a", "--nodes", "b=c"],
        &["related"],
        &["tokens", "create", "x"],
        &["frobnicate"],
        &["why", "web-1"],
        &["logs", "web-1/Shop"],
        &["nodes", "token", "--expires", "soon"],
        &["timeline", "--since", "the other day"],
    ] {
        let ran = place.backstay(args);
        assert_eq!(ran.code, 2, "{args:?}: {}", ran.err);
        assert!(ran.out.is_empty() && ran.err.contains("error"), "{args:?}: {}", ran.err);
    }
}

#[test]
fn a_hub_that_is_away_is_named_with_code_cause_and_hint() {
    let place = Place::new();
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let ran = place.backstay(&["--hub", &url, "status"]);
    assert_eq!(ran.code, 6);
    assert!(
        ran.err.starts_with(&format!("error[BS8001]: the hub at {url} cannot be reached\n")),
        "{}",
        ran.err
    );
    assert!(
        ran.err.contains("cause:") && ran.err.contains("hint:  start one with `backstay up`"),
        "{}",
        ran.err
    );
    let ran = place.backstay(&["--hub", &url, "--json", "status"]);
    let error: serde_json::Value = serde_json::from_str(&ran.err).unwrap();
    assert_eq!(error["error"]["code"], "BS8001");
    assert!(ran.out.is_empty());
}

#[test]
fn addresses_and_token_files_that_cannot_be_used_are_refused() {
    let place = Place::new();
    let ran = place.backstay(&["--hub", "ftp://x", "status"]);
    assert!(ran.code == 2 && ran.err.contains("error[BS8003]"), "{}", ran.err);
    let ran = place.backstay(&["--token-file", "nowhere", "status"]);
    assert!(ran.code == 2 && ran.err.contains("error[BS8002]"), "{}", ran.err);
}

#[test]
fn output_has_no_colours_where_there_is_no_terminal() {
    let place = Place::new();
    for args in [&["--help"][..], &["status"], &["check", "nowhere"]] {
        let ran = place.backstay(args);
        assert!(!ran.out.contains('\u{1b}') && !ran.err.contains('\u{1b}'), "{args:?}");
    }
}

#[test]
fn completion_is_written_for_each_shell() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let ran = place.backstay(&["completion", shell]);
        assert_eq!(ran.code, 0);
        assert!(ran.out.contains("rollback") && ran.out.contains("conversation"), "{shell}");
    }
}

//! Settings as people get them wrong.

use std::{fs, time::Duration};

use backstay_config::{load, parse};

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn file_then_environment() {
    let text = "[hub]\nlisten = \"127.0.0.1:9000\"\nallowed_hosts = [\"a.example\"]\n[poll]\nhold = \"5s\"\n";
    let settings = parse("b.toml", text, []).unwrap();
    assert_eq!(settings.hub.listen.port(), 9000);
    assert_eq!(settings.poll.hold, Duration::from_secs(5));
    assert_eq!(settings.poll.jitter, Duration::from_secs(5));
    let set = variables(&[
        ("BACKSTAY_HUB_LISTEN", "127.0.0.1:9001"),
        ("BACKSTAY_HUB_ALLOWED_HOSTS", "b.example, c.example"),
        ("BACKSTAY_HUB_MAX_CONNECTIONS", "64"),
        ("BACKSTAY_HUB_DATABASE_URL", "postgres://u:hunter2@db/x"),
        ("BACKSTAY_CONVERSATION", "not ours"),
        ("PATH", "/bin"),
    ]);
    let settings = parse("b.toml", text, set).unwrap();
    assert_eq!(settings.hub.listen.port(), 9001);
    assert_eq!(settings.hub.allowed_hosts, ["b.example", "c.example"]);
    assert_eq!(settings.hub.max_connections, 64);
    assert_eq!(settings.poll.hold, Duration::from_secs(5));
    assert!(!format!("{settings:?}").contains("hunter2"));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (text, expected) in [
        ("[hub]\nlistne = \"x\"\n", "b.toml:2:1: unknown key `listne`; did you mean `listen`?"),
        ("[hubb]\n", "b.toml:1:2: unknown key `hubb`; did you mean `hub`?"),
        ("[zzz]\n", "b.toml:1:2: unknown key `zzz`"),
        ("[hub]\n  listen = 3\n", "b.toml:2:12: "),
        ("[hub]\nlisten = \"nowhere\"\n", "b.toml:2:10: "),
        ("[poll]\nhold = \"soon\"\n", "b.toml:2:8: `soon` is not a duration: expected"),
        ("[poll]\nhold = \"1h\"\n", "b.toml:2:8: hold: 1h is out of range: expected 0s to 10m"),
        ("[hub]\ndata_dir = \"relative\"\n", "b.toml:2:12: data_dir: expected an absolute path"),
        (
            "[hub]\nallowed_hosts = [\"http://x\"]\n",
            "b.toml:2:17: allowed_hosts: `http://x` is not a host name",
        ),
        ("[hub]\ndatabase_url = \"postgres://u:hunter2@db/x\"\n", "b.toml:2:16: a password does not belong"),
        ("[hub]\ndatabase_url = \"mysql://db/x\"\n", "b.toml:2:16: database_url: expected postgres"),
        ("[hub\n", "b.toml:1:"),
        ("[hub]\nlisten = \"127.0.0.1:1\"\nlisten = \"127.0.0.1:1\"\n", "b.toml:3:1: duplicate key"),
    ] {
        let error = parse("b.toml", text, []).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{text:?}\n got {error}\nwant {expected}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn wrong_variables_are_named() {
    for (name, value, expected) in [
        (
            "BACKSTAY_HUB_LISTNE",
            "x",
            "environment variable BACKSTAY_HUB_LISTNE: unknown key `listne`; did you mean",
        ),
        ("BACKSTAY_POLL_HOLD", "1h", "environment variable BACKSTAY_POLL_HOLD: hold: 1h is out of range"),
        ("BACKSTAY_POLL_HOLD", "soon", "environment variable BACKSTAY_POLL_HOLD: `soon` is not a duration"),
        (
            "BACKSTAY_HUB_MAX_CONNECTIONS",
            "many",
            "environment variable BACKSTAY_HUB_MAX_CONNECTIONS: expected a whole",
        ),
        (
            "BACKSTAY_BACKUP_TARGET",
            "{ folder = ",
            "environment variable BACKSTAY_BACKUP_TARGET: expected a table in one line",
        ),
    ] {
        let error = parse("", "", variables(&[(name, value)])).unwrap_err().to_string();
        assert!(error.starts_with(expected), "got {error}\nwant {expected}");
    }
}

#[test]
fn a_table_is_one_line() {
    let set = variables(&[("BACKSTAY_BACKUP_TARGET", "{ folder = \"/srv/backups\" }")]);
    let settings = parse("", "", set).unwrap();
    assert_eq!(settings.backup.target.unwrap().place(), "/srv/backups");
}

#[test]
fn a_missing_file_is_an_error_and_no_file_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backstay.toml");
    assert!(load(Some(&path), []).unwrap_err().to_string().contains("backstay.toml"));
    fs::write(&path, "[poll]\ninterval = \"45s\"\n").unwrap();
    assert_eq!(load(Some(&path), []).unwrap().poll.interval, Duration::from_secs(45));
    assert_eq!(load(None, []).unwrap().poll.interval, Duration::from_secs(30));
}

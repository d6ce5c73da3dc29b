//! Programs, processes, ports, worlds and the count of what is left out.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeSet, fs, panic::catch_unwind, process::Command, time::Duration};

use backstay_testkit::{
    Port, Program, Ready, TestWorld, eventually, eventually_within, find_tool, http, is_alive, kill_under,
    processes_under, scratch_dir,
};
use backstay_types::ConversationId;

fn shell(script: &str, dir: &std::path::Path) -> Program {
    Program::at("/bin/sh", "shell", dir).args(["-c", script])
}

#[test]
fn a_program_is_ready_when_it_says_so_each_time_it_starts() {
    let dir = scratch_dir();
    let script = "echo run >>runs; sleep 0.1; echo ready; exec sleep 600";
    let script = format!("cd {}; {script}", dir.path().display());
    let mut program = shell(&script, dir.path()).ready(Ready::Line("ready".into())).started();
    let first = program.pid().unwrap();
    program.restart();
    assert!(!is_alive(first));
    assert!(program.is_running());
    assert_eq!(program.logs(), "ready\nready\n");
    assert_eq!(fs::read_to_string(dir.path().join("runs")).unwrap(), "run\nrun\n");
    let status = program.terminate();
    assert!(!status.success());
    assert!(!program.is_running());
}

#[test]
fn a_program_that_ends_at_once_is_told_with_its_output() {
    let dir = scratch_dir();
    let path = dir.path().to_owned();
    let failure = catch_unwind(|| {
        let _ = shell("echo no such file; exit 3", &path).ready(Ready::Line("ready".into())).started();
    });
    let text = *failure.unwrap_err().downcast::<String>().unwrap();
    assert!(text.contains("no such file") && text.contains('3'), "{text}");
}

#[test]
fn workloads_are_found_by_where_they_run() {
    let dir = scratch_dir();
    let script = format!("cd {} && setsid sleep 600 >/dev/null 2>&1 & echo on", dir.path().display());
    Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
    let pids = eventually("the workload to run", || {
        let pids = processes_under(dir.path());
        if pids.is_empty() { Err("nothing yet".to_owned()) } else { Ok(pids) }
    });
    kill_under(dir.path());
    assert!(pids.iter().all(|pid| !is_alive(*pid)));
    assert!(processes_under(dir.path()).is_empty());
}

#[test]
fn ports_differ_and_serve() {
    let ports: Vec<_> = (0..50).map(|_| Port::take()).collect();
    let numbers: BTreeSet<_> = ports.iter().map(Port::number).collect();
    assert_eq!(numbers.len(), 50);
    let (dir, port) = (scratch_dir(), &ports[0]);
    assert!(http::get(&port.url()).is_err());
    let Some(busybox) = find_tool("busybox") else { return };
    fs::write(dir.path().join("index.html"), "hello").unwrap();
    let folder = dir.path().display().to_string();
    let _server = Program::at(busybox, "httpd", dir.path())
        .args(["httpd", "-f", "-p", &port.address(), "-h", &folder])
        .ready(Ready::Http(port.url()))
        .started();
    let page = http::get(&port.url()).unwrap();
    assert_eq!((page.status, page.body.as_str()), (200, "hello"));
    assert_eq!(http::get(&format!("{}/nothing", port.url())).unwrap().status, 404);
}

#[test]
fn waiting_ends_with_what_was_seen_last() {
    let failure = catch_unwind(|| {
        eventually_within::<()>(Duration::from_millis(60), "rain", || Err("sun".to_owned()));
    });
    let text = *failure.unwrap_err().downcast::<String>().unwrap();
    assert!(text.contains("rain") && text.contains("sun"), "{text}");
}

#[test]
fn worlds_repeat_and_their_time_is_moved_by_hand() {
    let (one, two) = (TestWorld::default(), TestWorld::default());
    assert_eq!(one.world().mint::<ConversationId>(), two.world().mint::<ConversationId>());
    one.advance(Duration::from_secs(90));
    assert_eq!(one.world().now().to_string(), "2026-01-01T12:01:30Z");
    one.set(two.now());
    assert_eq!(one.world().now(), two.world().now());
}

/// Run by [`missing_parts_are_counted_or_fail`] in a process of its own.
#[test]
fn needs_postgres() {
    if std::env::var_os("BACKSTAY_TEST_MISSING").is_some() {
        assert!(backstay_testkit::Database::require().is_none());
    }
}

#[test]
fn missing_parts_are_counted_or_fail() {
    let dir = scratch_dir();
    let count = dir.path().join("left-out");
    let run = |ci: &str| {
        let mut test = Command::new(std::env::current_exe().unwrap());
        test.args(["--exact", "needs_postgres"]).env("BACKSTAY_TEST_MISSING", "1").env("CI", ci);
        // A cache without parts, and a PATH without a server.
        test.env("BACKSTAY_CACHE", dir.path()).env("PATH", "/nothing").env("BACKSTAY_LEFT_OUT", &count);
        test.env_remove("NEXTEST_TEST_NAME").output().unwrap().status.success()
    };
    assert!(run(""));
    assert_eq!(fs::read_to_string(&count).unwrap(), "needs_postgres\tPostgreSQL 16\n");
    assert!(!run("true"));
}

//! `backstay demo` and `backstay up`: hub and agents as real processes.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{Place, program, ran};

/// The agent's program, which these tests start through ours.
fn agent_is_built() {
    let agent = program().with_file_name("backstay-agent");
    assert!(agent.is_file(), "{} is not built: run `cargo build --workspace --bins` first", agent.display());
}

fn terminate(child: &mut Child) {
    let pid = i32::try_from(child.id()).unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::TERM,
    )
    .unwrap();
}

fn wait(child: &mut Child, limit: Duration) -> std::process::ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if started.elapsed() > limit {
            child.kill().unwrap();
            panic!("it has not ended after {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Processes whose command line holds `text`.
fn processes_with(text: &str) -> Vec<String> {
    let all = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let lines = all.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(text)).collect()
}

#[test]
fn the_demo_keeps_its_promises_and_leaves_nothing_behind() {
    agent_is_built();
    let place = Place::new();
    let dir = place.path("demo").display().to_string();
    let mut command = place.command(program());
    let ran = ran(command.args(["demo", "--exit", "--data-dir", &dir]).output().unwrap());
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("Everything was as promised."), "{}", ran.out);
    assert!(ran.out.contains("web-2 noticed, and went back by itself"), "{}", ran.out);
    let told = ran.out.lines().filter(|line| line.starts_with("  ✓") || line.starts_with(char::is_numeric));
    told.for_each(|line| assert!(line.chars().count() <= 80, "too long for a terminal: {line}"));
    assert_eq!(processes_with(&format!("{dir}/nodes")), Vec::<String>::new());
    let ran = place.backstay(&["demo", "--exit", "--data-dir", &dir]);
    assert!(ran.code == 2 && ran.err.contains("is not empty"), "{}", ran.err);
}

#[test]
fn a_demo_that_is_ended_early_leaves_nothing_behind() {
    agent_is_built();
    let place = Place::new();
    fs::create_dir(place.path("tmp")).unwrap();
    let mut command = place.command(program());
    let mut child = command
        .arg("demo")
        .env("TMPDIR", place.path("tmp"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(4));
    terminate(&mut child);
    let status = wait(&mut child, Duration::from_secs(60));
    assert_eq!(status.signal(), None, "it ends in order");
    assert_eq!(fs::read_dir(place.path("tmp")).unwrap().count(), 0);
    assert_eq!(processes_with(place.path("tmp").to_str().unwrap()), Vec::<String>::new());
}

#[test]
fn up_starts_hub_and_agent_and_ends_both() {
    agent_is_built();
    let place = Place::new();
    let agent_dir = place.path("agent");
    let up = |place: &Place| -> Command {
        let mut command = place.command(program());
        command.args([
            "up",
            "--listen",
            "127.0.0.1:0",
            "--name",
            "here",
            "--label",
            "role=web",
            "--agent-dir",
        ]);
        command.arg(&agent_dir).env("BACKSTAY_AGENT_ENV_DIR", place.path("env"));
        command
    };
    let log = fs::File::create(place.path("up.log")).unwrap();
    let mut child = up(&place).stdout(log).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    let online = || {
        let ran = place.backstay(&["--json", "nodes", "show", "here"]);
        let node: Value = serde_json::from_str(&ran.out).unwrap_or_default();
        node["state"] == "online" && node["labels"]["role"] == "web"
    };
    while !online() {
        assert!(started.elapsed() < Duration::from_secs(20), "{}", place.read("up.log"));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(place.read("up.log").contains("The hub runs at http://127.0.0.1:"), "{}", place.read("up.log"));
    terminate(&mut child);
    assert!(wait(&mut child, Duration::from_secs(30)).success());
    assert!(place.read("up.log").contains("keeps running"));
    assert_eq!(processes_with(agent_dir.to_str().unwrap()), Vec::<String>::new(), "the agent has ended too");
    assert_eq!(place.backstay(&["status"]).code, 6);
}

//! What `backstay up` costs when nothing happens.

use std::{fs, thread::sleep, time::Duration};

use backstay_testkit::{Port, Program, Ready, processes_under, scratch_dir};

use crate::{
    figures::Figures,
    procfs::{cpu_seconds, rss_mb},
};

/// Resident megabytes of the hub after so many minutes.
pub(crate) fn measure(minutes: f64) -> Result<Figures, String> {
    let (dir, port) = (scratch_dir(), Port::take());
    let path = dir.path();
    let up = Program::ours("backstay", &path.join("logs"))
        .env("HOME", path)
        .args(["up".into(), "--data-dir".into(), path.join("hub"), "--agent-dir".into(), path.join("agent")])
        .args(["--name", "idle", "--listen", &port.address().to_string()])
        .ready(Ready::Http(format!("{}/readyz", port.url())))
        .started();
    let hub = up.pid().ok_or("the hub has ended")?;
    let agent = backstay_testkit::eventually("the agent to run", || {
        let mut found = processes_under(&path.join("agent")).into_iter();
        found.find(|pid| is_agent(*pid)).ok_or_else(|| "no agent yet".to_owned())
    });
    sleep(Duration::from_secs(5));
    let seconds = minutes * 60.0;
    let before = (cpu_seconds(hub)?, cpu_seconds(agent)?);
    sleep(Duration::from_secs_f64(seconds));
    let percent = |now: f64, before: f64| (now - before) / seconds * 100.0;
    let figures = Figures { value: rss_mb(hub)?, baseline: None, ..Figures::default() };
    Ok(figures
        .with("cpu_percent", percent(cpu_seconds(hub)?, before.0))
        .with("agent_mb", rss_mb(agent)?)
        .with("agent_cpu_percent", percent(cpu_seconds(agent)?, before.1))
        .with("minutes", minutes))
}

/// Whether this is the agent itself, and not the one that joins for it or works for it.
fn is_agent(pid: u32) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut arguments = line.split(|byte| *byte == 0);
    arguments.next().is_some_and(|program| program.ends_with(b"/backstay-agent"))
        && arguments.next() == Some(b"run")
}

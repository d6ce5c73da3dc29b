//! `systemctl` and `systemd-analyze`, by arguments, never by a shell's line.

use std::{
    io,
    process::{Output, Stdio},
    time::Duration,
};

use backstay_types::{ErrorCode, FailureKind, Step};
use tokio::{process::Command, time::timeout};

use super::render::Rendered;
use crate::{
    child,
    disk::remove_dir,
    step::{Context, Fail, Failed, Loaded},
};

/// How long to wait for an answer about units.
const ANSWER: Duration = Duration::from_secs(20);
const PROPERTIES: &str = "Id,LoadState,ActiveState,SubState,Result,Type,UnitFileState,FragmentPath,InvocationID,\
                          NRestarts,ExecMainStartTimestampMonotonic";

/// What systemd says of a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) id: String,
    pub(super) load: String,
    pub(super) state: String,
    pub(super) result: String,
    pub(super) kind: String,
    pub(super) file_state: String,
    pub(super) fragment: String,
    pub(super) invocation: String,
    pub(super) restarts: u32,
    /// Whether its program was started in this boot.
    pub(super) has_run: bool,
}

impl Shown {
    pub(super) fn is_enabled(&self) -> bool {
        self.file_state == "enabled"
    }

    /// Whether it ended well, and is not merely yet to be started.
    pub(super) fn has_succeeded(&self) -> bool {
        self.state == "inactive" && self.result == "success" && self.has_run
    }
}

/// Looks at units, in the order given.
pub(super) async fn show(units: &[impl AsRef<str>]) -> io::Result<Vec<Shown>> {
    if units.is_empty() {
        return Ok(Vec::new());
    }
    let mut command = program("systemctl");
    command.args(["show", "--no-pager", &format!("--property={PROPERTIES}"), "--"]);
    command.args(units.iter().map(AsRef::as_ref));
    let late = || io::Error::new(io::ErrorKind::TimedOut, "systemctl did not answer in time");
    let output = timeout(ANSWER, command.output()).await.map_err(|_| late())??;
    if !output.status.success() {
        return Err(io::Error::other(format!("systemctl show: {}", said(&output))));
    }
    Ok(read(&String::from_utf8_lossy(&output.stdout)))
}

fn read(text: &str) -> Vec<Shown> {
    let block = |block: &str| {
        let mut shown = Shown::default();
        for line in block.lines() {
            let Some((key, value)) = line.split_once('=') else { continue };
            let value = value.to_owned();
            match key {
                "Id" => shown.id = value,
                "LoadState" => shown.load = value,
                "ActiveState" => shown.state = value,
                "Result" => shown.result = value,
                "Type" => shown.kind = value,
                "UnitFileState" => shown.file_state = value,
                "FragmentPath" => shown.fragment = value,
                "InvocationID" => shown.invocation = value,
                "NRestarts" => shown.restarts = value.parse().unwrap_or(0),
                "ExecMainStartTimestampMonotonic" => shown.has_run = value != "0",
                _ => {}
            }
        }
        shown
    };
    text.split("\n\n").map(block).filter(|shown| !shown.id.is_empty()).collect()
}

/// Has systemd do something, and waits until it is done.
pub(super) async fn run(arguments: &[&str], units: &[&str], step: Step) -> Result<(), Failed> {
    let mut command = program("systemctl");
    command.args(["--no-pager", "--no-ask-password"]).args(arguments);
    if !units.is_empty() {
        command.arg("--").args(units);
    }
    let output = command.output().await.map_err(|error| not_there(step, &error))?;
    if output.status.success() {
        return Ok(());
    }
    let kind = if arguments.contains(&"daemon-reload") { FailureKind::Node } else { FailureKind::Start };
    let reason = format!("systemctl {}: {}", arguments.join(" "), said(&output));
    Err(Fail::of(step, kind, reason))
}

/// Has systemd read the units of a release, without installing them. Returns a note when that cannot be done here.
pub(super) async fn verify(
    cx: &Context,
    release: &Loaded,
    units: &[Rendered],
) -> Result<Option<String>, Failed> {
    let dir = cx.layout.files(&release.stack).join(".tmp-verify");
    let fail = |error| Fail::io(Step::Validate, "the units cannot be written to be looked at")(error);
    remove_dir(&dir).map_err(fail)?;
    std::fs::create_dir_all(&dir).map_err(fail)?;
    let mut command = program("systemd-analyze");
    command.args(["verify", "--man=no", "--"]);
    for unit in units {
        let path = dir.join(unit.spec.name());
        std::fs::write(&path, &unit.text).map_err(fail)?;
        command.arg(path);
    }
    let output = command.output().await;
    remove_dir(&dir).map_err(fail)?;
    match output {
        Err(error) => Ok(Some(format!("systemd-analyze: {error}: the units were not looked at"))),
        Ok(output) if output.status.success() => Ok(None),
        Ok(output) => {
            let said = said(&output).replace(&format!("{}/", dir.display()), "");
            Err(Fail::of(Step::Validate, FailureKind::Invalid, format!("systemd-analyze verify: {said}")))
        }
    }
}

/// One of systemd's programs, with a small environment.
pub(super) fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env_clear().envs(child::environment()).env("LC_ALL", "C").env("SYSTEMD_COLORS", "0");
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

fn not_there(step: Step, error: &io::Error) -> Failed {
    Fail::coded(step, FailureKind::Node, ErrorCode::BS3007, format!("systemctl cannot be started: {error}"))
}

fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).take(12).collect();
    format!("{} ({})", lines.join("; "), output.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_says_is_read() {
        let text = "Type=oneshot\nResult=success\nNRestarts=0\nExecMainStartTimestampMonotonic=12\nId=web-once.service\n\
                    LoadState=loaded\nActiveState=inactive\nSubState=dead\nFragmentPath=/etc/systemd/system/web-once.service\n\
                    UnitFileState=static\nInvocationID=\n\n\
                    Id=web.timer\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\n";
        let shown = read(text);
        assert_eq!((shown[0].id.as_str(), shown[1].id.as_str()), ("web-once.service", "web.timer"));
        assert!(shown[0].has_succeeded() && !shown[0].is_enabled());
        assert!(!shown[1].has_succeeded() && shown[1].is_enabled());
    }
}

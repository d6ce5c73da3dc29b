//! Starting the agent's own program again, for work or to supervise.

use std::{
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    time::Duration,
};

use backstay_types::{FailureKind, Step};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{io::AsyncReadExt as _, io::AsyncWriteExt as _, time::timeout};

use crate::step::{Fail, Failed, Outcome, StepCall};

/// Where programs are looked for when the environment is cleared.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What a child may see of the agent's environment.
const ALLOWED: [&str; 14] = [
    "PATH",
    "HOME",
    "LANG",
    "DOCKER_HOST",
    "DOCKER_CONFIG",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SSH_AUTH_SOCK",
    "FAILPOINTS",
];
/// The longest outcome that is read.
const OUTCOME: u64 = 8 << 20;

/// The agent's own program with `arguments`, the environment cut down. Found through `/proc`, so that it is the
/// one that runs even when the file was replaced.
pub(crate) fn own_program(arguments: &[&str]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("backstay-agent").args(arguments).env_clear().envs(environment());
    command
}

/// The part of the environment that programs started by the agent may see.
pub(crate) fn environment() -> impl Iterator<Item = (&'static str, std::ffi::OsString)> {
    ALLOWED.into_iter().filter_map(|name| {
        let value = std::env::var_os(name).or_else(|| (name == "PATH").then(|| PATH.into()))?;
        Some((name, value))
    })
}

/// Has a child do some work, at most for `limit`.
pub(crate) async fn work(call: &StepCall, step: Step, limit: Duration) -> Outcome {
    match run(call, step, limit).await {
        Ok(outcome) => outcome,
        Err(failed) => Outcome { records: Vec::new(), result: Err(failed) },
    }
}

async fn run(call: &StepCall, step: Step, limit: Duration) -> Result<Outcome, Failed> {
    let fail = |error| Fail::io(step, "a child of the agent")(error);
    let text = serde_json::to_vec(call).map_err(|error| Fail::other(step, error))?;
    let mut command = own_program(&["internal", "step"]);
    command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut command = tokio::process::Command::from(command);
    let mut child = command.kill_on_drop(true).spawn().map_err(fail)?;
    let group = Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw));
    let talk = async {
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(&text).await?;
        }
        let mut answer = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(OUTCOME).read_to_end(&mut answer).await?;
        }
        Ok((answer, child.wait().await?))
    };
    let (answer, status) = match timeout(limit, talk).await {
        Ok(talked) => talked.map_err(fail)?,
        Err(_) => {
            let limit = backstay_manifest::format_duration(limit);
            return Err(Fail::of(step, FailureKind::Other, format!("it took longer than {limit}")));
        }
    };
    group.done();
    serde_json::from_slice(&answer)
        .map_err(|error| Fail::other(step, format!("a child of the agent ended with {status}: {error}")))
}

/// Kills the group when it is dropped before its leader has ended.
struct Group(Option<Pid>);

impl Group {
    fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

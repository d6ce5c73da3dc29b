//! Programs of a release, and what a release asks for on the node: bounded, and with an environment of their own.

use std::{collections::BTreeMap, path::PathBuf, process::Stdio};

use backstay_types::{ErrorCode, FailureKind, Step};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{io::AsyncReadExt as _, process::Command, time::timeout};

use super::{Context, Fail, Failed, Loaded};

/// So much of its output is kept, from the end.
const OUTPUT: usize = 4096;

/// A program to run, and how its refusal is told.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    /// What it is, such as "`validate`".
    pub(super) what: String,
    /// Program and arguments. A program with a `/` that does not begin with one is in the release.
    pub(super) argv: &'a [String],
    /// Variables besides those of the stack.
    pub(super) variables: BTreeMap<String, String>,
    /// Whether it may see what the agent's own programs may, such as where the container engine is.
    pub(super) sees_machine: bool,
    pub(super) step: Step,
    pub(super) code: ErrorCode,
}

/// Runs it in a process group of its own, in the release's folder. Anything but its good end is a failure that tells
/// what it said.
pub(super) async fn run(cx: &mut Context, loaded: &Loaded, asked: Asked<'_>) -> Result<(), Failed> {
    let Asked { what, argv, variables, sees_machine, step, code } = asked;
    let refuse = |reason: String| Fail::coded(step, FailureKind::Invalid, code, format!("{what} {reason}"));
    let Some((program, arguments)) = argv.split_first() else { return Ok(()) };
    let program = if program.contains('/') { loaded.dir.join(program) } else { PathBuf::from(program) };
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&loaded.dir).env_clear();
    if sees_machine {
        command.envs(crate::child::environment());
    }
    command.env("PATH", crate::child::PATH);
    command.envs(loaded.variables.iter().map(|(name, value)| (name, value.expose())));
    command.env("BACKSTAY_STACK", loaded.stack.as_str()).env("BACKSTAY_NODE", cx.place.node.as_str());
    command.envs(variables);
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true);
    let fail = |error| Fail::io(step, format!("{what} cannot be started"))(error);
    cx.lock.inherit(true).map_err(fail)?;
    let spawned = command.spawn();
    cx.lock.inherit(false).map_err(fail)?;
    let mut child = spawned.map_err(|error| refuse(format!("cannot be started: {error}")))?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(group) = group {
        cx.lock.add(group).map_err(fail)?;
    }
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    let finished = async {
        let (out, err, status) = tokio::join!(tail(out.as_mut()), tail(err.as_mut()), child.wait());
        status.map(|status| (status, [err, out].concat()))
    };
    let finished = timeout(cx.place.validate_timeout, finished).await;
    // Nothing that it started may stay.
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
    match finished {
        Ok(Ok((status, _))) if status.success() => Ok(()),
        Ok(Ok((status, output))) => {
            let text = String::from_utf8_lossy(&output);
            Err(refuse(format!("ended with {status}: {}", text.trim())))
        }
        Ok(Err(error)) => Err(refuse(error.to_string())),
        Err(_) => {
            let limit = backstay_manifest::format_duration(cx.place.validate_timeout);
            Err(refuse(format!("did not end within {limit}")))
        }
    }
}

async fn tail(stream: Option<&mut (impl tokio::io::AsyncRead + Unpin)>) -> Vec<u8> {
    let Some(stream) = stream else { return Vec::new() };
    let mut kept = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..n]);
        let surplus = kept.len().saturating_sub(OUTPUT);
        kept.drain(..surplus);
    }
    kept
}

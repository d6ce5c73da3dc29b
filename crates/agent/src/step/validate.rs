//! The stack's own check: an executable that says whether the release is good for this node.

use std::{process::Stdio, time::Duration};

use backstay_types::{ErrorCode, FailureKind, Step};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{io::AsyncReadExt as _, process::Command, time::timeout};

use super::{Context, Fail, Failed, Loaded};

/// So much of its output is kept, from the end.
const OUTPUT: usize = 4096;

/// Runs the check in a process group and with an environment of its own.
pub(super) async fn run(cx: &mut Context, loaded: &Loaded, program: &str) -> Result<(), Failed> {
    let refuse = |reason: String| {
        Fail::coded(Step::Validate, FailureKind::Invalid, ErrorCode::BS3005, format!("`{program}` {reason}"))
    };
    let mut command = Command::new(loaded.dir.join(program));
    command.current_dir(&loaded.dir).env_clear().env("PATH", crate::child::PATH);
    command.envs(loaded.variables.iter().map(|(name, value)| (name, value.expose())));
    command.env("BACKSTAY_STACK", loaded.stack.as_str()).env("BACKSTAY_NODE", cx.place.node.as_str());
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true);
    let fail = |error| Fail::io(Step::Validate, format!("`{program}` cannot be started"))(error);
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
        Err(_) => Err(refuse(format!("did not end within {}", show(cx.place.validate_timeout)))),
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

fn show(duration: Duration) -> String {
    backstay_manifest::format_duration(duration)
}

//! Ending processes: asked first, killed when they do not listen.

use std::{
    io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use backstay_manifest::StopSignal;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::{
    record::{Ref, Spec, Status},
    supervise::is_locked,
};

/// How long a supervisor may take beyond what its process may take.
const EXTRA: Duration = Duration::from_secs(3);

/// Stops processes, all at once, and removes their records.
pub(super) fn stop(dir: &Path, names: &[String]) -> io::Result<()> {
    let mut waiting = Vec::new();
    for name in names {
        let Some(status) = first_status(dir, name)? else {
            Status::remove(dir, name)?;
            continue;
        };
        let spec = Spec::read(dir, name)?;
        let signal = spec.as_ref().map_or(Signal::TERM, |spec| number(spec.signal));
        let grace = spec.map_or(Duration::from_secs(10), |spec| spec.grace);
        match status.supervisor.as_ref().and_then(Ref::alive) {
            Some(supervisor) => drop(kill_process(supervisor, Signal::TERM)),
            // Its supervisor is gone: it is asked directly.
            None => {
                if let Some(child) = status.child.as_ref().and_then(Ref::alive) {
                    let _ = kill_process_group(child, signal);
                }
            }
        }
        waiting.push((name, grace, Instant::now()));
    }
    for (name, grace, since) in waiting {
        wait(dir, name, since + grace + EXTRA)?;
        Status::remove(dir, name)?;
    }
    Ok(())
}

/// The status of a process; one whose supervisor has only just begun is waited for.
fn first_status(dir: &Path, name: &str) -> io::Result<Option<Status>> {
    let deadline = Instant::now() + EXTRA;
    loop {
        let status = Status::read(dir, name)?;
        let coming = status.as_ref().is_none_or(|s| !s.is_supervised()) && is_locked(dir, name);
        if !coming || Instant::now() > deadline {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until supervisor and process are gone; kills them when time is up.
fn wait(dir: &Path, name: &str, deadline: Instant) -> io::Result<()> {
    loop {
        // The supervisor may have started its process again just before it was asked.
        let Some(status) = Status::read(dir, name)? else { return Ok(()) };
        let supervisor = status.supervisor.as_ref().and_then(Ref::alive);
        let child = status.child.as_ref().and_then(Ref::alive);
        if supervisor.is_none() && child.is_none() {
            return Ok(());
        }
        if Instant::now() > deadline {
            kill(supervisor, kill_process);
            kill(child, kill_process_group);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn kill(pid: Option<Pid>, how: fn(Pid, Signal) -> rustix::io::Result<()>) {
    if let Some(pid) = pid {
        let _ = how(pid, Signal::KILL);
    }
}

/// The signal that a manifest names.
pub(super) fn number(signal: StopSignal) -> Signal {
    match signal {
        StopSignal::Term => Signal::TERM,
        StopSignal::Int => Signal::INT,
        StopSignal::Quit => Signal::QUIT,
        StopSignal::Hup => Signal::HUP,
        StopSignal::Usr1 => Signal::USR1,
        StopSignal::Usr2 => Signal::USR2,
    }
}

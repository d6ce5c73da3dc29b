//! Processes by where they run, for workloads that outlive what started them.

use std::{fs, os::unix::ffi::OsStrExt, path::Path};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// Processes, other than this one, whose working folder or arguments lie under `dir`.
pub fn processes_under(dir: &Path) -> Vec<u32> {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != std::process::id() && runs_under(*pid, &dir)).collect()
}

fn runs_under(pid: u32, dir: &Path) -> bool {
    let proc = Path::new("/proc").join(pid.to_string());
    if fs::read_link(proc.join("cwd")).is_ok_and(|cwd| cwd.starts_with(dir)) {
        return true;
    }
    let needle = dir.as_os_str().as_bytes();
    fs::read(proc.join("cmdline")).is_ok_and(|line| line.windows(needle.len()).any(|part| part == needle))
}

/// Kills what [`processes_under`] finds, until nothing is left.
pub fn kill_under(dir: &Path) {
    // A supervisor may start another one in between.
    for _ in 0..10 {
        let pids = processes_under(dir);
        if pids.is_empty() {
            return;
        }
        for pid in pids {
            send(pid, Signal::KILL);
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Whether a process is there and not a zombie.
pub fn is_alive(pid: u32) -> bool {
    let there = to_pid(pid).is_some_and(|pid| test_kill_process(pid).is_ok());
    let zombie = fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')));
    there && !zombie
}

pub(crate) fn send(pid: u32, signal: Signal) {
    if let Some(pid) = to_pid(pid) {
        // It may have ended by itself.
        let _ = kill_process(pid, signal);
    }
}

fn to_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

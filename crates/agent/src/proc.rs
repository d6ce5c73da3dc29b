//! What `/proc` says of processes.

use std::fs;

use rustix::process::Pid;

/// When a process started, in ticks since boot: with the number it names a process for ever. `None` when
/// there is no such process, or only its remains.
pub(crate) fn start_time(pid: Pid) -> Option<u64> {
    // By way of its first thread: under qemu-user a process that reads its own plain `stat` is told another time
    // than everybody else.
    let pid = pid.as_raw_nonzero();
    let stat = fs::read_to_string(format!("/proc/{pid}/task/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; what follows the last one may not.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// The boot's name.
pub(crate) fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

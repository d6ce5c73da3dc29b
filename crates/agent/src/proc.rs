//! What `/proc` says of processes.

use std::{fs, io};

use rustix::process::Pid;

/// When a process started, in ticks since boot: with the number it names a process for ever. `None` when
/// there is no such process, or only its remains.
pub(crate) fn start_time(pid: Pid) -> Option<u64> {
    try_start_time(pid).ok().flatten()
}

/// The same, where not being told is not the same as there being none.
///
/// # Errors
/// When `/proc` cannot be read, such as without a file descriptor left.
pub(crate) fn try_start_time(pid: Pid) -> io::Result<Option<u64>> {
    // By way of its first thread: under qemu-user a process that reads its own plain `stat` is told another time
    // than everybody else.
    let pid = pid.as_raw_nonzero();
    Ok(there(fs::read_to_string(format!("/proc/{pid}/task/{pid}/stat")))?.and_then(|stat| started(&stat)))
}

/// What was read of a process, when it is there. It may go while it is read.
fn there(read: io::Result<String>) -> io::Result<Option<String>> {
    match read {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => Ok(None),
        Err(error) => Err(error),
    }
}

fn started(stat: &str) -> Option<u64> {
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
    try_boot_id().unwrap_or_default()
}

/// The same, where it has to be known.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn try_boot_id() -> io::Result<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_not_gone() {
        let me = rustix::process::getpid();
        assert!(try_start_time(me).unwrap().is_some());
        let gone = io::Error::from_raw_os_error(rustix::io::Errno::SRCH.raw_os_error());
        assert_eq!(there(Err(gone)).unwrap(), None);
        assert_eq!(there(Err(io::ErrorKind::NotFound.into())).unwrap(), None);
        for unknown in [rustix::io::Errno::MFILE, rustix::io::Errno::IO, rustix::io::Errno::NOSPC] {
            let unknown = io::Error::from_raw_os_error(unknown.raw_os_error());
            assert!(there(Err(unknown)).is_err());
        }
    }
}

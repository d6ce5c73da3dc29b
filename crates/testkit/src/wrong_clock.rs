//! A clock that is wrong, for one program and what it starts: libfaketime.
//!
//! The library, and the program `faketime` before it, keep a semaphore and some memory in `/dev/shm`, named by the
//! process id. What a killed one left there fails the next one that gets its id: the program always, the library where
//! the memory alone is left. So the program is not used, and what bears the process id is taken away first: whoever made
//! it is dead, since the id is ours now.

use std::{fs, path::PathBuf};

use crate::{Part, left_out::require};

/// Takes away what is left in `/dev/shm` under this process's id, then becomes the program, which keeps that id. The
/// library is loaded into that alone.
const BECOME: &str = r#"rm -f "/dev/shm/sem.faketime_sem_$$" "/dev/shm/faketime_shm_$$"; exec env "$@""#;

/// What gives programs a wrong clock.
#[derive(Debug, Clone)]
pub struct WrongClock {
    library: PathBuf,
}

impl WrongClock {
    /// The library of this machine; without it the test is left out.
    ///
    /// # Panics
    /// As [`crate::left_out::leave_out`].
    pub fn require() -> Option<Self> {
        let dirs = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
        let mut found = dirs.map(|dir| dir.join("faketime/libfaketime.so.1")).filter(|path| path.exists());
        let found = found.next().ok_or_else(|| "libfaketime.so.1 is not there".to_owned());
        require(Part::Faketime, found).map(|library| Self { library })
    }

    /// What stands before a program and its arguments, so that its clock is off by `offset`, such as `-1h` or `+365d`.
    /// How fast time passes stays as it is. The process id is that of whoever is started.
    pub fn prefix(&self, offset: &str) -> Vec<String> {
        let library = format!("LD_PRELOAD={}", self.library.display());
        let offset = format!("FAKETIME={offset}");
        ["sh", "-c", BECOME, "sh", &library, &offset, "FAKETIME_DONT_FAKE_MONOTONIC=1"]
            .map(str::to_owned)
            .to_vec()
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Output, Stdio};

    use super::*;

    /// Runs a program as a process under whose id files are left in `/dev/shm` already.
    fn after_a_killed_one(left: &str, program: &[String]) -> Output {
        let script = format!("for file in {left}; do : > /dev/shm/$file$$; done; exec \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh"]).args(program).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let id = child.id();
        let output = child.wait_with_output().unwrap();
        for file in ["faketime_shm_", "sem.faketime_sem_"] {
            let _ = fs::remove_file(format!("/dev/shm/{file}{id}"));
        }
        output
    }

    fn with_date(mut prefix: Vec<String>) -> Vec<String> {
        prefix.extend(["date", "+%Y"].map(str::to_owned));
        prefix
    }

    #[test]
    fn what_a_killed_process_of_the_same_id_left_is_in_nobodys_way() {
        let Some(clock) = WrongClock::require() else { return };
        let year = |output: &Output| String::from_utf8_lossy(&output.stdout).trim().parse::<i32>();
        let now = year(&Command::new("date").arg("+%Y").output().unwrap()).unwrap();
        // Without what is done here, it fails: were that not so, the rest would prove nothing.
        let bare: Vec<_> = ["env".to_owned()].into_iter().chain(clock.prefix("-10y").split_off(4)).collect();
        let failed = after_a_killed_one("faketime_shm_", &with_date(bare));
        assert!(!failed.status.success() && year(&failed).is_err(), "{failed:?}");
        for left in ["faketime_shm_", "sem.faketime_sem_", "sem.faketime_sem_ faketime_shm_", ""] {
            let told = after_a_killed_one(left, &with_date(clock.prefix("-10y")));
            let told_year = year(&told).unwrap_or_else(|_| panic!("{left}: {told:?}"));
            assert!((now - 11..=now - 9).contains(&told_year), "{left}: {told_year}");
        }
    }
}

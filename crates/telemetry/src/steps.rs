//! Steps on the disk, counted: a child dies at one, or finds the disk full for a while.

use std::{
    env, fs, io,
    path::Path,
    process::{Command, Output},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::process::{Signal, getpid, kill_process};

/// Says what happens, to a child: `count`, `die N` or `full N M` (from step N on, for M steps).
pub(crate) const PLAN: &str = "BACKSTAY_TEST_STEPS";

enum Plan {
    Nothing,
    Die(u64),
    Full(u64, u64),
}

static PLANNED: LazyLock<Plan> = LazyLock::new(|| {
    let Ok(text) = env::var(PLAN) else { return Plan::Nothing };
    let words: Vec<_> = text.split(' ').collect();
    let number = |n: usize| words[n].parse().unwrap();
    match words[0] {
        "die" => Plan::Die(number(1)),
        "full" => Plan::Full(number(1), number(2)),
        _ => Plan::Nothing,
    }
});
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// How many steps this process has taken.
pub(crate) fn taken() -> u64 {
    TAKEN.load(Ordering::SeqCst)
}

pub(crate) fn reached(_: &str) -> io::Result<()> {
    let step = TAKEN.fetch_add(1, Ordering::SeqCst) + 1;
    match *PLANNED {
        Plan::Die(at) if step == at => {
            let _ = kill_process(getpid(), Signal::KILL);
            Ok(())
        }
        Plan::Full(from, steps) if (from..from + steps).contains(&step) => {
            Err(io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error()))
        }
        _ => Ok(()),
    }
}

/// Runs a test of this program as a child, with its folder in a variable.
pub(crate) fn run(test: &str, (name, folder): (&str, &Path), plan: &str) -> Output {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(name, folder)
        .env(PLAN, plan)
        .output()
        .unwrap()
}

/// How many steps a child says that it took.
pub(crate) fn said_by(output: &Output) -> u64 {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = text.lines().find_map(|line| line.split_once("steps: ")?.1.trim().parse().ok());
    found.unwrap_or_else(|| panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr)))
}

/// In memory where that can be: whoever is killed leaves what it wrote to the system in any case.
pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Does something for numbers up to `most`, on four threads.
pub(crate) fn for_each(most: u64, each: impl Fn(u64) + Sync) {
    let next = AtomicU64::new(1);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::SeqCst);
                    if n > most {
                        return;
                    }
                    each(n);
                }
            });
        }
    });
}

/// Copies a folder with all that is in it.
pub(crate) fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&to).unwrap();
            copy_all(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

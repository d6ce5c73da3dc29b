//! Steps on the disk, counted: a child dies at one, or finds the disk full for a while.

use std::{
    env, io,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::process::{Signal, getpid, kill_process};

/// Says what happens, to a child: `count`, `die N` or `full N M` (from step N on, for M steps).
pub(in crate::store) const PLAN: &str = "BACKSTAY_TEST_STEPS";

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
pub(in crate::store) fn taken() -> u64 {
    TAKEN.load(Ordering::SeqCst)
}

pub(in crate::store) fn reached(_: &str) -> io::Result<()> {
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

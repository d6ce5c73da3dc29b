//! Loopback ports that no other test takes.

use std::{
    fs::{File, OpenOptions},
    net::TcpListener,
    process,
    sync::atomic::{AtomicU16, Ordering},
};

use rustix::fs::{FlockOperation, flock};

use crate::paths::run_dir;

/// Below the range from which the kernel gives ports to clients.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A free port on loopback. While the guard lives, no other test of any
/// process gets the same, so that a server can be stopped and started on it.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Takes a port.
    pub fn take() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let dir = run_dir().join("ports");
        std::fs::create_dir_all(&dir).expect("create the folder for port locks");
        // Processes begin at different places, so that they seldom meet.
        let offset = u16::try_from(process::id() % 1_000).unwrap_or(0) * 12;
        for _ in 0..COUNT {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let number = FIRST + offset.wrapping_add(step) % COUNT;
            let Ok(lock) = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(dir.join(number.to_string()))
            else {
                continue;
            };
            let free = flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()
                && TcpListener::bind(("127.0.0.1", number)).is_ok();
            if free {
                return Self { number, _lock: lock };
            }
        }
        panic!("no free port on loopback from {FIRST} to {}", FIRST + COUNT);
    }

    /// The port's number.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// `127.0.0.1:<number>`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }

    /// `http://127.0.0.1:<number>`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }
}

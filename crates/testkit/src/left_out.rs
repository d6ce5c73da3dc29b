//! Tests that were left out because a real part is missing, and their count.
//!
//! Each such test appends a line, `<test>\t<part>`, to the file that
//! `BACKSTAY_LEFT_OUT` names; `scripts/test` counts the lines and says how
//! many there were. With `CI=true` a missing part is a failed test instead.

use std::{env, fmt, fs::OpenOptions, io::Write, thread};

/// A real part that a test may need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// A container engine that answers, or one that can be started here.
    Docker,
    /// The Compose v2 plugin.
    Compose,
    /// A statically linked busybox, for images and workloads.
    Busybox,
    /// nginx, fcgiwrap and `git http-backend`.
    GitOverHttp,
    /// OpenSSH's server and `ssh-keygen`.
    Ssh,
    /// An image registry.
    Registry,
    /// PostgreSQL 16 or later.
    Postgres,
    /// strace, for faults in system calls.
    Strace,
    /// libfaketime, for wrong clocks.
    Faketime,
    /// The image of a machine that systemd runs.
    SystemdNode,
    /// QEMU, a kernel for its guest, and the tools for the guest's disk.
    Guest,
    /// The right to mount a small file system, which root has.
    Mount,
    /// The right to make network namespaces, which root has, with `ip`, `iptables` and `tc`.
    Network,
    /// nginx and `openssl`, for a proxy before the hub.
    Proxy,
    /// moto, a server that speaks S3.
    S3,
    /// restic 0.17 or later.
    Restic,
    /// Prometheus 3.5 or later.
    Prometheus,
    /// The built program `backstay-backup`.
    BackupProgram,
    /// OpenTelemetry's SDK and pyarrow, in Python.
    Senders,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "Docker",
            Self::Compose => "Docker Compose v2",
            Self::Busybox => "static busybox",
            Self::GitOverHttp => "nginx, fcgiwrap and git http-backend",
            Self::Ssh => "OpenSSH's server",
            Self::Registry => "an image registry",
            Self::Postgres => "PostgreSQL 16",
            Self::Strace => "strace",
            Self::Faketime => "libfaketime",
            Self::SystemdNode => "the image of a machine with systemd",
            Self::Guest => "QEMU and a kernel for its guest",
            Self::Mount => "the right to mount file systems",
            Self::Network => "the right to make network namespaces",
            Self::Proxy => "nginx and openssl",
            Self::S3 => "moto's S3 server",
            Self::Restic => "restic",
            Self::Prometheus => "Prometheus",
            Self::BackupProgram => "the built program backstay-backup",
            Self::Senders => "OpenTelemetry's SDK and pyarrow",
        })
    }
}

/// Notes that the running test is left out because `part` is missing.
///
/// # Panics
/// With `CI=true`, where nothing may be left out.
pub fn leave_out(part: Part, why: &str) {
    let test = test_name();
    assert!(
        env::var_os("CI").is_none_or(|ci| ci != "true"),
        "{test} needs {part}, which is missing ({why}), and CI=true leaves nothing out"
    );
    eprintln!("left out: {test} needs {part}: {why}; scripts/setup says how to get it");
    let Some(path) = env::var_os("BACKSTAY_LEFT_OUT") else { return };
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .expect("open the file BACKSTAY_LEFT_OUT names");
    // One short write, so that lines of several processes do not mix.
    file.write_all(format!("{test}\t{part}\n").as_bytes()).expect("note a test that was left out");
}

/// `value`, or `None` with the test noted as left out.
///
/// # Panics
/// As [`leave_out`].
pub fn require<T>(part: Part, value: Result<T, String>) -> Option<T> {
    value.map_err(|why| leave_out(part, &why)).ok()
}

fn test_name() -> String {
    env::var("NEXTEST_TEST_NAME")
        .ok()
        .or_else(|| thread::current().name().map(str::to_owned))
        .unwrap_or_else(|| "a test".to_owned())
}

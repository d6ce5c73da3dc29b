//! Saving, saving again, checking and restoring, beside restic with the same data in the same run.
//!
//! `backup-bench PROGRAM [--mb N]` says on standard error what it does and prints one JSON object for
//! `cargo xtask bench backup`: seconds of the first backup, restic's as the baseline, and the other steps as ratios.
//! Memory is the most that a program had resident, as the kernel counts it.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a tool for developers: what goes wrong ends it"
)]

use std::{
    collections::BTreeMap,
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use backstay_testkit::{Restic, scratch_dir};
use serde_json::{Value, json};

const PASSWORD: &str = "benchmark";
const ROUNDS: usize = 3;
const STEPS: [&str; 4] = ["backup", "changed", "check", "restore"];

/// What a step took: seconds, and bytes at most resident.
#[derive(Debug, Clone, Copy)]
struct Took {
    seconds: f64,
    bytes: u64,
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (program, mb) = match &arguments[..] {
        [program] => (program, 2_048),
        [program, flag, mb] if flag == "--mb" => (program, mb.parse().expect("a number of megabytes")),
        other => panic!("expected PROGRAM [--mb N], found {}", other.join(" ")),
    };
    let restic = Restic::require().expect("restic: scripts/setup gets it");
    let mut took: BTreeMap<(&str, &str), Vec<Took>> = BTreeMap::new();
    for round in 0..ROUNDS {
        let dir = scratch_dir();
        let from = dir.path().join("from");
        eprintln!("round {round}: making {mb} MB");
        make(&from, mb);
        let ours = Ours { program: program.into(), dir: dir.path().join("ours") };
        let theirs = Theirs { restic: restic.clone(), dir: dir.path().join("restic") };
        ours.init();
        theirs.init();
        for step in STEPS {
            if step == "changed" {
                change(&from);
            }
            // The one who is second finds the data in memory: they take turns.
            for turn in 0..2 {
                settle();
                let (who, result) = if (round + turn) % 2 == 0 {
                    ("ours", ours.step(step, &from))
                } else {
                    ("restic", theirs.step(step, &from))
                };
                eprintln!(
                    "  {step:<8} {who:<7} {:>7.2} s {:>5} MB",
                    result.seconds,
                    result.bytes / 1_000_000
                );
                took.entry((step, who)).or_default().push(result);
            }
        }
    }
    println!("{}", figures(&took, mb));
}

fn figures(took: &BTreeMap<(&str, &str), Vec<Took>>, mb: u64) -> Value {
    let seconds = |step, who| median(took[&(step, who)].iter().map(|took| took.seconds).collect());
    let memory = |step, who| median(took[&(step, who)].iter().map(|took| took.bytes as f64 / 1e6).collect());
    let mut more = serde_json::Map::new();
    let mut most: f64 = 0.0;
    for step in STEPS {
        let ratio = memory(step, "ours") / memory(step, "restic");
        most = most.max(ratio);
        more.insert(format!("{step}_s"), rounded(seconds(step, "ours")));
        more.insert(format!("{step}_restic_s"), rounded(seconds(step, "restic")));
        more.insert(format!("{step}_ratio"), rounded(seconds(step, "ours") / seconds(step, "restic")));
        more.insert(format!("{step}_mb"), rounded(memory(step, "ours")));
        more.insert(format!("{step}_memory_ratio"), rounded(ratio));
    }
    more.insert("memory_ratio".to_owned(), rounded(most));
    more.insert("mb".to_owned(), json!(mb));
    json!({ "value": seconds("backup", "ours"), "baseline": seconds("backup", "restic"), "more": more })
}

fn rounded(value: f64) -> Value {
    json!((value * 100.0).round() / 100.0)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Lets the disk come to rest.
fn settle() {
    let _ = Command::new("sync").status();
}

struct Ours {
    program: PathBuf,
    dir: PathBuf,
}

impl Ours {
    fn job(&self, task: &Value) -> Vec<u8> {
        let (repository, cache) = (self.dir.join("repository"), self.dir.join("cache"));
        let target = json!({ "kind": "folder", "path": repository });
        let mut job = json!({ "repository": { "target": target, "password": PASSWORD, "cache": cache } });
        job.as_object_mut().unwrap().extend(task.as_object().unwrap().clone());
        serde_json::to_vec(&job).unwrap()
    }

    fn run(&self, task: &Value) -> (Took, Value) {
        let said = self.dir.join("said");
        fs::create_dir_all(&self.dir).unwrap();
        let begun = Instant::now();
        let mut command = Command::new(&self.program);
        let mut child =
            command.stdin(Stdio::piped()).stdout(fs::File::create(&said).unwrap()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&self.job(task)).unwrap();
        let took = watched(child, begun);
        let said = fs::read_to_string(said).unwrap();
        (took, serde_json::from_str(said.lines().last().unwrap()).unwrap())
    }

    fn init(&self) {
        self.run(&json!({ "task": "init" }));
    }

    fn step(&self, step: &str, from: &Path) -> Took {
        let save = json!({
            "task": "snapshot", "host": "bench", "tags": [], "at": "2026-01-01T00:00:00Z",
            "roots": [{ "name": "data", "from": "path", "path": from }],
        });
        match step {
            "check" => {
                let (took, said) = self.run(&json!({ "task": "check", "read": [0, 1] }));
                assert_eq!(said["problems"], json!([]), "{said}");
                took
            }
            "restore" => {
                let (_, list) = self.run(&json!({ "task": "list" }));
                let id = &list["snapshots"].as_array().unwrap().last().unwrap()["id"];
                let into = self.dir.join("into");
                let places = json!([{ "path": "data", "into": into }]);
                let (took, said) = self.run(&json!({ "task": "restore", "snapshot": id, "places": places }));
                assert_eq!(said["damaged"], json!([]), "{said}");
                took
            }
            _ => {
                let (took, said) = self.run(&save);
                assert_eq!(said["proof"], "matched", "{said}");
                took
            }
        }
    }
}

struct Theirs {
    restic: Restic,
    dir: PathBuf,
}

impl Theirs {
    fn command(&self) -> Command {
        let mut command = Command::new(self.restic.path());
        command.env("RESTIC_REPOSITORY", self.dir.join("repository")).env("RESTIC_PASSWORD", PASSWORD);
        command.env("RESTIC_CACHE_DIR", self.dir.join("cache")).arg("--quiet").stdout(Stdio::null());
        command
    }

    fn init(&self) {
        fs::create_dir_all(&self.dir).unwrap();
        assert!(self.command().arg("init").status().unwrap().success());
    }

    fn step(&self, step: &str, from: &Path) -> Took {
        let mut command = self.command();
        match step {
            "check" => command.args(["check", "--read-data"]),
            "restore" => command.args(["restore", "latest", "--target"]).arg(self.dir.join("into")),
            _ => command.arg("backup").arg(from),
        };
        let begun = Instant::now();
        watched(command.spawn().unwrap(), begun)
    }
}

/// Waits for a program and sees how much memory it has at most.
fn watched(mut child: Child, begun: Instant) -> Took {
    let status = format!("/proc/{}/status", child.id());
    let mut bytes = 0;
    loop {
        bytes = peak(&status).max(bytes);
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return Took { seconds: begun.elapsed().as_secs_f64(), bytes };
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn peak(status: &str) -> u64 {
    let text = fs::read_to_string(status).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1_024
}

/// A third small files, a third of a megabyte each, a third large; half of each is text that compresses.
fn make(at: &Path, mb: u64) {
    let third = mb * 1_000_000 / 3;
    fill(&at.join("small"), third, 12_000);
    fill(&at.join("medium"), third, 1_000_000);
    fill(&at.join("large"), third, 100_000_000);
}

fn fill(at: &Path, bytes: u64, each: u64) {
    let mut made = 0;
    let mut number = 0;
    while made < bytes {
        // From half to one and a half times the size.
        let length = (each / 2 + number * 7_919 % each).min(bytes - made + 1);
        let folder = at.join(format!("{:03}", number / 200));
        if number % 200 == 0 {
            fs::create_dir_all(&folder).unwrap();
        }
        fs::write(
            folder.join(format!("f{number:06}")),
            content(each + number, length as usize, number % 2 == 0),
        )
        .unwrap();
        made += length;
        number += 1;
    }
}

fn content(seed: u64, length: usize, is_text: bool) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes = Vec::with_capacity(length + 64);
    while bytes.len() < length {
        if is_text {
            let (user, took) = (next() % 10_000, next() % 1_000);
            let line = format!(
                "2026-01-01 12:00:00 INFO request of user={user} took={took} ms, status=200, path=/api\n"
            );
            bytes.extend_from_slice(line.as_bytes());
        } else {
            bytes.extend_from_slice(&next().to_le_bytes());
        }
    }
    bytes.truncate(length);
    bytes
}

/// One file of a hundred gets other bytes at its beginning.
fn change(at: &Path) {
    let mut files = Vec::new();
    let mut open = vec![at.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    for path in files.iter().step_by(100) {
        let mut bytes = fs::read(path).unwrap();
        let length = bytes.len().min(4_096);
        bytes[..length].copy_from_slice(&content(77, length, false));
        fs::write(path, bytes).unwrap();
    }
}

//! Data to be saved, and what was saved of it.

use std::{fs, path::Path, time::Duration};

use backstay_api::{
    Empty,
    v1::{ListSnapshots, SnapshotView, SnapshotsQuery},
};
use backstay_e2e::{Fleet, Node};
use backstay_testkit::{Restic, eventually_within};
use backstay_types::backup::{BackupReason, Proof};

/// How long saving and reading back may take before something is wrong.
const PATIENCE: Duration = Duration::from_secs(900);
/// Of the files that are made.
const FILE_BYTES: usize = 4 << 20;
const WORDS: [&str; 8] = ["order", "paid", "shipped", "customer", "total", "returned", "note", "open"];

/// Fills a folder with files of 4 MB, half of them text, the others such that nothing can be packed; other data for
/// another `seed`. In a name's order it is the same each time.
pub(crate) fn fill(dir: &Path, mb: u64, seed: u64) -> Result<(), String> {
    let files = (mb << 20) / FILE_BYTES as u64;
    for number in 0..files {
        let name = format!("{number:05}.{}", if number % 2 == 0 { "txt" } else { "bin" });
        write(&dir.join(name), seed * 1_000_003 + number)?;
    }
    Ok(())
}

/// Writes every hundredth of these files anew, one at least.
pub(crate) fn spoil(dir: &Path, mb: u64, seed: u64) -> Result<(), String> {
    let files = (mb << 20) / FILE_BYTES as u64;
    for number in (0..files).step_by(100) {
        let name = format!("{number:05}.{}", if number % 2 == 0 { "txt" } else { "bin" });
        write(&dir.join(name), seed * 7_000_003 + number)?;
    }
    Ok(())
}

fn write(path: &Path, seed: u64) -> Result<(), String> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut content = Vec::with_capacity(FILE_BYTES + 32);
    let text = path.extension().is_some_and(|end| end == "txt");
    while content.len() < FILE_BYTES {
        let random = next();
        if text {
            let word = WORDS[(random % 8) as usize];
            content.extend_from_slice(format!("{word} {} ", random >> 40).as_bytes());
        } else {
            content.extend_from_slice(&random.to_le_bytes());
        }
    }
    fs::write(path, content).map_err(|error| format!("{}: {error}", path.display()))
}

/// What tells whether two folders hold the same: names, and a sum over all content.
pub(crate) fn sum(dir: &Path) -> Result<String, String> {
    let mut sum = std::process::Command::new("sh");
    // The folder is an argument, not a part of the script.
    sum.args(["-c", r#"cd "$1" && find . -type f ! -name starts | sort | xargs cat | sha256sum"#, "sum"])
        .arg(dir);
    backstay_testkit::capture(&mut sum).map_err(|failed| failed.to_string())
}

/// Where a volume of a node's engine is on this machine.
pub(crate) fn volume(node: &Node, name: &str) -> std::path::PathBuf {
    node.docker().run(&["volume", "inspect", "-f", "{{.Mountpoint}}", name]).trim().into()
}

/// The newest snapshot of a node that was made for this reason, once the hub has read it back.
pub(crate) fn proven(fleet: &Fleet, node: &str, reason: BackupReason) -> SnapshotView {
    let query = SnapshotsQuery { node: Some(node.to_owned()), ..SnapshotsQuery::default() };
    eventually_within(PATIENCE, "a snapshot to be proven", || {
        let all = fleet.api.call::<ListSnapshots>(&Empty {}, &query, &Empty {}).items;
        let newest = all.into_iter().find(|found| found.kept.snapshot.tags.reason == reason);
        let newest = newest.ok_or("there is none".to_owned())?;
        let proof = newest.kept.snapshot.proof;
        if proof >= Proof::Verified { Ok(newest) } else { Err(format!("it is {proof:?}")) }
    })
}

/// A repository as its owner opens it with restic and the recovery key.
pub(crate) struct ByHand {
    restic: Restic,
    place: String,
    password: String,
}

impl ByHand {
    /// Opens a node's; `key` is the file with the recovery key, made before.
    pub(crate) fn open(fleet: &Fleet, restic: Restic, node: &str, key: &str) -> Self {
        let ask = ["--json", "backup", "open", node, "--recovery-key", key, "--print"];
        let opened = eventually_within(PATIENCE, "the password to be sealed", || {
            let output = fleet.cli.output(&ask);
            serde_json::from_slice::<serde_json::Value>(&output.stdout)
                .map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())
        });
        let text = |name: &str| opened[name].as_str().expect("a text").to_owned();
        Self { restic, place: text("place"), password: text("password") }
    }

    /// `restic ARGS`; a bucket takes any key here.
    pub(crate) fn run(&self, args: &[&str]) -> Result<String, String> {
        let mut command = self.restic.command(&self.place, &self.password);
        command.args(args).env("AWS_ACCESS_KEY_ID", "bench").env("AWS_SECRET_ACCESS_KEY", "bench");
        backstay_testkit::capture(&mut command).map_err(|failed| failed.to_string())
    }
}

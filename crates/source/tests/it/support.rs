//! An upstream repository, a clone to work in, and a mirror.

use std::{
    cell::Cell,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use backstay_source::{Endpoint, Mirror, MirrorConfig, NewCommit, RevertOutcome, undo_message};
use backstay_types::{CommitId, Person, Timestamp, UndoId};
use tempfile::TempDir;

pub(crate) struct Fleet {
    pub(crate) dir: TempDir,
    clock: Cell<i64>,
}

pub(crate) const UNDO: &str = "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b";

impl Fleet {
    /// An upstream with one commit on `main`, and a clone of it.
    pub(crate) fn new() -> Self {
        let fleet = Self::empty();
        fleet.write("stacks/web/compose.yaml", "services: {}\n");
        fleet.commit("Begin");
        fleet.publish();
        fleet
    }

    /// An upstream without commits.
    pub(crate) fn empty() -> Self {
        let fleet = Self { dir: tempfile::tempdir().unwrap(), clock: Cell::new(1_700_000_000) };
        fleet.git_in(fleet.dir.path(), &["init", "-q", "--bare", "-b", "main", "up.git"]);
        fleet.git_in(fleet.dir.path(), &["init", "-q", "-b", "main", "work"]);
        fleet.git(&["remote", "add", "origin", fleet.upstream().to_str().unwrap()]);
        fleet
    }

    pub(crate) fn upstream(&self) -> PathBuf {
        self.dir.path().join("up.git")
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    pub(crate) fn mirror(&self) -> Mirror {
        self.mirror_of(&[self.upstream().to_str().unwrap()])
    }

    pub(crate) fn mirror_of(&self, endpoints: &[&str]) -> Mirror {
        let endpoints = endpoints.iter().map(|text| Endpoint::parse(text).unwrap()).collect();
        Mirror::open_or_init(self.dir.path().join("mirror"), MirrorConfig::new(endpoints, "main")).unwrap()
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        self.git_in(&self.work(), args)
    }

    pub(crate) fn git_in(&self, dir: &Path, args: &[&str]) -> String {
        let output = self.command(dir, args).output().unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub(crate) fn command(&self, dir: &Path, args: &[&str]) -> Command {
        let now = self.clock.get() + 60;
        self.clock.set(now);
        let mut command = Command::new("git");
        command.env_clear().current_dir(dir).args(args).stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.dir.path());
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
        for role in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{role}_NAME"), "Tester")
                .env(format!("GIT_{role}_EMAIL"), "tester@localhost");
            command.env(format!("GIT_{role}_DATE"), format!("{now} +0000"));
        }
        command
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.work().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn commit(&self, message: &str) -> CommitId {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.head()
    }

    /// One file, one commit.
    pub(crate) fn change(&self, path: &str, content: impl AsRef<[u8]>) -> CommitId {
        self.write(path, content);
        self.commit(&format!("Change {path}"))
    }

    pub(crate) fn head(&self) -> CommitId {
        self.git(&["rev-parse", "HEAD"]).parse().unwrap()
    }

    pub(crate) fn publish(&self) {
        self.git(&["push", "-q", "-f", "origin", "HEAD:main"]);
    }
}

/// Lines `line 1` to `line n`, some replaced.
pub(crate) fn lines(n: usize, replaced: &[(usize, &str)]) -> String {
    (1..=n)
        .map(|at| match replaced.iter().find(|(line, _)| *line == at) {
            Some((_, text)) => format!("{text}\n"),
            None => format!("line {at}\n"),
        })
        .collect()
}

pub(crate) fn fetch(mirror: &Mirror) -> CommitId {
    mirror.fetch(None).unwrap().tip
}

/// Makes the undo commit of a plan.
pub(crate) fn make(mirror: &Mirror, tip: &CommitId, plan: &RevertOutcome) -> CommitId {
    let undo: UndoId = UNDO.parse().unwrap();
    let message = undo_message("Undo", "", undo, &plan.reverted);
    let by = Person { name: "Backstay".into(), email: "backstay@localhost".into() };
    let new = NewCommit {
        draft: &plan.draft,
        parents: std::slice::from_ref(tip),
        message: &message,
        by: &by,
        at: Timestamp::from_second(1_800_000_000).unwrap(),
    };
    mirror.commit_undo(undo, &new).unwrap()
}

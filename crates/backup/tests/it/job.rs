//! A repository with its program.

use std::{
    fs,
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use backstay_testkit::scratch_dir;
use backstay_types::{
    Secret,
    backup::{
        SnapshotId,
        job::{
            Done, Failed, Job, Line, Place, Problem, Repository, RestoreTask, Restored, Root, SnapshotMade,
            SnapshotTask, Source, Target, Task,
        },
    },
};

pub(crate) const PASSWORD: &str = "correct horse";

/// A folder for one test, with a repository that jobs are run on.
pub(crate) struct Bench {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) repository: Repository,
    pub(crate) bytes_per_second: Option<u64>,
    /// Before the program, such as what gives it another clock.
    pub(crate) prefix: Vec<String>,
    pub(crate) silence_seconds: u64,
    pub(crate) program: PathBuf,
}

/// What a job printed.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) lines: Vec<Line>,
    pub(crate) took: Duration,
}

impl Outcome {
    /// What a job that was started comes to.
    pub(crate) fn of(child: Child) -> Self {
        let begun = Instant::now();
        let output = child.wait_with_output().unwrap();
        let outcome = Self::read(std::str::from_utf8(&output.stdout).unwrap(), begun.elapsed());
        let is_done = matches!(outcome.lines.last(), Some(Line::Done(_)));
        assert_eq!(output.status.success(), is_done, "{:?} {outcome:?}", output.status);
        outcome
    }

    fn read(text: &str, took: Duration) -> Self {
        let lines =
            text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")));
        Self { lines: lines.collect(), took }
    }

    pub(crate) fn done(self) -> Done {
        match self.lines.last() {
            Some(Line::Done(done)) => (**done).clone(),
            other => panic!("it is not done: {other:?}"),
        }
    }

    pub(crate) fn failed(self) -> Failed {
        match self.lines.last() {
            Some(Line::Failed(failed)) => failed.clone(),
            other => panic!("it did not fail: {other:?}"),
        }
    }
}

impl Bench {
    /// A folder whose repository is not made yet.
    pub(crate) fn new() -> Self {
        let dir = scratch_dir();
        let target = Target::Folder { path: text(&dir.path().join("repository")) };
        Self::at(dir, target)
    }

    pub(crate) fn at(dir: tempfile::TempDir, target: Target) -> Self {
        let cache = Some(text(&dir.path().join("cache")));
        let repository = Repository { target, password: Secret::new(PASSWORD), cache };
        Self {
            dir,
            repository,
            bytes_per_second: None,
            prefix: Vec::new(),
            silence_seconds: 30,
            program: env!("CARGO_BIN_EXE_backstay-backup").into(),
        }
    }

    /// With a repository that is made.
    pub(crate) fn made() -> Self {
        let place = Self::new();
        place.init();
        place
    }

    pub(crate) fn init(&self) {
        let made = self.run(Task::Init { passwords: Vec::new() }).done();
        assert!(matches!(made, Done::Init { made: true, .. }), "{made:?}");
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// All files of a kind in the repository's folder.
    pub(crate) fn files(&self, kind: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut open = vec![self.path("repository").join(kind)];
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { open.push(path) } else { found.push(path) }
            }
        }
        found.sort();
        found
    }

    pub(crate) fn job(&self, task: Task) -> Job {
        Job { repository: self.repository.clone(), bytes_per_second: self.bytes_per_second, task }
    }

    pub(crate) fn start(&self, task: Task) -> Child {
        let mut command = match self.prefix.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        command.env("BACKSTAY_BACKUP_SILENCE_SECONDS", self.silence_seconds.to_string());
        command.env("BACKSTAY_BACKUP_ATTEMPTS", "2");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap();
        let text = serde_json::to_vec(&self.job(task)).unwrap();
        child.stdin.take().unwrap().write_all(&text).unwrap();
        child
    }

    pub(crate) fn run(&self, task: Task) -> Outcome {
        Outcome::of(self.start(task))
    }

    /// Saves a folder as the root `data`.
    pub(crate) fn save_task(&self, from: &Path) -> Task {
        Task::Snapshot(SnapshotTask {
            roots: vec![root("data", from)],
            host: "node-1".to_owned(),
            tags: vec!["backstay:stack=shop".to_owned()],
            at: "2026-11-22T03:00:00Z".parse().unwrap(),
        })
    }

    pub(crate) fn save(&self, from: &Path) -> SnapshotMade {
        match self.run(self.save_task(from)).done() {
            Done::Snapshot(made) => made,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn verify(&self, snapshot: SnapshotId) -> u64 {
        match self.run(Task::Verify { snapshot }).done() {
            Done::Verify { bytes } => bytes,
            other => panic!("{other:?}"),
        }
    }

    /// All that is wrong, with all data read.
    pub(crate) fn check(&self) -> Vec<Problem> {
        match self.run(Task::Check { read: Some((0, 1)), except: Vec::new() }).done() {
            Done::Check { problems, .. } => problems,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn restore_task(&self, snapshot: SnapshotId, path: &str, into: &Path) -> Task {
        let places = vec![Place { path: path.to_owned(), into: text(into) }];
        Task::Restore(RestoreTask { snapshot, places, delete_others: false, reuse: false, keep_free: 0 })
    }

    pub(crate) fn restore(&self, snapshot: SnapshotId, path: &str, into: &Path) -> Restored {
        restored(self.run(self.restore_task(snapshot, path, into)))
    }

    pub(crate) fn list(&self) -> Vec<SnapshotId> {
        match self.run(Task::List).done() {
            Done::List { snapshots } => snapshots.into_iter().map(|listed| listed.id).collect(),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn restored(outcome: Outcome) -> Restored {
    match outcome.done() {
        Done::Restore(restored) => restored,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn root(name: &str, path: &Path) -> Root {
    Root { name: name.to_owned(), from: Source::Path { path: text(path), exclude: Vec::new() } }
}

pub(crate) fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Bytes that do not compress, the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

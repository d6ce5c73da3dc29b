//! Stands in for `backstay-backup` in tests: obeys its contract with folders instead of a repository. Its first argument is
//! where it keeps them. With a second one, the true program, it only has that work on a repository in that folder.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it is part of tests"
)]

use std::{
    env, fs,
    io::{Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

use backstay_types::{
    Digest,
    backup::{
        Proof, SnapshotId,
        job::{
            Done, Failed, FailedKind, FileEntry, FileKind, Job, Line, RestoreTask, Restored, RootMade,
            SnapshotMade, SnapshotTask, Source, Target, Task,
        },
    },
};

fn main() {
    let arguments: Vec<String> = env::args().collect();
    let store = PathBuf::from(&arguments[1]);
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).unwrap();
    let job: Job = serde_json::from_str(&text).unwrap();
    fs::create_dir_all(&store).unwrap();
    note(&store, &job);
    let mode = || fs::read_to_string(store.join("mode")).unwrap_or_default();
    let waits = |mode: &str| match mode.trim() {
        "wait" => true,
        "wait-snapshot" => matches!(job.task, Task::Snapshot(_)),
        _ => false,
    };
    while waits(&mode()) {
        sleep(Duration::from_millis(20));
    }
    match mode().trim() {
        "cut" => return,
        "hang" => sleep(Duration::from_secs(3600)),
        "slow" => sleep(Duration::from_secs(3)),
        "away" => return tell(&failed(FailedKind::Unreachable, "the target does not answer")),
        _ => {}
    }
    if let Some(program) = arguments.get(2) {
        return truly(program, &store, job);
    }
    tell(&Line::Progress { files: 1, files_total: None, bytes: 2, bytes_total: None });
    tell(&match job.task {
        Task::Snapshot(task) => snapshot(&store, &task),
        Task::Restore(task) => restore(&store, &task),
        Task::Files { snapshot, .. } => files(&store, snapshot),
        _ => failed(FailedKind::BadJob, "not for tests"),
    });
}

/// What tests want to see: that limits hold, and what was asked, without what is secret.
fn note(store: &Path, job: &Job) {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let data = limits.lines().find(|line| line.starts_with("Max data size")).unwrap();
    let nice = fs::read_to_string("/proc/self/stat").unwrap();
    let nice = nice.rsplit_once(") ").unwrap().1.split(' ').nth(16).unwrap().to_owned();
    let task = serde_json::to_string(&job.task).unwrap();
    let text = format!("nice {nice}; {data}; bytes {:?}; {task}\n", job.bytes_per_second);
    let mut log = fs::OpenOptions::new().create(true).append(true).open(store.join("log")).unwrap();
    log.write_all(text.as_bytes()).unwrap();
}

fn tell(line: &Line) {
    println!("{}", serde_json::to_string(line).unwrap());
}

fn failed(kind: FailedKind, message: &str) -> Line {
    Line::Failed(Failed { kind, message: message.to_owned(), problems: Vec::new() })
}

fn truly(program: &str, store: &Path, mut job: Job) {
    job.repository.target = Target::Folder { path: store.join("repository").display().to_string() };
    let init = Job { task: Task::Init { passwords: Vec::new() }, ..job.clone() };
    for (job, stdout) in [(init, Stdio::null()), (job, Stdio::inherit())] {
        let mut child = Command::new(program).stdin(Stdio::piped()).stdout(stdout).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&serde_json::to_vec(&job).unwrap()).unwrap();
        child.wait().unwrap();
    }
}

/// Everything below a folder: path, and what it is.
fn walk(root: &Path, below: &str, exclude: &[String], found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(root.join(below)) else { return };
    for entry in entries {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        if exclude.iter().any(|pattern| *pattern == format!("/{path}")) {
            continue;
        }
        found.push(path.clone());
        if fs::symlink_metadata(root.join(&path)).is_ok_and(|meta| meta.is_dir()) {
            walk(root, &path, exclude, found);
        }
    }
}

/// Copies a tree; files, bytes, and a digest of what there is.
fn copy(from: &Path, to: &Path, exclude: &[String]) -> (u64, u64, Vec<u8>) {
    let meta = fs::symlink_metadata(from).unwrap();
    if meta.is_file() {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
        return (1, meta.len(), fs::read(from).unwrap());
    }
    fs::create_dir_all(to).unwrap();
    let mut paths = Vec::new();
    walk(from, "", exclude, &mut paths);
    paths.sort();
    let (mut bytes, mut content) = (0, Vec::new());
    for path in &paths {
        let (from, to) = (from.join(path), to.join(path));
        let meta = fs::symlink_metadata(&from).unwrap();
        content.extend_from_slice(format!("{path}\0{:o}\0", meta.mode()).as_bytes());
        if meta.is_dir() {
            fs::create_dir_all(&to).unwrap();
        } else if meta.is_symlink() {
            symlink(fs::read_link(&from).unwrap(), &to).unwrap();
        } else {
            fs::copy(&from, &to).unwrap();
            let read = fs::read(&to).unwrap();
            bytes += read.len() as u64;
            content.extend_from_slice(Digest::of(&read).as_bytes());
        }
    }
    (paths.len() as u64, bytes, content)
}

fn snapshot(store: &Path, task: &SnapshotTask) -> Line {
    let growing = store.join("growing");
    let _ = fs::remove_dir_all(&growing);
    let (mut roots, mut all) = (Vec::new(), Vec::new());
    for root in &task.roots {
        let Source::Path { path, exclude } = &root.from else {
            return failed(FailedKind::BadJob, "not for tests");
        };
        let (files, bytes, content) = copy(Path::new(path), &growing.join(&root.name), exclude);
        roots.push(RootMade { name: root.name.clone(), files, bytes });
        all.extend(content);
    }
    all.extend(fs::read_dir(store).unwrap().count().to_be_bytes());
    let manifest = Digest::of(&all);
    fs::write(store.join(format!("{manifest}.tags")), task.tags.join("\n")).unwrap();
    fs::rename(growing, store.join(manifest.to_string())).unwrap();
    let made = SnapshotMade {
        id: SnapshotId::new(manifest),
        files: roots.iter().map(|root| root.files).sum(),
        bytes: roots.iter().map(|root| root.bytes).sum(),
        added_bytes: 1,
        manifest,
        roots,
        proof: Proof::Matched,
    };
    Line::Done(Box::new(Done::Snapshot(made)))
}

fn restore(store: &Path, task: &RestoreTask) -> Line {
    let root = store.join(task.snapshot.to_string());
    if !root.is_dir() {
        return failed(FailedKind::NoSnapshot, "there is no such snapshot");
    }
    let (mut files, mut bytes, mut content) = (0, 0, Vec::new());
    for place in &task.places {
        let from = root.join(&place.path);
        if fs::symlink_metadata(&from).is_err() {
            return failed(FailedKind::NoSnapshot, &format!("`{}` is not in it", place.path));
        }
        let (f, b, c) = copy(&from, Path::new(&place.into), &[]);
        (files, bytes) = (files + f, bytes + b);
        content.extend(c);
    }
    let digest = Digest::of(&content);
    spoil(store, task);
    Line::Done(Box::new(Done::Restore(Restored { files, bytes, damaged: Vec::new(), digest })))
}

/// What a repository would hold that says that it is well and is not: `cut PATH` takes a byte from a file that was
/// restored, `zero PATH` fills its second half with zeros.
fn spoil(store: &Path, task: &RestoreTask) {
    let mode = fs::read_to_string(store.join("mode")).unwrap_or_default();
    let Some((how, path)) = mode.trim().split_once(' ') else { return };
    let path = Path::new(&task.places[0].into).join(path);
    let mut content = fs::read(&path).unwrap();
    let half = content.len() / 2;
    match how {
        "cut" => content.truncate(content.len() - 1),
        _ => content[half..].fill(0),
    }
    fs::write(path, content).unwrap();
}

/// All that is in a snapshot.
fn files(store: &Path, snapshot: SnapshotId) -> Line {
    let root = store.join(snapshot.to_string());
    let mut paths = Vec::new();
    walk(&root, "", &[], &mut paths);
    paths.sort();
    let entry = |path: String| {
        let meta = fs::symlink_metadata(root.join(&path)).unwrap();
        let kind = match &meta {
            meta if meta.is_dir() => FileKind::Folder,
            meta if meta.is_symlink() => FileKind::Link,
            _ => FileKind::File,
        };
        let bytes = if kind == FileKind::File { meta.len() } else { 0 };
        FileEntry { path, kind, bytes, mode: meta.mode() & 0o7777, modified: None }
    };
    Line::Done(Box::new(Done::Files { files: paths.into_iter().map(entry).collect() }))
}

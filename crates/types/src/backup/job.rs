//! What the program `backstay-backup` is given on its standard input, and what it prints: one job as JSON, then a line of
//! JSON for each [`Line`]. The last line is `done` or `failed`; without one the program was cut off.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Proof, Snapshot, SnapshotId, SnapshotTags};
use crate::{Digest, ErrorCode, Secret, Timestamp};

/// One job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The repository.
    pub repository: Repository,
    /// Bytes a second that may be sent or fetched.
    #[serde(default)]
    pub bytes_per_second: Option<u64>,
    /// What to do with it.
    #[serde(flatten)]
    pub task: Task,
}

/// A repository in restic's format, and what opens it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// Where it is.
    pub target: Target,
    /// A password of it.
    pub password: Secret,
    /// A folder for its index and trees, made when it is missing. Without one, every job reads them from the target.
    #[serde(default)]
    pub cache: Option<String>,
}

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Target {
    /// A folder of this machine.
    Folder {
        /// Absolute.
        path: String,
    },
    /// A bucket that speaks S3.
    S3 {
        /// Such as `https://s3.eu-central-003.backblazeb2.com`.
        endpoint: String,
        /// Such as `eu-central-003`.
        region: String,
        /// The bucket.
        bucket: String,
        /// A folder in it, without slashes at its ends; may be empty.
        prefix: String,
        /// Its key's id.
        access_key: String,
        /// Its key.
        secret_key: Secret,
    },
    /// restic's REST protocol (version 2), as the hub speaks it.
    Rest {
        /// The repository's address, ending in `/`.
        url: String,
        /// Sent as `Authorization: Bearer`.
        credential: Secret,
        /// A file with certificate authorities (PEM) to trust instead of the system's.
        #[serde(default)]
        ca_file: Option<String>,
    },
}

/// What is done with a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum Task {
    /// Makes the repository where there is none; does nothing where there is one that the password opens.
    Init {
        /// Further passwords that open it.
        #[serde(default)]
        passwords: Vec<Secret>,
    },
    /// Adds a password. One that is there already is not added again.
    AddPassword {
        /// The new one.
        password: Secret,
    },
    /// Makes a snapshot. When anything that was to be saved is missing from it, or changed its kind meanwhile, or a stream
    /// failed, it is `failed` and the snapshot is not named (it stays unproven, and is taken away by the hub's `forget`).
    Snapshot(SnapshotTask),
    /// Reads back all that a snapshot needs, past the cache: structure, trees, every pack of its data.
    Verify {
        /// The snapshot.
        snapshot: SnapshotId,
    },
    /// Checks the structure of all, and reads a part of the data.
    Check {
        /// Which part of how many, from 0; nothing is read when absent, everything for `(0, 1)`.
        #[serde(default)]
        read: Option<(u32, u32)>,
        /// Snapshots that are known to be damaged: what these lack is not looked for.
        #[serde(default)]
        except: Vec<SnapshotId>,
    },
    /// Takes out what cannot be read any more and makes the index anew, so that the next backup saves it again. Reads all
    /// data. Never while somebody writes.
    Repair,
    /// All snapshots in it.
    List,
    /// What a snapshot holds, below a path.
    Files {
        /// The snapshot.
        snapshot: SnapshotId,
        /// Below this path; all of it when empty.
        #[serde(default)]
        path: String,
        /// All the way down, or only what is directly there.
        #[serde(default)]
        recursive: bool,
    },
    /// Writes a snapshot's files. A damaged file costs that file only.
    Restore(RestoreTask),
    /// Takes snapshots out of the list. Their data stays until `prune`.
    Forget {
        /// Exactly these.
        snapshots: Vec<SnapshotId>,
    },
    /// Takes away data that no snapshot needs. In two phases: what is no longer needed is marked now and deleted by a later
    /// run at least 23 hours after.
    Prune {
        /// Only says what it would do.
        #[serde(default)]
        dry_run: bool,
    },
    /// Copies snapshots into another repository, which has its own password. Those that are there already are left out.
    Copy {
        /// The other one.
        to: Repository,
        /// Which.
        snapshots: Vec<SnapshotId>,
    },
}

/// What a snapshot is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotTask {
    /// What is saved. Each gets a folder of its own at the top of the snapshot.
    pub roots: Vec<Root>,
    /// The host in restic's sense: the node's name.
    pub host: String,
    /// Tags, each without commas.
    pub tags: Vec<String>,
    /// When it was begun, by the hub's clock.
    pub at: Timestamp,
}

/// One thing that is saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Its folder in the snapshot: the item's name.
    pub name: String,
    /// Where it comes from.
    #[serde(flatten)]
    pub from: Source,
}

/// Where saved bytes come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Source {
    /// A file or a folder with all that is in it, on this file system only.
    Path {
        /// Absolute.
        path: String,
        /// Patterns as in `.gitignore`, relative to the path.
        #[serde(default)]
        exclude: Vec<String>,
    },
    /// What a program prints. Only a status of 0 counts.
    Command {
        /// Program and arguments.
        argv: Vec<String>,
        /// The name of the file that it becomes.
        file: String,
    },
}

/// What is written by a restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreTask {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// What goes where. Paths outside these are left out.
    pub places: Vec<Place>,
    /// Takes away what is at a place and not in the snapshot.
    #[serde(default)]
    pub delete_others: bool,
    /// Takes from a file that is at its place already what of it is as in the snapshot, and fetches the rest alone.
    #[serde(default)]
    pub reuse: bool,
    /// So many bytes stay free of each disk that is written to.
    #[serde(default)]
    pub keep_free: u64,
}

/// Where a part of a snapshot goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// A path in the snapshot, such as `data/orders`; all of it when empty.
    pub path: String,
    /// Where its content is written: absolute. A folder's content goes into this folder, a file becomes this file.
    pub into: String,
}

/// A line that the program prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Line {
    /// How far it is; about once a second.
    Progress {
        /// Files done.
        files: u64,
        /// Files in all, where that is known.
        #[serde(default)]
        files_total: Option<u64>,
        /// Bytes done.
        bytes: u64,
        /// Bytes in all, where that is known.
        #[serde(default)]
        bytes_total: Option<u64>,
    },
    /// It is done.
    Done(Box<Done>),
    /// It is not.
    Failed(Failed),
}

/// What came of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "done", rename_all = "snake_case")]
pub enum Done {
    /// Of `init`.
    Init {
        /// Whether it was made now.
        made: bool,
        /// The repository's id.
        id: String,
    },
    /// Of `add_password`.
    AddPassword,
    /// Of `snapshot`: matched with the manifest.
    Snapshot(SnapshotMade),
    /// Of `verify`: `Proof::Verified`.
    Verify {
        /// Bytes that were read from the target.
        bytes: u64,
    },
    /// Of `check`. Problems are part of the answer, not a failure.
    Check {
        /// Bytes that were read from the target.
        bytes: u64,
        /// The first 100 problems.
        problems: Vec<Problem>,
    },
    /// Of `repair`.
    Repair {
        /// What was lost, the first 100. Which snapshots that concerns is told by reading them back.
        lost: Vec<Problem>,
        /// Bytes that could be saved from damaged packs.
        saved_bytes: u64,
    },
    /// Of `list`, oldest first.
    List {
        /// The snapshots.
        snapshots: Vec<Listed>,
    },
    /// Of `files`, by path.
    Files {
        /// The files.
        files: Vec<FileEntry>,
    },
    /// Of `restore`: every file was written and has the digest that the snapshot says.
    Restore(Restored),
    /// Of `forget`.
    Forget {
        /// How many were there and are gone.
        gone: u64,
    },
    /// Of `prune`.
    Prune(Pruned),
    /// Of `copy`: ids in the other repository.
    Copy {
        /// Each with the one that it is a copy of.
        copies: Vec<Copied>,
    },
}

/// A snapshot that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotMade {
    /// Its id.
    pub id: SnapshotId,
    /// Files and folders.
    pub files: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// Bytes that were added to the repository.
    pub added_bytes: u64,
    /// See [`super::Snapshot::manifest`].
    pub manifest: Digest,
    /// By root, in the order of the task.
    pub roots: Vec<RootMade>,
    /// How far it is proven: `Matched`.
    pub proof: Proof,
}

impl SnapshotMade {
    /// The snapshot, begun at this time and for this.
    pub fn of(&self, at: Timestamp, tags: SnapshotTags) -> Snapshot {
        Snapshot {
            id: self.id,
            at,
            tags,
            proof: self.proof,
            files: self.files,
            bytes: self.bytes,
            added_bytes: self.added_bytes,
            manifest: self.manifest,
        }
    }
}

/// What a root came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootMade {
    /// Its name.
    pub name: String,
    /// Files and folders.
    pub files: u64,
    /// Bytes of content.
    pub bytes: u64,
}

/// A snapshot in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its id.
    pub id: SnapshotId,
    /// When, as it says.
    pub at: Timestamp,
    /// The host.
    pub host: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// What it saved.
    pub paths: Vec<String>,
    /// The snapshot of another repository that it is a copy of.
    #[serde(default)]
    pub original: Option<SnapshotId>,
}

/// A file in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileEntry {
    /// Its path, without a slash at the front.
    pub path: String,
    /// What it is.
    pub kind: FileKind,
    /// Bytes of content.
    pub bytes: u64,
    /// Mode, permission bits only.
    pub mode: u32,
    /// When it was changed last.
    pub modified: Option<Timestamp>,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A device, a pipe or a socket.
    Other,
}

/// What a restore came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// Files and folders that are there now.
    pub files: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// Those that could not be restored; empty when all is well.
    pub damaged: Vec<Problem>,
    /// SHA-256 over path, kind, mode and content's SHA-256 of all that was written, in the order of paths.
    pub digest: Digest,
}

/// What a prune came to, or would come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pruned {
    /// Bytes that the repository takes before.
    pub bytes_before: u64,
    /// Bytes that no snapshot needs.
    pub unused_bytes: u64,
    /// Bytes that are deleted by this run.
    pub deleted_bytes: u64,
    /// Bytes that are marked, and deleted by a later run.
    pub marked_bytes: u64,
}

/// A snapshot's copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// The one that was copied.
    pub from: SnapshotId,
    /// Its copy.
    pub to: SnapshotId,
}

/// Something that is wrong in a repository or could not be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// A file in the repository, or a path in a snapshot.
    pub at: String,
    /// What is wrong.
    pub what: String,
}

/// Why a job failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// What kind of failure.
    pub kind: FailedKind,
    /// What was wrong, where, what was expected and what to do.
    pub message: String,
    /// What it concerns, the first 100: paths that could not be saved, files that are damaged.
    #[serde(default)]
    pub problems: Vec<Problem>,
}

/// What kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailedKind {
    /// There is no repository.
    NoRepository,
    /// The password does not open it.
    WrongPassword,
    /// The target does not answer, or not in time. Worth trying again.
    Unreachable,
    /// The target refused: not allowed.
    Refused,
    /// The target, or this machine's disk, is full.
    Full,
    /// What was to be saved is missing or could not be read.
    Source,
    /// The repository is damaged.
    Damaged,
    /// There is no such snapshot.
    NoSnapshot,
    /// The job itself is wrong.
    BadJob,
    /// Something else.
    Other,
}

impl FailedKind {
    /// The code that people find the failure's page by; none for what only a program can correct.
    pub const fn code(self) -> Option<ErrorCode> {
        match self {
            Self::NoRepository => Some(ErrorCode::BS9001),
            Self::WrongPassword => Some(ErrorCode::BS9002),
            Self::Unreachable => Some(ErrorCode::BS9003),
            Self::Refused => Some(ErrorCode::BS9004),
            Self::Full => Some(ErrorCode::BS9005),
            Self::Source => Some(ErrorCode::BS9006),
            Self::Damaged => Some(ErrorCode::BS9007),
            Self::NoSnapshot => Some(ErrorCode::BS9008),
            Self::BadJob | Self::Other => None,
        }
    }
}

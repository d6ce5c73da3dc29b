//! Git, on the hub: mirrors, facts of commits, release packs and undo commits.
//!
//! [`Mirror`] is a bare repository of the hub's own. `git` itself, hardened, talks to other machines; reading,
//! comparing, merging and writing happen in process. Everything here blocks, and nothing here decides: what a
//! commit means for nodes is for others.
//!
//! Absent on purpose: working trees, hooks, submodules, LFS, and anything that deletes a commit.

mod changes;
mod commit;
mod diff;
mod draft;
mod durable;
mod endpoint;
mod error;
mod fetch;
mod git;
mod history;
mod locks;
mod merge;
mod message;
mod mirror;
mod notes;
mod patch;
mod paths;
mod push;
mod remote;
mod skip;
mod ssh;
mod statements;
mod text;
mod tree;
mod tree_diff;
mod undo;
mod walk;

pub use changes::{ChangeFacts, Changes};
pub use commit::{NewCommit, undo_message};
pub use diff::between as diff_between;
pub use draft::{At, Draft, Holds};
pub use endpoint::{Endpoint, Protocol};
pub use error::{EndpointFailure, FailureKind, SourceError};
pub use fetch::{Credential, Fetched, FetchedBranch};
pub use history::Blame;
pub use merge::ConflictKind;
pub use message::{MessageFacts, NoteSession, Provenance, Trailer, read_message};
pub use mirror::{Mirror, MirrorConfig, Relation};
pub use notes::read_note;
pub use push::Pushed;
pub use remote::default_branch;
pub use skip::{HistoryEntry, SkipReason, Skipped};
pub use ssh::Ssh;
pub use statements::Statements;
pub use tree::{Entry, Listing, MAX_FILE_BYTES, StackTree};
pub use undo::{Conflict, Resolution, RestoreOutcome, RevertOutcome};

//! Files and folders, written so that a power cut leaves the old or the new.

pub(crate) mod audit;
mod files;
mod identity;
mod journal;
mod layout;
mod links;
mod lock;
mod sink;
mod space;

pub use self::identity::Identity;
pub(crate) use self::{
    files::{remove_dir, replace_file, sync_dir, write_atomic},
    identity::{parse_key, token_fingerprint},
    journal::JournalDb,
    layout::{Layout, SAFE_MODE, private_dir},
    links::{read_links, set_links},
    lock::{AgentLock, WorkLock, running_agent},
    sink::{FolderSink, hash_file, hash_folder, list_folder},
    space::{check_space, disk as free, fill_facts},
};

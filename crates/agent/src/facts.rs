//! What is told to the hub about the machine: facts when they change, figures now and then.

mod figures;
mod hardware;
mod network;
mod text;
mod usage;

use std::path::Path;

use backstay_types::HostFacts;

pub(crate) use self::figures::Measure;
use crate::{disk::Layout, runtime};

/// The machine as it is now.
pub(crate) async fn facts(layout: &Layout) -> HostFacts {
    let uname = rustix::system::uname();
    let mut facts = HostFacts {
        os: std::env::consts::OS.to_owned(),
        arch: std::env::consts::ARCH.to_owned(),
        hostname: uname.nodename().to_string_lossy().into_owned(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        manifest_schema: backstay_manifest::MANIFEST_SCHEMA,
        runtimes: runtime::working().await,
        kernel: uname.release().to_string_lossy().into_owned(),
        ..HostFacts::default()
    };
    hardware::fill(Path::new("/"), &mut facts);
    network::fill(Path::new("/"), &mut facts);
    crate::disk::fill_facts(layout.data(), &mut facts);
    facts
}

/// A small file of `/proc` or `/sys`, without the white space around it. None when it is not there or not text.
fn read(root: &Path, path: &str) -> Option<String> {
    let text = std::fs::read_to_string(root.join(path)).ok()?;
    // The device tree ends its texts with a zero byte.
    Some(text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned())
}

/// The names in a folder, sorted; none when it is not there.
fn names(root: &Path, path: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root.join(path)).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

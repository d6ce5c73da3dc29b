//! Whether there is room for what is to be written: a disk that a restore fills is full for everybody on the machine.

use std::{
    collections::{BTreeMap, HashSet},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use backstay_types::backup::job::FailedKind;
use rustic_core::repofile::Node;
use rustix::fs::statfs;

use crate::fault::Fault;

/// File systems that may need less than is written: Btrfs and ZFS, which compress.
const COMPRESSING: [u64; 2] = [0x9123_683e, 0x2fc1_2fc1];

/// What a file takes of a disk at least, in bytes. What is in it more than once may be a hole.
pub(super) fn least(node: &Node) -> u64 {
    let content = node.content.as_deref().unwrap_or_default();
    let unique = content.iter().collect::<HashSet<_>>().len() as u128;
    let least = u128::from(node.meta.size) * unique / (content.len().max(1) as u128);
    u64::try_from(least).unwrap_or(u64::MAX)
}

/// Whether each disk has room for what goes there, with so many bytes left over.
///
/// # Errors
/// [`FailedKind::Full`], with the place, what is needed and what is free; when a disk cannot be asked.
pub(super) fn check(wanted: &[(PathBuf, u64)], keep_free: u64) -> Result<(), Fault> {
    let mut disks: BTreeMap<u64, (&Path, u64)> = BTreeMap::new();
    for (into, bytes) in wanted {
        let device = device(into).map_err(|error| Fault::of_io(into.display(), &error))?;
        disks.entry(device).or_insert((into, 0)).1 += bytes;
    }
    for (into, bytes) in disks.into_values() {
        let there = existing(into);
        let stat = statfs(there).map_err(|error| Fault::of_io(there.display(), &error.into()))?;
        let free = stat.f_bavail.saturating_mul(u64::try_from(stat.f_bsize).unwrap_or_default());
        let compresses = u64::try_from(stat.f_type).is_ok_and(|kind| COMPRESSING.contains(&kind));
        if !compresses && bytes.saturating_add(keep_free) > free {
            let into = into.display();
            let message = format!(
                "{into}: the disk would be full: {bytes} bytes are to be written and {keep_free} to stay free, {free} \
                 are free; make room, or restore less or elsewhere"
            );
            return Err(Fault::new(FailedKind::Full, message));
        }
    }
    Ok(())
}

fn device(path: &Path) -> io::Result<u64> {
    fs::metadata(existing(path)).map(|meta| meta.dev())
}

/// The path, or what is there of it.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"))
}

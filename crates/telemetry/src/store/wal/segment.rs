//! One file of the log: how it is named and read.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::frame::{FRAME, LARGEST};
use crate::store::disk;

/// What a file begins with; the last digit is the version of the format.
pub(crate) type Magic = [u8; 8];

/// The file of that number.
pub(super) fn path_of(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:08}.wal"))
}

/// Numbers of the files that are there, in order.
pub(super) fn list(folder: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wal") {
            found.extend(path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok()));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// What reading a file came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ReadThrough {
    /// Its end was cut: a write had not come to its end.
    pub(super) torn: bool,
    /// Records that were not what was written, with good ones behind them.
    pub(super) damaged: u64,
}

/// Reads a file and gives each record to `take`. What stands at the end of the file and is not whole was never
/// acknowledged: it is cut off, so that it is counted once.
pub(super) fn read<R>(
    path: &Path,
    magic: &Magic,
    decode: impl Fn(&[u8]) -> Option<R>,
    mut take: impl FnMut(R),
) -> io::Result<ReadThrough> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let mut through = ReadThrough::default();
    if bytes.get(..magic.len()) != Some(magic) {
        through.torn = !bytes.is_empty();
        through.damaged = u64::from(bytes.len() > magic.len());
        return Ok(through);
    }
    let mut at = magic.len();
    while at < bytes.len() {
        let Some((payload, sum, next)) = frame(&bytes, at) else {
            cut(&file, at, &mut through)?;
            break;
        };
        let record = (crc32fast::hash(payload) == sum).then(|| decode(payload)).flatten();
        match record {
            Some(record) => take(record),
            // The last one: its bytes had not all come to the disk.
            None if next == bytes.len() => {
                cut(&file, at, &mut through)?;
                break;
            }
            None => through.damaged += 1,
        }
        at = next;
    }
    Ok(through)
}

fn cut(file: &File, at: usize, through: &mut ReadThrough) -> io::Result<()> {
    through.torn = true;
    disk::cut(file, at as u64)
}

/// The payload of the frame at a place, its sum, and where the next one begins.
fn frame(bytes: &[u8], at: usize) -> Option<(&[u8], u32, usize)> {
    let head = bytes.get(at..at + FRAME)?;
    let word = |at: usize| head[at..at + 4].try_into().map(u32::from_le_bytes).ok();
    let (length, sum) = (word(0)? as usize, word(4)?);
    if length == 0 || length > LARGEST {
        return None;
    }
    let next = at + FRAME + length;
    Some((bytes.get(at + FRAME..next)?, sum, next))
}

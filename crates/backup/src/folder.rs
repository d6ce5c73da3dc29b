//! Folders of this machine.

use std::{
    ffi::OsString,
    os::{fd::AsFd, unix::ffi::OsStringExt},
};

use rustix::{fs::Dir, io::Errno};

/// Names in a folder, sorted as the format wants them.
pub(crate) fn names_in(folder: impl AsFd) -> Result<Vec<OsString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name.to_vec()));
        }
    }
    names.sort_unstable();
    Ok(names)
}

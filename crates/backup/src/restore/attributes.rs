//! Owner, mode, times and extended attributes of what was made.

use std::{
    ffi::OsStr,
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use jiff::Timestamp;
use rustic_core::repofile::{Metadata, Node};
use rustix::{
    fs::{
        AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, fchmod, fchown,
        fsetxattr, futimens, lsetxattr, utimensat,
    },
    io::Errno,
};

use crate::{fault::Fault, tree::permissions};

/// What an open file or folder is to be like.
pub(super) fn set_open(file: BorrowedFd<'_>, meta: &Metadata, at: &Path) -> Vec<Fault> {
    let mut faults = Faults { at, faults: Vec::new() };
    let (user, group) = owner(meta);
    faults.owner(fchown(file, user, group));
    // Before the mode: a file that nobody may write to takes no attributes from its owner.
    for attribute in &meta.extended_attributes {
        let value = attribute.value.as_deref().unwrap_or_default();
        faults.attribute(&attribute.name, fsetxattr(file, &attribute.name, value, XattrFlags::empty()));
    }
    // After the owner: changing it takes set-user-id away.
    faults.of("mode", fchmod(file, Mode::from_raw_mode(permissions(meta.mode.unwrap_or(0o600)))));
    if let Some(times) = times(meta) {
        faults.of("times", futimens(file, &times));
    }
    faults.faults
}

/// What a link, a device or a pipe is to be like.
pub(super) fn set_named(folder: &OwnedFd, name: &OsStr, node: &Node, at: &Path) -> Vec<Fault> {
    let meta = &node.meta;
    let mut faults = Faults { at, faults: Vec::new() };
    let (user, group) = owner(meta);
    faults.owner(chownat(folder, name, user, group, AtFlags::SYMLINK_NOFOLLOW));
    let mut path = format!("/proc/self/fd/{}/", folder.as_raw_fd()).into_bytes();
    path.extend(name.as_bytes());
    for attribute in &meta.extended_attributes {
        let value = attribute.value.as_deref().unwrap_or_default();
        faults.attribute(&attribute.name, lsetxattr(&*path, &attribute.name, value, XattrFlags::empty()));
    }
    if !node.is_symlink() {
        let mode = Mode::from_raw_mode(permissions(meta.mode.unwrap_or(0o600)));
        faults.of("mode", chmodat(folder, name, mode, AtFlags::empty()));
    }
    if let Some(times) = times(meta) {
        faults.of("times", utimensat(folder, name, &times, AtFlags::SYMLINK_NOFOLLOW));
    }
    faults.faults
}

fn owner(meta: &Metadata) -> (Option<Uid>, Option<Gid>) {
    (meta.uid.map(Uid::from_raw), meta.gid.map(Gid::from_raw))
}

fn times(meta: &Metadata) -> Option<Timestamps> {
    let spec = |time: Timestamp| {
        // Before 1970 the two have different signs here.
        let nanoseconds = time.as_nanosecond();
        let seconds = nanoseconds.div_euclid(1_000_000_000);
        Some(Timespec {
            tv_sec: i64::try_from(seconds).ok()?,
            tv_nsec: i64::try_from(nanoseconds.rem_euclid(1_000_000_000)).ok()?,
        })
    };
    let modified = spec(meta.mtime?)?;
    let accessed = meta.atime.and_then(spec).unwrap_or(modified);
    Some(Timestamps { last_access: accessed, last_modification: modified })
}

struct Faults<'a> {
    at: &'a Path,
    faults: Vec<Fault>,
}

impl Faults<'_> {
    fn of(&mut self, what: &str, result: Result<(), Errno>) {
        if let Err(error) = result {
            let what = format!("setting the {what} of {}", self.at.display());
            self.faults.push(Fault { kind: kind_of(error), ..Fault::of_io(what, &io::Error::from(error)) });
        }
    }

    /// Who is not root gives files to nobody else; that is as it should be.
    fn owner(&mut self, result: Result<(), Errno>) {
        let is_root = rustix::process::geteuid().is_root();
        self.of(
            "owner",
            result.or_else(|error| if error == Errno::PERM && !is_root { Ok(()) } else { Err(error) }),
        );
    }

    /// Labels of the machine's own guard belong to the machine; it sets its own.
    fn attribute(&mut self, name: &str, result: Result<(), Errno>) {
        let is_label = name == "security.selinux";
        let is_foreign =
            |error: Errno| is_label && matches!(error, Errno::NOTSUP | Errno::PERM | Errno::ACCESS);
        let result = result.or_else(|error| if is_foreign(error) { Ok(()) } else { Err(error) });
        self.of(&format!("attribute {name}"), result);
    }
}

/// What a file cannot be like costs that file; only a full disk ends it all.
fn kind_of(error: Errno) -> backstay_types::backup::job::FailedKind {
    use backstay_types::backup::job::FailedKind;
    match error {
        Errno::NOSPC | Errno::DQUOT => FailedKind::Full,
        _ => FailedKind::Other,
    }
}

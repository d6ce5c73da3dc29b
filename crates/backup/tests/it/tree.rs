//! Folders with all that files can be, and what two of them differ in.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{MetadataExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{
    CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, lgetxattr, llistxattr, mknodat, utimensat,
};

use crate::job::noise;

/// A folder with a bit of everything.
pub(crate) fn all_kinds(at: &Path) {
    fs::create_dir_all(at.join("deep/er/still")).unwrap();
    fs::write(at.join("empty"), b"").unwrap();
    fs::write(at.join("small"), b"a few bytes").unwrap();
    fs::write(at.join("large"), noise(1, 9_000_000)).unwrap();
    fs::write(at.join("deep/er/still/file"), noise(2, 70_000)).unwrap();
    fs::write(at.join(OsString::from_vec(b"line\nbreak".to_vec())), b"odd 1").unwrap();
    fs::write(at.join(OsString::from_vec(b"not-\xff\xfe-utf8".to_vec())), b"odd 2").unwrap();
    fs::write(at.join("back\\slash \"and\" 'quotes' `too`"), b"odd 3").unwrap();
    fs::write(at.join("-rf"), b"odd 4").unwrap();
    fs::create_dir(at.join(OsString::from_vec(b"folder \xf0\x28 \t".to_vec()))).unwrap();
    fs::hard_link(at.join("large"), at.join("deep/large too")).unwrap();
    symlink("small", at.join("link")).unwrap();
    symlink("/nowhere/at all", at.join("dangling")).unwrap();
    symlink(OsStr::from_bytes(b"bytes-\xff"), at.join("odd-link")).unwrap();
    mknodat(CWD, at.join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    sparse(&at.join("sparse"));
    for (name, mode) in [("small", 0o4751), ("empty", 0o400), ("deep", 0o2770), ("deep/er", 0o1755)] {
        fs::set_permissions(at.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    rustix::fs::setxattr(at.join("small"), "user.note", b"bytes \0 \xff", XattrFlags::empty()).unwrap();
    rustix::fs::setxattr(at.join("deep"), "user.folder", b"too", XattrFlags::empty()).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(at.join("small"), Some(1234), Some(4321)).unwrap();
        fs::set_permissions(at.join("small"), fs::Permissions::from_mode(0o4751)).unwrap();
        std::os::unix::fs::lchown(at.join("link"), Some(1234), None).unwrap();
    }
    for (name, seconds) in [("small", -86_400), ("link", 1_000_000_000), ("deep", 1_234_567_890)] {
        let time = Timespec { tv_sec: seconds, tv_nsec: 123_456_789 };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, at.join(name), &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

/// 64 MiB of nothing with a bit of something.
fn sparse(at: &Path) {
    use std::os::unix::fs::FileExt;
    let file = fs::File::create(at).unwrap();
    file.write_all_at(b"begin", 0).unwrap();
    file.write_all_at(b"middle", 40 << 20).unwrap();
    file.set_len(64 << 20).unwrap();
}

/// Many small files in a few folders.
pub(crate) fn many_small(at: &Path, count: u64) {
    for number in 0..count {
        let folder = at.join(format!("{}", number / 100));
        if number % 100 == 0 {
            fs::create_dir_all(&folder).unwrap();
        }
        fs::write(folder.join(format!("f{number}")), noise(number + 10, (number % 9_000) as usize)).unwrap();
    }
}

/// What a file is like, all but when it was last looked at.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Like {
    pub(crate) mode: u32,
    pub(crate) owner: (u32, u32),
    pub(crate) modified: (i64, i64),
    pub(crate) content: Option<Vec<u8>>,
    pub(crate) link: Option<PathBuf>,
    pub(crate) attributes: BTreeMap<OsString, Vec<u8>>,
    /// Another name of the same file that comes before this one.
    pub(crate) same_as: Option<PathBuf>,
}

/// All below a folder, itself as the empty path.
pub(crate) fn look(at: &Path) -> BTreeMap<PathBuf, Like> {
    let mut found = BTreeMap::new();
    let mut names = BTreeMap::new();
    below(at, Path::new(""), &mut found, &mut names);
    found
}

fn below(
    top: &Path,
    inside: &Path,
    found: &mut BTreeMap<PathBuf, Like>,
    names: &mut BTreeMap<(u64, u64), PathBuf>,
) {
    let path = if inside == Path::new("") { top.to_owned() } else { top.join(inside) };
    let metadata = fs::symlink_metadata(&path).unwrap();
    let mut same_as = None;
    if metadata.is_file() && metadata.nlink() > 1 {
        let key = (metadata.dev(), metadata.ino());
        same_as = names.get(&key).cloned();
        names.entry(key).or_insert_with(|| inside.to_owned());
    }
    let like = Like {
        mode: metadata.mode(),
        owner: (metadata.uid(), metadata.gid()),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        content: metadata.is_file().then(|| fs::read(&path).unwrap()),
        link: metadata.is_symlink().then(|| fs::read_link(&path).unwrap()),
        attributes: attributes(&path),
        same_as,
    };
    found.insert(inside.to_owned(), like);
    if metadata.is_dir() {
        let mut entries: Vec<_> =
            fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        entries.sort();
        for name in entries {
            below(top, &inside.join(name), found, names);
        }
    }
}

fn attributes(path: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let mut names = vec![0; 4096];
    let Ok(length) = llistxattr(path, &mut names) else { return BTreeMap::new() };
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; 4096];
            let length = lgetxattr(path, name, &mut value).unwrap();
            value.truncate(length);
            (OsString::from_vec(name.to_vec()), value)
        })
        .collect()
}

/// Fails with the first difference.
pub(crate) fn assert_same(one: &Path, other: &Path) {
    let (one, other) = (look(one), look(other));
    let names = |like: &BTreeMap<PathBuf, Like>| like.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&one), names(&other));
    for (path, like) in &one {
        let there = &other[path];
        let short = |like: &Like| {
            (
                like.mode,
                like.owner,
                like.modified,
                like.link.clone(),
                like.attributes.clone(),
                like.same_as.clone(),
            )
        };
        assert_eq!(short(like), short(there), "{path:?}");
        assert!(like.content == there.content, "the content of {path:?} differs");
    }
}

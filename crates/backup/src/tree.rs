//! Walking what a snapshot holds.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Component, Path, PathBuf},
    vec::IntoIter,
};

use backstay_types::backup::job::{FileEntry, FileKind};
use rustic_core::{
    IndexedTree, Repository, RusticError, TreeId,
    repofile::{Node, NodeType},
};

use crate::fault::Fault;

/// All below a tree, each folder before what is in it, by name.
///
/// A tree that cannot be read is an error in its place, and what is beside it still comes: the library's own walk loses
/// its way there.
pub(crate) struct Walk<'a, S> {
    repository: &'a Repository<S>,
    levels: Vec<Level>,
    recursive: bool,
}

struct Level {
    path: PathBuf,
    nodes: IntoIter<Node>,
}

/// One step of a walk.
pub(crate) enum Step {
    /// Something, with its path.
    Node(PathBuf, Box<Node>),
    /// A folder whose content cannot be read, and why. It was a `Node` before.
    Unreadable(PathBuf, Box<RusticError>),
}

impl<'a, S: IndexedTree> Walk<'a, S> {
    /// Below this tree; paths begin with `path`.
    pub(crate) fn new(
        repository: &'a Repository<S>,
        tree: TreeId,
        path: &Path,
        recursive: bool,
    ) -> Result<Self, Box<RusticError>> {
        let nodes = repository.get_tree(&tree)?.nodes.into_iter();
        Ok(Self { repository, levels: vec![Level { path: path.to_owned(), nodes }], recursive })
    }
}

impl<S: IndexedTree> Iterator for Walk<'_, S> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        loop {
            let level = self.levels.last_mut()?;
            let Some(node) = level.nodes.next() else {
                self.levels.pop();
                continue;
            };
            let path = level.path.join(node.name());
            // A second `Unreadable` step is a level of its own without nodes.
            if self.recursive
                && let Some(tree) = node.subtree
            {
                match self.repository.get_tree(&tree) {
                    Ok(tree) => self.levels.push(Level { path: path.clone(), nodes: tree.nodes.into_iter() }),
                    Err(error) => return Some(Step::Unreadable(path, error)),
                }
            }
            return Some(Step::Node(path, Box::new(node)));
        }
    }
}

/// The node at a path; the snapshot's top as a folder when it is empty.
pub(crate) fn node_at<S: IndexedTree>(
    repository: &Repository<S>,
    tree: TreeId,
    path: &Path,
) -> Result<Option<Node>, Box<RusticError>> {
    let mut node = Node { node_type: NodeType::Dir, subtree: Some(tree), ..Node::default() };
    for component in path.components() {
        let Component::Normal(name) = component else { continue };
        let Some(tree) = node.subtree else { return Ok(None) };
        let found = repository.get_tree(&tree)?.nodes.into_iter().find(|node| node.name() == name);
        let Some(found) = found else { return Ok(None) };
        node = found;
    }
    Ok(Some(node))
}

/// What kind of file it is.
pub(crate) fn kind_of(node: &Node) -> FileKind {
    match node.node_type {
        NodeType::File => FileKind::File,
        NodeType::Dir => FileKind::Folder,
        NodeType::Symlink { .. } => FileKind::Link,
        NodeType::Dev { .. } | NodeType::Chardev { .. } | NodeType::Fifo | NodeType::Socket => {
            FileKind::Other
        }
    }
}

/// A file in a list.
pub(crate) fn entry(path: &Path, node: &Node) -> FileEntry {
    let kind = kind_of(node);
    FileEntry {
        path: shown(path),
        kind,
        bytes: if kind == FileKind::File { node.meta.size } else { 0 },
        mode: permissions(node.meta.mode.unwrap_or(0)),
        modified: node.meta.mtime,
    }
}

/// A path for people: bytes that are no text are escaped as `\xNN`, and so is the backslash, as restic does.
pub(crate) fn shown(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                character => text.push(character),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// The path that [`shown`] was made of.
pub(crate) fn from_shown(text: &str) -> Result<PathBuf, Fault> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    let wrong = || {
        Fault::bad_job(format!("the path `{text}` has a backslash that escapes nothing; write \\\\ or \\xNN"))
    };
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        match rest {
            [b'\\', after @ ..] => {
                bytes.push(b'\\');
                rest = after;
            }
            [b'x', high, low, after @ ..] => {
                let digits = [*high, *low];
                let byte = std::str::from_utf8(&digits).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok());
                bytes.push(byte.ok_or_else(wrong)?);
                rest = after;
            }
            _ => return Err(wrong()),
        }
    }
    Ok(PathBuf::from(OsString::from_vec(bytes)))
}

/// Go's bits for set-user-id, set-group-id and sticky, which restic's format has.
const GO_BITS: [(u32, u32); 3] = [(1 << 23, 0o4000), (1 << 22, 0o2000), (1 << 20, 0o1000)];

/// Permission bits of a mode as the format has it.
pub(crate) fn permissions(go_mode: u32) -> u32 {
    GO_BITS.iter().filter(|(go, _)| go_mode & go != 0).fold(go_mode & 0o777, |mode, (_, bit)| mode | bit)
}

/// A mode as the format has it, of a file's mode on this machine.
pub(crate) fn go_mode(mode: u32) -> u32 {
    let kind = match mode & 0o170_000 {
        0o040_000 => 1 << 31,
        0o120_000 => 1 << 27,
        0o060_000 => 1 << 26,
        0o020_000 => 1 << 26 | 1 << 21,
        0o010_000 => 1 << 25,
        0o140_000 => 1 << 24,
        _ => 0,
    };
    GO_BITS.iter().filter(|(_, bit)| mode & bit != 0).fold(kind | mode & 0o777, |mode, (go, _)| mode | go)
}

/// The path as it is in a snapshot: its names, without slashes at its ends.
pub(crate) fn without_slashes(path: &Path) -> PathBuf {
    path.components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

/// The name as bytes.
pub(crate) fn bytes_of(path: &Path) -> &[u8] {
    OsStr::as_bytes(path.as_os_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_names_are_shown_so_that_they_can_be_asked_for() {
        for name in [&b"plain"[..], b"new\nline", b"\xff\xfe", b"back\\slash", b"\\x41", "umläut".as_bytes()]
        {
            let path = PathBuf::from(OsString::from_vec(name.to_vec()));
            assert_eq!(from_shown(&shown(&path)).unwrap(), path, "{name:?}");
        }
        assert!(from_shown("a\\q").is_err());
    }

    #[test]
    fn modes_come_back() {
        for mode in [0o755, 0o4755, 0o2770, 0o1777, 0o7000] {
            assert_eq!(permissions(go_mode(0o100_000 | mode)), mode);
        }
    }
}

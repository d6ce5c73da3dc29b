//! A stack's tree, its digest, and the pack in which it travels.
//!
//! The digest is over mode, path and content and nothing else, so that hub and
//! agent arrive at the same one whichever way the files came. Layout (version 1):
//! SHA-256 of `backstay-tree-1\n`, then for every file in ascending byte order
//! of its path: `<mode> <path>\0` and the 32 bytes of the content's SHA-256.
//!
//! A pack is `BSPACK1\n` and one zstd frame with the files in the same order,
//! each as mode (u32), path length (u32), content length (u64), all little
//! endian, path, content. Order is part of the format: a reader checks it,
//! which makes the digest computable in one pass.

use std::io::{self, Read, Write};

use sha2::{Digest as _, Sha256};

use crate::digest::{Digest, TreeDigest};

const MAGIC: &[u8; 8] = b"BSPACK1\n";
/// The largest tree that is accepted, in bytes of content.
pub const MAX_TREE_BYTES: u64 = 512 << 20;
/// The largest number of files in a tree.
pub const MAX_TREE_FILES: usize = 20_000;

/// What a path in a tree may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `100644`
    File,
    /// `100755`
    Executable,
}

impl Mode {
    /// Git's number for it.
    pub const fn number(self) -> u32 {
        match self {
            Self::File => 0o100_644,
            Self::Executable => 0o100_755,
        }
    }

    /// The mode with Git's number, if it is allowed in a release.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            0o100_644 => Some(Self::File),
            0o100_755 => Some(Self::Executable),
            _ => None,
        }
    }
}

/// Why a tree or a pack is refused.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A path that could leave the release's folder or that a file system would misread.
    #[error(
        "`{0}` is not allowed as a path in a release: expected a relative path without `.`, `..`, `.git`, empty parts, backslashes or control characters"
    )]
    Path(String),
    /// Files out of order or twice.
    #[error("`{0}` is out of order or twice in the pack")]
    Order(String),
    /// A mode other than file or executable.
    #[error("`{path}` has mode {mode:o}: links and submodules are not allowed in a release")]
    Mode {
        /// The path.
        path: String,
        /// Its mode.
        mode: u32,
    },
    /// Too large.
    #[error("the release is too large: at most {MAX_TREE_FILES} files and {MAX_TREE_BYTES} bytes")]
    TooLarge,
    /// Not a pack, or a truncated one.
    #[error("the pack is damaged or truncated: {0}")]
    Damaged(#[from] io::Error),
    /// The content does not match the digest.
    #[error("the tree's digest is {found}, expected {expected}")]
    Digest {
        /// What was signed.
        expected: TreeDigest,
        /// What came.
        found: TreeDigest,
    },
}

/// Checks that a path may be used inside a release.
///
/// # Errors
/// [`TreeError::Path`] when it may not.
pub fn check_path(path: &str) -> Result<(), TreeError> {
    let part_ok = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && !part.eq_ignore_ascii_case(".git")
            && part.len() <= 255
    };
    let clean = !path.chars().any(|c| c.is_control() || c == '\\');
    if clean && path.len() <= 1024 && path.split('/').all(part_ok) {
        Ok(())
    } else {
        Err(TreeError::Path(path.to_owned()))
    }
}

/// The path of a file in a folder, both with `/` between names; the root is the empty folder.
pub fn in_folder(folder: &str, file: &str) -> String {
    if folder.is_empty() { file.to_owned() } else { format!("{folder}/{file}") }
}

/// The path of a file from a folder on; none where it is not in it, at whatever depth.
pub fn below<'p>(folder: &str, path: &'p str) -> Option<&'p str> {
    if folder.is_empty() { Some(path) } else { path.strip_prefix(folder)?.strip_prefix('/') }
}

/// Computes a tree's digest from files given in ascending order of path.
#[derive(Debug)]
pub struct TreeHasher {
    hash: Sha256,
    last: Option<String>,
    files: usize,
    bytes: u64,
}

impl Default for TreeHasher {
    fn default() -> Self {
        Self { hash: Sha256::new_with_prefix(b"backstay-tree-1\n"), last: None, files: 0, bytes: 0 }
    }
}

impl TreeHasher {
    /// Adds a file by the SHA-256 of its content.
    ///
    /// # Errors
    /// When the path is not allowed, out of order, or the tree grows too large.
    pub fn add(&mut self, mode: Mode, path: &str, content: Digest, len: u64) -> Result<(), TreeError> {
        check_path(path)?;
        if self.last.as_deref().is_some_and(|last| last >= path) {
            return Err(TreeError::Order(path.to_owned()));
        }
        self.files += 1;
        self.bytes = self.bytes.saturating_add(len);
        if self.files > MAX_TREE_FILES || self.bytes > MAX_TREE_BYTES {
            return Err(TreeError::TooLarge);
        }
        self.hash.update(format!("{:o} {path}\0", mode.number()));
        self.hash.update(content.as_bytes());
        self.last = Some(path.to_owned());
        Ok(())
    }

    /// Content bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The digest of all that was added.
    pub fn finish(self) -> TreeDigest {
        Digest::from_bytes(self.hash.finalize().into())
    }
}

/// A file of a tree, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeFile {
    /// Path relative to the stack's folder, parts separated by `/`.
    pub path: String,
    /// Its mode.
    pub mode: Mode,
    /// Its content.
    pub content: Vec<u8>,
}

/// The digest of files in any order.
///
/// # Errors
/// As [`TreeHasher::add`].
pub fn digest(files: &[TreeFile]) -> Result<TreeDigest, TreeError> {
    let mut hasher = TreeHasher::default();
    for file in sorted(files) {
        hasher.add(file.mode, &file.path, Digest::of(&file.content), file.content.len() as u64)?;
    }
    Ok(hasher.finish())
}

/// Packs files, given in any order.
///
/// # Errors
/// When a path is not allowed or twice, or the tree is too large.
pub fn pack(files: &[TreeFile]) -> Result<Vec<u8>, TreeError> {
    digest(files)?;
    let mut out = MAGIC.to_vec();
    let mut zstd = zstd::Encoder::new(&mut out, 3)?;
    for file in sorted(files) {
        zstd.write_all(&file.mode.number().to_le_bytes())?;
        zstd.write_all(&u32::try_from(file.path.len()).map_err(|_| TreeError::TooLarge)?.to_le_bytes())?;
        zstd.write_all(&(file.content.len() as u64).to_le_bytes())?;
        zstd.write_all(file.path.as_bytes())?;
        zstd.write_all(&file.content)?;
    }
    zstd.finish()?;
    Ok(out)
}

fn sorted(files: &[TreeFile]) -> Vec<&TreeFile> {
    let mut files: Vec<_> = files.iter().collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// Where the files of a pack go: a folder on the agent, memory in tests.
pub trait TreeSink {
    /// Takes one file; `content` yields exactly `len` bytes.
    ///
    /// # Errors
    /// Whatever writing can fail with.
    fn file(&mut self, path: &str, mode: Mode, len: u64, content: &mut dyn Read) -> io::Result<()>;
}

impl TreeSink for Vec<TreeFile> {
    fn file(&mut self, path: &str, mode: Mode, _: u64, content: &mut dyn Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        self.push(TreeFile { path: path.to_owned(), mode, content: bytes });
        Ok(())
    }
}

/// Reads a pack in one pass with bounded memory and checks it against `expected`.
/// The sink may have been given files by the time an error shows: throw them away.
///
/// # Errors
/// When the pack is damaged, holds something not allowed, or is not the expected tree.
pub fn unpack(pack: impl Read, expected: TreeDigest, sink: &mut dyn TreeSink) -> Result<(), TreeError> {
    let mut pack = pack;
    let mut magic = [0; 8];
    pack.read_exact(&mut magic)?;
    if &magic != MAGIC {
        return Err(TreeError::Damaged(io::Error::new(io::ErrorKind::InvalidData, "not a pack")));
    }
    let mut zstd = zstd::Decoder::new(pack)?;
    let mut hasher = TreeHasher::default();
    while let Some(mode) = read_mode(&mut zstd)? {
        let path_len = u32::from_le_bytes(read_array(&mut zstd)?) as usize;
        let len = u64::from_le_bytes(read_array(&mut zstd)?);
        if path_len > 1024 || hasher.bytes().saturating_add(len) > MAX_TREE_BYTES {
            return Err(TreeError::TooLarge);
        }
        let mut path = vec![0; path_len];
        zstd.read_exact(&mut path)?;
        let path = String::from_utf8(path).map_err(|e| TreeError::Path(e.to_string()))?;
        check_path(&path)?;
        let mode = Mode::from_number(mode).ok_or_else(|| TreeError::Mode { path: path.clone(), mode })?;
        let mut content = Hashing { inner: (&mut zstd).take(len), hash: Sha256::new(), left: len };
        sink.file(&path, mode, len, &mut content)?;
        if content.left != 0 {
            return Err(TreeError::Damaged(io::ErrorKind::UnexpectedEof.into()));
        }
        let digest = Digest::from_bytes(content.hash.finalize().into());
        hasher.add(mode, &path, digest, len)?;
    }
    let found = hasher.finish();
    if found == expected { Ok(()) } else { Err(TreeError::Digest { expected, found }) }
}

/// The mode of the next file, or `None` at a clean end.
fn read_mode(reader: &mut impl Read) -> Result<Option<u32>, TreeError> {
    let mut bytes = [0; 4];
    let mut filled = 0;
    while filled < 4 {
        match reader.read(&mut bytes[filled..])? {
            0 if filled == 0 => return Ok(None),
            0 => return Err(TreeError::Damaged(io::ErrorKind::UnexpectedEof.into())),
            n => filled += n,
        }
    }
    Ok(Some(u32::from_le_bytes(bytes)))
}

fn read_array<const N: usize>(reader: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

struct Hashing<R> {
    inner: R,
    hash: Sha256,
    left: u64,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.hash.update(&buf[..n]);
        self.left -= n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(path: &str, content: &[u8]) -> TreeFile {
        TreeFile { path: path.to_owned(), mode: Mode::File, content: content.to_vec() }
    }

    fn files() -> impl Strategy<Value = Vec<TreeFile>> {
        prop::collection::btree_map(
            "[a-z]{1,6}(/[a-z]{1,6}){0,2}",
            prop::collection::vec(any::<u8>(), 0..200),
            0..12,
        )
        .prop_map(|map| map.into_iter().map(|(path, content)| file(&path, &content)).collect())
    }

    #[test]
    fn a_folder_holds_what_is_below_it_and_nothing_that_only_begins_alike() {
        assert_eq!(below("", "a/b"), Some("a/b"));
        assert_eq!(below("a", "a/b/c"), Some("b/c"));
        assert_eq!(below("a/b", "a/b/c"), Some("c"));
        for outside in ["a", "ab/c", "b/a/c"] {
            assert_eq!(below("a", outside), None, "{outside}");
        }
    }

    proptest! {
        #[test]
        fn a_file_is_found_in_the_folder_it_was_put_in(folder in "([a-z]{1,3}(/[a-z]{1,3})?)?", file in "[a-z]{1,3}(/[a-z]{1,3})?") {
            let path = in_folder(&folder, &file);
            prop_assert_eq!(below(&folder, &path), Some(file.as_str()));
        }

        #[test]
        fn unpacks_to_what_was_packed(files in files()) {
            let mut out = Vec::new();
            unpack(&pack(&files).unwrap()[..], digest(&files).unwrap(), &mut out).unwrap();
            prop_assert_eq!(out, files);
        }

        #[test]
        fn a_changed_byte_is_never_accepted(files in files(), at in any::<prop::sample::Index>(), bit in 0..8u8) {
            let mut bytes = pack(&files).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let mut out = Vec::new();
            // A flip in a spare bit of the frame may decode to the same files; never to others.
            if unpack(&bytes[..], digest(&files).unwrap(), &mut out).is_ok() {
                prop_assert_eq!(out, files);
            }
        }

        #[test]
        fn a_truncated_pack_is_never_accepted(files in files(), cut in any::<prop::sample::Index>()) {
            let bytes = pack(&files).unwrap();
            let cut = cut.index(bytes.len());
            let result = unpack(&bytes[..cut], digest(&files).unwrap(), &mut Vec::new());
            prop_assert!(result.is_err() || files.is_empty());
        }
    }

    #[test]
    fn order_does_not_matter_but_mode_and_path_do() {
        let ab = [file("a", b"1"), file("b", b"2")];
        let ba = [file("b", b"2"), file("a", b"1")];
        assert_eq!(digest(&ab).unwrap(), digest(&ba).unwrap());
        let mut executable = ab.clone();
        executable[0].mode = Mode::Executable;
        assert_ne!(digest(&ab).unwrap(), digest(&executable).unwrap());
        assert_ne!(digest(&ab).unwrap(), digest(&[file("a", b"2"), file("b", b"1")]).unwrap());
    }

    #[test]
    fn paths_that_leave_the_folder_are_refused() {
        for path in [
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a//b",
            "./a",
            "",
            "a/.git/config",
            ".GIT/hooks",
            "a\\b",
            "a\nb",
        ] {
            assert!(pack(&[file(path, b"")]).is_err(), "{path:?}");
        }
    }
}

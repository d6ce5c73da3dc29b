//! Where parts and scratch files are.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use rustix::process::geteuid;

/// The cache that `scripts/setup` fills: `BACKSTAY_CACHE`, else
/// `/var/cache/backstay` for root and `~/.cache/backstay` for others.
pub fn cache_dir() -> PathBuf {
    if let Some(dir) = env::var_os("BACKSTAY_CACHE") {
        return dir.into();
    }
    if geteuid().is_root() {
        return "/var/cache/backstay".into();
    }
    PathBuf::from(env::var_os("HOME").unwrap_or_else(|| ".".into())).join(".cache/backstay")
}

/// Where daemons that tests share keep their state; others may enter it.
pub(crate) fn run_dir() -> PathBuf {
    let dir = cache_dir().join("run");
    fs::create_dir_all(&dir).expect("create the folder for shared parts");
    dir
}

/// A program by name, on `PATH` or where administrators' programs are.
pub fn find_tool(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

/// A new folder for one test, removed when the guard is dropped. Its path is
/// short, since sockets are put there.
pub fn scratch_dir() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("bst-").tempdir().expect("create a temporary folder")
}

/// Writes a file and the folders above it.
pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).expect("create a folder");
    }
    fs::write(path, content).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
}

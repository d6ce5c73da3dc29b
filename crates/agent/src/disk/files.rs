//! Small acts on files.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use crate::crash::crash_point;

/// Makes a folder's entries durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Replaces a file as a whole: beside it, fsync, rename, fsync of the folder. `mode` as in chmod.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = dir.join(format!(".{name}.tmp"));
    // Made anew, so that the mode holds and nobody's link is followed.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&beside, path)?;
    sync_dir(dir)
}

/// Removes a folder and all in it. True when it was there. It is renamed first, so that half a folder never
/// carries the name of a whole one.
pub(crate) fn remove_dir(dir: &Path) -> io::Result<bool> {
    let Some((parent, name)) = dir.parent().zip(dir.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let name = name.to_string_lossy();
    let doomed =
        if name.starts_with(".tmp-") { dir.to_owned() } else { parent.join(format!(".tmp-old-{name}")) };
    if doomed != dir {
        let _ = fs::remove_dir_all(&doomed);
        match fs::rename(dir, &doomed) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other?,
        }
        sync_dir(parent)?;
        crash_point("prune.renamed");
    }
    match fs::remove_dir_all(&doomed) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        other => other.map(|()| true),
    }
}

/// Puts a file in its place; what is there instead goes.
pub(crate) fn replace_file(from: &Path, root: &Path, path: &str) -> io::Result<()> {
    let to = root.join(path);
    let mut dir = PathBuf::from(root);
    let parents = Path::new(path).parent().into_iter().flat_map(Path::components);
    for part in parents {
        dir.push(part);
        match fs::symlink_metadata(&dir) {
            Ok(meta) if meta.is_dir() => continue,
            // A link or file in the place of a folder would lead elsewhere.
            Ok(_) => fs::remove_file(&dir)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        fs::create_dir(&dir)?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755))?;
    }
    if fs::symlink_metadata(&to).is_ok_and(|meta| meta.is_dir()) {
        remove_dir(&to)?;
    }
    fs::rename(from, &to)?;
    sync_dir(&dir)
}

//! Writes objects and refs so that they are whole after a power cut: content is
//! on disk before its name is. (`gix` renames without flushing, and `git` would
//! cost a process for each.)

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    thread,
};

use gix::{
    ObjectId,
    objs::{Kind, encode::loose_header},
    zlib::{Compression, stream::deflate},
};

/// Writes loose objects below `objects`; those that exist already are left as they are.
pub(crate) fn write_objects<'a>(
    objects: &Path,
    temporary: &Path,
    new: impl IntoIterator<Item = (&'a ObjectId, Kind, &'a [u8])>,
) -> io::Result<()> {
    let mut staged = Vec::new();
    for (id, kind, data) in new {
        let hex = id.to_string();
        let folder = objects.join(&hex[..2]);
        let path = folder.join(&hex[2..]);
        if path.try_exists()? {
            continue;
        }
        fs::create_dir_all(&folder)?;
        let from = temporary.join(format!("object-{hex}"));
        let mut out = deflate::Write::new(create(&from, 0o444)?, Compression::BEST_SPEED);
        out.write_all(&loose_header(kind, data.len() as u64))?;
        out.write_all(data)?;
        out.flush()?;
        staged.push((out.into_inner(), from, path));
    }
    flush_all(&staged)?;
    let mut folders: Vec<PathBuf> = Vec::new();
    for (_, from, path) in &staged {
        fs::rename(from, path)?;
        folders.extend(path.parent().map(Path::to_owned));
    }
    folders.sort();
    folders.dedup();
    if !folders.is_empty() {
        folders.push(objects.to_owned());
    }
    folders.iter().try_for_each(|folder| sync_folder(folder))
}

/// Points `name` (full, checked by the caller) below `dir` at `id`.
pub(crate) fn write_ref(dir: &Path, temporary: &Path, name: &str, id: ObjectId) -> io::Result<()> {
    let path = dir.join(name);
    let from = temporary.join(format!("ref-{id}"));
    let mut file = create(&from, 0o644)?;
    writeln!(file, "{id}")?;
    file.sync_all()?;
    let Some(parent) = path.parent() else { return Err(io::ErrorKind::InvalidInput.into()) };
    fs::create_dir_all(parent)?;
    fs::rename(&from, &path)?;
    for folder in parent.ancestors().take_while(|folder| *folder != dir) {
        sync_folder(folder)?;
    }
    Ok(())
}

/// Makes a folder's entries durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn create(path: &Path, mode: u32) -> io::Result<File> {
    // What a crash left under this name was never renamed, so it is nobody's.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    File::options().write(true).create_new(true).mode(mode).open(path)
}

/// Flushes at the same time, so that the file system can commit them together.
fn flush_all(staged: &[(File, PathBuf, PathBuf)]) -> io::Result<()> {
    const THREADS: usize = 8;
    let share = staged.len().div_ceil(THREADS).max(1);
    thread::scope(|scope| {
        let workers: Vec<_> = staged
            .chunks(share)
            .map(|chunk| scope.spawn(move || chunk.iter().try_for_each(|(file, _, _)| file.sync_all())))
            .collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().unwrap_or_else(|_| Err(io::Error::other("a thread that flushes files ended early")))
        })
    })
}

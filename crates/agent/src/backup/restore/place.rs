//! Files and folders that take the place of others, by one rename each.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown},
    path::{Path, PathBuf},
};

use backstay_manifest::{BackupItem, BackupSource, PathPattern};
use backstay_types::BackupJobId;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};

use super::Restoring;
use crate::{
    backup::{
        BackupError,
        copy::{self, FILE_ALONE},
        desk::Desk,
        mounts,
    },
    disk::sync_dir,
};

/// What a SQLite database has beside it.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// What takes the place of what.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Place {
    /// What was fetched, beside its place.
    pub(super) new: PathBuf,
    /// Where it goes.
    at: PathBuf,
    /// Where what was there is kept meanwhile.
    old: PathBuf,
    /// The inode of what was fetched, by which it is known wherever it is.
    inode: Option<u64>,
    /// What a restore leaves as it is, below a folder.
    keep: Vec<PathPattern>,
    /// A SQLite database: what is beside it belongs to the old one.
    database: bool,
}

/// A path that is below a folder which is put back too: it goes there before that takes its place. Gives the folder as it
/// was fetched, and the path in it.
pub(super) fn nested(places: &mut [Place], at: &Path) -> Option<(PathBuf, PathBuf)> {
    let outer =
        places.iter_mut().find(|place| !place.database && at != place.at && at.starts_with(&place.at))?;
    let inner = at.strip_prefix(&outer.at).ok()?;
    let text = inner.to_string_lossy();
    // What is there of it does not stay.
    let own = |pattern: &PathPattern| {
        let rest = pattern.as_str().strip_prefix(&*text);
        rest.is_some_and(|rest| rest.is_empty() || BESIDE.contains(&rest))
    };
    outer.keep.retain(|pattern| !own(pattern));
    Some((outer.new.clone(), inner.to_owned()))
}

/// The places of an item, each with its path in the snapshot.
pub(super) async fn of(
    desk: &Desk,
    state: &Restoring,
    item: &BackupItem,
    paths: &[String],
    job: BackupJobId,
) -> Result<Vec<(String, Place)>, BackupError> {
    let found = state.plan.locate(desk.layout(), &state.stack, &item.what).await?;
    let Some((root, below)) = found else { return Ok(Vec::new()) };
    let at = root.join(below);
    let database = matches!(item.what, BackupSource::Sqlite { .. });
    let mut keep = item.exclude.clone();
    for other in &state.plan.backups.items {
        if let (BackupSource::Sqlite { .. }, false) = (&other.what, database)
            && let Some((root, path)) = state.plan.locate(desk.layout(), &state.stack, &other.what).await?
            && let Ok(inner) = root.join(path).strip_prefix(&at)
        {
            let inner = inner.to_string_lossy();
            keep.extend(
                ["", "-wal", "-shm", "-journal"]
                    .iter()
                    .filter_map(|end| PathPattern::new(&format!("{inner}{end}")).ok()),
            );
        }
    }
    let is_file = database || fs::symlink_metadata(&at).is_ok_and(|meta| !meta.is_dir());
    if is_file {
        let name = at.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Ok(vec![(format!("{}/{name}", item.name), Place::new(at, job, 0, Vec::new(), database)?)]);
    }
    if paths.is_empty() {
        return Ok(vec![(item.name.clone(), Place::new(at, job, 0, keep, false)?)]);
    }
    let place = |(n, path): (usize, &String)| {
        let keep = if keep.is_empty() { Vec::new() } else { keep_below(&keep, path) };
        Ok((format!("{}/{path}", item.name), Place::new(at.join(path), job, n, keep, false)?))
    };
    paths.iter().enumerate().map(place).collect()
}

/// Patterns as they are seen from a path below. Those that cannot be told are left out: they begin with another name.
fn keep_below(keep: &[PathPattern], path: &str) -> Vec<PathPattern> {
    let inner = keep.iter().filter_map(|pattern| match pattern.as_str().strip_prefix(path) {
        Some(rest) => rest.strip_prefix('/').and_then(|rest| PathPattern::new(rest).ok()),
        None => pattern.as_str().starts_with("**/").then(|| pattern.clone()),
    });
    inner.collect()
}

impl Place {
    fn new(
        at: PathBuf,
        job: BackupJobId,
        n: usize,
        keep: Vec<PathPattern>,
        database: bool,
    ) -> Result<Self, BackupError> {
        let wrong = || BackupError::Restore(format!("{}: expected a place below a folder", at.display()));
        let (parent, name) = at.parent().zip(at.file_name()).ok_or_else(wrong)?;
        if !parent.is_dir() {
            fs::create_dir_all(parent).map_err(BackupError::restore(parent.display()))?;
        }
        let name = name.to_string_lossy();
        let job = job.to_string();
        let short = job.rsplit('-').next().unwrap_or(&job);
        let beside = |what: &str| parent.join(format!(".backstay-{what}-{short}-{n}-{name}"));
        let place =
            Self { new: beside("new"), old: beside("old"), at: at.clone(), inode: None, keep, database };
        // What is another file system, or a mount of its own, cannot be exchanged by a rename.
        if let (Ok(here), Ok(above)) = (fs::symlink_metadata(&at), fs::symlink_metadata(parent))
            && here.dev() != above.dev()
        {
            let reason = format!("{} is a mount of its own: restore it into a folder", at.display());
            return Err(BackupError::Restore(reason));
        }
        if let Some(mount) = mounts::below(&at).map_err(BackupError::restore(at.display()))?.first() {
            let (mount, at) = (mount.display(), at.display());
            let reason = format!(
                "{mount} is mounted below {at}, and would go with it: unmount it, or restore into a folder"
            );
            return Err(BackupError::Restore(reason));
        }
        remove(&place.new).map_err(BackupError::restore(place.new.display()))?;
        Ok(place)
    }

    /// It is here: it gets owner and mode of what it replaces, and is known by its inode from now on.
    pub(super) fn fetched(&mut self) -> Result<(), BackupError> {
        let failed = || BackupError::restore(self.new.display());
        if !self.new.exists() && !self.new.is_symlink() {
            // An empty folder is one too.
            fs::create_dir_all(&self.new).map_err(failed())?;
        }
        self.unfold().map_err(failed())?;
        dress(&self.at, &self.new)?;
        if self.new.is_dir() {
            super::super::copy::sync(&self.new).map_err(failed())?;
        } else if let Ok(file) = fs::File::open(&self.new) {
            file.sync_all().map_err(failed())?;
        }
        self.inode = Some(fs::symlink_metadata(&self.new).map_err(failed())?.ino());
        Ok(())
    }

    /// A file that is gone from its place was fetched with the folder that it was saved in: it takes that one's place.
    fn unfold(&self) -> io::Result<()> {
        let Some(name) = self.at.file_name() else { return Ok(()) };
        let (file, beside) = (self.new.join(name), with(&self.new, "-file"));
        let folded = !exists(&self.at)
            && fs::symlink_metadata(&self.new)
                .is_ok_and(|meta| meta.is_dir() && meta.mode() & 0o7777 == FILE_ALONE)
            && fs::symlink_metadata(&file).is_ok_and(|meta| !meta.is_dir());
        if folded {
            fs::rename(&file, &beside)?;
            fs::remove_dir(&self.new)?;
            fs::rename(&beside, &self.new)?;
        }
        Ok(())
    }

    fn is_new(&self, path: &Path) -> bool {
        self.inode.is_some() && fs::symlink_metadata(path).ok().map(|meta| meta.ino()) == self.inode
    }

    /// Puts it in place; what was there is kept. Done again, from wherever it was cut off, it comes to the same.
    pub(in crate::backup) fn swap(&self) -> Result<(), BackupError> {
        self.try_swap().map_err(BackupError::restore(self.at.display()))
    }

    fn try_swap(&self) -> io::Result<()> {
        if !self.is_new(&self.at) {
            // First: what is beside it from then on is the new one's.
            self.beside(&self.at, &self.old)?;
            exchange(&self.new, &self.at)?;
        }
        crate::crash::crash_point("restore.exchanged");
        if exists(&self.new) {
            fs::rename(&self.new, &self.old)?;
        }
        keep(&self.old, &self.at, Path::new(""), &self.keep)?;
        self.sync()
    }

    /// Puts back what was there.
    pub(in crate::backup) fn swap_back(&self) -> Result<(), BackupError> {
        self.try_swap_back().map_err(BackupError::restore(self.at.display()))
    }

    fn try_swap_back(&self) -> io::Result<()> {
        if !exists(&self.old) {
            if !self.is_new(&self.at) {
                // It is there, or was never taken away but for what is beside it.
                self.beside(&self.old, &self.at)?;
                return self.sync();
            }
            if !exists(&self.new) {
                // There was nothing before.
                self.beside(&self.at, &self.new)?;
                fs::rename(&self.at, &self.new)?;
                return self.sync();
            }
            // Cut off just after the exchange.
            fs::rename(&self.new, &self.old)?;
        }
        // What was there is in `old`: whatever is in its place goes, also where a program has put another file there.
        if exists(&self.at) {
            keep(&self.at, &self.old, Path::new(""), &self.keep)?;
            self.beside(&self.at, &self.new)?;
            remove(&self.new)?;
            fs::rename(&self.at, &self.new)?;
        }
        self.beside(&self.old, &self.at)?;
        // Last: while there is an `old`, this is not over.
        fs::rename(&self.old, &self.at)?;
        self.sync()
    }

    /// Takes along what a SQLite database has beside it.
    fn beside(&self, from: &Path, to: &Path) -> io::Result<()> {
        if !self.database {
            return Ok(());
        }
        for ending in BESIDE {
            let (from, to) = (with(from, ending), with(to, ending));
            match fs::rename(&from, &to) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.at.parent().map_or(Ok(()), sync_dir)
    }

    /// Removes what is not needed any more: what was fetched and is not in place, and what was kept.
    pub(in crate::backup) fn clean(&self) -> io::Result<()> {
        for path in [&self.new, &self.old] {
            remove(path)?;
            if self.database {
                for ending in BESIDE {
                    remove(&with(path, ending))?;
                }
            }
        }
        Ok(())
    }
}

/// Gives what was fetched owner and mode of what it replaces.
pub(in crate::backup) fn dress(old: &Path, new: &Path) -> Result<(), BackupError> {
    let failed = || BackupError::restore(new.display());
    if let Ok(old) = fs::symlink_metadata(old)
        && !old.is_symlink()
    {
        lchown(new, Some(old.uid()), Some(old.gid())).map_err(failed())?;
        fs::set_permissions(new, fs::Permissions::from_mode(old.mode() & 0o7777)).map_err(failed())?;
    }
    fs::File::open(new).and_then(|file| file.sync_all()).map_err(failed())
}

fn with(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Exchanges two paths at once; where the second is not there, the first takes its place.
fn exchange(new: &Path, at: &Path) -> io::Result<()> {
    if !exists(at) {
        return fs::rename(new, at);
    }
    renameat_with(CWD, new, CWD, at, RenameFlags::EXCHANGE).map_err(Into::into)
}

/// Removes a file or folder, if it is there. What is mounted below it is another's, and is never removed.
fn remove(path: &Path) -> io::Result<()> {
    let is_folder = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir());
    if is_folder && let Some(mount) = mounts::below(path)?.first() {
        return Err(io::Error::other(format!("{} is mounted there", mount.display())));
    }
    copy::clear(path)
}

/// Moves what a snapshot leaves out from where it is kept into its place, unless that has it.
fn keep(from: &Path, to: &Path, below: &Path, patterns: &[PathPattern]) -> io::Result<()> {
    if patterns.is_empty() || !from.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(from.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        let text = path.to_string_lossy();
        if patterns.iter().any(|pattern| pattern.matches(&text)) {
            let place = to.join(&path);
            if !exists(&place) {
                if let Some(parent) = place.parent() {
                    fs::create_dir_all(parent)?;
                }
                fs::rename(from.join(&path), place)?;
            }
        } else if entry.file_type()?.is_dir() {
            keep(from, to, &path, patterns)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use backstay_types::World;

    use super::*;

    fn job() -> BackupJobId {
        let world: World = crate::world::system();
        world.mint()
    }

    #[test]
    fn old_or_new_and_back_however_often() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("data");
        fs::create_dir_all(at.join("cache")).unwrap();
        fs::write(at.join("file"), "old").unwrap();
        fs::write(at.join("cache/x"), "kept").unwrap();
        let keep = vec![PathPattern::new("cache").unwrap()];
        let mut place = Place::new(at.clone(), job(), 0, keep, false).unwrap();
        fs::create_dir(&place.new).unwrap();
        fs::write(place.new.join("file"), "new").unwrap();
        place.fetched().unwrap();
        let read = |name: &str| fs::read_to_string(at.join(name)).unwrap_or_default();
        // Cut off between the exchange and the rest.
        exchange(&place.new, &at).unwrap();
        for _ in 0..2 {
            place.swap().unwrap();
            assert_eq!((read("file").as_str(), read("cache/x").as_str()), ("new", "kept"));
        }
        for _ in 0..2 {
            place.swap_back().unwrap();
            assert_eq!((read("file").as_str(), read("cache/x").as_str()), ("old", "kept"));
        }
        place.clean().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_was_there_comes_back_whatever_a_program_has_put_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("settings");
        fs::write(&at, "old").unwrap();
        let mut place = Place::new(at.clone(), job(), 0, Vec::new(), false).unwrap();
        fs::write(&place.new, "new").unwrap();
        place.fetched().unwrap();
        place.swap().unwrap();
        // As programs write files: beside, and renamed.
        fs::write(dir.path().join("settings.tmp"), "newer").unwrap();
        fs::rename(dir.path().join("settings.tmp"), &at).unwrap();
        place.swap_back().unwrap();
        assert_eq!(fs::read_to_string(&at).unwrap(), "old");
        place.clean().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_way_back_from_just_after_the_exchange_loses_nothing() {
        for is_folder in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let at = dir.path().join("data");
            let write = |path: &Path, text: &str| {
                if is_folder {
                    fs::create_dir(path).unwrap();
                    fs::write(path.join("file"), text).unwrap();
                } else {
                    fs::write(path, text).unwrap();
                }
            };
            write(&at, "old");
            let mut place = Place::new(at.clone(), job(), 0, Vec::new(), false).unwrap();
            write(&place.new, "new");
            place.fetched().unwrap();
            exchange(&place.new, &at).unwrap();
            place.swap_back().unwrap();
            place.swap_back().unwrap();
            let file = if is_folder { at.join("file") } else { at.clone() };
            assert_eq!(fs::read_to_string(file).unwrap(), "old");
        }
    }

    #[test]
    fn a_database_takes_what_is_beside_it_along() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("app.db");
        for (ending, text) in [("", "old"), ("-wal", "old wal")] {
            fs::write(with(&at, ending), text).unwrap();
        }
        let mut place = Place::new(at.clone(), job(), 0, Vec::new(), true).unwrap();
        fs::write(&place.new, "new").unwrap();
        place.fetched().unwrap();
        place.swap().unwrap();
        assert!(!with(&at, "-wal").exists(), "it would be played into the new one");
        assert_eq!(fs::read_to_string(&at).unwrap(), "new");
        fs::write(with(&at, "-wal"), "new wal").unwrap();
        place.swap_back().unwrap();
        assert_eq!(fs::read_to_string(with(&at, "-wal")).unwrap(), "old wal");
        assert_eq!(fs::read_to_string(&at).unwrap(), "old");
        place.clean().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_file_that_is_gone_comes_back_as_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let (at, saved) = (dir.path().join("node.key"), dir.path().join("saved"));
        fs::write(&at, "secret").unwrap();
        fs::set_permissions(&at, fs::Permissions::from_mode(0o600)).unwrap();
        fs::create_dir(&saved).unwrap();
        crate::backup::copy::file_alone(&at, &saved).unwrap();
        fs::remove_file(&at).unwrap();
        let mut place = Place::new(at.clone(), job(), 0, Vec::new(), false).unwrap();
        fs::rename(&saved, &place.new).unwrap();
        place.fetched().unwrap();
        place.swap().unwrap();
        assert_eq!(fs::read_to_string(&at).unwrap(), "secret");
        assert_eq!(fs::metadata(&at).unwrap().mode() & 0o7777, 0o600);
        place.swap_back().unwrap();
        assert!(!at.exists());
        // A folder that holds one file of its own name is a folder all the same.
        let (at, saved) = (dir.path().join("keys"), dir.path().join("saved"));
        fs::create_dir(&saved).unwrap();
        fs::write(saved.join("keys"), "inner").unwrap();
        let mut place = Place::new(at.clone(), job(), 1, Vec::new(), false).unwrap();
        fs::rename(&saved, &place.new).unwrap();
        place.fetched().unwrap();
        place.swap().unwrap();
        assert_eq!(fs::read_to_string(at.join("keys")).unwrap(), "inner");
    }

    #[test]
    fn what_is_mounted_below_is_neither_moved_nor_removed() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("data");
        let inner = at.join("disk");
        fs::create_dir_all(&inner).unwrap();
        let Some(_disk) = backstay_testkit::SmallDisk::mount(&inner, "1m") else { return };
        fs::write(inner.join("kept"), "kept").unwrap();
        let refused = Place::new(at.clone(), job(), 0, Vec::new(), false).unwrap_err().to_string();
        assert!(refused.contains("is mounted below"), "{refused}");
        assert!(remove(&at).is_err());
        assert_eq!(fs::read_to_string(inner.join("kept")).unwrap(), "kept");
    }
}

//! What of a stack is saved on this node, and where it is.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use backstay_manifest::{BackupItem, BackupSource, Backups};
use backstay_types::StackName;
use serde::{Deserialize, Serialize};

use super::BackupError;
use crate::{disk::Layout, runtime::compose::Engine};

/// What a release has of data, as a child read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DataPlan {
    /// What the stack says, with all that was found where it names nothing.
    pub(crate) backups: Backups,
    /// The runtime's name.
    pub(crate) runtime: String,
    /// The runtime's name for the stack.
    pub(crate) project: String,
    /// Volumes, by their names in the Compose file, with those that the engine knows.
    pub(crate) volumes: BTreeMap<String, String>,
    /// Services of Compose, each with something that it writes.
    pub(crate) uses: Vec<(String, Use)>,
    /// It must never run twice.
    #[serde(default)]
    pub(crate) exclusive: bool,
}

/// Something that a service writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Use {
    /// A volume, by its name in the Compose file.
    Volume(String),
    /// A path below the stack's state folder.
    State(String),
    /// An absolute path.
    Absolute(String),
}

impl DataPlan {
    /// The services that write what an item saves.
    pub(crate) fn users(&self, item: &BackupItem) -> Vec<&str> {
        let uses = |used: &Use| match (&item.what, used) {
            (what, Use::Volume(used)) => what.volume() == Some(used.as_str()),
            (BackupSource::Path { path, volume: None }, Use::State(used)) if !path.starts_with('/') => {
                overlap(path, used)
            }
            (BackupSource::Path { path, volume: None }, Use::Absolute(used)) if path.starts_with('/') => {
                overlap(path, used)
            }
            _ => false,
        };
        let mut users: Vec<_> =
            self.uses.iter().filter(|(_, used)| uses(used)).map(|(service, _)| service.as_str()).collect();
        users.sort_unstable();
        users.dedup();
        users
    }

    /// Where an item's files are: a folder that is its root, and the path below that; empty for the root itself.
    pub(crate) async fn locate(
        &self,
        layout: &Layout,
        stack: &StackName,
        what: &BackupSource,
    ) -> Result<Option<(PathBuf, PathBuf)>, BackupError> {
        let (path, volume) = match what {
            BackupSource::Volume { volume } => (String::new(), Some(volume)),
            BackupSource::Path { path, volume } | BackupSource::Sqlite { path, volume } => {
                (path.clone(), volume.as_ref())
            }
            _ => return Ok(None),
        };
        let root = match volume {
            Some(volume) => self.volume(volume).await?,
            None if path.starts_with('/') => {
                let path = PathBuf::from(path);
                let (parent, name) = path.parent().zip(path.file_name()).ok_or_else(|| {
                    BackupError::Prepare(format!("{}: expected a path below `/`", path.display()))
                })?;
                return Ok(Some((parent.to_owned(), PathBuf::from(name))));
            }
            None => layout.state(stack),
        };
        if volume.is_none()
            && let Some(found) = self.adopted(&root, Path::new(&path))?
        {
            return Ok(Some(found));
        }
        inside(&root, Path::new(&path))?;
        Ok(Some((root, PathBuf::from(path))))
    }

    /// Where data is that a stack had before Backstay ran it, and the path below that: the agent made a link to it in the
    /// state folder, where a service mounts it. A link further down was made by a container, and is followed by nobody.
    fn adopted(&self, state: &Path, path: &Path) -> Result<Option<(PathBuf, PathBuf)>, BackupError> {
        let is_mounted = |at: &Path| {
            self.uses.iter().any(|(_, used)| matches!(used, Use::State(used) if at == Path::new(used)))
        };
        let is_within = |at: &Path| {
            self.uses.iter().any(|(_, used)| match used {
                Use::State(used) => at != Path::new(used) && at.starts_with(used.trim_start_matches("./")),
                _ => false,
            })
        };
        for at in path.ancestors().filter(|at| is_mounted(at) && !is_within(at)) {
            let link = state.join(at);
            if !fs::symlink_metadata(&link).is_ok_and(|meta| meta.is_symlink()) {
                continue;
            }
            let to = fs::canonicalize(&link).map_err(BackupError::io(link.display()))?;
            let below = path.strip_prefix(at).unwrap_or(Path::new(""));
            inside(&to, below)?;
            // The folder that leads there is the root: what is below may be all of it, or one file.
            return Ok(match below == Path::new("") {
                true => to.parent().zip(to.file_name()).map(|(root, name)| (root.to_owned(), name.into())),
                false => Some((to, below.to_owned())),
            });
        }
        Ok(None)
    }

    pub(crate) async fn volume(&self, volume: &str) -> Result<PathBuf, BackupError> {
        let name = self.volumes.get(volume).map_or(volume, String::as_str);
        let found = Engine::new().volume(name).await;
        let found = found.map_err(BackupError::io(format!("volume `{volume}`: the container engine")))?;
        found.ok_or_else(|| {
            BackupError::Prepare(format!(
                "volume `{volume}` is not there: the engine has none called `{name}`"
            ))
        })
    }
}

/// Whether one of two paths is the other, or below it.
fn overlap(a: &str, b: &str) -> bool {
    Path::new(a).starts_with(b) || Path::new(b).starts_with(a)
}

/// A container could have put links into what it writes, which would lead the agent elsewhere.
pub(crate) fn inside(root: &Path, path: &Path) -> Result<(), BackupError> {
    let mut here = root.to_owned();
    for part in path.components() {
        here.push(part);
        match fs::symlink_metadata(&here) {
            Ok(meta) if meta.is_symlink() => {
                let reason = format!("{} is a link: expected a file or folder", here.display());
                return Err(BackupError::Prepare(reason));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(BackupError::io(here.display())(error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use backstay_manifest::Consistency;

    use super::*;

    #[test]
    fn what_a_stack_had_before_is_found_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (state, old) = (dir.path().join("state"), dir.path().join("old"));
        fs::create_dir_all(&state).unwrap();
        fs::create_dir_all(old.join("keys")).unwrap();
        std::os::unix::fs::symlink(&old, state.join("data")).unwrap();
        let plan = plan();
        let found = |path: &str| plan.adopted(&state, Path::new(path)).map_err(|error| error.to_string());
        assert_eq!(found("data"), Ok(Some((dir.path().to_owned(), "old".into()))));
        assert_eq!(found("data/keys"), Ok(Some((old.clone(), "keys".into()))));
        assert_eq!(found("other"), Ok(None));
        // A container that wrote a link below what it was given leads nobody elsewhere.
        std::os::unix::fs::symlink("/etc", old.join("evil")).unwrap();
        assert!(found("data/evil/passwd").unwrap_err().contains("is a link"));
        std::os::unix::fs::symlink("/etc", state.join("evil")).unwrap();
        assert_eq!(found("evil/passwd"), Ok(None), "no service mounts it: it is refused as any link");
    }

    #[test]
    fn a_link_in_what_a_service_mounts_is_the_containers() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("data")).unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("data/inner")).unwrap();
        let mut plan = plan();
        plan.uses.push(("web".to_owned(), Use::State("data/inner".to_owned())));
        assert_eq!(plan.adopted(dir.path(), Path::new("data/inner")).unwrap(), None);
    }

    fn plan() -> DataPlan {
        let uses = [
            ("web", Use::Volume("v".into())),
            ("web", Use::State("data".into())),
            ("db", Use::Absolute("/srv/db".into())),
        ];
        DataPlan {
            backups: Backups::default(),
            runtime: "compose".to_owned(),
            project: "p".to_owned(),
            volumes: BTreeMap::new(),
            uses: uses.into_iter().map(|(service, used)| (service.to_owned(), used)).collect(),
            exclusive: false,
        }
    }

    #[test]
    fn who_writes_what_an_item_saves() {
        let users = |path: &str, volume: Option<&str>| {
            let what = BackupSource::Path { path: path.to_owned(), volume: volume.map(str::to_owned) };
            let item = BackupItem::found("x", what, Consistency::Pause);
            plan().users(&item).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(users("sub", Some("v")), ["web"]);
        assert_eq!(users("data/deep", None), ["web"]);
        assert_eq!(users("", None), ["web"], "all of the state folder");
        assert_eq!(users("/srv", None), ["db"]);
        assert!(users("database", None).is_empty());
    }

    #[test]
    fn a_link_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("x")).unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        assert!(inside(dir.path(), Path::new("x/passwd")).is_err());
        assert!(inside(dir.path(), Path::new("d/new")).is_ok());
    }
}

//! State that a stack's containers had before Backstay ran them stays where it is: a link in the state
//! folder leads there.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use backstay_manifest::compose::MountPlan;
use backstay_types::Step;

use super::engine::{BoundMount, Engine};
use crate::{
    disk::{private_dir, sync_dir},
    step::{Context, Fail, Failed, Loaded},
};

/// Links what the project's containers mount now for every path of state that is not there yet. Gives a line for
/// each. Once a path is there, whether made or linked, it is never looked at again.
pub(super) async fn adopt(
    engine: &Engine,
    cx: &Context,
    release: &Loaded,
    plan: &MountPlan,
    project: &str,
) -> Result<Vec<String>, Failed> {
    let state = cx.layout.state(&release.stack);
    let fail = |error| Fail::io(Step::Validate, "state from before")(error);
    let mut open = Vec::new();
    for (service, target, path) in plan.state_binds() {
        if is_open(&state, path).map_err(fail)? {
            open.push((service, target, path));
        }
    }
    if open.is_empty() {
        return Ok(Vec::new());
    }
    let mounts = engine.mounts(project).await.map_err(super::engine_failed(Step::Validate))?;
    // A folder goes before what is in it.
    open.sort_by_key(|(_, _, path)| *path);
    let mut adopted = Vec::new();
    for (service, target, path) in open {
        let Some(source) = source(&mounts, service, target, cx.layout.data()) else { continue };
        // One that was linked a moment ago may hold this one.
        if is_open(&state, path).map_err(fail)? {
            link(&state, path, &source).map_err(fail)?;
            adopted.push(format!("./{path} stays at {}", source.display()));
        }
    }
    Ok(adopted)
}

/// Whether neither the path nor a link on the way to it is there.
fn is_open(state: &Path, path: &str) -> io::Result<bool> {
    let mut at = state.to_owned();
    for part in path.split('/') {
        at.push(part);
        match at.symlink_metadata() {
            Ok(found) if found.is_symlink() => return Ok(false),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(!path.is_empty()),
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// What a service's container mounts at `target`, when it is on this host and not in the agent's own folder.
fn source(mounts: &[BoundMount], service: &str, target: &str, own: &Path) -> Option<PathBuf> {
    let plain = |path: &str| path.trim_end_matches('/').to_owned();
    let found = mounts.iter().find(|m| m.service == service && plain(&m.target) == plain(target))?;
    let source = PathBuf::from(&found.source);
    (source.is_absolute() && source.exists() && !source.starts_with(own)).then_some(source)
}

fn link(state: &Path, path: &str, source: &Path) -> io::Result<()> {
    private_dir(state)?;
    let path = state.join(path);
    let parent = path.parent().unwrap_or(state);
    fs::create_dir_all(parent)?;
    symlink(source, &path)?;
    sync_dir(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_that_is_not_there_is_open() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        assert!(is_open(&state, "data").unwrap(), "not even the state folder is there");
        link(&state, "data", dir.path()).unwrap();
        assert_eq!(fs::read_link(state.join("data")).unwrap(), dir.path());
        assert!(!is_open(&state, "data").unwrap());
        assert!(!is_open(&state, "data/below").unwrap(), "what is behind a link belongs to it");
        fs::create_dir(state.join("made")).unwrap();
        assert!(!is_open(&state, "made").unwrap());
        assert!(is_open(&state, "made/below").unwrap());
        assert!(!is_open(&state, "").unwrap(), "the whole folder is never taken over");
    }

    #[test]
    fn only_what_is_mounted_from_elsewhere_is_a_source() {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path().display().to_string();
        let mount = |service: &str, source: &str| BoundMount {
            service: service.to_owned(),
            target: "/data/".to_owned(),
            source: source.to_owned(),
        };
        let own = Path::new("/var/lib/backstay");
        let mounts = [mount("web", &here)];
        assert_eq!(source(&mounts, "web", "/data", own).as_deref(), Some(dir.path()));
        assert_eq!(source(&mounts, "db", "/data", own), None);
        assert_eq!(source(&mounts, "web", "/other", own), None);
        assert_eq!(source(&mounts, "web", "/data", dir.path()), None, "its own state");
        assert_eq!(source(&[mount("web", "/not/there")], "web", "/data", own), None);
    }
}

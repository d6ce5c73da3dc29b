//! Tracked files under paths named by their content: a service is made anew
//! exactly when what it mounts has changed.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::Path,
};

use backstay_agent_core::Finding;
use backstay_manifest::compose::{MountPlan, TrackedMount, TreeEntry};
use backstay_types::{DriftPart, StackName, Step, TreeDigest};

use crate::{
    disk::{
        audit::{self, Differing, Gently},
        hash_folder, remove_dir, sync_dir,
    },
    step::{Context, Fail, Failed, Loaded},
};

/// Puts every tracked mount of a release in its place, and notes that the release uses it.
pub(super) fn place(cx: &Context, release: &Loaded, plan: &MountPlan, step: Step) -> Result<(), Failed> {
    let base = cx.layout.mounts(&release.stack);
    let mounts: Vec<_> = plan.tracked.iter().collect();
    place_tracked(&base, &release.dir, release.tree, &mounts).map_err(Fail::io(step, "the mounts"))
}

/// Puts files of a release under paths named by their content, below `base`, and notes that its tree uses them.
pub(crate) fn place_tracked(
    base: &Path,
    release: &Path,
    tree: TreeDigest,
    mounts: &[&TrackedMount],
) -> io::Result<()> {
    for mount in mounts {
        place_one(base, release, mount)?;
    }
    let used: String = mounts.iter().map(|mount| format!("{}\n", mount.digest)).collect();
    if used.is_empty() && !base.exists() {
        return Ok(());
    }
    fs::create_dir_all(base)?;
    crate::disk::write_atomic(&base.join(format!("{tree}.used")), used.as_bytes(), 0o600)
}

/// What of the mounts of a release is not as its name says. `services` are all that run.
pub(super) fn compare(
    cx: &Context,
    release: &Loaded,
    plan: &MountPlan,
    services: &[&str],
    gently: &mut Gently,
) -> io::Result<Vec<Finding>> {
    let base = cx.layout.mounts(&release.stack);
    let mut found = Vec::new();
    for (at, mount) in plan.tracked.iter().enumerate() {
        let mut list: Vec<TreeEntry> = Vec::new();
        for (from, to) in &mount.files {
            if let Some(entry) = release.entries.iter().find(|entry| entry.path == *from) {
                list.push(TreeEntry { path: to.clone(), ..entry.clone() });
            }
        }
        list.sort_by(|a, b| a.path.cmp(&b.path));
        let differing = audit::compare(&base.join(mount.digest.to_string()), &list, gently)?;
        if differing.is_empty() {
            continue;
        }
        let bind = plan.services_that_bind(at);
        // What is seen as a config or secret is seen by one that nobody can name here.
        let see = if bind.is_empty() { services.to_vec() } else { bind };
        let of = |one: &Differing| format!("{} {}", one.path, one.how.words());
        found.push(Finding {
            part: DriftPart::Mount,
            name: mount.files.first().map_or_else(String::new, |(from, _)| from.clone()),
            detail: differing.iter().map(of).collect::<Vec<_>>().join("; "),
            services: see.into_iter().map(str::to_owned).collect(),
        });
    }
    Ok(found)
}

fn place_one(base: &Path, release: &Path, mount: &TrackedMount) -> io::Result<()> {
    let dir = base.join(mount.digest.to_string());
    // Its name is its digest, so anybody can tell whether it is whole.
    if dir.is_dir() && hash_folder(&dir).is_ok_and(|found| found == mount.digest) {
        return Ok(());
    }
    let growing = base.join(format!(".tmp-{}", mount.digest));
    remove_dir(&growing)?;
    for (from, to) in &mount.files {
        let to = growing.join(to);
        if let Some(parent) = to.parent() {
            DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        }
        fs::copy(release.join(from), &to)?;
        let mode = fs::metadata(release.join(from))?.permissions().mode();
        fs::set_permissions(&to, fs::Permissions::from_mode(mode))?;
        File::open(&to)?.sync_all()?;
    }
    remove_dir(&dir)?;
    fs::rename(&growing, &dir)?;
    sync_dir(base)
}

/// Removes mounts that no kept release uses.
pub(crate) fn prune(cx: &Context, stack: &StackName, keep: &[TreeDigest]) -> io::Result<()> {
    prune_tracked(&cx.layout.mounts(stack), keep)
}

/// The same, below any folder.
pub(crate) fn prune_tracked(base: &Path, keep: &[TreeDigest]) -> io::Result<()> {
    let entries = match fs::read_dir(base) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let mut used = BTreeSet::new();
    let mut folders = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match name.strip_suffix(".used") {
            Some(tree) if keep.iter().any(|kept| kept.to_string() == tree) => {
                used.extend(fs::read_to_string(&path)?.lines().map(str::to_owned));
            }
            Some(_) => fs::remove_file(&path)?,
            None => folders.push((name, path)),
        }
    }
    for (name, path) in folders {
        if !used.contains(&name) {
            remove_dir(&path)?;
        }
    }
    Ok(())
}

//! Folders of parts that are reloaded: containers mount them from paths that stay, and their files are switched there.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::Path,
};

use backstay_agent_core::Finding;
use backstay_manifest::compose::{LiveMount, MountPlan, TreeEntry};
use backstay_types::DriftPart;

use crate::{
    crash::crash_point,
    disk::{
        audit::{self, Differing, Gently, How},
        remove_dir, replace_file, sync_dir,
    },
    step::{Context, Loaded},
};

/// Switches every such folder to what a release has there, file by file, each as a whole. Files that stay the same are
/// not touched. Done again, it changes nothing.
pub(super) fn switch(cx: &Context, release: &Loaded, plan: &MountPlan) -> io::Result<()> {
    let base = cx.layout.live(&release.stack);
    for mount in &plan.live {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&base)?;
        switch_one(&base, release, mount)?;
        crash_point("live.switched");
    }
    Ok(())
}

/// What of these folders is not as the release has it.
pub(super) fn compare(
    cx: &Context,
    release: &Loaded,
    plan: &MountPlan,
    gently: &mut Gently,
) -> io::Result<Vec<Finding>> {
    let base = cx.layout.live(&release.stack);
    let mut found = Vec::new();
    for (at, mount) in plan.live.iter().enumerate() {
        let differing = audit::compare(&base.join(mount.name()), &list(release, mount), gently)?;
        if differing.is_empty() {
            continue;
        }
        let of = |one: &Differing| format!("{} {}", one.path, one.how.words());
        found.push(Finding {
            part: DriftPart::Mount,
            name: mount.path.clone(),
            detail: differing.iter().map(of).collect::<Vec<_>>().join("; "),
            services: plan.services_that_see(at).into_iter().map(str::to_owned).collect(),
        });
    }
    Ok(found)
}

/// The files of a folder, as they stand in it.
fn list(release: &Loaded, mount: &LiveMount) -> Vec<TreeEntry> {
    let entry = |(from, to): &(String, String)| {
        let found = release.entries.iter().find(|entry| entry.path == *from)?;
        Some(TreeEntry { path: to.clone(), ..found.clone() })
    };
    let mut list: Vec<_> = mount.files.iter().filter_map(entry).collect();
    list.sort_by(|a, b| a.path.cmp(&b.path));
    list
}

fn switch_one(base: &Path, release: &Loaded, mount: &LiveMount) -> io::Result<()> {
    let dir = base.join(mount.name());
    let growing = base.join(format!(".tmp-{}", mount.name()));
    remove_dir(&growing)?;
    for (from, to) in &mount.files {
        let to = growing.join(to);
        if let Some(parent) = to.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        }
        fs::copy(release.dir.join(from), &to)?;
        let mode = fs::metadata(release.dir.join(from))?.permissions().mode();
        fs::set_permissions(&to, fs::Permissions::from_mode(mode))?;
        fs::File::open(&to)?.sync_all()?;
    }
    if !dir.is_dir() {
        fs::rename(&growing, &dir)?;
        return sync_dir(base);
    }
    for Differing { path, how } in audit::compare(&dir, &list(release, mount), &mut Gently::new(0))? {
        match how {
            How::Stray => remove(&dir.join(&path))?,
            _ => replace_file(&growing.join(&path), &dir, &path)?,
        }
        crash_point("live.replaced");
    }
    sync_dir(&dir)?;
    remove_dir(&growing).map(drop)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => remove_dir(path).map(drop),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

//! A unit's text as it is installed: what it refers to in the release stands under paths named by content.

use std::{fs, io, path::PathBuf};

use backstay_manifest::{
    RELEASE_IN_UNITS as RELEASE, UnitSpec,
    compose::{MountContent, TrackedMount, TreeEntry},
    is_started,
};
use backstay_types::{
    Digest, FailureKind, StackName, Step, TreeDigest,
    tree::{TreeHasher, below},
};

use crate::{
    disk::Layout,
    runtime::compose::{place_tracked, prune_tracked},
    step::{Context, Fail, Failed, Loaded},
};

/// A unit's text is no longer than this.
const LONGEST: usize = 256 << 10;

/// A unit as it is to be installed.
#[derive(Debug)]
pub(super) struct Rendered {
    pub(super) spec: UnitSpec,
    pub(super) text: String,
    /// Whether it is started by itself.
    pub(super) start: bool,
    /// Whether it is started at boot.
    pub(super) enable: bool,
    /// What it refers to.
    files: Vec<TrackedMount>,
}

impl Rendered {
    /// Stands for what a container's image is: the installed text, and whether it is started at boot.
    pub(super) fn image(&self) -> Digest {
        Self::image_of(self.text.as_bytes(), self.enable)
    }

    pub(super) fn image_of(text: &[u8], enabled: bool) -> Digest {
        Digest::of(&[text, &[u8::from(enabled)]].concat())
    }
}

/// The units of a release.
pub(super) fn units(cx: &Context, release: &Loaded, step: Step) -> Result<Vec<Rendered>, Failed> {
    let specs = release.manifest.units();
    specs.iter().map(|spec| unit(&cx.layout, release, spec, specs, step)).collect()
}

fn unit(
    layout: &Layout,
    release: &Loaded,
    spec: &UnitSpec,
    all: &[UnitSpec],
    step: Step,
) -> Result<Rendered, Failed> {
    let invalid = |why: String| Fail::of(step, FailureKind::Invalid, format!("`{}`: {why}", spec.file));
    if !spec.belongs_to(&release.stack) {
        let (name, stack) = (spec.name(), &release.stack);
        return Err(invalid(format!(
            "unit `{name}` does not belong to stack `{stack}`: expected a name that is `{stack}` or begins with `{stack}-`"
        )));
    }
    let bytes = fs::read(release.dir.join(&spec.file)).map_err(Fail::io(step, &spec.file))?;
    let text = String::from_utf8(bytes).ok().filter(|text| text.len() <= LONGEST);
    let text = text.ok_or_else(|| invalid("expected text of at most 256 KiB".to_owned()))?;
    let mut files = Vec::new();
    let base = layout.files(&release.stack).display().to_string();
    let text = replace(&text, |path| {
        let mount = tracked(&release.entries, path).map_err(&invalid)?;
        let source = mount.source(&base);
        files.push(mount);
        Ok(source)
    })?;
    let installs = text.lines().any(|line| line.trim() == "[Install]");
    Ok(Rendered {
        start: is_started(spec, all),
        enable: installs && spec.enable.unwrap_or(true),
        spec: spec.clone(),
        text,
        files,
    })
}

/// Replaces each reference to the release by what `place` makes of its path.
fn replace(text: &str, mut place: impl FnMut(&str) -> Result<String, Failed>) -> Result<String, Failed> {
    let mut parts = text.split(RELEASE);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ':' | ';' | ',' | '='))
            .unwrap_or(part.len());
        let (path, rest) = part.split_at(end);
        out.push_str(&place(path.trim_matches('/'))?);
        out.push_str(rest);
    }
    Ok(out)
}

/// A file or folder of a release as a tree of its own.
fn tracked(entries: &[TreeEntry], path: &str) -> Result<TrackedMount, String> {
    let file = entries.iter().find(|entry| entry.path == path);
    let (content, mut found): (_, Vec<(&TreeEntry, &str)>) = match file {
        Some(entry) => (MountContent::File, vec![(entry, path.rsplit('/').next().unwrap_or(path))]),
        None => {
            let inner = entries.iter().filter_map(|entry| Some((entry, below(path, &entry.path)?)));
            (MountContent::Folder, inner.collect())
        }
    };
    if found.is_empty() {
        return Err(format!("`{RELEASE}/{path}` is not in the release"));
    }
    found.sort_by(|a, b| a.1.cmp(b.1));
    let mut hasher = TreeHasher::default();
    for (entry, inner) in &found {
        hasher.add(entry.mode, inner, entry.content, entry.len).map_err(|error| error.to_string())?;
    }
    let files = found.iter().map(|(entry, inner)| (entry.path.clone(), (*inner).to_owned())).collect();
    Ok(TrackedMount { digest: hasher.finish(), path: path.to_owned(), content, files })
}

/// Puts what the units refer to in its place, and notes that the release uses it. Everybody on the machine may read
/// it: units run as users of their own. Secrets are never in releases.
pub(super) fn place_files(
    cx: &Context,
    release: &Loaded,
    units: &[Rendered],
    step: Step,
) -> Result<(), Failed> {
    let base = cx.layout.files(&release.stack);
    let fail = |error| Fail::io(step, "the files of units")(error);
    public_dirs(&cx.layout, &release.stack).map_err(fail)?;
    let mounts: Vec<_> = units.iter().flat_map(|unit| &unit.files).collect();
    place_tracked(&base, &release.dir, release.tree, &mounts).map_err(fail)
}

fn public_dirs(layout: &Layout, stack: &StackName) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let base = layout.files(stack);
    fs::create_dir_all(&base)?;
    let dirs: [Option<PathBuf>; 2] = [base.parent().map(Into::into), Some(base)];
    for dir in dirs.into_iter().flatten() {
        fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// Removes files that no kept release uses.
pub(crate) fn prune(cx: &Context, stack: &StackName, keep: &[TreeDigest]) -> io::Result<()> {
    prune_tracked(&cx.layout.files(stack), keep)
}

#[cfg(test)]
mod tests {
    use backstay_types::tree::Mode;

    use super::*;

    fn entry(path: &str, content: &str) -> TreeEntry {
        TreeEntry {
            path: path.to_owned(),
            mode: Mode::File,
            content: Digest::of(content.as_bytes()),
            len: content.len() as u64,
        }
    }

    #[test]
    fn references_end_where_a_path_does() {
        let text = "ExecStart=@release@/bin/serve --config @release@/etc:ro\nWorkingDirectory=@release@\n";
        let mut seen = Vec::new();
        let out = replace(text, |path| {
            seen.push(path.to_owned());
            Ok(format!("<{path}>"))
        });
        assert_eq!(out.unwrap(), "ExecStart=<bin/serve> --config <etc>:ro\nWorkingDirectory=<>\n");
        assert_eq!(seen, ["bin/serve", "etc", ""]);
    }

    #[test]
    fn a_reference_changes_only_when_what_it_names_does() {
        let before = [entry("bin/serve", "1"), entry("etc/a", "1"), entry("README.md", "1")];
        let after = [entry("bin/serve", "1"), entry("etc/a", "2"), entry("README.md", "2")];
        let digest = |entries: &[TreeEntry], path| tracked(entries, path).unwrap().digest;
        assert_eq!(digest(&before, "bin/serve"), digest(&after, "bin/serve"));
        assert_ne!(digest(&before, "etc"), digest(&after, "etc"));
        assert_ne!(digest(&before, ""), digest(&after, ""));
        assert!(tracked(&before, "bin/other").unwrap_err().contains("@release@/bin/other"));
        assert_eq!(tracked(&before, "etc").unwrap().source("/f"), format!("/f/{}", digest(&before, "etc")));
    }
}

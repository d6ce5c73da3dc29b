//! A staged release, read: its files, manifest and variables.

use std::{collections::BTreeMap, fs, io, os::unix::fs::MetadataExt as _, path::PathBuf};

use backstay_manifest::{
    EnvTemplate, Problem, StackManifest, Variables,
    compose::{self, TreeEntry},
    env,
};
use backstay_types::{ErrorCode, FailureKind, Secret, StackName, Step, TreeDigest, tree::Mode};

use super::{Context, Fail, Failed};
use crate::disk::{Layout, list_folder, write_atomic};

/// The stack's own check goes by one of these names.
const CHECKS: [&str; 2] = ["validate", "validate.sh"];

/// A staged release.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) stack: StackName,
    pub(crate) tree: TreeDigest,
    pub(crate) dir: PathBuf,
    pub(crate) entries: Vec<TreeEntry>,
    pub(crate) manifest: StackManifest,
    pub(crate) variables: BTreeMap<String, Secret>,
}

/// Reads a release from its folder, with the node's values.
pub(super) fn load(
    layout: &Layout,
    stack: &StackName,
    tree: TreeDigest,
    step: Step,
) -> Result<Loaded, Failed> {
    let dir = layout.release(stack, tree);
    let entries = list_folder(&dir).map_err(|error| Fail::other(step, format!("the release: {error}")))?;
    let read = |path: &str| fs::read(dir.join(path)).map_err(Fail::io(step, path));
    let compose = compose::FILE_NAMES.into_iter().find(|name| entries.iter().any(|e| e.path == *name));
    let manifest = match (entries.iter().any(|e| e.path == "stack.toml"), compose) {
        (true, _) => StackManifest::parse("stack.toml", &read("stack.toml")?, compose)
            .map_err(|problems| invalid(step, &problems))?,
        (false, Some(file)) => StackManifest::of_compose(file),
        (false, None) => {
            let reason = "there is neither a Compose file nor a stack.toml in the release";
            return Err(Fail::of(step, FailureKind::Invalid, reason));
        }
    };
    let template = match entries.iter().any(|e| e.path == ".env.template") {
        true => Some(
            EnvTemplate::parse(".env.template", &read(".env.template")?)
                .map_err(|problems| invalid(step, &problems))?,
        ),
        false => None,
    };
    let variables = variables(layout, stack, template.as_ref(), step)?;
    Ok(Loaded { stack: stack.clone(), tree, dir, entries, manifest, variables })
}

impl Loaded {
    /// The stack's own check, when it has one.
    pub(super) fn check(&self) -> Option<&'static str> {
        CHECKS.into_iter().find(|name| {
            self.entries.iter().any(|entry| entry.path == *name && entry.mode == Mode::Executable)
        })
    }

    /// The variables as references in manifests see them.
    pub(crate) fn scope(&self) -> Variables {
        Variables::complete(self.variables.clone())
    }

    /// Writes the rendered variables where runtimes read them: for the agent's user alone, in memory if there
    /// is a folder for that. Done again before every start, since a reboot empties it.
    pub(crate) fn render(&self, cx: &Context, step: Step) -> Result<PathBuf, Failed> {
        let path = cx.layout.rendered(&self.stack, self.tree);
        let text = env::write_values(&self.variables);
        let fail = |error| Fail::io(step, "the rendered values cannot be written")(error);
        crate::disk::private_dir(&cx.layout.run_stack(&self.stack)).map_err(fail)?;
        write_atomic(&path, text.expose().as_bytes(), 0o600).map_err(fail)?;
        Ok(path)
    }
}

/// The variables of a release that was rendered before, for probes.
pub(crate) fn read_rendered(
    layout: &Layout,
    stack: &StackName,
    tree: TreeDigest,
) -> BTreeMap<String, Secret> {
    let values = fs::read(layout.rendered(stack, tree)).ok();
    values.and_then(|bytes| env::parse_values("", &bytes).ok()).unwrap_or_default()
}

fn variables(
    layout: &Layout,
    stack: &StackName,
    template: Option<&EnvTemplate>,
    step: Step,
) -> Result<BTreeMap<String, Secret>, Failed> {
    let path = layout.values(stack);
    let coded = |reason: String| Fail::coded(step, FailureKind::Invalid, ErrorCode::BS3004, reason);
    let values = match fs::read(&path) {
        Ok(bytes) => {
            check_private(&path).map_err(coded)?;
            env::parse_values(&path.display().to_string(), &bytes)
                .map_err(|problems| invalid(step, &problems))?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
        Err(error) => return Err(coded(format!("{}: {error}", path.display()))),
    };
    match template {
        // Without a template the stack gets what the node has for it.
        None => Ok(values),
        Some(template) => template.render(&values).map_err(|missing| {
            let names = missing.names.join(", ");
            coded(format!("no value for {names}: expected in {}", path.display()))
        }),
    }
}

fn check_private(path: &std::path::Path) -> Result<(), String> {
    let meta = fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
    if meta.mode() & 0o077 != 0 {
        let mode = meta.mode() & 0o777;
        return Err(format!("{} has mode {mode:o}: expected 600, since it holds secrets", path.display()));
    }
    let me = rustix::process::geteuid().as_raw();
    if meta.uid() != me && meta.uid() != 0 {
        return Err(format!("{} belongs to user {}: expected {me} or 0", path.display(), meta.uid()));
    }
    Ok(())
}

/// All that is wrong with a manifest, in one reason.
pub(crate) fn invalid(step: Step, problems: &[Problem]) -> Failed {
    let text = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    Failed { step, kind: FailureKind::Invalid, reason: text }
}

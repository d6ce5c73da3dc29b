//! What a release changes of a stack's parts, and what that takes: a start, or to be told of files that were switched.

use std::collections::{BTreeMap, BTreeSet};

use backstay_agent_core::{Prepared, Step};
use backstay_manifest::{
    Part, StackManifest,
    compose::{self, TreeEntry},
};
use backstay_types::{Container, ErrorCode, FailureKind, PartName, TreeDigest};

use super::{
    Context, Fail, Failed, Loaded,
    command::{self, Asked},
};
use crate::{disk::list_folder, runtime::Runtimes};

/// What differs between what runs and a release.
#[derive(Debug)]
pub(super) struct Change {
    /// Parts with files that differ; everything when it cannot be told.
    parts: Option<BTreeSet<PartName>>,
    /// Whether files differ that are in no part.
    base: bool,
}

impl Change {
    /// What differs between a release that is here and another one.
    pub(super) fn between(cx: &Context, from: Option<TreeDigest>, to: &Loaded) -> Self {
        Self::known(cx, from, to).unwrap_or(Self { parts: None, base: true })
    }

    fn known(cx: &Context, from: Option<TreeDigest>, to: &Loaded) -> Option<Self> {
        let dir = cx.layout.release(&to.stack, from?);
        let before = list_folder(&dir).ok()?;
        let manifest = std::fs::read(dir.join("stack.toml")).ok()?;
        let compose = compose::FILE_NAMES.into_iter().find(|name| before.iter().any(|e| e.path == *name));
        let manifest = StackManifest::parse("stack.toml", &manifest, compose).ok()?;
        if !manifest.parts.divide_as(&to.manifest.parts) {
            return None;
        }
        let mut change = Self { parts: Some(BTreeSet::new()), base: false };
        for path in differing(&before, &to.entries) {
            match to.manifest.parts.of(path) {
                Some(part) => change.parts.get_or_insert_default().insert(part.name.clone()),
                None => std::mem::replace(&mut change.base, true),
            };
        }
        Some(change)
    }

    /// Whether files of a part differ.
    pub(super) fn touches(&self, part: &Part) -> bool {
        self.parts.as_ref().is_none_or(|parts| parts.contains(&part.name))
    }

    /// Whether something differs, and only parts that are reloaded.
    fn is_reload(&self, to: &Loaded) -> bool {
        let reloaded = |name: &PartName| to.manifest.parts.iter().any(|p| p.name == *name && p.is_reloaded());
        !self.base && self.parts.as_ref().is_some_and(|parts| !parts.is_empty() && parts.iter().all(reloaded))
    }
}

/// Paths of files that are not the same on both sides.
fn differing<'a>(before: &'a [TreeEntry], after: &'a [TreeEntry]) -> BTreeSet<&'a str> {
    let known = |entries: &'a [TreeEntry]| -> BTreeSet<_> {
        entries.iter().map(|entry| (entry.path.as_str(), entry.mode.number(), entry.content)).collect()
    };
    let (before, after) = (known(before), known(after));
    before.symmetric_difference(&after).map(|(path, ..)| *path).collect()
}

/// Has the runtime run a release. Where only parts that are reloaded differ from what runs, nothing is started anew,
/// which is checked, and what runs is told of its new files. Returns what runs, and what there is to tell of it.
pub(super) async fn switch(
    cx: &mut Context,
    loaded: &Loaded,
    from: Option<TreeDigest>,
    prepared: &Prepared,
    step: Step,
) -> Result<(Vec<Container>, String), Failed> {
    let runtime = Runtimes::new(&prepared.runtime)?;
    let plain = |containers| {
        (
            containers,
            match prepared.services.len() {
                1 => "1 service".to_owned(),
                count => format!("{count} services"),
            },
        )
    };
    if loaded.manifest.parts.iter().all(|part| !part.is_reloaded()) {
        return runtime.up(cx, loaded, prepared, step).await.map(plain);
    }
    let change = Change::between(cx, from, loaded);
    let before = observe(&runtime, cx, loaded, prepared, step).await?;
    let mut after = runtime.up(cx, loaded, prepared, step).await?;
    if !change.is_reload(loaded) {
        // What was not started anew would go on with files that were switched under it.
        let stale = runtime.services_that_see(loaded, &|part| change.touches(part));
        let kept: Vec<_> =
            stale?.into_iter().filter(|name| ids(&before, name) == ids(&after, name)).collect();
        if from.is_some() && !kept.is_empty() {
            runtime.recreate(cx, loaded, prepared, &kept).await?;
            after = observe(&runtime, cx, loaded, prepared, step).await?;
        }
        return Ok(plain(after));
    }
    let back = step == Step::Return;
    if !back {
        same_containers(&before, &after, step)?;
    }
    let mut told = Vec::new();
    for part in loaded.manifest.parts.iter().filter(|part| change.touches(part)) {
        match reload(cx, loaded, prepared, part, &after, step).await {
            Ok(()) => told.push(part.name.as_str()),
            Err(failed) if back => {
                // Whatever it was told before, a start reads the files that are there now.
                tracing::warn!(stack = %loaded.stack, reason = failed.reason, "a reload on the way back failed; starting anew");
                runtime.down(cx, &loaded.stack, Some(loaded.tree), &prepared.project).await?;
                return runtime.up(cx, loaded, prepared, step).await.map(plain);
            }
            Err(failed) => return Err(failed),
        }
    }
    let count = after.len();
    Ok((after, format!("{} reloaded; {count} containers kept", told.join(", "))))
}

async fn observe(
    runtime: &Runtimes,
    cx: &Context,
    loaded: &Loaded,
    prepared: &Prepared,
    step: Step,
) -> Result<Vec<Container>, Failed> {
    let seen = runtime.observe(&cx.layout, &loaded.stack, prepared).await;
    seen.map_err(|error| Fail::of(step, FailureKind::Node, format!("what runs cannot be told: {error}")))
}

fn ids<'a>(containers: &'a [Container], service: &str) -> BTreeSet<&'a str> {
    containers.iter().filter(|c| c.service == service).map(|c| c.id.as_str()).collect()
}

/// A change that is to be reloaded must start nothing.
fn same_containers(before: &[Container], after: &[Container], step: Step) -> Result<(), Failed> {
    let running = |all: &[Container]| -> BTreeSet<_> {
        all.iter().map(|container| (container.service.clone(), container.id.clone())).collect()
    };
    let (before, after) = (running(before), running(after));
    if before == after {
        return Ok(());
    }
    let services: BTreeSet<_> =
        before.symmetric_difference(&after).map(|(service, _)| service.as_str()).collect();
    let reason = format!(
        "only parts that are reloaded changed, but containers of {} were started anew",
        services.into_iter().collect::<Vec<_>>().join(", ")
    );
    Err(Fail::coded(step, FailureKind::Start, ErrorCode::BS3020, reason))
}

/// Tells what runs that files of a part were switched: in its service, or on the node.
async fn reload(
    cx: &mut Context,
    loaded: &Loaded,
    prepared: &Prepared,
    part: &Part,
    running: &[Container],
    step: Step,
) -> Result<(), Failed> {
    let mut variables = variables(cx, loaded, &part.name);
    variables.insert("BACKSTAY_PROJECT".to_owned(), prepared.project.clone());
    for container in running {
        let name = shouted(&container.service);
        match prepared.runtime.as_str() {
            // `<pid>-<start>` tells a process from one that has its number later.
            "process" => {
                let pid = container.id.split('-').next().unwrap_or_default();
                variables.insert(format!("BACKSTAY_PID_{name}"), pid.to_owned());
            }
            _ => drop(variables.insert(format!("BACKSTAY_CONTAINER_{name}"), container.id.clone())),
        }
    }
    let commands: Vec<Vec<String>> = match &part.reload_in {
        None => vec![part.reload.clone()],
        Some(service) => {
            let of_service = running.iter().filter(|container| container.service == *service);
            let inside = |container: &Container| {
                let docker = ["docker", "exec", container.id.as_str()].map(str::to_owned);
                docker.into_iter().chain(part.reload.iter().cloned()).collect()
            };
            of_service.map(inside).collect()
        }
    };
    for argv in &commands {
        let what = format!("the reload of part `{}`, `{}`,", part.name, part.reload.join(" "));
        let code = ErrorCode::BS3020;
        let asked = Asked { what, argv, variables: variables.clone(), sees_machine: true, step, code };
        command::run(cx, loaded, asked).await?;
    }
    Ok(())
}

/// What programs of a part are told besides the stack's own variables.
pub(super) fn variables(cx: &Context, loaded: &Loaded, part: &PartName) -> BTreeMap<String, String> {
    let state = cx.layout.state(&loaded.stack).display().to_string();
    let current = cx.layout.current(&loaded.stack).display().to_string();
    BTreeMap::from([
        ("BACKSTAY_PART".to_owned(), part.to_string()),
        ("BACKSTAY_STATE_DIR".to_owned(), state),
        ("BACKSTAY_CURRENT".to_owned(), current),
    ])
}

/// A name as part of a variable's.
pub(super) fn shouted(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    name.chars().map(letter).collect()
}

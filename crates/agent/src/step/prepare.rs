//! From a staged release to one that can run here.

use std::collections::BTreeMap;

use backstay_agent_core::{Prepared, PreparedService};
use backstay_manifest::env;
use backstay_types::{Digest, FailureKind, Step, TreeDigest};

use super::{Context, Fail, Failed, Loaded, PrepareCall, Records, release, validate};
use crate::{
    disk::audit,
    runtime::{Made, Runtimes},
};

/// Validates a release and makes it ready.
pub(super) async fn prepare(
    cx: &mut Context,
    call: PrepareCall,
    records: &mut Records,
) -> Result<Prepared, Failed> {
    let started = records.start();
    let loaded = release::load(&cx.layout, &call.stack, call.tree, Step::Validate)?;
    check_tree(&loaded.entries, call.tree)?;
    // For deep looks, which else could not tell what differs. They do without it.
    if let Err(error) = audit::note(&cx.layout.lists(&call.stack), call.tree, &loaded.entries) {
        tracing::warn!(stack = %call.stack, %error, "the list of a release's files cannot be kept");
    }
    loaded.render(cx, Step::Validate)?;
    let runtime = Runtimes::new(loaded.manifest.runtime.name())?;
    // What it was made from besides the runtime's own part.
    let values = env::write_values(&loaded.variables);
    let content = started_by(&loaded)?;
    let base = Digest::of(&[&content.as_bytes()[..], values.expose().as_bytes()].concat());
    let made = runtime.prepare(cx, &loaded, base, call.known.as_ref()).await?;
    check_project(&call, &made)?;
    let said = if call.known.is_some() {
        "found valid before".to_owned()
    } else if let Some(program) = loaded.check() {
        validate::run(cx, &loaded, program).await?;
        format!("`{program}` agrees")
    } else {
        String::new()
    };
    let asked = match &call.preflight {
        Some(follows) => validate::preflights(cx, &loaded, follows.from, &made.services).await?,
        None => Vec::new(),
    };
    let lines = made.notes.iter().cloned().chain(Some(said)).chain(asked).filter(|line| !line.is_empty());
    records.done(started, Step::Validate, lines.collect::<Vec<_>>().join("; "));
    let services = name_changes(&call, &made);
    Ok(Prepared {
        runtime: loaded.manifest.runtime.name().to_owned(),
        project: made.project,
        services,
        probes: loaded.manifest.probes,
        bake: loaded.manifest.bake,
        figures: loaded.manifest.figures,
        inputs: made.inputs,
    })
}

/// The digest over the files for whose changes what runs is started anew. Compose is asked itself what each service is
/// made from, so there it is over all of them.
fn started_by(loaded: &Loaded) -> Result<TreeDigest, Failed> {
    let parts = &loaded.manifest.parts;
    let switched = |path: &str| parts.reloaded(path).is_some();
    if loaded.manifest.processes().is_empty() || !loaded.entries.iter().any(|e| switched(&e.path)) {
        return Ok(loaded.tree);
    }
    let mut hasher = backstay_types::tree::TreeHasher::default();
    for entry in loaded.entries.iter().filter(|entry| !switched(&entry.path)) {
        let added = hasher.add(entry.mode, &entry.path, entry.content, entry.len);
        added.map_err(|error| Fail::of(Step::Validate, FailureKind::Mismatch, error))?;
    }
    Ok(hasher.finish())
}

/// The files may have been touched since they were staged.
fn check_tree(entries: &[backstay_manifest::compose::TreeEntry], tree: TreeDigest) -> Result<(), Failed> {
    let fail =
        |error: backstay_types::tree::TreeError| Fail::of(Step::Validate, FailureKind::Mismatch, error);
    let mut hasher = backstay_types::tree::TreeHasher::default();
    for entry in entries {
        hasher.add(entry.mode, &entry.path, entry.content, entry.len).map_err(fail)?;
    }
    let found = hasher.finish();
    if found == tree {
        return Ok(());
    }
    Err(fail(backstay_types::tree::TreeError::Digest { expected: tree, found }))
}

/// Another project would leave the stack's volumes behind.
fn check_project(call: &PrepareCall, made: &Made) -> Result<(), Failed> {
    match &call.project {
        Some(project) if *project != made.project => {
            let reason = format!(
                "the project is now called `{}`, but this stack runs as `{project}`: its volumes would be left behind",
                made.project
            );
            Err(Fail::of(Step::Validate, FailureKind::Invalid, reason))
        }
        _ => Ok(()),
    }
}

/// A service that is the same as the one that runs keeps the names of the deployment that made it so.
fn name_changes(call: &PrepareCall, made: &Made) -> BTreeMap<String, PreparedService> {
    let running = |name: &str| call.running.as_ref().and_then(|running| running.services.get(name));
    made.services
        .iter()
        .map(|(name, (image, config))| {
            let same = running(name).filter(|r| r.config == *config && r.image == *image);
            let service = same.cloned().unwrap_or_else(|| PreparedService {
                image: image.clone(),
                config: *config,
                deployment: call.deployment,
                release: call.release,
                conversations: call.conversations.clone(),
            });
            (name.clone(), service)
        })
        .collect()
}

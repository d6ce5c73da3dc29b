//! Docker Compose v2: its own command does the work, the engine's API is asked
//! what came of it.

mod adopt;
mod cli;
mod compare;
mod drill;
mod engine;
mod live;
mod mounts;

use std::{collections::BTreeMap, io};

use backstay_agent_core::{Finding, Prepared, PreparedService};
use backstay_api::agent::LogLine;
use backstay_manifest::{
    Compose as ComposeFile, Part, Runtime as Declared,
    compose::{MountPlan, OverrideInput, ServiceOverlay, classify, override_document},
};
use backstay_types::{
    Container, Digest, DriftPart, ErrorCode, FailureKind, ImageId, NodeName, StackName, Step, TreeDigest,
};

pub(crate) use self::{
    drill::{Rehearsal, Scratch},
    engine::{Engine, Mounting},
    mounts::{place_tracked, prune as prune_mounts, prune_tracked},
};
use super::{Cursor, LogsWanted, Made, NewLines, Runtime};
use crate::{
    backup::{DataPlan, Use},
    disk::{Layout, audit::Gently, write_atomic},
    step::{Context, Fail, Failed, Loaded, invalid},
};

/// The Compose runtime.
#[derive(Debug)]
pub(crate) struct Compose {
    engine: Engine,
}

/// A release's Compose file, read.
struct Read {
    file: String,
    compose: ComposeFile,
    plan: MountPlan,
    project: String,
}

impl Compose {
    pub(crate) fn new() -> Self {
        Self { engine: Engine::new() }
    }

    /// Lets go of the images that were held for releases of a stack that are not kept. Those that nobody else uses
    /// and that could be pulled again are removed.
    pub(crate) async fn release(&self, stack: &StackName, keep: &[TreeDigest]) {
        // Without an engine there is nothing to let go of now; it is tried again with the next prune.
        for holder in self.engine.holders(stack).await.unwrap_or_default() {
            if keep.iter().any(|kept| kept.to_string() == holder.tree) {
                continue;
            }
            if self.engine.remove(&holder.id).await.is_ok() {
                let _ = self.engine.remove_image(&holder.image).await;
            }
        }
    }

    /// The local id of every service's image, pulled or built where it is not here.
    async fn images(
        &self,
        cx: &Context,
        release: &Loaded,
        read: &Read,
    ) -> Result<BTreeMap<String, ImageId>, Failed> {
        let mut images = BTreeMap::new();
        let mut missing = Vec::new();
        let builds: Vec<_> =
            active(read).filter(|(_, service)| service.build).map(|(name, _)| name.as_str()).collect();
        if !builds.is_empty() {
            cli::run(cx, release, &read.file, &read.project, None, "build", &builds, Step::Validate).await?;
        }
        for (name, service) in active(read) {
            let reference = reference(read, name, service);
            match self.engine.image(&reference).await.map_err(engine_failed(Step::Validate))? {
                Some(id) => drop(images.insert(name.clone(), id)),
                None => missing.push((name.clone(), reference)),
            }
        }
        if missing.is_empty() {
            return Ok(images);
        }
        let names: Vec<_> = missing.iter().map(|(name, _)| name.as_str()).collect();
        let references: Vec<_> = missing.iter().map(|(_, reference)| reference.as_str()).collect();
        let pull =
            cli::run(cx, release, &read.file, &read.project, None, "pull", &names, Step::Validate).await;
        pull.map_err(|failed| Failed {
            reason: format!("not here: {}; {}", references.join(", "), failed.reason),
            ..failed
        })?;
        for (name, reference) in missing {
            let id = self.engine.image(&reference).await.map_err(engine_failed(Step::Validate))?;
            let id = id.ok_or_else(|| {
                let reason =
                    format!("service `{name}`: image {reference} is not here and could not be pulled");
                Fail::of(Step::Validate, FailureKind::Unavailable, reason)
            })?;
            images.insert(name, id);
        }
        Ok(images)
    }
}

impl Runtime for Compose {
    async fn prepare(
        &self,
        cx: &mut Context,
        release: &Loaded,
        base: Digest,
        known: Option<&Prepared>,
    ) -> Result<Made, Failed> {
        let read = read(release, Step::Validate)?;
        let images = self.images(cx, release, &read).await?;
        let listed: String = images.iter().map(|(name, image)| format!("{name}\0{}\0", image.0)).collect();
        let inputs = Digest::of(&[&base.as_bytes()[..], listed.as_bytes()].concat());
        mounts::place(cx, release, &read.plan, Step::Validate)?;
        let notes = adopt::adopt(&self.engine, cx, release, &read.plan, &read.project).await?;
        let configs: BTreeMap<_, _> = match known.filter(|known| known.inputs == inputs) {
            Some(known) => known.services.iter().map(|(name, s)| (name.clone(), s.config)).collect(),
            None => {
                let overlays =
                    images.iter().map(|(name, image)| (name.clone(), overlay(image, None))).collect();
                write_overlay(cx, release, &read, overlays, Step::Validate)?;
                let hashes = cli::config_hashes(cx, release, &read.file, &read.project).await?;
                hashes.into_iter().map(|(name, hash)| (name, Digest::of(hash.as_bytes()))).collect()
            }
        };
        self.engine
            .hold(&release.stack, release.tree, images.values())
            .await
            .map_err(engine_failed(Step::Validate))?;
        let services = images
            .into_iter()
            .map(|(name, image)| {
                let config = configs.get(&name).copied().unwrap_or(inputs);
                (name, (image, config))
            })
            .collect();
        Ok(Made { project: read.project, services, inputs, notes })
    }

    async fn up(
        &self,
        cx: &mut Context,
        release: &Loaded,
        prepared: &Prepared,
        step: Step,
    ) -> Result<Vec<Container>, Failed> {
        let read = read(release, step)?;
        // A prune may have taken it.
        mounts::place(cx, release, &read.plan, step)?;
        live::switch(cx, release, &read.plan).map_err(Fail::io(step, "the files of parts"))?;
        crate::disk::private_dir(&cx.layout.state(&release.stack))
            .map_err(Fail::io(step, "the state's folder"))?;
        write_overlay(cx, release, &read, prepared_overlays(cx, release, prepared), step)?;
        cx.lock.inherit(true).map_err(Fail::io(step, "the work lock"))?;
        let overlay = cx.layout.overlay(&release.stack, release.tree);
        let project = &prepared.project;
        cli::run(cx, release, &read.file, project, Some(&overlay), "up", &[], step).await?;
        self.engine.containers(project).await.map_err(engine_failed(step))
    }

    async fn down(
        &self,
        cx: &mut Context,
        _: &StackName,
        _: Option<TreeDigest>,
        project: &str,
    ) -> Result<(), Failed> {
        cx.lock.inherit(true).map_err(Fail::io(Step::Return, "the work lock"))?;
        cli::down(project).await
    }

    async fn observe(&self, _: &Layout, _: &StackName, prepared: &Prepared) -> io::Result<Vec<Container>> {
        self.engine.containers(&prepared.project).await
    }

    async fn compare(
        &self,
        cx: &mut Context,
        release: &Loaded,
        prepared: &Prepared,
        gently: &mut Gently,
    ) -> Result<Vec<Finding>, Failed> {
        let step = Step::Probe;
        let read = read(release, step)?;
        let all: Vec<_> = prepared.services.keys().map(String::as_str).collect();
        let mut found =
            mounts::compare(cx, release, &read.plan, &all, gently).map_err(Fail::io(step, "the mounts"))?;
        let live = live::compare(cx, release, &read.plan, gently);
        found.extend(live.map_err(Fail::io(step, "the files of parts"))?);
        write_overlay(cx, release, &read, prepared_overlays(cx, release, prepared), step)?;
        let hashes = cli::config_hashes(cx, release, &read.file, &prepared.project).await?;
        let document = cli::rendered(cx, release, &read.file, &prepared.project).await?;
        let containers = self.engine.inspect_all(&prepared.project).await.map_err(engine_failed(step))?;
        for (name, service) in &prepared.services {
            let finding = |part, detail, services| Finding { part, name: name.clone(), detail, services };
            let Some(image) =
                self.engine.inspect_image(&service.image.0).await.map_err(engine_failed(step))?
            else {
                let detail = format!("image {} is not here any more", short_id(&service.image));
                found.push(finding(DriftPart::Image, detail, Vec::new()));
                continue;
            };
            let (Some(hash), Some(wanted)) = (hashes.get(name), document["services"].get(name)) else {
                continue;
            };
            let expected = compare::Expected { service: wanted, document: &document, hash, image: &image };
            // A container that is gone, stopped or of another image is what the light look sees.
            for (_, container) in containers.iter().filter(|(of, _)| of == name) {
                let differences = compare::differences(&expected, container);
                if !differences.is_empty() {
                    let detail = differences.join("; ");
                    found.push(finding(DriftPart::Container, detail, vec![name.clone()]));
                    break;
                }
            }
        }
        Ok(found)
    }

    async fn recreate(
        &self,
        cx: &mut Context,
        release: &Loaded,
        prepared: &Prepared,
        services: &[String],
    ) -> Result<(), Failed> {
        let step = Step::Return;
        let read = read(release, step)?;
        mounts::place(cx, release, &read.plan, step)?;
        live::switch(cx, release, &read.plan).map_err(Fail::io(step, "the files of parts"))?;
        write_overlay(cx, release, &read, prepared_overlays(cx, release, prepared), step)?;
        cx.lock.inherit(true).map_err(Fail::io(step, "the work lock"))?;
        let overlay = cx.layout.overlay(&release.stack, release.tree);
        let names: Vec<_> = services.iter().map(String::as_str).collect();
        let what = if names.is_empty() { "create" } else { "recreate" };
        cli::run(cx, release, &read.file, &prepared.project, Some(&overlay), what, &names, step).await
    }

    fn services_that_see(
        &self,
        release: &Loaded,
        meant: &dyn Fn(&Part) -> bool,
    ) -> Result<Vec<String>, Failed> {
        let read = read(release, Step::Activate)?;
        let parts = &release.manifest.parts;
        let is_meant = |(file, _): &(String, String)| parts.reloaded(file).is_some_and(meant);
        let mut services = Vec::new();
        for (at, mount) in read.plan.live.iter().enumerate() {
            if mount.files.iter().any(is_meant) {
                services.extend(read.plan.services_that_see(at).into_iter().map(str::to_owned));
            }
        }
        services.sort();
        services.dedup();
        Ok(services)
    }

    async fn can_run(&self, prepared: &Prepared) -> io::Result<bool> {
        for service in prepared.services.values() {
            if self.engine.image(&service.image.0).await?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn logs(
        &self,
        _: &Layout,
        _: &StackName,
        prepared: &Prepared,
        wanted: LogsWanted<'_>,
    ) -> io::Result<Vec<LogLine>> {
        self.engine.logs(&prepared.project, wanted).await
    }

    async fn new_logs(
        &self,
        _: &Layout,
        _: &StackName,
        prepared: &Prepared,
        after: Option<&Cursor>,
        most: usize,
    ) -> io::Result<NewLines> {
        self.engine.new_logs(&prepared.project, after, most).await
    }
}

/// What a release under Compose has of data: volumes, and which services use what.
pub(crate) fn data(release: &Loaded) -> Result<DataPlan, Failed> {
    let read = read(release, Step::Snapshot)?;
    let mut uses = Vec::new();
    for (name, service) in active(&read) {
        let volumes = service.volumes.iter().map(|(volume, _)| Use::Volume(volume.clone()));
        let binds = service.binds.iter().filter(|bind| !bind.read_only && bind.source.starts_with('/'));
        let binds = binds.map(|bind| Use::Absolute(bind.source.clone()));
        uses.extend(volumes.chain(binds).map(|used| (name.clone(), used)));
    }
    let state = read.plan.state_binds();
    uses.extend(state.map(|(service, _, path)| (service.to_owned(), Use::State(path.to_owned()))));
    let mut backups = release.manifest.backups.clone();
    backups.items = release.manifest.saved(Some((&read.compose, &read.plan)));
    let used = uses.iter().filter_map(|(_, used)| match used {
        Use::Volume(volume) => Some(volume),
        _ => None,
    });
    let volumes = read.compose.volumes.keys().chain(used).map(|volume| {
        let own = read.compose.volumes.get(volume).cloned().flatten();
        (volume.clone(), own.unwrap_or_else(|| format!("{}_{volume}", read.project)))
    });
    let volumes = volumes.collect();
    let exclusive = release.manifest.exclusive;
    Ok(DataPlan { backups, runtime: "compose".to_owned(), project: read.project, volumes, uses, exclusive })
}

/// Takes down what runs of a stack under Compose; nothing where no container engine answers.
pub(super) async fn leave(cx: &mut Context, stack: &StackName) -> Result<(), Failed> {
    let runtime = Compose::new();
    let releases = cx.layout.releases(stack);
    // An engine that does not answer may not be there at all. What it ran would be seen by the next start.
    let Ok(projects) = runtime.engine.projects_of(stack.as_str(), &releases).await else { return Ok(()) };
    for project in projects {
        runtime.down(cx, stack, None, &project).await?;
    }
    Ok(())
}

/// Labels and variables that say to whom a service belongs and what last changed it.
pub(crate) fn names(
    node: &NodeName,
    stack: &StackName,
    service: &PreparedService,
) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let conversations: Vec<_> = service.conversations.iter().map(ToString::to_string).collect();
    let names = [
        ("node", node.to_string()),
        ("stack", stack.to_string()),
        ("release", service.release.to_string()),
        ("deployment", service.deployment.to_string()),
        ("conversation", conversations.join(",")),
    ];
    let labels = names.iter().map(|(name, value)| (format!("dev.backstay.{name}"), value.clone())).collect();
    let variables = names
        .iter()
        .map(|(name, value)| (format!("BACKSTAY_{}", name.to_uppercase()), value.clone()))
        .collect();
    (labels, variables)
}

type Names = (BTreeMap<String, String>, BTreeMap<String, String>);

fn overlay(image: &ImageId, names: Option<Names>) -> ServiceOverlay {
    let (labels, environment) = names.unwrap_or_default();
    ServiceOverlay { image: Some(image.0.clone()), labels, environment }
}

/// What is set for each service when it is started.
fn prepared_overlays(
    cx: &Context,
    release: &Loaded,
    prepared: &Prepared,
) -> BTreeMap<String, ServiceOverlay> {
    let of = |(name, service): (&String, &PreparedService)| {
        let names = names(&cx.place.node, &release.stack, service);
        (name.clone(), overlay(&service.image, Some(names)))
    };
    prepared.services.iter().map(of).collect()
}

fn short_id(image: &ImageId) -> &str {
    let id = image.0.strip_prefix("sha256:").unwrap_or(&image.0);
    id.get(..12).unwrap_or(id)
}

/// Services that run without a profile being asked for.
fn active(read: &Read) -> impl Iterator<Item = (&String, &backstay_manifest::compose::Service)> {
    read.compose.services.iter().filter(|(_, service)| service.profiles.is_empty())
}

fn reference(read: &Read, name: &str, service: &backstay_manifest::compose::Service) -> String {
    match &service.image {
        Some(image) => image.value.clone(),
        None => format!("{}-{name}", read.project),
    }
}

fn read(release: &Loaded, step: Step) -> Result<Read, Failed> {
    let Declared::Compose(settings) = &release.manifest.runtime else {
        return Err(Fail::other(step, "the release is not for Compose"));
    };
    let file = settings.file.clone();
    let bytes = std::fs::read(release.dir.join(&file)).map_err(Fail::io(step, &file))?;
    let compose = ComposeFile::parse(&file, &bytes, &release.scope()).map_err(|p| invalid(step, &p))?;
    if let Some(include) = compose.includes.first() {
        let reason =
            format!("{file}:{}: `{}`: other Compose files cannot be taken in", include.line, include.value);
        return Err(Fail::of(step, FailureKind::Invalid, reason));
    }
    let plan =
        classify(&compose, &release.entries, &release.manifest.parts).map_err(|p| invalid(step, &p))?;
    let project = compose.project_name(settings.project.as_deref(), &release.stack);
    Ok(Read { file, compose, plan, project })
}

fn write_overlay(
    cx: &Context,
    release: &Loaded,
    read: &Read,
    services: BTreeMap<String, ServiceOverlay>,
    step: Step,
) -> Result<(), Failed> {
    let input = OverrideInput {
        mounts: cx.layout.mounts(&release.stack).display().to_string(),
        live: cx.layout.live(&release.stack).display().to_string(),
        state: cx.layout.state(&release.stack).display().to_string(),
        env_file: Some(cx.layout.rendered(&release.stack, release.tree).display().to_string()),
        services,
    };
    let text = override_document(&read.compose, &read.plan, &input);
    let path = cx.layout.overlay(&release.stack, release.tree);
    write_atomic(&path, text.as_bytes(), 0o600).map_err(Fail::io(step, "the override document"))
}

fn engine_failed(step: Step) -> impl Fn(io::Error) -> Failed {
    move |error| {
        let reason = format!("the container engine: {error}");
        // What it answers is about what it was asked; when it is not there, that is the node's.
        let kind = match error.kind() {
            io::ErrorKind::Other => FailureKind::Other,
            _ => FailureKind::Node,
        };
        Fail::coded(step, kind, ErrorCode::BS3007, reason)
    }
}

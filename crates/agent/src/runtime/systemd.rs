//! systemd: units from the release, installed under their own names, known to be the stack's by a drop-in file.
//!
//! What a unit refers to in the release stands under a path named by its content, as with Compose: a unit's text, and
//! with it the unit, changes exactly when what it refers to has changed.

mod ctl;
mod install;
mod journal;
mod render;

use std::{fs, io, path::Path};

use backstay_agent_core::Prepared;
use backstay_api::agent::LogLine;
use backstay_manifest::env;
use backstay_types::{Container, Digest, FailureKind, ImageId, StackName, Step, TreeDigest};

use self::{
    ctl::Shown,
    install::{Installed, Unit},
    render::Rendered,
};
use super::{Cursor, LogsWanted, Made, NewLines, Runtime};
use crate::{
    disk::Layout,
    step::{Context, Fail, Failed, Loaded},
};

pub(crate) use self::render::prune as prune_files;

/// The systemd runtime.
#[derive(Debug)]
pub(crate) struct Systemd;

impl Runtime for Systemd {
    async fn prepare(
        &self,
        cx: &mut Context,
        release: &Loaded,
        base: Digest,
        _: Option<&Prepared>,
    ) -> Result<Made, Failed> {
        let units = render::units(cx, release, Step::Validate)?;
        for unit in &units {
            install::refuse_foreign(cx, release, unit).await?;
        }
        render::place_files(cx, release, &units, Step::Validate)?;
        let note = ctl::verify(cx, release, &units).await?;
        let values = values(release);
        let services = units.iter().map(|unit| {
            let values = if unit.spec.kind() == "service" { values } else { Digest::of(&[]) };
            let config = Digest::of(
                &[&unit.image().as_bytes()[..], values.as_bytes(), &[u8::from(unit.start)]].concat(),
            );
            (unit.spec.name().to_owned(), (image(unit.image()), config))
        });
        Ok(Made {
            project: release.stack.to_string(),
            services: services.collect(),
            inputs: base,
            notes: note.into_iter().collect(),
        })
    }

    async fn up(
        &self,
        cx: &mut Context,
        release: &Loaded,
        prepared: &Prepared,
        step: Step,
    ) -> Result<Vec<Container>, Failed> {
        cx.lock.inherit(true).map_err(Fail::io(step, "the work lock"))?;
        let rendered = render::units(cx, release, step)?;
        // A prune may have taken them.
        render::place_files(cx, release, &rendered, step)?;
        crate::disk::private_dir(&cx.layout.state(&release.stack))
            .map_err(Fail::io(step, "the state's folder"))?;
        let values = install::write_values(cx, release, values(release), step)?;
        let units: Vec<Unit<'_>> = rendered
            .iter()
            .filter_map(|rendered| {
                let service = prepared.services.get(rendered.spec.name())?;
                Some(Unit { rendered, service })
            })
            .collect();
        install::remove_others(cx, &release.stack, &units, step).await?;
        crate::crash::crash_point("up.stopped");
        install::install(cx, &release.stack, &units, values.as_deref(), step).await?;
        install::start(cx, &release.stack, &units, step).await?;
        install::forget_values(cx, &release.stack, values.as_deref());
        observe(&cx.layout, prepared).await.map_err(Fail::io(step, "what runs cannot be told"))
    }

    async fn down(
        &self,
        cx: &mut Context,
        stack: &StackName,
        _: Option<TreeDigest>,
        _: &str,
    ) -> Result<(), Failed> {
        cx.lock.inherit(true).map_err(Fail::io(Step::Return, "the work lock"))?;
        install::remove_others(cx, stack, &[], Step::Return).await?;
        install::forget_values(cx, stack, None);
        Ok(())
    }

    async fn observe(
        &self,
        layout: &Layout,
        _: &StackName,
        prepared: &Prepared,
    ) -> io::Result<Vec<Container>> {
        observe(layout, prepared).await
    }

    async fn can_run(&self, _: &Prepared) -> io::Result<bool> {
        Ok(true)
    }

    async fn logs(
        &self,
        _: &Layout,
        _: &StackName,
        prepared: &Prepared,
        wanted: LogsWanted<'_>,
    ) -> io::Result<Vec<LogLine>> {
        let names = prepared.services.keys().filter(|name| wanted.service.is_none_or(|w| w == name.as_str()));
        let mut lines = Vec::new();
        for name in names {
            let invocation = match wanted.since_start {
                true => ctl::show(&[name]).await?.pop().map(|shown| shown.invocation),
                false => None,
            };
            lines.extend(journal::last(name, wanted.lines, invocation.as_deref()).await?.lines);
        }
        Ok(lines)
    }

    async fn new_logs(
        &self,
        _: &Layout,
        _: &StackName,
        prepared: &Prepared,
        after: Option<&Cursor>,
        most: usize,
    ) -> io::Result<NewLines> {
        let mut new = NewLines::default();
        for name in prepared.services.keys() {
            journal::new_lines(name, after, most, &mut new).await?;
        }
        Ok(new)
    }
}

/// Whether systemd runs this machine, or answers for it.
pub(crate) fn works() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// How often the most restless unit of a stack was started again by systemd itself.
pub(crate) async fn restarts(prepared: &Prepared) -> u32 {
    let names: Vec<_> = prepared.services.keys().collect();
    let shown = ctl::show(&names).await.unwrap_or_default();
    shown.iter().map(|shown| shown.restarts).max().unwrap_or(0)
}

fn image(digest: Digest) -> ImageId {
    ImageId(format!("sha256:{digest}"))
}

/// What the node's values for the stack amount to.
fn values(release: &Loaded) -> Digest {
    Digest::of(env::write_values(&release.variables).expose().as_bytes())
}

async fn observe(layout: &Layout, prepared: &Prepared) -> io::Result<Vec<Container>> {
    let names: Vec<&String> = prepared.services.keys().collect();
    let shown = ctl::show(&names).await?;
    let installed = Installed::of(layout);
    let mut containers = Vec::new();
    for (name, service) in &prepared.services {
        let Some(shown) = shown.iter().find(|shown| &shown.id == name) else { continue };
        let text = match fs::read(layout.units().join(name)) {
            Ok(text) => text,
            // Its file is gone: so is it, whatever systemd still has in memory.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        // Whether it is started by another unit of the stack stands beside what was started.
        let waits = installed.waits(name);
        containers.push(container(name, service.deployment, &text, shown, waits));
    }
    Ok(containers)
}

fn container(
    name: &str,
    deployment: backstay_types::DeploymentId,
    text: &[u8],
    shown: &Shown,
    waits: bool,
) -> Container {
    let rests = shown.kind == "oneshot" && shown.has_succeeded();
    let (running, health) = match shown.state.as_str() {
        "active" | "reloading" => (true, None),
        // Its timer, socket or path starts it.
        _ if waits && shown.state != "failed" => (true, Some("waiting")),
        _ if rests => (false, Some("completed")),
        _ => (false, None),
    };
    Container {
        service: name.to_owned(),
        id: shown.invocation.clone(),
        name: name.to_owned(),
        image: image(Rendered::image_of(text, shown.is_enabled())),
        running,
        health: health.map(str::to_owned),
        deployment: Some(deployment),
    }
}

fn failed(step: Step, reason: impl std::fmt::Display) -> Failed {
    Fail::of(step, FailureKind::Start, reason)
}

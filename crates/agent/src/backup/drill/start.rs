//! Starting the stack with the restored data, beside the one that runs, and asking it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use backstay_agent_core::{Prepared, ProbeRun, ProbeStep};
use backstay_manifest::{
    BackupItem, BackupSource, Probe,
    compose::{DrillPort, drill_probe},
};
use backstay_types::{
    ErrorCode, Step,
    backup::{BackupPhase, DrillCheckKind, DrillReport, DrillResult, DrillStart},
};
use tokio::time::sleep;

use super::{Drill, Stop, check, result_of};
use crate::{
    backup::{
        BackupError, copy,
        database::{self, Postgres},
        plan::inside,
        restore::dress,
    },
    crash::crash_point,
    runtime::compose::{Compose, Rehearsal},
    step::{Records, Reply, Work, read_rendered},
    tasks::probe::Asker,
};

/// How long reading and rendering the release may take.
const READY: Duration = Duration::from_secs(120);
/// How long starting may take.
const START: Duration = Duration::from_secs(10 * 60);
/// How long a server may take until it can be asked.
const SERVER: Duration = Duration::from_secs(180);

impl Drill<'_> {
    /// Starts it with the data, and asks its probes. What cannot be started without reaching beyond itself is not.
    pub(super) async fn start(&mut self, report: &mut DrillReport) -> Result<(), Stop> {
        let Some(prepared) = self.committed.prepared.clone() else { return Ok(()) };
        self.progress.phase(BackupPhase::Starting, &self.work.stack);
        self.state.started = true;
        self.desk.store.drilling(&self.state).map_err(Stop::PutOff)?;
        let placed = self.place().await?;
        let ports = match self.rehearse(&prepared, placed).await? {
            Rehearsal::Ready(ports) => ports,
            Rehearsal::Refused(why) => {
                let why = format!("it cannot be cut off from what runs: {why} ({})", ErrorCode::BS9033);
                report.start = DrillStart::No { why };
                // The dumps are where they were.
                return Ok(());
            }
        };
        crash_point("drill.rehearsed");
        report.start = DrillStart::Yes;
        let servers: BTreeSet<String> = self.servers().map(|(_, service)| service.to_owned()).collect();
        if !servers.is_empty() {
            self.up(servers.into_iter().collect()).await?;
            crash_point("drill.servers");
            self.load_inside(report).await;
        }
        self.up(Vec::new()).await?;
        crash_point("drill.started");
        self.give_back(report).await;
        self.ask(&prepared, &ports, report).await;
        crash_point("drill.probed");
        Ok(())
    }

    /// Puts restored data where the stack will look for it. Gives the paths of the machine that it stands for.
    async fn place(&self) -> Result<Vec<String>, Stop> {
        let (plan, layout, stack) = (&self.state.plan, self.desk.layout(), &self.state.stack);
        let scratch = &self.state.scratch;
        let state = layout.state(stack);
        let mut saved = vec![state.display().to_string()];
        self.like(&state, &scratch.host(&state))?;
        for (volume, name) in &plan.volumes {
            if let Ok(real) = plan.volume(volume).await {
                self.like(&real, &scratch.volume(volume))?;
            } else {
                tracing::debug!(volume, name, "the engine has no such volume yet");
            }
        }
        let mut items: Vec<&BackupItem> = plan.backups.items.iter().collect();
        // A folder before the databases that are in it.
        items.sort_by_key(|item| !item.what.is_files());
        for item in items {
            let from = scratch.data().join(&item.name);
            let found = match &item.what {
                BackupSource::Volume { .. } | BackupSource::Path { .. } | BackupSource::Sqlite { .. }
                    if from.is_dir() =>
                {
                    plan.locate(layout, stack, &item.what).await?
                }
                _ => None,
            };
            let Some((root, below)) = found else { continue };
            let real = root.join(&below);
            let to = match item.what.volume() {
                Some(volume) => scratch.volume(volume).join(&below),
                None => scratch.host(&real),
            };
            if item.what.volume().is_none() && !real.starts_with(&state) {
                saved.push(real.display().to_string());
            }
            let name = real.file_name().unwrap_or_default();
            let is_file = matches!(item.what, BackupSource::Sqlite { .. }) || real.is_file();
            let from = if is_file { from.join(name) } else { from };
            // What was restored may hold links, which would lead to what runs.
            inside(&scratch.dir, to.strip_prefix(&scratch.dir).unwrap_or(&to))?;
            put(&from, &to).map_err(|error| Stop::PutOff(format!("{}: {error}", to.display())))?;
            if real.exists() && to.exists() {
                dress(&real, &to)?;
            }
        }
        Ok(saved)
    }

    /// A folder with owner and mode of another.
    fn like(&self, real: &Path, to: &Path) -> Result<(), Stop> {
        fs::create_dir_all(to).map_err(|error| Stop::PutOff(format!("{}: {error}", to.display())))?;
        if real.is_dir() {
            dress(real, to)?;
        }
        Ok(())
    }

    async fn rehearse(&self, prepared: &Prepared, saved: Vec<String>) -> Result<Rehearsal, Stop> {
        let work = Work::Rehearse {
            stack: self.state.stack.clone(),
            tree: self.state.tree,
            prepared: Box::new(prepared.clone()),
            scratch: self.state.scratch.clone(),
            saved,
        };
        match self.child(work, READY).await? {
            Reply::Rehearsed(rehearsal) => Ok(rehearsal),
            _ => Err(Stop::PutOff("a child of the agent answered something else".to_owned())),
        }
    }

    async fn up(&self, services: Vec<String>) -> Result<(), Stop> {
        let work = Work::StartDrill {
            stack: self.state.stack.clone(),
            tree: self.state.tree,
            scratch: self.state.scratch.clone(),
            services,
        };
        self.child(work, START).await.map(drop)
    }

    async fn child(&self, work: Work, limit: Duration) -> Result<Reply, Stop> {
        let mut records = Records::new(self.desk.machine.world.clone());
        let done = self.desk.machine.child(work, Step::Probe, limit, &mut records).await;
        done.map_err(|failed| match failed.kind {
            // An engine that is away says nothing about the snapshot.
            backstay_types::FailureKind::Node => Stop::PutOff(failed.reason),
            _ => Stop::Failed(format!("it does not start with the data: {}", failed.reason)),
        })
    }

    /// Items with a PostgreSQL server that is a service of the stack.
    fn servers(&self) -> impl Iterator<Item = (&BackupItem, &str)> {
        self.state.plan.backups.items.iter().filter_map(|item| match &item.what {
            BackupSource::Postgres(source) => Some((item, source.service.as_deref()?)),
            _ => None,
        })
    }

    /// Loads dumps into the drill's own servers, in the place of what these began with.
    async fn load_inside(&self, report: &mut DrillReport) {
        let scene = self.desk.scene(&self.state.stack, self.state.tree);
        for (item, _) in self.servers() {
            let folder = self.state.scratch.data().join(&item.name);
            let (BackupSource::Postgres(source), true) = (&item.what, folder.is_dir()) else { continue };
            let loaded = async {
                let server = Postgres::new(&scene, &self.state.scratch.project, &item.name, source).await?;
                server.settled(SERVER).await?;
                let globals = server.load_globals(&folder).await?;
                for name in database::dumped(&folder)? {
                    let dump = folder.join(format!("{name}.dump"));
                    server.load_as(&dump, &name, "backstay_new", !globals).await?;
                    server.swap(&name, "backstay_new", "backstay_old").await?;
                    server.forget(&name, "backstay_old").await?;
                }
                Ok::<(), BackupError>(())
            };
            let result = result_of(loaded.await.map_err(|error| error.to_string()));
            report.checks.push(check(DrillCheckKind::Load, &item.name, result));
            crash_point("drill.loaded");
        }
    }

    /// Gives commands back what they printed, inside the drill's own services.
    async fn give_back(&self, report: &mut DrillReport) {
        let scene = self.desk.scene(&self.state.stack, self.state.tree);
        for item in &self.state.plan.backups.items {
            let folder = self.state.scratch.data().join(&item.name);
            let result = match &item.what {
                BackupSource::Command(source) if !folder.is_dir() || source.restore.is_empty() => continue,
                BackupSource::Command(source) if source.service.is_none() => DrillResult::LeftOut {
                    why: "its `restore` runs on the node, and would reach the stack that runs".to_owned(),
                },
                BackupSource::Command(source) => {
                    let project = &self.state.scratch.project;
                    let given = database::restore_command(&scene, project, &item.name, source, &folder).await;
                    result_of(given.map_err(|error| error.to_string()))
                }
                BackupSource::Openclaw { .. } => {
                    DrillResult::LeftOut { why: "OpenClaw's own backup is only compared".to_owned() }
                }
                _ => continue,
            };
            report.checks.push(check(DrillCheckKind::Load, &item.name, result));
        }
    }

    /// Asks the stack's probes of what was started.
    async fn ask(&self, prepared: &Prepared, ports: &[DrillPort], report: &mut DrillReport) {
        let scope = backstay_manifest::Variables::complete(read_rendered(
            self.desk.layout(),
            &self.state.stack,
            self.state.tree,
        ));
        let own = Prepared { project: self.state.scratch.project.clone(), ..prepared.clone() };
        let asker = Asker::new(self.desk.layout(), &self.state.stack, self.state.tree, &own);
        for probe in &prepared.probes {
            let result = async {
                // Addresses are there only once it runs.
                let known = Compose::drill_addresses(&self.state.scratch).await;
                let known = known.map_err(|error| error.to_string()).unwrap_or_default();
                let rendered = match probe.rendered(&scope) {
                    Ok(rendered) => rendered,
                    Err(error) => return DrillResult::LeftOut { why: error.to_string() },
                };
                match drill_probe(&rendered.kind, &|host, port| found(host, port, ports, &known)) {
                    Err(why) => DrillResult::LeftOut { why },
                    Ok(kind) => result_of(until_healthy(&asker, &Probe { kind, ..rendered }).await),
                }
            };
            let what = probe.kind.describe();
            report.checks.push(check(DrillCheckKind::Probe, &what, result.await));
        }
    }
}

/// What stands for a port of the machine.
fn found(
    host: &str,
    port: u16,
    ports: &[DrillPort],
    known: &BTreeMap<String, IpAddr>,
) -> Option<(IpAddr, u16)> {
    let here = |address: &str| {
        host == address
            || host == "localhost"
            || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
    };
    let port = ports.iter().find(|one| one.published == port && here(&one.address))?;
    Some((*known.get(&port.service)?, port.target))
}

/// Asks one probe until it is content or its time is over.
async fn until_healthy(asker: &Asker<'_>, probe: &Probe) -> Result<(), String> {
    let (since, mut run) = (Instant::now(), ProbeRun::new(probe));
    loop {
        match run.step(since.elapsed()) {
            ProbeStep::Healthy => return Ok(()),
            ProbeStep::Unhealthy { reason } => {
                let within = backstay_manifest::format_duration(probe.within);
                return Err(format!("not healthy within {within}: {reason}"));
            }
            ProbeStep::AskAt(at) if at <= since.elapsed() => {
                let answer = asker.ask(probe).await;
                run.answer(since.elapsed(), answer);
            }
            ProbeStep::AskAt(at) => sleep(at.saturating_sub(since.elapsed())).await,
        }
    }
}

/// Moves something to its place, whatever is there.
fn put(from: &PathBuf, to: &Path) -> std::io::Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    copy::clear(to)?;
    fs::rename(from, to)
}

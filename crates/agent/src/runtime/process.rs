//! Processes that outlive the agent: each under a small supervisor of its own,
//! which is this program again. Supervisor and process are known by number and
//! start time, so that a restarted agent finds them and nobody else's.

mod record;
mod stop;
pub(crate) mod supervise;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _, Seek as _},
    path::{Path, PathBuf},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use backstay_agent_core::{Prepared, PreparedService};
use backstay_api::agent::LogLine;
use backstay_manifest::ProcessSpec;
use backstay_types::{Container, Digest, FailureKind, ImageId, StackName, Step, TreeDigest};

use self::record::{Spec, Status};
use super::{
    LogsWanted, Made, Runtime,
    follow::{Cursor, NewLines, NewOfFile, Place, new_of_file},
};
use crate::{
    child,
    disk::{Layout, hash_file, write_atomic},
    step::{Context, Fail, Failed, Loaded},
};

/// How long a supervisor may take to say that it has started its process.
const START: Duration = Duration::from_secs(10);
/// So much of a log is read at most, from its end.
const LOG_TAIL: u64 = 4 << 20;

/// The process runtime.
#[derive(Debug)]
pub(crate) struct Process;

impl Runtime for Process {
    async fn prepare(
        &self,
        _: &mut Context,
        release: &Loaded,
        base: Digest,
        _: Option<&Prepared>,
    ) -> Result<Made, Failed> {
        let mut services = BTreeMap::new();
        for process in rendered(release, Step::Validate)? {
            let program = program(release, &process)
                .map_err(|reason| Fail::of(Step::Validate, FailureKind::Invalid, reason))?;
            let image = image(&program).map_err(Fail::io(Step::Validate, program.display()))?;
            let spec = serde_json::to_vec(&process).map_err(|e| Fail::other(Step::Validate, e))?;
            let config = Digest::of(&[&base.as_bytes()[..], &spec].concat());
            services.insert(process.name.clone(), (image, config));
        }
        Ok(Made { project: release.stack.to_string(), services, inputs: base, notes: Vec::new() })
    }

    async fn up(
        &self,
        cx: &mut Context,
        release: &Loaded,
        prepared: &Prepared,
        step: Step,
    ) -> Result<Vec<Container>, Failed> {
        let fail = |error| Fail::io(step, "processes")(error);
        let dir = records(&cx.layout, &release.stack);
        crate::disk::private_dir(&dir).map_err(fail)?;
        crate::disk::private_dir(&cx.layout.logs(&release.stack)).map_err(fail)?;
        crate::disk::private_dir(&cx.layout.state(&release.stack)).map_err(fail)?;
        let mut wanted = Vec::new();
        for process in rendered(release, step)? {
            let Some(service) = prepared.services.get(&process.name) else { continue };
            wanted.push(spec(cx, release, &process, service, step)?);
        }
        let kept = stop_others(&dir, &wanted).map_err(fail)?;
        crate::crash::crash_point("up.stopped");
        for spec in &wanted {
            if kept.contains(&spec.name) {
                // Should it have to be started again, then from the release that is there now.
                note(&dir, spec, step)?;
            } else {
                start(&dir, spec, step)?;
            }
        }
        observe(&dir).map_err(fail)
    }

    async fn down(
        &self,
        cx: &mut Context,
        stack: &StackName,
        _: Option<TreeDigest>,
        _: &str,
    ) -> Result<(), Failed> {
        let dir = records(&cx.layout, stack);
        stop_others(&dir, &[]).map(|_| ()).map_err(Fail::io(Step::Return, "processes"))
    }

    async fn observe(&self, layout: &Layout, stack: &StackName, _: &Prepared) -> io::Result<Vec<Container>> {
        observe(&records(layout, stack))
    }

    async fn can_run(&self, _: &Prepared) -> io::Result<bool> {
        Ok(true)
    }

    async fn logs(
        &self,
        layout: &Layout,
        stack: &StackName,
        prepared: &Prepared,
        wanted: LogsWanted<'_>,
    ) -> io::Result<Vec<LogLine>> {
        let dir = records(layout, stack);
        let mut lines = Vec::new();
        for name in prepared.services.keys().filter(|name| wanted.service.is_none_or(|w| w == name.as_str()))
        {
            let from = match wanted.since_start {
                true => Status::read(&dir, name)?.map_or(0, |status| status.log_from),
                false => 0,
            };
            let log = layout.logs(stack).join(format!("{name}.log"));
            let text = read_log(&log, from)?;
            let mut last: Vec<_> = text.lines().rev().take(wanted.lines).collect();
            last.reverse();
            lines.extend(last.into_iter().map(|line| LogLine {
                service: name.clone(),
                at: None,
                text: line.to_owned(),
            }));
        }
        Ok(lines)
    }

    async fn new_logs(
        &self,
        layout: &Layout,
        stack: &StackName,
        prepared: &Prepared,
        after: Option<&Cursor>,
        most: usize,
    ) -> io::Result<NewLines> {
        let mut new = NewLines::default();
        for name in prepared.services.keys() {
            let found = new_lines(layout, stack, name, after, most)?;
            let line = |text| LogLine { service: name.clone(), at: None, text };
            new.lines.extend(found.lines.into_iter().map(line));
            new.cursor.0.insert(name.clone(), Place::File { offset: found.offset, mark: found.mark });
            new.dropped |= found.dropped;
        }
        Ok(new)
    }
}

/// What is new in the log of a process.
fn new_lines(
    layout: &Layout,
    stack: &StackName,
    name: &str,
    after: Option<&Cursor>,
    most: usize,
) -> io::Result<NewOfFile> {
    let log = layout.logs(stack).join(format!("{name}.log"));
    let start = Digest::of(&[]).short();
    let place = after.map(|after| match after.0.get(name) {
        Some(Place::File { offset, mark }) => (*offset, mark.as_str()),
        // It has begun since.
        _ => (0, start.as_str()),
    });
    new_of_file(&log, &log.with_extension("log.1"), place, most)
}

/// How often the processes of a stack were started again since they were last deployed.
pub(crate) fn restarts(layout: &Layout, stack: &StackName) -> u32 {
    let dir = records(layout, stack);
    let names = Status::names(&dir).unwrap_or_default();
    names.iter().filter_map(|name| Status::read(&dir, name).ok().flatten()).map(|s| s.restarts).sum()
}

/// Whether all processes of a stack run, as they were made ready.
pub(crate) fn runs(layout: &Layout, stack: &StackName, prepared: &Prepared) -> io::Result<bool> {
    let dir = records(layout, stack);
    for (name, service) in &prepared.services {
        let status = Status::read(&dir, name)?;
        if !status.is_some_and(|status| status.config == service.config && status.is_supervised()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The folders in which processes of a stack were started.
pub(crate) fn used(layout: &Layout, stack: &StackName) -> io::Result<Vec<PathBuf>> {
    let dir = records(layout, stack);
    let mut used = Vec::new();
    for name in Status::names(&dir)? {
        used.extend(Status::read(&dir, &name)?.and_then(|status| status.directory));
    }
    Ok(used)
}

/// The process groups that run of a stack, each with when its leader started.
pub(crate) fn groups(layout: &Layout, stack: &StackName) -> io::Result<Vec<(i32, u64)>> {
    let dir = records(layout, stack);
    let mut groups = Vec::new();
    for name in Status::names(&dir)? {
        let child = Status::read(&dir, &name)?.and_then(|status| status.child);
        groups.extend(child.filter(|child| child.alive().is_some()).map(|child| (child.pid, child.started)));
    }
    Ok(groups)
}

/// Whether there are records of processes of a stack.
pub(crate) fn is_known(layout: &Layout, stack: &StackName) -> bool {
    Status::names(&records(layout, stack)).is_ok_and(|names| !names.is_empty())
}

/// Where the records of a stack's processes are.
fn records(layout: &Layout, stack: &StackName) -> PathBuf {
    layout.run_stack(stack).join("processes")
}

fn rendered(release: &Loaded, step: Step) -> Result<Vec<ProcessSpec>, Failed> {
    let scope = release.scope();
    let render = |process: &ProcessSpec| {
        process.rendered(&scope).map_err(|error| {
            let reason = format!("process `{}`: {error}", process.name);
            Fail::of(step, FailureKind::Invalid, reason)
        })
    };
    release.manifest.processes().iter().map(render).collect()
}

fn spec(
    cx: &Context,
    release: &Loaded,
    process: &ProcessSpec,
    service: &PreparedService,
    step: Step,
) -> Result<Spec, Failed> {
    let program = program(release, process).map_err(|reason| Fail::of(step, FailureKind::Start, reason))?;
    let mut environment = BTreeMap::from([("PATH".to_owned(), child::PATH.to_owned())]);
    environment
        .extend(release.variables.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())));
    environment.extend(process.environment.clone());
    environment.extend(super::compose::names(&cx.place.node, &release.stack, service).1);
    let state = cx.layout.state(&release.stack).display().to_string();
    environment.insert("BACKSTAY_STATE_DIR".to_owned(), state);
    let current = cx.layout.current(&release.stack).display().to_string();
    environment.insert("BACKSTAY_CURRENT".to_owned(), current);
    Ok(Spec {
        name: process.name.clone(),
        program,
        arguments: process.command.iter().skip(1).cloned().collect(),
        directory: release.dir.join(process.working_dir.as_deref().unwrap_or("")),
        environment,
        signal: process.stop_signal,
        grace: process.stop_grace,
        restart: process.restart,
        log: cx.layout.logs(&release.stack).join(format!("{}.log", process.name)),
        log_bytes: cx.place.log_bytes,
        image: service.image.clone(),
        config: service.config,
        deployment: service.deployment,
    })
}

/// The program of a process: below the release, absolute, or found in the usual places.
fn program(release: &Loaded, process: &ProcessSpec) -> Result<PathBuf, String> {
    let name = process.command.first().map(String::as_str).unwrap_or_default();
    let candidates: Vec<PathBuf> = match name.contains('/') {
        true => vec![release.dir.join(name)],
        false => child::PATH.split(':').map(|dir| Path::new(dir).join(name)).collect(),
    };
    let usable = |path: &PathBuf| {
        use std::os::unix::fs::PermissionsExt as _;
        fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    candidates
        .into_iter()
        .find(usable)
        .ok_or_else(|| format!("process `{}`: `{name}` is not there or not executable", process.name))
}

/// The digest of an executable stands for what a container's image is.
fn image(program: &Path) -> io::Result<ImageId> {
    let (digest, _) = hash_file(File::open(program)?)?;
    Ok(ImageId(format!("sha256:{digest}")))
}

/// Stops what runs and is not wanted, or wanted otherwise. Returns the names of those that were left running.
fn stop_others(dir: &Path, wanted: &[Spec]) -> io::Result<Vec<String>> {
    let mut kept = Vec::new();
    let mut doomed = Vec::new();
    for name in Status::names(dir)? {
        let status = Status::read(dir, &name)?;
        let same = wanted.iter().any(|spec| {
            spec.name == name && status.as_ref().is_some_and(|s| s.config == spec.config && s.is_supervised())
        });
        if same { kept.push(name) } else { doomed.push(name) }
    }
    stop::stop(dir, &doomed)?;
    Ok(kept)
}

/// Writes down what a process is.
fn note(dir: &Path, spec: &Spec, step: Step) -> Result<PathBuf, Failed> {
    let bytes = serde_json::to_vec(spec).map_err(|error| Fail::other(step, error))?;
    let path = Spec::path(dir, &spec.name);
    write_atomic(&path, &bytes, 0o600).map_err(Fail::io(step, format!("process `{}`", spec.name)))?;
    Ok(path)
}

fn start(dir: &Path, spec: &Spec, step: Step) -> Result<(), Failed> {
    let fail = |error| Fail::io(step, format!("process `{}`", spec.name))(error);
    let path = note(dir, spec, step)?;
    let mut command = child::own_program(&["internal", "supervise"]);
    command.arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.current_dir("/").spawn().map_err(fail)?;
    let deadline = Instant::now() + START;
    loop {
        match Status::read(dir, &spec.name).map_err(fail)?.filter(|s| s.config == spec.config) {
            Some(status) if status.spawned => return Ok(()),
            Some(Status { last: Some(last), .. }) => {
                let reason = format!("process `{}`: {last}", spec.name);
                return Err(Fail::of(step, FailureKind::Start, reason));
            }
            _ if Instant::now() > deadline => {
                let reason = format!("process `{}`: its supervisor did not start it", spec.name);
                return Err(Fail::of(step, FailureKind::Start, reason));
            }
            _ => thread::sleep(Duration::from_millis(2)),
        }
    }
}

fn observe(dir: &Path) -> io::Result<Vec<Container>> {
    let mut containers = Vec::new();
    for name in Status::names(dir)? {
        let Some(status) = Status::read(dir, &name)? else { continue };
        containers.push(status.container(&name)?);
    }
    Ok(containers)
}

/// The end of a log, from an offset on. After a rotation the offset means nothing any more.
fn read_log(path: &Path, from: u64) -> io::Result<String> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        other => other?,
    };
    let len = file.metadata()?.len();
    let from = if from > len { 0 } else { from };
    file.seek(io::SeekFrom::Start(from.max(len.saturating_sub(LOG_TAIL))))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

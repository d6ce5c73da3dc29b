//! Installing, starting and removing units. A drop-in file beside each says whose it is, and is written before it and
//! removed after it: what stands without one is never touched.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use backstay_agent_core::PreparedService;
use backstay_manifest::env;
use backstay_types::{Digest, FailureKind, StackName, Step};

use super::{ctl, failed, render::Rendered};
use crate::{
    crash::crash_point,
    disk::{Layout, private_dir, remove_dir, sync_dir, write_atomic},
    runtime::compose,
    step::{Context, Fail, Failed, Loaded},
};

/// The drop-in's name.
const DROP_IN: &str = "50-backstay.conf";

/// A unit and what it is to be known by.
pub(super) struct Unit<'a> {
    pub(super) rendered: &'a Rendered,
    pub(super) service: &'a PreparedService,
}

impl Unit<'_> {
    fn name(&self) -> &str {
        self.rendered.spec.name()
    }
}

/// The units that this agent has installed, by name.
#[derive(Debug, Default)]
pub(super) struct Installed(BTreeMap<String, Owned>);

#[derive(Debug)]
struct Owned {
    stack: String,
    waits: bool,
}

impl Installed {
    /// What is there, by the drop-ins.
    pub(super) fn of(layout: &Layout) -> Self {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(layout.units()).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(unit) = name.strip_suffix(".d") else { continue };
            let Ok(text) = fs::read_to_string(entry.path().join(DROP_IN)) else { continue };
            let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
            if value("Agent=") != Some(&layout.id()) {
                continue;
            }
            let Some(stack) = value("Stack=") else { continue };
            let owned = Owned { stack: stack.to_owned(), waits: value("Start=") == Some("by-another-unit") };
            found.insert(unit.to_owned(), owned);
        }
        Self(found)
    }

    /// Whether a unit is started by another of its stack.
    pub(super) fn waits(&self, unit: &str) -> bool {
        self.0.get(unit).is_some_and(|owned| owned.waits)
    }

    fn of_stack(&self, stack: &StackName) -> Vec<&str> {
        self.0
            .iter()
            .filter(|(_, owned)| owned.stack == stack.as_str())
            .map(|(unit, _)| unit.as_str())
            .collect()
    }
}

/// Refuses a unit whose name is taken by one that is not this stack's.
pub(super) async fn refuse_foreign(cx: &Context, release: &Loaded, unit: &Rendered) -> Result<(), Failed> {
    let name = unit.spec.name();
    let installed = Installed::of(&cx.layout);
    let refuse = |whose: String| {
        let reason =
            format!("there is a unit `{name}` on this machine already, {whose}: expected another name");
        Err(Fail::of(Step::Validate, FailureKind::Invalid, reason))
    };
    match installed.0.get(name) {
        Some(owned) if owned.stack == release.stack.as_str() => return Ok(()),
        Some(owned) => return refuse(format!("of stack `{}`", owned.stack)),
        None => {}
    }
    let shown = ctl::show(&[name]).await.map_err(|error| {
        let reason = format!("systemctl: {error}");
        Fail::coded(Step::Validate, FailureKind::Node, backstay_types::ErrorCode::BS3007, reason)
    })?;
    match shown.first() {
        Some(shown) if shown.load != "not-found" && !shown.fragment.is_empty() => {
            refuse(format!("in {}", shown.fragment))
        }
        _ => Ok(()),
    }
}

/// Writes the values where systemd reads them, under a name that changes when they do. None when there are none.
pub(super) fn write_values(
    cx: &Context,
    release: &Loaded,
    digest: Digest,
    step: Step,
) -> Result<Option<PathBuf>, Failed> {
    if release.variables.is_empty() {
        return Ok(None);
    }
    let dir = cx.layout.run_stack(&release.stack);
    let path = dir.join(format!("units-{}.env", digest.short()));
    let text = env::write_values(&release.variables);
    private_dir(&dir)
        .and_then(|()| write_atomic(&path, text.expose().as_bytes(), 0o600))
        .map_err(Fail::io(step, "the rendered values cannot be written"))?;
    Ok(Some(path))
}

/// Removes values that no unit reads any more.
pub(super) fn forget_values(cx: &Context, stack: &StackName, keep: Option<&Path>) {
    for entry in fs::read_dir(cx.layout.run_stack(stack)).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("units-") && Some(entry.path().as_path()) != keep {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Stops, disables and removes units of the stack that are not among `units`. Data stays where it is.
pub(super) async fn remove_others(
    cx: &Context,
    stack: &StackName,
    units: &[Unit<'_>],
    step: Step,
) -> Result<(), Failed> {
    let installed = Installed::of(&cx.layout);
    let doomed: Vec<_> = installed
        .of_stack(stack)
        .into_iter()
        .filter(|name| !units.iter().any(|unit| unit.name() == *name))
        .collect();
    if doomed.is_empty() {
        return Ok(());
    }
    let dir = cx.layout.units().to_owned();
    // One whose file is gone already was stopped before that.
    let there: Vec<_> = doomed.iter().copied().filter(|name| dir.join(name).exists()).collect();
    if !there.is_empty() {
        ctl::run(&["stop"], &there, step).await?;
        ctl::run(&["disable"], &there, step).await?;
    }
    crash_point("units.stopped");
    let fail = |error| Fail::io(step, "units cannot be removed")(error);
    for name in &doomed {
        remove_file(&dir.join(name)).map_err(fail)?;
        remove_file(&record(&cx.layout, stack, name)).map_err(fail)?;
    }
    sync_dir(&dir).map_err(fail)?;
    crash_point("units.removed");
    ctl::run(&["daemon-reload"], &[], step).await?;
    for name in &doomed {
        let drop_in = dir.join(format!("{name}.d"));
        remove_file(&drop_in.join(DROP_IN)).map_err(fail)?;
        // Others may have left their own settings there.
        let _ = fs::remove_dir(&drop_in);
        // One that had failed would be remembered.
        let _ = ctl::run(&["reset-failed"], &[name], step).await;
    }
    sync_dir(&dir).map_err(fail)
}

/// Writes what differs, and has systemd read it.
pub(super) async fn install(
    cx: &Context,
    stack: &StackName,
    units: &[Unit<'_>],
    values: Option<&Path>,
    step: Step,
) -> Result<(), Failed> {
    let dir = cx.layout.units().to_owned();
    let fail = |error| Fail::io(step, "units cannot be written")(error);
    let mut changed = false;
    for unit in units {
        let drop_in = dir.join(format!("{}.d", unit.name()));
        fs::create_dir_all(&drop_in).map_err(fail)?;
        changed |= write(&drop_in.join(DROP_IN), &drop_in_text(cx, stack, unit, values)).map_err(fail)?;
        crash_point("units.claimed");
        changed |= write(&dir.join(unit.name()), &unit.rendered.text).map_err(fail)?;
        crash_point("units.written");
    }
    if changed {
        sync_dir(&dir).map_err(fail)?;
    }
    // Also when nothing was written now: the one who wrote it may have died before this.
    ctl::run(&["daemon-reload"], &[], step).await
}

/// Enables, and starts what is not what should run. What is the same keeps running.
pub(super) async fn start(
    cx: &Context,
    stack: &StackName,
    units: &[Unit<'_>],
    step: Step,
) -> Result<(), Failed> {
    let names: Vec<_> = units.iter().map(Unit::name).collect();
    let shown = ctl::show(&names).await.map_err(|error| failed(step, format!("systemctl: {error}")))?;
    let of = |unit: &Unit<'_>| shown.iter().find(|shown| shown.id == unit.name());
    for (enable, word) in [(true, "enable"), (false, "disable")] {
        let wrong = units.iter().filter(|unit| {
            unit.rendered.enable == enable && of(unit).is_some_and(|shown| shown.is_enabled() != enable)
        });
        let wrong: Vec<_> = wrong.map(Unit::name).collect();
        if !wrong.is_empty() {
            ctl::run(&[word], &wrong, step).await?;
        }
    }
    let mut restart = Vec::new();
    let mut begin = Vec::new();
    let mut stop = Vec::new();
    for unit in units {
        let same = fs::read_to_string(record(&cx.layout, stack, unit.name()))
            .is_ok_and(|config| config == unit.service.config.to_string());
        let shown = of(unit);
        let active = shown.is_some_and(|s| matches!(s.state.as_str(), "active" | "reloading" | "activating"));
        let rests = shown.is_some_and(|s| s.kind == "oneshot" && s.has_succeeded());
        match (unit.rendered.start, same) {
            (true, true) if active || rests => {}
            (true, true) => begin.push(unit.name()),
            (true, false) => restart.push(unit.name()),
            // What another unit starts is ended when it is not the same; it is started when it is due.
            (false, false) if active => stop.push(unit.name()),
            (false, _) => {}
        }
    }
    for (word, names) in [("stop", stop), ("restart", restart), ("start", begin)] {
        if !names.is_empty() {
            // One that failed too often would not be started again.
            let _ = ctl::run(&["reset-failed"], &names, step).await;
            ctl::run(&[word], &names, step).await?;
        }
        crash_point("units.switched");
    }
    note_started(cx, stack, units).map_err(Fail::io(step, "what was started cannot be noted"))
}

/// Notes what the units were started as. Whoever dies before this restarts them once more.
fn note_started(cx: &Context, stack: &StackName, units: &[Unit<'_>]) -> io::Result<()> {
    for unit in units {
        let path = record(&cx.layout, stack, unit.name());
        if let Some(dir) = path.parent() {
            private_dir(dir)?;
        }
        write(&path, &unit.service.config.to_string())?;
    }
    Ok(())
}

fn record(layout: &Layout, stack: &StackName, unit: &str) -> PathBuf {
    layout.stack(stack).join("units").join(unit)
}

/// What the drop-in says: whose the unit is and, to a service, what last changed it.
fn drop_in_text(cx: &Context, stack: &StackName, unit: &Unit<'_>, values: Option<&Path>) -> String {
    let start = if unit.rendered.start { "by-itself" } else { "by-another-unit" };
    let mut text = format!(
        "# Written by Backstay: this unit is stack {stack}'s, from Git. What is changed here does not last.\n\
         [X-Backstay]\nStack={stack}\nAgent={}\nStart={start}\n",
        cx.layout.id()
    );
    if unit.rendered.spec.kind() == "service" {
        text.push_str("\n[Service]\n");
        for (name, value) in compose::names(&cx.place.node, stack, unit.service).1 {
            text.push_str(&format!("Environment=\"{name}={value}\"\n"));
        }
        let state = cx.layout.state(stack).display().to_string();
        text.push_str(&format!("Environment=\"BACKSTAY_STATE_DIR={}\"\n", escaped(&state)));
        if let Some(values) = values {
            text.push_str(&format!("EnvironmentFile={}\n", escaped(&values.display().to_string())));
        }
    }
    text
}

/// A path as unit files take it.
fn escaped(path: &str) -> String {
    path.replace('%', "%%")
}

/// Writes a file, unless it says that already. Whether it did.
fn write(path: &Path, text: &str) -> io::Result<bool> {
    if fs::read_to_string(path).is_ok_and(|there| there == text) {
        return Ok(false);
    }
    if path.is_dir() {
        remove_dir(path)?;
    }
    write_atomic(path, text.as_bytes(), 0o644).map(|()| true)
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

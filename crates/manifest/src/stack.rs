//! `stack.toml`: how a stack runs and when it is healthy.

use std::{collections::BTreeSet, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Backups, DrillMode, FigureSource, Parts, Probe, ProbeKind, Problem, ProcessSpec, UnitSpec, backup, code,
    figure, part, probe, process,
    read::{Table, read},
    unit,
};

/// What `stack.toml` says, with defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StackManifest {
    /// What runs it.
    pub runtime: Runtime,
    /// When it is healthy: all of them must say so. Never empty for Compose, where the health of its
    /// containers is the default; empty for processes means that they must merely stay up.
    pub probes: Vec<Probe>,
    /// How long it is watched after it became healthy, before it counts as good.
    #[serde(with = "crate::duration::text")]
    #[schemars(with = "String")]
    pub bake: Duration,
    /// What it reports about itself.
    #[serde(default)]
    pub figures: Vec<FigureSource>,
    /// Its parts, where it does not move as one.
    #[serde(default)]
    pub parts: Parts,
    /// What of it is saved.
    #[serde(default)]
    pub backups: Backups,
    /// It must never run twice: a validator, or an assistant that answers messages.
    #[serde(default)]
    pub exclusive: bool,
}

/// What runs a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "runtime", rename_all = "snake_case")]
pub enum Runtime {
    /// Docker Compose v2.
    Compose(ComposeSettings),
    /// Processes that the agent supervises.
    Process {
        /// The processes, in the order in which they are started.
        processes: Vec<ProcessSpec>,
    },
    /// Units of systemd.
    Systemd {
        /// The units.
        units: Vec<UnitSpec>,
    },
}

/// What `stack.toml` says about Compose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ComposeSettings {
    /// The project's name, when given here; otherwise Compose's `name:`, otherwise the stack's.
    pub project: Option<String>,
    /// The Compose file, relative to the stack's folder.
    pub file: String,
}

impl Runtime {
    /// The oldest manifest schema that has it: agents that know only older ones are not given such a release.
    pub fn schema(&self) -> u32 {
        match self {
            Self::Compose(_) | Self::Process { .. } => 1,
            Self::Systemd { .. } => 2,
        }
    }

    /// The runtime's name, as in `HostFacts::runtimes`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Compose(_) => "compose",
            Self::Process { .. } => "process",
            Self::Systemd { .. } => "systemd",
        }
    }
}

impl StackManifest {
    /// The oldest manifest schema that has all of it: agents that know only older ones are not given such a release.
    pub fn schema(&self) -> u32 {
        if !self.backups.is_default() || self.exclusive {
            4
        } else if !self.parts.is_empty() {
            3
        } else {
            self.runtime.schema()
        }
    }

    /// What holds for a folder with a Compose file and no `stack.toml`.
    pub fn of_compose(file: &str) -> Self {
        Self {
            runtime: Runtime::Compose(ComposeSettings { project: None, file: file.to_owned() }),
            probes: vec![Probe::new(ProbeKind::Container)],
            bake: Duration::ZERO,
            figures: Vec::new(),
            parts: Parts::default(),
            backups: Backups::default(),
            exclusive: false,
        }
    }

    /// Reads `stack.toml`. `file` is its path, for messages; `compose` is the Compose file that was
    /// found beside it, relative to the stack's folder.
    ///
    /// # Errors
    /// Everything that is wrong with it, not only the first.
    pub fn parse(file: &str, bytes: &[u8], compose: Option<&str>) -> Result<Self, Vec<Problem>> {
        let parsed = read(file, bytes, |root| {
            let runtime = read_runtime(root, compose);
            let probes: Vec<_> = root.tables("probe").into_iter().filter_map(probe::read).collect();
            let bake = root.table("bake").and_then(read_bake).unwrap_or_default();
            let figures = figure::read(root);
            let parts = part::read(root);
            let backups = backup::read(root, runtime.as_ref());
            let exclusive = root.boolean("exclusive").unwrap_or_default();
            if exclusive && backups.drill == Some(DrillMode::Start) {
                let message =
                    "the stack is `exclusive`, which never runs twice: expected \"files\" or \"off\"";
                root.wrong::<()>("backups.drill", code::BAD_BACKUP, message);
            }
            let runtime = runtime?;
            check_probes(root, &runtime, &probes);
            let probes = or_default(probes, &runtime);
            Some(Self { probes, runtime, bake, figures, parts, backups, exclusive })
        })?;
        parsed.ok_or_else(Vec::new)
    }
}

fn or_default(probes: Vec<Probe>, runtime: &Runtime) -> Vec<Probe> {
    match runtime {
        Runtime::Compose(_) if probes.is_empty() => vec![Probe::new(ProbeKind::Container)],
        _ => probes,
    }
}

/// Reads what runs the stack. Keys that belong to the other runtime are not asked for, so they are unknown.
fn read_runtime(root: &mut Table<'_, '_>, compose: Option<&str>) -> Option<Runtime> {
    #[derive(Clone, Copy, PartialEq)]
    enum Kind {
        Compose,
        Process,
        Systemd,
    }
    let said = root.has("runtime");
    let kinds = [("compose", Kind::Compose), ("process", Kind::Process), ("systemd", Kind::Systemd)];
    let kind = match root.choice("runtime", &kinds) {
        Some(kind) => kind,
        None if said => return None,
        None if compose.is_some() || root.has("compose_file") => Kind::Compose,
        None => {
            root.missing(
                "runtime",
                "`compose`, `process` or `systemd`, since there is no Compose file beside this manifest",
            );
            return None;
        }
    };
    if kind == Kind::Process {
        let processes: Vec<_> = root.tables("process").into_iter().filter_map(process::read).collect();
        if processes.is_empty() && !root.has("process") {
            root.missing("process", "at least one `[[process]]` with name and command");
        }
        unique_names(root, &processes);
        return Some(Runtime::Process { processes });
    }
    if kind == Kind::Systemd {
        let units: Vec<_> = root.tables("unit").into_iter().filter_map(unit::read).collect();
        if units.is_empty() && !root.has("unit") {
            root.missing("unit", "at least one `[[unit]]` with the file of a unit");
        }
        unit::unique_names(root, &units);
        return Some(Runtime::Systemd { units });
    }
    let project = root.string("project");
    if project.as_deref().is_some_and(|project| !is_project_name(project)) {
        let message =
            "expected a Compose project name: a-z, 0-9, `-` and `_`, beginning with a letter or digit";
        root.wrong::<()>("project", code::WRONG_VALUE, message);
    }
    let Some(file) = root.string("compose_file").or_else(|| compose.map(str::to_owned)) else {
        root.missing(
            "compose_file",
            "the Compose file's path: there is no compose.yaml beside this manifest",
        );
        return None;
    };
    if backstay_types::tree::check_path(&file).is_err() {
        return root.wrong("compose_file", code::WRONG_VALUE, "expected a path inside the stack's folder");
    }
    Some(Runtime::Compose(ComposeSettings { project, file }))
}

/// Whether Compose takes a text as a project's name.
pub(crate) fn is_project_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    bytes.next().is_some_and(lower) && bytes.all(|b| lower(b) || b"-_".contains(&b)) && text.len() <= 63
}

fn unique_names(root: &Table<'_, '_>, processes: &[ProcessSpec]) {
    let mut seen = BTreeSet::new();
    for process in processes {
        if !seen.insert(&process.name) {
            let message = format!("two processes are called `{}`: expected different names", process.name);
            root.wrong::<()>("process", code::DUPLICATE_NAME, message);
        }
    }
}

/// Probes that this runtime cannot answer.
fn check_probes(root: &Table<'_, '_>, runtime: &Runtime, probes: &[Probe]) {
    let (names, what): (Vec<&str>, _) = match runtime {
        Runtime::Compose(_) => return,
        Runtime::Process { processes } => (processes.iter().map(|p| p.name.as_str()).collect(), "process"),
        Runtime::Systemd { units } => (units.iter().map(UnitSpec::name).collect(), "unit"),
    };
    for probe in probes {
        match &probe.kind {
            ProbeKind::Container => {
                let message = format!(
                    "`container` asks Docker for health; the {} runtime has none: expected http, tcp, command, systemd or log",
                    runtime.name()
                );
                root.wrong::<()>("probe", code::WRONG_VALUE, message);
            }
            ProbeKind::Log { service: Some(service), .. } if !names.contains(&service.as_str()) => {
                let message = format!("no {what} is called `{service}`");
                root.wrong::<()>("probe", code::WRONG_VALUE, message);
            }
            _ => {}
        }
    }
}

fn read_bake(mut table: Table<'_, '_>) -> Option<Duration> {
    let bake = table.duration("for");
    if bake.is_none() && !table.has("for") {
        table.missing("for", "how long to watch, such as \"2m\"");
    }
    table.finish();
    bake
}

#[cfg(test)]
#[path = "stack_tests.rs"]
mod tests;

//! Processes that the agent supervises itself.

use std::{collections::BTreeMap, time::Duration};

use backstay_types::tree::check_path;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    StackManifest, Variables, code, env,
    interpolate::{InterpolationError, expand},
    read::Table,
};

/// One process of a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessSpec {
    /// Its name, unique in the stack: 1 to 63 of a-z, 0-9, `-`, `_`, `.`.
    pub name: String,
    /// Program and arguments; never a shell's line. `${NAME}` stands for a value of the stack's
    /// environment. A program with a `/` that does not begin with one is relative to the release.
    pub command: Vec<String>,
    /// Variables for this process alone, besides those of the stack. `${NAME}` as in `command`.
    pub environment: BTreeMap<String, String>,
    /// Where it runs, relative to the release's folder; that folder itself when absent.
    pub working_dir: Option<String>,
    /// How it is asked to stop.
    pub stop_signal: StopSignal,
    /// How long it may take to stop before it is killed.
    #[serde(with = "crate::duration::text")]
    #[schemars(with = "String")]
    pub stop_grace: Duration,
    /// When it is started again after it ended.
    pub restart: Restart,
}

/// The signal that asks a process to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StopSignal {
    /// SIGTERM, the default.
    #[serde(rename = "SIGTERM")]
    Term,
    /// SIGINT.
    #[serde(rename = "SIGINT")]
    Int,
    /// SIGQUIT.
    #[serde(rename = "SIGQUIT")]
    Quit,
    /// SIGHUP.
    #[serde(rename = "SIGHUP")]
    Hup,
    /// SIGUSR1.
    #[serde(rename = "SIGUSR1")]
    Usr1,
    /// SIGUSR2.
    #[serde(rename = "SIGUSR2")]
    Usr2,
}

/// When a process is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Whenever it ends. The default.
    Always,
    /// When it ends with a code other than 0 or by a signal.
    OnFailure,
}

impl ProcessSpec {
    /// Command and environment with every `${NAME}` replaced.
    ///
    /// # Errors
    /// When a reference cannot be read, or asks for a value that is not there with `${NAME:?…}`.
    pub fn rendered(&self, variables: &Variables) -> Result<Self, InterpolationError> {
        let command = self.command.iter().map(|text| expand(text, variables)).collect::<Result<_, _>>()?;
        let environment = self
            .environment
            .iter()
            .map(|(name, text)| Ok((name.clone(), expand(text, variables)?)))
            .collect::<Result<_, _>>()?;
        Ok(Self { command, environment, ..self.clone() })
    }
}

impl StackManifest {
    /// The processes, when it has any.
    pub fn processes(&self) -> &[ProcessSpec] {
        match &self.runtime {
            crate::Runtime::Process { processes } => processes,
            crate::Runtime::Compose(_) | crate::Runtime::Systemd { .. } => &[],
        }
    }
}

/// Reads one `[[process]]`.
pub(crate) fn read(mut table: Table<'_, '_>) -> Option<ProcessSpec> {
    let name = read_name(&mut table);
    let command = read_command(&mut table);
    let environment = read_environment(&mut table);
    let working_dir = table.string("working_dir");
    if working_dir.as_deref().is_some_and(|path| check_path(path).is_err()) {
        table.wrong::<()>("working_dir", code::WRONG_VALUE, "expected a folder inside the release");
    }
    let stop_signal = table.choice("stop_signal", &signals()).unwrap_or(StopSignal::Term);
    let stop_grace = table.duration("stop_grace").unwrap_or(Duration::from_secs(10));
    let restart = table
        .choice("restart", &[("always", Restart::Always), ("on-failure", Restart::OnFailure)])
        .unwrap_or(Restart::Always);
    table.finish();
    Some(ProcessSpec {
        name: name?,
        command: command?,
        environment,
        working_dir,
        stop_signal,
        stop_grace,
        restart,
    })
}

fn signals() -> [(&'static str, StopSignal); 12] {
    use StopSignal::{Hup, Int, Quit, Term, Usr1, Usr2};
    [
        ("SIGTERM", Term),
        ("SIGINT", Int),
        ("SIGQUIT", Quit),
        ("SIGHUP", Hup),
        ("SIGUSR1", Usr1),
        ("SIGUSR2", Usr2),
        ("TERM", Term),
        ("INT", Int),
        ("QUIT", Quit),
        ("HUP", Hup),
        ("USR1", Usr1),
        ("USR2", Usr2),
    ]
}

fn read_name(table: &mut Table<'_, '_>) -> Option<String> {
    let name = table.required("name", "the process's name")?;
    // The same characters as a stack's name: it becomes a file's name and a label's value.
    if name.parse::<backstay_types::StackName>().is_ok() {
        return Some(name);
    }
    let message = format!("`{name}`: expected 1 to 63 characters from a-z, 0-9, `-`, `_` and `.`");
    table.wrong("name", code::WRONG_VALUE, message)
}

fn read_command(table: &mut Table<'_, '_>) -> Option<Vec<String>> {
    let expected = "a program and its arguments, such as [\"./serve\", \"--port\", \"8080\"]";
    if !table.has("command") {
        table.missing("command", expected);
        return None;
    }
    let command = table.strings("command")?;
    if command.first().is_none_or(String::is_empty) || command.iter().any(|part| part.contains('\0')) {
        return table.wrong("command", code::WRONG_VALUE, format!("expected {expected}"));
    }
    Some(command)
}

fn read_environment(table: &mut Table<'_, '_>) -> BTreeMap<String, String> {
    let environment = table.string_map("environment").unwrap_or_default();
    for (name, value) in &environment {
        if !env::is_name(name) || value.contains('\0') {
            let message = format!(
                "`{}` cannot be a variable: expected a name of letters, digits and `_`",
                name.escape_debug()
            );
            table.wrong::<()>("environment", code::WRONG_VALUE, message);
        }
    }
    environment
}

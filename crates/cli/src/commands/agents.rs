//! `backstay agents`: which agents run, and bringing another to the nodes.

use std::{
    fs,
    path::PathBuf,
    process::{Command, ExitCode},
};

use backstay_api::{
    Binary, Empty,
    v1::{
        AgentDecisionView, AgentsView, DecisionsQuery, GetAgentDecisions, GetAgents, HaltAgents,
        HaltAgentsRequest, UpdateAgents, UpdateAgentsRequest, UploadAgent, UploadAgentQuery,
    },
};
use backstay_types::{AgentOutcome, AgentUpdateState, ErrorCode};
use clap::{Args, Subcommand};

use super::{Outcome, done};
use crate::{
    context::Context,
    error::CliError,
    time,
    ui::{Cell, Frame, Table, count, style},
    views::fields::{Fields, heading, section},
};

/// Agents.
#[derive(Debug, Subcommand)]
pub(crate) enum Agents {
    /// Which versions run, which are here, and how the newest update stands
    List,
    /// Bring a version to all nodes, wave by wave; a file is uploaded first
    Update(Update),
    /// Every decision about the newest update, with its reason
    Explain(Explain),
    /// Stop the update that runs: who was asked stays asked, nobody else is
    Halt(Halt),
}

/// Options of `agents update`.
#[derive(Debug, Args)]
pub(crate) struct Update {
    /// A version that is here, or the file of an agent. Several files bring several kinds of processors
    #[arg(long, value_name = "VERSION|FILE", required = true)]
    to: Vec<String>,
    /// The version of the files, where they cannot be asked because they are for other machines
    #[arg(long = "as", value_name = "VERSION")]
    version: Option<String>,
    /// Shares of the fleet in percent, one wave each
    #[arg(long, value_delimiter = ',', default_value = "5,25,100")]
    waves: Vec<u8>,
    /// How long each wave is watched before the next begins
    #[arg(long, default_value = "10m")]
    soak: String,
}

/// Options of `agents explain`.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Make every decision again from what was kept of it, and say whether the same comes out
    #[arg(long)]
    replay: bool,
    /// Show what each decision was made from
    #[arg(long)]
    inputs: bool,
}

/// Options of `agents halt`.
#[derive(Debug, Args)]
pub(crate) struct Halt {
    /// Why
    #[arg(long)]
    reason: String,
}

impl Agents {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let api = cx.api()?;
        match self {
            Self::List => {
                let view = api.get::<GetAgents>().await?;
                cx.ui.data(&view, || show(&view, &cx.frame()))?;
            }
            Self::Update(command) => update(command, cx).await?,
            Self::Explain(command) => return explain(&command, cx).await,
            Self::Halt(Halt { reason }) => {
                let update = api.call::<HaltAgents>(Empty {}, Empty {}, HaltAgentsRequest { reason }).await?;
                cx.ui.data(&update, || format!("The update to {} is stopped.\n", update.version))?;
            }
        }
        done()
    }
}

async fn explain(command: &Explain, cx: &Context) -> Outcome {
    let query = DecisionsQuery { replay: command.replay.then_some(true) };
    let decisions = cx.api()?.call::<GetAgentDecisions>(Empty {}, query, Empty {}).await?.decisions;
    cx.ui.data(&decisions, || show_decisions(&decisions, command.inputs, &cx.frame()))?;
    // What comes out otherwise was decided by another version, or was changed in the database.
    let other = decisions.iter().any(|one| one.same == Some(false));
    Ok(if other { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn show_decisions(decisions: &[AgentDecisionView], inputs: bool, frame: &Frame) -> String {
    if decisions.is_empty() {
        return "No update of agents was asked for.\n".to_owned();
    }
    let mut text = String::new();
    for view in decisions {
        let one = &view.decision;
        let state = match one.state {
            AgentUpdateState::Running => format!("wave {}", one.wave.saturating_add(1)),
            AgentUpdateState::Halted => "stopped".to_owned(),
            AgentUpdateState::Done => "done".to_owned(),
        };
        let by = one.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
        let again = match (view.same, &view.came_out) {
            (Some(true), _) => "  [the same again]".to_owned(),
            (Some(false), came_out) => format!("  [now: {}]", came_out.as_deref().unwrap_or("another")),
            (None, _) => String::new(),
        };
        let at = frame.exactly(one.at);
        text.push_str(&format!("  {:>3}  {at}  {state}{by}: {}{again}\n", one.number, one.reason));
        if inputs && !one.inputs.is_null() {
            text.push_str(&format!("       from {}\n", one.inputs));
        }
    }
    text
}

async fn update(command: Update, cx: &Context) -> Result<(), CliError> {
    let api = cx.api()?;
    let mut version = command.version;
    for to in &command.to {
        let path = PathBuf::from(to);
        if !path.is_file() {
            if command.to.len() > 1 {
                return Err(CliError::argument(format!("`{to}` is no file; give one version, or files")));
            }
            version = Some(to.clone());
            continue;
        }
        let content = fs::read(&path)
            .map_err(|e| CliError::new(ErrorCode::BS8004, format!("{to} cannot be read")).with_source(e))?;
        let arch = arch(&content).ok_or_else(|| CliError::argument(format!("{to} is no Linux program")))?;
        let named = match &version {
            Some(version) => version.clone(),
            None => ask_version(&path)?,
        };
        version = Some(named.clone());
        let query = UploadAgentQuery { version: named, arch: arch.to_owned() };
        let build = api.call::<UploadAgent>(Empty {}, query, Binary(content)).await?;
        cx.ui.say(format!("{to}: agent {} for {}, SHA-256 {}", build.version, build.arch, build.sha256));
    }
    let Some(version) = version else { return Err(CliError::argument("no version was named")) };
    let soak_seconds = Some(time::parse_length(&command.soak)?.as_secs());
    let request = UpdateAgentsRequest { version, waves: command.waves, soak_seconds };
    let update = api.call::<UpdateAgents>(Empty {}, Empty {}, request).await?;
    cx.ui.data(&update, || {
        format!(
            "Agent {} goes out in {}. `backstay agents list` shows how far it is.\n",
            update.version,
            count(update.waves.len(), "wave")
        )
    })?;
    Ok(())
}

/// The kind of processor that a program is for.
fn arch(content: &[u8]) -> Option<&'static str> {
    let machine = u16::from_le_bytes(content.get(18..20)?.try_into().ok()?);
    let known = [(62, "x86_64"), (183, "aarch64"), (40, "arm"), (243, "riscv64")];
    let found = known.into_iter().find(|(number, _)| *number == machine).map(|(_, arch)| arch);
    found.filter(|_| content.starts_with(b"\x7fELF"))
}

/// What a program says of its version.
fn ask_version(path: &std::path::Path) -> Result<String, CliError> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let output =
        Command::new(absolute).arg("--version").output().ok().filter(|output| output.status.success());
    let text = output.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    let version = text.split_whitespace().last().map(str::to_owned);
    version.ok_or_else(|| {
        CliError::argument(format!("{} does not say its version here", path.display()))
            .hint("name it with --as VERSION")
    })
}

fn show(view: &AgentsView, frame: &Frame) -> String {
    let mut table = Table::new(["VERSION", "NODES"]);
    for (version, nodes) in &view.versions {
        table.row([version.clone().into(), nodes.to_string().into()]);
    }
    let mut text = if table.is_empty() {
        "No node has said which agent it runs.\n".to_owned()
    } else {
        frame.table(&table)
    };
    if let Some(update) = &view.update {
        let state = match update.state {
            AgentUpdateState::Running => {
                format!(
                    "wave {} of {} ({} %)",
                    update.wave + 1,
                    update.waves.len(),
                    update.waves.get(update.wave as usize).copied().unwrap_or(100)
                )
            }
            AgentUpdateState::Halted => "stopped".to_owned(),
            AgentUpdateState::Done => "all nodes are asked".to_owned(),
        };
        let mut fields = Fields::default();
        fields.add("state", state).add("why", update.reason.clone());
        fields.add("updated", count(view.updated as usize, "node"));
        fields.add("since", format!("{}, by {}", frame.when(update.created_at), update.by));
        text.push_str(&format!("\n{}{}", heading(&format!("Update to {}", update.version)), fields.render()));
        let mut table = Table::new(["  NODE", "OUTCOME", "~WHY"]);
        for one in &view.not_updated {
            let (outcome, why) = match &one.outcome {
                AgentOutcome::Updated => continue,
                AgentOutcome::Failed { reason } => (Cell::styled("failed", style::BAD), reason),
                AgentOutcome::Left { reason } => (Cell::styled("not tried", style::DIM), reason),
            };
            table.row([format!("  {}", one.node).into(), outcome, why.clone().into()]);
        }
        if !table.is_empty() {
            text.push_str(&frame.table(&table));
        }
    }
    let mut table = Table::new(["  VERSION", "ARCH", "SHA-256"]);
    for build in &view.builds {
        table.row([
            format!("  {}", build.version).into(),
            build.arch.clone().into(),
            build.sha256.short().into(),
        ]);
    }
    if !table.is_empty() {
        text.push_str(&section("Here"));
        text.push_str(&frame.table(&table));
    }
    text
}

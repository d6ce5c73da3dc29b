//! `backstay track`: let commits and assistants name their conversation.
//!
//! `git_hooks` puts hooks into a repository, `claude` and `openclaw` change
//! the settings of those tools through `settings`, which remembers what was
//! there. `commit_msg` and `session_start` are what the hooks run: they never
//! stop a commit or a session.

mod claude;
mod commit_msg;
pub(crate) mod git_hooks;
mod openclaw;
mod session;
mod session_start;
mod settings;
mod webhook;

use std::{path::PathBuf, process::ExitCode};

use backstay_types::ErrorCode;
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use super::{Outcome, done};
use crate::{
    context::Context,
    error::CliError,
    ui::{Cell, Table, style},
};

/// Tracking.
#[derive(Debug, Subcommand)]
pub(crate) enum Track {
    /// Put hooks into this repository and settings into the assistants found here
    Install(Install),
    /// Take exactly these out again
    Uninstall(Place),
    /// What is installed here
    Status(Place),
    /// Add the conversation's trailer to a commit message; run by Git's hooks
    CommitMsg(commit_msg::CommitMsg),
    /// Report the beginning of a Claude Code session; run by its hook
    #[command(hide = true)]
    SessionStart(session_start::SessionStart),
}

/// Where hooks and settings are.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The repository
    #[arg(long, value_name = "DIR", default_value = ".")]
    repo: PathBuf,
    /// Only this tool's settings, or only Git's hooks; may be given several times [default: all]
    #[arg(long = "only", value_name = "TOOL")]
    only: Vec<Tool>,
    /// Claude Code: settings of this repository (`.claude/settings.local.json`) rather than of the user
    #[arg(long)]
    project: bool,
}

/// Options of `track install`.
#[derive(Debug, Args)]
pub(crate) struct Install {
    #[command(flatten)]
    place: Place,
    /// A file with the webhook secret to use, rather than a new one made by the hub
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
}

/// What can be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Tool {
    /// Git's commit hooks.
    Git,
    /// Claude Code.
    ClaudeCode,
    /// OpenClaw.
    Openclaw,
}

/// What became of one tool.
#[derive(Debug, Serialize)]
struct Done {
    tool: Tool,
    place: PathBuf,
    state: State,
    note: Option<String>,
}

/// Whether tracking is in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// It is in place.
    Installed,
    /// It is not.
    Absent,
    /// The tool was not found here.
    NoTool,
}

impl Track {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        match self {
            Self::Install(command) => command.run(cx).await,
            Self::Uninstall(place) => uninstall(&place, cx).await,
            Self::Status(place) => show(&place.look()?, cx),
            Self::CommitMsg(command) => {
                command.run(cx).await;
                done()
            }
            Self::SessionStart(command) => {
                command.run(cx).await;
                done()
            }
        }
    }
}

impl Place {
    fn wants(&self, tool: Tool) -> bool {
        self.only.is_empty() || self.only.contains(&tool)
    }

    /// Whether a tool was asked for by name: its absence is an error then.
    fn names(&self, tool: Tool) -> bool {
        self.only.contains(&tool)
    }

    fn claude(&self) -> claude::Claude {
        claude::Claude::find(self.project.then_some(self.repo.as_path()))
    }

    fn look(&self) -> Result<Vec<Done>, CliError> {
        let mut all = Vec::new();
        if self.wants(Tool::Git) {
            all.push(match git_hooks::Hooks::of(&self.repo) {
                Ok(hooks) => hooks.status()?.done(Tool::Git, hooks.dir()),
                Err(error) if self.names(Tool::Git) => return Err(error),
                Err(_) => State::NoTool.done(Tool::Git, &self.repo),
            });
        }
        if self.wants(Tool::ClaudeCode) {
            let claude = self.claude();
            all.push(claude.status()?.done(Tool::ClaudeCode, claude.path()));
        }
        if self.wants(Tool::Openclaw) {
            let openclaw = openclaw::OpenClaw::find();
            all.push(openclaw.status()?.done(Tool::Openclaw, openclaw.path()));
        }
        Ok(all)
    }
}

impl State {
    fn done(self, tool: Tool, place: &std::path::Path) -> Done {
        Done { tool, place: place.to_owned(), state: self, note: None }
    }
}

impl Install {
    async fn run(self, cx: &Context) -> Outcome {
        let program = std::env::current_exe().map_err(|e| {
            CliError::new(ErrorCode::BS8004, "the path of this program cannot be found").with_source(e)
        })?;
        let place = &self.place;
        let mut all = Vec::new();
        if place.wants(Tool::Git) {
            let hooks = git_hooks::Hooks::of(&place.repo)?;
            let note = hooks.install(&program)?;
            all.push(Done { note, ..State::Installed.done(Tool::Git, hooks.dir()) });
        }
        if place.wants(Tool::ClaudeCode) {
            let claude = place.claude();
            if place.names(Tool::ClaudeCode) || claude.is_there() {
                let url = webhook::url(cx, webhook::CLAUDE_CODE);
                if !claude.has(&url)? {
                    let secret =
                        webhook::secret(cx, webhook::CLAUDE_CODE, self.secret_file.as_deref()).await?;
                    claude.install(&program, &url, &secret)?;
                }
                all.push(State::Installed.done(Tool::ClaudeCode, claude.path()));
            } else {
                all.push(State::NoTool.done(Tool::ClaudeCode, claude.path()));
            }
        }
        if place.wants(Tool::Openclaw) {
            let openclaw = openclaw::OpenClaw::find();
            if place.names(Tool::Openclaw) || openclaw.is_there() {
                let url = cx.hub_url();
                if !openclaw.has(&url)? {
                    let secret = webhook::secret(cx, webhook::OPENCLAW, self.secret_file.as_deref()).await?;
                    openclaw.install(&url, &secret)?;
                }
                let note = Some("restart the gateway, so that it loads the plugin".to_owned());
                all.push(Done { note, ..State::Installed.done(Tool::Openclaw, openclaw.path()) });
            } else {
                all.push(State::NoTool.done(Tool::Openclaw, openclaw.path()));
            }
        }
        show(&all, cx)
    }
}

async fn uninstall(place: &Place, cx: &Context) -> Outcome {
    let mut all = Vec::new();
    let mut sources = Vec::new();
    for mut one in place.look()? {
        if one.state == State::Installed {
            match one.tool {
                Tool::Git => one.note = git_hooks::Hooks::of(&place.repo)?.uninstall()?,
                Tool::ClaudeCode => {
                    place.claude().uninstall()?;
                    sources.push(webhook::CLAUDE_CODE);
                }
                Tool::Openclaw => {
                    openclaw::OpenClaw::find().uninstall()?;
                    sources.push(webhook::OPENCLAW);
                }
            }
            one.state = State::Absent;
        }
        all.push(one);
    }
    for source in sources {
        if let Err(error) = webhook::revoke(cx, source).await {
            cx.ui.note(format!(
                "The webhook secret of {source} could not be revoked at the hub: {error}\n\
                 `backstay tokens list` and `backstay tokens revoke` do it by hand."
            ));
        }
    }
    show(&all, cx)
}

fn show(all: &[Done], cx: &Context) -> Outcome {
    cx.ui.data(&all, || {
        let mut table = Table::new(["TOOL", "TRACKING", "~WHERE"]);
        for one in all {
            let (name, state) = (one.tool.name(), one.state.cell());
            table.row([name.into(), state, one.place.display().to_string().into()]);
        }
        let notes: String = all
            .iter()
            .filter_map(|one| one.note.as_ref().map(|note| format!("\n{}: {note}\n", one.tool.name())))
            .collect();
        format!("{}{notes}", cx.frame().table(&table))
    })?;
    Ok(ExitCode::SUCCESS)
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Self::Git => "git",
            Self::ClaudeCode => "claude-code",
            Self::Openclaw => "openclaw",
        }
    }
}

impl State {
    fn cell(self) -> Cell {
        match self {
            Self::Installed => Cell::styled("installed", style::GOOD),
            Self::Absent => Cell::styled("not installed", style::PLAIN),
            Self::NoTool => Cell::styled("not found here", style::DIM),
        }
    }
}

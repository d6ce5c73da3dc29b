//! `backstay join`: hands over to the agent's own program.

use std::{os::unix::process::CommandExt as _, path::PathBuf, process::Command};

use backstay_types::ErrorCode;
use clap::Args;

use super::Outcome;
use crate::{context::Context, error::CliError, paths};

/// Make this machine a node of a hub.
#[derive(Debug, Args)]
pub(crate) struct Join {
    /// The one-time token, from `backstay nodes token` on the hub's machine; `-` reads it from standard input
    token: String,
    /// The node's name [default: the host's name]
    #[arg(long)]
    name: Option<String>,
    /// A label, such as `role=web`; may be given several times
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<String>,
    /// Take the place of a node that was revoked, under its name: what is in its folder stays (stop its agent first), and a
    /// new machine is the same node to the hub
    #[arg(long)]
    replace: bool,
    /// Where the agent keeps its state
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Join {
    pub(crate) fn run(self, cx: &Context) -> Outcome {
        let program = paths::agent_program();
        let mut command = Command::new(&program);
        command.arg("join").arg("--hub").arg(cx.hub_url());
        // By environment: arguments can be seen by every user of the machine.
        command.env("BACKSTAY_JOIN_TOKEN", &self.token);
        if let Some(name) = &self.name {
            command.arg("--name").arg(name);
        }
        for label in &self.labels {
            command.arg("--label").arg(label);
        }
        if self.replace {
            command.arg("--replace");
        }
        if let Some(dir) = &self.data_dir {
            command.arg("--data-dir").arg(dir);
        }
        // Returns only when it could not be started.
        let error = command.exec();
        Err(CliError::new(ErrorCode::BS8005, format!("{} cannot be started", program.display()))
            .with_source(error)
            .hint("the agent is a program of its own: put backstay-agent beside backstay, or on PATH"))
    }
}

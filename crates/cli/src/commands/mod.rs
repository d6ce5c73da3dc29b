//! One command a file.

pub(crate) mod agents;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod bundle;
pub(crate) mod check;
pub(crate) mod completion;
pub(crate) mod conversations;
pub(crate) mod decommission;
pub(crate) mod demo;
pub(crate) mod deployments;
pub(crate) mod drift;
pub(crate) mod emergency_stop;
pub(crate) mod environments;
pub(crate) mod follow;
pub(crate) mod hold;
pub(crate) mod hub;
pub(crate) mod init;
pub(crate) mod internal;
pub(crate) mod inventory;
pub(crate) mod join;
pub(crate) mod labels;
pub(crate) mod limit;
pub(crate) mod logs;
pub(crate) mod migrate;
pub(crate) mod nodes;
pub(crate) mod open;
pub(crate) mod related;
pub(crate) mod repos;
pub(crate) mod restore;
pub(crate) mod rollback;
pub(crate) mod rollout;
pub(crate) mod rollouts;
pub(crate) mod stacks;
pub(crate) mod status;
pub(crate) mod telemetry;
pub(crate) mod timeline;
pub(crate) mod tokens;
pub(crate) mod track;
pub(crate) mod undos;
pub(crate) mod up;
pub(crate) mod users;
pub(crate) mod why;
pub(crate) mod windows;

use std::{future::Future, process::ExitCode};

use backstay_types::ErrorCode;

use crate::{cli::Command, context::Context, error::CliError};

/// What a command gives: how the program ends.
pub(crate) type Outcome = Result<ExitCode, CliError>;

/// Runs a command.
pub(crate) fn run(command: Command, cx: &Context) -> Outcome {
    match command {
        Command::Up(command) => serve(command.run(cx)),
        Command::Demo(command) => serve(command.run(cx)),
        Command::Hub(command) => serve(command.run(cx)),
        Command::Init(command) => ask(command.run(cx)),
        Command::Join(command) => command.run(cx),
        Command::Nodes(command) => ask(command.run(cx)),
        Command::Repos(command) => ask(command.run(cx)),
        Command::Stacks(command) => ask(command.run(cx)),
        Command::Check(command) => ask(command.run(cx)),
        Command::Status(command) => ask(command.run(cx)),
        Command::Deployments(command) => ask(command.run(cx)),
        Command::Environments(command) => ask(command.run(cx)),
        Command::Promote(command) => ask(command.run(cx)),
        Command::Rollouts(command) => ask(command.run(cx)),
        Command::Rollout(command) => ask(command.run(cx)),
        Command::Agents(command) => ask(command.run(cx)),
        Command::Bundle(command) => ask(command.run(cx)),
        Command::Drift(command) => ask(command.run(cx)),
        Command::EmergencyStop(command) => ask(command.run(cx)),
        Command::Conversations(command) => ask(command.run(cx)),
        Command::Timeline(command) => ask(command.run(cx)),
        Command::Related(command) => ask(command.run(cx)),
        Command::Why(command) => ask(command.run(cx)),
        Command::Rollback(command) => ask(command.run(cx)),
        Command::Undos(command) => ask(command.run(cx)),
        Command::Backup(command) => ask(command.run(cx)),
        Command::Restore(command) => ask(command.run(cx)),
        Command::Migrate(command) => ask(command.run(cx)),
        Command::Telemetry(command) => ask(command.run(cx)),
        Command::Hold(command) => ask(command.run(cx)),
        Command::Windows(command) => ask(command.run(cx)),
        Command::Freeze(command) => ask(command.run(cx)),
        Command::Pin(command) => ask(command.run(cx)),
        Command::Follow(command) => ask(command.run(cx)),
        Command::Maintenance(command) => ask(command.run(cx)),
        Command::UpdatesOff(command) => ask(command.run(cx)),
        Command::Track(command) => ask(command.run(cx)),
        Command::Logs(command) => ask(command.run(cx)),
        Command::Open(command) => ask(command.run(cx)),
        Command::Users(command) => ask(command.run(cx)),
        Command::Tokens(command) => ask(command.run(cx)),
        Command::Audit(command) => ask(command.run(cx)),
        Command::Completion(command) => command.run(cx),
        Command::Internal(command) => command.run(cx),
    }
}

/// Done, nothing to add.
pub(crate) fn done() -> Outcome {
    Ok(ExitCode::SUCCESS)
}

/// Runs a command that only talks: one thread is enough, and starts soonest.
fn ask(command: impl Future<Output = Outcome>) -> Outcome {
    block_on(tokio::runtime::Builder::new_current_thread(), command)
}

/// Runs a command that serves.
fn serve(command: impl Future<Output = Outcome>) -> Outcome {
    block_on(tokio::runtime::Builder::new_multi_thread(), command)
}

fn block_on(mut builder: tokio::runtime::Builder, command: impl Future<Output = Outcome>) -> Outcome {
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|e| CliError::new(ErrorCode::BS8016, "no runtime can be started").with_source(e))?;
    runtime.block_on(command)
}

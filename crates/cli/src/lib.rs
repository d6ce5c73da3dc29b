//! The `backstay` program: one command a file, under `commands`.
//!
//! A command parses its own arguments, asks the hub through `api`, and shows
//! what came back through `ui`. What a command decides on its own (times, ids,
//! settings of tools, sentences) is in pure functions beside it.

mod api;
mod cli;
mod commands;
mod context;
mod error;
mod ids;
mod local;
mod lookup;
mod paths;
mod system;
mod time;
mod ui;
mod views;

use std::{ffi::OsString, io::Write as _, process::ExitCode};

use clap::Parser as _;

use crate::{cli::Cli, context::Context, error::CliError};

/// Runs the program with these arguments, the first of which is its own name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let Cli { global, command } = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let json = global.json;
    let cx = Context::new(system::world(), global);
    match commands::run(command, &cx) {
        Ok(code) => code,
        Err(error) => fail(&error, json),
    }
}

/// Shows help, version, or what is wrong with the command line.
fn usage(error: &clap::Error) -> ExitCode {
    // Nobody is left to tell when the stream is gone.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn fail(error: &CliError, json: bool) -> ExitCode {
    let text = if json { format!("{}\n", error.to_json()) } else { error.to_text() };
    let _ = anstream::stderr().write_all(text.as_bytes());
    ExitCode::from(error.exit() as u8)
}

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

use clap::{
    CommandFactory as _, Parser as _,
    error::{ContextKind, ContextValue, ErrorKind},
};
use jiff::tz::TimeZone;

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

/// What the program would say against these arguments, the first of which is its own name; nothing is done. With
/// `in_part`, what is missing at the end is no fault: `backstay nodes` names a command all the same. A value that is
/// cut short with `…` is taken for a good one.
pub fn refuses(args: impl IntoIterator<Item = String>, in_part: bool) -> Option<String> {
    let mut command = Cli::command();
    let mut matches = match command.try_get_matches_from_mut(args) {
        Ok(matches) => matches,
        Err(error) => {
            let help = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            let missing = matches!(
                error.kind(),
                ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                    | ErrorKind::MissingRequiredArgument
                    | ErrorKind::MissingSubcommand
            );
            let value = match error.get(ContextKind::InvalidValue) {
                Some(ContextValue::String(value)) => Some(value.as_str()),
                _ => None,
            };
            let is_fine = help || value.is_some_and(|value| value.contains('…'));
            let is_fine = is_fine || (in_part && (missing || value == Some("")));
            return (!is_fine).then(|| error.to_string());
        }
    };
    let mut command = &command;
    while let Some((name, of_it)) = matches.remove_subcommand() {
        command = command.find_subcommand(&name)?;
        matches = of_it;
    }
    let times =
        command.get_arguments().filter(|arg| arg.get_value_names().is_some_and(|names| names == ["TIME"]));
    let given = times.filter_map(|arg| matches.get_raw(arg.get_id().as_str()));
    let now = system::world().now().to_zoned(TimeZone::system());
    let is_time = |text: &str| time::past(text, &now).or(time::future(text, &now)).is_ok();
    let mut given = given.flatten().map(|text| text.to_string_lossy());
    given.find(|text| !is_time(text)).map(|text| format!("`{text}` is not a time"))
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

//! Builds what runs hub and agents under virtual time, and runs it.

use std::{env, process::Command};

use crate::metadata::Workspace;

/// Hands everything on to `backstay-sim`.
///
/// # Errors
/// When it cannot be built, or found something.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let workspace = Workspace::read()?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["run", "--quiet", "--locked", "--package", "backstay-sim", "--"]);
    let status = command.args(arguments).current_dir(&workspace.root).status();
    match status.map_err(|error| format!("cargo: {error}"))? {
        status if status.success() => Ok(()),
        status => Err(format!("backstay-sim ended with {status}")),
    }
}

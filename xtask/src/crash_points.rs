//! Kills the real agent, and has its system calls fail, at one point after the other.

use std::{env, process::Command};

use clap::Args as ClapArgs;

use crate::metadata::Workspace;

/// What is asked for.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Try so many points, chosen by chance; a point is the nth call of a kind, and what happens to it
    #[arg(long, default_value_t = 2000)]
    sample: usize,
    /// Of the chance
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs the agent's own test of it with as many points as are asked for.
///
/// # Errors
/// When a point is found after which the node is neither on the old release nor on the new.
pub(crate) fn run(args: &Args) -> Result<(), String> {
    let workspace = Workspace::read()?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["test", "--quiet", "--locked", "--package", "backstay-agent", "--test", "crash_points"])
        .args(["--", "--nocapture", "--test-threads", "3"])
        .env("BACKSTAY_CRASH_POINTS", args.sample.to_string())
        .env("BACKSTAY_CRASH_SEED", args.seed.to_string())
        .current_dir(&workspace.root);
    match command.status().map_err(|error| format!("cargo: {error}"))? {
        status if status.success() => Ok(()),
        status => Err(format!("the crash points ended with {status}")),
    }
}

//! Cuts the power of the real agent in a guest under QEMU, over and over.

use std::{env, process::Command};

use clap::Args as ClapArgs;

use crate::metadata::Workspace;

/// What is asked for.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Cut the power so many times
    #[arg(long, default_value_t = 200)]
    cuts: u64,
    /// Of the chance; the second node has the next one, and so on
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// On so many nodes at once, a processor each
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    nodes: u64,
}

/// Runs the agent's own test of it with as many cuts as are asked for.
///
/// # Errors
/// When a node comes back with something else than the old or the new release.
pub(crate) fn run(args: &Args) -> Result<(), String> {
    let workspace = Workspace::read()?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["test", "--quiet", "--locked", "--package", "backstay-agent", "--test", "power_cuts"])
        .args(["--", "--nocapture", "old_or_new_after_every_cut"])
        .env("BACKSTAY_POWER_CUTS", args.cuts.to_string())
        .env("BACKSTAY_POWER_SEED", args.seed.to_string())
        .env("BACKSTAY_POWER_NODES", args.nodes.to_string())
        .current_dir(&workspace.root);
    match command.status().map_err(|error| format!("cargo: {error}"))? {
        status if status.success() => Ok(()),
        status => Err(format!("the power cuts ended with {status}")),
    }
}

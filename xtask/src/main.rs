//! The project's own chores: `cargo xtask <chore>`.
//!
//! - `edges`: crates depend on what they may, and pure crates do nothing but think.
//! - `generate`, `check-generated`: files that are made from code.
//! - `bench`: measurements against goals, with their baseline in the same run.
//! - `crash-points`: the agent killed at every mutating system call.
//! - `power-cuts`: the agent in a guest whose power goes at any moment.
//! - `sim`: hub and agents under virtual time, network and disks.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the terminal")]

mod bench;
mod crash_points;
mod edges;
mod generate;
mod metadata;
mod power_cuts;
mod purity;
mod sim;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own chores")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Check which crates depend on which, and that pure crates do no I/O
    Edges,
    /// Write the files that are made from code
    Generate,
    /// Fail when a file that is made from code is not what the code makes
    CheckGenerated,
    /// Measure; the last line is one JSON object
    Bench(bench::Args),
    /// Kill the agent, and have its system calls fail, at every mutating call, by strace
    CrashPoints(crash_points::Args),
    /// Cut the power of the agent in a guest under QEMU, again and again
    PowerCuts(power_cuts::Args),
    /// Run hub and agents under virtual time, network and disks; `--help` says how
    #[command(disable_help_flag = true)]
    Sim {
        /// For `backstay-sim`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().chore {
        Chore::Edges => edges::check(),
        Chore::Generate => generate::write(),
        Chore::CheckGenerated => generate::check(),
        Chore::Bench(args) => bench::run(&args),
        Chore::CrashPoints(args) => crash_points::run(&args),
        Chore::PowerCuts(args) => power_cuts::run(&args),
        Chore::Sim { arguments } => sim::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

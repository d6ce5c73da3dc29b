//! The project's own chores: `cargo xtask <chore>`.
//!
//! - `edges`: crates depend on what they may, and pure crates do nothing but think.
//! - `generate`, `check-generated`: files that are made from code.
//! - `bench`: measurements against goals, with their baseline in the same run.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the terminal")]

mod bench;
mod edges;
mod generate;
mod metadata;
mod purity;

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
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().chore {
        Chore::Edges => edges::check(),
        Chore::Generate => generate::write(),
        Chore::CheckGenerated => generate::check(),
        Chore::Bench(args) => bench::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

//! Measures what Backstay promises about time and memory, with the real programs as they are shipped.
//!
//! `backstay-bench NAME` says on standard error what it does and prints one JSON object; `cargo xtask bench NAME`
//! builds the programs, runs this, and holds the figures against the goals. `backstay-bench seed DIR` only fills the
//! database of a hub.
#![allow(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a tool for developers: what goes wrong ends it"
)]

mod figures;
mod fleet_scale;
mod footprint;
mod hand;
mod idle;
mod page;
mod procfs;
mod proxy;
mod push;
mod rto;
mod saved;
mod seed;
mod stack;
mod swarm;
mod undo_data;
mod undo_fleet;
mod undo_one;

use std::{path::Path, process::ExitCode};

use figures::Figures;
use procfs::Machine;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    if name == "seed" {
        return ended(&name, seeded(&rest));
    }
    match measured(&name, &rest) {
        Ok(figures) => {
            println!("{}", serde_json::json!(figures));
            ExitCode::SUCCESS
        }
        Err(reason) => ended(&name, Err(reason)),
    }
}

fn ended(name: &str, result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{name}: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// `seed DIR`: no measurement, but what some look at.
fn seeded(rest: &[String]) -> Result<(), String> {
    match rest {
        [dir] => seed::seed(Path::new(dir), seed::Sizes::LARGE),
        _ => Err("expected the data folder of a hub that is to be".to_owned()),
    }
}

/// With what the machine withheld meanwhile: a virtual machine that got half of its processor is half as fast.
fn measured(name: &str, rest: &[String]) -> Result<Figures, String> {
    let before = Machine::now()?;
    let figures = measure(name, rest)?;
    Ok(figures.with("stolen_percent", Machine::now()?.stolen_since(before)))
}

fn measure(name: &str, rest: &[String]) -> Result<Figures, String> {
    match name {
        "undo-one" => undo_one::measure(),
        "undo-fleet" => undo_fleet::measure(),
        "fleet-scale" => fleet_scale::measure(nodes(rest)?),
        "push-to-healthy" => push::measure(),
        "agent-footprint" => footprint::measure(minutes(rest, 10.0)?),
        "page" => page::measure(filled(rest)?),
        "rto" => rto::measure(megabytes(rest, rto::MB)?),
        "undo-data" => undo_data::measure(megabytes(rest, undo_data::MB)?),
        "hub-idle" => idle::measure(minutes(rest, 1.0)?),
        _ => Err("there is no such benchmark".to_owned()),
    }
}

/// `--nodes N`, for a smaller or larger fleet.
fn nodes(rest: &[String]) -> Result<usize, String> {
    match rest {
        [] => Ok(fleet_scale::NODES),
        [flag, value] if flag == "--nodes" => {
            value.parse().map_err(|error| format!("--nodes {value}: {error}"))
        }
        other => Err(format!("expected --nodes N, found {}", other.join(" "))),
    }
}

/// `--mb N`, for less or more data.
fn megabytes(rest: &[String], usual: u64) -> Result<u64, String> {
    match rest {
        [] => Ok(usual),
        [flag, value] if flag == "--mb" => value.parse().map_err(|error| format!("--mb {value}: {error}")),
        other => Err(format!("expected --mb N, found {}", other.join(" "))),
    }
}

/// `--data FILE`, a database that is filled already.
fn filled(rest: &[String]) -> Result<Option<&Path>, String> {
    match rest {
        [] => Ok(None),
        [flag, path] if flag == "--data" => Ok(Some(Path::new(path))),
        other => Err(format!("expected --data FILE, found {}", other.join(" "))),
    }
}

/// `--minutes N`, for a shorter or longer run.
fn minutes(rest: &[String], usual: f64) -> Result<f64, String> {
    match rest {
        [] => Ok(usual),
        [flag, value] if flag == "--minutes" => {
            value.parse().map_err(|error| format!("--minutes {value}: {error}"))
        }
        other => Err(format!("expected --minutes N, found {}", other.join(" "))),
    }
}

//! `backstay-sim`: runs seeds, one after the other or until so many hours of a fleet have passed; replays one.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a tool for the terminal")]

use std::{
    io,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use backstay_sim::{Happening, Outcome, Planted, Scenario, run, shrink};
use clap::Parser;

/// At most so many runs make a failing one small.
const SHRINKING: u32 = 150;
/// A long run has longer quiet times.
const STRETCH: u32 = 20;

/// Runs hub and agents under virtual time, network and disks
#[derive(Parser)]
#[command(name = "cargo xtask sim")]
struct Args {
    /// Run so many seeds
    #[arg(long, conflicts_with_all = ["hours", "seed"])]
    seeds: Option<u64>,
    /// Run seeds until so many hours of nodes have been simulated
    #[arg(long, conflicts_with = "seed")]
    hours: Option<f64>,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Run one seed and print its account
    #[arg(long)]
    seed: Option<u64>,
    /// With --seed: only what has these numbers happens
    #[arg(long, value_delimiter = ',', requires = "seed", num_args = 0..)]
    only: Option<Vec<usize>>,
    /// With --seed: so many nodes
    #[arg(long, requires = "seed")]
    nodes: Option<usize>,
    /// Put a bug in, to see it found
    #[arg(long)]
    planted: Option<Planted>,
    /// So many times as much time between what happens; 20 with --hours
    #[arg(long)]
    stretch: Option<u32>,
    /// How many runs at once
    #[arg(long, default_value_t = 4)]
    jobs: usize,
    /// Only seeds that have this, which not all have
    #[arg(long, value_enum)]
    with: Option<Has>,
    /// Go on after a seed that failed
    #[arg(long)]
    keep_going: bool,
}

/// What only some seeds have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Has {
    /// Maintenance windows
    Windows,
    /// Environments
    Environments,
    /// Pins
    Pins,
    /// New agents
    Agents,
    /// Stacks that are divided into parts
    Parts,
}

impl Has {
    fn is_in(self, scenario: &Scenario) -> bool {
        let mut happens = scenario.happenings.iter().map(|planned| &planned.what);
        match self {
            Self::Windows => !scenario.windows.is_empty(),
            Self::Environments => !scenario.stages.is_empty(),
            Self::Pins => {
                happens.any(|what| matches!(what, Happening::Pin { .. } | Happening::PinAll { .. }))
            }
            Self::Agents => happens.any(|what| matches!(what, Happening::Agent { .. })),
            Self::Parts => scenario.divided,
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let ended = match args.seed {
        Some(seed) => one(seed, &args),
        None => many(&args),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn one(seed: u64, args: &Args) -> io::Result<bool> {
    let mut scenario = Scenario::of_seed(seed).stretched(stretch(args));
    let all: Vec<_> = scenario.happenings.iter().map(|planned| planned.number).collect();
    let numbers = args.only.clone().unwrap_or(all);
    scenario = scenario.only(&numbers, args.nodes.unwrap_or(scenario.nodes));
    let outcome = run(&scenario, args.planted, true)?;
    for line in &outcome.trace {
        println!("{line}");
    }
    println!(
        "seed {seed}: {} lines, digest {}, {:.0} node-hours",
        outcome.events, outcome.digest, outcome.node_hours
    );
    if let Some(violation) = &outcome.violation {
        println!("violated: {}: {}", violation.invariant, violation.what);
    }
    Ok(outcome.violation.is_none())
}

fn stretch(args: &Args) -> u32 {
    args.stretch.unwrap_or(if args.hours.is_some() { STRETCH } else { 1 })
}

/// What so many runs came to.
#[derive(Default)]
struct Sum {
    runs: u64,
    node_hours: f64,
    lines: u64,
    failed: Vec<u64>,
}

fn many(args: &Args) -> io::Result<bool> {
    let (next, sum, began) = (AtomicU64::new(args.from), Mutex::new(Sum::default()), Instant::now());
    let worker = || -> io::Result<()> {
        loop {
            {
                let sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                let enough = args.hours.is_some_and(|hours| sum.node_hours >= hours);
                if enough || (!sum.failed.is_empty() && !args.keep_going) {
                    return Ok(());
                }
            }
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if args.hours.is_none() && seed >= args.from + args.seeds.unwrap_or(200) {
                return Ok(());
            }
            let scenario = Scenario::of_seed(seed).stretched(stretch(args));
            if args.with.is_some_and(|with| !with.is_in(&scenario)) {
                continue;
            }
            let outcome = run(&scenario, args.planted, false)?;
            note(&mut sum.lock().unwrap_or_else(PoisonError::into_inner), seed, &outcome);
            if outcome.violation.is_some() {
                tell(&scenario, &outcome, args)?;
            }
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..args.jobs.max(1)).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| match worker.join() {
            Ok(ended) => ended,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{{\"runs\":{},\"node_hours\":{:.0},\"events\":{},\"failed\":{:?},\"seconds\":{seconds:.1}}}",
        sum.runs, sum.node_hours, sum.lines, sum.failed
    );
    Ok(sum.failed.is_empty())
}

fn note(sum: &mut Sum, seed: u64, outcome: &Outcome) {
    sum.runs += 1;
    sum.node_hours += outcome.node_hours;
    sum.lines += outcome.events;
    if outcome.violation.is_some() {
        sum.failed.push(seed);
    }
}

/// Prints a seed that failed, made small.
fn tell(scenario: &Scenario, outcome: &Outcome, args: &Args) -> io::Result<()> {
    let Some(violation) = &outcome.violation else { return Ok(()) };
    let small = shrink(scenario, violation, args.planted, SHRINKING)?;
    let bug = args.planted.map_or_else(String::new, |planted| format!(" --planted {planted:?}"));
    let stretch = args.stretch.or(args.hours.map(|_| STRETCH));
    let stretch = stretch.map_or_else(String::new, |stretch| format!(" --stretch {stretch}"));
    println!("seed {}: violated: {}: {}", scenario.seed, violation.invariant, violation.what);
    for planned in &small.scenario.happenings {
        println!("  #{} at {:?}: {:?}", planned.number, planned.at, planned.what);
    }
    println!("  {} nodes, {:?}", small.scenario.nodes, small.scenario.strategy);
    let Scenario { begin, windows, stages, divided, .. } = &small.scenario;
    for window in windows {
        println!("  from {begin}: {window:?}");
    }
    stages.iter().for_each(|stage| println!("  {stage:?}"));
    if *divided {
        println!("  stacks are divided into parts");
    }
    println!("  then: {}", small.violation.what);
    println!("  again: {}{stretch}{bug}", small.command());
    Ok(())
}

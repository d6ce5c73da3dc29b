//! The program's command line.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use backstay_types::{Labels, NodeName, Secret};
use clap::{Args, Parser, Subcommand};
use tracing::Level;
use tracing_subscriber::{
    Layer as _, filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::{
    AgentError, apply, backup, crash,
    daemon::{self, Ended},
    disk::Layout,
    join, runtime, settings, status, step,
    update::Slots,
};

#[derive(Debug, Parser)]
#[command(
    name = "backstay-agent",
    version,
    about = "Runs on a node what its hub says, and takes it back when it fails."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent.
    Run {
        #[command(flatten)]
        place: PlaceArgs,
    },
    /// Join a hub with a one-time token.
    Join {
        #[command(flatten)]
        place: PlaceArgs,
        /// The hub's address, such as https://backstay.example.org.
        #[arg(long)]
        hub: String,
        /// The token, as `backstay nodes token` printed it; `-` reads it from standard input.
        #[arg(long, env = "BACKSTAY_JOIN_TOKEN", hide_env_values = true)]
        token: String,
        /// The node's name; the machine's host name by default.
        #[arg(long)]
        name: Option<NodeName>,
        /// Replace the credential of a node that was revoked, under the same name: what is in its folder stays, and on a
        /// new machine without one the node is the same to the hub.
        #[arg(long)]
        replace: bool,
        /// A label of the node, KEY=VALUE. May be given several times.
        #[arg(long = "label", value_name = "KEY=VALUE")]
        labels: Vec<String>,
    },
    /// Take up a bundle that `backstay bundle export` made for this node, without any network.
    Apply {
        #[command(flatten)]
        place: PlaceArgs,
        /// The bundle.
        bundle: PathBuf,
    },
    /// Say what the agent runs and is doing.
    Status {
        #[command(flatten)]
        place: PlaceArgs,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// What the agent calls itself for.
    #[command(hide = true)]
    Internal {
        #[command(subcommand)]
        what: Internal,
    },
}

#[derive(Debug, Args)]
struct PlaceArgs {
    /// The settings file; only its section [agent] is used.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder of everything that the agent keeps.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Internal {
    /// Do one piece of work, told on standard input.
    Step,
    /// Work on data, told on standard input.
    Data {
        /// How far it stands back for others.
        nice: i32,
    },
    /// Let go what stands still when nobody else does.
    Still,
    /// Supervise one process.
    Supervise {
        /// What to run.
        spec: PathBuf,
    },
}

/// Runs the program.
pub fn main() -> ExitCode {
    let _points = crash::setup();
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = format!("error: {error} ({})\n", error.code());
            if let Some(hint) = error.hint() {
                text.push_str(&format!("hint: {hint}\n"));
            }
            let _ = std::io::stderr().write_all(text.as_bytes());
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), AgentError> {
    match cli.command {
        Command::Run { place } => {
            log_to_stderr();
            let settings = settings::load(place.config.as_deref(), place.data_dir)?;
            let slots = Slots::from_loader();
            match (block_on(daemon::run(settings, slots.clone()))?, slots) {
                (Ended::Update, Some(slots)) => Err(slots.load()),
                _ => Ok(()),
            }
        }
        Command::Join { place, hub, token, name, replace, labels } => {
            let settings = settings::load(place.config.as_deref(), place.data_dir)?;
            let layout = settings::layout(&settings);
            let before = if replace { join::name_before(&layout) } else { None };
            let name = name.or(before).map_or_else(host_name, Ok)?;
            let labels = Labels::parse(labels.iter().map(String::as_str))
                .map_err(|error| AgentError::Other(format!("--label: {error}")))?;
            let join = join::Join { hub, token: read_token(token)?, name, labels };
            let identity = block_on(join::join(join, &layout, settings.ca_file.as_deref(), replace))?;
            say(&format!("joined {} as {} ({})\n", identity.hub, identity.name, identity.node))
        }
        Command::Apply { place, bundle } => {
            let settings = settings::load(place.config.as_deref(), place.data_dir)?;
            say(&block_on(apply::apply(settings, &bundle))?)
        }
        Command::Status { place, json } => {
            let settings = settings::load(place.config.as_deref(), place.data_dir)?;
            let layout: Layout = settings::layout(&settings);
            let status = status::status(&layout)?;
            say(&if json { format!("{status:#}\n") } else { status::text(&status) })
        }
        Command::Internal { what: Internal::Step } => step::main(),
        Command::Internal { what: Internal::Data { nice } } => backup::data_main(nice),
        Command::Internal { what: Internal::Still } => backup::still_main(),
        Command::Internal { what: Internal::Supervise { spec } } => {
            runtime::process::supervise::main(&spec).map_err(AgentError::io(spec))
        }
    }
}

fn say(text: &str) -> Result<(), AgentError> {
    std::io::stdout().write_all(text.as_bytes()).map_err(AgentError::io("standard output"))
}

fn host_name() -> Result<NodeName, AgentError> {
    let name = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    name.parse().map_err(|error: backstay_types::NameError| {
        AgentError::Other(format!("{error}; give another with --name"))
    })
}

fn read_token(token: String) -> Result<Secret, AgentError> {
    if token != "-" {
        return Ok(Secret::new(token));
    }
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).map_err(AgentError::io("standard input"))?;
    Ok(Secret::new(line.trim()))
}

fn block_on<T>(future: impl Future<Output = Result<T, AgentError>>) -> Result<T, AgentError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| AgentError::Other(error.to_string()))?.block_on(future)
}

/// Structured lines on standard error; `BACKSTAY_LOG` says how much, as in `info` or `info,backstay_agent=debug`.
fn log_to_stderr() {
    // Not the regular expressions of an `EnvFilter`: they are a tenth of the program.
    let wanted = std::env::var("BACKSTAY_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let filter = wanted.unwrap_or_else(|| Targets::new().with_default(Level::INFO));
    let lines = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
}

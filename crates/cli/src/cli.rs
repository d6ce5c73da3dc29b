//! The command line as a whole.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands as c;

/// Ships every change to every machine, knows which conversation caused it, and takes any of it back.
#[derive(Debug, Parser)]
#[command(
    name = "backstay",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Ids may be given by a few of their first or last digits. Times that have been: RFC 3339, `2h ago`, `yesterday 14:00`, `monday`\n\
                  (the last one). Times to come: RFC 3339, `in 2h`, `18:00`, `friday 18:00` (the next one).\n\
                  Exit codes: 0 done, 1 failed, 2 wrong usage, 3 conflict, 4 not found, 5 not allowed, 6 no hub, 7 took too long."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The hub's address [default: the hub of this machine]
    #[arg(long, global = true, env = "BACKSTAY_HUB", value_name = "URL")]
    pub(crate) hub: Option<String>,
    /// A file with the token; BACKSTAY_TOKEN may hold the token itself [default: the token that a hub of this machine left]
    #[arg(long, global = true, env = "BACKSTAY_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Print data as one JSON document
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print data and errors only
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

/// All commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a hub and this machine's agent, on built-in defaults
    Up(c::up::Up),
    /// Run a hub
    Hub(c::hub::Hub),
    /// Show the whole loop on this machine: two conversations, a bad change, and an undo
    Demo(c::demo::Demo),
    /// Follow an existing Compose repository
    Init(c::init::Init),
    /// Make this machine a node of a hub
    Join(c::join::Join),
    /// Nodes: list, show, make join tokens, revoke
    #[command(subcommand)]
    Nodes(c::nodes::Nodes),
    /// Repositories: add, list, fetch, accept a rewritten history
    #[command(subcommand)]
    Repos(c::repos::Repos),
    /// Stacks, their releases, and who runs what
    Stacks(c::stacks::Stacks),
    /// Check a repository: Compose, manifests, selectors, secrets that look real
    Check(c::check::Check),
    /// The fleet at a glance
    Status(c::status::Status),
    /// Deployments, newest first; or one with its steps
    Deployments(c::deployments::Deployments),
    /// Environments: which release is where, and why the next is not
    Environments(c::environments::Environments),
    /// Let the release that comes next into an environment
    Promote(c::environments::Promote),
    /// Rollouts, newest first; or one with its deployments
    Rollouts(c::rollouts::Rollouts),
    /// Steer a rollout that runs, or see why it is where it is
    #[command(subcommand)]
    Rollout(c::rollout::Rollout),
    /// Agents: which versions run; bring another to all nodes
    #[command(subcommand)]
    Agents(c::agents::Agents),
    /// Take what a node should run to a node that reaches no network
    #[command(subcommand)]
    Bundle(c::bundle::Bundle),
    /// What departs from what should be on nodes, what needs a person first
    Drift(c::drift::Drift),
    /// Stop everything at once, see whether it is, or lift it
    EmergencyStop(c::emergency_stop::EmergencyStop),
    /// Conversations and what they changed
    #[command(subcommand)]
    Conversations(c::conversations::Conversations),
    /// What happened, in order
    Timeline(c::timeline::Timeline),
    /// From any one id, everything that hangs together with it
    Related(c::related::Related),
    /// Which conversation put this stack, file or line on this node, and what happened after
    Why(c::why::Why),
    /// Take changes back: of a conversation, since a time or commit, of a deployment, the last, or of an undo
    Rollback(Box<c::rollback::Rollback>),
    /// Undos, newest first; or one with what it came to
    Undos(c::undos::Undos),
    /// Backups: make, list, prove, keep, and open without the hub
    #[command(subcommand)]
    Backup(c::backup::Backup),
    /// Put a stack's data back from a snapshot
    Restore(c::restore::Restore),
    /// Move stacks from one node to another, with their data; and back
    Migrate(Box<c::migrate::Migrate>),
    /// Metrics and logs that the hub keeps: how their stores stand, and what is in them
    #[command(subcommand)]
    Telemetry(c::telemetry::Telemetry),
    /// Holds: keep a change from being deployed
    #[command(subcommand)]
    Hold(c::hold::Hold),
    /// Freezes: nothing forward begins until a time, everywhere or for some nodes; undos go through
    #[command(subcommand)]
    Freeze(c::limit::Limits<c::limit::Freeze>),
    /// Maintenance windows: when nodes may begin something new
    Windows(c::windows::Windows),
    /// Pins: nodes run one release of a stack, whatever rollouts say
    #[command(subcommand)]
    Pin(c::limit::Limits<c::limit::Pin>),
    /// Nodes that run another branch of a stack's repository than the deployed one
    #[command(subcommand)]
    Follow(c::follow::Follows),
    /// Nodes in maintenance: they keep what they run, and count in no gate and no figure
    #[command(subcommand)]
    Maintenance(c::limit::Limits<c::limit::Maintenance>),
    /// Nodes that keep what they run, whatever is asked of the others
    #[command(subcommand)]
    UpdatesOff(c::limit::Limits<c::limit::UpdatesOff>),
    /// Let commits and assistants name their conversation
    #[command(subcommand)]
    Track(c::track::Track),
    /// Log lines that the hub keeps; or the last ones of a stack on a node
    Logs(Box<c::logs::Logs>),
    /// Print a link that opens the page, signed in
    Open(c::open::Open),
    /// People who may sign in on the page
    #[command(subcommand)]
    Users(c::users::Users),
    /// Tokens of the API, and secrets of webhook sources
    #[command(subcommand)]
    Tokens(c::tokens::Tokens),
    /// The ledger: verify its chain, export it
    #[command(subcommand)]
    Audit(c::audit::Audit),
    /// Completion for a shell
    Completion(c::completion::Completion),
    #[command(subcommand, hide = true)]
    Internal(c::internal::Internal),
}

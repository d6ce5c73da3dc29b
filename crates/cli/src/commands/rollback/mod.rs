//! `backstay rollback`: take changes back.
//!
//! `mod.rs` is the command line and the way through; `select` turns arguments
//! into a request, `resolve` deals with conflicting files, `follow` waits until
//! nodes are verified.

mod follow;
mod resolve;
mod select;

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode, time::Duration};

use backstay_api::{
    Empty,
    v1::{
        CreateUndo, GetHub, GetUndo, PlanResolvedUndo, PlanUndo, ResolveUndo, ResolveUndoRequest, UndoPath,
        UndoRequest,
    },
};
use backstay_types::{
    DemandKind, ErrorCode, PartName, RepositoryId, StackName, Undo, UndoDemand, UndoPlan, UndoState,
};
use clap::{ArgGroup, Args};

use super::Outcome;
use crate::{
    api::Api,
    context::Context,
    error::{CliError, Exit},
    ids, lookup, time,
    ui::style,
    views::undo as view,
};

/// What begins an undo, rather than going on with one.
const PLANNED: [&str; 5] = ["conversation", "to", "deployment", "last", "undo"];

/// Take changes back, as new commits; nodes go back at once.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["conversation", "to", "deployment", "last", "undo", "go_on"])))]
pub(crate) struct Rollback {
    /// What a conversation changed; later work by others stays
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
    /// With --conversation: everything since just before it began
    #[arg(long, requires = "conversation", conflicts_with_all = ["to", "deployment", "last", "undo", "go_on"])]
    before: bool,
    /// Everything since a time or commit
    #[arg(long, value_name = "TIME|SHA")]
    to: Option<String>,
    /// What a deployment brought
    #[arg(long, value_name = "ID")]
    deployment: Option<String>,
    /// The last change that was deployed
    #[arg(long)]
    last: bool,
    /// An earlier undo: bring back what it took
    #[arg(long, value_name = "ID")]
    undo: Option<String>,
    /// Go on with an undo that waits for conflicts to be resolved
    #[arg(long = "continue", value_name = "UNDO")]
    go_on: Option<String>,

    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    conflicts: Conflicts,
    #[command(flatten)]
    manner: Manner,
}

/// For whom.
#[derive(Debug, Args)]
#[command(next_help_heading = "For whom")]
pub(crate) struct Scope {
    /// Only this node
    #[arg(long, conflicts_with_all = ["nodes", "go_on"])]
    node: Option<String>,
    /// Only nodes that this label selector matches
    #[arg(long, value_name = "SELECTOR", conflicts_with = "go_on")]
    nodes: Option<String>,
    /// Only this stack
    #[arg(long, conflicts_with = "go_on")]
    stack: Option<StackName>,
    /// Only this part of the stack; what no part names is `base`
    #[arg(long, requires = "stack", conflicts_with_all = ["go_on", "exact"])]
    part: Option<PartName>,
    /// With --to TIME: each node to what it ran then, rather than to what the branch had
    #[arg(long, requires = "to", conflicts_with_all = ["conversation", "deployment", "last", "undo", "go_on"])]
    exact: bool,
}

/// What becomes of data.
#[derive(Debug, Args)]
#[command(next_help_heading = "Data")]
#[command(group(ArgGroup::new("data").multiple(true).args(["with_data", "go_on"])))]
pub(crate) struct Data {
    /// Data goes back too, from the snapshots made just before; with --undo, what the undo saved comes back
    #[arg(long, conflicts_with = "go_on")]
    with_data: bool,
    /// Where there is no data to go back to, the code goes back alone; `all` for every such place
    #[arg(long = "without-data-of", value_name = "NODE/STACK", requires = "data")]
    without: Vec<String>,
    /// This stack uses the same data, and it is meant to go back for it too
    #[arg(long = "and-data-of", value_name = "STACK", requires = "data")]
    shared: Vec<StackName>,
    /// Older data of this could make a validator sign twice, and no other copy of its keys runs
    #[arg(long, value_name = "NODE/STACK", requires = "data")]
    confirm: Vec<String>,
}

/// What to do about files that later work also changed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Conflicts")]
pub(crate) struct Conflicts {
    /// Write conflicting files to this folder; with --continue, read them from there
    #[arg(long, value_name = "DIR")]
    resolve: Option<PathBuf>,
    /// With --continue: the text that a conflicting path should have
    #[arg(long = "file", value_name = "PATH=FILE", requires = "go_on", conflicts_with_all = PLANNED)]
    files: Vec<String>,
    /// With --continue: a conflicting path that should be gone
    #[arg(long = "remove", value_name = "PATH", requires = "go_on", conflicts_with_all = PLANNED)]
    removed: Vec<String>,
    /// Take back this commit too, though its link to the conversation is only a guess
    #[arg(long = "include-guess", value_name = "SHA", conflicts_with = "go_on")]
    guesses: Vec<String>,
}

/// How to go about it.
#[derive(Debug, Args)]
#[command(next_help_heading = "How")]
pub(crate) struct Manner {
    /// Only show what it would come to
    #[arg(long, conflicts_with = "go_on")]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Why; goes into the commit and the ledger
    #[arg(long, default_value = "")]
    reason: String,
    /// How long to wait until every node is verified
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    wait: String,
    /// Do not wait
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
}

/// Names of repositories, for what people read.
type Names = BTreeMap<RepositoryId, String>;

impl Rollback {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let api = cx.api()?;
        let wait = if self.manner.no_wait { None } else { Some(time::parse_length(&self.manner.wait)?) };
        let names = lookup::repository_names(&api).await?;
        // The position before anything happens, so that no step of this undo is missed.
        let from = api.get::<GetHub>().await?.ledger.seq;
        let undo = if let Some(text) = &self.go_on {
            self.resolve_conflicts(text, &api, &names, cx).await?
        } else {
            let mut request = select::request(&self, cx.world.mint(), &api, &cx.frame().now).await?;
            if self.manner.yes && !self.manner.dry_run {
                let undo = create(request, &api).await?;
                cx.ui.say(view::plan(&undo.plan, &names, &cx.frame()));
                undo
            } else {
                let plan = api.call::<PlanUndo>(Empty {}, Empty {}, request.clone()).await?;
                if self.manner.dry_run {
                    return dry_run(&plan, &names, cx);
                }
                if view::is_empty(&plan) && !view::has_conflicts(&plan) {
                    cx.ui.data(&plan, || view::plan(&plan, &names, &cx.frame()))?;
                    return super::done();
                }
                ask(&plan, &names, &mut request, cx)?;
                create(request, &api).await?
            }
        };
        if undo.state == UndoState::Conflicted {
            return conflicted(&undo, self.conflicts.resolve.as_deref(), &names, cx);
        }
        let undo = match wait {
            Some(limit) => follow::until_finished(undo, from, limit, &api, cx).await?,
            None => undo,
        };
        finish(&undo, &names, cx)
    }

    async fn resolve_conflicts(
        &self,
        text: &str,
        api: &Api,
        names: &Names,
        cx: &Context,
    ) -> Result<Undo, CliError> {
        let id = lookup::undo(api, text).await?;
        let undo = api.call::<GetUndo>(UndoPath { undo: id }, Empty {}, Empty {}).await?;
        if undo.state != UndoState::Conflicted {
            cx.ui.say(format!("Undo {} has no open conflicts.", ids::short(id)));
            return Ok(undo);
        }
        let mut request = ResolveUndoRequest {
            files: resolve::read(&undo.plan, &self.conflicts, names)?,
            without_data: self.data.without.clone(),
            shared_data: self.data.shared.clone(),
            confirm: self.data.confirm.clone(),
        };
        if !self.manner.yes {
            // Only now is it known for whom it is, and what has to be said of their data.
            let plan = api.call::<PlanResolvedUndo>(UndoPath { undo: id }, Empty {}, request.clone()).await?;
            if !plan.demands.is_empty() {
                cx.ui.say(view::plan(&plan, names, &cx.frame()));
            }
            meet(&plan.demands, &mut request.confirm, cx)?;
        }
        api.call::<ResolveUndo>(UndoPath { undo: id }, Empty {}, request).await
    }
}

/// Something that has to be said first, in so many words.
fn unmet(code: ErrorCode, demand: &UndoDemand, option: &str) -> CliError {
    CliError::new(code, demand.why.clone()).hint(format!("`{option} {}` says that it is meant", demand.say))
}

/// Asks for what a person has to type; says how the rest is said.
fn meet(demands: &[UndoDemand], confirmed: &mut Vec<String>, cx: &Context) -> Result<(), CliError> {
    for demand in demands {
        match demand.demand {
            // The hub would refuse it by name; it computes anew, and might find it met by then.
            DemandKind::WithoutData => return Err(unmet(ErrorCode::BS9041, demand, "--without-data-of")),
            DemandKind::SharedData => return Err(unmet(ErrorCode::BS9042, demand, "--and-data-of")),
            DemandKind::DoubleSign => confirmed.push(cx.ui.typed(&demand.why, &demand.say)?),
        }
    }
    Ok(())
}

/// Shows the plan and asks for a yes.
fn ask(plan: &UndoPlan, names: &Names, request: &mut UndoRequest, cx: &Context) -> Result<(), CliError> {
    cx.ui.say(view::plan(plan, names, &cx.frame()));
    meet(&plan.demands, &mut request.confirm, cx)?;
    // With conflicts nothing reaches a node before a person has resolved them.
    if view::has_conflicts(plan) || cx.ui.confirm("Take this back?")? {
        return Ok(());
    }
    Err(CliError::new(ErrorCode::BS8010, "nothing was taken back"))
}

/// Asks for the undo; again under the same id when the hub goes away before it has answered, so that nothing is
/// undone twice.
async fn create(request: UndoRequest, api: &Api) -> Result<Undo, CliError> {
    for _ in 0..ATTEMPTS {
        match api.call::<CreateUndo>(Empty {}, Empty {}, request.clone()).await {
            Err(error) if error.code() == ErrorCode::BS8001 => tokio::time::sleep(PAUSE).await,
            answered => return answered,
        }
    }
    api.call::<CreateUndo>(Empty {}, Empty {}, request).await
}

fn dry_run(plan: &UndoPlan, names: &Names, cx: &Context) -> Outcome {
    cx.ui.data(plan, || {
        let dim = style::DIM;
        let conflicts = view::conflicts(plan, names);
        format!("{}{conflicts}\n{dim}Nothing was changed.{dim:#}\n", view::plan(plan, names, &cx.frame()))
    })?;
    Ok(if view::has_conflicts(plan) { ExitCode::from(Exit::Conflict as u8) } else { ExitCode::SUCCESS })
}

/// Says what is in the way and how to go on.
fn conflicted(undo: &Undo, dir: Option<&std::path::Path>, names: &Names, cx: &Context) -> Outcome {
    let id = ids::short(undo.id);
    let written = match dir {
        Some(dir) => resolve::write(&undo.plan, dir, names)?,
        None => Vec::new(),
    };
    if cx.ui.json {
        cx.ui.data(undo, String::new)?;
    } else {
        cx.ui.out(&view::conflicts(&undo.plan, names));
    }
    let hint = match dir {
        Some(dir) => format!(
            "edit {} in {}, then: backstay rollback --continue {id} --resolve {}",
            crate::ui::count(written.len(), "file"),
            dir.display(),
            dir.display()
        ),
        None => format!(
            "backstay rollback --continue {id} --resolve DIR   (writes the files, run it again to go on)\n\
             backstay rollback --continue {id} --file PATH=FILE"
        ),
    };
    let detail =
        format!("undo {id} waits: later work changed the same lines, and nothing has reached a node");
    Err(CliError::new(ErrorCode::BS8014, detail).hint(hint))
}

/// Says how it ended.
fn finish(undo: &Undo, names: &Names, cx: &Context) -> Outcome {
    let id = ids::short(undo.id);
    if let UndoState::Failed { reason } = &undo.state {
        if cx.ui.json {
            cx.ui.data(undo, String::new)?;
        }
        return Err(CliError::new(ErrorCode::BS8015, format!("undo {id} could not be finished: {reason}"))
            .hint(format!("backstay timeline --undo {id} shows what happened")));
    }
    cx.ui.data(undo, || {
        let (good, dim) = (style::GOOD, style::DIM);
        let verdict = match undo.state {
            UndoState::Verified => format!("{good}Taken back and verified{good:#} on every node."),
            _ => format!("Under way: backstay timeline --undo {id} --follow"),
        };
        let merges = view::merges(&undo.plan, names);
        format!("{verdict}\n{merges}{dim}To undo this undo:{dim:#} backstay rollback --undo {id}\n")
    })?;
    super::done()
}

/// How often a request without an answer is made again, and how long to wait before that.
const ATTEMPTS: usize = 10;
const PAUSE: Duration = Duration::from_secs(1);
/// How long a single question to the hub may take while following.
const PATIENCE: Duration = Duration::from_secs(20);

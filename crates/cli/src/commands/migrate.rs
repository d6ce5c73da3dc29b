//! `backstay migrate`: stacks move from one node to another, with their data; and back.

use std::time::Duration;

use backstay_api::{
    Empty,
    v1::{
        AbortMigration, AbortMigrationRequest, GetMigration, ListMigrations, MigrationPath, MigrationPlan,
        MigrationRequest, MigrationView, MigrationsQuery, StartMigration,
    },
};
use backstay_types::{ErrorCode, MigrationState, MigrationStep, StackName};
use clap::{Args, Subcommand};

use super::{Outcome, done};
use crate::{
    api::Api,
    context::Context,
    error::{CliError, Exit},
    ids, lookup,
    ui::style,
    views::migration,
};

/// How often it is looked how far it is.
const EVERY: Duration = Duration::from_millis(500);

/// Move stacks from one node to another with their data: each is copied while it runs, stopped, saved once more, and started
/// on the other node with all that was written. What fails before that runs again where it was.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Migrate {
    #[command(subcommand)]
    command: Option<Migrations>,
    /// The node that they leave
    #[arg(required_unless_present = "back", requires = "to")]
    from: Option<String>,
    /// The node that they come to
    to: Option<String>,
    /// Take the stacks of this migration back to where they were, with what was written since
    #[arg(long, value_name = "ID", conflicts_with_all = ["from", "to", "from_gone"])]
    back: Option<String>,
    /// Only this stack; may be given several times [default: all that the node runs]
    #[arg(long = "stack", value_name = "STACK")]
    stacks: Vec<StackName>,
    /// The node that they leave is gone for good, and nothing runs there: its name, once more. Its newest proven snapshots
    /// are what moves
    #[arg(long, value_name = "NODE")]
    from_gone: Option<String>,
    /// A snapshot of this that is older than what was signed could make a validator sign twice, and no other copy of its keys
    /// runs
    #[arg(long, value_name = "NODE/STACK")]
    confirm: Vec<String>,
    /// Why
    #[arg(long, default_value = "")]
    reason: String,
    /// Only show what moves, what that costs and what does not move
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Do not wait
    #[arg(long)]
    no_wait: bool,
}

/// What else there is to do about migrations.
#[derive(Debug, Subcommand)]
enum Migrations {
    /// Migrations, newest first
    List(List),
    /// One, with where each of its stacks is
    Show(Show),
    /// End one: what has not come to run on the other node runs again where it was
    Abort(Abort),
}

/// Options of `migrate list`.
#[derive(Debug, Args)]
struct List {
    /// Only those from this node or to it
    #[arg(long)]
    node: Option<String>,
    /// The most to show
    #[arg(long, default_value_t = 20)]
    limit: u32,
}

/// Options of `migrate show`.
#[derive(Debug, Args)]
struct Show {
    /// The migration
    migration: String,
}

/// Options of `migrate abort`.
#[derive(Debug, Args)]
struct Abort {
    /// The migration
    migration: String,
    /// The node that they were to come to is gone for good, and nothing runs there: its name, once more
    #[arg(long, value_name = "NODE")]
    to_gone: Option<String>,
    /// Why
    #[arg(long, default_value = "")]
    reason: String,
}

impl Migrate {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let api = cx.api()?;
        match self.command {
            Some(Migrations::List(List { node, limit })) => {
                let query = MigrationsQuery { node, limit: Some(limit), cursor: None };
                let page = api.call::<ListMigrations>(Empty {}, query, Empty {}).await?;
                cx.ui.data(&page.items, || migration::list(&page.items, &cx.frame()))?;
                done()
            }
            Some(Migrations::Show(Show { migration: text })) => {
                let path = MigrationPath { migration: lookup::migration(&api, &text).await? };
                let one = api.call::<GetMigration>(path, Empty {}, Empty {}).await?;
                cx.ui.data(&one, || migration::one(&one, &cx.frame()))?;
                done()
            }
            Some(Migrations::Abort(Abort { migration: text, to_gone, reason })) => {
                let path = MigrationPath { migration: lookup::migration(&api, &text).await? };
                let asked = AbortMigrationRequest { to_gone, reason };
                let one = api.call::<AbortMigration>(path, Empty {}, asked).await?;
                cx.ui.data(&one, || migration::one(&one, &cx.frame()))?;
                done()
            }
            None => self.begin(&api, cx).await,
        }
    }

    async fn begin(self, api: &Api, cx: &Context) -> Outcome {
        let back = match &self.back {
            Some(text) => Some(lookup::migration(api, text).await?),
            None => None,
        };
        let mut request = MigrationRequest {
            id: None,
            from: self.from,
            to: self.to,
            back,
            stacks: self.stacks,
            from_gone: self.from_gone,
            confirm: self.confirm,
            reason: self.reason,
            dry_run: true,
        };
        let plan = api.call::<StartMigration>(Empty {}, Empty {}, request.clone()).await?;
        if self.dry_run {
            let dim = style::DIM;
            cx.ui
                .data(&plan, || format!("{}\n{dim}Nothing was changed.{dim:#}\n", migration::plan(&plan)))?;
            return done();
        }
        cx.ui.say(migration::plan(&plan));
        if !self.yes && !cx.ui.confirm(&question(&plan))? {
            return Err(CliError::new(ErrorCode::BS8010, "nothing was changed"));
        }
        for say in
            plan.confirm.iter().filter(|say| !request.confirm.contains(say)).cloned().collect::<Vec<_>>()
        {
            request.confirm.push(cx.ui.typed("This could make a validator sign twice.", &say)?);
        }
        request.dry_run = false;
        request.id = Some(cx.world.mint());
        let begun = api.call::<StartMigration>(Empty {}, Empty {}, request).await?;
        let Some(begun) = begun.migration else {
            return Err(CliError::new(ErrorCode::BS8010, "the hub did not say that it began"));
        };
        if self.no_wait {
            cx.ui.data(&begun, || migration::one(&begun, &cx.frame()))?;
            return done();
        }
        let ended = until_ended(begun, api, cx).await?;
        cx.ui.data(&ended, || migration::one(&ended, &cx.frame()))?;
        match ended.state {
            MigrationState::Done => done(),
            _ => {
                let why = ended.migration.stacks.iter().find_map(|one| {
                    let why = one.failed.as_ref()?;
                    Some(format!("{} stayed on {}: {why}", one.stack, ended.migration.from.name))
                });
                Err(CliError::new(ErrorCode::BS9054, why.unwrap_or_else(|| "it did not move".to_owned())))
            }
        }
    }
}

fn question(plan: &MigrationPlan) -> String {
    let stacks: Vec<_> = plan.stacks.iter().map(|one| one.stack.to_string()).collect();
    format!("Move {} from {} to {}?", stacks.join(", "), plan.from, plan.to)
}

/// Waits for the end, showing each step.
async fn until_ended(mut view: MigrationView, api: &Api, cx: &Context) -> Result<MigrationView, CliError> {
    let mut progress = cx.ui.progress();
    let mut seen: Vec<Option<MigrationStep>> = vec![None; view.migration.stacks.len()];
    loop {
        for (passage, seen) in view.migration.stacks.iter().zip(&mut seen) {
            if *seen != Some(passage.step) {
                *seen = Some(passage.step);
                progress.note(&format!("{}: {}", passage.stack, migration::step(passage.step)));
            }
        }
        progress.now(&migration::now(&view));
        if view.state != MigrationState::Running {
            progress.clear();
            return Ok(view);
        }
        tokio::time::sleep(EVERY).await;
        let path = MigrationPath { migration: view.migration.id };
        match api.call::<GetMigration>(path, Empty {}, Empty {}).await {
            // It goes on without being watched.
            Err(error) if error.exit() == Exit::Unreachable => {}
            looked => view = looked?,
        }
    }
}

/// What to type to take it back.
pub(crate) fn way_back(view: &MigrationView) -> String {
    format!("backstay migrate --back {}", ids::short(view.migration.id))
}

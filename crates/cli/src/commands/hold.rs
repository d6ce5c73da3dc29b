//! `backstay hold`: keep a change from being deployed.

use backstay_api::{
    Empty,
    v1::{
        ConstraintPath, ConstraintsQuery, CreateHold, CreateHoldRequest, LiftConstraint, LiftRequest,
        ListConstraints,
    },
};
use backstay_types::{Constraint, ConstraintOrigin, Effect, Scope};
use clap::{Args, Subcommand};

use super::{Outcome, done};
use crate::{
    context::Context,
    ids, lookup, time,
    ui::{Cell, Frame, Table, style},
};

/// Holds.
#[derive(Debug, Subcommand)]
pub(crate) enum Hold {
    /// Hold a commit, or all that a conversation changed: no release that contains it is deployed
    Add(Add),
    /// Pins, holds and bans in force
    List(List),
    /// Lift one
    Lift(Lift),
}

/// Options of `hold add`.
#[derive(Debug, Args)]
pub(crate) struct Add {
    #[command(flatten)]
    what: What,
    /// Why
    #[arg(long)]
    reason: String,
    /// When it ends by itself, such as `in 2h` or `tomorrow 09:00`
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

/// What to hold.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct What {
    /// A commit, whole or its first digits
    #[arg(long, value_name = "SHA")]
    commit: Option<String>,
    /// A conversation
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
}

/// Options of `hold list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Those no longer in force too
    #[arg(long)]
    all: bool,
}

/// Options of `hold lift`.
#[derive(Debug, Args)]
pub(crate) struct Lift {
    /// Its id
    id: String,
    /// Why
    #[arg(long)]
    reason: String,
}

impl Hold {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let api = cx.api()?;
        let constraints = match self {
            Self::Add(command) => {
                let conversation = match &command.what.conversation {
                    Some(text) => Some(lookup::conversation(&api, text).await?),
                    None => None,
                };
                let now = cx.frame().now;
                let until = command.until.as_deref().map(|text| time::parse(text, &now)).transpose()?;
                let request = CreateHoldRequest {
                    commit: command.what.commit,
                    conversation,
                    reason: command.reason,
                    until,
                };
                api.call::<CreateHold>(Empty {}, Empty {}, request).await?.items
            }
            Self::List(command) => {
                let query = ConstraintsQuery { all: command.all.then_some(true) };
                api.call::<ListConstraints>(Empty {}, query, Empty {}).await?.items
            }
            Self::Lift(command) => {
                let path = ConstraintPath { constraint: lookup::constraint(&api, &command.id).await? };
                vec![
                    api.call::<LiftConstraint>(path, Empty {}, LiftRequest { reason: command.reason })
                        .await?,
                ]
            }
        };
        cx.ui.data(&constraints, || view_list(&constraints, &cx.frame()))?;
        done()
    }
}

/// Constraints in a table.
pub(crate) fn view_list(constraints: &[Constraint], frame: &Frame) -> String {
    if constraints.is_empty() {
        return "Nothing is pinned, held or banned.\n".to_owned();
    }
    let mut table = Table::new(["ID", "WHAT", "FOR", "BY", "UNTIL", "~WHY"]);
    for one in constraints {
        table.row([
            Cell::styled(ids::short(one.id), style::NAME),
            what(one),
            whom(&one.scope).into(),
            by(one).into(),
            until(one, frame).into(),
            one.reason.clone().into(),
        ]);
    }
    frame.table(&table)
}

fn what(constraint: &Constraint) -> Cell {
    let text = match &constraint.effect {
        Effect::Pin { stack, release } => format!("pin {stack} to {}", ids::short(*release)),
        Effect::Hold { commit, .. } => format!("hold {}", commit.short()),
        Effect::Ban { stack, tree } => format!("ban {stack} {}", tree.short()),
    };
    Cell::styled(text, if constraint.lifted_at.is_some() { style::DIM } else { style::WARN })
}

fn whom(scope: &Scope) -> String {
    match scope {
        Scope::Fleet => "everyone".to_owned(),
        Scope::Nodes { selector } => selector.clone(),
    }
}

fn by(constraint: &Constraint) -> String {
    match &constraint.origin {
        ConstraintOrigin::Person | ConstraintOrigin::Rollout => constraint.by.clone(),
        ConstraintOrigin::Undo { undo } => format!("undo {}", ids::short(*undo)),
        ConstraintOrigin::Manifest { .. } => "fleet.toml".to_owned(),
    }
}

fn until(constraint: &Constraint, frame: &Frame) -> String {
    match (constraint.lifted_at, constraint.until) {
        (Some(at), _) => format!("lifted {}", frame.when(at)),
        (None, Some(at)) => frame.when(at),
        (None, None) => "-".to_owned(),
    }
}

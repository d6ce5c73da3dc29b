//! `backstay follow`: nodes that run another branch than the deployed one.

use backstay_api::v1::{BranchView, ListBranches};
use backstay_types::{ReleaseStanding, RepositoryHealth};
use clap::Subcommand;

use super::{
    Outcome, done,
    limit::{Follow, Limits},
};
use crate::{
    context::Context,
    ui::{Cell, Frame, Table, style},
};

/// Nodes that follow a branch, and the branches.
#[derive(Debug, Subcommand)]
pub(crate) enum Follows {
    #[command(flatten)]
    Limits(Limits<Follow>),
    /// The branches that nodes follow, with what was read of them
    Branches,
}

impl Follows {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        match self {
            Self::Limits(limits) => limits.run(cx).await,
            Self::Branches => {
                let found = cx.api()?.get::<ListBranches>().await?.items;
                cx.ui.data(&found, || view(&found, &cx.frame()))?;
                done()
            }
        }
    }
}

fn view(branches: &[BranchView], frame: &Frame) -> String {
    if branches.is_empty() {
        return "Every node follows the deployed branch.\n".to_owned();
    }
    let mut table = Table::new(["STACK", "BRANCH", "REPOSITORY", "COMMIT", "NODES", "SINCE", "~STATE"]);
    for one in branches {
        table.row([
            Cell::styled(one.stack.to_string(), style::NAME),
            one.branch.clone().into(),
            one.repository.clone().into(),
            one.tip.short().into(),
            one.nodes.to_string().into(),
            frame.when(one.updated_at).into(),
            state(one),
        ]);
    }
    frame.table(&table)
}

/// What keeps its nodes from what it has, the state of the branch before that of its release.
fn state(one: &BranchView) -> Cell {
    match (&one.health, &one.standing) {
        (RepositoryHealth::Rewritten { found }, _) => Cell::styled(
            format!(
                "rewritten upstream, to {}; nodes keep what they run until `follow add` is said again",
                found.short()
            ),
            style::WARN,
        ),
        (
            RepositoryHealth::Unreachable { code, message } | RepositoryHealth::Invalid { code, message },
            _,
        ) => Cell::styled(format!("{code}: {message}; nodes keep what they run"), style::BAD),
        (_, ReleaseStanding::Held { reason }) => {
            Cell::styled(format!("{reason}; nodes run what the fleet does"), style::WARN)
        }
        (_, ReleaseStanding::Banned { reason }) => {
            Cell::styled(format!("{reason}; nodes keep what they run"), style::BAD)
        }
        _ => Cell::styled("followed", style::GOOD),
    }
}

//! `backstay stacks`: who runs what, and a stack's releases.

use backstay_api::{
    Empty,
    v1::{GetStack, ListReleases, ListStacks, Paging, ReleaseView, StackPart, StackPath, StackView},
};
use backstay_types::StackName;
use clap::Args;

use super::{Outcome, done};
use crate::{
    context::Context,
    ui::{Cell, Frame, Table, count, style, words},
};

/// All stacks; with a name, that stack's releases.
#[derive(Debug, Args)]
pub(crate) struct Stacks {
    /// A stack, to see its releases
    stack: Option<StackName>,
    /// The most releases to show
    #[arg(long, default_value_t = 20)]
    limit: u32,
}

impl Stacks {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let api = cx.api()?;
        match self.stack {
            None => {
                let page = api.get::<ListStacks>().await?;
                cx.ui.data(&page.items, || view_list(&page.items, &cx.frame()))?;
            }
            Some(stack) => {
                let paging = Paging { limit: Some(self.limit), cursor: None };
                let page =
                    api.call::<ListReleases>(StackPath { stack: stack.clone() }, paging, Empty {}).await?;
                let path = StackPath { stack };
                // A hub from before there were parts answers this too.
                let parts = api.call::<GetStack>(path, Empty {}, Empty {}).await?.parts;
                cx.ui.data(&page.items, || {
                    let frame = cx.frame();
                    format!("{}{}", view_parts(&parts, &frame), view_releases(&page.items, &frame))
                })?;
            }
        }
        done()
    }
}

/// Stacks in a table.
pub(crate) fn view_list(stacks: &[StackView], frame: &Frame) -> String {
    if stacks.is_empty() {
        return "No stacks yet. They come from repositories: `backstay repos add`.\n".to_owned();
    }
    let mut table = Table::new(["STACK", "REPOSITORY", "WANTED", "ROLLOUT", "~RUNNING"]);
    for view in stacks {
        let running = view
            .nodes
            .iter()
            .map(|version| format!("{} on {}", version.tree.short(), count(version.nodes as usize, "node")))
            .collect::<Vec<_>>()
            .join(", ");
        table.row([
            Cell::styled(view.stack.to_string(), style::NAME),
            view.repository.clone().into(),
            view.release.as_ref().map_or_else(|| "-".to_owned(), |release| release.tree.short()).into(),
            view.rollout.as_ref().map_or_else(|| "-".into(), |rollout| words::rollout(rollout.state)),
            running.into(),
        ]);
    }
    frame.table(&table)
}

/// What each part is asked to be, and how its newest rollout stands.
fn view_parts(parts: &[StackPart], frame: &Frame) -> String {
    if parts.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["PART", "CHANNEL", "WANTED", "COMMIT", "VERSION", "ROLLOUT", "~NEEDS"]);
    for part in parts {
        table.row([
            Cell::styled(part.name.to_string(), style::NAME),
            part.channel.clone().unwrap_or_else(|| "-".to_owned()).into(),
            part.release.tree.short().into(),
            part.commit.short().into(),
            part.version.clone().unwrap_or_else(|| "-".to_owned()).into(),
            part.rollout.as_ref().map_or_else(|| "-".into(), |rollout| words::rollout(rollout.state)),
            part.requires.join(", ").into(),
        ]);
    }
    format!("{}\n", frame.table(&table))
}

fn view_releases(releases: &[ReleaseView], frame: &Frame) -> String {
    if releases.is_empty() {
        return "This stack has no releases yet.\n".to_owned();
    }
    let mut table = Table::new(["RELEASE", "COMMIT", "MADE", "~STANDING"]);
    for view in releases {
        table.row([
            Cell::styled(view.release.tree.short(), style::NAME),
            view.release.commit.short().into(),
            frame.when(view.release.created_at).into(),
            words::standing(&view.standing),
        ]);
    }
    frame.table(&table)
}

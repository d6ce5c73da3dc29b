//! `backstay windows`: when nodes may begin something new.

use backstay_api::v1::{ListWindows, WindowView};
use clap::Args;

use super::{Outcome, done};
use crate::{
    context::Context,
    ui::{Cell, Frame, Table, style},
};

/// Maintenance windows of `fleet.toml`: those that open or close soonest first.
#[derive(Debug, Args)]
pub(crate) struct Windows {}

impl Windows {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let windows = cx.api()?.get::<ListWindows>().await?.items;
        cx.ui.data(&windows, || view(&windows, &cx.frame()))?;
        done()
    }
}

fn view(windows: &[WindowView], frame: &Frame) -> String {
    if windows.is_empty() {
        return "There are no windows: every node may begin something new at any time.\n".to_owned();
    }
    let mut table = Table::new(["STATE", "UNTIL", "NODES", "STACKS", "OPENS", "FOR", "TIME ZONE", "~NOT ON"]);
    for one in windows {
        let (word, look) = if one.open { ("open", style::GOOD) } else { ("closed", style::DIM) };
        let selector = if one.selector.is_empty() { "everyone" } else { &one.selector };
        let stacks = one.stacks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        table.row([
            Cell::styled(word, look),
            one.changes_at.map_or("-".to_owned(), |at| frame.when(at)).into(),
            format!("{selector} ({})", one.nodes).into(),
            stacks.into(),
            one.opens.clone().into(),
            one.lasts.clone().into(),
            one.time_zone.clone().into(),
            one.blackout.join(", ").into(),
        ]);
    }
    frame.table(&table)
}

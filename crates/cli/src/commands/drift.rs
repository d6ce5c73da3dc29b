//! `backstay drift`: what departs from what should be.

use backstay_api::{
    Empty,
    v1::{DriftQuery, DriftView, ListDrift},
};
use clap::Args;

use super::{Outcome, done};
use crate::{
    context::Context,
    ui::{Cell, Frame, Table, style, words},
};

/// What departs from what should be, what needs a person first.
#[derive(Debug, Args)]
pub(crate) struct Drift {
    /// Only on this node, by name or id
    node: Option<String>,
}

impl Drift {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let query = DriftQuery { node: self.node };
        let page = cx.api()?.call::<ListDrift>(Empty {}, query, Empty {}).await?;
        cx.ui.data(&page.items, || view(&page.items, &cx.frame()))?;
        done()
    }
}

fn view(found: &[DriftView], frame: &Frame) -> String {
    if found.is_empty() {
        return "Nothing departs from what should be, as far as nodes have said.\n".to_owned();
    }
    let mut table = Table::new(["NODE", "STACK", "STATE", "WHAT", "SINCE", "PUT RIGHT", "~HOW"]);
    for DriftView { name, stack, drift, .. } in found {
        table.row([
            Cell::styled(name.to_string(), style::NAME),
            stack.to_string().into(),
            words::drift(drift.state),
            words::drifted(drift).into(),
            frame.when(drift.since).into(),
            format!("{}×", drift.heals).into(),
            drift.detail.clone().into(),
        ]);
    }
    frame.table(&table)
}

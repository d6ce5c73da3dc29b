//! `backstay undos`: the newest, or one with what it came to.

use backstay_api::{
    Empty,
    v1::{GetUndo, ListUndos, Paging, UndoPath},
};
use backstay_types::Undo;
use clap::Args;

use super::{Outcome, done};
use crate::{
    context::Context,
    ids, lookup,
    ui::{Cell, Frame, Table, style, words},
    views::undo,
};

/// Undos, newest first; with an id, that one with its commits, files, nodes and conflicts.
#[derive(Debug, Args)]
pub(crate) struct Undos {
    /// An undo, to see what it came to
    undo: Option<String>,
    /// The most to show
    #[arg(long, default_value_t = 20)]
    limit: u32,
}

impl Undos {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let api = cx.api()?;
        if let Some(text) = &self.undo {
            let path = UndoPath { undo: lookup::undo(&api, text).await? };
            let one = api.call::<GetUndo>(path, Empty {}, Empty {}).await?;
            let names = lookup::repository_names(&api).await?;
            cx.ui.data(&one, || undo::detail(&one, &names, &cx.frame()))?;
            return done();
        }
        let paging = Paging { limit: Some(self.limit), cursor: None };
        let page = api.call::<ListUndos>(Empty {}, paging, Empty {}).await?;
        cx.ui.data(&page.items, || view_list(&page.items, &cx.frame()))?;
        done()
    }
}

fn view_list(undos: &[Undo], frame: &Frame) -> String {
    if undos.is_empty() {
        return "Nothing was taken back so far.\n".to_owned();
    }
    let mut table = Table::new(["ID", "STATE", "ASKED", "BY", "~OF"]);
    for one in undos {
        table.row([
            Cell::styled(ids::short(one.id), style::NAME),
            words::undo(&one.state),
            frame.when(one.created_at).into(),
            one.by.clone().into(),
            undo::selector(&one.selector).into(),
        ]);
    }
    frame.table(&table)
}

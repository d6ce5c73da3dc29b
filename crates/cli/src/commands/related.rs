//! `backstay related`: from any one id, everything that hangs together with it.

use backstay_api::{
    Empty,
    v1::{GetRelated, Related as Answer, RelatedQuery},
};
use backstay_types::ReleaseId;
use clap::Args;

use super::{Outcome, done};
use crate::{
    context::Context,
    lookup,
    ui::{Cell, Frame, Table, style},
};

/// Everything that hangs together with one id, oldest first.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Related {
    /// A conversation
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
    /// A commit, whole or its first digits
    #[arg(long, value_name = "SHA")]
    commit: Option<String>,
    /// A release
    #[arg(long, value_name = "ID")]
    release: Option<ReleaseId>,
    /// A rollout
    #[arg(long, value_name = "ID")]
    rollout: Option<String>,
    /// A deployment
    #[arg(long, value_name = "ID")]
    deployment: Option<String>,
    /// A node
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// A container's id in its runtime, whole or its first digits
    #[arg(long, value_name = "ID")]
    container: Option<String>,
    /// An undo
    #[arg(long, value_name = "ID")]
    undo: Option<String>,
}

impl Related {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let api = cx.api()?;
        let mut query = RelatedQuery {
            commit: self.commit,
            release: self.release,
            node: self.node,
            container: self.container,
            ..RelatedQuery::default()
        };
        if let Some(text) = &self.conversation {
            query.conversation = Some(lookup::conversation(&api, text).await?);
        }
        if let Some(text) = &self.rollout {
            query.rollout = Some(lookup::rollout(&api, text).await?);
        }
        if let Some(text) = &self.deployment {
            query.deployment = Some(lookup::deployment(&api, text).await?);
        }
        if let Some(text) = &self.undo {
            query.undo = Some(lookup::undo(&api, text).await?);
        }
        let related = api.call::<GetRelated>(Empty {}, query, Empty {}).await?;
        cx.ui.data(&related, || view(&related, &cx.frame()))?;
        done()
    }
}

fn view(related: &Answer, frame: &Frame) -> String {
    if related.items.is_empty() {
        return "Nothing else hangs together with it.\n".to_owned();
    }
    let mut table = Table::new(["WHEN", "KIND", "ID", "~WHAT"]);
    for item in &related.items {
        table.row([
            frame.when(item.at).into(),
            item.kind.clone().into(),
            Cell::styled(short(&item.kind, &item.id), style::NAME),
            item.summary.clone().into(),
        ]);
    }
    frame.table(&table)
}

/// An id of any kind, as short as it can be told apart.
fn short(kind: &str, id: &str) -> String {
    match kind {
        "commit" => id.chars().take(10).collect(),
        "container" => id.chars().take(12).collect(),
        _ => id.parse().map_or_else(|_| id.to_owned(), crate::ids::short::<backstay_types::EventId>),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_each_kind_are_short_in_their_own_way() {
        assert_eq!(short("commit", "0123456789abcdef0123456789abcdef01234567"), "0123456789");
        assert_eq!(short("deployment", "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"), "2e3f4a5b");
        assert_eq!(short("node", "web-1"), "web-1");
    }
}

//! `backstay timeline`: what happened, in order; live with `--follow`.

use std::{collections::VecDeque, time::Duration};

use backstay_api::{
    Empty,
    v1::{ListNodes, ListTimeline, NodesQuery, TimelineQuery},
};
use backstay_types::{LedgerEntry, StackName};
use clap::Args;

use super::{Outcome, done};
use crate::{
    api::Api,
    context::Context,
    error::CliError,
    lookup, time,
    views::event::{self, Names},
};

/// How long the hub may hold an answer when following.
const HOLD: Duration = Duration::from_secs(25);

/// What happened, newest last.
#[derive(Debug, Args)]
pub(crate) struct Timeline {
    /// Only about this conversation
    #[arg(long)]
    conversation: Option<String>,
    /// Only about this node
    #[arg(long)]
    node: Option<String>,
    /// Only about this stack
    #[arg(long)]
    stack: Option<StackName>,
    /// Only about this undo
    #[arg(long)]
    undo: Option<String>,
    /// Only of this kind, such as `deployment_finished`
    #[arg(long)]
    kind: Option<String>,
    /// Only from this time on
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only before this time
    #[arg(long, value_name = "TIME", conflicts_with = "follow")]
    until: Option<String>,
    /// The most to show
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Go on showing what happens; with --json one document a line
    #[arg(long, short)]
    follow: bool,
}

impl Timeline {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let api = cx.api()?;
        let filter = self.query(&api, cx).await?;
        let mut entries = newest(&api, &filter, self.limit).await?;
        let mut names = names(&api).await?;
        if !self.follow {
            let frame = cx.frame();
            cx.ui.data(&entries, || {
                let lines: String = entries.iter().map(|entry| event::line(entry, &names, &frame)).collect();
                if lines.is_empty() { "Nothing has happened that fits.\n".to_owned() } else { lines }
            })?;
            return done();
        }
        let mut after = entries.last().map_or(0, |entry| entry.seq);
        if after == 0 {
            after = api.get::<backstay_api::v1::GetHub>().await?.ledger.seq;
        }
        loop {
            for entry in &entries {
                if cx.ui.json {
                    cx.ui.json_line(entry)?;
                } else {
                    cx.ui.out(&event::line(entry, &names, &cx.frame()));
                }
            }
            entries = next(&api, &filter, after).await?;
            after = entries.last().map_or(after, |entry| entry.seq);
            if entries.iter().any(|entry| entry.kind == "node_joined" || entry.kind == "repository_added") {
                names = self::names(&api).await?;
            }
        }
    }

    async fn query(&self, api: &Api, cx: &Context) -> Result<TimelineQuery, CliError> {
        let now = cx.frame().now;
        let at = |text: &Option<String>| text.as_deref().map(|text| time::past(text, &now)).transpose();
        let mut query = TimelineQuery {
            node: self.node.clone(),
            stack: self.stack.clone(),
            kind: self.kind.clone(),
            since: at(&self.since)?,
            until: at(&self.until)?,
            ..TimelineQuery::default()
        };
        if let Some(text) = &self.conversation {
            query.conversation = Some(lookup::conversation(api, text).await?);
        }
        if let Some(text) = &self.undo {
            query.undo = Some(lookup::undo(api, text).await?);
        }
        Ok(query)
    }
}

/// The newest entries that fit, oldest first.
pub(crate) async fn newest(
    api: &Api,
    filter: &TimelineQuery,
    limit: u32,
) -> Result<Vec<LedgerEntry>, CliError> {
    let mut entries = VecDeque::new();
    let mut cursor = None;
    while entries.len() < limit as usize {
        let left = limit - u32::try_from(entries.len()).unwrap_or(limit);
        let query = TimelineQuery { limit: Some(left.min(1000)), cursor, ..filter.clone() };
        let page = api.call::<ListTimeline>(Empty {}, query, Empty {}).await?;
        page.items.into_iter().for_each(|item| entries.push_front(item.entry));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    Ok(entries.into())
}

/// Entries after a position; waits for one. A hub that is away is waited for.
pub(crate) async fn next(
    api: &Api,
    filter: &TimelineQuery,
    after: u64,
) -> Result<Vec<LedgerEntry>, CliError> {
    let wait_ms = u64::try_from(HOLD.as_millis()).ok();
    let query = TimelineQuery { after: Some(after), wait_ms, limit: Some(1000), ..filter.clone() };
    match api.call_held::<ListTimeline>(Empty {}, query, Empty {}, HOLD).await {
        Ok(page) => Ok(page.items.into_iter().map(|item| item.entry).collect()),
        Err(error) if error.exit() == crate::error::Exit::Unreachable => {
            tokio::time::sleep(Duration::from_millis(500)).await;
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

/// Names for the ids in entries.
pub(crate) async fn names(api: &Api) -> Result<Names, CliError> {
    let query = |paging: backstay_api::v1::Paging| NodesQuery {
        limit: paging.limit,
        cursor: paging.cursor,
        selector: None,
    };
    let nodes = api.all::<ListNodes, _>(query).await?;
    let nodes = nodes.into_iter().map(|view| (view.node.id, view.node.name.to_string())).collect();
    Ok(Names { nodes, repositories: lookup::repository_names(api).await? })
}

//! What is not in the ledger, told to those who follow events: nodes that come and go, and what is known more of.

use std::{collections::HashMap, sync::Arc, time::Duration};

use backstay_api::v1::{NodeChanged, NodesChanged, Touched};
use backstay_store::nodes;
use backstay_types::NodeId;
use tokio::time::sleep;

use crate::{
    app::App,
    http::{ApiError, ServerEvent},
    live::Glimpse,
};

/// The least time between two messages of a kind.
const BEAT: Duration = Duration::from_millis(500);
/// How many nodes, or deployments, one message names.
const NAMED: usize = 200;

type Glance = HashMap<NodeId, Glimpse>;

/// Looks for changes while anyone follows, until the hub stops.
pub(crate) async fn beat(app: Arc<App>) {
    loop {
        tokio::select! {
            () = app.feed.until_followed() => {}
            () = app.stopping.cancelled() => return,
        }
        app.feed.take_touched();
        let mut known = app.live.glance(app.world.now());
        while app.feed.is_followed() {
            tokio::select! {
                () = sleep(BEAT) => {}
                () = app.stopping.cancelled() => return,
            }
            let now = app.live.glance(app.world.now());
            if let Err(error) = tell(&app, &known, &now).await {
                tracing::debug!(%error, "those who follow events were not told of nodes");
                continue;
            }
            known = now;
        }
    }
}

async fn tell(app: &App, before: &Glance, now: &Glance) -> Result<(), ApiError> {
    let mut changed: Vec<_> =
        now.iter().filter(|(id, seen)| before.get(id) != Some(seen)).map(|(id, _)| *id).collect();
    if !changed.is_empty() {
        changed.sort_unstable();
        let more = changed.len() > NAMED;
        changed.truncate(NAMED);
        let found = nodes::many(&mut app.store.read(), &changed).await?;
        let told = found.into_iter().filter(|node| node.revoked_at.is_none()).filter_map(|node| {
            let Glimpse { state, health, .. } = *now.get(&node.id)?;
            Some(NodeChanged { id: node.id, name: node.name, state, health })
        });
        let message = NodesChanged { changed: told.collect(), more };
        app.feed.tell(None, ServerEvent::json(&message)?.named("nodes"));
    }
    let touched = app.feed.take_touched();
    if !touched.deployments.is_empty() || !touched.conversations.is_empty() {
        let more = touched.deployments.len() > NAMED || touched.conversations.len() > NAMED;
        let message = Touched {
            deployments: touched.deployments.into_iter().take(NAMED).collect(),
            conversations: touched.conversations.into_iter().take(NAMED).collect(),
            more,
        };
        app.feed.tell(None, ServerEvent::json(&message)?.named("touched"));
    }
    Ok(())
}

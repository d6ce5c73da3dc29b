//! `GET /api/v1/why`

use backstay_api::v1::{Decommissioning, GetWhy, Why};
use backstay_engine::{WhyQuestion, leaving};

use crate::http::{ApiError, Call, find};

/// Which conversation put this stack, file or line into production, when, and what happened after.
pub(crate) async fn why(call: Call<GetWhy>) -> Result<Why, ApiError> {
    let Call { app, query, .. } = call;
    if query.line.is_some() && query.file.is_none() {
        return Err(ApiError::invalid("line", "it goes with `file`"));
    }
    if query.line == Some(0) {
        return Err(ApiError::invalid("line", "lines are counted from 1"));
    }
    let node = find::node(&mut app.store.read(), &query.node).await?;
    let stack = query.stack;
    let question = WhyQuestion { node: node.id, stack: stack.clone(), file: query.file, line: query.line };
    let backstay_engine::Why { release, removed, text, change, conversations, deployment, after } =
        app.engine.why(&question).await?;
    let leaving = leaving(&mut app.store.read(), app.world.now()).await?.remove(&node.name);
    let decommissioning =
        leaving.map(|one| Decommissioning { since: one.created_at, by: one.by, reason: one.reason });
    let node = node.name;
    Ok(Why { node, stack, release, removed, text, change, conversations, deployment, after, decommissioning })
}

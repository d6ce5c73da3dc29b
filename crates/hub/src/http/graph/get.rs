//! `GET /api/v1/graph`

use std::{collections::HashMap, time::Duration};

use backstay_api::v1::{Bucket, GetGraph, Graph, GraphKind, LanesBy};
use backstay_store::{Reader, graph, nodes};
use backstay_types::{Id as _, NodeId};

use super::{items::Items, lanes};
use crate::http::{ApiError, Call, find};

/// So many deployments are drawn one by one.
const DRAWN: u32 = 1500;
/// Into so many buckets the window is parted when there are more.
const COLUMNS: u64 = 200;
/// Seconds.
const HOUR: u64 = 3600;
/// The longest window.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 86_400);

/// What happened in a window of time, in lanes.
pub(crate) async fn get(call: Call<GetGraph>) -> Result<Graph, ApiError> {
    let Call { app, query, .. } = call;
    let length = Duration::try_from(query.until.duration_since(query.since)).unwrap_or_default();
    if length.is_zero() || length > LONGEST {
        return Err(ApiError::invalid("until", "expected a time after `since`, at most ten years later"));
    }
    let seq = *app.sealed.borrow();
    let mut store = app.store.read();
    let node = find::node_id(&mut store, query.node.as_deref()).await?;
    let span = graph::Span { since: query.since, until: query.until, stack: query.stack, node };
    let by = query.lanes.unwrap_or_default();
    let mut items = Items::new(by, span.clone(), query.conversation);
    let mut buckets = Vec::new();
    let mut bucket_seconds = None;
    // Of one conversation there are never many.
    if query.conversation.is_none() && graph::has_more_than(&mut store, &span, DRAWN).await? {
        let seconds = bucket(length);
        bucket_seconds = Some(u64::from(seconds));
        buckets = counted(&mut store, &span, by, seconds).await?;
    } else {
        items.deployments(&mut store, DRAWN).await?;
    }
    items.rest(&mut store).await?;
    let (mut items, truncated): (_, Vec<GraphKind>) = items.finish();
    let (lanes, more_lanes) = lanes::choose(&mut items, &mut buckets);
    let graph::Span { since, until, .. } = span;
    Ok(Graph { since, until, seq, lanes, more_lanes, items, bucket_seconds, buckets, truncated })
}

/// How long a bucket is, in seconds: whole hours, which are counted already, where it is not shorter.
fn bucket(length: Duration) -> u32 {
    let seconds = length.as_secs().div_ceil(COLUMNS).max(1);
    let seconds = if seconds > HOUR / 2 { seconds.div_ceil(HOUR) * HOUR } else { seconds };
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

async fn counted(
    store: &mut Reader,
    span: &graph::Span,
    by: LanesBy,
    seconds: u32,
) -> Result<Vec<Bucket>, ApiError> {
    let found = graph::counted(store, span, by == LanesBy::Node, seconds).await?;
    let mut names: HashMap<String, String> = HashMap::new();
    if by == LanesBy::Node {
        let ids: Vec<NodeId> = found.iter().filter_map(|one| one.lane.parse().ok()).collect();
        let ids = crate::http::names::distinct(ids.into_iter());
        for node in nodes::many(store, &ids).await? {
            names.insert(node.id.uuid().to_string(), node.name.to_string());
        }
    }
    let named = found.into_iter().map(|one| {
        let lane = names.get(&one.lane).cloned().unwrap_or(one.lane);
        Bucket { lane, at: one.at, count: one.count, failures: one.failures }
    });
    Ok(named.collect())
}

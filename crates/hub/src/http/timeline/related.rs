//! `GET /api/v1/related`

use backstay_api::v1::{GetRelated, Related, RelatedItem, RelatedQuery};
use backstay_store::{
    deployments,
    related::{self, Anchor, Item},
};

use crate::{
    app::App,
    http::{ApiError, Call, find},
};

/// How many deployments are followed.
const MOST: u32 = 500;

/// From any one id, everything that hangs together with it, oldest first.
pub(crate) async fn related(call: Call<GetRelated>) -> Result<Related, ApiError> {
    let anchor = anchor(&call.app, call.query).await?;
    let items = related::related(&mut call.app.store.read(), &anchor, MOST).await?;
    if items.is_empty() {
        return Err(ApiError::missing("such thing to start from", ""));
    }
    Ok(Related { items: items.into_iter().map(view).collect() })
}

/// The one id that was given.
async fn anchor(app: &App, query: RelatedQuery) -> Result<Anchor, ApiError> {
    let RelatedQuery { conversation, commit, release, rollout, deployment, node, container, undo } = query;
    let mut store = app.store.read();
    let mut given = Vec::new();
    given.extend(conversation.map(Anchor::Conversation));
    given.extend(release.map(Anchor::Release));
    given.extend(rollout.map(Anchor::Rollout));
    given.extend(deployment.map(Anchor::Deployment));
    given.extend(undo.map(Anchor::Undo));
    given.extend(find::node_id(&mut store, node.as_deref()).await?.map(Anchor::Node));
    if let Some(prefix) = commit {
        let (repository, commit) = app.engine.find_commit(&prefix).await?;
        given.push(Anchor::Commit(repository, commit));
    }
    if let Some(prefix) = container {
        given.push(Anchor::Container(whole_container(&mut store, &prefix).await?));
    }
    match (given.pop(), given.is_empty()) {
        (Some(anchor), true) => Ok(anchor),
        _ => Err(ApiError::invalid("query", "expected exactly one id to start from")),
    }
}

/// The one container whose id begins like this.
async fn whole_container(store: &mut backstay_store::Reader, prefix: &str) -> Result<String, ApiError> {
    let mut ids: Vec<_> =
        deployments::find_container(store, prefix, 50).await?.into_iter().map(|seen| seen.id).collect();
    ids.sort_unstable();
    ids.dedup();
    match ids.len() {
        0 => Err(ApiError::missing("container", prefix)),
        1 => Ok(ids.swap_remove(0)),
        _ => Err(ApiError::invalid("container", format!("`{prefix}` fits several: give more digits"))),
    }
}

fn view(item: Item) -> RelatedItem {
    let Item { at, kind, id, summary, refs } = item;
    RelatedItem { at, kind: kind.to_owned(), id, summary, refs }
}

//! `GET /api/v1/search`

use std::collections::HashMap;

use backstay_api::v1::{HitKind, Search, SearchHit, SearchHits};
use backstay_store::{Reader, nodes, releases, repositories, search, stacks};
use backstay_types::{Repository, RepositoryId};

use crate::http::{ApiError, Call, names::distinct};

const DEFAULT: u32 = 20;
const MOST: u32 = 100;
/// So many of one kind, so that another kind is seen too.
const OF_A_KIND: u32 = 8;
const LONGEST: usize = 200;

/// Whatever has this text in its name, title or id.
pub(crate) async fn search(call: Call<Search>) -> Result<SearchHits, ApiError> {
    let text = call.query.q.trim();
    let limit = call.query.limit.unwrap_or(DEFAULT);
    if text.is_empty() || text.len() > LONGEST {
        return Err(ApiError::invalid("q", format!("expected 1 to {LONGEST} bytes")));
    }
    if !(1..=MOST).contains(&limit) {
        return Err(ApiError::invalid("limit", format!("{limit} is out of range: expected 1 to {MOST}")));
    }
    let mut store = call.app.store.read();
    let known: HashMap<RepositoryId, Repository> =
        repositories::list(&mut store).await?.into_iter().map(|one| (one.id, one)).collect();
    let mut hits = Vec::new();
    named(&mut store, text, &known, &mut hits).await?;
    talked(&mut store, text, &known, &mut hits).await?;
    numbered(&mut store, text, &mut hits).await?;
    let lower = text.to_lowercase();
    hits.sort_by_key(|hit| rank(hit, &lower));
    hits.truncate(limit as usize);
    Ok(SearchHits { hits })
}

/// Exact names first, then beginnings, then the rest; within these as they were found.
fn rank(hit: &SearchHit, text: &str) -> u8 {
    let title = hit.title.to_lowercase();
    match () {
        () if title == text || hit.id.to_lowercase() == text => 0,
        () if title.starts_with(text) => 1,
        () => 2,
    }
}

fn hit(kind: HitKind, id: impl ToString, title: impl ToString, detail: impl ToString) -> SearchHit {
    SearchHit {
        kind,
        id: id.to_string(),
        title: title.to_string(),
        detail: detail.to_string(),
        at: None,
        repository: None,
    }
}

async fn named(
    store: &mut Reader,
    text: &str,
    known: &HashMap<RepositoryId, Repository>,
    hits: &mut Vec<SearchHit>,
) -> Result<(), ApiError> {
    let lower = text.to_lowercase();
    for stack in stacks::list(store).await? {
        if stack.name.as_str().contains(&lower) {
            let repository = known.get(&stack.repository).map(|one| one.name.to_string());
            hits.push(hit(HitKind::Stack, &stack.name, &stack.name, repository.unwrap_or_default()));
        }
    }
    for repository in known.values().filter(|one| one.name.as_str().contains(&lower)) {
        let address = repository.endpoints.first().cloned().unwrap_or_default();
        hits.push(hit(HitKind::Repository, &repository.name, &repository.name, address));
    }
    for node in search::nodes(store, text, OF_A_KIND).await? {
        let labels: Vec<_> = node.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        hits.push(hit(HitKind::Node, &node.name, &node.name, labels.join(" ")));
    }
    Ok(())
}

async fn talked(
    store: &mut Reader,
    text: &str,
    known: &HashMap<RepositoryId, Repository>,
    hits: &mut Vec<SearchHit>,
) -> Result<(), ApiError> {
    for one in search::conversations(store, text, OF_A_KIND).await? {
        let title = one.title.clone().unwrap_or_else(|| format!("{} {}", one.tool, one.id));
        let found = hit(HitKind::Conversation, one.id, title, &one.tool);
        hits.push(SearchHit { at: Some(one.last_seen_at), ..found });
    }
    for change in search::changes(store, text, OF_A_KIND).await? {
        let change = change.change;
        let stacks: Vec<_> = change.stacks.iter().map(ToString::to_string).collect();
        let detail = format!("{} {}", change.commit.short(), stacks.join(", "));
        let found = hit(HitKind::Commit, &change.commit, &change.subject, detail.trim());
        let repository = known.get(&change.repository).map(|one| one.name.to_string());
        hits.push(SearchHit { at: Some(change.committed_at), repository, ..found });
    }
    Ok(())
}

async fn numbered(store: &mut Reader, text: &str, hits: &mut Vec<SearchHit>) -> Result<(), ApiError> {
    let ids: Vec<_> = search::releases(store, text, OF_A_KIND).await?.into_iter().map(|(id, _)| id).collect();
    for release in releases::many(store, &ids).await? {
        let found = hit(
            HitKind::Release,
            release.id,
            format!("{} {}", release.stack, release.tree),
            release.commit.short(),
        );
        hits.push(SearchHit { at: Some(release.created_at), ..found });
    }
    let found = search::deployments(store, text, OF_A_KIND).await?;
    let named = nodes::many(store, &distinct(found.iter().map(|one| one.node))).await?;
    for one in found {
        let node = named.iter().find(|node| node.id == one.node).map(|node| node.name.to_string());
        let title = format!("{} on {}", one.stack, node.unwrap_or_default());
        hits.push(SearchHit {
            at: Some(one.created_at),
            ..hit(HitKind::Deployment, one.id, title, one.state.word())
        });
    }
    for one in search::rollouts(store, text, OF_A_KIND).await? {
        let found = hit(HitKind::Rollout, one.id, format!("Rollout of {}", one.stack), &one.reason);
        hits.push(SearchHit { at: Some(one.created_at), ..found });
    }
    for one in search::undos(store, text, OF_A_KIND).await? {
        let found = hit(HitKind::Undo, one.id, format!("Undo by {}", one.by), &one.reason);
        hits.push(SearchHit { at: Some(one.created_at), ..found });
    }
    Ok(())
}

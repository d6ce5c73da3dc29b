//! `GET /api/v1/releases/{release}`

use backstay_api::v1::{GetRelease, ReleaseDetail, ReleaseEntry};
use backstay_store::{Reader, changes, conversations, deployments, nodes, releases};
use backstay_types::{Change, Release};

use crate::{
    app::App,
    http::{ApiError, Call, names::distinct},
};

/// So many commits that carry the same tree.
const CHANGES: usize = 50;
/// So many nodes are named.
const NODES: usize = 1000;

/// One release: where it came from, what is in it, who runs it.
pub(crate) async fn get(call: Call<GetRelease>) -> Result<ReleaseDetail, ApiError> {
    let app = call.app;
    let mut store = app.store.read();
    let release = releases::get(&mut store, call.path.release).await?;
    let release = release.ok_or_else(|| ApiError::missing("release", call.path.release))?;
    let changes = carried_by(&mut store, &release).await?;
    let ids = distinct(changes.iter().flat_map(|one| &one.links).map(|link| link.conversation));
    let before = releases::of_stack(&mut store, &release.stack, Some(release.id), 1).await?.pop();
    let kind = |mode| match mode {
        0o100_755 => "executable",
        0o120_000 => "link",
        _ => "file",
    };
    let listed = app.engine.release_files(&release).await?.into_iter();
    let files =
        listed.map(|one| ReleaseEntry { path: one.path, bytes: one.bytes, kind: kind(one.mode).to_owned() });
    let mut running = runs(&app, &mut store, &release).await?;
    let total = running.len() as u64;
    running.truncate(NODES);
    Ok(ReleaseDetail {
        standing: app.engine.standing(&release).await?,
        conversations: conversations::many(&mut store, &ids).await?,
        changes,
        before,
        files: files.collect(),
        nodes: running,
        total,
        deployed_at: deployments::first_of_release(&mut store, release.id).await?,
        release,
    })
}

async fn carried_by(store: &mut Reader, release: &Release) -> Result<Vec<Change>, ApiError> {
    let carried = releases::commits(store, release.id).await?;
    let ids: Vec<_> =
        carried.into_iter().filter(|(id, _)| *id == release.repository).map(|(_, id)| id).collect();
    let known = changes::many(store, release.repository, &ids).await?;
    let mut found: Vec<_> = known.into_iter().map(|known| known.change).collect();
    found.sort_by_key(|change| std::cmp::Reverse(change.committed_at));
    found.truncate(CHANGES);
    Ok(found)
}

async fn runs(
    app: &App,
    store: &mut Reader,
    release: &Release,
) -> Result<Vec<backstay_types::NodeName>, ApiError> {
    let runs = |seen: Option<&crate::live::Seen>| {
        let observed = seen.and_then(|seen| seen.observed.as_deref()).unwrap_or_default();
        observed.iter().any(|one| one.stack == release.stack && one.current == Some(release.tree))
    };
    let all = nodes::names(store).await?.into_iter();
    Ok(all.filter(|(id, _)| app.live.with(*id, runs)).map(|(_, name)| name).collect())
}

//! `POST /api/v1/backups/restores`: data put back on a node.

use backstay_api::v1::{RestoreFrom, RestoreRequest, RestoreView, StartRestore};
use backstay_engine::{
    backups::{FoundSnapshot, WantedRestore, WantedSnapshot},
    double_sign_why,
};
use backstay_store::{deployments, releases};
use backstay_types::{
    DemandKind, ErrorCode, Node, StackName, Timestamp, UndoDemand,
    backup::{Destination, RestoreWork},
};

use super::{job_view, snapshot_views};
use crate::{
    app::App,
    http::{ApiError, Call, find},
};

/// Begins it, or says what it would be.
pub(crate) async fn start(call: Call<StartRestore>) -> Result<RestoreView, ApiError> {
    let Call { app, caller, body, .. } = call;
    check_destination(&body.destination)?;
    let (found, node, stack) = meant(&app, &body).await?;
    let snapshot = &found.kept.snapshot;
    let (steps, mut lost) = (steps(&body, &node, &stack), lost(&body, snapshot.at));
    let demand = double_sign(&app, &body, &found, &node, &stack).await?;
    if let Some(demand) = &demand {
        lost.push(demand.why.clone());
        if !body.dry_run && body.confirm.as_ref() != Some(&demand.say) {
            let hint = format!("`--confirm {}` says that no other copy of its keys runs", demand.say);
            return Err(ApiError::new(ErrorCode::BS9043, demand.why.clone()).with_hint(hint));
        }
    }
    let work = RestoreWork {
        snapshot: snapshot.id,
        stack: stack.clone(),
        items: body.items,
        paths: body.paths,
        destination: body.destination,
    };
    let job = if body.dry_run {
        None
    } else {
        let wanted = WantedRestore { id: body.id, node: node.clone(), work };
        let job = app.engine.ask_restore(wanted, &caller.by()).await?;
        app.backups.wake.notify_one();
        Some(job_view(&mut app.store.read(), job).await?)
    };
    let mut views = snapshot_views(&mut app.store.read(), vec![found]).await?;
    let snapshot = views.pop().ok_or_else(|| ApiError::internal("a snapshot without a view"))?;
    let confirm = demand.map(|demand| demand.say);
    Ok(RestoreView { snapshot, node_name: node.name, stack, steps, lost, confirm, job })
}

/// What has to be typed where older data could make a validator sign twice, by what the release declares that wrote it or
/// the one that runs now.
async fn double_sign(
    app: &App,
    body: &RestoreRequest,
    found: &FoundSnapshot,
    node: &Node,
    stack: &StackName,
) -> Result<Option<UndoDemand>, ApiError> {
    let mut trees: Vec<_> = found.kept.snapshot.tags.tree.into_iter().collect();
    let latest = deployments::latest_of_node(&mut app.store.read(), node.id).await?;
    if let Some(runs) = latest.into_iter().find(|one| one.stack == *stack) {
        let release = releases::get(&mut app.store.read(), runs.release).await?;
        trees.extend(release.map(|release| release.tree));
    }
    let mut marked = app.engine.double_sign(stack, &trees).await?;
    let named: Vec<_> = body.items.iter().chain(&body.paths).collect();
    if !named.is_empty() {
        let of = |text: &str, item: &str| {
            text == item || text.strip_prefix(item).is_some_and(|t| t.starts_with('/'))
        };
        marked.retain(|item| named.iter().any(|text| of(text, item)));
    }
    if marked.is_empty() {
        return Ok(None);
    }
    let names: Vec<_> = marked.iter().map(|item| format!("`{item}`")).collect();
    let (say, why) = (format!("{}/{stack}", node.name), double_sign_why(&names));
    Ok(Some(UndoDemand { demand: DemandKind::DoubleSign, say, why }))
}

/// The snapshot, the node and the stack that are meant.
async fn meant(app: &App, body: &RestoreRequest) -> Result<(FoundSnapshot, Node, StackName), ApiError> {
    let mut store = app.store.read();
    let named = match &body.node {
        Some(text) => Some(find::node(&mut store, text).await?),
        None => None,
    };
    let wanted = match &body.from {
        RestoreFrom::Latest => WantedSnapshot::At(app.world.now()),
        RestoreFrom::Snapshot(digits) => WantedSnapshot::Named(digits.clone()),
        RestoreFrom::At(at) => WantedSnapshot::At(*at),
        RestoreFrom::BeforeDeployment(id) => WantedSnapshot::Before(*id),
    };
    let (whose, stack) = match &wanted {
        WantedSnapshot::Named(digits) => {
            let found = app.engine.find_snapshot(digits).await?;
            let stack = found.kept.snapshot.tags.stack.clone();
            let stack = stack.ok_or_else(|| {
                ApiError::invalid(
                    "from",
                    "this is a snapshot of the hub's own state: `backstay hub restore` puts it back",
                )
            })?;
            if body.stack.as_ref().is_some_and(|given| *given != stack) {
                return Err(ApiError::invalid("stack", format!("the snapshot is of {stack}")));
            }
            (found.whose, stack)
        }
        _ => {
            let node = named
                .as_ref()
                .ok_or_else(|| ApiError::invalid("node", "expected the node whose data it is"))?;
            let stack = body.stack.clone();
            (
                Some(node.id),
                stack.ok_or_else(|| ApiError::invalid("stack", "expected the stack whose data it is"))?,
            )
        }
    };
    let found = app.engine.proven_snapshot(whose, &stack, &wanted).await?;
    let id = whose.ok_or_else(|| ApiError::internal("a stack's snapshot without a node"))?;
    if named.as_ref().is_some_and(|node| node.id != id) {
        let detail = "a node can only read its own repository: name the node that the snapshot is of";
        return Err(ApiError::invalid("node", detail));
    }
    let node = match named {
        Some(node) => node,
        None => find::node(&mut store, &id.to_string()).await?,
    };
    if node.revoked_at.is_some() {
        let detail =
            format!("{} is no longer in the fleet; let it join again under its name first", node.name);
        return Err(ApiError::new(ErrorCode::BS4005, detail));
    }
    Ok((found, node, stack))
}

fn check_destination(destination: &Destination) -> Result<(), ApiError> {
    match destination {
        Destination::InPlace => Ok(()),
        Destination::WithDeployment { .. } => Err(ApiError::invalid(
            "destination",
            "data goes into place with a deployment by an undo alone: `backstay rollback … --with-data`",
        )),
        Destination::Folder { path } if path.starts_with('/') && path.len() > 1 => Ok(()),
        Destination::Folder { .. } => {
            Err(ApiError::invalid("destination", "expected an absolute path of the node"))
        }
    }
}

fn steps(body: &RestoreRequest, node: &Node, stack: &StackName) -> Vec<String> {
    let what = match (body.items.as_slice(), body.paths.as_slice()) {
        ([], []) => "all of the snapshot".to_owned(),
        (items, paths) => items.iter().chain(paths).cloned().collect::<Vec<_>>().join(", "),
    };
    match &body.destination {
        Destination::Folder { path } => vec![format!("{what} is written into {path} on {}", node.name)],
        Destination::InPlace | Destination::WithDeployment { .. } => vec![
            format!("{stack} on {} is stopped", node.name),
            "a safety snapshot of its data is made: the way back of this restore".to_owned(),
            format!("{what} is put where it came from"),
            format!("{stack} is started and probed"),
        ],
    }
}

fn lost(body: &RestoreRequest, at: Timestamp) -> Vec<String> {
    match &body.destination {
        Destination::Folder { .. } => Vec::new(),
        Destination::InPlace | Destination::WithDeployment { .. } => {
            vec![format!("what was written since {at} is replaced; the safety snapshot has it")]
        }
    }
}

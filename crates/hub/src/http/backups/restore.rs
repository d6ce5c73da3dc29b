//! `POST /api/v1/backups/restores`: data put back on a node.

use backstay_api::v1::{RestoreFrom, RestoreRequest, RestoreView, StartRestore};
use backstay_engine::{
    backups::{FoundSnapshot, WantedRestore, WantedSnapshot},
    double_sign_why,
};
use backstay_store::{deployments, releases};
use backstay_types::{
    BackupJobId, DemandKind, ErrorCode, Node, StackName, Timestamp, UndoDemand,
    backup::{Destination, RestoreWork},
};

use super::{job_views, snapshot_views};
use crate::{
    app::App,
    http::{ApiError, Call, find},
};

/// Begins it, or says what it would be.
pub(crate) async fn start(call: Call<StartRestore>) -> Result<RestoreView, ApiError> {
    let Call { app, caller, body, .. } = call;
    let planned = plan(&app, &body).await?;
    if body.dry_run {
        return Ok(planned.view);
    }
    if let Some(demand) = planned.demand.as_ref().filter(|demand| body.confirm.as_ref() != Some(&demand.say))
    {
        return Err(unconfirmed(demand));
    }
    let mut begun = begin(&app, vec![(planned, body.id)], &caller.by()).await?;
    begun.pop().ok_or_else(|| ApiError::internal("no restore"))
}

/// What would be put back, and nothing stands against it but a word that somebody has to say.
pub(super) struct Planned {
    node: Node,
    work: RestoreWork,
    /// What it comes to; without a job.
    pub(super) view: RestoreView,
    /// What has to be said.
    pub(super) demand: Option<UndoDemand>,
}

/// Begins what was planned: all of it, or nothing. Where an id is given, the job gets that.
pub(super) async fn begin(
    app: &App,
    planned: Vec<(Planned, Option<BackupJobId>)>,
    by: &str,
) -> Result<Vec<RestoreView>, ApiError> {
    let mut views = Vec::with_capacity(planned.len());
    let mut wanted = Vec::with_capacity(planned.len());
    for (Planned { node, work, view, .. }, id) in planned {
        wanted.push(WantedRestore { id, node, work });
        views.push(view);
    }
    let jobs = app.engine.ask_restores(wanted, by).await?;
    app.backups.wake.notify_one();
    let jobs = job_views(&mut app.store.read(), jobs).await?;
    for (view, job) in views.iter_mut().zip(jobs) {
        view.job = Some(job);
    }
    Ok(views)
}

/// The refusal where older data could make a validator sign twice and nobody said that it cannot.
pub(super) fn unconfirmed(demand: &UndoDemand) -> ApiError {
    let hint = format!("`--confirm {}` says that no other copy of its keys runs", demand.say);
    ApiError::new(ErrorCode::BS9043, demand.why.clone()).with_hint(hint)
}

/// What a restore would come to.
///
/// # Errors
/// When nothing that is proven fits, or it cannot be put back there.
pub(super) async fn plan(app: &App, body: &RestoreRequest) -> Result<Planned, ApiError> {
    check_destination(&body.destination)?;
    let Meant { found, of, node, stack } = meant(app, body).await?;
    let snapshot = &found.kept.snapshot;
    let waits = body.destination == Destination::InPlace && waits(app, &node, &stack).await?;
    let steps = steps(body, (&of, &node), &stack, waits);
    let mut lost = lost(body, snapshot.at);
    let elsewhere = of.id != node.id;
    let tree = snapshot.tags.tree;
    if body.destination == Destination::InPlace {
        let named: Vec<String> = body.items.iter().chain(&body.paths).cloned().collect();
        let stuck = app.engine.not_in_place(node.id, &stack, &named).await?;
        if !stuck.is_empty() {
            let detail = format!("this cannot be put back in place: {}", stuck.join("; "));
            let hint = "name the other items (`--item`), or restore it into a folder (`--to`)";
            return Err(ApiError::invalid("items", detail).with_hint(hint));
        }
    }
    let demand = double_sign(app, body, &found, &node, &stack).await?;
    lost.extend(demand.as_ref().map(|demand| demand.why.clone()));
    let work = RestoreWork {
        snapshot: snapshot.id,
        stack: stack.clone(),
        of_node: elsewhere.then_some(of.id),
        items: body.items.clone(),
        paths: body.paths.clone(),
        destination: match &body.destination {
            Destination::InPlace if waits && !elsewhere => Destination::BeforeStart { deployment: None },
            destination => destination.clone(),
        },
    };
    if waits {
        app.engine.check_comes(&node, &stack).await?;
    }
    if elsewhere {
        app.engine.check_elsewhere(&of, &node, &work, tree).await?;
    }
    let mut views = snapshot_views(&mut app.store.read(), vec![found]).await?;
    let snapshot = views.pop().ok_or_else(|| ApiError::internal("a snapshot without a view"))?;
    let confirm = demand.as_ref().map(|demand| demand.say.clone());
    let of_node = elsewhere.then_some(of.name);
    let node_name = node.name.clone();
    let view = RestoreView { snapshot, node_name, of_node, stack, waits, steps, lost, confirm, job: None };
    Ok(Planned { node, work, view, demand })
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
    let named: Vec<String> = body.items.iter().chain(&body.paths).cloned().collect();
    let marked = app.engine.double_sign(stack, &trees, &named).await?;
    if marked.is_empty() {
        return Ok(None);
    }
    let names: Vec<_> = marked.iter().map(|item| format!("`{item}`")).collect();
    let (say, why) = (format!("{}/{stack}", node.name), double_sign_why(&names));
    Ok(Some(UndoDemand { demand: DemandKind::DoubleSign, say, why }))
}

/// Whether a node has yet to say that it runs a stack: to this hub just now, or to any before.
async fn waits(app: &App, node: &Node, stack: &StackName) -> Result<bool, ApiError> {
    let said = app.live.seen(node.id).observed.unwrap_or_default();
    let runs = said.iter().any(|one| one.stack == *stack && one.current.is_some());
    Ok(node.revoked_at.is_some() || (!runs && !app.engine.runs_stack(node.id, stack).await?))
}

/// What is meant.
struct Meant {
    found: FoundSnapshot,
    /// Whose data it is.
    of: Node,
    /// Where it is put back.
    node: Node,
    stack: StackName,
}

/// The snapshot, the nodes and the stack that are meant.
async fn meant(app: &App, body: &RestoreRequest) -> Result<Meant, ApiError> {
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
        let detail = "expected the node that the snapshot is of; `on` says where it is put back";
        return Err(ApiError::invalid("node", detail));
    }
    let of = match named {
        Some(node) => node,
        None => find::node(&mut store, &id.to_string()).await?,
    };
    let node = match &body.on {
        Some(text) => find::node(&mut store, text).await?,
        None => of.clone(),
    };
    // A lost one's data waits for the machine that joins under its name.
    let waits = node.id == of.id && body.destination == Destination::InPlace;
    if node.revoked_at.is_some() && !waits {
        let detail = format!("{} is no longer in the fleet: name one that is, to put it back on", node.name);
        return Err(ApiError::new(ErrorCode::BS4005, detail).with_hint(
            "`--on NODE` names another one; or let a machine join under its name, and put it back in place",
        ));
    }
    Ok(Meant { found, of, node, stack })
}

fn check_destination(destination: &Destination) -> Result<(), ApiError> {
    match destination {
        Destination::InPlace => Ok(()),
        Destination::WithDeployment { .. } => Err(ApiError::invalid(
            "destination",
            "data goes into place with a deployment by an undo alone: `backstay rollback … --with-data`",
        )),
        Destination::BeforeStart { .. } | Destination::Ahead => Err(ApiError::invalid(
            "destination",
            "expected `in_place`: where the stack does not run yet, its data is put there before it starts",
        )),
        Destination::Folder { path } if path.starts_with('/') && path.len() > 1 => Ok(()),
        Destination::Folder { .. } => {
            Err(ApiError::invalid("destination", "expected an absolute path of the node"))
        }
    }
}

fn steps(body: &RestoreRequest, (of, node): (&Node, &Node), stack: &StackName, waits: bool) -> Vec<String> {
    let what = match (body.items.as_slice(), body.paths.as_slice()) {
        ([], []) => "all of the snapshot".to_owned(),
        (items, paths) => items.iter().chain(paths).cloned().collect::<Vec<_>>().join(", "),
    };
    let mut steps = Vec::new();
    if of.id != node.id {
        steps.push(format!(
            "{} reads the backups of {} through the hub, for as long as this takes",
            node.name, of.name
        ));
    }
    match &body.destination {
        Destination::Folder { path } => {
            steps.push(format!("{what} is written into {path} on {}", node.name));
            return steps;
        }
        Destination::InPlace if node.revoked_at.is_some() => {
            steps.push(format!("it waits until a machine has joined as {}", node.name));
        }
        Destination::InPlace if waits => {
            steps.push(format!("it waits until {} is to run {stack}", node.name))
        }
        _ => {}
    }
    let put = if of.id == node.id { "where it came from" } else { "in the place of its own" };
    if waits && of.id == node.id {
        steps.extend([
            format!("{what} is put {put}, before {stack} starts there for the first time"),
            format!("{stack} is started and probed; without its data it is not started at all"),
        ]);
        return steps;
    }
    steps.extend([
        format!("{stack} on {} is stopped", node.name),
        "a safety snapshot of its data is made: the way back of this restore".to_owned(),
        format!("{what} is put {put}"),
        format!("{stack} is started and probed"),
    ]);
    steps
}

fn lost(body: &RestoreRequest, at: Timestamp) -> Vec<String> {
    match &body.destination {
        Destination::Folder { .. } => Vec::new(),
        _ => {
            vec![format!("what was written since {at} is replaced; the safety snapshot has it")]
        }
    }
}

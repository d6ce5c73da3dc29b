//! `POST /api/v1/backups/restores/everything`: the data of all stacks of many nodes put back, to one time.

use std::collections::HashMap;

use backstay_api::v1::{
    LeftOut, RestoreEverything, RestoreEverythingView, RestoreFrom, RestoreRequest, RestoreView,
};
use backstay_store::backups::snapshots;
use backstay_types::{
    BackupJobId, Digest, ErrorCode, Id as _, NodeId, NodeName, StackName, Timestamp, backup::Destination,
};
use uuid::Uuid;

use super::{
    restore::{self, Planned},
    start::fitting,
};
use crate::{
    app::App,
    http::{ApiError, Call},
};

/// Begins it, or says what it would be.
pub(crate) async fn start(call: Call<RestoreEverything>) -> Result<RestoreEverythingView, ApiError> {
    let Call { app, caller, body, .. } = call;
    let at = body.at.unwrap_or_else(|| app.world.now());
    let (mut planned, mut left_out) = (Vec::new(), Vec::new());
    for (node, name, stack) in stacks_of(&app, body.nodes.as_deref()).await? {
        match restore::plan(&app, &request(node, &stack, at)).await {
            Ok(one) => planned.push((node, one)),
            Err(error) => left_out.push(left(error, name, stack)?),
        }
    }
    if planned.is_empty() {
        return Err(nothing(&left_out, at));
    }
    if body.dry_run {
        let restores: Vec<RestoreView> = planned.into_iter().map(|(_, one)| one.view).collect();
        return Ok(RestoreEverythingView { at, restores, left_out });
    }
    let mut demands = planned.iter().filter_map(|(_, one)| one.demand.as_ref());
    if let Some(demand) = demands.find(|demand| !body.confirm.contains(&demand.say)) {
        return Err(restore::unconfirmed(demand));
    }
    let id = body.id.unwrap_or_else(|| app.world.mint());
    let with_ids = planned.into_iter().map(|(node, one)| (job_id(id, node, &one), one));
    let with_ids = with_ids.map(|(id, one)| (one, Some(id))).collect();
    let restores = restore::begin(&app, with_ids, &caller.by()).await?;
    Ok(RestoreEverythingView { at, restores, left_out })
}

/// Every stack of these nodes that there is a snapshot of, by node and stack.
async fn stacks_of(
    app: &App,
    selector: Option<&str>,
) -> Result<Vec<(NodeId, NodeName, StackName)>, ApiError> {
    let mut store = app.store.read();
    let nodes = fitting(&mut store, selector).await?;
    let names: HashMap<NodeId, NodeName> = nodes.into_iter().map(|node| (node.id, node.name)).collect();
    let ids: Vec<NodeId> = names.keys().copied().collect();
    let saved = snapshots::counts(&mut store, &ids).await?.into_keys();
    let mut stacks: Vec<_> =
        saved.filter_map(|(id, stack)| Some((id, names.get(&id)?.clone(), stack))).collect();
    stacks.sort_by(|a, b| (&a.1, &a.2).cmp(&(&b.1, &b.2)));
    Ok(stacks)
}

fn request(node: NodeId, stack: &StackName, at: Timestamp) -> RestoreRequest {
    RestoreRequest {
        id: None,
        node: Some(node.to_string()),
        stack: Some(stack.clone()),
        from: RestoreFrom::At(at),
        items: Vec::new(),
        paths: Vec::new(),
        on: None,
        destination: Destination::InPlace,
        confirm: None,
        dry_run: true,
    }
}

/// Nothing proven, taken away there, not to be put back in place: the others go back all the same. A hub that cannot
/// read is another matter.
fn left(error: ApiError, node_name: NodeName, stack: StackName) -> Result<LeftOut, ApiError> {
    let problem = error.problem();
    match problem.code {
        code @ (ErrorCode::BS9017 | ErrorCode::BS9053 | ErrorCode::BS4007) => {
            Ok(LeftOut { node_name, stack, code, why: problem.detail.clone() })
        }
        _ => Err(error),
    }
}

fn nothing(left_out: &[LeftOut], at: Timestamp) -> ApiError {
    let Some(first) = left_out.first() else {
        let detail = "there is no snapshot of any stack of these nodes";
        return ApiError::new(ErrorCode::BS9017, detail).with_hint("`backstay backup list` shows all");
    };
    let detail = format!(
        "of {} stacks with snapshots none can be put back as of {at}; the first, {} of {}: {}",
        left_out.len(),
        first.stack,
        first.node_name,
        first.why
    );
    ApiError::new(first.code, detail)
}

/// The id of one of the jobs: the same whenever the same is asked for again, and as old as what was asked with.
fn job_id(asked: BackupJobId, node: NodeId, planned: &Planned) -> BackupJobId {
    let told = format!("{asked} {node} {}", planned.view.stack);
    let digest = Digest::of(told.as_bytes());
    let mut bytes = *asked.uuid().as_bytes();
    // Time and version stay (RFC 9562, section 5.7), and so do the two bits of the variant.
    for (at, (byte, of)) in bytes.iter_mut().zip(digest.as_bytes()).enumerate().skip(8) {
        *byte = if at == 8 { 0x80 | (of & 0x3f) } else { *of };
    }
    BackupJobId::from_uuid(Uuid::from_bytes(bytes))
}

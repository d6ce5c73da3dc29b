//! `GET /api/v1/drift`

use backstay_api::v1::{DriftView, ListDrift, Page};
use backstay_types::DriftState;

use crate::http::{ApiError, Call, find, paging};

/// No more are listed.
const MOST: usize = 1000;

/// What departs from what should be, what needs a person first. From memory: nodes said it.
pub(crate) async fn list_drift(call: Call<ListDrift>) -> Result<Page<DriftView>, ApiError> {
    let Call { app, query, .. } = call;
    let mut store = app.store.read();
    let one = find::node_id(&mut store, query.node.as_deref()).await?;
    let nodes = app.roster.nodes(&mut store).await?;
    let mut found = app.live.look(app.world.now(), |look| {
        let mut found = Vec::new();
        let wanted =
            |node: &&backstay_types::Node| node.revoked_at.is_none() && one.is_none_or(|one| one == node.id);
        for node in nodes.iter().filter(wanted) {
            for stack in look.seen(node.id).and_then(|seen| seen.observed.as_deref()).unwrap_or_default() {
                found.extend(stack.drift.iter().map(|drift| DriftView {
                    node: node.id,
                    name: node.name.clone(),
                    stack: stack.stack.clone(),
                    drift: drift.clone(),
                }));
            }
        }
        found
    });
    found.sort_by_key(|view| (rank(view.drift.state), view.drift.since));
    found.truncate(MOST);
    Ok(paging::whole(found))
}

fn rank(state: DriftState) -> u8 {
    match state {
        DriftState::Escalated => 0,
        DriftState::Healing => 1,
        DriftState::Left => 2,
    }
}

//! `GET /api/v1/constraints`

use backstay_api::v1::{ListConstraints, Page};
use backstay_manifest::Selector;
use backstay_store::constraints;
use backstay_types::{Constraint, Effect, Node, Scope};

use crate::http::{ApiError, Call, find, paging};

/// The most that are listed; those in force are always all there.
const MOST: u32 = 1000;

/// Those in force or still to begin, oldest first; or all, newest first.
pub(crate) async fn list_constraints(call: Call<ListConstraints>) -> Result<Page<Constraint>, ApiError> {
    let mut store = call.app.store.read();
    let mut found = if call.query.all.unwrap_or_default() {
        constraints::list(&mut store, None, MOST).await?
    } else {
        constraints::set_at(&mut store, call.app.world.now()).await?
    };
    if let Some(node) = &call.query.node {
        let node = find::node(&mut store, node).await?;
        found.retain(|constraint| limits(constraint, &node));
    }
    Ok(paging::whole(found))
}

/// Whether it keeps a node from something: it reaches the node, and is not about a release as such.
fn limits(constraint: &Constraint, node: &Node) -> bool {
    let of_release = matches!(constraint.effect, Effect::Hold { .. } | Effect::Ban { .. });
    let reached = match &constraint.scope {
        // Who is in an environment its repository says: it may reach the node.
        Scope::Fleet | Scope::Environment { .. } => true,
        Scope::Nodes { selector } => {
            selector.parse::<Selector>().is_ok_and(|selector| selector.matches(&node.name, &node.labels))
        }
    };
    !of_release && reached
}

//! `POST /api/v1/nodes/{node}/labels` and `POST /api/v1/node-labels`

use backstay_api::v1::{LabelNode, LabelNodes, LabelledNode, LabelsRequest, Page};
use backstay_engine::{Labelled, NewLabels};
use backstay_types::Labels;

use crate::{
    app::App,
    http::{ApiError, Call, find, paging, reason},
};

/// Changes a node's labels.
pub(crate) async fn label_node(call: Call<LabelNode>) -> Result<LabelledNode, ApiError> {
    let Call { app, caller, path, body, .. } = call;
    let node = find::node(&mut app.store.read(), &path.node).await?;
    let labelled = label(&app, &Labelled::One(node.id), body, &caller.by()).await?;
    labelled.into_iter().next().ok_or_else(|| ApiError::internal("a node without labels"))
}

/// Changes the labels of all that a selector matches.
pub(crate) async fn label_nodes(call: Call<LabelNodes>) -> Result<Page<LabelledNode>, ApiError> {
    let Call { app, caller, body, .. } = call;
    let selector = body.nodes.parse().map_err(|e| ApiError::invalid("nodes", e))?;
    let whom = Labelled::Matching(selector);
    Ok(paging::whole(label(&app, &whom, body.labels, &caller.by()).await?))
}

async fn label(
    app: &App,
    whom: &Labelled,
    asked: LabelsRequest,
    by: &str,
) -> Result<Vec<LabelledNode>, ApiError> {
    let why = asked.reason.as_deref().map(reason).transpose()?;
    let mut set = Labels::default();
    for (key, value) in &asked.set {
        set.insert(key, value).map_err(|e| ApiError::invalid("set", e))?;
    }
    let labels = NewLabels { set, remove: asked.remove.into_iter().collect() };
    let labelled = app.engine.label(whom, &labels, (why, by), asked.dry_run).await?;
    app.roster.forget_nodes();
    Ok(labelled)
}

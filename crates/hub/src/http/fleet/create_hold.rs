//! `POST /api/v1/holds`

use backstay_api::v1::{CreateHold, Page};
use backstay_types::Constraint;

use crate::http::{ApiError, Call, paging, reason};

/// Holds a change, or everything a conversation changed.
pub(crate) async fn create_hold(call: Call<CreateHold>) -> Result<Page<Constraint>, ApiError> {
    let Call { app, caller, body, .. } = call;
    let reason = reason(&body.reason)?;
    if body.until.is_some_and(|until| until <= app.world.now()) {
        return Err(ApiError::invalid("until", "it has passed already"));
    }
    let (engine, by) = (&app.engine, caller.by());
    let held = match (body.commit, body.conversation) {
        (Some(prefix), None) => {
            let (repository, commit) = engine.find_commit(&prefix).await?;
            vec![engine.hold_commit(repository, commit, reason, body.until, &by).await?]
        }
        (None, Some(conversation)) => engine.hold_conversation(conversation, reason, body.until, &by).await?,
        _ => return Err(ApiError::invalid("commit, conversation", "expected exactly one of them")),
    };
    Ok(paging::whole(held))
}

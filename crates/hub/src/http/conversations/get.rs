//! `GET /api/v1/conversations/{conversation}`

use backstay_api::v1::{ConversationDetail, GetConversation};
use backstay_store::{deployments, links, tool_events, undos};

use super::view::views;
use crate::http::{ApiError, Call, find};

/// How many events and deployments are shown.
const MOST: u32 = 1000;

/// One conversation: what it said, what it changed, where that went.
pub(crate) async fn get(call: Call<GetConversation>) -> Result<ConversationDetail, ApiError> {
    let mut store = call.app.store.read();
    let conversation = find::conversation(&mut store, &call.path.conversation).await?;
    let id = conversation.id;
    let commits = links::changes_of(&mut store, id).await?.into_iter().map(|known| known.change).collect();
    let events = tool_events::of_conversation(&mut store, id, MOST).await?;
    let filter = deployments::Filter { conversation: Some(id), ..Default::default() };
    let mut deployed = deployments::list(&mut store, &filter, None, MOST).await?;
    deployed.reverse();
    let undos = undos::of_conversation(&mut store, id).await?;
    let view = views(&mut store, vec![conversation]).await?.pop();
    let view = view.ok_or_else(|| ApiError::missing("conversation", id))?;
    Ok(ConversationDetail { view, commits, events, deployed, undos })
}

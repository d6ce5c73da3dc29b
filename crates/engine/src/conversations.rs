//! What tools report about conversations.

use backstay_store::{conversations, tool_events};
use backstay_types::{
    Conversation, ConversationId, DeliveryId, Event, ForeignId, Refs, Timestamp, ToolEvent, ToolEventKind,
};

use crate::{Engine, EngineError, provenance};

/// Something that a delivery said, after its adapter.
#[derive(Debug, Clone)]
pub struct Observation {
    /// Ids of the conversation, the deciding one first; empty when it is about none.
    pub ids: Vec<ForeignId>,
    /// What was said.
    pub what: Observed,
}

/// What a delivery can say.
#[derive(Debug, Clone)]
pub enum Observed {
    /// Something happened in the conversation.
    Event {
        /// What.
        kind: ToolEventKind,
        /// When, by the tool's clock or on arrival.
        at: Timestamp,
        /// One line, secrets taken out.
        summary: String,
        /// Commits that it names, whole or shortened.
        commits: Vec<String>,
    },
    /// A repository was pushed to.
    Push(Push),
}

/// A push to a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// Addresses under which the repository is known.
    pub urls: Vec<String>,
    /// The branch, when one was pushed.
    pub branch: Option<String>,
}

impl Engine {
    /// Takes what a stored delivery said. Events are kept under their conversation, minted at first sight.
    /// Gives the conversations that it was about.
    ///
    /// # Errors
    /// When the store refuses; nothing of the delivery was taken then.
    pub async fn observe(
        &self,
        tx: &mut backstay_store::Tx,
        delivery: DeliveryId,
        observed: &[Observation],
    ) -> Result<Vec<ConversationId>, EngineError> {
        let mut events = Vec::new();
        let mut ended = Vec::new();
        for observation in observed {
            let Observed::Event { kind, at, summary, commits } = &observation.what else { continue };
            let conversation = match observation.ids.first() {
                None => None,
                Some(first) => Some(self.resolve_in(tx, &first.tool, &observation.ids, *at).await?),
            };
            events.push(ToolEvent {
                id: self.inner.world.mint(),
                conversation,
                delivery,
                at: *at,
                kind: *kind,
                summary: summary.clone(),
                commits: commits.clone(),
            });
            let Some(id) = conversation else { continue };
            provenance::link_named(tx, id, commits).await?;
            match kind {
                ToolEventKind::SessionEnded => ended.push((id, *at, summary.clone())),
                _ => drop(conversations::reopen(tx, id).await?),
            }
        }
        tool_events::insert(tx, &events).await?;
        for (id, at, reason) in ended {
            close(tx, id, at, reason).await?;
        }
        Ok(events.iter().filter_map(|event| event.conversation).collect())
    }

    /// The conversation behind a tool's own id, minted at first sight.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn resolve_conversation(&self, id: &ForeignId) -> Result<Conversation, EngineError> {
        let mut tx = self.inner.store.begin().await?;
        let now = self.inner.world.now();
        let found = self.resolve_in(&mut tx, &id.tool, std::slice::from_ref(id), now).await?;
        let conversation = conversations::get(&mut tx, found).await?;
        tx.commit().await?;
        conversation.ok_or_else(|| EngineError::not_found("conversation", found))
    }

    async fn resolve_in(
        &self,
        tx: &mut backstay_store::Tx,
        tool: &str,
        ids: &[ForeignId],
        at: Timestamp,
    ) -> Result<ConversationId, EngineError> {
        let resolved = conversations::resolve(tx, tool, ids, at).await?;
        if resolved.minted {
            provenance::opened(tx, resolved.id, tool)?;
        }
        Ok(resolved.id)
    }
}

/// A session end closes the conversation until it is heard of again: one session key outlives many sessions.
async fn close(
    tx: &mut backstay_store::Tx,
    id: ConversationId,
    at: Timestamp,
    reason: String,
) -> Result<(), EngineError> {
    if conversations::end(tx, id, at).await? {
        let (tool_events, digest) = tool_events::digest(tx, id).await?;
        let refs = Refs { conversation: Some(id), ..Refs::default() };
        tx.record(Event::ConversationClosed { reason, tool_events, digest }, refs)?;
    }
    Ok(())
}

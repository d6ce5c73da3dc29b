//! Leading a node out of safe mode: an operator's word, which reaches the node in its next signed statement.

use backstay_store::safe_mode;
use backstay_types::{Event, LeaveSafeMode, NodeId, Refs};

use crate::{Engine, EngineError};

impl Engine {
    /// Tells a node that it may leave safe mode. It is durable before this returns, and means no other time in safe
    /// mode than the one that it names. Said twice, it is done once.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn leave_safe_mode(&self, node: NodeId, word: LeaveSafeMode) -> Result<(), EngineError> {
        let mut tx = self.inner.store.begin().await?;
        let known = safe_mode::leaves(&mut tx).await?;
        if known.get(&node).is_some_and(|known| known.word.safe_mode == word.safe_mode) {
            return Ok(());
        }
        safe_mode::set_leave(&mut tx, node, &word, self.inner.world.now()).await?;
        let event = Event::SafeModeLeaveAsked { reason: word.reason, by: word.by };
        tx.record(event, Refs { node: Some(node), ..Refs::default() })?;
        tx.commit().await?;
        self.changed_by_hand();
        Ok(())
    }
}

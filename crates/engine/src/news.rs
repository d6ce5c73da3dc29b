//! What a check-in brings: a node's statement, when it is another than the one that its agent has.

use backstay_api::{agent::Have, statement::SignedStatement};
use backstay_store::{
    StoreError,
    desired::{self, Version},
};
use backstay_types::NodeId;

use crate::{Engine, EngineError};

impl Engine {
    /// The node's statement, when it is another than the one that the agent has, or the same signed again later. What an
    /// agent has that this hub never signed is answered with what it did sign.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn news(
        &self,
        node: NodeId,
        have: Option<&Have>,
    ) -> Result<Option<SignedStatement>, EngineError> {
        // Nearly every check-in is answered with nothing: then the database does not even hand over the statement.
        let known = have.map(|have| Version {
            node,
            epoch: have.epoch,
            generation: have.generation,
            digest: have.digest,
            updated_at: have.issued_at,
        });
        let newer = desired::newer(&mut self.inner.store.read(), node, known.as_ref()).await?;
        Ok(newer.map(|text| serde_json::from_str(&text)).transpose().map_err(StoreError::from)?)
    }
}

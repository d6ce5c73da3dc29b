//! What a check-in brings: a node's statement, when it is another than the one that its agent has.

use backstay_api::{
    agent::Have,
    statement::{SignedStatement, Statement},
};
use backstay_store::{
    StoreError,
    desired::{self, Desired},
};
use backstay_types::{NodeId, Timestamp};
use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::{Engine, EngineError};

impl Engine {
    /// The node's statement, when it is another than the one that the agent has, or the same signed again later.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn news(
        &self,
        node: NodeId,
        have: Option<&Have>,
    ) -> Result<Option<SignedStatement>, EngineError> {
        let Some(desired) = desired::get(&mut self.inner.store.read(), node).await? else { return Ok(None) };
        let signed: SignedStatement = serde_json::from_str(&desired.statement).map_err(StoreError::from)?;
        let is_news = have.is_none_or(|have| is_news(&desired, issued_at(&signed), have));
        Ok(is_news.then_some(signed))
    }
}

/// Whether the agent should get it: another statement, or the same one renewed.
fn is_news(desired: &Desired, issued_at: Option<Timestamp>, have: &Have) -> bool {
    let same =
        desired.epoch == have.epoch && desired.generation == have.generation && desired.digest == have.digest;
    !same || issued_at.is_some_and(|issued_at| issued_at > have.issued_at)
}

/// When a statement of our own was signed.
fn issued_at(signed: &SignedStatement) -> Option<Timestamp> {
    let payload = BASE64_STANDARD.decode(&signed.payload).ok()?;
    let statement: Statement = serde_json::from_slice(&payload).ok()?;
    Some(statement.issued_at)
}

#[cfg(test)]
mod tests {
    use backstay_types::{Digest, Id as _};

    use super::*;

    #[test]
    fn another_statement_or_a_renewed_one_is_news() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let desired = Desired {
            node: NodeId::from_uuid(uuid::Uuid::from_u128(1)),
            epoch: 1,
            generation: 5,
            digest: Digest::of(b"a"),
            statement: String::new(),
            updated_at: at(100),
        };
        let have = Have { epoch: 1, generation: 5, digest: Digest::of(b"a"), issued_at: at(100) };
        assert!(!is_news(&desired, Some(at(100)), &have));
        assert!(is_news(&desired, Some(at(101)), &have));
        assert!(!is_news(&desired, Some(at(99)), &have));
        assert!(is_news(&desired, Some(at(100)), &Have { generation: 4, ..have }));
        assert!(is_news(&desired, Some(at(100)), &Have { epoch: 0, ..have }));
        // What an agent holds that this hub never signed is answered with what it did sign.
        assert!(is_news(&desired, Some(at(100)), &Have { generation: 6, ..have }));
        assert!(is_news(&desired, Some(at(100)), &Have { digest: Digest::of(b"b"), ..have }));
    }
}

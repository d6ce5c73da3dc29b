//! The hub's signed time: what bounds a wrong clock before any expiry is judged by it.

use backstay_types::{NodeId, Timestamp};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Goes before the payload when signing, so that a signature fits nothing else.
const CONTEXT: &[u8] = b"backstay-time-1\0";
/// The longest nonce that a hub signs, in bytes.
pub const LONGEST_NONCE: usize = 64;

/// The time by the hub's clock, for one node, in answer to one question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HubTime {
    /// The node that asked.
    pub node: NodeId,
    /// What it asked with.
    pub nonce: String,
    /// The time.
    pub now: Timestamp,
}

/// A [`HubTime`] on the wire: the exact bytes that were signed, and the signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SignedTime {
    /// The time's JSON, base64.
    pub payload: String,
    /// Ed25519 signature over a context string and the payload's bytes, base64.
    pub signature: String,
}

impl HubTime {
    /// Signs it.
    pub fn sign(&self, key: &SigningKey) -> SignedTime {
        let payload = serde_json::to_vec(self).unwrap_or_default();
        let signature = key.sign(&[CONTEXT, &payload].concat());
        SignedTime {
            payload: BASE64_STANDARD.encode(payload),
            signature: BASE64_STANDARD.encode(signature.to_bytes()),
        }
    }
}

impl SignedTime {
    /// The time, when it is signed by `key` and answers this very question; otherwise nothing.
    pub fn open(&self, key: &VerifyingKey, node: NodeId, nonce: &str) -> Option<Timestamp> {
        let payload = BASE64_STANDARD.decode(&self.payload).ok()?;
        let signature = BASE64_STANDARD.decode(&self.signature).ok()?;
        let signature = Signature::from_slice(&signature).ok()?;
        key.verify_strict(&[CONTEXT, &payload].concat(), &signature).ok()?;
        let time: HubTime = serde_json::from_slice(&payload).ok()?;
        (time.node == node && time.nonce == nonce).then_some(time.now)
    }
}

#[cfg(test)]
mod tests {
    use backstay_types::Id as _;

    use super::*;

    #[test]
    fn only_the_answer_to_this_question_counts() {
        let node = |n| NodeId::from_uuid(uuid::Uuid::from_u128(n));
        let key = SigningKey::from_bytes(&[7; 32]);
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let signed = HubTime { node: node(1), nonce: "abc".to_owned(), now }.sign(&key);
        let public = key.verifying_key();
        assert_eq!(signed.open(&public, node(1), "abc"), Some(now));
        assert_eq!(signed.open(&public, node(1), "other"), None, "an answer from before");
        assert_eq!(signed.open(&public, node(2), "abc"), None, "another node's");
        let other = SigningKey::from_bytes(&[8; 32]).verifying_key();
        assert_eq!(signed.open(&other, node(1), "abc"), None, "another hub's");
    }
}

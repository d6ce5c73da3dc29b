//! An offline bundle: a node's statement with all that it asks for, in one file.
//!
//! `backstay-bundle-1\n`, the length of the head as 4 bytes (big endian), the head as JSON ([`SignedHead`]), then the
//! parts in the order that the head names them, nothing between or after. Head and statement are signed by the hub; each
//! part is known by length and SHA-256.

use std::io::{self, Read};

use backstay_types::{Digest, NodeId, Timestamp, TreeDigest};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::statement::{SignedStatement, StatementError};

/// What a bundle begins with.
pub const MAGIC: &[u8] = b"backstay-bundle-1\n";
/// No head is longer.
const LONGEST_HEAD: u32 = 16 << 20;
/// Goes before the head when signing, so that a signature fits nothing else.
const CONTEXT: &[u8] = b"backstay-bundle-1\0";

/// What a bundle holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Head {
    /// The node that it is for.
    pub node: NodeId,
    /// When it was made.
    pub made_at: Timestamp,
    /// What the node should run.
    pub statement: SignedStatement,
    /// What follows, in this order.
    pub parts: Vec<Part>,
}

/// A part of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Part {
    /// What it is.
    #[serde(flatten)]
    pub content: PartContent,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
}

/// What a part is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "part", rename_all = "snake_case")]
pub enum PartContent {
    /// A release's files, as `/agent/v1/trees/<tree>.pack` gives them.
    Pack {
        /// The release's tree.
        tree: TreeDigest,
    },
    /// An image, as `docker save` writes it.
    Image {
        /// Its name.
        name: String,
    },
}

/// A head on the wire: the exact bytes that were signed, and the signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedHead {
    /// The head's JSON, base64.
    pub payload: String,
    /// Ed25519 signature over a context string and the payload's bytes, base64.
    pub signature: String,
}

/// Why a bundle is refused.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It cannot be read.
    #[error("the bundle cannot be read")]
    Io(#[from] io::Error),
    /// It is no bundle, or is cut short or changed.
    #[error("the bundle is damaged: {0}")]
    Damaged(String),
    /// It is not by the hub that the node joined.
    #[error("the bundle is not signed by the hub that this node joined")]
    Signature,
    /// What it says is not signed, or cannot be understood.
    #[error("the bundle's statement is refused: {0}")]
    Statement(#[from] StatementError),
}

impl Head {
    /// All that comes before the parts.
    pub fn write(&self, key: &SigningKey) -> Vec<u8> {
        let payload = serde_json::to_vec(self).unwrap_or_default();
        let signature = key.sign(&[CONTEXT, &payload].concat());
        let signed = SignedHead {
            payload: BASE64_STANDARD.encode(payload),
            signature: BASE64_STANDARD.encode(signature.to_bytes()),
        };
        let text = serde_json::to_vec(&signed).unwrap_or_default();
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes();
        [MAGIC, &length, &text].concat()
    }

    /// Reads and verifies a head; what follows in `from` are the parts.
    ///
    /// # Errors
    /// When it is no bundle, or not by `key`.
    pub fn read(from: &mut impl Read, key: &VerifyingKey) -> Result<Self, BundleError> {
        let short = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => BundleError::Damaged("it is cut short".to_owned()),
            _ => BundleError::Io(error),
        };
        let mut magic = [0; MAGIC.len()];
        from.read_exact(&mut magic).map_err(short)?;
        if magic != MAGIC {
            return Err(BundleError::Damaged("it is no bundle of a version that is known here".to_owned()));
        }
        let mut length = [0; 4];
        from.read_exact(&mut length).map_err(short)?;
        let length = u32::from_be_bytes(length);
        if length > LONGEST_HEAD {
            return Err(BundleError::Damaged("its head is too long".to_owned()));
        }
        let mut text = vec![0; length as usize];
        from.read_exact(&mut text).map_err(short)?;
        let damaged = |error: serde_json::Error| BundleError::Damaged(error.to_string());
        let signed: SignedHead = serde_json::from_slice(&text).map_err(damaged)?;
        let payload = BASE64_STANDARD.decode(&signed.payload).map_err(|_| BundleError::Signature)?;
        let signature = BASE64_STANDARD.decode(&signed.signature).map_err(|_| BundleError::Signature)?;
        let signature = Signature::from_slice(&signature).map_err(|_| BundleError::Signature)?;
        let whole = [CONTEXT, &payload].concat();
        key.verify_strict(&whole, &signature).map_err(|_| BundleError::Signature)?;
        serde_json::from_slice(&payload).map_err(damaged)
    }
}

#[cfg(test)]
mod tests {
    use backstay_types::Id as _;

    use super::*;

    fn head() -> Head {
        Head {
            node: NodeId::from_uuid(uuid::Uuid::from_u128(1)),
            made_at: Timestamp::UNIX_EPOCH,
            statement: SignedStatement { payload: "a".into(), signature: "b".into() },
            parts: vec![Part {
                content: PartContent::Pack { tree: Digest::of(b"t") },
                bytes: 3,
                sha256: Digest::of(b"abc"),
            }],
        }
    }

    #[test]
    fn reads_what_was_written_and_nothing_else() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let written = [head().write(&key), b"abc".to_vec()].concat();
        let mut from = &written[..];
        assert_eq!(Head::read(&mut from, &key.verifying_key()).unwrap(), head());
        assert_eq!(from, b"abc");
        let other = SigningKey::from_bytes(&[8; 32]).verifying_key();
        assert!(matches!(Head::read(&mut &written[..], &other), Err(BundleError::Signature)));
        for len in 0..written.len() - 3 {
            let cut = Head::read(&mut &written[..len], &key.verifying_key());
            assert!(matches!(cut, Err(BundleError::Damaged(_))), "cut at {len}: {cut:?}");
        }
        for at in 0..written.len() - 3 {
            let mut changed = written.clone();
            changed[at] ^= 1;
            let read = Head::read(&mut &changed[..], &key.verifying_key());
            assert!(read.is_err(), "changed at {at}");
        }
    }
}

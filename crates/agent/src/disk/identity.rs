//! Who this machine is to which hub. Kept apart from the journal, which may be lost.

use std::{fs, io};

use backstay_types::{Digest, NodeId, NodeName, Secret};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};

use super::{Layout, files::write_atomic};
use crate::AgentError;

/// A node's identity.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Identity {
    /// The hub's address.
    pub hub: String,
    /// The node's id there.
    pub node: NodeId,
    /// Its name there.
    pub name: NodeName,
    /// What it shows the hub.
    pub credential: Secret,
    /// The hub's public key, base64: what signs statements.
    pub hub_key: String,
}

impl Identity {
    fn path(layout: &Layout) -> std::path::PathBuf {
        layout.data().join("identity.json")
    }

    /// The identity, when the machine has joined.
    ///
    /// # Errors
    /// When it has not, or the file is not readable or not ours.
    pub(crate) fn load(layout: &Layout) -> Result<Self, AgentError> {
        let path = Self::path(layout);
        let bytes = fs::read(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => AgentError::NotJoined(path.clone()),
            _ => AgentError::Io { path: path.clone(), source },
        })?;
        serde_json::from_slice(&bytes)
            .map_err(|error| AgentError::Malformed { path, reason: format!("not an identity: {error}") })
    }

    /// Keeps it, for the agent's user alone.
    pub(crate) fn save(&self, layout: &Layout) -> Result<(), AgentError> {
        let path = Self::path(layout);
        let bytes = serde_json::to_vec_pretty(self).map_err(|e| AgentError::Other(e.to_string()))?;
        write_atomic(&path, &bytes, 0o600).map_err(AgentError::io(path))
    }

    /// The hub's key.
    pub(crate) fn verifying_key(&self) -> Result<VerifyingKey, AgentError> {
        parse_key(&self.hub_key)
    }
}

/// A public key from its base64.
pub(crate) fn parse_key(text: &str) -> Result<VerifyingKey, AgentError> {
    let wrong = || AgentError::Other("the hub's key is not an Ed25519 key in base64".to_owned());
    let bytes = BASE64_STANDARD.decode(text.trim()).map_err(|_| wrong())?;
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| wrong())?;
    VerifyingKey::from_bytes(&bytes).map_err(|_| wrong())
}

/// The parts of a join token that this side needs.
pub(crate) fn token_fingerprint(token: &Secret) -> Result<Digest, AgentError> {
    let mut parts = token.expose().trim().split('.');
    let (Some("bsj"), Some(_), Some(_), Some(fingerprint), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(AgentError::Token);
    };
    fingerprint.parse().map_err(|_| AgentError::Token)
}

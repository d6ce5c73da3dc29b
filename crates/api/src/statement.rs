//! Desired-state statements: what a node should run, signed by the hub.

use backstay_types::{
    AgentBuild, AgentUpdateId, CommitId, ConversationId, DeploymentId, Digest, LeaveSafeMode, LedgerHead,
    NodeId, PartName, ReleaseId, RolloutId, RolloutKind, StackName, Timestamp, TreeDigest,
    backup::SnapshotId,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The statement format that this build writes and reads.
pub const STATEMENT_VERSION: u32 = 1;
/// Goes before the payload when signing, so that a signature fits nothing else.
const CONTEXT: &[u8] = b"backstay-statement-1\0";

/// What one node should run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Statement {
    /// Format version, [`STATEMENT_VERSION`].
    pub version: u32,
    /// The node it is for.
    pub node: NodeId,
    /// Raised when a hub is restored from backup.
    pub epoch: u64,
    /// Raised by one whenever `digest` changes.
    pub generation: u64,
    /// [`Statement::digest_of`] the stacks.
    pub digest: Digest,
    /// When it was signed. Later ones with the same generation only renew it.
    pub issued_at: Timestamp,
    /// After this it means "change nothing", never "stop".
    pub expires_at: Timestamp,
    /// The newest ledger entry when it was signed: agents are witnesses.
    pub ledger: LedgerHead,
    /// The stacks. One that is absent is left as it is.
    pub stacks: Vec<DesiredStack>,
    /// An operator's word that the node may leave safe mode. Not part of the digest: it asks for no other stacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leave_safe_mode: Option<LeaveSafeMode>,
    /// The agent that the node should run; none leaves it as it is. Not part of `digest`, so that agents that do not
    /// know of it take the statement: it comes with a renewal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<DesiredAgent>,
}

/// The agent that a node should run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DesiredAgent {
    /// The update that it is part of.
    pub update: AgentUpdateId,
    /// The version.
    pub version: String,
    /// Its programs, one for each kind of processor.
    pub builds: Vec<AgentBuild>,
}

/// What a node should do with a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DesiredStack {
    /// The stack.
    pub stack: StackName,
    /// Run it, or take it away; only ever said in so many words.
    pub action: DesiredAction,
    /// The release.
    pub release: ReleaseId,
    /// Its tree.
    pub tree: TreeDigest,
    /// The size of its files in bytes, for the check of free space.
    pub bytes: u64,
    /// The attempt that this is.
    pub deployment: DeploymentId,
    /// The rollout that it is part of.
    pub rollout: RolloutId,
    /// Forward or back. The way back skips what was already checked.
    pub kind: RolloutKind,
    /// Conversations that caused it, in order of their commits.
    pub conversations: Vec<ConversationId>,
    /// A commit that carries the tree, for fetching from Git when the hub is away.
    pub commit: CommitId,
    /// The stack's folder in that commit; empty for the root.
    pub path: String,
    /// Upstream Git endpoints, in order of preference.
    pub endpoints: Vec<String>,
    /// The manifest schema that the release needs.
    pub manifest_schema: u32,
    /// Of which commits its tree is put together, where no commit of the branch may carry it: of each its part. Not part
    /// of the statement's digest, so that agents that do not know of it take the statement.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<PartSource>,
    /// The snapshot whose data goes into place together with the release: both come to stay, or neither. Part of the
    /// digest, so that no agent that does not know of it runs the release on other data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<SnapshotId>,
    /// Where it is taken away: its data is saved once more first, once what writes is stopped. Part of the digest, so that no
    /// agent that does not know of it takes the stack away without that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub save: bool,
}

/// Where the files of a part are from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PartSource {
    /// The part; that of what no part names holds the manifest that says which files are whose.
    pub part: PartName,
    /// A commit that carries it.
    pub commit: CommitId,
}

/// What to do with a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DesiredAction {
    /// Run the release.
    Run,
    /// Stop it and remove its containers, never its data.
    Remove,
}

/// A statement on the wire: the exact bytes that were signed, and the signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SignedStatement {
    /// The statement's JSON, base64.
    pub payload: String,
    /// Ed25519 signature over a context string and the payload's bytes, base64.
    pub signature: String,
}

/// Why a statement is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Not signed by the pinned key.
    #[error("the statement is not signed by the hub that this node joined")]
    Signature,
    /// Signed, but not readable.
    #[error("the statement cannot be read: {0}")]
    Malformed(String),
    /// A format of the future.
    #[error("the statement has version {0}; this agent knows {STATEMENT_VERSION}")]
    Version(u32),
    /// The digest does not belong to the stacks.
    #[error("the statement's digest does not match its stacks")]
    Digest,
}

impl Statement {
    /// The digest of what a statement asks for: over the stacks alone, so that renewing it changes nothing.
    pub fn digest_of(stacks: &[DesiredStack]) -> Digest {
        let plain = |stack: &DesiredStack| DesiredStack { sources: Vec::new(), ..stack.clone() };
        let stacks: Vec<_> = stacks.iter().map(plain).collect();
        Digest::of(&serde_json::to_vec(&stacks).unwrap_or_default())
    }

    /// Signs it.
    pub fn sign(&self, key: &SigningKey) -> SignedStatement {
        let payload = serde_json::to_vec(self).unwrap_or_default();
        let signature = key.sign(&[CONTEXT, &payload].concat());
        SignedStatement {
            payload: BASE64_STANDARD.encode(payload),
            signature: BASE64_STANDARD.encode(signature.to_bytes()),
        }
    }
}

impl SignedStatement {
    /// Verifies, and only then parses.
    ///
    /// # Errors
    /// When the signature is not by `key`, or what was signed is not a statement that this build knows.
    pub fn open(&self, key: &VerifyingKey) -> Result<Statement, StatementError> {
        let payload = BASE64_STANDARD.decode(&self.payload).map_err(|_| StatementError::Signature)?;
        let signature = BASE64_STANDARD.decode(&self.signature).map_err(|_| StatementError::Signature)?;
        let signature = Signature::from_slice(&signature).map_err(|_| StatementError::Signature)?;
        key.verify_strict(&[CONTEXT, &payload].concat(), &signature)
            .map_err(|_| StatementError::Signature)?;
        let malformed = |e: serde_json::Error| StatementError::Malformed(e.to_string());
        let version: serde_json::Value = serde_json::from_slice(&payload).map_err(malformed)?;
        let version = version["version"].as_u64().and_then(|v| u32::try_from(v).ok()).unwrap_or(0);
        if version != STATEMENT_VERSION {
            return Err(StatementError::Version(version));
        }
        let statement: Statement = serde_json::from_slice(&payload).map_err(malformed)?;
        if Statement::digest_of(&statement.stacks) != statement.digest {
            return Err(StatementError::Digest);
        }
        Ok(statement)
    }
}

/// The Git ref that a node's statement is published on, and its path in the ref's tree: one of 256 refs, by the last
/// byte of its id.
pub fn statement_place(node: NodeId) -> (String, String) {
    let id = node.to_string();
    let shard = id.get(id.len().saturating_sub(2)..).unwrap_or_default();
    (format!("refs/backstay/desired/{shard}"), format!("{id}.json"))
}

/// The name of a hub's public key: SHA-256 of its 32 bytes. Join tokens pin it.
pub fn key_fingerprint(key: &VerifyingKey) -> Digest {
    Digest::of(key.as_bytes())
}

#[cfg(test)]
mod tests {
    use backstay_types::Id as _;

    use super::*;

    fn statement() -> Statement {
        Statement {
            version: STATEMENT_VERSION,
            node: NodeId::from_uuid(uuid::Uuid::from_u128(1)),
            epoch: 1,
            generation: 2,
            digest: Statement::digest_of(&[]),
            issued_at: Timestamp::UNIX_EPOCH,
            expires_at: Timestamp::UNIX_EPOCH,
            ledger: LedgerHead { seq: 0, hash: Digest::from_bytes([0; 32]) },
            stacks: Vec::new(),
            leave_safe_mode: None,
            agent: None,
        }
    }

    #[test]
    fn a_statement_has_its_place_in_git_by_the_end_of_the_nodes_id() {
        let (name, path) = statement_place(statement().node);
        assert_eq!(name, "refs/backstay/desired/01");
        assert_eq!(path, "00000000-0000-0000-0000-000000000001.json");
    }

    #[test]
    fn opens_what_was_signed_and_nothing_else() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let signed = statement().sign(&key);
        assert_eq!(signed.open(&key.verifying_key()).unwrap(), statement());
        let other = SigningKey::from_bytes(&[8; 32]).verifying_key();
        assert_eq!(signed.open(&other), Err(StatementError::Signature));
        let mut payload = BASE64_STANDARD.decode(&signed.payload).unwrap();
        for at in 0..payload.len() {
            payload[at] ^= 1;
            let forged = SignedStatement { payload: BASE64_STANDARD.encode(&payload), ..signed.clone() };
            assert_eq!(forged.open(&key.verifying_key()), Err(StatementError::Signature));
            payload[at] ^= 1;
        }
    }
}

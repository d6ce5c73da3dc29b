//! The hub itself: what it is, its tokens.

use backstay_types::{LedgerHead, Secret, Timestamp, TokenId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Page;
use crate::{
    body::{Html, Text},
    endpoint::{Empty, Role, endpoints},
};

endpoints! {
    /// The hub: version, key, figures.
    GetHub = Get "/api/v1/hub" Viewer () -> HubView;
    /// API tokens, without their secrets.
    ListTokens = Get "/api/v1/tokens" Admin () -> Page<Token>;
    /// Makes an API token, or the secret of a webhook source.
    CreateToken = Post "/api/v1/tokens" Admin (body: CreateTokenRequest) -> CreatedToken;
    /// Takes a token away.
    RevokeToken = Post "/api/v1/tokens/{token}/revoke" Admin (path: TokenPath) -> Empty;
    /// The process is alive.
    Healthz = Get "/healthz" Public () -> Liveness;
    /// The hub can serve: database reachable, migrations done, ledger sealing.
    Readyz = Get "/readyz" Public () -> Liveness;
    /// Figures for Prometheus, in its text format. Counts only; nothing that names a node, person or conversation.
    GetMetrics = Get "/metrics" Public () -> Text;
    /// This document.
    GetOpenApi = Get "/openapi.json" Public () -> serde_json::Value;
    /// This document for people.
    GetDocs = Get "/docs" Public () -> Html;
}

/// The hub.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct HubView {
    /// Its version.
    pub version: String,
    /// `sqlite` or `postgres`.
    pub database: String,
    /// SHA-256 fingerprint of its signing key.
    pub key_fingerprint: String,
    /// The public half of its ssh key, for Git hosts; absent where it could not make one.
    pub ssh_public_key: Option<String>,
    /// Raised when it was restored from backup.
    pub epoch: u64,
    /// When this process started.
    pub started_at: Timestamp,
    /// The newest sealed ledger entry.
    pub ledger: LedgerHead,
    /// Nodes by state.
    pub nodes: std::collections::BTreeMap<String, u64>,
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// What it is for, in words.
    pub name: String,
    /// What it opens.
    pub kind: TokenKind,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// When it was taken away.
    pub revoked_at: Option<Timestamp>,
}

/// What a token opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TokenKind {
    /// The API, with a role.
    Api {
        /// `viewer`, `operator` or `admin`.
        role: Role,
    },
    /// Deliveries of a webhook source: its signing secret or bearer token. Several may be valid at once, for rotation.
    Webhook {
        /// The source, such as `openclaw`.
        source: String,
    },
}

/// A token to make.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CreateTokenRequest {
    /// What it is for, in words.
    pub name: String,
    /// What it opens.
    pub kind: TokenKind,
    /// Life in seconds; for ever when absent.
    pub expires_in_seconds: Option<u64>,
}

/// A new token with its secret, shown once.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CreatedToken {
    /// The token.
    #[serde(flatten)]
    pub token: Token,
    /// The secret: `bst.<id>.<secret>` for the API, `whsec_<base64>` for webhooks.
    pub secret: Secret,
}

/// Which token.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TokenPath {
    /// Its id.
    pub token: TokenId,
}

/// Alive or ready.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Liveness {
    /// Whether all is well.
    pub ok: bool,
    /// What is not.
    pub problems: Vec<String>,
}

//! Tokens: for joining, for the API, for webhooks.

use backstay_types::{Digest, NodeId, Timestamp, TokenId};

use crate::{
    Result, StoreError, Tx,
    db::{Executor, Query, Row, query},
};

const WHAT: &str = "token";

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// What it opens.
    pub kind: TokenKind,
    /// What it is for, in words.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// When it was taken away.
    pub revoked_at: Option<Timestamp>,
    /// When it was used, for tokens that work once.
    pub used_at: Option<Timestamp>,
}

impl Token {
    /// Whether it works at a time.
    pub fn works_at(&self, at: Timestamp) -> bool {
        self.revoked_at.is_none() && self.used_at.is_none() && self.expires_at.is_none_or(|end| end > at)
    }
}

/// What a token opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenKind {
    /// One node may join, once.
    Join,
    /// The API.
    Api {
        /// The role that it gives.
        role: String,
    },
    /// Deliveries of a webhook source.
    Webhook {
        /// The source.
        source: String,
    },
}

/// What is kept of a token's secret.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenSecret {
    /// Its hash.
    pub hash: Digest,
    /// The secret itself, sealed with the hub's key, where it is needed to check signatures.
    pub sealed: Option<String>,
}

impl std::fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenSecret(…)")
    }
}

/// Keeps a new token.
///
/// # Errors
/// [`Conflict`](StoreError::Conflict) when there is one with this id.
pub async fn insert(tx: &mut Tx, token: &Token, secret: &TokenSecret) -> Result<()> {
    let (kind, role, source) = match &token.kind {
        TokenKind::Join => ("join", None, None),
        TokenKind::Api { role } => ("api", Some(role), None),
        TokenKind::Webhook { source } => ("webhook", None, Some(source)),
    };
    query(
        "INSERT INTO tokens (id, kind, role, source, name, hash, sealed, created_at, expires_at, revoked_at, \
         used_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(token.id)
    .bind(kind)
    .bind(role)
    .bind(source)
    .bind(token.name.as_str())
    .bind(secret.hash)
    .bind(secret.sealed.as_deref())
    .bind(token.created_at)
    .bind(token.expires_at)
    .bind(token.revoked_at)
    .bind(token.used_at)
    .run(tx)
    .await
    .map_err(|e| e.or_conflict(WHAT, token.id))
    .map(drop)
}

/// One by id, with what is kept of its secret. Whether it still works is for the caller to ask of it.
///
/// # Errors
/// When the database cannot be read.
pub async fn get(ex: &mut impl Executor, id: TokenId) -> Result<Option<(Token, TokenSecret)>> {
    query("SELECT * FROM tokens WHERE id = $1").bind(id).optional(ex, read_with_secret).await
}

/// All that work at a time for deliveries of a webhook source, newest first: several while secrets are rotated.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_source(
    ex: &mut impl Executor,
    source: &str,
    at: Timestamp,
) -> Result<Vec<(Token, TokenSecret)>> {
    query(
        "SELECT * FROM tokens WHERE source = $1 AND kind = 'webhook' AND revoked_at IS NULL \
         AND (expires_at IS NULL OR expires_at > $2) ORDER BY id DESC",
    )
    .bind(source)
    .bind(at)
    .all(ex, read_with_secret)
    .await
}

/// All, newest first, before id `before`.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(ex: &mut impl Executor, before: Option<TokenId>, limit: u32) -> Result<Vec<Token>> {
    let mut select: Query = query("SELECT * FROM tokens");
    if let Some(before) = before {
        select.push(" WHERE id < ").push_bind(before);
    }
    select.push(" ORDER BY id DESC LIMIT ").push_bind(limit);
    select.all(ex, read).await
}

/// Uses a join token up for `node`. False, and nothing changed, when it is used, revoked, run out or unknown, or
/// the hash is another's: of any number at once, one gets true.
///
/// # Errors
/// When the database refuses.
pub async fn consume(tx: &mut Tx, id: TokenId, hash: Digest, node: NodeId, at: Timestamp) -> Result<bool> {
    let update = query(
        "UPDATE tokens SET used_at = $1, used_by = $2 WHERE id = $3 AND kind = 'join' AND hash = $4 \
         AND used_at IS NULL AND revoked_at IS NULL AND expires_at > $1",
    );
    Ok(update.bind(at).bind(node).bind(id).bind(hash).run(tx).await? == 1)
}

/// The node that used a join token up, by the token's id and the hash of its secret, while the token had not run
/// out at `at` and was not revoked: who lost the answer to its request may ask again.
///
/// # Errors
/// When the database cannot be read.
pub async fn used_by(
    ex: &mut impl Executor,
    id: TokenId,
    hash: Digest,
    at: Timestamp,
) -> Result<Option<NodeId>> {
    let select = query(
        "SELECT used_by FROM tokens WHERE id = $1 AND kind = 'join' AND hash = $2 AND used_by IS NOT NULL \
         AND revoked_at IS NULL AND expires_at > $3",
    );
    select.bind(id).bind(hash).bind(at).optional(ex, |row| row.get("used_by")).await
}

/// Takes a token away.
///
/// # Errors
/// [`Stale`](StoreError::Stale) when it is taken away already or not there.
pub async fn revoke(tx: &mut Tx, id: TokenId, at: Timestamp) -> Result<()> {
    let update = "UPDATE tokens SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL";
    query(update).bind(at).bind(id).run_one(tx, WHAT, id).await
}

fn read_with_secret(row: &Row) -> Result<(Token, TokenSecret)> {
    Ok((read(row)?, TokenSecret { hash: row.get("hash")?, sealed: row.opt("sealed")? }))
}

fn read(row: &Row) -> Result<Token> {
    Ok(Token {
        id: row.get("id")?,
        kind: read_kind(row)?,
        name: row.get("name")?,
        created_at: row.get("created_at")?,
        expires_at: row.opt("expires_at")?,
        revoked_at: row.opt("revoked_at")?,
        used_at: row.opt("used_at")?,
    })
}

fn read_kind(row: &Row) -> Result<TokenKind> {
    match row.get::<String>("kind")?.as_str() {
        "join" => Ok(TokenKind::Join),
        "api" => Ok(TokenKind::Api { role: row.get("role")? }),
        "webhook" => Ok(TokenKind::Webhook { source: row.get("source")? }),
        other => Err(StoreError::corrupt("kind", other)),
    }
}

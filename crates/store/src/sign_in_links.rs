//! One-time links that sign in. One that was used has no row.

use backstay_types::{Digest, LinkId, Timestamp, UserId};

use crate::{
    Result, StoreError, Tx,
    db::{Executor, Row, query},
};

/// A link, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignInLink {
    /// Its id.
    pub id: LinkId,
    /// What it opens.
    pub kind: LinkKind,
    /// When it stops working.
    pub expires_at: Timestamp,
}

/// What a link opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkKind {
    /// A session of who owns the hub's machine.
    Open,
    /// The first user is made with it.
    FirstUser,
    /// This user sets a password with it.
    User(UserId),
}

/// Keeps a new link with the hash of its secret.
///
/// # Errors
/// [`Conflict`](StoreError::Conflict) when there is one with this id.
pub async fn insert(tx: &mut Tx, link: &SignInLink, hash: Digest) -> Result<()> {
    let (kind, user) = match link.kind {
        LinkKind::Open => ("open", None),
        LinkKind::FirstUser => ("first_user", None),
        LinkKind::User(user) => ("user", Some(user)),
    };
    query("INSERT INTO sign_in_links (id, hash, kind, user_id, expires_at) VALUES ($1, $2, $3, $4, $5)")
        .bind(link.id)
        .bind(hash)
        .bind(kind)
        .bind(user)
        .bind(link.expires_at)
        .run(tx)
        .await
        .map_err(|e| e.or_conflict("link", link.id))
        .map(drop)
}

/// The link with this id and hash that works at a time.
///
/// # Errors
/// When the database cannot be read.
pub async fn get(
    ex: &mut impl Executor,
    id: LinkId,
    hash: Digest,
    at: Timestamp,
) -> Result<Option<SignInLink>> {
    let select = query("SELECT * FROM sign_in_links WHERE id = $1 AND hash = $2 AND expires_at > $3");
    select.bind(id).bind(hash).bind(at).optional(ex, read).await
}

/// Uses a link up. False, and nothing changed, when it is used, run out or unknown, or the hash is another's: of
/// any number at once, one gets true.
///
/// # Errors
/// When the database refuses.
pub async fn consume(tx: &mut Tx, id: LinkId, hash: Digest, at: Timestamp) -> Result<bool> {
    let delete = query("DELETE FROM sign_in_links WHERE id = $1 AND hash = $2 AND expires_at > $3");
    Ok(delete.bind(id).bind(hash).bind(at).run(tx).await? == 1)
}

/// Takes the links of a user away; those for the first user when none is named.
///
/// # Errors
/// When the database refuses.
pub async fn revoke(tx: &mut Tx, user: Option<UserId>) -> Result<u64> {
    match user {
        Some(user) => query("DELETE FROM sign_in_links WHERE user_id = $1").bind(user).run(tx).await,
        None => query("DELETE FROM sign_in_links WHERE kind = 'first_user'").run(tx).await,
    }
}

/// Forgets links that ran out before a time.
///
/// # Errors
/// When the database refuses.
pub async fn prune(tx: &mut Tx, before: Timestamp) -> Result<u64> {
    query("DELETE FROM sign_in_links WHERE expires_at < $1").bind(before).run(tx).await
}

fn read(row: &Row) -> Result<SignInLink> {
    let kind = match row.get::<String>("kind")?.as_str() {
        "open" => LinkKind::Open,
        "first_user" => LinkKind::FirstUser,
        "user" => LinkKind::User(row.get("user_id")?),
        other => return Err(StoreError::corrupt("kind", other)),
    };
    Ok(SignInLink { id: row.get("id")?, kind, expires_at: row.get("expires_at")? })
}

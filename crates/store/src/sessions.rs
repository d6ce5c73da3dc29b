//! Sessions: who is signed in, in which browser. A session that has ended has no row.

use backstay_types::{Digest, SessionId, Timestamp, UserId};

use crate::{
    Result, Tx,
    db::{Executor, Row, query},
};

const WHAT: &str = "session";

/// A session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Whose; of who owns the hub's machine when absent.
    pub user: Option<UserId>,
    /// When it began.
    pub created_at: Timestamp,
    /// When it was last used, to within some minutes.
    pub seen_at: Timestamp,
    /// When it ends, used or not.
    pub expires_at: Timestamp,
}

/// Keeps a new session with the hash of its secret.
///
/// # Errors
/// [`Conflict`](crate::StoreError::Conflict) when there is one with this id.
pub async fn insert(tx: &mut Tx, session: &Session, hash: Digest) -> Result<()> {
    query(
        "INSERT INTO sessions (id, hash, user_id, created_at, seen_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(session.id)
    .bind(hash)
    .bind(session.user)
    .bind(session.created_at)
    .bind(session.seen_at)
    .bind(session.expires_at)
    .run(tx)
    .await
    .map_err(|e| e.or_conflict(WHAT, session.id))
    .map(drop)
}

/// One by id, with the hash of its secret. Whether it has run out is for the caller to ask of it.
///
/// # Errors
/// When the database cannot be read.
pub async fn get(ex: &mut impl Executor, id: SessionId) -> Result<Option<(Session, Digest)>> {
    let select = query("SELECT * FROM sessions WHERE id = $1").bind(id);
    select.optional(ex, |row| Ok((read(row)?, row.get("hash")?))).await
}

/// Notes that a session was used. Nothing changes when it has ended.
///
/// # Errors
/// When the database refuses.
pub async fn seen(tx: &mut Tx, id: SessionId, at: Timestamp) -> Result<()> {
    let update = query("UPDATE sessions SET seen_at = $1 WHERE id = $2 AND seen_at < $1");
    update.bind(at).bind(id).run(tx).await.map(drop)
}

/// Ends a session. Nothing changes when it has ended.
///
/// # Errors
/// When the database refuses.
pub async fn end(tx: &mut Tx, id: SessionId) -> Result<()> {
    query("DELETE FROM sessions WHERE id = $1").bind(id).run(tx).await.map(drop)
}

/// Ends all sessions of a user (of the machine's owner when absent) but one, if one is named; says how many.
///
/// # Errors
/// When the database refuses.
pub async fn end_all(tx: &mut Tx, user: Option<UserId>, but: Option<SessionId>) -> Result<u64> {
    let mut delete = query("DELETE FROM sessions WHERE ");
    match user {
        Some(user) => delete.push("user_id = ").push_bind(user),
        None => delete.push("user_id IS NULL"),
    };
    if let Some(but) = but {
        delete.push(" AND id <> ").push_bind(but);
    }
    delete.run(tx).await
}

/// Forgets sessions that ran out before `now`, or were last used before `idle`.
///
/// # Errors
/// When the database refuses.
pub async fn prune(tx: &mut Tx, now: Timestamp, idle: Timestamp) -> Result<u64> {
    query("DELETE FROM sessions WHERE expires_at < $1 OR seen_at < $2").bind(now).bind(idle).run(tx).await
}

fn read(row: &Row) -> Result<Session> {
    Ok(Session {
        id: row.get("id")?,
        user: row.opt("user_id")?,
        created_at: row.get("created_at")?,
        seen_at: row.get("seen_at")?,
        expires_at: row.get("expires_at")?,
    })
}

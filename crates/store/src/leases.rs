//! Leases: work that one process does at a time, with a fencing token.

use std::time::Duration;

use backstay_types::Timestamp;

use crate::{
    Result, StoreError, Tx,
    db::{Executor, Row, query},
};

/// A lease that is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What it is for.
    pub name: String,
    /// Who holds it.
    pub holder: String,
    /// Higher with each new holder, or the same holder after its lease had run out.
    pub token: u64,
    /// When it runs out unless it is renewed.
    pub expires_at: Timestamp,
}

impl Lease {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            name: row.get("name")?,
            holder: row.get("holder")?,
            token: row.get("token")?,
            expires_at: row.get("expires_at")?,
        })
    }
}

/// Takes the lease when it is free, run out, or already `holder`'s (then it is renewed and keeps its token unless
/// it had run out). `None` when someone else holds it. Until `tx` ends, nobody else can take or fence it.
///
/// # Errors
/// When the database refuses.
pub async fn acquire(
    tx: &mut Tx,
    name: &str,
    holder: &str,
    now: Timestamp,
    ttl: Duration,
) -> Result<Option<Lease>> {
    let upsert = query(
        "INSERT INTO leases (name, holder, token, expires_at) VALUES ($1, $2, 1, $3) \
         ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at, \
         token = leases.token + \
           CASE WHEN leases.holder = excluded.holder AND leases.expires_at > $4 THEN 0 ELSE 1 END \
         WHERE leases.holder = excluded.holder OR leases.expires_at <= $4",
    );
    let expires_at = expiry(now, ttl);
    if upsert.bind(name).bind(holder).bind(expires_at).bind(now).run(tx).await? == 0 {
        return Ok(None);
    }
    get(tx, name).await
}

/// Extends a lease; its token stays.
///
/// # Errors
/// [`StoreError::LeaseLost`] when someone else has taken it since.
pub async fn renew(tx: &mut Tx, lease: &Lease, now: Timestamp, ttl: Duration) -> Result<Lease> {
    let expires_at = expiry(now, ttl);
    let update = "UPDATE leases SET expires_at = $1 WHERE name = $2 AND holder = $3 AND token = $4";
    let update = query(update).bind(expires_at).bind(&lease.name).bind(&lease.holder).bind(lease.token);
    match update.run(tx).await? {
        1 => Ok(Lease { expires_at, ..lease.clone() }),
        _ => Err(lost(lease)),
    }
}

/// Makes sure that the lease is still ours, and that it stays so until `tx` ends.
///
/// # Errors
/// [`StoreError::LeaseLost`] when someone else has taken it since.
pub async fn fence(tx: &mut Tx, lease: &Lease) -> Result<()> {
    let touch = "UPDATE leases SET token = token WHERE name = $1 AND holder = $2 AND token = $3";
    let touch = query(touch).bind(&lease.name).bind(&lease.holder).bind(lease.token);
    match touch.run(tx).await? {
        1 => Ok(()),
        _ => Err(lost(lease)),
    }
}

/// Gives a lease up; the token is not used again.
///
/// # Errors
/// When the database refuses. That the lease was lost already is none.
pub async fn release(tx: &mut Tx, lease: &Lease) -> Result<()> {
    let update = "UPDATE leases SET expires_at = 0 WHERE name = $1 AND holder = $2 AND token = $3";
    query(update).bind(&lease.name).bind(&lease.holder).bind(lease.token).run(tx).await.map(drop)
}

/// Who holds or held a lease last.
///
/// # Errors
/// When the database cannot be read.
pub async fn get(ex: &mut impl Executor, name: &str) -> Result<Option<Lease>> {
    query("SELECT * FROM leases WHERE name = $1").bind(name).optional(ex, Lease::read).await
}

fn expiry(now: Timestamp, ttl: Duration) -> Timestamp {
    now.checked_add(ttl).unwrap_or(Timestamp::MAX)
}

fn lost(lease: &Lease) -> StoreError {
    StoreError::LeaseLost { name: lease.name.clone() }
}

//! Failures to sign in, counted for what a limit is for: a name, an address. Kept by hash: people type
//! passwords where names belong.

use backstay_types::{Digest, Timestamp};

use crate::{Result, Tx, db::query};

/// What is known of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    /// Failures in a row.
    pub failures: u32,
    /// When the last one was.
    pub last_at: Timestamp,
}

/// Reads a subject and keeps others from it until the transaction ends.
///
/// # Errors
/// When the database refuses.
pub async fn lock(tx: &mut Tx, subject: Digest) -> Result<Tries> {
    // A row that was not there is made, so that two first tries wait for each other as well.
    query("INSERT INTO sign_in_tries (subject, failures, last_at) VALUES ($1, 0, 0) ON CONFLICT DO NOTHING")
        .bind(subject)
        .run(tx)
        .await?;
    query("UPDATE sign_in_tries SET failures = failures WHERE subject = $1").bind(subject).run(tx).await?;
    let select = query("SELECT failures, last_at FROM sign_in_tries WHERE subject = $1").bind(subject);
    let found = select
        .optional(tx, |row| {
            let failures = u32::try_from(row.get::<u64>("failures")?).unwrap_or(u32::MAX);
            Ok(Tries { failures, last_at: row.get("last_at")? })
        })
        .await?;
    Ok(found.unwrap_or(Tries { failures: 0, last_at: Timestamp::UNIX_EPOCH }))
}

/// Writes what is known of a locked subject.
///
/// # Errors
/// When the database refuses.
pub async fn set(tx: &mut Tx, subject: Digest, tries: Tries) -> Result<()> {
    query("UPDATE sign_in_tries SET failures = $1, last_at = $2 WHERE subject = $3")
        .bind(tries.failures)
        .bind(tries.last_at)
        .bind(subject)
        .run(tx)
        .await
        .map(drop)
}

/// Takes one failure of a subject back.
///
/// # Errors
/// When the database refuses.
pub async fn take_back(tx: &mut Tx, subject: Digest) -> Result<()> {
    let update = "UPDATE sign_in_tries SET failures = failures - 1 WHERE subject = $1 AND failures > 0";
    query(update).bind(subject).run(tx).await.map(drop)
}

/// Forgets a subject.
///
/// # Errors
/// When the database refuses.
pub async fn forget(tx: &mut Tx, subject: Digest) -> Result<()> {
    query("DELETE FROM sign_in_tries WHERE subject = $1").bind(subject).run(tx).await.map(drop)
}

/// Forgets subjects whose last failure was before a time.
///
/// # Errors
/// When the database refuses.
pub async fn prune(tx: &mut Tx, before: Timestamp) -> Result<u64> {
    query("DELETE FROM sign_in_tries WHERE last_at < $1").bind(before).run(tx).await
}

//! Single values about the hub: its epoch, its key's fingerprint and the like.

use crate::{
    Result, StoreError, Tx,
    db::{Executor, query},
};

const EPOCH: &str = "epoch";

/// The value under `key`.
///
/// # Errors
/// When the database cannot be read.
pub async fn get(ex: &mut impl Executor, key: &str) -> Result<Option<String>> {
    query("SELECT value FROM hub_state WHERE key = $1").bind(key).optional(ex, |row| row.get("value")).await
}

/// Sets the value under `key`.
///
/// # Errors
/// When the database refuses.
pub async fn set(tx: &mut Tx, key: &str, value: &str) -> Result<()> {
    query(
        "INSERT INTO hub_state (key, value) VALUES ($1, $2) \
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
    )
    .bind(key)
    .bind(value)
    .run(tx)
    .await
    .map(drop)
}

/// Forgets the value under `key`.
///
/// # Errors
/// When the database refuses.
pub async fn remove(tx: &mut Tx, key: &str) -> Result<()> {
    query("DELETE FROM hub_state WHERE key = $1").bind(key).run(tx).await.map(drop)
}

/// Sets the value under `key` when there is none yet; gives the value that stands.
///
/// # Errors
/// When the database refuses.
pub async fn set_once(tx: &mut Tx, key: &str, value: &str) -> Result<String> {
    let insert = "INSERT INTO hub_state (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING";
    query(insert).bind(key).bind(value).run(tx).await?;
    get(tx, key).await?.ok_or_else(|| StoreError::stale("hub state", key))
}

/// The epoch of desired statements: 1 until a restore raises it.
///
/// # Errors
/// When the database cannot be read.
pub async fn epoch(ex: &mut impl Executor) -> Result<u64> {
    match get(ex, EPOCH).await? {
        None => Ok(1),
        Some(text) => text.parse().map_err(|_| StoreError::corrupt("hub_state.value", text)),
    }
}

/// Raises the epoch by one, as after a restore; gives the new one.
///
/// # Errors
/// When the database refuses.
pub async fn raise_epoch(tx: &mut Tx) -> Result<u64> {
    let raised = epoch(tx).await? + 1;
    set(tx, EPOCH, &raised.to_string()).await?;
    Ok(raised)
}

//! Webhook deliveries as they arrived.

use backstay_types::{DeliveryId, Timestamp};

use crate::{
    Result, StoreError, Tx,
    db::{Executor, Row, query},
    value::json,
};

/// A delivery to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelivery<'a> {
    /// Its id.
    pub id: DeliveryId,
    /// The source, such as `openclaw`.
    pub source: &'a str,
    /// The sender's idempotency key.
    pub key: &'a str,
    /// When it arrived.
    pub received_at: Timestamp,
    /// Headers worth keeping; never credentials.
    pub headers: &'a [(String, String)],
    /// The body as it came.
    pub body: &'a [u8],
}

/// Whether a delivery is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// It is kept now.
    New,
    /// One with this key came before, under this id; nothing changed.
    Replay(DeliveryId),
}

/// A delivery without its headers and body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Our id.
    pub id: DeliveryId,
    /// The source.
    pub source: String,
    /// The sender's idempotency key.
    pub key: String,
    /// When it arrived.
    pub received_at: Timestamp,
    /// The size of its body in bytes.
    pub bytes: u64,
    /// How many events were read from it.
    pub events: u64,
    /// Why it, or part of it, could not be understood.
    pub unrecognised: Option<String>,
}

/// A delivery as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawDelivery {
    /// The delivery.
    pub delivery: Delivery,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// Keeps a delivery unless its source has sent one with the same key before.
///
/// # Errors
/// When the database refuses.
pub async fn receive(tx: &mut Tx, new: &NewDelivery<'_>) -> Result<Received> {
    let insert = query(
        "INSERT INTO deliveries (id, source, key, received_at, headers, body, bytes, events) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, 0) ON CONFLICT (source, key) DO NOTHING",
    );
    let kept = insert
        .bind(new.id)
        .bind(new.source)
        .bind(new.key)
        .bind(new.received_at)
        .bind(json(new.headers)?)
        .bind(new.body)
        .bind(new.body.len())
        .run(tx)
        .await?;
    if kept == 1 {
        return Ok(Received::New);
    }
    let earlier = find(tx, new.source, new.key).await?;
    earlier.map(Received::Replay).ok_or_else(|| StoreError::stale("delivery", new.key))
}

/// The delivery that a source sent under a key.
///
/// # Errors
/// When the database cannot be read.
pub async fn find(ex: &mut impl Executor, source: &str, key: &str) -> Result<Option<DeliveryId>> {
    let select = "SELECT id FROM deliveries WHERE source = $1 AND key = $2";
    query(select).bind(source).bind(key).optional(ex, |row| row.get("id")).await
}

/// Notes what was read from a delivery.
///
/// # Errors
/// [`Stale`](StoreError::Stale) when there is no such delivery.
pub async fn set_outcome(tx: &mut Tx, id: DeliveryId, events: u64, unrecognised: Option<&str>) -> Result<()> {
    query("UPDATE deliveries SET events = $1, unrecognised = $2 WHERE id = $3")
        .bind(events)
        .bind(unrecognised)
        .bind(id)
        .run_one(tx, "delivery", id)
        .await
}

/// Which deliveries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// From this source.
    pub source: Option<String>,
    /// Only those that could not be understood.
    pub unrecognised: bool,
}

const COLUMNS: &str = "SELECT id, source, key, received_at, bytes, events, unrecognised FROM deliveries";

/// Deliveries, newest first, before id `before`.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(
    ex: &mut impl Executor,
    filter: &Filter,
    before: Option<DeliveryId>,
    limit: u32,
) -> Result<Vec<Delivery>> {
    let mut select = query(COLUMNS);
    select.push(" WHERE 1 = 1");
    if let Some(source) = &filter.source {
        select.push(" AND source = ").push_bind(source);
    }
    if filter.unrecognised {
        select.push(" AND unrecognised IS NOT NULL");
    }
    if let Some(before) = before {
        select.push(" AND id < ").push_bind(before);
    }
    select.push(" ORDER BY id DESC LIMIT ").push_bind(limit);
    select.all(ex, read).await
}

/// One delivery as it came.
///
/// # Errors
/// When the database cannot be read.
pub async fn raw(ex: &mut impl Executor, id: DeliveryId) -> Result<Option<RawDelivery>> {
    let map = |row: &Row| {
        Ok(RawDelivery { delivery: read(row)?, headers: row.json("headers")?, body: row.get("body")? })
    };
    query("SELECT * FROM deliveries WHERE id = $1").bind(id).optional(ex, map).await
}

/// Deletes deliveries that arrived before `before`; what was read from them stays. Gives how many.
///
/// # Errors
/// When the database refuses.
pub async fn prune(tx: &mut Tx, before: Timestamp) -> Result<u64> {
    query("DELETE FROM deliveries WHERE received_at < $1").bind(before).run(tx).await
}

fn read(row: &Row) -> Result<Delivery> {
    Ok(Delivery {
        id: row.get("id")?,
        source: row.get("source")?,
        key: row.get("key")?,
        received_at: row.get("received_at")?,
        bytes: row.get("bytes")?,
        events: row.get("events")?,
        unrecognised: row.opt("unrecognised")?,
    })
}

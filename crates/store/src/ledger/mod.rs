//! The ledger: recorded with the change it is about, sealed into a chain soon after.

mod keep;
mod read;
mod seal;
mod verify;

use backstay_types::{Digest, Event, EventId, LedgerHead, Refs, Timestamp, World};

use crate::{
    Result, StoreError, Tx,
    db::{Executor, Row, query},
    dialect,
    value::{Bind as _, Value, json},
};

pub use keep::{Segment, erase_body, prune, segments};
pub use read::{ChainRow, Filter, Window, after, chain_rows, entry, timeline};
pub use seal::{Sealed, seal};
pub use verify::{Flaw, Verification, verify};

/// Columns of `ledger`, in the order in which they are written.
const COLUMNS: &str = "seq, id, at, kind, conversation_id, repository_id, commit_id, stack, release_id, \
                       rollout_id, deployment_id, node_id, undo_id, constraint_id, body_hash, hash";

/// What comes before the first entry.
const ORIGIN: Digest = Digest::from_bytes([0; 32]);

/// The newest sealed entry; position 0 when there is none.
///
/// # Errors
/// When the database cannot be read.
pub async fn head(ex: &mut impl Executor) -> Result<LedgerHead> {
    let head = query("SELECT seq, hash FROM ledger_head WHERE one = 1");
    let head =
        head.optional(ex, |row| Ok(LedgerHead { seq: row.get("seq")?, hash: row.get("hash")? })).await?;
    Ok(head.unwrap_or(LedgerHead { seq: 0, hash: ORIGIN }))
}

/// An entry that waits for its place in the chain.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) id: EventId,
    ord: i64,
    at: Timestamp,
    kind: String,
    refs: String,
    salt: [u8; 16],
    body: String,
}

impl Pending {
    /// Makes an entry of `event`, recorded `now` at place `ord`.
    pub(crate) fn new(world: &World, ord: i64, now: Timestamp, event: &Event, refs: &Refs) -> Result<Self> {
        Ok(Self {
            id: world.mint(),
            ord,
            at: now,
            kind: kind_of(event)?,
            refs: json(refs)?,
            salt: world.random(),
            body: json(event)?,
        })
    }
}

/// The tag under which an event's body says what it is.
fn kind_of(event: &Event) -> Result<String> {
    match serde_json::to_value(event)?.get("kind") {
        Some(serde_json::Value::String(kind)) => Ok(kind.clone()),
        _ => Err(StoreError::corrupt("kind", "an event without a kind")),
    }
}

/// Writes what a transaction recorded.
pub(crate) async fn insert_pending(tx: &mut Tx, pending: Vec<Pending>) -> Result<()> {
    let rows = pending.into_iter().map(|p| {
        vec![
            Value::Int(p.ord),
            p.id.value(),
            p.at.value(),
            p.kind.value(),
            p.refs.value(),
            p.salt.as_slice().value(),
            p.body.value(),
        ]
    });
    let head = "INSERT INTO ledger_pending (ord, id, at, kind, refs, salt, body) VALUES ";
    dialect::bulk(tx, head, "", rows.collect()).await.map(drop)
}

/// A sealed row's ids.
fn read_refs(row: &Row) -> Result<Refs> {
    Ok(Refs {
        conversation: row.opt("conversation_id")?,
        repository: row.opt("repository_id")?,
        commit: row.opt("commit_id")?,
        stack: row.opt("stack")?,
        release: row.opt("release_id")?,
        rollout: row.opt("rollout_id")?,
        deployment: row.opt("deployment_id")?,
        node: row.opt("node_id")?,
        undo: row.opt("undo_id")?,
        constraint: row.opt("constraint_id")?,
    })
}

/// What the head's row says of itself, so that none of its columns can change unseen.
fn head_digest(head: LedgerHead, day: i64) -> Digest {
    let (seq, day) = (head.seq.to_le_bytes(), day.to_le_bytes());
    Digest::of(&[seq.as_slice(), head.hash.as_bytes(), day.as_slice()].concat())
}

/// The days since 1970-01-01 (UTC) of a time.
fn day_of(at: Timestamp) -> i64 {
    at.as_second().div_euclid(86_400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_at_midnight() {
        let at = |text: &str| day_of(text.parse().unwrap());
        assert_eq!(at("1970-01-01T23:59:59Z"), 0);
        assert_eq!(at("1970-01-02T00:00:00Z"), 1);
        assert_eq!(at("1969-12-31T23:59:59Z"), -1);
    }

    #[test]
    fn every_event_has_a_kind() {
        assert_eq!(kind_of(&Event::DeploymentStarted).unwrap(), "deployment_started");
    }
}

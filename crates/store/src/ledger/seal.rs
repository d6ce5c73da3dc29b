//! Sealing: one holder of the lease gives recorded entries their places in the chain.

use std::time::Duration;

use backstay_types::{Digest, EventId, LedgerHead, Refs, Timestamp, body_hash, chain_hash};

use super::{COLUMNS, day_of, head, head_digest, keep};
use crate::{
    Result, Store, StoreError, Tx,
    db::{Row, query},
    dialect, leases,
    value::{Bind as _, Value},
};

/// The lease under which entries are sealed.
const LEASE: &str = "ledger";
/// How long a sealer that is not heard from keeps its lease.
const TTL: Duration = Duration::from_secs(5);
/// How many entries one transaction seals.
const BATCH: usize = 1000;

/// What came of an attempt to seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sealed {
    /// Nothing waited.
    Nothing,
    /// So many entries got their place; there may be more.
    Entries(usize),
    /// Someone else holds the lease.
    Elsewhere,
}

/// Seals one batch of what waits, in the order of recording, as `holder`. Called by [`Store::run`]; tests may
/// call it to seal at a moment of their choice.
///
/// # Errors
/// When the database refuses, or the head changed although the lease was held.
pub async fn seal(store: &Store, holder: &str) -> Result<Sealed> {
    let waiting = query("SELECT id FROM ledger_pending LIMIT 1");
    if waiting.all(&mut store.read(), |_| Ok(())).await?.is_empty() {
        return Ok(Sealed::Nothing);
    }
    let mut tx = store.begin().await?;
    let now = store.world().now();
    // Taking or renewing the lease locks its row until the commit, so that no two seal at once.
    if leases::acquire(&mut tx, LEASE, holder, now, TTL).await?.is_none() {
        return Ok(Sealed::Elsewhere);
    }
    let pending =
        query("SELECT id, at, kind, refs, salt, body FROM ledger_pending ORDER BY ord, id LIMIT $1");
    let pending = pending.bind(BATCH).all(&mut tx, Waiting::read).await?;
    if pending.is_empty() {
        return Ok(Sealed::Nothing);
    }
    let before = head(&mut tx).await?;
    keep::roll_segment(&mut tx, before, day_of(now)).await?;
    let after = write_chain(&mut tx, before, &pending).await?;
    write_head(&mut tx, before, after, day_of(now)).await?;
    delete_pending(&mut tx, &pending).await?;
    dialect::announce(&mut tx, after.seq).await?;
    tx.commit().await?;
    store.raise_head(after.seq);
    Ok(Sealed::Entries(pending.len()))
}

struct Waiting {
    id: EventId,
    at: Timestamp,
    kind: String,
    refs: Refs,
    salt: Vec<u8>,
    body: String,
}

impl Waiting {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.get("id")?,
            at: row.get("at")?,
            kind: row.get("kind")?,
            refs: row.json("refs")?,
            salt: row.get("salt")?,
            body: row.get("body")?,
        })
    }

    fn link(&self, prev: LedgerHead) -> (LedgerHead, Digest) {
        let seq = prev.seq + 1;
        let body = body_hash(&self.salt, self.body.as_bytes());
        let hash = chain_hash(prev.hash, seq, self.id, &self.kind, &self.refs, self.at, body);
        (LedgerHead { seq, hash }, body)
    }
}

async fn write_chain(tx: &mut Tx, before: LedgerHead, pending: &[Waiting]) -> Result<LedgerHead> {
    let mut head = before;
    let mut rows = Vec::with_capacity(pending.len());
    let mut bodies = Vec::with_capacity(pending.len());
    for entry in pending {
        let (next, body) = entry.link(head);
        head = next;
        rows.push(row(entry, head, body));
        bodies.push(vec![head.seq.value(), entry.salt.as_slice().value(), entry.body.as_str().value()]);
    }
    debug_assert_eq!(COLUMNS.split(',').count(), rows.first().map_or(16, Vec::len));
    dialect::bulk(
        tx,
        "INSERT INTO ledger (seq, id, at, kind, conversation_id, repository_id, commit_id, stack, release_id, \
         rollout_id, deployment_id, node_id, undo_id, constraint_id, body_hash, hash) VALUES ",
        "",
        rows,
    )
    .await?;
    dialect::bulk(tx, "INSERT INTO ledger_bodies (seq, salt, body) VALUES ", "", bodies).await?;
    Ok(head)
}

fn row(entry: &Waiting, head: LedgerHead, body: Digest) -> Vec<Value> {
    let refs = &entry.refs;
    vec![
        head.seq.value(),
        entry.id.value(),
        entry.at.value(),
        entry.kind.as_str().value(),
        refs.conversation.value(),
        refs.repository.value(),
        refs.commit.as_ref().value(),
        refs.stack.as_ref().value(),
        refs.release.value(),
        refs.rollout.value(),
        refs.deployment.value(),
        refs.node.value(),
        refs.undo.value(),
        refs.constraint.value(),
        body.value(),
        head.hash.value(),
    ]
}

async fn write_head(tx: &mut Tx, before: LedgerHead, after: LedgerHead, day: i64) -> Result<()> {
    let upsert = query(
        "INSERT INTO ledger_head (one, seq, hash, day, digest) VALUES (1, $1, $2, $3, $4) \
         ON CONFLICT (one) DO UPDATE SET seq = excluded.seq, hash = excluded.hash, day = excluded.day, \
         digest = excluded.digest WHERE ledger_head.seq = $5 AND ledger_head.hash = $6",
    );
    let upsert = upsert
        .bind(after.seq)
        .bind(after.hash)
        .bind(day)
        .bind(head_digest(after, day))
        .bind(before.seq)
        .bind(before.hash);
    match upsert.run(tx).await? {
        1 => Ok(()),
        _ => Err(StoreError::LeaseLost { name: LEASE.to_owned() }),
    }
}

async fn delete_pending(tx: &mut Tx, pending: &[Waiting]) -> Result<()> {
    let mut gone = 0;
    for chunk in pending.chunks(500) {
        let mut delete = query("DELETE FROM ledger_pending WHERE id IN ");
        delete.push_list(chunk.iter().map(|p| p.id));
        gone += delete.run(tx).await?;
    }
    if gone == pending.len() as u64 { Ok(()) } else { Err(StoreError::LeaseLost { name: LEASE.to_owned() }) }
}

//! Segments, retention and erasure. Headers of segments stay for ever.

use backstay_types::{Digest, LedgerHead, Timestamp};

use super::{ORIGIN, day_of};
use crate::{
    Result, Tx,
    db::{Executor, Row, query},
};

/// The header of a closed segment: a day on which entries were sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// From 1, gapless.
    pub number: u64,
    /// Days since 1970-01-01, UTC.
    pub day: i64,
    /// Position of its first entry.
    pub first_seq: u64,
    /// Position of its last entry.
    pub last_seq: u64,
    /// The chain's hash at its last entry.
    pub hash: Digest,
    /// Over this header and the digest of the one before.
    pub digest: Digest,
}

impl Segment {
    /// What [`Segment::digest`] must be after a header whose digest is `previous`.
    pub(super) fn digest_after(&self, previous: Digest) -> Digest {
        let mut bytes = previous.as_bytes().to_vec();
        bytes.extend(self.number.to_le_bytes());
        bytes.extend(self.day.to_le_bytes());
        bytes.extend(self.first_seq.to_le_bytes());
        bytes.extend(self.last_seq.to_le_bytes());
        bytes.extend(self.hash.as_bytes());
        Digest::of(&bytes)
    }

    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            number: row.get("number")?,
            day: row.get("day")?,
            first_seq: row.get("first_seq")?,
            last_seq: row.get("last_seq")?,
            hash: row.get("hash")?,
            digest: row.get("digest")?,
        })
    }
}

/// Headers of closed segments after number `after`, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn segments(ex: &mut impl Executor, after: u64, limit: u32) -> Result<Vec<Segment>> {
    query("SELECT * FROM ledger_segments WHERE number > $1 ORDER BY number LIMIT $2")
        .bind(after)
        .bind(limit)
        .all(ex, Segment::read)
        .await
}

/// Takes an entry's body and salt away for ever; the chain stays verifiable. False when there was none.
///
/// # Errors
/// When the database refuses.
pub async fn erase_body(tx: &mut Tx, seq: u64) -> Result<bool> {
    Ok(query("DELETE FROM ledger_bodies WHERE seq = $1").bind(seq).run(tx).await? > 0)
}

/// Deletes the entries of segments that were closed on a day before that of `before`. Their headers stay.
/// Gives the number of entries deleted.
///
/// # Errors
/// When the database refuses.
pub async fn prune(tx: &mut Tx, before: Timestamp) -> Result<u64> {
    let last = query("SELECT MAX(last_seq) AS last_seq FROM ledger_segments WHERE day < $1")
        .bind(day_of(before))
        .optional(tx, |row| row.opt::<u64>("last_seq"))
        .await?;
    let Some(last) = last.flatten() else { return Ok(0) };
    query("DELETE FROM ledger_bodies WHERE seq <= $1").bind(last).run(tx).await?;
    query("DELETE FROM ledger WHERE seq <= $1").bind(last).run(tx).await
}

/// Closes the segment of the head's day when `today` is a later one.
pub(super) async fn roll_segment(tx: &mut Tx, head: LedgerHead, today: i64) -> Result<()> {
    let day = query("SELECT day FROM ledger_head WHERE one = 1").optional(tx, |row| row.get("day")).await?;
    let Some(day) = day.filter(|&day: &i64| day < today) else { return Ok(()) };
    let last = query("SELECT * FROM ledger_segments ORDER BY number DESC LIMIT 1")
        .optional(tx, Segment::read)
        .await?;
    let (number, last_seq, previous) = last.map_or((0, 0, ORIGIN), |s| (s.number, s.last_seq, s.digest));
    if head.seq == last_seq {
        return Ok(());
    }
    let mut segment = Segment {
        number: number + 1,
        day,
        first_seq: last_seq + 1,
        last_seq: head.seq,
        hash: head.hash,
        digest: ORIGIN,
    };
    segment.digest = segment.digest_after(previous);
    let insert = query(
        "INSERT INTO ledger_segments (number, day, first_seq, last_seq, hash, digest) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    );
    insert
        .bind(segment.number)
        .bind(segment.day)
        .bind(segment.first_seq)
        .bind(segment.last_seq)
        .bind(segment.hash)
        .bind(segment.digest)
        .run(tx)
        .await
        .map_err(|e| e.or_conflict("ledger segment", segment.number))
        .map(drop)
}

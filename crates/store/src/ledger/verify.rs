//! Checking the chain: every row, every body that is still there, every header.

use backstay_types::{Digest, LedgerHead, body_hash, chain_hash};

use super::{ChainRow, ORIGIN, chain_rows, head, head_digest, segments};
use crate::{
    Result, StoreError,
    db::{Executor, Row, query},
};

const PAGE: u32 = 1000;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// How many entries were checked.
    pub entries: u64,
    /// How many of them have had their body erased.
    pub erased: u64,
    /// Where the check ended.
    pub head: LedgerHead,
    /// The first thing that is not as it was sealed.
    pub flaw: Option<Flaw>,
}

/// Something that is not as it was sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The position of the entry, or of the last entry of a segment.
    pub seq: u64,
    /// What is wrong with it.
    pub what: String,
}

/// Checks the entries from position `from` (1 for all that are kept) up to `to` (the head when absent), and, when
/// it goes up to the head, the head and the headers of all segments. Run it on a
/// [`Snapshot`](crate::Snapshot) when entries are sealed or pruned meanwhile.
///
/// # Errors
/// When the database cannot be read. What is wrong with the ledger is not an error but the answer.
pub async fn verify(ex: &mut impl Executor, from: u64, to: Option<u64>) -> Result<Verification> {
    let mut result =
        Verification { entries: 0, erased: 0, head: LedgerHead { seq: 0, hash: ORIGIN }, flaw: None };
    match walk(ex, from.max(1), to, &mut result).await {
        Ok(()) => Ok(result),
        Err(Stop::Flaw(flaw)) => Ok(Verification { flaw: Some(flaw), ..result }),
        // A row that cannot even be read is not as it was sealed.
        Err(Stop::Store(StoreError::Corrupt { column, message })) => {
            let what = format!("column `{column}`: {message}");
            Ok(Verification { flaw: Some(Flaw { seq: result.head.seq + 1, what }), ..result })
        }
        Err(Stop::Store(error)) => Err(error),
    }
}

enum Stop {
    Flaw(Flaw),
    Store(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

fn flaw<T>(seq: u64, what: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Flaw(Flaw { seq, what: what.into() }))
}

async fn walk(
    ex: &mut impl Executor,
    from: u64,
    to: Option<u64>,
    result: &mut Verification,
) -> Result<(), Stop> {
    let newest = head(ex).await?;
    let to = to.unwrap_or(newest.seq).min(newest.seq);
    let headers = check_headers(ex).await?;
    result.head = start(ex, from, &headers).await?;
    loop {
        let rows = chain_rows(ex, result.head.seq, PAGE).await?;
        let full = rows.len() == PAGE as usize;
        for row in rows.into_iter().filter(|row| row.seq <= to) {
            check_row(&row, result)?;
            check_against_header(&row, &headers)?;
        }
        if !full || result.head.seq >= to {
            break;
        }
    }
    check_end(ex, newest, to, result).await
}

/// All headers, each checked against the one before.
async fn check_headers(ex: &mut impl Executor) -> Result<Vec<super::Segment>, Stop> {
    let mut all: Vec<super::Segment> = Vec::new();
    loop {
        let number = all.last().map_or(0, |s| s.number);
        let page = segments(ex, number, PAGE).await?;
        let full = page.len() == PAGE as usize;
        for segment in page {
            let (number, seq, digest) =
                all.last().map_or((0, 0, ORIGIN), |s| (s.number, s.last_seq, s.digest));
            if segment.number != number + 1 || segment.first_seq != seq + 1 {
                return flaw(segment.last_seq, "a segment's header is missing or out of order");
            }
            if segment.digest_after(digest) != segment.digest {
                return flaw(segment.last_seq, "a segment's header does not match its digest");
            }
            all.push(segment);
        }
        if !full {
            return Ok(all);
        }
    }
}

/// The place before the first entry to check: the entry before it, or the header of the segment before it.
async fn start(ex: &mut impl Executor, from: u64, headers: &[super::Segment]) -> Result<LedgerHead, Stop> {
    let oldest =
        query("SELECT MIN(seq) AS seq FROM ledger").optional(ex, |row| row.opt::<u64>("seq")).await?;
    let newest_header = headers.last().map_or(0, |s| s.last_seq);
    let first = oldest.flatten().unwrap_or(newest_header + 1).max(from);
    if first == 1 {
        return Ok(LedgerHead { seq: 0, hash: ORIGIN });
    }
    if let Some(header) = headers.iter().find(|s| s.last_seq == first - 1) {
        return Ok(LedgerHead { seq: header.last_seq, hash: header.hash });
    }
    match chain_rows(ex, first - 2, 1).await?.first() {
        Some(row) if row.seq == first - 1 => Ok(LedgerHead { seq: row.seq, hash: row.hash }),
        _ => flaw(first - 1, "the entry is missing"),
    }
}

fn check_row(row: &ChainRow, result: &mut Verification) -> Result<(), Stop> {
    if row.seq != result.head.seq + 1 {
        return flaw(result.head.seq + 1, "the entry is missing");
    }
    if let Some((salt, body)) = &row.body {
        if body_hash(salt, body.as_bytes()) != row.body_hash {
            return flaw(row.seq, "the body does not match its hash");
        }
    } else {
        result.erased += 1;
    }
    let hash = chain_hash(result.head.hash, row.seq, row.id, &row.kind, &row.refs, row.at, row.body_hash);
    if hash != row.hash {
        return flaw(row.seq, "the entry does not match the chain's hash");
    }
    result.entries += 1;
    result.head = LedgerHead { seq: row.seq, hash };
    Ok(())
}

fn check_against_header(row: &ChainRow, headers: &[super::Segment]) -> Result<(), Stop> {
    match headers.binary_search_by_key(&row.seq, |s| s.last_seq) {
        Ok(at) if headers[at].hash != row.hash => flaw(row.seq, "the header of its segment has another hash"),
        _ => Ok(()),
    }
}

/// When the walk went to the head: that nothing stands after it, and that it says what the chain does.
async fn check_end(
    ex: &mut impl Executor,
    newest: LedgerHead,
    to: u64,
    result: &Verification,
) -> Result<(), Stop> {
    if result.head.seq < to {
        return flaw(result.head.seq + 1, "the entry is missing");
    }
    if to < newest.seq {
        return Ok(());
    }
    if result.head.hash != newest.hash {
        return flaw(newest.seq, "the head does not match the newest entry");
    }
    let stray = "SELECT MAX(seq) AS seq FROM ledger";
    let stray = query(stray).optional(ex, |row| row.opt::<u64>("seq")).await?.flatten();
    if stray.is_some_and(|seq| seq > newest.seq) {
        return flaw(newest.seq + 1, "an entry stands after the head");
    }
    let orphan = "SELECT b.seq AS seq FROM ledger_bodies b LEFT JOIN ledger l ON l.seq = b.seq \
                  WHERE l.seq IS NULL ORDER BY b.seq LIMIT 1";
    if let Some(seq) = query(orphan).optional(ex, |row| row.get::<u64>("seq")).await? {
        return flaw(seq, "a body without its entry");
    }
    check_head(ex, newest).await
}

/// That the head's row is as the last seal wrote it.
async fn check_head(ex: &mut impl Executor, newest: LedgerHead) -> Result<(), Stop> {
    let select = "SELECT day, digest FROM ledger_head WHERE one = 1";
    let map = |row: &Row| Ok((row.get::<i64>("day")?, row.get::<Digest>("digest")?));
    match query(select).optional(ex, map).await? {
        Some((day, digest)) if digest != head_digest(newest, day) => {
            flaw(newest.seq, "the head does not match its digest")
        }
        _ => Ok(()),
    }
}

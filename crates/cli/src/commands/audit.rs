//! `backstay audit`: the ledger, checked without trusting the hub.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
};

use backstay_api::{
    Empty,
    v1::{ExportLedger, GetHub, LedgerQuery, LedgerRow},
};
use backstay_types::{Digest, ErrorCode, LedgerHead, body_hash, chain_hash};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Outcome, done};
use crate::{api::Api, context::Context, error::CliError, ui::style};

/// Rows asked for at once.
const BATCH: u32 = 5000;

/// The ledger.
#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Compute the whole chain anew, from the hub or from an exported file
    Verify(Verify),
    /// Write the ledger as it is chained: one JSON document a line
    Export(Export),
}

/// Options of `audit verify`.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// An exported file, to verify without a hub
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// An entry that you know from elsewhere, such as from an agent: it must be in the chain
    #[arg(long, value_name = "SEQ:HASH", value_parser = parse_head)]
    contains: Vec<Head>,
}

/// Options of `audit export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Where to [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// An entry known from elsewhere.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    seq: u64,
    hash: Digest,
}

fn parse_head(text: &str) -> Result<Head, String> {
    let read = || {
        let (seq, hash) = text.split_once(':')?;
        Some(Head { seq: seq.parse().ok()?, hash: hash.parse().ok()? })
    };
    read().ok_or_else(|| "expected a position, a colon and 64 hexadecimal digits".to_owned())
}

/// What was verified, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Report {
    verified: bool,
    entries: u64,
    erased: u64,
    head: LedgerHead,
}

impl Audit {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        match self {
            Self::Verify(command) => command.run(cx).await,
            Self::Export(command) => command.run(cx).await,
        }
    }
}

impl Verify {
    async fn run(self, cx: &Context) -> Outcome {
        let mut chain = Chain { expected: self.contains, ..Chain::default() };
        match &self.file {
            Some(path) => read_file(path, |row| chain.add(row))?,
            None => {
                let api = cx.api()?;
                // Read before the rows: what is sealed meanwhile only makes the chain longer.
                let head = api.get::<GetHub>().await?.ledger;
                if head.seq > 0 {
                    chain.expected.push(Head { seq: head.seq, hash: head.hash });
                }
                read_hub(&api, |row| chain.add(&row)).await?;
            }
        }
        let report = chain.finish()?;
        cx.ui.data(&report, || {
            let (good, dim) = (style::GOOD, style::DIM);
            let erased =
                if report.erased > 0 { format!(", {} erased", report.erased) } else { String::new() };
            format!(
                "{good}The chain holds.{good:#} {} entries{erased}.\n{dim}newest {}:{}{dim:#}\n",
                report.entries, report.head.seq, report.head.hash
            )
        })?;
        done()
    }
}

impl Export {
    async fn run(self, cx: &Context) -> Outcome {
        let api = cx.api()?;
        let Some(path) = self.output else {
            read_hub(&api, |row| cx.ui.json_line(&row)).await?;
            return done();
        };
        let failed = |error| CliError::file("write", &path, error);
        let mut file = std::io::BufWriter::new(fs::File::create(&path).map_err(failed)?);
        let mut rows = 0_u64;
        let write = |row: LedgerRow| {
            rows += 1;
            let line = serde_json::to_string(&row).map_err(|e| failed(e.into()))?;
            writeln!(file, "{line}").map_err(failed)
        };
        read_hub(&api, write).await?;
        file.flush().map_err(failed)?;
        cx.ui.note(format!("{rows} entries written to {}", path.display()));
        done()
    }
}

async fn read_hub(
    api: &Api,
    mut take: impl FnMut(LedgerRow) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let mut after = None;
    loop {
        let query = LedgerQuery { after, limit: Some(BATCH) };
        let export = api.call::<ExportLedger>(Empty {}, query, Empty {}).await?;
        let Some(last) = export.rows.last().map(|row| row.seq) else { return Ok(()) };
        for row in export.rows {
            take(row)?;
        }
        after = Some(last);
    }
}

fn read_file(path: &Path, mut take: impl FnMut(&LedgerRow) -> Result<(), CliError>) -> Result<(), CliError> {
    let file = fs::File::open(path).map_err(|e| CliError::file("read", path, e))?;
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|e| CliError::file("read", path, e))?;
        if line.trim().is_empty() {
            continue;
        }
        let row: LedgerRow = serde_json::from_str(&line).map_err(|e| {
            broken(format!("{}:{} is not an entry of a ledger", path.display(), number + 1)).with_source(e)
        })?;
        take(&row)?;
    }
    Ok(())
}

/// The chain as far as it has been computed.
#[derive(Debug, Default)]
struct Chain {
    seq: u64,
    hash: Option<Digest>,
    erased: u64,
    expected: Vec<Head>,
}

impl Chain {
    fn hash(&self) -> Digest {
        self.hash.unwrap_or(Digest::from_bytes([0; 32]))
    }

    /// Checks that `row` is the next one, and that nothing in it was changed.
    fn add(&mut self, row: &LedgerRow) -> Result<(), CliError> {
        let seq = self.seq + 1;
        if row.seq != seq {
            return Err(broken(format!("entry {} stands where entry {seq} should", row.seq)));
        }
        match (&row.salt, &row.body) {
            (Some(salt), Some(body)) => {
                let salt = hex::decode(salt)
                    .map_err(|e| broken(format!("entry {seq}: its salt cannot be read")).with_source(e))?;
                if body_hash(&salt, body.as_bytes()) != row.body_hash {
                    return Err(broken(format!("entry {seq}: its text was changed")));
                }
                check_kind(row, body)?;
            }
            (None, None) => self.erased += 1,
            _ => {
                return Err(broken(format!(
                    "entry {seq}: text and salt must both be there or both be erased"
                )));
            }
        }
        let hash = chain_hash(self.hash(), seq, row.id, &row.kind, &row.refs, row.at, row.body_hash);
        if hash != row.hash {
            return Err(broken(format!(
                "entry {seq}: its hash does not follow from what comes before and what it says"
            )));
        }
        if let Some(other) = self.expected.iter().find(|head| head.seq == seq && head.hash != hash) {
            return Err(broken(format!("entry {seq} is {hash}, but {} was known of it", other.hash)));
        }
        (self.seq, self.hash) = (seq, Some(hash));
        Ok(())
    }

    fn finish(self) -> Result<Report, CliError> {
        if let Some(missing) = self.expected.iter().find(|head| head.seq > self.seq) {
            return Err(broken(format!(
                "the chain ends at entry {}, but entry {} is known",
                self.seq, missing.seq
            )));
        }
        let head = LedgerHead { seq: self.seq, hash: self.hash() };
        Ok(Report { verified: true, entries: self.seq, erased: self.erased, head })
    }
}

/// The kind is in the chain and in the body: both must say the same.
fn check_kind(row: &LedgerRow, body: &str) -> Result<(), CliError> {
    let seq = row.seq;
    let value: serde_json::Value = serde_json::from_str(body)
        .map_err(|e| broken(format!("entry {seq}: its text is not JSON")).with_source(e))?;
    if value["kind"].as_str() == Some(&row.kind) {
        Ok(())
    } else {
        Err(broken(format!("entry {seq}: it is filed as {} but says otherwise", row.kind)))
    }
}

fn broken(detail: String) -> CliError {
    CliError::new(ErrorCode::BS8006, detail)
        .hint("someone or something changed the record: compare with an earlier export, and with what agents witnessed")
}

#[cfg(test)]
mod tests {
    use backstay_types::{Refs, Timestamp};

    use super::*;

    fn ledger(n: u64) -> Vec<LedgerRow> {
        let mut hash = Digest::from_bytes([0; 32]);
        (1..=n)
            .map(|seq| {
                let body = format!("{{\"kind\":\"node_joined\",\"name\":\"n{seq}\"}}");
                let refs = Refs { stack: Some("web".parse().unwrap()), ..Refs::default() };
                let id = format!("019a2b3c-4d5e-7f60-8a9b-{seq:012x}").parse().unwrap();
                let at = Timestamp::from_second(i64::try_from(seq).unwrap()).unwrap();
                let body_hash = body_hash(b"salt", body.as_bytes());
                hash = chain_hash(hash, seq, id, "node_joined", &refs, at, body_hash);
                LedgerRow {
                    seq,
                    id,
                    at,
                    kind: "node_joined".to_owned(),
                    refs,
                    body_hash,
                    salt: Some(hex::encode(b"salt")),
                    body: Some(body),
                    hash,
                }
            })
            .collect()
    }

    fn verify(rows: &[LedgerRow], expected: &[Head]) -> Result<Report, CliError> {
        let mut chain = Chain { expected: expected.to_vec(), ..Chain::default() };
        rows.iter().try_for_each(|row| chain.add(row))?;
        chain.finish()
    }

    #[test]
    fn a_whole_chain_holds_and_erased_texts_leave_it_whole() {
        let mut rows = ledger(5);
        assert_eq!(verify(&rows, &[]).unwrap().head.hash, rows[4].hash);
        (rows[2].salt, rows[2].body) = (None, None);
        let report = verify(&rows, &[]).unwrap();
        assert_eq!((report.entries, report.erased), (5, 1));
        assert_eq!(verify(&[], &[]).unwrap().entries, 0);
    }

    #[test]
    fn every_change_is_seen() {
        let change: [fn(&mut Vec<LedgerRow>); 9] = [
            |rows| rows[2].body = Some("{\"kind\":\"node_joined\",\"name\":\"x\"}".into()),
            |rows| rows[2].kind = "node_revoked".into(),
            |rows| rows[2].at = Timestamp::from_second(99).unwrap(),
            |rows| rows[2].refs.stack = None,
            |rows| rows[2].id = rows[1].id,
            |rows| rows[2].salt = None,
            |rows| rows[2].hash = rows[1].hash,
            |rows| drop(rows.remove(2)),
            |rows| rows.swap(1, 2),
        ];
        for (i, change) in change.iter().enumerate() {
            let mut rows = ledger(5);
            change(&mut rows);
            assert!(verify(&rows, &[]).is_err(), "change {i}");
        }
    }

    #[test]
    fn a_witness_sees_a_rewritten_or_shortened_ledger() {
        let rows = ledger(5);
        let head = |seq: usize| Head { seq: seq as u64, hash: rows[seq - 1].hash };
        assert!(verify(&rows, &[head(3), head(5)]).is_ok());
        assert!(verify(&rows[..4], &[head(5)]).is_err());
        assert!(verify(&rows, &[Head { seq: 3, hash: rows[3].hash }]).is_err());
    }

    #[test]
    fn a_file_is_read_line_by_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.jsonl");
        let lines: String = ledger(3).iter().map(|row| serde_json::to_string(row).unwrap() + "\n").collect();
        fs::write(&path, format!("{lines}not json\n")).unwrap();
        let mut chain = Chain::default();
        let error = read_file(&path, |row| chain.add(row)).unwrap_err();
        assert!(error.to_string().contains("ledger.jsonl:4"), "{error}");
        assert_eq!(chain.seq, 3);
    }
}

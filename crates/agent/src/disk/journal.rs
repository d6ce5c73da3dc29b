//! `agent.db`: the authority for what the agent knows.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use backstay_agent_core::{Change, Journal, Transaction};
use backstay_api::agent::Report;
use rusqlite::{Connection, OpenFlags, params};
use serde::{Serialize, de::DeserializeOwned};

use crate::{AgentError, crash::crash_point};

const SCHEMA: &str = "
create table if not exists facts (key text primary key, value text not null) strict;
create table if not exists stacks (stack text primary key, record text not null) strict;
create table if not exists reports (seq integer primary key autoincrement, id text not null unique, report text not null) strict;
";
/// More reports than this are not kept; the oldest go first.
const SPOOL: i64 = 20_000;

/// The journal on disk.
#[derive(Debug)]
pub(crate) struct JournalDb {
    db: Connection,
}

impl JournalDb {
    /// Opens it. True when there was none that could be used: the journal is lost, and what was there
    /// is kept beside it.
    pub(crate) fn open(path: &Path) -> Result<(Self, Journal, bool), AgentError> {
        let was_there = path.exists();
        match Self::try_open(path) {
            Ok((db, journal)) => Ok((db, journal, !was_there)),
            Err(error) if is_damaged(&error) => {
                tracing::error!(path = %path.display(), %error, "the journal is damaged; beginning a new one");
                set_aside(path)?;
                let (db, journal) = Self::try_open(path)?;
                Ok((db, journal, true))
            }
            Err(error) => Err(error),
        }
    }

    fn try_open(path: &Path) -> Result<(Self, Journal), AgentError> {
        let db = Connection::open(path)?;
        db.busy_timeout(Duration::from_secs(5))?;
        db.pragma_update(None, "journal_mode", "wal")?;
        db.pragma_update(None, "synchronous", "full")?;
        db.pragma_update(None, "cache_size", -256)?;
        db.pragma_update(None, "wal_autocheckpoint", 64)?;
        db.execute_batch(SCHEMA)?;
        let db = Self { db };
        let journal = db.journal()?;
        Ok((db, journal))
    }

    /// Opens it to read, beside an agent that runs.
    pub(crate) fn read(path: &Path) -> Result<(Journal, u64), AgentError> {
        let db = Self { db: Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)? };
        db.db.busy_timeout(Duration::from_secs(5))?;
        let begun = "select count(*) = 3 from sqlite_schema where name in ('facts', 'stacks', 'reports')";
        if !db.db.query_row(begun, [], |row| row.get::<_, bool>(0))? {
            // An agent that has just been started for the first time has not come to that yet.
            return Ok((Journal::default(), 0));
        }
        let spooled: i64 = db.db.query_row("select count(*) from reports", [], |row| row.get(0))?;
        Ok((db.journal()?, u64::try_from(spooled).unwrap_or(0)))
    }

    fn journal(&self) -> Result<Journal, AgentError> {
        let mut journal = Journal {
            held: self.fact("held")?,
            operation: self.fact("operation")?,
            safety: self.fact("safety")?.unwrap_or_default(),
            ..Journal::default()
        };
        let mut statement = self.db.prepare("select stack, record from stacks")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let stack: String = row.get(0)?;
            let stack = stack.parse().map_err(|e| malformed(&format!("{e}")))?;
            journal.stacks.insert(stack, parse(&row.get::<_, String>(1)?)?);
        }
        Ok(journal)
    }

    fn fact<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, AgentError> {
        let mut statement = self.db.prepare("select value from facts where key = ?1")?;
        let mut rows = statement.query([key])?;
        rows.next()?.map(|row| parse(&row.get::<_, String>(0)?)).transpose()
    }

    /// Makes changes durable, all or none.
    pub(crate) fn persist(&mut self, transaction: &Transaction) -> Result<(), AgentError> {
        crash_point(&format!("{}.before", transaction.name));
        let tx = self.db.transaction()?;
        for change in &transaction.changes {
            apply(&tx, change)?;
        }
        crash_point(&format!("{}.open", transaction.name));
        tx.commit()?;
        crash_point(&format!("{}.after", transaction.name));
        Ok(())
    }

    /// The oldest reports that the hub does not have yet.
    pub(crate) fn spooled(&self, limit: usize) -> Result<Vec<Report>, AgentError> {
        let mut statement = self.db.prepare_cached("select report from reports order by seq limit ?1")?;
        let mut rows = statement.query([i64::try_from(limit).unwrap_or(i64::MAX)])?;
        let mut reports = Vec::new();
        while let Some(row) = rows.next()? {
            reports.push(parse(&row.get::<_, String>(0)?)?);
        }
        Ok(reports)
    }
}

fn apply(tx: &Connection, change: &Change) -> Result<(), AgentError> {
    let set = "insert into facts (key, value) values (?1, ?2) on conflict (key) do update set value = excluded.value";
    match change {
        Change::Hold(statement) => tx.prepare_cached(set)?.execute(params!["held", text(statement)?])?,
        Change::Operation(Some(operation)) => {
            tx.prepare_cached(set)?.execute(params!["operation", text(operation)?])?
        }
        Change::Safety(safety) => tx.prepare_cached(set)?.execute(params!["safety", text(safety)?])?,
        Change::Operation(None) => tx.execute("delete from facts where key = 'operation'", [])?,
        Change::Stack(stack, record) => {
            let set = "insert into stacks (stack, record) values (?1, ?2) on conflict (stack) do update set record = excluded.record";
            tx.prepare_cached(set)?.execute(params![stack.as_str(), text(record)?])?
        }
        Change::Report(report) => {
            let add = "insert into reports (id, report) values (?1, ?2)";
            tx.prepare_cached(add)?.execute(params![report.id.to_string(), text(report)?])?;
            let oldest = "delete from reports where seq <= (select max(seq) from reports) - ?1";
            tx.prepare_cached(oldest)?.execute([SPOOL])?
        }
        Change::Forget(ids) => {
            let mut statement = tx.prepare_cached("delete from reports where id = ?1")?;
            for id in ids {
                statement.execute([id.to_string()])?;
            }
            0
        }
    };
    Ok(())
}

fn text(value: &impl Serialize) -> Result<String, AgentError> {
    serde_json::to_string(value).map_err(|error| AgentError::Other(error.to_string()))
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, AgentError> {
    serde_json::from_str(text).map_err(|error| malformed(&error.to_string()))
}

fn malformed(reason: &str) -> AgentError {
    AgentError::Malformed { path: PathBuf::from("agent.db"), reason: reason.to_owned() }
}

/// Whether the file itself is beyond use, as against a disk that is full or read-only for now.
fn is_damaged(error: &AgentError) -> bool {
    match error {
        AgentError::Malformed { .. } => true,
        AgentError::Journal(error) => matches!(
            error.sqlite_error_code(),
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase)
        ),
        _ => false,
    }
}

fn set_aside(path: &Path) -> Result<(), AgentError> {
    for suffix in ["", "-wal", "-shm"] {
        let from = PathBuf::from(format!("{}{suffix}", path.display()));
        if from.exists() {
            let to = PathBuf::from(format!("{}.damaged{suffix}", path.display()));
            fs::rename(&from, &to).map_err(AgentError::io(from))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {

    use super::*;

    fn change() -> Transaction {
        let changes = vec![Change::Stack("web".parse().unwrap(), Box::default())];
        Transaction { name: "test", changes }
    }

    #[test]
    fn what_was_persisted_is_there_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.db");
        let (mut db, journal, lost) = JournalDb::open(&path).unwrap();
        assert!(lost && journal == Journal::default());
        db.persist(&change()).unwrap();
        drop(db);
        let (_, journal, lost) = JournalDb::open(&path).unwrap();
        assert!(!lost && journal.stacks.len() == 1);
    }

    #[test]
    fn a_damaged_journal_is_set_aside_and_counts_as_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.db");
        fs::write(&path, vec![7; 8192]).unwrap();
        let (_, journal, lost) = JournalDb::open(&path).unwrap();
        assert!(lost && journal == Journal::default());
        assert!(dir.path().join("agent.db.damaged").exists());
    }
}

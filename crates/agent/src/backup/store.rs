//! What is durable of backups, in `agent.db` beside the journal: outcomes that the hub does not have yet, what stands still,
//! and how far a restore in place is.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use backstay_types::{BackupJobId, DeploymentId, backup::WorkOutcome};
use rusqlite::{Connection, params};
use serde::{Serialize, de::DeserializeOwned};

use super::{drill::Drilling, restore::Restoring, still::Thing};
use crate::crash::crash_point;

const SCHEMA: &str = "
create table if not exists backup_outcomes (job text primary key, outcome text not null) strict;
create table if not exists backup_stills (id integer primary key, things text not null) strict;
create table if not exists backup_drill (one integer primary key check (one = 1), state text not null) strict;
create table if not exists backup_exchanges (deployment text primary key, state text not null) strict;
create table if not exists backup_restore (one integer primary key check (one = 1), state text not null) strict;
";

/// A connection of its own to the agent's database.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    db: Arc<Mutex<Connection>>,
    path: PathBuf,
}

/// An outcome that cannot be kept is an error for people, with the file.
type Kept<T> = Result<T, String>;

impl Store {
    pub(crate) fn open(path: &Path) -> rusqlite::Result<Self> {
        let db = Connection::open(path)?;
        db.busy_timeout(Duration::from_secs(10))?;
        db.pragma_update(None, "synchronous", "full")?;
        db.execute_batch(SCHEMA)?;
        Ok(Self { db: Arc::new(Mutex::new(db)), path: path.to_owned() })
    }

    /// Keeps how a job ended until the hub has it. A restore in place is over with that.
    pub(crate) fn ended(&self, job: BackupJobId, outcome: &WorkOutcome) -> Kept<()> {
        crash_point("backup.outcome.before");
        let text = text(outcome)?;
        self.with(|db| {
            let tx = db.transaction()?;
            tx.execute(
                "insert or replace into backup_outcomes (job, outcome) values (?1, ?2)",
                params![job.to_string(), text],
            )?;
            tx.execute("delete from backup_restore", [])?;
            tx.commit()
        })?;
        crash_point("backup.outcome.after");
        Ok(())
    }

    /// Keeps once more how a job ended that the hub may not have been told of.
    pub(crate) fn keep(&self, job: BackupJobId, outcome: &WorkOutcome) -> Kept<()> {
        let text = text(outcome)?;
        let keep = "insert or ignore into backup_outcomes (job, outcome) values (?1, ?2)";
        self.with(|db| db.execute(keep, params![job.to_string(), text]).map(drop))
    }

    /// The outcomes that the hub does not have.
    pub(crate) fn untold(&self) -> Vec<(BackupJobId, WorkOutcome)> {
        let rows: Vec<(String, String)> = self.rows("select job, outcome from backup_outcomes order by job");
        rows.into_iter().filter_map(|(job, outcome)| Some((job.parse().ok()?, parse(&outcome)?))).collect()
    }

    /// The hub has it.
    pub(crate) fn told(&self, job: BackupJobId) -> Kept<()> {
        crash_point("backup.told.before");
        self.with(|db| {
            db.execute("delete from backup_outcomes where job = ?1", [job.to_string()]).map(drop)
        })?;
        crash_point("backup.told.after");
        Ok(())
    }

    /// Writes down what is about to stand still.
    pub(crate) fn stands_still(&self, things: &[Thing]) -> Kept<i64> {
        let text = text(&things)?;
        self.with(|db| {
            db.execute("insert into backup_stills (things) values (?1)", [text])?;
            Ok(db.last_insert_rowid())
        })
    }

    /// It does not any more.
    pub(crate) fn moves_again(&self, row: i64) -> Kept<()> {
        self.with(|db| db.execute("delete from backup_stills where id = ?1", [row]).map(drop))
    }

    /// What may still stand still.
    pub(crate) fn standing_still(&self) -> Vec<(i64, Vec<Thing>)> {
        let rows: Vec<(i64, String)> = self.rows("select id, things from backup_stills order by id");
        rows.into_iter().filter_map(|(row, things)| Some((row, parse(&things)?))).collect()
    }

    /// Writes down how far a restore in place is, before it goes there.
    pub(crate) fn restoring(&self, state: &Restoring) -> Kept<()> {
        let what = if state.deployment.is_some() { "exchange" } else { "restore" };
        let word = state.phase.word();
        crash_point(&format!("{what}.{word}.before"));
        let text = text(state)?;
        self.with(|db| match state.deployment {
            Some(deployment) => {
                let set = "insert or replace into backup_exchanges (deployment, state) values (?1, ?2)";
                db.execute(set, params![deployment.to_string(), text]).map(drop)
            }
            None => {
                let set = "insert or replace into backup_restore (one, state) values (1, ?1)";
                db.execute(set, [text]).map(drop)
            }
        })?;
        crash_point(&format!("{what}.{word}.after"));
        Ok(())
    }

    /// Data that goes into place together with a deployment's release, or went, and is not brought to its end.
    pub(crate) fn exchanges(&self) -> Vec<Restoring> {
        let select = "select deployment, state from backup_exchanges order by deployment";
        let rows: Vec<(String, String)> = self.rows(select);
        rows.into_iter().filter_map(|(_, state)| parse(&state)).collect()
    }

    /// That of one deployment.
    pub(crate) fn exchange(&self, deployment: DeploymentId) -> Option<Restoring> {
        self.exchanges().into_iter().find(|state| state.deployment == Some(deployment))
    }

    /// It is at its end.
    pub(crate) fn exchange_over(&self, deployment: DeploymentId) -> Kept<()> {
        crash_point("exchange.over.before");
        let delete = "delete from backup_exchanges where deployment = ?1";
        self.with(|db| db.execute(delete, [deployment.to_string()]).map(drop))?;
        crash_point("exchange.over.after");
        Ok(())
    }

    /// The restore in place that is under way.
    pub(crate) fn restore(&self) -> Option<Restoring> {
        let rows: Vec<(i64, String)> = self.rows("select one, state from backup_restore");
        rows.into_iter().find_map(|(_, state)| parse(&state))
    }

    /// No restore in place is under way any more.
    pub(crate) fn not_restoring(&self) -> Kept<()> {
        self.with(|db| db.execute("delete from backup_restore", []).map(drop))
    }

    /// Writes down what a drill is about to make, before it does.
    pub(crate) fn drilling(&self, state: &Drilling) -> Kept<()> {
        let text = text(state)?;
        self.with(|db| {
            db.execute("insert or replace into backup_drill (one, state) values (1, ?1)", [text]).map(drop)
        })
    }

    /// What a drill has made, or was about to.
    pub(crate) fn drill(&self) -> Option<Drilling> {
        let rows: Vec<(i64, String)> = self.rows("select one, state from backup_drill");
        rows.into_iter().find_map(|(_, state)| parse(&state))
    }

    /// Nothing of a drill is left.
    pub(crate) fn not_drilling(&self) -> Kept<()> {
        self.with(|db| db.execute("delete from backup_drill", []).map(drop))
    }

    fn rows<A: rusqlite::types::FromSql, B: rusqlite::types::FromSql>(&self, sql: &str) -> Vec<(A, B)> {
        let read = self.with(|db| {
            let mut statement = db.prepare(sql)?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        });
        read.unwrap_or_else(|error| {
            tracing::error!(%error, "what is known of backups cannot be read");
            Vec::new()
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Kept<T> {
        let mut db = self.db.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut db).map_err(|error| format!("{}: {error}", self.path.display()))
    }
}

fn text(value: &impl Serialize) -> Kept<String> {
    serde_json::to_string(value).map_err(|error| error.to_string())
}

/// What cannot be read was written by another version, and says nothing to this one.
fn parse<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text).inspect_err(|error| tracing::error!(%error, "a record of a backup")).ok()
}

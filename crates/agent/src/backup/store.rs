//! What is durable of backups, in `agent.db` beside the journal: outcomes that the hub does not have yet, what stands still,
//! and how far a restore in place is.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use backstay_types::{BackupJobId, DeploymentId, StackName, backup::WorkOutcome};
use rusqlite::{Connection, Params, params, types::FromSql};
use serde::{Serialize, de::DeserializeOwned};

use super::{drill::Drilling, hooks::Due, restore::Restoring, still::Thing};
use crate::crash::crash_point;

const SCHEMA: &str = "
create table if not exists backup_outcomes (job text primary key, outcome text not null) strict;
create table if not exists backup_stills (id integer primary key, things text not null) strict;
create table if not exists backup_drill (one integer primary key check (one = 1), state text not null) strict;
create table if not exists backup_exchanges (deployment text primary key, state text not null) strict;
create table if not exists backup_hooks (
    stack text not null, item text not null, due text not null, primary key (stack, item)
) strict;
create table if not exists backup_restore (one integer primary key check (one = 1), state text not null) strict;
";

/// A connection of its own to the agent's database.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    db: Arc<Mutex<Connection>>,
    path: PathBuf,
}

/// What cannot be kept or read is an error for people, with the file. Nothing that is read is taken for nothing that is
/// there: data would be left half-way in place.
pub(crate) type Kept<T> = Result<T, String>;

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
    pub(crate) fn untold(&self) -> Kept<Vec<(BackupJobId, WorkOutcome)>> {
        let rows: Vec<(String, String)> =
            self.rows("select job, outcome from backup_outcomes order by job", [])?;
        let known = |(job, outcome): (String, String)| Some((job.parse().ok()?, said(&outcome)?));
        Ok(rows.into_iter().filter_map(known).collect())
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
    pub(crate) fn standing_still(&self) -> Kept<Vec<(i64, Vec<Thing>)>> {
        let rows: Vec<(i64, String)> = self.rows("select id, things from backup_stills order by id", [])?;
        Ok(rows.into_iter().filter_map(|(row, things)| Some((row, said(&things)?))).collect())
    }

    /// Writes down that a hook is to run, before what makes it so.
    pub(crate) fn hook_due(&self, due: &Due) -> Kept<()> {
        let insert = "insert or replace into backup_hooks (stack, item, due) values (?1, ?2, ?3)";
        let text = text(due)?;
        self.with(|db| db.execute(insert, params![due.stack.as_str(), due.item, text]).map(drop))
    }

    /// It ran.
    pub(crate) fn hook_done(&self, stack: &StackName, item: &str) -> Kept<()> {
        let delete = "delete from backup_hooks where stack = ?1 and item = ?2";
        self.with(|db| db.execute(delete, params![stack.as_str(), item]).map(drop))
    }

    /// The hooks that are to run.
    pub(crate) fn hooks_due(&self) -> Kept<Vec<Due>> {
        let rows: Vec<(String, String)> =
            self.rows("select stack, due from backup_hooks order by stack, item", [])?;
        Ok(rows.into_iter().filter_map(|(_, due)| said(&due)).collect())
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

    /// The deployments whose data goes into place together with them, or went, and is not brought to its end.
    pub(crate) fn exchanging(&self) -> Kept<Vec<DeploymentId>> {
        let rows: Vec<(String, i64)> =
            self.rows("select deployment, 1 from backup_exchanges order by deployment", [])?;
        Ok(rows.into_iter().filter_map(|(deployment, _)| deployment.parse().ok()).collect())
    }

    /// How far that of one deployment is.
    pub(crate) fn exchange(&self, deployment: DeploymentId) -> Kept<Option<Restoring>> {
        let select = "select deployment, state from backup_exchanges where deployment = ?1";
        let rows: Vec<(String, String)> = self.rows(select, [deployment.to_string()])?;
        rows.into_iter().next().map(|(_, state)| self.parse(&state)).transpose()
    }

    /// Those of a stack.
    pub(crate) fn exchanges_of(&self, stack: &StackName) -> Kept<Vec<Restoring>> {
        let select = "select deployment, state from backup_exchanges \
                      where json_extract(state, '$.stack') = ?1 order by deployment";
        let rows: Vec<(String, String)> = self.rows(select, [stack.to_string()])?;
        rows.into_iter().map(|(_, state)| self.parse(&state)).collect()
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
    pub(crate) fn restore(&self) -> Kept<Option<Restoring>> {
        let rows: Vec<(i64, String)> = self.rows("select one, state from backup_restore", [])?;
        rows.into_iter().next().map(|(_, state)| self.parse(&state)).transpose()
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
    pub(crate) fn drill(&self) -> Kept<Option<Drilling>> {
        let rows: Vec<(i64, String)> = self.rows("select one, state from backup_drill", [])?;
        rows.into_iter().next().map(|(_, state)| self.parse(&state)).transpose()
    }

    /// Nothing of a drill is left.
    pub(crate) fn not_drilling(&self) -> Kept<()> {
        self.with(|db| db.execute("delete from backup_drill", []).map(drop))
    }

    fn rows<A: FromSql, B: FromSql>(&self, sql: &str, values: impl Params) -> Kept<Vec<(A, B)>> {
        self.with(|db| {
            let mut statement = db.prepare(sql)?;
            let rows = statement.query_map(values, |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })
    }

    /// What cannot be read was written by another version, which knows what it means.
    fn parse<T: DeserializeOwned>(&self, text: &str) -> Kept<T> {
        serde_json::from_str(text).map_err(|error| {
            format!("{}: what is half-way in place cannot be read: {error}", self.path.display())
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

/// What cannot be read was written by another version, and says nothing to this one. Nothing hangs on it.
fn said<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text).inspect_err(|error| tracing::error!(%error, "a record of a backup")).ok()
}

#[cfg(test)]
mod tests {
    use backstay_types::World;

    use super::*;

    #[test]
    fn what_cannot_be_read_is_not_taken_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.db");
        let store = Store::open(&path).unwrap();
        let world: World = crate::world::system();
        let (deployment, stack) = (world.mint(), "web".parse().unwrap());
        assert!(store.exchange(deployment).unwrap().is_none());
        let other = Connection::open(&path).unwrap();
        let newer = r#"{"stack": "web", "phase": {"phase": "of a newer agent"}}"#;
        other
            .execute("insert into backup_exchanges values (?1, ?2)", params![deployment.to_string(), newer])
            .unwrap();
        other.execute("insert into backup_restore values (1, ?1)", [newer]).unwrap();
        assert_eq!(store.exchanging().unwrap(), [deployment]);
        assert!(store.exchange(deployment).unwrap_err().contains("agent.db"));
        assert!(store.exchanges_of(&stack).is_err() && store.restore().is_err());
        assert!(
            store.exchanges_of(&"other".parse().unwrap()).unwrap().is_empty(),
            "it is not about that one"
        );
        for table in ["exchanges", "restore", "drill", "stills", "hooks", "outcomes"] {
            other.execute_batch(&format!("drop table backup_{table}")).unwrap();
        }
        assert!(store.exchange(deployment).is_err() && store.exchanges_of(&stack).is_err());
        assert!(store.exchanging().is_err() && store.restore().is_err() && store.drill().is_err());
        assert!(store.standing_still().is_err() && store.hooks_due().is_err() && store.untold().is_err());
    }
}

//! Properties of the chain: nothing that was sealed can change unseen, and whatever happens, it holds.

use std::time::Duration;

use backstay_store::ledger::{self, Flaw};
use backstay_types::*;
use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{Config, TestRunner},
};
use tokio::{runtime::Handle, task::block_in_place};

use crate::fixture::{Fixture, RawConnection, both, commit, stack};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How a column is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Int,
    Text,
    Bytes,
}

/// A table's name, its key, its columns.
type Table = (&'static str, &'static str, &'static [(&'static str, Form)]);

/// Every column of every table that holds sealed entries.
const TABLES: [Table; 4] = [
    (
        "ledger",
        "seq",
        &[
            ("seq", Form::Int),
            ("id", Form::Text),
            ("at", Form::Int),
            ("kind", Form::Text),
            ("conversation_id", Form::Text),
            ("repository_id", Form::Text),
            ("commit_id", Form::Text),
            ("stack", Form::Text),
            ("release_id", Form::Text),
            ("rollout_id", Form::Text),
            ("deployment_id", Form::Text),
            ("node_id", Form::Text),
            ("undo_id", Form::Text),
            ("constraint_id", Form::Text),
            ("body_hash", Form::Text),
            ("hash", Form::Text),
        ],
    ),
    ("ledger_bodies", "seq", &[("seq", Form::Int), ("salt", Form::Bytes), ("body", Form::Text)]),
    (
        "ledger_head",
        "one",
        &[("seq", Form::Int), ("hash", Form::Text), ("day", Form::Int), ("digest", Form::Text)],
    ),
    (
        "ledger_segments",
        "number",
        &[
            ("number", Form::Int),
            ("day", Form::Int),
            ("first_seq", Form::Int),
            ("last_seq", Form::Int),
            ("hash", Form::Text),
            ("digest", Form::Text),
        ],
    ),
];

/// One value of one row.
#[derive(Debug, Clone)]
struct Cell {
    table: &'static str,
    key: &'static str,
    row: String,
    column: &'static str,
    form: Form,
    /// As text; bytes as hexadecimal digits.
    value: Option<String>,
}

impl Cell {
    /// Another value for this cell: one byte or bit of it is another. What was absent appears, and what is there
    /// may vanish where the column allows it.
    fn mutated(&self, at: impl Fn(usize) -> usize, how: u8) -> Option<String> {
        let Some(value) = &self.value else { return Some("00000000-0000-7000-8000-000000000000".into()) };
        match self.form {
            Form::Int => {
                // A key must not become that of another row, which the database itself would refuse.
                let bit = if self.column == self.key { 8 + how % 32 } else { how % 40 };
                Some((value.parse::<i64>().unwrap() ^ (1 << bit)).to_string())
            }
            Form::Bytes => {
                let at = at(value.len());
                let digit = u8::from_str_radix(&value[at..=at], 16).unwrap() ^ (1 << (how % 4));
                Some(format!("{}{digit:x}{}", &value[..at], &value[at + 1..]))
            }
            Form::Text if self.column.ends_with("_id") && how == 255 => None,
            Form::Text => {
                let mut chars: Vec<char> = value.chars().collect();
                let at = at(chars.len());
                // The other case of a letter is the least that can change.
                chars[at] = match chars[at] {
                    c if c.is_ascii_lowercase() && how.is_multiple_of(2) => c.to_ascii_uppercase(),
                    c if c.is_ascii_digit() => char::from(b'0' + (c as u8 - b'0' + 1 + how % 9) % 10),
                    'x' => 'y',
                    _ => 'x',
                };
                Some(chars.into_iter().collect())
            }
        }
    }

    async fn write(&self, raw: &mut RawConnection, row: &str, value: Option<&str>) {
        let literal = match (value, self.form, &raw) {
            (None, ..) => "NULL".to_owned(),
            (Some(value), Form::Int, _) => value.to_owned(),
            (Some(value), Form::Text, _) => format!("'{}'", value.replace('\'', "''")),
            (Some(value), Form::Bytes, RawConnection::Sqlite(_)) => format!("x'{value}'"),
            (Some(value), Form::Bytes, RawConnection::Postgres(_)) => format!("'\\x{value}'"),
        };
        let Self { table, key, column, .. } = self;
        let touched = raw.run(format!("UPDATE {table} SET {column} = {literal} WHERE {key} = {row}")).await;
        assert_eq!(touched, 1, "{self:?}");
    }

    /// What a check finds while this cell holds `value`.
    async fn check_with(&self, t: &Fixture, raw: &mut RawConnection, value: Option<&str>) -> Option<Flaw> {
        self.write(raw, &self.row, value).await;
        let flaw = ledger::verify(&mut t.store.read(), 1, None).await.unwrap().flaw;
        let row = if self.column == self.key { value.unwrap_or(&self.row) } else { &self.row };
        self.write(raw, row, self.value.as_deref()).await;
        flaw
    }
}

async fn cells(raw: &mut RawConnection) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (table, key, columns) in TABLES {
        let rows = raw.texts(format!("SELECT CAST({key} AS TEXT) FROM {table} ORDER BY {key}")).await;
        for &(column, form) in columns {
            let read = match (form, &raw) {
                (Form::Bytes, RawConnection::Sqlite(_)) => format!("LOWER(HEX({column}))"),
                (Form::Bytes, RawConnection::Postgres(_)) => format!("ENCODE({column}, 'hex')"),
                _ => format!("CAST({column} AS TEXT)"),
            };
            let values = raw.texts(format!("SELECT {read} FROM {table} ORDER BY {key}")).await;
            cells.extend(rows.iter().flatten().zip(values).map(|(row, value)| {
                let row = row.clone();
                Cell { table, key, row, column, form, value }
            }));
        }
    }
    cells
}

/// Three days of entries: two segments closed, one body erased.
async fn a_ledger(t: &Fixture) {
    for _ in 0..3 {
        let mut tx = t.begin().await;
        let full = Refs {
            conversation: Some(t.mint()),
            repository: Some(t.mint()),
            commit: Some(commit("abcdef0")),
            stack: Some(stack("web")),
            release: Some(t.mint()),
            rollout: Some(t.mint()),
            deployment: Some(t.mint()),
            node: Some(t.mint()),
            undo: Some(t.mint()),
            constraint: Some(t.mint()),
        };
        tx.record(Event::DeploymentStarted, full).unwrap();
        let asked = Event::UndoRequested { by: "someone".into(), reason: "it's broken".into() };
        tx.record(asked, Refs { undo: Some(t.mint()), ..Refs::default() }).unwrap();
        tx.commit().await.unwrap();
        t.seal().await;
        t.world.advance(DAY);
    }
    let mut tx = t.begin().await;
    assert!(ledger::erase_body(&mut tx, 4).await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(ledger::verify(&mut t.store.read(), 1, None).await.unwrap().flaw, None);
}

async fn any_mutated_byte_of_any_row_is_found(t: Fixture) {
    a_ledger(&t).await;
    let mut raw = t.raw().await;
    let cells = cells(&mut raw).await;
    assert!(cells.len() > 6 * 16, "{}", cells.len());
    // Every cell once, so that no column is left to chance …
    for cell in &cells {
        let value = cell.mutated(|len| len / 2, 30);
        let flaw = cell.check_with(&t, &mut raw, value.as_deref()).await;
        assert!(flaw.is_some(), "{cell:?} became {value:?} unseen");
    }
    // … and then any byte.
    let raw = std::cell::RefCell::new(raw);
    let mut runner = TestRunner::new(Config {
        cases: 300,
        max_shrink_iters: 0,
        failure_persistence: None,
        ..Config::default()
    });
    let handle = Handle::current();
    block_in_place(|| {
        runner.run(&(any::<Index>(), any::<Index>(), any::<u8>()), |(cell, at, how)| {
            let cell = cell.get(&cells);
            let value = cell.mutated(|len| at.index(len), how);
            prop_assume!(value != cell.value);
            let raw = &mut *raw.borrow_mut();
            let flaw = handle.block_on(cell.check_with(&t, raw, value.as_deref()));
            prop_assert!(flaw.is_some(), "{cell:?} became {value:?} unseen");
            Ok(())
        })
    })
    .unwrap();
    assert_eq!(ledger::verify(&mut t.store.read(), 1, None).await.unwrap().flaw, None, "all was put back");
}

async fn missing_added_and_exchanged_rows_are_found(t: Fixture) {
    a_ledger(&t).await;
    let raw = &mut t.raw().await;
    let finds = async |raw: &mut RawConnection, sql: &[&str]| {
        // The rows as they are, to put them back.
        for table in TABLES.map(|(table, ..)| table) {
            raw.run(format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}")).await;
        }
        for sql in sql {
            assert!(raw.run((*sql).to_owned()).await > 0, "{sql}");
        }
        let flaw = ledger::verify(&mut t.store.read(), 1, None).await.unwrap().flaw;
        for table in TABLES.map(|(table, ..)| table) {
            raw.run(format!("DELETE FROM {table}")).await;
            raw.run(format!("INSERT INTO {table} SELECT * FROM kept_{table}")).await;
            raw.run(format!("DROP TABLE kept_{table}")).await;
        }
        assert!(flaw.is_some(), "{sql:?} went unseen");
        flaw.unwrap().seq
    };
    assert_eq!(finds(raw, &["DELETE FROM ledger WHERE seq = 3"]).await, 3);
    assert_eq!(finds(raw, &["DELETE FROM ledger WHERE seq = 1"]).await, 1);
    assert_eq!(finds(raw, &["DELETE FROM ledger WHERE seq = 6"]).await, 6);
    finds(raw, &["DELETE FROM ledger", "DELETE FROM ledger_bodies"]).await;
    finds(raw, &["DELETE FROM ledger_head"]).await;
    finds(raw, &["DELETE FROM ledger_segments WHERE number = 1"]).await;
    finds(raw, &["UPDATE ledger_head SET seq = 5, hash = (SELECT hash FROM ledger WHERE seq = 5)"]).await;
    let exchange = |table: &str| {
        [(1, 99), (2, 1), (99, 2)]
            .map(|(from, to)| format!("UPDATE {table} SET seq = {to} WHERE seq = {from}"))
    };
    for table in ["ledger", "ledger_bodies"] {
        let [a, b, c] = exchange(table);
        finds(raw, &[&a, &b, &c]).await;
    }
    assert_eq!(ledger::verify(&mut t.store.read(), 1, None).await.unwrap().flaw, None, "all was put back");
}

/// What may happen to a ledger.
#[derive(Debug, Clone)]
enum Step {
    Record(usize),
    RollBack(usize),
    Seal,
    NextDay,
    ClockBack,
    Erase(Index),
    Prune(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..5_usize).prop_map(Step::Record),
        1 => (1..5_usize).prop_map(Step::RollBack),
        3 => Just(Step::Seal),
        2 => Just(Step::NextDay),
        1 => Just(Step::ClockBack),
        1 => any::<Index>().prop_map(Step::Erase),
        1 => (0..4_u8).prop_map(Step::Prune),
    ];
    prop::collection::vec(step, 1..12)
}

async fn take(t: &Fixture, step: &Step, recorded: &mut u64) {
    match step {
        Step::Record(count) => {
            t.record(*count).await;
            *recorded += *count as u64;
        }
        Step::RollBack(count) => {
            let mut tx = t.begin().await;
            for _ in 0..*count {
                tx.record(Event::DeploymentStarted, Refs::default()).unwrap();
            }
        }
        Step::Seal => t.seal().await,
        Step::NextDay => t.world.advance(DAY),
        Step::ClockBack => t.world.set(t.world.now().checked_sub(Duration::from_secs(7200)).unwrap()),
        Step::Erase(at) => {
            let head = ledger::head(&mut t.store.read()).await.unwrap().seq;
            let mut tx = t.begin().await;
            ledger::erase_body(&mut tx, at.index(usize::try_from(head).unwrap() + 1) as u64).await.unwrap();
            tx.commit().await.unwrap();
        }
        Step::Prune(days) => {
            let before = t.world.now().checked_sub(DAY * u32::from(*days)).unwrap();
            let mut tx = t.begin().await;
            ledger::prune(&mut tx, before).await.unwrap();
            tx.commit().await.unwrap();
        }
    }
}

async fn whatever_happens_the_chain_is_gapless_and_verifies(t: Fixture) {
    let mut runner = TestRunner::new(Config {
        cases: 25,
        // All cases go on with one ledger.
        max_shrink_iters: 0,
        failure_persistence: None,
        ..Config::default()
    });
    let handle = Handle::current();
    let recorded = std::cell::Cell::new(0);
    block_in_place(|| {
        runner.run(&steps(), |steps| {
            handle.block_on(async {
                let mut count = recorded.get();
                for step in &steps {
                    take(&t, step, &mut count).await;
                }
                t.seal().await;
                recorded.set(count);
                let read = &mut t.store.read();
                let verified = ledger::verify(read, 1, None).await.unwrap();
                prop_assert_eq!(verified.flaw, None);
                prop_assert_eq!(
                    verified.head.seq,
                    count,
                    "nothing recorded is lost, nothing rolled back is there"
                );
                let kept = ledger::chain_rows(read, 0, 100_000).await.unwrap();
                prop_assert_eq!(kept.len() as u64, verified.entries);
                prop_assert!(kept.windows(2).all(|pair| pair[0].seq + 1 == pair[1].seq));
                Ok(())
            })
        })
    })
    .unwrap();
}

both!(
    any_mutated_byte_of_any_row_is_found,
    missing_added_and_exchanged_rows_are_found,
    whatever_happens_the_chain_is_gapless_and_verifies,
);

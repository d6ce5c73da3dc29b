//! Statements and rows, the same for SQLite and PostgreSQL. Placeholders are `$1`, `$2`, … on both.

use std::{borrow::Cow, fmt::Write as _, future::Future};

use serde::de::DeserializeOwned;
use sqlx::{
    AssertSqlSafe, ColumnIndex, Decode, Encode, Postgres, SqlSafeStr as _, SqlStr, Sqlite, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgArguments, PgRow, PgTypeInfo, types::Oid},
    sqlite::{SqliteArguments, SqliteRow},
};

use crate::{
    Result, StoreError, Tx,
    value::{Bind, Column, Value, from_word},
};

/// What can answer reads: a [`Reader`](crate::Reader), a [`Snapshot`](crate::Snapshot) or a [`Tx`].
pub trait Executor: Send {
    /// Runs a read and gives all its rows.
    #[doc(hidden)]
    fn fetch(&mut self, query: Query) -> impl Future<Output = Result<Vec<Row>>> + Send;
}

/// A statement with its values.
#[derive(Debug)]
pub struct Query {
    sql: Cow<'static, str>,
    args: Vec<Value>,
}

/// A statement from constant text.
pub(crate) fn query(sql: &'static str) -> Query {
    Query { sql: Cow::Borrowed(sql), args: Vec::new() }
}

impl Query {
    /// Gives the next placeholder's value.
    pub(crate) fn bind(mut self, value: impl Bind) -> Self {
        self.args.push(value.value());
        self
    }

    /// Appends constant text.
    pub(crate) fn push(&mut self, sql: &'static str) -> &mut Self {
        self.sql.to_mut().push_str(sql);
        self
    }

    /// Appends a placeholder and gives its value.
    pub(crate) fn push_bind(&mut self, value: impl Bind) -> &mut Self {
        self.args.push(value.value());
        let number = self.args.len();
        let _ = write!(self.sql.to_mut(), "${number}");
        self
    }

    /// Appends `($n, $m, …)`.
    pub(crate) fn push_list(&mut self, values: impl IntoIterator<Item = impl Bind>) -> &mut Self {
        self.push("(");
        for (i, value) in values.into_iter().enumerate() {
            if i > 0 {
                self.push(", ");
            }
            self.push_bind(value);
        }
        self.push(")")
    }

    /// All rows, read by `map`.
    pub(crate) async fn all<T>(
        self,
        ex: &mut impl Executor,
        map: impl Fn(&Row) -> Result<T>,
    ) -> Result<Vec<T>> {
        ex.fetch(self).await?.iter().map(map).collect()
    }

    /// The first row, if any, read by `map`.
    pub(crate) async fn optional<T>(
        self,
        ex: &mut impl Executor,
        map: impl Fn(&Row) -> Result<T>,
    ) -> Result<Option<T>> {
        ex.fetch(self).await?.first().map(map).transpose()
    }

    /// Runs a write; gives the number of rows that it touched.
    pub(crate) async fn run(self, tx: &mut Tx) -> Result<u64> {
        tx.execute(self).await
    }

    /// Runs a write that must touch exactly one row, else the row is stale.
    pub(crate) async fn run_one(self, tx: &mut Tx, what: &'static str, id: impl ToString) -> Result<()> {
        match tx.execute(self).await? {
            1 => Ok(()),
            _ => Err(StoreError::stale(what, id)),
        }
    }

    pub(crate) fn into_sqlite(self) -> Result<(SqlStr, SqliteArguments)> {
        let mut args = SqliteArguments::default();
        for value in self.args {
            add_sqlite(&mut args, value).map_err(|e| StoreError::Database(sqlx::Error::Encode(e)))?;
        }
        Ok((sql_str(self.sql), args))
    }

    pub(crate) fn into_postgres(self) -> Result<(SqlStr, PgArguments)> {
        let mut args = PgArguments::default();
        for value in self.args {
            add_postgres(&mut args, value).map_err(|e| StoreError::Database(sqlx::Error::Encode(e)))?;
        }
        Ok((sql_str(self.sql), args))
    }
}

fn sql_str(sql: Cow<'static, str>) -> SqlStr {
    match sql {
        Cow::Borrowed(sql) => sql.into_sql_str(),
        // Built from constant pieces and placeholders only; see `push`.
        Cow::Owned(sql) => AssertSqlSafe(sql).into_sql_str(),
    }
}

fn add_sqlite(args: &mut SqliteArguments, value: Value) -> Result<(), BoxDynError> {
    use sqlx::Arguments as _;
    match value {
        Value::Null => args.add(None::<i64>),
        Value::Int(int) => args.add(int),
        Value::Text(text) => args.add(text),
        Value::Bytes(bytes) => args.add(bytes),
    }
}

fn add_postgres(args: &mut PgArguments, value: Value) -> Result<(), BoxDynError> {
    use sqlx::Arguments as _;
    match value {
        Value::Null => args.add(Untyped),
        Value::Int(int) => args.add(int),
        Value::Text(text) => args.add(text),
        Value::Bytes(bytes) => args.add(bytes),
    }
}

/// NULL of no type: the server takes the column's.
struct Untyped;

impl Type<Postgres> for Untyped {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(0))
    }
}

impl Encode<'_, Postgres> for Untyped {
    fn encode_by_ref(&self, _: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Ok(IsNull::Yes)
    }
}

/// A row of either database.
#[derive(Debug)]
pub enum Row {
    #[doc(hidden)]
    Sqlite(SqliteRow),
    #[doc(hidden)]
    Postgres(PgRow),
}

impl Row {
    /// A column that is never NULL.
    pub(crate) fn get<T: Column>(&self, column: &str) -> Result<T>
    where
        T::Raw: Raw,
    {
        self.opt(column)?.ok_or_else(|| StoreError::corrupt(column, "NULL"))
    }

    /// A column that may be NULL.
    pub(crate) fn opt<T: Column>(&self, column: &str) -> Result<Option<T>>
    where
        T::Raw: Raw,
    {
        let raw: Option<T::Raw> = match self {
            Self::Sqlite(row) => raw(row, column)?,
            Self::Postgres(row) => raw(row, column)?,
        };
        raw.map(T::from_raw).transpose().map_err(|e| StoreError::corrupt(column, e))
    }

    /// A column with a text, in which the empty one stands for none.
    pub(crate) fn filled<T: Column<Raw = String>>(&self, column: &str) -> Result<Option<T>> {
        let text: String = self.get(column)?;
        let filled = (!text.is_empty()).then(|| T::from_raw(text));
        filled.transpose().map_err(|e| StoreError::corrupt(column, e))
    }

    /// A column with JSON text.
    pub(crate) fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T> {
        let text: String = self.get(column)?;
        serde_json::from_str(&text).map_err(|e| StoreError::corrupt(column, e))
    }

    /// A column that may be NULL, with JSON text.
    pub(crate) fn opt_json<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>> {
        let text: Option<String> = self.opt(column)?;
        text.map(|t| serde_json::from_str(&t)).transpose().map_err(|e| StoreError::corrupt(column, e))
    }

    /// A column with the word of a unit variant.
    pub(crate) fn word<T: DeserializeOwned>(&self, column: &str) -> Result<T> {
        from_word(self.get(column)?).map_err(|e| StoreError::corrupt(column, e))
    }
}

/// The stored forms, which both databases can give.
pub(crate) trait Raw:
    Send + Type<Sqlite> + Type<Postgres> + for<'r> Decode<'r, Sqlite> + for<'r> Decode<'r, Postgres>
{
}

impl Raw for i64 {}
impl Raw for String {}
impl Raw for Vec<u8> {}

fn raw<'r, R, T>(row: &'r R, column: &'r str) -> Result<Option<T>>
where
    R: sqlx::Row,
    &'r str: ColumnIndex<R>,
    T: Type<R::Database> + Decode<'r, R::Database>,
{
    row.try_get::<Option<T>, _>(column).map_err(|e| StoreError::corrupt(column, e))
}

//! What differs between the two databases: connecting, migrations, bulk writes, waking other hubs, housekeeping.

use std::{str::FromStr as _, time::Duration};

use sqlx::{
    AssertSqlSafe, PgPool, SqlSafeStr as _, SqlitePool,
    migrate::{Migration, MigrationType, Migrator},
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
    sqlite::{
        SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
    },
};

use crate::{
    Result, StoreError, Tx,
    db::{Query, query},
    store::{Backend, Db},
    value::Value,
};

/// Numbered migrations, written for SQLite. One that was released is never changed.
const MIGRATIONS: &[(i64, &str, &str)] = &[(1, "first", include_str!("../migrations/0001_first.sql"))];
/// How long to wait for a connection.
const ACQUIRE: Duration = Duration::from_secs(10);
/// The channel on which a hub tells the others that it has sealed.
const CHANNEL: &str = "backstay_sealed";
/// SQLite finds a named placeholder by looking at all before it, so that statements are kept short.
const BULK_VALUES: usize = 600;

/// Connects and migrates.
pub(crate) async fn connect(location: &str) -> Result<Db> {
    if location.starts_with("postgres://") || location.starts_with("postgresql://") {
        return connect_postgres(location).await;
    }
    let path = location.strip_prefix("sqlite:").unwrap_or(location);
    if path.is_empty() || path.contains("://") {
        return Err(StoreError::Location(without_password(location)));
    }
    connect_sqlite(path.strip_prefix("//").unwrap_or(path)).await
}

/// What may be shown of a location.
fn without_password(location: &str) -> String {
    match (location.find("://"), location.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            format!("{}://…{}", &location[..scheme], &location[at..])
        }
        _ => location.to_owned(),
    }
}

async fn connect_sqlite(path: &str) -> Result<Db> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        // Acknowledged is durable: FULL syncs the log at each commit.
        .synchronous(SqliteSynchronous::Full)
        // All rows are awaited anyway: few changes of threads rather than one for every few rows.
        .row_buffer_size(1024)
        .busy_timeout(ACQUIRE);
    let writer = SqlitePoolOptions::new()
        .max_connections(1)
        .acquire_timeout(3 * ACQUIRE)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options.clone().create_if_missing(true).auto_vacuum(SqliteAutoVacuum::Incremental))
        .await?;
    migrator(Backend::Sqlite).run(&writer).await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(8)
        .acquire_timeout(ACQUIRE)
        // Not `auto_vacuum`: SQLite writes it, so that opening a reader would wait for the writer.
        .connect_with(options.create_if_missing(false).pragma("query_only", "ON"))
        .await?;
    Ok(Db::Sqlite { writer, readers })
}

/// A copy as of one moment, by a connection of its own, so that writers go on.
pub(crate) async fn copy_sqlite(pool: &SqlitePool, path: &std::path::Path) -> Result<()> {
    use sqlx::{ConnectOptions as _, Connection as _};
    let mut from = pool.connect_options().as_ref().clone().create_if_missing(false).connect().await?;
    let copied = sqlx::query("VACUUM INTO ?1").bind(path.display().to_string()).execute(&mut from).await;
    from.close().await?;
    copied?;
    let options = SqliteConnectOptions::new().filename(path).read_only(true);
    let mut copy = options.connect().await?;
    let said: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut copy).await?;
    copy.close().await?;
    if said == "ok" { Ok(()) } else { Err(StoreError::corrupt("the copy of the database", said)) }
}

/// Whether there is nothing in a database yet. One that is a file is looked at by whoever makes it.
///
/// # Errors
/// When it cannot be reached.
pub async fn is_empty(location: &str) -> Result<bool> {
    use sqlx::{ConnectOptions as _, Connection as _};
    if !location.starts_with("postgres://") && !location.starts_with("postgresql://") {
        return Ok(true);
    }
    let options =
        PgConnectOptions::from_str(location).map_err(|_| StoreError::Location(without_password(location)))?;
    let mut connection = options.connect().await?;
    let count = "SELECT COUNT(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                 WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND n.nspname NOT LIKE 'pg\\_%' \
                 AND n.nspname <> 'information_schema'";
    let found: i64 = sqlx::query_scalar(count).fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(found == 0)
}

async fn connect_postgres(url: &str) -> Result<Db> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| StoreError::Location(without_password(url)))?
        .application_name("backstay");
    let pool =
        PgPoolOptions::new().max_connections(16).acquire_timeout(ACQUIRE / 2).connect_with(options).await?;
    migrator(Backend::Postgres).run(&pool).await?;
    Ok(Db::Postgres(pool))
}

fn migrator(backend: Backend) -> Migrator {
    let migrations = MIGRATIONS.iter().map(|&(version, name, sql)| {
        let sql = match backend {
            Backend::Sqlite => sql.into_sql_str(),
            Backend::Postgres => AssertSqlSafe(for_postgres(sql)).into_sql_str(),
        };
        Migration::new(version, name.into(), MigrationType::Simple, sql, false)
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    // A newer hub may have migrated already: migrations only expand, so that an older one can go on.
    migrator.set_ignore_missing(true);
    migrator
}

/// Types by PostgreSQL's names; texts in byte order, as SQLite has them.
fn for_postgres(sql: &str) -> String {
    sql.replace(" BLOB", " BYTEA").replace(" TEXT", " TEXT COLLATE \"C\"")
}

/// Writes many rows with few statements. `head` ends in `VALUES `; gives the number of rows touched.
pub(crate) async fn bulk(
    tx: &mut Tx,
    head: &'static str,
    tail: &'static str,
    rows: Vec<Vec<Value>>,
) -> Result<u64> {
    let width = rows.first().map_or(1, Vec::len).max(1);
    let mut touched = 0;
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let mut statement = query(head);
        for (i, row) in rows.by_ref().take((BULK_VALUES / width).max(1)).enumerate() {
            if i > 0 {
                statement.push(", ");
            }
            statement.push_list(row);
        }
        statement.push(tail);
        touched += statement.run(tx).await?;
    }
    Ok(touched)
}

/// Tells other hubs that something was sealed; they hear it once `tx` commits.
pub(crate) async fn announce(tx: &mut Tx, seq: u64) -> Result<()> {
    if tx.backend() == Backend::Postgres {
        let call: Query = query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(seq.to_string());
        call.run(tx).await?;
    }
    Ok(())
}

/// Listens for what [`announce`] tells.
pub(crate) async fn listen(pool: &PgPool) -> Result<PgListener> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

/// See [`crate::Store::maintain`].
pub(crate) async fn maintain(db: &Db) -> Result<()> {
    match db {
        Db::Sqlite { writer, .. } => maintain_sqlite(writer).await,
        // Autovacuum does it.
        Db::Postgres(_) => Ok(()),
    }
}

async fn maintain_sqlite(writer: &SqlitePool) -> Result<()> {
    for pragma in ["PRAGMA optimize", "PRAGMA incremental_vacuum", "PRAGMA wal_checkpoint(TRUNCATE)"] {
        sqlx::query(pragma).fetch_all(writer).await?;
    }
    Ok(())
}

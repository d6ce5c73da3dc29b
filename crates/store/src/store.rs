//! The store itself: opening, reading, and transactions.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use backstay_types::{Event, EventId, Refs, Timestamp, World};
use sqlx::{PgPool, Postgres, Sqlite, SqlitePool};
use tokio::sync::watch;

use crate::{
    Result,
    crash::Writer,
    db::{Executor, Query, Row, query},
    dialect,
    ledger::Pending,
};

/// Which database is behind a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// SQLite, in this process.
    Sqlite,
    /// PostgreSQL, a server.
    Postgres,
}

impl Backend {
    /// The name that people know.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// The hub's database. Cheap to clone; all clones are one store.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    db: Db,
    world: World,
    /// The newest place in the order of recording that was given out.
    ord: AtomicI64,
    /// Raised by every commit that recorded something or asked to wake others.
    commits: watch::Sender<u64>,
    /// Position of the newest sealed entry.
    head: watch::Sender<u64>,
}

#[derive(Debug)]
pub(crate) enum Db {
    Sqlite {
        /// One connection: writers wait for each other here, not inside SQLite.
        writer: SqlitePool,
        readers: SqlitePool,
    },
    Postgres(PgPool),
}

impl Store {
    /// Opens the database at `location` (a file's path, `sqlite:PATH` or `postgres://…`), makes it when it is
    /// a file that is not there, and brings its schema up to date.
    ///
    /// # Errors
    /// When the database cannot be reached or its schema cannot be brought up to date.
    pub async fn open(location: &str, world: World) -> Result<Self> {
        let db = dialect::connect(location).await?;
        let store = Self(Arc::new(Inner {
            db,
            world,
            ord: AtomicI64::new(i64::MIN),
            commits: watch::Sender::new(0),
            head: watch::Sender::new(0),
        }));
        let head = crate::ledger::head(&mut store.read()).await?;
        store.raise_head(head.seq);
        Ok(store)
    }

    /// Which database this is.
    pub fn backend(&self) -> Backend {
        match self.0.db {
            Db::Sqlite { .. } => Backend::Sqlite,
            Db::Postgres(_) => Backend::Postgres,
        }
    }

    /// Time and random numbers, as given to [`Store::open`].
    pub fn world(&self) -> &World {
        &self.0.world
    }

    /// For reads that need not agree with one another.
    pub fn read(&self) -> Reader {
        Reader(self.clone())
    }

    /// For reads that must all see the same moment.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        Ok(Snapshot(match &self.0.db {
            Db::Sqlite { readers, .. } => Connection::Sqlite(readers.begin().await?),
            Db::Postgres(pool) => Connection::Postgres(
                pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?,
            ),
        }))
    }

    /// Begins a write transaction. Dropped without [`Tx::commit`], it changes nothing.
    ///
    /// # Errors
    /// When the database cannot be reached.
    #[cfg_attr(feature = "failpoints", track_caller)]
    pub fn begin(&self) -> impl Future<Output = Result<Tx>> + Send + use<> {
        let (store, writer) = (self.clone(), Writer::here());
        async move {
            let connection = match &store.0.db {
                Db::Sqlite { writer, .. } => Connection::Sqlite(writer.begin_with("BEGIN IMMEDIATE").await?),
                Db::Postgres(pool) => Connection::Postgres(pool.begin().await?),
            };
            Ok(Tx { connection, store, pending: Vec::new(), wake: false, writer })
        }
    }

    /// Changes whenever a transaction of this process that recorded something (or called [`Tx::wake`]) commits.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.0.commits.subscribe()
    }

    /// The position of the newest sealed entry, as it grows. Fed by [`Store::run`].
    pub fn tail(&self) -> watch::Receiver<u64> {
        self.0.head.subscribe()
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<()> {
        query("SELECT CAST(1 AS BIGINT) AS one").all(&mut self.read(), |_| Ok(())).await.map(drop)
    }

    /// Housekeeping that the database does not do by itself: statistics, and returning free pages. Call it daily.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn maintain(&self) -> Result<()> {
        dialect::maintain(&self.0.db).await
    }

    /// Waits for what is under way and closes all connections.
    pub async fn close(&self) {
        match &self.0.db {
            Db::Sqlite { writer, readers } => {
                readers.close().await;
                writer.close().await;
            }
            Db::Postgres(pool) => pool.close().await,
        }
    }

    /// Writes a whole copy of the database, as it is at one moment, into a new file, and checks it; nobody waits for
    /// that. Only of SQLite: a PostgreSQL server has programs of its own for it, and nothing is written then.
    ///
    /// # Errors
    /// When it cannot be written, or the copy is not right.
    pub async fn copy_into(&self, path: &std::path::Path) -> Result<bool> {
        match &self.0.db {
            Db::Sqlite { writer, .. } => dialect::copy_sqlite(writer, path).await.map(|()| true),
            Db::Postgres(_) => Ok(false),
        }
    }

    pub(crate) fn db(&self) -> &Db {
        &self.0.db
    }

    pub(crate) fn raise_head(&self, seq: u64) {
        self.0.head.send_if_modified(|head| {
            let raised = seq > *head;
            *head = seq.max(*head);
            raised
        });
    }

    /// A place in the order of recording: the time, made strictly increasing in this process.
    fn next_ord(&self, now: Timestamp) -> i64 {
        let now = now.as_microsecond();
        let next = |last: i64| now.max(last.saturating_add(1));
        let last = self
            .0
            .ord
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)))
            .unwrap_or_else(|last| last);
        next(last)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.backend().as_str())
    }
}

/// Reads, each seeing what is committed at its own moment.
#[derive(Debug, Clone)]
pub struct Reader(Store);

impl Executor for Reader {
    async fn fetch(&mut self, query: Query) -> Result<Vec<Row>> {
        match &self.0.0.db {
            Db::Sqlite { readers, .. } => {
                let (sql, args) = query.into_sqlite()?;
                let rows = sqlx::query_with(sql, args).fetch_all(readers).await?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
            Db::Postgres(pool) => {
                let (sql, args) = query.into_postgres()?;
                let rows = sqlx::query_with(sql, args).fetch_all(pool).await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }
}

/// Reads that all see the moment of the first.
#[derive(Debug)]
pub struct Snapshot(Connection);

impl Executor for Snapshot {
    fn fetch(&mut self, query: Query) -> impl Future<Output = Result<Vec<Row>>> + Send {
        self.0.fetch(query)
    }
}

#[derive(Debug)]
enum Connection {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Postgres(sqlx::Transaction<'static, Postgres>),
}

impl Connection {
    async fn fetch(&mut self, query: Query) -> Result<Vec<Row>> {
        match self {
            Self::Sqlite(tx) => {
                let (sql, args) = query.into_sqlite()?;
                let rows = sqlx::query_with(sql, args).fetch_all(&mut **tx).await?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
            Self::Postgres(tx) => {
                let (sql, args) = query.into_postgres()?;
                let rows = sqlx::query_with(sql, args).fetch_all(&mut **tx).await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    async fn execute(&mut self, query: Query) -> Result<u64> {
        match self {
            Self::Sqlite(tx) => {
                let (sql, args) = query.into_sqlite()?;
                Ok(sqlx::query_with(sql, args).execute(&mut **tx).await?.rows_affected())
            }
            Self::Postgres(tx) => {
                let (sql, args) = query.into_postgres()?;
                Ok(sqlx::query_with(sql, args).execute(&mut **tx).await?.rows_affected())
            }
        }
    }

    async fn commit(self) -> Result<()> {
        match self {
            Self::Sqlite(tx) => tx.commit().await?,
            Self::Postgres(tx) => tx.commit().await?,
        }
        Ok(())
    }
}

/// A write transaction: rows and the ledger entries about them, together or not at all.
pub struct Tx {
    connection: Connection,
    store: Store,
    pending: Vec<Pending>,
    wake: bool,
    writer: Writer,
}

impl Tx {
    /// Records an entry of the ledger; it is written with the commit and sealed soon after.
    ///
    /// # Errors
    /// When the event cannot be written as JSON.
    pub fn record(&mut self, event: Event, refs: Refs) -> Result<EventId> {
        let world = &self.store.0.world;
        let now = world.now();
        let pending = Pending::new(world, self.store.next_ord(now), now, &event, &refs)?;
        let id = pending.id;
        self.pending.push(pending);
        Ok(id)
    }

    /// Wakes the listeners of [`Store::commits`] at the commit even if nothing is recorded.
    pub fn wake(&mut self) {
        self.wake = true;
    }

    /// The store's time and random numbers.
    pub fn world(&self) -> &World {
        &self.store.0.world
    }

    /// Makes everything durable. When this returns, it survives a power cut.
    ///
    /// # Errors
    /// When the database refuses; nothing has changed then, unless the connection broke during the commit itself.
    pub async fn commit(mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        let wake = self.wake || !pending.is_empty();
        crate::ledger::insert_pending(&mut self, pending).await?;
        self.writer.at("before");
        self.connection.commit().await?;
        self.writer.at("after");
        if wake {
            self.store.0.commits.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    pub(crate) async fn execute(&mut self, query: Query) -> Result<u64> {
        self.connection.execute(query).await
    }

    pub(crate) fn backend(&self) -> Backend {
        self.store.backend()
    }
}

impl Executor for Tx {
    fn fetch(&mut self, query: Query) -> impl Future<Output = Result<Vec<Row>>> + Send {
        self.connection.fetch(query)
    }
}

impl fmt::Debug for Tx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tx({}, {} recorded)", self.store.backend().as_str(), self.pending.len())
    }
}

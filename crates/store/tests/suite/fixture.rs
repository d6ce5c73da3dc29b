//! An empty store for one test, and the things to put in it.

use std::{future::Future, time::Duration};

use backstay_store::{Store, Tx, ledger};
use backstay_testkit::{Database, TestWorld};
use backstay_types::*;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};
use tempfile::TempDir;

/// Makes one test of each function for each database.
macro_rules! both {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::fixture::on_sqlite(super::$name).await;
            })*
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::fixture::on_postgres(super::$name).await;
            })*
        }
    };
}
pub(crate) use both;

pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) world: TestWorld,
    pub(crate) location: String,
    _place: Place,
}

enum Place {
    File { _dir: TempDir },
    Kit { _database: Database },
    Server { base: String, name: String },
}

pub(crate) async fn on_sqlite<F: Future<Output = ()>>(test: impl FnOnce(Fixture) -> F) {
    let dir = tempfile::tempdir().unwrap();
    let location = dir.path().join("hub.db").to_str().unwrap().to_owned();
    test(Fixture::open(location, Place::File { _dir: dir }).await).await;
}

pub(crate) async fn on_postgres<F: Future<Output = ()>>(test: impl FnOnce(Fixture) -> F) {
    if let Ok(base) = std::env::var("BACKSTAY_TEST_POSTGRES") {
        let base = base.trim_end_matches('/').to_owned();
        let name = format!("store_{}", uuid_of(&TestWorld::default(), std::process::id()));
        let mut admin = PgConnection::connect(&format!("{base}/postgres")).await.unwrap();
        admin.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        let location = format!("{base}/{name}");
        test(Fixture::open(location, Place::Server { base, name }).await).await;
    } else if let Some(database) = tokio::task::spawn_blocking(Database::require).await.unwrap() {
        test(Fixture::open(database.url(), Place::Kit { _database: database }).await).await;
    }
}

fn uuid_of(world: &TestWorld, salt: u32) -> String {
    let place = std::ptr::from_ref(world) as usize;
    let thread = format!("{:?}", std::thread::current().id());
    let thread: String = thread.chars().filter(char::is_ascii_digit).collect();
    format!("{salt}_{thread}_{place:x}")
}

impl Drop for Place {
    fn drop(&mut self) {
        let Self::Server { base, name } = self else { return };
        let (base, name) = (base.clone(), name.clone());
        // A runtime cannot block within a runtime.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut admin = PgConnection::connect(&format!("{base}/postgres")).await?;
                admin.execute(AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"))).await
            })
        });
        let _ = dropping.join();
    }
}

impl Fixture {
    async fn open(location: String, place: Place) -> Self {
        let world = TestWorld::default();
        let store = Store::open(&location, world.world()).await.unwrap();
        Self { store, world, location, _place: place }
    }

    /// A transaction.
    pub(crate) async fn begin(&self) -> Tx {
        self.store.begin().await.unwrap()
    }

    /// A new id; the clock moves on, so that ids sort in the order of minting.
    pub(crate) fn mint<I: Id>(&self) -> I {
        self.world.advance(Duration::from_millis(1));
        self.world.world().mint()
    }

    /// The time, a second after the last.
    pub(crate) fn later(&self) -> Timestamp {
        self.world.advance(Duration::from_secs(1));
        self.world.now()
    }

    /// Records `count` entries in one transaction.
    pub(crate) async fn record(&self, count: usize) {
        let mut tx = self.begin().await;
        for _ in 0..count {
            let refs = Refs { node: Some(self.mint()), stack: Some(stack("web")), ..Refs::default() };
            tx.record(Event::DeploymentStarted, refs).unwrap();
        }
        tx.commit().await.unwrap();
    }

    /// Seals all that waits.
    pub(crate) async fn seal(&self) {
        while ledger::seal(&self.store, "test").await.unwrap() != ledger::Sealed::Nothing {}
    }

    /// Runs SQL behind the store's back; gives the number of rows touched.
    pub(crate) async fn tamper(&self, sql: String) -> u64 {
        self.raw().await.run(sql).await
    }

    /// A connection behind the store's back.
    pub(crate) async fn raw(&self) -> RawConnection {
        if self.location.starts_with("postgres") {
            RawConnection::Postgres(PgConnection::connect(&self.location).await.unwrap())
        } else {
            RawConnection::Sqlite(SqliteConnection::connect(&self.location).await.unwrap())
        }
    }
}

pub(crate) enum RawConnection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl RawConnection {
    /// Runs a statement; gives the number of rows touched.
    pub(crate) async fn run(&mut self, sql: String) -> u64 {
        match self {
            Self::Sqlite(c) => c.execute(AssertSqlSafe(sql)).await.unwrap().rows_affected(),
            Self::Postgres(c) => c.execute(AssertSqlSafe(sql)).await.unwrap().rows_affected(),
        }
    }

    /// The only column of a select, as text.
    pub(crate) async fn texts(&mut self, sql: String) -> Vec<Option<String>> {
        match self {
            Self::Sqlite(c) => sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(c).await.unwrap(),
            Self::Postgres(c) => sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(c).await.unwrap(),
        }
    }
}

pub(crate) fn stack(name: &str) -> StackName {
    name.parse().unwrap()
}

/// The commit id of forty times one digit or more digits repeated.
pub(crate) fn commit(digits: &str) -> CommitId {
    digits.repeat(40)[..40].parse().unwrap()
}

pub(crate) fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

impl Fixture {
    pub(crate) fn repository(&self, name: &str) -> Repository {
        Repository {
            id: self.mint(),
            name: name.parse().unwrap(),
            endpoints: vec!["https://git.example/fleet.git".into()],
            branch: "main".into(),
            stacks_path: None,
            tip: None,
            health: RepositoryHealth::New,
            fetched_at: None,
            created_at: self.later(),
            warnings: vec![],
        }
    }

    pub(crate) fn change(&self, repository: RepositoryId, digits: &str) -> Change {
        Change {
            repository,
            commit: commit(digits),
            parents: vec![],
            author: Person { name: "Someone".into(), email: "someone@example.org".into() },
            authored_at: self.later(),
            committed_at: self.later(),
            seen_at: self.later(),
            subject: "Change the port".into(),
            stacks: vec![stack("web")],
            links: vec![],
            reverts: vec![],
        }
    }

    pub(crate) fn release(&self, repository: RepositoryId, name: &str, tree: &str) -> Release {
        Release {
            id: self.mint(),
            stack: stack(name),
            tree: digest(tree),
            repository,
            commit: commit("a"),
            path: format!("stacks/{name}"),
            bytes: 1234,
            created_at: self.later(),
            part: None,
            layout: None,
            parts: std::collections::BTreeMap::new(),
        }
    }

    pub(crate) fn rollout(&self, release: &Release, cause: Cause) -> Rollout {
        Rollout {
            id: self.mint(),
            stack: release.stack.clone(),
            release: release.id,
            kind: RolloutKind::Update,
            cause,
            state: RolloutState::Running,
            max_updating: Some(3),
            strategy: RolloutStrategy::default(),
            cuts: vec![None, Some(7)],
            wave: 1,
            paused: None,
            overridden: None,
            environment: None,
            branch: None,
            part: None,
            reason: "a new release".into(),
            created_at: self.later(),
            finished_at: None,
        }
    }

    pub(crate) fn deployment(&self, node: NodeId, rollout: &Rollout) -> Deployment {
        Deployment {
            id: self.mint(),
            node,
            stack: rollout.stack.clone(),
            release: rollout.release,
            rollout: rollout.id,
            previous: None,
            state: DeploymentState::Pending,
            created_at: self.later(),
            started_at: None,
            finished_at: None,
            containers: vec![],
            data: None,
        }
    }

    pub(crate) fn node(&self, name: &str) -> Node {
        let labels = Labels::parse(["role=web", "ring=early"]).unwrap();
        Node {
            id: self.mint(),
            name: name.parse().unwrap(),
            labels,
            joined_at: self.later(),
            revoked_at: None,
        }
    }

    pub(crate) fn undo(&self, selector: UndoSelector) -> Undo {
        Undo {
            id: self.mint(),
            selector,
            scope: UndoScope::default(),
            by: "operator".into(),
            reason: "it broke".into(),
            plan: UndoPlan::default(),
            state: UndoState::Planned,
            created_at: self.later(),
            finished_at: None,
        }
    }
}

pub(crate) fn container(service: &str, id: &str) -> Container {
    Container {
        service: service.into(),
        id: id.into(),
        name: format!("web-{service}-1"),
        image: ImageId("sha256:0123".into()),
        running: true,
        health: Some("healthy".into()),
        deployment: None,
    }
}

pub(crate) fn known(change: Change) -> backstay_store::changes::KnownChange {
    backstay_store::changes::KnownChange {
        change,
        undo: None,
        patch_digest: None,
        position: None,
        landed_at: None,
    }
}

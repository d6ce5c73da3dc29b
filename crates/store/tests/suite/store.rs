//! Opening, transactions, waking, hub state, reports, repositories, stacks.

use std::{sync::Arc, time::Duration};

use backstay_store::{Store, StoreError, hub_state, nodes, reports, repositories, stacks};
use backstay_testkit::{PostgresServer, TestWorld};
use backstay_types::*;

use crate::fixture::{Fixture, both, commit, digest, stack};

async fn opens_again_with_what_was_committed(t: Fixture) {
    let mut tx = t.begin().await;
    hub_state::set(&mut tx, "colour", "blue").await.unwrap();
    tx.commit().await.unwrap();
    let again = Store::open(&t.location, t.world.world()).await.unwrap();
    assert_eq!(hub_state::get(&mut again.read(), "colour").await.unwrap().as_deref(), Some("blue"));
    assert_eq!(again.backend(), t.store.backend());
    again.ping().await.unwrap();
    again.maintain().await.unwrap();
    again.close().await;
    assert!(matches!(again.ping().await, Err(StoreError::Unreachable(_))));
}

async fn many_open_at_once(t: Fixture) {
    let opened = (0..6).map(|_| {
        let (location, world) = (t.location.clone(), t.world.world());
        tokio::spawn(async move { Store::open(&location, world).await })
    });
    for store in opened.collect::<Vec<_>>() {
        store.await.unwrap().unwrap().ping().await.unwrap();
    }
}

async fn dropped_changes_nothing(t: Fixture) {
    let mut tx = t.begin().await;
    hub_state::set(&mut tx, "colour", "blue").await.unwrap();
    tx.record(Event::DeploymentStarted, Refs::default()).unwrap();
    drop(tx);
    assert_eq!(hub_state::get(&mut t.store.read(), "colour").await.unwrap(), None);
    t.seal().await;
    assert_eq!(backstay_store::ledger::head(&mut t.store.read()).await.unwrap().seq, 0);
}

async fn own_writes_are_seen_before_the_commit_by_nobody_else(t: Fixture) {
    let mut tx = t.begin().await;
    hub_state::set(&mut tx, "colour", "blue").await.unwrap();
    assert_eq!(hub_state::get(&mut tx, "colour").await.unwrap().as_deref(), Some("blue"));
    assert_eq!(hub_state::get(&mut t.store.read(), "colour").await.unwrap(), None);
    tx.commit().await.unwrap();
    assert_eq!(hub_state::get(&mut t.store.read(), "colour").await.unwrap().as_deref(), Some("blue"));
}

async fn new_readers_do_not_wait_for_a_writer(t: Fixture) {
    let mut tx = t.begin().await;
    hub_state::set(&mut tx, "colour", "blue").await.unwrap();
    // More than the pool has open, each on a connection of its own.
    let mut snapshots = Vec::new();
    for _ in 0..6 {
        snapshots.push(t.store.snapshot().await.unwrap());
    }
    tx.commit().await.unwrap();
}

async fn a_snapshot_stays_at_its_moment(t: Fixture) {
    let mut snapshot = t.store.snapshot().await.unwrap();
    assert_eq!(hub_state::get(&mut snapshot, "colour").await.unwrap(), None);
    let mut tx = t.begin().await;
    hub_state::set(&mut tx, "colour", "blue").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(hub_state::get(&mut snapshot, "colour").await.unwrap(), None);
    drop(snapshot);
    let mut snapshot = t.store.snapshot().await.unwrap();
    assert_eq!(hub_state::get(&mut snapshot, "colour").await.unwrap().as_deref(), Some("blue"));
}

async fn a_commit_wakes_when_it_recorded_or_asked(t: Fixture) {
    let mut commits = t.store.commits();
    commits.mark_unchanged();
    let mut tx = t.begin().await;
    hub_state::set(&mut tx, "a", "1").await.unwrap();
    tx.commit().await.unwrap();
    assert!(!commits.has_changed().unwrap());
    let mut tx = t.begin().await;
    tx.wake();
    tx.commit().await.unwrap();
    assert!(commits.has_changed().unwrap());
    commits.mark_unchanged();
    t.record(1).await;
    assert!(commits.has_changed().unwrap());
}

async fn values_survive_as_they_are(t: Fixture) {
    let text = "quote ' \" ; DROP TABLE nodes; -- \u{1F600} \\ %s $1 ?1\n";
    let mut tx = t.begin().await;
    hub_state::set(&mut tx, "text", text).await.unwrap();
    hub_state::set(&mut tx, "nul", "a\0b").await.unwrap();
    tx.commit().await.unwrap();
    let read = &mut t.store.read();
    assert_eq!(hub_state::get(read, "text").await.unwrap().as_deref(), Some(text));
    assert_eq!(hub_state::get(read, "nul").await.unwrap().as_deref(), Some("a\u{fffd}b"));
}

async fn epoch_starts_at_one_and_rises(t: Fixture) {
    assert_eq!(hub_state::epoch(&mut t.store.read()).await.unwrap(), 1);
    let mut tx = t.begin().await;
    assert_eq!(hub_state::raise_epoch(&mut tx).await.unwrap(), 2);
    assert_eq!(hub_state::raise_epoch(&mut tx).await.unwrap(), 3);
    assert_eq!(hub_state::set_once(&mut tx, "key", "first").await.unwrap(), "first");
    assert_eq!(hub_state::set_once(&mut tx, "key", "second").await.unwrap(), "first");
    tx.commit().await.unwrap();
    assert_eq!(hub_state::epoch(&mut t.store.read()).await.unwrap(), 3);
    t.tamper("UPDATE hub_state SET value = 'soon' WHERE key = 'epoch'".into()).await;
    assert!(matches!(hub_state::epoch(&mut t.store.read()).await, Err(StoreError::Corrupt { .. })));
}

async fn a_report_is_taken_once(t: Fixture) {
    let (id, node) = (t.mint(), t.mint());
    let mut tx = t.begin().await;
    assert!(reports::take(&mut tx, id, node, t.world.now()).await.unwrap());
    assert!(!reports::take(&mut tx, id, node, t.world.now()).await.unwrap());
    tx.commit().await.unwrap();
    let mut tx = t.begin().await;
    assert!(!reports::take(&mut tx, id, node, t.world.now()).await.unwrap());
    assert!(reports::take(&mut tx, t.mint(), node, t.later()).await.unwrap());
    assert_eq!(reports::prune(&mut tx, t.world.now()).await.unwrap(), 1);
    assert!(reports::take(&mut tx, id, node, t.world.now()).await.unwrap());
}

async fn repositories_come_back(t: Fixture) {
    let mut repository = t.repository("fleet");
    repository.stacks_path = Some("deploy".into());
    let mut tx = t.begin().await;
    repositories::insert(&mut tx, &repository, Some("sealed")).await.unwrap();
    tx.commit().await.unwrap();
    let read = &mut t.store.read();
    assert_eq!(repositories::get(read, repository.id).await.unwrap().as_ref(), Some(&repository));
    assert_eq!(repositories::by_name(read, &repository.name).await.unwrap().as_ref(), Some(&repository));
    assert_eq!(repositories::list(read).await.unwrap(), [repository.clone()]);
    assert_eq!(repositories::credential(read, repository.id).await.unwrap().as_deref(), Some("sealed"));
    assert_eq!(repositories::credential(read, t.mint()).await.unwrap(), None);
    assert_eq!(repositories::get(read, t.mint()).await.unwrap(), None);
    let mut tx = t.begin().await;
    let taken = repositories::insert(&mut tx, &t.repository("fleet"), None).await;
    assert!(matches!(taken, Err(StoreError::Conflict { what: "repository", .. })), "{taken:?}");
}

async fn a_mirror_moves_on_only_from_the_state_that_was_seen(t: Fixture) {
    let repository = t.repository("fleet");
    let id = repository.id;
    let mut tx = t.begin().await;
    repositories::insert(&mut tx, &repository, Some("old")).await.unwrap();
    let (new, ok) = (RepositoryHealth::New, RepositoryHealth::Ok);
    let fetched_at = t.later();
    repositories::set_health(&mut tx, id, &new, &ok, Some(fetched_at)).await.unwrap();
    let stale = repositories::set_health(&mut tx, id, &new, &ok, None).await;
    assert!(matches!(stale, Err(StoreError::Stale { .. })));
    let away = RepositoryHealth::Unreachable { code: "BS2001".into(), message: "no route".into() };
    repositories::set_health(&mut tx, id, &ok, &away, None).await.unwrap();
    repositories::set_tip(&mut tx, id, None, &commit("a")).await.unwrap();
    assert!(repositories::set_tip(&mut tx, id, None, &commit("b")).await.is_err());
    assert!(repositories::set_tip(&mut tx, id, Some(&commit("b")), &commit("c")).await.is_err());
    repositories::set_tip(&mut tx, id, Some(&commit("a")), &commit("b")).await.unwrap();
    let after = repositories::get(&mut tx, id).await.unwrap().unwrap();
    assert_eq!((after.tip, after.health, after.fetched_at), (Some(commit("b")), away, Some(fetched_at)));
    let fetched_at = t.later();
    repositories::set_fetched(&mut tx, id, fetched_at).await.unwrap();
    let warning = RepositoryWarning {
        file: "fleet.toml".into(),
        line: Some(3),
        field: None,
        message: "this pin ran out".into(),
        hint: None,
        code: "BS1207".into(),
    };
    repositories::set_warnings(&mut tx, id, &commit("b"), &[warning.clone()]).await.unwrap();
    let stale = repositories::set_warnings(&mut tx, id, &commit("a"), &[]).await;
    assert!(matches!(stale, Err(StoreError::Stale { .. })), "of another tip: {stale:?}");
    assert_eq!(repositories::get(&mut tx, id).await.unwrap().unwrap().warnings, [warning]);
    let changed = Repository { branch: "release".into(), endpoints: vec![], ..repository };
    repositories::update(&mut tx, &changed, None).await.unwrap();
    assert_eq!(repositories::credential(&mut tx, id).await.unwrap().as_deref(), Some("old"));
    repositories::update(&mut tx, &changed, Some("new")).await.unwrap();
    assert_eq!(repositories::credential(&mut tx, id).await.unwrap().as_deref(), Some("new"));
    let after = repositories::get(&mut tx, id).await.unwrap().unwrap();
    assert_eq!(
        (after.branch.as_str(), after.endpoints.len(), after.fetched_at),
        ("release", 0, Some(fetched_at))
    );
}

async fn a_stack_belongs_to_one_repository_while_it_is_present(t: Fixture) {
    let (one, two) = (t.mint(), t.mint());
    let mut web = stacks::Stack {
        name: stack("web"),
        repository: one,
        path: "stacks/web".into(),
        release: None,
        assignment: "{}".into(),
        manifest: "{}".into(),
        present: true,
        updated_at: t.later(),
    };
    let mut tx = t.begin().await;
    stacks::put(&mut tx, &web).await.unwrap();
    web.release = Some(t.mint());
    stacks::put(&mut tx, &web).await.unwrap();
    assert_eq!(stacks::get(&mut tx, &web.name).await.unwrap().as_ref(), Some(&web));
    let other = stacks::Stack { repository: two, ..web.clone() };
    assert!(matches!(stacks::put(&mut tx, &other).await, Err(StoreError::Conflict { .. })));
    web.present = false;
    stacks::put(&mut tx, &web).await.unwrap();
    stacks::put(&mut tx, &other).await.unwrap();
    assert_eq!(stacks::list(&mut tx).await.unwrap(), [other.clone()]);
    assert_eq!(stacks::of_repository(&mut tx, two).await.unwrap(), [other]);
    assert_eq!(stacks::of_repository(&mut tx, one).await.unwrap(), []);
}

async fn a_mutated_id_is_an_error_not_another_row(t: Fixture) {
    let node = t.node("one");
    let mut tx = t.begin().await;
    nodes::insert(&mut tx, &node, digest("credential")).await.unwrap();
    tx.commit().await.unwrap();
    t.tamper("UPDATE nodes SET id = UPPER(id)".into()).await;
    let found = nodes::by_name(&mut t.store.read(), &node.name).await;
    assert!(matches!(found, Err(StoreError::Corrupt { column, .. }) if column == "id"));
}

async fn run_seals_at_once_and_tells(t: Fixture) {
    let mut tail = t.store.tail();
    let store = t.store.clone();
    let running = tokio::spawn(async move { store.run("hub").await });
    for expected in 1..=3 {
        t.record(1).await;
        let sealed = tail.wait_for(|seq| *seq == expected);
        tokio::time::timeout(Duration::from_secs(5), sealed).await.unwrap().unwrap();
    }
    // What another process recorded and sealed is seen too.
    let other = Store::open(&t.location, t.world.world()).await.unwrap();
    assert_eq!(*other.tail().borrow(), 3);
    running.abort();
}

both!(
    opens_again_with_what_was_committed,
    many_open_at_once,
    dropped_changes_nothing,
    own_writes_are_seen_before_the_commit_by_nobody_else,
    new_readers_do_not_wait_for_a_writer,
    a_snapshot_stays_at_its_moment,
    a_commit_wakes_when_it_recorded_or_asked,
    values_survive_as_they_are,
    epoch_starts_at_one_and_rises,
    a_report_is_taken_once,
    repositories_come_back,
    a_mirror_moves_on_only_from_the_state_that_was_seen,
    a_stack_belongs_to_one_repository_while_it_is_present,
    a_mutated_id_is_an_error_not_another_row,
    run_seals_at_once_and_tells,
);

#[tokio::test]
async fn a_location_that_is_none_is_named_without_its_password() {
    let world = TestWorld::default().world();
    for location in ["mysql://me:hunter2@host/db", "", "sqlite:"] {
        let error = Store::open(location, world.clone()).await.unwrap_err();
        assert!(matches!(error, StoreError::Location(_)), "{error:?}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    let error = Store::open("postgres://me:hunter2@127.0.0.1:1/db", world).await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
    assert_eq!(error.code(), ErrorCode::BS7002);
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
}

/// The server goes away and comes back: errors say so meanwhile, and everything goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_went_away_is_used_again() {
    let started = tokio::task::spawn_blocking(PostgresServer::require).await.unwrap();
    let Some(server) = started.map(Arc::new) else { return };
    let store = Store::open(&server.url(), TestWorld::default().world()).await.unwrap();
    let running = tokio::spawn({
        let store = store.clone();
        async move { store.run("hub").await }
    });
    let record = async || {
        let mut tx = store.begin().await?;
        tx.record(Event::DeploymentStarted, Refs::default())?;
        tx.commit().await
    };
    let mut tail = store.tail();
    record().await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), tail.wait_for(|seq| *seq == 1)).await.unwrap().unwrap();
    let stopping = server.clone();
    tokio::task::spawn_blocking(move || stopping.stop()).await.unwrap();
    let error = record().await.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
    assert!(error.is_transient());
    assert_eq!(error.code(), ErrorCode::BS7002);
    assert!(store.ping().await.is_err());
    let starting = server.clone();
    tokio::task::spawn_blocking(move || starting.start()).await.unwrap();
    record().await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), tail.wait_for(|seq| *seq == 2)).await.unwrap().unwrap();
    running.abort();
    let _ = tokio::task::spawn_blocking(move || drop(server)).await;
}

/// Handlers of a web server must be able to hold these across an await.
#[test]
fn futures_can_move_between_threads() {
    fn movable<T: Send>(_: &T) {}
    let of = |store: Store| async move {
        let mut tx = store.begin().await?;
        hub_state::set(&mut tx, "a", "b").await?;
        let mut snapshot = store.snapshot().await?;
        nodes::active(&mut snapshot).await?;
        nodes::active(&mut store.read()).await?;
        backstay_store::conversations::resolve(&mut tx, "a", &[], Timestamp::UNIX_EPOCH).await?;
        let anchor = backstay_store::related::Anchor::Container("c".into());
        backstay_store::related::related(&mut tx, &anchor, 1).await?;
        backstay_store::ledger::verify(&mut tx, 1, None).await?;
        tx.commit().await
    };
    fn check<F: Future<Output = Result<(), StoreError>> + Send>(_: impl Fn(Store) -> F) {}
    check(of);
    movable(&());
}

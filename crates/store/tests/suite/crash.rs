//! A writer that is killed loses nothing that was acknowledged, and leaves nothing half done.

use std::{
    collections::BTreeSet,
    env,
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use backstay_store::{Store, hub_state, ledger, tokens};
use backstay_types::*;

use crate::fixture::{Fixture, both, digest};

const LOCATION: &str = "BACKSTAY_STORE_CRASH_LOCATION";
const ROUND: &str = "BACKSTAY_STORE_CRASH_ROUND";
const ROUNDS: u64 = 6;

/// Writes numbered rows, each with its entry of the ledger, seals meanwhile, and says `ack N` once N is committed.
async fn write(location: &str, round: u64, rows: u64, mut acknowledge: impl FnMut(u64)) {
    let at = Timestamp::from_second(1_800_000_000 + i64::try_from(round).unwrap() * 3600).unwrap();
    let world = World::new(Arc::new(FixedClock::new(at)), Arc::new(SeededEntropy::new(round)));
    let store = Store::open(location, world).await.unwrap();
    let sealer = store.clone();
    let sealer = tokio::spawn(async move { sealer.run("hub").await });
    for n in (round * 1_000_000..).take(usize::try_from(rows).unwrap()) {
        let mut tx = store.begin().await.unwrap();
        hub_state::set(&mut tx, &format!("row {n}"), "written").await.unwrap();
        tx.record(Event::TokenChanged { detail: n.to_string() }, Refs::default()).unwrap();
        tx.commit().await.unwrap();
        acknowledge(n);
    }
    sealer.abort();
}

/// On its own a test of the writer; as the child of the tests below, the writer that is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writer() {
    let Ok(location) = env::var(LOCATION) else {
        let dir = tempfile::tempdir().unwrap();
        let mut acknowledged = Vec::new();
        write(dir.path().join("hub.db").to_str().unwrap(), 0, 10, |n| acknowledged.push(n)).await;
        assert_eq!(acknowledged, (0..10).collect::<Vec<_>>());
        return;
    };
    let round = env::var(ROUND).unwrap().parse().unwrap();
    write(&location, round, u64::MAX >> 1, |n| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "ack {n}").unwrap();
        out.flush().unwrap();
    })
    .await;
}

/// Runs a writer and kills it after `after` acknowledgements; gives all that it had acknowledged.
fn kill_a_writer(location: &str, round: u64, after: usize) -> Vec<u64> {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "crash::writer", "--nocapture", "--test-threads=1"])
        .env(LOCATION, location)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut acknowledged = Vec::new();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // What it said between the kill and its end counts too.
    for line in lines.map_while(Result::ok) {
        // The test harness writes its own words on the same line as the first.
        let Some((_, n)) = line.split_once("ack ") else { continue };
        acknowledged.push(n.trim().parse().unwrap());
        if acknowledged.len() == after {
            child.kill().unwrap();
        }
    }
    let _ = child.wait();
    assert!(acknowledged.len() >= after, "the writer ended by itself after {}", acknowledged.len());
    acknowledged
}

async fn kill_9_loses_nothing_acknowledged(t: Fixture) {
    let mut acknowledged = BTreeSet::new();
    for round in 1..=ROUNDS {
        let location = t.location.clone();
        let after = usize::try_from(round * round).unwrap();
        let said = tokio::task::spawn_blocking(move || kill_a_writer(&location, round, after)).await.unwrap();
        acknowledged.extend(said);
        t.world.set(Timestamp::from_second(1_900_000_000 + i64::try_from(round).unwrap()).unwrap());
        let (rows, entries) = settled(&t).await;
        assert!(acknowledged.is_subset(&rows), "rows lost: {:?}", acknowledged.difference(&rows));
        assert_eq!(
            entries,
            rows.iter().copied().collect::<Vec<_>>(),
            "each row with its one entry, in order"
        );
        let verified = ledger::verify(&mut t.store.read(), 1, None).await.unwrap();
        assert_eq!((verified.flaw, verified.entries), (None, entries.len() as u64));
    }
}

/// The numbers of all rows, and those of all entries in the order of the ledger, once all is sealed.
async fn settled(t: &Fixture) -> (BTreeSet<u64>, Vec<u64>) {
    let mut raw = t.raw().await;
    // A server may still be at work on the last statement of a client that is gone.
    for _ in 0..50 {
        let busy = match &raw {
            crate::fixture::RawConnection::Sqlite(_) => break,
            crate::fixture::RawConnection::Postgres(_) => {
                "SELECT CAST(COUNT(*) AS TEXT) FROM pg_stat_activity WHERE datname = current_database() \
                 AND state <> 'idle' AND pid <> pg_backend_pid()"
            }
        };
        if raw.texts(busy.to_owned()).await == [Some("0".to_owned())] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    while ledger::seal(&t.store, "hub").await.unwrap() != ledger::Sealed::Nothing {}
    let rows = raw.texts("SELECT key FROM hub_state".to_owned()).await;
    let rows = rows.iter().flatten().filter_map(|key| key.strip_prefix("row ")?.parse().ok()).collect();
    let entries = ledger::after(&mut t.store.read(), 0, 1_000_000).await.unwrap();
    let entries = entries.into_iter().map(|entry| match entry.event {
        Some(Event::TokenChanged { detail }) => detail.parse().unwrap(),
        other => panic!("{other:?}"),
    });
    (rows, entries.collect())
}

/// What was begun and not committed when the process went away holds nobody up.
async fn an_abandoned_transaction_blocks_nobody(t: Fixture) {
    let mut tx = t.begin().await;
    hub_state::set(&mut tx, "a", "1").await.unwrap();
    let token = tokens::consume(&mut tx, t.mint(), digest("x"), t.mint(), t.world.now());
    drop(token);
    drop(tx);
    let begun = tokio::time::timeout(Duration::from_secs(5), t.begin()).await.unwrap();
    drop(begun);
}

both!(kill_9_loses_nothing_acknowledged, an_abandoned_transaction_blocks_nobody);

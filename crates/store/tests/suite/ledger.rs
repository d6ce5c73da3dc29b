//! Recording, sealing, reading, erasing, segments, retention.

use std::time::Duration;

use backstay_store::{
    Store,
    ledger::{self, Filter, Sealed, Window},
};
use backstay_types::*;

use crate::fixture::{Fixture, both, commit, stack};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn entries_come_back_in_order_with_their_ids(t: Fixture) {
    let refs = Refs {
        conversation: Some(t.mint()),
        repository: Some(t.mint()),
        commit: Some(commit("abc")),
        stack: Some(stack("web")),
        release: Some(t.mint()),
        rollout: Some(t.mint()),
        deployment: Some(t.mint()),
        node: Some(t.mint()),
        undo: Some(t.mint()),
        constraint: Some(t.mint()),
    };
    let event = Event::UndoRequested { by: "operator".into(), reason: "nul \0 and ünïcode".into() };
    let mut tx = t.begin().await;
    let first = tx.record(event.clone(), refs.clone()).unwrap();
    let second = tx.record(Event::DeploymentStarted, Refs::default()).unwrap();
    tx.commit().await.unwrap();
    assert!(ledger::after(&mut t.store.read(), 0, 10).await.unwrap().is_empty(), "not before it is sealed");
    t.seal().await;
    let entries = ledger::after(&mut t.store.read(), 0, 10).await.unwrap();
    assert_eq!(entries.iter().map(|e| (e.seq, e.id)).collect::<Vec<_>>(), [(1, first), (2, second)]);
    assert_eq!(entries[0].refs, refs);
    assert_eq!(entries[0].event.as_ref(), Some(&event));
    assert_eq!(entries[0].kind, "undo_requested");
    assert_eq!(entries[1].refs, Refs::default());
    let head = ledger::head(&mut t.store.read()).await.unwrap();
    assert_eq!((head.seq, head.hash), (2, entries[1].hash));
    assert_eq!(ledger::entry(&mut t.store.read(), 2).await.unwrap().as_ref(), entries.get(1));
    assert_eq!(ledger::entry(&mut t.store.read(), 3).await.unwrap(), None);
}

async fn sealed_in_the_order_of_recording_even_when_the_clock_goes_back(t: Fixture) {
    let mut ids = Vec::new();
    for back in [0, 5, 1, 9] {
        t.world.set(Timestamp::from_second(1_800_000_000 - back).unwrap());
        let mut tx = t.begin().await;
        ids.push(tx.record(Event::DeploymentStarted, Refs::default()).unwrap());
        ids.push(tx.record(Event::DeploymentStarted, Refs::default()).unwrap());
        tx.commit().await.unwrap();
    }
    t.seal().await;
    let sealed = ledger::after(&mut t.store.read(), 0, 100).await.unwrap();
    assert_eq!(sealed.into_iter().map(|e| e.id).collect::<Vec<_>>(), ids);
}

async fn filters_and_windows(t: Fixture) {
    let (a, b): (NodeId, NodeId) = (t.mint(), t.mint());
    let mut times = Vec::new();
    for i in 0..10 {
        let node = if i % 2 == 0 { a } else { b };
        times.push(t.later());
        let mut tx = t.begin().await;
        let event =
            if i < 5 { Event::DeploymentStarted } else { Event::DriftReported { detail: "x".into() } };
        tx.record(event, Refs { node: Some(node), ..Refs::default() }).unwrap();
        tx.commit().await.unwrap();
    }
    t.seal().await;
    let seqs = async |filter: Filter, window, limit| {
        let found = ledger::timeline(&mut t.store.read(), &filter, window, limit).await.unwrap();
        found.into_iter().map(|e| e.seq).collect::<Vec<_>>()
    };
    let of_a = || Filter { node: Some(a), ..Filter::default() };
    assert_eq!(seqs(of_a(), Window::Newest, 10).await, [9, 7, 5, 3, 1]);
    assert_eq!(seqs(of_a(), Window::Newest, 2).await, [9, 7]);
    assert_eq!(seqs(of_a(), Window::Before(7), 2).await, [5, 3]);
    assert_eq!(seqs(of_a(), Window::After(3), 2).await, [5, 7]);
    let drift = Filter { kind: Some("drift_reported".into()), ..of_a() };
    assert_eq!(seqs(drift, Window::Newest, 10).await, [9, 7]);
    let span = Filter { since: Some(times[2]), until: Some(times[4]), ..Filter::default() };
    assert_eq!(seqs(span, Window::After(0), 10).await, [3, 4]);
    let nothing = Filter { stack: Some(stack("none")), ..Filter::default() };
    assert!(seqs(nothing, Window::Newest, 10).await.is_empty());
}

async fn an_erased_body_leaves_the_chain_verifiable(t: Fixture) {
    t.record(5).await;
    t.seal().await;
    let mut tx = t.begin().await;
    assert!(ledger::erase_body(&mut tx, 3).await.unwrap());
    assert!(!ledger::erase_body(&mut tx, 3).await.unwrap());
    assert!(!ledger::erase_body(&mut tx, 77).await.unwrap());
    tx.commit().await.unwrap();
    let entries = ledger::after(&mut t.store.read(), 0, 10).await.unwrap();
    assert_eq!(
        entries.iter().map(|e| e.event.is_some()).collect::<Vec<_>>(),
        [true, true, false, true, true]
    );
    let verified = ledger::verify(&mut t.store.read(), 1, None).await.unwrap();
    assert_eq!((verified.entries, verified.erased, verified.flaw), (5, 1, None));
}

async fn an_event_of_the_future_is_an_entry_without_one(t: Fixture) {
    t.record(1).await;
    t.tamper("UPDATE ledger_pending SET kind = 'sung', body = '{\"kind\":\"sung\"}'".into()).await;
    t.seal().await;
    let entries = ledger::after(&mut t.store.read(), 0, 10).await.unwrap();
    assert_eq!((entries[0].kind.as_str(), &entries[0].event), ("sung", &None));
    assert_eq!(ledger::verify(&mut t.store.read(), 1, None).await.unwrap().flaw, None);
}

async fn parts_of_the_chain_can_be_checked(t: Fixture) {
    t.record(10).await;
    t.seal().await;
    let read = &mut t.store.read();
    let part = ledger::verify(read, 4, Some(6)).await.unwrap();
    assert_eq!((part.entries, part.head.seq, part.flaw), (3, 6, None));
    let rest = ledger::verify(read, 9, None).await.unwrap();
    assert_eq!((rest.entries, rest.head.seq, rest.flaw), (2, 10, None));
    let beyond = ledger::verify(read, 1, Some(99)).await.unwrap();
    assert_eq!((beyond.entries, beyond.flaw), (10, None));
    t.tamper("UPDATE ledger SET kind = 'x' WHERE seq = 5".into()).await;
    assert_eq!(ledger::verify(read, 4, Some(6)).await.unwrap().flaw.unwrap().seq, 5);
    assert_eq!(ledger::verify(read, 6, None).await.unwrap().flaw, None);
}

async fn segments_close_daily_and_headers_outlive_entries(t: Fixture) {
    for day in 0..4 {
        if day != 2 {
            t.record(3).await;
            t.seal().await;
            t.record(2).await;
            t.seal().await;
        }
        t.world.advance(DAY);
    }
    let read = &mut t.store.read();
    let segments = ledger::segments(read, 0, 10).await.unwrap();
    let spans: Vec<_> = segments.iter().map(|s| (s.number, s.first_seq, s.last_seq)).collect();
    assert_eq!(spans, [(1, 1, 5), (2, 6, 10)], "the newest is open; a day without entries has none");
    assert_eq!(ledger::verify(read, 1, None).await.unwrap().entries, 15);
    let mut tx = t.begin().await;
    let second_day = t.world.now().checked_sub(DAY * 3).unwrap();
    assert_eq!(ledger::prune(&mut tx, second_day).await.unwrap(), 5);
    assert_eq!(ledger::prune(&mut tx, second_day).await.unwrap(), 0);
    tx.commit().await.unwrap();
    let verified = ledger::verify(read, 1, None).await.unwrap();
    assert_eq!((verified.entries, verified.flaw), (10, None));
    assert_eq!(ledger::segments(read, 0, 10).await.unwrap(), segments);
    let mut tx = t.begin().await;
    assert_eq!(ledger::prune(&mut tx, t.world.now()).await.unwrap(), 5, "the open segment stays");
    tx.commit().await.unwrap();
    assert_eq!(ledger::verify(read, 1, None).await.unwrap().entries, 5);
    t.record(1).await;
    t.seal().await;
    let verified = ledger::verify(read, 1, None).await.unwrap();
    assert_eq!((verified.entries, verified.head.seq, verified.flaw), (6, 16, None));
}

async fn one_seals_at_a_time(t: Fixture) {
    t.record(1).await;
    assert_eq!(ledger::seal(&t.store, "a").await.unwrap(), Sealed::Entries(1));
    t.record(1).await;
    assert_eq!(ledger::seal(&t.store, "b").await.unwrap(), Sealed::Elsewhere);
    t.world.advance(Duration::from_secs(5));
    assert_eq!(ledger::seal(&t.store, "b").await.unwrap(), Sealed::Entries(1));
    assert_eq!(ledger::seal(&t.store, "a").await.unwrap(), Sealed::Nothing);
    t.record(1).await;
    assert_eq!(ledger::seal(&t.store, "a").await.unwrap(), Sealed::Elsewhere);
}

/// Writers and sealers of several processes, as far as one process can have them.
async fn concurrent_writers_give_a_gapless_chain(t: Fixture) {
    const WRITERS: usize = 6;
    const EACH: usize = 25;
    let mut tasks = Vec::new();
    for writer in 0..WRITERS {
        let store = if writer % 2 == 0 {
            t.store.clone()
        } else {
            Store::open(&t.location, t.world.world()).await.unwrap()
        };
        tasks.push(tokio::spawn(async move {
            let mut ids = Vec::new();
            for i in 0..EACH {
                let mut tx = store.begin().await.unwrap();
                ids.push(tx.record(Event::DeploymentStarted, Refs::default()).unwrap());
                if i % 5 == 4 {
                    // Rolled back: leaves no trace and no gap.
                    ids.pop();
                    drop(tx);
                } else {
                    tx.commit().await.unwrap();
                }
            }
            ids
        }));
    }
    let sealers: Vec<_> = (0..3)
        .map(|i| {
            let store = t.store.clone();
            tokio::spawn(async move {
                loop {
                    // A sealer that lost the race to another is told so, and tries again.
                    let _ = ledger::seal(&store, &format!("sealer {}", i % 2)).await;
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
            })
        })
        .collect();
    let mut of_writers = Vec::new();
    for task in tasks {
        of_writers.push(task.await.unwrap());
    }
    for sealer in sealers {
        sealer.abort();
        let _ = sealer.await;
    }
    t.world.advance(Duration::from_secs(10));
    t.seal().await;
    let entries = ledger::after(&mut t.store.read(), 0, 1000).await.unwrap();
    assert_eq!(entries.len(), of_writers.iter().map(Vec::len).sum::<usize>());
    assert!(entries.iter().zip(1..).all(|(entry, seq)| entry.seq == seq));
    for ids in of_writers {
        let sealed = entries.iter().map(|e| e.id).filter(|id| ids.contains(id));
        assert_eq!(sealed.collect::<Vec<_>>(), ids, "each once, in each writer's own order");
    }
    assert_eq!(ledger::verify(&mut t.store.read(), 1, None).await.unwrap().flaw, None);
}

both!(
    entries_come_back_in_order_with_their_ids,
    sealed_in_the_order_of_recording_even_when_the_clock_goes_back,
    filters_and_windows,
    an_erased_body_leaves_the_chain_verifiable,
    an_event_of_the_future_is_an_entry_without_one,
    parts_of_the_chain_can_be_checked,
    segments_close_daily_and_headers_outlive_entries,
    one_seals_at_a_time,
    concurrent_writers_give_a_gapless_chain,
);

//! What comes in is found, in memory and in parts alike.

use super::*;

fn page(kept: &Kept, query: &LogQuery, order: Order, after: Option<Key>, limit: usize) -> Page {
    kept.store.search(query, order, after, limit, &budget()).unwrap()
}

/// Lines of three services over four hours.
fn fill(kept: &Kept) {
    let services = ["web", "db", "mail"];
    for n in 0..240_i64 {
        let mut record =
            line(NOON + n * 60 * SECOND, format!("{} handled request {n}", services[n as usize % 3]));
        record.severity = if n % 40 == 0 { 17 } else { 9 };
        if n == 100 {
            record.body.push_str(": connection refused by upstream");
        }
        let service = services[n as usize % 3];
        let conversation = format!("c-{}", n / 60);
        record = with(record, &[(Field::Service, service), (Field::Conversation, &conversation)]);
        assert_eq!(kept.store.append(vec![record]).unwrap().new.len(), 1);
    }
}

#[test]
fn lines_are_found_by_what_they_say_in_memory_and_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Kept::open(options(folder.path()), NOON + 5 * HOUR);
    fill(&kept);
    for stage in ["in memory", "in a part", "after a start"] {
        let kept = match stage {
            "after a start" => {
                kept.store.close();
                continue;
            }
            "in a part" => {
                kept.store.flush().unwrap();
                assert_eq!((kept.store.status().memory_rows, kept.store.status().part_rows), (0, 240));
                assert_eq!(kept.store.status().log_bytes, 0);
                &kept
            }
            _ => &kept,
        };
        let all = LogQuery::default();
        assert_eq!(kept.all().len(), 240, "{stage}");
        let by = |field, value: &str| LogQuery { fields: vec![(field, vec![value.into()])], ..all.clone() };
        assert_eq!(kept.bodies(&by(Field::Service, "db")).len(), 80, "{stage}");
        assert_eq!(kept.bodies(&by(Field::Conversation, "c-2")).len(), 60, "{stage}");
        assert_eq!(kept.bodies(&by(Field::Conversation, "c-9")).len(), 0, "{stage}");
        let refused = LogQuery { text: Some("refused by".into()), ..all.clone() };
        assert_eq!(kept.bodies(&refused).len(), 1, "{stage}");
        let nothing = LogQuery { text: Some("panicked".into()), ..all.clone() };
        assert!(kept.bodies(&nothing).is_empty(), "{stage}");
        let errors = LogQuery { level: Some(Level::Error), ..all.clone() };
        assert_eq!(kept.bodies(&errors).len(), 6, "{stage}");
        let hour = LogQuery { from: (NOON + HOUR) * NANOS, to: (NOON + 2 * HOUR) * NANOS, ..all.clone() };
        assert_eq!(kept.bodies(&hour).len(), 61, "{stage}: both ends");

        let newest = page(kept, &all, Order::NewestFirst, None, 3);
        let said: Vec<_> =
            newest.lines.iter().map(|(_, record)| record.body.rsplit(' ').next().unwrap()).collect();
        assert_eq!((said, newest.more), (vec!["239", "238", "237"], true), "{stage}");
        let next = page(kept, &all, Order::NewestFirst, Some(newest.lines[2].0), 240);
        assert_eq!((next.lines.len(), next.more), (237, false), "{stage}");

        let buckets = |query: &LogQuery| kept.store.histogram(query, HOUR * NANOS, &budget()).unwrap();
        let four = LogQuery { from: NOON * NANOS, to: (NOON + 4 * HOUR) * NANOS - 1, ..all.clone() };
        let counts: Vec<_> = buckets(&four).iter().map(|bucket| bucket.counts.iter().sum::<u64>()).collect();
        assert_eq!(counts, [60; 4], "{stage}");
        assert_eq!(buckets(&four)[0].counts[Level::Error as usize], 2, "{stage}");
        let web = LogQuery { fields: vec![(Field::Service, vec!["web".into()])], ..four.clone() };
        assert_eq!(buckets(&web)[0].counts, [0, 0, 0, 19, 0, 1, 0], "{stage}");
    }
    drop(kept);
    let kept = Kept::open(options(folder.path()), NOON + 5 * HOUR);
    assert_eq!(kept.all().len(), 240);
}

#[test]
fn what_is_sent_again_is_there_once_wherever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Kept::open(options(folder.path()), NOON);
    let send = || kept.store.append(vec![line(NOON, "a"), line(NOON, "b")]).unwrap();
    assert_eq!(send().new.len(), 2);
    assert_eq!(send().duplicates, 2, "in memory");
    kept.store.flush().unwrap();
    assert_eq!(send().duplicates, 2, "in a part since a moment");
    kept.store.flush().unwrap();
    // Longer ago: it is stored again, and found once.
    assert_eq!(send().new.len(), 2);
    assert_eq!(kept.all().len(), 2);
    kept.store.flush().unwrap();
    assert_eq!((kept.store.status().part_rows, kept.all().len()), (4, 2));
    kept.at(NOON + 2 * DAY);
    assert_eq!(kept.store.maintain().unwrap().compacted, 1);
    assert_eq!((kept.store.status().part_rows, kept.all().len()), (2, 2), "merged");
}

#[test]
fn secrets_are_hidden_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let known = backstay_types::Secret::new("open sesame now");
    let kept = Kept::open(LogOptions { known_secrets: vec![known], ..options(folder.path()) }, NOON);
    let stored = kept.store.append(vec![line(NOON, "open sesame now, DB_PASSWORD=hunter2hunter")]).unwrap();
    assert_eq!((stored.hidden.known, stored.hidden.pattern), (1, 1));
    assert_eq!(kept.all(), ["[hidden], DB_PASSWORD=[hidden]"]);
    let log = std::fs::read_dir(folder.path().join("log")).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(log).unwrap();
    assert!(!bytes.windows(7).any(|part| part == b"hunter2" || part == b"sesame "));
    assert_eq!(kept.store.status().counts.hidden_known, 1);
}

#[test]
fn what_is_too_old_or_from_the_future_is_refused_and_what_is_long_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Kept::open(options(folder.path()), NOON);
    let long = "é".repeat(200_000);
    let lines =
        vec![line(NOON - 91 * DAY, "old"), line(NOON + HOUR, "soon"), line(NOON, long), line(0, "no time")];
    let stored = kept.store.append(lines).unwrap();
    assert_eq!((stored.too_old, stored.too_new, stored.new.len()), (1, 1, 2));
    let message = stored.message().unwrap();
    assert!(message.contains("1 older") && message.contains("1 from the future"), "{message}");
    assert!(stored.new[0].1.body.ends_with("… [cut: 400000 bytes]"));
    assert_eq!(stored.new[1].1.time, NOON * NANOS, "as it is now");
}

#[test]
fn memory_has_a_ceiling_and_going_to_parts_makes_room() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Kept::open(LogOptions { memory_bytes: 100_000, ..options(folder.path()) }, NOON);
    let mut n = 0;
    let error = loop {
        n += 1;
        if let Err(error) = kept.store.append(vec![line(NOON, format!("line {n}"))]) {
            break error;
        }
    };
    assert!(matches!(error, StoreError::MemoryFull { .. }), "{error}");
    assert_eq!(kept.store.maintain().unwrap().flushed, 1);
    kept.store.append(vec![line(NOON, "there is room again")]).unwrap();
    assert_eq!(kept.all().len(), n);
}

#[test]
fn parts_are_merged_and_dropped_by_days_and_by_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let keep = Duration::from_secs(3 * 86_400);
    let kept = Kept::open(LogOptions { keep, ..options(folder.path()) }, NOON);
    for n in 0..7 * 24 {
        let now = NOON + n * HOUR;
        kept.at(now);
        kept.store.append(vec![line(now, format!("hour {n}"))]).unwrap();
        kept.store.maintain().unwrap();
    }
    let status = kept.store.status();
    assert!(status.counts.compacted > 5 && status.counts.dropped >= 3, "{status:?}");
    assert!(status.parts < 14, "{status:?}");
    let all = kept.all();
    assert!((72..=97).contains(&all.len()) && all.last().unwrap() == "hour 167", "{}", all.len());
    drop(kept);
    let few = LogOptions { keep, max_bytes: 12_000, ..options(folder.path()) };
    let kept = Kept::open(few, NOON + 168 * HOUR);
    kept.store.maintain().unwrap();
    assert!(kept.store.status().part_bytes <= 12_000);
    assert_eq!(kept.all().last().unwrap(), "hour 167", "the oldest go first");
}

#[test]
fn damage_is_set_aside_and_the_rest_answers() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Kept::open(options(folder.path()), NOON);
    for (n, at) in [NOON - DAY, NOON].into_iter().enumerate() {
        let lines = (0..500).map(|k| line(at, format!("line {k} of part {n}"))).collect();
        kept.store.append(lines).unwrap();
        kept.store.flush().unwrap();
    }
    let mut parts: Vec<_> =
        std::fs::read_dir(folder.path().join("days")).unwrap().map(|entry| entry.unwrap().path()).collect();
    parts.sort();
    let file = parts[0].join("logs.parquet");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(kept.store.verify().unwrap(), 1);
    assert_eq!(kept.all().len(), 500);
    assert_eq!(kept.store.status().damaged.len(), 1);
    drop(kept);
    std::fs::write(parts[1].join("part.json"), "{}").unwrap();
    let kept = Kept::open(options(folder.path()), NOON);
    assert!(kept.all().is_empty());
    assert_eq!(kept.store.status().damaged.len(), 2);
}

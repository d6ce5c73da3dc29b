//! Searches against a plain list, over lines that are in memory, in parts, twice, or merged.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Act {
    Append(Vec<(i64, u8, u8, String)>),
    Flush,
    Merge,
}

fn act() -> impl Strategy<Value = Act> {
    let word = "(GET /cart|refused|timed out|é|x9f|0042|Checkout)";
    let body = proptest::collection::vec(word, 1..4).prop_map(|words: Vec<String>| words.join(" "));
    let lines = proptest::collection::vec((0..200_000_i64, 0..25_u8, 0..3_u8, body), 1..20);
    prop_oneof![4 => lines.prop_map(Act::Append), 2 => Just(Act::Flush), 1 => Just(Act::Merge)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_search_finds_what_a_list_has(
        acts in proptest::collection::vec(act(), 1..14),
        text in proptest::option::of("(GET|ref|used t|out é|042|art|out|x9f Che)"),
        level in proptest::option::of(proptest::sample::select(Level::ALL.to_vec())),
        service in proptest::option::of(0..4_u8),
        (from, to) in (0..200_000_i64, 0..200_000_i64),
        limit in 1..30_usize,
        newest in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::open(options(folder.path()), NOON + 200 * SECOND);
        let mut list: BTreeMap<Key, LogRecord> = BTreeMap::new();
        for act in acts {
            match act {
                Act::Append(lines) => {
                    let lines: Vec<_> = lines.into_iter().map(|(at, severity, service, body)| {
                        let record = LogRecord { severity, ..line(NOON + at, body) };
                        with(record, &[(Field::Service, &format!("s{service}")), (Field::Trace, &format!("t{}", at % 7))])
                    }).collect();
                    list.extend(lines.iter().map(|line| (line.key(), line.clone())));
                    kept.store.append(lines).unwrap();
                }
                Act::Flush => drop(kept.store.flush().unwrap()),
                Act::Merge => {
                    kept.at(NOON + 2 * DAY);
                    kept.store.maintain().unwrap();
                    kept.at(NOON + 200 * SECOND);
                }
            }
        }
        let mut query = LogQuery {
            from: (NOON + from.min(to)) * NANOS, to: (NOON + from.max(to)) * NANOS, level, text, fields: Vec::new(),
        };
        if let Some(service) = service {
            query.fields.push((Field::Service, vec![format!("s{service}"), "s9".into()]));
            query.fields.push((Field::Trace, vec![format!("t{service}")]));
        }
        let mut expected: Vec<_> = list.iter().filter(|(_, record)| query.fits(record)).collect();
        let counted = kept.store.histogram(&query, 30 * SECOND * NANOS, &budget()).unwrap();
        let count: u64 = counted.iter().flat_map(|bucket| bucket.counts).sum();
        let order = if newest { expected.reverse(); Order::NewestFirst } else { Order::OldestFirst };
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = kept.store.search(&query, order, after, limit, &budget()).unwrap();
            prop_assert!(page.lines.len() <= limit);
            after = page.lines.last().map(|(key, _)| *key);
            found.extend(page.lines);
            if !page.more { break; }
        }
        prop_assert!(count >= expected.len() as u64);
        prop_assert_eq!(found.len(), expected.len());
        for ((key, record), (expected_key, expected)) in found.iter().zip(expected) {
            prop_assert_eq!(key, expected_key);
            prop_assert_eq!(&record.body, &expected.body);
            prop_assert_eq!(&record.fields, &expected.fields);
        }
    }
}

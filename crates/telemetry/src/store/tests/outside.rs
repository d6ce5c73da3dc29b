//! Blocks as others read them.

use std::process::Command;

use super::*;

/// Reads with another implementation of Parquet, where the machine has one.
const READ: &str = r#"
import json, sys
import pyarrow.parquet as pq
block = sys.argv[1]
series = pq.read_table(block + "/series.parquet").to_pydict()
labels = dict(zip(series["series"], map(json.loads, series["labels"])))
rows = pq.read_table(block + "/samples.parquet").to_pydict()
found = {}
for number, time, value in zip(rows["series"], rows["time"], rows["value"]):
    found.setdefault(labels[number]["n"], []).append([int(time.timestamp() * 1000), value])
pairs = pq.read_table(block + "/labels.parquet").to_pydict()
print(json.dumps({"samples": found, "pairs": [list(p) for p in zip(pairs["name"], pairs["value"])]}))
"#;

#[test]
fn another_reader_of_parquet_sees_the_same() {
    let Some(senders) = backstay_testkit::Senders::require() else { return };
    let folder = tempfile::tempdir().unwrap();
    let kept = Kept::open(options(folder.path()), NOON + HOUR);
    let batch: crate::store::Batch = (0..3)
        .map(|n| {
            let run = (0..1000).map(|k| sample(NOON + k * SECOND, f64::from(n) + k as f64 / 8.0)).collect();
            (labels(&[("__name__", "m"), ("n", &n.to_string())]), run)
        })
        .collect();
    kept.store.append(batch.clone()).unwrap();
    kept.store.flush().unwrap();
    let block = folder.path().join("blocks").join(&kept.store.status().blocks[0].name);
    let output = Command::new(senders.python()).args(["-c", READ]).arg(block).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let found: serde_json::Value =
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    for (set, samples) in batch {
        let expected: Vec<_> = samples.iter().map(|s| serde_json::json!([s.at, s.value])).collect();
        assert_eq!(found["samples"][set.get("n").unwrap()], serde_json::Value::from(expected));
    }
    assert_eq!(found["pairs"], serde_json::json!([["__name__", "m"], ["n", "0"], ["n", "1"], ["n", "2"]]));
}

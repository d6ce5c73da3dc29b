//! Parts as others read them.

use std::process::Command;

use super::*;

/// Reads with another implementation of Parquet, where the machine has one.
const READ: &str = r#"
import json, sys
import pyarrow.parquet as pq
rows = pq.read_table(sys.argv[1]).to_pydict()
rows["time"] = [int(t.timestamp() * 1000) for t in rows["time"]]
print(json.dumps({name: rows[name] for name in ["time", "severity", "service", "trace_id", "body", "attributes"]}))
"#;

#[test]
fn another_reader_of_parquet_sees_the_same() {
    let Some(senders) = backstay_testkit::Senders::require() else { return };
    let folder = tempfile::tempdir().unwrap();
    let kept = Kept::open(options(folder.path()), NOON + HOUR);
    let lines: Vec<_> = (0..1000)
        .map(|n| {
            let record = line(NOON + n * SECOND, format!("line {n} – é"));
            let record = with(record, &[(Field::Service, ["web", "db"][n as usize % 2])]);
            let trace = format!("{n:032x}");
            LogRecord { attributes: format!("{{\"n\":{n}}}"), ..with(record, &[(Field::Trace, &trace)]) }
        })
        .collect();
    kept.store.append(lines.clone()).unwrap();
    kept.store.flush().unwrap();
    let part = std::fs::read_dir(folder.path().join("days")).unwrap().next().unwrap().unwrap().path();
    let output =
        Command::new(senders.python()).args(["-c", READ]).arg(part.join("logs.parquet")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let found: serde_json::Value =
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let column =
        |of: fn(&LogRecord) -> serde_json::Value| lines.iter().map(of).collect::<serde_json::Value>();
    assert_eq!(found["time"], column(|line| (line.time / NANOS).into()));
    assert_eq!(found["severity"], column(|line| line.severity.into()));
    assert_eq!(found["service"], column(|line| line.field(Field::Service).into()));
    assert_eq!(found["trace_id"], column(|line| line.field(Field::Trace).into()));
    assert_eq!(found["body"], column(|line| (*line.body).into()));
    assert_eq!(found["attributes"], column(|line| (*line.attributes).into()));
}

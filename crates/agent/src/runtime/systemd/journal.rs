//! What units log, from the journal.

use std::{io, process::Stdio, time::Duration};

use backstay_api::agent::LogLine;
use backstay_types::Timestamp;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    time::timeout,
};

use super::ctl;
use crate::runtime::{
    NewLines,
    follow::{Cursor, Place},
};

/// How long the journal may take.
const ANSWER: Duration = Duration::from_secs(20);
/// One entry is no longer than this, in bytes of JSON.
const ENTRY: usize = 1 << 20;

/// Lines, and the place behind them.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) lines: Vec<LogLine>,
    cursor: Option<String>,
}

/// The last lines of a unit, of one of its runs when one is named.
pub(super) async fn last(unit: &str, lines: usize, invocation: Option<&str>) -> io::Result<Entries> {
    let count = format!("--lines={lines}");
    let run = invocation.filter(|id| !id.is_empty()).map(|id| format!("_SYSTEMD_INVOCATION_ID={id}"));
    let mut arguments = vec![count];
    arguments.extend(run);
    read(unit, arguments, usize::MAX).await
}

/// Adds what is new of a unit since a place.
pub(super) async fn new_lines(
    unit: &str,
    after: Option<&Cursor>,
    most: usize,
    new: &mut NewLines,
) -> io::Result<()> {
    let place = after.and_then(|after| match after.0.get(unit) {
        Some(Place::Journal { cursor }) => Some(cursor.clone()),
        _ => None,
    });
    let entries = match &place {
        Some(cursor) => read(unit, vec![format!("--after-cursor={cursor}")], most).await?,
        None => last(unit, most, None).await?,
    };
    new.lines.extend(entries.lines);
    if let Some(cursor) = entries.cursor.or(place) {
        new.cursor.0.insert(unit.to_owned(), Place::Journal { cursor });
    }
    Ok(())
}

/// The first entries that `journalctl` gives, at most so many.
async fn read(unit: &str, arguments: Vec<String>, most: usize) -> io::Result<Entries> {
    let mut command = ctl::program("journalctl");
    command.args(["--no-pager", "--quiet", "--output=json", "--output-fields=MESSAGE"]);
    command.arg(format!("--unit={unit}")).args(arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut reader = BufReader::new(stdout);
    let mut entries = Entries::default();
    let reading = async {
        let mut line = Vec::new();
        while entries.lines.len() < most {
            line.clear();
            if reader.read_until(b'\n', &mut line).await? == 0 {
                return child.wait().await.map(|status| status.success());
            }
            if line.len() <= ENTRY
                && let Some((entry, cursor)) = entry(unit, &line)
            {
                entries.lines.push(entry);
                entries.cursor = Some(cursor);
            }
        }
        Ok(true)
    };
    let late = || io::Error::new(io::ErrorKind::TimedOut, "journalctl did not answer in time");
    if !timeout(ANSWER, reading).await.map_err(|_| late())?? {
        return Err(io::Error::other("journalctl failed"));
    }
    Ok(entries)
}

fn entry(unit: &str, line: &[u8]) -> Option<(LogLine, String)> {
    let value: Value = serde_json::from_slice(line).ok()?;
    let text = match &value["MESSAGE"] {
        Value::String(text) => text.clone(),
        // What is not UTF-8 comes as numbers.
        Value::Array(bytes) => {
            let bytes: Vec<u8> = bytes.iter().filter_map(|b| u8::try_from(b.as_u64()?).ok()).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        }
        _ => String::new(),
    };
    let micros = value["__REALTIME_TIMESTAMP"].as_str().and_then(|text| text.parse().ok());
    let at = micros.and_then(|micros| Timestamp::from_microsecond(micros).ok());
    let cursor = value["__CURSOR"].as_str()?.to_owned();
    Some((LogLine { service: unit.to_owned(), at, text }, cursor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_whatever_is_in_them() {
        let (line, cursor) = entry(
            "web.service",
            br#"{"__CURSOR":"s=1;i=2","__REALTIME_TIMESTAMP":"1800000000000001","MESSAGE":"hello"}"#,
        )
        .unwrap();
        assert_eq!((line.text.as_str(), cursor.as_str()), ("hello", "s=1;i=2"));
        assert_eq!(line.at, Timestamp::from_microsecond(1_800_000_000_000_001).ok());
        let (line, _) = entry("w", br#"{"__CURSOR":"c","MESSAGE":[104,105,255]}"#).unwrap();
        assert_eq!(line.text, "hi\u{fffd}");
        assert!(entry("w", b"not json").is_none());
    }
}

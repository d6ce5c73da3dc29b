//! Following logs: what is new since a place, each line once, and said so when some are gone.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use backstay_api::agent::LogLine;
use backstay_types::{Digest, Timestamp};
use serde::{Deserialize, Serialize};

/// How far back a follower may be before lines are left out, in bytes.
const BACKLOG: u64 = 4 << 20;
/// So much is read at once.
const CHUNK: u64 = 1 << 20;
/// So many bytes before a place say which file it is in.
const MARK: u64 = 64;

/// Where a follower is. To the hub it is text that it gives back.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Cursor(pub(super) BTreeMap<String, Place>);

/// Where a follower is in one log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Place {
    /// In a file: behind so many bytes, the last of which have this digest.
    File { offset: u64, mark: String },
    /// In a container's log: behind so many lines of that very time.
    Time { at: Timestamp, lines: usize },
    /// In the journal, behind the entry that this names.
    Journal { cursor: String },
}

impl Cursor {
    /// Reads what [`Cursor::to_text`] wrote.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| format!("the place in the logs is not one: {error}"))
    }

    pub(crate) fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What is new.
#[derive(Debug, Default)]
pub(crate) struct NewLines {
    pub(crate) lines: Vec<LogLine>,
    /// Where to go on.
    pub(crate) cursor: Cursor,
    /// Some lines before these are gone.
    pub(crate) dropped: bool,
}

/// What is new in a file.
#[derive(Debug, Default, PartialEq)]
pub(super) struct NewOfFile {
    pub(super) lines: Vec<String>,
    pub(super) offset: u64,
    pub(super) mark: String,
    pub(super) dropped: bool,
}

/// Whole lines behind a place, `most` of them; without a place the last ones. Where the log was moved aside to
/// `old` since and emptied, the rest of that comes first.
pub(super) fn new_of_file(
    log: &Path,
    old: &Path,
    place: Option<(u64, &str)>,
    most: usize,
) -> io::Result<NewOfFile> {
    let (mut now, mut before) = (open(log)?, open(old)?);
    let Some((offset, mark)) = place else { return last(now.as_mut(), most) };
    if is_at(now.as_mut(), offset, mark)? {
        return forward(now.as_mut(), offset, most);
    }
    if is_at(before.as_mut(), offset, mark)? {
        let rest = forward(before.as_mut(), offset, most)?;
        if !rest.lines.is_empty() {
            return Ok(rest);
        }
        return forward(now.as_mut(), 0, most);
    }
    Ok(NewOfFile { dropped: true, ..forward(now.as_mut(), 0, most)? })
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

fn read_at(file: &mut File, from: u64, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn mark_at(file: &mut File, offset: u64) -> io::Result<String> {
    let from = offset.saturating_sub(MARK);
    Ok(Digest::of(&read_at(file, from, offset - from)?).short())
}

/// Whether a place is in this file.
fn is_at(file: Option<&mut File>, offset: u64, mark: &str) -> io::Result<bool> {
    let Some(file) = file else { return Ok(offset == 0) };
    Ok(file.metadata()?.len() >= offset && mark_at(file, offset)? == mark)
}

/// The last lines of all, and the place behind them.
fn last(file: Option<&mut File>, most: usize) -> io::Result<NewOfFile> {
    let Some(file) = file else { return forward(None, 0, 0) };
    let len = file.metadata()?.len();
    let from = len.saturating_sub(BACKLOG);
    let bytes = read_at(file, from, len - from)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let mut lines = split(&bytes[..whole]);
    lines.drain(..lines.len().saturating_sub(most));
    let offset = from + whole as u64;
    Ok(NewOfFile { lines, offset, mark: mark_at(file, offset)?, dropped: false })
}

/// Whole lines from a place on.
fn forward(file: Option<&mut File>, mut offset: u64, most: usize) -> io::Result<NewOfFile> {
    let Some(file) = file else {
        return Ok(NewOfFile { mark: Digest::of(&[]).short(), ..NewOfFile::default() });
    };
    let mut dropped = false;
    let len = file.metadata()?.len();
    if len.saturating_sub(offset) > BACKLOG {
        dropped = true;
        offset = len - BACKLOG;
        // To the beginning of a line.
        let bytes = read_at(file, offset, CHUNK)?;
        offset += bytes.iter().position(|byte| *byte == b'\n').map_or(0, |at| at as u64 + 1);
    }
    let bytes = read_at(file, offset, CHUNK)?;
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let whole = match ends.take(most).last() {
        Some(end) => end,
        // A line longer than what is read at once goes in pieces.
        None if bytes.len() as u64 == CHUNK => bytes.len(),
        None => 0,
    };
    let lines = split(&bytes[..whole]);
    offset += whole as u64;
    Ok(NewOfFile { lines, offset, mark: mark_at(file, offset)?, dropped })
}

fn split(bytes: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect()
}

/// What is new among lines that were asked for from a place's time on, that time included; and the new place.
pub(super) fn new_since(
    lines: Vec<LogLine>,
    place: Option<(Timestamp, usize)>,
    most: usize,
) -> (Vec<LogLine>, Option<(Timestamp, usize)>) {
    let (since, had) = place.unwrap_or((Timestamp::MIN, 0));
    let mut same = 0;
    let new = lines.into_iter().filter(|line| match line.at {
        Some(at) if at < since => false,
        Some(at) if at == since => {
            same += 1;
            same > had
        }
        _ => true,
    });
    let new: Vec<_> = new.take(most).collect();
    let Some(newest) = new.iter().filter_map(|line| line.at).next_back() else { return (new, place) };
    let of_newest = new.iter().filter(|line| line.at == Some(newest)).count();
    let of_newest = of_newest + if newest == since { had } else { 0 };
    (new, Some((newest, of_newest)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Follows a log that is written and moved aside meanwhile.
    struct Follower {
        dir: tempfile::TempDir,
        place: Option<(u64, String)>,
    }

    impl Follower {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap(), place: None }
        }

        fn write(&self, text: &str) {
            use std::io::Write as _;
            let log = self.dir.path().join("web.log");
            File::options().append(true).create(true).open(log).unwrap().write_all(text.as_bytes()).unwrap();
        }

        fn rotate(&self) {
            let log = self.dir.path().join("web.log");
            fs::copy(&log, self.dir.path().join("web.log.1")).unwrap();
            File::options().write(true).open(log).unwrap().set_len(0).unwrap();
        }

        fn next(&mut self, most: usize) -> (Vec<String>, bool) {
            let [log, old] = ["web.log", "web.log.1"].map(|name| self.dir.path().join(name));
            let place = self.place.as_ref().map(|(offset, mark)| (*offset, mark.as_str()));
            let new = new_of_file(&log, &old, place, most).unwrap();
            self.place = Some((new.offset, new.mark));
            (new.lines, new.dropped)
        }
    }

    fn lines(texts: &[&str]) -> (Vec<String>, bool) {
        (texts.iter().map(|text| (*text).to_owned()).collect(), false)
    }

    #[test]
    fn each_line_comes_once_and_only_whole() {
        let mut follower = Follower::new();
        assert_eq!(follower.next(10), lines(&[]), "there is no log yet");
        follower.write("one\ntwo\nthr");
        assert_eq!(follower.next(10), lines(&["one", "two"]));
        assert_eq!(follower.next(10), lines(&[]));
        follower.write("ee\nfour\nfive\n");
        assert_eq!(follower.next(2), lines(&["three", "four"]));
        assert_eq!(follower.next(2), lines(&["five"]));
        let mut late = Follower { dir: tempfile::tempdir().unwrap(), place: None };
        late.write("one\ntwo\nthree\nfo");
        assert_eq!(late.next(2), lines(&["two", "three"]), "a new follower begins with the last ones");
        late.write("ur\n");
        assert_eq!(late.next(2), lines(&["four"]));
    }

    #[test]
    fn a_log_that_is_moved_aside_loses_nothing() {
        let mut follower = Follower::new();
        follower.write("one\ntwo\n");
        follower.next(10);
        follower.write("three\nfour\n");
        follower.rotate();
        follower.write("five\nsix and more than that\n");
        assert_eq!(follower.next(1), lines(&["three"]));
        assert_eq!(follower.next(10), lines(&["four"]));
        assert_eq!(follower.next(10), lines(&["five", "six and more than that"]));
        // Twice, unseen: that is said.
        follower.write("seven\n");
        follower.rotate();
        follower.write("eight\n");
        follower.rotate();
        follower.write("nine\n");
        assert_eq!(follower.next(10), (vec!["nine".to_owned()], true));
        assert_eq!(follower.next(10), lines(&[]));
    }

    #[test]
    fn who_is_too_far_behind_is_told() {
        let mut follower = Follower::new();
        follower.write("one\n");
        follower.next(10);
        let line = format!("{}\n", "x".repeat(999));
        follower.write(&line.repeat(5000));
        let (found, dropped) = follower.next(usize::MAX);
        assert!(dropped && found.iter().all(|line| line.len() == 999), "{}", found.len());
        let mut rest = found.len();
        loop {
            let (found, dropped) = follower.next(usize::MAX);
            assert!(!dropped);
            if found.is_empty() {
                break;
            }
            rest += found.len();
        }
        assert!((4190..=4195).contains(&rest), "{rest}");
    }

    #[test]
    fn lines_of_one_moment_are_told_apart() {
        let at = |second| Some(Timestamp::from_second(second).unwrap());
        let line = |second, text: &str| LogLine { service: "web".into(), at: at(second), text: text.into() };
        let all = vec![line(1, "a"), line(2, "b"), line(2, "c"), line(2, "d"), line(3, "e")];
        let mut place = None;
        let mut found = Vec::new();
        for _ in 0..5 {
            let asked = all.iter().filter(|line| place.is_none_or(|(since, _)| line.at >= Some(since)));
            let (new, next) = new_since(asked.cloned().collect(), place, 1);
            found.extend(new);
            place = next;
        }
        assert_eq!(found, all);
        assert_eq!(new_since(vec![line(3, "e")], place, 9), (Vec::new(), place));
    }
}

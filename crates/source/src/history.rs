//! Who last touched a line, a file: for people and for `why`.

use backstay_types::CommitId;

use crate::{
    error::SourceError,
    git::{self, Invocation, Limits},
    mirror::{Mirror, commit_id},
    paths,
};

/// Where a line came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blame {
    /// The commit that wrote it.
    pub commit: CommitId,
    /// The file's path in that commit.
    pub path: String,
    /// The line's number in that commit, counted from 1.
    pub line: u32,
    /// The line.
    pub text: String,
}

/// The largest file that is explained line by line, in bytes.
const MAX_BLAMED: u64 = 1 << 20;

impl Mirror {
    /// The commit that wrote a line of a file, counted from 1.
    ///
    /// # Errors
    /// When the commit, the file or the line is not there.
    pub fn blame(&self, commit: &CommitId, path: &str, line: u32) -> Result<Blame, SourceError> {
        let content = self.read(commit, path)?;
        let no_line = || SourceError::NoLine { path: path.to_owned(), line };
        let lines = content.split_inclusive(|b| *b == b'\n').count();
        if line == 0 || u32::try_from(lines).is_ok_and(|lines| line > lines) {
            return Err(no_line());
        }
        let range = format!("{line},{line}");
        // The commit is hexadecimal digits and the path stands behind `--`, where a blame takes no pattern;
        // `blame` does not know `--end-of-options`.
        let args = ["blame", "--porcelain", "-L", &range, commit.as_str(), "--", path];
        let stdout = git::expect(&self.dir, Invocation::new(args, Limits::local(1 << 20)))?;
        porcelain(&String::from_utf8_lossy(&stdout), path).ok_or_else(no_line)
    }

    /// The commit that wrote each line of a file, in order, and the line.
    ///
    /// # Errors
    /// When the commit or the file is not there, or the file is larger than a person would read.
    pub fn blame_file(&self, commit: &CommitId, path: &str) -> Result<Vec<(CommitId, String)>, SourceError> {
        let bytes = self.read(commit, path)?.len() as u64;
        if bytes > MAX_BLAMED {
            return Err(SourceError::TooLarge { path: path.to_owned(), bytes, limit: MAX_BLAMED });
        }
        if bytes == 0 {
            return Ok(Vec::new());
        }
        let args = ["blame", "--line-porcelain", commit.as_str(), "--", path];
        let stdout = git::expect(&self.dir, Invocation::new(args, Limits::local(256 << 20)))?;
        let text = String::from_utf8_lossy(&stdout);
        let mut lines = Vec::new();
        let mut at: Option<CommitId> = None;
        for line in text.lines() {
            match (&at, line.strip_prefix('\t')) {
                (Some(_), Some(content)) => {
                    lines.extend(at.take().map(|commit| (commit, content.to_owned())))
                }
                // The first line of each group; what follows until the tab is about the commit.
                (None, None) => at = line.split(' ').next().and_then(|id| id.parse().ok()),
                _ => {}
            }
        }
        Ok(lines)
    }

    /// The last commit, `commit` or contained in it, that changed the file or folder at `path`.
    ///
    /// # Errors
    /// When the commit or the path is not there.
    pub fn last_touched(&self, commit: &CommitId, path: &str) -> Result<CommitId, SourceError> {
        let path = paths::folder(path)?;
        let git = self.git();
        let mut at = self.commit_oid(&git, commit)?;
        let entry = |commit| self.entry(&git, self.tree_of(&git, commit)?, path.as_bytes());
        let here = entry(at)?;
        if here.is_none() {
            return Err(SourceError::NoPath { path: path.to_owned(), at: commit.short().to_owned() });
        }
        // A parent with the same content had it first; only where all differ was it changed.
        'commits: loop {
            for parent in self.parents_of(&git, at)? {
                if entry(parent)? == here {
                    at = parent;
                    continue 'commits;
                }
            }
            return Ok(commit_id(at));
        }
    }
}

fn porcelain(text: &str, asked: &str) -> Option<Blame> {
    let mut lines = text.lines();
    let mut head = lines.next()?.split(' ');
    let commit = head.next()?.parse().ok()?;
    let line = head.next()?.parse().ok()?;
    let mut blame = Blame { commit, path: asked.to_owned(), line, text: String::new() };
    for entry in lines {
        if let Some(content) = entry.strip_prefix('\t') {
            content.clone_into(&mut blame.text);
        } else if let Some(path) = entry.strip_prefix("filename ").filter(|path| !path.starts_with('"')) {
            path.clone_into(&mut blame.path);
        }
    }
    Some(blame)
}

//! Who last touched a line, a file, and what differs: for people and for `why`.

use backstay_types::CommitId;

use crate::{
    error::SourceError,
    git::{self, Invocation, Limits},
    mirror::{Mirror, commit_id},
    notes::empty_tree,
    paths,
};

/// A difference for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiffText {
    /// In unified format.
    pub text: String,
    /// There was more than was asked for.
    pub truncated: bool,
}

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

impl Mirror {
    /// What differs between two commits, in unified format, below `only` (everything when empty); at most
    /// `max_bytes`. Without `from`, everything in `to` is new.
    ///
    /// # Errors
    /// When one of them is not in the mirror, or a path is not one.
    pub fn diff(
        &self,
        from: Option<&CommitId>,
        to: &CommitId,
        only: &[String],
        max_bytes: usize,
    ) -> Result<DiffText, SourceError> {
        let repo = self.git();
        let tree = |commit: &CommitId| self.tree_of(&repo, self.commit_oid(&repo, commit)?);
        let old = from.map(tree).transpose()?.unwrap_or_else(|| empty_tree(&repo));
        let (old, new) = (old.to_string(), tree(to)?.to_string());
        let mut args =
            vec!["--literal-pathspecs", "diff-tree", "-p", "-r", "-M", "--no-ext-diff", "--no-textconv"];
        args.extend(["--no-color", "--end-of-options", &old, &new, "--"]);
        for path in only {
            args.push(paths::folder(path)?);
        }
        args.retain(|arg| !arg.is_empty());
        let output = git::run(&self.dir, Invocation::new(args, Limits::local(max_bytes)))?;
        if !output.truncated && !output.status.success() {
            return Err(SourceError::Git { command: "diff-tree".into(), message: output.stderr });
        }
        Ok(DiffText {
            text: String::from_utf8_lossy(&output.stdout).into_owned(),
            truncated: output.truncated,
        })
    }

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

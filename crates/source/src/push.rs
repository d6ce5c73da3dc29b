//! Pushing what the hub made: never by force over anything that it did not expect.

use backstay_types::CommitId;

use crate::{
    error::{FailureKind, SourceError},
    fetch::{Credential, authorization, failure, without_secrets},
    git::{self, Invocation, Limits},
    mirror::{Mirror, check_branch},
    text,
};

/// What became of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pushed {
    /// Upstream has it; also when it had it already.
    Done,
    /// The branch is no longer where it was: fetch, compute again, and push again.
    Moved,
    /// Upstream does not take it: a protected branch, a hook, missing rights. Asking again does not help.
    Refused {
        /// What it said.
        message: String,
    },
    /// Upstream did not answer. Ask again later.
    Unreachable {
        /// What Git said.
        message: String,
    },
}

impl Mirror {
    /// Pushes `commit` to the deployed branch at the first endpoint, if the branch is still at `expected`,
    /// which `commit` contains: so it is always a fast-forward.
    ///
    /// # Errors
    /// Only for faults on this side; what upstream does is in the result.
    pub fn push(
        &self,
        commit: &CommitId,
        expected: &CommitId,
        credential: Option<&Credential>,
    ) -> Result<Pushed, SourceError> {
        if !self.contains(commit, expected)? {
            return Err(SourceError::Git {
                command: "push".to_owned(),
                message: format!(
                    "{} does not contain {}, so it is not pushed",
                    commit.short(),
                    expected.short()
                ),
            });
        }
        self.push_to(&self.config.branch, commit, Some(expected), credential)
    }

    /// Pushes `commit` to another branch at the first endpoint, for a person to merge. The branch must be
    /// at `previous`, or absent when that is `None`.
    ///
    /// # Errors
    /// As [`Self::push`], and when the branch's name is not one or is the deployed branch's.
    pub fn push_branch(
        &self,
        branch: &str,
        commit: &CommitId,
        previous: Option<&CommitId>,
        credential: Option<&Credential>,
    ) -> Result<Pushed, SourceError> {
        check_branch(branch)?;
        if branch == self.config.branch {
            return Err(SourceError::Branch(branch.to_owned()));
        }
        self.push_to(branch, commit, previous, credential)
    }

    fn push_to(
        &self,
        branch: &str,
        commit: &CommitId,
        expected: Option<&CommitId>,
        credential: Option<&Credential>,
    ) -> Result<Pushed, SourceError> {
        let id = self.commit_oid(&self.git(), commit)?;
        let Some(endpoint) = self.config.endpoints.first() else {
            return Ok(Pushed::Unreachable { message: "the repository has no endpoint".to_owned() });
        };
        let expected = expected.map(CommitId::as_str).unwrap_or_default();
        let args = [
            "push",
            "--porcelain",
            "--progress",
            "--no-verify",
            "--no-follow-tags",
            "--no-signed",
            &format!("--force-with-lease=refs/heads/{branch}:{expected}"),
            "--end-of-options",
            endpoint.as_str(),
            &format!("{id}:refs/heads/{branch}"),
        ];
        let limits =
            Limits { total: self.config.timeout, idle: self.config.silence, stdout: 1 << 20, received: None };
        let push = Invocation::new(args, limits)
            .protocol(endpoint.protocol())
            .ssh(self.config.ssh.as_ref())
            .config(authorization(endpoint, credential));
        let output = git::run(&self.dir, push)?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        if let Some(pushed) = verdict(&stdout, &without_secrets(&output.stderr, credential)) {
            return Ok(pushed);
        }
        if output.status.success() {
            return Ok(Pushed::Done);
        }
        let failure = failure(endpoint, &output, credential);
        Ok(match failure.kind {
            FailureKind::Denied | FailureKind::Owner | FailureKind::NoRepository => {
                Pushed::Refused { message: failure.message }
            }
            _ => Pushed::Unreachable { message: failure.message },
        })
    }
}

/// Reads the line that `git push --porcelain` writes for a ref.
fn verdict(stdout: &str, stderr: &str) -> Option<Pushed> {
    let line = stdout.lines().find(|line| line.contains(":refs/heads/"))?;
    let mut fields = line.split('\t');
    let (flag, _, summary) = (fields.next()?, fields.next()?, fields.next()?);
    if flag != "!" {
        return Some(Pushed::Done);
    }
    const MOVED: &[&str] = &[
        "stale info",
        "fetch first",
        "non-fast-forward",
        "failed to update ref",
        "cannot lock ref",
        "failed to lock",
        "incorrect old value",
    ];
    if MOVED.iter().any(|sign| summary.contains(sign)) {
        return Some(Pushed::Moved);
    }
    let said: Vec<&str> = stderr.lines().filter_map(|line| line.strip_prefix("remote: ")).collect();
    let message = if said.is_empty() { summary.to_owned() } else { text::last_lines(&said.join("\n"), 5) };
    Some(Pushed::Refused { message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_upstream_decided() {
        let line =
            |flag: &str, summary: &str| format!("To x\n{flag}\tabc:refs/heads/main\t{summary}\nDone\n");
        assert_eq!(verdict(&line(" ", "1..2"), ""), Some(Pushed::Done));
        assert_eq!(verdict(&line("=", "[up to date]"), ""), Some(Pushed::Done));
        assert_eq!(verdict(&line("!", "[rejected] (stale info)"), ""), Some(Pushed::Moved));
        let refused =
            verdict(&line("!", "[remote rejected] (pre-receive hook declined)"), "remote: no\nerror: x");
        assert_eq!(refused, Some(Pushed::Refused { message: "no".to_owned() }));
        assert_eq!(verdict("", "fatal: unable to access"), None);
    }
}

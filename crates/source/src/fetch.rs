//! Fetching: one branch and the notes of other tools, from the first endpoint that answers.

use std::fs::File;

use backstay_types::{CommitId, Secret};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    endpoint::{Endpoint, Protocol},
    error::{EndpointFailure, FailureKind, SourceError},
    git::{self, Invocation, Limits, Output},
    locks::Lock,
    mirror::{Mirror, NOTES_REF, check_branch, upstream_ref},
    text,
};

/// A token for `https`, given at call time; never part of an address, never on a command line.
#[derive(Debug, Clone)]
pub struct Credential {
    /// The user name that goes with it; most hosts take any.
    pub username: Option<String>,
    /// The token or password.
    pub token: Secret,
}

/// What a fetch found. Nothing is deployed by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The branch's tip now.
    pub tip: CommitId,
    /// The tip that the mirror had before.
    pub before: Option<CommitId>,
    /// The notes' tip now, if there are notes.
    pub notes: Option<CommitId>,
    /// The notes' tip before.
    pub notes_before: Option<CommitId>,
    /// The endpoint that answered.
    pub endpoint: String,
    /// Endpoints that were tried before it and failed.
    pub failures: Vec<EndpointFailure>,
}

/// What a fetch of another branch found. Nothing is deployed by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedBranch {
    /// The branch's tip now.
    pub tip: CommitId,
    /// The endpoint that answered.
    pub endpoint: String,
}

impl Mirror {
    /// Fetches the branch from the first endpoint that gives it. Old commits stay in the mirror.
    ///
    /// # Errors
    /// [`SourceError::Fetch`] when no endpoint gave it, with what each said; the mirror is as before.
    /// A branch or repository that has vanished is such an error, never an empty result.
    pub fn fetch(&self, credential: Option<&Credential>) -> Result<Fetched, SourceError> {
        let lock = self.lock(Lock::Fetch)?;
        self.sweep_once();
        let (before, notes_before) = (self.tip()?, self.notes_tip()?);
        let branch = format!("+refs/heads/{0}:{1}", self.config.branch, upstream_ref(&self.config.branch));
        // A ref that may be missing can only be asked for by a pattern; this is the narrowest for `ai`.
        let notes = format!("+refs/notes/a*i:{}", NOTES_REF.replace("/ai", "/a*i"));
        let (endpoint, failures) = self.fetch_refs(&[&branch, &notes], credential, &lock)?;
        let tip = self.tip()?.ok_or_else(|| self.broken("reading what was fetched", &"no tip"))?;
        let notes = self.notes_tip()?;
        if self.is_overfull() {
            self.pack_all(&lock)?;
        }
        Ok(Fetched { tip, before, notes, notes_before, endpoint, failures })
    }

    /// Fetches another branch and keeps its tip ([`Mirror::keep`]), whatever happens to it upstream. Nothing is deployed
    /// by it.
    ///
    /// # Errors
    /// As [`Self::fetch`], and when the name is not a branch's.
    pub fn fetch_branch(
        &self,
        branch: &str,
        credential: Option<&Credential>,
    ) -> Result<FetchedBranch, SourceError> {
        check_branch(branch)?;
        let (tip, endpoint) = {
            let lock = self.lock(Lock::Fetch)?;
            self.sweep_once();
            let name = upstream_ref(branch).replace("/upstream/", "/seen/");
            let refs = format!("+refs/heads/{branch}:{name}");
            let (endpoint, _) = self.fetch_refs(&[&refs], credential, &lock)?;
            let tip = self.read_ref(&self.git(), &name)?;
            if self.is_overfull() {
                self.pack_all(&lock)?;
            }
            (tip, endpoint)
        };
        let tip = tip.ok_or_else(|| self.broken("reading what was fetched", &"no tip"))?;
        self.keep(&tip)?;
        Ok(FetchedBranch { tip, endpoint })
    }

    /// The endpoint that gave all of `refspecs`, and the failures before it.
    fn fetch_refs(
        &self,
        refspecs: &[&str],
        credential: Option<&Credential>,
        lock: &File,
    ) -> Result<(String, Vec<EndpointFailure>), SourceError> {
        let mut failures = Vec::new();
        for endpoint in &self.config.endpoints {
            let output = git::run(&self.dir, self.fetch_from(endpoint, refspecs, credential, lock)?)?;
            if output.status.success() {
                return Ok((endpoint.to_string(), failures));
            }
            self.sweep_again();
            let failure = failure(endpoint, &output, credential);
            tracing::warn!(endpoint = %failure.endpoint, kind = ?failure.kind, message = %failure.message, "fetch failed");
            failures.push(failure);
        }
        Err(SourceError::Fetch(failures))
    }

    fn fetch_from(
        &self,
        endpoint: &Endpoint,
        refspecs: &[&str],
        credential: Option<&Credential>,
        lock: &File,
    ) -> Result<Invocation, SourceError> {
        let limits = Limits {
            total: self.config.timeout,
            idle: self.config.silence,
            stdout: 1 << 20,
            received: Some(self.config.max_fetch_bytes),
        };
        let args = [
            "fetch",
            "--progress",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
            "--no-show-forced-updates",
            "--no-recurse-submodules",
            "--no-prune",
            "--atomic",
            "--end-of-options",
            endpoint.as_str(),
        ];
        Invocation::new(args.iter().chain(refspecs), limits)
            .protocol(endpoint.protocol())
            .ssh(self.config.ssh.as_ref())
            .config(authorization(endpoint, credential))
            .holding(lock)
            .map_err(SourceError::io(&self.dir, "passing on its lock"))
    }
}

/// The setting that sends the token to this endpoint's host and to no other.
pub(crate) fn authorization(
    endpoint: &Endpoint,
    credential: Option<&Credential>,
) -> Option<(String, String)> {
    let origin = endpoint.http_origin()?;
    let credential = credential?;
    Some((format!("http.{origin}.extraHeader"), format!("Authorization: Basic {}", basic(credential))))
}

fn basic(credential: &Credential) -> String {
    let user = credential.username.as_deref().unwrap_or("x-access-token");
    STANDARD.encode(format!("{user}:{}", credential.token.expose()))
}

/// What Git said, without the token.
pub(crate) fn without_secrets(message: &str, credential: Option<&Credential>) -> String {
    let Some(credential) = credential.filter(|credential| !credential.token.expose().is_empty()) else {
        return message.to_owned();
    };
    message.replace(credential.token.expose(), "…").replace(&basic(credential), "…")
}

/// What went wrong at an endpoint, from Git's words in the C locale.
pub(crate) fn failure(
    endpoint: &Endpoint,
    output: &Output,
    credential: Option<&Credential>,
) -> EndpointFailure {
    let stderr = without_secrets(&output.stderr, credential);
    let kind = match output.stopped_after {
        Some(_) => FailureKind::TimedOut,
        None if output.too_large => FailureKind::TooLarge,
        None => classify(&stderr, endpoint.protocol()),
    };
    let message = match (kind, output.stopped_after) {
        (FailureKind::TimedOut, Some(after)) => format!("no answer; stopped after {} s", after.as_secs()),
        (FailureKind::TooLarge, _) => "it sent more than one fetch may bring".to_owned(),
        _ => text::last_lines(&stderr, 3),
    };
    EndpointFailure { endpoint: endpoint.to_string(), kind, message }
}

fn classify(stderr: &str, protocol: Protocol) -> FailureKind {
    const SIGNS: &[(&str, FailureKind)] = &[
        ("dubious ownership", FailureKind::Owner),
        ("mismatched algorithms", FailureKind::Format),
        ("unknown object format", FailureKind::Format),
        ("couldn't find remote ref", FailureKind::NoBranch),
        ("could not read Username", FailureKind::Denied),
        ("could not read Password", FailureKind::Denied),
        ("Authentication failed", FailureKind::Denied),
        ("requested URL returned error: 401", FailureKind::Denied),
        ("requested URL returned error: 403", FailureKind::Denied),
        ("Permission denied", FailureKind::Denied),
        ("Host key verification failed", FailureKind::HostKey),
        ("requested URL returned error: 404", FailureKind::NoRepository),
        ("Repository not found", FailureKind::NoRepository),
        ("repository not found", FailureKind::NoRepository),
        ("does not appear to be a git repository", FailureKind::NoRepository),
        ("fsck error", FailureKind::Harmful),
        ("error in object", FailureKind::Harmful),
        ("inflate", FailureKind::Harmful),
        ("pack is corrupted", FailureKind::Harmful),
        ("pack has bad object", FailureKind::Harmful),
        ("did not send all necessary objects", FailureKind::Harmful),
        ("Could not resolve host", FailureKind::Unreachable),
        ("Could not resolve hostname", FailureKind::Unreachable),
        ("Connection refused", FailureKind::Unreachable),
        ("Connection timed out", FailureKind::Unreachable),
        ("unable to access", FailureKind::Unreachable),
        ("Could not read from remote repository", FailureKind::Unreachable),
        ("hung up unexpectedly", FailureKind::Unreachable),
        ("early EOF", FailureKind::Unreachable),
    ];
    let found =
        SIGNS.iter().find(|(sign, _)| stderr.contains(sign)).map_or(FailureKind::Other, |(_, kind)| *kind);
    match (found, protocol) {
        // A folder that is gone cannot be told from a disk that is not mounted; both change nothing.
        (FailureKind::Unreachable, Protocol::File) => FailureKind::NoRepository,
        (found, _) => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential() -> Credential {
        Credential { username: None, token: Secret::new("hunter2") }
    }

    #[test]
    fn the_token_goes_to_one_host_and_not_over_ssh() {
        let https = Endpoint::parse("https://git.example/x.git").unwrap();
        let (key, value) = authorization(&https, Some(&credential())).unwrap();
        assert_eq!(key, "http.https://git.example/.extraHeader");
        assert_eq!(value, "Authorization: Basic eC1hY2Nlc3MtdG9rZW46aHVudGVyMg==");
        let ssh = Endpoint::parse("git@git.example:x.git").unwrap();
        assert_eq!(authorization(&ssh, Some(&credential())), None);
    }

    #[test]
    fn the_token_is_never_repeated() {
        let said = "fatal: hunter2 eC1hY2Nlc3MtdG9rZW46aHVudGVyMg== refused";
        assert_eq!(without_secrets(said, Some(&credential())), "fatal: … … refused");
        assert!(!format!("{:?}", credential()).contains("hunter2"));
    }

    #[test]
    fn words_of_git_become_kinds() {
        for (said, kind) in [
            ("fatal: couldn't find remote ref refs/heads/main", FailureKind::NoBranch),
            (
                "remote: Repository not found.\nfatal: repository 'https://x/' not found",
                FailureKind::NoRepository,
            ),
            (
                "fatal: unable to access 'https://x/': The requested URL returned error: 403",
                FailureKind::Denied,
            ),
            ("fatal: unable to access 'https://x/': Could not resolve host: x", FailureKind::Unreachable),
            (
                "git@x: Permission denied (publickey).\nfatal: Could not read from remote repository.",
                FailureKind::Denied,
            ),
            ("fatal: fsck error in packed object", FailureKind::Harmful),
            ("something new", FailureKind::Other),
        ] {
            assert_eq!(classify(said, Protocol::Https), kind, "{said}");
        }
    }
}

//! Bare repositories and work trees, driven by the real `git`.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    command::{Failed, capture, run},
    paths::write,
};

const AUTHOR: &str = "Fleet Tests <tests@example.invalid>";

const PROTECTED: &str = "#!/bin/sh
[ \"$GIT_PUSH_OPTION_0\" = maintainer ] && exit 0
while read -r old new ref; do
  [ \"$ref\" = refs/heads/BRANCH ] || continue
  echo 'protected branch: open a merge request' >&2
  exit 1
done
";

/// A bare repository with the branch `main`.
#[derive(Debug, Clone)]
pub struct BareRepository {
    dir: PathBuf,
}

impl BareRepository {
    /// Makes an empty one at `dir`, which pushes over HTTP may reach.
    pub fn create(dir: &Path) -> Self {
        run(git().args(["init", "--quiet", "--bare", "--initial-branch=main"]).arg(dir));
        let repository = Self { dir: dir.to_owned() };
        repository.git(&["config", "http.receivepack", "true"]);
        repository.git(&["config", "receive.advertisePushOptions", "true"]);
        repository
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its path as a URL, `file:///…`.
    pub fn url(&self) -> String {
        format!("file://{}", self.dir.display())
    }

    /// `git ARGS` in it.
    ///
    /// # Panics
    /// When it fails.
    pub fn git(&self, args: &[&str]) -> String {
        run(git().arg("-C").arg(&self.dir).args(args))
    }

    /// The commit that a branch or other revision names, if there is one.
    pub fn tip(&self, revision: &str) -> Option<String> {
        capture(git().arg("-C").arg(&self.dir).args(["rev-parse", "--verify", "--quiet", revision])).ok()
    }

    /// A file as it is at a revision, if it is there.
    pub fn file(&self, revision: &str, path: &str) -> Option<String> {
        capture(git().arg("-C").arg(&self.dir).args(["show", &format!("{revision}:{path}")])).ok()
    }

    /// The whole message of a commit.
    pub fn message(&self, revision: &str) -> String {
        self.git(&["log", "-1", "--format=%B", revision])
    }

    /// Refuses pushes to `branch`, as a host does that wants a merge request; only
    /// [`WorkTree::push_as_maintainer`] gets through.
    pub fn protect(&self, branch: &str) {
        let hook = PROTECTED.replace("BRANCH", branch);
        let path = self.hook();
        write(&path, hook);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("make a hook executable");
    }

    /// Ends [`BareRepository::protect`].
    pub fn unprotect(&self) {
        fs::remove_file(self.hook()).expect("remove a hook");
    }

    fn hook(&self) -> PathBuf {
        self.dir.join("hooks/pre-receive")
    }
}

/// A commit to make in a [`WorkTree`].
#[derive(Debug, Clone, Default)]
pub struct CommitSpec {
    subject: String,
    trailers: Vec<(String, String)>,
    author: Option<String>,
}

impl CommitSpec {
    /// A commit with this subject.
    pub fn new(subject: &str) -> Self {
        Self { subject: subject.to_owned(), ..Self::default() }
    }

    /// Adds a trailer.
    #[must_use]
    pub fn trailer(mut self, key: &str, value: &str) -> Self {
        self.trailers.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Sets the author, `Name <address>`.
    #[must_use]
    pub fn author(mut self, author: &str) -> Self {
        self.author = Some(author.to_owned());
        self
    }

    fn message(&self) -> String {
        let mut message = self.subject.clone();
        if !self.trailers.is_empty() {
            message.push('\n');
        }
        for (key, value) in &self.trailers {
            message += &format!("\n{key}: {value}");
        }
        message
    }
}

/// A clone where people and assistants work.
#[derive(Debug, Clone)]
pub struct WorkTree {
    dir: PathBuf,
    env: Vec<(String, String)>,
}

impl WorkTree {
    /// Clones `url` to `dir`.
    pub fn clone_from(url: &str, dir: &Path) -> Self {
        run(git().args(["clone", "--quiet", "--", url]).arg(dir));
        let tree = Self { dir: dir.to_owned(), env: Vec::new() };
        // An empty repository does not say which branch it begins with.
        if tree.try_git(&["rev-parse", "--verify", "--quiet", "HEAD"]).is_err() {
            tree.git(&["symbolic-ref", "HEAD", "refs/heads/main"]);
        }
        tree
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The same with variables that Git's hooks will see, as an assistant's commands have them.
    #[must_use]
    pub fn with_env<K: Into<String>, V: Into<String>>(&self, env: impl IntoIterator<Item = (K, V)>) -> Self {
        let mut tree = self.clone();
        tree.env.extend(env.into_iter().map(|(key, value)| (key.into(), value.into())));
        tree
    }

    /// `git ARGS` here.
    ///
    /// # Panics
    /// When it fails.
    pub fn git(&self, args: &[&str]) -> String {
        self.try_git(args).unwrap_or_else(|failed| panic!("{failed}"))
    }

    /// `git ARGS` here.
    ///
    /// # Errors
    /// When it fails.
    pub fn try_git(&self, args: &[&str]) -> Result<String, Failed> {
        let env = self.env.iter().map(|(key, value)| (key, value));
        capture(git().envs(env).arg("-C").arg(&self.dir).args(args))
    }

    /// Writes a file.
    pub fn write(&self, path: &str, content: &str) -> &Self {
        write(&self.dir.join(path), content);
        self
    }

    /// Writes an executable file.
    pub fn write_executable(&self, path: &str, content: &str) -> &Self {
        self.write(path, content);
        let permissions = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.dir.join(path), permissions).expect("make a file executable");
        self
    }

    /// Reads a file.
    ///
    /// # Panics
    /// When it is not there or not text.
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.dir.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Removes a file.
    ///
    /// # Panics
    /// When it is not there.
    pub fn remove(&self, path: &str) -> &Self {
        fs::remove_file(self.dir.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        self
    }

    /// Commits everything that was written and gives the commit's id.
    pub fn commit(&self, commit: &CommitSpec) -> String {
        self.git(&["add", "--all"]);
        let author = commit.author.as_deref().unwrap_or(AUTHOR);
        let author = format!("--author={author}");
        self.git(&["commit", "--quiet", "--allow-empty", &author, "-m", &commit.message()]);
        self.head()
    }

    /// The commit that is checked out.
    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    /// Pushes the checked out branch.
    pub fn push(&self) -> &Self {
        self.git(&["push", "--quiet", "origin", "HEAD"]);
        self
    }

    /// Pushes it where the branch is protected, as the host does for what was reviewed.
    pub fn push_as_maintainer(&self) -> &Self {
        self.git(&["push", "--quiet", "--push-option=maintainer", "origin", "HEAD"]);
        self
    }

    /// Pushes it over whatever is upstream.
    pub fn push_force(&self) -> &Self {
        self.git(&["push", "--quiet", "--force", "origin", "HEAD"]);
        self
    }

    /// Takes over what is upstream, throwing away what is not pushed.
    pub fn pull(&self) -> &Self {
        self.git(&["fetch", "--quiet", "--prune", "origin"]);
        let branch = self.git(&["symbolic-ref", "--short", "HEAD"]);
        self.git(&["reset", "--quiet", "--hard", &format!("origin/{branch}")]);
        self
    }

    /// Begins a branch at a revision.
    pub fn branch(&self, name: &str, from: &str) -> &Self {
        self.git(&["switch", "--quiet", "--create", name, from]);
        self
    }

    /// Checks out a branch that is there.
    pub fn switch(&self, name: &str) -> &Self {
        self.git(&["switch", "--quiet", name]);
        self
    }

    /// Squashes a branch into the checked out one, as hosts do: one commit, the
    /// given message. Gives the commit's id.
    pub fn squash(&self, branch: &str, commit: &CommitSpec) -> String {
        self.git(&["merge", "--quiet", "--squash", branch]);
        self.commit(commit)
    }

    /// Merges a branch with a merge commit and gives its id.
    pub fn merge(&self, branch: &str) -> String {
        self.git(&["merge", "--quiet", "--no-ff", "--no-edit", branch]);
        self.head()
    }

    /// Rebases the checked out branch onto a revision.
    pub fn rebase(&self, onto: &str) -> &Self {
        self.git(&["rebase", "--quiet", onto]);
        self
    }

    /// Moves the branch to a revision, losing what came after.
    pub fn reset(&self, revision: &str) -> &Self {
        self.git(&["reset", "--quiet", "--hard", revision]);
        self
    }
}

/// `git` that nobody's configuration reaches.
fn git() -> Command {
    let mut git = Command::new("git");
    git.env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_AUTHOR_NAME", "Fleet Tests")
        .env("GIT_AUTHOR_EMAIL", "tests@example.invalid")
        .env("GIT_COMMITTER_NAME", "Fleet Tests")
        .env("GIT_COMMITTER_EMAIL", "tests@example.invalid");
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        git.env_remove(variable);
    }
    git
}

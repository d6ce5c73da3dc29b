//! The way round the hub: one commit from an upstream Git endpoint, shallow, by
//! the `git` program, treated as something that others wrote. Whatever comes
//! must arrive at the digest that the hub signed.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use backstay_api::statement::{DesiredStack, SignedStatement, statement_place};
use backstay_manifest::{BASE_PART, Parts, StackManifest, compose::FILE_NAMES};
use backstay_types::{
    CommitId, Digest, FailureKind, NodeId, Step,
    tree::{MAX_TREE_BYTES, Mode, TreeError, TreeHasher, TreeSink, in_folder},
};
use rustix::process::{Resource, Rlimit, setrlimit};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use super::{Context, Fail, Failed, Records, stage};
use crate::{child, disk::remove_dir};

/// No file that `git` writes may grow beyond this; a pack is one file.
const LARGEST_PACK: u64 = 2 * MAX_TREE_BYTES;
/// A statement names the stacks of one node.
const LARGEST_STATEMENT: u64 = 4 << 20;
/// A repository of its own, with nothing in it that the machine's settings or the other side could use.
const CONFIG: &str = "\
[core]\n\thooksPath = /dev/null\n\tprotectHFS = true\n\tprotectNTFS = true\n\
[fetch]\n\tfsckObjects = true\n\trecurseSubmodules = false\n\
[transfer]\n\tfsckObjects = true\n\
[http]\n\tfollowRedirects = false\n\tlowSpeedLimit = 1000\n\tlowSpeedTime = 30\n\
[protocol]\n\tallow = never\n\
[protocol \"https\"]\n\tallow = always\n[protocol \"http\"]\n\tallow = always\n\
[protocol \"ssh\"]\n\tallow = always\n[protocol \"file\"]\n\tallow = always\n\
[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n[credential]\n\thelper =\n[safe]\n\tdirectory = *\n";

/// Fetches the release's commit from the first endpoint that gives it, and stages it. All endpoints together may
/// take `limit`.
pub(super) async fn fetch(
    cx: &mut Context,
    target: &DesiredStack,
    limit: Duration,
    records: &mut Records,
) -> Result<(), Failed> {
    let unavailable = |reason: String| Fail::of(Step::Fetch, FailureKind::Unavailable, reason);
    if target.endpoints.is_empty() {
        return Err(unavailable("the stack has no Git endpoint to fall back on".to_owned()));
    }
    let started = records.start();
    let dir = cx.layout.releases(&target.stack).join(format!(".tmp-{}.git", target.deployment));
    let size = Rlimit { current: Some(LARGEST_PACK), maximum: Some(LARGEST_PACK) };
    setrlimit(Resource::Fsize, size).map_err(|e| Fail::io(Step::Fetch, "limits")(e.into()))?;
    cx.lock.inherit(true).map_err(Fail::io(Step::Fetch, "the work lock"))?;
    let each = limit / u32::try_from(target.endpoints.len()).unwrap_or(u32::MAX).max(1);
    let mut tried = Vec::new();
    for endpoint in &target.endpoints {
        let repository = Repository::create(&dir).map_err(Fail::io(Step::Fetch, dir.display()))?;
        match timeout(each, repository.fetch_release(endpoint, target)).await {
            Ok(Ok(what)) => {
                records.done(started, Step::Fetch, format!("{what} from {}", plain(endpoint)));
                stage::place(cx, &target.stack, target.deployment, target.tree, records, |sink| {
                    repository.write(target, sink)
                })?;
                return remove_dir(&dir).map(drop).map_err(Fail::io(Step::Stage, dir.display()));
            }
            Ok(Err(reason)) => tried.push(format!("{}: {reason}", plain(endpoint))),
            Err(_) => tried.push(format!("{}: it took too long", plain(endpoint))),
        }
    }
    let _ = remove_dir(&dir);
    Err(unavailable(tried.join("; ")))
}

/// Reads a node's statement from each endpoint: what was there, or why nothing could be read. Nothing is believed yet.
pub(super) async fn statements(
    dir: &Path,
    node: NodeId,
    endpoints: &[String],
    limit: Duration,
) -> Vec<(String, Result<SignedStatement, String>)> {
    let (name, path) = statement_place(node);
    let each = limit / u32::try_from(endpoints.len()).unwrap_or(u32::MAX).max(1);
    let mut all = Vec::new();
    for endpoint in endpoints {
        let read = async {
            let repository = Repository::create(dir).map_err(|error| error.to_string())?;
            repository.fetch(endpoint, &format!("+{name}:refs/found")).await?;
            let text = repository.show("refs/found", &path)?;
            serde_json::from_slice(&text).map_err(|error| format!("`{path}` is no statement: {error}"))
        };
        let found = timeout(each, read).await.unwrap_or_else(|_| Err("it took too long".to_owned()));
        all.push((plain(endpoint), found));
    }
    let _ = remove_dir(dir);
    all
}

struct Repository {
    dir: PathBuf,
}

impl Repository {
    fn create(dir: &Path) -> io::Result<Self> {
        remove_dir(dir)?;
        fs::create_dir_all(dir)?;
        fs::write(dir.join("global"), CONFIG)?;
        let repository = Self { dir: dir.to_owned() };
        let status = repository.git(&["init", "--quiet", "--bare", "--template=", "repo"]).status()?;
        if status.success() { Ok(repository) } else { Err(io::Error::other("`git init` failed")) }
    }

    fn git(&self, arguments: &[&str]) -> Command {
        let mut git = Command::new("git");
        git.args(arguments).current_dir(&self.dir).env_clear().envs(child::environment());
        git.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", self.dir.join("global"));
        git.env("GIT_NO_REPLACE_OBJECTS", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "/bin/false");
        git.env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes -o ConnectTimeout=10").env("LC_ALL", "C");
        git.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        git
    }

    /// Fetches the commit that carries a release; where there is none, those that its parts are from.
    async fn fetch_release(&self, endpoint: &str, target: &DesiredStack) -> Result<String, String> {
        let whole = self.fetch(endpoint, target.commit.as_str()).await;
        let Err(reason) = whole else { return Ok(format!("commit {}", target.commit.short())) };
        if target.sources.is_empty() {
            return Err(reason);
        }
        let mut fetched: Vec<&CommitId> = Vec::new();
        for source in &target.sources {
            if !fetched.contains(&&source.commit) {
                let of =
                    |error| format!("{error} (commit {} of part `{}`)", source.commit.short(), source.part);
                self.fetch(endpoint, source.commit.as_str()).await.map_err(of)?;
                fetched.push(&source.commit);
            }
        }
        let names: Vec<_> = fetched.iter().map(|commit| commit.short()).collect();
        Ok(format!("parts of commits {}", names.join(", ")))
    }

    async fn fetch(&self, endpoint: &str, what: &str) -> Result<(), String> {
        let mut git = self.git(&["--git-dir=repo", "fetch", "--quiet", "--depth=1", "--no-tags"]);
        git.args(["--no-recurse-submodules", "--no-write-fetch-head", "--end-of-options", endpoint]);
        git.arg(what).stderr(Stdio::piped());
        let output = tokio::process::Command::from(git).kill_on_drop(true).output().await;
        let output = output.map_err(|error| format!("`git` cannot be started: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        Err(text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("`git fetch` failed").to_owned())
    }

    /// A small file of a commit.
    fn show(&self, name: &str, path: &str) -> Result<Vec<u8>, String> {
        let failed = |error: io::Error| error.to_string();
        let mut git = self.git(&["--git-dir=repo", "cat-file", "blob", &format!("{name}:{path}")]);
        let mut child = git.stdout(Stdio::piped()).spawn().map_err(failed)?;
        let mut text = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(LARGEST_STATEMENT).read_to_end(&mut text).map_err(failed)?;
        }
        let _ = child.kill();
        child.wait().map_err(failed)?;
        if text.is_empty() { Err(format!("there is no `{path}`")) } else { Ok(text) }
    }

    /// Writes the stack's files, and checks that they are what was signed.
    fn write(&self, target: &DesiredStack, sink: &mut dyn TreeSink) -> Result<(), TreeError> {
        let mut objects = Objects::open(self)?;
        let mut hasher = TreeHasher::default();
        for (mode, object, path) in self.list(target)? {
            let mode = Mode::from_number(mode).ok_or(TreeError::Mode { path: path.clone(), mode })?;
            let len = objects.ask(&object)?;
            if hasher.bytes().saturating_add(len) > MAX_TREE_BYTES {
                return Err(TreeError::TooLarge);
            }
            backstay_types::tree::check_path(&path)?;
            let mut content = Hashing { inner: (&mut objects.from).take(len), hash: Sha256::new() };
            sink.file(&path, mode, len, &mut content)?;
            let digest = Digest::from_bytes(content.hash.finalize().into());
            objects.end()?;
            hasher.add(mode, &path, digest, len)?;
        }
        let found = hasher.finish();
        if found == target.tree {
            return Ok(());
        }
        Err(TreeError::Digest { expected: target.tree, found })
    }

    /// The files of the stack's folder: mode, object and path, in ascending order of path.
    fn list(&self, target: &DesiredStack) -> io::Result<Vec<(u32, String, String)>> {
        let whole = self.list_at(&target.commit, &target.path);
        if whole.is_ok() || target.sources.is_empty() {
            return whole;
        }
        let base = target.sources.iter().find(|source| source.part.as_str() == BASE_PART);
        let base = base.ok_or_else(|| malformed("the statement names no commit of the stack's manifest"))?;
        let declared = self.declared(&base.commit, &target.path)?;
        let mut files = Vec::new();
        for source in &target.sources {
            let mut found = self.list_at(&source.commit, &target.path)?;
            found.retain(|(_, _, path)| declared.is_of(path, &source.part));
            files.append(&mut found);
        }
        files.sort_by(|a, b| a.2.cmp(&b.2));
        Ok(files)
    }

    /// The parts that a stack declares at a commit.
    fn declared(&self, commit: &CommitId, folder: &str) -> io::Result<Parts> {
        let show = |file: &str| self.show(commit.as_str(), &in_folder(folder, file));
        let text = show("stack.toml").map_err(io::Error::other)?;
        let compose = FILE_NAMES.into_iter().find(|file| show(file).is_ok());
        let manifest = StackManifest::parse("stack.toml", &text, compose);
        Ok(manifest.map_err(|_| malformed("the stack's manifest cannot be read"))?.parts)
    }

    /// The files of a folder at a commit, in ascending order of path.
    fn list_at(&self, commit: &CommitId, folder: &str) -> io::Result<Vec<(u32, String, String)>> {
        let root = format!("{commit}:{folder}");
        let mut git = self.git(&["--git-dir=repo", "ls-tree", "-r", "-z", "--full-tree", &root]);
        let output = git.stdout(Stdio::piped()).output()?;
        if !output.status.success() {
            return Err(malformed("the commit does not have the stack's folder"));
        }
        let mut files = Vec::new();
        for line in output.stdout.split(|byte| *byte == 0).filter(|line| !line.is_empty()) {
            files.push(parse_entry(line).ok_or_else(|| malformed("`git ls-tree` wrote something else"))?);
        }
        files.sort_by(|a, b| a.2.cmp(&b.2));
        Ok(files)
    }
}

/// `<mode> <type> <object>\t<path>`.
fn parse_entry(line: &[u8]) -> Option<(u32, String, String)> {
    let (head, path) = std::str::from_utf8(line).ok()?.split_once('\t')?;
    let mut head = head.split(' ');
    let mode = u32::from_str_radix(head.next()?, 8).ok()?;
    let object = head.nth(1)?.to_owned();
    Some((mode, object, path.to_owned()))
}

/// The contents of objects, one after the other.
struct Objects {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Objects {
    fn open(repository: &Repository) -> io::Result<Self> {
        let mut git = repository.git(&["--git-dir=repo", "cat-file", "--batch"]);
        let mut child = git.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (to, from) = child.stdin.take().zip(child.stdout.take()).ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { child, to, from: BufReader::new(from) })
    }

    /// Asks for an object and returns its length; its content follows.
    fn ask(&mut self, object: &str) -> io::Result<u64> {
        writeln!(self.to, "{object}")?;
        self.to.flush()?;
        let mut head = String::new();
        self.from.read_line(&mut head)?;
        let mut parts = head.trim_end().split(' ');
        match (parts.next(), parts.next(), parts.next().and_then(|len| len.parse().ok())) {
            (Some(_), Some("blob"), Some(len)) => Ok(len),
            _ => Err(malformed("an object is missing")),
        }
    }

    /// The end of an object's content.
    fn end(&mut self) -> io::Result<()> {
        self.from.read_exact(&mut [0])
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Hashing<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.hash.update(&buf[..n]);
        Ok(n)
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// An endpoint without the password that someone may have put in.
fn plain(endpoint: &str) -> String {
    let Some((scheme, rest)) = endpoint.split_once("://") else { return endpoint.to_owned() };
    let authority = rest.find('/').unwrap_or(rest.len());
    match rest[..authority].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => endpoint.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_repeated() {
        assert_eq!(plain("https://u:hunter2@host/a@b"), "https://host/a@b");
        assert_eq!(plain("https://host/x"), "https://host/x");
        assert_eq!(plain("/srv/git/x.git"), "/srv/git/x.git");
    }

    #[test]
    fn entries_are_read() {
        assert_eq!(
            parse_entry(b"100755 blob 0123\ta b/c"),
            Some((0o100_755, "0123".to_owned(), "a b/c".to_owned()))
        );
        assert_eq!(parse_entry(b"nonsense"), None);
    }
}

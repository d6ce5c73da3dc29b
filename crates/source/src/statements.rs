//! Signed statements on Git refs, for agents that cannot reach the hub.
//!
//! A node's statement is the file `<node id>.json` on one of 256 refs, by the last byte of its id: so a fetch brings a
//! 256th of the fleet, and one commit for each ref that changed carries any number of statements. The commits have no
//! parents and take each other's place: what a statement said before is nobody's business, and history does not grow.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{self, File},
    io::{self, BufWriter, Seek as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use backstay_types::{NodeId, Timestamp};

use crate::{
    Credential, Pushed, Ssh,
    endpoint::Endpoint,
    error::{FailureKind, SourceError},
    fetch::{authorization, failure},
    git::{self, Invocation, Limits},
};

/// The refs, one for each value of the last byte of a node's id.
const REFS: &str = "refs/backstay/desired/";

/// A bare repository with the newest statement of every node.
#[derive(Debug)]
pub struct Statements {
    dir: PathBuf,
}

impl Statements {
    /// Opens it, or makes an empty one.
    ///
    /// # Errors
    /// When the folder cannot be written, or Git is missing.
    pub fn open_or_init(dir: impl AsRef<Path>) -> Result<Self, SourceError> {
        let dir = git::absolute(dir.as_ref())?;
        if !dir.join("HEAD").exists() {
            fs::create_dir_all(&dir).map_err(SourceError::io(&dir, "making it"))?;
            let init = Invocation::new(["init", "--quiet", "--bare", "--template="], Limits::local(4096));
            git::expect(&dir, init)?;
        }
        Ok(Self { dir })
    }

    /// The folder, for whoever serves it to be read.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes statements; none takes a node's away. With `whole`, nodes that are not named are gone afterwards. Returns
    /// how many refs changed.
    ///
    /// # Errors
    /// When Git fails; the refs are as they were then, or some of them are new.
    pub fn write(
        &self,
        statements: &BTreeMap<NodeId, Option<String>>,
        whole: bool,
        now: Timestamp,
    ) -> Result<usize, SourceError> {
        let before = self.trees()?;
        let mut shards: BTreeMap<String, Vec<(&NodeId, &Option<String>)>> = BTreeMap::new();
        for (node, statement) in statements {
            shards.entry(shard(*node)).or_default().push((node, statement));
        }
        if shards.is_empty() && !whole {
            return Ok(0);
        }
        let failed = |error| SourceError::io(&self.dir, "writing statements")(error);
        let path = self.dir.join("backstay-import");
        let mut file = BufWriter::new(
            File::create_new(&path)
                .or_else(|_| {
                    // A hub that died left its own.
                    fs::remove_file(&path)?;
                    File::create_new(&path)
                })
                .map_err(failed)?,
        );
        for (shard, entries) in &shards {
            let old = before.get(shard).filter(|_| !whole);
            commit(&mut file, shard, entries, old.map(String::as_str), now).map_err(failed)?;
        }
        file.write_all(b"done\n").map_err(failed)?;
        // Opened for writing alone: read from its start by another handle.
        drop(file);
        let mut stdin = File::open(&path).map_err(failed)?;
        stdin.rewind().map_err(failed)?;
        let limits = Limits {
            total: Duration::from_secs(600),
            idle: Duration::from_secs(300),
            ..Limits::local(1 << 20)
        };
        let import =
            Invocation::new(["fast-import", "--quiet", "--force", "--done", "--date-format=raw"], limits);
        let imported = git::expect(&self.dir, import.reading(stdin));
        let _ = fs::remove_file(&path);
        imported?;
        if whole {
            self.forget(before.keys().filter(|shard| !shards.contains_key(*shard)))?;
            self.tidy()?;
        }
        let after = self.trees()?;
        let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        Ok(names.into_iter().filter(|name| before.get(*name) != after.get(*name)).count())
    }

    /// Pushes all refs that differ to an endpoint; whatever is on them there gives way.
    ///
    /// # Errors
    /// Only for faults on this side; what the other side does is in the result.
    pub fn push(
        &self,
        endpoint: &Endpoint,
        credential: Option<&Credential>,
        ssh: Option<&Ssh>,
        timeout: Duration,
    ) -> Result<Pushed, SourceError> {
        let refs = format!("+{REFS}*:{REFS}*");
        let args = [
            "push",
            "--porcelain",
            "--progress",
            "--no-verify",
            "--prune",
            "--end-of-options",
            endpoint.as_str(),
            &refs,
        ];
        let limits = Limits { total: timeout, idle: timeout, stdout: 1 << 20, received: None };
        let push = Invocation::new(args, limits)
            .protocol(endpoint.protocol())
            .ssh(ssh)
            .config(authorization(endpoint, credential));
        let output = git::run(&self.dir, push)?;
        if output.status.success() {
            return Ok(Pushed::Done);
        }
        let failure = failure(endpoint, &output, credential);
        let said = String::from_utf8_lossy(&output.stdout);
        let rejected = said.lines().find(|line| line.starts_with('!'));
        Ok(match (failure.kind, rejected) {
            (_, Some(line)) => Pushed::Refused { message: line.replace('\t', " ") },
            (FailureKind::Denied | FailureKind::Owner | FailureKind::NoRepository, None) => {
                Pushed::Refused { message: failure.message }
            }
            _ => Pushed::Unreachable { message: failure.message },
        })
    }

    /// The tree of each ref.
    fn trees(&self) -> Result<HashMap<String, String>, SourceError> {
        let list = ["for-each-ref", "--format=%(refname) %(tree)", REFS];
        let text = git::expect(&self.dir, Invocation::new(list, Limits::local(1 << 20)))?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let line = |line: &str| {
            let (name, tree) = line.split_once(' ')?;
            Some((name.strip_prefix(REFS)?.to_owned(), tree.to_owned()))
        };
        Ok(text.lines().filter_map(line).collect())
    }

    fn forget<'a>(&self, shards: impl Iterator<Item = &'a String>) -> Result<(), SourceError> {
        for shard in shards {
            let name = format!("{REFS}{shard}");
            git::expect(&self.dir, Invocation::new(["update-ref", "-d", &name], Limits::local(4096)))?;
        }
        Ok(())
    }

    /// One pack, and nothing in it that no ref holds.
    fn tidy(&self) -> Result<(), SourceError> {
        let limits =
            Limits { total: Duration::from_secs(600), idle: Duration::from_secs(600), ..Limits::local(4096) };
        git::expect(&self.dir, Invocation::new(["repack", "-q", "-a", "-d"], limits))?;
        git::expect(&self.dir, Invocation::new(["prune", "--expire=now"], limits)).map(drop)
    }
}

fn shard(node: NodeId) -> String {
    let id = node.to_string();
    id.get(id.len().saturating_sub(2)..).unwrap_or_default().to_owned()
}

/// One commit without a parent, in the language of `git fast-import`.
fn commit(
    to: &mut impl io::Write,
    shard: &str,
    entries: &[(&NodeId, &Option<String>)],
    old: Option<&str>,
    now: Timestamp,
) -> io::Result<()> {
    const MESSAGE: &str = "What nodes should run\n";
    writeln!(to, "commit {REFS}{shard}")?;
    writeln!(to, "committer Backstay <backstay@localhost> {} +0000", now.as_second())?;
    writeln!(to, "data {}\n{MESSAGE}", MESSAGE.len())?;
    if let Some(tree) = old {
        writeln!(to, "M 040000 {tree} \"\"")?;
    }
    for (node, statement) in entries {
        match statement {
            Some(text) => writeln!(to, "M 100644 inline {node}.json\ndata {}\n{text}", text.len())?,
            None if old.is_some() => writeln!(to, "D {node}.json")?,
            None => {}
        }
    }
    writeln!(to)
}

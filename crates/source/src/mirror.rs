//! A bare repository of the hub's own: what it holds, its refs and its locks.
//!
//! Refs, all below `refs/backstay/`: `upstream/<branch>` is what was fetched last, `release/<sha>` keeps
//! what was deployed, `keep/<sha>` what was seen on other branches, `undo/<id>` holds undo commits,
//! `notes/ai` the notes of other tools. Nothing is ever pruned, so no force-push takes a deployed commit away.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, RwLock, atomic::AtomicBool},
    time::Duration,
};

use backstay_types::{CommitId, Repository, UndoId};
use gix::{ObjectId, Repository as Git};

use crate::{
    draft::{At, Draft},
    durable,
    endpoint::Endpoint,
    error::SourceError,
    git::{self, Invocation, Limits},
    locks::Lock,
    ssh::Ssh,
    tree::Digests,
};

/// Where a mirror comes from, and how long Git may take.
#[derive(Debug, Clone)]
pub struct MirrorConfig {
    /// Addresses in order of preference; pushes go to the first.
    pub endpoints: Vec<Endpoint>,
    /// The deployed branch, without `refs/heads/`.
    pub branch: String,
    /// Keys and known hosts for ssh endpoints; those of the user alone when absent.
    pub ssh: Option<Ssh>,
    /// How long a fetch or push may take from one endpoint.
    pub timeout: Duration,
    /// How long an endpoint may be silent before the next one is tried.
    pub silence: Duration,
    /// How many bytes one fetch may bring.
    pub max_fetch_bytes: u64,
}

impl MirrorConfig {
    /// With the usual limits: 15 minutes, 30 seconds of silence, 4 GiB.
    pub fn new(endpoints: Vec<Endpoint>, branch: impl Into<String>) -> Self {
        Self {
            endpoints,
            branch: branch.into(),
            ssh: None,
            timeout: Duration::from_secs(15 * 60),
            silence: Duration::from_secs(30),
            max_fetch_bytes: 4 << 30,
        }
    }

    /// From what the hub knows of a repository.
    ///
    /// # Errors
    /// When an endpoint cannot be used.
    pub fn of(repository: &Repository) -> Result<Self, SourceError> {
        let endpoints = repository.endpoints.iter().map(|text| Endpoint::parse(text));
        Ok(Self::new(endpoints.collect::<Result<_, _>>()?, repository.branch.clone()))
    }
}

/// How a new tip stands to an old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// They are the same commit.
    Same,
    /// The new one contains the old one.
    FastForward,
    /// The old one contains the new one: an endpoint that lags behind, or a branch set back.
    Behind,
    /// Neither contains the other: history was rewritten.
    Rewritten,
}

/// The hub's own bare copy of a repository. Methods block; they may be called from several threads at once.
pub struct Mirror {
    pub(crate) dir: PathBuf,
    pub(crate) config: MirrorConfig,
    repo: RwLock<gix::ThreadSafeRepository>,
    pub(crate) digests: Mutex<Digests>,
    pub(crate) swept: AtomicBool,
}

impl std::fmt::Debug for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mirror")
            .field("dir", &self.dir)
            .field("branch", &self.config.branch)
            .finish_non_exhaustive()
    }
}

const OBJECT_CACHE: usize = 16 << 20;

impl Mirror {
    /// Opens the mirror in `dir`, or makes an empty one there. Reaches no network.
    ///
    /// # Errors
    /// When the branch's name is not one, or the folder cannot be read or written.
    pub fn open_or_init(dir: impl AsRef<Path>, config: MirrorConfig) -> Result<Self, SourceError> {
        check_branch(&config.branch)?;
        let dir = git::absolute(dir.as_ref())?;
        init(&dir)?;
        let repo = RwLock::new(open(&dir)?);
        Ok(Self { dir, config, repo, digests: Mutex::default(), swept: AtomicBool::new(false) })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where it comes from.
    pub fn config(&self) -> &MirrorConfig {
        &self.config
    }

    /// The tip of the branch as fetched last; `None` before the first fetch.
    ///
    /// # Errors
    /// When the mirror cannot be read.
    pub fn tip(&self) -> Result<Option<CommitId>, SourceError> {
        self.read_ref(&self.git(), &upstream_ref(&self.config.branch))
    }

    /// The tip of the notes of other tools (`refs/notes/ai` upstream), if there are any.
    ///
    /// # Errors
    /// When the mirror cannot be read.
    pub fn notes_tip(&self) -> Result<Option<CommitId>, SourceError> {
        self.read_ref(&self.git(), NOTES_REF)
    }

    /// Keeps a deployed commit, and all that it contains, whatever happens upstream.
    ///
    /// # Errors
    /// When it is not in the mirror, or the mirror cannot be written.
    pub fn accept(&self, commit: &CommitId) -> Result<(), SourceError> {
        self.keep_under("release", commit)
    }

    /// Keeps a commit of another branch, so that a later squash of it can be recognised.
    ///
    /// # Errors
    /// When it is not in the mirror, or the mirror cannot be written.
    pub fn keep(&self, commit: &CommitId) -> Result<(), SourceError> {
        self.keep_under("keep", commit)
    }

    /// The commits that were given to [`Self::keep`].
    ///
    /// # Errors
    /// When the mirror cannot be read.
    pub fn kept(&self) -> Result<Vec<CommitId>, SourceError> {
        self.commits_under("keep")
    }

    /// The commits that were given to [`Self::accept`].
    ///
    /// # Errors
    /// When the mirror cannot be read.
    pub fn accepted(&self) -> Result<Vec<CommitId>, SourceError> {
        self.commits_under("release")
    }

    /// The commit of an undo, once it was made.
    ///
    /// # Errors
    /// When the mirror cannot be read.
    pub fn undo_commit(&self, undo: UndoId) -> Result<Option<CommitId>, SourceError> {
        self.read_ref(&self.git(), &undo_ref(undo))
    }

    /// Whether the mirror holds this commit.
    pub fn has(&self, commit: &CommitId) -> bool {
        self.commit_oid(&self.git(), commit).is_ok()
    }

    /// How `new` stands to `old`.
    ///
    /// # Errors
    /// When one of them is not in the mirror.
    pub fn relation(&self, old: &CommitId, new: &CommitId) -> Result<Relation, SourceError> {
        let git = self.git();
        let (old, new) = (self.commit_oid(&git, old)?, self.commit_oid(&git, new)?);
        Ok(match self.base_of(&git, old, new)? {
            _ if old == new => Relation::Same,
            Some(base) if base == old => Relation::FastForward,
            Some(base) if base == new => Relation::Behind,
            _ => Relation::Rewritten,
        })
    }

    /// Whether `commit` is `tip` or contained in it.
    ///
    /// # Errors
    /// When one of them is not in the mirror.
    pub fn contains(&self, tip: &CommitId, commit: &CommitId) -> Result<bool, SourceError> {
        Ok(matches!(self.relation(commit, tip)?, Relation::Same | Relation::FastForward))
    }

    /// The best common ancestor of two commits, if they have one.
    ///
    /// # Errors
    /// When one of them is not in the mirror.
    pub fn merge_base(&self, one: &CommitId, two: &CommitId) -> Result<Option<CommitId>, SourceError> {
        let git = self.git();
        let (one, two) = (self.commit_oid(&git, one)?, self.commit_oid(&git, two)?);
        Ok(self.base_of(&git, one, two)?.map(commit_id))
    }

    /// Packs loose objects, small packs and refs when there are many. Removes nothing that was ever fetched
    /// or made. Returns whether there was anything to do.
    ///
    /// # Errors
    /// When Git fails or the mirror is busy; nothing is lost then.
    pub fn maintain(&self) -> Result<bool, SourceError> {
        if !self.is_crowded() {
            return Ok(false);
        }
        let fetch = self.lock(Lock::Fetch)?;
        self.pack_all(&fetch)?;
        Ok(true)
    }

    /// The caller holds [`Lock::Fetch`].
    pub(crate) fn pack_all(&self, fetch: &File) -> Result<(), SourceError> {
        let write = self.lock(Lock::Write)?;
        self.sweep(&[&self.dir.join("packed-refs.lock")]);
        let limits =
            Limits { total: self.config.timeout, idle: self.config.timeout, ..Limits::local(1 << 20) };
        let held = |invocation: Invocation, lock: &File| {
            invocation.holding(lock).map_err(SourceError::io(&self.dir, "passing on its lock"))
        };
        let repack = Invocation::new(["repack", "-q", "-d", "--geometric=2"], limits);
        git::expect(&self.dir, held(repack, fetch)?)?;
        git::expect(&self.dir, held(Invocation::new(["pack-refs", "--all"], limits), &write)?)?;
        *self.repo.write().unwrap_or_else(PoisonError::into_inner) = open(&self.dir)?;
        Ok(())
    }

    /// Whether so many packs have come that the open handle would soon run out of room for them.
    pub(crate) fn is_overfull(&self) -> bool {
        fs::read_dir(self.dir.join("objects/pack")).map_or(0, Iterator::count) > 3 * 400
    }

    fn is_crowded(&self) -> bool {
        let count = |folder: &Path| fs::read_dir(folder).map_or(0, Iterator::count);
        // One of 256 folders tells the number of loose objects well enough.
        count(&self.dir.join("objects/pack")) > 3 * 40
            || count(&self.dir.join("objects/17")) > 20
            || count(&self.dir.join("refs/backstay/release")) > 1000
            || count(&self.dir.join("refs/backstay/keep")) > 1000
    }

    fn keep_under(&self, folder: &str, commit: &CommitId) -> Result<(), SourceError> {
        let id = self.commit_oid(&self.git(), commit)?;
        let name = format!("refs/backstay/{folder}/{id}");
        if self.read_ref(&self.git(), &name)?.is_none() {
            let _lock = self.lock(Lock::Write)?;
            self.write_ref(&name, id)?;
        }
        Ok(())
    }

    fn commits_under(&self, folder: &str) -> Result<Vec<CommitId>, SourceError> {
        let git = self.git();
        let failed = |error: &dyn std::fmt::Display| SourceError::mirror(&self.dir, "listing refs", error);
        let platform = git.references().map_err(|e| failed(&e))?;
        let prefix = format!("refs/backstay/{folder}/");
        let refs = platform.prefixed(prefix.as_str()).map_err(|e| failed(&e))?;
        let mut commits = Vec::new();
        for found in refs {
            let found = found.map_err(|e| failed(&e))?;
            commits.extend(found.target().try_id().map(|id| commit_id(id.to_owned())));
        }
        Ok(commits)
    }
}

/// For the other modules.
impl Mirror {
    /// A handle for this thread.
    pub(crate) fn git(&self) -> Git {
        let mut git = self.repo.read().unwrap_or_else(PoisonError::into_inner).to_thread_local();
        git.object_cache_size(OBJECT_CACHE);
        git
    }

    /// A handle that sees a draft's objects, and the tree to read.
    pub(crate) fn git_at(&self, at: At<'_>) -> Result<(Git, ObjectId), SourceError> {
        let mut git = self.git();
        match at {
            At::Commit(commit) => {
                let id = self.commit_oid(&git, commit)?;
                let tree = self.tree_of(&git, id)?;
                Ok((git, tree))
            }
            At::Draft(draft) => {
                git.objects.set_object_memory(draft.objects().clone());
                Ok((git, draft.tree_oid()))
            }
        }
    }

    /// Everything written through `git` since it was given out becomes part of a draft of `tree`.
    pub(crate) fn draft(&self, mut git: Git, tree: ObjectId) -> Draft {
        Draft::new(tree, git.objects.take_object_memory().unwrap_or_default())
    }

    pub(crate) fn commit_oid(&self, git: &Git, commit: &CommitId) -> Result<ObjectId, SourceError> {
        let missing = || SourceError::NoCommit(commit.clone());
        let id = ObjectId::from_hex(commit.as_str().as_bytes()).map_err(|_| missing())?;
        let header = git.try_find_header(id).map_err(|e| self.broken("finding a commit", &e))?;
        header.filter(|header| header.kind().is_commit()).map(|_| id).ok_or_else(missing)
    }

    pub(crate) fn tree_of(&self, git: &Git, commit: ObjectId) -> Result<ObjectId, SourceError> {
        let read = || -> gix::Result<ObjectId> { Ok(git.find_commit(commit)?.tree_id()?.detach()) };
        read().map_err(|e| self.broken("reading a commit", &e))
    }

    pub(crate) fn parents_of(&self, git: &Git, commit: ObjectId) -> Result<Vec<ObjectId>, SourceError> {
        let commit = git.find_commit(commit).map_err(|e| self.broken("reading a commit", &e))?;
        Ok(commit.parent_ids().map(|id| id.detach()).collect())
    }

    pub(crate) fn base_of(
        &self,
        git: &Git,
        one: ObjectId,
        two: ObjectId,
    ) -> Result<Option<ObjectId>, SourceError> {
        let bases =
            || -> gix::Result<Option<ObjectId>> { Ok(git.merge_base(one, two)?.map(|id| id.detach())) };
        match bases() {
            Ok(base) => Ok(base),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(self.broken("looking for a common ancestor", &error)),
        }
    }

    pub(crate) fn read_ref(&self, git: &Git, name: &str) -> Result<Option<CommitId>, SourceError> {
        let found = git.try_find_reference(name).map_err(|e| self.broken("reading a ref", &e))?;
        Ok(found.and_then(|found| found.target().try_id().map(|id| commit_id(id.to_owned()))))
    }

    /// Writes a ref durably. The caller holds [`Lock::Write`].
    pub(crate) fn write_ref(&self, name: &str, id: ObjectId) -> Result<(), SourceError> {
        durable::write_ref(&self.dir, &self.private(), name, id)
            .map_err(SourceError::io(&self.dir, format!("writing {name}")))
    }

    pub(crate) fn private(&self) -> PathBuf {
        self.dir.join(PRIVATE)
    }

    pub(crate) fn broken(&self, doing: &str, error: &dyn std::fmt::Display) -> SourceError {
        SourceError::mirror(&self.dir, doing, error)
    }
}

const PRIVATE: &str = "backstay";
pub(crate) const NOTES_REF: &str = "refs/backstay/notes/ai";

/// Where the branch's tip is kept. One level only, so that `a` and `a/b` can follow each other.
pub(crate) fn upstream_ref(branch: &str) -> String {
    format!("refs/backstay/upstream/{}", branch.replace('%', "%25").replace('/', "%2F"))
}

pub(crate) fn undo_ref(undo: UndoId) -> String {
    format!("refs/backstay/undo/{undo}")
}

pub(crate) fn check_branch(name: &str) -> Result<(), SourceError> {
    let full = format!("refs/heads/{name}");
    let well_formed = gix::validate::reference::name(full.as_str().into()).is_ok();
    if well_formed && !name.starts_with('-') && name.len() <= 200 && name != "HEAD" {
        Ok(())
    } else {
        Err(SourceError::Branch(name.to_owned()))
    }
}

pub(crate) fn commit_id(id: ObjectId) -> CommitId {
    match CommitId::try_from(id.to_string()) {
        Ok(id) => id,
        Err(error) => unreachable!("an object id is written as a commit id: {error}"),
    }
}

fn init(dir: &Path) -> Result<(), SourceError> {
    let whole = ["HEAD", "config", "objects", "refs"].iter().all(|name| dir.join(name).exists());
    fs::create_dir_all(dir.join(PRIVATE)).map_err(SourceError::io(dir, "making its folder"))?;
    if whole {
        return Ok(());
    }
    // What an interrupted start left is taken up again; Git itself repeats safely.
    fs::remove_file(dir.join("config.lock")).ok();
    fs::remove_file(dir.join("HEAD.lock")).ok();
    let args = ["init", "-q", "--bare", "--template=", "--initial-branch=backstay-none"];
    git::expect(dir, Invocation::new(args, Limits::local(1 << 16)))?;
    durable::sync_folder(dir).map_err(SourceError::io(dir, "making its folder durable"))
}

fn open(dir: &Path) -> Result<gix::ThreadSafeRepository, SourceError> {
    // The number of packs that can be open at a time is fixed here; every fetch adds one until they are packed.
    let packs = fs::read_dir(dir.join("objects/pack")).map_or(0, Iterator::count);
    let slots = u16::try_from(packs * 2).unwrap_or(u16::MAX).max(1024);
    gix::open::Options::isolated()
        .object_store_slots(gix::odb::store::init::Slots::Given(slots))
        .open_path_as_is(true)
        .with(gix::sec::Trust::Full)
        .config_overrides(["core.useReplaceRefs=false"])
        .open(dir)
        .map_err(|error| SourceError::mirror(dir, "opening it", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_that_git_or_a_shell_would_misread_are_refused() {
        for name in ["", "-x", "a..b", "a b", "a~", "HEAD", "a/", "/a", "a.lock", "a\n", "@{u}", "a\\b"] {
            assert!(check_branch(name).is_err(), "{name:?}");
        }
        for name in ["main", "feature/x", "rélease", "$(x)", "a%2Fb"] {
            assert!(check_branch(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn refs_of_branches_never_collide() {
        assert_ne!(upstream_ref("a/b"), upstream_ref("a%2Fb"));
        assert_eq!(upstream_ref("main"), "refs/backstay/upstream/main");
    }
}

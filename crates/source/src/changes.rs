//! Facts of commits, oldest first.

use backstay_types::{CommitId, Digest, Person, Timestamp, UndoId};
use gix::{ObjectId, Repository as Git};

use crate::{
    error::SourceError,
    message::{Provenance, Trailer, read_message},
    mirror::{Mirror, commit_id},
    notes::empty_tree,
    patch, text, tree_diff, walk,
};

/// What a commit says and does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeFacts {
    /// The commit.
    pub commit: CommitId,
    /// Its parents, first parent first.
    pub parents: Vec<CommitId>,
    /// Who wrote it, as Git says.
    pub author: Person,
    /// When it was written, as Git says.
    pub authored_at: Timestamp,
    /// When it was committed, as Git says.
    pub committed_at: Timestamp,
    /// First line of the message.
    pub subject: String,
    /// Trailers that Backstay knows, in order.
    pub trailers: Vec<Trailer>,
    /// Where it came from: trailers and notes.
    pub provenance: Vec<Provenance>,
    /// The undos that made it.
    pub undo: Vec<UndoId>,
    /// Commits that it takes back.
    pub reverts: Vec<CommitId>,
    /// Paths that differ from each parent; one list for the first commit, which differs from nothing.
    /// What is not UTF-8 is written as `\xNN`.
    pub touched: Vec<Vec<String>>,
    /// The digest of what it changes, the same after a rebase or a squash of it alone. `None` for merges
    /// and for commits that change nothing.
    pub patch: Option<Digest>,
}

impl ChangeFacts {
    /// Paths that it changed itself: for a merge only those that differ from every parent.
    pub fn own_paths(&self) -> Vec<&str> {
        let Some((first, others)) = self.touched.split_first() else { return Vec::new() };
        let own = first.iter().filter(|path| others.iter().all(|other| other.contains(path)));
        own.map(String::as_str).collect()
    }
}

/// Commits with their facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Oldest first; no commit stands before one of its parents.
    pub changes: Vec<ChangeFacts>,
    /// There were more than the limit; the oldest are missing.
    pub truncated: bool,
}

impl Mirror {
    /// Commits that `tip` contains and `since` does not; all of them without `since`. At most `limit`, the
    /// newest ones, oldest first.
    ///
    /// # Errors
    /// When one of the commits is not in the mirror, or the mirror cannot be read.
    pub fn changes(
        &self,
        since: Option<&CommitId>,
        tip: &CommitId,
        limit: usize,
    ) -> Result<Changes, SourceError> {
        let git = self.git();
        let walked = walk::range(self, &git, tip, since, limit.saturating_add(1))?;
        let truncated = walked.len() > limit;
        let ids = walk::children_first(&walked[..walked.len().min(limit)]).into_iter().rev();
        let notes = self.notes_tip()?.map(|notes| self.tree_of(&git, self.commit_oid(&git, &notes)?));
        let notes = notes.transpose()?;
        let changes = ids.map(|id| self.facts_of(&git, id, notes)).collect::<Result<_, _>>()?;
        Ok(Changes { changes, truncated })
    }

    /// The facts of one commit.
    ///
    /// # Errors
    /// When it is not in the mirror, or the mirror cannot be read.
    pub fn facts(&self, commit: &CommitId) -> Result<ChangeFacts, SourceError> {
        let git = self.git();
        let notes = self.notes_tip()?.map(|notes| self.tree_of(&git, self.commit_oid(&git, &notes)?));
        self.facts_of(&git, self.commit_oid(&git, commit)?, notes.transpose()?)
    }

    fn facts_of(&self, git: &Git, id: ObjectId, notes: Option<ObjectId>) -> Result<ChangeFacts, SourceError> {
        let broken = |error: gix::Error| self.broken("reading a commit", &error);
        let commit = git.find_commit(id).map_err(broken)?;
        let parents: Vec<ObjectId> = commit.parent_ids().map(|id| id.detach()).collect();
        let tree = commit.tree_id().map_err(broken)?.detach();
        let message = read_message(&String::from_utf8_lossy(commit.message_raw_sloppy()));
        let author = commit.author().map_err(broken)?;
        let committer = commit.committer().map_err(broken)?;
        let mut provenance = message.provenance;
        if let Some(notes) = notes {
            let sessions = self.sessions_on(git, notes, &commit_id(id))?;
            provenance.extend(sessions.into_iter().map(Provenance::Note));
        }
        let (touched, patch) = self.effect(git, tree, &parents)?;
        Ok(ChangeFacts {
            commit: commit_id(id),
            parents: parents.into_iter().map(commit_id).collect(),
            author: Person { name: clean(author.name), email: clean(author.email) },
            authored_at: timestamp(author.seconds()),
            committed_at: timestamp(committer.seconds()),
            subject: message.subject,
            trailers: message.trailers,
            provenance,
            undo: message.undo,
            reverts: message.reverts.iter().filter_map(|text| self.resolve(git, text)).collect(),
            touched,
            patch,
        })
    }

    fn effect(
        &self,
        git: &Git,
        tree: ObjectId,
        parents: &[ObjectId],
    ) -> Result<(Vec<Vec<String>>, Option<Digest>), SourceError> {
        let befores = match parents {
            [] => vec![empty_tree(git)],
            parents => parents.iter().map(|parent| self.tree_of(git, *parent)).collect::<Result<_, _>>()?,
        };
        let mut touched = Vec::new();
        let mut digest = None;
        for before in &befores {
            let changes = tree_diff::changes(self, git, *before, tree)?;
            if befores.len() == 1 {
                digest = patch::patch(self, git, &changes)?;
            }
            touched.push(changes.iter().map(|change| text::escaped(&change.path)).collect());
        }
        Ok((touched, digest))
    }

    /// A commit id as a message writes it; shortened ones count if they name one commit of the mirror.
    fn resolve(&self, git: &Git, text: &str) -> Option<CommitId> {
        if let Ok(full) = text.parse() {
            return Some(full);
        }
        let prefix = gix::hash::Prefix::from_hex(text).ok()?;
        let found = git.objects.lookup_prefix(prefix, None).ok()??.ok()?;
        git.find_header(found).ok()?.kind().is_commit().then(|| commit_id(found))
    }
}

/// Seconds since 1970 as an instant; what no calendar holds becomes its nearest end.
fn timestamp(seconds: i64) -> Timestamp {
    let end = if seconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_second(seconds).unwrap_or(end)
}

fn clean(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().chars().filter(|c| !c.is_control()).collect()
}

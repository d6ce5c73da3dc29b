//! What is in releases and commits: for people to look at. Nothing is written.

use std::sync::Arc;

use backstay_source::diff_between;
use backstay_types::{
    Change, CommitId, Conversation, NodeId, Release, Repository, StackName, diff::Diff, redact,
    tree::in_folder,
};

use backstay_store::{changes, conversations, repositories};

use crate::{Engine, EngineError, mirrors::blocking, why::running};

/// A file of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its path in the release.
    pub path: String,
    /// Git's mode.
    pub mode: u32,
    /// Its size in bytes.
    pub bytes: u64,
}

/// A file that runs, with where each line came from.
#[derive(Debug, Clone)]
pub struct ExplainedFile {
    /// The release that runs.
    pub release: Release,
    /// The lines and the commits that wrote them; what looks like a secret is hidden.
    pub lines: Vec<(CommitId, String)>,
    /// These commits, newest first.
    pub changes: Vec<Change>,
    /// The conversations behind them.
    pub conversations: Vec<Conversation>,
}

impl Engine {
    /// The files of a release.
    ///
    /// # Errors
    /// When the mirror does not have it.
    pub async fn release_files(&self, release: &Release) -> Result<Vec<Listed>, EngineError> {
        let mirror = self.inner.mirrors.of(&self.repository(release.repository).await?)?;
        let (commit, path) = (release.commit.clone(), release.path.clone());
        let listing = blocking(move || mirror.tree_at(&commit, &path)).await?;
        let listed =
            |entry: backstay_source::Entry| Listed { path: entry.path, mode: entry.mode, bytes: entry.size };
        Ok(listing.entries.into_iter().map(listed).collect())
    }

    /// The content of a file of a release.
    ///
    /// # Errors
    /// When the release has no such file.
    pub async fn release_file(&self, release: &Release, file: &str) -> Result<Vec<u8>, EngineError> {
        let mirror = self.inner.mirrors.of(&self.repository(release.repository).await?)?;
        let (commit, path) = (release.commit.clone(), in_folder(&release.path, file));
        blocking(move || mirror.read(&commit, &path)).await
    }

    /// What a commit changed against its first parent.
    ///
    /// # Errors
    /// When the mirror does not have it.
    pub async fn change_diff(&self, repository: &Repository, commit: &CommitId) -> Result<Diff, EngineError> {
        let (mirror, commit) = (self.inner.mirrors.of(repository)?, commit.clone());
        blocking(move || {
            let facts = mirror.facts(&commit)?;
            mirror.diff(facts.parents.first(), &commit, "")
        })
        .await
    }

    /// What differs between two releases.
    ///
    /// # Errors
    /// When a mirror does not have one of them.
    pub async fn release_diff(&self, from: &Release, to: &Release) -> Result<Diff, EngineError> {
        let mirrors = &self.inner.mirrors;
        let old = mirrors.of(&self.repository(from.repository).await?)?;
        let new = mirrors.of(&self.repository(to.repository).await?)?;
        let (from, to) = (from.clone(), to.clone());
        blocking(move || {
            let old = old.stack_files(&from.commit, &from.path)?;
            Ok(diff_between(&old, &new.stack_files(&to.commit, &to.path)?))
        })
        .await
    }

    /// Where each line of a file that runs came from.
    ///
    /// # Errors
    /// When the node never ran the stack, or the release has no such file, or it is not text.
    pub async fn explain_file(
        &self,
        node: NodeId,
        stack: &StackName,
        file: &str,
    ) -> Result<ExplainedFile, EngineError> {
        let mut read = self.inner.store.read();
        let (release, _) = running(&mut read, node, stack).await?;
        let mirror: Arc<_> = self.inner.mirrors.of(&self.repository(release.repository).await?)?;
        let (commit, path) = (release.commit.clone(), in_folder(&release.path, file));
        let blamed = blocking(move || mirror.blame_file(&commit, &path)).await?;
        let mut commits: Vec<CommitId> = blamed.iter().map(|(commit, _)| commit.clone()).collect();
        commits.sort_unstable();
        commits.dedup();
        let known = changes::many(&mut read, release.repository, &commits).await?;
        let mut changes: Vec<Change> = known.into_iter().map(|known| known.change).collect();
        changes.sort_by(|a, b| (b.committed_at, &b.commit).cmp(&(a.committed_at, &a.commit)));
        let mut ids: Vec<_> =
            changes.iter().flat_map(|one| &one.links).map(|link| link.conversation).collect();
        ids.sort_unstable();
        ids.dedup();
        let conversations = conversations::many(&mut read, &ids).await?;
        let text: String = blamed.iter().map(|(_, line)| format!("{line}\n")).collect();
        let lines = blamed.into_iter().map(|(commit, _)| commit).zip(redact::lines(&text)).collect();
        Ok(ExplainedFile { release, lines, changes, conversations })
    }

    /// Whether a repository of that name is followed already.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn is_followed(
        &self,
        name: &backstay_types::RepositoryName,
    ) -> Result<bool, EngineError> {
        Ok(repositories::by_name(&mut self.inner.store.read(), name).await?.is_some())
    }
}

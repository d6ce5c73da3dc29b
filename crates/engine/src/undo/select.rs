//! Which commits of which repositories an undo is about.

use std::collections::{BTreeMap, BTreeSet};

use backstay_plan::{History, HistoryChange, Refusal, Selection, Selector};
use backstay_store::{
    changes::{self, KnownChange},
    deployments, links, rollouts, stacks, undos,
};
use backstay_types::{
    Cause, CommitId, Deployment, DeploymentId, LinkSource, Meaning, Repository, RepositoryId, RolloutKind,
    SkippedChange, StackName, Timestamp, UndoSelector,
};

use super::WantedUndo;
use crate::{Engine, EngineError};

/// Commits of a branch that are looked at.
const HISTORY: u32 = 20_000;

/// What is taken back in one repository.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) repository: Repository,
    pub(super) tip: CommitId,
    pub(super) change: PartChange,
    /// Commits that this takes back, newest first.
    pub(super) commits: Vec<CommitId>,
    pub(super) skipped: Vec<SkippedChange>,
}

/// How the tree is made.
#[derive(Debug, Clone)]
pub(super) enum PartChange {
    /// The commits are taken out of the tip's tree.
    Revert,
    /// Folders (all when empty) are made what they were at a commit.
    Restore(Vec<(CommitId, String)>),
    /// Nothing changes in Git.
    Nothing,
}

impl Engine {
    /// What is taken back, by repository.
    pub(super) async fn select(&self, want: &WantedUndo) -> Result<Vec<Part>, EngineError> {
        let parts = match &want.selector {
            UndoSelector::Conversation { conversation, meaning } => {
                let named: BTreeSet<_> = want.include_guesses.iter().cloned().collect();
                let selector = match meaning {
                    Meaning::OnlyIts => {
                        Selector::Conversation { conversation: *conversation, named_guesses: &named }
                    }
                    Meaning::Before => Selector::BeforeConversation(*conversation),
                };
                let changes = links::changes_of(&mut self.inner.store.read(), *conversation).await?;
                let ids: BTreeSet<_> = changes.iter().map(|k| k.change.repository).collect();
                self.in_each(ids, &selector).await?
            }
            UndoSelector::Commit { repository, to } => {
                self.in_each(BTreeSet::from([*repository]), &Selector::To(to)).await?
            }
            UndoSelector::Undo { undo } => {
                let made = undos::commits(&mut self.inner.store.read(), *undo).await?;
                let ids: BTreeSet<_> = made.iter().filter(|c| c.made).map(|c| c.repository).collect();
                self.in_each(ids, &Selector::Undo(*undo)).await?
            }
            UndoSelector::Deployment { deployment } => {
                let (repository, commits) = self.brought_by_deployment(*deployment).await?;
                self.in_each(BTreeSet::from([repository]), &Selector::Commits(&commits)).await?
            }
            UndoSelector::Last => {
                let (repository, commits) = self.last_deployed().await?;
                self.in_each(BTreeSet::from([repository]), &Selector::Commits(&commits)).await?
            }
            UndoSelector::Time { to, .. } => self.at_time(*to, want.scope.stack.as_ref()).await?,
        };
        self.narrow(parts, want.scope.stack.as_ref()).await
    }

    async fn in_each(
        &self,
        repositories: BTreeSet<RepositoryId>,
        selector: &Selector<'_>,
    ) -> Result<Vec<Part>, EngineError> {
        let mut parts = Vec::new();
        let mut refusal = Refusal::Nothing;
        for id in repositories {
            let repository = self.repository(id).await?;
            let Some(tip) = repository.tip.clone() else { continue };
            match self.history(id).await?.select(selector) {
                Ok(Selection::Revert { commits, skipped }) => {
                    parts.push(Part { repository, tip, change: PartChange::Revert, commits, skipped });
                }
                Ok(Selection::Restore { to, commits }) => {
                    let change = PartChange::Restore(vec![(to, String::new())]);
                    parts.push(Part { repository, tip, change, commits, skipped: Vec::new() });
                }
                // Another repository may hold the rest; nothing at all is refused below.
                Err(found @ (Refusal::Nothing | Refusal::AlreadyUndone(_))) => refusal = found,
                Err(found) => return Err(found.into()),
            }
        }
        if parts.is_empty() { Err(refusal.into()) } else { Ok(parts) }
    }

    /// The deployed branch as selection sees it.
    pub(crate) async fn history(&self, id: RepositoryId) -> Result<History, EngineError> {
        let known = changes::history(&mut self.inner.store.read(), id, None, HISTORY).await?;
        Ok(History::new(known.into_iter().map(history_change).collect()))
    }

    /// Every stack as its completed rollout had it at a time.
    async fn at_time(&self, at: Timestamp, only: Option<&StackName>) -> Result<Vec<Part>, EngineError> {
        let mut read = self.inner.store.read();
        let mut targets: BTreeMap<RepositoryId, Vec<(CommitId, String, StackName)>> = BTreeMap::new();
        for stack in stacks::list(&mut read).await?.into_iter().filter(|s| s.present) {
            if only.is_some_and(|only| *only != stack.name) {
                continue;
            }
            let Some(release) = crate::parts::completed_whole(&mut read, &stack.name, at).await? else {
                continue;
            };
            if stack.release != Some(release.id) {
                let target = (release.commit, release.path, stack.name);
                targets.entry(stack.repository).or_default().push(target);
            }
        }
        let mut parts = Vec::new();
        for (id, targets) in targets {
            let repository = self.repository(id).await?;
            let Some(tip) = repository.tip.clone() else { continue };
            let history = self.history(id).await?;
            let mut commits = BTreeSet::new();
            for (target, _, stack) in &targets {
                if let Ok(Selection::Restore { commits: after, .. }) = history.select(&Selector::To(target)) {
                    let touches = |c: &&CommitId| {
                        history.get(c).is_some_and(|h| h.stacks.contains(stack)) && history.is_effective(c)
                    };
                    commits.extend(after.iter().filter(touches).cloned());
                }
            }
            let order: Vec<_> = history
                .changes()
                .iter()
                .map(|c| &c.commit)
                .filter(|c| commits.contains(*c))
                .cloned()
                .collect();
            let folders = targets.into_iter().map(|(commit, path, _)| (commit, path)).collect();
            let change = PartChange::Restore(folders);
            parts.push(Part { repository, tip, change, commits: order, skipped: Vec::new() });
        }
        if parts.is_empty() {
            let message =
                format!("every stack is as it was at {at} already, or none had been rolled out by then");
            return Err(EngineError::Conflict(message));
        }
        Ok(parts)
    }

    /// Commits that a deployment brought to its node.
    async fn brought_by_deployment(
        &self,
        id: DeploymentId,
    ) -> Result<(RepositoryId, Vec<CommitId>), EngineError> {
        let mut read = self.inner.store.read();
        let deployment = deployments::get(&mut read, id).await?;
        let deployment = deployment.ok_or_else(|| EngineError::not_found("deployment", id))?;
        self.commits_of(&deployment).await
    }

    async fn commits_of(
        &self,
        deployment: &Deployment,
    ) -> Result<(RepositoryId, Vec<CommitId>), EngineError> {
        let mut read = self.inner.store.read();
        let rollout = rollouts::get(&mut read, deployment.rollout).await?;
        let rollout = rollout.ok_or_else(|| EngineError::not_found("rollout", deployment.rollout))?;
        let brought = crate::statements::brought_by(&mut read, &rollout).await?;
        let repository = brought.first().map(|k| k.change.repository).ok_or(Refusal::Nothing)?;
        let commits = brought.into_iter().filter(|k| k.change.repository == repository);
        Ok((repository, commits.map(|k| k.change.commit).collect()))
    }

    /// The change behind the newest rollout forward whose commit still stands.
    async fn last_deployed(&self) -> Result<(RepositoryId, Vec<CommitId>), EngineError> {
        let mut read = self.inner.store.read();
        let mut before = None;
        loop {
            let page = rollouts::list(&mut read, None, before, 100).await?;
            let Some(last) = page.last() else { return Err(Refusal::Nothing.into()) };
            before = Some(last.id);
            for rollout in page.iter().filter(|r| r.kind == RolloutKind::Update) {
                let Cause::Change { repository, commit } = &rollout.cause else { continue };
                if self.history(*repository).await?.is_effective(commit) {
                    return Ok((*repository, vec![commit.clone()]));
                }
            }
        }
    }

    /// Keeps to one stack, when one was named.
    async fn narrow(&self, parts: Vec<Part>, only: Option<&StackName>) -> Result<Vec<Part>, EngineError> {
        let Some(only) = only else { return Ok(parts) };
        let stack = stacks::get(&mut self.inner.store.read(), only).await?;
        let stack = stack.ok_or_else(|| EngineError::not_found("stack", only))?;
        let mut narrowed = Vec::new();
        for mut part in parts.into_iter().filter(|p| p.repository.id == stack.repository) {
            let history = self.history(part.repository.id).await?;
            part.commits.retain(|c| history.get(c).is_some_and(|h| h.stacks.contains(only)));
            if let PartChange::Restore(folders) = &mut part.change {
                for (_, folder) in folders.iter_mut().filter(|(_, folder)| folder.is_empty()) {
                    folder.clone_from(&stack.path);
                }
                folders.retain(|(_, folder)| *folder == stack.path);
            }
            if !part.commits.is_empty() {
                narrowed.push(part);
            }
        }
        if narrowed.is_empty() { Err(Refusal::Nothing.into()) } else { Ok(narrowed) }
    }
}

fn history_change(known: KnownChange) -> HistoryChange {
    let change = known.change;
    let by = |guess: bool| {
        let links = change.links.iter().filter(move |l| (l.source == LinkSource::Guess) == guess);
        links.map(|l| l.conversation).collect()
    };
    HistoryChange {
        conversations: by(false),
        guesses: by(true),
        commit: change.commit,
        parents: change.parents,
        reverts: change.reverts,
        undo: known.undo,
        stacks: change.stacks.into_iter().collect(),
    }
}

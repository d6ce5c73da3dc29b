//! Blame for what runs, not for what is in Git.

use std::sync::Arc;

use backstay_store::{
    Executor, changes, conversations, deployments,
    ledger::{self, Filter, Window},
    releases, rollouts,
};
use backstay_types::{
    Cause, Change, CommitId, Conversation, Deployment, LedgerEntry, NodeId, Release, Removed, RolloutKind,
    StackName, Timestamp,
};

use crate::{Engine, EngineError, mirrors::blocking};

/// What to explain.
#[derive(Debug, Clone)]
pub struct WhyQuestion {
    /// The node.
    pub node: NodeId,
    /// The stack.
    pub stack: StackName,
    /// A file of the stack, relative to its folder.
    pub file: Option<String>,
    /// A line of the file, from 1.
    pub line: Option<u32>,
}

/// The answer.
#[derive(Debug, Clone)]
pub struct Why {
    /// The release that runs; once the stack was taken away, the last that ran.
    pub release: Release,
    /// Whether it was taken away.
    pub removed: Option<Removed>,
    /// The line's text, when a line was asked for.
    pub text: Option<String>,
    /// The commit that made it so.
    pub change: Change,
    /// The conversations behind it.
    pub conversations: Vec<Conversation>,
    /// The deployment that first brought it to this node.
    pub deployment: Option<Deployment>,
    /// What happened there after that, oldest first.
    pub after: Vec<LedgerEntry>,
}

/// What runs of a stack on a node; where it was taken away, what ran last, and that it does not any more.
pub(crate) async fn running(
    ex: &mut impl Executor,
    node: NodeId,
    stack: &StackName,
) -> Result<(Release, Option<Removed>), EngineError> {
    let never = || EngineError::not_found("stack on this node", stack);
    let last = deployments::ran_last(ex, node, stack).await?.ok_or_else(never)?;
    let release = releases::get(ex, last.release).await?;
    let release = release.ok_or_else(|| EngineError::not_found("release", last.release))?;
    let newest = deployments::previous_good(ex, node, stack, Timestamp::MAX).await?;
    let Some(newest) = newest.filter(|newest| newest.id != last.id) else { return Ok((release, None)) };
    let removal = rollouts::get(ex, newest.rollout).await?.filter(|one| one.kind == RolloutKind::Removal);
    let removed = removal.map(|rollout| Removed {
        at: newest.finished_at.unwrap_or(newest.created_at),
        rollout: rollout.id,
        reason: match rollout.cause {
            Cause::Change { commit, .. } => format!("no longer assigned since commit {}", commit.short()),
            Cause::Undo { undo } => format!("no longer assigned since undo {undo}"),
            Cause::Decommission => "the node is taken out of the fleet".to_owned(),
            Cause::Migration { migration } => format!("it moved to another node by migration {migration}"),
        },
    });
    Ok((release, removed))
}

impl Engine {
    /// Which conversation put this into production, when, and what happened after.
    ///
    /// # Errors
    /// When the node never ran the stack, or the release has no such file or line.
    pub async fn why(&self, question: &WhyQuestion) -> Result<Why, EngineError> {
        let mut read = self.inner.store.read();
        let (release, removed) = running(&mut read, question.node, &question.stack).await?;
        let (commit, text) = self.blame(&release, question).await?;
        let known = changes::get(&mut read, release.repository, &commit).await?;
        let change = known.ok_or_else(|| EngineError::not_found("commit", &commit))?.change;
        let ids: Vec<_> = change.links.iter().map(|l| l.conversation).collect();
        let conversations = conversations::many(&mut read, &ids).await?;
        let deployment = self.first_with(question, &change).await?;
        let since = deployment.as_ref().map_or(change.seen_at, |d| d.created_at);
        let filter = Filter {
            node: Some(question.node),
            stack: Some(question.stack.clone()),
            since: Some(since),
            ..Filter::default()
        };
        let after = ledger::timeline(&mut read, &filter, Window::After(0), 200).await?;
        Ok(Why { release, removed, text, change, conversations, deployment, after })
    }

    async fn blame(
        &self,
        release: &Release,
        question: &WhyQuestion,
    ) -> Result<(CommitId, Option<String>), EngineError> {
        let repository = self.repository(release.repository).await?;
        let mirror = self.inner.mirrors.of(&repository)?;
        let (mirror, commit) = (Arc::clone(&mirror), release.commit.clone());
        let path = match &question.file {
            None => release.path.clone(),
            Some(file) if release.path.is_empty() => file.clone(),
            Some(file) => format!("{}/{file}", release.path),
        };
        let line = question.line.filter(|_| question.file.is_some());
        blocking(move || match line {
            Some(line) => {
                let blame = mirror.blame(&commit, &path, line)?;
                Ok((blame.commit, Some(blame.text)))
            }
            None => Ok((mirror.last_touched(&commit, &path)?, None)),
        })
        .await
    }

    /// The first successful deployment on this node of a release that a change is part of.
    async fn first_with(
        &self,
        question: &WhyQuestion,
        change: &Change,
    ) -> Result<Option<Deployment>, EngineError> {
        let mut read = self.inner.store.read();
        let mut first: Option<Deployment> = None;
        let mut before = None;
        loop {
            let filter = deployments::Filter {
                node: Some(question.node),
                stack: Some(question.stack.clone()),
                ..deployments::Filter::default()
            };
            let page = deployments::list(&mut read, &filter, before, 200).await?;
            let Some(last) = page.last() else { return Ok(first) };
            before = Some(last.id);
            let old_enough = page.iter().take_while(|d| d.created_at >= change.seen_at);
            let good = old_enough.filter(|d| d.state == backstay_types::DeploymentState::Succeeded);
            first = good.last().cloned().or(first);
            if page.iter().any(|d| d.created_at < change.seen_at) {
                return Ok(first);
            }
        }
    }
}

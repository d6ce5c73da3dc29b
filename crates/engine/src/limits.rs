//! Freezes, pins, and nodes that are left alone: set by people, and running out by themselves.

use std::time::Duration;

use backstay_manifest::Selector;
use backstay_source::StackTree;
use backstay_store::{Tx, constraints, nodes, releases, stacks};
use backstay_types::{
    CommitId, Constraint, ConstraintOrigin, Effect, EnvironmentName, ReleaseId, Repository, Scope, StackName,
    Timestamp,
};

use crate::{Engine, EngineError, mirrors::blocking, sync::StackRecord};

/// Who is said to have lifted what ran out.
const BY_TIME: &str = "backstay";

/// A beginning that is no longer past than this means now: clocks differ, and a form takes a while to fill in.
const JUST_NOW: Duration = Duration::from_secs(15 * 60);

/// What a person asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LimitEffect {
    /// Nothing forward begins.
    Freeze {
        /// Of this stack only.
        stack: Option<StackName>,
    },
    /// Nodes run one release of a stack.
    Pin {
        /// The stack.
        stack: StackName,
        /// A release's id, or a commit, whole or its first digits; what the last rollout that succeeded brought when
        /// absent.
        to: Option<String>,
    },
    /// Nodes run the newest release of another branch of a stack's repository.
    Follow {
        /// The stack.
        stack: StackName,
        /// The branch, without `refs/heads/`.
        branch: String,
    },
    /// Nodes keep what they run.
    UpdatesOff {
        /// Of this stack only.
        stack: Option<StackName>,
    },
    /// Nodes keep what they run and count nowhere.
    Maintenance,
}

/// A limit that a person sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLimit {
    /// What it does.
    pub effect: LimitEffect,
    /// A label selector; everyone when absent.
    pub nodes: Option<String>,
    /// Why.
    pub reason: String,
    /// When it begins; at once when absent.
    pub from: Option<Timestamp>,
    /// When it ends by itself.
    pub until: Option<Timestamp>,
}

impl Engine {
    /// Sets a limit, or gives the same one that is set already.
    ///
    /// # Errors
    /// When the selector cannot be read or matches no node, there is no such stack, release, commit or branch, the branch
    /// cannot be followed as it is, or it would never hold.
    pub async fn limit(&self, new: NewLimit, by: &str) -> Result<Constraint, EngineError> {
        let now = self.inner.world.now();
        check_times(&new, now)?;
        let scope = self.scope_of(new.nodes.as_deref()).await?;
        if scope == Scope::Fleet
            && matches!(new.effect, LimitEffect::Maintenance | LimitEffect::UpdatesOff { stack: None })
        {
            let message =
                "nodes: expected which nodes; a freeze is what keeps all of them from being updated";
            return Err(EngineError::Invalid(message.to_owned()));
        }
        if let LimitEffect::Freeze { stack: Some(stack) } | LimitEffect::UpdatesOff { stack: Some(stack) } =
            &new.effect
        {
            self.present(stack).await?;
        }
        if let LimitEffect::Follow { stack, branch } = &new.effect {
            if scope == Scope::Fleet {
                let message =
                    "nodes: expected which nodes; what all of them follow is the repository's own branch";
                return Err(EngineError::Invalid(message.to_owned()));
            }
            let row = self.present(stack).await?;
            self.read_to_follow(&row, branch).await?;
        }
        let found = match &new.effect {
            LimitEffect::Pin { stack, to } => Some(self.release_to_pin(stack, to.as_deref(), &scope).await?),
            _ => None,
        };
        let mut tx = self.inner.store.begin().await?;
        let effect = match (new.effect, found) {
            (LimitEffect::Pin { stack, .. }, Some(found)) => {
                Effect::Pin { stack, release: self.made(&mut tx, found, now).await? }
            }
            (LimitEffect::Follow { stack, branch }, _) => Effect::Follow { stack, branch },
            (LimitEffect::Freeze { stack }, _) => Effect::Freeze { stack },
            (LimitEffect::UpdatesOff { stack }, _) => Effect::UpdatesOff { stack },
            (LimitEffect::Maintenance | LimitEffect::Pin { .. }, _) => Effect::Maintenance,
        };
        let wanted = Constraint {
            id: self.inner.world.mint(),
            scope,
            effect,
            reason: new.reason,
            by: by.to_owned(),
            origin: ConstraintOrigin::Person,
            created_at: now,
            from: new.from,
            until: new.until,
            lifted_at: None,
        };
        let constraint = self.hold_once(&mut tx, wanted).await?;
        tx.commit().await?;
        self.changed_by_hand();
        Ok(constraint)
    }

    /// Takes constraints that ran out off the list, and says so once.
    pub(crate) async fn lift_run_out(&self, tx: &mut Tx, now: Timestamp) -> Result<bool, EngineError> {
        let over = constraints::run_out(tx, now).await?;
        for constraint in &over {
            self.lift_constraint(tx, constraint, "its time ran out", BY_TIME).await?;
        }
        Ok(!over.is_empty())
    }

    async fn scope_of(&self, nodes: Option<&str>) -> Result<Scope, EngineError> {
        let Some(text) = nodes else { return Ok(Scope::Fleet) };
        let invalid = |what: String| EngineError::Invalid(format!("nodes: {what}"));
        let selector: Selector = text.parse().map_err(|e| invalid(format!("{e}")))?;
        if selector.is_everything() {
            return Ok(Scope::Fleet);
        }
        let there = nodes::active(&mut self.inner.store.read()).await?;
        if !there.iter().any(|node| selector.matches(&node.name, &node.labels)) {
            return Err(invalid(format!("`{selector}` matches none of {} nodes", there.len())));
        }
        Ok(Scope::Nodes { selector: selector.to_string() })
    }

    /// The environment that all nodes of a scope are in; none where a stack has no environments.
    async fn environment_of(
        &self,
        stack: &StackName,
        scope: &Scope,
    ) -> Result<Option<EnvironmentName>, EngineError> {
        let loaded = self.load(&mut self.inner.store.read(), self.inner.world.now()).await?;
        let lines = || loaded.snapshot.stacks.iter().filter(|facts| facts.name == *stack);
        if lines().all(|facts| facts.within.environment().is_none()) {
            return Ok(None);
        }
        let reached = loaded.snapshot.nodes.iter().filter(|node| match scope {
            Scope::Nodes { selector } => selector.parse().is_ok_and(|selector| node.is_in(&selector)),
            Scope::Fleet | Scope::Environment { .. } => true,
        });
        let mut found: Vec<_> = reached
            .filter_map(|node| lines().find(|facts| facts.holds(node)))
            .map(|facts| facts.within.environment())
            .collect();
        found.sort();
        found.dedup();
        match found[..] {
            [Some(one)] => Ok(Some(one.clone())),
            _ => {
                let message = format!(
                    "`{stack}` has environments, each with its own last good: say to what, or choose nodes of one of them"
                );
                Err(EngineError::Conflict(message))
            }
        }
    }

    async fn present(&self, stack: &StackName) -> Result<stacks::Stack, EngineError> {
        let found = stacks::get(&mut self.inner.store.read(), stack).await?;
        found.ok_or_else(|| EngineError::not_found("stack", stack))
    }

    async fn release_to_pin(
        &self,
        stack: &StackName,
        to: Option<&str>,
        scope: &Scope,
    ) -> Result<Found, EngineError> {
        let row = self.present(stack).await?;
        let mut read = self.inner.store.read();
        let Some(text) = to else {
            let now = self.inner.world.now();
            let record: Option<StackRecord> = serde_json::from_str(&row.manifest).ok();
            let last = if record.is_some_and(|record| record.layout.is_some()) {
                crate::parts::completed_whole(&mut read, stack, now).await?
            } else {
                let environment = self.environment_of(stack, scope).await?;
                let standing = constraints::in_force(&mut read, now).await?;
                self.last_good(&mut read, stack, environment.as_ref(), &standing, now).await?
            };
            let none =
                || EngineError::Conflict(format!("no rollout of `{stack}` has succeeded yet: say to what"));
            return Ok(Found::Release(last.ok_or_else(none)?.id));
        };
        if let Ok(id) = text.parse::<ReleaseId>() {
            let found = releases::get(&mut read, id).await?.filter(|release| release.stack == *stack);
            return Ok(Found::Release(
                found.ok_or_else(|| EngineError::not_found("release of this stack", id))?.id,
            ));
        }
        let (repository, commit) = self.find_commit(text).await?;
        if repository != row.repository {
            let message = format!("`{stack}` is in another repository than commit {}", commit.short());
            return Err(EngineError::Invalid(message));
        }
        let repository = self.repository(repository).await?;
        let mirror = self.inner.mirrors.of(&repository)?;
        let (at, path) = (commit.clone(), row.path.clone());
        let (tree, divided) = blocking(move || {
            Ok((mirror.stack_tree(&at, &path)?, crate::parts::divided_at(&mirror, &at, &path)?))
        })
        .await?;
        Ok(Found::Tree {
            repository: Box::new(repository),
            stack: stack.clone(),
            path: row.path,
            commit,
            tree,
            divided,
        })
    }

    /// The release, made if there is none of its tree.
    async fn made(&self, tx: &mut Tx, found: Found, now: Timestamp) -> Result<ReleaseId, EngineError> {
        match found {
            Found::Release(id) => Ok(id),
            Found::Tree { repository, stack, path, commit, tree, divided } => {
                let whole = (&tree, divided.as_ref());
                Ok(self.release(tx, &repository, &stack, &path, &commit, whole, now).await?.id)
            }
        }
    }
}

/// What a pin is to.
enum Found {
    /// A release that is there.
    Release(ReleaseId),
    /// A commit's tree of the stack, of which a release may have to be made.
    Tree {
        repository: Box<Repository>,
        stack: StackName,
        path: String,
        commit: CommitId,
        tree: StackTree,
        divided: Option<crate::parts::Divided>,
    },
}

/// A limit that would never hold is a mistake; so is one without an end that was to begin in the past: whoever meant
/// next Friday would be held up at once, and for good.
fn check_times(new: &NewLimit, now: Timestamp) -> Result<(), EngineError> {
    let wrong = |message: &str| Err(EngineError::Invalid(message.to_owned()));
    match (new.from, new.until) {
        (_, Some(until)) if until <= now => wrong("until: it has passed already"),
        (Some(from), Some(until)) if until <= from => wrong("until: it ends before it begins"),
        (Some(from), None) if from < now - JUST_NOW => {
            wrong("from: it has passed already; without it the limit begins at once")
        }
        _ => Ok(()),
    }
}

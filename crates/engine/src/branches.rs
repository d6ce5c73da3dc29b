//! Branches that some nodes follow instead of the deployed one: fetched beside it, and planned as a part of the fleet of
//! their own.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use backstay_manifest::{self as manifest, Selector};
use backstay_plan::{Assignment, Branches, Origin, StackFacts, Within};
use backstay_source::{ChangeFacts, Credential, FetchedBranch, Mirror, Relation, SourceError};
use backstay_store::{
    Executor, StoreError, Tx,
    branches::{self, Branch},
    changes, constraints, nodes, releases, stacks,
};
use backstay_types::{
    CommitId, Constraint, Effect, ErrorCode, Event, Node, Refs, Release, ReleaseId, ReleaseStanding,
    Repository, RepositoryHealth, RepositoryId, Rollout, RolloutState, RolloutStrategy, Scope, StackName,
    Timestamp,
};

use crate::{
    Engine, EngineError,
    mirrors::blocking,
    reconcile::{Known, pin_origins},
    sync::{
        Content, FIRST_HISTORY, StackRecord, TipError, invalid, parts_of, read_fleet, stacks_of, unreachable,
    },
};

/// A branch that nodes follow for a stack, as it is planned.
pub(crate) struct Followed {
    pub(crate) row: Branch,
    /// Its release, or why that may not be planned.
    release: Result<ReleaseId, String>,
    /// Why its release is held, if it is.
    held: Option<String>,
}

impl Followed {
    /// How it is planned: for the nodes that follow it, all at once, within what the stack's rollouts allow otherwise.
    pub(crate) fn line(&self, base: StackFacts, known: Known<'_>) -> StackFacts {
        let named = |constraint: &&Constraint| matches!(constraint.scope, Scope::Nodes { .. });
        let named: Vec<_> = known.constraints.iter().filter(named).cloned().collect();
        StackFacts {
            release: self.release.clone(),
            origin: Origin::of(None, self.row.repository, &self.row.commit),
            pin_origins: pin_origins(&self.row.stack, &named, known.releases),
            assignments: vec![Assignment { nodes: Selector::everything() }],
            strategy: RolloutStrategy { waves: Vec::new(), ..base.strategy.clone() },
            go_back: None,
            prune: None,
            within: Within::Branch(self.row.branch.clone()),
            ..base
        }
    }
}

/// What keeps nodes from following branches.
pub(crate) fn held(followed: &[Followed]) -> Branches {
    let one = |one: &Followed| ((one.row.stack.clone(), one.row.branch.clone()), one.held.clone());
    followed.iter().map(one).collect()
}

/// The manifest schema that a stack needs on a branch, while that is followed.
pub(crate) fn schema(followed: &[Followed], stack: &StackName, branch: &str) -> Option<u32> {
    let is_it = |one: &&Followed| one.row.stack == *stack && one.row.branch == branch;
    followed.iter().find(is_it).map(|one| one.row.schema)
}

/// A branch that nodes follow, for people.
#[derive(Debug, Clone)]
pub struct FollowedBranch {
    /// What was read of the stack there.
    pub row: Branch,
    /// Whether its release may be planned.
    pub standing: ReleaseStanding,
    /// How many nodes follow it or are to, whatever else keeps them from it.
    pub nodes: u64,
}

/// A stack on a branch, read whole.
struct Read {
    path: String,
    /// The manifest schema that it needs.
    schema: u32,
    content: Content,
    /// What the branch has beyond the deployed one, oldest first, each with the stacks that it touches.
    own: Vec<(ChangeFacts, Vec<StackName>)>,
    /// Where it left the deployed branch, or took it in last.
    base: Option<CommitId>,
}

/// Why a branch cannot be taken as it is.
enum Unfit {
    Tip(TipError),
    NoStack,
}

impl From<SourceError> for Unfit {
    fn from(error: SourceError) -> Self {
        Self::Tip(TipError::Source(error))
    }
}

/// Blocks.
fn read_branch(
    mirror: &Mirror,
    repository: &Repository,
    stack: &StackName,
    tip: &CommitId,
) -> Result<Read, Unfit> {
    let fleet = read_fleet(mirror, repository, tip).map_err(Unfit::Tip)?;
    let found = fleet.stacks.get(stack).ok_or(Unfit::NoStack)?;
    // Through environments a stack goes as one.
    let whole = manifest::Parts::default();
    let parts = if fleet.manifest.environments.is_empty() { &found.manifest.parts } else { &whole };
    let content = Content::read(mirror, tip, &found.path, parts)?;
    let folders: Vec<_> = fleet.stacks.values().map(|one| (one.path.clone(), one.name.clone())).collect();
    let deployed = repository.tip.as_ref();
    let mut own = Vec::new();
    for mut facts in mirror.changes(deployed, tip, FIRST_HISTORY)?.changes {
        if !facts.reverts.is_empty() {
            // A message may say more than the commit does.
            facts.reverts = mirror.history_entry(&facts)?.reverts;
        }
        let touched = stacks_of(&facts, &folders);
        own.push((facts, touched));
    }
    let base = deployed.map(|deployed| mirror.merge_base(deployed, tip)).transpose()?.flatten();
    Ok(Read { path: found.path.clone(), schema: found.schema, content, own, base })
}

impl Engine {
    /// The branches that nodes follow, and those of which a rollout has yet to end.
    pub(crate) async fn followed(
        &self,
        ex: &mut impl Executor,
        records: &HashMap<StackName, StackRecord>,
        rollouts: &[Rollout],
        constraints: &[Constraint],
    ) -> Result<Vec<Followed>, EngineError> {
        let running = rollouts.iter().filter(|rollout| rollout.state == RolloutState::Running);
        let running = running.filter_map(|rollout| Some((&rollout.stack, rollout.branch.as_ref()?)));
        let asked: BTreeSet<_> = constraints.iter().filter_map(follows).chain(running).collect();
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let is_asked = |row: &Branch| asked.contains(&(&row.stack, &row.branch));
        let mut rows = branches::list(ex).await?;
        rows.retain(|row| is_asked(row) && records.contains_key(&row.stack));
        let unread = || Err("not made yet".to_owned());
        Ok(rows.into_iter().map(|row| Followed { row, release: unread(), held: None }).collect())
    }

    /// Notes which of their releases may be planned.
    pub(crate) async fn judge_followed(
        &self,
        ex: &mut impl Executor,
        followed: &mut [Followed],
        releases: &HashMap<ReleaseId, Release>,
        constraints: &[Constraint],
        now: Timestamp,
    ) -> Result<(), EngineError> {
        let is_hold = |constraint: &&Constraint| matches!(constraint.effect, Effect::Hold { .. });
        let holds: Vec<_> = constraints.iter().filter(is_hold).cloned().collect();
        for one in followed {
            let Some(release) = releases.get(&one.row.release) else { continue };
            one.held = self.standing_in(ex, release, &holds, now).await?.err();
            one.release = self.standing_in(ex, release, constraints, now).await?.map(|()| release.id);
        }
        Ok(())
    }

    /// The branches of a repository that nodes follow or are to follow, each with the stack.
    pub(crate) async fn followed_of(
        &self,
        repository: RepositoryId,
    ) -> Result<BTreeSet<(StackName, String)>, EngineError> {
        let mut read = self.inner.store.read();
        let set = constraints::set_at(&mut read, self.inner.world.now()).await?;
        let mut asked: BTreeSet<_> = set.iter().filter_map(follows).collect();
        if !asked.is_empty() {
            let own: BTreeSet<_> =
                stacks::of_repository(&mut read, repository).await?.into_iter().map(|row| row.name).collect();
            asked.retain(|(stack, _)| own.contains(*stack));
        }
        Ok(asked.into_iter().map(|(stack, branch)| (stack.clone(), branch.clone())).collect())
    }

    /// Fetches the branches of a repository that nodes follow, and takes what is new. One that cannot be fetched or
    /// understood changes nothing but its own state.
    pub(crate) async fn fetch_followed(
        &self,
        repository: RepositoryId,
        mirror: &Arc<Mirror>,
        credential: Option<Credential>,
    ) -> Result<(), EngineError> {
        let mut asked: BTreeMap<String, Vec<StackName>> = BTreeMap::new();
        for (stack, branch) in self.followed_of(repository).await? {
            asked.entry(branch).or_default().push(stack);
        }
        for (branch, stacks) in asked {
            let fetched = {
                let (mirror, credential, branch) = (Arc::clone(mirror), credential.clone(), branch.clone());
                blocking(move || mirror.fetch_branch(&branch, credential.as_ref())).await
            };
            for stack in stacks {
                match &fetched {
                    Ok(found) => {
                        self.take_branch(repository, mirror, (&stack, &branch), found, false).await?;
                    }
                    Err(EngineError::Source(error)) => {
                        let known = branches::get(&mut self.inner.store.read(), &stack, &branch).await?;
                        if let Some(known) = known {
                            self.set_branch_health(&known, unreachable(error)).await?;
                        }
                    }
                    Err(_) => return Err(EngineError::Stopping),
                }
            }
        }
        Ok(())
    }

    /// The branches that nodes follow or are to follow, by stack and branch.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn followed_branches(&self) -> Result<Vec<FollowedBranch>, EngineError> {
        let now = self.inner.world.now();
        let mut read = self.inner.store.read();
        let set = constraints::set_at(&mut read, now).await?;
        let asked: BTreeSet<_> = set.iter().filter_map(follows).collect();
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let active = nodes::active(&mut read).await?;
        let mut found = Vec::new();
        for row in branches::list(&mut read).await? {
            if !asked.contains(&(&row.stack, &row.branch)) {
                continue;
            }
            let Some(release) = releases::get(&mut read, row.release).await? else { continue };
            let mine = set.iter().filter(|one| follows(one) == Some((&row.stack, &row.branch)));
            let selectors: Vec<Selector> = mine.filter_map(|one| selector_of(&one.scope)).collect();
            let is_in = |node: &&Node| selectors.iter().any(|one| one.matches(&node.name, &node.labels));
            let nodes = active.iter().filter(is_in).count() as u64;
            found.push(FollowedBranch { standing: self.standing(&release).await?, row, nodes });
        }
        Ok(found)
    }

    /// Reads a branch because a person says that nodes are to follow it. Where its history was rewritten, that is accepted.
    pub(crate) async fn read_to_follow(&self, row: &stacks::Stack, branch: &str) -> Result<(), EngineError> {
        let unfit = |reason: String| EngineError::Branch { branch: branch.to_owned(), reason };
        let repository = self.repository(row.repository).await?;
        if repository.branch == branch {
            let reason = format!("it is what `{}` deploys: nodes follow it already", repository.name);
            return Err(unfit(reason));
        }
        if repository.tip.is_none() {
            return Err(unfit(format!("nothing of `{}` has been read yet", repository.name)));
        }
        let mirror = self.inner.mirrors.of(&repository)?;
        let credential = self.credential(repository.id).await?;
        let found = {
            let (mirror, branch) = (Arc::clone(&mirror), branch.to_owned());
            blocking(move || mirror.fetch_branch(&branch, credential.as_ref())).await?
        };
        match self.take_branch(repository.id, &mirror, (&row.name, branch), &found, true).await? {
            RepositoryHealth::Ok => Ok(()),
            RepositoryHealth::Invalid { message, .. } | RepositoryHealth::Unreachable { message, .. } => {
                Err(unfit(message))
            }
            RepositoryHealth::New | RepositoryHealth::Rewritten { .. } => {
                Err(unfit("it moved while it was read: try again".to_owned()))
            }
        }
    }

    /// Takes what a branch has of a stack; gives its state. Where history was rewritten nothing moves until a person
    /// `accepts` it, and what the branch has no more, or what cannot be read, takes nothing away.
    async fn take_branch(
        &self,
        id: RepositoryId,
        mirror: &Arc<Mirror>,
        (stack, branch): (&StackName, &str),
        found: &FetchedBranch,
        accepts: bool,
    ) -> Result<RepositoryHealth, EngineError> {
        let _one = self.inner.advancing.lock().await;
        let repository = self.repository(id).await?;
        let known = branches::get(&mut self.inner.store.read(), stack, branch).await?;
        let known = known.filter(|known| known.repository == id);
        if let Some(known) = &known {
            let first = repository.endpoints.first().is_some_and(|first| *first == found.endpoint);
            match relation(mirror, &known.tip, &found.tip).await? {
                Relation::Same if known.health == RepositoryHealth::Ok => return Ok(RepositoryHealth::Ok),
                // Another endpoint may just lag behind.
                Relation::Behind if !first && !accepts => return Ok(known.health.clone()),
                Relation::Behind | Relation::Rewritten if !accepts => {
                    let health = RepositoryHealth::Rewritten { found: found.tip.clone() };
                    return self.set_branch_health(known, health).await;
                }
                _ => {}
            }
        }
        let read = {
            let (mirror, repository) = (Arc::clone(mirror), repository.clone());
            let (stack, tip) = (stack.clone(), found.tip.clone());
            tokio::task::spawn_blocking(move || read_branch(&mirror, &repository, &stack, &tip))
                .await
                .map_err(|_| EngineError::Stopping)?
        };
        let read = match read {
            Ok(read) => read,
            Err(unfit) => {
                let health = unfit_health(&unfit, stack, branch);
                return match &known {
                    Some(known) => self.set_branch_health(known, health).await,
                    None => Ok(health),
                };
            }
        };
        self.keep(mirror, &found.tip).await?;
        let mut tx = self.inner.store.begin().await?;
        self.apply_branch(&mut tx, &repository, (stack, branch), known.as_ref(), &found.tip, &read).await?;
        tx.commit().await?;
        Ok(RepositoryHealth::Ok)
    }

    /// Stores what a branch has of a stack: its changes with their links, the release, and the tip.
    async fn apply_branch(
        &self,
        tx: &mut Tx,
        repository: &Repository,
        (stack, branch): (&StackName, &str),
        known: Option<&Branch>,
        tip: &CommitId,
        read: &Read,
    ) -> Result<(), EngineError> {
        let now = self.inner.world.now();
        for (facts, stacks) in &read.own {
            let quiet = known.is_none() && facts.commit != *tip;
            self.apply_change(tx, repository, facts, stacks.clone(), None, quiet, now).await?;
        }
        let whole = read.content.whole();
        let release = self.release(tx, repository, stack, &read.path, tip, whole, now).await?;
        let before = branches::commits(tx, stack, branch).await?;
        let touching =
            || read.own.iter().filter(|(_, stacks)| stacks.contains(stack)).map(|(facts, _)| facts);
        for facts in touching().filter(|facts| !before.contains(&facts.commit)) {
            releases::add_commit(tx, release.id, repository.id, &facts.commit).await?;
            let divided = read.content.divided.iter();
            for part in divided.flat_map(|divided| parts_of(facts, &read.path, divided)) {
                if let Some(id) = release.parts.get(&part) {
                    releases::add_commit(tx, *id, repository.id, &facts.commit).await?;
                }
            }
        }
        let base = match &read.base {
            Some(base) => changes::get(tx, repository.id, base).await?.and_then(|known| known.position),
            None => None,
        };
        let row = Branch {
            stack: stack.clone(),
            branch: branch.to_owned(),
            repository: repository.id,
            tip: tip.clone(),
            commit: touching()
                .next_back()
                .map_or_else(|| release.commit.clone(), |facts| facts.commit.clone()),
            release: release.id,
            schema: read.schema,
            base,
            health: RepositoryHealth::Ok,
            updated_at: now,
        };
        let own: Vec<_> = read.own.iter().map(|(facts, _)| facts.commit.clone()).collect();
        branches::put(tx, &row, &own).await?;
        note(tx, &row, RepositoryHealth::Ok)
    }

    /// Notes the state of a branch, where it is another than before. Gives it.
    async fn set_branch_health(
        &self,
        known: &Branch,
        health: RepositoryHealth,
    ) -> Result<RepositoryHealth, EngineError> {
        if known.health == health {
            return Ok(health);
        }
        let mut tx = self.inner.store.begin().await?;
        match branches::set_health(&mut tx, known, &health, self.inner.world.now()).await {
            // Another hub took in something else at the same moment; it is looked at again.
            Err(StoreError::Stale { .. }) => return Ok(health),
            done => done?,
        }
        note(&mut tx, known, health.clone())?;
        tx.commit().await?;
        Ok(health)
    }
}

/// The stack and the branch that a constraint lets nodes follow.
fn follows(constraint: &Constraint) -> Option<(&StackName, &String)> {
    match &constraint.effect {
        Effect::Follow { stack, branch } => Some((stack, branch)),
        _ => None,
    }
}

/// Whom a scope reaches, where a selector says so.
fn selector_of(scope: &Scope) -> Option<Selector> {
    match scope {
        Scope::Fleet => Some(Selector::everything()),
        Scope::Nodes { selector } => selector.parse().ok(),
        Scope::Environment { .. } => None,
    }
}

/// How a tip stands to the one before. What the mirror has no more, as after it was lost, is no part of the new history.
async fn relation(mirror: &Arc<Mirror>, old: &CommitId, new: &CommitId) -> Result<Relation, EngineError> {
    let (mirror, old, new) = (Arc::clone(mirror), old.clone(), new.clone());
    blocking(move || match mirror.relation(&old, &new) {
        Err(SourceError::NoCommit(_)) => Ok(Relation::Rewritten),
        found => found,
    })
    .await
}

fn unfit_health(unfit: &Unfit, stack: &StackName, branch: &str) -> RepositoryHealth {
    match unfit {
        Unfit::Tip(TipError::Source(error)) => unreachable(error),
        Unfit::Tip(TipError::Invalid(problems)) => invalid(problems),
        Unfit::NoStack => RepositoryHealth::Invalid {
            code: ErrorCode::BS4019.to_string(),
            message: format!("branch `{branch}` has no stack `{stack}`; nodes keep what they run"),
        },
    }
}

fn note(tx: &mut Tx, row: &Branch, health: RepositoryHealth) -> Result<(), EngineError> {
    let refs = Refs {
        repository: Some(row.repository),
        commit: Some(row.commit.clone()),
        stack: Some(row.stack.clone()),
        release: Some(row.release),
        ..Refs::default()
    };
    let event = Event::BranchChanged { branch: row.branch.clone(), tip: row.tip.clone(), health };
    tx.record(event, refs)?;
    Ok(())
}

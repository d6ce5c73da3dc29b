//! What has proved itself, and what has not: where nodes may go back to, and how they come to what an undo asks for.

use std::collections::BTreeSet;

use backstay_plan::{GoBack, StackFacts, Unproven};
use backstay_store::{Executor, deployments, releases, rollouts, stacks};
use backstay_types::{
    Cause, Constraint, ConstraintOrigin, Effect, EnvironmentName, OnStop, PartName, Release, ReleaseId,
    Rollout, RolloutKind, RolloutState, RolloutStrategy, StackName, Timestamp,
};

use crate::{Engine, EngineError, reconcile::Known, sync::StackRecord};

/// So many rollouts that succeeded are looked at for one whose release may still be planned.
const MOST: u32 = 50;

impl Engine {
    /// Fills in what a stack has to go back to, in its part of the fleet, and how.
    pub(crate) async fn look_back(
        &self,
        ex: &mut impl Executor,
        facts: &mut StackFacts,
        (stack, record): (&stacks::Stack, &StackRecord),
        known: Known<'_>,
    ) -> Result<(), EngineError> {
        let Known { constraints, now, .. } = known;
        let environment = facts.within.environment().cloned();
        let forward = runs_forward(&stack.name, environment.as_ref(), None, known.rollouts);
        if forward {
            let good = self.last_good(ex, &stack.name, environment.as_ref(), constraints, now).await?;
            facts.last_good = good.map(|release| release.id);
        }
        let asks = record.undo.is_some() || !record.environments.is_empty();
        let whole = known.releases.values().filter(|r| r.stack == stack.name && r.part.is_none());
        self.look_at_undone(ex, facts, stack, (asks, forward), whole, known).await
    }

    /// Fills in what of a stack's releases, or of those of one of its parts, is undone where an undo `asks` for what it should
    /// run, and whether that has proved itself; `forward` where a rollout forward runs.
    pub(crate) async fn look_at_undone<'r>(
        &self,
        ex: &mut impl Executor,
        facts: &mut StackFacts,
        stack: &stacks::Stack,
        (asks, forward): (bool, bool),
        own: impl Iterator<Item = &'r Release> + Clone,
        Known { releases, constraints, .. }: Known<'_>,
    ) -> Result<(), EngineError> {
        let environment = facts.within.environment().cloned();
        // One that was put together of what is good may be named by nothing else.
        let asked = match facts.release.as_ref().ok() {
            Some(id) if !releases.contains_key(id) => releases::get(ex, *id).await?,
            asked => asked.and_then(|id| releases.get(id)).cloned(),
        };
        let mut begun = false;
        if let (Some(release), RolloutKind::Rollback) = (asked, facts.origin.kind) {
            let stands = self.unproven(ex, &release, environment.as_ref(), Some(&facts.origin.cause)).await?;
            (facts.unproven, begun) = stands.map_or((None, false), |(ran, begun)| (Some(ran), begun));
        }
        if asks && (forward || facts.unproven.is_some()) {
            facts.undone = self.undone_of(ex, stack, own, constraints).await?;
        }
        if begun {
            // What was superseded before it had proved itself takes nobody off what has, but in waves.
            for release in facts.undone.clone().iter().filter_map(|id| releases.get(id)) {
                if has_succeeded(&rollouts_with(ex, release, environment.as_ref()).await?) {
                    facts.undone.remove(&release.id);
                }
            }
        }
        Ok(())
    }

    /// The nodes on which a release that an undo asks for did well, when no rollout of it has succeeded; and whether there
    /// was one before that undo, `asked_by`.
    pub(crate) async fn unproven(
        &self,
        ex: &mut impl Executor,
        release: &Release,
        environment: Option<&EnvironmentName>,
        asked_by: Option<&Cause>,
    ) -> Result<Option<(Unproven, bool)>, EngineError> {
        let tried = rollouts_with(ex, release, environment).await?;
        if has_succeeded(&tried) || parts_have_succeeded(ex, release, environment).await? {
            return Ok(None);
        }
        let begun = tried.iter().any(|rollout| Some(&rollout.cause) != asked_by);
        let mut ran = BTreeSet::new();
        for carrier in carriers(ex, release).await? {
            ran.extend(deployments::ran_well(ex, carrier).await?);
        }
        Ok(Some((Unproven { ran }, begun)))
    }

    /// The release of the last rollout that succeeded in a part of the fleet and that may be planned still.
    pub(crate) async fn last_good(
        &self,
        ex: &mut impl Executor,
        stack: &StackName,
        environment: Option<&EnvironmentName>,
        constraints: &[Constraint],
        now: Timestamp,
    ) -> Result<Option<Release>, EngineError> {
        for release in good(ex, stack, environment).await? {
            if self.standing_in(ex, &release, constraints, now).await?.is_ok() {
                return Ok(Some(release));
            }
        }
        Ok(None)
    }

    /// Where nodes go back to, when the release that is asked for was stopped by its rollout and is to be taken back
    /// everywhere.
    pub(crate) async fn go_back(
        &self,
        ex: &mut impl Executor,
        record: &StackRecord,
        (from, environment): (Option<&Release>, Option<&EnvironmentName>),
        Known { constraints, now, .. }: Known<'_>,
    ) -> Result<Option<GoBack>, EngineError> {
        let Some(from) = from.filter(|from| is_taken_back(from, &record.strategy, constraints)) else {
            return Ok(None);
        };
        // What did well here before and was stopped now has nothing newer to go back to.
        let newest = rollouts::succeeded_in(ex, &from.stack, environment, Timestamp::MAX, 1).await?;
        if newest.iter().any(|rollout| rollout.release == from.id) {
            return Ok(None);
        }
        let good = self.last_good(ex, &from.stack, environment, constraints, now).await?;
        Ok(good.filter(|to| to.id != from.id).map(|to| GoBack { from: from.id, to: to.id }))
    }
}

/// Whether a release was stopped by its rollout and is to be taken back everywhere.
pub(crate) fn is_taken_back(
    release: &Release,
    strategy: &RolloutStrategy,
    constraints: &[Constraint],
) -> bool {
    let ban = Effect::Ban { stack: release.stack.clone(), tree: release.tree };
    let bans = |one: &Constraint| one.origin == ConstraintOrigin::Rollout && one.effect == ban;
    strategy.on_stop == OnStop::Return && constraints.iter().any(bans)
}

/// What rollouts that succeeded in a part of the fleet brought, newest first, each once. What went to all before there were
/// environments went to each.
pub(crate) async fn good(
    ex: &mut impl Executor,
    stack: &StackName,
    environment: Option<&EnvironmentName>,
) -> Result<Vec<Release>, EngineError> {
    let (mut seen, mut all) = (BTreeSet::new(), Vec::new());
    let mut succeeded = rollouts::succeeded_in(ex, stack, environment, Timestamp::MAX, MOST).await?;
    if environment.is_some() {
        succeeded.extend(rollouts::succeeded_in(ex, stack, None, Timestamp::MAX, MOST).await?);
    }
    for rollout in succeeded {
        if rollout.kind != RolloutKind::Removal && seen.insert(rollout.release) {
            all.extend(releases::get(ex, rollout.release).await?);
        }
    }
    Ok(all)
}

/// The releases that bring one to a node: itself, and of one of a part the whole ones that it is in.
async fn carriers(ex: &mut impl Executor, release: &Release) -> Result<Vec<ReleaseId>, EngineError> {
    let mut carriers = vec![release.id];
    if release.part.is_some() {
        carriers.extend(releases::whole_with(ex, &release.stack, release.id).await?);
    }
    Ok(carriers)
}

/// Rollouts that bring a release, by themselves or with others.
async fn rollouts_with(
    ex: &mut impl Executor,
    release: &Release,
    environment: Option<&EnvironmentName>,
) -> Result<Vec<Rollout>, EngineError> {
    let mut found = Vec::new();
    for carrier in carriers(ex, release).await? {
        found.extend(rollouts::of_release(ex, carrier, environment).await?);
    }
    Ok(found)
}

/// Whether each part of a divided stack's release was brought by a rollout that succeeded, whichever that was.
async fn parts_have_succeeded(
    ex: &mut impl Executor,
    release: &Release,
    environment: Option<&EnvironmentName>,
) -> Result<bool, EngineError> {
    let ids: Vec<_> = release.parts.values().copied().collect();
    let parts = releases::many(ex, &ids).await?;
    for part in &parts {
        if !has_succeeded(&rollouts_with(ex, part, environment).await?) {
            return Ok(false);
        }
    }
    Ok(!ids.is_empty() && parts.len() == ids.len())
}

fn has_succeeded(rollouts: &[Rollout]) -> bool {
    rollouts.iter().any(|rollout| rollout.state == RolloutState::Succeeded)
}

/// Whether a rollout forward runs: of a stack, or a part of it, in a part of the fleet.
pub(crate) fn runs_forward(
    stack: &StackName,
    environment: Option<&EnvironmentName>,
    part: Option<&PartName>,
    rollouts: &[Rollout],
) -> bool {
    let forward = |r: &Rollout| {
        r.stack == *stack
            && r.environment.as_ref() == environment
            && r.part.as_ref() == part
            && r.state == RolloutState::Running
            && r.kind == RolloutKind::Update
    };
    rollouts.iter().any(forward)
}

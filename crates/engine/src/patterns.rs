//! Looking at rollouts that were stopped: what the failures have in common, and whose commits it brought.

use std::{collections::HashMap, time::Duration};

use backstay_plan::pattern::{OtherFailure, Tried, TriedOutcome, analyse, facts_of, findings};
use backstay_store::{Tx, deployments, nodes, patterns};
use backstay_types::{
    Deployment, DeploymentState, Event, FailureKind, FailurePattern, HostFacts, Node, NodeId, NodeName, Refs,
    Rollout, StackName, Step, Timestamp,
};

use crate::{Engine, EngineError, reconcile::rollout_refs, statements::brought_by};

/// How often one is looked at again while attempts come to their end.
const AGAIN: Duration = Duration::from_secs(30);
/// What was stopped longer ago is not looked at again, though an attempt may never have ended.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// From so long before it began, what failed in other stacks is compared with how it failed.
const ABOUT_THEN: Duration = Duration::from_secs(24 * 60 * 60);
/// No more failures of other stacks are looked at: the newest.
const MOST_OTHERS: u32 = 10_000;

impl Engine {
    /// Looks at what was stopped, and again until no attempt is open. Whether there was anything.
    pub(crate) async fn analyse_stopped(&self, tx: &mut Tx, now: Timestamp) -> Result<bool, EngineError> {
        let mut any = false;
        for rollout in patterns::due(tx, before(now, LONGEST)).await? {
            let counts = deployments::count_by_state(tx, rollout.id).await?;
            let count = |word: &str| counts.get(word).copied().unwrap_or(0);
            let open = count("pending") + count("running");
            let known = patterns::many(tx, &[rollout.id]).await?.pop().map(|(_, pattern)| pattern);
            let early = |known: &FailurePattern| open > 0 && known.at > before(now, AGAIN);
            if known.as_ref().is_some_and(|known| known.open == open || early(known)) {
                continue;
            }
            let pattern = self.pattern(tx, &rollout, now).await?;
            patterns::put(tx, rollout.id, &pattern).await?;
            let said = findings(&pattern);
            // In the ledger it stands twice at most: when it stopped, and when all had come to an end.
            let news = known.as_ref().is_none_or(|known| pattern.open == 0 && findings(known) != said);
            if news {
                tx.record(event(&pattern, said), refs(&rollout, &pattern))?;
            }
            any = true;
        }
        Ok(any)
    }

    async fn pattern(
        &self,
        tx: &mut Tx,
        rollout: &Rollout,
        now: Timestamp,
    ) -> Result<FailurePattern, EngineError> {
        // A node that tried twice counts with its last.
        let latest: HashMap<NodeId, Deployment> = deployments::of_rollout(tx, rollout.id)
            .await?
            .into_iter()
            .map(|deployment| (deployment.node, deployment))
            .collect();
        let ids: Vec<_> = latest.keys().copied().collect();
        let hosts: HashMap<_, _> = nodes::soft_of(tx, &ids).await?;
        let known = nodes::many(tx, &ids).await?;
        let mut runs: HashMap<NodeId, Vec<StackName>> = HashMap::new();
        for running in deployments::run_by(tx, &ids).await? {
            if running.stack != rollout.stack {
                runs.entry(running.node).or_default().push(running.stack);
            }
        }
        let mut all = Vec::new();
        for node in &known {
            let Some(attempt) = latest.get(&node.id) else { continue };
            let others = runs.remove(&node.id).unwrap_or_default();
            all.extend(tried(rollout, (node, hosts.get(&node.id), others), attempt));
        }
        let others = self.other_failures(tx, rollout).await?;
        let brought: Vec<_> = brought_by(tx, rollout).await?.into_iter().map(|known| known.change).collect();
        Ok(analyse(&rollout.stack, &all, &others, &brought, now))
    }

    /// What failed in other stacks about when a rollout did.
    async fn other_failures(&self, tx: &mut Tx, rollout: &Rollout) -> Result<Vec<OtherFailure>, EngineError> {
        let from = before(rollout.created_at, ABOUT_THEN);
        let failed = deployments::failed_of_others(tx, &rollout.stack, from, MOST_OTHERS).await?;
        let mut ids: Vec<_> = failed.iter().map(|deployment| deployment.node).collect();
        ids.sort_unstable();
        ids.dedup();
        let names: HashMap<NodeId, NodeName> =
            nodes::many(tx, &ids).await?.into_iter().map(|node| (node.id, node.name)).collect();
        let other = |deployment: Deployment| {
            let (step, failure, reason) = failure(&deployment.state)?;
            Some(OtherFailure {
                stack: deployment.stack.clone(),
                node: names.get(&deployment.node)?.clone(),
                step,
                failure,
                reason: reason.to_owned(),
            })
        };
        Ok(failed.into_iter().filter_map(other).collect())
    }
}

/// How a deployment failed, if it did.
fn failure(state: &DeploymentState) -> Option<(Step, FailureKind, &str)> {
    match state {
        DeploymentState::RolledBack { step, failure, reason }
        | DeploymentState::Failed { step, failure, reason }
        | DeploymentState::Broken { step, failure, reason } => Some((*step, *failure, reason)),
        _ => None,
    }
}

/// An attempt with the facts of its node, among them the other stacks that it runs; none when it says nothing about the
/// release.
fn tried(
    rollout: &Rollout,
    (node, host, others): (&Node, Option<&HostFacts>, Vec<StackName>),
    attempt: &Deployment,
) -> Option<Tried> {
    let outcome = match (&attempt.state, failure(&attempt.state)) {
        (DeploymentState::Succeeded, _) => TriedOutcome::Succeeded,
        (DeploymentState::Pending | DeploymentState::Running { .. }, _) => TriedOutcome::Open,
        (_, Some((step, failure, reason))) if !failure.is_of_node() => {
            TriedOutcome::Failed { step, failure, reason: reason.to_owned() }
        }
        _ => return None,
    };
    let seconds =
        |from: Timestamp, to: Timestamp| u64::try_from(to.duration_since(from).as_secs()).unwrap_or(0);
    Some(Tried {
        node: node.name.clone(),
        facts: facts_of(&node.labels, others, host),
        began: attempt.started_at.map(|at| seconds(rollout.created_at, at)),
        took: attempt.started_at.zip(attempt.finished_at).map_or(0, |(from, to)| seconds(from, to)),
        outcome,
    })
}

fn event(pattern: &FailurePattern, findings: Vec<String>) -> Event {
    let blamed = pattern.blamed.iter().map(|blame| blame.conversation).collect();
    Event::RolloutAnalysed { findings, blamed }
}

fn refs(rollout: &Rollout, pattern: &FailurePattern) -> Refs {
    let conversation = match &pattern.blamed[..] {
        [only] => Some(only.conversation),
        _ => None,
    };
    Refs { conversation, ..rollout_refs(rollout) }
}

fn before(now: Timestamp, by: Duration) -> Timestamp {
    now.checked_sub(by).unwrap_or(Timestamp::MIN)
}

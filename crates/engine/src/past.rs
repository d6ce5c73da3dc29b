//! What nodes have tried, as planning sees it.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use backstay_plan::{Pasts, Share, StackFacts, Try, TryState};
use backstay_store::deployments::LatestOfPart;
use backstay_types::{
    Deployment, DeploymentState, Node, Release, ReleaseId, RolloutId, StackName, Timestamp,
};

use crate::{backups::Awaited, sync::StackRecord};

/// How long a node that failed by its own fault is left alone before it is tried again.
const AGAIN: Duration = Duration::from_secs(15 * 60);

/// What nodes have tried of the shares of stacks that are planned, but for what was tried before the data was asked for
/// that a stack is to start with: that was on another machine, or says nothing of this one. Of a part that is its own release, both in what was
/// tried and in what runs.
pub(crate) fn of(
    nodes: &[Node],
    facts: &[StackFacts],
    (latest, settled, of_parts): (&[Deployment], &[Deployment], &HashMap<StackName, Vec<LatestOfPart>>),
    (releases, records): (&HashMap<ReleaseId, Release>, &HashMap<StackName, StackRecord>),
    (removals, awaited): (&HashSet<RolloutId>, &Awaited),
) -> Pasts {
    let nodes: HashMap<_, _> = nodes.iter().enumerate().map(|(at, node)| (node.id, at)).collect();
    // A stack stands there once for each environment, or for each share.
    let mut rows: HashMap<&StackName, Vec<usize>> = HashMap::new();
    for (at, stack) in facts.iter().enumerate() {
        rows.entry(&stack.name).or_default().push(at);
    }
    let moved: HashSet<_> =
        of_parts.values().flatten().filter(|l| l.part.is_some()).map(|l| l.deployment.id).collect();
    let mut past = Pasts::default();
    let mut note = |deployment: &Deployment, is_latest: bool, meant: &dyn Fn(&StackFacts) -> bool| {
        let (Some(stacks), Some(node)) = (rows.get(&deployment.stack), nodes.get(&deployment.node)) else {
            return;
        };
        if awaited.is_before(deployment) {
            return;
        }
        for stack in stacks.iter().filter(|stack| meant(&facts[**stack])) {
            let tried = attempt(deployment, removals);
            let own = match &facts[*stack].share {
                Share::Part { name, .. } => {
                    let layout = records.get(&deployment.stack).and_then(|record| record.layout);
                    let whole = releases.get(&deployment.release);
                    whole
                        .filter(|whole| whole.layout == layout)
                        .and_then(|whole| whole.parts.get(name))
                        .copied()
                }
                Share::All | Share::Together { .. } => Some(deployment.release),
            };
            let Some(release) = own else { continue };
            let past = past.at(*stack, *node);
            let tried = Try { release, ..tried };
            if is_latest { past.latest = Some(tried) } else { past.settled = Some(tried.settled()) }
        }
    };
    for deployment in latest {
        let moved_part = moved.contains(&deployment.id);
        note(deployment, true, &|facts| facts.share.part().is_none() && !moved_part);
    }
    for one in of_parts.values().flatten() {
        note(&one.deployment, true, &|facts| facts.share.part() == one.part.as_ref());
    }
    for deployment in settled {
        note(deployment, false, &|_| true);
    }
    past
}

fn attempt(deployment: &Deployment, removals: &HashSet<RolloutId>) -> Try {
    Try {
        ended_at: deployment.finished_at,
        again_at: own_fault(deployment).and_then(|ended| ended.checked_add(AGAIN).ok()),
        removal: removals.contains(&deployment.rollout),
        deployment: deployment.id,
        release: deployment.release,
        rollout: deployment.rollout,
        state: match &deployment.state {
            DeploymentState::Pending => TryState::Pending,
            DeploymentState::Running { .. } => TryState::Running,
            DeploymentState::Succeeded => TryState::Succeeded,
            DeploymentState::Superseded => TryState::Superseded,
            state if state.is_failure() => TryState::Failed,
            _ => TryState::Superseded,
        },
    }
}

/// When a deployment failed by its node's own fault.
fn own_fault(deployment: &Deployment) -> Option<Timestamp> {
    let (DeploymentState::Failed { failure, .. }
    | DeploymentState::RolledBack { failure, .. }
    | DeploymentState::Broken { failure, .. }) = &deployment.state
    else {
        return None;
    };
    deployment.finished_at.filter(|_| failure.is_of_node())
}

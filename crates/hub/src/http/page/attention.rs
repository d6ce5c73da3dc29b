//! What needs a person, worst first.

use std::time::Duration;

use backstay_api::v1::{Attention, AttentionKind, BackupHealth};
use backstay_engine::FollowedBranch;
use backstay_store::{Reader, backups::jobs, deployments, figures, nodes, rollouts, undos};
use backstay_types::{
    AgentUpdate, AgentUpdateState, DeploymentState, PushState, Refs, Repository, RepositoryHealth, Rollout,
    RolloutState, UndoState,
    backup::{BackupJob, BackupJobState, BackupTask},
};

use super::overview::item;
use crate::{
    app::App,
    http::{
        ApiError,
        backups::standing::{Standing, standing},
    },
    live::Census,
};

/// How many of a kind are named one by one.
const NAMED: usize = 5;
/// How many undos are looked at for one that waits to be merged.
const UNDOS: u32 = 50;
/// How long a delivery that could not be understood is worth a word.
const DELIVERIES: Duration = Duration::from_secs(24 * 3600);

/// A restore that waits so long needs a word.
const WAITING: Duration = Duration::from_secs(3600);

/// Everything that needs a person now.
pub(super) async fn of(
    app: &App,
    store: &mut Reader,
    census: &Census,
    repositories: &[Repository],
) -> Result<Vec<Attention>, ApiError> {
    let mut found = Vec::new();
    undone(store, &mut found).await?;
    broken(store, &mut found).await?;
    let followed = app.engine.followed_branches().await?;
    let is_followed = |rollout: &Rollout| {
        let of = |branch: &String| {
            followed.iter().any(|one| one.row.stack == rollout.stack && one.row.branch == *branch)
        };
        rollout.branch.as_ref().is_none_or(of)
    };
    for rollout in rollouts::newest_of_each_stack(store).await? {
        // What went wrong on a branch that nobody follows any more is over.
        if rollout.state == RolloutState::Halted && is_followed(&rollout) {
            let of =
                rollout.branch.as_ref().map(|branch| format!(" from branch `{branch}`")).unwrap_or_default();
            let summary =
                format!("The rollout of {}{of} stopped by itself: {}", rollout.stack, rollout.reason);
            let refs = Refs { rollout: Some(rollout.id), stack: Some(rollout.stack), ..Refs::default() };
            let since = rollout.finished_at.or(Some(rollout.created_at));
            found.push(item(AttentionKind::RolloutHalted, summary, since, refs));
        }
    }
    let update = app.engine.newest_agent_update().await?;
    found.extend(update.filter(|one| one.state == AgentUpdateState::Halted).map(agents));
    drifted(census, &mut found);
    safe_mode(census, &mut found);
    unwell(census, &mut found);
    offline(census, &mut found);
    backups(app, &mut found).await?;
    found.extend(repositories.iter().filter_map(repository));
    found.extend(followed.into_iter().filter_map(branch));
    let since = app.world.now() - DELIVERIES;
    for source in figures::deliveries_since(store, since).await? {
        if source.unrecognised > 0 {
            let summary = format!(
                "{} of {} deliveries from {} in the last day could not be understood; Settings shows them",
                source.unrecognised, source.deliveries, source.source
            );
            let one = item(AttentionKind::DeliveryUnrecognised, summary, None, Refs::default());
            found.push(Attention { name: Some(source.source), ..one });
        }
    }
    found.sort_by_key(|one| one.kind);
    Ok(found)
}

async fn undone(store: &mut Reader, found: &mut Vec<Attention>) -> Result<(), ApiError> {
    for undo in undos::list(store, None, UNDOS).await? {
        let refs = Refs { undo: Some(undo.id), ..Refs::default() };
        if undo.state == UndoState::Conflicted {
            let files: usize = undo.plan.repositories.iter().map(|one| one.conflicts.len()).sum();
            let summary = format!("An undo by {} waits: {files} files conflict with later work", undo.by);
            found.push(item(AttentionKind::UndoConflicted, summary, Some(undo.created_at), refs.clone()));
        }
        for one in &undo.plan.repositories {
            if let PushState::AwaitingMerge { reason, .. } = &one.push {
                let summary = format!("An undo by {} waits to be merged upstream: {reason}", undo.by);
                found.push(item(
                    AttentionKind::UndoAwaitingMerge,
                    summary,
                    Some(undo.created_at),
                    refs.clone(),
                ));
            }
        }
    }
    Ok(())
}

async fn broken(store: &mut Reader, found: &mut Vec<Attention>) -> Result<(), ApiError> {
    let broken = deployments::broken(store, 20).await?;
    let ids: Vec<_> = broken.iter().map(|deployment| deployment.node).collect();
    let named = nodes::many(store, &ids).await?;
    for deployment in broken {
        let node = named.iter().find(|node| node.id == deployment.node);
        let Some(node) = node.filter(|node| node.revoked_at.is_none()) else { continue };
        let DeploymentState::Broken { reason, .. } = &deployment.state else { continue };
        let summary = format!("{} on {} could not be brought back: {reason}", deployment.stack, node.name);
        let refs = Refs {
            node: Some(node.id),
            deployment: Some(deployment.id),
            stack: Some(deployment.stack),
            ..Refs::default()
        };
        let one = item(AttentionKind::NodeBroken, summary, deployment.finished_at, refs);
        found.push(Attention { name: Some(node.name.to_string()), ..one });
    }
    Ok(())
}

fn drifted(census: &Census, found: &mut Vec<Attention>) {
    for (node, name, stack, drift) in census.escalated.iter().take(NAMED) {
        let refs = Refs { node: Some(*node), stack: Some(stack.clone()), ..Refs::default() };
        let what = if drift.name.is_empty() { String::new() } else { format!("`{}`: ", drift.name) };
        let summary = format!("{stack} on {name} drifts and was given up on: {what}{}", drift.detail);
        let one = item(AttentionKind::DriftEscalated, summary, Some(drift.since), refs);
        found.push(Attention { name: Some(name.to_string()), ..one });
    }
    if let Some(more) = census.escalated.len().checked_sub(NAMED).filter(|more| *more > 0) {
        let summary =
            format!("{more} more things on nodes drift and were given up on; `backstay drift` lists them");
        found.push(item(AttentionKind::DriftEscalated, summary, None, Refs::default()));
    }
}

fn safe_mode(census: &Census, found: &mut Vec<Attention>) {
    for (node, name, since, reason) in census.safe_mode.iter().take(NAMED) {
        let summary = format!("{name} is in safe mode: {reason}");
        let refs = Refs { node: Some(*node), ..Refs::default() };
        let one = item(AttentionKind::SafeMode, summary, Some(*since), refs);
        found.push(Attention { name: Some(name.to_string()), ..one });
    }
    if let Some(more) = census.safe_mode.len().checked_sub(NAMED).filter(|more| *more > 0) {
        let summary = format!("{more} more nodes are in safe mode");
        found.push(item(AttentionKind::SafeMode, summary, None, Refs::default()));
    }
}

fn unwell(census: &Census, found: &mut Vec<Attention>) {
    for (node, name, stack, detail) in census.unwell.iter().take(NAMED) {
        let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
        let refs = Refs { node: Some(*node), stack: Some(stack.clone()), ..Refs::default() };
        let one =
            item(AttentionKind::StackUnwell, format!("{stack} on {name} is not well{detail}"), None, refs);
        found.push(Attention { name: Some(name.to_string()), ..one });
    }
    if let Some(more) = census.unwell.len().checked_sub(NAMED).filter(|more| *more > 0) {
        let summary = format!("{more} more stacks on nodes are not well");
        found.push(item(AttentionKind::StackUnwell, summary, None, Refs::default()));
    }
}

fn offline(census: &Census, found: &mut Vec<Attention>) {
    let silent = &census.silent;
    if silent.len() > NAMED {
        let summary = format!("{} nodes are not heard from; what runs there keeps running", silent.len());
        let since = silent.iter().filter_map(|node| node.last_seen_at).max();
        return found.push(item(AttentionKind::NodesOffline, summary, since, Refs::default()));
    }
    for node in silent {
        let summary = format!("{} is not heard from; what runs there keeps running", node.name);
        let refs = Refs { node: Some(node.id), ..Refs::default() };
        let one = item(AttentionKind::NodesOffline, summary, node.last_seen_at, refs);
        found.push(Attention { name: Some(node.name.to_string()), ..one });
    }
}

async fn backups(app: &App, found: &mut Vec<Attention>) -> Result<(), ApiError> {
    let all = standing(app).await?;
    if app.backups.place.is_some() && app.engine.recovery_key().await?.is_none() {
        let summary = "No recovery key is set: once this hub is lost, nobody can open any backup".to_owned();
        found.push(item(AttentionKind::RecoveryKeyMissing, summary, None, Refs::default()));
    }
    for why in [false, true].into_iter().filter_map(|second| app.backups.not_used.get(second)) {
        found.push(item(AttentionKind::BackupUnwell, why, None, Refs::default()));
    }
    let bad = [BackupHealth::Damaged, BackupHealth::Failed, BackupHealth::Full, BackupHealth::Late];
    let (mut damaged, mut unwell) = (0, 0);
    let unwell_ones = all.all.iter().filter(|one| bad.contains(&one.state)).map(|one| {
        let is_damaged = one.state == BackupHealth::Damaged;
        (one, is_damaged, one.why.clone())
    });
    let lost = all.all.iter().filter_map(|one| Some((one, true, one.lost_data()?)));
    for (one, is_damaged, why) in unwell_ones.chain(lost) {
        let (kind, count) = match is_damaged {
            true => (AttentionKind::BackupDamaged, &mut damaged),
            false => (AttentionKind::BackupUnwell, &mut unwell),
        };
        *count += 1;
        if *count <= NAMED {
            let summary = format!("Backups of {}: {why}", one.name());
            let refs = Refs { node: one.whose(), ..Refs::default() };
            let since = one.facts.damaged.as_ref().map(|damage| damage.since).or(one.proven_at);
            found.push(Attention { name: Some(one.name()), ..item(kind, summary, since, refs) });
        }
    }
    for (kind, count) in [(AttentionKind::BackupDamaged, damaged), (AttentionKind::BackupUnwell, unwell)] {
        if let Some(more) = count.checked_sub(NAMED).filter(|more| *more > 0) {
            let summary =
                format!("Backups of {more} more nodes are not well; `backstay backup status` lists them");
            found.push(item(kind, summary, None, Refs::default()));
        }
    }
    troubles(app, &all, found);
    waiting(app, found).await?;
    let failed: Vec<_> = all.drills().filter(|(_, _, drill)| drill.failed_in_a_row > 0).collect();
    for (one, stack, drill) in failed.iter().take(NAMED) {
        let why = drill.last_failure.as_deref().unwrap_or_default();
        let summary = format!("A drill of {stack} on {} failed: {why}", one.name());
        let refs = Refs { node: one.whose(), stack: Some((*stack).clone()), ..Refs::default() };
        let one = Attention {
            name: Some(one.name()),
            ..item(AttentionKind::DrillFailed, summary, drill.tried_at, refs)
        };
        found.push(one);
    }
    if let Some(more) = failed.len().checked_sub(NAMED).filter(|more| *more > 0) {
        let summary = format!("Drills of {more} more stacks failed; `backstay backup status` lists them");
        found.push(item(AttentionKind::DrillFailed, summary, None, Refs::default()));
    }
    Ok(())
}

/// Restores that have waited for long: for a machine that is yet to join, or for its stack to run.
async fn waiting(app: &App, found: &mut Vec<Attention>) -> Result<(), ApiError> {
    let mut store = app.store.read();
    let now = app.world.now();
    let waited = |job: &BackupJob| Duration::try_from(now.duration_since(job.asked_at)).unwrap_or_default();
    let long = |job: &BackupJob| waited(job) >= WAITING;
    let open = jobs::open(&mut store).await?;
    let all: Vec<_> =
        open.into_iter().filter(|job| job.state == BackupJobState::Queued && long(job)).collect();
    for job in all.iter().take(NAMED) {
        let (BackupTask::Restore(work), Some(id)) = (&job.task, job.node) else { continue };
        let Some(node) = nodes::get(&mut store, id).await? else { continue };
        let what = match node.revoked_at {
            Some(_) => format!("a machine to join as {} and run it", node.name),
            None => format!("{} to run it", node.name),
        };
        let summary = format!(
            "A restore of {} waits for {what}; `backstay backup cancel {}` ends it",
            work.stack, job.id
        );
        let refs = Refs { node: Some(id), stack: Some(work.stack.clone()), ..Refs::default() };
        let line = item(AttentionKind::RestoreWaiting, summary, Some(job.asked_at), refs);
        found.push(Attention { name: Some(node.name.to_string()), ..line });
    }
    Ok(())
}

/// What else there is about backups that go on well: snapshots with dates that cannot be, a second target that fails.
fn troubles(app: &App, all: &Standing, found: &mut Vec<Attention>) {
    let second = app.settings.backup.second.is_some();
    let each = all.all.iter().flat_map(|one| one.troubles(second).into_iter().map(move |told| (one, told)));
    let each: Vec<_> = each.collect();
    for (one, (what, since)) in each.iter().take(NAMED) {
        let refs = Refs { node: one.whose(), ..Refs::default() };
        let summary = format!("Backups of {}: {what}", one.name());
        let line = item(AttentionKind::BackupUnwell, summary, Some(*since), refs);
        found.push(Attention { name: Some(one.name()), ..line });
    }
    if let Some(more) = each.len().checked_sub(NAMED).filter(|more| *more > 0) {
        let summary = format!("The same of {more} more; `backstay backup status` lists them");
        found.push(item(AttentionKind::BackupUnwell, summary, None, Refs::default()));
    }
}

/// An update of agents that stopped.
fn agents(update: AgentUpdate) -> Attention {
    let summary = format!("The update of agents to {} stopped: {}", update.version, update.reason);
    let one = item(AttentionKind::AgentsHalted, summary, Some(update.wave_at), Refs::default());
    Attention { name: Some(update.version), ..one }
}

/// A branch that nodes follow and that cannot be taken as it is.
fn branch(followed: FollowedBranch) -> Option<Attention> {
    let row = followed.row;
    let what = match &row.health {
        RepositoryHealth::New | RepositoryHealth::Ok => return None,
        RepositoryHealth::Rewritten { .. } => {
            "was rewritten upstream, and they keep what they run until someone sets it again".to_owned()
        }
        RepositoryHealth::Unreachable { message, .. } => format!("cannot be fetched: {message}"),
        RepositoryHealth::Invalid { message, .. } => format!("cannot be used as it is now: {message}"),
    };
    let nodes = match followed.nodes {
        1 => "1 node follows".to_owned(),
        n => format!("{n} nodes follow"),
    };
    let summary = format!("Branch `{}`, which {nodes} for {}, {what}", row.branch, row.stack);
    let refs = Refs { repository: Some(row.repository), stack: Some(row.stack), ..Refs::default() };
    Some(item(AttentionKind::BranchUnwell, summary, Some(row.updated_at), refs))
}

fn repository(repository: &Repository) -> Option<Attention> {
    let name = &repository.name;
    let (kind, summary) = match &repository.health {
        RepositoryHealth::New | RepositoryHealth::Ok => return None,
        RepositoryHealth::Rewritten { .. } => (
            AttentionKind::RewriteToAccept,
            format!(
                "The history of {name} was rewritten upstream; nodes stay as they are until you accept it"
            ),
        ),
        RepositoryHealth::Unreachable { message, .. } => {
            (AttentionKind::RepositoryUnwell, format!("{name} cannot be fetched: {message}"))
        }
        RepositoryHealth::Invalid { message, .. } => {
            (AttentionKind::RepositoryUnwell, format!("{name} cannot be used as it is now: {message}"))
        }
    };
    let refs = Refs { repository: Some(repository.id), ..Refs::default() };
    let one = item(kind, summary, repository.fetched_at, refs);
    Some(Attention { name: Some(name.to_string()), ..one })
}

//! Moves of stacks from node to node.

pub(crate) mod abort;
pub(crate) mod read;
pub(crate) mod start;

use backstay_api::v1::{MigrationView, StackProgress};
use backstay_store::{Reader, backups::jobs, constraints, deployments};
use backstay_types::{
    BackupJobId, ConstraintOrigin, Effect, Migration, MigrationStep, Passage, Scope, backup::BackupProgress,
};

use super::error::ApiError;

/// Migrations as they stand.
async fn views(store: &mut Reader, found: Vec<Migration>) -> Result<Vec<MigrationView>, ApiError> {
    let mut views = Vec::with_capacity(found.len());
    let standing = constraints::of_migrations(store).await?;
    for migration in found {
        let mut progress = Vec::new();
        for passage in &migration.stacks {
            if let Some(found) = progress_of(store, passage).await? {
                progress.push(StackProgress { stack: passage.stack.clone(), progress: found });
            }
        }
        let runs = deployments::run_by(store, &[migration.to.node]).await?;
        let is_there = |one: &&Passage| {
            one.step == MigrationStep::Switched && runs.iter().any(|run| run.stack == one.stack)
        };
        let can_go_back =
            migration.finished_at.is_some() && migration.stacks.iter().any(|one| is_there(&one));
        let own = |origin: &ConstraintOrigin| matches!(origin, ConstraintOrigin::Migration { migration: of } if *of == migration.id);
        let unsaid = standing.iter().filter(|one| own(&one.origin)).filter_map(|one| {
            let Scope::Nodes { selector } = &one.scope else { return None };
            match &one.effect {
                Effect::RunsHere { stack, .. } => Some(format!("{stack} runs where `{selector}`")),
                Effect::RunsNot { stack } => Some(format!("{stack} does not run where `{selector}`")),
                _ => None,
            }
        });
        let unsaid = unsaid.collect();
        views.push(MigrationView { state: migration.state(), progress, can_go_back, unsaid, migration });
    }
    Ok(views)
}

async fn view(store: &mut Reader, found: Migration) -> Result<MigrationView, ApiError> {
    let mut views = views(store, vec![found]).await?;
    views.pop().ok_or_else(|| ApiError::internal("a migration without a view"))
}

/// How far the job is that a stack waits for.
async fn progress_of(store: &mut Reader, passage: &Passage) -> Result<Option<BackupProgress>, ApiError> {
    let job: Option<BackupJobId> = match passage.step {
        MigrationStep::Copying => passage.copy,
        MigrationStep::Fetching => passage.ahead,
        MigrationStep::Starting => passage.restore,
        MigrationStep::Stopping => match passage.stop {
            Some(stop) => jobs::for_deployment(store, stop).await?.first().map(|job| job.id),
            None => None,
        },
        _ => None,
    };
    let Some(job) = job else { return Ok(None) };
    let found = jobs::get(store, job).await?.filter(|job| !job.state.is_final());
    Ok(found.and_then(|job| job.progress))
}

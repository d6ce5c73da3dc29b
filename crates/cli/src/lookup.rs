//! From what people type to whole ids.

use std::collections::BTreeMap;

use backstay_api::{
    Empty,
    v1::{
        BackupJobsQuery, ConstraintsQuery, ConversationPath, DeploymentsQuery, GetConversation,
        ListBackupJobs, ListConstraints, ListConversations, ListDeployments, ListMigrations,
        ListRepositories, ListRollouts, ListTokens, ListUndos, MigrationsQuery, RolloutsQuery,
    },
};
use backstay_types::{
    BackupJobId, ConstraintId, ConversationId, DeploymentId, Id, MigrationId, RepositoryId, RolloutId,
    TokenId, UndoId,
};

use crate::{api::Api, error::CliError, ids};

/// A conversation: an id, a piece of one, or a tool's own id as `tool/kind/value`.
pub(crate) async fn conversation(api: &Api, text: &str) -> Result<ConversationId, CliError> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    if text.contains('/') {
        let path = ConversationPath { conversation: text.to_owned() };
        let detail = api.call::<GetConversation>(path, Empty {}, Empty {}).await?;
        return Ok(detail.view.conversation.id);
    }
    let all = api.all::<ListConversations, _>(|paging| paging).await?;
    ids::pick(text, &all.iter().map(|view| view.conversation.id).collect::<Vec<_>>())
}

/// A deployment: an id or a piece of one.
pub(crate) async fn deployment(api: &Api, text: &str) -> Result<DeploymentId, CliError> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let query = |paging: backstay_api::v1::Paging| DeploymentsQuery {
        limit: paging.limit,
        cursor: paging.cursor,
        ..DeploymentsQuery::default()
    };
    let all = api.all::<ListDeployments, _>(query).await?;
    ids::pick(text, &all.iter().map(|view| view.deployment.id).collect::<Vec<_>>())
}

/// A job about backups: an id or a piece of one.
pub(crate) async fn backup_job(api: &Api, text: &str) -> Result<BackupJobId, CliError> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let query = |paging: backstay_api::v1::Paging| BackupJobsQuery {
        limit: paging.limit,
        cursor: paging.cursor,
        ..BackupJobsQuery::default()
    };
    let all = api.all::<ListBackupJobs, _>(query).await?;
    ids::pick(text, &all.iter().map(|view| view.job.id).collect::<Vec<_>>())
}

/// A rollout: an id or a piece of one.
pub(crate) async fn rollout(api: &Api, text: &str) -> Result<RolloutId, CliError> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let query = |paging: backstay_api::v1::Paging| RolloutsQuery {
        limit: paging.limit,
        cursor: paging.cursor,
        ..RolloutsQuery::default()
    };
    let all = api.all::<ListRollouts, _>(query).await?;
    ids::pick(text, &all.iter().map(|view| view.rollout.id).collect::<Vec<_>>())
}

/// A migration: an id or a piece of one.
pub(crate) async fn migration(api: &Api, text: &str) -> Result<MigrationId, CliError> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let query = |paging: backstay_api::v1::Paging| MigrationsQuery {
        limit: paging.limit,
        cursor: paging.cursor,
        ..MigrationsQuery::default()
    };
    let all = api.all::<ListMigrations, _>(query).await?;
    ids::pick(text, &all.iter().map(|view| view.migration.id).collect::<Vec<_>>())
}

/// An undo: an id or a piece of one.
pub(crate) async fn undo(api: &Api, text: &str) -> Result<UndoId, CliError> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let all = api.all::<ListUndos, _>(|paging| paging).await?;
    ids::pick(text, &all.iter().map(|undo| undo.id).collect::<Vec<_>>())
}

/// A constraint in force: an id or a piece of one.
pub(crate) async fn constraint(api: &Api, text: &str) -> Result<ConstraintId, CliError> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let query = ConstraintsQuery { all: Some(true), ..ConstraintsQuery::default() };
    let page = api.call::<ListConstraints>(Empty {}, query, Empty {}).await?;
    ids::pick(text, &page.items.iter().map(|constraint| constraint.id).collect::<Vec<_>>())
}

/// A token: an id or a piece of one.
pub(crate) async fn token(api: &Api, text: &str) -> Result<TokenId, CliError> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let page = api.get::<ListTokens>().await?;
    ids::pick(text, &page.items.iter().map(|token| token.id).collect::<Vec<_>>())
}

/// Names of all repositories.
pub(crate) async fn repository_names(api: &Api) -> Result<BTreeMap<RepositoryId, String>, CliError> {
    let page = api.get::<ListRepositories>().await?;
    Ok(page.items.into_iter().map(|repository| (repository.id, repository.name.to_string())).collect())
}

/// The name of a repository, or the end of its id.
pub(crate) fn name_of(names: &BTreeMap<RepositoryId, String>, id: RepositoryId) -> String {
    names.get(&id).cloned().unwrap_or_else(|| ids::short(id))
}

/// Ids in short, for tables.
pub(crate) fn shorts<I: Id>(ids: &[I]) -> String {
    ids.iter().map(|id| ids::short(*id)).collect::<Vec<_>>().join(" ")
}

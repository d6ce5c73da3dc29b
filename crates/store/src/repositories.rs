//! Repositories that the hub mirrors.

use backstay_types::{
    CommitId, Repository, RepositoryHealth, RepositoryId, RepositoryName, RepositoryWarning, Timestamp,
};

use crate::{
    Result, Tx,
    db::{Executor, Row, query},
    value::json,
};

const WHAT: &str = "repository";

fn read(row: &Row) -> Result<Repository> {
    Ok(Repository {
        id: row.get("id")?,
        name: row.get("name")?,
        endpoints: row.json("endpoints")?,
        branch: row.get("branch")?,
        stacks_path: row.opt("stacks_path")?,
        tip: row.opt("tip")?,
        health: row.json("health")?,
        fetched_at: row.opt("fetched_at")?,
        created_at: row.get("created_at")?,
        warnings: row.json("warnings")?,
    })
}

/// Adds a repository. `credential` is a token for its endpoints, already sealed.
///
/// # Errors
/// [`Conflict`](crate::StoreError::Conflict) when the name is taken.
pub async fn insert(tx: &mut Tx, repository: &Repository, credential: Option<&str>) -> Result<()> {
    query(
        "INSERT INTO repositories (id, name, endpoints, branch, stacks_path, tip, health, fetched_at, \
         created_at, credential, warnings) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(repository.id)
    .bind(&repository.name)
    .bind(json(&repository.endpoints)?)
    .bind(repository.branch.as_str())
    .bind(repository.stacks_path.as_deref())
    .bind(repository.tip.as_ref())
    .bind(json(&repository.health)?)
    .bind(repository.fetched_at)
    .bind(repository.created_at)
    .bind(credential)
    .bind(json(&repository.warnings)?)
    .run(tx)
    .await
    .map_err(|e| e.or_conflict(WHAT, &repository.name))
    .map(drop)
}

/// One by id.
///
/// # Errors
/// When the database cannot be read.
pub async fn get(ex: &mut impl Executor, id: RepositoryId) -> Result<Option<Repository>> {
    query("SELECT * FROM repositories WHERE id = $1").bind(id).optional(ex, read).await
}

/// One by name.
///
/// # Errors
/// When the database cannot be read.
pub async fn by_name(ex: &mut impl Executor, name: &RepositoryName) -> Result<Option<Repository>> {
    query("SELECT * FROM repositories WHERE name = $1").bind(name).optional(ex, read).await
}

/// All, by name.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(ex: &mut impl Executor) -> Result<Vec<Repository>> {
    query("SELECT * FROM repositories ORDER BY name").all(ex, read).await
}

/// The sealed credential for a repository's endpoints.
///
/// # Errors
/// When the database cannot be read.
pub async fn credential(ex: &mut impl Executor, id: RepositoryId) -> Result<Option<String>> {
    let select = query("SELECT credential FROM repositories WHERE id = $1").bind(id);
    Ok(select.optional(ex, |row| row.opt("credential")).await?.flatten())
}

/// Sets the state of a mirror, when it is still `from`. `fetched_at` is kept when absent.
///
/// # Errors
/// [`Stale`](crate::StoreError::Stale) when the state is another by now.
pub async fn set_health(
    tx: &mut Tx,
    id: RepositoryId,
    from: &RepositoryHealth,
    to: &RepositoryHealth,
    fetched_at: Option<Timestamp>,
) -> Result<()> {
    query(
        "UPDATE repositories SET health = $1, fetched_at = COALESCE(CAST($2 AS BIGINT), fetched_at) \
         WHERE id = $3 AND health = $4",
    )
    .bind(json(to)?)
    .bind(fetched_at)
    .bind(id)
    .bind(json(from)?)
    .run_one(tx, WHAT, id)
    .await
}

/// Sets what someone should look at, when the accepted tip is still the one that was looked at.
///
/// # Errors
/// [`Stale`](crate::StoreError::Stale) when the tip is another by now.
pub async fn set_warnings(
    tx: &mut Tx,
    id: RepositoryId,
    tip: &CommitId,
    warnings: &[RepositoryWarning],
) -> Result<()> {
    query("UPDATE repositories SET warnings = $1 WHERE id = $2 AND tip = $3")
        .bind(json(&warnings)?)
        .bind(id)
        .bind(tip)
        .run_one(tx, WHAT, id)
        .await
}

/// Moves the accepted tip from `from` to `to`.
///
/// # Errors
/// [`Stale`](crate::StoreError::Stale) when the tip is another by now.
pub async fn set_tip(tx: &mut Tx, id: RepositoryId, from: Option<&CommitId>, to: &CommitId) -> Result<()> {
    let mut update = query("UPDATE repositories SET tip = ");
    update.push_bind(to);
    update.push(" WHERE id = ").push_bind(id);
    match from {
        Some(from) => update.push(" AND tip = ").push_bind(from),
        None => update.push(" AND tip IS NULL"),
    };
    update.run_one(tx, WHAT, id).await
}

/// Sets when the branch was last fetched.
///
/// # Errors
/// [`Stale`](crate::StoreError::Stale) when there is no such repository.
pub async fn set_fetched(tx: &mut Tx, id: RepositoryId, at: Timestamp) -> Result<()> {
    query("UPDATE repositories SET fetched_at = $1 WHERE id = $2")
        .bind(at)
        .bind(id)
        .run_one(tx, WHAT, id)
        .await
}

/// Replaces what a person can set: endpoints, branch, stacks path, and the credential when one is given.
///
/// # Errors
/// [`Stale`](crate::StoreError::Stale) when there is no such repository.
pub async fn update(tx: &mut Tx, repository: &Repository, credential: Option<&str>) -> Result<()> {
    query(
        "UPDATE repositories SET endpoints = $1, branch = $2, stacks_path = $3, \
         credential = COALESCE(CAST($4 AS TEXT), credential) WHERE id = $5",
    )
    .bind(json(&repository.endpoints)?)
    .bind(repository.branch.as_str())
    .bind(repository.stacks_path.as_deref())
    .bind(credential)
    .bind(repository.id)
    .run_one(tx, WHAT, repository.id)
    .await
}

//! Branches that nodes follow instead of the deployed one: what was read of a stack there.

use std::collections::HashSet;

use backstay_types::{CommitId, ReleaseId, RepositoryHealth, RepositoryId, StackName, Timestamp};

use crate::{
    Result, Tx,
    db::{Executor, Row, query},
    dialect,
    value::{Bind as _, json},
};

const WHAT: &str = "branch";

/// A stack on a branch that nodes follow, as it was read last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// The stack.
    pub stack: StackName,
    /// The branch, without `refs/heads/`.
    pub branch: String,
    /// The repository.
    pub repository: RepositoryId,
    /// The newest commit that was read whole and accepted.
    pub tip: CommitId,
    /// The newest commit there that changed the stack.
    pub commit: CommitId,
    /// The stack's release at the tip.
    pub release: ReleaseId,
    /// The manifest schema that it needs.
    pub schema: u32,
    /// The highest place on the deployed branch that it contains; absent where it contains none of it.
    pub base: Option<i64>,
    /// Whether it could be fetched and read.
    pub health: RepositoryHealth,
    /// When any of this changed last.
    pub updated_at: Timestamp,
}

fn read(row: &Row) -> Result<Branch> {
    Ok(Branch {
        stack: row.get("stack")?,
        branch: row.get("branch")?,
        repository: row.get("repository_id")?,
        tip: row.get("tip")?,
        commit: row.get("commit_id")?,
        release: row.get("release_id")?,
        schema: row.get("manifest_schema")?,
        base: row.opt("base")?,
        health: row.json("health")?,
        updated_at: row.get("updated_at")?,
    })
}

/// Keeps what was read of a stack on a branch, in place of what was known, with the commits that the branch has beyond the deployed
/// one.
///
/// # Errors
/// When the database refuses.
pub async fn put(tx: &mut Tx, row: &Branch, commits: &[CommitId]) -> Result<()> {
    query(
        "INSERT INTO branches (stack, branch, repository_id, tip, commit_id, release_id, manifest_schema, base, health, \
         updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (stack, branch) DO UPDATE SET \
         repository_id = excluded.repository_id, tip = excluded.tip, commit_id = excluded.commit_id, \
         release_id = excluded.release_id, manifest_schema = excluded.manifest_schema, base = excluded.base, health = excluded.health, \
         updated_at = excluded.updated_at",
    )
    .bind(&row.stack)
    .bind(row.branch.as_str())
    .bind(row.repository)
    .bind(&row.tip)
    .bind(&row.commit)
    .bind(row.release)
    .bind(row.schema)
    .bind(row.base)
    .bind(json(&row.health)?)
    .bind(row.updated_at)
    .run(tx)
    .await?;
    let delete = "DELETE FROM branch_commits WHERE stack = $1 AND branch = $2";
    query(delete).bind(&row.stack).bind(row.branch.as_str()).run(tx).await?;
    let one = |commit: &CommitId| vec![(&row.stack).value(), row.branch.as_str().value(), commit.value()];
    let head = "INSERT INTO branch_commits (stack, branch, commit_id) VALUES ";
    dialect::bulk(tx, head, "", commits.iter().map(one).collect()).await.map(drop)
}

/// Sets the state of a branch, when it is still as it was read.
///
/// # Errors
/// [`Stale`](crate::StoreError::Stale) when its tip or its state is another by now.
pub async fn set_health(tx: &mut Tx, known: &Branch, to: &RepositoryHealth, at: Timestamp) -> Result<()> {
    query(
        "UPDATE branches SET health = $1, updated_at = $2 \
         WHERE stack = $3 AND branch = $4 AND tip = $5 AND health = $6",
    )
    .bind(json(to)?)
    .bind(at)
    .bind(&known.stack)
    .bind(known.branch.as_str())
    .bind(&known.tip)
    .bind(json(&known.health)?)
    .run_one(tx, WHAT, &known.branch)
    .await
}

/// A stack on a branch.
///
/// # Errors
/// When the database cannot be read.
pub async fn get(ex: &mut impl Executor, stack: &StackName, branch: &str) -> Result<Option<Branch>> {
    let select = "SELECT * FROM branches WHERE stack = $1 AND branch = $2";
    query(select).bind(stack).bind(branch).optional(ex, read).await
}

/// The branch that a stack's release comes from: that whose release it is, or one that has its commit beyond the deployed
/// branch.
///
/// # Errors
/// When the database cannot be read.
pub async fn with_release(
    ex: &mut impl Executor,
    stack: &StackName,
    release: ReleaseId,
    commit: &CommitId,
) -> Result<Option<Branch>> {
    let select = "SELECT * FROM branches b WHERE b.stack = $1 AND (b.release_id = $2 OR EXISTS (SELECT 1 \
                  FROM branch_commits c WHERE c.stack = b.stack AND c.branch = b.branch AND c.commit_id = $3)) \
                  ORDER BY b.updated_at DESC, b.branch LIMIT 1";
    query(select).bind(stack).bind(release).bind(commit).optional(ex, read).await
}

/// All that were ever read, by stack and branch.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(ex: &mut impl Executor) -> Result<Vec<Branch>> {
    query("SELECT * FROM branches ORDER BY stack, branch").all(ex, read).await
}

/// The commits that a branch had beyond the deployed one when a stack was read there.
///
/// # Errors
/// When the database cannot be read.
pub async fn commits(ex: &mut impl Executor, stack: &StackName, branch: &str) -> Result<HashSet<CommitId>> {
    let select = "SELECT commit_id FROM branch_commits WHERE stack = $1 AND branch = $2";
    let found = query(select).bind(stack).bind(branch).all(ex, |row| row.get("commit_id")).await?;
    Ok(found.into_iter().collect())
}

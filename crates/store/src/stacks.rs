//! Stacks as the newest accepted commit of their repository has them.

use backstay_types::{ReleaseId, RepositoryId, StackName, Timestamp};

use crate::{
    Result, StoreError, Tx,
    db::{Executor, Row, query},
};

/// A stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// Its name, unique in the hub.
    pub name: StackName,
    /// The repository that it comes from.
    pub repository: RepositoryId,
    /// Its folder in the repository.
    pub path: String,
    /// The release that the branch asks for.
    pub release: Option<ReleaseId>,
    /// For which nodes, as JSON that the store does not look into.
    pub assignment: String,
    /// What its manifest says, as JSON that the store does not look into.
    pub manifest: String,
    /// Whether the branch still has it. A stack that is gone from the branch goes on running.
    pub present: bool,
    /// When any of this changed last.
    pub updated_at: Timestamp,
}

/// Keeps a stack as it is now. One that is present in another repository is not taken over.
///
/// # Errors
/// [`Conflict`](StoreError::Conflict) when another repository has a stack of this name.
pub async fn put(tx: &mut Tx, stack: &Stack) -> Result<()> {
    let upsert = query(
        "INSERT INTO stacks (name, repository_id, path, release_id, assignment, manifest, present, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (name) DO UPDATE SET \
         repository_id = excluded.repository_id, path = excluded.path, release_id = excluded.release_id, \
         assignment = excluded.assignment, manifest = excluded.manifest, present = excluded.present, \
         updated_at = excluded.updated_at \
         WHERE stacks.repository_id = excluded.repository_id OR stacks.present = 0",
    );
    let upsert = upsert
        .bind(&stack.name)
        .bind(stack.repository)
        .bind(stack.path.as_str())
        .bind(stack.release)
        .bind(stack.assignment.as_str())
        .bind(stack.manifest.as_str())
        .bind(stack.present)
        .bind(stack.updated_at);
    match upsert.run(tx).await? {
        1 => Ok(()),
        _ => Err(StoreError::conflict("stack", &stack.name)),
    }
}

/// One by name.
///
/// # Errors
/// When the database cannot be read.
pub async fn get(ex: &mut impl Executor, name: &StackName) -> Result<Option<Stack>> {
    query("SELECT * FROM stacks WHERE name = $1").bind(name).optional(ex, read).await
}

/// All, by name; those no longer on their branch too.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(ex: &mut impl Executor) -> Result<Vec<Stack>> {
    query("SELECT * FROM stacks ORDER BY name").all(ex, read).await
}

/// All of a repository, by name; those no longer on its branch too.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_repository(ex: &mut impl Executor, repository: RepositoryId) -> Result<Vec<Stack>> {
    query("SELECT * FROM stacks WHERE repository_id = $1 ORDER BY name").bind(repository).all(ex, read).await
}

fn read(row: &Row) -> Result<Stack> {
    Ok(Stack {
        name: row.get("name")?,
        repository: row.get("repository_id")?,
        path: row.get("path")?,
        release: row.opt("release_id")?,
        assignment: row.get("assignment")?,
        manifest: row.get("manifest")?,
        present: row.get("present")?,
        updated_at: row.get("updated_at")?,
    })
}

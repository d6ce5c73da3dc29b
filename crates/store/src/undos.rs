//! Undos, and which commits they take back and make.

use std::collections::BTreeMap;

use backstay_types::{
    CommitId, ConversationId, DeploymentId, RepositoryId, Timestamp, Undo, UndoId, UndoPlan, UndoSelector,
    UndoState,
};

use crate::{
    Result, Tx,
    db::{Executor, Row, query},
    dialect,
    value::{Bind as _, json},
};

const WHAT: &str = "undo";

/// A commit that belongs to an undo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndoCommit {
    /// The undo.
    pub undo: UndoId,
    /// The repository.
    pub repository: RepositoryId,
    /// The commit.
    pub commit: CommitId,
    /// Whether the undo made it, rather than takes it back.
    pub made: bool,
}

/// Keeps a new undo. `request` is what was asked, as JSON that the store does not look into.
///
/// # Errors
/// [`Conflict`](crate::StoreError::Conflict) when there is one with this id.
pub async fn insert(tx: &mut Tx, undo: &Undo, request: &str) -> Result<()> {
    let (conversation, deployment, of_undo) = selected(&undo.selector);
    query(
        "INSERT INTO undos (id, selector, scope, asked_by, reason, plan, state, state_json, request, \
         conversation_id, deployment_id, of_undo_id, created_at, finished_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
    )
    .bind(undo.id)
    .bind(json(&undo.selector)?)
    .bind(json(&undo.scope)?)
    .bind(undo.by.as_str())
    .bind(undo.reason.as_str())
    .bind(json(&undo.plan)?)
    .bind(state_word(&undo.state))
    .bind(json(&undo.state)?)
    .bind(request)
    .bind(conversation)
    .bind(deployment)
    .bind(of_undo)
    .bind(undo.created_at)
    .bind(undo.finished_at)
    .run(tx)
    .await
    .map_err(|e| e.or_conflict(WHAT, undo.id))?;
    write_commits(tx, undo.id, &undo.plan).await
}

fn selected(selector: &UndoSelector) -> (Option<ConversationId>, Option<DeploymentId>, Option<UndoId>) {
    match selector {
        UndoSelector::Conversation { conversation, .. } => (Some(*conversation), None, None),
        UndoSelector::Deployment { deployment } => (None, Some(*deployment), None),
        UndoSelector::Undo { undo } => (None, None, Some(*undo)),
        UndoSelector::Time { .. } | UndoSelector::Commit { .. } | UndoSelector::Last => (None, None, None),
    }
}

fn state_word(state: &UndoState) -> &'static str {
    match state {
        UndoState::Planned => "planned",
        UndoState::Conflicted => "conflicted",
        UndoState::RollingOut => "rolling_out",
        UndoState::Verified => "verified",
        UndoState::Failed { .. } => "failed",
    }
}

/// Moves an undo from one state to another (or the same), with its plan as it is now. It is finished `at` that
/// time when the new state is verified or failed.
///
/// # Errors
/// [`Stale`](crate::StoreError::Stale) when it is not in the state `from`.
pub async fn update(
    tx: &mut Tx,
    id: UndoId,
    from: &UndoState,
    to: &UndoState,
    plan: &UndoPlan,
    at: Timestamp,
) -> Result<()> {
    let finished_at = matches!(to, UndoState::Verified | UndoState::Failed { .. }).then_some(at);
    query(
        "UPDATE undos SET state = $1, state_json = $2, plan = $3, finished_at = $4 \
         WHERE id = $5 AND state_json = $6",
    )
    .bind(state_word(to))
    .bind(json(to)?)
    .bind(json(plan)?)
    .bind(finished_at)
    .bind(id)
    .bind(json(from)?)
    .run_one(tx, WHAT, id)
    .await?;
    write_commits(tx, id, plan).await
}

/// Replaces what was asked, as after a resolution of conflicts.
///
/// # Errors
/// [`Stale`](crate::StoreError::Stale) when there is no such undo.
pub async fn set_request(tx: &mut Tx, id: UndoId, request: &str) -> Result<()> {
    query("UPDATE undos SET request = $1 WHERE id = $2").bind(request).bind(id).run_one(tx, WHAT, id).await
}

async fn write_commits(tx: &mut Tx, id: UndoId, plan: &UndoPlan) -> Result<()> {
    query("DELETE FROM undo_commits WHERE undo_id = $1").bind(id).run(tx).await?;
    let mut commits = BTreeMap::new();
    for part in &plan.repositories {
        commits.extend(part.commits.iter().map(|c| ((part.repository, c), false)));
        commits.extend(part.commit.iter().map(|c| ((part.repository, c), true)));
    }
    let rows = commits.into_iter().map(|((repository, commit), made)| {
        vec![id.value(), repository.value(), commit.value(), made.value()]
    });
    let head = "INSERT INTO undo_commits (undo_id, repository_id, commit_id, made) VALUES ";
    dialect::bulk(tx, head, "", rows.collect()).await.map(drop)
}

/// One by id.
///
/// # Errors
/// When the database cannot be read.
pub async fn get(ex: &mut impl Executor, id: UndoId) -> Result<Option<Undo>> {
    query("SELECT * FROM undos WHERE id = $1").bind(id).optional(ex, read).await
}

/// Several by id, in no order; unknown ids are left out.
///
/// # Errors
/// When the database cannot be read.
pub async fn many(ex: &mut impl Executor, ids: &[UndoId]) -> Result<Vec<Undo>> {
    let mut found = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(500) {
        let mut select = query("SELECT * FROM undos WHERE id IN ");
        select.push_list(chunk);
        found.extend(select.all(ex, read).await?);
    }
    Ok(found)
}

/// What was asked, as it was given to [`insert`] or [`set_request`].
///
/// # Errors
/// When the database cannot be read.
pub async fn request(ex: &mut impl Executor, id: UndoId) -> Result<Option<String>> {
    query("SELECT request FROM undos WHERE id = $1").bind(id).optional(ex, |row| row.get("request")).await
}

/// Newest first, before id `before`.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(ex: &mut impl Executor, before: Option<UndoId>, limit: u32) -> Result<Vec<Undo>> {
    let mut select = query("SELECT * FROM undos");
    if let Some(before) = before {
        select.push(" WHERE id < ").push_bind(before);
    }
    select.push(" ORDER BY id DESC LIMIT ").push_bind(limit);
    select.all(ex, read).await
}

/// Those that are not finished, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn open(ex: &mut impl Executor) -> Result<Vec<Undo>> {
    query("SELECT * FROM undos WHERE finished_at IS NULL ORDER BY id").all(ex, read).await
}

/// Undos of a conversation, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_conversation(ex: &mut impl Executor, conversation: ConversationId) -> Result<Vec<Undo>> {
    query("SELECT * FROM undos WHERE conversation_id = $1 ORDER BY id").bind(conversation).all(ex, read).await
}

/// Undos of an undo, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_undo(ex: &mut impl Executor, undo: UndoId) -> Result<Vec<Undo>> {
    query("SELECT * FROM undos WHERE of_undo_id = $1 ORDER BY id").bind(undo).all(ex, read).await
}

/// The undos that a commit belongs to, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_commit(
    ex: &mut impl Executor,
    repository: RepositoryId,
    commit: &CommitId,
) -> Result<Vec<UndoCommit>> {
    let select = "SELECT * FROM undo_commits WHERE commit_id = $1 AND repository_id = $2 ORDER BY undo_id";
    query(select).bind(commit).bind(repository).all(ex, read_commit).await
}

/// The commits of an undo.
///
/// # Errors
/// When the database cannot be read.
pub async fn commits(ex: &mut impl Executor, undo: UndoId) -> Result<Vec<UndoCommit>> {
    let select = "SELECT * FROM undo_commits WHERE undo_id = $1 ORDER BY repository_id, made, commit_id";
    query(select).bind(undo).all(ex, read_commit).await
}

fn read_commit(row: &Row) -> Result<UndoCommit> {
    Ok(UndoCommit {
        undo: row.get("undo_id")?,
        repository: row.get("repository_id")?,
        commit: row.get("commit_id")?,
        made: row.get("made")?,
    })
}

fn read(row: &Row) -> Result<Undo> {
    Ok(Undo {
        id: row.get("id")?,
        selector: row.json("selector")?,
        scope: row.json("scope")?,
        by: row.get("asked_by")?,
        reason: row.get("reason")?,
        plan: row.json("plan")?,
        state: row.json("state_json")?,
        created_at: row.get("created_at")?,
        finished_at: row.opt("finished_at")?,
    })
}

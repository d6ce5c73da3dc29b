//! Rollouts.

use backstay_types::{
    Cause, CommitId, EnvironmentName, NodeId, Overridden, PartName, Paused, ReleaseId, RepositoryId, Rollout,
    RolloutId, RolloutState, StackName, Timestamp, UndoId,
};

use crate::{
    Result, Tx,
    db::{Executor, Row, query},
    value::{Bind as _, json, or_empty, word},
};

const WHAT: &str = "rollout";

/// Keeps a new rollout.
///
/// # Errors
/// [`Conflict`](crate::StoreError::Conflict) when there is one with this id.
pub async fn insert(tx: &mut Tx, rollout: &Rollout) -> Result<()> {
    let (repository, commit, undo, migration) = match &rollout.cause {
        Cause::Change { repository, commit } => (Some(*repository), Some(commit), None, None),
        Cause::Undo { undo } => (None, None, Some(*undo), None),
        Cause::Decommission => (None, None, None, None),
        Cause::Migration { migration } => (None, None, None, Some(*migration)),
    };
    query(
        "INSERT INTO rollouts (id, stack, environment, branch, part, release_id, kind, cause_repository_id, \
         cause_commit_id, cause_undo_id, state, max_updating, strategy, cuts, wave, paused, overridden, reason, \
         created_at, finished_at, cause_migration_id) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)",
    )
    .bind(rollout.id)
    .bind(&rollout.stack)
    .bind(or_empty(rollout.environment.as_ref()))
    .bind(rollout.branch.as_deref().unwrap_or_default())
    .bind(or_empty(rollout.part.as_ref()))
    .bind(rollout.release)
    .bind(word(&rollout.kind)?)
    .bind(repository)
    .bind(commit)
    .bind(undo)
    .bind(word(&rollout.state)?)
    .bind(rollout.max_updating)
    .bind(json(&rollout.strategy)?)
    .bind(json(&rollout.cuts)?)
    .bind(rollout.wave)
    .bind(rollout.paused.as_ref().map(json).transpose()?)
    .bind(rollout.overridden.as_ref().map(json).transpose()?)
    .bind(rollout.reason.as_str())
    .bind(rollout.created_at)
    .bind(rollout.finished_at)
    .bind(migration)
    .run(tx)
    .await
    .map_err(|e| e.or_conflict(WHAT, rollout.id))
    .map(drop)
}

/// Moves a rollout from one state to another. It is finished `at` that time unless the new state is running.
///
/// # Errors
/// [`Stale`](crate::StoreError::Stale) when it is not in the state `from`.
pub async fn transition(
    tx: &mut Tx,
    id: RolloutId,
    from: RolloutState,
    to: RolloutState,
    reason: &str,
    at: Timestamp,
) -> Result<()> {
    let finished_at = (to != RolloutState::Running).then_some(at);
    query("UPDATE rollouts SET state = $1, reason = $2, finished_at = $3 WHERE id = $4 AND state = $5")
        .bind(word(&to)?)
        .bind(reason)
        .bind(finished_at)
        .bind(id)
        .bind(word(&from)?)
        .run_one(tx, WHAT, id)
        .await
}

/// Opens a wave of a rollout that runs: the one after that which is open.
///
/// # Errors
/// [`Stale`](crate::StoreError::Stale) when it does not run, or another wave is open.
pub async fn open_wave(tx: &mut Tx, id: RolloutId, wave: u32) -> Result<()> {
    query("UPDATE rollouts SET wave = $1 WHERE id = $2 AND wave = $3 AND state = 'running'")
        .bind(wave)
        .bind(id)
        .bind(i64::from(wave) - 1)
        .run_one(tx, WHAT, id)
        .await
}

/// Pauses a rollout that runs, or lets it go on.
///
/// # Errors
/// [`Stale`](crate::StoreError::Stale) when it does not run.
pub async fn set_paused(tx: &mut Tx, id: RolloutId, paused: Option<&Paused>) -> Result<()> {
    query("UPDATE rollouts SET paused = $1 WHERE id = $2 AND state = 'running'")
        .bind(paused.map(json).transpose()?)
        .bind(id)
        .run_one(tx, WHAT, id)
        .await
}

/// Lets a rollout that runs go on in spite of freezes and closed windows.
///
/// # Errors
/// [`Stale`](crate::StoreError::Stale) when it does not run.
pub async fn set_overridden(tx: &mut Tx, id: RolloutId, overridden: &Overridden) -> Result<()> {
    query("UPDATE rollouts SET overridden = $1 WHERE id = $2 AND state = 'running'")
        .bind(json(overridden)?)
        .bind(id)
        .run_one(tx, WHAT, id)
        .await
}

/// Keeps who is in the waves of a rollout that go by labels.
///
/// # Errors
/// [`Conflict`](crate::StoreError::Conflict) when a node is there already.
pub async fn add_members(tx: &mut Tx, id: RolloutId, members: &[(NodeId, u32)]) -> Result<()> {
    for chunk in members.chunks(500) {
        let mut insert = query("INSERT INTO rollout_members (rollout_id, node_id, wave) VALUES ");
        for (index, (node, wave)) in chunk.iter().enumerate() {
            if index > 0 {
                insert.push(", ");
            }
            insert.push_list([id.value(), node.value(), wave.value()]);
        }
        insert.run(tx).await.map_err(|e| e.or_conflict(WHAT, id))?;
    }
    Ok(())
}

/// Who is in the waves of a rollout that go by labels, as it was when it began.
///
/// # Errors
/// When the database cannot be read.
pub async fn members(ex: &mut impl Executor, id: RolloutId) -> Result<Vec<(NodeId, u32)>> {
    let read = |row: &Row| Ok((row.get("node_id")?, row.get("wave")?));
    query("SELECT node_id, wave FROM rollout_members WHERE rollout_id = $1").bind(id).all(ex, read).await
}

/// One by id.
///
/// # Errors
/// When the database cannot be read.
pub async fn get(ex: &mut impl Executor, id: RolloutId) -> Result<Option<Rollout>> {
    query("SELECT * FROM rollouts WHERE id = $1").bind(id).optional(ex, read).await
}

/// Several by id, in no order; unknown ids are left out.
///
/// # Errors
/// When the database cannot be read.
pub async fn many(ex: &mut impl Executor, ids: &[RolloutId]) -> Result<Vec<Rollout>> {
    let mut found = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(500) {
        let mut select = query("SELECT * FROM rollouts WHERE id IN ");
        select.push_list(chunk);
        found.extend(select.all(ex, read).await?);
    }
    Ok(found)
}

/// Those that are running, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn running(ex: &mut impl Executor) -> Result<Vec<Rollout>> {
    query("SELECT * FROM rollouts WHERE state = 'running' ORDER BY id").all(ex, read).await
}

/// Newest first, of one stack or all, before id `before`.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(
    ex: &mut impl Executor,
    stack: Option<&StackName>,
    before: Option<RolloutId>,
    limit: u32,
) -> Result<Vec<Rollout>> {
    list_in(ex, stack, None, before, limit).await
}

/// The same, and only those in a state when one is given.
///
/// # Errors
/// When the database cannot be read.
pub async fn list_in(
    ex: &mut impl Executor,
    stack: Option<&StackName>,
    state: Option<RolloutState>,
    before: Option<RolloutId>,
    limit: u32,
) -> Result<Vec<Rollout>> {
    let mut select = query("SELECT * FROM rollouts WHERE 1 = 1");
    if let Some(stack) = stack {
        select.push(" AND stack = ").push_bind(stack);
    }
    if let Some(state) = state {
        select.push(" AND state = ").push_bind(word(&state)?);
    }
    if let Some(before) = before {
        select.push(" AND id < ").push_bind(before);
    }
    select.push(" ORDER BY id DESC LIMIT ").push_bind(limit);
    select.all(ex, read).await
}

/// The newest of each stack in each environment, on each branch that nodes follow, and of each of its parts.
///
/// # Errors
/// When the database cannot be read.
pub async fn newest_of_each_stack(ex: &mut impl Executor) -> Result<Vec<Rollout>> {
    let select = "SELECT * FROM rollouts WHERE id IN (SELECT MAX(id) FROM rollouts WHERE cause_migration_id IS NULL \
                  GROUP BY stack, environment, branch, part) ORDER BY stack, id";
    query(select).all(ex, read).await
}

/// The newest of a stack that is not of a branch which only some nodes follow.
///
/// # Errors
/// When the database cannot be read.
pub async fn newest_of_fleet(ex: &mut impl Executor, stack: &StackName) -> Result<Option<Rollout>> {
    let select = "SELECT * FROM rollouts WHERE stack = $1 AND branch = '' AND cause_migration_id IS NULL \
                  ORDER BY id DESC LIMIT 1";
    query(select).bind(stack).optional(ex, read).await
}

/// The newest of a part of a stack.
///
/// # Errors
/// When the database cannot be read.
pub async fn newest_of_part(
    ex: &mut impl Executor,
    stack: &StackName,
    part: &PartName,
) -> Result<Option<Rollout>> {
    let select =
        "SELECT * FROM rollouts WHERE stack = $1 AND part = $2 AND branch = '' ORDER BY id DESC LIMIT 1";
    query(select).bind(stack).bind(part).optional(ex, read).await
}

/// Those that an undo set off, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_undo(ex: &mut impl Executor, undo: UndoId) -> Result<Vec<Rollout>> {
    query("SELECT * FROM rollouts WHERE cause_undo_id = $1 ORDER BY id").bind(undo).all(ex, read).await
}

/// Those that a commit set off, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_commit(
    ex: &mut impl Executor,
    repository: RepositoryId,
    commit: &CommitId,
) -> Result<Vec<Rollout>> {
    let select = "SELECT * FROM rollouts WHERE cause_commit_id = $1 AND cause_repository_id = $2 ORDER BY id";
    query(select).bind(commit).bind(repository).all(ex, read).await
}

/// The rollout of a stack, or of any part of it, that was the last to complete at or before `at`; none of a branch that
/// only some nodes follow.
///
/// # Errors
/// When the database cannot be read.
pub async fn completed_at(
    ex: &mut impl Executor,
    stack: &StackName,
    at: Timestamp,
) -> Result<Option<Rollout>> {
    let select = "SELECT * FROM rollouts WHERE stack = $1 AND branch = '' AND state = 'succeeded' AND finished_at <= $2 \
                  ORDER BY finished_at DESC, id DESC LIMIT 1";
    query(select).bind(stack).bind(at).optional(ex, read).await
}

/// The rollout of a part of a stack, or of the whole where there is none, that was the last to complete at or before `at`; none of a branch that
/// only some nodes follow.
///
/// # Errors
/// When the database cannot be read.
pub async fn completed_of(
    ex: &mut impl Executor,
    stack: &StackName,
    part: Option<&PartName>,
    at: Timestamp,
) -> Result<Option<Rollout>> {
    let select = "SELECT * FROM rollouts WHERE stack = $1 AND part = $2 AND environment = '' AND branch = '' AND state = 'succeeded' \
                  AND kind <> 'removal' AND finished_at <= $3 ORDER BY finished_at DESC, id DESC LIMIT 1";
    query(select).bind(stack).bind(or_empty(part)).bind(at).optional(ex, read).await
}

pub(crate) fn read(row: &Row) -> Result<Rollout> {
    Ok(Rollout {
        id: row.get("id")?,
        stack: row.get("stack")?,
        environment: row.filled("environment")?,
        branch: row.filled("branch")?,
        part: row.filled("part")?,
        release: row.get("release_id")?,
        kind: row.word("kind")?,
        cause: read_cause(row)?,
        state: row.word("state")?,
        max_updating: row.opt("max_updating")?,
        strategy: row.json("strategy")?,
        cuts: row.json("cuts")?,
        wave: row.get("wave")?,
        paused: row.opt_json("paused")?,
        overridden: row.opt_json("overridden")?,
        reason: row.get("reason")?,
        created_at: row.get("created_at")?,
        finished_at: row.opt("finished_at")?,
    })
}

/// Those of all of a stack in an environment that have succeeded at or before `at`, newest first; none of a branch that only
/// some nodes follow.
///
/// # Errors
/// When the database cannot be read.
pub async fn succeeded_in(
    ex: &mut impl Executor,
    stack: &StackName,
    environment: Option<&EnvironmentName>,
    at: Timestamp,
    limit: u32,
) -> Result<Vec<Rollout>> {
    let select = "SELECT * FROM rollouts WHERE stack = $1 AND environment = $2 AND branch = '' AND part = '' AND state = 'succeeded' \
                  AND finished_at <= $3 ORDER BY id DESC LIMIT $4";
    query(select).bind(stack).bind(or_empty(environment)).bind(at).bind(limit).all(ex, read).await
}

/// Those of a release in an environment, oldest first; none of a branch that only some nodes follow.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_release(
    ex: &mut impl Executor,
    release: ReleaseId,
    environment: Option<&EnvironmentName>,
) -> Result<Vec<Rollout>> {
    let select =
        "SELECT * FROM rollouts WHERE release_id = $1 AND environment = $2 AND branch = '' ORDER BY id";
    query(select).bind(release).bind(or_empty(environment)).all(ex, read).await
}

/// The rollout of a stack or part in an environment before another of it.
///
/// # Errors
/// When the database cannot be read.
pub async fn before(ex: &mut impl Executor, rollout: &Rollout) -> Result<Option<Rollout>> {
    let select = "SELECT * FROM rollouts WHERE stack = $1 AND environment = $2 AND part = $3 AND branch = $4 \
                  AND id < $5 AND cause_migration_id IS NULL ORDER BY id DESC LIMIT 1";
    let environment = or_empty(rollout.environment.as_ref());
    let select = query(select).bind(&rollout.stack).bind(environment).bind(or_empty(rollout.part.as_ref()));
    select.bind(rollout.branch.as_deref().unwrap_or_default()).bind(rollout.id).optional(ex, read).await
}

fn read_cause(row: &Row) -> Result<Cause> {
    if let Some(undo) = row.opt("cause_undo_id")? {
        return Ok(Cause::Undo { undo });
    }
    if let Some(migration) = row.opt("cause_migration_id")? {
        return Ok(Cause::Migration { migration });
    }
    let Some(repository) = row.opt("cause_repository_id")? else { return Ok(Cause::Decommission) };
    Ok(Cause::Change { repository, commit: row.get("cause_commit_id")? })
}

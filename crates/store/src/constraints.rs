//! Constraints: pins, holds, bans, freezes and nodes left alone. Here they are only kept; `plan` evaluates them.

use backstay_types::{
    Constraint, ConstraintId, ConstraintOrigin, Effect, RepositoryId, Scope, StackName, Timestamp, UndoId,
};

use crate::{
    Result, StoreError, Tx,
    db::{Executor, Row, query},
    value::{Bind as _, Value},
};

const WHAT: &str = "constraint";

/// Sets a constraint.
///
/// # Errors
/// [`Conflict`](StoreError::Conflict) when there is one with this id.
pub async fn insert(tx: &mut Tx, constraint: &Constraint) -> Result<()> {
    let (scope, selector) = match &constraint.scope {
        Scope::Fleet => ("fleet", None),
        Scope::Nodes { selector } => ("nodes", Some(selector.as_str())),
        Scope::Environment { environment } => ("environment", Some(environment.as_str())),
    };
    let mut insert = query(
        "INSERT INTO constraints (scope, selector, id, reason, set_by, created_at, from_at, until_at, lifted_at, \
         effect, stack, branch, release_id, repository_id, commit_id, tree, origin, origin_undo_id, \
         origin_repository_id, origin_migration_id) VALUES ",
    );
    let mut row = vec![
        scope.value(),
        selector.value(),
        constraint.id.value(),
        constraint.reason.as_str().value(),
        constraint.by.as_str().value(),
        constraint.created_at.value(),
        constraint.from.value(),
        constraint.until.value(),
        constraint.lifted_at.value(),
    ];
    row.extend(effect_columns(&constraint.effect));
    row.extend(origin_columns(&constraint.origin));
    insert.push_list(row);
    insert.run(tx).await.map_err(|e| e.or_conflict(WHAT, constraint.id)).map(drop)
}

/// `effect, stack, branch, release_id, repository_id, commit_id, tree`.
fn effect_columns(effect: &Effect) -> [Value; 7] {
    use Value::Null;
    let of = |effect: &str, stack: Option<&StackName>| {
        [effect.value(), stack.value(), Null, Null, Null, Null, Null]
    };
    match effect {
        Effect::Pin { stack, release } => {
            ["pin".value(), stack.value(), Null, release.value(), Null, Null, Null]
        }
        Effect::Follow { stack, branch } => {
            ["follow".value(), stack.value(), branch.as_str().value(), Null, Null, Null, Null]
        }
        Effect::Hold { repository, commit } => {
            ["hold".value(), Null, Null, Null, repository.value(), commit.value(), Null]
        }
        Effect::Ban { stack, tree } => ["ban".value(), stack.value(), Null, Null, Null, Null, tree.value()],
        Effect::Freeze { stack } => of("freeze", stack.as_ref()),
        Effect::UpdatesOff { stack } => of("updates_off", stack.as_ref()),
        Effect::Maintenance => of("maintenance", None),
        Effect::Decommission => of("decommission", None),
        Effect::RunsHere { stack, release } => {
            ["runs_here".value(), stack.value(), Null, release.value(), Null, Null, Null]
        }
        Effect::RunsNot { stack } => of("runs_not", Some(stack)),
    }
}

/// `origin, origin_undo_id, origin_repository_id, origin_migration_id`.
fn origin_columns(origin: &ConstraintOrigin) -> [Value; 4] {
    use Value::Null;
    match origin {
        ConstraintOrigin::Person => ["person".value(), Null, Null, Null],
        ConstraintOrigin::Undo { undo } => ["undo".value(), undo.value(), Null, Null],
        ConstraintOrigin::Rollout => ["rollout".value(), Null, Null, Null],
        ConstraintOrigin::Manifest { repository } => ["manifest".value(), Null, repository.value(), Null],
        ConstraintOrigin::Migration { migration } => ["migration".value(), Null, Null, migration.value()],
    }
}

/// Lifts a constraint.
///
/// # Errors
/// [`Stale`](StoreError::Stale) when it is lifted already or not there.
pub async fn lift(tx: &mut Tx, id: ConstraintId, at: Timestamp) -> Result<()> {
    let update = "UPDATE constraints SET lifted_at = $1 WHERE id = $2 AND lifted_at IS NULL";
    query(update).bind(at).bind(id).run_one(tx, WHAT, id).await
}

/// One by id.
///
/// # Errors
/// When the database cannot be read.
pub async fn get(ex: &mut impl Executor, id: ConstraintId) -> Result<Option<Constraint>> {
    query("SELECT * FROM constraints WHERE id = $1").bind(id).optional(ex, read).await
}

/// Those in force at a time, oldest first: begun by then, and neither run out nor lifted. When they were set does not
/// matter: what was once said holds also after the hub's clock was set back.
///
/// # Errors
/// When the database cannot be read.
pub async fn in_force(ex: &mut impl Executor, at: Timestamp) -> Result<Vec<Constraint>> {
    query(
        "SELECT * FROM constraints WHERE lifted_at IS NULL AND (from_at IS NULL OR from_at <= $1) \
         AND (until_at IS NULL OR until_at > $1) ORDER BY id",
    )
    .bind(at)
    .all(ex, read)
    .await
}

/// Those that are in force at a time or are still to begin, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn set_at(ex: &mut impl Executor, at: Timestamp) -> Result<Vec<Constraint>> {
    query(
        "SELECT * FROM constraints WHERE lifted_at IS NULL AND (until_at IS NULL OR until_at > $1) ORDER BY id",
    )
    .bind(at)
    .all(ex, read)
    .await
}

/// Those that are neither lifted nor noted as such although they ran out at or before `at`, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn run_out(ex: &mut impl Executor, at: Timestamp) -> Result<Vec<Constraint>> {
    let select = "SELECT * FROM constraints WHERE lifted_at IS NULL AND until_at <= $1 ORDER BY id";
    query(select).bind(at).all(ex, read).await
}

/// All, newest first, before id `before`; those no longer in force too.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(
    ex: &mut impl Executor,
    before: Option<ConstraintId>,
    limit: u32,
) -> Result<Vec<Constraint>> {
    let mut select = query("SELECT * FROM constraints");
    if let Some(before) = before {
        select.push(" WHERE id < ").push_bind(before);
    }
    select.push(" ORDER BY id DESC LIMIT ").push_bind(limit);
    select.all(ex, read).await
}

/// Those that an undo set, oldest first; those no longer in force too.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_undo(ex: &mut impl Executor, undo: UndoId) -> Result<Vec<Constraint>> {
    query("SELECT * FROM constraints WHERE origin_undo_id = $1 ORDER BY id").bind(undo).all(ex, read).await
}

/// Those that migrations set and that are not lifted, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_migrations(ex: &mut impl Executor) -> Result<Vec<Constraint>> {
    let select =
        "SELECT * FROM constraints WHERE origin_migration_id IS NOT NULL AND lifted_at IS NULL ORDER BY id";
    query(select).all(ex, read).await
}

/// Those that a repository's `fleet.toml` set and that are not lifted, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_repository(ex: &mut impl Executor, repository: RepositoryId) -> Result<Vec<Constraint>> {
    let select =
        "SELECT * FROM constraints WHERE origin_repository_id = $1 AND lifted_at IS NULL ORDER BY id";
    query(select).bind(repository).all(ex, read).await
}

fn read(row: &Row) -> Result<Constraint> {
    Ok(Constraint {
        id: row.get("id")?,
        scope: read_scope(row)?,
        effect: read_effect(row)?,
        reason: row.get("reason")?,
        by: row.get("set_by")?,
        origin: read_origin(row)?,
        created_at: row.get("created_at")?,
        from: row.opt("from_at")?,
        until: row.opt("until_at")?,
        lifted_at: row.opt("lifted_at")?,
    })
}

fn read_scope(row: &Row) -> Result<Scope> {
    match row.get::<String>("scope")?.as_str() {
        "fleet" => Ok(Scope::Fleet),
        "nodes" => Ok(Scope::Nodes { selector: row.get("selector")? }),
        "environment" => Ok(Scope::Environment { environment: row.get("selector")? }),
        other => Err(StoreError::corrupt("scope", other)),
    }
}

fn read_effect(row: &Row) -> Result<Effect> {
    match row.get::<String>("effect")?.as_str() {
        "pin" => Ok(Effect::Pin { stack: row.get("stack")?, release: row.get("release_id")? }),
        "follow" => Ok(Effect::Follow { stack: row.get("stack")?, branch: row.get("branch")? }),
        "hold" => Ok(Effect::Hold { repository: row.get("repository_id")?, commit: row.get("commit_id")? }),
        "freeze" => Ok(Effect::Freeze { stack: row.opt("stack")? }),
        "updates_off" => Ok(Effect::UpdatesOff { stack: row.opt("stack")? }),
        "maintenance" => Ok(Effect::Maintenance),
        "decommission" => Ok(Effect::Decommission),
        "runs_here" => Ok(Effect::RunsHere { stack: row.get("stack")?, release: row.get("release_id")? }),
        "runs_not" => Ok(Effect::RunsNot { stack: row.get("stack")? }),
        "ban" => Ok(Effect::Ban { stack: row.get("stack")?, tree: row.get("tree")? }),
        other => Err(StoreError::corrupt("effect", other)),
    }
}

fn read_origin(row: &Row) -> Result<ConstraintOrigin> {
    match row.get::<String>("origin")?.as_str() {
        "person" => Ok(ConstraintOrigin::Person),
        "undo" => Ok(ConstraintOrigin::Undo { undo: row.get("origin_undo_id")? }),
        "rollout" => Ok(ConstraintOrigin::Rollout),
        "migration" => Ok(ConstraintOrigin::Migration { migration: row.get("origin_migration_id")? }),
        "manifest" => Ok(ConstraintOrigin::Manifest { repository: row.get("origin_repository_id")? }),
        other => Err(StoreError::corrupt("origin", other)),
    }
}

//! Users: people with an account.

use backstay_types::{Timestamp, UserId, UserName};

use crate::{
    Result, Tx,
    db::{Executor, Row, query},
};

const WHAT: &str = "user";

/// A user, without its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Its name, unique.
    pub name: UserName,
    /// What it may do.
    pub role: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was kept from signing in.
    pub disabled_at: Option<Timestamp>,
    /// When it last signed in.
    pub last_sign_in_at: Option<Timestamp>,
}

/// The hash of a password, as a PHC string. Hidden from `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub String);

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// Keeps a new user, with a password or as yet without.
///
/// # Errors
/// [`Conflict`](crate::StoreError::Conflict) when the name is taken.
pub async fn insert(tx: &mut Tx, user: &User, password: Option<&PasswordHash>) -> Result<()> {
    query(
        "INSERT INTO users (id, name, role, password, created_at, disabled_at, last_sign_in_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(user.id)
    .bind(&user.name)
    .bind(user.role.as_str())
    .bind(password.map(|hash| hash.0.as_str()))
    .bind(user.created_at)
    .bind(user.disabled_at)
    .bind(user.last_sign_in_at)
    .run(tx)
    .await
    .map_err(|e| e.or_conflict(WHAT, &user.name))
    .map(drop)
}

/// One by id.
///
/// # Errors
/// When the database cannot be read.
pub async fn get(ex: &mut impl Executor, id: UserId) -> Result<Option<User>> {
    query("SELECT * FROM users WHERE id = $1").bind(id).optional(ex, read).await
}

/// One by name.
///
/// # Errors
/// When the database cannot be read.
pub async fn by_name(ex: &mut impl Executor, name: &UserName) -> Result<Option<User>> {
    query("SELECT * FROM users WHERE name = $1").bind(name).optional(ex, read).await
}

/// The hash of a user's password, once it has one.
///
/// # Errors
/// When the database cannot be read.
pub async fn password(ex: &mut impl Executor, id: UserId) -> Result<Option<PasswordHash>> {
    let select = query("SELECT password FROM users WHERE id = $1").bind(id);
    let found = select.optional(ex, |row| row.opt::<String>("password")).await?;
    Ok(found.flatten().map(PasswordHash))
}

/// All, by name.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(ex: &mut impl Executor) -> Result<Vec<User>> {
    query("SELECT * FROM users ORDER BY name").all(ex, read).await
}

/// Whether there is any.
///
/// # Errors
/// When the database cannot be read.
pub async fn any(ex: &mut impl Executor) -> Result<bool> {
    let found = query("SELECT id FROM users LIMIT 1").optional(ex, |row| row.get::<UserId>("id")).await?;
    Ok(found.is_some())
}

/// Gives a user that is as it was read another role and another state.
///
/// # Errors
/// [`Stale`](crate::StoreError::Stale) when it is no longer so.
pub async fn update(tx: &mut Tx, was: &User, role: &str, disabled_at: Option<Timestamp>) -> Result<()> {
    query(
        "UPDATE users SET role = $1, disabled_at = $2 WHERE id = $3 AND role = $4 \
         AND COALESCE(disabled_at, 0) = $5",
    )
    .bind(role)
    .bind(disabled_at)
    .bind(was.id)
    .bind(was.role.as_str())
    .bind(was.disabled_at.map_or(0, Timestamp::as_microsecond))
    .run_one(tx, WHAT, &was.name)
    .await
}

/// Gives a user that may sign in a password.
///
/// # Errors
/// [`Stale`](crate::StoreError::Stale) when it is disabled or not there.
pub async fn set_password(tx: &mut Tx, id: UserId, password: &PasswordHash) -> Result<()> {
    let update = query("UPDATE users SET password = $1 WHERE id = $2 AND disabled_at IS NULL");
    update.bind(password.0.as_str()).bind(id).run_one(tx, WHAT, id).await
}

/// Notes that a user signed in. False, and nothing changed, when it may not any more.
///
/// # Errors
/// When the database refuses.
pub async fn signed_in(tx: &mut Tx, id: UserId, at: Timestamp) -> Result<bool> {
    let update = query("UPDATE users SET last_sign_in_at = $1 WHERE id = $2 AND disabled_at IS NULL");
    Ok(update.bind(at).bind(id).run(tx).await? == 1)
}

fn read(row: &Row) -> Result<User> {
    Ok(User {
        id: row.get("id")?,
        name: row.get("name")?,
        role: row.get("role")?,
        created_at: row.get("created_at")?,
        disabled_at: row.opt("disabled_at")?,
        last_sign_in_at: row.opt("last_sign_in_at")?,
    })
}

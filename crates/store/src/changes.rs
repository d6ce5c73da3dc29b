//! Changes: commits with what is known of their origin, and their places on the deployed branch.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use backstay_types::{Change, CommitId, Digest, Link, Person, RepositoryId, Timestamp, UndoId};

use crate::{
    Result, Tx,
    db::{Executor, Query, Row, query},
    dialect, links,
    value::{Bind as _, json},
};

const WHAT: &str = "change";

/// A change with what the hub keeps beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownChange {
    /// The change.
    pub change: Change,
    /// The undo that made this commit.
    pub undo: Option<UndoId>,
    /// Digest of its diff; equal for a commit that was rebased or squashed alone.
    pub patch_digest: Option<Digest>,
    /// Its place on the deployed branch, growing towards the tip; absent when the branch does not contain it.
    pub position: Option<i64>,
    /// When it came to the deployed branch, where it had been seen on another before.
    pub landed_at: Option<Timestamp>,
}

/// Keeps a change with its links. False, and nothing changed, when it is kept already.
///
/// # Errors
/// When the database refuses.
pub async fn insert(tx: &mut Tx, known: &KnownChange) -> Result<bool> {
    let change = &known.change;
    let insert = query(
        "INSERT INTO changes (repository_id, commit_id, parents, author_name, author_email, authored_at, \
         committed_at, seen_at, subject, stacks, reverts, undo_id, patch_digest, position, landed_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
         ON CONFLICT (repository_id, commit_id) DO NOTHING",
    );
    let kept = insert
        .bind(change.repository)
        .bind(&change.commit)
        .bind(json(&change.parents)?)
        .bind(change.author.name.as_str())
        .bind(change.author.email.as_str())
        .bind(change.authored_at)
        .bind(change.committed_at)
        .bind(change.seen_at)
        .bind(change.subject.as_str())
        .bind(json(&change.stacks)?)
        .bind(json(&change.reverts)?)
        .bind(known.undo)
        .bind(known.patch_digest)
        .bind(known.position)
        .bind(known.landed_at)
        .run(tx)
        .await?;
    if kept == 0 {
        return Ok(false);
    }
    insert_reverts(tx, change).await?;
    for link in &change.links {
        links::link(tx, change.repository, &change.commit, link).await?;
    }
    Ok(true)
}

async fn insert_reverts(tx: &mut Tx, change: &Change) -> Result<()> {
    let mut reverted = change.reverts.clone();
    reverted.sort_unstable();
    reverted.dedup();
    let rows =
        reverted.iter().map(|r| vec![change.repository.value(), r.value(), change.commit.clone().value()]);
    let head = "INSERT INTO change_reverts (repository_id, reverted, commit_id) VALUES ";
    dialect::bulk(tx, head, "", rows.collect()).await.map(drop)
}

/// Puts a change on the deployed branch at `position`, or takes it off.
///
/// # Errors
/// [`Stale`](crate::StoreError::Stale) when there is no such change.
pub async fn set_position(
    tx: &mut Tx,
    repository: RepositoryId,
    commit: &CommitId,
    position: Option<i64>,
) -> Result<()> {
    query("UPDATE changes SET position = $1 WHERE repository_id = $2 AND commit_id = $3")
        .bind(position)
        .bind(repository)
        .bind(commit)
        .run_one(tx, WHAT, commit)
        .await
}

/// Puts a change that is known already on the deployed branch at `position`; where it was on another only, it has come to
/// the deployed one `at` that time.
///
/// # Errors
/// [`Stale`](crate::StoreError::Stale) when there is no such change.
pub async fn land(
    tx: &mut Tx,
    repository: RepositoryId,
    commit: &CommitId,
    position: i64,
    at: Timestamp,
) -> Result<()> {
    query(
        "UPDATE changes SET landed_at = CASE WHEN position IS NULL THEN $1 ELSE landed_at END, position = $2 \
         WHERE repository_id = $3 AND commit_id = $4",
    )
    .bind(at)
    .bind(position)
    .bind(repository)
    .bind(commit)
    .run_one(tx, WHAT, commit)
    .await
}

/// One change.
///
/// # Errors
/// When the database cannot be read.
pub async fn get(
    ex: &mut impl Executor,
    repository: RepositoryId,
    commit: &CommitId,
) -> Result<Option<KnownChange>> {
    let select = query("SELECT * FROM changes WHERE repository_id = $1 AND commit_id = $2");
    Ok(load(ex, select.bind(repository).bind(commit)).await?.pop())
}

/// Several changes of a repository, in no order; unknown commits are left out.
///
/// # Errors
/// When the database cannot be read.
pub async fn many(
    ex: &mut impl Executor,
    repository: RepositoryId,
    commits: &[CommitId],
) -> Result<Vec<KnownChange>> {
    let mut found = Vec::with_capacity(commits.len());
    for chunk in commits.chunks(500) {
        let mut select = query("SELECT * FROM changes WHERE repository_id = $1 AND commit_id IN ");
        select = select.bind(repository);
        select.push_list(chunk);
        found.extend(load(ex, select).await?);
    }
    Ok(found)
}

/// Several changes, of whatever repositories, in no order; unknown commits are left out.
///
/// # Errors
/// When the database cannot be read.
pub async fn each(
    ex: &mut impl Executor,
    commits: impl IntoIterator<Item = (RepositoryId, CommitId)>,
) -> Result<Vec<KnownChange>> {
    let mut by_repository: BTreeMap<RepositoryId, BTreeSet<CommitId>> = BTreeMap::new();
    for (repository, commit) in commits {
        by_repository.entry(repository).or_default().insert(commit);
    }
    let mut found = Vec::new();
    for (repository, commits) in by_repository {
        found.extend(many(ex, repository, &Vec::from_iter(commits)).await?);
    }
    Ok(found)
}

/// Changes whose commit begins with `prefix` (lower-case hexadecimal digits), over all repositories.
///
/// # Errors
/// When the database cannot be read.
pub async fn by_prefix(ex: &mut impl Executor, prefix: &str, limit: u32) -> Result<Vec<KnownChange>> {
    // `g` sorts after every hexadecimal digit.
    let select =
        query("SELECT * FROM changes WHERE commit_id >= $1 AND commit_id < $2 ORDER BY commit_id LIMIT $3");
    load(ex, select.bind(prefix).bind(format!("{prefix}g")).bind(limit)).await
}

/// Changes of a repository with the same diff, the one seen first, first.
///
/// # Errors
/// When the database cannot be read.
pub async fn by_patch(
    ex: &mut impl Executor,
    repository: RepositoryId,
    patch: Digest,
) -> Result<Vec<KnownChange>> {
    let select =
        "SELECT * FROM changes WHERE repository_id = $1 AND patch_digest = $2 ORDER BY seen_at, commit_id";
    load(ex, query(select).bind(repository).bind(patch)).await
}

/// Changes on the deployed branch with `from <= position <= to`, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn on_branch(
    ex: &mut impl Executor,
    repository: RepositoryId,
    from: i64,
    to: i64,
) -> Result<Vec<KnownChange>> {
    let select = query(
        "SELECT * FROM changes WHERE repository_id = $1 AND position >= $2 AND position <= $3 ORDER BY position",
    );
    load(ex, select.bind(repository).bind(from).bind(to)).await
}

/// Changes on the deployed branch, newest first, before `before` when it is given.
///
/// # Errors
/// When the database cannot be read.
pub async fn history(
    ex: &mut impl Executor,
    repository: RepositoryId,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<KnownChange>> {
    let mut select = query("SELECT * FROM changes WHERE position IS NOT NULL AND repository_id = ");
    select.push_bind(repository);
    if let Some(before) = before {
        select.push(" AND position < ").push_bind(before);
    }
    select.push(" ORDER BY position DESC LIMIT ").push_bind(limit);
    load(ex, select).await
}

/// The highest position on the deployed branch.
///
/// # Errors
/// When the database cannot be read.
pub async fn last_position(ex: &mut impl Executor, repository: RepositoryId) -> Result<Option<i64>> {
    let select = "SELECT MAX(position) AS position FROM changes WHERE repository_id = $1";
    let found = query(select).bind(repository).optional(ex, |row| row.opt("position")).await?;
    Ok(found.flatten())
}

/// Commits that say that they revert `commit`, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn reverting(
    ex: &mut impl Executor,
    repository: RepositoryId,
    commit: &CommitId,
) -> Result<Vec<KnownChange>> {
    let select = query(
        "SELECT c.* FROM change_reverts r \
         JOIN changes c ON c.repository_id = r.repository_id AND c.commit_id = r.commit_id \
         WHERE r.repository_id = $1 AND r.reverted = $2 ORDER BY c.seen_at, c.commit_id",
    );
    load(ex, select.bind(repository).bind(commit)).await
}

/// Runs a select of rows of `changes` and adds their links.
pub(crate) async fn load(ex: &mut impl Executor, select: Query) -> Result<Vec<KnownChange>> {
    let mut found = select.all(ex, read).await?;
    let mut by_commit: HashMap<(RepositoryId, CommitId), Vec<Link>> = HashMap::new();
    for chunk in found.chunks(500) {
        let commits = chunk.iter().map(|k| &k.change.commit);
        for (repository, commit, link) in links::of_commits(ex, commits).await? {
            by_commit.entry((repository, commit)).or_default().push(link);
        }
    }
    for known in &mut found {
        let key = (known.change.repository, known.change.commit.clone());
        known.change.links = by_commit.remove(&key).unwrap_or_default();
        known.change.links.sort_unstable();
    }
    Ok(found)
}

fn read(row: &Row) -> Result<KnownChange> {
    Ok(KnownChange {
        change: Change {
            repository: row.get("repository_id")?,
            commit: row.get("commit_id")?,
            parents: row.json("parents")?,
            author: Person { name: row.get("author_name")?, email: row.get("author_email")? },
            authored_at: row.get("authored_at")?,
            committed_at: row.get("committed_at")?,
            seen_at: row.get("seen_at")?,
            subject: row.get("subject")?,
            stacks: row.json("stacks")?,
            links: Vec::new(),
            reverts: row.json("reverts")?,
        },
        undo: row.opt("undo_id")?,
        patch_digest: row.opt("patch_digest")?,
        position: row.opt("position")?,
        landed_at: row.opt("landed_at")?,
    })
}

//! Releases: one stack's tree each, with the commits that carry it.

use std::collections::BTreeMap;

use backstay_types::{CommitId, PartName, Release, ReleaseId, RepositoryId, StackName, TreeDigest};

use crate::{
    Result, StoreError, Tx,
    db::{Executor, Row, query},
    value::{json, or_empty},
};

const WHAT: &str = "release";

/// Keeps a release unless there is one of this stack and tree. Gives the one that stands, and whether it is new.
/// Its commit is noted as one that carries the tree either way.
///
/// # Errors
/// When the database refuses.
pub async fn ensure(tx: &mut Tx, release: &Release) -> Result<(Release, bool)> {
    let (standing, new) = keep(tx, release).await?;
    add_commit(tx, standing.id, release.repository, &release.commit).await?;
    Ok((standing, new))
}

/// Keeps the release of a part unless there is one of this tree. Gives the one that stands. Which commits led to it is
/// noted apart, since most do not touch it.
///
/// # Errors
/// When the database refuses.
pub async fn ensure_part(tx: &mut Tx, release: &Release) -> Result<Release> {
    Ok(keep(tx, release).await?.0)
}

async fn keep(tx: &mut Tx, release: &Release) -> Result<(Release, bool)> {
    let insert = query(
        "INSERT INTO releases (id, stack, tree, repository_id, commit_id, path, bytes, created_at, part, layout, parts) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
         ON CONFLICT (stack, tree, part, layout) DO NOTHING",
    );
    let kept = insert
        .bind(release.id)
        .bind(&release.stack)
        .bind(release.tree)
        .bind(release.repository)
        .bind(&release.commit)
        .bind(release.path.as_str())
        .bind(release.bytes)
        .bind(release.created_at)
        .bind(or_empty(release.part.as_ref()))
        .bind(or_empty(release.layout))
        .bind(json(&release.parts)?)
        .run(tx)
        .await?;
    let select = "SELECT * FROM releases WHERE stack = $1 AND tree = $2 AND part = $3 AND layout = $4";
    let select = query(select).bind(&release.stack).bind(release.tree);
    let select = select.bind(or_empty(release.part.as_ref())).bind(or_empty(release.layout));
    let standing = select.optional(tx, read).await?;
    let standing = standing.ok_or_else(|| StoreError::stale(WHAT, release.id))?;
    Ok((standing, kept == 1))
}

/// Notes that a commit carries a release's tree, or is part of what led to it. True when that is new.
///
/// # Errors
/// When the database refuses.
pub async fn add_commit(
    tx: &mut Tx,
    release: ReleaseId,
    repository: RepositoryId,
    commit: &CommitId,
) -> Result<bool> {
    let insert = query(
        "INSERT INTO release_commits (release_id, repository_id, commit_id) VALUES ($1, $2, $3) \
         ON CONFLICT (release_id, repository_id, commit_id) DO NOTHING",
    );
    Ok(insert.bind(release).bind(repository).bind(commit).run(tx).await? == 1)
}

/// Notes the commits of the release of a part with that of a whole stack, whose deployments bring it.
///
/// # Errors
/// When the database refuses.
pub async fn share_commits(tx: &mut Tx, part: ReleaseId, whole: ReleaseId) -> Result<()> {
    query(
        "INSERT INTO release_commits (release_id, repository_id, commit_id) \
         SELECT $1, repository_id, commit_id FROM release_commits WHERE release_id = $2 \
         ON CONFLICT (release_id, repository_id, commit_id) DO NOTHING",
    )
    .bind(whole)
    .bind(part)
    .run(tx)
    .await
    .map(drop)
}

/// One by id.
///
/// # Errors
/// When the database cannot be read.
pub async fn get(ex: &mut impl Executor, id: ReleaseId) -> Result<Option<Release>> {
    query("SELECT * FROM releases WHERE id = $1").bind(id).optional(ex, read).await
}

/// Several by id, in no order; unknown ids are left out.
///
/// # Errors
/// When the database cannot be read.
pub async fn many(ex: &mut impl Executor, ids: &[ReleaseId]) -> Result<Vec<Release>> {
    let mut found = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(500) {
        let mut select = query("SELECT * FROM releases WHERE id IN ");
        select.push_list(chunk);
        found.extend(select.all(ex, read).await?);
    }
    Ok(found)
}

/// The release of a whole stack that is made of these releases of its parts.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_parts(
    ex: &mut impl Executor,
    stack: &StackName,
    parts: &BTreeMap<PartName, ReleaseId>,
) -> Result<Option<Release>> {
    let select = "SELECT * FROM releases WHERE stack = $1 AND parts = $2 AND part = '' ORDER BY id LIMIT 1";
    query(select).bind(stack).bind(json(parts)?).optional(ex, read).await
}

/// The releases of a whole stack that a release of one of its parts is in, oldest first.
///
/// # Errors
/// When the database cannot be read.
pub async fn whole_with(
    ex: &mut impl Executor,
    stack: &StackName,
    part: ReleaseId,
) -> Result<Vec<ReleaseId>> {
    let select = "SELECT id FROM releases WHERE stack = $1 AND part = '' AND parts LIKE $2 ORDER BY id";
    query(select).bind(stack).bind(format!("%{}%", json(&part)?)).all(ex, |row| row.get("id")).await
}

/// The parts of a stack with whose releases a commit was noted, in no order; none where it touched no part of it.
///
/// # Errors
/// When the database cannot be read.
pub async fn parts_of_commit(
    ex: &mut impl Executor,
    stack: &StackName,
    repository: RepositoryId,
    commit: &CommitId,
) -> Result<Vec<PartName>> {
    let select = "SELECT DISTINCT r.part FROM release_commits c JOIN releases r ON r.id = c.release_id \
                  WHERE c.commit_id = $1 AND c.repository_id = $2 AND r.stack = $3 AND r.part <> ''";
    query(select).bind(commit).bind(repository).bind(stack).all(ex, |row| row.get("part")).await
}

/// The release of a whole stack with this tree.
///
/// # Errors
/// When the database cannot be read.
pub async fn by_tree(ex: &mut impl Executor, stack: &StackName, tree: TreeDigest) -> Result<Option<Release>> {
    let select =
        "SELECT * FROM releases WHERE stack = $1 AND tree = $2 AND part = '' ORDER BY layout DESC LIMIT 1";
    query(select).bind(stack).bind(tree).optional(ex, read).await
}

/// Releases with this tree, whichever their stack: any of them can give the pack.
///
/// # Errors
/// When the database cannot be read.
pub async fn with_tree(ex: &mut impl Executor, tree: TreeDigest) -> Result<Vec<Release>> {
    query("SELECT * FROM releases WHERE tree = $1 AND part = '' ORDER BY id").bind(tree).all(ex, read).await
}

/// A whole stack's releases, newest first, before id `before`.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_stack(
    ex: &mut impl Executor,
    stack: &StackName,
    before: Option<ReleaseId>,
    limit: u32,
) -> Result<Vec<Release>> {
    let mut select = query("SELECT * FROM releases WHERE part = '' AND stack = ");
    select.push_bind(stack);
    if let Some(before) = before {
        select.push(" AND id < ").push_bind(before);
    }
    select.push(" ORDER BY id DESC LIMIT ").push_bind(limit);
    select.all(ex, read).await
}

/// Releases that a commit carries or is part of.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_commit(
    ex: &mut impl Executor,
    repository: RepositoryId,
    commit: &CommitId,
) -> Result<Vec<Release>> {
    let select = "SELECT r.* FROM release_commits c JOIN releases r ON r.id = c.release_id \
                  WHERE c.commit_id = $1 AND c.repository_id = $2 ORDER BY r.id";
    query(select).bind(commit).bind(repository).all(ex, read).await
}

/// Commits that carry a release's tree or are part of what led to it, in no order.
///
/// # Errors
/// When the database cannot be read.
pub async fn commits(ex: &mut impl Executor, id: ReleaseId) -> Result<Vec<(RepositoryId, CommitId)>> {
    let select = "SELECT repository_id, commit_id FROM release_commits WHERE release_id = $1";
    let map = |row: &Row| Ok((row.get("repository_id")?, row.get("commit_id")?));
    query(select).bind(id).all(ex, map).await
}

pub(crate) fn read(row: &Row) -> Result<Release> {
    Ok(Release {
        id: row.get("id")?,
        stack: row.get("stack")?,
        tree: row.get("tree")?,
        repository: row.get("repository_id")?,
        commit: row.get("commit_id")?,
        path: row.get("path")?,
        bytes: row.get("bytes")?,
        created_at: row.get("created_at")?,
        part: row.filled("part")?,
        layout: row.filled("layout")?,
        parts: row.json("parts")?,
    })
}

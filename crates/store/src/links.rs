//! Which conversations caused which commits, and ids named by commits whose conversation is not known yet.

use backstay_types::{CommitId, ConversationId, ForeignId, Link, LinkSource, RepositoryId};

use crate::{
    Result, Tx,
    changes::{self, KnownChange},
    db::{Executor, Row, query},
    value::word,
};

/// A commit that names an id whose conversation was not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// The repository.
    pub repository: RepositoryId,
    /// The commit.
    pub commit: CommitId,
    /// The id that it names.
    pub id: ForeignId,
    /// How it names it.
    pub source: LinkSource,
}

/// Links a commit with a conversation. A link that is known by a stronger source already stays as it is; true
/// when anything changed.
///
/// # Errors
/// When the database refuses.
pub async fn link(tx: &mut Tx, repository: RepositoryId, commit: &CommitId, link: &Link) -> Result<bool> {
    let upsert = query(
        "INSERT INTO change_links (repository_id, commit_id, conversation_id, source, strength) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (repository_id, commit_id, conversation_id) \
         DO UPDATE SET source = excluded.source, strength = excluded.strength \
         WHERE change_links.strength > excluded.strength",
    );
    let upsert = upsert
        .bind(repository)
        .bind(commit)
        .bind(link.conversation)
        .bind(word(&link.source)?)
        .bind(strength(link.source));
    Ok(upsert.run(tx).await? == 1)
}

/// Lower is stronger; the order of [`LinkSource`].
fn strength(source: LinkSource) -> i64 {
    match source {
        LinkSource::Trailer => 0,
        LinkSource::ForeignTrailer => 1,
        LinkSource::Note => 2,
        LinkSource::Event => 3,
        LinkSource::Derived => 4,
        LinkSource::Guess => 5,
    }
}

/// Takes a link away, as when a guess was wrong. True when there was one.
///
/// # Errors
/// When the database refuses.
pub async fn unlink(
    tx: &mut Tx,
    repository: RepositoryId,
    commit: &CommitId,
    conversation: ConversationId,
) -> Result<bool> {
    let delete =
        "DELETE FROM change_links WHERE repository_id = $1 AND commit_id = $2 AND conversation_id = $3";
    Ok(query(delete).bind(repository).bind(commit).bind(conversation).run(tx).await? == 1)
}

/// Changes linked with a conversation, guesses too, oldest first by when they were seen.
///
/// # Errors
/// When the database cannot be read.
pub async fn changes_of(ex: &mut impl Executor, conversation: ConversationId) -> Result<Vec<KnownChange>> {
    let select = query(
        "SELECT c.* FROM change_links l \
         JOIN changes c ON c.repository_id = l.repository_id AND c.commit_id = l.commit_id \
         WHERE l.conversation_id = $1 ORDER BY c.seen_at, c.position, c.commit_id",
    );
    changes::load(ex, select.bind(conversation)).await
}

/// Links of several commits.
pub(crate) async fn of_commits(
    ex: &mut impl Executor,
    commits: impl Iterator<Item = &CommitId>,
) -> Result<Vec<(RepositoryId, CommitId, Link)>> {
    let mut select = query("SELECT * FROM change_links WHERE commit_id IN ");
    select.push_list(commits);
    let map = |row: &Row| {
        let link = Link { conversation: row.get("conversation_id")?, source: row.word("source")? };
        Ok((row.get("repository_id")?, row.get("commit_id")?, link))
    };
    select.all(ex, map).await
}

/// Remembers that a commit names an id whose conversation is not known yet.
///
/// # Errors
/// When the database refuses.
pub async fn wait(tx: &mut Tx, waiting: &Waiting) -> Result<()> {
    query(
        "INSERT INTO change_foreign (repository_id, commit_id, tool, kind, value, source) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (repository_id, commit_id, tool, kind, value) DO NOTHING",
    )
    .bind(waiting.repository)
    .bind(&waiting.commit)
    .bind(&waiting.id.tool)
    .bind(&waiting.id.kind)
    .bind(&waiting.id.value)
    .bind(word(&waiting.source)?)
    .run(tx)
    .await
    .map(drop)
}

/// Commits that wait for this id.
///
/// # Errors
/// When the database cannot be read.
pub async fn waiting_for(ex: &mut impl Executor, id: &ForeignId) -> Result<Vec<Waiting>> {
    let select = "SELECT * FROM change_foreign WHERE tool = $1 AND kind = $2 AND value = $3 \
                  ORDER BY repository_id, commit_id";
    query(select).bind(&id.tool).bind(&id.kind).bind(&id.value).all(ex, read_waiting).await
}

/// Links the commits that waited for any of these ids with their conversation, now that it is known. Gives those
/// whose link is new or stronger.
///
/// # Errors
/// When the database refuses.
pub async fn settle(tx: &mut Tx, conversation: ConversationId, ids: &[ForeignId]) -> Result<Vec<Waiting>> {
    let mut settled = Vec::new();
    for id in ids {
        for waiting in waiting_for(tx, id).await? {
            let found = Link { conversation, source: waiting.source };
            if link(tx, waiting.repository, &waiting.commit, &found).await? {
                settled.push(waiting);
            }
        }
        let delete = "DELETE FROM change_foreign WHERE tool = $1 AND kind = $2 AND value = $3";
        query(delete).bind(&id.tool).bind(&id.kind).bind(&id.value).run(tx).await?;
    }
    Ok(settled)
}

fn read_waiting(row: &Row) -> Result<Waiting> {
    Ok(Waiting {
        repository: row.get("repository_id")?,
        commit: row.get("commit_id")?,
        id: ForeignId { tool: row.get("tool")?, kind: row.get("kind")?, value: row.get("value")? },
        source: row.word("source")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strength_is_the_order_of_sources() {
        let all = [
            LinkSource::Trailer,
            LinkSource::ForeignTrailer,
            LinkSource::Note,
            LinkSource::Event,
            LinkSource::Derived,
            LinkSource::Guess,
        ];
        assert!(all.is_sorted());
        assert!(all.map(strength).is_sorted());
    }
}

//! Of which conversations nothing is in effect any more, whatever undo took it back.

use std::collections::{HashMap, HashSet};

use backstay_types::{CommitId, ConversationId, RepositoryId};

use crate::{
    Result,
    db::{Executor, Row, query},
};

/// How many ids go into one query.
const CHUNK: usize = 500;

type Key = (RepositoryId, CommitId);

/// Commits, and who reverts them.
#[derive(Default)]
struct Graph {
    /// Whether a commit is on its deployed branch.
    on_branch: HashMap<Key, bool>,
    reverted_by: HashMap<Key, Vec<Key>>,
}

/// Those of the conversations whose commits are all taken back on the deployed branches: by an undo of theirs, of a
/// time, of a commit, or by a revert of somebody's own. One that was taken back and brought again is not one of
/// them, nor is one whose commits never were on a branch. Links that are only guesses do not count.
///
/// # Errors
/// When the database cannot be read.
pub async fn undone(
    ex: &mut impl Executor,
    conversations: &[ConversationId],
) -> Result<HashSet<ConversationId>> {
    let mut graph = Graph::default();
    let mut commits: HashMap<ConversationId, Vec<Key>> = HashMap::new();
    for chunk in conversations.chunks(CHUNK) {
        let mut select = query(
            "SELECT l.conversation_id, l.repository_id, l.commit_id, c.position FROM change_links l \
             JOIN changes c ON c.repository_id = l.repository_id AND c.commit_id = l.commit_id \
             WHERE l.source <> 'guess' AND l.conversation_id IN ",
        );
        select.push_list(chunk);
        let read = |row: &Row| Ok((row.get("conversation_id")?, commit(row)?, on_branch(row)?));
        for (conversation, key, on_branch) in select.all(ex, read).await? {
            graph.on_branch.insert(key.clone(), on_branch);
            commits.entry(conversation).or_default().push(key);
        }
    }
    graph.follow(ex).await?;
    let mut known = HashMap::new();
    let mut gone = |keys: &[Key]| {
        let in_effect = keys.iter().any(|key| graph.in_effect(key, &mut known));
        !in_effect && keys.iter().any(|key| graph.is_reverted(key, &mut known))
    };
    Ok(commits.iter().filter(|(_, keys)| gone(keys)).map(|(id, _)| *id).collect())
}

fn commit(row: &Row) -> Result<Key> {
    Ok((row.get("repository_id")?, row.get("commit_id")?))
}

fn on_branch(row: &Row) -> Result<bool> {
    Ok(row.opt::<i64>("position")?.is_some())
}

impl Graph {
    /// Finds the reverts of what is known, and the reverts of those.
    async fn follow(&mut self, ex: &mut impl Executor) -> Result<()> {
        let mut open: Vec<CommitId> = self.on_branch.keys().map(|(_, commit)| commit.clone()).collect();
        while !open.is_empty() {
            let mut next = Vec::new();
            for chunk in open.chunks(CHUNK) {
                let mut select = query(
                    "SELECT r.repository_id, r.reverted, r.commit_id, c.position FROM change_reverts r \
                     JOIN changes c ON c.repository_id = r.repository_id AND c.commit_id = r.commit_id \
                     WHERE r.commit_id <> r.reverted AND r.reverted IN ",
                );
                select.push_list(chunk);
                let read = |row: &Row| Ok((row.get::<CommitId>("reverted")?, commit(row)?, on_branch(row)?));
                for (reverted, key, on_branch) in select.all(ex, read).await? {
                    self.reverted_by.entry((key.0, reverted)).or_default().push(key.clone());
                    if self.on_branch.insert(key.clone(), on_branch).is_none() {
                        next.push(key.1);
                    }
                }
            }
            open = next;
        }
        Ok(())
    }

    /// Whether a commit is on its branch and no revert of it is in effect.
    fn in_effect(&self, key: &Key, known: &mut HashMap<Key, bool>) -> bool {
        if let Some(known) = known.get(key) {
            return *known;
        }
        // Messages may claim a circle; nothing in it counts.
        known.insert(key.clone(), false);
        let on_branch = self.on_branch.get(key).copied().unwrap_or_default();
        let in_effect = on_branch && !self.is_reverted(key, known);
        known.insert(key.clone(), in_effect);
        in_effect
    }

    fn is_reverted(&self, key: &Key, known: &mut HashMap<Key, bool>) -> bool {
        self.reverted_by.get(key).into_iter().flatten().any(|by| self.in_effect(by, known))
    }
}

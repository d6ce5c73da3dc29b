//! Which conversations caused a commit, and how that is known.

use std::collections::BTreeMap;

use backstay_source::{ChangeFacts, Provenance};
use backstay_store::{Tx, changes, conversations, links as store_links, tool_events};
use backstay_types::{
    CommitId, ConversationId, Event, ForeignId, Link, LinkSource, Refs, RepositoryId, Timestamp,
};

use crate::EngineError;

/// How long after a conversation was last heard of a commit may still be guessed to be its own.
const GUESS_AFTER: i64 = 10 * 60;

/// The links of a commit that is seen for the first time, strongest first. Conversations named for the first
/// time are minted.
pub(crate) async fn links(
    tx: &mut Tx,
    repository: RepositoryId,
    facts: &ChangeFacts,
    now: Timestamp,
) -> Result<Vec<Link>, EngineError> {
    let mut links = Links::default();
    for provenance in &facts.provenance {
        match provenance {
            Provenance::Conversation(id) => {
                known(tx, *id, now).await?;
                links.add(*id, LinkSource::Trailer);
            }
            Provenance::Foreign(id) => {
                links.add(resolve(tx, id, facts.authored_at).await?, LinkSource::ForeignTrailer);
            }
            Provenance::Note(note) => {
                links.add(resolve(tx, &note.session, facts.authored_at).await?, LinkSource::Note);
            }
            Provenance::CoAuthor(_) | Provenance::AssistedBy(_) => {}
        }
    }
    for event in tool_events::naming_commit(tx, &facts.commit).await? {
        if let Some(id) = event.conversation {
            links.add(id, LinkSource::Event);
        }
    }
    // What an undo brings back is the undo's doing, though the diff is an old one.
    if let Some(patch) = facts.patch.filter(|_| facts.undo.is_empty()) {
        for earlier in changes::by_patch(tx, repository, patch).await? {
            if earlier.change.commit != facts.commit {
                let certain = earlier.change.links.iter().filter(|l| l.source.is_certain());
                certain.for_each(|l| links.add(l.conversation, LinkSource::Derived));
            }
        }
    }
    if links.is_empty()
        && facts.undo.is_empty()
        && let Some(id) = guess(tx, facts.authored_at).await?
    {
        links.add(id, LinkSource::Guess);
    }
    Ok(links.0.into_iter().map(|(conversation, source)| Link { conversation, source }).collect())
}

/// At most one link for each conversation: the strongest.
#[derive(Default)]
struct Links(BTreeMap<ConversationId, LinkSource>);

impl Links {
    fn add(&mut self, conversation: ConversationId, source: LinkSource) {
        let strongest = self.0.entry(conversation).or_insert(source);
        *strongest = source.min(*strongest);
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Makes sure that a conversation named by a trailer of ours is known; another hub may have minted it.
async fn known(tx: &mut Tx, id: ConversationId, now: Timestamp) -> Result<(), EngineError> {
    let tool = "unknown";
    if conversations::ensure(tx, id, tool, now).await? {
        opened(tx, id, tool)?;
    }
    Ok(())
}

/// The conversation behind a foreign id, minted at first sight.
pub(crate) async fn resolve(
    tx: &mut Tx,
    id: &ForeignId,
    at: Timestamp,
) -> Result<ConversationId, EngineError> {
    let resolved = conversations::resolve(tx, &id.tool, std::slice::from_ref(id), at).await?;
    if resolved.minted {
        opened(tx, resolved.id, &id.tool)?;
    }
    Ok(resolved.id)
}

pub(crate) fn opened(tx: &mut Tx, id: ConversationId, tool: &str) -> Result<(), EngineError> {
    let refs = Refs { conversation: Some(id), ..Refs::default() };
    tx.record(Event::ConversationOpened { tool: tool.to_owned() }, refs)?;
    Ok(())
}

/// The only conversation that was active when a commit was written. Two make it nobody's.
async fn guess(tx: &mut Tx, at: Timestamp) -> Result<Option<ConversationId>, EngineError> {
    let from = shifted(at, -GUESS_AFTER);
    let events = tool_events::between(tx, from, at, 1000).await?;
    let mut ids: Vec<_> = events.iter().filter_map(|e| e.conversation).collect();
    ids.sort();
    ids.dedup();
    Ok(match ids[..] {
        [only] => Some(only),
        _ => None,
    })
}

fn shifted(at: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_second(at.as_second().saturating_add(seconds)).unwrap_or(at)
}

/// Links commits that a tool's event names, when they were seen before the event came.
pub(crate) async fn link_named(
    tx: &mut Tx,
    conversation: ConversationId,
    named: &[String],
) -> Result<(), EngineError> {
    for text in named {
        for known in changes::by_prefix(tx, text, 10).await? {
            let change = known.change;
            link_later(tx, change.repository, &change.commit, conversation, LinkSource::Event).await?;
        }
    }
    Ok(())
}

/// Adds a link to a commit that is known already.
async fn link_later(
    tx: &mut Tx,
    repository: RepositoryId,
    commit: &CommitId,
    conversation: ConversationId,
    source: LinkSource,
) -> Result<(), EngineError> {
    if store_links::link(tx, repository, commit, &Link { conversation, source }).await? {
        let refs = Refs {
            conversation: Some(conversation),
            repository: Some(repository),
            commit: Some(commit.clone()),
            ..Refs::default()
        };
        tx.record(Event::ChangeLinked { source }, refs)?;
    }
    Ok(())
}

//! Notes of git-ai under `refs/notes/ai` (authorship/3): attestation lines, a line `---`, then JSON.
//! Read only; a note that cannot be understood links nothing.

use std::collections::{BTreeMap, BTreeSet};

use backstay_types::{CommitId, ForeignId};
use gix::{ObjectId, Repository as Git};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::{
    error::SourceError,
    message::NoteSession,
    mirror::{Mirror, commit_id},
    tree_diff,
};

const MAX_NOTE_BYTES: u64 = 4 << 20;

#[derive(Deserialize)]
struct Note {
    schema_version: String,
    #[serde(default)]
    sessions: BTreeMap<String, Session>,
}

#[derive(Deserialize)]
struct Session {
    agent_id: Agent,
    #[serde(default)]
    human_author: Option<String>,
}

#[derive(Deserialize)]
struct Agent {
    tool: String,
    id: String,
    #[serde(default)]
    model: Option<String>,
}

/// The sessions that a note names. Pure. A session whose key is not the hash of its tool and id is left out:
/// it was not written by git-ai.
pub fn read_note(text: &str) -> Vec<NoteSession> {
    let json = match text.split_once("\n---\n") {
        Some((_, json)) => json,
        None => text.strip_prefix("---\n").unwrap_or_default(),
    };
    let Ok(note) = serde_json::from_str::<Note>(json) else { return Vec::new() };
    if !note.schema_version.starts_with("authorship/3") {
        return Vec::new();
    }
    let genuine = note.sessions.into_iter().filter(|(key, session)| *key == session_key(&session.agent_id));
    genuine
        .map(|(_, Session { agent_id, human_author })| NoteSession {
            session: ForeignId { tool: agent_id.tool, kind: "session_id".to_owned(), value: agent_id.id },
            model: agent_id.model,
            human: human_author,
        })
        .collect()
}

fn session_key(agent: &Agent) -> String {
    let hash = hex::encode(Sha256::digest(format!("{}:{}", agent.tool, agent.id)));
    format!("s_{}", &hash[..14])
}

impl Mirror {
    /// The sessions that the note on a commit names, if it has one.
    ///
    /// # Errors
    /// When the mirror cannot be read.
    pub fn note_sessions(&self, commit: &CommitId) -> Result<Vec<NoteSession>, SourceError> {
        let git = self.git();
        let Some(notes) = self.notes_tip()? else { return Ok(Vec::new()) };
        let tree = self.tree_of(&git, self.commit_oid(&git, &notes)?)?;
        self.sessions_on(&git, tree, commit)
    }

    /// Commits whose notes differ between two tips of the notes: what to look at again after a fetch.
    ///
    /// # Errors
    /// When the mirror cannot be read.
    pub fn notes_changed(
        &self,
        before: Option<&CommitId>,
        now: &CommitId,
    ) -> Result<Vec<CommitId>, SourceError> {
        let git = self.git();
        let tree = |commit: &CommitId| self.tree_of(&git, self.commit_oid(&git, commit)?);
        let old = before.map(tree).transpose()?.unwrap_or_else(|| empty_tree(&git));
        let mut commits = BTreeSet::new();
        for change in tree_diff::changes(self, &git, old, tree(now)?)? {
            let hex: Vec<u8> = change.path.iter().copied().filter(|b| *b != b'/').collect();
            commits.extend(ObjectId::from_hex(&hex).ok().map(commit_id));
        }
        Ok(commits.into_iter().collect())
    }

    pub(crate) fn sessions_on(
        &self,
        git: &Git,
        notes_tree: ObjectId,
        commit: &CommitId,
    ) -> Result<Vec<NoteSession>, SourceError> {
        let read = || -> gix::Result<Option<String>> {
            let hex = commit.as_str();
            let tree = git.find_tree(notes_tree)?;
            // Notes trees fan out by two digits a level as they grow.
            for levels in 0..4 {
                let mut parts: Vec<&str> = (0..levels).map(|level| &hex[2 * level..2 * level + 2]).collect();
                parts.push(&hex[2 * levels..]);
                let Some(entry) = tree.lookup_entry(parts)? else { continue };
                if entry.mode().is_blob() && git.find_header(entry.id())?.size() <= MAX_NOTE_BYTES {
                    let data = git.find_blob(entry.id())?.take_data();
                    return Ok(Some(String::from_utf8_lossy(&data).into_owned()));
                }
            }
            Ok(None)
        };
        let text = read().map_err(|e| self.broken("reading notes", &e))?;
        Ok(text.map(|text| read_note(&text)).unwrap_or_default())
    }
}

pub(crate) fn empty_tree(git: &Git) -> ObjectId {
    ObjectId::empty_tree(git.object_hash())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(key: &str) -> String {
        format!(
            "src/main.rs\n  {key} 1-10,15\n---\n{{\"schema_version\":\"authorship/3.0.0\",\"sessions\":{{\"{key}\":\
             {{\"agent_id\":{{\"tool\":\"claude\",\"id\":\"abc\",\"model\":\"m-1\"}},\"human_author\":\"A <a@x>\"}}}}}}"
        )
    }

    #[test]
    fn reads_a_note_and_checks_its_key() {
        let agent = Agent { tool: "claude".into(), id: "abc".into(), model: None };
        let sessions = read_note(&note(&session_key(&agent)));
        assert_eq!(sessions.len(), 1);
        assert_eq!(sessions[0].session.value, "abc");
        assert_eq!(sessions[0].model.as_deref(), Some("m-1"));
        assert_eq!(read_note(&note("s_00000000000000")), []);
    }

    #[test]
    fn nonsense_links_nothing() {
        for text in ["", "---\n", "---\n{}", "a\n---\nnot json", "---\n{\"schema_version\":\"authorship/9\"}"]
        {
            assert_eq!(read_note(text), [], "{text:?}");
        }
    }
}

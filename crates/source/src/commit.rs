//! Making the undo commit: whole on disk, under its ref, or not at all.

use std::fmt::Write as _;

use backstay_types::{CommitId, Person, Timestamp, UndoId};
use gix::{
    ObjectId,
    actor::Signature,
    date::Time,
    objs::{Commit, Kind, TreeRefIter, WriteTo as _, compute_hash},
};

use crate::{
    draft::Draft,
    durable,
    error::SourceError,
    locks::Lock,
    mirror::{Mirror, commit_id, undo_ref},
};

/// A commit to be made.
#[derive(Debug, Clone)]
pub struct NewCommit<'a> {
    /// Its tree.
    pub draft: &'a Draft,
    /// Its parents; the tip that the draft was made from is the first.
    pub parents: &'a [CommitId],
    /// Its message, whole.
    pub message: &'a str,
    /// Author and committer.
    pub by: &'a Person,
    /// When. The same input gives the same commit.
    pub at: Timestamp,
}

/// The message of an undo commit: what it is for people, and the trailers by which it is known again.
pub fn undo_message(subject: &str, body: &str, undo: UndoId, reverts: &[CommitId]) -> String {
    let subject = subject.lines().next().unwrap_or_default().trim();
    let mut message = format!("{subject}\n");
    if !body.trim().is_empty() {
        write!(message, "\n{}\n", body.trim()).ok();
    }
    write!(message, "\nBackstay-Undo: {undo}\n").ok();
    for commit in reverts {
        writeln!(message, "Backstay-Reverts: {commit}").ok();
    }
    message
}

impl Mirror {
    /// Makes a commit and points `refs/backstay/undo/<id>` at it. When this returns, both are on disk; when
    /// it is cut short, neither is visible. Repeating it with the same input changes nothing.
    ///
    /// # Errors
    /// When a parent is not in the mirror, or the mirror cannot be written.
    pub fn commit_undo(&self, undo: UndoId, new: &NewCommit<'_>) -> Result<CommitId, SourceError> {
        self.commit_as(Some(&undo_ref(undo)), new)
    }

    /// Makes a commit that stays in the mirror without being on any branch, see [`Mirror::accept`].
    ///
    /// # Errors
    /// As [`Self::commit_undo`].
    pub fn commit_composed(&self, new: &NewCommit<'_>) -> Result<CommitId, SourceError> {
        let made = self.commit_as(None, new)?;
        self.accept(&made)?;
        Ok(made)
    }

    fn commit_as(&self, name: Option<&str>, new: &NewCommit<'_>) -> Result<CommitId, SourceError> {
        let git = self.git();
        let parents: Vec<ObjectId> =
            new.parents.iter().map(|parent| self.commit_oid(&git, parent)).collect::<Result<_, _>>()?;
        let signature = Signature {
            name: printable(&new.by.name).into(),
            email: printable(&new.by.email).into(),
            time: Time { seconds: new.at.as_second(), offset: 0 },
        };
        let commit = Commit {
            tree: new.draft.tree_oid(),
            parents: parents.into(),
            author: signature.clone(),
            committer: signature,
            encoding: None,
            message: new.message.into(),
            extra_headers: Vec::new(),
        };
        let mut data = Vec::new();
        commit.write_to(&mut data).map_err(|e| self.broken("composing a commit", &e))?;
        let id = compute_hash(git.object_hash(), Kind::Commit, &data);
        let id = id.map_err(|e| self.broken("composing a commit", &e))?;
        let mut objects = needed(new.draft);
        objects.push((&id, Kind::Commit, &data));
        let _lock = self.lock(Lock::Write)?;
        durable::write_objects(&self.dir.join("objects"), &self.private(), objects)
            .map_err(SourceError::io(&self.dir, "writing a commit"))?;
        if let Some(name) = name {
            self.write_ref(name, id)?;
        }
        Ok(commit_id(id))
    }
}

/// The draft's own objects that its tree needs; merging leaves others behind. Content before what names it.
fn needed(draft: &Draft) -> Vec<(&ObjectId, Kind, &[u8])> {
    let mut objects: Vec<(&ObjectId, Kind, &[u8])> = Vec::new();
    let mut open = vec![draft.tree_oid()];
    while let Some(id) = open.pop() {
        let Some((id, (kind, data))) = draft.objects().get_key_value(&id) else { continue };
        if objects.iter().any(|(known, ..)| *known == id) {
            continue;
        }
        objects.push((id, *kind, data));
        if *kind == Kind::Tree {
            let entries = TreeRefIter::from_bytes(data, id.kind());
            open.extend(entries.flatten().map(|entry| entry.oid.to_owned()));
        }
    }
    objects.reverse();
    objects
}

/// A name or address that Git can write in a header.
fn printable(text: &str) -> String {
    let clean: String = text.chars().filter(|c| !c.is_control() && !"<>".contains(*c)).collect();
    let clean = clean.trim();
    if clean.is_empty() { "unknown".to_owned() } else { clean.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::read_message;

    #[test]
    fn a_message_says_what_it_undoes() {
        let undo: UndoId = "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b".parse().unwrap();
        let commit: CommitId = "0123456789abcdef0123456789abcdef01234567".parse().unwrap();
        let message = undo_message("Undo x\ny", "why\n", undo, std::slice::from_ref(&commit));
        let facts = read_message(&message);
        assert_eq!(facts.subject, "Undo x");
        assert_eq!(facts.undo, [undo]);
        assert_eq!(facts.reverts, [commit.to_string()]);
        assert!(message.contains("\n\nwhy\n\nBackstay-Undo"));
    }
}

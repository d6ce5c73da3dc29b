//! A digest of what a commit changes, which stays the same when the commit is rebased, cherry-picked or
//! squashed alone: over paths, modes and the lines removed and added, without line numbers or context.

use backstay_types::{CommitId, Digest};
use gix::{
    ObjectId, Repository as Git,
    diff::blob::{Algorithm, Diff, InternedInput, sources::byte_lines},
    objs::tree::EntryMode,
};
use sha2::{Digest as _, Sha256};

use crate::{error::SourceError, mirror::Mirror, tree_diff};

/// Larger files, and those that are not text, count by their ids.
const MAX_TEXT_BYTES: u64 = 1 << 20;

impl Mirror {
    /// The digest of the difference between two commits, such as the fork point of a branch and its tip, to be
    /// compared with [`crate::ChangeFacts::patch`]. `None` when there is no difference.
    ///
    /// # Errors
    /// When one of them is not in the mirror.
    pub fn patch_between(&self, from: &CommitId, to: &CommitId) -> Result<Option<Digest>, SourceError> {
        let git = self.git();
        let tree = |commit: &CommitId| self.tree_of(&git, self.commit_oid(&git, commit)?);
        patch(self, &git, &tree_diff::changes(self, &git, tree(from)?, tree(to)?)?)
    }
}

pub(crate) fn patch(
    mirror: &Mirror,
    git: &Git,
    changes: &[tree_diff::FileChange],
) -> Result<Option<Digest>, SourceError> {
    if changes.is_empty() {
        return Ok(None);
    }
    let mut hash = Sha256::new_with_prefix(b"backstay-patch-1\n");
    for change in changes {
        frame(&mut hash, b'f', &change.path);
        mode(&mut hash, change.old.map(|(mode, _)| mode));
        mode(&mut hash, change.new.map(|(mode, _)| mode));
        file(git, change, &mut hash).map_err(|e| mirror.broken("comparing files", &e))?;
    }
    Ok(Some(Digest::from_bytes(hash.finalize().into())))
}

fn file(git: &Git, change: &tree_diff::FileChange, hash: &mut Sha256) -> gix::Result<()> {
    let (old, new) = (text(git, change.old)?, text(git, change.new)?);
    let (Some(old), Some(new)) = (old, new) else {
        for (_, id) in [change.old, change.new].into_iter().flatten() {
            frame(hash, b'b', id.as_slice());
        }
        return Ok(());
    };
    let input = InternedInput::new(byte_lines(&old), byte_lines(&new));
    let mut diff = Diff::compute(Algorithm::Histogram, &input);
    diff.postprocess_lines(&input);
    for hunk in diff.hunks() {
        frame(hash, b'@', b"");
        for token in &input.before[hunk.before.start as usize..hunk.before.end as usize] {
            frame(hash, b'-', input.interner[*token]);
        }
        for token in &input.after[hunk.after.start as usize..hunk.after.end as usize] {
            frame(hash, b'+', input.interner[*token]);
        }
    }
    Ok(())
}

/// The content if it is text of a sensible size; an absent side is empty.
fn text(git: &Git, side: Option<(EntryMode, ObjectId)>) -> gix::Result<Option<Vec<u8>>> {
    let Some((mode, id)) = side else { return Ok(Some(Vec::new())) };
    if mode.is_commit() || git.find_header(id)?.size() > MAX_TEXT_BYTES {
        return Ok(None);
    }
    let data = git.find_blob(id)?.take_data();
    let binary = data.iter().take(8000).any(|byte| *byte == 0);
    Ok((!binary).then_some(data))
}

fn mode(hash: &mut Sha256, mode: Option<EntryMode>) {
    hash.update(mode.map_or(0, |mode| u32::from(mode.value())).to_le_bytes());
}

/// Lengths go in, so that no two different patches have the same bytes.
fn frame(hash: &mut Sha256, kind: u8, bytes: &[u8]) {
    hash.update([kind]);
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

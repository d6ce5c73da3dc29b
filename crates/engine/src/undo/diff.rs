//! What an undo changes in the files, for people to look at.

use backstay_types::{Repository, Undo, diff::Diff};

use super::WantedUndo;
use crate::{Engine, EngineError, mirrors::blocking};

impl Engine {
    /// What an undo would change in the files.
    ///
    /// # Errors
    /// As [`Engine::plan_undo`].
    pub async fn plan_undo_diff(&self, want: &WantedUndo) -> Result<Diff, EngineError> {
        let mut whole = Diff::default();
        for part in self.compute(want).await?.parts {
            let (mirror, tip, result) = (part.mirror, part.part.tip, part.result);
            let diff = blocking(move || mirror.diff(Some(&tip), &result, "")).await?;
            join(&mut whole, &part.part.repository, diff);
        }
        Ok(name_if_one(whole))
    }

    /// What an undo changed in the files; of one that conflicts, what it would.
    ///
    /// # Errors
    /// When a mirror does not have it any more, or as [`Engine::plan_undo`].
    pub async fn undo_diff(&self, undo: &Undo) -> Result<Diff, EngineError> {
        if undo.plan.repositories.iter().all(|part| part.commit.is_none()) {
            return self.plan_undo_diff(&self.request(undo.id).await?).await;
        }
        let mut whole = Diff::default();
        for part in &undo.plan.repositories {
            let Some(commit) = part.commit.clone() else { continue };
            let repository = self.repository(part.repository).await?;
            let (mirror, base) = (self.inner.mirrors.of(&repository)?, part.base.clone());
            let diff = blocking(move || mirror.diff(Some(&base), &commit, "")).await?;
            join(&mut whole, &repository, diff);
        }
        Ok(name_if_one(whole))
    }
}

/// Adds a repository's part, each file with the repository's name in front.
fn join(whole: &mut Diff, repository: &Repository, part: Diff) {
    whole.truncated |= part.truncated;
    whole.files.extend(part.files.into_iter().map(|mut file| {
        file.path = format!("{}:{}", repository.name, file.path);
        file
    }));
}

/// Where all is of one repository, its name says nothing.
fn name_if_one(mut diff: Diff) -> Diff {
    let name = |path: &str| path.split_once(':').map(|(name, _)| name.to_owned());
    let mut names: Vec<_> = diff.files.iter().filter_map(|file| name(&file.path)).collect();
    names.dedup();
    if let [one] = &names[..] {
        let skipped = one.len() + 1;
        diff.files.iter_mut().for_each(|file| drop(file.path.drain(..skipped)));
    }
    diff
}

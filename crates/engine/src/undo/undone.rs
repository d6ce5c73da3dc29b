//! Which releases contain what an undo took back.

use std::collections::{BTreeSet, HashSet};

use backstay_store::{Executor, stacks};
use backstay_types::{
    Constraint, ConstraintOrigin, Effect, Meaning, Release, ReleaseId, Undo, UndoRoute, UndoSelector,
};

use crate::{Engine, EngineError};

impl Engine {
    /// Those of some releases of a stack that contain what an undo took back.
    pub(crate) async fn undone_of<'r>(
        &self,
        ex: &mut impl Executor,
        stack: &stacks::Stack,
        releases: impl Iterator<Item = &'r Release> + Clone,
        constraints: &[Constraint],
    ) -> Result<BTreeSet<ReleaseId>, EngineError> {
        let mut undone = BTreeSet::new();
        for constraint in constraints {
            let Effect::Hold { repository, commit } = &constraint.effect else { continue };
            if !matches!(constraint.origin, ConstraintOrigin::Undo { .. }) || *repository != stack.repository
            {
                continue;
            }
            for release in releases.clone().filter(|release| release.stack == stack.name) {
                if !undone.contains(&release.id)
                    && self.is_contained(ex, *repository, commit, release).await?
                {
                    undone.insert(release.id);
                }
            }
        }
        Ok(undone)
    }

    /// Those of the releases that contain none of what an undo takes back. None of one that asks for a state, or for what
    /// an earlier undo took back: there it is not enough that something runs nowhere.
    pub(super) async fn clear_of(
        &self,
        ex: &mut impl Executor,
        undo: &Undo,
        releases: &[Release],
    ) -> Result<HashSet<ReleaseId>, EngineError> {
        let takes_back = match &undo.selector {
            UndoSelector::Conversation { meaning, .. } => *meaning == Meaning::OnlyIts,
            UndoSelector::Deployment { .. } | UndoSelector::Last => true,
            UndoSelector::Time { .. } | UndoSelector::Commit { .. } | UndoSelector::Undo { .. } => false,
        };
        // Where some nodes are pinned, these and no others are meant.
        let for_everyone = undo.plan.repositories.iter().all(|part| part.route == UndoRoute::Branch);
        let mut clear = HashSet::new();
        if !takes_back || !for_everyone {
            return Ok(clear);
        }
        'releases: for release in releases {
            for part in undo.plan.repositories.iter().filter(|part| part.repository == release.repository) {
                for commit in &part.commits {
                    if self.is_contained(ex, part.repository, commit, release).await? {
                        continue 'releases;
                    }
                }
            }
            clear.insert(release.id);
        }
        Ok(clear)
    }
}

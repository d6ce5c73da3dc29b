//! An undo on a draft of the tree: what is taken back, conflicts, and the stacks that this changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use backstay_manifest::{BASE_PART, Selector};
use backstay_source::{Draft, Mirror, Resolution, SourceError, StackTree};
use backstay_types::{CommitId, ConflictedFile, PartName, SkippedChange, StackName, tree::below};

use super::{
    WantedUndo,
    select::{Part, PartChange},
};
use crate::{
    EngineError,
    sync::{TipError, assignment, describe, read_fleet},
};

/// What Git says a part comes to.
pub(super) struct Outcome {
    pub(super) draft: Draft,
    pub(super) commits: Vec<CommitId>,
    pub(super) skipped: Vec<SkippedChange>,
    pub(super) conflicts: Vec<ConflictedFile>,
    pub(super) files: Vec<String>,
    pub(super) notes: Vec<String>,
    pub(super) changed: Vec<(StackName, String, StackTree)>,
    pub(super) gone: Vec<StackName>,
    /// Stacks that other nodes would run than do now, as they would be.
    pub(super) assigned: Vec<(StackName, StackTree)>,
    /// Who would run each stack.
    pub(super) assignments: BTreeMap<StackName, Vec<Selector>>,
}

/// Takes back what a part says, on a draft of its tip's tree, and sees what comes of it. With conflicts nothing is known
/// of what would change.
pub(super) async fn work_out(
    mirror: &Arc<Mirror>,
    part: &Part,
    want: &WantedUndo,
) -> Result<Outcome, EngineError> {
    let (mirror, part) = (Arc::clone(mirror), part.clone());
    let resolutions = resolutions(want, &part);
    let only = want.scope.stack.clone().map(|stack| (stack, want.scope.part.clone()));
    let work = move || -> Result<Outcome, EngineError> {
        let mut outcome = apply(&mirror, &part, &resolutions)?;
        if let Some((stack, of)) = &only {
            keep_to(&mirror, &part, (stack, of.as_ref()), &mut outcome)?;
        }
        if outcome.conflicts.is_empty() {
            compare(&mirror, &part, &mut outcome)?;
        }
        Ok(outcome)
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| EngineError::Stopping)?
}

/// This repository's part of the resolutions.
fn resolutions(want: &WantedUndo, part: &Part) -> BTreeMap<String, Resolution> {
    let prefix = format!("{}:", part.repository.name);
    let own =
        want.resolutions.iter().filter_map(|(path, content)| Some((path.strip_prefix(&prefix)?, content)));
    own.map(|(path, content)| {
        let resolution = match content {
            Some(text) => Resolution::Content(text.clone().into_bytes()),
            None => Resolution::Delete,
        };
        (path.to_owned(), resolution)
    })
    .collect()
}

fn apply(
    mirror: &Mirror,
    part: &Part,
    resolutions: &BTreeMap<String, Resolution>,
) -> Result<Outcome, SourceError> {
    let mut outcome = Outcome {
        draft: mirror.draft_of(&part.tip)?,
        commits: part.commits.clone(),
        skipped: Vec::new(),
        conflicts: Vec::new(),
        files: Vec::new(),
        notes: Vec::new(),
        changed: Vec::new(),
        gone: Vec::new(),
        assigned: Vec::new(),
        assignments: BTreeMap::new(),
    };
    match &part.change {
        PartChange::Nothing => {}
        PartChange::Revert => {
            let reverted = mirror.plan_revert(&part.tip, &part.commits, resolutions)?;
            outcome.draft = reverted.draft;
            outcome.commits = reverted.reverted;
            outcome.skipped = reverted
                .skipped
                .into_iter()
                .map(|s| SkippedChange { commit: s.commit, reason: s.reason.to_string() })
                .collect();
            outcome.conflicts = reverted.conflicts.into_iter().map(ConflictedFile::from).collect();
            outcome.files = reverted.files;
            outcome.notes = reverted.notes;
        }
        PartChange::Restore(targets) => {
            let restored = mirror.plan_restore_each(&part.tip, targets)?;
            outcome.draft = restored.draft;
            outcome.files = restored.files;
        }
    }
    Ok(outcome)
}

/// Leaves every file outside one stack's folder, or one part of it, as it is at the tip.
fn keep_to(
    mirror: &Mirror,
    part: &Part,
    (stack, of): (&StackName, Option<&PartName>),
    outcome: &mut Outcome,
) -> Result<(), EngineError> {
    let fleet = read_fleet(mirror, &part.repository, &part.tip).map_err(tip_error)?;
    let Some(stack) = fleet.stacks.get(stack) else { return Ok(()) };
    let declared = &stack.manifest.parts;
    if let Some(of) = of.filter(|of| of.as_str() != BASE_PART && declared.named(of).is_none()) {
        let names = declared.iter().map(|part| part.name.as_str()).chain([BASE_PART]);
        let names = names.collect::<Vec<_>>().join(", ");
        let message = format!("`{}` has no part `{of}`: expected one of {names}", stack.name);
        return Err(EngineError::Invalid(message));
    }
    let inside = |path: &String| {
        below(&stack.path, path).is_some_and(|own| of.is_none_or(|of| declared.is_of(own, of)))
    };
    let outside: Vec<_> = outcome.files.iter().filter(|path| !inside(path)).cloned().collect();
    for path in outside {
        let before = mirror.try_read(&part.tip, &path)?;
        outcome.draft = mirror.with_file(&outcome.draft, &path, before.as_deref())?;
    }
    outcome.files.retain(inside);
    outcome.conflicts.retain(|c| inside(&c.path));
    Ok(())
}

/// Checks the result, and finds the stacks that it changes. Textually clean is not yet valid.
fn compare(mirror: &Mirror, part: &Part, outcome: &mut Outcome) -> Result<(), EngineError> {
    let after = read_fleet(mirror, &part.repository, &outcome.draft).map_err(tip_error)?;
    // A tip that is not valid itself is no reason to refuse what mends it.
    let tip = read_fleet(mirror, &part.repository, &part.tip).ok();
    let stacks = tip.iter().flat_map(|fleet| fleet.stacks.values());
    let before: BTreeSet<_> = stacks.map(|s| (s.name.clone(), s.path.clone())).collect();
    for stack in after.stacks.values() {
        let tree = mirror.stack_tree(&outcome.draft, &stack.path)?;
        let was = mirror.stack_tree(&part.tip, &stack.path).ok();
        let assigned = assignment(&after, &stack.name);
        if was.is_none_or(|was| was.digest != tree.digest) {
            outcome.changed.push((stack.name.clone(), stack.path.clone(), tree));
        } else if tip.as_ref().is_some_and(|tip| assignment(tip, &stack.name) != assigned) {
            outcome.assigned.push((stack.name.clone(), tree));
        }
        outcome.assignments.insert(stack.name.clone(), assigned);
    }
    outcome.gone =
        before.into_iter().map(|(name, _)| name).filter(|n| !after.stacks.contains_key(n)).collect();
    Ok(())
}

/// Why the result of an undo cannot be deployed.
pub(super) fn tip_error(error: TipError) -> EngineError {
    match error {
        TipError::Source(error) => error.into(),
        TipError::Invalid(problems) => EngineError::InvalidResult(describe(&problems)),
    }
}

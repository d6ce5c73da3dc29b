//! Which constraints are in force, and whether a release may be planned.

use backstay_types::{CommitId, Constraint, Effect, RepositoryId, StackName, Timestamp, TreeDigest};

/// Whether a constraint is in force at `now`.
pub fn in_force(constraint: &Constraint, now: Timestamp) -> bool {
    constraint.is_in_force(now)
}

/// A release that a branch asks for.
#[derive(Debug, Clone)]
pub struct Candidate<'a> {
    /// The stack.
    pub stack: &'a StackName,
    /// Its tree.
    pub tree: TreeDigest,
    /// The repository.
    pub repository: RepositoryId,
}

/// Whether a release may be planned. `contains` says whether a change that touches the stack is in the release's
/// ancestry without its undo: a hold is on a change, so an unrelated commit on top does not slip it through.
///
/// # Errors
/// The reason of the first hold or ban that stands against it.
pub fn standing(
    release: &Candidate<'_>,
    contains: impl Fn(&CommitId) -> bool,
    constraints: &[Constraint],
    now: Timestamp,
) -> Result<(), String> {
    for constraint in constraints.iter().filter(|c| in_force(c, now)) {
        match &constraint.effect {
            Effect::Ban { stack, tree } if stack == release.stack && *tree == release.tree => {
                return Err(format!("banned by {}: {}", constraint.by, constraint.reason));
            }
            Effect::Hold { repository, commit } if *repository == release.repository && contains(commit) => {
                let (commit, by) = (commit.short(), &constraint.by);
                return Err(format!("held: it contains {commit}, held by {by}: {}", constraint.reason));
            }
            _ => {}
        }
    }
    Ok(())
}

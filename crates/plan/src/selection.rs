//! Which commits an undo takes back. Pure.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use backstay_types::CommitId;

/// What selection needs to know of a commit of the deployed branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The commit.
    pub(crate) commit: CommitId,
    /// Commits that it took back, as far as that can be relied on.
    pub(crate) reverts: Vec<CommitId>,
    /// It takes them back and does nothing else.
    pub(crate) exact: bool,
}

/// Why a commit of the selection is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SkipReason {
    /// This commit took it back already, and still stands.
    AlreadyUndone(CommitId),
    /// It took back other commits of the selection and did nothing else: together they changed nothing.
    CancelsOut,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyUndone(by) => write!(f, "{} took it back already", by.short()),
            Self::CancelsOut => f.write_str("it only took back other commits of the same selection"),
        }
    }
}

/// A commit that is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Skipped {
    /// The commit.
    pub(crate) commit: CommitId,
    /// Why.
    pub(crate) reason: SkipReason,
}

/// What to take back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// Commits to take back, newest first.
    pub(crate) undo: Vec<CommitId>,
    /// Commits that were asked for and are left alone.
    pub(crate) skipped: Vec<Skipped>,
}

/// Chooses from `wanted` what must be taken back so that nothing of it is left and all else stays.
///
/// `history` is what the deployed branch contains, newest first, no commit before one of its children. A
/// commit is left alone when a later one took it back and still stands: was not itself taken back, neither
/// before nor by this very selection. A change and its exact revert, both wanted, are both left alone: taking
/// them back one after the other would overrule what others did about the same lines since.
pub(crate) fn select(history: &[Entry], wanted: &[CommitId]) -> Chosen {
    let asked: HashSet<&CommitId> = wanted.iter().collect();
    let mut selection = Chosen::default();
    // Commits taken back by a later one that stands, with that one.
    let mut undone: HashMap<&CommitId, &CommitId> = HashMap::new();
    for Entry { commit, reverts, exact } in history {
        let cancels =
            *exact && !reverts.is_empty() && reverts.iter().all(|reverted| asked.contains(reverted));
        let reason = match (undone.get(commit), asked.contains(commit)) {
            (Some(by), true) => Some(SkipReason::AlreadyUndone((*by).clone())),
            (None, true) if cancels => Some(SkipReason::CancelsOut),
            (None, true) => {
                selection.undo.push(commit.clone());
                continue;
            }
            (_, false) => None,
        };
        if !undone.contains_key(commit) {
            for reverted in reverts {
                undone.entry(reverted).or_insert(commit);
            }
        }
        selection.skipped.extend(reason.map(|reason| Skipped { commit: commit.clone(), reason }));
    }
    selection
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn id(n: usize) -> CommitId {
        format!("{n:040x}").parse().unwrap()
    }

    /// A commit of the model: who made it, and which earlier commits it takes back.
    #[derive(Debug, Clone)]
    struct Made {
        by_a: bool,
        reverts: Vec<usize>,
    }

    /// What each commit really did: what it brought, or took away (`false`). A revert does the opposite of
    /// what its target really did, where that still makes a difference. Without A, A's commits do nothing.
    fn run(all: &[Made], with_a: bool) -> (BTreeSet<usize>, Vec<Option<(usize, bool)>>) {
        let mut present = BTreeSet::new();
        let mut effects: Vec<Option<(usize, bool)>> = Vec::new();
        for (at, Made { by_a, reverts }) in all.iter().enumerate() {
            let meant = match reverts.first() {
                None => Some((at, true)),
                Some(target) => effects[*target].map(|(what, brought)| (what, !brought)),
            };
            let meant = meant.filter(|_| with_a || !by_a);
            effects.push(meant.filter(|effect| apply(&mut present, *effect)));
        }
        (present, effects)
    }

    fn apply(present: &mut BTreeSet<usize>, (what, brought): (usize, bool)) -> bool {
        if brought { present.insert(what) } else { present.remove(&what) }
    }

    fn stands(all: &[Made], at: usize) -> bool {
        !(at + 1..all.len()).any(|later| all[later].reverts.contains(&at) && stands(all, later))
    }

    /// Whether taking a commit back changes anything; Git makes no empty reverts.
    fn matters(all: &[Made], at: usize) -> bool {
        let (mut present, effects) = run(all, true);
        effects[at].is_some_and(|(what, brought)| apply(&mut present, (what, !brought)))
    }

    /// A change, its undo, and the undo of that: who should win when two parties go on toggling the same lines
    /// is no longer a question of what was asked.
    fn is_natural(all: &[Made], at: usize) -> bool {
        let root = |mut at: usize| {
            while let Some(reverted) = all[at].reverts.first() {
                at = *reverted;
            }
            at
        };
        let toggles = (0..all.len()).filter(|n| root(*n) == root(at)).count();
        toggles < 3 && stands(all, at) && matters(all, at)
    }

    /// A history in which reverts take back only what stands, as people and undos do.
    fn histories() -> impl Strategy<Value = Vec<Made>> {
        prop::collection::vec((any::<bool>(), any::<bool>(), any::<prop::sample::Index>()), 1..20).prop_map(
            |steps| {
                let mut all: Vec<Made> = Vec::new();
                for (by_a, revert, which) in steps {
                    let standing: Vec<usize> = (0..all.len()).filter(|at| is_natural(&all, *at)).collect();
                    let target =
                        (revert && !standing.is_empty()).then(|| standing[which.index(standing.len())]);
                    all.push(Made { by_a, reverts: target.into_iter().collect() });
                }
                all
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_undone_is_exactly_what_was_asked(all in histories()) {
            let history: Vec<Entry> = (0..all.len())
                .rev()
                .map(|n| entry(n, &all[n].reverts))
                .collect();
            let wanted: Vec<CommitId> = (0..all.len()).filter(|n| all[*n].by_a).map(id).collect();
            let selection = select(&history, &wanted);

            let (mut now, effects) = run(&all, true);
            for commit in &selection.undo {
                let n = (0..all.len()).find(|n| id(*n) == *commit).unwrap();
                if let Some((what, brought)) = effects[n] {
                    apply(&mut now, (what, !brought));
                }
            }
            let (without, _) = run(&all, false);
            prop_assert_eq!(&now, &without);
            // Nothing is both taken back and left alone, and nothing is forgotten.
            let mut answered: Vec<&CommitId> =
                selection.undo.iter().chain(selection.skipped.iter().map(|s| &s.commit)).collect();
            answered.sort();
            let mut expected: Vec<&CommitId> = wanted.iter().collect();
            expected.sort();
            prop_assert_eq!(answered, expected);
            prop_assert!(selection.undo.iter().all(|commit| wanted.contains(commit)));
        }

        #[test]
        fn asking_twice_takes_nothing_more(all in histories()) {
            let mut history: Vec<Entry> = (0..all.len())
                .rev()
                .map(|n| entry(n, &all[n].reverts))
                .collect();
            let wanted: Vec<CommitId> = (0..all.len()).filter(|n| all[*n].by_a).map(id).collect();
            let first = select(&history, &wanted);
            if !first.undo.is_empty() {
                history.insert(0, Entry { commit: id(1000), reverts: first.undo, exact: true });
            }
            prop_assert_eq!(select(&history, &wanted).undo, Vec::new());
        }
    }

    fn entry(n: usize, reverts: &[usize]) -> Entry {
        Entry { commit: id(n), reverts: reverts.iter().map(|n| id(*n)).collect(), exact: true }
    }

    #[test]
    fn a_revert_by_someone_else_stands() {
        let selection = select(&[entry(2, &[1]), entry(1, &[])], &[id(1)]);
        assert_eq!(selection.undo, []);
        assert_eq!(selection.skipped, [Skipped { commit: id(1), reason: SkipReason::AlreadyUndone(id(2)) }]);
    }

    #[test]
    fn a_change_and_its_own_revert_go_together() {
        let mut history = [entry(2, &[1]), entry(1, &[])];
        let selection = select(&history, &[id(1), id(2)]);
        assert_eq!(selection.undo, []);
        assert_eq!(selection.skipped[0].reason, SkipReason::CancelsOut);
        assert_eq!(selection.skipped[1].reason, SkipReason::AlreadyUndone(id(2)));
        // One that did more than revert leaves something to take back.
        history[0].exact = false;
        assert_eq!(select(&history, &[id(1), id(2)]).undo, [id(2), id(1)]);
    }

    #[test]
    fn an_undo_of_an_undo_brings_the_change_back_into_reach() {
        let history = [entry(3, &[2]), entry(2, &[1]), entry(1, &[])];
        assert_eq!(select(&history, &[id(1)]).undo, [id(1)]);
    }
}

//! What an undo selects is exactly what was asked.

use std::collections::BTreeSet;

use backstay_plan::{History, HistoryChange, Refusal, Selection, Selector};
use backstay_types::{CommitId, ConversationId, Id as _, UndoId};
use proptest::prelude::*;

fn commit(n: usize) -> CommitId {
    format!("{n:040x}").parse().unwrap()
}

fn conversation(n: u128) -> ConversationId {
    ConversationId::from_uuid(uuid::Uuid::from_u128(n))
}

fn undo(n: u128) -> UndoId {
    UndoId::from_uuid(uuid::Uuid::from_u128(n))
}

fn change(n: usize, by: Option<u128>) -> HistoryChange {
    HistoryChange {
        commit: commit(n),
        parents: if n == 0 { vec![] } else { vec![commit(n - 1)] },
        reverts: vec![],
        undo: None,
        conversations: by.map(conversation).into_iter().collect(),
        guesses: BTreeSet::new(),
        stacks: BTreeSet::new(),
    }
}

/// A line of commits, oldest first, by conversations 1 and 2 or nobody.
fn line() -> impl Strategy<Value = Vec<HistoryChange>> {
    prop::collection::vec(prop::option::of(1..3_u128), 1..30)
        .prop_map(|who| who.into_iter().enumerate().map(|(n, by)| change(n, by)).collect())
}

fn history(oldest_first: &[HistoryChange]) -> History {
    History::new(oldest_first.iter().rev().cloned().collect())
}

fn of(who: u128) -> Selector<'static> {
    static NONE: BTreeSet<CommitId> = BTreeSet::new();
    Selector::Conversation { conversation: conversation(who), named_guesses: &NONE }
}

/// The line with a commit on top that takes `reverts` back.
fn with_undo(mut line: Vec<HistoryChange>, id: u128, reverts: Vec<CommitId>) -> Vec<HistoryChange> {
    let mut on_top = change(line.len(), None);
    on_top.reverts = reverts;
    on_top.undo = Some(undo(id));
    line.push(on_top);
    line
}

proptest! {
    #[test]
    fn by_conversation_selects_all_of_its_commits_and_no_other(line in line()) {
        let expected: Vec<_> = line.iter().rev()
            .filter(|c| c.conversations.contains(&conversation(1))).map(|c| c.commit.clone()).collect();
        match history(&line).select(&of(1)) {
            Ok(Selection::Revert { commits, skipped }) => {
                prop_assert_eq!(commits, expected);
                prop_assert!(skipped.is_empty());
            }
            Err(Refusal::Nothing) => prop_assert!(expected.is_empty()),
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn undone_is_not_undone_twice_and_undo_of_the_undo_brings_it_back(line in line()) {
        let Ok(Selection::Revert { commits, .. }) = history(&line).select(&of(1)) else { return Ok(()) };
        let once = with_undo(line, 7, commits.clone());
        prop_assert!(matches!(history(&once).select(&of(1)), Err(Refusal::AlreadyUndone(_))));
        prop_assert!(commits.iter().all(|c| !history(&once).is_effective(c)));

        let Ok(Selection::Revert { commits: undos, .. }) = history(&once).select(&Selector::Undo(undo(7)))
        else { return Err(TestCaseError::fail("the undo is on the branch")) };
        prop_assert_eq!(undos.len(), 1);
        let back = with_undo(once, 8, undos);
        prop_assert!(commits.iter().all(|c| history(&back).is_effective(c)));
        let Ok(Selection::Revert { commits: again, .. }) = history(&back).select(&of(1))
        else { return Err(TestCaseError::fail("its commits are in force again")) };
        prop_assert_eq!(again, commits);
    }

    #[test]
    fn to_a_commit_takes_back_exactly_what_came_after(line in line(), at in any::<prop::sample::Index>()) {
        let at = at.index(line.len());
        let after: Vec<_> = line[at + 1..].iter().rev().map(|c| c.commit.clone()).collect();
        match history(&line).select(&Selector::To(&line[at].commit)) {
            Ok(Selection::Restore { to, commits }) => {
                prop_assert_eq!(to, line[at].commit.clone());
                prop_assert_eq!(commits, after);
            }
            Err(Refusal::Nothing) => prop_assert!(after.is_empty()),
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn before_a_conversation_is_the_parent_of_its_first_commit(line in line()) {
        let first = line.iter().position(|c| c.conversations.contains(&conversation(1)));
        match (history(&line).select(&Selector::BeforeConversation(conversation(1))), first) {
            (Ok(Selection::Restore { to, .. }), Some(n)) => prop_assert_eq!(to, commit(n - 1)),
            (Err(Refusal::NothingBefore(_)), Some(0)) | (Err(Refusal::Nothing), None) => {}
            other => prop_assert!(false, "{other:?}"),
        }
    }
}

#[test]
fn a_conversation_that_reverted_itself_has_left_nothing_to_take_back() {
    let mut revert = change(2, Some(1));
    revert.reverts = vec![commit(1)];
    let history = history(&[change(0, None), change(1, Some(1)), revert]);
    assert!(matches!(history.select(&of(1)), Err(Refusal::AlreadyUndone(skipped)) if skipped.len() == 2));
}

#[test]
fn a_guess_is_taken_back_only_when_it_is_named() {
    let mut guessed = change(1, None);
    guessed.guesses.insert(conversation(1));
    let history = history(&[change(0, None), guessed]);
    assert_eq!(history.select(&of(1)), Err(Refusal::Nothing));
    let named = BTreeSet::from([commit(1)]);
    let selector = Selector::Conversation { conversation: conversation(1), named_guesses: &named };
    assert!(
        matches!(history.select(&selector), Ok(Selection::Revert { commits, .. }) if commits == [commit(1)])
    );
}

#[test]
fn a_squash_of_two_conversations_is_refused_and_both_are_named() {
    let mut squash = change(1, Some(1));
    squash.conversations.insert(conversation(2));
    let refusal = history(&[change(0, None), squash]).select(&of(1)).unwrap_err();
    let text = refusal.to_string();
    assert!(
        text.contains(&conversation(1).to_string()) && text.contains(&conversation(2).to_string()),
        "{text}"
    );
}

#[test]
fn a_merge_is_left_alone_when_the_commits_that_it_brought_in_are_known() {
    // 0 ── 1 ── 3 (merge of 1 and 2), 2 on a branch from 0 by conversation 1.
    let mut branch = change(2, Some(1));
    branch.parents = vec![commit(0)];
    let mut merge = change(3, Some(1));
    merge.parents = vec![commit(1), commit(2)];
    let line = [change(0, None), change(1, Some(2)), branch, merge];
    let Ok(Selection::Revert { commits, skipped }) = history(&line).select(&of(1)) else { panic!() };
    assert_eq!(commits, [commit(2)]);
    assert_eq!(skipped[0].commit, commit(3));
}

#[test]
fn unknown_commits_are_refused_by_name() {
    let history = history(&[change(0, None)]);
    assert_eq!(history.select(&Selector::To(&commit(9))), Err(Refusal::NotOnBranch(commit(9))));
    assert_eq!(history.select(&Selector::Commits(&[commit(9)])), Err(Refusal::NotOnBranch(commit(9))));
}

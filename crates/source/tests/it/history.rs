//! Facts, blame and differences.

use std::slice::from_ref;

use backstay_source::{Provenance, diff_between};
use backstay_types::{
    ErrorCode,
    diff::{FileStatus, LineKind},
};

use crate::support::{Fleet, fetch, lines};

const A: &str = "019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b";

#[test]
fn facts_come_oldest_first_and_incrementally() {
    let fleet = Fleet::new();
    let begin = fleet.head();
    fleet.write("stacks/web/a", "1");
    let one = fleet.commit(&format!("Raise\n\nBackstay-Conversation: {A}\n"));
    let two = fleet.change("stacks/web/b", "2");
    fleet.publish();
    let mirror = fleet.mirror();
    let tip = fetch(&mirror);

    let all = mirror.changes(None, &tip, 100).unwrap();
    let ids: Vec<_> = all.changes.iter().map(|facts| facts.commit.clone()).collect();
    assert_eq!(ids, [begin.clone(), one.clone(), two.clone()]);
    assert!(!all.truncated);
    let new = mirror.changes(Some(&begin), &tip, 100).unwrap();
    assert_eq!(new.changes, all.changes[1..]);
    let cut = mirror.changes(None, &tip, 2).unwrap();
    assert!(cut.truncated);
    assert_eq!(cut.changes, all.changes[1..]);
    assert_eq!(mirror.changes(Some(&tip), &tip, 100).unwrap().changes, []);

    let facts = &new.changes[0];
    assert_eq!(facts.provenance, [Provenance::Conversation(A.parse().unwrap())]);
    assert_eq!((facts.author.name.as_str(), facts.subject.as_str()), ("Tester", "Raise"));
    assert_eq!(facts.touched, [["stacks/web/a"]]);
    assert_eq!(facts.parents, from_ref(&begin));
    assert_eq!(all.changes[0].touched, [["stacks/web/compose.yaml"]]);
    assert!(facts.committed_at < new.changes[1].committed_at);
    assert_eq!(*facts, mirror.facts(&one).unwrap());
}

#[test]
fn clocks_that_run_backwards_do_not_disorder_history() {
    let fleet = Fleet::new();
    let begin = fleet.head();
    let mut expected = Vec::new();
    for n in 0..6 {
        fleet.write("stacks/web/n", n.to_string());
        fleet.git(&["add", "-A"]);
        let date = format!("{} +0000", 1_600_000_000 - n * 1000);
        let mut command = fleet.command(&fleet.work(), &["commit", "-q", "-m", "x"]);
        assert!(command.env("GIT_COMMITTER_DATE", date).status().unwrap().success());
        expected.push(fleet.head());
    }
    fleet.publish();
    let mirror = fleet.mirror();
    let tip = fetch(&mirror);
    let found = mirror.changes(Some(&begin), &tip, 100).unwrap();
    assert_eq!(found.changes.into_iter().map(|facts| facts.commit).collect::<Vec<_>>(), expected);
}

#[test]
fn merges_say_what_differs_from_each_parent() {
    let fleet = Fleet::new();
    fleet.git(&["checkout", "-q", "-b", "topic"]);
    let topic = fleet.change("stacks/web/topic", "t");
    fleet.git(&["checkout", "-q", "main"]);
    let main = fleet.change("stacks/web/main", "m");
    fleet.git(&["merge", "-q", "--no-ff", "--no-commit", "topic"]);
    fleet.write("stacks/web/both", "resolved by hand");
    let merge = fleet.commit("Merge");
    fleet.publish();
    let mirror = fleet.mirror();
    fetch(&mirror);
    let facts = mirror.facts(&merge).unwrap();
    assert_eq!(facts.parents, [main.clone(), topic.clone()]);
    assert_eq!(
        facts.touched,
        [["stacks/web/both", "stacks/web/topic"], ["stacks/web/both", "stacks/web/main"]]
    );
    assert_eq!(facts.own_paths(), ["stacks/web/both"]);
    assert_eq!(facts.patch, None);
    assert_eq!(
        mirror.merge_base(&main, &topic).unwrap(),
        Some(mirror.facts(&main).unwrap().parents[0].clone())
    );
    let since_main = mirror.changes(Some(&main), &merge, 10).unwrap();
    assert_eq!(since_main.changes.iter().map(|f| &f.commit).collect::<Vec<_>>(), [&topic, &merge]);
}

#[test]
fn a_rebased_or_squashed_change_is_recognised() {
    let fleet = Fleet::new();
    let fork = fleet.change("stacks/web/conf", lines(30, &[]));
    fleet.git(&["checkout", "-q", "-b", "topic"]);
    let one = fleet.change("stacks/web/conf", lines(30, &[(20, "twenty")]));
    let two = fleet.change("stacks/web/conf", lines(30, &[(20, "twenty"), (25, "more")]));
    fleet.git(&["push", "-q", "origin", "topic"]);
    fleet.git(&["checkout", "-q", "main"]);
    fleet.change("stacks/web/conf", format!("new first\n{}", lines(30, &[])));
    fleet.git(&["cherry-pick", one.as_str()]);
    let rebased = fleet.head();
    fleet.git(&["reset", "-q", "--hard", "HEAD^"]);
    fleet.git(&["merge", "-q", "--squash", "topic"]);
    let squashed = fleet.commit("Squash");
    fleet.git(&["merge", "-q", "-s", "ours", "-m", "keep all in reach", "topic", rebased.as_str()]);
    fleet.publish();
    let mirror = fleet.mirror();
    fetch(&mirror);
    let patch = |commit| mirror.facts(commit).unwrap().patch;
    assert_eq!(patch(&one), patch(&rebased));
    assert_ne!(patch(&one), patch(&two));
    assert_eq!(mirror.patch_between(&fork, &two).unwrap(), patch(&squashed));
    assert_eq!(mirror.patch_between(&fork, &fork).unwrap(), None);
}

#[test]
fn reverts_name_what_they_take_back() {
    let fleet = Fleet::new();
    let change = fleet.change("stacks/web/a", "1");
    fleet.git(&["revert", "--no-edit", change.as_str()]);
    let full = fleet.head();
    fleet.git(&[
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        &format!("x\n\nThis reverts commit {}.", change.short()),
    ]);
    let short = fleet.head();
    fleet.publish();
    let mirror = fleet.mirror();
    fetch(&mirror);
    assert_eq!(mirror.facts(&full).unwrap().reverts, from_ref(&change));
    assert_eq!(mirror.facts(&short).unwrap().reverts, from_ref(&change));
    assert!(mirror.is_exact_revert(&full).unwrap());
    assert!(!mirror.is_exact_revert(&change).unwrap());
    let entry = |commit| mirror.history_entry(&mirror.facts(commit).unwrap()).unwrap();
    assert_eq!((entry(&full).reverts, entry(&full).exact), (vec![change.clone()], true));
    // One that says so, but does something else.
    fleet.write("stacks/web/b", "2");
    let liar = fleet.commit(&format!("x\n\nThis reverts commit {full}."));
    let ours = fleet.commit(&format!("x\n\nBackstay-Undo: {A}\nBackstay-Reverts: {liar}"));
    fleet.publish();
    fetch(&mirror);
    assert_eq!((entry(&liar).reverts, entry(&liar).exact), (vec![], false));
    assert_eq!((entry(&ours).reverts, entry(&ours).exact), (vec![liar], false));
}

#[test]
fn notes_of_other_tools_are_read_and_their_arrival_noticed() {
    let fleet = Fleet::new();
    let commit = fleet.head();
    let mirror = fleet.mirror();
    fetch(&mirror);
    assert_eq!(mirror.note_sessions(&commit).unwrap(), []);
    // SHA-256 of `claude:abc` begins with these 14 digits.
    let key = "s_2ce06946efc032";
    let note = format!(
        "a\n  {key} 1-2\n---\n{{\"schema_version\":\"authorship/3.0.0\",\"sessions\":{{\"{key}\":\
         {{\"agent_id\":{{\"tool\":\"claude\",\"id\":\"abc\",\"model\":\"m\"}}}}}}}}"
    );
    fleet.git(&["notes", "--ref", "ai", "add", "-m", &note, commit.as_str()]);
    fleet.git(&["push", "-q", "origin", "refs/notes/ai"]);
    let fetched = mirror.fetch(None).unwrap();
    let notes = fetched.notes.unwrap();
    assert_eq!(mirror.notes_changed(fetched.notes_before.as_ref(), &notes).unwrap(), from_ref(&commit));
    assert_eq!(mirror.notes_changed(Some(&notes), &notes).unwrap(), []);
    let provenance = mirror.facts(&commit).unwrap().provenance;
    let [Provenance::Note(session)] = &provenance[..] else { panic!("{provenance:?}") };
    assert_eq!(session.session.value, "abc");

    // A notes tree that has fanned out, as Git does it when there are many.
    let blob = fleet.git(&["rev-parse", &format!("refs/notes/ai:{commit}")]);
    let (head, tail) = commit.as_str().split_at(2);
    fleet.git(&["read-tree", "--empty"]);
    fleet.git(&["update-index", "--add", "--cacheinfo", &format!("100644,{blob},{head}/{tail}")]);
    let tree = fleet.git(&["write-tree"]);
    let notes = fleet.git(&["commit-tree", &tree, "-m", "fan out"]);
    fleet.git(&["push", "-q", "-f", "origin", &format!("{notes}:refs/notes/ai")]);
    fetch(&mirror);
    assert_eq!(mirror.note_sessions(&commit).unwrap().len(), 1);
}

#[test]
fn lines_and_files_have_an_origin() {
    let fleet = Fleet::new();
    let begin = fleet.change("stacks/web/conf", lines(5, &[]));
    let third = fleet.change("stacks/web/conf", lines(5, &[(3, "three")]));
    let other = fleet.change("stacks/web/$(x) -y", "z\n");
    fleet.publish();
    let mirror = fleet.mirror();
    let tip = fetch(&mirror);
    let blame = mirror.blame(&tip, "stacks/web/conf", 3).unwrap();
    assert_eq!((blame.commit, blame.text.as_str(), blame.line), (third.clone(), "three", 3));
    assert_eq!(mirror.blame(&tip, "stacks/web/conf", 4).unwrap().commit, begin);
    assert_eq!(mirror.blame(&tip, "stacks/web/$(x) -y", 1).unwrap().commit, other);
    for line in [0, 6, u32::MAX] {
        assert_eq!(mirror.blame(&tip, "stacks/web/conf", line).unwrap_err().code(), ErrorCode::BS2008);
    }
    assert_eq!(mirror.blame(&tip, "nothing", 1).unwrap_err().code(), ErrorCode::BS2008);
    assert_eq!(mirror.last_touched(&tip, "stacks/web/conf").unwrap(), third);
    assert_eq!(mirror.last_touched(&tip, "stacks/web").unwrap(), other);
    assert!(mirror.last_touched(&tip, "nothing").is_err());
}

#[test]
fn differences_are_told_line_by_line_with_secrets_hidden() {
    let fleet = Fleet::new();
    fleet.write("stacks/web/conf", lines(40, &[]));
    fleet.write("stacks/web/bin", "a\0b");
    fleet.write("stacks/web/gone", "bye\n");
    fleet.write("stacks/db/conf", "x\n");
    let before = fleet.commit("Begin");
    fleet.write("stacks/web/conf", lines(40, &[(3, "three"), (30, "thirty")]));
    fleet.write("stacks/web/bin", "a\0c");
    fleet.write("stacks/web/.env", "TOKEN=ghp_0123456789012345678901234567890123456\nPORT=1\n");
    fleet.write("stacks/web/huge", "x".repeat(600 << 10));
    fleet.write("stacks/db/conf", "y\n");
    std::fs::remove_file(fleet.work().join("stacks/web/gone")).unwrap();
    let after = fleet.commit("Change");
    fleet.publish();
    let mirror = fleet.mirror();
    fetch(&mirror);
    let diff = mirror.diff(Some(&before), &after, "stacks/web").unwrap();
    let by: std::collections::BTreeMap<_, _> =
        diff.files.iter().map(|file| (file.path.as_str(), file)).collect();
    assert_eq!(by.keys().copied().collect::<Vec<_>>(), [".env", "bin", "conf", "gone", "huge"]);
    let conf = by["conf"];
    assert_eq!(
        (conf.additions, conf.deletions, conf.hunks.len(), conf.status),
        (2, 2, 2, FileStatus::Changed)
    );
    assert_eq!((conf.hunks[1].old_start, conf.hunks[1].new_start), (27, 27));
    let changed: Vec<_> = conf.hunks[0].lines.iter().filter(|line| line.kind != LineKind::Same).collect();
    assert_eq!((changed[0].text.as_str(), changed[1].text.as_str()), ("line 3", "three"));
    assert!(by["bin"].binary && by["bin"].hunks.is_empty());
    assert!(by["huge"].truncated && by["huge"].hunks.is_empty());
    assert_eq!((by["gone"].status, by["gone"].deletions), (FileStatus::Removed, 1));
    let env: Vec<_> = by[".env"].hunks[0].lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(env, ["TOKEN=[hidden]", "PORT=1"]);
    assert_eq!(mirror.diff(None, &after, "").unwrap().files.len(), 6, "all that there is");
    assert!(mirror.diff(Some(&after), &after, "").unwrap().files.is_empty());
    assert!(mirror.diff(None, &after, "../x").is_err());

    // Releases that are not in one mirror are compared by their files.
    let files = |commit| mirror.stack_files(commit, "stacks/web").unwrap();
    assert_eq!(diff_between(&files(&before), &files(&after)), diff);
    let blamed = mirror.blame_file(&after, "stacks/web/conf").unwrap();
    assert_eq!(blamed.len(), 40);
    assert_eq!(
        (&blamed[2], &blamed[3]),
        (&(after.clone(), "three".to_owned()), &(before, "line 4".to_owned()))
    );
}

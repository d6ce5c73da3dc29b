//! Undoing A's commits from a history in which A and B alternate leaves exactly what B alone would have made.

use std::{collections::BTreeMap, io::Write as _, process::Stdio};

use backstay_types::CommitId;
use proptest::prelude::*;

use crate::support::{Fleet, fetch};

const SLOTS: usize = 12;

/// One commit: who, which file, which slot of it, and what becomes of that slot.
#[derive(Debug, Clone)]
struct Edit {
    by_a: bool,
    file: usize,
    slot: usize,
    text: Option<String>,
}

/// Slots are lines of their own with untouched lines between; A works on even slots, B on odd ones.
type Files = [Vec<Option<String>>; 2];

fn start() -> Files {
    let file = |name: &str| (0..SLOTS).map(|slot| Some(format!("{name}{slot}"))).collect();
    [file("x"), file("y")]
}

fn render(file: &[Option<String>]) -> String {
    let mut out = String::new();
    for (at, slot) in file.iter().enumerate() {
        out.push_str(&format!("[{at}]\nbetween {at}\n"));
        out.extend(slot.iter().flat_map(|text| [text.as_str(), "\n"]));
        out.push_str(&format!("end {at}\nreally {at}\n"));
    }
    out
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = (any::<bool>(), 0..2_usize, 0..SLOTS / 2, prop::option::of("[a-z]{1,6}(\n[a-z]{1,6}){0,2}"));
    let edit = edit.prop_map(|(by_a, file, slot, text)| Edit {
        by_a,
        file,
        slot: slot * 2 + usize::from(!by_a),
        text,
    });
    prop::collection::vec(edit, 1..25)
}

/// Writes the whole history at once; returns the ids of the edits' commits.
fn import(fleet: &Fleet, edits: &[Edit]) -> Vec<CommitId> {
    let mut files = start();
    let mut stream = String::new();
    let marks = fleet.dir.path().join("marks");
    for at in 0..=edits.len() {
        if let Some(edit) = at.checked_sub(1).map(|at| &edits[at]) {
            files[edit.file][edit.slot].clone_from(&edit.text);
        }
        let time = 1_700_000_000 + at;
        stream.push_str(&format!(
            "commit refs/heads/main\nmark :{}\ncommitter T <t@localhost> {time} +0000\n",
            at + 1
        ));
        stream.push_str("data 1\nx\n");
        for (name, file) in ["x", "y"].iter().zip(&files) {
            let content = render(file);
            stream
                .push_str(&format!("M 100644 inline stacks/web/{name}\ndata {}\n{content}\n", content.len()));
        }
    }
    let export = format!("--export-marks={}", marks.display());
    let mut command = fleet.command(&fleet.upstream(), &["fast-import", "--quiet", "--force", &export]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(stream.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    let marks = std::fs::read_to_string(marks).unwrap();
    let ids: BTreeMap<usize, CommitId> = marks
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(mark, id)| (mark[1..].parse().unwrap(), id.parse().unwrap()))
        .collect();
    (2..edits.len() + 2).map(|mark| ids[&mark].clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn undoing_a_leaves_exactly_b(edits in edits()) {
        let fleet = Fleet::empty();
        let commits = import(&fleet, &edits);
        let mirror = fleet.mirror();
        let tip = fetch(&mirror);
        let of_a: Vec<CommitId> =
            commits.iter().zip(&edits).filter(|(_, edit)| edit.by_a).map(|(id, _)| id.clone()).collect();
        let plan = mirror.plan_revert(&tip, &of_a, &BTreeMap::new()).unwrap();
        prop_assert_eq!(plan.conflicts, Vec::new());
        let mut expected = start();
        for edit in edits.iter().filter(|edit| !edit.by_a) {
            expected[edit.file][edit.slot].clone_from(&edit.text);
        }
        for (name, file) in ["x", "y"].iter().zip(&expected) {
            let content = mirror.read(&plan.draft, &format!("stacks/web/{name}")).unwrap();
            prop_assert_eq!(String::from_utf8(content).unwrap(), render(file));
        }
        // Every commit of A is answered for, and nobody else's.
        let mut answered: Vec<CommitId> =
            plan.reverted.iter().cloned().chain(plan.skipped.iter().map(|s| s.commit.clone())).collect();
        answered.sort();
        let mut asked = of_a;
        asked.sort();
        prop_assert_eq!(answered, asked);
    }

    #[test]
    fn taking_an_undo_back_restores_the_tip(edits in edits()) {
        let fleet = Fleet::empty();
        let commits = import(&fleet, &edits);
        let mirror = fleet.mirror();
        let tip = fetch(&mirror);
        let plan = mirror.plan_revert(&tip, &commits, &BTreeMap::new()).unwrap();
        prop_assert_eq!(&plan.conflicts, &Vec::new());
        for (name, file) in ["x", "y"].iter().zip(&start()) {
            let content = mirror.read(&plan.draft, &format!("stacks/web/{name}")).unwrap();
            prop_assert_eq!(String::from_utf8(content).unwrap(), render(file));
        }
        let undo = crate::support::make(&mirror, &tip, &plan);
        let again = mirror.plan_revert(&undo, std::slice::from_ref(&undo), &BTreeMap::new()).unwrap();
        prop_assert_eq!(again.draft, mirror.draft_of(&tip).unwrap());
    }
}

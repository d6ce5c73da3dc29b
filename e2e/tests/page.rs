//! What the page shows of changes, releases and undos, of a fleet that really ran them.
#![allow(clippy::unwrap_used, reason = "tests")]

use backstay_api::{Empty, v1};
use backstay_e2e::{Fleet, stacks::CONF};
use backstay_types::{
    Meaning, UndoScope, UndoSelector,
    diff::{Diff, LineKind},
};

/// The lines of a diff as a patch has them, without what stays.
fn patch(diff: &Diff) -> Vec<String> {
    let sign = |kind| match kind {
        LineKind::Same => None,
        LineKind::Added => Some('+'),
        LineKind::Removed => Some('-'),
    };
    let lines = diff.files.iter().flat_map(|file| &file.hunks).flat_map(|hunk| &hunk.lines);
    lines.filter_map(|line| Some(format!("{}{}", sign(line.kind)?, line.text))).collect()
}

#[test]
fn a_change_its_release_and_its_undo_are_shown_line_by_line() {
    let Some(fleet) = Fleet::of_processes(2) else { return };
    let api = &fleet.api;
    let (a, b) = (api.conversation("session-a"), api.conversation("session-b"));
    let first = fleet.change(a, 2, "A2");
    let second = fleet.change(b, 9, "B9");
    let change = |commit: &str| {
        let path = v1::ChangePath { repository: "fleet".into(), commit: commit.parse().unwrap() };
        api.call::<v1::GetChangeDiff>(&path, &Empty {}, &Empty {})
    };
    let shown = change(&first);
    assert_eq!(shown.files[0].path, CONF);
    assert_eq!(patch(&shown), ["-two", "+A2"]);
    assert_eq!(patch(&change(&second)), ["-nine", "+B9"]);

    // Line by line, the conversation that put it where it runs.
    let file = CONF.strip_prefix("stacks/web/").unwrap();
    let query = v1::WhyFileQuery {
        node: fleet.nodes[0].name().into(),
        stack: "web".parse().unwrap(),
        file: file.into(),
    };
    let why = api.call::<v1::GetWhyFile>(&Empty {}, &query, &Empty {});
    let behind =
        |line: usize| why.changes.iter().find(|one| one.commit == why.lines[line - 1].commit).unwrap();
    assert_eq!((why.lines.len(), why.lines[1].text.as_str()), (10, "A2"));
    assert_eq!((behind(2).links[0].conversation, behind(9).links[0].conversation), (a, b));
    assert!(behind(1).links.is_empty());
    assert_eq!(why.conversations.len(), 2);

    let stack = v1::StackPath { stack: "web".parse().unwrap() };
    let detail = api.call::<v1::GetStack>(&stack, &Empty {}, &Empty {});
    assert_eq!(
        (detail.total, detail.history[0].nodes, detail.history[0].conversations.as_slice()),
        (2, 2, &[b][..])
    );
    let release = v1::ReleasePath { release: detail.history[0].release.id };
    let release = api.call::<v1::GetRelease>(&release, &Empty {}, &Empty {});
    assert_eq!((release.total, release.conversations[0].id), (2, b));
    let query = v1::ReleaseDiffQuery {
        from: detail.history[2].release.tree.to_string(),
        to: detail.history[0].release.tree.to_string(),
    };
    let between = api.call::<v1::GetReleaseDiff>(&stack, &query, &Empty {});
    assert_eq!(patch(&between), ["-two", "+A2", "-nine", "+B9"]);

    // What an undo would change, then what it did.
    let selector = UndoSelector::Conversation { conversation: a, meaning: Meaning::OnlyIts };
    let request = v1::UndoRequest {
        id: None,
        selector: v1::SelectorRequest::Exact(selector),
        scope: UndoScope::default(),
        reason: String::new(),
        include_guesses: Vec::new(),
        with_data: false,
        without_data: Vec::new(),
        shared_data: Vec::new(),
        confirm: Vec::new(),
    };
    let tip = api.repository("fleet").tip;
    let planned = api.call::<v1::PlanUndoDiff>(&Empty {}, &Empty {}, &request);
    assert_eq!(patch(&planned), ["-A2", "+two"]);
    assert_eq!(api.repository("fleet").tip, tip, "a look changes nothing");
    let undo = fleet.rollback(&["--conversation", &a.to_string()]);
    let path = v1::UndoPath { undo: undo["id"].as_str().unwrap().parse().unwrap() };
    assert_eq!(api.call::<v1::GetUndoDiff>(&path, &Empty {}, &Empty {}), planned);

    // And all of it on one axis of time.
    let query = v1::GraphQuery {
        since: "2020-01-01T00:00:00Z".parse().unwrap(),
        until: "2029-12-31T00:00:00Z".parse().unwrap(),
        lanes: None,
        stack: None,
        node: None,
        conversation: None,
    };
    let graph = api.call::<v1::GetGraph>(&Empty {}, &query, &Empty {});
    let count = |kind| graph.items.iter().filter(|item| item.kind == kind).count();
    assert_eq!(graph.lanes.iter().map(|lane| lane.name.as_str()).collect::<Vec<_>>(), ["web"]);
    // Two nodes, the first release, two changes and the undo.
    assert_eq!((count(v1::GraphKind::Deployment), count(v1::GraphKind::Conversation)), (8, 2));
    assert_eq!((count(v1::GraphKind::Undo), count(v1::GraphKind::Constraint)), (1, 1));
    let only = v1::GraphQuery { conversation: Some(b), ..query };
    let graph = api.call::<v1::GetGraph>(&Empty {}, &only, &Empty {});
    let commits: Vec<_> = graph.items.iter().filter(|item| item.kind == v1::GraphKind::Commit).collect();
    assert_eq!((commits.len(), commits[0].id.as_str()), (1, second.as_str()));
}

#[test]
fn an_undo_that_conflicts_asks_for_a_person() {
    let Some(fleet) = Fleet::of_processes(1) else { return };
    let api = &fleet.api;
    let (a, b) = (api.conversation("session-a"), api.conversation("session-b"));
    fleet.change(a, 2, "A2");
    fleet.change(a, 9, "A9");
    fleet.change(b, 2, "B2");
    fleet.cli.fails(3, &["rollback", "--conversation", &a.to_string(), "--yes"]);
    let overview = api.call::<v1::GetOverview>(&Empty {}, &Empty {}, &Empty {});
    let waits = overview.attention.iter().find(|one| one.kind == v1::AttentionKind::UndoConflicted).unwrap();
    let path = v1::UndoPath { undo: waits.refs.undo.unwrap() };
    let diff = api.call::<v1::GetUndoDiff>(&path, &Empty {}, &Empty {});
    assert!(diff.files.is_empty(), "until it is resolved it changes nothing: {diff:?}");
    assert!(overview.undos.iter().any(|undo| undo.id == path.undo));
}

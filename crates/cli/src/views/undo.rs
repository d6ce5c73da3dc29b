//! Undos: what one comes to, what is in the way, where it stands.

use std::collections::BTreeMap;

use backstay_types::{
    CommitId, ConflictedFile, DemandKind, PushState, RepositoryId, RepositoryUndo, Undo, UndoPlan, UndoRoute,
    UndoSelector, UndoState,
};

use super::fields::{Fields, heading, section};
use crate::{
    ids,
    lookup::name_of,
    ui::{Frame, Table, count, style, words},
};

/// The most lines of a conflict that are shown; the file itself has them all.
const CONFLICT_LINES: usize = 24;

/// What an undo comes to.
pub(crate) fn plan(plan: &UndoPlan, names: &BTreeMap<RepositoryId, String>, frame: &Frame) -> String {
    let mut text = String::new();
    for part in &plan.repositories {
        text.push_str(&repository(part, &name_of(names, part.repository)));
    }
    if !plan.nodes.is_empty() {
        text.push_str(&section(&format!("On {}", moves(plan))));
        text.push_str(&node_table(plan, frame));
    }
    if plan.with_data && !plan.nodes.is_empty() {
        text.push_str(&data(plan));
    }
    if !plan.notes.is_empty() {
        text.push_str(&section("Know before you go on"));
        let warn = style::WARN;
        plan.notes.iter().for_each(|note| text.push_str(&format!("  {warn}!{warn:#} {note}\n")));
    }
    if plan.repositories.is_empty() && plan.nodes.is_empty() {
        text.push_str("There is nothing to take back.\n");
    }
    text
}

/// Whether files are in the way.
pub(crate) fn has_conflicts(plan: &UndoPlan) -> bool {
    plan.repositories.iter().any(|part| !part.conflicts.is_empty())
}

/// Whether anything would change.
pub(crate) fn is_empty(plan: &UndoPlan) -> bool {
    plan.nodes.is_empty()
        && plan.repositories.iter().all(|part| part.commits.is_empty() && part.files.is_empty())
}

/// What becomes of the data of each place, and what has to be said first.
fn data(plan: &UndoPlan) -> String {
    let (bold, warn) = (style::BOLD, style::WARN);
    let mut text = section("Data");
    for one in &plan.data {
        text.push_str(&format!("  {bold}{}/{}{bold:#}\n", one.node, one.stack));
        one.words.iter().for_each(|words| text.push_str(&format!("    {words}\n")));
    }
    for demand in &plan.demands {
        let say = match demand.demand {
            DemandKind::WithoutData => format!("--without-data-of {}", demand.say),
            DemandKind::SharedData => format!("--and-data-of {}", demand.say),
            DemandKind::DoubleSign => format!("--confirm {}", demand.say),
        };
        text.push_str(&format!("  {warn}!{warn:#} not without {say}: {}\n", demand.why));
    }
    text
}

fn moves(plan: &UndoPlan) -> String {
    let mut nodes: Vec<_> = plan.nodes.iter().map(|one| &one.node).collect();
    nodes.sort();
    nodes.dedup();
    count(nodes.len(), "node")
}

fn node_table(plan: &UndoPlan, frame: &Frame) -> String {
    let mut table = Table::new(["  NODE", "STACK", "FROM", "TO", "CACHED", "~CONTAINERS"]);
    for one in &plan.nodes {
        table.row([
            format!("  {}", one.node).into(),
            one.stack.to_string().into(),
            one.from.map_or_else(|| "-".to_owned(), |tree| tree.short()).into(),
            one.to.short().into(),
            if one.cached { "yes" } else { "no" }.into(),
            one.containers.join(" ").into(),
        ]);
    }
    frame.table(&table)
}

fn repository(part: &RepositoryUndo, name: &str) -> String {
    let mut text = heading(&format!("In repository {name}"));
    let mut fields = Fields::default();
    fields.add("reaches nodes", route(part.route));
    fields.add(
        "takes back",
        if part.commits.is_empty() { "nothing".to_owned() } else { commits(&part.commits) },
    );
    let skipped =
        |skipped: &backstay_types::SkippedChange| format!("{}  {}", skipped.commit.short(), skipped.reason);
    let left = part.skipped.iter().map(skipped).collect::<Vec<_>>().join("\n");
    fields.maybe("leaves alone", (!left.is_empty()).then_some(left));
    fields.add("changes", if part.files.is_empty() { "no file".to_owned() } else { part.files.join("\n") });
    fields.maybe("undo commit", part.commit.as_ref().map(|commit| commit.short().to_owned()));
    if part.commit.is_some() {
        fields.add("upstream", words::push(&part.push));
    }
    text.push_str(&fields.render());
    text
}

fn commits(commits: &[CommitId]) -> String {
    commits.iter().map(CommitId::short).collect::<Vec<_>>().join("\n")
}

fn route(route: UndoRoute) -> &'static str {
    match route {
        UndoRoute::Branch => "as a commit on the deployed branch, for everyone",
        UndoRoute::Pin => "as pins in fleet.toml, for these nodes alone",
        UndoRoute::UndoBranch => "as a branch of its own, for these nodes alone",
    }
}

/// The files that are in the way, each with the commits behind the conflict and its text.
pub(crate) fn conflicts(plan: &UndoPlan, names: &BTreeMap<RepositoryId, String>) -> String {
    let mut text = String::new();
    for part in &plan.repositories {
        for file in &part.conflicts {
            text.push_str(&conflict(file, &name_of(names, part.repository)));
        }
    }
    text
}

fn conflict(file: &ConflictedFile, repository: &str) -> String {
    let (bad, dim) = (style::BAD, style::DIM);
    let mut text = format!("\n{bad}conflict{bad:#} {repository}:{}\n", file.path);
    let mut fields = Fields::default();
    fields.add("taking back", file.reverting.short());
    let later = if file.later.is_empty() { "-".to_owned() } else { commits(&file.later) };
    fields.add("but later", later);
    text.push_str(&fields.render());
    let hunks = hunks(&file.markers);
    for line in hunks.iter().take(CONFLICT_LINES) {
        text.push_str(&format!("  {dim}│{dim:#} {line}\n"));
    }
    if hunks.len() > CONFLICT_LINES {
        text.push_str(&format!("  {dim}│ … {} more{dim:#}\n", count(hunks.len() - CONFLICT_LINES, "line")));
    }
    text
}

/// The lines between conflict markers, markers too; the whole text when it has none.
fn hunks(text: &str) -> Vec<&str> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        inside |= line.starts_with("<<<<<<<");
        if inside {
            lines.push(line);
        }
        inside &= !line.starts_with(">>>>>>>");
    }
    if lines.is_empty() { text.lines().collect() } else { lines }
}

/// Whether `text` still has conflict markers.
pub(crate) fn has_markers(text: &str) -> bool {
    let starts = |marker: &str| text.lines().any(|line| line.starts_with(marker));
    starts("<<<<<<< ") || starts(">>>>>>> ")
}

/// An undo: what was asked, where it stands, what it comes to.
pub(crate) fn detail(undo: &Undo, names: &BTreeMap<RepositoryId, String>, frame: &Frame) -> String {
    let mut text = heading(&format!("Undo {}", undo.id));
    let mut fields = Fields::default();
    fields.add("of", selector(&undo.selector));
    fields.maybe("nodes", undo.scope.nodes.as_deref());
    fields.maybe("stack", undo.scope.stack.as_ref().map(ToString::to_string));
    fields.maybe("part", undo.scope.part.as_ref().map(ToString::to_string));
    fields.add("asked by", format!("{}, {}", undo.by, frame.exactly(undo.created_at)));
    fields.maybe("why", (!undo.reason.is_empty()).then_some(undo.reason.as_str()));
    fields.add("state", state(&undo.state));
    text.push_str(&fields.render());
    text.push('\n');
    text.push_str(&plan(&undo.plan, names, frame));
    if undo.state == UndoState::Conflicted {
        text.push_str(&conflicts(&undo.plan, names));
    }
    text.push_str(&merges(&undo.plan, names));
    text
}

fn state(state: &UndoState) -> String {
    match state {
        UndoState::Planned => "planned".to_owned(),
        UndoState::Conflicted => "waits until conflicts are resolved".to_owned(),
        UndoState::RollingOut => "nodes are going back".to_owned(),
        UndoState::Verified => "verified on every node".to_owned(),
        UndoState::Failed { reason } => format!("failed: {reason}"),
    }
}

/// What to run where upstream has not taken the undo commit.
pub(crate) fn merges(plan: &UndoPlan, names: &BTreeMap<RepositoryId, String>) -> String {
    let (warn, bold) = (style::WARN, style::BOLD);
    let mut text = String::new();
    for part in &plan.repositories {
        if let PushState::AwaitingMerge { reason, command, .. } = &part.push {
            let name = name_of(names, part.repository);
            text.push_str(&format!(
                "\n{warn}Upstream of {name} has not taken the undo commit:{warn:#} {reason}\n\
                 Nodes stay on it all the same. To merge it:\n\n  {bold}{command}{bold:#}\n"
            ));
        }
    }
    text
}

/// What is taken back, in words.
pub(crate) fn selector(selector: &UndoSelector) -> String {
    match selector {
        UndoSelector::Conversation { conversation, meaning: backstay_types::Meaning::OnlyIts } => {
            format!("what conversation {} changed", ids::short(*conversation))
        }
        UndoSelector::Conversation { conversation, meaning: backstay_types::Meaning::Before } => {
            format!("everything since just before conversation {} began", ids::short(*conversation))
        }
        UndoSelector::Time { to, exact: false } => format!("everything since {to}"),
        UndoSelector::Time { to, exact: true } => {
            format!("everything since {to}, each node to what it ran then")
        }
        UndoSelector::Commit { to, .. } => format!("everything since commit {}", to.short()),
        UndoSelector::Deployment { deployment } => {
            format!("what deployment {} brought", ids::short(*deployment))
        }
        UndoSelector::Last => "the last change that was deployed".to_owned(),
        UndoSelector::Undo { undo } => format!("undo {}", ids::short(*undo)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_conflicts_and_nothing_around_it() {
        let text = "a\nb\n<<<<<<< ours\nc\n=======\nd\n>>>>>>> theirs\ne\n<<<<<<< ours\nf\n>>>>>>> theirs\n";
        assert_eq!(
            hunks(text),
            ["<<<<<<< ours", "c", "=======", "d", ">>>>>>> theirs", "<<<<<<< ours", "f", ">>>>>>> theirs"]
        );
        assert_eq!(hunks("binary"), ["binary"]);
        assert!(has_markers(text));
        assert!(!has_markers("a\n=======\nb <<<<<<< c\n"));
    }
}

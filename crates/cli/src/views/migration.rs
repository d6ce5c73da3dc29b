//! Migrations: what they would be, where their stacks are, how they ended.

use backstay_api::v1::{MigrationPlan, MigrationView};
use backstay_types::{Migration, MigrationState, MigrationStep, Passage};

use crate::{
    commands::migrate::way_back,
    ids,
    ui::{Cell, Frame, Table, style, when, words},
    views::fields::{Fields, heading, section},
};

/// What a migration would be.
pub(crate) fn plan(plan: &MigrationPlan) -> String {
    let (dim, warn) = (style::DIM, style::WARN);
    let mut text = heading(&format!("From {} to {}", plan.from, plan.to));
    for one in &plan.stacks {
        text.push_str(&section(&format!("{} {}", one.stack, one.commit.short())));
        for line in &one.moves {
            text.push_str(&format!("  {dim}moves{dim:#}  {line}\n"));
        }
        for line in &one.costs {
            text.push_str(&format!("  {dim}costs{dim:#}  {line}\n"));
        }
        for line in &one.stays {
            text.push_str(&format!("  {dim}stays{dim:#}  {line}\n"));
        }
        for line in &one.lost {
            text.push_str(&format!("  {warn}lost{warn:#}   {line}\n"));
        }
    }
    text
}

/// Migrations in a table.
pub(crate) fn list(found: &[MigrationView], frame: &Frame) -> String {
    if found.is_empty() {
        return "Nothing was moved so far.\n".to_owned();
    }
    let mut table = Table::new(["ID", "STATE", "ASKED", "BY", "FROM", "TO", "~STACKS"]);
    for view in found {
        let one = &view.migration;
        let stacks: Vec<_> =
            one.stacks.iter().map(|passage| format!("{} {}", passage.stack, passage.step.word())).collect();
        table.row([
            Cell::styled(ids::short(one.id), style::NAME),
            state(view.state),
            frame.when(one.created_at).into(),
            one.by.clone().into(),
            one.from.name.to_string().into(),
            one.to.name.to_string().into(),
            stacks.join(", ").into(),
        ]);
    }
    frame.table(&table)
}

/// One, with where each of its stacks is.
pub(crate) fn one(view: &MigrationView, frame: &Frame) -> String {
    let migration = &view.migration;
    let mut fields = Fields::default();
    fields
        .add("state", state(view.state).text())
        .add("asked", format!("{} by {}", frame.exactly(migration.created_at), migration.by));
    if !migration.reason.is_empty() {
        fields.add("why", migration.reason.clone());
    }
    fields.maybe("back of", migration.back_of.map(ids::short));
    fields.maybe("ended", migration.finished_at.map(|at| frame.exactly(at)));
    let title = format!(
        "Migration {} from {} to {}",
        ids::short(migration.id),
        migration.from.name,
        migration.to.name
    );
    let mut text = heading(&title) + &fields.render();
    for passage in &migration.stacks {
        text.push_str(&stack(migration, passage, frame));
    }
    let dim = style::DIM;
    if view.can_go_back {
        text.push_str(&format!(
            "\n{dim}Back again, with what was written since:{dim:#} {}\n",
            way_back(view)
        ));
    }
    for line in &view.unsaid {
        text.push_str(&format!("{dim}Not in fleet.toml yet:{dim:#} {line}\n"));
    }
    text
}

fn stack(migration: &Migration, passage: &Passage, frame: &Frame) -> String {
    let mut fields = Fields::default();
    let since = frame.exactly(passage.since);
    fields.add("step", format!("{}, since {since}", step(passage.step)));
    fields.add("runs on", runs_on(migration, passage));
    fields.maybe("waits", passage.waits.clone());
    fields.maybe("failed", passage.failed.clone());
    fields.maybe("stopped", passage.stopped_at.map(|at| frame.exactly(at)));
    let stood =
        passage.stood_still().map(|took| when::millis(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)));
    fields.maybe("stood", stood);
    for check in &passage.checks {
        let equal = match (check.from.is_some() && check.to.is_some(), check.is_equal()) {
            (true, true) => "compared, equal",
            (true, false) => "NOT EQUAL",
            (false, _) => "not compared",
        };
        let (files, bytes) = (check.files, words::bytes(check.bytes));
        fields.add(&check.item, format!("{equal}: {files} files, {bytes}"));
    }
    section(passage.stack.as_str()) + &fields.render()
}

/// Where a stack runs now, in words.
fn runs_on(migration: &Migration, passage: &Passage) -> String {
    let (from, to) = (&migration.from.name, &migration.to.name);
    match passage.step {
        MigrationStep::Waiting | MigrationStep::Copying | MigrationStep::Fetching => from.to_string(),
        MigrationStep::Switched => format!("{to}; its data from before is still on {from}"),
        MigrationStep::Stayed => from.to_string(),
        _ => format!("neither {from} nor {to} yet"),
    }
}

/// Where it is, in one line that is written over.
pub(crate) fn now(view: &MigrationView) -> String {
    let one = |passage: &Passage| {
        let waits = passage.waits.clone().unwrap_or_else(|| step(passage.step).to_owned());
        (!passage.step.is_final()).then(|| format!("{}: {waits}", passage.stack))
    };
    view.migration.stacks.iter().filter_map(one).collect::<Vec<_>>().join("; ")
}

/// A step in words.
pub(crate) fn step(step: MigrationStep) -> &'static str {
    match step {
        MigrationStep::Waiting => "waits for its turn",
        MigrationStep::Copying => "is copied while it runs",
        MigrationStep::Fetching => "its copy is fetched while it runs",
        MigrationStep::Stopping => "is stopped and saved once more",
        MigrationStep::Resting => "its keys rest",
        MigrationStep::Starting => "is started with its data",
        MigrationStep::Switched => "runs on the other node",
        MigrationStep::GoingBack => "is kept off the other node",
        MigrationStep::Resuming => "is started where it was",
        MigrationStep::Stayed => "stayed where it was",
    }
}

fn state(state: MigrationState) -> Cell {
    match state {
        MigrationState::Running => Cell::styled("running", style::WARN),
        MigrationState::Done => Cell::styled("done", style::GOOD),
        MigrationState::Partly => Cell::styled("partly", style::BAD),
        MigrationState::Failed => Cell::styled("failed", style::BAD),
        MigrationState::Cancelled => Cell::styled("cancelled", style::DIM),
    }
}

//! `backstay rollouts`: the newest, or one with its deployments.

use backstay_api::{
    Empty,
    v1::{
        DeploymentView, DeploymentsQuery, GetRollout, ListDeployments, ListRollouts, RolloutPath,
        RolloutView, RolloutsQuery,
    },
};
use backstay_types::{Cause, RolloutKind, StackName};
use clap::Args;

use super::{Outcome, deployments, done};
use crate::{
    context::Context,
    ids, lookup,
    ui::{Cell, Frame, Table, style, words},
    views::{
        fields::{Fields, heading, section},
        pattern::view_pattern,
    },
};

/// Rollouts, newest first; with an id, that one with its deployments.
#[derive(Debug, Args)]
pub(crate) struct Rollouts {
    /// A rollout, to see its deployments
    #[arg(conflicts_with = "stack")]
    rollout: Option<String>,
    /// Only of this stack
    #[arg(long)]
    stack: Option<StackName>,
    /// The most to show
    #[arg(long, default_value_t = 20)]
    limit: u32,
}

/// A rollout with its deployments, as `--json` prints it.
#[derive(Debug, serde::Serialize)]
struct Detail {
    #[serde(flatten)]
    view: RolloutView,
    attempts: Vec<DeploymentView>,
}

impl Rollouts {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let api = cx.api()?;
        if let Some(text) = &self.rollout {
            let rollout = lookup::rollout(&api, text).await?;
            let view = api.call::<GetRollout>(RolloutPath { rollout }, Empty {}, Empty {}).await?;
            let query = |paging: backstay_api::v1::Paging| DeploymentsQuery {
                rollout: Some(rollout),
                limit: paging.limit,
                cursor: paging.cursor,
                ..DeploymentsQuery::default()
            };
            let detail = Detail { view, attempts: api.all::<ListDeployments, _>(query).await? };
            cx.ui.data(&detail, || view_one(&detail, &cx.frame()))?;
            return done();
        }
        let query = RolloutsQuery { stack: self.stack, limit: Some(self.limit), ..RolloutsQuery::default() };
        let page = api.call::<ListRollouts>(Empty {}, query, Empty {}).await?;
        cx.ui.data(&page.items, || view_list(&page.items, &cx.frame()))?;
        done()
    }
}

fn figures(view: &RolloutView) -> String {
    let mut parts: Vec<_> =
        view.deployments.iter().map(|(word, n)| format!("{n} {}", word.replace('_', " "))).collect();
    if view.waiting > 0 {
        parts.push(format!("{} waiting", view.waiting));
    }
    parts.join(", ")
}

fn cause(cause: &Cause) -> String {
    match cause {
        Cause::Change { commit, .. } => format!("commit {}", commit.short()),
        Cause::Undo { undo } => format!("undo {}", ids::short(*undo)),
        Cause::Decommission => "decommission".to_owned(),
        Cause::Migration { migration } => format!("migration {}", ids::short(*migration)),
    }
}

fn kind(kind: RolloutKind) -> &'static str {
    match kind {
        RolloutKind::Update => "forward",
        RolloutKind::Rollback => "back",
        RolloutKind::Removal => "taken away",
    }
}

/// The stack, with the part that moves.
fn what(rollout: &backstay_types::Rollout) -> String {
    match &rollout.part {
        Some(part) => format!("{} ({part})", rollout.stack),
        None => rollout.stack.to_string(),
    }
}

fn view_list(rollouts: &[RolloutView], frame: &Frame) -> String {
    if rollouts.is_empty() {
        return "No rollouts.\n".to_owned();
    }
    let mut table = Table::new(["ID", "STACK", "WAY", "STATE", "CAUSE", "BEGAN", "~NODES"]);
    for view in rollouts {
        table.row([
            Cell::styled(ids::short(view.rollout.id), style::NAME),
            what(&view.rollout).into(),
            kind(view.rollout.kind).into(),
            words::rollout(view.rollout.state),
            cause(&view.rollout.cause).into(),
            frame.when(view.rollout.created_at).into(),
            figures(view).into(),
        ]);
    }
    frame.table(&table)
}

/// One that is under way as a line: in which wave it is, and what it waits for.
pub(super) fn view_line(view: &RolloutView) -> String {
    let rollout = &view.rollout;
    let place = rollout.environment.as_ref().map(|one| format!(" in {one}"));
    let place = place.or_else(|| rollout.branch.as_ref().map(|branch| format!(" of branch {branch}")));
    let wave = match view.waves.len() {
        0 | 1 => String::new(),
        waves => format!(", wave {} of {waves}", rollout.wave.saturating_add(1)),
    };
    let gate = if view.gate.is_empty() { figures(view) } else { view.gate.clone() };
    let (id, what, place) = (ids::short(rollout.id), what(rollout), place.unwrap_or_default());
    format!("  {id}  {what}{place} {} to {}{wave}: {gate}\n", kind(rollout.kind), view.commit.short())
}

fn view_one(detail: &Detail, frame: &Frame) -> String {
    let mut text = view_fields(&detail.view, frame);
    if !detail.attempts.is_empty() {
        text.push_str(&section("Deployments"));
        text.push_str(&deployments::view_list(&detail.attempts, frame));
    }
    text
}

/// A rollout without its deployments.
pub(super) fn view_fields(view: &RolloutView, frame: &Frame) -> String {
    let rollout = &view.rollout;
    let mut text = heading(&format!("Rollout {}", rollout.id));
    let mut fields = Fields::default();
    let (kind, of) = match rollout.kind {
        RolloutKind::Removal => ("", "taken away"),
        other => (kind(other), "to"),
    };
    let kind = if kind.is_empty() { String::new() } else { format!(", {kind}") };
    fields.add("stack", rollout.stack.to_string());
    fields.maybe("part", rollout.part.as_ref().map(ToString::to_string));
    fields.maybe("branch", rollout.branch.clone());
    fields.maybe("environment", rollout.environment.as_ref().map(ToString::to_string));
    fields.add(of, format!("{} (commit {}){kind}", view.tree.short(), view.commit.short()));
    fields.add("cause", cause(&rollout.cause));
    fields.add("state", words::rollout(rollout.state).text());
    fields.maybe("why", Some(rollout.reason.as_str()).filter(|reason| !reason.is_empty()));
    fields.add("nodes", figures(view));
    fields.maybe("at once", rollout.max_updating.map(|n| format!("{n} at most")));
    fields.add("began", frame.exactly(rollout.created_at));
    fields.maybe("ended", rollout.finished_at.map(|at| frame.exactly(at)));
    fields.maybe("waits", Some(view.gate.as_str()).filter(|gate| !gate.is_empty()));
    text.push_str(&fields.render());
    if !view.waves.is_empty() {
        text.push_str(&section("Waves"));
        text.push_str(&super::rollout::view_waves(view, frame));
    }
    if let Some(pattern) = view.pattern.as_ref().filter(|pattern| pattern.failed > 0) {
        text.push_str(&section("What failed"));
        text.push_str(&view_pattern(pattern));
    }
    text
}

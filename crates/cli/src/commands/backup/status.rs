//! `backstay backup status`: how backups stand.

use backstay_api::{
    Empty,
    v1::{
        BackupHealth, BackupRate, BackupStatus, BackupStatusQuery, BackupsView, GetBackups, ListBackupStatus,
        Paging, StackBackups,
    },
};
use backstay_types::{ErrorCode, Timestamp};
use clap::Args;
use serde::Serialize;

use super::{Outcome, done, short};
use crate::{
    context::Context,
    error::CliError,
    ui::{Cell, Frame, Table, style, when, words},
    views::{
        backup,
        fields::{Fields, heading, section},
    },
};

/// How backups stand: at a glance and by node, what needs a person first; or of one node.
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// A node; `hub` is the hub's own state
    node: Option<String>,
}

/// What `--json` prints without a node.
#[derive(Debug, Serialize)]
struct Standing {
    backups: BackupsView,
    nodes: Vec<BackupStatus>,
}

impl Status {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let api = cx.api()?;
        if let Some(node) = self.node {
            let query = BackupStatusQuery { node: Some(node.clone()), ..BackupStatusQuery::default() };
            let page = api.call::<ListBackupStatus>(Empty {}, query, Empty {}).await?;
            let one = page.items.into_iter().next().ok_or_else(|| {
                CliError::new(ErrorCode::BS4004, format!("nothing is known of backups of {node}"))
                    .hint("backstay backup status")
            })?;
            cx.ui.data(&one, || view_one(&one, &cx.frame()))?;
            return done();
        }
        let query = |paging: Paging| BackupStatusQuery {
            limit: paging.limit,
            cursor: paging.cursor,
            ..BackupStatusQuery::default()
        };
        let standing = Standing {
            backups: api.get::<GetBackups>().await?,
            nodes: api.all::<ListBackupStatus, _>(query).await?,
        };
        cx.ui.data(&standing, || view(&standing, &cx.frame()))?;
        done()
    }
}

fn view(standing: &Standing, frame: &Frame) -> String {
    let all = &standing.backups;
    let (dim, bad, warn) = (style::DIM, style::BAD, style::WARN);
    let Some(settings) = &all.settings else {
        return format!(
            "{bad}Backups are not set up at this hub{bad:#}: no data of any node is saved.\n\
             Set `target` in its [backup] settings; docs/guides/backups-hub.md says how.\n"
        );
    };
    let mut fields = Fields::default();
    fields.add("nodes", by_state(all));
    fields.add("target", format!("{}; {}", settings.target.place, settings.target.note));
    fields.add(
        "second",
        settings
            .second
            .as_ref()
            .map_or_else(|| "none".to_owned(), |one| format!("{}; {}", one.place, one.note)),
    );
    fields.add("rhythm", format!("every {}", when::span(settings.every_seconds)));
    let keep = &settings.keep;
    fields.add(
        "keeps",
        format!(
            "{} hourly, {} daily, {} weekly, {} monthly, none older than {} days; the {} newest proven ones always",
            keep.hourly, keep.daily, keep.weekly, keep.monthly, keep.days, keep.at_least
        ),
    );
    fields.add("takes", words::bytes(all.bytes));
    fields.maybe(
        "oldest",
        all.oldest_proven_at.map(|at| format!("newest proven one of a node: {}", frame.exactly(at))),
    );
    let rate = all.last_90_days;
    fields.add("90 days", format!("{} ended well, {} failed", rate.done, rate.failed));
    fields.add("drills", drills(all.drills_90_days, settings.drill_every_seconds));
    fields.maybe(
        "drilled",
        all.oldest_drilled_at
            .map(|at| format!("oldest newest drilled one of a stack: {}", frame.exactly(at))),
    );
    let slowest: Vec<_> =
        all.restore_ms.iter().map(|(stack, ms)| format!("{stack} {}", when::millis(*ms))).collect();
    fields.maybe("restores in", (!slowest.is_empty()).then(|| slowest.join(", ")));
    fields.add("now", format!("{} run, {} wait", all.running.len(), all.queued));
    let mut text = format!("{}{}", heading("Backups"), fields.render());
    if !all.warnings.is_empty() {
        text.push_str(&section("Needs a person"));
        for one in &all.warnings {
            text.push_str(&format!("  {warn}!{warn:#} {}\n", one.text.replace(char::is_control, " ")));
        }
    }
    text.push_str(&section("Nodes"));
    text.push_str(&list(&standing.nodes, frame));
    if standing.nodes.iter().any(|one| one.state == BackupHealth::Unproven) {
        text.push_str(&format!("{dim}To prove one now: backstay backup verify NODE{dim:#}\n"));
    }
    text
}

/// How drills went, and how often there are any.
fn drills(rate: BackupRate, every_seconds: u64) -> String {
    let often = match every_seconds {
        0 => "only by hand".to_owned(),
        seconds => format!("every {} of each stack", when::span(seconds)),
    };
    format!("{often}; in 90 days {} passed, {} failed", rate.done, rate.failed)
}

fn by_state(all: &BackupsView) -> String {
    let parts: Vec<_> = all
        .by_state
        .iter()
        .map(|(state, many)| format!("{many} {}", words::backups(*state).plain()))
        .collect();
    if parts.is_empty() { "none".to_owned() } else { format!("{}: {}", all.nodes, parts.join(", ")) }
}

fn list(nodes: &[BackupStatus], frame: &Frame) -> String {
    let mut table = Table::new(["NODE", "BACKUPS", "PROVEN", "NEXT", "SIZE", "STACKS", "~WHY"]);
    for one in nodes {
        let why = match &one.job {
            Some(job) => backup::under_way(job),
            None => one.why.clone(),
        };
        table.row([
            Cell::styled(one.name.clone(), style::NAME),
            words::backups(one.state),
            one.proven_at.map_or_else(|| "never".to_owned(), |at| frame.when(at)).into(),
            one.next_at.map_or_else(|| "-".to_owned(), |at| next(at, frame)).into(),
            words::bytes(one.repository.bytes).into(),
            one.stacks.len().to_string().into(),
            why.into(),
        ]);
    }
    if table.is_empty() { "No nodes yet.\n".to_owned() } else { frame.table(&table) }
}

/// When the next one is due. What was never made is due since ever.
fn next(at: Timestamp, frame: &Frame) -> String {
    let now = frame.now.timestamp();
    if at <= now { "due".to_owned() } else { when::relative(at, now) }
}

fn view_one(one: &BackupStatus, frame: &Frame) -> String {
    let mut fields = Fields::default();
    let why = if one.why.is_empty() { String::new() } else { format!(": {}", one.why) };
    fields.add("backups", format!("{}{why}", words::backups(one.state).text()));
    fields.add("proven", one.proven_at.map_or_else(|| "never".to_owned(), |at| frame.exactly(at)));
    fields.maybe("last good", one.history.last_good_at.map(|at| frame.exactly(at)));
    if one.history.failed_in_a_row > 0 {
        let last = one.history.last_failure.as_deref().unwrap_or("not said");
        fields.add("failed", format!("{} in a row, the last: {last}", one.history.failed_in_a_row));
    }
    fields.maybe("next", one.next_at.map(|at| next(at, frame)));
    fields.maybe("now", one.job.as_ref().map(backup::under_way));
    let repository = &one.repository;
    fields.add("takes", words::bytes(repository.bytes));
    fields.maybe("checked", repository.checked_at.map(|at| frame.exactly(at)));
    fields.maybe("all read", repository.read_all_at.map(|at| frame.exactly(at)));
    fields.add("recovery", recovery(repository.sealed_to.as_deref()));
    fields
        .add("90 days", format!("{} ended well, {} failed", one.last_90_days.done, one.last_90_days.failed));
    let drills = one.drills_90_days;
    fields.add("drills", format!("in 90 days {} passed, {} failed", drills.done, drills.failed));
    let mut text = format!("{}{}", heading(&format!("Backups of {}", one.name)), fields.render());
    if let Some(damage) = &one.damaged {
        text.push_str(&section(&format!("Damaged, known since {}", frame.exactly(damage.since))));
        text.push_str(&backup::problems(&damage.problems));
    }
    text.push_str(&section("Stacks"));
    let mut table =
        Table::new(["STACK", "SNAPSHOTS", "NEWEST", "PROOF", "NEWEST PROVEN", "WHEN", "~DRILLED"]);
    for stack in &one.stacks {
        let (newest, proven) = (stack.newest.as_ref(), stack.proven.as_ref());
        let dash = || "-".to_owned();
        table.row([
            Cell::styled(
                stack.stack.as_ref().map_or_else(|| "the hub".to_owned(), ToString::to_string),
                style::NAME,
            ),
            stack.snapshots.to_string().into(),
            newest.map_or_else(dash, |one| short(one.id)).into(),
            newest.map_or_else(|| Cell::from("-"), |one| words::proof(one.proof)),
            proven.map_or_else(dash, |one| short(one.id)).into(),
            proven.map_or_else(dash, |one| frame.when(one.at)).into(),
            drilled(stack, frame),
        ]);
    }
    text.push_str(&if table.is_empty() { "  No snapshots yet.\n".to_owned() } else { frame.table(&table) });
    text
}

/// How the newest drill of a stack went.
fn drilled(of: &StackBackups, frame: &Frame) -> Cell {
    let next = of.next_drill_at.map(|at| format!(", next {}", next(at, frame))).unwrap_or_default();
    let Some(drill) = &of.drill else { return format!("not yet{next}").into() };
    if drill.failed_in_a_row > 0 {
        let why = drill.last_failure.as_deref().unwrap_or("not said why");
        return Cell::styled(format!("FAILED: {}", why.replace(char::is_control, " ")), style::BAD);
    }
    match (drill.snapshot_at, drill.restore_ms) {
        (Some(at), took) => {
            let took = took.map(|ms| format!(", restored in {}", when::millis(ms))).unwrap_or_default();
            format!("that of {}{took}{next}", frame.when(at)).into()
        }
        (None, _) if drill.off => "nothing to be drilled".to_owned().into(),
        (None, _) => format!("not yet{next}").into(),
    }
}

fn recovery(sealed_to: Option<&str>) -> String {
    match sealed_to {
        Some(recipient) => format!("opened by {recipient}"),
        None => "no recovery key opens it: backstay backup recovery-key".to_owned(),
    }
}

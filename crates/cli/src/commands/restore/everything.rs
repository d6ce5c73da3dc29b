//! `backstay restore --everything`: the data of a fleet put back, to one time.

use backstay_api::{
    Empty,
    v1::{RestoreEverything, RestoreEverythingRequest, RestoreEverythingView, RestoreView},
};
use backstay_types::ErrorCode;

use super::{Restore, persistently, said, waiting};
use crate::{
    commands::{
        Outcome,
        backup::{ended_well, short, until_ended},
        done,
    },
    context::Context,
    error::CliError,
    time,
    ui::{Cell, Frame, Table, count, style, words},
    views::{backup, fields::heading},
};

pub(super) async fn run(asked: Restore, cx: &Context) -> Outcome {
    let (api, frame) = (cx.api()?, cx.frame());
    let at = asked.at.as_deref().map(|text| time::past(text, &frame.now)).transpose()?;
    let mut request =
        RestoreEverythingRequest { nodes: asked.nodes, at, dry_run: true, ..Default::default() };
    let planned = api.call::<RestoreEverything>(Empty {}, Empty {}, request.clone()).await?;
    let text = plan(&planned, &frame);
    if asked.dry_run {
        let dim = style::DIM;
        cx.ui.data(&planned, || format!("{text}\n{dim}Nothing was changed.{dim:#}\n"))?;
        return done();
    }
    cx.ui.say(text);
    if !asked.yes && !cx.ui.confirm("Put all of this back?")? {
        return Err(CliError::new(ErrorCode::BS8010, "nothing was put back"));
    }
    for view in &planned.restores {
        request.confirm.extend(said(view.confirm.as_deref(), &asked.confirm, cx)?);
    }
    // What was shown, though newer ones may be there by now.
    request.at = Some(planned.at);
    request.dry_run = false;
    request.id = Some(cx.world.mint());
    let mut begun =
        persistently(async || api.call::<RestoreEverything>(Empty {}, Empty {}, request.clone()).await)
            .await?;
    let jobs_of = |wanted: &dyn Fn(&RestoreView) -> bool| {
        let views = begun.restores.iter().filter(|view| wanted(view));
        views.filter_map(|view| view.job.clone()).collect::<Vec<_>>()
    };
    if asked.no_wait {
        let jobs = jobs_of(&|_| true);
        cx.ui.data(&begun, || waiting(&begun.restores, &jobs, &frame))?;
        return done();
    }
    // What waits for its node or its stack may do so for days: it is told, and the others are followed.
    let jobs = until_ended(jobs_of(&|view| !view.waits), &api, cx).await?;
    for view in &mut begun.restores {
        let id = view.job.as_ref().map(|job| job.job.id);
        if let Some(newer) = jobs.iter().find(|job| Some(job.job.id) == id) {
            view.job = Some(newer.clone());
        }
    }
    cx.ui.data(&begun, || ended(&begun, &frame))?;
    ended_well(&jobs)
}

/// What would happen, in plain words: each stack in a line, what happens to all of them once.
fn plan(planned: &RestoreEverythingView, frame: &Frame) -> String {
    let (dim, warn) = (style::DIM, style::WARN);
    let mut text = heading(&format!(
        "Restore {} to {}",
        count(planned.restores.len(), "stack"),
        frame.exactly(planned.at)
    ));
    let mut table = Table::new(["NODE", "STACK", "FROM", "WHEN", "SIZE", "~PROOF"]);
    for view in &planned.restores {
        let snapshot = &view.snapshot.kept.snapshot;
        table.row([
            Cell::styled(view.node_name.to_string(), style::NAME),
            view.stack.to_string().into(),
            short(snapshot.id).into(),
            frame.when(snapshot.at).into(),
            words::bytes(snapshot.bytes).into(),
            words::proof(snapshot.proof),
        ]);
    }
    text.push_str(&frame.table(&table));
    text.push_str(
        "\nEach of these stacks is stopped on its node, a safety snapshot is made of what is there, its data is put where it \
         came from,\nand it is started and probed. Nodes do this at the same time, the stacks of a node one after the other.\n",
    );
    for view in planned.restores.iter().filter(|view| view.waits) {
        let (stack, node) = (&view.stack, &view.node_name);
        text.push_str(&format!(
            "  {stack} waits until {node} is to run it, and is in its place before it starts.\n"
        ));
    }
    text.push_str(&format!(
        "  {warn}!{warn:#} What was written since each of these snapshots is replaced. It comes back from the safety \
         snapshots:\n      backstay restore NODE/STACK --snapshot ID   {dim}each is named at the end{dim:#}\n"
    ));
    for view in &planned.restores {
        if let Some(say) = &view.confirm {
            text.push_str(&format!(
                "  {warn}!{warn:#} {say}: older data of it could make a validator sign twice; it has to be confirmed\n"
            ));
        }
    }
    text + &left_out(planned)
}

/// What stays as it is, and why.
fn left_out(view: &RestoreEverythingView) -> String {
    let warn = style::WARN;
    let line = |one: &backstay_api::v1::LeftOut| {
        format!(
            "  {warn}!{warn:#} {} on {} stays as it is: {} ({})\n",
            one.stack, one.node_name, one.why, one.code
        )
    };
    view.left_out.iter().map(line).collect()
}

/// How it ended, with the ways back.
fn ended(begun: &RestoreEverythingView, frame: &Frame) -> String {
    let mut text = String::new();
    let dim = style::DIM;
    for view in begun.restores.iter().filter(|view| !view.waits) {
        let Some(job) = &view.job else { continue };
        text.push_str(&format!("{}.\n", backup::sentence(job)));
        if let Some(work) = job.job.result.as_ref().and_then(|result| result.work.as_ref()) {
            text.push_str(&backup::lost(work));
        }
        if let Some(safety) = backup::safety(job) {
            let (node, stack, id) = (&view.node_name, &view.stack, short(safety.id));
            text.push_str(&format!(
                "  {dim}What was there before:{dim:#} backstay restore {node}/{stack} --snapshot {id}\n"
            ));
        }
    }
    let later: Vec<_> = begun.restores.iter().filter(|view| view.waits).cloned().collect();
    if !later.is_empty() {
        let jobs: Vec<_> = later.iter().filter_map(|view| view.job.clone()).collect();
        text.push_str(&waiting(&later, &jobs, frame));
    }
    text + &left_out(begun)
}

//! `backstay telemetry`: the metrics and logs that the hub keeps.

use std::{fs::File, io, path::PathBuf};

use backstay_api::{
    Binary, Empty, Endpoint,
    v1::{self, ExportQuery, ExportTelemetry, GetTelemetry, LogStoreView, TelemetryView},
};
use backstay_types::ErrorCode;
use clap::{Args, Subcommand};

use super::{Outcome, done, logs::Chosen};
use crate::{
    context::Context,
    error::CliError,
    time,
    ui::{Cell, Frame, Table, count, style, words::bytes as size},
    views::fields::{Fields, heading, section},
};

/// Metrics and logs.
#[derive(Debug, Subcommand)]
pub(crate) enum Telemetry {
    /// How the stores stand: series, lines, bytes, what was taken and refused
    Status,
    /// Write samples as they are stored: one JSON document a line
    Export(Export),
    /// Write lines of logs as they are stored: one JSON document a line, oldest first
    ExportLogs(ExportLogs),
}

/// Options of `telemetry export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Only this metric
    #[arg(long, value_name = "NAME")]
    metric: Option<String>,
    /// Only series with this label. May be given several times
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// From this time on, such as `2 hours ago` or `2026-11-20`
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Up to this time
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Where to [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Options of `telemetry export-logs`.
#[derive(Debug, Args)]
pub(crate) struct ExportLogs {
    #[command(flatten)]
    chosen: Chosen,
    /// Where to [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Telemetry {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        match self {
            Self::Status => {
                let view = cx.api()?.get::<GetTelemetry>().await?;
                cx.ui.data(&view, || show(&view, &cx.frame()))?;
                done()
            }
            Self::Export(command) => export(command, cx).await,
            Self::ExportLogs(command) => {
                let search = command.chosen.search(&cx.frame())?;
                download::<v1::ExportLogs>(search, command.output, cx).await
            }
        }
    }
}

async fn export(command: Export, cx: &Context) -> Outcome {
    let now = cx.frame().now;
    let past = |text: Option<&String>| text.map(|text| time::past(text, &now)).transpose();
    let query = ExportQuery {
        metric: command.metric,
        labels: (!command.labels.is_empty()).then(|| command.labels.join(",")),
        from: past(command.from.as_ref())?,
        to: past(command.to.as_ref())?,
    };
    download::<ExportTelemetry>(query, command.output, cx).await
}

/// Writes what the hub gives to a file, or to standard output.
async fn download<E>(query: E::Query, output: Option<PathBuf>, cx: &Context) -> Outcome
where
    E: Endpoint<Path = Empty, Request = Empty, Response = Binary>,
{
    let api = cx.api()?;
    let Some(path) = output else {
        api.download_chosen::<E>(&Empty {}, &query, &Empty {}, &mut io::stdout()).await?;
        return done();
    };
    let failed = |error| {
        CliError::new(ErrorCode::BS8004, format!("{} cannot be written", path.display())).with_source(error)
    };
    let mut file = File::create(&path).map_err(failed)?;
    let bytes = api.download_chosen::<E>(&Empty {}, &query, &Empty {}, &mut file).await?;
    file.sync_all().map_err(failed)?;
    cx.ui.say(format!("{}: {bytes} bytes", path.display()));
    done()
}

fn show(view: &TelemetryView, frame: &Frame) -> String {
    show_metrics(view, frame) + &show_logs(&view.logs, frame)
}

fn show_logs(view: &LogStoreView, frame: &Frame) -> String {
    let mut text = section("Logs");
    let mut fields = Fields::default();
    let (bad, warn) = (style::BAD, style::WARN);
    if let Some(problem) = &view.problem {
        fields.add("not kept", format!("{bad}{problem}{bad:#}"));
        return text + &fields.render();
    }
    fields.maybe("trouble", view.upkeep_problem.as_ref().map(|what| format!("{bad}{what}{bad:#}")));
    let parts = count(usize::try_from(view.parts).unwrap_or(usize::MAX), "part");
    fields.add("on disk", format!("{} lines in {parts}, {}", view.part_lines, size(view.part_bytes)));
    let memory = format!("{} of {}", size(view.memory_bytes), size(view.max_memory_bytes));
    fields.add("in memory", format!("{} lines, {memory}", view.memory_lines));
    fields.add("log", size(view.log_bytes));
    if let (Some(oldest), Some(newest)) = (view.oldest, view.newest) {
        fields.add("from", frame.when(oldest));
        fields.add("to", frame.when(newest));
    }
    let stored =
        format!("{} lines stored, {}, {} were there", view.stored, size(view.text_bytes), view.duplicates);
    fields.add("since the start", stored);
    let hidden = view.hidden;
    let secrets = format!("{} known, {} by form, {} random", hidden.known, hidden.pattern, hidden.entropy);
    fields.add("secrets hidden", secrets);
    let refused = [
        (view.refused, "lines too old or from the future"),
        (view.batches_refused, "whole batches, which senders repeat"),
        (view.held_off, "requests of senders that bring too much"),
    ];
    let refused: Vec<_> =
        refused.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if !refused.is_empty() {
        fields.add("refused", format!("{warn}{}{warn:#}", refused.join(", ")));
    }
    text.push_str(&fields.render());
    for damaged in &view.damaged {
        text.push_str(&format!("  {bad}damaged, set aside: {damaged}{bad:#}\n"));
    }
    text
}

fn show_metrics(view: &TelemetryView, frame: &Frame) -> String {
    let mut text = heading("Metrics");
    let mut fields = Fields::default();
    let (bad, warn) = (style::BAD, style::WARN);
    if let Some(problem) = &view.problem {
        fields.add("not kept", format!("{bad}{problem}{bad:#}"));
        return text + &fields.render();
    }
    fields.add("folder", &view.folder);
    fields.maybe("trouble", view.upkeep_problem.as_ref().map(|what| format!("{bad}{what}{bad:#}")));
    let samples = view.block_samples;
    fields.add("in blocks", format!("{samples} samples, {}", size(view.block_bytes)));
    let memory = format!("{} of {}", size(view.memory_bytes), size(view.max_memory_bytes));
    fields.add("in memory", format!("{} of {} series, {memory}", view.active_series, view.max_series));
    fields.add("log", size(view.log_bytes));
    if let (Some(oldest), Some(newest)) = (view.oldest, view.newest) {
        fields.add("from", frame.when(oldest));
        fields.add("to", frame.when(newest));
    }
    fields.add("since the start", format!("{} stored, {} were there", view.stored, view.duplicates));
    let refused = refused(view);
    if !refused.is_empty() {
        fields.add("refused", format!("{warn}{}{warn:#}", refused.join(", ")));
    }
    text.push_str(&fields.render());
    for damaged in &view.damaged {
        text.push_str(&format!("  {bad}damaged, set aside: {}{bad:#} {}\n", damaged.name, damaged.what));
    }
    if !view.blocks.is_empty() {
        text.push_str(&section(&count(view.blocks.len(), "block")));
        text.push_str(&frame.table(&blocks(view, frame)));
    }
    text
}

fn refused(view: &TelemetryView) -> Vec<String> {
    let refused = &view.refused;
    let all = [
        (view.batches_refused, "whole batches, which senders repeat"),
        (refused.conflicts, "for times with another value"),
        (refused.too_old, "too old"),
        (refused.too_new, "from the future"),
        (refused.over_series, "of too many series"),
        (refused.bad_labels, "with labels that cannot be"),
        (refused.unsupported, "of kinds that are not kept"),
    ];
    all.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect()
}

fn blocks(view: &TelemetryView, frame: &Frame) -> Table {
    let mut table = Table::new(["FROM", "TO", "SERIES", "SAMPLES", "SIZE", "~FOLDER"]);
    for block in &view.blocks {
        table.row([
            frame.when(block.first).into(),
            frame.when(block.last).into(),
            block.series.to_string().into(),
            block.samples.to_string().into(),
            size(block.bytes).into(),
            Cell::styled(block.name.clone(), style::DIM),
        ]);
    }
    table
}

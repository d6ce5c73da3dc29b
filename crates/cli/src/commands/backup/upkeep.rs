//! `backstay backup verify` and `prune`: what the hub does with repositories, now.

use backstay_api::{
    Empty,
    v1::{PruneBackups, PruneBackupsRequest, PruneView, VerifyBackups, VerifyBackupsRequest},
};
use clap::Args;

use super::{Outcome, done, ended_well, short, until_ended};
use crate::{
    context::Context,
    ui::{Cell, Frame, Table, count, style, words},
    views::backup,
};

/// Read snapshots back at the target: those of a node that are not proven yet, or one.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The node; `hub` is the hub's own state
    node: String,
    /// Only this snapshot, by its id or the first 8 digits or more of it
    #[arg(long, value_name = "ID")]
    snapshot: Option<String>,
    /// Do not wait
    #[arg(long)]
    no_wait: bool,
}

/// Forget what retention does not keep, and free what no snapshot needs.
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// The node; `hub` is the hub's own state
    node: String,
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
    /// Do not wait
    #[arg(long)]
    no_wait: bool,
}

impl Verify {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let api = cx.api()?;
        let request = VerifyBackupsRequest { node: self.node, snapshot: self.snapshot };
        let mut job = api.call::<VerifyBackups>(Empty {}, Empty {}, request).await?;
        if !self.no_wait {
            let mut jobs = until_ended(vec![job.clone()], &api, cx).await?;
            job = jobs.pop().unwrap_or(job);
        }
        cx.ui.data(&job, || backup::job(&job, &cx.frame()))?;
        if self.no_wait { done() } else { ended_well(&[job]) }
    }
}

impl Prune {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let api = cx.api()?;
        let request = PruneBackupsRequest { node: self.node, dry_run: self.dry_run };
        let mut pruned = api.call::<PruneBackups>(Empty {}, Empty {}, request).await?;
        if !self.no_wait {
            let mut jobs = until_ended(vec![pruned.job.clone()], &api, cx).await?;
            pruned.job = jobs.pop().unwrap_or(pruned.job);
        }
        cx.ui.data(&pruned, || view(&pruned, self.dry_run, &cx.frame()))?;
        if self.no_wait { done() } else { ended_well(&[pruned.job]) }
    }
}

fn view(pruned: &PruneView, dry_run: bool, frame: &Frame) -> String {
    let mut table = Table::new(["SNAPSHOT", "WHEN", "STACK", "PROOF", "", "~WHY"]);
    for one in &pruned.snapshots {
        let fate = if one.stays { Cell::from("stays") } else { Cell::styled("goes", style::WARN) };
        table.row([
            Cell::styled(short(one.id), style::NAME),
            frame.when(one.at).into(),
            one.stack.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string).into(),
            words::proof(one.proof),
            fate,
            one.reason.clone().into(),
        ]);
    }
    let mut text = if table.is_empty() { "No snapshots.\n".to_owned() } else { frame.table(&table) };
    let stay = pruned.snapshots.iter().filter(|one| one.stays).count();
    let go = pruned.snapshots.len() - stay;
    text.push_str(&format!("{} of {} stay, {go} go.\n", stay, count(pruned.snapshots.len(), "snapshot")));
    if let Some(done) = pruned.job.job.result.as_ref().and_then(|result| result.pruned.as_ref()) {
        text.push_str(&backup::pruned(done, dry_run));
    }
    if dry_run {
        let dim = style::DIM;
        text.push_str(&format!("{dim}Nothing was changed.{dim:#}\n"));
    }
    text
}

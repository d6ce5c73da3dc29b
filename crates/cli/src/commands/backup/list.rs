//! `backstay backup list`, `show` and `files`: snapshots, and what is in them.

use backstay_api::{
    Empty,
    v1::{
        AskSnapshotFiles, BackupJobPath, GetSnapshot, GetSnapshotFiles, ListSnapshots, SnapshotFiles,
        SnapshotFilesRequest, SnapshotPath, SnapshotsQuery,
    },
};
use backstay_types::{
    StackName,
    backup::{Proof, job::FileKind},
};
use clap::{Args, ValueEnum};

use super::{Outcome, done, ended_well, short, until_ended};
use crate::{
    context::Context,
    time,
    ui::{Cell, Frame, Table, count, style, words},
    views::backup,
};

/// Snapshots, newest first.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only of this node; `hub` is the hub's own state
    node: Option<String>,
    /// Only of this stack
    #[arg(long)]
    stack: Option<StackName>,
    /// Only those that are proven so far, or further
    #[arg(long)]
    proof: Option<Proven>,
    /// Only those begun before this time
    #[arg(long, value_name = "TIME")]
    before: Option<String>,
    /// The most to show
    #[arg(long, default_value_t = 20)]
    limit: u32,
}

/// How far.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Proven {
    /// Written
    Created,
    /// Holds what was to be saved
    Matched,
    /// Read back at the target
    Verified,
    /// Read back at the second target too
    Replicated,
    /// Restored to scratch, compared and tried
    Drilled,
}

/// One snapshot.
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Its id, or the first 8 digits or more of it
    snapshot: String,
}

/// What a snapshot holds.
#[derive(Debug, Args)]
pub(crate) struct Files {
    /// Its id, or the first 8 digits or more of it
    snapshot: String,
    /// Below this path; the items of `[[backup]]` are the folders at the top
    path: Option<String>,
    /// All the way down
    #[arg(long, short)]
    recursive: bool,
}

impl List {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let now = cx.frame().now;
        let before = self.before.as_deref().map(|text| time::past(text, &now)).transpose()?;
        let query = SnapshotsQuery {
            node: self.node,
            stack: self.stack,
            proof: self.proof.map(Into::into),
            before,
            limit: Some(self.limit),
            cursor: None,
        };
        let page = cx.api()?.call::<ListSnapshots>(Empty {}, query, Empty {}).await?;
        let more = page.next.is_some();
        cx.ui.data(&page.items, || {
            let dim = style::DIM;
            let more = if more { format!("{dim}There are more: --limit{dim:#}\n") } else { String::new() };
            format!("{}{more}", backup::snapshots(&page.items, &cx.frame()))
        })?;
        done()
    }
}

impl Show {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let path = SnapshotPath { snapshot: self.snapshot };
        let snapshot = cx.api()?.call::<GetSnapshot>(path, Empty {}, Empty {}).await?;
        cx.ui.data(&snapshot, || backup::snapshot(&snapshot, &cx.frame()))?;
        done()
    }
}

impl Files {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let api = cx.api()?;
        let path = SnapshotPath { snapshot: self.snapshot };
        let below = self.path.unwrap_or_default().trim_matches('/').to_owned();
        let request = SnapshotFilesRequest { path: below, recursive: self.recursive };
        let job = api.call::<AskSnapshotFiles>(path, Empty {}, request).await?;
        let jobs = until_ended(vec![job], &api, cx).await?;
        ended_well(&jobs)?;
        for job in jobs.iter().map(|one| one.job.id) {
            let files = api.call::<GetSnapshotFiles>(BackupJobPath { job }, Empty {}, Empty {}).await?;
            cx.ui.data(&files, || view_files(&files, &cx.frame()))?;
        }
        done()
    }
}

fn view_files(found: &SnapshotFiles, frame: &Frame) -> String {
    if found.files.is_empty() {
        let place = if found.path.is_empty() { String::new() } else { format!(" below {}", found.path) };
        return format!("Snapshot {} holds nothing{place}.\n", short(found.snapshot));
    }
    let mut table = Table::new(["MODE", "SIZE", "CHANGED", "~PATH"]);
    for file in &found.files {
        let (size, end) = match file.kind {
            FileKind::File => (words::bytes(file.bytes), ""),
            FileKind::Folder => ("-".to_owned(), "/"),
            FileKind::Link => ("link".to_owned(), ""),
            FileKind::Other => ("special".to_owned(), ""),
        };
        table.row([
            format!("{:04o}", file.mode & 0o7777).into(),
            size.into(),
            file.modified.map_or_else(|| "-".to_owned(), |at| frame.when(at)).into(),
            Cell::styled(format!("{}{end}", file.path), style::NAME),
        ]);
    }
    let more = found.count.saturating_sub(found.files.len() as u64);
    let more = match more {
        0 => String::new(),
        more => format!(
            "… and {} more; name a path below\n",
            count(usize::try_from(more).unwrap_or(usize::MAX), "file")
        ),
    };
    format!("{}{more}", frame.table(&table))
}

impl From<Proven> for Proof {
    fn from(proven: Proven) -> Self {
        match proven {
            Proven::Created => Self::Created,
            Proven::Matched => Self::Matched,
            Proven::Verified => Self::Verified,
            Proven::Replicated => Self::Replicated,
            Proven::Drilled => Self::Drilled,
        }
    }
}

//! `backstay backup drill`: restore drills by hand.

use backstay_api::{
    Empty,
    v1::{StartDrill, StartDrillRequest, StartedBackups},
};
use backstay_types::StackName;
use clap::Args;

use super::{Outcome, done, ended_well, until_ended};
use crate::{context::Context, ui::count, views::backup};

/// Try now whether snapshots can be put back. Each is restored to scratch on its node and compared; where its stack allows it,
/// the stack is started with it, cut off from everything, beside the one that runs, and probed. Then all of it is taken away.
#[derive(Debug, Args)]
pub(crate) struct Drill {
    #[command(flatten)]
    what: What,
    /// Start nothing: only compare files and check databases
    #[arg(long)]
    files_only: bool,
    /// Do not wait
    #[arg(long)]
    no_wait: bool,
}

/// What is drilled.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct What {
    /// Only stacks of this node
    #[arg(long)]
    node: Option<String>,
    /// Only this stack
    #[arg(long)]
    stack: Option<StackName>,
    /// With this snapshot, by its id or the first 8 digits or more of it [default: the newest that is proven]
    #[arg(long, value_name = "ID")]
    snapshot: Option<String>,
}

impl Drill {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let api = cx.api()?;
        let What { node, stack, snapshot } = self.what;
        let request = StartDrillRequest { node, stack, snapshot, files_only: self.files_only };
        let StartedBackups { jobs, count: all } = api.call::<StartDrill>(Empty {}, Empty {}, request).await?;
        if self.no_wait {
            let started = StartedBackups { jobs, count: all };
            cx.ui.data(&started, || {
                let begun = count(usize::try_from(all).unwrap_or(usize::MAX), "drill");
                format!("{}{begun} asked for.\n", backup::jobs(&started.jobs, &cx.frame()))
            })?;
            return done();
        }
        if all > jobs.len() as u64 {
            cx.ui.note(format!("{all} were asked for; the first {} are followed.", jobs.len()));
        }
        let jobs = until_ended(jobs, &api, cx).await?;
        let ended = StartedBackups { jobs, count: all };
        cx.ui.data(&ended, || backup::drills(&ended.jobs))?;
        ended_well(&ended.jobs)
    }
}

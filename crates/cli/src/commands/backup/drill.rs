//! `backstay backup drill`: restore drills by hand.

use backstay_api::{
    Empty,
    v1::{StartDrill, StartDrillRequest},
};
use backstay_types::StackName;
use clap::Args;

use super::{Outcome, follow};
use crate::{context::Context, views::backup};

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
        let started = api.call::<StartDrill>(Empty {}, Empty {}, request).await?;
        follow(started, self.no_wait, "drill", backup::drills, &api, cx).await
    }
}

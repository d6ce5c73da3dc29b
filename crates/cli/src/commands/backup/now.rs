//! `backstay backup now`: backups by hand.

use backstay_api::{
    Empty,
    v1::{StartBackup, StartBackupRequest},
};
use backstay_types::StackName;
use clap::Args;

use super::{Outcome, done, follow};
use crate::{context::Context, views::backup};

/// Make backups now. Without --no-wait they are followed until they end; who stops looking ends none of them.
#[derive(Debug, Args)]
pub(crate) struct Now {
    #[command(flatten)]
    whom: Whom,
    /// Only this stack
    #[arg(long, conflicts_with = "own_state")]
    stack: Option<StackName>,
    /// Do not wait
    #[arg(long)]
    no_wait: bool,
}

/// Of whom.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Whom {
    /// A node; `hub` is the hub's own state
    node: Option<String>,
    /// Nodes that this label selector matches
    #[arg(long, value_name = "SELECTOR")]
    nodes: Option<String>,
    /// All nodes
    #[arg(long)]
    all: bool,
    /// The hub's own state
    #[arg(long)]
    own_state: bool,
}

impl Now {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let api = cx.api()?;
        let hub = self.whom.own_state || self.whom.node.as_deref() == Some("hub");
        let request = StartBackupRequest {
            node: self.whom.node.filter(|_| !hub),
            nodes: self.whom.nodes,
            all: self.whom.all,
            hub,
            stack: self.stack,
        };
        let started = api.call::<StartBackup>(Empty {}, Empty {}, request).await?;
        if started.jobs.is_empty() {
            cx.ui.data(&started, || "No node fits.\n".to_owned())?;
            return done();
        }
        follow(started, self.no_wait, "backup", |jobs| backup::made(jobs, &cx.frame()), &api, cx).await
    }
}

//! `backstay backup hold` and `release`: snapshots that are kept whatever retention says.

use backstay_api::{
    Empty,
    v1::{HoldSnapshot, HoldSnapshotRequest, ReleaseSnapshot, SnapshotPath},
};
use clap::Args;

use super::{Outcome, done, short};
use crate::{context::Context, time};

/// Keep a snapshot whatever retention says.
#[derive(Debug, Args)]
pub(crate) struct Hold {
    /// Its id, or the first 8 digits or more of it
    snapshot: String,
    /// Why
    #[arg(long)]
    reason: String,
    /// When it ends by itself, such as `in 90 days` or `2027-01-01` [default: never]
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

/// Let retention decide about a snapshot again.
#[derive(Debug, Args)]
pub(crate) struct Release {
    /// Its id, or the first 8 digits or more of it
    snapshot: String,
}

impl Hold {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let now = cx.frame().now;
        let until = self.until.as_deref().map(|text| time::future(text, &now)).transpose()?;
        let (path, request) =
            (SnapshotPath { snapshot: self.snapshot }, HoldSnapshotRequest { reason: self.reason, until });
        let held = cx.api()?.call::<HoldSnapshot>(path, Empty {}, request).await?;
        cx.ui.data(&held, || {
            let until = until.map_or_else(
                || "until it is released".to_owned(),
                |at| format!("until {}", cx.frame().exactly(at)),
            );
            format!("Snapshot {} is kept {until}.\n", short(held.kept.snapshot.id))
        })?;
        done()
    }
}

impl Release {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let path = SnapshotPath { snapshot: self.snapshot };
        let released = cx.api()?.call::<ReleaseSnapshot>(path, Empty {}, Empty {}).await?;
        cx.ui.data(&released, || {
            format!("Retention decides about snapshot {} again.\n", short(released.kept.snapshot.id))
        })?;
        done()
    }
}

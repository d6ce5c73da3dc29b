//! `backstay backup accept-target`: begin anew at a target that the hub does not know again.

use backstay_api::{
    Empty,
    v1::{AcceptBackupTarget, AcceptTargetRequest},
};
use backstay_types::ErrorCode;
use clap::Args;

use super::{Outcome, done};
use crate::{context::Context, error::CliError};

/// Begin anew at a target that the hub does not know again, since it was emptied on purpose.
#[derive(Debug, Args)]
pub(crate) struct AcceptTarget {
    /// The second target
    #[arg(long)]
    second: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl AcceptTarget {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let question =
            "Is it meant that what was at this target is gone? A disk that is not mounted looks the same.";
        if !self.yes && !cx.ui.confirm(question)? {
            return Err(CliError::new(ErrorCode::BS8010, "nothing was changed"));
        }
        let request = AcceptTargetRequest { second: self.second };
        let target = cx.api()?.call::<AcceptBackupTarget>(Empty {}, Empty {}, request).await?;
        cx.ui.data(&target, || {
            format!("{} is used as it is: what was there counts as lost.\n", target.place)
        })?;
        done()
    }
}

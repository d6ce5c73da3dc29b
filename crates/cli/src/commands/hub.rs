//! `backstay hub`: a hub, and nothing else.

use clap::Args;

use super::{Outcome, done};
use crate::{
    context::Context,
    local::{self, HubOptions},
};

/// Run a hub until Ctrl-C or SIGTERM.
#[derive(Debug, Args)]
pub(crate) struct Hub {
    #[command(flatten)]
    options: HubOptions,
}

impl Hub {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        local::log_to_stderr("info");
        let hub = local::start(self.options.settings()?, cx.world.clone()).await?;
        local::asked_to_end().await;
        hub.stop().await;
        done()
    }
}

//! `backstay hub`: a hub, and nothing else.

use clap::Args;

use super::{Outcome, done, open};
use crate::{
    api::Api,
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
        // Who is at this machine asks by `backstay open`; who is not needs the first link here.
        if !hub.address().ip().is_loopback() {
            let api = Api::new(&hub.url(), Some(hub.admin_token().clone()), open::SOON)?;
            if let Some(made) = open::link(&api).await? {
                cx.ui.out(&format!("{}\n{}\n", made.link.expose(), open::words(&made)));
            }
        }
        local::asked_to_end().await;
        hub.stop().await;
        done()
    }
}

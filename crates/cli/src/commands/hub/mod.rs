//! `backstay hub`: a hub, and nothing else.

mod restore;

use clap::{Args, Subcommand};

use super::{Outcome, done, open};
use crate::{
    api::Api,
    context::Context,
    local::{self, HubOptions},
};

/// Run a hub until Ctrl-C or SIGTERM.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Hub {
    #[command(flatten)]
    options: HubOptions,
    #[command(subcommand)]
    action: Option<Action>,
}

/// What else is done with a hub.
#[derive(Debug, Subcommand)]
enum Action {
    /// Bring a lost hub back on this machine, from its backup and with the owner's recovery key
    Restore(restore::Restore),
}

impl Hub {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        if let Some(Action::Restore(restore)) = self.action {
            restore.run(cx).await?;
            return done();
        }
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

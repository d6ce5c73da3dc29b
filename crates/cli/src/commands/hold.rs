//! `backstay hold`: keep a change from being deployed.

use backstay_api::{
    Empty,
    v1::{CreateHold, CreateHoldRequest},
};
use clap::{Args, Subcommand};

use super::{
    Outcome, done,
    limit::{Lift, List},
};
use crate::{context::Context, lookup, time, views::constraint};

/// Holds.
#[derive(Debug, Subcommand)]
pub(crate) enum Hold {
    /// Hold a commit, or all that a conversation changed: no release that contains it is deployed
    Add(Add),
    /// All that is held, pinned, banned, frozen or left alone
    List(List),
    /// Lift one
    Lift(Lift),
}

/// Options of `hold add`.
#[derive(Debug, Args)]
pub(crate) struct Add {
    #[command(flatten)]
    what: What,
    /// Why
    #[arg(long)]
    reason: String,
    /// When it ends by itself, such as `in 2h` or `tomorrow 09:00`
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

/// What to hold.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct What {
    /// A commit, whole or its first digits
    #[arg(long, value_name = "SHA")]
    commit: Option<String>,
    /// A conversation
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
}

impl Hold {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let api = cx.api()?;
        let constraints = match self {
            Self::Add(command) => {
                let conversation = match &command.what.conversation {
                    Some(text) => Some(lookup::conversation(&api, text).await?),
                    None => None,
                };
                let now = cx.frame().now;
                let until = command.until.as_deref().map(|text| time::future(text, &now)).transpose()?;
                let request = CreateHoldRequest {
                    commit: command.what.commit,
                    conversation,
                    reason: command.reason,
                    until,
                };
                api.call::<CreateHold>(Empty {}, Empty {}, request).await?.items
            }
            Self::List(command) => command.run(&api, |_| true).await?,
            Self::Lift(command) => vec![command.run(&api).await?],
        };
        cx.ui.data(&constraints, || constraint::view_list(&constraints, &cx.frame()))?;
        done()
    }
}

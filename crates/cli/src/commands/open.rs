//! `backstay open`: a link that opens the page.

use std::time::Duration;

use backstay_api::{
    Empty,
    v1::{CreateOpenLink, CreatedLink, LinkKind},
};
use backstay_types::ErrorCode;
use clap::Args;

use super::{Outcome, done};
use crate::{api::Api, context::Context, error::CliError, ui::style};

/// Print a link that opens the page, signed in. It works once, and for 10 minutes.
///
/// Of a hub that does not listen on loopback: a link to make the first user, while there is none.
#[derive(Debug, Args)]
pub(crate) struct Open {}

impl Open {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let made = cx.api()?.get::<CreateOpenLink>().await?;
        cx.ui.data(&made, || {
            let (bold, dim) = (style::BOLD, style::DIM);
            format!("{bold}{}{bold:#}\n\n{dim}{}{dim:#}\n", made.link.expose(), words(&made))
        })?;
        done()
    }
}

/// The link for who has just started this hub; none where its users sign in themselves.
///
/// # Errors
/// When the hub cannot be asked.
pub(crate) async fn link(api: &Api) -> Result<Option<CreatedLink>, CliError> {
    match api.call::<CreateOpenLink>(Empty {}, Empty {}, Empty {}).await {
        Ok(made) => Ok(Some(made)),
        Err(error) if error.code() == ErrorCode::BS4005 => Ok(None),
        Err(error) => Err(error),
    }
}

/// How long the page may take to answer a hub's own program.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// What a link does, in words.
pub(crate) fn words(made: &CreatedLink) -> &'static str {
    match made.kind {
        LinkKind::Open => "works once, for 10 minutes; `backstay open` prints another",
        LinkKind::FirstUser => {
            "makes the first user; works once, for an hour; `backstay open` prints another"
        }
        LinkKind::User => "sets a password; works once, for a day",
    }
}

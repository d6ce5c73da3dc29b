//! Commands that only Backstay itself runs.

use clap::Subcommand;

use super::{Outcome, demo::web::DemoWeb, done};
use crate::{cli::Cli, context::Context};

/// Not for people.
#[derive(Debug, Subcommand)]
pub(crate) enum Internal {
    /// Print the CLI reference, `docs/cli.md`
    GenerateCliReference,
    /// Serve the demo's page from the present folder
    DemoWeb(DemoWeb),
}

impl Internal {
    pub(crate) fn run(self, cx: &Context) -> Outcome {
        match self {
            Self::DemoWeb(command) => command.run()?,
            Self::GenerateCliReference => {
                let options = clap_markdown::MarkdownOptions::new()
                    .title("Command line".to_owned())
                    .show_footer(false)
                    .show_table_of_contents(true);
                cx.ui.out(&clap_markdown::help_markdown_custom::<Cli>(&options));
            }
        }
        done()
    }
}

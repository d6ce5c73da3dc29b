//! `backstay completion`: for a shell.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Outcome, done};
use crate::{cli::Cli, context::Context};

/// Print the completion script of a shell.
///
/// For bash: `source <(backstay completion bash)`.
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell
    shell: Shell,
}

impl Completion {
    pub(crate) fn run(self, cx: &Context) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "backstay", &mut script);
        cx.ui.out(&String::from_utf8_lossy(&script));
        done()
    }
}

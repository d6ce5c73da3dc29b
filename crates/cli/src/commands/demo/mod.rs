//! `backstay demo`: the whole loop on this machine, told step by step and looked at for real.
//!
//! `stage` runs a hub and three agents, `fleet` makes a repository, `tools` are
//! the two assistants, `see` looks, `story` is what happens, `web` is the workload.

mod fleet;
mod see;
mod stage;
mod story;
mod tools;
pub(crate) mod web;

use std::{fs, path::PathBuf, process::ExitCode};

use backstay_types::ErrorCode;
use clap::Args;

use self::{stage::Stage, story::Story};
use super::{Outcome, open};
use crate::{context::Context, error::CliError, local, ui::style};

/// Show the whole loop on this machine: a hub, three nodes, two conversations, a bad change, and an undo.
///
/// Needs git, and no Docker. Everything is in one folder, and gone at the end.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// End when the story is told; non-zero if anything seen is not as promised
    #[arg(long)]
    exit: bool,
    /// The folder to use, which stays; it must not hold anything yet [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl Demo {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        let folder = Folder::make(self.data_dir.clone())?;
        let log = folder.path().join("hub.log");
        local::log_to_file(&log).map_err(|e| CliError::file("write", &log, e))?;
        let end = local::asked_to_end();
        tokio::pin!(end);
        let set = Stage::set(folder.path(), &cx.world);
        let stage = tokio::select! {
            stage = set => stage,
            () = &mut end => Err(ended()),
        };
        let stage = match stage {
            Ok(stage) => stage,
            Err(error) => return Err(folder.keep_for(error)),
        };
        let result = tokio::select! {
            result = Story::new(&stage, cx).tell() => result,
            () = &mut end => Err(ended()),
        };
        if result.is_ok() && !self.exit {
            match open::link(&stage.api).await {
                Ok(page) => story::invite(&stage, page.as_ref(), cx),
                Err(error) => {
                    stage.strike().await;
                    return Err(folder.keep_for(error));
                }
            }
            end.await;
            cx.ui.say("\nThe demo ends.");
        }
        stage.strike().await;
        match result {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(error) if error.code() == ErrorCode::BS8009 => Err(error),
            Err(error) => Err(folder.keep_for(error)),
        }
    }
}

fn ended() -> CliError {
    CliError::new(ErrorCode::BS8009, "the demo was ended before its end")
}

/// The demo's folder: a temporary one goes away with it.
enum Folder {
    Temporary(tempfile::TempDir),
    Given(PathBuf),
}

impl Folder {
    fn make(given: Option<PathBuf>) -> Result<Self, CliError> {
        let Some(dir) = given else {
            let failed = |e| CliError::file("create", &std::env::temp_dir(), e);
            let dir = tempfile::Builder::new().prefix("backstay-demo-").tempdir().map_err(failed)?;
            return Ok(Self::Temporary(dir));
        };
        let dir = std::path::absolute(&dir).map_err(|e| CliError::file("find", &dir, e))?;
        fs::create_dir_all(&dir).map_err(|e| CliError::file("create", &dir, e))?;
        let mut entries = fs::read_dir(&dir).map_err(|e| CliError::file("read", &dir, e))?;
        if entries.next().is_some() {
            return Err(CliError::argument(format!("{} is not empty", dir.display()))
                .hint("the demo begins anew each time: give it an empty folder"));
        }
        Ok(Self::Given(dir))
    }

    fn path(&self) -> &std::path::Path {
        match self {
            Self::Temporary(dir) => dir.path(),
            Self::Given(dir) => dir,
        }
    }

    /// Keeps the folder, so that one can see what went wrong.
    fn keep_for(self, error: CliError) -> CliError {
        let path = match self {
            Self::Temporary(dir) => dir.keep(),
            Self::Given(dir) => dir,
        };
        let dim = style::DIM;
        error.hint(format!("logs of hub and agents are in {dim}{}{dim:#}", path.display()))
    }
}

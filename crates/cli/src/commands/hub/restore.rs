//! `backstay hub restore`: a lost hub, back on a new machine.

use std::{fs, path::PathBuf};

use backstay_config::TargetSettings;
use backstay_hub::{RestoredHub, WantedHub};
use backstay_types::{ErrorCode, Secret};
use clap::Args;

use crate::{
    context::Context,
    error::CliError,
    local::{self, HubOptions},
    time,
};

/// Options of `hub restore`.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    #[command(flatten)]
    options: HubOptions,
    /// The folder that was its backup target [default: `backup.target` of the settings]
    #[arg(long, value_name = "FOLDER")]
    from: Option<PathBuf>,
    /// The file with the owner's recovery key
    #[arg(long, value_name = "FILE")]
    recovery_key: PathBuf,
    /// As it was at this time [default: the newest snapshot]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
}

impl Restore {
    pub(crate) async fn run(self, cx: &Context) -> Result<(), CliError> {
        let mut settings = self.options.settings()?;
        if let Some(folder) = &self.from {
            let folder =
                std::path::absolute(folder).map_err(|error| CliError::file("find", folder, error))?;
            settings.backup.target = Some(TargetSettings::Folder(folder));
        }
        let key = fs::read_to_string(&self.recovery_key)
            .map_err(|error| CliError::file("read", &self.recovery_key, error))?;
        let at = match &self.at {
            Some(text) => time::past(text, &cx.frame().now)?,
            None => cx.world.now(),
        };
        local::log_to_stderr("warn");
        let wanted = WantedHub { settings, recovery_key: Secret::new(key), at };
        let restored = backstay_hub::restore_hub(wanted, cx.world.clone(), |line| cx.ui.note(line)).await;
        let restored = restored
            .map_err(|error| CliError::new(error.code(), error.to_string()).hint(hint(error.code())))?;
        cx.ui.data(&restored, || text(&restored, cx))
    }
}

fn hint(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::BS9019 => "docs/runbooks/lost-hub.md has every step",
        _ => "look at the settings: backup.target, hub.data_dir",
    }
}

fn text(restored: &RestoredHub, cx: &Context) -> String {
    format!(
        "The hub of {} is here. Its settings are in {}: look them over, then start it with `backstay hub`.\n\
         Its nodes come back by themselves as soon as they reach it under its old address.\n",
        cx.frame().exactly(restored.at),
        restored.settings.display()
    )
}

//! A hub in this process.

use std::{net::SocketAddr, path::PathBuf};

use backstay_config::Settings;
use backstay_hub::{Hub, HubError};
use backstay_types::World;
use clap::Args;

use crate::{error::CliError, paths};

/// Options of whatever starts a hub.
#[derive(Debug, Args)]
pub(crate) struct HubOptions {
    /// The settings file; BACKSTAY_<SECTION>_<KEY> in the environment goes before it
    #[arg(long, value_name = "FILE", env = "BACKSTAY_CONFIG")]
    config: Option<PathBuf>,
    /// Where the hub keeps everything [default: /var/lib/backstay-hub for root, else ~/.local/share/backstay/hub]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where it listens [default: 127.0.0.1:8484]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

impl HubOptions {
    /// The settings: options, then environment, then file, then defaults.
    ///
    /// # Errors
    /// When file or environment are wrong.
    pub(crate) fn settings(&self) -> Result<Settings, CliError> {
        let variables = std::env::vars_os()
            .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        let mut settings = backstay_config::load(self.config.as_deref(), variables)
            .map_err(|error| CliError::new(error.code(), error.to_string()))?;
        if let Some(dir) = &self.data_dir {
            settings.hub.data_dir = std::path::absolute(dir).map_err(|e| CliError::file("find", dir, e))?;
        } else if self.config.is_none() {
            settings.hub.data_dir = paths::default_data_dir();
        }
        if let Some(listen) = self.listen {
            settings.hub.listen = listen;
        }
        Ok(settings)
    }
}

/// Starts a hub.
///
/// # Errors
/// As [`Hub::start`], for people.
pub(crate) async fn start(settings: Settings, world: World) -> Result<Hub, CliError> {
    Hub::start(settings, world).await.map_err(explain)
}

fn explain(error: HubError) -> CliError {
    let hint = match &error {
        HubError::Listen { .. } => {
            Some("choose another address with --listen; perhaps a hub runs already: `backstay status`")
        }
        HubError::Held { .. } => Some("a hub runs already: `backstay status`"),
        HubError::DataDir { .. } => Some("choose another folder with --data-dir"),
        _ => None,
    };
    let explained = CliError::new(error.code(), error.to_string());
    match hint {
        Some(hint) => explained.hint(hint),
        None => explained,
    }
}

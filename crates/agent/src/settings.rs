//! What the agent is told at its start.

use std::path::PathBuf;

use backstay_config::AgentSettings;

use crate::{
    AgentError,
    disk::{Identity, Layout},
    step::Place,
};

/// Reads the settings file, when one is named, and the environment.
pub(crate) fn load(
    config: Option<&std::path::Path>,
    data_dir: Option<PathBuf>,
) -> Result<AgentSettings, AgentError> {
    let mut settings = backstay_config::load(config, std::env::vars())?.agent;
    if let Some(dir) = data_dir {
        settings.data_dir = std::path::absolute(&dir).map_err(AgentError::io(dir))?;
    }
    Ok(settings)
}

pub(crate) fn layout(settings: &AgentSettings) -> Layout {
    let layout = Layout::new(&settings.data_dir, settings.run_dir.as_deref(), &settings.env_dir);
    layout.with_units(&settings.unit_dir)
}

pub(crate) fn place(settings: &AgentSettings, identity: &Identity) -> Place {
    Place {
        data_dir: settings.data_dir.clone(),
        run_dir: settings.run_dir.clone(),
        env_dir: settings.env_dir.clone(),
        unit_dir: settings.unit_dir.clone(),
        node: identity.name.clone(),
        validate_timeout: settings.validate_timeout,
        log_bytes: settings.log_bytes,
    }
}

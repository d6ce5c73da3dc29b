//! Where things are on this machine.

use std::{env, path::PathBuf};

/// Where a hub listens unless told otherwise.
pub(crate) const DEFAULT_HUB: &str = "http://127.0.0.1:8484";
/// The agent's program.
pub(crate) const AGENT: &str = "backstay-agent";

/// A hub's data folder unless told otherwise: `BACKSTAY_HUB_DATA_DIR`, `/var/lib/backstay-hub` for root,
/// else `~/.local/share/backstay/hub`.
pub(crate) fn default_data_dir() -> PathBuf {
    if let Some(dir) = set("BACKSTAY_HUB_DATA_DIR") {
        return dir;
    }
    if rustix::process::geteuid().is_root() {
        return "/var/lib/backstay-hub".into();
    }
    user_data().join("hub")
}

/// Where a user who is not root keeps things: `~/.local/share/backstay`.
pub(crate) fn user_data() -> PathBuf {
    let data = set("XDG_DATA_HOME").filter(|dir| dir.is_absolute());
    data.unwrap_or_else(|| home().join(".local/share")).join("backstay")
}

/// The user's home folder; the present folder when there is none.
pub(crate) fn home() -> PathBuf {
    set("HOME").unwrap_or_else(|| ".".into())
}

/// The agent's program: beside this one, else by name on `PATH`.
pub(crate) fn agent_program() -> PathBuf {
    let beside = env::current_exe().ok().and_then(|exe| exe.parent().map(|dir| dir.join(AGENT)));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| AGENT.into())
}

fn set(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

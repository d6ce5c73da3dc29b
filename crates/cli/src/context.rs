//! What a command works with: the world, the screen, the hub.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use backstay_types::{ErrorCode, Secret, World};
use url::{Host, Url};

use crate::{
    api::Api,
    cli::Global,
    error::CliError,
    paths,
    ui::{Frame, Ui},
};

/// The context of a command.
#[derive(Debug)]
pub(crate) struct Context {
    /// Time and randomness.
    pub(crate) world: World,
    /// The screen.
    pub(crate) ui: Ui,
    global: Global,
}

impl Context {
    /// From the global options.
    pub(crate) fn new(world: World, global: Global) -> Self {
        Self { world, ui: Ui::new(global.json, global.quiet), global }
    }

    /// The frame for views, now.
    pub(crate) fn frame(&self) -> Frame {
        self.ui.frame(self.world.now())
    }

    /// The hub with the token at hand.
    pub(crate) fn api(&self) -> Result<Api, CliError> {
        self.api_within(Duration::from_secs(60))
    }

    /// The hub, each call within `timeout`.
    pub(crate) fn api_within(&self, timeout: Duration) -> Result<Api, CliError> {
        Ok(Api::new(&self.hub_url(), self.token()?, timeout)?.telling(self.ui))
    }

    /// The hub's address: `--hub`, what a hub on this machine left, or the default.
    pub(crate) fn hub_url(&self) -> String {
        self.global.hub.clone().unwrap_or_else(local_hub)
    }

    /// The token: `--token-file`, `BACKSTAY_TOKEN`, or the one that a hub on this machine left. The last is
    /// for that hub alone: another one that was named must not get to see it.
    pub(crate) fn token(&self) -> Result<Option<Secret>, CliError> {
        if let Some(path) = &self.global.token_file {
            let token = read_line(path).map_err(|e| {
                CliError::new(ErrorCode::BS8002, format!("no token can be read from {}", path.display()))
                    .with_source(e)
            })?;
            return Ok(Some(Secret::new(token)));
        }
        if let Some(token) = env::var("BACKSTAY_TOKEN").ok().filter(|token| !token.trim().is_empty()) {
            return Ok(Some(Secret::new(token.trim())));
        }
        if !is_same_hub(&self.hub_url(), &local_hub()) {
            return Ok(None);
        }
        Ok(read_line(&self.local_token_file()).ok().map(Secret::new))
    }

    /// Where a hub on this machine leaves its token.
    pub(crate) fn local_token_file(&self) -> PathBuf {
        paths::default_data_dir().join(backstay_hub::ADMIN_TOKEN_FILE)
    }
}

/// The address of the hub on this machine.
fn local_hub() -> String {
    let left = read_line(&paths::default_data_dir().join(backstay_hub::URL_FILE));
    left.unwrap_or_else(|_| paths::DEFAULT_HUB.to_owned())
}

/// Whether both addresses mean the same hub: all names of loopback are one.
fn is_same_hub(one: &str, other: &str) -> bool {
    let parts = |text: &str| {
        let url = Url::parse(text).ok()?;
        let host = match url.host()? {
            Host::Domain("localhost") => "loopback".to_owned(),
            Host::Ipv4(ip) if ip.is_loopback() => "loopback".to_owned(),
            Host::Ipv6(ip) if ip.is_loopback() => "loopback".to_owned(),
            host => host.to_string(),
        };
        Some((url.scheme().to_owned(), host, url.port_or_known_default()))
    };
    parts(one).is_some_and(|one| parts(other) == Some(one))
}

fn read_line(path: &Path) -> std::io::Result<String> {
    let text = fs::read_to_string(path)?;
    let line = text.trim();
    if line.is_empty() { Err(std::io::Error::other("the file is empty")) } else { Ok(line.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_this_machine_is_for_its_own_hub() {
        let local = "http://127.0.0.1:8484";
        for same in ["http://127.0.0.1:8484/", "http://localhost:8484", "http://[::1]:8484"] {
            assert!(is_same_hub(same, local), "{same}");
        }
        for other in [
            "http://127.0.0.1:8485",
            "https://127.0.0.1:8484",
            "http://example.org:8484",
            "http://127.0.0.1.example.org:8484",
            "http://localhost@example.org:8484",
            "nonsense",
        ] {
            assert!(!is_same_hub(other, local), "{other}");
        }
    }
}

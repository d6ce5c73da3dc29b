//! `[hub]`

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use backstay_types::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::Complaint;

/// Where the hub listens and keeps its data.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HubSettings {
    /// Address and port to listen on. Anything but loopback lets other machines in;
    /// put a proxy that speaks TLS before it then, and set `public_url`.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// The folder of everything that the hub keeps: database, keys, mirrors. Only the hub's user may enter it.
    #[schemars(with = "String")]
    pub data_dir: PathBuf,
    /// `postgres://user@host/name`, or `sqlite:///path`; `hub.db` in the data folder when absent.
    /// An address with a password belongs in `database_url_file` or in the environment (`BACKSTAY_HUB_DATABASE_URL`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", example = "postgres://backstay@db.internal/backstay")]
    pub database_url: Option<Secret>,
    /// A file that holds the database's address; only the hub's user may read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", example = "/etc/backstay/database-url")]
    pub database_url_file: Option<PathBuf>,
    /// How agents, tools and browsers reach the hub, when that is not the address it listens on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = "https://backstay.example.org")]
    pub public_url: Option<Url>,
    /// Names, beside loopback and that of `public_url`, under which requests are answered. Others are refused,
    /// so that a page in a browser cannot reach the hub through a name of its own.
    pub allowed_hosts: Vec<String>,
    /// Addresses of proxies before the hub. The last address of `X-Forwarded-For` that is none of these is then taken
    /// for the caller's, so that who guesses passwords slows down nobody else.
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<IpAddr>,
    /// How many connections may be open at once. Each agent holds one. When nearly all are taken, others are closed after each
    /// answer. The system's limit of open files goes before it.
    pub max_connections: u32,
}

impl Default for HubSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8484)),
            data_dir: PathBuf::from("/var/lib/backstay/hub"),
            database_url: None,
            database_url_file: None,
            public_url: None,
            allowed_hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            max_connections: 20_000,
        }
    }
}

impl HubSettings {
    pub(crate) fn check(&self) -> Result<(), Complaint> {
        let wrong = |key, message: &str| Err(Complaint::new("hub", key, message));
        if !self.data_dir.is_absolute() {
            return wrong("data_dir", "expected an absolute path");
        }
        if self.database_url.is_some() && self.database_url_file.is_some() {
            return wrong("database_url_file", "give either this or database_url, not both");
        }
        if let Some(url) = &self.database_url
            && !["sqlite:", "postgres://", "postgresql://"].iter().any(|p| url.expose().starts_with(p))
        {
            return wrong("database_url", "expected postgres://… or sqlite://…");
        }
        if self
            .public_url
            .as_ref()
            .is_some_and(|url| !matches!(url.scheme(), "http" | "https") || !url.has_host())
        {
            return wrong("public_url", "expected http://… or https://…");
        }
        if let Some(host) = self.allowed_hosts.iter().find(|host| !is_host(host)) {
            let message = format!("`{host}` is not a host name: expected no scheme, path or port");
            return Err(Complaint::new("hub", "allowed_hosts", message));
        }
        if self.max_connections < 16 {
            return wrong("max_connections", "expected at least 16");
        }
        Ok(())
    }
}

fn is_host(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c))
        || text.parse::<std::net::Ipv6Addr>().is_ok()
}

//! Addresses of repositories, checked before Git sees them.

use std::{fmt, path::Path};

use url::{Host, Url};

use crate::error::SourceError;

/// How an endpoint is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `https://…`
    Https,
    /// `http://…`, to this machine only: anyone on the way could change what is deployed.
    Http,
    /// `ssh://…` or `user@host:path`
    Ssh,
    /// An absolute path or `file://…`
    File,
}

impl Protocol {
    /// Git's name for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
            Self::Ssh => "ssh",
            Self::File => "file",
        }
    }
}

/// An address of a repository. Never holds a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    text: String,
    protocol: Protocol,
}

impl Endpoint {
    /// Checks an address: `https://…`, `http://` to this machine, `ssh://…`, `user@host:path`, an
    /// absolute path or `file://…`.
    ///
    /// # Errors
    /// [`SourceError::Endpoint`], which never repeats a password.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        let refuse =
            |reason: &str| Err(SourceError::Endpoint { endpoint: redact(text), reason: reason.into() });
        if text.is_empty() || text.len() > 2048 {
            return refuse("it is empty or too long");
        }
        if text.starts_with('-') || text.chars().any(|c| c.is_control() || c.is_whitespace() && c != ' ') {
            return refuse("it begins with `-` or holds control characters");
        }
        if text.starts_with('/') {
            return Ok(Self { text: text.to_owned(), protocol: Protocol::File });
        }
        if text.contains("://") {
            return Self::parse_url(text);
        }
        match text.split_once(':') {
            Some((host, path)) if is_scp_host(host) && !path.is_empty() && !path.starts_with([':', '-']) => {
                Ok(Self { text: text.to_owned(), protocol: Protocol::Ssh })
            }
            _ => refuse("expected https://…, ssh://…, user@host:path or an absolute path"),
        }
    }

    fn parse_url(text: &str) -> Result<Self, SourceError> {
        let refuse =
            |reason: &str| Err(SourceError::Endpoint { endpoint: redact(text), reason: reason.into() });
        let Ok(url) = Url::parse(text) else { return refuse("it is not a URL") };
        if url.password().is_some() {
            return refuse("it holds a password; give a token apart from the address");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return refuse("`?` and `#` are not allowed in it");
        }
        let protocol = match url.scheme() {
            "https" => Protocol::Https,
            "http" if is_loopback(&url) => Protocol::Http,
            "http" => return refuse("http is used for this machine only; use https"),
            "ssh" => Protocol::Ssh,
            "file" => Protocol::File,
            _ => return refuse("only https, ssh and file are used"),
        };
        if matches!(protocol, Protocol::Https | Protocol::Http) && !url.username().is_empty() {
            return refuse(
                "it holds a user name, which may be a token; give the token apart from the address",
            );
        }
        let host = url.host_str().unwrap_or_default();
        if host.starts_with('-') || url.username().starts_with('-') || url.username().contains('%') {
            return refuse("its host or user cannot be used");
        }
        if protocol == Protocol::File && (!host.is_empty() || !Path::new(url.path()).is_absolute()) {
            return refuse("expected file:// and an absolute path");
        }
        Ok(Self { text: text.to_owned(), protocol })
    }

    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How it is reached.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// `https://host:port/`, for settings that must not reach any other host.
    pub(crate) fn http_origin(&self) -> Option<String> {
        if !matches!(self.protocol, Protocol::Https | Protocol::Http) {
            return None;
        }
        Url::parse(&self.text).ok().map(|url| format!("{}/", url.origin().ascii_serialization()))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// `host` or `user@host` as in `user@host:path`; nothing that ssh or Git could read as an option.
fn is_scp_host(text: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    match text.split_once('@') {
        Some((user, host)) => plain(user) && plain(host),
        None => plain(text) && text.len() > 1,
    }
}

/// The address without what stands before its `@`.
fn redact(text: &str) -> String {
    let clean: String = text.chars().filter(|c| !c.is_control()).take(300).collect();
    let Some((scheme, rest)) = clean.split_once("://") else {
        return clean.rsplit_once('@').map_or(clean.clone(), |(_, rest)| format!("…@{rest}"));
    };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://…@{host}"),
        None => format!("{scheme}://{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_usual_addresses() {
        for (text, protocol) in [
            ("https://git.example/fleet.git", Protocol::Https),
            ("http://127.0.0.1:8080/fleet.git", Protocol::Http),
            ("http://localhost/fleet.git", Protocol::Http),
            ("ssh://git@git.example:2222/fleet.git", Protocol::Ssh),
            ("git@git.example:team/fleet.git", Protocol::Ssh),
            ("/srv/git/fleet with $(space).git", Protocol::File),
            ("file:///srv/git/fleet.git", Protocol::File),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().protocol(), protocol, "{text}");
        }
    }

    #[test]
    fn refuses_tricks_without_repeating_secrets() {
        for text in [
            "",
            "--upload-pack=touch /tmp/x",
            "ext::sh -c touch% /tmp/x",
            "fd::3",
            "-oProxyCommand=x:path",
            "git@-oProxyCommand=x:path",
            "ssh://-oProxyCommand=x/path",
            "ssh://git:hunter2@git.example/x",
            "https://user:hunter2@git.example/x",
            "https://hunter2@git.example/x",
            "https://git.example/x?private_token=hunter2",
            "http://git.example/x",
            "git://git.example/x",
            "file://host/x",
            "relative/path",
            "C:",
            "/srv/\nx",
        ] {
            let error = Endpoint::parse(text).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_origin_is_for_one_host() {
        let endpoint = Endpoint::parse("https://git.example:8443/a/b.git").unwrap();
        assert_eq!(endpoint.http_origin().unwrap(), "https://git.example:8443/");
        assert_eq!(Endpoint::parse("/srv/x").unwrap().http_origin(), None);
    }
}

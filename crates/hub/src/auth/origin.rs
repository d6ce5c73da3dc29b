//! Which page a browser's request comes from. A cookie goes along by itself, whoever made the browser ask; and to
//! every port of a host, so that `SameSite` alone does not tell another program's page from ours.

use backstay_types::ErrorCode;
use http::{HeaderMap, header, uri::Authority};
use url::Url;

use crate::http::ApiError;

const FETCH_SITE: &str = "sec-fetch-site";

/// How sure one must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// It changes something by a cookie: the origin must be said.
    Said,
    /// It reads by a cookie, or needs none: what is said must fit.
    NotOther,
}

/// Refuses what another site's page asks for.
///
/// # Errors
/// BS4016 when `Origin` or `Sec-Fetch-Site` say so, or `Origin` is missing where it is needed.
pub(crate) fn check(public: Option<&Url>, headers: &HeaderMap, need: Need) -> Result<(), ApiError> {
    let refused = |detail: &str| Err(ApiError::new(ErrorCode::BS4016, detail));
    let mut sites = headers.get_all(FETCH_SITE).iter();
    let site = sites.next().map(|value| value.to_str().unwrap_or("other"));
    let fits = match site {
        None | Some("same-origin") => true,
        // Typed, or from a bookmark: a page could not say so.
        Some("none") => need == Need::NotOther,
        Some(_) => false,
    };
    if !fits || sites.next().is_some() {
        return refused("the browser says that another site's page asks for this");
    }
    let mut origins = headers.get_all(header::ORIGIN).iter();
    match (origins.next(), origins.next()) {
        (None, _) if need == Need::NotOther => Ok(()),
        (None, _) => refused("a change by cookie takes an `Origin`, and there is none"),
        (Some(origin), None) if origin.to_str().is_ok_and(|text| is_ours(public, headers, text)) => Ok(()),
        _ => refused("the `Origin` is not this hub"),
    }
}

/// The hub as the browser knows it, such as `https://hub.example`; nothing where there is no browser.
pub(crate) fn said(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::ORIGIN)?.to_str().ok()
}

fn is_ours(public: Option<&Url>, headers: &HeaderMap, origin: &str) -> bool {
    let Ok(url) = origin.parse::<Url>() else { return false };
    if !matches!(url.scheme(), "http" | "https") || url.origin().ascii_serialization() != origin {
        return false;
    }
    if let Some(public) = public.filter(|public| public.host() == url.host()) {
        // Nobody who can only speak for it without TLS speaks for it.
        return public.origin() == url.origin();
    }
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()?.parse::<Authority>().ok());
    host.is_some_and(|host| {
        let same_host = url.host_str().is_some_and(|name| host.host().eq_ignore_ascii_case(name));
        let default = if url.scheme() == "https" { 443 } else { 80 };
        same_host && host.port_u16().unwrap_or(default) == url.port_or_known_default().unwrap_or(default)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(host: &str, origin: Option<&str>, site: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        for (name, value) in [(header::ORIGIN.as_str(), origin), (FETCH_SITE, site)] {
            if let Some(value) = value {
                headers
                    .insert(http::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
            }
        }
        headers
    }

    fn passes(public: Option<&str>, host: &str, origin: &str) -> bool {
        let public = public.map(|text| text.parse().unwrap());
        check(public.as_ref(), &headers(host, Some(origin), None), Need::Said).is_ok()
    }

    #[test]
    fn only_the_hubs_own_origin_fits() {
        for (host, origin) in [
            ("127.0.0.1:8484", "http://127.0.0.1:8484"),
            ("localhost:8484", "http://localhost:8484"),
            ("[::1]:8484", "http://[::1]:8484"),
            ("hub.example", "https://hub.example"),
            ("HUB.example:443", "https://hub.example"),
            ("hub.example:8443", "https://hub.example:8443"),
        ] {
            assert!(passes(None, host, origin), "{host} {origin}");
        }
        for (host, origin) in [
            ("127.0.0.1:8484", "http://127.0.0.1:3000"),
            ("127.0.0.1:8484", "http://127.0.0.1"),
            ("127.0.0.1:8484", "http://localhost:8484"),
            ("hub.example", "https://evil.example"),
            ("hub.example", "https://hub.example.evil.example"),
            ("hub.example", "https://hub.example:8443"),
            ("hub.example", "https://x@hub.example"),
            ("hub.example", "https://hub.example/"),
            ("hub.example", "file://hub.example"),
            ("hub.example", "null"),
            ("hub.example", ""),
        ] {
            assert!(!passes(None, host, origin), "{host} {origin}");
        }
    }

    #[test]
    fn the_public_name_takes_its_own_scheme_and_port() {
        let public = Some("https://hub.example/");
        assert!(passes(public, "127.0.0.1:8484", "https://hub.example"), "a proxy may change the host");
        assert!(!passes(public, "hub.example", "http://hub.example"));
        assert!(!passes(public, "hub.example:444", "https://hub.example:444"));
        assert!(passes(public, "127.0.0.1:8484", "http://127.0.0.1:8484"), "the machine itself");
    }

    #[test]
    fn what_the_browser_says_of_the_site_must_fit_too() {
        let host = "127.0.0.1:8484";
        let ours = Some("http://127.0.0.1:8484");
        let ok = |origin, site, need| check(None, &headers(host, origin, site), need).is_ok();
        assert!(ok(ours, Some("same-origin"), Need::Said));
        assert!(!ok(None, Some("same-origin"), Need::Said));
        assert!(!ok(None, None, Need::Said));
        for site in ["same-site", "cross-site", "none", "nonsense"] {
            assert!(!ok(ours, Some(site), Need::Said), "{site}");
        }
        assert!(ok(None, None, Need::NotOther));
        assert!(ok(None, Some("none"), Need::NotOther));
        assert!(!ok(None, Some("same-site"), Need::NotOther));
        assert!(!ok(Some("http://127.0.0.1:3000"), None, Need::NotOther));
    }
}

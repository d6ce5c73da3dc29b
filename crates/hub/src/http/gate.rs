//! What every request passes, known or not: its id, the host name that it came under, figures.

use std::{fmt, sync::Arc, time::Instant};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use backstay_api::Problem;
use backstay_types::ErrorCode;
use http::{HeaderName, HeaderValue, Uri, header, uri::Authority};

use super::error::respond;
use crate::app::App;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id under which a request is logged. A caller's own is taken when it is short and plain.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestId(String);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The endpoint that answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RouteName(pub(crate) &'static str);

/// Lets a request in, and looks at what comes out.
pub(crate) async fn pass(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = request_id(&app, &request);
    let method = request.method().clone();
    request.extensions_mut().insert(id.clone());
    let mut response = match check_host(&app.hosts, &request) {
        Ok(()) => next.run(request).await,
        Err(problem) => respond(&problem),
    };
    let route = response.extensions().get::<RouteName>().map_or("none", |name| name.0);
    let status = response.status().as_u16();
    app.metrics.answered(route, status, began.elapsed());
    tracing::debug!(request = %id, %method, route, status, micros = began.elapsed().as_micros() as u64, "answered");
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn request_id(app: &App, request: &Request) -> RequestId {
    let given = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let plain = |text: &&str| {
        (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    RequestId(given.filter(plain).map_or_else(|| hex(&app.world.random::<8>()), str::to_owned))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Names under which the hub answers.
#[derive(Debug, Clone)]
pub(crate) struct Hosts(Vec<String>);

impl Hosts {
    /// `localhost` and these. Addresses always pass: a page cannot point one of those somewhere else.
    pub(crate) fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(
            std::iter::once("localhost".to_owned())
                .chain(names.into_iter().map(|n| n.to_ascii_lowercase()))
                .collect(),
        )
    }

    fn allow(&self, host: &str) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = bare.trim_end_matches('.').to_ascii_lowercase();
        bare.parse::<std::net::IpAddr>().is_ok() || self.0.contains(&name)
    }
}

fn check_host(hosts: &Hosts, request: &Request) -> Result<(), Problem> {
    let host = host_of(request.uri(), request.headers().get(header::HOST));
    match host {
        Some(host) if hosts.allow(&host) => Ok(()),
        found => {
            let detail = format!("`{}` is not a name of this hub", found.unwrap_or_default());
            Err(Problem::new(ErrorCode::BS4011, detail)
                .with_hint("use the hub's address, or add the name to hub.allowed_hosts"))
        }
    }
}

/// The host that a request is for: the target's own, else that of the header.
fn host_of(uri: &Uri, header: Option<&HeaderValue>) -> Option<String> {
    let named = header.and_then(|value| value.to_str().ok()?.parse::<Authority>().ok());
    let authority = uri.authority().or(named.as_ref())?;
    Some(authority.host().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_listed_names_pass() {
        let hosts = Hosts::new(["Hub.Example".to_owned()]);
        for good in
            ["localhost", "LOCALHOST", "127.0.0.1", "[::1]", "10.1.2.3", "hub.example", "hub.example."]
        {
            assert!(hosts.allow(good), "{good}");
        }
        for bad in [
            "",
            "evil.example",
            "127.0.0.1.evil.example",
            "hub.example.evil",
            "localhost.evil",
            "xhub.example",
        ] {
            assert!(!hosts.allow(bad), "{bad}");
        }
    }

    #[test]
    fn the_target_goes_before_the_header() {
        let header = HeaderValue::from_static("good.example:8484");
        let host = |uri: &'static str| host_of(&Uri::from_static(uri), Some(&header));
        assert_eq!(host("/x").as_deref(), Some("good.example"));
        assert_eq!(host("http://evil.example/x").as_deref(), Some("evil.example"));
        assert_eq!(host_of(&Uri::from_static("/x"), None), None);
        assert_eq!(host_of(&Uri::from_static("/x"), Some(&HeaderValue::from_static("a b"))), None);
    }
}

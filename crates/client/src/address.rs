//! From a declaration's path template to an address.

use backstay_api::{Endpoint, Problem};
use backstay_types::ErrorCode;
use serde::Serialize;
use serde_json::{Map, Value};
use url::{Host, Url};

use crate::ClientError;

/// The address of a hub; a path in it (behind a proxy) is kept.
pub(crate) fn base(text: &str) -> Result<Url, ClientError> {
    let wrong = || ClientError::Address { text: redacted(text) };
    let url = Url::parse(text.trim()).map_err(|_| wrong())?;
    let plain = url.username().is_empty() && url.password().is_none();
    let usable = matches!(url.scheme(), "http" | "https") && url.has_host();
    if usable && plain && url.query().is_none() && url.fragment().is_none() { Ok(url) } else { Err(wrong()) }
}

/// The address of an endpoint.
pub(crate) fn of<E: Endpoint>(base: &Url, path: &E::Path, query: &E::Query) -> Result<Url, ClientError> {
    let malformed = |source| ClientError::Malformed { endpoint: E::NAME, source };
    let path = fields(path).map_err(malformed)?;
    let query = fields(query).map_err(malformed)?;
    let mut url = base.clone();
    let mut parts = Vec::new();
    for part in E::PATH.trim_start_matches('/').split('/') {
        match part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
            Some(name) => parts.push(segment(name, path.get(name))?),
            None => parts.push(part.to_owned()),
        }
    }
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(parts);
    }
    for (name, value) in &query {
        if let Some(value) = scalar(value) {
            url.query_pairs_mut().append_pair(name, &value);
        }
    }
    Ok(url)
}

/// A parameter as a part of a path. Those that an address would swallow are refused here.
fn segment(name: &str, value: Option<&Value>) -> Result<String, ClientError> {
    let text = value.and_then(scalar).unwrap_or_default();
    if matches!(text.as_str(), "" | "." | "..") {
        let detail = format!("`{text}` cannot be a {name}");
        return Err(ClientError::Problem(Box::new(Problem::new(ErrorCode::BS4007, detail))));
    }
    Ok(text)
}

/// Whether the hub is on this machine.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn fields(value: &impl Serialize) -> Result<Map<String, Value>, serde_json::Error> {
    match serde_json::to_value(value)? {
        Value::Object(fields) => Ok(fields),
        _ => Ok(Map::new()),
    }
}

/// A field as text; nothing when it is absent.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// An address without the password that someone may have put in.
fn redacted(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((before, after)) => {
            let scheme =
                before.split_once("://").map(|(scheme, _)| format!("{scheme}://")).unwrap_or_default();
            format!("{scheme}…@{after}")
        }
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use backstay_api::{
        Empty,
        v1::{ConversationPath, GetConversation, GetLogs, ListNodes, LogsPath, LogsQuery, NodesQuery},
    };

    use super::*;

    #[test]
    fn parameters_cannot_leave_their_place() {
        let base = base("https://hub.example/backstay/").unwrap();
        let path = ConversationPath { conversation: "openclaw/session_key/agent:a?b#c/../%2e".into() };
        let url = of::<GetConversation>(&base, &path, &Empty {}).unwrap();
        assert_eq!(
            url.as_str(),
            "https://hub.example/backstay/api/v1/conversations/openclaw%2Fsession_key%2Fagent:a%3Fb%23c%2F..%2F%252e"
        );
    }

    #[test]
    fn a_parameter_that_would_vanish_is_refused() {
        let base = base("http://hub").unwrap();
        for text in ["", ".", ".."] {
            let path = ConversationPath { conversation: text.into() };
            let error = of::<GetConversation>(&base, &path, &Empty {}).unwrap_err();
            assert_eq!(error.problem().unwrap().code, ErrorCode::BS4007);
        }
    }

    #[test]
    fn queries_are_encoded_and_absent_fields_left_out() {
        let base = base("http://127.0.0.1:8484").unwrap();
        let query = NodesQuery { selector: Some("a=b,c in (d&e)".into()), limit: Some(3), cursor: None };
        let url = of::<ListNodes>(&base, &Empty {}, &query).unwrap();
        assert_eq!(
            url.as_str(),
            "http://127.0.0.1:8484/api/v1/nodes?limit=3&selector=a%3Db%2Cc+in+%28d%26e%29"
        );
        let path = LogsPath { node: "web-1".into(), stack: "shop".parse().unwrap() };
        let url = of::<GetLogs>(&base, &path, &LogsQuery::default()).unwrap();
        assert_eq!(url.as_str(), "http://127.0.0.1:8484/api/v1/nodes/web-1/stacks/shop/logs");
    }

    #[test]
    fn addresses_that_are_not_a_hubs_are_refused_without_their_password() {
        for text in ["", "hub", "ftp://hub", "http://u:hunter2@hub", "http://hub?x=1", "file:///etc"] {
            let error = base(text).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(is_loopback(&base("http://[::1]:1").unwrap()));
        assert!(!is_loopback(&base("http://localhost.example").unwrap()));
    }
}

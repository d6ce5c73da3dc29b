//! The page's files: everything that the API does not have is looked for there.

use axum::{body::Body, extract::Request, response::Response};
use backstay_page::{CONTENT_SECURITY_POLICY, File};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};

/// The file that a request asks for, when it is one of the page's.
pub(in crate::http) fn file(request: &Request) -> Option<Response> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let file = backstay_page::find(request.uri().path(), header(header::ACCEPT_ENCODING))?;
    let known = header(header::IF_NONE_MATCH).split(',').any(|tag| tag.trim() == file.etag);
    Some(respond(file, known, request.method() == Method::HEAD))
}

fn respond(file: File, known: bool, head: bool) -> Response {
    let File { bytes, content_type, encoding, etag, cache_control } = file;
    let body = match bytes {
        _ if known || head => Body::empty(),
        std::borrow::Cow::Borrowed(bytes) => Body::from(bytes),
        std::borrow::Cow::Owned(bytes) => Body::from(bytes),
    };
    let mut response = Response::new(body);
    *response.status_mut() = if known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    let headers = response.headers_mut();
    let fixed: [(HeaderName, &'static str); 6] = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, cache_control),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(encoding) = encoding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: Method, path: &str, tag: &str) -> Option<Response> {
        let request = Request::builder().method(method).uri(path).header(header::IF_NONE_MATCH, tag);
        file(&request.body(Body::empty()).unwrap())
    }

    #[test]
    fn the_first_page_is_guarded_and_known_again() {
        let found = ask(Method::GET, "/", "").unwrap();
        assert_eq!(found.status(), StatusCode::OK);
        let policy = found.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        let tag = found.headers()[header::ETAG].to_str().unwrap();
        assert_eq!(ask(Method::GET, "/", tag).unwrap().status(), StatusCode::NOT_MODIFIED);
        assert!(ask(Method::POST, "/", "").is_none());
        assert!(ask(Method::GET, "/api/v1/nothing", "").is_none());
    }
}

//! From bytes to the declared types, with errors that name the field.

use std::time::Duration;

use axum::body::Body;
use backstay_api::{Declaration, Endpoint, Media, body};
use backstay_types::ErrorCode;
use http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::error::ApiError;

/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);

/// Path parameters, as the router found them.
pub(crate) fn path<T: DeserializeOwned>(parameters: &[(String, String)]) -> Result<T, ApiError> {
    let fields: Map<String, Value> =
        parameters.iter().map(|(name, value)| (name.clone(), Value::String(value.clone()))).collect();
    // What no id or name can be is not found, whatever the reason.
    let not_found = |e: serde_json::Error| {
        let given: Vec<_> = parameters.iter().map(|(name, value)| format!("{name} `{value}`")).collect();
        ApiError::new(ErrorCode::BS4004, format!("there is no {}: {e}", given.join(", ")))
    };
    serde_json::from_value(Value::Object(fields)).map_err(not_found)
}

/// Query parameters. One that the endpoint does not know is refused: ignoring a filter would answer another question.
pub(crate) fn query<T: DeserializeOwned>(text: &str, known: &[String]) -> Result<T, ApiError> {
    for (name, _) in url::form_urlencoded::parse(text.as_bytes()) {
        if !known.iter().any(|known| *known == name) {
            let expected = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(ApiError::invalid(&name, format!("unknown query parameter; known are: {expected}")));
        }
    }
    serde_urlencoded::from_str(text).map_err(|e| ApiError::new(ErrorCode::BS4007, format!("query: {e}")))
}

/// The names of an endpoint's query parameters.
pub(crate) fn query_names<E: Endpoint>() -> Vec<String> {
    Declaration::of::<E>().query_names()
}

/// Refuses a body that is not of the declared type, before it is read.
pub(crate) fn check_media<E: Endpoint>(headers: &HeaderMap) -> Result<(), ApiError> {
    if headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity") {
        return Err(ApiError::new(ErrorCode::BS4013, "bodies are taken without content encoding"));
    }
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let json = essence.eq_ignore_ascii_case("application/json") || essence.ends_with("+json");
    match Media::of::<E::Request>() {
        Media::Json if !json => {
            Err(ApiError::new(ErrorCode::BS4013, format!("expected application/json, found `{essence}`")))
        }
        _ => Ok(()),
    }
}

/// Reads a body of at most `limit` bytes.
pub(crate) async fn read(headers: &HeaderMap, body: Body, limit: usize) -> Result<Vec<u8>, ApiError> {
    let too_large = || ApiError::new(ErrorCode::BS4006, format!("the body may have {limit} bytes at most"));
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let read = tokio::time::timeout(BODY_TIME, Limited::new(body, limit).collect()).await;
    match read {
        Err(_) => {
            Err(ApiError::new(ErrorCode::BS4014, format!("the body did not arrive within {BODY_TIME:?}")))
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(ApiError::new(ErrorCode::BS4001, "the body was cut short")),
        Ok(Ok(body)) => Ok(body.to_bytes().into()),
    }
}

/// The body as the declared type.
pub(crate) fn parse<E: Endpoint>(headers: &HeaderMap, bytes: Vec<u8>) -> Result<E::Request, ApiError> {
    let is_json = Media::of::<E::Request>() == Media::Json;
    if is_json && !bytes.is_empty() {
        if headers.get(header::CONTENT_TYPE).is_none() {
            return Err(ApiError::new(ErrorCode::BS4013, "expected a Content-Type of application/json"));
        }
        // The plain parser does not say which field was wrong.
        let mut json = serde_json::Deserializer::from_slice(&bytes);
        if let Err(error) = serde_path_to_error::deserialize::<_, E::Request>(&mut json) {
            let (path, cause) = (error.path().to_string(), error.inner());
            let code = if cause.is_data() { ErrorCode::BS4007 } else { ErrorCode::BS4001 };
            let place = if path == "." { "body".to_owned() } else { format!("body: {path}") };
            return Err(ApiError::new(code, format!("{place}: {cause}")));
        }
    }
    body::decode(bytes).map_err(|e| {
        let code = if e.is_data() { ErrorCode::BS4007 } else { ErrorCode::BS4001 };
        ApiError::new(code, format!("body: {e}"))
    })
}

//! `POST /prometheus/api/v1/write` and `POST /otlp/v1/metrics`: what senders bring.
//!
//! They are no endpoints of the API: the protocols are Prometheus' (remote-write 1.0) and OpenTelemetry's (OTLP/HTTP). First
//! it is looked who sends, a node or a token of an operator, and only then at what.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
    routing::post,
};
use backstay_api::Role;
use backstay_telemetry::ingest::{Incoming, Unreadable, inflate, otlp, remote_write};
use backstay_types::ErrorCode;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::{
    app::App,
    auth::{self, Caller},
    http::{
        ApiError,
        gate::{RequestId, RouteName},
        input,
    },
    telemetry::busy,
};

/// The largest body as it comes, and unpacked. Prometheus sends some 2,000 samples at once.
pub(super) const BODY: usize = 16 << 20;
pub(super) const UNPACKED: usize = 32 << 20;
/// How long a sender waits for others.
const WAIT: Duration = Duration::from_secs(10);
/// As remote-write 2.0 has it; senders of 1.0 do not mind.
const WRITTEN: HeaderName = HeaderName::from_static("x-prometheus-remote-write-samples-written");

/// The routes.
pub(crate) fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route("/prometheus/api/v1/write", post(take_remote_write))
        .route("/otlp/v1/metrics", post(take_otlp))
        .with_state(app)
}

async fn take_remote_write(State(app): State<Arc<App>>, request: Request) -> Response {
    let id = id_of(&request);
    let answered = remote_write(&app, request).await;
    named("RemoteWrite", answered.unwrap_or_else(|error| error.into_response(&id)))
}

async fn remote_write(app: &App, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let caller = sender(app, &parts.headers).await?;
    check_remote_write(&parts.headers)?;
    app.telemetry.store()?;
    let _room = room(app).await?;
    let bytes = input::read(&parts.headers, body, BODY).await?;
    let mut incoming = unpack(move || remote_write::read(&bytes, UNPACKED)).await?;
    enrich(&mut incoming, &caller);
    let unsupported = incoming.rejected.message();
    let stored = app.telemetry.take(incoming).await?;
    let refused: Vec<_> = stored.refused.message().into_iter().chain(unsupported).collect();
    if refused.is_empty() {
        let written = stored.stored + stored.duplicates;
        return Ok((StatusCode::NO_CONTENT, [(WRITTEN, HeaderValue::from(written))]).into_response());
    }
    // The rest is stored. Prometheus drops what it gets this answer for, which is right: again would be the same.
    let detail = format!("{} samples of the batch are stored; {}", stored.stored, refused.join("; "));
    Err(ApiError::new(ErrorCode::BS0034, detail))
}

/// Refuses what is not remote-write 1.0 before it is read.
fn check_remote_write(headers: &HeaderMap) -> Result<(), ApiError> {
    let text =
        |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
    let media = text(header::CONTENT_TYPE);
    let mut parts = media.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let message = parts.find_map(|part| part.strip_prefix("proto=")).unwrap_or("prometheus.WriteRequest");
    if essence != "application/x-protobuf" || message != "prometheus.WriteRequest" {
        let detail = format!("expected application/x-protobuf with prometheus.WriteRequest, found `{media}`");
        let hint = "set protobuf_message: prometheus.WriteRequest in Prometheus' remote_write";
        return Err(ApiError::new(ErrorCode::BS4013, detail).with_hint(hint));
    }
    match text(header::CONTENT_ENCODING) {
        "snappy" => Ok(()),
        other => Err(ApiError::new(
            ErrorCode::BS4013,
            format!("expected Content-Encoding: snappy, found `{other}`"),
        )),
    }
}

async fn take_otlp(State(app): State<Arc<App>>, request: Request) -> Response {
    let headers = request.headers();
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let encoding = otlp::Encoding::of_media_type(media);
    let (id, known) = (id_of(&request), encoding.unwrap_or(otlp::Encoding::Json));
    let answered = match otlp(&app, request, encoding).await {
        Ok((rejected, message)) => written(StatusCode::OK, known, otlp::answer(known, rejected, message)),
        Err(error) => otlp_failure(error, known, &id),
    };
    named("OtlpMetrics", answered)
}

/// What was rejected of the data points, and why.
async fn otlp(
    app: &App,
    request: Request,
    encoding: Option<otlp::Encoding>,
) -> Result<(u64, Option<String>), ApiError> {
    let (parts, body) = request.into_parts();
    let caller = sender(app, &parts.headers).await?;
    let encoding = encoding.ok_or_else(wrong_media)?;
    let packed = is_packed(&parts.headers)?;
    app.telemetry.store()?;
    let _room = room(app).await?;
    let bytes = input::read(&parts.headers, body, BODY).await?;
    let mut incoming = unpack(move || {
        let bytes = if packed { inflate(&bytes, UNPACKED)? } else { bytes };
        otlp::read(&bytes, encoding)
    })
    .await?;
    enrich(&mut incoming, &caller);
    let unsupported = (incoming.rejected.count, incoming.rejected.message());
    let stored = app.telemetry.take(incoming).await?;
    let refused: Vec<_> = stored.refused.message().into_iter().chain(unsupported.1).collect();
    let message = (!refused.is_empty()).then(|| refused.join("; "));
    Ok((stored.refused.total() + unsupported.0, message))
}

/// A media type that nobody reads here.
pub(super) fn wrong_media() -> ApiError {
    let expected = "expected a Content-Type of application/x-protobuf or application/json";
    ApiError::new(ErrorCode::BS4013, expected)
}

/// Whether a body is packed with gzip.
pub(super) fn is_packed(headers: &HeaderMap) -> Result<bool, ApiError> {
    match headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok()) {
        None | Some("identity" | "") => Ok(false),
        Some("gzip") => Ok(true),
        Some(other) => {
            Err(ApiError::new(ErrorCode::BS4013, format!("expected gzip or nothing, found `{other}`")))
        }
    }
}

/// The same as the API says it, in the words of OTLP.
pub(super) fn otlp_failure(error: ApiError, encoding: otlp::Encoding, id: &RequestId) -> Response {
    let (status, detail) =
        (error.problem().status, format!("{}: {}", error.problem().code, error.problem().detail));
    let plain = error.into_response(id);
    // gRPC's codes: UNAUTHENTICATED, PERMISSION_DENIED, UNAVAILABLE, INVALID_ARGUMENT.
    let code = match status {
        401 => 16,
        403 => 7,
        500.. => 14,
        _ => 3,
    };
    let mut response = written(plain.status(), encoding, otlp::failure(encoding, code, &detail));
    if let Some(wait) = plain.headers().get(header::RETRY_AFTER) {
        response.headers_mut().insert(header::RETRY_AFTER, wait.clone());
    }
    response
}

pub(super) fn written(status: StatusCode, encoding: otlp::Encoding, body: Vec<u8>) -> Response {
    (status, [(header::CONTENT_TYPE, encoding.media_type())], Body::from(body)).into_response()
}

/// Who sends: a node, or someone with the role of an operator.
pub(super) async fn sender(app: &App, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let token = shown.split_once(' ').map_or("", |(_, token)| token.trim());
    let role = if token.starts_with("bsa.") { Role::Agent } else { Role::Operator };
    auth::caller(app, role, headers, true).await
}

pub(super) async fn room(app: &App) -> Result<tokio::sync::SemaphorePermit<'_>, ApiError> {
    match tokio::time::timeout(WAIT, app.telemetry.room.acquire()).await {
        Ok(room) => room.map_err(ApiError::internal),
        Err(_) => Err(busy()),
    }
}

/// Reads what came, away from what serves others.
pub(super) async fn unpack<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, Unreadable> + Send + 'static,
) -> Result<T, ApiError> {
    let read = tokio::task::spawn_blocking(read).await.map_err(ApiError::internal)?;
    read.map_err(|error| match error {
        Unreadable::TooLarge(_) => ApiError::new(ErrorCode::BS4006, error.to_string()),
        Unreadable::Malformed(_) => ApiError::new(ErrorCode::BS0033, error.to_string()),
    })
}

/// What a node sends carries its name: that is known here, whatever the sender says.
fn enrich(incoming: &mut Incoming, caller: &Caller) {
    if let Caller::Node(node) = caller {
        incoming.label_all("node", &node.name.to_string());
    }
}

pub(super) fn named(name: &'static str, mut response: Response) -> Response {
    response.extensions_mut().insert(RouteName(name));
    response
}

pub(super) fn id_of(request: &Request) -> RequestId {
    request.extensions().get::<RequestId>().cloned().unwrap_or_default()
}

//! `/prometheus/api/v1/…`: Prometheus' own API over the metrics that the hub keeps. `<hub>/prometheus` is what Grafana's data
//! source and any other client take as the server's URL.
//!
//! They are no endpoints of the API: the protocol is Prometheus', and clients send parameters that it may or may not
//! know. A caller shows a token of a viewer, as a bearer or, since many clients know nothing else, as the password of basic
//! authentication. Nothing is changed by it. What the path, parameters and answers are stands in
//! [`backstay_telemetry::prometheus`].

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    extract::{Path, Request, State},
    response::{IntoResponse as _, Response},
    routing::any,
};
use backstay_api::Role;
use backstay_telemetry::{
    Limits,
    prometheus::{Answered, Api, ApiError as PrometheusError, Endpoint, ErrorKind, Params},
    promql::Options,
};
use backstay_types::ErrorCode;
use http::{HeaderValue, Method, StatusCode, header};
use tokio::sync::Semaphore;

use super::{
    ApiError,
    gate::{RequestId, RouteName},
    input,
};
use crate::{app::App, auth};

/// The largest form: a long query, or many `match[]`.
const BODY: usize = 1 << 20;

/// The routes.
pub(crate) fn routes(app: Arc<App>) -> Router {
    let at_once = usize::try_from(app.settings.telemetry.queries_at_once).unwrap_or(1);
    let state = Arc::new(Asked { app, room: Semaphore::new(at_once) });
    Router::new().route("/prometheus/api/v1/{*path}", any(serve)).with_state(state)
}

/// What all queries share.
struct Asked {
    app: Arc<App>,
    /// Room for queries: each takes a processor, and memory.
    room: Semaphore,
}

async fn serve(State(asked): State<Arc<Asked>>, Path(path): Path<String>, request: Request) -> Response {
    let id = request.extensions().get::<RequestId>().cloned().unwrap_or_default();
    let (route, answered) = match answer(&asked, &path, request).await {
        Ok((route, answered)) => (route, written(answered)),
        Err(error) => ("Prometheus", error.into_response(&id)),
    };
    let mut response = answered;
    response.extensions_mut().insert(RouteName(route));
    response
}

async fn answer(asked: &Asked, path: &str, request: Request) -> Result<(&'static str, Answered), ApiError> {
    let (parts, body) = request.into_parts();
    // First who it is: nobody else learns anything.
    auth::caller(&asked.app, Role::Viewer, &auth::as_bearer(&parts.headers), false).await?;
    let (endpoint, route, by_form) =
        endpoint(path).ok_or_else(|| ApiError::missing("path below /prometheus", path))?;
    let mut pairs = match parts.method {
        Method::GET => Vec::new(),
        Method::POST if by_form => form(&input::read(&parts.headers, body, BODY).await?)?,
        _ => {
            let expected = if by_form { "GET or POST" } else { "GET" };
            return Err(ApiError::new(ErrorCode::BS4012, format!("expected {expected}")));
        }
    };
    pairs.extend(form(parts.uri.query().unwrap_or_default().as_bytes())?);
    Ok((route, asked.run(endpoint, Params::new(pairs)).await?))
}

/// What a path asks for, the name under which it is counted, and whether it is asked by a form too.
fn endpoint(path: &str) -> Option<(Endpoint, &'static str, bool)> {
    Some(match path {
        "query" => (Endpoint::Query, "PrometheusQuery", true),
        "query_range" => (Endpoint::QueryRange, "PrometheusQueryRange", true),
        "query_exemplars" => (Endpoint::Exemplars, "PrometheusExemplars", true),
        "format_query" => (Endpoint::FormatQuery, "PrometheusFormatQuery", true),
        "series" => (Endpoint::Series, "PrometheusSeries", true),
        "labels" => (Endpoint::Labels, "PrometheusLabels", true),
        "metadata" => (Endpoint::Metadata, "PrometheusMetadata", false),
        "rules" => (Endpoint::Rules, "PrometheusRules", false),
        "alerts" => (Endpoint::Alerts, "PrometheusAlerts", false),
        "status/buildinfo" => (Endpoint::BuildInfo, "PrometheusBuildInfo", false),
        other => {
            let name = other.strip_prefix("label/")?.strip_suffix("/values")?;
            (Endpoint::LabelValues(name.to_owned()), "PrometheusLabelValues", false)
        }
    })
}

fn form(bytes: &[u8]) -> Result<Vec<(String, String)>, ApiError> {
    serde_urlencoded::from_bytes(bytes)
        .map_err(|e| ApiError::new(ErrorCode::BS4001, format!("expected a form (name=value&…): {e}")))
}

impl Asked {
    async fn run(&self, endpoint: Endpoint, params: Params) -> Result<Answered, ApiError> {
        let store = self.app.telemetry.store()?.clone();
        let settings = &self.app.settings.telemetry;
        let limits = Limits {
            series: settings.query_max_series,
            samples: settings.query_max_samples,
            time: settings.query_timeout,
        };
        // Who waits longer than a query may take has given up.
        let Ok(room) = tokio::time::timeout(settings.query_timeout, self.room.acquire()).await else {
            let what = "too many queries at once".to_owned();
            return Ok(PrometheusError { kind: ErrorKind::Unavailable, what }.answered());
        };
        let _room = room.map_err(ApiError::internal)?;
        let left = Left::default();
        let (cancelled, now) = (left.0.clone(), self.app.world.now().as_millisecond());
        let answering = tokio::task::spawn_blocking(move || {
            let version = env!("CARGO_PKG_VERSION");
            Api { querier: &*store, options: Options::default(), limits, now, version, cancelled }
                .answer(&endpoint, &params)
        });
        answering.await.map_err(ApiError::internal)
    }
}

/// Ends the query when nobody waits for its answer any more: a caller that goes away drops it.
#[derive(Default)]
struct Left(Arc<AtomicBool>);

impl Drop for Left {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn written(answered: Answered) -> Response {
    // 499 is no status of the standard, and what a client that went away would have got.
    let status = StatusCode::from_u16(answered.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, answered.body).into_response()
}

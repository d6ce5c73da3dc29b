//! Routes are made from declarations: method, path and role are not said again.
//!
//! There is no other way to route anything. What [`Routes::finish`] gives has
//! exactly one handler for every declaration, or the hub does not start.

use std::{
    collections::HashSet, future::Future, panic::AssertUnwindSafe, pin::Pin, sync::Arc, time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{RawPathParams, Request, rejection::RawPathParamsRejection},
    response::{IntoResponse as _, Response},
    routing::{MethodFilter, on},
};
use backstay_api::{Declaration, Endpoint, Media, Method, Role, body, declarations};
use backstay_types::{ErrorCode, Timestamp};
use futures_util::FutureExt as _;
use http::{HeaderValue, StatusCode, header, request::Parts};
use tokio_util::task::TaskTracker;

use super::{
    call::{Call, Content, Reply},
    encoded::takes_gzip,
    error::ApiError,
    gate::{RequestId, RouteName},
    input,
    kept::Key,
};
use crate::{app::App, auth, auth::Caller, server::Peer};

/// What a route may use, and how it ends when its caller goes away.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The largest body, in bytes.
    pub(crate) body: usize,
    /// How long the handler may take.
    pub(crate) time: Duration,
    /// Whether the handler is dropped when its caller goes away. What changes something is not:
    /// it is finished whether or not anyone waits for the answer.
    pub(crate) abandoned: bool,
}

impl Limits {
    const fn of(method: Method) -> Self {
        Self { body: 1 << 20, time: Duration::from_secs(60), abandoned: matches!(method, Method::Get) }
    }

    /// With another body size.
    pub(crate) const fn body(mut self, bytes: usize) -> Self {
        self.body = bytes;
        self
    }

    /// With another time.
    pub(crate) const fn time(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// For a request that is held: nothing is left of it when its caller goes away.
    pub(crate) const fn held(mut self, time: Duration) -> Self {
        self.abandoned = true;
        self.time = time;
        self
    }
}

/// Collects routes.
pub(crate) struct Routes {
    app: Arc<App>,
    router: Router,
    routed: HashSet<&'static str>,
    twice: Vec<&'static str>,
}

impl Routes {
    /// No routes yet.
    pub(crate) fn new(app: Arc<App>) -> Self {
        Self { app, router: Router::new(), routed: HashSet::new(), twice: Vec::new() }
    }

    /// The handler of an endpoint.
    pub(crate) fn on<E, H, F, R>(self, handler: H) -> Self
    where
        E: Endpoint,
        H: Fn(Call<E>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<R, ApiError>> + Send + 'static,
        R: Into<Reply<E::Response>> + Send + 'static,
    {
        self.on_with(|limits| limits, handler)
    }

    /// The handler of an endpoint that needs limits of its own.
    pub(crate) fn on_with<E, H, F, R>(mut self, limits: impl Fn(Limits) -> Limits, handler: H) -> Self
    where
        E: Endpoint,
        H: Fn(Call<E>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<R, ApiError>> + Send + 'static,
        R: Into<Reply<E::Response>> + Send + 'static,
    {
        if !self.routed.insert(E::NAME) {
            self.twice.push(E::NAME);
            return self;
        }
        let (app, limits) = (self.app.clone(), limits(Limits::of(E::METHOD)));
        let known: Arc<[String]> = input::query_names::<E>().into();
        let service = move |parameters: Result<RawPathParams, RawPathParamsRejection>, request: Request| {
            let (app, handler, known) = (app.clone(), handler.clone(), known.clone());
            async move {
                let (parts, body) = request.into_parts();
                let parameters = match parameters {
                    Ok(found) => found.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
                    Err(wrong) => return malformed_path(&parts, wrong.body_text()),
                };
                let request = Incoming { parts, body, parameters, known };
                dispatch::<E, _, _, _>(app, request, limits, handler).await
            }
        };
        let filter = match E::METHOD {
            Method::Get => MethodFilter::GET,
            Method::Post => MethodFilter::POST,
            Method::Delete => MethodFilter::DELETE,
        };
        self.router = self.router.route(E::PATH, on(filter, service));
        self
    }

    /// The router, when every declaration has exactly one handler.
    ///
    /// # Errors
    /// The names of endpoints without a handler, and of those with two.
    pub(crate) fn finish(self) -> Result<Router, String> {
        let missing: Vec<_> = declarations()
            .iter()
            .map(|d: &Declaration| d.name)
            .filter(|n| !self.routed.contains(n))
            .collect();
        if missing.is_empty() && self.twice.is_empty() {
            Ok(self.router)
        } else {
            Err(format!("endpoints without a handler: {missing:?}; with two: {:?}", self.twice))
        }
    }
}

/// A path whose percent encoding is not text.
fn malformed_path(parts: &Parts, message: String) -> Response {
    let id = parts.extensions.get::<RequestId>().cloned().unwrap_or_default();
    ApiError::new(ErrorCode::BS4001, message).into_response(&id)
}

/// A request on its way to its handler.
struct Incoming {
    parts: Parts,
    body: Body,
    parameters: Vec<(String, String)>,
    known: Arc<[String]>,
}

async fn dispatch<E, H, F, R>(app: Arc<App>, request: Incoming, limits: Limits, handler: H) -> Response
where
    E: Endpoint,
    H: Fn(Call<E>) -> F,
    F: Future<Output = Result<R, ApiError>> + Send + 'static,
    R: Into<Reply<E::Response>> + Send + 'static,
{
    let id = request.parts.extensions.get::<RequestId>().cloned().unwrap_or_default();
    let key = Key::of::<E>(&app, &request.parts);
    let gzip = takes_gzip(&request.parts.headers);
    let mut response = match key.and_then(|key| app.kept.at_once(key, app.world.now())) {
        Some(response) => response,
        None => match answer::<E, _, _, _>(&app, request, limits, gzip, handler).await {
            Ok(answered) => answered.keep::<E>(&app, key),
            Err(error) => again(&app, key, &error).unwrap_or_else(|| error.into_response(&id)),
        },
    };
    response.extensions_mut().insert(RouteName(E::NAME));
    response
}

/// An answer.
struct Answered {
    response: Response,
    /// Its content, where that is whole.
    whole: Option<Bytes>,
    /// When what the caller showed runs out.
    until: Option<Timestamp>,
}

impl Answered {
    /// The response; kept, where it may be given again.
    fn keep<E: Endpoint>(self, app: &App, key: Option<Key>) -> Response {
        if matches!(E::ROLE, Role::Viewer | Role::Operator | Role::Admin) {
            app.database_answers();
        }
        if let (Some(key), Some(whole)) = (key, self.whole) {
            app.kept.keep(key, whole, app.world.now(), self.until);
        }
        self.response
    }
}

/// What was answered before, where it failed because the database is away.
fn again(app: &App, key: Option<Key>, error: &ApiError) -> Option<Response> {
    let key = key?;
    match error.problem().code {
        ErrorCode::BS7002 => {
            app.database_is_away();
            app.kept.last(key, app.world.now())
        }
        ErrorCode::BS4002 | ErrorCode::BS4003 => {
            app.kept.refused(key);
            None
        }
        _ => None,
    }
}

/// Admits, handles, writes.
async fn answer<E, H, F, R>(
    app: &Arc<App>,
    request: Incoming,
    limits: Limits,
    gzip: bool,
    handler: H,
) -> Result<Answered, ApiError>
where
    E: Endpoint,
    H: Fn(Call<E>) -> F,
    F: Future<Output = Result<R, ApiError>> + Send + 'static,
    R: Into<Reply<E::Response>> + Send + 'static,
{
    // Apart from the rest: a connection keeps room for all that its request may need at once, and most are held.
    let (until, handled) = Box::pin(admit::<E, _, _>(app.clone(), request, limits, handler)).await?;
    let reply = run(&app.tasks, limits, handled).await?;
    let (response, whole) = write::<E>(reply.into(), gzip)?;
    Ok(Answered { response, whole, until })
}

/// Who calls, and whether they may; only then what they say. Until when what they showed is good, and what is to be done.
async fn admit<E, H, F>(
    app: Arc<App>,
    request: Incoming,
    limits: Limits,
    handler: H,
) -> Result<(Option<Timestamp>, Pin<Box<F>>), ApiError>
where
    E: Endpoint,
    H: Fn(Call<E>) -> F,
{
    let Incoming { parts, body, parameters, known } = request;
    let headers = parts.headers;
    let peer = parts.extensions.get::<Peer>().map(|peer| peer.0);
    let changes = E::METHOD != Method::Get;
    let caller = match E::ROLE {
        Role::Public | Role::Webhook => Caller::Anyone,
        role => auth::caller(&app, role, &headers, changes).await?,
    };
    let path = input::path::<E::Path>(&parameters)?;
    let query = input::query::<E::Query>(parts.uri.query().unwrap_or_default(), &known)?;
    let bytes = if E::METHOD == Method::Post {
        input::check_media::<E>(&headers)?;
        input::read(&headers, body, limits.body).await?
    } else {
        Vec::new()
    };
    let caller = match E::ROLE {
        Role::Webhook => auth::webhook(&app, &parameters, &headers, &bytes).await?,
        _ => caller,
    };
    let body = input::parse::<E>(&headers, bytes)?;
    let until = caller.until();
    Ok((until, Box::pin(handler(Call { app, caller, path, query, body, headers, peer }))))
}

/// Runs a handler to its end, or for as long as it may.
async fn run<R: Send + 'static>(
    tasks: &TaskTracker,
    limits: Limits,
    handler: impl Future<Output = Result<R, ApiError>> + Send + 'static,
) -> Result<R, ApiError> {
    let finished = async {
        if limits.abandoned {
            AssertUnwindSafe(handler).catch_unwind().await.map_err(|_| "a handler panicked".to_owned())
        } else {
            tasks.spawn(handler).await.map_err(|e| e.to_string())
        }
    };
    match tokio::time::timeout(limits.time, finished).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => Err(ApiError::internal(panic)),
        Err(_) => Err(ApiError::new(ErrorCode::BS7008, format!("no answer within {:?}", limits.time))),
    }
}

fn write<E: Endpoint>(reply: Reply<E::Response>, gzip: bool) -> Result<(Response, Option<Bytes>), ApiError> {
    let mut compressed = false;
    let (body, whole) = match reply.content {
        Content::Encoded(written) if gzip => {
            compressed = true;
            (Body::from(written.gzip()), Some(written.plain()))
        }
        Content::Encoded(written) => (Body::from(written.plain()), Some(written.plain())),
        Content::Typed(value) => {
            // Without room to spare: it may be kept.
            let bytes = Bytes::from(body::encode(&value).map_err(ApiError::internal)?.into_boxed_slice());
            (Body::from(bytes.clone()), Some(bytes))
        }
        Content::Raw(body) => (body, None),
    };
    let whole = whole.filter(|_| reply.status == StatusCode::OK);
    let mut response = (reply.status, body).into_response();
    let media = HeaderValue::from_static(Media::of::<E::Response>().content_type());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, media);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if compressed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    for (name, value) in reply.headers {
        headers.insert(name, value);
    }
    Ok((response, whole))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    async fn slow(done: Arc<AtomicBool>) -> Result<(), ApiError> {
        tokio::time::sleep(Duration::from_millis(60)).await;
        done.store(true, Ordering::SeqCst);
        Ok(())
    }

    async fn panics() -> Result<(), ApiError> {
        panic!("on purpose")
    }

    #[tokio::test]
    async fn a_panic_is_an_answer_and_not_the_end() {
        let tasks = TaskTracker::new();
        for limits in [Limits::of(Method::Get), Limits::of(Method::Post)] {
            let error = run(&tasks, limits, panics()).await.unwrap_err();
            assert_eq!(error.problem().code, ErrorCode::BS7001);
            assert!(!error.problem().detail.contains("on purpose"), "the log has it, not the caller");
        }
    }

    #[tokio::test]
    async fn what_changes_something_is_finished_when_its_caller_has_gone() {
        let tasks = TaskTracker::new();
        for (limits, finished) in [(Limits::of(Method::Get), false), (Limits::of(Method::Post), true)] {
            let done = Arc::new(AtomicBool::new(false));
            let limits = limits.time(Duration::from_millis(10));
            let error = run(&tasks, limits, slow(done.clone())).await.unwrap_err();
            assert_eq!(error.problem().code, ErrorCode::BS7008);
            tokio::time::sleep(Duration::from_millis(150)).await;
            assert_eq!(done.load(Ordering::SeqCst), finished);
        }
    }
}

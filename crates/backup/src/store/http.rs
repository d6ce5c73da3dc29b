//! Requests that end: each has a deadline that moves with what is sent and received. A server that takes the connection and
//! never answers costs so many silences, and no more.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, Once, PoisonError},
    task::{Context, Poll},
    thread,
    time::{Duration, Instant},
};

use backstay_types::backup::job::FailedKind;
use bytes::{Bytes, BytesMut};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use reqwest::{Client, Method, StatusCode, Url, header::HeaderMap, redirect::Policy};
use rustic_core::BytesList;
use tokio::{
    runtime::Runtime,
    time::{Sleep, sleep, sleep_until},
};

use super::limit::Limit;
use crate::{Patience, fault::Fault};

/// What is sent at once, so that a limit is kept within a request too.
const PIECE: usize = 64 * 1024;
/// More than any file of a repository that is read at once.
const LARGEST: usize = 256 << 20;
/// Before the second try; each further one waits twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// A client with its own threads; requests are made from any other.
pub(super) struct Http {
    runtime: Runtime,
    client: Client,
    limit: Limit,
    patience: Patience,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}

/// A request; its address may have a signature in it, so it is never shown.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) content: Option<BytesList>,
    /// A file, in messages.
    pub(super) what: String,
}

impl Request {
    pub(super) fn new(method: Method, url: Url, what: impl Into<String>) -> Self {
        Self { method, url, headers: HeaderMap::new(), content: None, what: what.into() }
    }
}

/// An answer, of which kind ever.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Http {
    pub(super) fn new(
        place: &Url,
        ca: Option<&[u8]>,
        limit: Limit,
        patience: Patience,
    ) -> Result<Self, Fault> {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let mut builder = Client::builder()
            .user_agent(concat!("backstay-backup/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .referer(false)
            .connect_timeout(patience.silence)
            .tcp_keepalive(Duration::from_secs(30))
            .tcp_nodelay(true);
        if is_loopback(place) {
            builder = builder.no_proxy();
        }
        if let Some(pem) = ca {
            let certificates = reqwest::Certificate::from_pem_bundle(pem);
            let certificates =
                certificates.map_err(|error| Fault::bad_job(format!("the CA file: {error}")))?;
            builder = builder.tls_certs_only(certificates);
        } else if place.scheme() == "http" {
            builder = builder.tls_certs_only([]);
        }
        let client =
            builder.build().map_err(|error| Fault::bad_job(format!("no client could be made: {error}")))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| Fault::of_io("starting threads for the network", &error))?;
        Ok(Self { runtime, client, limit, patience })
    }

    /// Asks, more than once where that may help, and gives any answer that another try would not change.
    pub(super) fn ask(&self, make: impl Fn() -> Request) -> Result<Answer, Fault> {
        let mut wait = FIRST_WAIT;
        let mut tried = 1;
        loop {
            let request = make();
            let what = request.what.clone();
            let fault = match self.runtime.block_on(self.once(request)) {
                Ok(answer) if !is_passing(answer.status) => return Ok(answer),
                Ok(answer) => {
                    let said = excerpt(&answer.body);
                    unreachable(&what, &format!("the server answers {}{said}", answer.status))
                }
                Err(why) => unreachable(&what, &why),
            };
            if tried >= self.patience.attempts {
                return Err(fault);
            }
            thread::sleep(wait);
            wait *= 2;
            tried += 1;
        }
    }

    async fn once(&self, request: Request) -> Result<Answer, String> {
        let moved = Moved::new();
        let silent = self.silent(&moved);
        let answered = self.send(request, &moved);
        tokio::select! {
            answered = answered => answered,
            () = silent => Err(format!("nothing moved for {} s", self.patience.silence.as_secs())),
        }
    }

    /// Ends when nothing has moved for too long.
    async fn silent(&self, moved: &Moved) {
        loop {
            let until = moved.last() + self.patience.silence;
            if until <= Instant::now() {
                return;
            }
            sleep_until(until.into()).await;
        }
    }

    async fn send(&self, request: Request, moved: &Moved) -> Result<Answer, String> {
        let mut builder = self.client.request(request.method, request.url).headers(request.headers);
        if let Some(content) = request.content {
            builder =
                builder.body(reqwest::Body::wrap(Upload::new(content, self.limit.clone(), moved.clone())));
        }
        let said = |error: reqwest::Error| with_causes(&error.without_url());
        let mut response = builder.send().await.map_err(said)?;
        moved.now();
        let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(said)? {
            if body.len() + chunk.len() > LARGEST {
                return Err(format!("the answer has more than {LARGEST} bytes"));
            }
            body.extend_from_slice(&chunk);
            let wait = self.limit.book(chunk.len() as u64);
            moved.after(wait);
            if !wait.is_zero() {
                sleep(wait).await;
            }
        }
        Ok(Answer { status, headers, body: body.freeze() })
    }
}

/// Whether the same request may go well another time.
fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502..=504)
}

fn unreachable(what: &str, why: &str) -> Fault {
    Fault::new(
        FailedKind::Unreachable,
        format!("{what}: {why}; look at the server and the way to it, and try again"),
    )
}

/// The beginning of what a server says, for people.
pub(super) fn excerpt(body: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(body).chars().filter(|c| !c.is_control()).take(300).collect();
    if text.trim().is_empty() { String::new() } else { format!(": {}", text.trim()) }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// When something moved last. It may be a time to come: until then the limit holds things up.
#[derive(Clone)]
struct Moved(Arc<Mutex<Instant>>);

impl Moved {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) {
        self.after(Duration::ZERO);
    }

    fn after(&self, wait: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + wait;
    }
}

/// What is sent, in pieces, as fast as the limit allows and the server takes it.
struct Upload {
    pieces: VecDeque<Bytes>,
    left: u64,
    limit: Limit,
    moved: Moved,
    held: Option<(Pin<Box<Sleep>>, Bytes)>,
}

impl Upload {
    fn new(content: BytesList, limit: Limit, moved: Moved) -> Self {
        let left = content.size() as u64;
        let mut pieces = VecDeque::new();
        for mut part in content.into_vec() {
            while part.len() > PIECE {
                pieces.push_back(part.split_to(PIECE));
            }
            if !part.is_empty() {
                pieces.push_back(part);
            }
        }
        Self { pieces, left, limit, moved, held: None }
    }

    fn ready(&mut self, piece: Bytes) -> Poll<Option<Result<Frame<Bytes>, std::convert::Infallible>>> {
        self.left -= piece.len() as u64;
        self.moved.now();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some((mut sleep, piece)) = self.held.take() {
            if sleep.as_mut().poll(context).is_pending() {
                self.held = Some((sleep, piece));
                return Poll::Pending;
            }
            return self.ready(piece);
        }
        let Some(piece) = self.pieces.pop_front() else { return Poll::Ready(None) };
        let wait = self.limit.book(piece.len() as u64);
        if wait.is_zero() {
            return self.ready(piece);
        }
        self.moved.after(wait);
        let mut sleep = Box::pin(sleep(wait));
        if sleep.as_mut().poll(context).is_ready() {
            return self.ready(piece);
        }
        self.held = Some((sleep, piece));
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

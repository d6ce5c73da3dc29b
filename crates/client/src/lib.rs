//! Typed HTTP client, made from the endpoint declarations.
//!
//! [`Client::call`] takes an [`Endpoint`] and knows from it method, path and
//! types, so that client and hub cannot disagree. It follows no redirects,
//! caps what it reads, keeps one idle connection, and never prints a credential.

mod address;
mod error;
mod events;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use backstay_api::{AS_OF, Binary, Endpoint, Events, Media, Method, Problem, body};
use backstay_types::Secret;
use reqwest::{
    Response,
    header::{ACCEPT, CONTENT_TYPE, HeaderValue},
    redirect::Policy,
};
use url::Url;

pub use crate::{
    error::ClientError,
    events::{EventStream, ServerEvent},
};

/// How a client behaves. `..Options::default()` for the rest.
#[derive(Debug, Clone)]
pub struct Options {
    /// Goes into `User-Agent`, such as `backstay-agent/0.1.0`.
    pub user_agent: String,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long a whole call may take; held ones get this on top of what they are held.
    pub timeout: Duration,
    /// The largest answer that is read, in bytes. Downloads have a limit of their own.
    pub max_response_bytes: u64,
    /// Certificate authorities (PEM) to trust instead of the system's.
    pub ca_pem: Option<Vec<u8>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            user_agent: concat!("backstay/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(30),
            max_response_bytes: 32 << 20,
            ca_pem: None,
        }
    }
}

/// A client of one hub. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    base: Url,
    http: reqwest::Client,
    credential: Option<Secret>,
    timeout: Duration,
    max_response_bytes: u64,
    /// Of when the first answer was that the hub could only repeat.
    as_of: Arc<OnceLock<String>>,
}

impl Client {
    /// A client of the hub at `base_url`, with a bearer credential when there is one.
    ///
    /// # Errors
    /// When the address is not `http` or `https`, or the system's certificates cannot be read.
    pub fn new(base_url: &str, credential: Option<Secret>) -> Result<Self, ClientError> {
        Self::with_options(base_url, credential, Options::default())
    }

    /// As [`Client::new`], with options.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn with_options(
        base_url: &str,
        credential: Option<Secret>,
        options: Options,
    ) -> Result<Self, ClientError> {
        let base = address::base(base_url)?;
        let http = transport(&base, &options).map_err(ClientError::Setup)?;
        let (timeout, max_response_bytes) = (options.timeout, options.max_response_bytes);
        Ok(Self { base, http, credential, timeout, max_response_bytes, as_of: Arc::default() })
    }

    /// The hub's address.
    pub fn base_url(&self) -> &Url {
        &self.base
    }

    /// Of when the first answer was, in RFC 3339, that the hub could only repeat because its database is away.
    pub fn as_of(&self) -> Option<&str> {
        self.as_of.get().map(String::as_str)
    }

    /// Calls an endpoint.
    ///
    /// # Errors
    /// [`ClientError::Problem`] when the hub says no; the others when it could not be asked or understood.
    pub async fn call<E: Endpoint>(
        &self,
        path: &E::Path,
        query: &E::Query,
        request: &E::Request,
    ) -> Result<E::Response, ClientError> {
        self.call_held::<E>(path, query, request, Duration::ZERO).await
    }

    /// Calls an endpoint that may hold its answer back for `hold`.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn call_held<E: Endpoint>(
        &self,
        path: &E::Path,
        query: &E::Query,
        request: &E::Request,
        hold: Duration,
    ) -> Result<E::Response, ClientError> {
        let timeout = self.timeout.saturating_add(hold);
        let response = self.send::<E>(path, query, request, Some(timeout)).await?;
        let bytes = read_all(response, self.max_response_bytes).await?;
        body::decode(bytes).map_err(|source| ClientError::Malformed { endpoint: E::NAME, source })
    }

    /// Calls an endpoint that answers with bytes, and hands them over as they come.
    /// The whole download may take `timeout`.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn download<E: Endpoint<Response = Binary>>(
        &self,
        path: &E::Path,
        query: &E::Query,
        request: &E::Request,
        timeout: Duration,
        max_bytes: u64,
    ) -> Result<Download, ClientError> {
        let response = self.send::<E>(path, query, request, Some(timeout)).await?;
        let declared = response.content_length();
        if declared.is_some_and(|length| length > max_bytes) {
            return Err(ClientError::TooLarge { limit: max_bytes });
        }
        Ok(Download { response, left: max_bytes, limit: max_bytes })
    }

    /// Follows an endpoint that answers with server-sent events, for as long as the hub sends any. A stream
    /// on which nothing comes for `quiet`, not even a sign of life, is broken; the hub gives one every 15 s.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn follow<E: Endpoint<Response = Events>>(
        &self,
        path: &E::Path,
        query: &E::Query,
        request: &E::Request,
        quiet: Duration,
    ) -> Result<EventStream, ClientError> {
        let opening = self.send::<E>(path, query, request, None);
        let opened = tokio::time::timeout(self.timeout, opening).await;
        let response = opened.map_err(|_| ClientError::Silent { after: self.timeout })??;
        Ok(EventStream::new(response, quiet, self.max_response_bytes))
    }

    /// Sends a request and returns the answer when it is a success. Without a timeout, the whole answer may
    /// take as long as it likes.
    async fn send<E: Endpoint>(
        &self,
        path: &E::Path,
        query: &E::Query,
        request: &E::Request,
        timeout: Option<Duration>,
    ) -> Result<Response, ClientError> {
        let malformed = |source| ClientError::Malformed { endpoint: E::NAME, source };
        let url = address::of::<E>(&self.base, path, query)?;
        let method = match E::METHOD {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            Method::Delete => reqwest::Method::DELETE,
        };
        let mut builder = self.http.request(method, url).header(ACCEPT, "*/*");
        if let Some(timeout) = timeout {
            builder = builder.timeout(timeout);
        }
        if E::METHOD == Method::Post {
            let media = HeaderValue::from_static(Media::of::<E::Request>().content_type());
            builder = builder.header(CONTENT_TYPE, media).body(body::encode(request).map_err(malformed)?);
        }
        if let Some(credential) = &self.credential {
            builder = builder.bearer_auth(credential.expose());
        }
        let response = builder.send().await.map_err(ClientError::from_transport)?;
        if !response.status().is_success() {
            return Err(refusal(response).await);
        }
        if let Some(at) = response.headers().get(AS_OF).and_then(|at| at.to_str().ok()) {
            self.as_of.get_or_init(|| at.to_owned());
        }
        Ok(response)
    }
}

/// An answer that is read piece by piece.
#[derive(Debug)]
pub struct Download {
    response: Response,
    left: u64,
    limit: u64,
}

impl Download {
    /// The length that the hub declared, in bytes.
    pub fn len_hint(&self) -> Option<u64> {
        self.response.content_length()
    }

    /// The next piece; `None` at the end. An answer cut short is an error, never an end.
    ///
    /// # Errors
    /// When the connection breaks, time runs out, or the limit is passed.
    pub async fn chunk(&mut self) -> Result<Option<impl AsRef<[u8]> + use<>>, ClientError> {
        let chunk = self.response.chunk().await.map_err(ClientError::from_transport)?;
        if let Some(chunk) = &chunk {
            self.left = self
                .left
                .checked_sub(chunk.len() as u64)
                .ok_or(ClientError::TooLarge { limit: self.limit })?;
        }
        Ok(chunk)
    }
}

/// The connection under a client.
fn transport(base: &Url, options: &Options) -> Result<reqwest::Client, reqwest::Error> {
    // The first provider that is installed stays; ring is the only one in the build.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(&options.user_agent)
        .redirect(Policy::none())
        .referer(false)
        .connect_timeout(options.connect_timeout)
        .pool_max_idle_per_host(1)
        .tcp_keepalive(Duration::from_secs(30))
        .tcp_nodelay(true);
    if address::is_loopback(base) {
        builder = builder.no_proxy();
    }
    if let Some(pem) = &options.ca_pem {
        builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(pem)?);
    } else if base.scheme() == "http" {
        // Reading the system's certificates costs a megabyte that a plain connection has no use for.
        builder = builder.tls_certs_only([]);
    }
    builder.build()
}

/// The error that an answer other than success stands for.
async fn refusal(response: Response) -> ClientError {
    let status = response.status().as_u16();
    let bytes = match read_all(response, 1 << 20).await {
        Ok(bytes) => bytes,
        Err(error) => return error,
    };
    match serde_json::from_slice::<Problem>(&bytes) {
        Ok(problem) => ClientError::Problem(Box::new(problem)),
        Err(_) => ClientError::Unexpected { status, body: error::excerpt(&bytes) },
    }
}

async fn read_all(response: Response, limit: u64) -> Result<Vec<u8>, ClientError> {
    let mut download = Download { response, left: limit, limit };
    let mut bytes = Vec::new();
    while let Some(chunk) = download.chunk().await? {
        bytes.extend_from_slice(chunk.as_ref());
    }
    Ok(bytes)
}

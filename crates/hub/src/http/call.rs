//! What a handler gets and gives.

use std::{net::IpAddr, sync::Arc};

use axum::body::Body;
use backstay_api::Endpoint;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::Encoded;
use crate::{app::App, auth::Caller};

/// An authenticated, parsed call of an endpoint.
pub(crate) struct Call<E: Endpoint> {
    /// The hub.
    pub(crate) app: Arc<App>,
    /// Who calls. Its role was checked against the declaration.
    pub(crate) caller: Caller,
    /// Path parameters.
    pub(crate) path: E::Path,
    /// Query parameters.
    pub(crate) query: E::Query,
    /// The body.
    pub(crate) body: E::Request,
    /// Headers, for what the declaration does not say.
    pub(crate) headers: HeaderMap,
    /// The address that the connection came from.
    pub(crate) peer: Option<IpAddr>,
}

/// An answer, with what the declaration does not say.
#[derive(Debug)]
pub(crate) struct Reply<T> {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) content: Content<T>,
}

/// The content of an answer.
#[derive(Debug)]
pub(crate) enum Content<T> {
    /// As declared.
    Typed(T),
    /// As declared, written already.
    Encoded(Encoded<T>),
    /// Bytes of the declared type, written as they are read.
    Raw(Body),
}

impl<T> Reply<T> {
    /// An answer whose bytes are written as they are read.
    pub(crate) fn raw(body: Body) -> Self {
        Self { status: StatusCode::OK, headers: Vec::new(), content: Content::Raw(body) }
    }

    /// With another status.
    pub(crate) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// With a header.
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl<T> From<T> for Reply<T> {
    fn from(body: T) -> Self {
        Self { status: StatusCode::OK, headers: Vec::new(), content: Content::Typed(body) }
    }
}

impl<T> From<Encoded<T>> for Reply<T> {
    fn from(body: Encoded<T>) -> Self {
        Self { status: StatusCode::OK, headers: Vec::new(), content: Content::Encoded(body) }
    }
}

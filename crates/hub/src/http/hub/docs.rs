//! `GET /openapi.json`, `GET /docs`

use std::sync::LazyLock;

use backstay_api::{
    Html, openapi,
    v1::{GetDocs, GetOpenApi},
};
use http::{HeaderValue, header};
use serde_json::Value;

use crate::http::{ApiError, Call, Reply, docs_page};

/// The document does not change while the program runs.
static DOCUMENT: LazyLock<Value> = LazyLock::new(openapi);
/// Nothing but the page's own styles.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
);

/// The OpenAPI document.
pub(crate) async fn open_api(_: Call<GetOpenApi>) -> Result<Value, ApiError> {
    Ok(DOCUMENT.clone())
}

/// The OpenAPI document for people.
pub(crate) async fn docs(_: Call<GetDocs>) -> Result<Reply<Html>, ApiError> {
    let page = Html(docs_page::page(&DOCUMENT));
    Ok(Reply::from(page).header(header::CONTENT_SECURITY_POLICY, POLICY))
}

//! Answers in JSON made smaller where the caller takes that: a table of nodes is mostly repetition.

use http::header;
use tower_http::{
    CompressionLevel,
    compression::{CompressionLayer, predicate::Predicate},
};

/// Smaller answers are one packet anyway.
const SMALL: u64 = 1400;

/// Which answers: streams pass on each event at once, packs are compressed already, and so are the page's files.
#[derive(Debug, Clone, Copy)]
pub(super) struct LargeJson;

impl Predicate for LargeJson {
    fn should_compress<B: hyper::body::Body>(&self, response: &http::Response<B>) -> bool {
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let json = kind.is_some_and(|kind| kind.starts_with("application/json"));
        json && response.body().size_hint().lower() > SMALL
    }
}

/// The layer; quick rather than small, since the hub has more to do.
pub(super) fn layer() -> CompressionLayer<LargeJson> {
    CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(LargeJson)
}

//! Answers that many get: written once, and compressed once.

use std::{
    io::Write as _,
    marker::PhantomData,
    sync::{Arc, OnceLock},
};

use axum::body::Bytes;
use backstay_api::body;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, header};
use serde::Serialize;

use super::ApiError;

/// A `T` as it goes out.
#[derive(Debug)]
pub(crate) struct Encoded<T>(Arc<Written>, PhantomData<fn() -> T>);

#[derive(Debug)]
struct Written {
    plain: Bytes,
    gzip: OnceLock<Bytes>,
}

impl<T> Clone for Encoded<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0), PhantomData)
    }
}

impl<T: Serialize + 'static> Encoded<T> {
    /// Writes it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn of(value: &T) -> Result<Self, ApiError> {
        let plain = Bytes::from(body::encode(value).map_err(ApiError::internal)?);
        Ok(Self(Arc::new(Written { plain, gzip: OnceLock::new() }), PhantomData))
    }
}

impl<T> Encoded<T> {
    /// As it is.
    pub(crate) fn plain(&self) -> Bytes {
        self.0.plain.clone()
    }

    /// With gzip, which whoever asks first waits for.
    pub(crate) fn gzip(&self) -> Bytes {
        self.0.gzip.get_or_init(|| gzip(&self.0.plain)).clone()
    }
}

fn gzip(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 2), Compression::fast());
    // Into memory nothing fails.
    let _ = encoder.write_all(plain);
    encoder.finish().unwrap_or_default().into()
}

/// Whether a caller takes gzip.
pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    let named = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    named.flat_map(|value| value.split(',')).any(|one| {
        let (name, weight) = one.split_once(';').unwrap_or((one, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
        name.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use http::HeaderValue;

    use super::*;

    #[test]
    fn both_ways_of_writing_say_the_same() {
        let encoded = Encoded::of(&vec!["word"; 1000]).unwrap();
        let mut read = String::new();
        GzDecoder::new(encoded.gzip().as_ref()).read_to_string(&mut read).unwrap();
        assert_eq!(read.as_bytes(), encoded.plain());
        assert!(encoded.gzip().len() * 10 < read.len());
    }

    #[test]
    fn gzip_goes_to_those_who_take_it() {
        let takes = |value: &'static str| {
            takes_gzip(&HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]))
        };
        assert!(takes("gzip, deflate, br") && takes("br;q=1.0, GZIP;q=0.8") && takes("br,gzip"));
        assert!(!takes("br") && !takes("gzip;q=0") && !takes("gzip; q=0.000, br") && !takes(""));
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}

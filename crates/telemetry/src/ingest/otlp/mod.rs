//! OpenTelemetry's protocol (OTLP 1.x) for metrics: protobuf or JSON, with names by Prometheus' translation.
//!
//! Sums and histograms have to be cumulative, as Prometheus wants them: a delta is refused with a word on how to switch.
//! Exponential histograms are native histograms there, and refused too. All that is refused is counted and said in the
//! answer's `partial_success`; the rest is taken.

pub(crate) mod attributes;
mod names;
mod points;
#[cfg(test)]
mod tests;

use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use prost::Message as _;

use super::{Incoming, Unreadable};

/// How a request and its answer are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `application/x-protobuf`
    Protobuf,
    /// `application/json`
    Json,
}

impl Encoding {
    /// The one of a media type, if that is taken.
    pub fn of_media_type(text: &str) -> Option<Self> {
        match text.split(';').next().unwrap_or_default().trim() {
            "application/x-protobuf" => Some(Self::Protobuf),
            "application/json" => Some(Self::Json),
            _ => None,
        }
    }

    /// Its media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

/// Reads a request's body, which is unpacked already.
///
/// # Errors
/// When it is no `ExportMetricsServiceRequest`.
pub fn read(body: &[u8], encoding: Encoding) -> Result<Incoming, Unreadable> {
    let request = match encoding {
        Encoding::Protobuf => ExportMetricsServiceRequest::decode(body).map_err(|error| error.to_string()),
        Encoding::Json => serde_json::from_slice(body).map_err(|error| error.to_string()),
    };
    let request: ExportMetricsServiceRequest =
        request.map_err(|error| Unreadable::Malformed(format!("ExportMetricsServiceRequest: {error}")))?;
    let mut incoming = Incoming::default();
    for of_resource in request.resource_metrics {
        points::read(of_resource, &mut incoming);
    }
    Ok(incoming)
}

/// The answer to a request of which something was taken: what was rejected, and why.
pub fn answer(encoding: Encoding, rejected: u64, message: Option<String>) -> Vec<u8> {
    let rejected = i64::try_from(rejected).unwrap_or(i64::MAX);
    match encoding {
        Encoding::Protobuf => {
            let partial_success = message.map(|error_message| ExportMetricsPartialSuccess {
                rejected_data_points: rejected,
                error_message,
            });
            ExportMetricsServiceResponse { partial_success }.encode_to_vec()
        }
        // Numbers of 64 bits are texts in protobuf's JSON.
        Encoding::Json => {
            let said = message.map(|message| {
                serde_json::json!({ "rejectedDataPoints": rejected.to_string(), "errorMessage": message })
            });
            let answer = said
                .map_or_else(|| serde_json::json!({}), |said| serde_json::json!({ "partialSuccess": said }));
            answer.to_string().into_bytes()
        }
    }
}

/// `google.rpc.Status`: the answer to a request that failed.
#[derive(Clone, PartialEq, prost::Message, serde::Serialize)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// The answer to a request that failed. `code` is gRPC's: 3 for what is wrong with it, 14 for what may work later.
pub fn failure(encoding: Encoding, code: i32, message: &str) -> Vec<u8> {
    let status = Status { code, message: message.to_owned() };
    match encoding {
        Encoding::Protobuf => status.encode_to_vec(),
        Encoding::Json => serde_json::to_vec(&status).unwrap_or_else(|_| b"{}".to_vec()),
    }
}

//! Prometheus remote-write 1.0: `prometheus.WriteRequest`, protobuf packed with Snappy.

use std::sync::Arc;

use prost::Message;

use super::{Incoming, Limited, Unreadable};
use crate::{LabelsBuilder, Metadata, MetricKind, Sample};

#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<MetricMetadata>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<WireSample>,
    #[prost(message, repeated, tag = "3")]
    exemplars: Vec<Anything>,
    #[prost(message, repeated, tag = "4")]
    histograms: Vec<Anything>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct WireSample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct MetricMetadata {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    family: String,
    #[prost(string, tag = "4")]
    help: String,
    #[prost(string, tag = "5")]
    unit: String,
}

/// A message that is only counted.
#[derive(Clone, Copy, PartialEq, Message)]
struct Anything {}

/// Reads a request's body; `most` bytes unpacked.
///
/// # Errors
/// When it cannot be unpacked or is no such message.
pub fn read(body: &[u8], most: usize) -> Result<Incoming, Unreadable> {
    let plain = Limited { most }.snappy(body)?;
    let request = WriteRequest::decode(plain.as_slice())
        .map_err(|error| Unreadable::Malformed(format!("prometheus.WriteRequest: {error}")))?;
    let mut incoming = Incoming::default();
    for series in request.timeseries {
        incoming.exemplars += series.exemplars.len() as u64;
        if !series.histograms.is_empty() {
            let reason = "native histograms are not kept: send classic ones (send_native_histograms: false)";
            incoming.rejected.add(series.histograms.len(), reason);
        }
        if series.samples.is_empty() {
            continue;
        }
        match labels_of(&series.labels) {
            Ok(labels) => {
                let sample = |s: &WireSample| Sample { at: s.timestamp, value: s.value };
                incoming.batch.push((labels.build(), series.samples.iter().map(sample).collect()));
            }
            Err(reason) => incoming.rejected.add(series.samples.len(), reason),
        }
    }
    let said = request
        .metadata
        .into_iter()
        .map(|said| (said.family, Metadata { kind: kind_of(said.kind), help: said.help, unit: said.unit }));
    incoming.metadata.extend(said);
    Ok(incoming)
}

/// Labels as the specification wants them: each name once, none empty.
fn labels_of(labels: &[Label]) -> Result<LabelsBuilder, String> {
    let mut builder = LabelsBuilder::default();
    let mut names: Vec<&str> = labels.iter().map(|label| label.name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("a series with the label {} twice", twice[0]));
    }
    if names.first().is_some_and(|name| name.is_empty()) {
        return Err("a label without a name".to_owned());
    }
    for label in labels {
        builder.set(Arc::<str>::from(&*label.name), Arc::<str>::from(&*label.value));
    }
    Ok(builder)
}

/// As `prometheus.MetricMetadata.MetricType` numbers them.
fn kind_of(number: i32) -> MetricKind {
    match number {
        1 => MetricKind::Counter,
        2 => MetricKind::Gauge,
        3 => MetricKind::Histogram,
        4 => MetricKind::GaugeHistogram,
        5 => MetricKind::Summary,
        6 => MetricKind::Info,
        7 => MetricKind::StateSet,
        _ => MetricKind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(request: &WriteRequest) -> Vec<u8> {
        snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap()
    }

    fn label(name: &str, value: &str) -> Label {
        Label { name: name.into(), value: value.into() }
    }

    fn series(labels: Vec<Label>) -> TimeSeries {
        let samples = vec![WireSample { value: 1.5, timestamp: 7 }];
        TimeSeries { labels, samples, ..TimeSeries::default() }
    }

    #[test]
    fn series_and_metadata_are_read_and_what_cannot_be_is_said() {
        let mut histogram = series(vec![label("__name__", "h")]);
        histogram.samples.clear();
        histogram.histograms = vec![Anything {}; 2];
        let request = WriteRequest {
            timeseries: vec![
                series(vec![label("__name__", "up"), label("job", "a"), label("empty", "")]),
                series(vec![label("__name__", "up"), label("job", "a"), label("job", "b")]),
                series(vec![label("__name__", "up"), label("", "b")]),
                histogram,
            ],
            metadata: vec![MetricMetadata {
                kind: 1,
                family: "x".into(),
                help: "h".into(),
                unit: "s".into(),
            }],
        };
        let incoming = read(&packed(&request), 1 << 20).unwrap();
        assert_eq!(incoming.batch.len(), 1);
        assert_eq!(incoming.batch[0].0.to_string(), r#"{__name__="up", job="a"}"#);
        assert_eq!(incoming.batch[0].1, [Sample { at: 7, value: 1.5 }]);
        assert_eq!(incoming.rejected.count, 4);
        let message = incoming.rejected.message().unwrap();
        assert!(message.contains("job twice") && message.contains("native histograms"), "{message}");
        assert_eq!(incoming.metadata[0].1.kind, MetricKind::Counter);
    }

    #[test]
    fn what_is_no_such_message_is_malformed_and_a_bomb_is_too_large() {
        for bytes in [&b""[..], b"x", b"\xff\xff\xff\xff\xff\xff", &[0; 100]] {
            assert!(matches!(read(bytes, 1000), Err(Unreadable::Malformed(_)) | Ok(_)), "{bytes:?}");
        }
        assert!(matches!(
            read(b"not snappy at all", 1000),
            Err(Unreadable::TooLarge(_) | Unreadable::Malformed(_))
        ));
        let bomb = snap::raw::Encoder::new().compress_vec(&vec![0; 10_000_000]).unwrap();
        assert!(bomb.len() < 1_000_000);
        assert_eq!(read(&bomb, 1 << 20).unwrap_err(), Unreadable::TooLarge(1 << 20));
        let text = snap::raw::Encoder::new().compress_vec(b"\x0a\xff").unwrap();
        assert!(matches!(read(&text, 1000), Err(Unreadable::Malformed(_))));
    }
}

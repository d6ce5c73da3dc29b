//! Data points as samples.

use std::collections::HashMap;

use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, DataPointFlags, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    SummaryDataPoint, metric::Data, number_data_point::Value,
};

use super::{
    attributes::{Target, add},
    names::{self, Shape},
};
use crate::{Labels, LabelsBuilder, METRIC_NAME, Metadata, MetricKind, STALE, Sample, ingest::Incoming};

const DELTA: &str = "delta temporality: set the sender to cumulative \
                     (OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=cumulative)";
const UNSPECIFIED: &str = "a sum or histogram without temporality";
const EXPONENTIAL: &str = "exponential histograms are not kept: set the sender to explicit buckets \
                           (OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION=explicit_bucket_histogram)";

/// Series of a request, by their labels: a sender may bring a series in several pieces.
#[derive(Default)]
struct Gathered {
    places: HashMap<Labels, usize>,
    series: Vec<(Labels, Vec<Sample>)>,
    newest: Option<i64>,
}

impl Gathered {
    fn push(&mut self, labels: Labels, at: i64, value: f64) {
        self.newest = self.newest.max(Some(at));
        let sample = Sample { at, value };
        match self.places.get(&labels) {
            Some(place) => self.series[*place].1.push(sample),
            None => {
                self.places.insert(labels.clone(), self.series.len());
                self.series.push((labels, vec![sample]));
            }
        }
    }
}

/// Reads what a resource sends.
pub(super) fn read(of_resource: ResourceMetrics, incoming: &mut Incoming) {
    let attributes = of_resource.resource.map(|resource| resource.attributes).unwrap_or_default();
    let target = Target::of(&attributes);
    let mut gathered = Gathered::default();
    for metric in of_resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
        read_metric(metric, &target.own, &mut gathered, incoming);
    }
    if let (Some(info), Some(newest)) = (target.info, gathered.newest) {
        gathered.push(info, newest, 1.0);
    }
    incoming.batch.append(&mut gathered.series);
}

fn read_metric(metric: Metric, own: &LabelsBuilder, into: &mut Gathered, incoming: &mut Incoming) {
    let Metric { name, description, unit, data, .. } = metric;
    if name.is_empty() {
        return incoming.rejected.add(1, "a metric without a name");
    }
    let rejected = &mut incoming.rejected;
    let (kind, name) = match data {
        None => return rejected.add(1, format!("the metric {name} without data")),
        Some(Data::Gauge(gauge)) => {
            let name = names::metric(&name, &unit, Shape::Gauge);
            incoming.exemplars += exemplars(&gauge.data_points);
            numbers(&name, &gauge.data_points, own, into, rejected);
            (MetricKind::Gauge, name)
        }
        Some(Data::Sum(sum)) => {
            // What goes up and down has no temporality that matters only when it is cumulative.
            if let Some(reason) = wrong_temporality(sum.aggregation_temporality) {
                return rejected.add(sum.data_points.len(), reason);
            }
            let (kind, shape) = match sum.is_monotonic {
                true => (MetricKind::Counter, Shape::Counter),
                false => (MetricKind::Gauge, Shape::Other),
            };
            let name = names::metric(&name, &unit, shape);
            incoming.exemplars += exemplars(&sum.data_points);
            numbers(&name, &sum.data_points, own, into, rejected);
            (kind, name)
        }
        Some(Data::Histogram(histogram)) => {
            if let Some(reason) = wrong_temporality(histogram.aggregation_temporality) {
                return rejected.add(histogram.data_points.len(), reason);
            }
            let name = names::metric(&name, &unit, Shape::Other);
            for point in &histogram.data_points {
                incoming.exemplars += point.exemplars.len() as u64;
                if let Err(reason) = buckets(&name, point, own, into) {
                    rejected.add(1, reason);
                }
            }
            (MetricKind::Histogram, name)
        }
        Some(Data::ExponentialHistogram(histogram)) => {
            return rejected.add(histogram.data_points.len(), EXPONENTIAL);
        }
        Some(Data::Summary(summary)) => {
            let name = names::metric(&name, &unit, Shape::Other);
            summary.data_points.iter().for_each(|point| quantiles(&name, point, own, into));
            (MetricKind::Summary, name)
        }
    };
    incoming.metadata.push((name, Metadata { kind, help: description, unit: names::unit(&unit) }));
}

fn wrong_temporality(number: i32) -> Option<&'static str> {
    match AggregationTemporality::try_from(number) {
        Ok(AggregationTemporality::Cumulative) => None,
        Ok(AggregationTemporality::Delta) => Some(DELTA),
        _ => Some(UNSPECIFIED),
    }
}

fn exemplars(points: &[NumberDataPoint]) -> u64 {
    points.iter().map(|point| point.exemplars.len() as u64).sum()
}

fn numbers(
    name: &str,
    points: &[NumberDataPoint],
    own: &LabelsBuilder,
    into: &mut Gathered,
    rejected: &mut crate::ingest::Rejected,
) {
    for point in points {
        let value = match (is_stale(point.flags), &point.value) {
            (true, _) => STALE,
            (false, Some(Value::AsDouble(value))) => *value,
            (false, Some(Value::AsInt(value))) => *value as f64,
            (false, None) => {
                rejected.add(1, format!("a point of {name} without a value"));
                continue;
            }
        };
        into.push(named(&add(own, &point.attributes), name), millis(point.time_unix_nano), value);
    }
}

fn buckets(
    name: &str,
    point: &HistogramDataPoint,
    own: &LabelsBuilder,
    into: &mut Gathered,
) -> Result<(), String> {
    let (counts, bounds) = (&point.bucket_counts, &point.explicit_bounds);
    if !counts.is_empty() && counts.len() != bounds.len() + 1 {
        return Err(format!("a point of {name} with {} buckets for {} bounds", counts.len(), bounds.len()));
    }
    let at = millis(point.time_unix_nano);
    let stale = is_stale(point.flags);
    let value = |value: f64| if stale { STALE } else { value };
    let labels = add(own, &point.attributes);
    if let Some(sum) = point.sum {
        into.push(named(&labels, &format!("{name}_sum")), at, value(sum));
    }
    into.push(named(&labels, &format!("{name}_count")), at, value(point.count as f64));
    let bucket = format!("{name}_bucket");
    let mut below: u64 = 0;
    for (count, bound) in counts.iter().zip(bounds) {
        below = below.saturating_add(*count);
        into.push(with(&labels, &bucket, "le", &number(*bound)), at, value(below as f64));
    }
    into.push(with(&labels, &bucket, "le", "+Inf"), at, value(point.count as f64));
    Ok(())
}

fn quantiles(name: &str, point: &SummaryDataPoint, own: &LabelsBuilder, into: &mut Gathered) {
    let at = millis(point.time_unix_nano);
    let stale = is_stale(point.flags);
    let value = |value: f64| if stale { STALE } else { value };
    let labels = add(own, &point.attributes);
    into.push(named(&labels, &format!("{name}_sum")), at, value(point.sum));
    into.push(named(&labels, &format!("{name}_count")), at, value(point.count as f64));
    for quantile in &point.quantile_values {
        let text = number(quantile.quantile);
        into.push(with(&labels, name, "quantile", &text), at, value(quantile.value));
    }
}

fn named(labels: &LabelsBuilder, name: &str) -> Labels {
    let mut labels = labels.clone();
    labels.set(METRIC_NAME, name);
    labels.build()
}

fn with(labels: &LabelsBuilder, metric: &str, name: &'static str, value: &str) -> Labels {
    let mut labels = labels.clone();
    labels.set(METRIC_NAME, metric);
    labels.set(name, value);
    labels.build()
}

/// As Go writes a float without an exponent.
fn number(value: f64) -> String {
    if value == f64::INFINITY { "+Inf".to_owned() } else { value.to_string() }
}

fn millis(nanos: u64) -> i64 {
    i64::try_from(nanos / 1_000_000).unwrap_or(i64::MAX)
}

fn is_stale(flags: u32) -> bool {
    flags & DataPointFlags::NoRecordedValueMask as u32 != 0
}

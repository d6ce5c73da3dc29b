//! Metrics and logs, kept and queried.
//!
//! [`reader`] is the seam: whoever answers queries reads series through [`Querier`], whoever keeps them implements it.
//!
//! What is deliberately not here: HTTP, users and roles (the hub has them), and what a metric means for a rollout.

pub mod ingest;
mod labels;
pub mod logs;
mod matcher;
pub mod memory;
mod pattern;
pub mod prometheus;
pub mod promql;
pub mod reader;
mod sample;
#[cfg(test)]
mod steps;
pub mod store;

pub use crate::{
    labels::{Labels, LabelsBuilder, METRIC_NAME},
    matcher::{MatchOp, Matcher, PatternError},
    pattern::Pattern,
    reader::{Budget, Limits, Metadata, MetricKind, Querier, ReadError, Selection, Series, Window},
    sample::{STALE, STALE_BITS, Sample, is_stale},
};

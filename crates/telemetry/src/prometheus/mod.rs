//! Prometheus' HTTP API without the HTTP: parameters in, status and JSON out.
//!
//! Whoever speaks to a Prometheus (Grafana, `promtool`, client libraries) can read metrics from here.

mod answer;
pub mod json;
mod params;
mod queries;
mod series;
mod status;

use std::time::Duration;

pub use self::{
    answer::{Answered, ApiError, ErrorKind},
    params::Params,
};
use crate::{Limits, Querier, promql::Options};

/// What the API is asked for; each is a path below `/api/v1/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// `query`: at one time.
    Query,
    /// `query_range`: at each step.
    QueryRange,
    /// `format_query`: the query, well formed.
    FormatQuery,
    /// `query_exemplars`.
    Exemplars,
    /// `series`.
    Series,
    /// `labels`: the names of labels.
    Labels,
    /// `label/<name>/values`.
    LabelValues(String),
    /// `metadata`: what is known of metrics.
    Metadata,
    /// `rules`.
    Rules,
    /// `alerts`.
    Alerts,
    /// `status/buildinfo`.
    BuildInfo,
}

/// What answers.
#[derive(Clone, Copy)]
pub struct Api<'a> {
    /// Where series are read.
    pub querier: &'a dyn Querier,
    /// What holds for all queries.
    pub options: Options,
    /// What one query may take. A `timeout` in the request may shorten its time.
    pub limits: Limits,
    /// The time now, in milliseconds since 1970.
    pub now: i64,
    /// The hub's version.
    pub version: &'a str,
}

impl std::fmt::Debug for Api<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api")
            .field("options", &self.options)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Api<'_> {
    /// Answers one request. It may take as long as the limits allow: call it on a thread that may wait. `cancelled` is
    /// handed the flag that ends the query early.
    pub fn answer(
        &self,
        endpoint: &Endpoint,
        params: &Params,
        cancelled: impl FnOnce(std::sync::Arc<std::sync::atomic::AtomicBool>),
    ) -> Answered {
        let answered = self.budget(params).and_then(|budget| {
            cancelled(budget.cancel_flag());
            match endpoint {
                Endpoint::Query => self.query(params, &budget),
                Endpoint::QueryRange => self.query_range(params, &budget),
                Endpoint::FormatQuery => queries::format_query(params),
                Endpoint::Exemplars => self.exemplars(params, &budget),
                Endpoint::Series => self.series(params, &budget),
                Endpoint::Labels => self.labels(params, &budget),
                Endpoint::LabelValues(name) => self.label_values(name, params, &budget),
                Endpoint::Metadata => self.metadata(params, &budget),
                Endpoint::Rules => Ok(status::rules()),
                Endpoint::Alerts => Ok(status::alerts()),
                Endpoint::BuildInfo => Ok(status::build_info(self.version)),
            }
        });
        answered.unwrap_or_else(|error| error.answered())
    }

    fn budget(&self, params: &Params) -> Result<crate::Budget, ApiError> {
        let mut limits = self.limits;
        if let Some(ms) = params.duration("timeout")? {
            limits.time = limits.time.min(Duration::from_millis(u64::try_from(ms).unwrap_or(0)));
        }
        Ok(crate::Budget::new(limits))
    }
}

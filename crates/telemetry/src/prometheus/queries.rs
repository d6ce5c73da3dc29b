//! `query`, `query_range` and `format_query`.

use super::{Api, ApiError, ErrorKind, Params, answer::Answered, json};
use crate::{
    Budget,
    promql::{Answer, Expr, Options, Steps, Type, Value, evaluate, evaluate_range, parse},
};

/// A range query has at most this many steps.
const MOST_STEPS: i64 = 11_000;

/// An answer has at most this many points: each takes some 25 bytes of text, and no client draws as many.
const MOST_POINTS: usize = 5_000_000;

/// Says that a `limit` took something away.
pub(super) const TRUNCATED: &str = "results truncated due to limit";

impl Api<'_> {
    pub(super) fn query(&self, params: &Params, budget: &Budget) -> Result<Answered, ApiError> {
        let limit = params.limit()?;
        let at = params.time("time")?.unwrap_or(self.now);
        let options = self.options(params)?;
        let (text, expr) = read(params)?;
        let answer = evaluate(self.querier, budget, options, (text, &expr), at)?;
        answered(answer, limit, at)
    }

    pub(super) fn query_range(&self, params: &Params, budget: &Budget) -> Result<Answered, ApiError> {
        let limit = params.limit()?;
        let steps = steps(params)?;
        let options = self.options(params)?;
        let (text, expr) = read(params)?;
        if !matches!(expr.kind(), Type::Scalar | Type::Vector) {
            let kind = match expr.kind() {
                Type::Text => "string",
                _ => "range vector",
            };
            let what =
                format!("invalid expression type {kind:?} for range query, must be Scalar or instant Vector");
            return Err(ApiError::parameter("query", what));
        }
        let answer = evaluate_range(self.querier, budget, options, (text, &expr), steps)?;
        answered(answer, limit, steps.start)
    }

    fn options(&self, params: &Params) -> Result<Options, ApiError> {
        let lookback = params.duration("lookback_delta")?.filter(|lookback| *lookback > 0);
        Ok(Options { lookback: lookback.unwrap_or(self.options.lookback), ..self.options })
    }
}

pub(super) fn format_query(params: &Params) -> Result<Answered, ApiError> {
    let (_, expr) = read(params)?;
    Ok(Answered::data(&expr.pretty(), &[]))
}

pub(super) fn read(params: &Params) -> Result<(&str, Expr), ApiError> {
    let text = params.get("query").unwrap_or("");
    Ok((text, parse(text)?))
}

fn steps(params: &Params) -> Result<Steps, ApiError> {
    let time = |name| {
        let missing = || ApiError::parameter(name, "cannot parse \"\" to a valid timestamp");
        params.time(name)?.ok_or_else(missing)
    };
    let (start, end) = (time("start")?, time("end")?);
    if end < start {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let missing = || ApiError::parameter("step", "cannot parse \"\" to a valid duration");
    let interval = params.duration("step")?.ok_or_else(missing)?;
    if interval <= 0 {
        let what = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(ApiError::parameter("step", what));
    }
    if end.saturating_sub(start) / interval > MOST_STEPS {
        return Err(ApiError::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    Ok(Steps { start, end, interval })
}

fn answered(mut answer: Answer, limit: Option<usize>, at: i64) -> Result<Answered, ApiError> {
    let cut = match (&mut answer.value, limit) {
        (Value::Vector(series), Some(limit)) if series.len() > limit => {
            series.truncate(limit);
            true
        }
        (Value::Matrix(series), Some(limit)) if series.len() > limit => {
            series.truncate(limit);
            true
        }
        _ => false,
    };
    if cut {
        answer.warnings.push(TRUNCATED.to_owned());
    }
    if let Value::Matrix(series) = &answer.value {
        let points: usize = series.iter().map(|(_, samples)| samples.len()).sum();
        if points > MOST_POINTS {
            let what = format!(
                "the answer has {points} points, more than {MOST_POINTS}: aggregate, or take longer steps"
            );
            return Err(ApiError { kind: ErrorKind::Execution, what });
        }
    }
    Ok(Answered::success(&json::result(&answer.value, at), &answer.warnings, &answer.infos))
}

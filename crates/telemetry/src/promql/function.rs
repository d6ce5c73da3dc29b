//! The functions, and what they take.

use super::ast::Type::{self, Matrix, Scalar, Text, Vector};

/// A function.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// The types of its arguments; the last one stands for all that follow, when more are allowed.
    pub(super) takes: &'static [Type],
    /// How many of the last argument may be given.
    pub(super) last: Last,
    /// What it gives.
    pub returns: Type,
}

/// How often the last argument may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    Once,
    /// Not at all, or once.
    Optional,
    /// Not at all, or as often as wanted.
    Any,
}

const fn function(name: &'static str, takes: &'static [Type], last: Last, returns: Type) -> Function {
    Function { name, takes, last, returns }
}

const fn of_vector(name: &'static str) -> Function {
    function(name, &[Vector], Last::Once, Vector)
}

const fn of_range(name: &'static str) -> Function {
    function(name, &[Matrix], Last::Once, Vector)
}

const fn of_time(name: &'static str) -> Function {
    function(name, &[Vector], Last::Optional, Vector)
}

impl Function {
    /// The function of a name; names are lower case.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        FUNCTIONS.iter().find(|function| function.name == name)
    }
}

/// What Prometheus has and this has not: the error says so instead of calling it unknown.
pub(super) const UNSUPPORTED: &[&str] = &[
    "histogram_avg",
    "histogram_count",
    "histogram_quantiles",
    "histogram_stddev",
    "histogram_stdvar",
    "histogram_sum",
    "info",
    "integral",
    "limit_ratio",
    "start_timestamp",
];

static FUNCTIONS: &[Function] = &[
    of_vector("abs"),
    of_vector("absent"),
    of_range("absent_over_time"),
    of_vector("acos"),
    of_vector("acosh"),
    of_vector("asin"),
    of_vector("asinh"),
    of_vector("atan"),
    of_vector("atanh"),
    of_range("avg_over_time"),
    of_vector("ceil"),
    of_range("changes"),
    function("clamp", &[Vector, Scalar, Scalar], Last::Once, Vector),
    function("clamp_max", &[Vector, Scalar], Last::Once, Vector),
    function("clamp_min", &[Vector, Scalar], Last::Once, Vector),
    of_vector("cos"),
    of_vector("cosh"),
    of_range("count_over_time"),
    of_time("day_of_month"),
    of_time("day_of_week"),
    of_time("day_of_year"),
    of_time("days_in_month"),
    of_vector("deg"),
    of_range("delta"),
    of_range("deriv"),
    function("double_exponential_smoothing", &[Matrix, Scalar, Scalar], Last::Once, Vector),
    of_vector("exp"),
    of_range("first_over_time"),
    of_vector("floor"),
    function("histogram_fraction", &[Scalar, Scalar, Vector], Last::Once, Vector),
    function("histogram_quantile", &[Scalar, Vector], Last::Once, Vector),
    // Its name before Prometheus 3.
    function("holt_winters", &[Matrix, Scalar, Scalar], Last::Once, Vector),
    of_time("hour"),
    of_range("idelta"),
    of_range("increase"),
    of_range("irate"),
    function("label_join", &[Vector, Text, Text, Text], Last::Any, Vector),
    function("label_replace", &[Vector, Text, Text, Text, Text], Last::Once, Vector),
    of_range("last_over_time"),
    of_vector("ln"),
    of_vector("log10"),
    of_vector("log2"),
    of_range("mad_over_time"),
    of_range("max_over_time"),
    of_range("min_over_time"),
    of_time("minute"),
    of_time("month"),
    function("pi", &[], Last::Once, Scalar),
    function("predict_linear", &[Matrix, Scalar], Last::Once, Vector),
    of_range("present_over_time"),
    function("quantile_over_time", &[Scalar, Matrix], Last::Once, Vector),
    of_vector("rad"),
    of_range("rate"),
    of_range("resets"),
    function("round", &[Vector, Scalar], Last::Optional, Vector),
    function("scalar", &[Vector], Last::Once, Scalar),
    of_vector("sgn"),
    of_vector("sin"),
    of_vector("sinh"),
    of_vector("sort"),
    function("sort_by_label", &[Vector, Text], Last::Any, Vector),
    function("sort_by_label_desc", &[Vector, Text], Last::Any, Vector),
    of_vector("sort_desc"),
    of_vector("sqrt"),
    of_range("stddev_over_time"),
    of_range("stdvar_over_time"),
    of_range("sum_over_time"),
    of_vector("tan"),
    of_vector("tanh"),
    function("time", &[], Last::Once, Scalar),
    of_vector("timestamp"),
    of_range("ts_of_first_over_time"),
    of_range("ts_of_last_over_time"),
    of_range("ts_of_max_over_time"),
    of_range("ts_of_min_over_time"),
    function("vector", &[Scalar], Last::Once, Vector),
    of_time("year"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_function_is_both_there_and_missing() {
        assert!(UNSUPPORTED.iter().all(|name| Function::named(name).is_none()));
        assert!(FUNCTIONS.is_sorted_by_key(|function| function.name));
    }
}

//! What neither of the two answers.

use backstay_telemetry::promql::parse;
use serde_json::Value;

use crate::{
    both,
    compare::{Ask, ask_ours},
    data::START,
};

/// Queries that are no PromQL, or do not fit together: refused by both.
const REFUSED: &[&str] = &[
    "",
    " ",
    "# nothing",
    "(",
    ")",
    "(1",
    "1)",
    "{",
    "}",
    "[5m]",
    "a b",
    "1 +",
    "+",
    "* 1",
    "sum",
    "sum()",
    "sum(",
    "sum(a",
    "sum(a,)",
    "sum(a, b)",
    "sum(1)",
    "sum(a[5m])",
    "sum by (a(b)",
    "sum by a (b)",
    "sum by (a) by (b) (c)",
    "topk(a)",
    "topk(a, b)",
    "topk(1, 2)",
    "quantile(\"x\", a)",
    "count_values(1, a)",
    "rate(a)",
    "rate(a[5m], 1)",
    "rate()",
    "rate(1)",
    "rate(\"x\")",
    "nothing_like_it(a)",
    "time(1)",
    "round(a, 1, 2)",
    "label_replace(a, \"b\")",
    "label_join(a, \"b\")",
    "hour(1)",
    "exp(Inf)",
    "ln(0)",
    "vector(a)",
    "scalar(1)",
    "a[5m] + 1",
    "\"x\" + 1",
    "1 > 2",
    "a + bool b",
    "a and 1",
    "1 or 2",
    "a and on (x) group_left b",
    "a + on (x) group_left (x) b",
    "a + group_left b",
    "1 + on (x) 2",
    "a + on (x) 2",
    "-\"x\"",
    "-a[5m]",
    "a[5m:1m][5m]",
    "a[5m][5m:]",
    "(a)[5m]",
    "1[5m]",
    "a[0s]",
    "a[0]",
    "a[-5m]",
    "a[5]m",
    "a[5m:0s]",
    "a[5x]",
    "a[1m1h]",
    "a[]",
    "a[:]",
    "a[:5m]",
    "a[5m:5m:5m]",
    "a[400y]",
    "a offset",
    "a offset b",
    "a offset 1m offset 1m",
    "a offset 5m[5m]",
    "(a) offset 5m",
    "1 offset 5m",
    "sum(a) offset 5m",
    "a @",
    "a @ b",
    "a @ start",
    "a @ 1 @ 2",
    "a @ Inf",
    "a @ NaN",
    "a @ 1e300",
    "1 @ 5",
    "a @ 1 [5m]",
    "{}",
    "{a=\"\"}",
    "{a=~\".*\"}",
    "{a!=\"x\"}",
    "{a=~\"x*\"}",
    "a{b}",
    "a{b=}",
    "a{b=c}",
    "a{b=\"c\"",
    "a{b=\"c\" d=\"e\"}",
    "a{,}",
    "a{b==\"c\"}",
    "a{b=\"c\" or d=\"e\"}",
    "a{b=~\"(\"}",
    "a{b=~\"[\"}",
    "a{b=~\"\\\\1\"}",
    "a{b=~\"(?=x)\"}",
    "a{__name__=\"b\"}",
    "{\"a\", \"b\"}{",
    "a{b=\"c\"}{d=\"e\"}",
    "on",
    "bool",
    "ignoring",
    "group_left",
    "\"x",
    "'x",
    "`x",
    "\"\\q\"",
    "\"\\xzz\"",
    "\"\\ud800\"",
    "'\\\"'",
    "\"a\nb\"",
    "0x",
    "0xg",
    "1e",
    "1.2.3",
    "5mm",
    "1__0",
    "a !b",
    "a =~ b",
    "a = b",
    "a ! b",
    "ä",
    "a;b",
    "$a",
    "a & b",
];

#[test]
fn what_is_no_promql_is_refused_by_both() {
    let Some(both) = both() else { return };
    both.assert_same(REFUSED.iter().map(|query| (*query, Ask::At(0), false)));
}

#[test]
fn what_cannot_be_evaluated_fails_with_the_same_words() {
    let Some(both) = both() else { return };
    let queries = [
        "temperature + on () limit",
        "temperature * on (nothing) limit",
        "http_requests_total + on (job) http_requests_total",
        "http_requests_total / on (job) build_info",
        "http_requests_total + on (job) group_left http_requests_total",
        "http_requests_total * on (instance) group_right build_info",
        "sum(temperature) by (room) + on () group_left (room) temperature{room=\"attic\"}",
        "rate({__name__=~\"flat_total|not_a_counter\"}[5m])",
        "abs({__name__=~\"flat_total|not_a_counter\"})",
        "-{__name__=~\"flat_total|not_a_counter\"}",
        "{__name__=~\"flat_total|not_a_counter\"} + 1",
        "label_replace(temperature, \"room\", \"x\", \"room\", \".*\")",
        "label_join(temperature, \"room\", \"-\", \"nothing\")",
        "label_replace(temperature, \"\", \"x\", \"room\", \".*\")",
        "topk(NaN, temperature)",
        "topk(1e30, temperature)",
        "double_exponential_smoothing(temperature[5m], 0, 0.5)",
        "double_exponential_smoothing(temperature[5m], 0.5, 1.5)",
        "histogram_quantile(0.9, {__name__=~\"latency_bucket|crafted_bucket\"})",
        "temperature or on (nothing) (temperature, limit)",
        "moved + on () vector(1)",
        "vector(1) + on () moved",
    ];
    for ask in [Ask::At(3_600_000), Ask::Over(0, 3_600_000, 300_000)] {
        both.assert_same(queries.map(|query| (query, ask, false)));
    }
}

#[test]
fn wrong_parameters_are_refused_by_both() {
    let Some(both) = both() else { return };
    let (start, end) = (&*(START / 1000).to_string(), &*(START / 1000 + 60).to_string());
    let forms: &[&[(&str, &str)]] = &[
        &[("query", "1"), ("start", start), ("end", end)],
        &[("query", "1"), ("start", start), ("step", "1")],
        &[("query", "1"), ("end", end), ("step", "1")],
        &[("query", "1"), ("start", end), ("end", start), ("step", "1")],
        &[("query", "1"), ("start", start), ("end", end), ("step", "0")],
        &[("query", "1"), ("start", start), ("end", end), ("step", "-5")],
        &[("query", "1"), ("start", start), ("end", end), ("step", "x")],
        &[("query", "1"), ("start", "x"), ("end", end), ("step", "1")],
        &[("query", "1"), ("start", "0"), ("end", end), ("step", "1")],
        &[("query", "1"), ("start", start), ("end", end), ("step", "1"), ("timeout", "x")],
        &[("query", "1"), ("start", start), ("end", end), ("step", "1"), ("limit", "x")],
        &[("query", "\"x\""), ("start", start), ("end", end), ("step", "1")],
        &[("query", "a[5m]"), ("start", start), ("end", end), ("step", "1")],
        &[("start", start), ("end", end), ("step", "1")],
    ];
    for form in forms {
        let (status, ours) =
            ask_ours(&both.ours, &backstay_telemetry::prometheus::Endpoint::QueryRange, form);
        let theirs = both.theirs.ask("query_range", form);
        assert_eq!((status, &ours["errorType"]), (400, &theirs["errorType"]), "{form:?}: {ours} {theirs}");
        let message = |answer: &Value| answer["error"].as_str().unwrap_or_default().to_owned();
        // Grafana shows these.
        if !message(&theirs).contains("parse error") && !message(&theirs).contains("limit") {
            assert_eq!(message(&ours), message(&theirs), "{form:?}");
        }
    }
}

#[test]
fn what_is_not_supported_says_so() {
    for query in [
        "histogram_sum(a)",
        "histogram_count(a)",
        "histogram_avg(a)",
        "histogram_stddev(a)",
        "info(a)",
        "a[5m * 2]",
        "a[(5m)]",
        "a + fill (0) b",
    ] {
        let error = parse(query).unwrap_err().to_string();
        assert!(error.contains("not supported"), "{query}: {error}");
    }
}

#[test]
fn what_lies_too_deep_is_refused_before_it_is_read_to_its_end() {
    let deep = |n: usize| format!("{}1{}", "(".repeat(n), ")".repeat(n));
    assert!(parse(&deep(150)).is_ok());
    for query in [deep(5_000), "-".repeat(60_000), format!("{}1", "1+".repeat(5_000)), "a^".repeat(30_000)] {
        assert!(parse(&query).is_err());
    }
    let text = format!("sum({})", "a".repeat(70_000));
    assert!(parse(&text).unwrap_err().to_string().contains("longer"));
}

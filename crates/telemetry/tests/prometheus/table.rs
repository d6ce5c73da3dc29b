//! Each function, aggregation and operator, at one time and over ranges.

use crate::{both, compare::Ask, data::LENGTH};

/// Times and ranges at which each query is asked: on a sample, between samples, where series begin and end, before and
/// after all.
const ASKS: &[Ask] = &[
    Ask::At(3_600_000),
    Ask::At(3_607_123),
    Ask::At(1_800_000),
    Ask::At(600_000),
    Ask::At(LENGTH + 299_999),
    Ask::Over(-60_000, LENGTH + 400_000, 61_000),
    Ask::Over(1_500_000, 2_100_000, 15_000),
    Ask::Over(0, LENGTH, 1_234_567),
];

fn assert_same(queries: &[String]) {
    let Some(both) = both() else { return };
    both.assert_same(queries.iter().flat_map(|query| ASKS.iter().map(|ask| (&**query, *ask, false))));
}

fn owned(queries: &[&str]) -> Vec<String> {
    queries.iter().map(|query| (*query).to_owned()).collect()
}

const RANGES: &[&str] = &[
    "http_requests_total[5m]",
    "late_total[5m]",
    "late_total[1m]",
    "jittered_total[3m]",
    "flapping[4m]",
    "sparse[10m]",
    "exact[5m]",
    "single[5m]",
    "pair_total[5m]",
    "pair_total[31s]",
    "temperature[90s]",
    "mixed_nan[2m]",
    "cancelling[1m]",
    "special[1m]",
    "huge[1m]",
    "flat_total[15s]",
    "not_a_counter[7m] offset 3m",
    "http_requests_total{code=\"500\"}[5m] offset -4m",
    "temperature[5m:30s]",
    "sum by (job) (http_requests_total)[10m:]",
    "rate(jittered_total[2m])[10m:1m] offset 1m",
    "http_requests_total{code=\"200\"}[5m] @ 1700003600",
    "temperature[10m] @ start()",
    "temperature[10m:47s] @ end() offset 2m",
];

#[test]
fn functions_over_time() {
    let functions = [
        "rate",
        "increase",
        "delta",
        "irate",
        "idelta",
        "deriv",
        "avg_over_time",
        "sum_over_time",
        "count_over_time",
        "min_over_time",
        "max_over_time",
        "last_over_time",
        "present_over_time",
        "absent_over_time",
        "stddev_over_time",
        "stdvar_over_time",
        "mad_over_time",
        "ts_of_last_over_time",
        "ts_of_max_over_time",
        "ts_of_min_over_time",
        "changes",
        "resets",
    ];
    let one = functions.iter().flat_map(|f| RANGES.iter().map(move |range| format!("{f}({range})")));
    assert_same(&one.collect::<Vec<_>>());
}

#[test]
fn functions_over_time_with_numbers() {
    let mut queries = Vec::new();
    for range in RANGES {
        for q in ["0.9", "0", "1", "0.333", "-1", "2", "NaN", "scalar(flat_total) / 10"] {
            queries.push(format!("quantile_over_time({q}, {range})"));
        }
        for ahead in ["0", "3600", "-60", "time() - 1700000000"] {
            queries.push(format!("predict_linear({range}, {ahead})"));
        }
        queries.push(format!("double_exponential_smoothing({range}, 0.3, 0.6)"));
    }
    assert_same(&queries);
}

#[test]
fn functions_of_values() {
    let functions = [
        "abs",
        "ceil",
        "floor",
        "exp",
        "sqrt",
        "ln",
        "log2",
        "log10",
        "sin",
        "cos",
        "tan",
        "asin",
        "acos",
        "atan",
        "sinh",
        "cosh",
        "tanh",
        "asinh",
        "acosh",
        "atanh",
        "rad",
        "deg",
        "sgn",
        "timestamp",
        "absent",
        "-",
        "+",
        "round",
    ];
    // What has no number of seconds has no date; there Prometheus answers by what the processor makes of it.
    let dates =
        ["hour", "minute", "month", "year", "day_of_month", "day_of_week", "day_of_year", "days_in_month"];
    let inputs = [
        "special{n!~\"[16]\"}",
        "temperature",
        "moved",
        "flapping",
        "timestamp(temperature)",
        "nothing_at_all",
    ];
    let mut queries: Vec<_> =
        functions.iter().flat_map(|f| inputs.iter().map(move |input| format!("{f}({input})"))).collect();
    let times = ["special{n!~\"[0126]\"}", "timestamp(temperature)", "temperature * 1e7", "nothing_at_all"];
    queries.extend(dates.iter().flat_map(|f| times.iter().map(move |input| format!("{f}({input})"))));
    queries.extend(owned(&[
        "round(temperature, 0.1)",
        "round(temperature, 5)",
        "round(special, scalar(flat_total))",
        "clamp(temperature, 0, 20)",
        "clamp(temperature, 20, 0)",
        "clamp_min(special, 1)",
        "clamp_max(special, 1)",
        "clamp(temperature, NaN, 1)",
        "scalar(temperature)",
        "scalar(single)",
        "scalar(temperature{room=\"attic\"})",
        "vector(1)",
        "vector(time())",
        "time()",
        "pi()",
        "minute()",
        "hour()",
        "day_of_week()",
        "day_of_year()",
        "days_in_month()",
        "month(vector(951782400))",
        "day_of_month(vector(-86401))",
        "year(vector(253402300800))",
        "timestamp(sparse)",
        "timestamp(sparse offset 1m)",
        "timestamp(sparse @ 1700003600)",
        "timestamp(-sparse)",
        "timestamp(vector(1))",
        "timestamp((exact))",
        "absent(nothing{job=\"x\",instance=~\"y.*\",a=\"1\",a=\"2\"})",
        "absent(sum(nothing))",
        "absent(flapping)",
        "absent(flapping{job=\"api\"})",
        "absent_over_time(nothing{job=\"x\"}[5m])",
        "absent_over_time(flapping{job=\"api\"}[1m])",
        "absent_over_time(nothing{job=\"x\"}[5m:1m])",
    ]));
    assert_same(&queries);
}

#[test]
fn aggregations() {
    let inputs = [
        "http_requests_total",
        "rate(http_requests_total[5m])",
        "temperature",
        "special",
        "cancelling_vector",
        "huge",
        "flapping",
        "{__name__=~\"temperature|limit\"}",
        "nothing_at_all",
        "mixed_nan",
    ];
    let groupings =
        ["", "by (job)", "by (job, code)", "without (instance)", "by ()", "without ()", "by (nothing)"];
    let mut queries = Vec::new();
    for op in ["sum", "avg", "count", "min", "max", "group", "stddev", "stdvar"] {
        for input in inputs {
            queries.extend(groupings.iter().map(|grouping| format!("{op} {grouping} ({input})")));
        }
    }
    for q in ["0.5", "0", "1", "0.77", "-0.1", "1.1", "NaN", "scalar(flat_total) / 14"] {
        for input in inputs {
            queries.push(format!("quantile({q}, {input})"));
            queries.push(format!("quantile by (job) ({q}, {input})"));
        }
    }
    queries.extend(owned(&[
        "count_values(\"value\", temperature)",
        "count_values(\"value\", special)",
        "count_values(\"value\", http_requests_total > 900)",
        "count_values by (job) (\"value\", not_a_counter)",
        "count_values without (instance) (\"code\", http_requests_total % 3)",
        "count_values without (job, value) (\"value\", not_a_counter)",
        "limitk(100, http_requests_total)",
        "limitk(0, http_requests_total)",
        "count(limitk(2, http_requests_total))",
        "count by (job) (limitk by (job) (2, http_requests_total))",
        "sum(http_requests_total) by (job)",
        "sum without (__name__, code) (http_requests_total)",
        "sum by (__name__) ({__name__=~\"temperature|limit\"})",
        "count by (\"dotted.name\") (odd)",
    ]));
    assert_same(&queries);
}

#[test]
fn ranks() {
    let queries = owned(&[
        "topk(2, temperature)",
        "bottomk(2, temperature)",
        "topk(3, ranked)",
        "bottomk(4, ranked)",
        "topk by (half) (2, ranked)",
        "topk by (job) (1, http_requests_total)",
        "bottomk by (job, code) (1, rate(http_requests_total[5m]))",
        "topk(100, temperature)",
        "topk(0, temperature)",
        "topk(-1, temperature)",
        "topk(0.99, temperature)",
        "topk(scalar(flat_total) - 5, temperature)",
        "topk(1, mixed_nan)",
        "bottomk(1, mixed_nan)",
        "topk(4, special{n!~\"[346]\"})",
        "bottomk(4, special{n!~\"[346]\"})",
        "topk(9, special{n!~\"[34]\"})",
        "topk(1, flapping)",
    ]);
    assert_same(&queries);
    let Some(both) = both() else { return };
    let ordered = [
        "sort(temperature)",
        "sort_desc(temperature)",
        "sort(special{n!~\"[34]\"})",
        "sort_desc(special{n!~\"[34]\"})",
        "topk(3, temperature)",
        "bottomk(3, temperature)",
        "topk(8, special{n!~\"[34]\"})",
        "bottomk(8, special{n!~\"[34]\"})",
        "sort_by_label(numbered, \"pod\")",
        "sort_by_label_desc(numbered, \"pod\")",
        "sort_by_label(build_info, \"version\")",
        "sort_by_label(numbered, \"same\", \"pod\")",
        "sort_by_label(numbered, \"same\")",
        "sort_by_label_desc(numbered, \"same\")",
        "sort_by_label(temperature, \"nothing\")",
    ];
    both.assert_same(ordered.map(|query| (query, Ask::At(3_600_000), true)));
    both.assert_same(ordered.map(|query| (query, Ask::Over(0, LENGTH, 600_000), true)));
}

#[test]
fn operators() {
    let mut queries = Vec::new();
    let operands = ["temperature", "limit", "special", "2", "0", "NaN", "-Inf", "time()", "flapping"];
    for op in ["+", "-", "*", "/", "%", "^", "atan2", "==", "!=", "<", "<=", ">", ">="] {
        for a in operands {
            for b in operands {
                queries.push(format!("{a} {op} on (room) {b}"));
                queries.push(format!("{a} {op} {b}"));
                if op.starts_with(['=', '!', '<', '>']) {
                    queries.push(format!("{a} {op} bool {b}"));
                }
            }
        }
    }
    // What is no PromQL is compared in other tests.
    let has_matching_scalar = |query: &&String| {
        let scalars = ["2", "0", "NaN", "-Inf", "time()"];
        let scalar = |text: &str| scalars.contains(&text);
        let words: Vec<_> = query.split(' ').collect();
        let (first, last) = (words[0], words[words.len() - 1]);
        let compares = ["==", "!=", "<", "<=", ">", ">="].contains(&words[1]) && !query.contains(" bool ");
        !(query.contains(" on ") && (scalar(first) || scalar(last))
            || compares && scalar(first) && scalar(last))
    };
    let queries: Vec<_> = queries.iter().filter(has_matching_scalar).cloned().collect();
    let Some(both) = both() else { return };
    let asks = [Ask::At(3_600_000), Ask::Over(0, LENGTH, 613_000)];
    both.assert_same(queries.iter().flat_map(|query| asks.map(|ask| (&**query, ask, false))));
}

#[test]
fn joins_and_sets() {
    let queries = owned(&[
        "http_requests_total / ignoring (code) group_left sum without (code) (http_requests_total)",
        "sum without (code) (http_requests_total) / ignoring (code) group_right http_requests_total",
        "http_requests_total * on (instance) group_left (version) build_info",
        "build_info * on (instance) group_right (version) http_requests_total{job=\"api\"}",
        "http_requests_total{job=\"api\"} * on (instance, job) group_left (version) build_info",
        "http_requests_total * on (instance) group_left (nothing) build_info",
        "temperature > on (room) limit",
        "temperature > bool on (room) limit",
        "temperature - on (room) limit",
        "temperature > on (room) group_left (unit) limit",
        "limit < on (room) group_right (unit) temperature",
        "limit < bool on (room) group_right (unit) temperature",
        "temperature - ignoring (unit) limit",
        "sum by (job) (http_requests_total) / on () group_left sum(http_requests_total)",
        "moved + on () group_left vector(1)",
        "moved or flapping",
        "moved and flapping",
        "moved unless flapping",
        "flapping or on (job) flat_total",
        "flapping and on (job) flat_total",
        "flat_total unless on (job) flapping",
        "temperature and ignoring (unit) limit",
        "temperature and on (room) limit",
        "temperature or limit",
        "temperature or on (room) limit",
        "temperature unless on (room) limit",
        "temperature unless on () vector(1)",
        "temperature and on () (flapping > 3)",
        "nothing or vector(0)",
        "vector(0) or nothing",
        "sum(nothing) or vector(0)",
        "nothing and temperature",
        "temperature and nothing",
        "temperature unless nothing",
        "-temperature or temperature",
        "rate(http_requests_total[5m]) or http_requests_total",
        "http_requests_total == http_requests_total",
        "http_requests_total == on (job, instance, code) http_requests_total",
        "http_requests_total{code=\"200\"} > ignoring (code) http_requests_total{code=\"404\"}",
        "temperature == bool temperature",
        "1 + 2 * 3 ^ 2 ^ 0.5 - 4 / 8 % 3",
        "-1 ^ 2",
        "2 ^ -1",
        "-temperature ^ 2",
        "- - 3",
        "1 == bool 1",
        "2 > bool 1 < bool 3",
        "1 - 2 - 3",
        "2 ^ 3 ^ 2",
        "(temperature + 1) * 2 > 10 and temperature < 30 or limit",
        "label_replace(moved, \"x\", \"$1\", \"node\", \"(.*)e\") + on (x) group_left moved",
    ]);
    assert_same(&queries);
}

#[test]
fn labels_and_names() {
    assert_same(&owned(&[
        "label_replace(temperature, \"floor\", \"$1-x\", \"room\", \"(.).*\")",
        "label_replace(temperature, \"room\", \"\", \"room\", \"cellar\")",
        "label_replace(temperature, \"room\", \"same\", \"room\", \"cellar\")",
        "label_replace(temperature, \"floor\", \"${first}_$2\", \"room\", \"(?P<first>.)(.).*\")",
        "label_replace(temperature, \"floor\", \"$1x\", \"room\", \"(.).*\")",
        "label_replace(temperature, \"floor\", \"$$\", \"room\", \"kitchen\")",
        "label_replace(temperature, \"new\", \"value\", \"nothing\", \"\")",
        "label_replace(temperature, \"__name__\", \"warmth\", \"room\", \".*\")",
        "label_replace(odd, \"x\", \"$1\", \"value\", \"(?s)(.*)\")",
        "label_replace(odd, \"x\", \"$1\", \"value\", \"(\\\\w+)\")",
        "label_replace(odd, \"dotted.label\", \"x\", \"value\", \"utf8\")",
        "label_join(temperature, \"x\", \"-\", \"room\", \"nothing\", \"__name__\")",
        "label_join(temperature, \"room\", \"-\")",
        "label_join(build_info, \"x\", \"\", \"job\", \"version\")",
        "odd",
        "odd{value=\"a\\\"b\"}",
        "odd{value='back\\\\slash'}",
        "odd{value=`back\\slash`}",
        "odd{value=\"line\\nbreak\"}",
        "odd{value=~\"a.b\"}",
        "odd{value=~\"a\\\\.b\"}",
        "odd{value=~\".*\\n.*\"}",
        "odd{value=~\"\\\\W.*\"}",
        "odd{value=~\"[[:alpha:]]+\"}",
        "odd{value=~\"\\\\Q(x)\\\\E|1[+]1\"}",
        "odd{value=~\"ü.*\"}",
        "odd{value!~\"a.*|b.*\"}",
        "odd{value=~\"|utf8\"}",
        "odd{\"dotted.name\"=\"x\"}",
        "{\"dotted.metric\"}",
        "{\"dotted.metric\", value=\"x\"}",
        "{\"dotted.name\"!=\"\"}",
        "{__name__=\"temperature\", room!=\"attic\"}",
        "{__name__=~\"temp.*\", room=~\"kitchen|cellar\"}",
        "temperature{room=~\"\"}",
        "temperature{nothing=\"\"}",
        "temperature{room!=\"\", room!~\"k.*\"}",
        "temperature{room=~\"(?i)KITCHEN\"}",
        "{room=\"kitchen\"}",
        "rate({__name__=~\"http_requests_total|late_total\"}[5m])",
    ]));
}

#[test]
fn times() {
    assert_same(&owned(&[
        "sparse",
        "exact",
        "rare",
        "single",
        "flapping",
        "moved",
        "exact offset 15s",
        "exact offset -15s",
        "temperature offset 1h",
        "temperature offset 1w",
        "temperature @ 1700003600",
        "temperature @ 1700003600.123 offset 1m",
        "temperature offset 1m @ 1700003600",
        "temperature @ start()",
        "temperature @ end() offset 5m",
        "temperature @ -5",
        "temperature - temperature @ start()",
        "sum(temperature @ 1700003600)",
        "rate(http_requests_total[5m] @ end())",
        "predict_linear(temperature[10m] @ 1700003600, 60)",
        "time() - timestamp(temperature @ 1700003600)",
        "sum_over_time((temperature @ 1700003600)[5m:1m])",
        "max_over_time(rate(http_requests_total[1m])[10m:30s])",
        "max_over_time(rate(http_requests_total[1m])[10m:])",
        "sum_over_time(vector(1)[10m:1m])",
        "count_over_time(time()[10m:45s])",
        "avg_over_time(temperature[10m:1m] @ 1700003600)",
        "avg_over_time((temperature offset 5m)[10m:1m] offset 1m)",
        "min_over_time(avg_over_time(temperature[2m:20s])[10m:1m])",
        "quantile_over_time(0.5, flapping[20m:1m])",
        "absent_over_time(flapping[5m:10s])",
        "sum_over_time(absent(flapping)[10m:1m])",
        "last_over_time(flapping[15m])",
        "rate(late_total[100])",
        "rate(late_total[0x64])",
        "rate(late_total[1m30s])",
        "temperature offset 90",
        "5m + 1h",
        "1_000 * 0x1F + 017 + .5 + 1e3",
        "temperature # a comment\n + 1",
        "sum_over_time(temperature[5m:1m] offset -2m)",
        "deriv(temperature[5m:1m] @ start())",
    ]));
}

#[test]
fn histograms() {
    let mut queries = Vec::new();
    for q in ["0.5", "0.9", "0.99", "0", "1", "-1", "1.5", "NaN", "scalar(flat_total) / 10"] {
        for input in [
            "latency_bucket",
            "rate(latency_bucket[5m])",
            "sum by (le) (rate(latency_bucket[5m]))",
            "sum by (le, route) (latency_bucket)",
            "crafted_bucket",
            "temperature",
            "nothing",
        ] {
            queries.push(format!("histogram_quantile({q}, {input})"));
        }
    }
    for (low, high) in
        [("0", "1"), ("0.1", "0.3"), ("-Inf", "+Inf"), ("1", "0"), ("NaN", "1"), ("0.75", "100"), ("-3", "0")]
    {
        queries.push(format!("histogram_fraction({low}, {high}, latency_bucket)"));
        queries.push(format!("histogram_fraction({low}, {high}, rate(latency_bucket[5m]))"));
        queries.push(format!("histogram_fraction({low}, {high}, crafted_bucket)"));
    }
    assert_same(&queries);
}

#[test]
fn values_that_are_no_vectors() {
    let Some(both) = both() else { return };
    let queries = [
        "temperature[1m]",
        "flapping[15m]",
        "http_requests_total[5m] offset 1m",
        "temperature[5m:1m]",
        "temperature[1m] @ 1700003600",
        "nothing[5m]",
        "1 + 1",
        "time()",
        "\"a text\"",
        "'quoted \\u00e4 \\x41'",
        "NaN",
        "-Inf",
        "1e300 * 1e300",
        "1 / 3",
        "1e-7",
        "123456789012345678901234567890",
    ];
    both.assert_same(queries.map(|query| (query, Ask::At(3_600_000), false)));
    both.assert_same(queries.map(|query| (query, Ask::Over(0, 600_000, 60_000), false)));
}

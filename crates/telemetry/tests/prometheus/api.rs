//! The rest of the API, and what Grafana asks of it.

use backstay_telemetry::{
    Labels,
    memory::Memory,
    prometheus::Endpoint,
    reader::{Exemplar, Metadata, MetricKind},
};
use serde_json::{Value, json};

use crate::{
    Both, both,
    compare::{ask_ours, differs},
    data::{LENGTH, START},
};

fn same_data(both: &Both, endpoint: &Endpoint, path: &str, form: &[(&str, &str)]) {
    let (_, ours) = ask_ours(&both.ours, endpoint, form);
    let sorted = |mut answer: Value| {
        if let Some(list) = answer["data"].as_array_mut() {
            list.sort_by_key(ToString::to_string);
        }
        answer
    };
    let theirs = both.theirs.ask(path, form);
    if theirs["status"] == "error" {
        assert_eq!(ours["errorType"], theirs["errorType"], "{path} {form:?}: {ours} {theirs}");
    } else {
        assert_eq!(sorted(ours), sorted(theirs), "{path} {form:?}");
    }
}

#[test]
fn series_and_labels_are_listed_alike() {
    let Some(both) = both() else { return };
    let (start, end) = (format!("{}", START / 1000), format!("{}", (START + LENGTH) / 1000));
    let window = [("start", &*start), ("end", &*end)];
    let matched: &[&[(&str, &str)]] = &[
        &[("match[]", "temperature")],
        &[("match[]", "{room=\"kitchen\"}")],
        &[("match[]", "temperature"), ("match[]", "limit{room=~\".*o.*\"}"), ("match[]", "{room=\"attic\"}")],
        &[("match[]", "{\"dotted.metric\"}")],
        &[("match[]", "nothing")],
        &[("match[]", "{}")],
        &[("match[]", "a[5m]")],
        &[("match[]", "a{")],
        &[("match[]", "http_requests_total"), ("limit", "100")],
    ];
    for matched in matched {
        let form: Vec<_> = matched.iter().chain(&window).copied().collect();
        same_data(&both, &Endpoint::Series, "series", &form);
        same_data(&both, &Endpoint::Labels, "labels", &form);
    }
    same_data(&both, &Endpoint::Labels, "labels", &window);
    same_data(&both, &Endpoint::Labels, "labels", &[("start", "x")]);
    same_data(&both, &Endpoint::Series, "series", &window);
}

#[test]
fn label_values_are_listed_alike() {
    let Some(both) = both() else { return };
    for (name, query) in [
        ("__name__", ""),
        ("room", ""),
        ("value", ""),
        ("job", "match[]=http_requests_total"),
        ("room", "match[]=limit&match[]=temperature"),
        ("nothing", ""),
        ("U__dotted_2e_name", ""),
        ("code", "match[]=http_requests_total&limit=2"),
        ("__name__", "start=1&end=2"),
        ("__name__", "match[]={}"),
    ] {
        let url = format!(
            "{}/api/v1/label/{name}/values?{}",
            both.theirs.url(),
            query.replace("[]", "%5B%5D").replace("{}", "%7B%7D")
        );
        let theirs = backstay_testkit::http::get(&url).unwrap().json();
        let form: Vec<_> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let (_, ours) = ask_ours(&both.ours, &Endpoint::LabelValues(name.to_owned()), &form);
        if theirs["status"] == "error" {
            assert_eq!(ours["errorType"], theirs["errorType"], "{name} {query}: {ours} {theirs}");
        } else {
            assert_eq!(ours, theirs, "{name} {query}");
        }
    }
}

#[test]
fn queries_are_formatted_alike() {
    let Some(both) = both() else { return };
    for query in [
        "sum(rate(a{b=\"c\"}[5m]))by(d)",
        "sum   without(x,y)  (a)",
        "topk(3,a)",
        "a+on(b)group_left(c)d",
        "a + ignoring() d",
        "a==bool 1",
        "a and on(x) b or c unless d",
        "-a^2",
        "(((a)))",
        "a[90m:1m] @ start() offset 1d",
        "a[2w] offset -5m",
        "a @ 1.5",
        "1h30m + 5",
        "0x1F",
        "1e10",
        "Inf + NaN",
        "'single' ",
        "`raw\\n`",
        "{__name__=\"a\",b!~\"c\"}",
        "{\"dotted.name\",\"x.y\"=~\"z\"}",
        "a{b='\\''}",
        "count_values(\"x\", a)",
        "label_replace(a, \"b\", \"c\", \"d\", \"e\")",
        "avg by (\"dotted.label\") (a)",
        "sum(rate(some_rather_long_metric_name{label=\"value\"}[5m])) / sum(rate(another_rather_long_metric_name[5m]))",
        "histogram_quantile(0.99, sum by (le, route) (rate(http_request_duration_seconds_bucket{job=\"api\", code!~\"5..\"}[5m])))",
        "(sum(rate(some_rather_long_metric_name{label=\"value\"}[5m])) + sum(rate(another_rather_long_metric_name[5m])))",
        "-sum(rate(some_rather_long_metric_name{label=\"value\"}[5m]) + rate(another_rather_long_metric_name[5m]))",
        "topk(5, rate(some_rather_long_metric_name{label=\"value\", other=\"something\"}[5m]) > bool on (a) group_left b)",
        "a{",
    ] {
        let (_, ours) = ask_ours(&both.ours, &Endpoint::FormatQuery, &[("query", query)]);
        let theirs = both.theirs.ask("format_query", &[("query", query)]);
        assert_eq!((&ours["data"], &ours["errorType"]), (&theirs["data"], &theirs["errorType"]), "{query}");
    }
}

#[test]
fn limits_cut_answers_and_say_so() {
    let Some(both) = both() else { return };
    let at = ((START + 3_600_000) / 1000).to_string();
    let form = [("query", "sort(temperature)"), ("time", &*at), ("limit", "2")];
    let (_, ours) = ask_ours(&both.ours, &Endpoint::Query, &form);
    assert_eq!(differs(&ours, &both.theirs.ask("query", &form), true), None);
    assert_eq!(ours["data"]["result"].as_array().unwrap().len(), 2);
}

/// The requests of Grafana's Prometheus data source: the test of the connection, the query builder, a panel.
#[test]
fn grafana_is_answered() {
    let ours = Memory::new();
    let labels = Labels::from_pairs([("__name__", "up"), ("job", "node")]);
    ours.append(&labels, (0..10).map(|n| backstay_telemetry::Sample { at: START + n * 15_000, value: 1.0 }));
    ours.describe(
        "up",
        Metadata { kind: MetricKind::Gauge, help: "Whether it is up.".to_owned(), unit: String::new() },
    );
    let trace = Labels::from_pairs([("trace_id", "4bf92f35")]);
    ours.exemplify(&labels, Exemplar { labels: trace, value: 0.25, at: START + 1_500 });
    let ask = |endpoint: &Endpoint, form: &[(&str, &str)]| {
        let (status, body) = ask_ours(&ours, endpoint, form);
        assert_eq!((status, &body["status"]), (200, &json!("success")), "{body}");
        body["data"].clone()
    };
    let (start, end) = (&*(START / 1000).to_string(), &*(START / 1000 + 60).to_string());

    let health = ask(&Endpoint::Query, &[("query", "1+1"), ("time", "4")]);
    assert_eq!(health, json!({"resultType": "scalar", "result": [4, "2"]}));
    let info = ask(&Endpoint::BuildInfo, &[]);
    assert_eq!(info["features"], json!({}));
    assert!(info["version"].as_str().unwrap().starts_with("3."));

    let panel = [("query", "up{job=\"node\"}"), ("start", start), ("end", end), ("step", "30")];
    let panel = ask(&Endpoint::QueryRange, &panel);
    let at = START / 1000;
    let values = json!([[at, "1"], [at + 30, "1"], [at + 60, "1"]]);
    let metric = json!({"__name__": "up", "job": "node"});
    assert_eq!(panel, json!({"resultType": "matrix", "result": [{"metric": metric, "values": values}]}));

    let window = [("start", start), ("end", end)];
    assert_eq!(ask(&Endpoint::LabelValues("__name__".to_owned()), &window), json!(["up"]));
    assert_eq!(ask(&Endpoint::Labels, &window), json!(["__name__", "job"]));
    let series = [("start", start), ("end", end), ("match[]", "up")];
    assert_eq!(ask(&Endpoint::Series, &series), json!([metric]));
    let known = json!({"up": [{"type": "gauge", "help": "Whether it is up.", "unit": ""}]});
    assert_eq!(ask(&Endpoint::Metadata, &[]), known);
    assert_eq!(ask(&Endpoint::Metadata, &[("metric", "down")]), json!({}));
    let exemplar = json!({"labels": {"trace_id": "4bf92f35"}, "value": "0.25", "timestamp": START as f64 / 1000.0 + 1.5});
    let form = [("query", "rate(up[5m])"), ("start", start), ("end", end)];
    assert_eq!(ask(&Endpoint::Exemplars, &form), json!([{"seriesLabels": metric, "exemplars": [exemplar]}]));
    assert_eq!(ask(&Endpoint::Rules, &[]), json!({"groups": []}));
    assert_eq!(ask(&Endpoint::Alerts, &[]), json!({"alerts": []}));
}

#[test]
fn rules_alerts_and_metadata_have_the_same_shape_when_there_are_none() {
    let Some(both) = both() else { return };
    for (endpoint, path) in
        [(Endpoint::Rules, "rules"), (Endpoint::Alerts, "alerts"), (Endpoint::Metadata, "metadata")]
    {
        let (_, ours) = ask_ours(&both.ours, &endpoint, &[]);
        let theirs = both.theirs.ask(path, &[]);
        assert_eq!(ours["data"], theirs["data"], "{path}");
    }
}

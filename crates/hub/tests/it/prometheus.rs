//! The hub as a Prometheus: who may ask, and what Grafana asks.

use backstay_api::Role;
use serde_json::{Value, json};

use crate::harness::{TestHub, http};

/// What a client asks, and whether that is by a form.
const PATHS: &[(&str, bool)] = &[
    ("query?query=1", false),
    ("query", true),
    ("query_range", true),
    ("query_exemplars", true),
    ("format_query", true),
    ("series", true),
    ("labels", true),
    ("label/job/values", false),
    ("metadata", false),
    ("rules", false),
    ("alerts", false),
    ("status/buildinfo", false),
    ("nothing", false),
];

#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_read_is_answered() {
    let hub = TestHub::start().await;
    let agent = hub.join("web-1").await.joined.credential;
    let (viewer, operator) = (hub.token(Role::Viewer).await, hub.token(Role::Operator).await);
    let browser = hub.user("reader", Role::Viewer).await;
    let cookie = format!("{}={}", backstay_api::SESSION_COOKIE, browser.cookie.expose());
    for (path, by_form) in PATHS {
        let url = format!("{}/prometheus/api/v1/{path}", hub.hub.url());
        let request = || match by_form {
            true => form(http().post(&url), &[("query", "1")]),
            false => http().get(&url),
        };
        let status = async |request: reqwest::RequestBuilder| request.send().await.unwrap().status().as_u16();
        assert_eq!(status(request()).await, 401, "{path} by nobody");
        assert_eq!(status(request().bearer_auth("nonsense")).await, 401, "{path} with nonsense");
        assert_eq!(
            status(request().basic_auth("grafana", Some("nonsense"))).await,
            401,
            "{path} with nonsense"
        );
        assert_eq!(status(request().bearer_auth(agent.expose())).await, 403, "{path} by an agent");
        for asked in [
            request().bearer_auth(viewer.expose()),
            request().bearer_auth(operator.expose()),
            request().basic_auth("grafana", Some(viewer.expose())),
            request().header("cookie", &cookie).header("origin", hub.hub.url()),
        ] {
            let status = status(asked).await;
            let expected = if *path == "nothing" { &[404][..] } else { &[200, 400] };
            assert!(expected.contains(&status), "{path}: {status}");
        }
        let elsewhere = request().header("cookie", &cookie).header("origin", "https://elsewhere.example");
        assert_eq!(status(elsewhere).await, 403, "{path} from another site");
    }
    let deleted = http().delete(format!("{}/prometheus/api/v1/series", hub.hub.url()));
    assert_eq!(deleted.bearer_auth(viewer.expose()).send().await.unwrap().status().as_u16(), 405);
    hub.hub.stop().await;
}

fn form(request: reqwest::RequestBuilder, form: &[(&str, &str)]) -> reqwest::RequestBuilder {
    let body = serde_urlencoded::to_string(form).unwrap();
    request.header("content-type", "application/x-www-form-urlencoded").body(body)
}

/// A form, as Grafana's data source sends them.
async fn ask(hub: &TestHub, path: &str, form: &[(&str, &str)]) -> (u16, Value) {
    let url = format!("{}/prometheus/api/v1/{path}", hub.hub.url());
    let token = hub.hub.admin_token().expose().to_owned();
    let request = http().post(url).basic_auth("grafana", Some(token));
    let response = self::form(request, form).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_is_answered_as_grafana_asks() {
    let hub = TestHub::start().await;
    let now = hub.world().now().as_millisecond();
    let point =
        |at: i64, value: f64| json!({"timeUnixNano": (at * 1_000_000).to_string(), "asDouble": value});
    let points: Vec<_> = (0_i32..=4).map(|n| point(now - i64::from(4 - n) * 15_000, f64::from(n))).collect();
    let metrics = json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [
        {"name": "room_temperature", "gauge": {"dataPoints": points}}
    ]}]}]});
    let sent = http()
        .post(format!("{}/otlp/v1/metrics", hub.hub.url()))
        .bearer_auth(hub.token(Role::Operator).await.expose())
        .json(&metrics);
    assert_eq!(sent.send().await.unwrap().status().as_u16(), 200);

    let (status, health) = ask(&hub, "query", &[("query", "1+1"), ("time", "4")]).await;
    assert_eq!((status, &health["data"]["result"]), (200, &json!([4, "2"])));
    let at = |ms: i64| format!("{}.{:03}", ms / 1000, ms % 1000);
    let (start, end) = (at(now - 60_000), at(now));
    let panel = [("query", "room_temperature"), ("start", &*start), ("end", &*end), ("step", "30")];
    let (status, panel) = ask(&hub, "query_range", &panel).await;
    let values = &panel["data"]["result"][0]["values"];
    let values: Vec<_> = values.as_array().unwrap().iter().map(|point| point[1].as_str().unwrap()).collect();
    assert_eq!((status, values), (200, vec!["0", "2", "4"]), "{panel}");
    // Without a time it is now.
    let (_, instant) = ask(&hub, "query", &[("query", "sum(room_temperature)")]).await;
    assert_eq!(instant["data"]["result"][0]["value"][1], "4", "{instant}");
    let (_, series) = ask(&hub, "series", &[("match[]", "{__name__=~\"room.*\"}")]).await;
    assert_eq!(series["data"][0]["__name__"], "room_temperature", "{series}");

    let (status, wrong) = ask(&hub, "query", &[("query", "sum(")]).await;
    assert_eq!((status, &wrong["errorType"]), (400, &json!("bad_data")));
    assert!(
        wrong["error"].as_str().unwrap().starts_with("invalid parameter \"query\": 1:5: parse error: "),
        "{wrong}"
    );
    let (status, wrong) = ask(&hub, "query", &[("query", "topk(NaN, room_temperature)")]).await;
    assert_eq!((status, &wrong["errorType"]), (422, &json!("execution")), "{wrong}");
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_takes_too_much_ends_with_an_error_that_says_so() {
    let hub = TestHub::with(|settings| settings.telemetry.query_max_samples = 1_000).await;
    let (start, end) = ("0", "10000");
    let form = [("query", "vector(1)"), ("start", start), ("end", end), ("step", "1")];
    let (status, wrong) = ask(&hub, "query_range", &form).await;
    assert_eq!((status, &wrong["errorType"]), (422, &json!("execution")));
    assert!(wrong["error"].as_str().unwrap().contains("more than 1000 samples"), "{wrong}");
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_without_metrics_says_so() {
    let hub = TestHub::with(|settings| settings.telemetry.enabled = false).await;
    let url = format!("{}/prometheus/api/v1/query?query=1", hub.hub.url());
    let token = hub.hub.admin_token().expose().to_owned();
    let response = http().get(url).bearer_auth(token).send().await.unwrap();
    assert_eq!(response.status().as_u16(), 503);
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["code"], "BS0032");
    hub.hub.stop().await;
}

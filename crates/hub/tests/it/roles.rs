//! Every declared endpoint, asked by everyone: made from the declarations, so that none can be forgotten.

use backstay_api::{Declaration, Method, Role, declarations, v1::TokenKind};
use backstay_types::Secret;

use crate::harness::{TestHub, http};

/// Who asks.
struct Asker {
    name: &'static str,
    credential: Option<Secret>,
    /// What it may do.
    may: fn(Role) -> bool,
}

async fn askers(hub: &TestHub) -> Vec<Asker> {
    let public = |role| role == Role::Public;
    let webhook = hub.create_token(TokenKind::Webhook { source: "github".into() }).await.secret;
    let agent = hub.join("web-1").await.joined.credential;
    let unknown = agent.expose().replace("bsa.", "bst.");
    vec![
        Asker { name: "nobody", credential: None, may: public },
        Asker { name: "an unknown token", credential: Some(Secret::new(unknown)), may: public },
        Asker { name: "nonsense", credential: Some(Secret::new("x")), may: public },
        Asker { name: "a webhook's secret", credential: Some(webhook), may: public },
        Asker { name: "a join token", credential: Some(hub.join_token().await), may: public },
        Asker {
            name: "an agent",
            credential: Some(agent),
            may: |role| matches!(role, Role::Public | Role::Agent),
        },
        Asker {
            name: "a viewer",
            credential: Some(hub.token(Role::Viewer).await),
            may: |role| matches!(role, Role::Public | Role::Viewer),
        },
        Asker {
            name: "an operator",
            credential: Some(hub.token(Role::Operator).await),
            may: |role| matches!(role, Role::Public | Role::Viewer | Role::Operator),
        },
        Asker {
            name: "an admin",
            credential: Some(hub.token(Role::Admin).await),
            may: |role| matches!(role, Role::Public | Role::Viewer | Role::Operator | Role::Admin),
        },
    ]
}

/// A path of the endpoint that fits its types, without meaning anything.
fn some_path(declaration: &Declaration) -> String {
    let id = "00000000-0000-7000-8000-000000000000";
    let segments = declaration.path.split('/').map(|part| match part {
        "{stack}" | "{node}" | "{repository}" | "{pack}" => "unknown",
        "{source}" => "github",
        parameter if parameter.starts_with('{') => id,
        literal => literal,
    });
    segments.collect::<Vec<_>>().join("/")
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_further_than_the_declaration_says() {
    let hub = TestHub::start().await;
    let http = http();
    for asker in askers(&hub).await {
        for declaration in declarations() {
            let url = format!("{}{}", hub.hub.url(), some_path(&declaration));
            let request = match declaration.method {
                Method::Get => http.get(url),
                // A body that nothing can parse: who is let in gets 400, who is not never gets that far.
                Method::Post => http.post(url).header("content-type", "application/json").body("{"),
                Method::Delete => http.delete(url),
            };
            let request = match &asker.credential {
                Some(credential) => request.bearer_auth(credential.expose()),
                None => request,
            };
            let response = request.send().await.unwrap();
            let status = response.status().as_u16();
            let denied = matches!(status, 401 | 403);
            let expected = declaration.role == Role::Webhook || !(asker.may)(declaration.role);
            assert_eq!(denied, expected, "{} as {}: {status}", declaration.name, asker.name);
            assert_ne!(status / 100, 5, "{} as {}: {status}", declaration.name, asker.name);
            assert!(response.headers().contains_key("x-request-id"));
            if status >= 400 && declaration.name != "Readyz" {
                let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
                assert_eq!(kind, "application/problem+json", "{} as {}", declaration.name, asker.name);
            }
        }
    }
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_declared_is_not_there() {
    let hub = TestHub::start().await;
    let http = http();
    let admin = hub.hub.admin_token().expose().to_owned();
    for path in [
        "/",
        "/api",
        "/api/v1",
        "/api/v1/nodes/",
        "/api/v1/nodes/a/b",
        "/agent/v1/trees",
        "/..%2fhub",
        "/hooks",
    ] {
        let response = http.get(format!("{}{path}", hub.hub.url())).bearer_auth(&admin).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 404, "{path}");
        let problem: serde_json::Value = response.json().await.unwrap();
        assert_eq!(problem["code"], "BS4004", "{path}");
    }
    for method in
        [reqwest::Method::PUT, reqwest::Method::PATCH, reqwest::Method::DELETE, reqwest::Method::OPTIONS]
    {
        let url = format!("{}/api/v1/nodes", hub.hub.url());
        let response = http.request(method.clone(), url).bearer_auth(&admin).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 405, "{method}");
        assert_eq!(response.headers()["allow"], "GET,HEAD", "{method}");
        let problem: serde_json::Value = response.json().await.unwrap();
        assert_eq!(problem["code"], "BS4012");
    }
    hub.hub.stop().await;
}

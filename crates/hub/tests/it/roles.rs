//! Every declared endpoint, asked by everyone: made from the declarations, so that none can be forgotten.

use backstay_api::{Declaration, Method, Role, SESSION_COOKIE, declarations, v1::TokenKind};
use backstay_types::Secret;

use crate::harness::{Browser, TestHub, http};

/// Whether an asker may call endpoints of a role.
type May = fn(Role) -> bool;

/// Who asks.
struct Asker {
    name: &'static str,
    credential: Credential,
    /// What it may do.
    may: May,
}

/// What it shows.
enum Credential {
    Nothing,
    Bearer(Secret),
    /// The cookie of a session, from the hub's own page.
    Cookie(Secret),
}

impl Credential {
    fn show(&self, request: reqwest::RequestBuilder, hub: &str) -> reqwest::RequestBuilder {
        match self {
            Self::Nothing => request,
            Self::Bearer(text) => request.bearer_auth(text.expose()),
            Self::Cookie(text) => {
                request.header("cookie", format!("{SESSION_COOKIE}={}", text.expose())).header("origin", hub)
            }
        }
    }
}

/// Askers who are signed in. Their cookies let them do what a token of their role does.
async fn signed_in(hub: &TestHub) -> Vec<Asker> {
    let mut askers = Vec::new();
    let roles: [(_, _, May); 3] = [
        ("a viewer who is signed in", Role::Viewer, viewer),
        ("an operator who is signed in", Role::Operator, operator),
        ("an admin who is signed in", Role::Admin, admin),
    ];
    for (name, role, may) in roles {
        let browser = hub.user(&format!("{role:?}").to_lowercase(), role).await;
        askers.push(Asker { name, credential: Credential::Cookie(browser.cookie), may });
    }
    let owner = Browser::open(hub).await.cookie;
    askers.push(Asker { name: "the owner", credential: Credential::Cookie(owner), may: admin });
    let gone = hub.user("gone", Role::Admin).await;
    assert_eq!(gone.send(Method::Delete, "/api/v1/session", "").await.0, 200);
    let over = Credential::Cookie(gone.cookie);
    askers.push(Asker { name: "one who has signed out", credential: over, may: public });
    let nonsense = Credential::Cookie(Secret::new("nonsense"));
    askers.push(Asker { name: "a cookie of nonsense", credential: nonsense, may: public });
    askers
}

fn public(role: Role) -> bool {
    role == Role::Public
}

fn viewer(role: Role) -> bool {
    matches!(role, Role::Public | Role::Viewer)
}

fn operator(role: Role) -> bool {
    viewer(role) || role == Role::Operator
}

fn admin(role: Role) -> bool {
    operator(role) || role == Role::Admin
}

async fn askers(hub: &TestHub) -> Vec<Asker> {
    let webhook = hub.create_token(TokenKind::Webhook { source: "github".into() }).await.secret;
    let agent = hub.join("web-1").await.joined.credential;
    let unknown = agent.expose().replace("bsa.", "bst.");
    let mut askers = vec![
        Asker { name: "nobody", credential: Credential::Nothing, may: public },
        Asker { name: "an unknown token", credential: Credential::Bearer(Secret::new(unknown)), may: public },
        Asker { name: "nonsense", credential: Credential::Bearer(Secret::new("x")), may: public },
        Asker { name: "a webhook's secret", credential: Credential::Bearer(webhook), may: public },
        Asker { name: "a join token", credential: Credential::Bearer(hub.join_token().await), may: public },
        Asker {
            name: "an agent",
            credential: Credential::Bearer(agent),
            may: |role| matches!(role, Role::Public | Role::Agent),
        },
        Asker {
            name: "a viewer",
            credential: Credential::Bearer(hub.token(Role::Viewer).await),
            may: viewer,
        },
        Asker {
            name: "an operator",
            credential: Credential::Bearer(hub.token(Role::Operator).await),
            may: operator,
        },
        Asker { name: "an admin", credential: Credential::Bearer(hub.token(Role::Admin).await), may: admin },
    ];
    askers.extend(signed_in(hub).await);
    askers
}

/// A path of the endpoint that fits its types, without meaning anything.
fn some_path(declaration: &Declaration) -> String {
    let id = "00000000-0000-7000-8000-000000000000";
    let segments = declaration.path.split('/').map(|part| match part {
        "{stack}" | "{node}" | "{repository}" | "{pack}" | "{user}" => "unknown",
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
    let mut all = declarations();
    // Who signs out can do nothing after it.
    all.sort_by_key(|declaration| declaration.name == "SignOut");
    for asker in askers(&hub).await {
        for declaration in &all {
            let url = format!("{}{}", hub.hub.url(), some_path(declaration));
            let request = match declaration.method {
                Method::Get => http.get(url),
                // A body that nothing can parse: who is let in gets 400, who is not never gets that far.
                Method::Post => http.post(url).header("content-type", "application/json").body("{"),
                Method::Delete => http.delete(url),
            };
            let request = asker.credential.show(request, &hub.hub.url());
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
        "/nothing",
        "/assets/nothing.js",
        "/index.html.br",
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

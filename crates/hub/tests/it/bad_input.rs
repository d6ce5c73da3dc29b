//! What people and programs get wrong: a clear refusal, and nothing changed.

use std::time::Duration;

use backstay_api::{
    Empty,
    v1::{ConversationPath, GetConversation, GetNode, ListTimeline, NodePath, TimelineQuery},
};
use backstay_types::ErrorCode;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{TestHub, code, http};

/// Posts raw bytes as the admin; gives status and problem.
async fn post(hub: &TestHub, path: &str, kind: Option<&str>, body: Vec<u8>) -> (u16, Value) {
    let mut request = http().post(format!("{}{path}", hub.hub.url())).body(body);
    request = request.bearer_auth(hub.hub.admin_token().expose());
    if let Some(kind) = kind {
        request = request.header("content-type", kind);
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn get(hub: &TestHub, path: &str) -> (u16, Value) {
    let request = http().get(format!("{}{path}", hub.hub.url())).bearer_auth(hub.hub.admin_token().expose());
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn ledger_head(hub: &TestHub) -> u64 {
    tokio::time::sleep(Duration::from_millis(150)).await;
    get(hub, "/api/v1/hub").await.1["ledger"]["seq"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_cannot_be_read_are_refused_by_field() {
    let hub = TestHub::start().await;
    let before = ledger_head(&hub).await;
    let json = Some("application/json");
    for (path, kind, body, status, word) in [
        ("/api/v1/tokens", json, &b"{"[..], 400, "line 1"),
        ("/api/v1/tokens", json, b"\"", 400, "line 1"),
        ("/api/v1/tokens", json, b"[]", 422, "body"),
        ("/api/v1/tokens", json, b"", 422, "name"),
        ("/api/v1/tokens", json, b"\xff\xfe", 400, "body"),
        ("/api/v1/tokens", json, b"{\"name\":3}", 422, "name: invalid type: integer `3`, expected a string"),
        ("/api/v1/tokens", json, br#"{"name":"x","kind":{"kind":"api","role":"king"}}"#, 422, "king"),
        ("/api/v1/tokens", json, br#"{"name":"x","kind":{"kind":"api","role":"agent"}}"#, 422, "kind.role"),
        ("/api/v1/tokens", json, br#"{"name":"x","kind":{"kind":"webhook","source":"x"}}"#, 422, "openclaw"),
        ("/api/v1/tokens", json, br#"{"name":"","kind":{"kind":"api","role":"viewer"}}"#, 422, "name"),
        ("/api/v1/tokens", Some("text/plain"), b"{}", 415, "application/json"),
        ("/api/v1/tokens", None, b"{}", 415, "Content-Type"),
        ("/api/v1/tokens", Some("application/x-www-form-urlencoded"), b"name=x", 415, "application/json"),
        ("/api/v1/join-tokens", json, br#"{"expires_in_seconds":0}"#, 422, "expires_in_seconds"),
        ("/api/v1/join-tokens", json, br#"{"expires_in_seconds":604801}"#, 422, "expires_in_seconds"),
        ("/api/v1/join-tokens", json, br#"{"expires_in_seconds":-1}"#, 422, "expires_in_seconds"),
        ("/api/v1/repositories", json, br#"{"name":"../x","endpoints":["/tmp"]}"#, 422, "name"),
        ("/api/v1/repositories", json, br#"{"name":"x","endpoints":[]}"#, 422, "address"),
        ("/api/v1/holds", json, br#"{"reason":"x"}"#, 422, "exactly one"),
        ("/api/v1/holds", json, br#"{"commit":"abc1234","reason":" "}"#, 422, "reason"),
        (
            "/api/v1/undos/plan",
            json,
            br#"{"selector":{"select":"time","to":"soon","exact":false}}"#,
            422,
            "selector",
        ),
        (
            "/api/v1/undos/plan",
            json,
            br#"{"selector":{"select":"last"},"scope":{"nodes":"a in","stack":null}}"#,
            422,
            "scope.nodes",
        ),
        ("/api/v1/conversations/resolve", json, br#"{"tool":"","kind":"a","value":"b"}"#, 422, "tool"),
    ] {
        let (found, problem) = post(&hub, path, kind, body.to_vec()).await;
        let text = String::from_utf8_lossy(body);
        assert_eq!(found, status, "{path} {text}: {problem}");
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().unwrap().contains(word), "{path} {text}: {problem}");
    }
    assert_eq!(ledger_head(&hub).await, before);
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_that_would_mean_something_else_are_refused() {
    let hub = TestHub::start().await;
    for (path, status, word) in [
        ("/api/v1/nodes?selecter=a", 422, "selector"),
        ("/api/v1/nodes?limit=0", 422, "limit"),
        ("/api/v1/nodes?limit=1001", 422, "limit"),
        ("/api/v1/nodes?limit=many", 422, "query"),
        ("/api/v1/nodes?selector=a%20in", 422, "selector"),
        ("/api/v1/nodes?cursor=Not%20A%20Name", 422, "cursor"),
        ("/api/v1/deployments?cursor=x", 422, "cursor"),
        ("/api/v1/deployments?stack=..", 422, "stack"),
        ("/api/v1/deployments?node=nobody", 404, "nobody"),
        ("/api/v1/conversations?cursor=1.2", 422, "cursor"),
        ("/api/v1/timeline?since=yesterday", 422, "query"),
        ("/api/v1/timeline?wait_ms=30001&after=0", 422, "wait_ms"),
        ("/api/v1/timeline?wait_ms=5", 422, "after"),
        ("/api/v1/ledger?limit=5001", 422, "limit"),
        ("/api/v1/related", 422, "exactly one"),
        ("/api/v1/related?commit=abc1234&container=x", 404, ""),
        ("/api/v1/why?node=nobody&stack=shop", 404, "nobody"),
        ("/api/v1/why?node=nobody", 422, "stack"),
        ("/api/v1/why?node=x&stack=shop&line=3", 422, "file"),
        ("/api/v1/healthz", 404, "/api/v1/healthz"),
        ("/api/v1/deployments/not-an-id", 404, "not-an-id"),
        ("/api/v1/rollouts/00000000-0000-7000-8000-000000000000", 404, "rollout"),
        ("/api/v1/undos/00000000-0000-7000-8000-000000000000", 404, "undo"),
        ("/api/v1/stacks/unknown/releases", 404, "unknown"),
        ("/api/v1/nodes/a%2f..%2fb", 404, "a/../b"),
        ("/api/v1/nodes/%24%28reboot%29", 404, "$(reboot)"),
        ("/api/v1/nodes/%ff", 400, ""),
    ] {
        let (found, problem) = get(&hub, path).await;
        assert_eq!(found, status, "{path}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(word), "{path}: {problem}");
    }
    let path = NodePath { node: "x".repeat(5000) };
    assert_eq!(code(hub.admin().call::<GetNode>(&path, &Empty {}, &Empty {}).await), ErrorCode::BS4004);
    let path = ConversationPath { conversation: "openclaw/session_id/' OR 1=1 --".into() };
    assert_eq!(
        code(hub.admin().call::<GetConversation>(&path, &Empty {}, &Empty {}).await),
        ErrorCode::BS4004
    );
    let query = TimelineQuery { after: Some(u64::MAX), ..Default::default() };
    let page = hub.admin().call::<ListTimeline>(&Empty {}, &query, &Empty {}).await.unwrap();
    assert!(page.items.is_empty());
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_too_large_are_refused_before_they_are_read() {
    let hub = TestHub::start().await;
    let (status, problem) =
        post(&hub, "/api/v1/tokens", Some("application/json"), vec![b' '; (1 << 20) + 1]).await;
    assert_eq!((status, &problem["code"]), (413, &json!("BS4006")));
    // Deeply nested JSON does not exhaust the stack.
    let nested = "[".repeat(500_000).into_bytes();
    let (status, _) = post(&hub, "/api/v1/tokens", Some("application/json"), nested).await;
    assert!(matches!(status, 400 | 422));
    // A length that is promised and never sent: who has no credential is told so at once, unread.
    let answer =
        raw(&hub, "POST /api/v1/tokens HTTP/1.1\r\nhost: localhost\r\ncontent-length: 999999999\r\n\r\n")
            .await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    let token = hub.hub.admin_token().expose();
    let head = format!(
        "POST /api/v1/tokens HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: 999999999\r\n\r\n"
    );
    assert!(raw(&hub, &head).await.starts_with("HTTP/1.1 413 "));
    let response = http()
        .post(format!("{}/api/v1/tokens", hub.hub.url()))
        .bearer_auth(token)
        .header("content-type", "application/json")
        .header("content-encoding", "gzip")
        .body("x")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status().as_u16(), 415);
    hub.hub.stop().await;
}

/// Sends bytes as they are; gives what comes back.
async fn raw(hub: &TestHub, text: &str) -> String {
    let mut stream = TcpStream::connect(hub.hub.address()).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut answer)).await;
    answer.truncate(read.expect("an answer").unwrap_or(0));
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn other_host_names_are_not_answered() {
    let hub = TestHub::with(|settings| {
        settings.hub.public_url = Some("https://hub.example.org".parse().unwrap());
        settings.hub.allowed_hosts = vec!["other.example".into()];
    })
    .await;
    for (host, status) in [
        ("127.0.0.1:1", 200),
        ("localhost", 200),
        ("[::1]:8484", 200),
        ("hub.example.org", 200),
        ("other.example:80", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example", 421),
        ("", 421),
    ] {
        let answer = raw(&hub, &format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {answer}");
    }
    let absolute = raw(&hub, "GET http://evil.example/healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(absolute.starts_with("HTTP/1.1 421 "), "{absolute}");
    let none = raw(&hub, "GET /healthz HTTP/1.0\r\n\r\n").await;
    assert!(none.contains(" 421 "), "{none}");
    assert!(raw(&hub, "nonsense\r\n\r\n").await.starts_with("HTTP/1.1 400"));
    hub.hub.stop().await;
}

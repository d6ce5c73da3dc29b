//! Nodes that tests play themselves: they join, and say what they are told to.

use backstay_testkit::http;
use backstay_types::HostFacts;
use serde_json::{Value, json};

use crate::hub::Fleet;

/// A node that has joined.
pub(crate) struct Played {
    hub: String,
    credential: String,
}

impl Played {
    /// Joins a hub, and says that it is there and runs nothing.
    pub(crate) fn join(fleet: &Fleet, name: &str, labels: &Value) -> Self {
        let token = fleet.json(&["nodes", "token"])["token"].as_str().unwrap().to_owned();
        let hub = fleet.place.read("hub/hub.url").trim().to_owned();
        let body = json!({ "token": token, "name": name, "labels": labels, "facts": HostFacts::default() });
        let joined = post(&format!("{hub}/agent/v1/join"), "none", &body);
        let node = Self { hub, credential: joined["credential"].as_str().unwrap().to_owned() };
        node.says(&json!([]), &json!({}));
        node
    }

    /// Says what runs and how it fares.
    pub(crate) fn says(&self, observed: &Value, safety: &Value) {
        let body = json!({
            "have": null, "hold_ms": 0, "observed": observed, "safety": safety,
            "facts": HostFacts { agent_version: "0.1.0".to_owned(), ..HostFacts::default() },
        });
        post(&format!("{}/agent/v1/check-in", self.hub), &self.credential, &body);
    }
}

/// What a node in safe mode says of it.
pub(crate) fn safe_mode() -> Value {
    json!({ "safe_mode": {
        "id": "01a1fdbf-f5f4-7476-9a3a-9e5b4972cf32", "since": "2026-01-01T00:00:00Z", "minimal_stack": true,
        "stacks": [{ "stack": "web", "reason": "three updates failed", "stopped": false }],
    } })
}

/// A stack that runs but for a file that was put right too often.
pub(crate) fn drifting() -> Value {
    json!([{
        "stack": "web", "current": null, "previous": null, "deployment": null, "health": "healthy", "detail": "",
        "can_return": true, "containers": [],
        "drift": [{
            "part": "file", "name": "page.conf", "detail": "its content has another SHA-256",
            "since": "2026-01-01T00:00:00Z", "heals": 3, "state": "escalated",
        }],
    }])
}

fn post(url: &str, credential: &str, body: &Value) -> Value {
    let bearer = format!("Bearer {credential}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let response = http::send("POST", url, &headers, body.to_string().as_bytes()).unwrap();
    assert!(response.status < 300, "{url}: {}", response.body);
    response.json()
}

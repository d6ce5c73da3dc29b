//! Nodes that tests play themselves: they join, and say what they are told to.

use backstay_testkit::http;
use backstay_types::HostFacts;
use serde_json::{Value, json};

use crate::hub::Fleet;

/// A node that has joined.
pub(crate) struct Played {
    name: String,
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
        let node = Self {
            name: name.to_owned(),
            hub,
            credential: joined["credential"].as_str().unwrap().to_owned(),
        };
        node.says(&json!([]), &json!({}));
        node
    }

    /// Says what runs and how it fares.
    pub(crate) fn says(&self, observed: &Value, safety: &Value) {
        let body = json!({
            "have": null, "hold_ms": 0, "observed": observed, "safety": safety,
            "facts": HostFacts { agent_version: "0.1.0".to_owned(), ..HostFacts::default() },
        });
        self.post("check-in", &body);
    }
}

impl Played {
    /// Does what it was told, well. Gives the commit of the stack `web` that it runs then.
    pub(crate) fn does(&self, fleet: &Fleet) -> String {
        let told = self.told(fleet);
        self.ends(fleet, &told, &json!({ "state": "succeeded" }));
        let observed = json!([{
            "stack": "web", "current": told["tree"], "previous": null, "deployment": null, "health": "healthy",
            "detail": "", "can_return": true, "containers": [],
        }]);
        self.says(&observed, &json!({}));
        told["commit"].as_str().unwrap().to_owned()
    }

    /// Tries a commit as soon as it is told to, and its disk is full.
    pub(crate) fn has_no_room(&self, fleet: &Fleet, commit: &str) {
        fleet.eventually("the node is told of it", || self.told(fleet)["commit"] == commit);
        let reason = "no space left on device";
        let state = json!({ "state": "failed", "step": "fetch", "failure": "disk_full", "reason": reason });
        self.ends(fleet, &self.told(fleet), &state);
    }

    /// What it is told of the stack `web`.
    fn told(&self, fleet: &Fleet) -> Value {
        let told = fleet.json(&["nodes", "show", &self.name])["desired"].clone();
        told.as_array().unwrap().iter().find(|one| one["stack"] == "web").unwrap().clone()
    }

    /// Reports that what it was told has begun, and has come to this end.
    fn ends(&self, fleet: &Fleet, told: &Value, state: &Value) {
        let all = fleet.json(&["deployments", "--node", &self.name]);
        let open = |one: &&Value| one["state"]["state"] == "pending" && one["tree"] == told["tree"];
        for one in all.as_array().unwrap().iter().filter(open) {
            let report = |last: char, more: Value| {
                let id = one["id"].as_str().unwrap();
                let id = format!("{}{last}", &id[..id.len() - 1]);
                let mut report = json!({ "id": id, "at": "2026-01-01T12:00:00Z", "deployment": one["id"] });
                report.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
                report
            };
            let began = report('1', json!({ "report": "deployment_started", "previous": null }));
            let ended =
                report('2', json!({ "report": "deployment_finished", "state": state, "containers": [] }));
            self.post("reports", &json!({ "reports": [began, ended] }));
        }
    }

    /// Goes on doing what it is told until it runs this commit.
    pub(crate) fn comes_to(&self, fleet: &Fleet, commit: &str) {
        let told = || !fleet.json(&["nodes", "show", &self.name])["desired"].as_array().unwrap().is_empty();
        fleet.eventually("the node is told something", told);
        fleet.eventually(&format!("{} runs {commit}", self.name), || self.does(fleet) == commit);
    }

    /// Asks for what is to be done about backups; none while the node's repository is not made yet.
    pub(crate) fn next_backup(&self) -> Option<Value> {
        let bearer = format!("Bearer {}", self.credential);
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let url = format!("{}/agent/v1/backups/next", self.hub);
        let response = http::send("POST", &url, &headers, b"{}").unwrap();
        assert!(response.status < 300 || response.body.contains("BS9012"), "{}", response.body);
        response.json().get("order").filter(|order| order.is_object()).cloned()
    }

    /// Says something to the hub as the agent does; gives what it answers.
    pub(crate) fn post(&self, what: &str, body: &Value) -> Value {
        post(&format!("{}/agent/v1/{what}", self.hub), &self.credential, body)
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

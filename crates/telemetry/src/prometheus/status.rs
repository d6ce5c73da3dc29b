//! What the server is, and what it does beside answering.

use serde_json::json;

use super::answer::Answered;

/// The version of Prometheus whose API and PromQL this answers with: clients choose by it what they ask.
const LIKE: &str = "3.5.0";

/// There are no rules here, so this is all of them.
pub(super) fn rules() -> Answered {
    Answered::success("{\"groups\":[]}", &[], &[])
}

/// Without rules nothing is pending or firing.
pub(super) fn alerts() -> Answered {
    Answered::success("{\"alerts\":[]}", &[], &[])
}

/// Grafana takes a server whose `features` are empty as one without an API to write rules.
pub(super) fn build_info(version: &str) -> Answered {
    let info = json!({
        "application": "Backstay",
        "version": LIKE,
        "revision": version,
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
        "features": {},
    });
    Answered::data(&info, &[])
}

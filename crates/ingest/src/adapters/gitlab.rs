//! GitLab's webhooks: pushes of branches and tags.

use serde_json::Value;

use super::git_hosts;
use crate::{Incoming, Normalised, json::text, summary};

pub(super) fn normalise(incoming: &Incoming<'_>, body: &Value) -> Normalised {
    // System hooks have another header and the same body.
    match text(body, "object_kind").or_else(|| text(body, "event_name")) {
        Some("push" | "tag_push") => {
            git_hosts::push(body, "project", &["git_http_url", "git_ssh_url", "web_url"])
        }
        Some(other) => {
            Normalised::unrecognised(format!("GitLab's event `{}` is not known", summary::line(other)))
        }
        None => {
            let event = incoming.header("x-gitlab-event").unwrap_or("without a name");
            Normalised::unrecognised(format!("GitLab's event `{}` has no object_kind", summary::line(event)))
        }
    }
}

//! Gitea's and Forgejo's webhooks: `push`.

use serde_json::Value;

use super::git_hosts;
use crate::{Incoming, Normalised, summary};

pub(super) fn normalise(incoming: &Incoming<'_>, body: &Value) -> Normalised {
    match incoming.header("x-gitea-event").or_else(|| incoming.header("x-forgejo-event")) {
        Some("push") => git_hosts::push(body, "repository", &["clone_url", "ssh_url", "html_url"]),
        Some(other) => {
            Normalised::unrecognised(format!("Gitea's event `{}` is not known", summary::line(other)))
        }
        None => Normalised::unrecognised("no `X-Gitea-Event`"),
    }
}

//! GitHub's webhooks: `push`; `ping` is answered, others are not asked for.

use serde_json::Value;

use super::git_hosts;
use crate::{Incoming, Normalised, summary};

pub(super) fn normalise(incoming: &Incoming<'_>, body: &Value) -> Normalised {
    match incoming.header("x-github-event") {
        Some("push") => git_hosts::push(body, "repository", &["clone_url", "ssh_url", "git_url", "html_url"]),
        Some("ping") => Normalised::ignored("GitHub tests the address"),
        Some(other) => {
            Normalised::unrecognised(format!("GitHub's event `{}` is not known", summary::line(other)))
        }
        None => Normalised::unrecognised("no `X-GitHub-Event`"),
    }
}

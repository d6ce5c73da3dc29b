//! Which delivery it is: the key under which it is taken once.

use backstay_types::Digest;

use crate::{Incoming, Source, adapters::cloudevents::percent_decoded};

/// The key of a delivery, unique among those of one source: its sender's own id where there is one,
/// else the SHA-256 of its body. Take it only after the delivery was verified.
pub fn delivery_key(source: Source, incoming: &Incoming<'_>) -> String {
    let own = match source {
        Source::OpenClaw | Source::ClaudeCode => incoming.header("webhook-id").map(str::to_owned),
        Source::GitHub => incoming.header("x-github-delivery").map(str::to_owned),
        Source::GitLab => incoming
            .header("x-gitlab-event-uuid")
            .or_else(|| incoming.header("idempotency-key"))
            .map(str::to_owned),
        Source::Gitea => incoming
            .header("x-gitea-delivery")
            .or_else(|| incoming.header("x-forgejo-delivery"))
            .map(str::to_owned),
        Source::CloudEvents => cloud_event(incoming),
    };
    // An id of absurd length is no id; the sign between the parts keeps sources apart.
    match own.filter(|id| !id.is_empty() && id.len() <= 512) {
        Some(id) => format!("{}:{id}", source.name()),
        None => format!("{}:sha256:{}", source.name(), Digest::of(incoming.body)),
    }
}

/// CloudEvents: `source` and `id` together are unique. A batch has no id of its own.
fn cloud_event(incoming: &Incoming<'_>) -> Option<String> {
    let both = |source: &str, id: &str| serde_json::to_string(&[source, id]).ok();
    if let (Some(source), Some(id)) = (incoming.header("ce-source"), incoming.header("ce-id")) {
        return both(&percent_decoded(source), &percent_decoded(id));
    }
    let event: serde_json::Value = serde_json::from_slice(incoming.body).ok()?;
    both(event.get("source")?.as_str()?, event.get("id")?.as_str()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(source: Source, headers: &[(&str, &str)], body: &str) -> String {
        let headers: Vec<_> = headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        delivery_key(source, &Incoming { headers: &headers, body: body.as_bytes() })
    }

    #[test]
    fn each_source_has_its_own_id() {
        assert_eq!(key(Source::OpenClaw, &[("webhook-id", "m1")], ""), "openclaw:m1");
        assert_eq!(key(Source::GitHub, &[("X-GitHub-Delivery", "g1")], ""), "github:g1");
        assert_eq!(key(Source::GitLab, &[("X-Gitlab-Event-UUID", "l1")], ""), "gitlab:l1");
        assert_eq!(key(Source::Gitea, &[("X-Forgejo-Delivery", "f1")], ""), "gitea:f1");
        let structured = key(Source::CloudEvents, &[], r#"{"source":"/s","id":"1"}"#);
        assert_eq!(structured, key(Source::CloudEvents, &[("ce-source", "/s"), ("ce-id", "1")], "data"));
        assert_ne!(structured, key(Source::CloudEvents, &[], r#"{"source":"/s1","id":""}"#));
    }

    #[test]
    fn without_an_id_the_body_decides() {
        let a = key(Source::ClaudeCode, &[], "{}");
        assert_eq!(a, key(Source::ClaudeCode, &[("x-other", "1")], "{}"));
        assert_ne!(a, key(Source::ClaudeCode, &[], "{ }"));
        assert!(a.starts_with("claude-code:sha256:"));
    }
}

//! A delivery as a source would send it, for a test of the way.

use backstay_types::{Secret, Timestamp};
use serde_json::{Value, json};

use crate::{Source, sign_standard, verify::hex_mac};

/// A signed delivery that says nothing: taken, understood, and without effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// Makes a delivery of `source`, signed now with `secret`. `id` is its idempotency key.
///
/// # Errors
/// When the secret is not of the form that the source's signature needs.
pub fn sample(source: Source, secret: &Secret, id: &str, now: Timestamp) -> Result<Sample, &'static str> {
    let body = serde_json::to_vec(&body(source, id)).map_err(|_| "the sample cannot be written")?;
    let mut headers = vec![("content-type", "application/json".to_owned())];
    match source {
        Source::OpenClaw | Source::ClaudeCode | Source::CloudEvents => {
            let at = now.as_second();
            let signature = sign_standard(secret, id, at, &body).ok_or("the secret is not base64")?;
            headers.push(("webhook-id", id.to_owned()));
            headers.push(("webhook-timestamp", at.to_string()));
            headers.push(("webhook-signature", signature));
        }
        Source::GitHub => {
            headers.push(("x-github-event", "ping".to_owned()));
            headers.push(("x-github-delivery", id.to_owned()));
            headers.push(("x-hub-signature-256", format!("sha256={}", hex_mac(secret, &body))));
        }
        Source::GitLab => {
            headers.push(("x-gitlab-event", "Push Hook".to_owned()));
            headers.push(("x-gitlab-event-uuid", id.to_owned()));
            headers.push(("x-gitlab-token", secret.expose().to_owned()));
        }
        Source::Gitea => {
            headers.push(("x-gitea-event", "push".to_owned()));
            headers.push(("x-gitea-delivery", id.to_owned()));
            headers.push(("x-gitea-signature", hex_mac(secret, &body)));
        }
    }
    if source == Source::CloudEvents {
        headers[0].1 = "application/cloudevents+json".to_owned();
    }
    let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Ok(Sample { headers, body })
}

fn body(source: Source, id: &str) -> Value {
    // A repository that nobody can follow: `.invalid` is reserved for that.
    let address = "https://backstay.invalid/test.git";
    let none = "0".repeat(40);
    match source {
        Source::OpenClaw => json!({ "events": [] }),
        Source::ClaudeCode => json!({ "hook_event_name": "BackstayTest" }),
        Source::CloudEvents => json!({
            "specversion": "1.0", "id": id, "source": "/backstay", "type": "dev.backstay.test", "data": {},
        }),
        Source::GitHub => json!({ "zen": "A test by Backstay.", "hook_id": 0 }),
        Source::GitLab => json!({
            "object_kind": "push", "ref": "refs/heads/backstay-test", "before": none, "after": none,
            "project": { "git_http_url": address },
        }),
        Source::Gitea => json!({
            "ref": "refs/heads/backstay-test", "before": none, "after": none, "repository": { "clone_url": address },
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Incoming, What, normalise, verify};

    #[test]
    fn a_sample_of_each_source_is_verified_and_understood_and_does_nothing() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        for source in Source::ALL {
            let sample = sample(source, &secret, "one", now).unwrap();
            let incoming = Incoming { headers: &sample.headers, body: &sample.body };
            let scheme = source.scheme_of(&incoming);
            verify(scheme, std::slice::from_ref(&secret), &incoming, now).unwrap();
            for event in normalise(source, &incoming) {
                let quiet = match &event.what {
                    What::Ignored { .. } => true,
                    What::Pushed(pushed) => pushed.urls == ["https://backstay.invalid/test.git"],
                    _ => false,
                };
                assert!(quiet, "{source:?}: {event:?}");
            }
            let wrong = Secret::new("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
            assert!(verify(scheme, &[wrong], &incoming, now).is_err(), "{source:?}");
        }
    }
}

//! Whether a delivery comes from who it claims. Nothing is parsed before this.

use std::time::Duration;

use backstay_types::{ErrorCode, Secret, Timestamp};
use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::Incoming;

/// How far a signed timestamp may be from now, either way.
pub const TOLERANCE: Duration = Duration::from_secs(300);

/// How a sender proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Standard Webhooks 1.0: `webhook-id`, `webhook-timestamp`, `webhook-signature`. Secrets are
    /// base64, with or without `whsec_` before them.
    StandardWebhooks,
    /// GitHub: `X-Hub-Signature-256`.
    GitHub,
    /// GitLab: the secret itself in `X-Gitlab-Token`.
    GitLab,
    /// Gitea and Forgejo: `X-Gitea-Signature` or `X-Forgejo-Signature`.
    Gitea,
    /// `Authorization: Bearer …`, for tools that cannot sign.
    Bearer,
}

/// Why a delivery is refused. Says nothing of secrets and expected signatures.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No secret is set up for this source.
    #[error("no secret is set up for this source")]
    NoSecret,
    /// A header that the scheme needs is missing, or there twice.
    #[error("the header `{0}` is missing or there twice")]
    Header(&'static str),
    /// A header that cannot be read.
    #[error("the header `{0}` cannot be read: expected {1}")]
    Malformed(&'static str, &'static str),
    /// Signed too long ago, or in the future.
    #[error("the delivery was signed {seconds} s away from now: at most {} s are allowed", TOLERANCE.as_secs())]
    Stale {
        /// How far away, in seconds.
        seconds: u64,
    },
    /// The signature or token is not right.
    #[error("the signature or token is not right")]
    Mismatch,
}

impl Refused {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Mismatch => ErrorCode::BS6001,
            Self::Header(_) | Self::Malformed(..) => ErrorCode::BS6002,
            Self::Stale { .. } => ErrorCode::BS6003,
            Self::NoSecret => ErrorCode::BS6004,
        }
    }
}

/// Checks a delivery against every secret in `secrets`; any of them may fit, so that they can be
/// exchanged without a gap.
///
/// # Errors
/// Why it is refused.
pub fn verify(
    scheme: Scheme,
    secrets: &[Secret],
    incoming: &Incoming<'_>,
    now: Timestamp,
) -> Result<(), Refused> {
    // An empty secret would fit an empty token.
    let secrets: Vec<&Secret> = secrets.iter().filter(|secret| !secret.expose().is_empty()).collect();
    if secrets.is_empty() {
        return Err(Refused::NoSecret);
    }
    match scheme {
        Scheme::StandardWebhooks => standard(&secrets, incoming, now),
        Scheme::GitHub => github(&secrets, incoming),
        Scheme::Gitea => gitea(&secrets, incoming),
        Scheme::GitLab => {
            let token = incoming.header("x-gitlab-token").ok_or(Refused::Header("X-Gitlab-Token"))?;
            any_fits(secrets.iter().map(|secret| same(token.as_bytes(), secret.expose().as_bytes())))
        }
        Scheme::Bearer => {
            let header = incoming.header("authorization").ok_or(Refused::Header("Authorization"))?;
            let token = header
                .split_once(' ')
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
                .map(|(_, token)| token.trim())
                .ok_or(Refused::Malformed("Authorization", "`Bearer` and a token"))?;
            any_fits(secrets.iter().map(|secret| same(token.as_bytes(), secret.expose().as_bytes())))
        }
    }
}

/// The value of `webhook-signature` for a delivery of one's own, such as in tests; `None` when the
/// secret is not base64.
pub fn sign_standard(secret: &Secret, id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
    let key = standard_key(secret)?;
    Some(format!("v1,{}", STANDARD.encode(standard_mac(&key, id, &timestamp.to_string(), body))))
}

fn standard(secrets: &[&Secret], incoming: &Incoming<'_>, now: Timestamp) -> Result<(), Refused> {
    let header = |name: &'static str| incoming.header(name).ok_or(Refused::Header(name));
    let id = header("webhook-id")?;
    let timestamp = header("webhook-timestamp")?;
    let signatures = header("webhook-signature")?;
    // A dot in the id would make it unclear where the signed parts end.
    if id.is_empty() || id.len() > 256 || !id.bytes().all(|b| b.is_ascii_graphic() && b != b'.') {
        return Err(Refused::Malformed("webhook-id", "up to 256 printable characters without a dot"));
    }
    let signed: i64 =
        timestamp.parse().map_err(|_| Refused::Malformed("webhook-timestamp", "seconds since 1970"))?;
    let keys: Vec<Vec<u8>> = secrets.iter().filter_map(|secret| standard_key(secret)).collect();
    if keys.is_empty() {
        return Err(Refused::NoSecret);
    }
    let offered: Vec<&str> = signatures.split(' ').filter_map(|part| part.strip_prefix("v1,")).collect();
    if offered.is_empty() {
        return Err(Refused::Malformed("webhook-signature", "at least one `v1,…`"));
    }
    let right = keys.iter().flat_map(|key| {
        let expected = STANDARD.encode(standard_mac(key, id, timestamp, incoming.body));
        offered.iter().map(move |offered| same(offered.as_bytes(), expected.as_bytes())).collect::<Vec<_>>()
    });
    any_fits(right)?;
    // Only after the signature: who cannot sign learns nothing of our clock.
    let seconds = now.as_second().abs_diff(signed);
    if seconds > TOLERANCE.as_secs() { Err(Refused::Stale { seconds }) } else { Ok(()) }
}

fn standard_key(secret: &Secret) -> Option<Vec<u8>> {
    let text = secret.expose();
    STANDARD.decode(text.strip_prefix("whsec_").unwrap_or(text)).ok().filter(|key| !key.is_empty())
}

fn standard_mac(key: &[u8], id: &str, timestamp: &str, body: &[u8]) -> [u8; 32] {
    mac(key, &[id.as_bytes(), b".", timestamp.as_bytes(), b".", body])
}

fn github(secrets: &[&Secret], incoming: &Incoming<'_>) -> Result<(), Refused> {
    const NAME: &str = "X-Hub-Signature-256";
    let header = incoming.header(NAME).ok_or(Refused::Header(NAME))?;
    let offered =
        header.strip_prefix("sha256=").ok_or(Refused::Malformed(NAME, "`sha256=` and 64 digits"))?;
    hex_signature(secrets, offered, incoming.body)
}

fn gitea(secrets: &[&Secret], incoming: &Incoming<'_>) -> Result<(), Refused> {
    let header = incoming.header("x-gitea-signature").or_else(|| incoming.header("x-forgejo-signature"));
    hex_signature(secrets, header.ok_or(Refused::Header("X-Gitea-Signature"))?, incoming.body)
}

fn hex_signature(secrets: &[&Secret], offered: &str, body: &[u8]) -> Result<(), Refused> {
    any_fits(secrets.iter().map(|secret| {
        let expected = hex_mac(secret, body);
        same(offered.as_bytes(), expected.as_bytes())
    }))
}

/// The signature of GitHub and Gitea over a body, in hexadecimal digits.
pub(crate) fn hex_mac(secret: &Secret, body: &[u8]) -> String {
    hex::encode(mac(secret.expose().as_bytes(), &[body]))
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes keys of any length; one that were refused would give a signature that fits nothing.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Compares without telling by time where, or at which length, two texts differ.
fn same(offered: &[u8], expected: &[u8]) -> Choice {
    Sha256::digest(offered).as_slice().ct_eq(Sha256::digest(expected).as_slice())
}

/// All candidates are compared, whichever fits.
fn any_fits(candidates: impl Iterator<Item = Choice>) -> Result<(), Refused> {
    let right = candidates.fold(Choice::from(0), |right, candidate| right | candidate);
    if bool::from(right) { Ok(()) } else { Err(Refused::Mismatch) }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;

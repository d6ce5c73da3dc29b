//! Webhook secrets of the tools that are tracked.

use std::{fs, path::Path};

use backstay_api::{
    Empty,
    v1::{CreateToken, CreateTokenRequest, ListTokens, RevokeToken, TokenKind, TokenPath},
};
use backstay_types::Secret;

use crate::{context::Context, error::CliError};

/// Claude Code's source.
pub(super) const CLAUDE_CODE: &str = "claude-code";
/// OpenClaw's source.
pub(super) const OPENCLAW: &str = "openclaw";

/// Where deliveries of a source go.
pub(super) fn url(cx: &Context, source: &str) -> String {
    format!("{}/hooks/{source}", cx.hub_url().trim_end_matches('/'))
}

/// What the token is called, so that it is found again on this machine.
fn name(source: &str) -> String {
    let host = rustix::system::uname();
    format!("{source} on {}", host.nodename().to_string_lossy())
}

/// A secret for a source: from a file, or a new one of the hub.
pub(super) async fn secret(cx: &Context, source: &str, file: Option<&Path>) -> Result<Secret, CliError> {
    if let Some(path) = file {
        let text = fs::read_to_string(path).map_err(|e| CliError::file("read", path, e))?;
        return Ok(Secret::new(text.trim()));
    }
    let kind = TokenKind::Webhook { source: source.to_owned() };
    let request = CreateTokenRequest { name: name(source), kind, expires_in_seconds: None };
    let api = cx.api()?;
    let created = api.call::<CreateToken>(Empty {}, Empty {}, request).await.map_err(|error| {
        error.hint(format!(
            "the hub makes the secret for {source}: it must run, and your token must be an admin's.\n\
             Or give one with --secret-file; or leave the tool out with --only git"
        ))
    })?;
    Ok(created.secret)
}

/// Revokes the secrets of a source that this machine had made.
pub(super) async fn revoke(cx: &Context, source: &str) -> Result<(), CliError> {
    let api = cx.api()?;
    let kind = TokenKind::Webhook { source: source.to_owned() };
    for token in api.get::<ListTokens>().await?.items {
        if token.kind == kind && token.name == name(source) && token.revoked_at.is_none() {
            api.call::<RevokeToken>(TokenPath { token: token.id }, Empty {}, Empty {}).await?;
        }
    }
    Ok(())
}

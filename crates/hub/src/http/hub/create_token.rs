//! `POST /api/v1/tokens`

use std::time::Duration;

use backstay_api::v1::{CreateToken, CreateTokenRequest, CreatedToken, Token, TokenKind};
use backstay_ingest::Source;
use backstay_store::tokens::{self, TokenSecret};
use backstay_types::{Digest, Event, Refs, Secret, Timestamp, TokenId};
use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::{
    app::App,
    auth::{Kind, mint, role_of, sealing_context, word},
    http::{ApiError, Call},
};

/// Makes an API token, or the secret of a webhook source.
pub(crate) async fn create_token(call: Call<CreateToken>) -> Result<CreatedToken, ApiError> {
    let Call { app, caller, body, .. } = call;
    let created = create(&app, body, &caller.by()).await?;
    Ok(created)
}

/// Makes a token, for the endpoint and for the hub's own first one.
pub(crate) async fn create(
    app: &App,
    request: CreateTokenRequest,
    by: &str,
) -> Result<CreatedToken, ApiError> {
    let CreateTokenRequest { name, kind, expires_in_seconds } = request;
    let name = name.trim().to_owned();
    if name.is_empty() || name.len() > 100 || name.contains(char::is_control) {
        return Err(ApiError::invalid("name", "expected 1 to 100 bytes of text in one line"));
    }
    let created_at = app.world.now();
    let expires_at = expires_in_seconds.map(|seconds| expiry(created_at, seconds)).transpose()?;
    let id: TokenId = app.world.mint();
    let (secret, kept) = secret_of(app, id, &kind)?;
    let stored = tokens::Token {
        id,
        kind: stored_kind(&kind),
        name: name.clone(),
        created_at,
        expires_at,
        revoked_at: None,
        used_at: None,
    };
    let mut tx = app.store.begin().await?;
    tokens::insert(&mut tx, &stored, &kept).await?;
    let detail = format!("{by} made the token {id} `{name}`: {}", in_words(&kind));
    tx.record(Event::TokenChanged { detail }, Refs::default())?;
    tx.commit().await?;
    let token = Token { id, name, kind, created_at, expires_at, revoked_at: None };
    Ok(CreatedToken { token, secret })
}

fn expiry(from: Timestamp, seconds: u64) -> Result<Timestamp, ApiError> {
    let wrong =
        || ApiError::invalid("expires_in_seconds", "expected at least 1, and a date before the year 9999");
    if seconds == 0 {
        return Err(wrong());
    }
    from.checked_add(Duration::from_secs(seconds)).map_err(|_| wrong())
}

/// A new secret, and what is kept of it. Webhook secrets are needed again to check signatures.
fn secret_of(app: &App, id: TokenId, kind: &TokenKind) -> Result<(Secret, TokenSecret), ApiError> {
    match kind {
        TokenKind::Api { role } => {
            if role_of(word(*role)).is_none() {
                let message =
                    format!("`{}` cannot be given: expected viewer, operator or admin", word(*role));
                return Err(ApiError::invalid("kind.role", message));
            }
            let (secret, hash) = mint(Kind::Api, id, None, &app.world);
            Ok((secret, TokenSecret { hash, sealed: None }))
        }
        TokenKind::Webhook { source } => {
            if Source::from_name(source).is_none() {
                let known = Source::ALL.map(Source::name).join(", ");
                return Err(ApiError::invalid(
                    "kind.source",
                    format!("`{source}` is not known; known are: {known}"),
                ));
            }
            let secret = Secret::new(format!("whsec_{}", BASE64_STANDARD.encode(app.world.random::<32>())));
            let sealed =
                app.keys.seal(&secret, &sealing_context(id), &app.world).map_err(ApiError::internal)?;
            let hash = Digest::of(secret.expose().as_bytes());
            Ok((secret, TokenSecret { hash, sealed: Some(sealed) }))
        }
    }
}

fn stored_kind(kind: &TokenKind) -> tokens::TokenKind {
    match kind {
        TokenKind::Api { role } => tokens::TokenKind::Api { role: word(*role).to_owned() },
        TokenKind::Webhook { source } => tokens::TokenKind::Webhook { source: source.clone() },
    }
}

fn in_words(kind: &TokenKind) -> String {
    match kind {
        TokenKind::Api { role } => format!("API, {}", word(*role)),
        TokenKind::Webhook { source } => format!("webhooks of {source}"),
    }
}

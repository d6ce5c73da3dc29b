//! `POST /api/v1/join-tokens`

use std::time::Duration;

use backstay_api::{
    statement::key_fingerprint,
    v1::{CreateJoinToken, JoinToken},
};
use backstay_store::tokens::{self, Token, TokenKind, TokenSecret};
use backstay_types::{Event, Refs, TokenId};

use crate::{
    auth::{Kind, mint},
    http::{ApiError, Call},
};

const DEFAULT: u64 = 3600;
const LONGEST: u64 = 7 * 86_400;

/// Makes a one-time join token.
pub(crate) async fn create_join_token(call: Call<CreateJoinToken>) -> Result<JoinToken, ApiError> {
    let Call { app, caller, body, .. } = call;
    let seconds = body.expires_in_seconds.unwrap_or(DEFAULT);
    if !(1..=LONGEST).contains(&seconds) {
        let message = format!("{seconds} is out of range: expected 1 to {LONGEST}");
        return Err(ApiError::invalid("expires_in_seconds", message));
    }
    let created_at = app.world.now();
    let expires_at = created_at.checked_add(Duration::from_secs(seconds)).map_err(ApiError::internal)?;
    let id: TokenId = app.world.mint();
    let pin = key_fingerprint(&app.keys.signing.verifying_key());
    let (token, hash) = mint(Kind::Join, id, Some(pin), &app.world);
    let kept = Token {
        id,
        kind: TokenKind::Join,
        name: format!("join, by {}", caller.by()),
        created_at,
        expires_at: Some(expires_at),
        revoked_at: None,
        used_at: None,
    };
    let mut tx = app.store.begin().await?;
    tokens::insert(&mut tx, &kept, &TokenSecret { hash, sealed: None }).await?;
    let detail = format!("{} made the join token {id}", caller.by());
    tx.record(Event::TokenChanged { detail }, Refs::default())?;
    tx.commit().await?;
    Ok(JoinToken { id, token, expires_at })
}

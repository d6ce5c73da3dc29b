//! `POST /api/v1/tokens/{token}/revoke`

use backstay_api::{Empty, v1::RevokeToken};
use backstay_store::tokens;
use backstay_types::{Event, Refs};

use crate::http::{ApiError, Call};

/// Takes a token away.
pub(crate) async fn revoke_token(call: Call<RevokeToken>) -> Result<Empty, ApiError> {
    let Call { app, caller, path, .. } = call;
    let mut tx = app.store.begin().await?;
    let missing = || ApiError::missing("token", path.token);
    let (token, _) = tokens::get(&mut tx, path.token).await?.ok_or_else(missing)?;
    tokens::revoke(&mut tx, path.token, app.world.now()).await?;
    let detail = format!("{} took the token {} `{}` away", caller.by(), token.id, token.name);
    tx.record(Event::TokenChanged { detail }, Refs::default())?;
    tx.commit().await?;
    app.sign_in.ended();
    Ok(Empty {})
}

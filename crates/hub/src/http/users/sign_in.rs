//! `POST /api/v1/session`

use backstay_api::v1::{SessionView, SignIn};
use backstay_store::users;
use backstay_types::{ErrorCode, UserName};

use super::view;
use crate::{
    auth::{
        Caller, Via, origin, role_of, session,
        tries::{self, Try},
    },
    http::{ApiError, Call, Reply},
};

/// Signs in by name and password. Who fails learns neither by words nor by time whether there is such a user.
pub(crate) async fn sign_in(call: Call<SignIn>) -> Result<Reply<SessionView>, ApiError> {
    let Call { app, body, headers, peer, .. } = call;
    let hub = &app.settings.hub;
    origin::check(hub.public_url.as_ref(), &headers, origin::Need::NotOther)?;
    let name = body.name.trim().to_lowercase();
    let address = tries::address(&hub.trusted_proxies, peer, &headers);
    let tried = Try::begin(&app, &name, address).await?;
    let found = match name.parse::<UserName>() {
        Ok(name) => users::by_name(&mut app.store.read(), &name).await?,
        Err(_) => None,
    };
    let kept = match &found {
        Some(user) => users::password(&mut app.store.read(), user.id).await?,
        None => None,
    };
    let right = match app.sign_in.passwords.verify(&body.password, kept).await {
        Ok(right) => right,
        Err(error) => {
            tried.take_back(&app).await?;
            return Err(error);
        }
    };
    let Some(user) = found.filter(|user| right && user.disabled_at.is_none()) else {
        tracing::warn!(?address, "someone failed to sign in");
        return Err(wrong());
    };
    let mut tx = app.store.begin().await?;
    if !users::signed_in(&mut tx, user.id, app.world.now()).await? {
        return Err(wrong());
    }
    let (session, cookie) = session::begin(&app, &mut tx, Some(user.id), &headers).await?;
    tx.commit().await?;
    if session::cookie(&headers).is_some() {
        // The session that the browser had until now.
        app.sign_in.ended();
    }
    tried.succeeded(&app).await?;
    tracing::info!(user = %user.name, ?address, "signed in");
    let role = role_of(&user.role).ok_or_else(|| ApiError::internal("a user with an unknown role"))?;
    let caller = Caller::User { name: user.name.to_string(), via: Via::Session(Box::new(session)) };
    Ok(Reply::from(view::session(&app, Some((caller, role))).await?).header(cookie.0, cookie.1))
}

/// The same for whatever was wrong.
pub(super) fn wrong() -> ApiError {
    ApiError::new(ErrorCode::BS4015, "no user with this name and password may sign in")
}

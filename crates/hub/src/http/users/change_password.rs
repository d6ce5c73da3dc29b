//! `POST /api/v1/session/password`

use backstay_api::{Empty, v1::ChangePassword};
use backstay_store::{sessions, users};
use backstay_types::{ErrorCode, Event, Refs, UserChange};

use crate::{
    auth::{passwords, tries, tries::Try},
    http::{ApiError, Call},
};

/// Changes the password of who is signed in. Guesses at the old one are limited as at signing in.
pub(crate) async fn change_password(call: Call<ChangePassword>) -> Result<Empty, ApiError> {
    let Call { app, caller, body, headers, peer, .. } = call;
    let session = caller.session()?;
    let nobody = || ApiError::new(ErrorCode::BS4005, "the owner of the hub's machine has no password here");
    let id = session.user.ok_or_else(nobody)?;
    let user = users::get(&mut app.store.read(), id).await?.ok_or_else(nobody)?;
    passwords::check(&user.name, &body.new)?;
    let address = tries::address(&app.settings.hub.trusted_proxies, peer, &headers);
    let tried = Try::begin(&app, user.name.as_str(), address).await?;
    let kept = users::password(&mut app.store.read(), id).await?;
    let right = match app.sign_in.passwords.verify(&body.old, kept).await {
        Ok(right) => right,
        Err(error) => {
            tried.take_back(&app).await?;
            return Err(error);
        }
    };
    if !right {
        // Not 401: the session is good, and the page must not take it for over.
        return Err(ApiError::new(ErrorCode::BS4018, "old: this is not the password that works now"));
    }
    tried.succeeded(&app).await?;
    let hash = app.sign_in.passwords.hash(&body.new, &app.world).await?;
    let mut tx = app.store.begin().await?;
    users::set_password(&mut tx, id, &hash).await?;
    sessions::end_all(&mut tx, Some(id), Some(session.id)).await?;
    let event = Event::UserChanged { name: user.name, change: UserChange::PasswordSet, by: caller.by() };
    tx.record(event, Refs::default())?;
    tx.commit().await?;
    app.sign_in.ended();
    Ok(Empty {})
}

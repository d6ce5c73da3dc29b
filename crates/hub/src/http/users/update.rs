//! `POST /api/v1/users/{user}`

use backstay_api::v1::{UpdateUser, User};
use backstay_store::{sessions, sign_in_links, users};
use backstay_types::{ErrorCode, Event, Refs, UserChange};

use super::view;
use crate::{
    auth::{Caller, Via},
    http::{ApiError, Call},
};

/// Changes a user's role, disables it or lets it in again. Both hold at once, in open sessions too.
pub(crate) async fn update(call: Call<UpdateUser>) -> Result<User, ApiError> {
    let Call { app, caller, path, body, .. } = call;
    let was = view::find(&mut app.store.read(), &path.user).await?;
    if is_self(&caller, &was) {
        let detail = "nobody takes away their own role or account: another admin does";
        return Err(ApiError::new(ErrorCode::BS4005, detail));
    }
    let role = body.role.map(view::role).transpose()?.unwrap_or(&was.role).to_owned();
    let disabled_at = match (body.disabled, was.disabled_at) {
        (Some(true), None) => Some(app.world.now()),
        (Some(false), _) => None,
        (_, before) => before,
    };
    let mut changes = Vec::new();
    if role != was.role {
        changes.push(UserChange::RoleChanged { from: was.role.clone(), to: role.clone() });
    }
    match (was.disabled_at.is_some(), disabled_at.is_some()) {
        (false, true) => changes.push(UserChange::Disabled),
        (true, false) => changes.push(UserChange::Enabled),
        _ => {}
    }
    let mut tx = app.store.begin().await?;
    users::update(&mut tx, &was, &role, disabled_at).await?;
    if disabled_at.is_some() {
        sessions::end_all(&mut tx, Some(was.id), None).await?;
        sign_in_links::revoke(&mut tx, Some(was.id)).await?;
    }
    for change in changes {
        let event = Event::UserChanged { name: was.name.clone(), change, by: caller.by() };
        tx.record(event, Refs::default())?;
    }
    tx.commit().await?;
    app.sign_in.ended();
    view::user(users::User { role, disabled_at, ..was })
}

fn is_self(caller: &Caller, user: &users::User) -> bool {
    matches!(caller, Caller::User { via: Via::Session(session), .. } if session.user == Some(user.id))
}

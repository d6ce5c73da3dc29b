//! Users and sessions as the API shows them.

use backstay_api::{
    Role,
    v1::{SessionHub, SessionView, SignedInVia, User},
};
use backstay_store::{Reader, users};
use backstay_types::{UserId, UserName};

use crate::{
    app::App,
    auth::{Caller, Via, role_of, word},
    http::ApiError,
};

/// A user.
///
/// # Errors
/// When its role is none: another build wrote it.
pub(super) fn user(user: users::User) -> Result<User, ApiError> {
    let role = role_of(&user.role).ok_or_else(|| ApiError::internal("a user with an unknown role"))?;
    let users::User { id, name, created_at, disabled_at, last_sign_in_at, .. } = user;
    Ok(User { id, name, role, created_at, disabled_at, last_sign_in_at })
}

/// Who is signed in.
///
/// # Errors
/// When the database cannot be read.
pub(super) async fn session(app: &App, who: Option<(Caller, Role)>) -> Result<SessionView, ApiError> {
    let hub = &app.settings.hub;
    let public = hub.public_url.as_ref().and_then(|url| url.host_str().map(str::to_owned));
    let mut view = SessionView {
        signed_in: false,
        name: None,
        role: None,
        via: None,
        user: None,
        expires_at: None,
        first_user_needed: !users::any(&mut app.store.read()).await?,
        hub: SessionHub {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            name: public.unwrap_or_else(|| hub.listen.ip().to_string()),
        },
    };
    if let Some((Caller::User { name, via }, role)) = who {
        view.signed_in = true;
        view.name = Some(name);
        view.role = Some(role);
        view.via = Some(match &via {
            Via::Token { .. } => SignedInVia::Token,
            Via::Session(_) => SignedInVia::Session,
        });
        if let Via::Session(session) = via {
            view.user = session.user;
            view.expires_at = Some(session.expires_at);
        }
    }
    Ok(view)
}

/// A user by name or id.
///
/// # Errors
/// When there is none.
pub(super) async fn find(store: &mut Reader, text: &str) -> Result<users::User, ApiError> {
    let found = match (text.parse::<UserId>(), text.parse::<UserName>()) {
        (Ok(id), _) => users::get(store, id).await?,
        (_, Ok(name)) => users::by_name(store, &name).await?,
        _ => None,
    };
    found.ok_or_else(|| ApiError::missing("user", text))
}

/// A role that a user may have.
///
/// # Errors
/// When it is one of the others.
pub(super) fn role(role: Role) -> Result<&'static str, ApiError> {
    let name = word(role);
    role_of(name).map(|_| name).ok_or_else(|| {
        ApiError::invalid("role", format!("`{name}` cannot be given: expected viewer, operator or admin"))
    })
}

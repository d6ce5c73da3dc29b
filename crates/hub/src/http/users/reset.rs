//! `POST /api/v1/users/{user}/link`

use backstay_api::v1::{CreatedLink, ResetUser};
use backstay_store::sign_in_links::LinkKind;
use backstay_types::{ErrorCode, Event, Refs, UserChange};

use super::{links, view};
use crate::http::{ApiError, Call};

/// A link with which a user sets a new password. The old one works until then.
pub(crate) async fn reset(call: Call<ResetUser>) -> Result<CreatedLink, ApiError> {
    let Call { app, caller, path, headers, .. } = call;
    let user = view::find(&mut app.store.read(), &path.user).await?;
    if user.disabled_at.is_some() {
        return Err(ApiError::new(ErrorCode::BS4005, format!("{} is disabled", user.name))
            .with_hint("let the user in again first: `backstay users enable NAME`"));
    }
    let mut tx = app.store.begin().await?;
    let made = links::make(&app, &mut tx, LinkKind::User(user.id), &links::base(&app, &headers)).await?;
    let event = Event::UserChanged { name: user.name, change: UserChange::LinkMade, by: caller.by() };
    tx.record(event, Refs::default())?;
    tx.commit().await?;
    Ok(made)
}

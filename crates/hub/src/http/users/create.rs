//! `POST /api/v1/users`

use backstay_api::v1::{CreateUser, CreatedUser};
use backstay_store::{
    sign_in_links::LinkKind,
    users::{self, User},
};
use backstay_types::{Event, Refs, UserChange};

use super::{links, view};
use crate::http::{ApiError, Call};

/// Makes a user without a password, and the link to set it.
pub(crate) async fn create(call: Call<CreateUser>) -> Result<CreatedUser, ApiError> {
    let Call { app, caller, body, headers, .. } = call;
    let role = view::role(body.role)?.to_owned();
    let user = User {
        id: app.world.mint(),
        name: body.name,
        role: role.clone(),
        created_at: app.world.now(),
        disabled_at: None,
        last_sign_in_at: None,
    };
    let mut tx = app.store.begin().await?;
    users::insert(&mut tx, &user, None).await?;
    let made = links::make(&app, &mut tx, LinkKind::User(user.id), &links::base(&app, &headers)).await?;
    let change = UserChange::Created { role };
    tx.record(Event::UserChanged { name: user.name.clone(), change, by: caller.by() }, Refs::default())?;
    tx.commit().await?;
    Ok(CreatedUser { user: view::user(user)?, link: made.link, link_expires_at: made.expires_at })
}

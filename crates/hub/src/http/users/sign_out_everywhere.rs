//! `POST /api/v1/session/revoke-all`

use backstay_api::{Empty, v1::SignOutEverywhere};
use backstay_store::{sessions, users};
use backstay_types::{Event, Refs, UserChange};

use crate::{
    auth::session,
    http::{ApiError, Call, Reply},
};

/// Ends all sessions of who is signed in, this one too.
pub(crate) async fn sign_out_everywhere(call: Call<SignOutEverywhere>) -> Result<Reply<Empty>, ApiError> {
    let Call { app, caller, .. } = call;
    let user = caller.session()?.user;
    let mut tx = app.store.begin().await?;
    sessions::end_all(&mut tx, user, None).await?;
    if let Some(id) = user
        && let Some(user) = users::get(&mut tx, id).await?
    {
        let event = Event::UserChanged { name: user.name, change: UserChange::SignedOut, by: caller.by() };
        tx.record(event, Refs::default())?;
    }
    tx.commit().await?;
    app.sign_in.ended();
    let (name, value) = session::no_cookie()?;
    Ok(Reply::from(Empty {}).header(name, value))
}

//! `DELETE /api/v1/session`

use backstay_api::{Empty, v1::SignOut};
use backstay_store::sessions;

use crate::{
    auth::session,
    http::{ApiError, Call, Reply},
};

/// Ends this session, and takes the cookie away.
pub(crate) async fn sign_out(call: Call<SignOut>) -> Result<Reply<Empty>, ApiError> {
    let Call { app, caller, .. } = call;
    let mut tx = app.store.begin().await?;
    sessions::end(&mut tx, caller.session()?.id).await?;
    tx.commit().await?;
    app.sign_in.ended();
    let (name, value) = session::no_cookie()?;
    Ok(Reply::from(Empty {}).header(name, value))
}

//! `GET /api/v1/session`

use backstay_api::v1::{GetSession, SessionView};

use super::view;
use crate::{
    auth::session,
    http::{ApiError, Call},
};

/// Who is signed in, if anyone.
pub(crate) async fn get_session(call: Call<GetSession>) -> Result<SessionView, ApiError> {
    let Call { app, headers, .. } = call;
    let who = session::anyone(&app, &headers).await?;
    view::session(&app, who).await
}

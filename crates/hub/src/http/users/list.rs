//! `GET /api/v1/users`

use backstay_api::v1::{ListUsers, Page, User};
use backstay_store::users;

use super::view;
use crate::http::{ApiError, Call, paging};

/// Users, by name.
pub(crate) async fn list(call: Call<ListUsers>) -> Result<Page<User>, ApiError> {
    let all = users::list(&mut call.app.store.read()).await?;
    Ok(paging::whole(all.into_iter().map(view::user).collect::<Result<_, _>>()?))
}

//! `POST /api/v1/session/open`

use backstay_api::v1::{CreateOpenLink, CreatedLink};
use backstay_store::{sign_in_links::LinkKind, users};
use backstay_types::ErrorCode;

use super::links;
use crate::{
    auth::{Caller, Via},
    http::{ApiError, Call},
};

/// A link that opens the page: on loopback signed in, elsewhere for the first user.
///
/// Sessions may not ask for one: it would outlive the user that asked.
pub(crate) async fn create_open_link(call: Call<CreateOpenLink>) -> Result<CreatedLink, ApiError> {
    let Call { app, caller, headers, .. } = call;
    let Caller::User { via: Via::Token { .. }, .. } = caller else {
        return Err(ApiError::new(ErrorCode::BS4003, "this takes an API token"));
    };
    let loopback = app.settings.hub.listen.ip().is_loopback();
    let mut tx = app.store.begin().await?;
    let (kind, base) = match (loopback, users::any(&mut tx).await?) {
        (true, _) => (LinkKind::Open, links::here(&headers)),
        (false, false) => (LinkKind::FirstUser, links::base(&app, &headers)),
        (false, true) => {
            let detail = "this hub does not listen on loopback, and its users sign in themselves";
            return Err(ApiError::new(ErrorCode::BS4005, detail)
                .with_hint("a forgotten password: `backstay users link NAME`"));
        }
    };
    let link = links::make(&app, &mut tx, kind, &base).await?;
    tx.commit().await?;
    Ok(link)
}

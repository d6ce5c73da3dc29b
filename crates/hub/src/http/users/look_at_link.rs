//! `POST /api/v1/session/link/look`

use backstay_api::v1::{LinkView, LookAtLink};
use backstay_store::{sign_in_links::LinkKind, users};

use super::links;
use crate::{
    auth::origin,
    http::{ApiError, Call},
};

/// What a link is for, so that the page knows what to ask. It is not used up.
pub(crate) async fn look_at_link(call: Call<LookAtLink>) -> Result<LinkView, ApiError> {
    let Call { app, body, headers, .. } = call;
    origin::check(app.settings.hub.public_url.as_ref(), &headers, origin::Need::NotOther)?;
    let (link, _) = links::find(&app, &body.code).await?;
    let name = match link.kind {
        LinkKind::User(id) => users::get(&mut app.store.read(), id).await?.map(|user| user.name),
        LinkKind::Open | LinkKind::FirstUser => None,
    };
    Ok(LinkView { kind: links::view(link.kind), name, expires_at: link.expires_at })
}

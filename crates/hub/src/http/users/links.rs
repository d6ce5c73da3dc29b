//! One-time links: making and reading them.

use std::time::Duration;

use backstay_api::v1::{self, CreatedLink};
use backstay_store::{
    Tx,
    sign_in_links::{self, LinkKind, SignInLink},
};
use backstay_types::{Digest, ErrorCode, LinkId, Secret};
use http::{HeaderMap, header};

use crate::{
    app::App,
    auth::{Kind, Presented, mint, origin},
    http::ApiError,
};

/// Who asks for it opens it.
const OPEN: Duration = Duration::from_secs(600);
/// Printed in a terminal, opened on another machine.
const FIRST_USER: Duration = Duration::from_secs(3600);
/// Sent to somebody.
const USER: Duration = Duration::from_secs(86_400);

/// Makes a link. One for the first user, or for the same user, takes the place of earlier ones.
///
/// # Errors
/// When the database refuses.
pub(super) async fn make(
    app: &App,
    tx: &mut Tx,
    kind: LinkKind,
    base: &str,
) -> Result<CreatedLink, ApiError> {
    let life = match kind {
        LinkKind::Open => OPEN,
        LinkKind::FirstUser => {
            sign_in_links::revoke(tx, None).await?;
            FIRST_USER
        }
        LinkKind::User(user) => {
            sign_in_links::revoke(tx, Some(user)).await?;
            USER
        }
    };
    let expires_at = app.world.now().checked_add(life).map_err(ApiError::internal)?;
    let link = SignInLink { id: app.world.mint(), kind, expires_at };
    let (code, hash) = mint(Kind::Link, link.id, None, &app.world);
    sign_in_links::insert(tx, &link, hash).await?;
    // What stands behind `#` is not sent to servers and proxies, and so not logged by them.
    let link = Secret::new(format!("{base}/#/link/{}", code.expose()));
    Ok(CreatedLink { link, kind: view(kind), expires_at })
}

/// Where the hub is, for a link that somebody else opens: `public_url`, else where the caller found it.
pub(super) fn base(app: &App, headers: &HeaderMap) -> String {
    match &app.settings.hub.public_url {
        Some(url) => url.as_str().trim_end_matches('/').to_owned(),
        None => origin::said(headers).map_or_else(|| here(headers), str::to_owned),
    }
}

/// Where the caller found the hub. The host was checked at the gate.
pub(super) fn here(headers: &HeaderMap) -> String {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    format!("http://{}", host.unwrap_or("127.0.0.1"))
}

/// A link that works, by its code, with the hash of its secret.
///
/// # Errors
/// BS4017 when it is used, run out or unknown.
pub(super) async fn find(app: &App, code: &Secret) -> Result<(SignInLink, Digest), ApiError> {
    let presented = Presented::<LinkId>::read(Kind::Link, code).ok_or_else(over)?;
    let hash = presented.hash();
    let found = sign_in_links::get(&mut app.store.read(), presented.id, hash, app.world.now()).await?;
    Ok((found.ok_or_else(over)?, hash))
}

/// The kind as the API says it.
pub(super) fn view(kind: LinkKind) -> v1::LinkKind {
    match kind {
        LinkKind::Open => v1::LinkKind::Open,
        LinkKind::FirstUser => v1::LinkKind::FirstUser,
        LinkKind::User(_) => v1::LinkKind::User,
    }
}

/// A link that does not work any more.
pub(super) fn over() -> ApiError {
    ApiError::new(ErrorCode::BS4017, "a link works once, and not for long")
        .with_hint("`backstay open` prints a new one on the hub's machine; elsewhere an admin makes one")
}

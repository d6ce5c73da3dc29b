//! Sessions: a cookie for a browser, of which the hub keeps the hash.

use std::{sync::Arc, time::Duration};

use backstay_api::{Role, SESSION_COOKIE};
use backstay_store::{
    Tx,
    sessions::{self, Session},
    users,
};
use backstay_types::{ErrorCode, Secret, SessionId, Timestamp, UserId, World};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::{sync::watch, time::sleep};

use super::{Caller, Kind, Passwords, Presented, Via, mint, role_of, user};
use crate::{app::App, http::ApiError};

/// A session that was not used for this long has ended.
pub(crate) const IDLE: Duration = Duration::from_secs(7 * 86_400);
/// A session ends after this long, used or not.
const LIFE: Duration = Duration::from_secs(30 * 86_400);
/// How exactly it is known when a session was last used: a write each time would be too much.
const SEEN: Duration = Duration::from_secs(600);
/// How often it is looked whether a session has ended that another hub may have ended.
const LOOK: Duration = Duration::from_secs(15);
/// Who opened the page on the hub's own machine. No user can have this name.
pub(crate) const OWNER: &str = "local owner";

/// What signing in needs.
#[derive(Debug)]
pub(crate) struct SignIn {
    /// Passwords.
    pub(crate) passwords: Passwords,
    /// Raised whenever something that lets someone in was taken away.
    ended: watch::Sender<u64>,
}

impl SignIn {
    /// Nobody yet.
    pub(crate) fn new(world: &World) -> Self {
        Self { passwords: Passwords::new(world), ended: watch::Sender::new(0) }
    }

    /// How often something that let someone in was taken away, as far as this hub knows.
    pub(crate) fn ends(&self) -> u64 {
        *self.ended.borrow()
    }

    /// Says that sessions, a user or a token were taken away; who goes on for long looks again.
    pub(crate) fn ended(&self) {
        self.ended.send_modify(|count| *count += 1);
    }
}

/// Comes back when what a caller showed does not let it in any more: its session ended, its user was disabled, its
/// token was taken away or ran out. Who answers for long races this against the answer.
pub(crate) async fn ended(app: Arc<App>, caller: Caller) {
    let mut changes = app.sign_in.ended.subscribe();
    loop {
        // A database that is away ends nobody's session.
        if matches!(still(&app, &caller).await, Ok(false)) {
            return;
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = sleep(LOOK) => {}
        }
    }
}

async fn still(app: &App, caller: &Caller) -> Result<bool, ApiError> {
    let Caller::User { via, .. } = caller else { return Ok(true) };
    match via {
        Via::Token { id, .. } => {
            let found = backstay_store::tokens::get(&mut app.store.read(), *id).await?;
            Ok(found.is_some_and(|(token, _)| token.works_at(app.world.now())))
        }
        Via::Session(session) => {
            let found = sessions::get(&mut app.store.read(), session.id).await?;
            let Some((session, _)) = found.filter(|(found, _)| lives(found, app.world.now())) else {
                return Ok(false);
            };
            touch(app, &session).await;
            Ok(of(app, &session).await?.is_some())
        }
    }
}

/// The session's cookie, if the request carries exactly one.
pub(crate) fn cookie(headers: &HeaderMap) -> Option<Secret> {
    let texts = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut ours = pairs.filter(|(name, _)| *name == SESSION_COOKIE).map(|(_, value)| value);
    match (ours.next(), ours.next()) {
        (Some(value), None) => Some(Secret::new(value)),
        _ => None,
    }
}

/// Who has the session of this cookie, and its role.
///
/// # Errors
/// BS4002 when it is unknown or has ended.
pub(crate) async fn by_cookie(app: &App, cookie: &Secret) -> Result<(Caller, Role), ApiError> {
    let over = || ApiError::new(ErrorCode::BS4002, "the session has ended").with_hint("sign in again");
    let presented = Presented::<SessionId>::read(Kind::Session, cookie).ok_or_else(over)?;
    let found = sessions::get(&mut app.store.read(), presented.id).await?;
    let (session, hash) = found.ok_or_else(over)?;
    if !presented.matches(&hash) || !lives(&session, app.world.now()) {
        return Err(over());
    }
    let (name, role) = of(app, &session).await?.ok_or_else(over)?;
    touch(app, &session).await;
    Ok((Caller::User { name, via: Via::Session(Box::new(session)) }, role))
}

/// Begins a session, in place of the one that the browser had, and gives the cookie.
///
/// # Errors
/// When the database refuses.
pub(crate) async fn begin(
    app: &App,
    tx: &mut Tx,
    user: Option<UserId>,
    headers: &HeaderMap,
) -> Result<(Session, (HeaderName, HeaderValue)), ApiError> {
    if let Some(before) =
        cookie(headers).and_then(|cookie| Presented::<SessionId>::read(Kind::Session, &cookie))
    {
        let found = sessions::get(tx, before.id).await?;
        if found.is_some_and(|(_, hash)| before.matches(&hash)) {
            sessions::end(tx, before.id).await?;
        }
    }
    let now = app.world.now();
    let expires_at = now.checked_add(LIFE).map_err(ApiError::internal)?;
    let session = Session { id: app.world.mint(), user, created_at: now, seen_at: now, expires_at };
    let (secret, hash) = mint(Kind::Session, session.id, None, &app.world);
    sessions::insert(tx, &session, hash).await?;
    Ok((session, set_cookie(secret.expose(), LIFE)?))
}

/// The header that takes the cookie away.
///
/// # Errors
/// Never in practice.
pub(crate) fn no_cookie() -> Result<(HeaderName, HeaderValue), ApiError> {
    set_cookie("", Duration::ZERO)
}

fn set_cookie(value: &str, life: Duration) -> Result<(HeaderName, HeaderValue), ApiError> {
    let text = format!(
        "{SESSION_COOKIE}={value}; Path=/; Max-Age={}; Secure; HttpOnly; SameSite=Strict",
        life.as_secs()
    );
    let mut header = HeaderValue::from_str(&text).map_err(ApiError::internal)?;
    header.set_sensitive(true);
    Ok((header::SET_COOKIE, header))
}

/// Name and role of a session, while it may be used.
async fn of(app: &App, session: &Session) -> Result<Option<(String, Role)>, ApiError> {
    let Some(id) = session.user else { return Ok(Some((OWNER.to_owned(), Role::Admin))) };
    let found = users::get(&mut app.store.read(), id).await?;
    let Some(found) = found.filter(|user| user.disabled_at.is_none()) else { return Ok(None) };
    let role = role_of(&found.role).ok_or_else(|| ApiError::internal("a user with an unknown role"))?;
    Ok(Some((found.name.to_string(), role)))
}

fn lives(session: &Session, now: Timestamp) -> bool {
    let idle = Duration::try_from(now.duration_since(session.seen_at)).unwrap_or_default();
    session.expires_at > now && idle < IDLE
}

/// When a session ends at the latest, unless it is used again.
pub(super) fn runs_out(session: &Session) -> Timestamp {
    session.seen_at.checked_add(IDLE).unwrap_or(session.expires_at).min(session.expires_at)
}

/// Notes now and then that a session is used. Where that cannot be written, it goes on as it was.
async fn touch(app: &App, session: &Session) {
    let now = app.world.now();
    let passed = Duration::try_from(now.duration_since(session.seen_at)).unwrap_or_default();
    if passed < SEEN {
        return;
    }
    let written = async {
        let mut tx = app.store.begin().await?;
        sessions::seen(&mut tx, session.id, now).await?;
        tx.commit().await
    };
    if let Err(error) = written.await {
        tracing::debug!(%error, "a session's use could not be noted");
    }
}

/// Who calls, by bearer token or cookie, whoever may; nothing without a credential that is good.
///
/// # Errors
/// When the database cannot be read.
pub(crate) async fn anyone(app: &App, headers: &HeaderMap) -> Result<Option<(Caller, Role)>, ApiError> {
    let found = user(app, headers).await;
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.problem().status < 500 => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cookie_of_ours_and_no_more() {
        let read = |texts: &[&str]| {
            let mut headers = HeaderMap::new();
            for text in texts {
                headers.append(header::COOKIE, text.parse().unwrap());
            }
            cookie(&headers).map(|value| value.expose().to_owned())
        };
        assert_eq!(read(&["a=b; __Host-backstay=x.y; c=d"]).as_deref(), Some("x.y"));
        assert_eq!(read(&["a=b", "__Host-backstay=x"]).as_deref(), Some("x"));
        assert_eq!(read(&["__Host-backstay=x; __Host-backstay=y"]), None);
        assert_eq!(read(&["__host-backstay=x; backstay=y", "x__Host-backstay=z"]), None);
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn the_cookie_is_for_this_host_alone_and_not_for_scripts() {
        let (name, value) = set_cookie("bss.x.y", LIFE).unwrap();
        assert_eq!(name, header::SET_COOKIE);
        assert_eq!(
            value.to_str().unwrap(),
            "__Host-backstay=bss.x.y; Path=/; Max-Age=2592000; Secure; HttpOnly; SameSite=Strict"
        );
        assert!(value.is_sensitive());
    }
}

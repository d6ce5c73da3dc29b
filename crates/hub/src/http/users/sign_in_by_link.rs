//! `POST /api/v1/session/link`

use backstay_api::{
    Role,
    v1::{SessionView, SignInByLink},
};
use backstay_store::{
    Tx, sessions,
    sign_in_links::{self, LinkKind},
    users::{self, PasswordHash, User},
};
use backstay_types::{ErrorCode, Event, Refs, Secret, UserChange, UserName};

use super::{links, view};
use crate::{
    app::App,
    auth::{Caller, Via, origin, passwords, role_of, session, session::OWNER, word},
    http::{ApiError, Call, Reply},
};

/// Signs in by a one-time link. What is wrong with name or password is said before the link is used up.
pub(crate) async fn sign_in_by_link(call: Call<SignInByLink>) -> Result<Reply<SessionView>, ApiError> {
    let Call { app, body, headers, .. } = call;
    origin::check(app.settings.hub.public_url.as_ref(), &headers, origin::Need::NotOther)?;
    let (link, hash) = links::find(&app, &body.code).await?;
    let ready = prepare(&app, link.kind, body.name.as_deref(), body.password.as_ref()).await?;
    let mut tx = app.store.begin().await?;
    if !sign_in_links::consume(&mut tx, link.id, hash, app.world.now()).await? {
        return Err(links::over());
    }
    let user = apply(&app, &mut tx, ready).await?;
    let (session, cookie) =
        session::begin(&app, &mut tx, user.as_ref().map(|user| user.id), &headers).await?;
    tx.commit().await?;
    app.sign_in.ended();
    let (name, role) = match user {
        None => (OWNER.to_owned(), Role::Admin),
        Some(user) => {
            let role =
                role_of(&user.role).ok_or_else(|| ApiError::internal("a user with an unknown role"))?;
            (user.name.to_string(), role)
        }
    };
    tracing::info!(user = %name, "signed in by link");
    let caller = Caller::User { name, via: Via::Session(Box::new(session)) };
    Ok(Reply::from(view::session(&app, Some((caller, role))).await?).header(cookie.0, cookie.1))
}

/// What a link does, with everything that it takes.
enum Ready {
    Owner,
    First(UserName, PasswordHash),
    Password(Box<User>, PasswordHash),
}

/// Checks what was given, and hashes: both take no transaction.
async fn prepare(
    app: &App,
    kind: LinkKind,
    name: Option<&str>,
    password: Option<&Secret>,
) -> Result<Ready, ApiError> {
    let wanted = || ApiError::new(ErrorCode::BS4018, "this link takes a password to set");
    match kind {
        LinkKind::Open => Ok(Ready::Owner),
        LinkKind::FirstUser => {
            let missing = || ApiError::invalid("name", "this link takes the first user's name");
            let name = name.ok_or_else(missing)?.trim().to_lowercase();
            let name: UserName = name.parse().map_err(|error| ApiError::invalid("name", error))?;
            let hash = hash(app, &name, password.ok_or_else(wanted)?).await?;
            Ok(Ready::First(name, hash))
        }
        LinkKind::User(id) => {
            let user = users::get(&mut app.store.read(), id).await?.ok_or_else(links::over)?;
            let hash = hash(app, &user.name, password.ok_or_else(wanted)?).await?;
            Ok(Ready::Password(Box::new(user), hash))
        }
    }
}

async fn hash(app: &App, name: &UserName, password: &Secret) -> Result<PasswordHash, ApiError> {
    passwords::check(name, password)?;
    app.sign_in.passwords.hash(password, &app.world).await
}

/// Does what the link is for; gives the user that is signed in, or nobody for the machine's owner.
async fn apply(app: &App, tx: &mut Tx, ready: Ready) -> Result<Option<User>, ApiError> {
    let now = app.world.now();
    match ready {
        Ready::Owner => Ok(None),
        Ready::First(name, password) => {
            if users::any(tx).await? {
                let detail = "the first user has been made already";
                return Err(
                    ApiError::new(ErrorCode::BS4005, detail).with_hint("sign in, or ask an admin for a link")
                );
            }
            let role = word(Role::Admin).to_owned();
            let user = User {
                id: app.world.mint(),
                name,
                role: role.clone(),
                created_at: now,
                disabled_at: None,
                last_sign_in_at: Some(now),
            };
            users::insert(tx, &user, Some(&password)).await?;
            record(tx, &user.name, UserChange::Created { role }, "the first user's link")?;
            Ok(Some(user))
        }
        Ready::Password(user, password) => {
            users::set_password(tx, user.id, &password).await?;
            sessions::end_all(tx, Some(user.id), None).await?;
            if !users::signed_in(tx, user.id, now).await? {
                return Err(links::over());
            }
            record(tx, &user.name, UserChange::PasswordSet, user.name.as_str())?;
            Ok(Some(*user))
        }
    }
}

fn record(tx: &mut Tx, name: &UserName, change: UserChange, by: &str) -> Result<(), ApiError> {
    let event = Event::UserChanged { name: name.clone(), change, by: by.to_owned() };
    tx.record(event, Refs::default())?;
    Ok(())
}

//! Who calls. Every endpoint but public ones passes here before its body is parsed.

mod credential;
pub(crate) mod origin;
pub(crate) mod passwords;
pub(crate) mod session;
pub(crate) mod tries;
pub(crate) mod webhook;

use backstay_api::{Role, v1};
use backstay_store::{nodes, sessions::Session, tokens};
use backstay_types::{ErrorCode, Node, NodeId, Secret, Timestamp, TokenId};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderValue, header};

pub(crate) use self::{
    credential::{Kind, Presented, mint},
    passwords::Passwords,
    session::{IDLE, SignIn},
    tries::FORGOTTEN,
    webhook::{Delivered, sealing_context, webhook},
};
use crate::{app::App, http::ApiError};

/// Who calls.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// Anyone; the endpoint is public.
    Anyone,
    /// A tool whose delivery was verified.
    Webhook(Delivered),
    /// A node.
    Node(Box<Node>),
    /// A person or program, with an API token or signed in.
    User {
        /// The token's or the user's name: who did it, in the ledger.
        name: String,
        /// What it showed.
        via: Via,
    },
}

/// What a person or program showed.
#[derive(Debug, Clone)]
pub(crate) enum Via {
    /// An API token.
    Token {
        /// The token.
        id: TokenId,
        /// When it runs out.
        until: Option<Timestamp>,
    },
    /// The cookie of a session.
    Session(Box<Session>),
}

impl Caller {
    /// The node.
    ///
    /// # Errors
    /// When the caller is not one; the role check sees to it that this does not happen.
    pub(crate) fn node(&self) -> Result<NodeId, ApiError> {
        match self {
            Self::Node(node) => Ok(node.id),
            _ => Err(not_allowed("this is for agents")),
        }
    }

    /// The session.
    ///
    /// # Errors
    /// When the caller showed no cookie.
    pub(crate) fn session(&self) -> Result<&Session, ApiError> {
        match self {
            Self::User { via: Via::Session(session), .. } => Ok(session),
            _ => Err(ApiError::new(ErrorCode::BS4005, "this is for who is signed in; you showed a token")
                .with_hint("a token is taken away by `backstay tokens revoke`")),
        }
    }

    /// When what the caller showed runs out, if it does.
    pub(crate) fn until(&self) -> Option<Timestamp> {
        match self {
            Self::User { via: Via::Token { until, .. }, .. } => *until,
            Self::User { via: Via::Session(session), .. } => Some(session::runs_out(session)),
            Self::Anyone | Self::Webhook(_) | Self::Node(_) => None,
        }
    }

    /// Who did it, as the ledger says it.
    pub(crate) fn by(&self) -> String {
        match self {
            Self::User { name, .. } => name.clone(),
            Self::Node(node) => format!("node {}", node.name),
            Self::Webhook(delivered) => delivered.source.name().to_owned(),
            Self::Anyone => "anyone".to_owned(),
        }
    }
}

/// The caller, when its credential is good and its role high enough. Where a session's cookie says who it is,
/// the request must come from the hub's own page; `changes` says whether it changes something.
///
/// # Errors
/// 401 without a good credential, 403 when it does not reach or another site asks.
pub(crate) async fn caller(
    app: &App,
    role: Role,
    headers: &HeaderMap,
    changes: bool,
) -> Result<Caller, ApiError> {
    if let Some(presented) =
        bearer(headers).ok().and_then(|text| Presented::<NodeId>::read(Kind::Agent, &text))
    {
        let node = node(app, presented).await?;
        return match role {
            Role::Agent => Ok(Caller::Node(Box::new(node))),
            _ => Err(not_allowed("this is not for agents")),
        };
    }
    let (caller, has) = user(app, headers).await?;
    if let Caller::User { via: Via::Session(_), .. } = &caller {
        let need = if changes { origin::Need::Said } else { origin::Need::NotOther };
        origin::check(app.settings.hub.public_url.as_ref(), headers, need)?;
    }
    match role {
        Role::Viewer | Role::Operator | Role::Admin if has >= role => Ok(caller),
        Role::Viewer | Role::Operator | Role::Admin => {
            let whose = caller.by();
            Err(not_allowed(&format!("this takes the role {}, and {whose} has {}", word(role), word(has))))
        }
        Role::Agent => Err(not_allowed("this is for agents")),
        Role::Public | Role::Webhook => Err(not_allowed("this endpoint takes no token")),
    }
}

/// The same with a bearer where basic authentication was shown: its password is the credential.
pub(crate) fn as_bearer(headers: &HeaderMap) -> HeaderMap {
    let password = || {
        let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, encoded) = text.split_once(' ')?;
        let decoded =
            scheme.eq_ignore_ascii_case("basic").then(|| BASE64_STANDARD.decode(encoded.trim()))?.ok()?;
        let (_, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
        HeaderValue::from_str(&format!("Bearer {password}")).ok()
    };
    let mut headers = headers.clone();
    if let Some(bearer) = password() {
        headers.insert(header::AUTHORIZATION, bearer);
    }
    headers
}

/// A person or program and its role: by bearer token, else by the cookie of a session.
async fn user(app: &App, headers: &HeaderMap) -> Result<(Caller, Role), ApiError> {
    if !headers.contains_key(header::AUTHORIZATION)
        && let Some(cookie) = session::cookie(headers)
    {
        return session::by_cookie(app, &cookie).await;
    }
    let presented = Presented::<TokenId>::read(Kind::Api, &bearer(headers)?).ok_or_else(unknown)?;
    let (name, role, until) = token(app, presented).await?;
    Ok((Caller::User { name, via: Via::Token { id: presented.id, until } }, role))
}

/// What a person or program shows, and whether that is a session's cookie: what [`user`] goes by.
pub(crate) fn shown(headers: &HeaderMap) -> Option<(bool, Secret)> {
    if headers.contains_key(header::AUTHORIZATION) {
        Some((false, bearer(headers).ok()?))
    } else {
        Some((true, session::cookie(headers)?))
    }
}

fn bearer(headers: &HeaderMap) -> Result<Secret, ApiError> {
    let missing = || {
        ApiError::new(ErrorCode::BS4002, "no credential: expected `Authorization: Bearer …`, or a session")
            .with_hint(
                "sign in on the page; the hub's own token is in the file `admin.token` of its data folder",
            )
    };
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(missing()) };
    let text = value.to_str().map_err(|_| unknown())?;
    let (scheme, token) = text.split_once(' ').ok_or_else(missing)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(Secret::new(token.trim())) } else { Err(missing()) }
}

async fn node(app: &App, presented: Presented<NodeId>) -> Result<Node, ApiError> {
    let found = nodes::by_credential(&mut app.store.read(), presented.hash()).await?;
    let node = found.filter(|node| node.id == presented.id).ok_or_else(unknown)?;
    match node.revoked_at {
        None => Ok(node),
        Some(_) => {
            Err(ApiError::new(ErrorCode::BS4002, format!("the credential of {} was taken away", node.name))
                .with_hint("make a join token and let the node join again"))
        }
    }
}

/// The name and role of an API token, and when it runs out.
async fn token(
    app: &App,
    presented: Presented<TokenId>,
) -> Result<(String, Role, Option<Timestamp>), ApiError> {
    let found = tokens::get(&mut app.store.read(), presented.id).await?;
    let (token, secret) = found.ok_or_else(unknown)?;
    let tokens::TokenKind::Api { role } = &token.kind else { return Err(unknown()) };
    if !presented.matches(&secret.hash) {
        return Err(unknown());
    }
    if !token.works_at(app.world.now()) {
        return Err(ApiError::new(ErrorCode::BS4002, "the token has run out or was taken away"));
    }
    let role = role_of(role).ok_or_else(|| ApiError::internal("a token with an unknown role"))?;
    Ok((token.name, role, token.expires_at))
}

/// The role of that name, if a token may have it.
pub(crate) fn role_of(word: &str) -> Option<Role> {
    [Role::Viewer, Role::Operator, Role::Admin].into_iter().find(|role| self::word(*role) == word)
}

/// A role's name.
pub(crate) fn word(role: Role) -> &'static str {
    match role {
        Role::Public => "public",
        Role::Webhook => "webhook",
        Role::Agent => "agent",
        Role::Viewer => "viewer",
        Role::Operator => "operator",
        Role::Admin => "admin",
    }
}

/// A token as the API shows it; nothing for join tokens, which are shown once and never listed.
pub(crate) fn token_view(token: tokens::Token) -> Option<v1::Token> {
    let kind = match token.kind {
        tokens::TokenKind::Api { role } => v1::TokenKind::Api { role: role_of(&role)? },
        tokens::TokenKind::Webhook { source } => v1::TokenKind::Webhook { source },
        tokens::TokenKind::Join => return None,
    };
    let tokens::Token { id, name, created_at, expires_at, revoked_at, .. } = token;
    Some(v1::Token { id, name, kind, created_at, expires_at, revoked_at })
}

fn unknown() -> ApiError {
    ApiError::new(ErrorCode::BS4002, "the credential is not known here")
}

fn not_allowed(detail: &str) -> ApiError {
    ApiError::new(ErrorCode::BS4003, detail)
}

//! Signing in, and the people who may.

use backstay_types::{Secret, Timestamp, UserId, UserName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Page;
use crate::endpoint::{Empty, Role, endpoints};

endpoints! {
    /// Who is signed in, if anyone. Never an error: the page asks it first.
    GetSession = Get "/api/v1/session" Public () -> SessionView;
    /// Signs in by name and password. The answer sets the session's cookie.
    SignIn = Post "/api/v1/session" Public (body: SignInRequest) -> SessionView;
    /// Signs in by a one-time link. The answer sets the session's cookie.
    SignInByLink = Post "/api/v1/session/link" Public (body: SignInByLinkRequest) -> SessionView;
    /// What a one-time link is for. It is not used up by this.
    LookAtLink = Post "/api/v1/session/link/look" Public (body: LinkCode) -> LinkView;
    /// Ends this session.
    SignOut = Delete "/api/v1/session" Viewer () -> Empty;
    /// Ends all sessions of who is signed in, this one too.
    SignOutEverywhere = Post "/api/v1/session/revoke-all" Viewer () -> Empty;
    /// Changes the password of who is signed in. The other sessions end.
    ChangePassword = Post "/api/v1/session/password" Viewer (body: ChangePasswordRequest) -> Empty;
    /// A one-time link that opens the page of a hub on loopback signed in, or with which the first user of another hub is made. For API tokens alone.
    CreateOpenLink = Post "/api/v1/session/open" Admin () -> CreatedLink;
    /// Users, by name.
    ListUsers = Get "/api/v1/users" Admin () -> Page<User>;
    /// Makes a user. Whoever gets the link sets the password; none passes through other hands.
    CreateUser = Post "/api/v1/users" Admin (body: CreateUserRequest) -> CreatedUser;
    /// Changes a user's role, disables it or lets it in again. All sessions of a disabled user end at once.
    UpdateUser = Post "/api/v1/users/{user}" Admin (path: UserPath, body: UpdateUserRequest) -> User;
    /// Makes a one-time link with which a user sets a new password. An earlier link stops working.
    ResetUser = Post "/api/v1/users/{user}/link" Admin (path: UserPath) -> CreatedLink;
}

/// Who is signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionView {
    /// Whether anyone is.
    pub signed_in: bool,
    /// The user's or the token's name; `local owner` for who opened the page on the hub's own machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it may do: `viewer`, `operator` or `admin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// How it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<SignedInVia>,
    /// The user; absent for tokens and the local owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// When the session ends, used or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// No user has been made yet.
    pub first_user_needed: bool,
    /// The hub.
    pub hub: SessionHub,
}

/// How a caller is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignedInVia {
    /// By the cookie of a session.
    Session,
    /// By an API token.
    Token,
}

/// What anyone may know of the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionHub {
    /// Its version.
    pub version: String,
    /// The host name under which it is known.
    pub name: String,
}

/// Name and password.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SignInRequest {
    /// The user's name, in small or capital letters.
    pub name: String,
    /// The password.
    pub password: Secret,
}

/// A link, used.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SignInByLinkRequest {
    /// What stands behind `#/link/` in the link.
    pub code: Secret,
    /// The first user's name, for a link of that kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The password to set, 12 characters at least; for all links but those that open the page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

/// A link, looked at.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LinkCode {
    /// What stands behind `#/link/` in the link.
    pub code: Secret,
}

/// What a link is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LinkView {
    /// What it does.
    pub kind: LinkKind,
    /// Whose password is set by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<UserName>,
    /// When it stops working.
    pub expires_at: Timestamp,
}

/// What a link does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkKind {
    /// Opens the page signed in as who owns the hub's machine.
    Open,
    /// Makes the first user, an admin: takes a name and a password.
    FirstUser,
    /// Sets the password of a user: takes a password.
    User,
}

/// A new link, shown once.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CreatedLink {
    /// The whole address. The code stands in its fragment, which browsers do not send.
    pub link: Secret,
    /// What it does.
    pub kind: LinkKind,
    /// When it stops working.
    pub expires_at: Timestamp,
}

/// Passwords, the old and the new.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ChangePasswordRequest {
    /// The one that works now.
    pub old: Secret,
    /// The one to set, 12 characters at least.
    pub new: Secret,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Its name.
    pub name: UserName,
    /// What it may do: `viewer`, `operator` or `admin`.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was kept from signing in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_at: Option<Timestamp>,
    /// When it last signed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_sign_in_at: Option<Timestamp>,
}

/// A user to make.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CreateUserRequest {
    /// Its name: 1 to 63 characters from a-z, 0-9, `-`, `_` and `.`, beginning with a letter or digit.
    pub name: UserName,
    /// What it may do: `viewer`, `operator` or `admin`.
    pub role: Role,
}

/// A new user with its link, shown once.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CreatedUser {
    /// The user.
    #[serde(flatten)]
    pub user: User,
    /// The address with which the password is set.
    pub link: Secret,
    /// When the link stops working.
    pub link_expires_at: Timestamp,
}

/// What to change; what is absent stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct UpdateUserRequest {
    /// The new role: `viewer`, `operator` or `admin`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Whether it is kept from signing in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
}

/// Which user.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UserPath {
    /// Its name or id.
    pub user: String,
}

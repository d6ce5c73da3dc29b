//! The hub itself: what it is, its tokens, its health, its documentation.

pub(crate) mod create_token;
pub(crate) mod docs;
pub(crate) mod get;
pub(crate) mod health;
pub(crate) mod levels;
pub(crate) mod list_tokens;
pub(crate) mod metrics;
pub(crate) mod revoke_token;

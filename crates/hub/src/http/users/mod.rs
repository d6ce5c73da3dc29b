//! Signing in, and the people who may.

mod links;
mod view;

pub(crate) mod change_password;
pub(crate) mod create;
pub(crate) mod create_open_link;
pub(crate) mod get_session;
pub(crate) mod list;
pub(crate) mod look_at_link;
pub(crate) mod reset;
pub(crate) mod sign_in;
pub(crate) mod sign_in_by_link;
pub(crate) mod sign_out;
pub(crate) mod sign_out_everywhere;
pub(crate) mod update;

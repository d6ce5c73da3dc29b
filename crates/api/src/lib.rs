//! The hub's API: wire types, and every endpoint declared once.
//!
//! [`endpoint`] says what an endpoint is; [`agent`] and [`v1`] declare them.
//! The hub's router, the client and the OpenAPI document are all made from
//! these declarations, so that none can drift from another.

pub mod agent;
pub mod body;
pub mod bundle;
pub mod endpoint;
mod openapi;
mod problem;
pub mod statement;
pub mod time;
pub mod v1;

pub use body::{Binary, Events, Html, Media, Text};
pub use endpoint::{Declaration, Empty, Endpoint, Method, Role, declarations};
pub use openapi::openapi;
pub use problem::Problem;

/// The cookie of a session in a browser.
pub const SESSION_COOKIE: &str = "__Host-backstay";

/// The header of an answer that was given before and is given again, because the hub's database is away: the time that
/// it is of.
pub const AS_OF: &str = "backstay-as-of";

//! HTTP, authentication and the composition root.
//!
//! [`run`] and [`Hub::start`] make everything and wire it. Requests come in through `http`, which can route
//! nothing but what `backstay-api` declares, each under the role that is declared there. `live` holds what is
//! known of nodes now; a check-in touches nothing else. `background` is what happens without a request.

mod app;
mod auth;
mod background;
mod backups;
mod data_dir;
mod error;
mod http;
mod keys;
mod live;
mod metrics;
mod packs;
mod room;
mod server;
mod start;
mod telemetry;

pub use backups::{RestoredHub, WantedHub, open_sealed, restore_hub};
pub use error::HubError;
pub use start::{ADMIN_TOKEN_FILE, Hub, URL_FILE, run};

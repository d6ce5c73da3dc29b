//! Conversations and webhook deliveries.

pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod list_deliveries;
pub(crate) mod receive_webhook;
pub(crate) mod resolve;
mod view;

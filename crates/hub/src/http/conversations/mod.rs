//! Conversations and webhook deliveries.

pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod list_deliveries;
pub(crate) mod list_webhooks;
pub(crate) mod receive_webhook;
pub(crate) mod resolve;
pub(crate) mod test_webhook;
mod view;

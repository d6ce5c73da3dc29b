//! Metrics: what senders bring, and how the store stands.

pub(crate) mod export;
pub(crate) mod receive;
pub(crate) mod view;

//! Metrics and logs: what senders bring, and how the stores stand.

pub(crate) mod export;
pub(crate) mod receive;
pub(crate) mod receive_logs;
pub(crate) mod view;

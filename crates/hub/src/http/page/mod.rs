//! What the page needs: its files, and answers made for its views.

mod attention;
pub(super) mod files;
pub(super) mod follow_events;
pub(super) mod node_rows;
pub(super) mod overview;
pub(super) mod search;

//! Nodes, repositories, stacks, releases, constraints.

pub(crate) mod accept_rewrite;
pub(crate) mod add_repository;
pub(crate) mod agents;
pub(crate) mod check_repository;
pub(crate) mod create_constraint;
pub(crate) mod create_hold;
pub(crate) mod create_join_token;
pub(crate) mod decommission;
pub(crate) mod export_bundle;
pub(crate) mod get_node;
pub(crate) mod inventory;
pub(crate) mod label_nodes;
pub(crate) mod leave_safe_mode;
pub(crate) mod lift_constraint;
pub(crate) mod list_branches;
pub(crate) mod list_constraints;
pub(crate) mod list_drift;
pub(crate) mod list_nodes;
pub(crate) mod list_releases;
pub(crate) mod list_repositories;
pub(crate) mod list_stacks;
pub(crate) mod list_windows;
mod node_view;
pub(crate) mod revoke_node;
pub(crate) mod sync_repository;

//! Deployments, rollouts, and the logs of what runs.

pub(crate) mod follow_logs;
pub(crate) mod get;
pub(crate) mod get_decisions;
pub(crate) mod get_rollout;
pub(crate) mod list;
pub(crate) mod list_rollouts;
pub(crate) mod logs;
pub(crate) mod steer;
mod view;

pub(in crate::http) use view::rollout_views;

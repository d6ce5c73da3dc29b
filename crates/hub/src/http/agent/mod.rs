//! The agent's endpoints.

pub(crate) mod backups;
pub(crate) mod check_in;
pub(crate) mod get_build;
pub(crate) mod get_pack;
pub(crate) mod join;
pub(crate) mod repository;
pub(crate) mod send_answer;
pub(crate) mod send_reports;

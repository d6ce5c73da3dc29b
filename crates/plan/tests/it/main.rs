//! The planner, driven.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod fleet;
mod history;
mod simulated;
mod waves;

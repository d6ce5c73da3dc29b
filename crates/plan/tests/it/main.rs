//! The planner, driven.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod back;
mod branches;
mod fleet;
mod health;
mod history;
mod judged;
mod limits;
mod parts;
mod pattern;
mod promotion;
mod simulated;
mod waves;

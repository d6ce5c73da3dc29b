//! Seeds, and that what they look for would be found.
#![allow(clippy::unwrap_used, reason = "tests")]

mod planted;
mod seeds;

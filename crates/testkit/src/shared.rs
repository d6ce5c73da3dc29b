//! What outlives single tests.

use crate::{docker, postgres};

/// Ends the shared PostgreSQL and clears engines that killed tests left behind.
pub fn stop() {
    postgres::stop_shared();
    docker::clear_slots();
}

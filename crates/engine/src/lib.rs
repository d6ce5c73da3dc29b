//! Reconcilers: load a snapshot, plan, apply.

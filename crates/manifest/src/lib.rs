//! Pure: fleet.toml, stack.toml, Compose inspection, label selectors.

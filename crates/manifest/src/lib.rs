//! What people write, read exactly: `fleet.toml`, `stack.toml`, `.env.template`,
//! Compose files and label selectors.
//!
//! Pure: bytes in, values out. No file system, no clock, no network. Everything
//! that cannot be understood becomes a [`Problem`] with file, line, field, what
//! was expected and a stable code; nothing here panics on any input.
//!
//! The way through: [`discover`] finds the stacks of a repository and parses all
//! of it into a [`Fleet`]; [`check::check`] adds lints. On a node, [`Compose`] is parsed
//! again with the node's values, [`compose::classify`] says which mounts come from
//! Git and which are state, and [`compose::override_document`] writes what Compose
//! is given besides the file itself.

mod backup;
pub mod check;
pub mod code;
pub mod compose;
mod discover;
mod duration;
pub mod env;
mod environment;
mod figure;
mod fleet;
pub mod interpolate;
mod opening;
mod part;
mod part_check;
mod pattern;
mod pin_edit;
mod probe;
mod problem;
mod process;
mod read;
mod selector;
mod stack;
mod strategy;
mod unit;
mod window;

pub use backup::{
    BackupItem, BackupSource, Backups, CommandSource, Consistency, DrillMode, Migrations, PostgresMethod,
    PostgresSource,
};
pub use compose::Compose;
pub use discover::{Entry, Fleet, Listing, ReadFile, Stack, discover, load_stack};
pub use duration::{format_duration, parse_duration};
pub use env::EnvTemplate;
pub use environment::{Environment, Promotion};
pub use figure::{FigureFrom, FigureSource};
pub use fleet::{Assignment, Channel, FleetManifest, MaxUpdating, Pin, PruneSettings, RolloutSettings};
pub use interpolate::Variables;
pub use opening::Opening;
pub use part::{Apply, BASE_PART, Part, Parts, PathPattern, Requirement, Version, VersionPlace};
pub use pattern::LogPattern;
pub use pin_edit::{add_pins, remove_pins};
pub use probe::{Probe, ProbeKind};
pub use problem::{Problem, Severity};
pub use process::{ProcessSpec, Restart, StopSignal};
pub use selector::{Selector, SelectorError};
pub use stack::{ComposeSettings, Runtime, StackManifest};
pub use strategy::{Figure, Over, StopRule, Than, Wave};
pub use unit::{RELEASE as RELEASE_IN_UNITS, UnitSpec, is_started};
pub use window::{Blackout, Freeze, Window, Zone};

/// The newest manifest schema that this build knows. Agents report it.
pub const MANIFEST_SCHEMA: u32 = 4;

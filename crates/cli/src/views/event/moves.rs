//! What happened to stacks that move from node to node, in a sentence.

use backstay_types::{Event, MigrationStep};

use crate::{ids, views::migration};

pub(super) fn sentence(event: &Event) -> String {
    match event {
        Event::MigrationStarted { migration, stacks, from_gone, by, .. } => {
            let stacks: Vec<_> = stacks.iter().map(ToString::to_string).collect();
            let gone = if *from_gone { ", whose node is gone for good, they say" } else { "" };
            format!(
                "{} moved to another node by {by}{gone} (migration {})",
                stacks.join(", "),
                ids::short(*migration)
            )
        }
        Event::MigrationMoved { migration, step, why, .. } => {
            let why = why.as_ref().filter(|_| is_back(*step)).map(|why| format!(": {why}"));
            format!(
                "{}{} (migration {})",
                migration::step(*step),
                why.unwrap_or_default(),
                ids::short(*migration)
            )
        }
        Event::MigrationCancelled { migration, by } => {
            format!("migration {} cancelled by {by}", ids::short(*migration))
        }
        _ => String::new(),
    }
}

fn is_back(step: MigrationStep) -> bool {
    matches!(step, MigrationStep::GoingBack | MigrationStep::Resuming | MigrationStep::Stayed)
}

//! What happened about backups, as sentences.

use backstay_types::{Event, backup::SnapshotId};

use crate::ui::{when, words};

/// What happened; empty for what is not about backups.
pub(super) fn sentence(event: &Event) -> String {
    match event {
        Event::BackupMade { snapshots, bytes, failed, .. } => {
            let size = words::bytes(*bytes);
            let missing = failed.as_deref().map(|why| format!("; something is missing: {why}"));
            format!("saved, {}, {size}{}", counted(*snapshots), missing.unwrap_or_default())
        }
        Event::BackupFailed { why } => format!("could not be saved: {why}"),
        Event::BackupVerified { snapshots, second } => {
            let place = if *second { "second target" } else { "target" };
            format!("{} read back at the {place} and right", counted(snapshots.len() as u64))
        }
        Event::BackupRepositoryChecked { problems: 0, first } => {
            let first = first.as_deref().map(|first| format!(": {first}"));
            format!("its repository is right again{}", first.unwrap_or_default())
        }
        Event::BackupRepositoryChecked { problems, first } => {
            let first = first.as_deref().unwrap_or_default();
            format!("its repository is damaged, {problems} problems: {first}")
        }
        Event::BackupsPruned { snapshots, deleted_bytes } => {
            format!("{} forgotten, {} freed", counted(snapshots.len() as u64), words::bytes(*deleted_bytes))
        }
        Event::BackupWriteRefused { what, times } => {
            format!("tried to change its backups, {times} times; it was refused: {what}")
        }
        Event::RestoreAsked { snapshot, in_place, of_node, by } => {
            let place = if *in_place { "in place" } else { "to a folder" };
            let of = of_node.map(|of| format!(" of another node ({of})")).unwrap_or_default();
            format!("restore of {}{of} {place} asked for by {by}", short(*snapshot))
        }
        Event::RestoreFinished { snapshot, failed: None } => format!("{} was restored", short(*snapshot)),
        Event::RestoreFinished { snapshot, failed: Some(why) } => {
            format!("{} could not be restored: {why}", short(*snapshot))
        }
        Event::DrillAsked { snapshot, by } => format!("drill with {} asked for by {by}", short(*snapshot)),
        Event::DrillFinished { snapshot, started, restore_ms, failed: None } => {
            let how =
                if *started { "restored, compared, started and probed" } else { "restored and compared" };
            let took = when::millis(*restore_ms);
            format!("a drill with {} passed: {how}; restoring took {took}", short(*snapshot))
        }
        Event::DrillFinished { snapshot, failed: Some(why), .. } => {
            format!("a drill with {} failed: {why}", short(*snapshot))
        }
        Event::SnapshotHeld { snapshot, held, reason, by } => {
            let done = if *held { "is kept" } else { "is no longer kept" };
            format!("snapshot {} {done}, said {by}: {reason}", short(*snapshot))
        }
        Event::BackupCancelled { by, .. } => format!("a backup job was cancelled by {by}"),
        Event::RecoveryKeySet { recipient, by } => format!("the recovery key {recipient} was set by {by}"),
        Event::BackupTargetAccepted { place, by } => {
            format!("what is at the backup target {place} was accepted as it is by {by}")
        }
        Event::HubRestored { snapshot, epoch } => {
            format!("this hub was restored from {}; epoch {epoch}", short(*snapshot))
        }
        _ => String::new(),
    }
}

fn short(id: SnapshotId) -> String {
    id.digest().short()
}

fn counted(count: u64) -> String {
    if count == 1 { "1 snapshot".to_owned() } else { format!("{count} snapshots") }
}

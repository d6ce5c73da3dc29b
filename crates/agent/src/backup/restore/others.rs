//! Other stacks of the node that use the same data. They do not run while it is exchanged.

use std::collections::{BTreeMap, BTreeSet};

use backstay_agent_core::{Committed, StackRecord};
use backstay_types::{StackName, Step};

use super::Restoring;
use crate::{
    backup::{BackupError, desk::Desk},
    runtime::compose::{Engine, Mounting},
    step::{Failed, Records},
};

/// Notes which stacks use the data of some items besides those that are said to: containers of theirs mount the same volumes.
/// Whether any is new.
pub(super) async fn find_others(
    desk: &Desk,
    state: &mut Restoring,
    items: &[&str],
) -> Result<bool, BackupError> {
    let plan = &state.plan;
    if plan.runtime != "compose" {
        return Ok(false);
    }
    let meant = plan.backups.items.iter().filter(|item| items.contains(&item.name.as_str()));
    let volumes = meant.filter_map(|item| item.what.volume());
    let volumes = volumes.map(|volume| plan.volumes.get(volume).map_or(volume, String::as_str).to_owned());
    let mounting = Engine::new().mounting(&volumes.collect()).await;
    let mounting = mounting.map_err(BackupError::restore("the container engine"))?;
    let stacks = desk.journal()?.stacks;
    let before = state.others.len();
    for one in mounting.into_iter().filter(|one| one.project.as_deref() != Some(plan.project.as_str())) {
        match stack_of(desk, &stacks, &one) {
            Some(stack) if stack == state.stack => {}
            Some(stack) => drop(state.others.insert(stack)),
            // It would go on writing to what is taken away.
            None if one.running => {
                return Err(BackupError::Restore(format!(
                    "container `{}` uses volume `{}` too and is of no stack of this node: stop it first",
                    one.name, one.volume
                )));
            }
            // When it is started it finds what is in place then.
            None => {}
        }
    }
    Ok(state.others.len() > before)
}

/// The stack of this agent's that a container is of. Another agent beside this one may have a stack with the same name.
fn stack_of(desk: &Desk, stacks: &BTreeMap<StackName, StackRecord>, one: &Mounting) -> Option<StackName> {
    let (stack, dir) = one.stack.as_ref()?;
    let stack: StackName = stack.parse().ok()?;
    (stacks.contains_key(&stack) && dir.starts_with(desk.layout().stack(&stack))).then_some(stack)
}

/// Those that run here, with what runs of them.
fn others(desk: &Desk, state: &Restoring) -> Result<Vec<(StackName, Committed)>, BackupError> {
    let items = state.plan.backups.items.iter();
    let said = items.flat_map(|item| &item.shared_with).filter(|one| **one != state.stack);
    let names: BTreeSet<_> = said.chain(&state.others).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut stacks = desk.journal()?.stacks;
    let runs = |name: &StackName| {
        // One that was stopped in safe mode stays so.
        let record = stacks.remove(name).filter(|record| !record.trouble.stopped)?;
        Some((name.clone(), record.committed?))
    };
    Ok(names.into_iter().filter_map(runs).collect())
}

/// Stops them. Done again it does nothing.
pub(in crate::backup) async fn stop_others(desk: &Desk, state: &Restoring) -> Result<(), BackupError> {
    for (name, committed) in others(desk, state)? {
        let Some(prepared) = &committed.prepared else { continue };
        let mut records = Records::new(desk.machine.world.clone());
        let down = desk.machine.down(&name, Some(committed.tree), prepared, &mut records).await;
        down.map_err(|Failed { reason, .. }| {
            BackupError::Restore(format!("{name}, which uses the same data: {reason}"))
        })?;
    }
    Ok(())
}

/// Starts them. What cannot be started now is started as any drift is put right.
pub(in crate::backup) async fn start_others(desk: &Desk, state: &Restoring) {
    let others = match others(desk, state) {
        Ok(others) => others,
        Err(error) => return tracing::error!(%error, "which stacks use the same data cannot be told"),
    };
    for (name, committed) in others {
        let Some(prepared) = &committed.prepared else { continue };
        let mut records = Records::new(desk.machine.world.clone());
        let to = (&name, committed.tree);
        if let Err(failed) = desk.machine.up(to, None, prepared, Step::Return, &mut records).await {
            tracing::error!(stack = %name, reason = failed.reason, "a stack that uses the same data does not start");
        }
    }
}

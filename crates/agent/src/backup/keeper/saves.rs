//! Saving stacks, one after the other; each gives way to a deployment of its own.

use std::{collections::VecDeque, time::Duration};

use backstay_types::{
    StackName,
    backup::{BackupOrder, BackupPhase, ItemOutcome, ItemResult, SaveWork, WorkOutcome},
};

use super::{Keeper, SoFar, Turn, failed, millis};
use crate::backup::{
    BackupError, DataPlan, leave,
    progress::Progress,
    save::{NotSaved, Saved, Saving},
    still,
};

impl Keeper {
    /// Saves stacks, one after the other.
    pub(super) async fn save(
        &mut self,
        order: &BackupOrder,
        save: &SaveWork,
        alone: Option<&StackName>,
        progress: &Progress,
        so_far: &mut SoFar,
    ) -> Turn {
        if so_far.left.is_none() {
            match self.to_save(save) {
                Ok(stacks) => so_far.left = Some(stacks),
                Err(error) => return Turn::Ended(failed(&error.to_string())),
            }
        }
        while let Some(stack) = so_far.left.as_mut().and_then(|left| left.front().cloned()) {
            let held = if alone == Some(&stack) {
                None
            } else {
                progress.phase(BackupPhase::Waiting, &stack);
                match self.hold(Some(&stack)).await {
                    Ok(alone) => Some(alone),
                    Err(before) => return Turn::First(before),
                }
            };
            let saved = self.save_unless_awaited(order, save, (&stack, held.is_some()), progress).await;
            drop(held);
            so_far.add(&stack, saved);
        }
        Turn::Ended(so_far.ended())
    }

    /// The stacks that a job saves.
    fn to_save(&self, save: &SaveWork) -> Result<VecDeque<StackName>, BackupError> {
        if !save.stacks.is_empty() {
            return Ok(save.stacks.iter().cloned().collect());
        }
        let stacks = self.desk.journal()?.stacks.into_iter();
        Ok(stacks.filter_map(|(stack, record)| record.committed.map(|_| stack)).collect())
    }

    /// Saves a stack; one that is held gives way to a deployment of it.
    async fn save_unless_awaited(
        &self,
        order: &BackupOrder,
        save: &SaveWork,
        (stack, is_held): (&StackName, bool),
        progress: &Progress,
    ) -> SavedStack {
        let mut view = self.view.clone();
        let deployed = async {
            match is_held {
                true => drop(view.wait_for(|view| view.awaited).await),
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            saved = self.save_one(order, save, stack, progress) => saved,
            // It has its own snapshot made, and an undo must not wait for hours.
            () = deployed => {
                still::recover(&self.desk).await;
                Err((Vec::new(), Duration::ZERO, "a deployment of the stack came first".to_owned()))
            }
        }
    }

    async fn save_one(
        &self,
        order: &BackupOrder,
        save: &SaveWork,
        stack: &StackName,
        progress: &Progress,
    ) -> SavedStack {
        match save.last {
            true => leave::save_last(&self.desk, order, save, stack, progress).await,
            false => self.save_stack(order, save, stack, progress).await,
        }
    }

    async fn save_stack(
        &self,
        order: &BackupOrder,
        save: &SaveWork,
        stack: &StackName,
        progress: &Progress,
    ) -> SavedStack {
        let early = |error: BackupError| (Vec::new(), Duration::ZERO, error.to_string());
        let desk = &self.desk;
        let tree = desk.committed(stack).map_err(early)?.tree;
        let plan = desk.plan(stack, tree).await.map_err(early)?;
        if plan.backups.off {
            return Ok(None);
        }
        let scene = desk.scene(stack, tree);
        let saving =
            Saving { desk, progress, stack, plan: &plan, tree, scene: &scene, stopped: false, safety: false };
        let tags = desk.tags(stack, tree, save.reason, save);
        let about = (tags, desk.now());
        let saved = saving.save(&desk.repository(order), about, desk.bytes_per_second(order)).await;
        saved.map_err(|failed| failed.told(stack, &plan))
    }
}

/// What came of saving a stack; when nothing did, its items, how long it stood still, and why.
pub(in crate::backup) type SavedStack = Result<Option<Saved>, (Vec<ItemOutcome>, Duration, String)>;

impl SoFar {
    /// A stack is done with.
    fn add(&mut self, stack: &StackName, saved: SavedStack) {
        self.left.as_mut().map(VecDeque::pop_front);
        let (items, still) = match saved {
            Ok(None) => return,
            Ok(Some(Saved { snapshot, items, still })) => {
                self.outcome.snapshots.push(snapshot);
                (items, still)
            }
            Err((items, still, why)) => {
                self.failures.push(format!("{stack}: {why}"));
                (items, still)
            }
        };
        self.outcome.items.extend(items);
        self.outcome.still_ms += millis(still);
    }

    fn ended(&mut self) -> WorkOutcome {
        let failed = (!self.failures.is_empty()).then(|| self.failures.join("; "));
        WorkOutcome { failed, ..std::mem::take(&mut self.outcome) }
    }
}

impl NotSaved {
    /// Every item of the stack, since none of them is in a snapshot.
    pub(in crate::backup) fn told(
        self,
        stack: &StackName,
        plan: &DataPlan,
    ) -> (Vec<ItemOutcome>, Duration, String) {
        let Self { item: failed, error, still } = self;
        let why = error.to_string();
        let items = plan.backups.items.iter().map(|item| {
            let why = match failed.as_str() {
                name if name == item.name || name.is_empty() => why.clone(),
                name => format!("not saved, since `{name}` could not be"),
            };
            let result = ItemResult::Failed { why, paths: Vec::new() };
            ItemOutcome { stack: stack.clone(), item: item.name.clone(), result }
        });
        (items.collect(), still, why)
    }
}

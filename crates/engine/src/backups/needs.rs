//! What needs snapshots: holds, restores, open undos, pins, deployments under way.

use std::collections::{BTreeMap, HashMap, HashSet};

use backstay_plan::backups::{Fate, Kept, Reached, retain};
use backstay_store::{
    Executor,
    backups::{jobs, repositories, snapshots},
    constraints, deployments, nodes, undos,
};
use backstay_types::{
    DeploymentId, Effect, StackName, Timestamp,
    backup::{BackupJob, BackupTask, KeptSnapshot, SnapshotId},
};

use super::{Whose, damage::counts, upkeep::reached};
use crate::{Engine, EngineError};

/// Moments whose data somebody may want back: the newest proven snapshot from before is needed.
type Moments = HashMap<StackName, Vec<(Timestamp, String)>>;

impl Engine {
    /// What becomes of each snapshot of a repository, newest first, and why.
    ///
    /// # Errors
    /// When backups are not set up, or the store fails.
    pub async fn retention_of(&self, whose: Whose) -> Result<Vec<(KeptSnapshot, Fate)>, EngineError> {
        let keep = self.backup_rules()?.keep;
        let keep = if self.no_room(whose).await?.is_some() { keep.at_the_ceiling() } else { keep };
        let mut read = self.inner.store.snapshot().await?;
        let all = snapshots::of(&mut read, whose).await?;
        let now = self.inner.world.now();
        let named = self.named(&mut read, whose, &all, now).await?;
        let mut by_stack: BTreeMap<Option<StackName>, Vec<Kept>> = BTreeMap::new();
        for one in &all {
            let stack = one.snapshot.tags.stack.clone();
            by_stack.entry(stack).or_default().push(seen(one, named.get(&one.snapshot.id), now));
        }
        let fates = by_stack.values().flat_map(|of_stack| retain(of_stack, &keep, now));
        let mut fates: HashMap<SnapshotId, Fate> = fates.map(|fate| (fate.id, fate)).collect();
        Ok(all.into_iter().filter_map(|one| fates.remove(&one.snapshot.id).map(|fate| (one, fate))).collect())
    }

    /// Whether a repository has no room left, and which ceiling is reached.
    ///
    /// # Errors
    /// When backups are not set up, or the store fails.
    pub async fn no_room(&self, whose: Whose) -> Result<Option<Reached>, EngineError> {
        let ceiling = self.backup_rules()?.ceiling;
        if !ceiling.is_set() {
            return Ok(None);
        }
        let mut read = self.inner.store.read();
        let total = repositories::totals(&mut read).await?.0;
        let own = repositories::get(&mut read, whose).await?;
        Ok(own.and_then(|own| reached(&ceiling, &own, total)))
    }

    /// Snapshots that somebody needs, with who.
    async fn named(
        &self,
        ex: &mut impl Executor,
        whose: Whose,
        all: &[KeptSnapshot],
        now: Timestamp,
    ) -> Result<HashMap<SnapshotId, String>, EngineError> {
        let mut named = HashMap::new();
        let of = |job: &BackupJob| job.task.reads_of().or(job.node);
        for job in jobs::open(ex).await?.into_iter().filter(|job| of(job) == whose) {
            let ids = match &job.task {
                BackupTask::Restore(work) => vec![work.snapshot],
                BackupTask::Drill(work) => vec![work.snapshot],
                BackupTask::Files { snapshot, .. } => vec![*snapshot],
                BackupTask::Verify { snapshots } => snapshots.clone(),
                _ => Vec::new(),
            };
            named.extend(ids.into_iter().map(|id| (id, format!("job {} needs it", job.id))));
        }
        let Some(node) = whose else { return Ok(named) };
        if let Some(name) = nodes::get(ex, node).await?.map(|node| node.name) {
            for undo in undos::open(ex).await? {
                named.extend(crate::undo::data::needed(&undo, &name));
            }
        }
        let (moments, under_way) = moments(ex, node, now).await?;
        for one in
            all.iter().filter(|one| one.snapshot.tags.deployment.is_some_and(|id| under_way.contains(&id)))
        {
            named.insert(one.snapshot.id, "it is the way back of a deployment under way".to_owned());
        }
        for (stack, moments) in moments {
            for (moment, why) in moments {
                // Newest first.
                let before = all.iter().find(|one| {
                    one.snapshot.tags.stack.as_ref() == Some(&stack)
                        && one.snapshot.at <= moment
                        && counts(one)
                });
                if let Some(one) = before {
                    named.entry(one.snapshot.id).or_insert(why);
                }
            }
        }
        Ok(named)
    }
}

/// Moments to which a node's stacks may have to go back, and its deployments under way.
async fn moments(
    ex: &mut impl Executor,
    node: backstay_types::NodeId,
    now: Timestamp,
) -> Result<(Moments, HashSet<DeploymentId>), EngineError> {
    let mut moments = Moments::new();
    let name = nodes::get(ex, node).await?.map(|node| node.name);
    for undo in undos::open(ex).await? {
        for step in undo.plan.nodes.iter().filter(|step| Some(&step.node) == name.as_ref()) {
            let why = format!("undo {} is open", undo.id);
            moments.entry(step.stack.clone()).or_default().push((undo.created_at, why));
        }
    }
    // Whichever nodes a pin is for: too many are kept rather than one too few.
    for one in constraints::in_force(ex, now).await? {
        if let Effect::Pin { stack, .. } = &one.effect {
            let why = format!("it is from when {} pinned the stack", one.by);
            moments.entry(stack.clone()).or_default().push((one.created_at, why));
        }
    }
    let mut under_way = HashSet::new();
    for one in deployments::open(ex).await?.into_iter().filter(|one| one.node == node) {
        under_way.insert(one.id);
        let why = "it is the data from before a deployment under way".to_owned();
        moments.entry(one.stack).or_default().push((one.started_at.unwrap_or(one.created_at), why));
    }
    Ok((moments, under_way))
}

fn seen(one: &KeptSnapshot, named: Option<&String>, now: Timestamp) -> Kept {
    let hold = one.hold.as_ref().filter(|hold| hold.until.is_none_or(|until| until > now));
    let held = hold.map(|hold| format!("{} keeps it: {}", hold.by, hold.reason));
    Kept {
        id: one.snapshot.id,
        at: one.snapshot.at,
        heard_at: one.heard_at,
        doubtful: one.claimed_at.is_some() || one.job.is_none(),
        proof: one.snapshot.proof,
        damaged: one.damaged_at.is_some(),
        reason: one.snapshot.tags.reason,
        needed: held.or_else(|| named.cloned()),
    }
}

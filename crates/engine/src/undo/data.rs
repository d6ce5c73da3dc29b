//! The data of an undo: which snapshot each node and stack goes back to, what that takes away and what it leaves, and what
//! has to be said in so many words first.

use std::collections::{BTreeSet, HashSet};

use backstay_manifest::BackupItem;
use backstay_store::{
    Executor, Tx,
    backups::{jobs, snapshots},
    deployments, releases, rollouts, undos,
};
use backstay_types::{
    Cause, DataFor, DataMove, DataSource, DemandKind, Deployment, DeploymentData, DeploymentId,
    DeploymentState, Node, NodeId, NodeMove, Release, StackName, Timestamp, TreeDigest, Undo, UndoDemand,
    UndoId, UndoPlan, UndoSelector, UndoState,
    backup::{BackupReason, KeptSnapshot, Proof, Snapshot, SnapshotId},
};

use super::{WantedUndo, compute::ComputedPart, declared::Declared};
use crate::{Engine, EngineError, mirrors::blocking, reconcile::Loaded, sync::read_fleet};

/// So many deployments of a stack on a node are looked at for the first that is taken back.
const DEPLOYMENTS: u32 = 1000;
/// What stands for every node in what goes back without data.
const ALL: &str = "all";

impl Engine {
    /// What the manifests say of data, at the tip of each repository and in what the undo makes of it.
    pub(super) async fn declared(&self, parts: &[ComputedPart]) -> Result<Declared, EngineError> {
        let mut declared = Declared::default();
        for part in parts {
            let (mirror, repository) = (part.mirror.clone(), part.part.repository.clone());
            let (tip, result) = (part.part.tip.clone(), part.result.clone());
            let fleets = blocking(move || {
                let fleets =
                    [read_fleet(&mirror, &repository, &tip), read_fleet(&mirror, &repository, &result)];
                // A tip that is not valid says nothing; what the undo makes of it was looked at already.
                Ok(fleets.into_iter().filter_map(Result::ok).collect::<Vec<_>>())
            });
            for fleet in fleets.await? {
                declared.read(&fleet);
            }
        }
        Ok(declared)
    }

    /// Says what becomes of data: of which snapshot each place gets its own when it is to go back too, and what to know when
    /// it is not.
    pub(super) async fn plan_data(
        &self,
        want: &WantedUndo,
        loaded: &Loaded,
        parts: &[ComputedPart],
        plan: &mut UndoPlan,
    ) -> Result<(), EngineError> {
        plan.with_data = want.with_data;
        if plan.nodes.is_empty() {
            return Ok(());
        }
        let declared = self.declared(parts).await?;
        if want.with_data {
            self.backup_rules()?;
            for place in plan.nodes.clone() {
                let data = self.data_move(want, loaded, &place, plan).await?;
                let (moved, demands) = self.worded(want, loaded, &declared, data).await?;
                plan.data.push(moved);
                plan.demands.extend(demands.into_iter().filter(|one| !is_met(want, one)));
            }
            let mut said = HashSet::new();
            plan.demands.retain(|one| said.insert((one.demand, one.say.clone())));
        }
        self.forward_only(&declared, plan);
        Ok(())
    }

    /// Warns of stacks that go back without their data and do not work with what a newer release has written.
    fn forward_only(&self, declared: &Declared, plan: &mut UndoPlan) {
        let with_data = |stack: &StackName| {
            let mut of_stack = plan.data.iter().filter(|data| data.stack == *stack).peekable();
            of_stack.peek().is_some() && of_stack.all(|data| data.missing.is_none())
        };
        let stacks: BTreeSet<_> = plan.nodes.iter().map(|place| &place.stack).collect();
        let alone =
            stacks.into_iter().filter(|stack| declared.forward_only.contains(*stack) && !with_data(stack));
        let notes: Vec<_> = alone
            .map(|stack| {
                format!(
                    "{stack}: its migrations only go forward, so what it goes back to may not work with what newer code \
                     has written; with `--with-data` the data goes back too"
                )
            })
            .collect();
        plan.notes.extend(notes);
    }

    /// Which snapshot a place goes back to.
    async fn data_move(
        &self,
        want: &WantedUndo,
        loaded: &Loaded,
        place: &NodeMove,
        plan: &UndoPlan,
    ) -> Result<DataMove, EngineError> {
        let mut moved = DataMove {
            node: place.node.clone(),
            stack: place.stack.clone(),
            before: None,
            from: None,
            missing: None,
            words: Vec::new(),
            safety: None,
        };
        let Some(node) = loaded.nodes.values().find(|node| node.name == place.node) else { return Ok(moved) };
        let Some(first) = self.first_taken_back(want, node, place, plan).await? else { return Ok(moved) };
        moved.before = Some(first.id);
        match self.data_before(node, &first).await? {
            Ok(kept) => moved.from = Some(self.source(&kept, &place.stack).await?),
            Err(why) => moved.missing = Some(why),
        }
        Ok(moved)
    }

    /// The earliest of the deployments that brought to a place what is taken back, since it last ran without that.
    async fn first_taken_back(
        &self,
        want: &WantedUndo,
        node: &Node,
        place: &NodeMove,
        plan: &UndoPlan,
    ) -> Result<Option<Deployment>, EngineError> {
        let mut read = self.inner.store.read();
        let all = deployed_at(&mut read, (node.id, &place.stack)).await?;
        if let UndoSelector::Undo { undo } = want.selector {
            return self.first_of_undo(undo, place, &all).await;
        }
        let touched: Vec<_> = all.into_iter().filter(may_have_run).collect();
        if let UndoSelector::Time { to, exact: true } = want.selector {
            let after = |one: &&Deployment| one.started_at.unwrap_or(one.created_at) > to;
            return Ok(touched.iter().rev().find(after).cloned());
        }
        let ids: Vec<_> = touched.iter().map(|one| one.release).collect();
        let releases = releases::many(&mut read, &ids).await?;
        let mut first = None;
        for one in touched {
            let Some(release) = releases.iter().find(|release: &&Release| release.id == one.release) else {
                break;
            };
            let undone = plan.repositories.iter().filter(|part| part.repository == release.repository);
            let mut has = false;
            for part in undone {
                has |= self.has_any(release, (part.repository, &part.commits)).await?;
            }
            // After one that went back by itself it ran without what is taken back, until the next.
            if first.is_some() && matches!(one.state, DeploymentState::RolledBack { .. }) {
                break;
            }
            match (has, one.state == DeploymentState::Succeeded) {
                (true, _) => first = Some(one),
                // It ran without what is taken back: what came before that is another story.
                (false, true) => break,
                (false, false) => {}
            }
        }
        Ok(first)
    }

    /// The deployment by which an earlier undo came to a place.
    async fn first_of_undo(
        &self,
        id: UndoId,
        place: &NodeMove,
        all: &[Deployment],
    ) -> Result<Option<Deployment>, EngineError> {
        let mut read = self.inner.store.read();
        let Some(undo) = undos::get(&mut read, id).await? else { return Ok(None) };
        let here = |one: &&NodeMove| one.node == place.node && one.stack == place.stack;
        let to = undo.plan.nodes.iter().find(here).map(|one| one.to);
        let ids: Vec<_> = all.iter().map(|one| one.release).collect();
        let releases = releases::many(&mut read, &ids).await?;
        let own: HashSet<_> =
            rollouts::of_undo(&mut read, id).await?.into_iter().map(|rollout| rollout.id).collect();
        let brought = |one: &&Deployment| {
            let tree = releases.iter().find(|release| release.id == one.release).map(|release| release.tree);
            // A node that is pinned may have gone there with a rollout that was there already.
            let went = one.created_at >= undo.created_at && tree.is_some() && tree == to;
            let its =
                one.data.is_some_and(|data| data.undo() == Some(id)) || own.contains(&one.rollout) || went;
            its && one.state == DeploymentState::Succeeded
        };
        Ok(all.iter().rev().find(brought).cloned())
    }

    /// The snapshot of the data from just before a deployment; or why there is none to go back to.
    async fn data_before(
        &self,
        node: &Node,
        first: &Deployment,
    ) -> Result<Result<KeptSnapshot, String>, EngineError> {
        let mut read = self.inner.store.read();
        let all = snapshots::of(&mut read, Some(node.id)).await?;
        let of_stack = |one: &&KeptSnapshot| one.snapshot.tags.stack.as_ref() == Some(&first.stack);
        let mut own: Vec<_> = all
            .iter()
            .filter(of_stack)
            .filter(|one| one.snapshot.tags.deployment == Some(first.id))
            .collect();
        // What nobody told of when it was made may be anybody's.
        own.sort_by_key(|one| (one.job.is_none(), one.claimed_at.is_some()));
        let proven = |one: &&&KeptSnapshot| one.snapshot.proof >= Proof::Verified && one.damaged_at.is_none();
        if let Some(one) = own.iter().find(proven) {
            return Ok(Ok((**one).clone()));
        }
        if let Some(one) = own.first() {
            let id = one.snapshot.id.digest().short();
            return Ok(Err(match one.damaged_at {
                Some(at) => {
                    format!("snapshot {id}, from just before, was found to be damaged at {}", clock(at))
                }
                None => format!(
                    "snapshot {id}, from just before, was not read back yet; `backstay backup verify {}` does that now",
                    node.name
                ),
            }));
        }
        if first.data.is_some() {
            // Anything older is of before what that undo took back.
            return Ok(Err("there is no safety snapshot of what the undo took away".to_owned()));
        }
        let at = first.started_at.unwrap_or(first.created_at);
        let found = snapshots::proven_at(&mut read, Some(node.id), Some(&first.stack), at).await?;
        Ok(found.ok_or_else(|| format!("there is no proven snapshot from {} or before", clock(at))))
    }

    async fn source(&self, kept: &KeptSnapshot, stack: &StackName) -> Result<DataSource, EngineError> {
        let snapshot = &kept.snapshot;
        let job = match kept.job {
            Some(id) => jobs::get(&mut self.inner.store.read(), id).await?,
            None => None,
        };
        let work = job.and_then(|job| job.result).and_then(|result| result.work);
        let of_stack = work.into_iter().flat_map(|work| work.items).filter(|item| item.stack == *stack);
        let items: BTreeSet<_> = of_stack.map(|item| item.item).collect();
        Ok(DataSource {
            snapshot: snapshot.id,
            at: snapshot.at,
            bytes: snapshot.bytes,
            items: items.into_iter().collect(),
        })
    }

    /// A place's data in plain words, and what has to be said first.
    async fn worded(
        &self,
        want: &WantedUndo,
        loaded: &Loaded,
        declared: &Declared,
        mut moved: DataMove,
    ) -> Result<(DataMove, Vec<UndoDemand>), EngineError> {
        let (place, mut demands) = (format!("{}/{}", moved.node, moved.stack), Vec::new());
        let items = declared.items(&moved.stack);
        if let Some(why) = moved.from.as_ref().and_then(|from| not_in_place(items, from)) {
            (moved.from, moved.missing) = (None, Some(why));
        }
        let Some(from) = &moved.from else {
            match &moved.missing {
                None => moved.words.push("the data stays: nothing that is taken back ran here".to_owned()),
                Some(why) => {
                    let accepted = want.without_data.iter().any(|one| *one == place || one == ALL);
                    let said = if accepted {
                        "the code goes back and the data stays"
                    } else {
                        "no data to go back to"
                    };
                    moved.words.push(format!("{said}: {why}"));
                    demands.push(UndoDemand {
                        demand: DemandKind::WithoutData,
                        say: place,
                        why: why.clone(),
                    });
                }
            }
            return Ok((moved, demands));
        };
        moved.words = self.words(loaded, items, &moved, from).await?;
        let goes = |item: &&BackupItem| from.items.is_empty() || from.items.contains(&item.name);
        let marked: Vec<_> = items.iter().filter(goes).filter(|item| item.double_sign).collect();
        if !marked.is_empty() {
            let names: Vec<_> = marked.iter().map(|item| format!("`{}`", item.name)).collect();
            let why = double_sign_why(&names);
            moved.words.push(why.clone());
            demands.push(UndoDemand { demand: DemandKind::DoubleSign, say: place, why });
        }
        for other in declared.shared.get(&moved.stack).into_iter().flatten() {
            let node = loaded.nodes.values().find(|node| node.name == moved.node);
            let runs = node.is_some_and(|node| loaded.settled.contains_key(&(node.id, other.clone())));
            if runs {
                let why =
                    format!("{other} on {} uses the same data: it goes back for {other} too", moved.node);
                moved.words.push(why.clone());
                demands.push(UndoDemand { demand: DemandKind::SharedData, say: other.to_string(), why });
            }
        }
        Ok((moved, demands))
    }

    async fn words(
        &self,
        loaded: &Loaded,
        items: &[BackupItem],
        moved: &DataMove,
        from: &DataSource,
    ) -> Result<Vec<String>, EngineError> {
        let (id, at) = (from.snapshot.digest().short(), clock(from.at));
        let what = if from.items.is_empty() { "all that is saved".to_owned() } else { from.items.join(", ") };
        let mut words = vec![format!("goes back to snapshot {id} of {at}: {what}, {}", bytes(from.bytes))];
        let mut read = self.inner.store.read();
        if let Some(first) = moved.before
            && let Some(first) = deployments::get(&mut read, first).await?
        {
            let began = first.started_at.unwrap_or(first.created_at);
            let kept = snapshots::get(&mut read, Some(first.node), from.snapshot).await?;
            if kept.is_none_or(|kept| kept.snapshot.tags.deployment != Some(first.id)) {
                words.push(format!(
                    "no snapshot was made just before {}: this is the newest proven one from before, and what was written \
                     between is lost with it",
                    clock(began)
                ));
            }
        }
        let until = loaded.snapshot.now.checked_add(backstay_plan::backups::SAFETY).unwrap_or(Timestamp::MAX);
        words.push(format!(
            "what was written since {at} is taken back; a safety snapshot keeps it until {} at least",
            clock(until)
        ));
        for item in items {
            if !from.items.is_empty() && !from.items.contains(&item.name) {
                words.push(format!("`{}` stays as it is: the snapshot has none of it", item.name));
            } else if !item.exclude.is_empty() {
                let left: Vec<_> = item.exclude.iter().map(|pattern| pattern.as_str()).collect();
                words.push(format!("of `{}` this stays as it is: {}", item.name, left.join(", ")));
            }
        }
        words.push(self.still(moved, from).await?);
        Ok(words)
    }

    /// How long a place stands still, as far as that can be told.
    async fn still(&self, moved: &DataMove, from: &DataSource) -> Result<String, EngineError> {
        let mut read = self.inner.store.read();
        let kept = snapshots::find(&mut read, &from.snapshot.to_string()).await?;
        let job = match kept.first().and_then(|one| one.kept.job) {
            Some(id) => jobs::get(&mut read, id).await?,
            None => None,
        };
        let took = job.and_then(|job| Some(job.ended_at?.duration_since(job.started_at?)));
        let took = took.and_then(|took| std::time::Duration::try_from(took).ok());
        let about = match took {
            Some(took) => format!("; the backup took {}", backstay_manifest::format_duration(whole(took))),
            None => String::new(),
        };
        Ok(format!(
            "{} is fetched before anything is stopped; {} then stands still while a safety snapshot is made, until the \
             release runs{about}",
            bytes(from.bytes),
            moved.stack
        ))
    }

    /// Undos under way that take data back too, newest first.
    pub(crate) async fn undos_with_data(&self, tx: &mut Tx) -> Result<Vec<Undo>, EngineError> {
        let mut open = undos::open(tx).await?;
        open.retain(|undo| undo.plan.with_data && undo.state == UndoState::RollingOut);
        open.sort_by_key(|undo| std::cmp::Reverse(undo.id));
        Ok(open)
    }

    /// The data that an attempt puts in place: that of the undo which sends the node there, by a rollout of its own or by
    /// one that was there already. Once for each node and stack: what was written after it came to stay is not taken back
    /// again.
    pub(crate) async fn data_of_attempt(
        &self,
        tx: &mut Tx,
        undos: &[Undo],
        (node, stack): (&Node, &StackName),
        (tree, cause): (Option<TreeDigest>, Option<&Cause>),
    ) -> Result<Option<DeploymentData>, EngineError> {
        for undo in undos {
            let to = undo.plan.nodes.iter().find(|one| one.node == node.name && one.stack == *stack);
            let its = cause == Some(&Cause::Undo { undo: undo.id });
            // An attempt of another undo is never this one's, though it goes to the same.
            let others = matches!(cause, Some(Cause::Undo { undo: id }) if *id != undo.id);
            if others || !its && to.is_none_or(|to| Some(to.to) != tree) {
                continue;
            }
            let mut here = undo.plan.data.iter().filter(|one| one.node == node.name && one.stack == *stack);
            let Some(from) = here.find_map(|one| one.from.as_ref()) else { continue };
            let all = deployed_at(tx, (node.id, stack)).await?;
            // It came to run something else since the undo was asked for: what it wrote since is not the undo's to take back.
            let since = |one: &Deployment| {
                one.state == DeploymentState::Succeeded && one.created_at > undo.created_at
            };
            let is_over = all.iter().any(|one| is_back(one, undo.id) || !its && since(one));
            if !is_over {
                let asked_by = DataFor::Undo { undo: undo.id };
                return Ok(Some(DeploymentData { asked_by, snapshot: from.snapshot }));
            }
        }
        Ok(None)
    }

    /// Notes the safety snapshot that a node made for an undo.
    pub(crate) async fn note_safety(
        &self,
        tx: &mut Tx,
        node: &Node,
        deployment: DeploymentId,
        made: &[Snapshot],
    ) -> Result<(), EngineError> {
        let Some(safety) = made.iter().find(|one| one.tags.reason == BackupReason::Safety) else {
            return Ok(());
        };
        let Some(deployment) = deployments::get(tx, deployment).await? else { return Ok(()) };
        let Some(undo) = deployment.data.and_then(|data| data.undo()) else { return Ok(()) };
        let Some(mut undo) = undos::get(tx, undo).await?.filter(|undo| undo.finished_at.is_none()) else {
            return Ok(());
        };
        let here = |one: &&mut DataMove| one.node == node.name && one.stack == deployment.stack;
        if let Some(one) = undo.plan.data.iter_mut().find(here) {
            one.safety = Some(safety.id);
            let now = self.inner.world.now();
            undos::update(tx, undo.id, &undo.state, &undo.state, &undo.plan, now).await?;
        }
        Ok(())
    }
}

/// Why a snapshot cannot be put back in place as a whole, by the items that cannot.
fn not_in_place(items: &[BackupItem], from: &DataSource) -> Option<String> {
    let goes = |item: &&BackupItem| from.items.is_empty() || from.items.contains(&item.name);
    let stuck = items.iter().filter(goes).filter_map(|item| Some((&item.name, item.what.not_in_place()?)));
    let stuck: Vec<_> = stuck.map(|(name, why)| format!("`{name}`: {why}")).collect();
    (!stuck.is_empty()).then(|| {
        format!("{}; restore what there is into a folder, or the other items on their own", stuck.join("; "))
    })
}

/// Why a person has to confirm it.
#[must_use]
pub fn double_sign_why(names: &[String]) -> String {
    format!(
        "{} may make a validator sign twice when it is older than what was signed: be sure that no other copy of its keys \
         runs, and that slashing protection of all that was signed since is there",
        names.join(", ")
    )
}

/// Refuses what was not said in so many words.
pub(super) fn refuse(plan: &UndoPlan) -> Result<(), EngineError> {
    match plan.demands.first() {
        None => Ok(()),
        Some(first) => {
            let of_kind = plan.demands.iter().filter(|one| one.demand == first.demand);
            let lines: Vec<_> = of_kind.map(|one| format!("{}: {}", one.say, one.why)).collect();
            Err(EngineError::UnmetDemand { demand: first.demand, why: lines.join("; ") })
        }
    }
}

fn is_met(want: &WantedUndo, demand: &UndoDemand) -> bool {
    match demand.demand {
        DemandKind::WithoutData => want.without_data.iter().any(|one| *one == demand.say || one == ALL),
        DemandKind::SharedData => want.shared_data.iter().any(|stack| stack.as_str() == demand.say),
        DemandKind::DoubleSign => want.confirm.contains(&demand.say),
    }
}

/// Whether a deployment may have come so far that its release ran.
fn may_have_run(one: &Deployment) -> bool {
    match one.state {
        DeploymentState::Pending | DeploymentState::Failed { .. } => false,
        DeploymentState::Superseded => one.started_at.is_some(),
        _ => true,
    }
}

fn clock(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn whole(took: std::time::Duration) -> std::time::Duration {
    std::time::Duration::from_secs(took.as_secs().max(1))
}

/// Bytes as people read them.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
    let (mut value, mut unit) = (bytes, 0);
    while value >= 10_000 && unit + 1 < UNITS.len() {
        (value, unit) = (value.div_ceil(1000), unit + 1);
    }
    format!("{value} {}", UNITS[unit])
}

/// Snapshots that undos which are not over need of a node, each with why.
pub(crate) fn needed(undo: &Undo, node: &backstay_types::NodeName) -> Vec<(SnapshotId, String)> {
    let here = undo.plan.data.iter().filter(|one| one.node == *node);
    let ids = here.flat_map(|one| one.from.iter().map(|from| from.snapshot).chain(one.safety));
    ids.map(|id| (id, format!("undo {} goes back to it", undo.id))).collect()
}

/// Whether an undo's data came to stay on a node.
pub(super) async fn has_its_data(
    ex: &mut impl Executor,
    undo: UndoId,
    place: (NodeId, &StackName),
) -> Result<bool, EngineError> {
    let all = deployed_at(ex, place).await?;
    Ok(all.iter().any(|one| is_back(one, undo)))
}

/// What was deployed at a place, newest first.
async fn deployed_at(
    ex: &mut impl Executor,
    (node, stack): (NodeId, &StackName),
) -> Result<Vec<Deployment>, EngineError> {
    let filter = deployments::Filter {
        node: Some(node),
        stack: Some(stack.clone()),
        ..deployments::Filter::default()
    };
    Ok(deployments::list(ex, &filter, None, DEPLOYMENTS).await?)
}

/// Whether a deployment brought an undo's data to stay.
pub(super) fn is_back(one: &Deployment, undo: UndoId) -> bool {
    one.state == DeploymentState::Succeeded && one.data.is_some_and(|data| data.undo() == Some(undo))
}

//! Moves of stacks from node to node: asked for, looked at, ended. How one goes on is decided in `plan`; [`advance`] does it.

mod advance;
mod words;

use std::collections::BTreeSet;

use backstay_api::v1::MigrationPlan;
use backstay_store::{
    Executor, Tx, constraints, deployments,
    migrations::{self, Kept},
    releases,
};
use backstay_types::{
    BackupJobId, Constraint, ConstraintOrigin, Deployment, DeploymentState, Effect, Event, Migration,
    MigrationId, MigrationStep, Node, Passage, Refs, Release, StackName, Stay, backup::SnapshotId,
};

use crate::{
    Engine, EngineError,
    backups::{WantedSnapshot, Whose},
};

/// What somebody wants to move.
#[derive(Debug, Clone)]
pub struct WantedMigration {
    /// The id that it gets; a new one when absent.
    pub id: Option<MigrationId>,
    /// The node that stacks leave.
    pub from: Node,
    /// The node that they come to.
    pub to: Node,
    /// The migration that this one is the way back of.
    pub back_of: Option<MigrationId>,
    /// Only these; all that the node runs when empty.
    pub stacks: Vec<StackName>,
    /// Somebody has typed the name of the node that they leave: it is gone.
    pub from_gone: bool,
    /// What somebody has typed.
    pub confirm: Vec<String>,
    /// Why.
    pub reason: String,
}

/// A stack that may move.
struct Candidate {
    runs: Deployment,
    release: Release,
    double_sign: bool,
    /// The newest proven snapshot, where that is what moves.
    proven: Option<SnapshotId>,
}

impl Engine {
    /// What a migration would be. Nothing is changed.
    ///
    /// # Errors
    /// When it cannot be: see [`Engine::migrate`].
    pub async fn plan_migration(&self, want: &WantedMigration) -> Result<MigrationPlan, EngineError> {
        let found = self.candidates(want).await?;
        self.worded_migration(want, &found).await
    }

    /// Begins a migration: durable before this returns. Asked twice under one id, it is begun once.
    ///
    /// # Errors
    /// When backups are not set up, a stack does not run there or is not meant to, runs on the other node already, moves
    /// already, or has data that cannot be put in place; when a node is not in the fleet; when something has to be typed first.
    pub async fn migrate(&self, want: &WantedMigration, by: &str) -> Result<Migration, EngineError> {
        if let Some(id) = want.id
            && let Some(known) = migrations::get(&mut self.inner.store.read(), id).await?
        {
            return Ok(known.migration);
        }
        let found = self.candidates(want).await?;
        let plan = self.worded_migration(want, &found).await?;
        if let Some(say) = plan.confirm.iter().find(|say| !want.confirm.contains(say)) {
            let why = format!(
                "{say}: its newest proven snapshot may be older than what was signed, and make a validator sign twice; type \
                 `{say}` when no other copy of its keys runs and slashing protection of all that was signed since is there"
            );
            let demand = backstay_types::DemandKind::DoubleSign;
            return Err(EngineError::UnmetDemand { demand, why });
        }
        let now = self.inner.world.now();
        let stacks: Vec<_> = found
            .iter()
            .map(|one| Passage::new(one.runs.stack.clone(), one.release.id, one.double_sign, now))
            .collect();
        let stay = |node: &Node| Stay { node: node.id, name: node.name.clone() };
        let migration = Migration {
            id: want.id.unwrap_or_else(|| self.inner.world.mint()),
            from: stay(&want.from),
            to: stay(&want.to),
            back_of: want.back_of,
            from_gone: want.from_gone,
            to_gone: false,
            by: by.to_owned(),
            reason: want.reason.clone(),
            created_at: now,
            cancelled_by: None,
            finished_at: None,
            stacks,
        };
        let mut tx = self.inner.store.begin().await?;
        // Looked at once more, since another may have begun one meanwhile.
        self.check_unmoved(&mut tx, want, &found).await?;
        migrations::insert(&mut tx, &migration).await?;
        let event = Event::MigrationStarted {
            migration: migration.id,
            to: migration.to.node,
            stacks: migration.stacks.iter().map(|one| one.stack.clone()).collect(),
            from_gone: migration.from_gone,
            reason: migration.reason.clone(),
            by: by.to_owned(),
        };
        tx.record(event, Refs { node: Some(migration.from.node), ..Refs::default() })?;
        tx.commit().await?;
        self.changed_by_hand();
        Ok(migration)
    }

    /// Ends a migration; stacks that have not come to run on the other node run again where they were.
    ///
    /// # Errors
    /// When it is over, all of it runs on the other node, or the store fails.
    pub async fn abort_migration(
        &self,
        id: MigrationId,
        to_gone: bool,
        by: &str,
    ) -> Result<Migration, EngineError> {
        let mut tx = self.inner.store.begin().await?;
        let found = migrations::get(&mut tx, id).await?;
        let Kept { mut migration, version } = found.ok_or_else(|| EngineError::not_found("migration", id))?;
        let switched = migration.stacks.iter().any(|one| one.step == MigrationStep::Switched);
        if migration.finished_at.is_some() && migration.cancelled_by.is_some() && !switched {
            return Ok(migration);
        }
        if migration.finished_at.is_some() {
            let why = match switched {
                true => format!("migration {id} is over: `backstay migrate --back {id}` takes it back"),
                false => format!("migration {id} is over"),
            };
            return Err(EngineError::MigrationOver(why));
        }
        if migration.cancelled_by.is_none() {
            migration.cancelled_by = Some(by.to_owned());
            let event = Event::MigrationCancelled { migration: id, by: by.to_owned() };
            tx.record(event, Refs { node: Some(migration.from.node), ..Refs::default() })?;
        }
        migration.to_gone |= to_gone;
        migrations::update(&mut tx, version, &migration).await?;
        tx.commit().await?;
        self.changed_by_hand();
        Ok(migration)
    }

    /// What the way back of a migration is: the stacks that run on the other node because of it.
    ///
    /// # Errors
    /// When there is no such migration, or nothing of it is there any more.
    pub async fn stacks_to_take_back(&self, id: MigrationId) -> Result<Migration, EngineError> {
        let found = migrations::get(&mut self.inner.store.read(), id).await?;
        let mut migration = found.ok_or_else(|| EngineError::not_found("migration", id))?.migration;
        let runs = deployments::run_by(&mut self.inner.store.read(), &[migration.to.node]).await?;
        migration.stacks.retain(|one| {
            one.step == MigrationStep::Switched && runs.iter().any(|run| run.stack == one.stack)
        });
        match migration.stacks.is_empty() {
            true => {
                let why = format!("nothing of migration {id} runs on {}", migration.to.name);
                Err(EngineError::MigrationOver(why))
            }
            false => Ok(migration),
        }
    }

    /// The stacks that are meant, each with what it runs; or why they cannot move.
    async fn candidates(&self, want: &WantedMigration) -> Result<Vec<Candidate>, EngineError> {
        self.backup_rules()?;
        check_nodes(want)?;
        let mut read = self.inner.store.read();
        let mut running = deployments::run_by(&mut read, &[want.from.id]).await?;
        running.sort_by(|a, b| a.stack.cmp(&b.stack));
        if let Some(stack) = want.stacks.iter().find(|stack| !running.iter().any(|one| one.stack == **stack))
        {
            return Err(EngineError::RunsNot { stack: stack.clone(), node: want.from.name.clone() });
        }
        if !want.stacks.is_empty() {
            running.retain(|one| want.stacks.contains(&one.stack));
        }
        if running.is_empty() {
            return Err(cannot(format!("{} runs nothing that could be moved", want.from.name)));
        }
        let mut found = Vec::with_capacity(running.len());
        for runs in running {
            let release = releases::get(&mut read, runs.release).await?;
            let release = release.ok_or_else(|| EngineError::not_found("release", runs.release))?;
            let marked = self.double_sign(&runs.stack, &[release.tree], &[]).await?;
            let proven = match want.from_gone {
                true => Some(self.newest_proven(Some(want.from.id), &runs.stack).await?),
                false => None,
            };
            found.push(Candidate { runs, release, double_sign: !marked.is_empty(), proven });
        }
        self.check_unmoved(&mut read, want, &found).await?;
        self.check_meant(&mut read, want, &found).await?;
        Ok(found)
    }

    async fn newest_proven(&self, whose: Whose, stack: &StackName) -> Result<SnapshotId, EngineError> {
        let at = WantedSnapshot::At(self.inner.world.now());
        Ok(self.proven_snapshot(whose, stack, &at).await?.kept.snapshot.id)
    }

    /// Whether nothing is under way with the stacks, on either node.
    async fn check_unmoved(
        &self,
        ex: &mut impl Executor,
        want: &WantedMigration,
        found: &[Candidate],
    ) -> Result<(), EngineError> {
        let open = migrations::open(ex).await?;
        for one in found {
            let stack = &one.runs.stack;
            let moves = |kept: &&Kept| {
                let (from, to) = (kept.migration.from.node, kept.migration.to.node);
                let here = [want.from.id, want.to.id];
                (here.contains(&from) || here.contains(&to))
                    && kept.migration.stacks.iter().any(|one| one.stack == *stack && !one.step.is_final())
            };
            if let Some(other) = open.iter().find(moves) {
                return Err(cannot(format!("{stack} moves already: migration {}", other.migration.id)));
            }
            for node in [&want.from, &want.to] {
                if node.id == want.from.id && want.from_gone {
                    continue;
                }
                let latest = deployments::latest(ex, node.id, stack).await?;
                if latest.as_ref().is_some_and(|latest| !latest.state.is_final()) {
                    return Err(cannot(format!("a deployment of {stack} is under way on {}", node.name)));
                }
                if latest.is_some_and(|latest| matches!(latest.state, DeploymentState::Broken { .. })) {
                    return Err(cannot(format!(
                        "{stack} is broken on {}: it is not known what runs there; bring it to an end first",
                        node.name
                    )));
                }
            }
        }
        let there = deployments::run_by(ex, &[want.to.id]).await?;
        match found.iter().find(|one| there.iter().any(|run| run.stack == one.runs.stack)) {
            Some(one) => Err(cannot(format!("{} runs {} already", want.to.name, one.runs.stack))),
            None => Ok(()),
        }
    }

    /// Whether the node that they leave is meant to run the stacks, so that it would start them again; and nothing keeps one
    /// of the nodes from following.
    async fn check_meant(
        &self,
        ex: &mut impl Executor,
        want: &WantedMigration,
        found: &[Candidate],
    ) -> Result<(), EngineError> {
        let now = self.inner.world.now();
        let loaded = self.load(ex, now).await?;
        let node = |id| loaded.snapshot.nodes.iter().find(|node| node.id == id);
        for one in found {
            let stack = &one.runs.stack;
            let lines = || loaded.snapshot.stacks.iter().filter(|facts| facts.name == *stack);
            for id in [want.from.id, want.to.id] {
                let Some(facts) = node(id) else { continue };
                if facts.leaving.is_some() {
                    return Err(cannot(format!("{} is being taken out of the fleet", facts.name())));
                }
                let rest = lines().find_map(|line| {
                    let policy = backstay_plan::Policy::new(line, &loaded.snapshot.constraints, now);
                    policy.rest(facts).map(|rest| rest.reason.to_string())
                });
                if let Some(why) = rest {
                    return Err(cannot(format!("{} keeps what it runs: {why}", facts.name())));
                }
            }
            let meant = node(want.from.id).is_some_and(|facts| lines().any(|line| line.is_assigned(facts)));
            if !meant && !want.from_gone {
                return Err(cannot(format!(
                    "{stack} is not assigned to {}: it would not be started there again if the move fails",
                    want.from.name
                )));
            }
            self.check_data(one).await?;
        }
        Ok(())
    }
}

/// Whether a restore is of a migration that is under way.
pub(crate) async fn is_of_one(tx: &mut Tx, job: BackupJobId) -> Result<bool, EngineError> {
    let open = migrations::open(tx).await?;
    Ok(open.iter().flat_map(|kept| &kept.migration.stacks).any(|one| one.restore == Some(job)))
}

/// Those of a migration's constraints that are about a stack on a node, and are not lifted.
fn about<'a>(
    all: &'a [Constraint],
    stay: &'a Stay,
    stack: &'a StackName,
) -> impl Iterator<Item = &'a Constraint> {
    let scope = scope_of(stay);
    all.iter().filter(move |one| {
        let moves = matches!(one.effect, Effect::RunsHere { .. } | Effect::RunsNot { .. });
        moves && one.scope == scope && one.effect.stack() == Some(stack)
    })
}

fn scope_of(stay: &Stay) -> backstay_types::Scope {
    backstay_types::Scope::Nodes { selector: format!("name={}", stay.name) }
}

fn check_nodes(want: &WantedMigration) -> Result<(), EngineError> {
    if want.from.id == want.to.id {
        return Err(cannot(format!("{} is where it runs already", want.to.name)));
    }
    if want.to.revoked_at.is_some() {
        return Err(cannot(format!("{} is not in the fleet any more", want.to.name)));
    }
    if want.from.revoked_at.is_some() && !want.from_gone {
        let name = want.from.name.clone();
        return Err(EngineError::NotKnownGone { node: name });
    }
    Ok(())
}

pub(crate) fn cannot(why: String) -> EngineError {
    EngineError::CannotMove(why)
}

/// The stacks of migrations under way, with the two nodes of each.
pub(crate) async fn under_way(
    ex: &mut impl Executor,
) -> Result<BTreeSet<(backstay_types::NodeId, StackName)>, EngineError> {
    let open = migrations::open(ex).await?;
    let places = open.iter().flat_map(|kept| {
        let nodes = [kept.migration.from.node, kept.migration.to.node];
        let open = kept.migration.stacks.iter().filter(|one| !one.step.is_final());
        open.flat_map(move |one| nodes.map(|node| (node, one.stack.clone())))
    });
    Ok(places.collect())
}

impl Engine {
    /// Lifts what migrations say of where stacks run once `fleet.toml` says the same. Whether there was any.
    pub(crate) async fn lift_said_moves(
        &self,
        tx: &mut Tx,
        loaded: &crate::reconcile::Loaded,
    ) -> Result<bool, EngineError> {
        let standing = constraints::of_migrations(tx).await?;
        if standing.is_empty() {
            return Ok(false);
        }
        let open = under_way(tx).await?;
        let mut any = false;
        for one in standing {
            let (Some(stack), ConstraintOrigin::Migration { .. }) = (one.effect.stack(), &one.origin) else {
                continue;
            };
            let backstay_types::Scope::Nodes { selector } = &one.scope else { continue };
            let named = selector.strip_prefix("name=").unwrap_or_default();
            let Some(node) = loaded.snapshot.nodes.iter().find(|node| node.name().as_str() == named) else {
                continue;
            };
            let lines: Vec<_> = loaded.snapshot.stacks.iter().filter(|facts| facts.name == *stack).collect();
            let assigned = lines.iter().flat_map(|facts| &facts.assignments);
            // A stack that is in no repository now, or of which nothing is said, says nothing.
            if open.contains(&(node.id, stack.clone())) || assigned.clone().next().is_none() {
                continue;
            }
            let said = assigned.clone().any(|assignment| node.is_in(&assignment.nodes));
            if said == matches!(one.effect, Effect::RunsHere { .. }) {
                self.lift_constraint(tx, &one, "fleet.toml says the same", "backstay").await?;
                any = true;
            }
        }
        Ok(any)
    }
}

//! Taking nodes out of the fleet: an intent that is kept until all that a node runs is away; then its credential goes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use backstay_api::v1::{DecommissionPlan, LeftStack};
use backstay_manifest::{Compose, Variables};
use backstay_plan::FleetPlan;
use backstay_store::{Executor, Tx, constraints, deployments, nodes, releases};
use backstay_types::{
    Cause, Constraint, ConstraintId, ConstraintOrigin, Deployment, Effect, Event, Node, NodeId, NodeName,
    Refs, Release, Rollout, Scope, Timestamp,
};

use crate::{Engine, EngineError, reconcile::Loaded};

impl Engine {
    /// What taking a node out of the fleet takes away, and what stays. Nothing is changed.
    ///
    /// # Errors
    /// When the node is revoked already, or the store fails.
    pub async fn plan_decommission(&self, node: &Node) -> Result<DecommissionPlan, EngineError> {
        check(node)?;
        let mut read = self.inner.store.read();
        let since = leave_of(&mut read, node, self.inner.world.now()).await?.map(|one| one.created_at);
        let mut stacks = Vec::new();
        for deployment in deployments::run_by(&mut read, &[node.id]).await? {
            stacks.push(self.left(&mut read, deployment).await?);
        }
        stacks.sort_by(|a, b| a.stack.cmp(&b.stack));
        Ok(DecommissionPlan { node: node.name.clone(), since, revoked: false, stacks })
    }

    async fn left(&self, ex: &mut impl Executor, runs: Deployment) -> Result<LeftStack, EngineError> {
        let release = releases::get(ex, runs.release).await?;
        let volumes = match &release {
            Some(release) => self.volumes_of(release).await,
            None => Vec::new(),
        };
        let containers = runs.containers.iter().map(|one| one.service.clone()).collect::<BTreeSet<_>>();
        Ok(LeftStack {
            stack: runs.stack,
            commit: release.map(|release| release.commit),
            containers: containers.into_iter().collect(),
            volumes,
        })
    }

    /// The named volumes of a release, as far as its Compose file says: what cannot be read names none.
    async fn volumes_of(&self, release: &Release) -> Vec<String> {
        for file in backstay_manifest::compose::FILE_NAMES {
            let Ok(bytes) = self.release_file(release, file).await else { continue };
            let Ok(compose) = Compose::parse(file, &bytes, &Variables::partial(BTreeMap::new())) else {
                continue;
            };
            let project = compose.project_name(None, &release.stack);
            let name = |(name, said): (&String, &Option<String>)| {
                said.clone().unwrap_or_else(|| format!("{project}_{name}"))
            };
            return compose.volumes.iter().map(name).collect();
        }
        Vec::new()
    }

    /// Begins to take a node out of the fleet: durable before this returns. What it runs is taken away when it next
    /// checks in, then it is revoked; with `keep_running` it is revoked at once. Asked twice, it is done once.
    ///
    /// # Errors
    /// When the node is revoked already, or the store fails.
    pub async fn decommission(
        &self,
        node: &Node,
        keep_running: bool,
        reason: &str,
        by: &str,
    ) -> Result<DecommissionPlan, EngineError> {
        let mut plan = self.plan_decommission(node).await?;
        let now = self.inner.world.now();
        let mut tx = self.inner.store.begin().await?;
        let known = leave_of(&mut tx, node, now).await?;
        if keep_running {
            self.take_out(&mut tx, node, known.as_ref(), (reason, by), true).await?;
            plan.revoked = true;
        } else if known.is_some() {
            return Ok(plan);
        } else {
            let constraint = Constraint {
                id: self.inner.world.mint(),
                scope: scope_of(node),
                effect: Effect::Decommission,
                reason: reason.to_owned(),
                by: by.to_owned(),
                origin: ConstraintOrigin::Person,
                created_at: now,
                from: None,
                until: None,
                lifted_at: None,
            };
            constraints::insert(&mut tx, &constraint).await?;
            let (effect, reason, by) = (Effect::Decommission, constraint.reason, constraint.by);
            tx.record(Event::ConstraintSet { effect, reason, by }, refs(node, constraint.id))?;
            plan.since = Some(now);
        }
        tx.commit().await?;
        self.changed_by_hand();
        Ok(plan)
    }

    /// A node stays in the fleet after all. What was taken away there already comes back.
    ///
    /// # Errors
    /// When it is not being taken out, or the store fails.
    pub async fn cancel_decommission(&self, node: &Node, reason: &str, by: &str) -> Result<(), EngineError> {
        let mut tx = self.inner.store.begin().await?;
        let Some(known) = leave_of(&mut tx, node, self.inner.world.now()).await? else {
            return Err(EngineError::Conflict(format!("node `{}` is not being taken out", node.name)));
        };
        self.let_stay(&mut tx, node, &known, reason, by).await?;
        tx.commit().await?;
        self.changed_by_hand();
        Ok(())
    }

    /// Forgets that a node was being taken out, since somebody has revoked it: joined again, it stays.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn forget_decommission(&self, tx: &mut Tx, node: &Node, by: &str) -> Result<(), EngineError> {
        match leave_of(tx, node, self.inner.world.now()).await? {
            Some(known) => self.let_stay(tx, node, &known, "the node was revoked", by).await,
            None => Ok(()),
        }
    }

    /// Revokes the nodes that run nothing any more and were to be taken out. Whether there were any.
    pub(crate) async fn finish_decommissions(
        &self,
        tx: &mut Tx,
        loaded: &Loaded,
        plan: &FleetPlan,
        now: Timestamp,
    ) -> Result<bool, EngineError> {
        let leaving: HashSet<_> =
            loaded.snapshot.nodes.iter().filter(|n| n.leaving.is_some()).map(|n| n.id).collect();
        // First the rollout ends that took it away: once the node is out, nobody is left who lost something.
        let own = |rollout: &&Rollout| rollout.cause == Cause::Decommission;
        let mut own = loaded.snapshot.rollouts.iter().filter(own);
        let ends = own.any(|rollout| plan.end.iter().any(|end| end.rollout == rollout.id));
        if leaving.is_empty() || ends {
            return Ok(false);
        }
        let mut busy: HashSet<NodeId> = loaded.settled.keys().map(|(node, _)| *node).collect();
        let open = loaded.deployments.values().filter(|one| !one.state.is_final()).map(|one| one.node);
        busy.extend(open.chain(plan.attempts.iter().map(|attempt| attempt.node)));
        let gone: Vec<_> = leaving.difference(&busy).filter_map(|id| loaded.nodes.get(id)).collect();
        if gone.is_empty() {
            return Ok(false);
        }
        let said = self::leaving(tx, now).await?;
        let mut any = false;
        for node in gone {
            let Some(known) = said.get(&node.name) else { continue };
            self.take_out(tx, node, Some(known), (&known.reason, &known.by), false).await?;
            any = true;
        }
        Ok(any)
    }

    /// Lifts what says that a node is being taken out.
    async fn let_stay(
        &self,
        tx: &mut Tx,
        node: &Node,
        known: &Constraint,
        reason: &str,
        by: &str,
    ) -> Result<(), EngineError> {
        constraints::lift(tx, known.id, self.inner.world.now()).await?;
        let event = Event::ConstraintLifted { reason: reason.to_owned(), by: by.to_owned() };
        tx.record(event, refs(node, known.id))?;
        Ok(())
    }

    /// Takes a node's credential away, and what was still to be done there off the list.
    async fn take_out(
        &self,
        tx: &mut Tx,
        node: &Node,
        known: Option<&Constraint>,
        (reason, by): (&str, &str),
        kept_running: bool,
    ) -> Result<(), EngineError> {
        nodes::revoke(tx, node.id, self.inner.world.now()).await?;
        let refs = || Refs { node: Some(node.id), ..Refs::default() };
        let event = Event::NodeDecommissioned { kept_running, reason: reason.to_owned(), by: by.to_owned() };
        tx.record(event, refs())?;
        tx.record(Event::NodeRevoked { name: node.name.clone() }, refs())?;
        match known {
            Some(known) => self.let_stay(tx, node, known, "it has left the fleet", by).await,
            None => Ok(()),
        }
    }
}

fn check(node: &Node) -> Result<(), EngineError> {
    match node.revoked_at {
        Some(_) => Err(EngineError::Conflict(format!("node `{}` is revoked already", node.name))),
        None => Ok(()),
    }
}

fn scope_of(node: &Node) -> Scope {
    Scope::Nodes { selector: format!("name={}", node.name) }
}

fn refs(node: &Node, constraint: ConstraintId) -> Refs {
    Refs { node: Some(node.id), constraint: Some(constraint), ..Refs::default() }
}

/// The nodes that are being taken out of the fleet, by name, each with what says so.
///
/// # Errors
/// When the store cannot be read.
pub async fn leaving(
    ex: &mut impl Executor,
    now: Timestamp,
) -> Result<HashMap<NodeName, Constraint>, EngineError> {
    let all = constraints::in_force(ex, now).await?.into_iter();
    let name = |one: &Constraint| match &one.scope {
        Scope::Nodes { selector } => selector.strip_prefix("name=")?.parse().ok(),
        Scope::Fleet | Scope::Environment { .. } => None,
    };
    let leaving = all.filter(|one| one.effect == Effect::Decommission);
    Ok(leaving.filter_map(|one| Some((name(&one)?, one))).collect())
}

/// What says that a node is being taken out.
async fn leave_of(
    ex: &mut impl Executor,
    node: &Node,
    now: Timestamp,
) -> Result<Option<Constraint>, EngineError> {
    Ok(leaving(ex, now).await?.remove(&node.name))
}

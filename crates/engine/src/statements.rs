//! Statements: what a node should run, signed. Written only under the reconciler's lease.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use backstay_api::statement::{DesiredAction, DesiredStack, PartSource, STATEMENT_VERSION, Statement};
use backstay_plan::{FleetPlan, Reason};
use backstay_store::{
    StoreError, Tx, agents, changes, deployments, desired, hub_state, leases::Lease, ledger, releases,
    repositories, rollouts, safe_mode,
};
use backstay_types::{
    Cause, ConversationId, Deployment, DeploymentId, Digest, Event, NodeId, PartName, Refs, Release,
    ReleaseId, Repository, RepositoryId, Rollout, RolloutId, RolloutKind, StackName, Timestamp,
};

use crate::{
    Engine, EngineError,
    reconcile::{Applied, Loaded},
};

/// So many releases of a stack are looked at for what an environment had left out.
const MOST_BETWEEN: u32 = 500;
/// What a node's statement says of its stacks.
type Lines = BTreeMap<StackName, (DeploymentId, Reason)>;
/// The same, as the database has it.
type Said = HashMap<NodeId, BTreeMap<StackName, desired::DesiredStack>>;

impl Engine {
    /// Writes the statements that changed or grow old. Whether there were any.
    pub(crate) async fn write_statements(
        &self,
        tx: &mut Tx,
        lease: &Lease,
        loaded: &Loaded,
        plan: &FleetPlan,
        applied: &Applied,
        now: Timestamp,
    ) -> Result<bool, EngineError> {
        let mut wanted = wanted(plan, loaded, applied);
        let said = said(desired::all_stacks(tx).await?);
        for node in applied.agents.nodes.iter().filter(|node| loaded.nodes.contains_key(node)) {
            wanted.entry(*node).or_default();
        }
        let versions: HashMap<_, _> = desired::versions(tx).await?.into_iter().map(|v| (v.node, v)).collect();
        for node in versions.keys().filter(|node| loaded.nodes.contains_key(node)) {
            // Of what was taken away nothing more is said. Who has nothing to run is still told what else there is to say.
            wanted.entry(*node).or_default();
        }
        let nothing = BTreeMap::new();
        let epoch = hub_state::epoch(tx).await?;
        let leaves = safe_mode::leaves(tx).await?;
        let renew_before = half_life_ago(now, self.inner.settings.statement_life);
        let due: Vec<_> = wanted
            .iter()
            .filter(|(node, lines)| {
                let version = versions.get(node);
                let changed = !same(said.get(node).unwrap_or(&nothing), lines);
                let old = version.is_none_or(|v| v.updated_at < renew_before || v.epoch != epoch);
                // A word of an operator goes out with a statement that was signed after it.
                let word = leaves.get(node).is_some_and(|w| version.is_none_or(|v| v.updated_at <= w.at));
                changed || old || word || applied.agents.news.contains(node)
            })
            .collect();
        let reworded = reworded(&wanted, &said, &due);
        if !reworded.is_empty() {
            desired::reword(tx, lease, &reworded).await?;
        }
        if due.is_empty() {
            return Ok(!reworded.is_empty());
        }
        let details = self.details(tx, loaded, applied, &due).await?;
        let head = ledger::head(tx).await?;
        let mut rows = Vec::new();
        let mut stack_rows = Vec::new();
        for (node, lines) in due {
            let stacks: Vec<_> = lines.values().filter_map(|(id, _)| details.get(id).cloned()).collect();
            let digest = Statement::digest_of(&stacks);
            let before = versions.get(node).filter(|v| v.epoch == epoch);
            let generation = match before {
                Some(before) if before.digest == digest => before.generation,
                Some(before) => before.generation + 1,
                None => 1,
            };
            let issued_at = issued_at(now, before, digest, leaves.get(node).map(|word| word.at));
            let statement = Statement {
                version: STATEMENT_VERSION,
                node: *node,
                epoch,
                generation,
                digest,
                issued_at,
                expires_at: issued_at
                    .checked_add(self.inner.settings.statement_life)
                    .unwrap_or(Timestamp::MAX),
                ledger: head,
                stacks,
                agent: applied.agents.of(*node),
                leave_safe_mode: leaves.get(node).map(|word| word.word.clone()),
            };
            if before.is_none_or(|b| b.digest != digest) {
                let refs = Refs { node: Some(*node), ..Refs::default() };
                tx.record(Event::DesiredChanged { generation, digest }, refs)?;
            }
            let signed = serde_json::to_string(&statement.sign(&self.inner.key)).map_err(StoreError::from)?;
            rows.push(desired::Desired {
                node: *node,
                epoch,
                generation,
                digest,
                statement: signed,
                updated_at: issued_at,
            });
            for (stack, (deployment, reason)) in lines {
                let Some(line) = details.get(deployment) else { continue };
                stack_rows.push(desired::DesiredStack {
                    node: *node,
                    stack: stack.clone(),
                    release: line.release,
                    deployment: *deployment,
                    reason: reason.to_string(),
                });
            }
        }
        desired::replace(tx, lease, &rows, &stack_rows).await?;
        if let Some(agent) = &applied.agents.agent {
            let news = rows.iter().map(|row| row.node).filter(|node| applied.agents.news.contains(node));
            let (asked, taken_back): (Vec<_>, Vec<_>) =
                news.partition(|node| applied.agents.nodes.contains(node));
            agents::say(tx, agent.update, &asked).await?;
            agents::say_no_more(tx, &taken_back).await?;
        }
        Ok(true)
    }

    /// The lines of statements by deployment, each with all that an agent needs.
    async fn details(
        &self,
        tx: &mut Tx,
        loaded: &Loaded,
        applied: &Applied,
        due: &[(&NodeId, &Lines)],
    ) -> Result<HashMap<DeploymentId, DesiredStack>, EngineError> {
        let ids: HashSet<_> = due.iter().flat_map(|(_, lines)| lines.values().map(|(id, _)| *id)).collect();
        let mut found: HashMap<DeploymentId, Deployment> =
            applied.made.iter().map(|(d, _)| (d.id, d.clone())).collect();
        let known = |id: &DeploymentId| loaded.deployments.get(id).cloned();
        found.extend(ids.iter().filter_map(|id| Some((*id, known(id)?))));
        let missing: Vec<_> = ids.iter().filter(|id| !found.contains_key(id)).copied().collect();
        found.extend(deployments::many(tx, &missing).await?.into_iter().map(|d| (d.id, d)));
        found.retain(|id, _| ids.contains(id));
        let rollouts = self.rollouts_of(tx, applied, found.values()).await?;
        let releases = releases_of(tx, loaded, found.values()).await?;
        let mut sources: HashMap<RepositoryId, Repository> = HashMap::new();
        for repository in repositories::list(tx).await? {
            sources.insert(repository.id, repository);
        }
        let mut causes: HashMap<RolloutId, Vec<ConversationId>> = HashMap::new();
        for rollout in rollouts.values() {
            causes.insert(rollout.id, conversations_of(tx, rollout).await?);
        }
        let parts: HashSet<_> = releases.values().flat_map(|r| r.parts.values().copied()).collect();
        let parts = releases::many(tx, &Vec::from_iter(parts)).await?;
        let parts: HashMap<_, _> = parts.into_iter().map(|release| (release.id, release)).collect();
        let lines = found.values().filter_map(|deployment| {
            let release = releases.get(&deployment.release)?;
            let rollout = rollouts.get(&deployment.rollout)?;
            let source = sources.get(&release.repository)?;
            let record = loaded.records.get(&deployment.stack);
            let line = DesiredStack {
                stack: deployment.stack.clone(),
                action: match rollout.kind {
                    RolloutKind::Removal => DesiredAction::Remove,
                    RolloutKind::Update | RolloutKind::Rollback => DesiredAction::Run,
                },
                release: release.id,
                tree: release.tree,
                bytes: release.bytes,
                deployment: deployment.id,
                rollout: rollout.id,
                kind: rollout.kind,
                conversations: causes.get(&rollout.id).cloned().unwrap_or_default(),
                commit: release.commit.clone(),
                path: release.path.clone(),
                endpoints: source.endpoints.clone(),
                manifest_schema: match &rollout.branch {
                    Some(branch) => crate::branches::schema(&loaded.followed, &deployment.stack, branch),
                    None => record.map(|record| record.schema),
                }
                .unwrap_or(backstay_manifest::MANIFEST_SCHEMA),
                sources: sources_of(release, &parts),
                // Once it has ended its data is nobody's to put in place again, whatever an agent has forgotten.
                data: deployment.data.filter(|_| !deployment.state.is_final()).map(|data| data.snapshot),
                // What leaves for another node takes what was written last along.
                save: rollout.kind == RolloutKind::Removal
                    && matches!(rollout.cause, Cause::Migration { .. })
                    && !deployment.state.is_final()
                    && loaded.settled.contains_key(&(deployment.node, deployment.stack.clone())),
            };
            Some((deployment.id, line))
        });
        Ok(lines.collect())
    }

    async fn rollouts_of(
        &self,
        tx: &mut Tx,
        applied: &Applied,
        deployments: impl Iterator<Item = &Deployment>,
    ) -> Result<HashMap<RolloutId, Rollout>, EngineError> {
        let ids: HashSet<_> = deployments.map(|d| d.rollout).collect();
        let mut found: HashMap<_, _> =
            ids.iter().filter_map(|id| Some((*id, applied.rollouts.get(id)?.clone()))).collect();
        let missing: Vec<_> = ids.into_iter().filter(|id| !found.contains_key(id)).collect();
        found.extend(rollouts::many(tx, &missing).await?.into_iter().map(|r| (r.id, r)));
        Ok(found)
    }
}

async fn releases_of(
    tx: &mut Tx,
    loaded: &Loaded,
    deployments: impl Iterator<Item = &Deployment>,
) -> Result<HashMap<ReleaseId, Release>, EngineError> {
    let ids: HashSet<_> = deployments.map(|d| d.release).collect();
    let mut found: HashMap<_, _> =
        ids.iter().filter_map(|id| Some((*id, loaded.releases.get(id)?.clone()))).collect();
    let missing: Vec<_> = ids.into_iter().filter(|id| !found.contains_key(id)).collect();
    found.extend(releases::many(tx, &missing).await?.into_iter().map(|r| (r.id, r)));
    Ok(found)
}

/// The commits that carry the parts of a release.
fn sources_of(release: &Release, parts: &HashMap<ReleaseId, Release>) -> Vec<PartSource> {
    let of = |(part, id): (&PartName, &ReleaseId)| {
        Some(PartSource { part: part.clone(), commit: parts.get(id)?.commit.clone() })
    };
    release.parts.iter().filter_map(of).collect()
}

/// Conversations behind the commits that a rollout brings, in order of the commits: those that led to its release
/// after whatever the rollout before it brought.
async fn conversations_of(
    ex: &mut impl backstay_store::Executor,
    rollout: &Rollout,
) -> Result<Vec<ConversationId>, EngineError> {
    let mut ids = Vec::new();
    for known in brought_by(ex, rollout).await? {
        for link in known.change.links.iter().filter(|l| l.source.is_certain()) {
            if !ids.contains(&link.conversation) {
                ids.push(link.conversation);
            }
        }
    }
    Ok(ids)
}

/// Commits that a rollout brings, oldest first: those noted with its release that were seen before it began and after
/// the rollout before it did.
pub(crate) async fn brought_by(
    ex: &mut impl backstay_store::Executor,
    rollout: &Rollout,
) -> Result<Vec<changes::KnownChange>, EngineError> {
    let before = rollouts::before(ex, rollout).await?;
    if rollout.environment.is_some() {
        return brought_to_environment(ex, rollout, before.as_ref()).await;
    }
    let since = before.map(|r| r.created_at);
    let commits = releases::commits(ex, rollout.release).await?;
    let mut found = changes::each(ex, commits).await?;
    // To the fleet it brings what came to the deployed branch, however long that had been on another.
    let of_fleet = rollout.branch.is_none();
    let came = |k: &changes::KnownChange| k.landed_at.filter(|_| of_fleet).unwrap_or(k.change.seen_at);
    found.retain(|k| {
        let at = came(k);
        at <= rollout.created_at && since.is_none_or(|since| at >= since)
    });
    found.sort_by_key(|k| (k.position, k.change.seen_at));
    Ok(found)
}

/// The same in an environment, which may have left out releases: the commits of all releases made after that which it
/// had before.
async fn brought_to_environment(
    ex: &mut impl backstay_store::Executor,
    rollout: &Rollout,
    before: Option<&Rollout>,
) -> Result<Vec<changes::KnownChange>, EngineError> {
    let old = match before.filter(|before| before.release != rollout.release) {
        Some(before) => releases::get(ex, before.release).await?,
        None => None,
    };
    let mut ids = vec![rollout.release];
    if let (Some(old), Some(new)) = (old, releases::get(ex, rollout.release).await?) {
        let between = |release: &&Release| old.created_at < release.created_at && release.id < new.id;
        let all = releases::of_stack(ex, &rollout.stack, None, MOST_BETWEEN).await?;
        ids.extend(all.iter().filter(between).map(|release| release.id));
    }
    let mut commits = Vec::new();
    for id in ids {
        commits.extend(releases::commits(ex, id).await?);
    }
    let mut found = changes::each(ex, commits).await?;
    found.retain(|known| known.change.seen_at <= rollout.created_at);
    found.sort_by_key(|known| (known.position, known.change.seen_at));
    Ok(found)
}

/// What each node's statement should say: what stands, and over it the new attempts.
fn wanted(plan: &FleetPlan, loaded: &Loaded, applied: &Applied) -> BTreeMap<NodeId, Lines> {
    let is_open = |id: &DeploymentId| loaded.deployments.get(id).is_some_and(|known| !known.state.is_final());
    let mut wanted: BTreeMap<NodeId, Lines> = BTreeMap::new();
    for of_stack in &plan.standing {
        for line in &of_stack.lines {
            let said = (line.deployment, line.reason.clone());
            let lines = wanted.entry(line.node).or_default();
            // Of a stack in parts that which is under way: its release holds what runs of the others.
            let under_way = lines.get(&of_stack.stack).is_some_and(|(known, _)| is_open(known));
            if !under_way || is_open(&line.deployment) {
                lines.insert(of_stack.stack.clone(), said);
            }
        }
    }
    for (deployment, reason) in &applied.made {
        let line = (deployment.id, reason.clone());
        wanted.entry(deployment.node).or_default().insert(deployment.stack.clone(), line);
    }
    wanted
}

fn said(rows: Vec<desired::DesiredStack>) -> Said {
    let mut said = Said::new();
    for row in rows {
        said.entry(row.node).or_default().insert(row.stack.clone(), row);
    }
    said
}

/// Whether the same is asked for. Reasons may be worded anew without anything having to be signed for it.
fn same(said: &BTreeMap<StackName, desired::DesiredStack>, wanted: &Lines) -> bool {
    said.len() == wanted.len()
        && said
            .iter()
            .all(|(stack, line)| wanted.get(stack).is_some_and(|(wanted, _)| *wanted == line.deployment))
}

/// Lines that stay but for their reason, of nodes that get no new statement.
fn reworded(
    wanted: &BTreeMap<NodeId, Lines>,
    said: &Said,
    due: &[(&NodeId, &Lines)],
) -> Vec<desired::DesiredStack> {
    let due: HashSet<_> = due.iter().map(|(node, _)| **node).collect();
    let others = wanted.iter().filter(|(node, _)| !due.contains(node));
    let lines = others.flat_map(|(node, lines)| lines.iter().map(move |(stack, line)| (node, stack, line)));
    lines
        .filter_map(|(node, stack, (_, reason))| {
            let line = said.get(node)?.get(stack).filter(|line| *line.reason != **reason)?;
            Some(desired::DesiredStack { reason: reason.to_string(), ..line.clone() })
        })
        .collect()
}

/// When a statement is said to be signed. What renews another is taken by its agent only when it is later than that, and an
/// operator's word has gone out when the statement is later than the word: also after the clock was set back.
fn issued_at(
    now: Timestamp,
    before: Option<&desired::Version>,
    digest: Digest,
    word_at: Option<Timestamp>,
) -> Timestamp {
    const LATER: Duration = Duration::from_millis(1);
    let renewed = before.filter(|before| before.digest == digest).map(|before| before.updated_at);
    let after = renewed.into_iter().chain(word_at).filter_map(|at| at.checked_add(LATER).ok()).max();
    if word_at.is_some() { after.map_or(now, |after| now.max(after)) } else { now }
}

fn half_life_ago(now: Timestamp, life: std::time::Duration) -> Timestamp {
    now.checked_sub(life / 2).unwrap_or(Timestamp::MIN)
}

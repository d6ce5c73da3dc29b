//! Labels of nodes that have joined: changed by people, and what that means for what nodes are to run.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use backstay_api::v1::{AssignedStack, LabelledNode, MovedStack};
use backstay_manifest::Selector;
use backstay_plan::{Followers, NodeFacts, Policy, Wanted, wanted};
use backstay_store::{Executor, nodes};
use backstay_types::{Event, Labels, Node, NodeId, Refs, StackName};

use crate::{Engine, EngineError, branches, reconcile::Loaded};

/// Whose labels are changed.
#[derive(Debug, Clone)]
pub enum Labelled {
    /// Those of one node.
    One(NodeId),
    /// Those of all nodes that this matches.
    Matching(Selector),
}

/// What is changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewLabels {
    /// Labels to set.
    pub set: Labels,
    /// Keys to take off.
    pub remove: BTreeSet<String>,
}

impl NewLabels {
    fn of(&self, before: &Labels) -> Result<Labels, EngineError> {
        let mut after = before.clone();
        for key in &self.remove {
            after.remove(key);
        }
        for (key, value) in self.set.iter() {
            after.insert(key, value).map_err(|e| EngineError::Invalid(format!("set: {e}")))?;
        }
        Ok(after)
    }

    /// What of it was not so before.
    fn news(&self, before: &Labels) -> Result<(Labels, Vec<String>), EngineError> {
        let mut set = Labels::default();
        for (key, value) in self.set.iter().filter(|(key, value)| before.get(key) != Some(value)) {
            set.insert(key, value).map_err(|e| EngineError::Invalid(format!("set: {e}")))?;
        }
        Ok((set, self.remove.iter().filter(|key| before.get(key).is_some()).cloned().collect()))
    }
}

impl Engine {
    /// Changes the labels of nodes, of all that are meant or of none, and says what that means for them. Asked twice, it
    /// is done once. With `dry_run` nothing is changed.
    ///
    /// # Errors
    /// When a key is both set and taken off, a node is revoked, the selector matches nobody, or the store fails.
    pub async fn label(
        &self,
        whom: &Labelled,
        labels: &NewLabels,
        (reason, by): (Option<&str>, &str),
        dry_run: bool,
    ) -> Result<Vec<LabelledNode>, EngineError> {
        check(labels)?;
        let loaded = self.load(&mut self.inner.store.read(), self.inner.world.now()).await?;
        if dry_run {
            let chosen = chosen(&mut self.inner.store.read(), whom).await?;
            return told(&loaded, &chosen, labels);
        }
        let mut tx = self.inner.store.begin().await?;
        let chosen = chosen(&mut tx, whom).await?;
        let told = told(&loaded, &chosen, labels)?;
        let mut changed = false;
        for (node, one) in chosen.iter().zip(&told).filter(|(_, one)| one.before != one.after) {
            nodes::set_labels(&mut tx, node.id, &one.after).await?;
            let (set, removed) = labels.news(&one.before)?;
            let event =
                Event::NodeLabelled { set, removed, reason: reason.map(str::to_owned), by: by.to_owned() };
            tx.record(event, Refs { node: Some(node.id), ..Refs::default() })?;
            changed = true;
        }
        if changed {
            tx.commit().await?;
            self.changed_by_hand();
        }
        Ok(told)
    }
}

fn check(labels: &NewLabels) -> Result<(), EngineError> {
    if let Some((key, _)) = labels.set.iter().find(|(key, _)| labels.remove.contains(*key)) {
        return Err(EngineError::Invalid(format!("remove: `{key}` is to be set as well")));
    }
    if labels.set.is_empty() && labels.remove.is_empty() {
        return Err(EngineError::Invalid("set: expected labels to set or keys to take off".to_owned()));
    }
    Ok(())
}

/// The nodes that are meant, by name.
async fn chosen(ex: &mut impl Executor, whom: &Labelled) -> Result<Vec<Node>, EngineError> {
    match whom {
        Labelled::One(id) => {
            let node = nodes::get(ex, *id).await?.ok_or_else(|| EngineError::not_found("node", id))?;
            if node.revoked_at.is_some() {
                return Err(EngineError::Conflict(format!("node `{}` is revoked", node.name)));
            }
            Ok(vec![node])
        }
        Labelled::Matching(selector) => {
            let mut there = nodes::active(ex).await?;
            let all = there.len();
            there.retain(|node| selector.matches(&node.name, &node.labels));
            if there.is_empty() {
                let message = format!("nodes: `{selector}` matches none of {all} nodes");
                return Err(EngineError::Invalid(message));
            }
            Ok(there)
        }
    }
}

fn told(loaded: &Loaded, chosen: &[Node], labels: &NewLabels) -> Result<Vec<LabelledNode>, EngineError> {
    let ways = Ways::of(loaded);
    let one = |node: &Node| {
        let (before, after) = (node.labels.clone(), labels.of(&node.labels)?);
        let stacks = ways.between(node, &before, &after);
        Ok(LabelledNode { node: node.name.clone(), before, after, stacks })
    };
    chosen.iter().map(one).collect()
}

/// What planning says of any node, by its labels.
struct Ways<'a> {
    loaded: &'a Loaded,
    policies: Vec<Policy>,
    followers: Followers,
    positions: HashMap<NodeId, usize>,
}

impl<'a> Ways<'a> {
    fn of(loaded: &'a Loaded) -> Self {
        let world = &loaded.snapshot;
        let policy = |stack| Policy::new(stack, &world.constraints, world.now);
        let positions = world.nodes.iter().enumerate().map(|(at, node)| (node.id, at)).collect();
        let followers = Followers::of(&world.constraints, &branches::held(&loaded.followed), world.now);
        Self { loaded, policies: world.stacks.iter().map(policy).collect(), followers, positions }
    }

    fn between(&self, node: &Node, before: &Labels, after: &Labels) -> Vec<MovedStack> {
        let known = self.positions.get(&node.id).map(|at| &self.loaded.snapshot.nodes[*at]);
        let facts = |labels: &Labels| {
            let mut facts = NodeFacts::new(node.id, node.name.clone(), labels.clone());
            facts.leaving = known.and_then(|known| known.leaving.clone());
            facts.follows = self.followers.follows_of(&facts);
            facts
        };
        let (mut were, mut gone) = (self.assigned(&facts(before)).0, BTreeSet::new());
        let (mut are, taken) = self.assigned(&facts(after));
        gone.extend(taken);
        let names: BTreeSet<_> = were.keys().chain(are.keys()).copied().cloned().collect();
        let moved = names.into_iter().filter_map(|stack| {
            let (before, after) = (were.remove(&stack), are.remove(&stack));
            let taken_away = after.is_none() && gone.contains(&stack);
            (before != after).then_some(MovedStack { stack, before, after, taken_away })
        });
        moved.collect()
    }

    /// The stacks that a node is assigned or pinned to, and those that would be taken away from it.
    fn assigned(&self, node: &NodeFacts) -> (BTreeMap<&'a StackName, AssignedStack>, Vec<&'a StackName>) {
        let (mut found, mut taken) = (BTreeMap::new(), Vec::new());
        let world = &self.loaded.snapshot;
        let lines = world.stacks.iter().zip(&self.policies).enumerate();
        // The parts of a stack go where all of it goes.
        for (index, (stack, policy)) in lines.filter(|(_, (stack, _))| stack.share.part().is_none()) {
            if !stack.holds(node) {
                continue;
            }
            let past = self.positions.get(&node.id).map(|at| world.past.of(index, *at));
            let release = match wanted(stack, node, &past.copied().unwrap_or_default(), policy) {
                Wanted::Release { release, .. } => Some(release),
                Wanted::Gone { .. } => {
                    taken.push(&stack.name);
                    None
                }
                Wanted::Keep { .. } => None,
            };
            if release.is_some() || policy.is_assigned(node) {
                let commit = release.and_then(|id| self.loaded.releases.get(&id)).map(|r| r.commit.clone());
                let environment = stack.within.environment().cloned();
                found.insert(&stack.name, AssignedStack { environment, commit });
            }
        }
        (found, taken)
    }
}

//! What happened, as marks and spans.

use std::collections::{BTreeSet, HashMap};

use backstay_api::v1::{GraphItem, GraphKind, LanesBy};
use backstay_store::{
    Reader, conversations,
    deployments::{self, Filter},
    graph::{self, Span},
    links, nodes,
};
use backstay_types::{
    ConversationId, Deployment, DeploymentState, Event, LedgerEntry, NodeId, NodeName, Refs,
    RepositoryHealth, StackName, Undo, UndoSelector, UndoState,
};

use crate::http::{ApiError, names::distinct};

/// So many of each kind.
const OF_A_KIND: u32 = 500;
/// Kinds of ledger entries that are marks of their own.
const ENTRIES: [(&str, GraphKind); 7] = [
    ("drift_reported", GraphKind::Drift),
    ("repository_health_changed", GraphKind::Repository),
    ("repository_warned", GraphKind::Repository),
    ("constraint_set", GraphKind::Constraint),
    ("constraint_lifted", GraphKind::Constraint),
    ("node_joined", GraphKind::Node),
    ("node_revoked", GraphKind::Node),
];

/// Collects what is drawn.
pub(super) struct Items {
    by: LanesBy,
    span: Span,
    conversation: Option<ConversationId>,
    names: HashMap<NodeId, NodeName>,
    items: Vec<GraphItem>,
    truncated: BTreeSet<GraphKind>,
}

impl Items {
    /// Nothing yet.
    pub(super) fn new(by: LanesBy, span: Span, conversation: Option<ConversationId>) -> Self {
        let (names, items, truncated) = (HashMap::new(), Vec::new(), BTreeSet::new());
        Self { by, span, conversation, names, items, truncated }
    }

    /// What was collected, oldest first, and of which kinds there was more.
    pub(super) fn finish(mut self) -> (Vec<GraphItem>, Vec<GraphKind>) {
        self.items.sort_by(|a, b| (a.at, a.kind, &a.id).cmp(&(b.at, b.kind, &b.id)));
        (self.items, self.truncated.into_iter().collect())
    }

    /// Deployments one by one.
    pub(super) async fn deployments(&mut self, store: &mut Reader, most: u32) -> Result<(), ApiError> {
        let found = match self.conversation {
            None => graph::deployments(store, &self.span, most).await?,
            Some(conversation) => {
                let filter = Filter {
                    conversation: Some(conversation),
                    node: self.span.node,
                    stack: self.span.stack.clone(),
                    ..Filter::default()
                };
                let mut found = deployments::list(store, &filter, None, most + 1).await?;
                if found.len() > most as usize {
                    found.truncate(most as usize);
                    self.truncated.insert(GraphKind::Deployment);
                }
                let inside = self.span.since..self.span.until;
                found.retain(|one| inside.contains(&one.created_at));
                found
            }
        };
        self.learn(store, found.iter().map(|one| one.node)).await?;
        for one in found {
            let item = self.deployment(one);
            self.items.push(item);
        }
        Ok(())
    }

    /// Everything but deployments.
    pub(super) async fn rest(&mut self, store: &mut Reader) -> Result<(), ApiError> {
        self.conversations(store).await?;
        self.changes(store).await?;
        self.undos(store).await?;
        if self.conversation.is_none() {
            for rollout in graph::halted(store, &self.span, OF_A_KIND).await? {
                let refs =
                    Refs { rollout: Some(rollout.id), stack: Some(rollout.stack.clone()), ..Refs::default() };
                let at = rollout.finished_at.unwrap_or(rollout.created_at);
                let title = format!("The rollout of {} stopped: {}", rollout.stack, rollout.reason);
                let lanes = self.stack_lanes([&rollout.stack]);
                let id = rollout.id.to_string();
                self.push(GraphItem {
                    at,
                    until: None,
                    state: "halted".into(),
                    undo: false,
                    kind: GraphKind::Halt,
                    id,
                    lanes,
                    title,
                    refs,
                });
            }
            for (kind, as_kind) in ENTRIES {
                let found = graph::entries(store, &self.span, kind, OF_A_KIND).await?;
                self.note(as_kind, found.len());
                self.learn(store, found.iter().filter_map(|entry| entry.refs.node)).await?;
                for entry in found {
                    let item = self.entry(as_kind, entry);
                    self.items.push(item);
                }
            }
        }
        Ok(())
    }

    async fn conversations(&mut self, store: &mut Reader) -> Result<(), ApiError> {
        let found = match self.conversation {
            Some(id) => conversations::get(store, id).await?.into_iter().collect(),
            None => graph::conversations(store, &self.span, OF_A_KIND).await?,
        };
        self.note(GraphKind::Conversation, found.len());
        let ids: Vec<_> = found.iter().map(|one| one.id).collect();
        let stacks = graph::stacks_of(store, &ids).await?;
        for one in found {
            let changed = stacks.get(&one.id);
            if self.span.stack.as_ref().is_some_and(|only| !changed.is_some_and(|all| all.contains(only))) {
                continue;
            }
            let title = one.title.clone().unwrap_or_else(|| one.tool.clone());
            let state = if one.ended_at.is_some() { "ended" } else { "open" };
            let refs = Refs { conversation: Some(one.id), ..Refs::default() };
            self.push(GraphItem {
                kind: GraphKind::Conversation,
                id: one.id.to_string(),
                lanes: self.stack_lanes(changed.into_iter().flatten()),
                at: one.first_seen_at,
                until: Some(one.last_seen_at),
                state: state.to_owned(),
                title,
                refs,
                undo: changed.is_some(),
            });
        }
        Ok(())
    }

    async fn changes(&mut self, store: &mut Reader) -> Result<(), ApiError> {
        let found = match self.conversation {
            Some(id) => links::changes_of(store, id).await?,
            None => graph::changes(store, &self.span, OF_A_KIND).await?,
        };
        self.note(GraphKind::Commit, found.len());
        for known in found {
            let change = known.change;
            if self.span.stack.as_ref().is_some_and(|only| !change.stacks.contains(only)) {
                continue;
            }
            let certain = change.links.iter().find(|link| link.source.is_certain());
            let refs = Refs {
                conversation: certain.map(|link| link.conversation),
                repository: Some(change.repository),
                commit: Some(change.commit.clone()),
                undo: known.undo,
                ..Refs::default()
            };
            self.push(GraphItem {
                kind: GraphKind::Commit,
                id: change.commit.to_string(),
                lanes: self.stack_lanes(&change.stacks),
                at: change.committed_at,
                until: None,
                state: if known.undo.is_some() { "undo" } else { "change" }.to_owned(),
                title: change.subject,
                refs,
                undo: true,
            });
        }
        Ok(())
    }

    async fn undos(&mut self, store: &mut Reader) -> Result<(), ApiError> {
        let found = match self.conversation {
            Some(id) => backstay_store::undos::of_conversation(store, id).await?,
            None => graph::undos(store, &self.span, OF_A_KIND).await?,
        };
        self.note(GraphKind::Undo, found.len());
        for undo in found {
            let item = self.undo(undo);
            self.push(item);
        }
        Ok(())
    }

    fn deployment(&self, one: Deployment) -> GraphItem {
        let node = self.name(one.node);
        GraphItem {
            kind: GraphKind::Deployment,
            id: one.id.to_string(),
            lanes: match self.by {
                LanesBy::Stack => vec![one.stack.to_string()],
                LanesBy::Node => vec![node.clone()],
            },
            at: one.created_at,
            until: one.finished_at,
            state: one.state.word().to_owned(),
            title: match &one.state {
                DeploymentState::RolledBack { reason, .. }
                | DeploymentState::Failed { reason, .. }
                | DeploymentState::Broken { reason, .. } => format!("{} on {node}: {reason}", one.stack),
                _ => format!("{} on {node}", one.stack),
            },
            undo: one.state == DeploymentState::Succeeded,
            refs: Refs {
                deployment: Some(one.id),
                node: Some(one.node),
                rollout: Some(one.rollout),
                release: Some(one.release),
                stack: Some(one.stack),
                ..Refs::default()
            },
        }
    }

    fn undo(&self, undo: Undo) -> GraphItem {
        let moves = &undo.plan.nodes;
        let lanes: BTreeSet<String> = match self.by {
            LanesBy::Stack => moves.iter().map(|one| one.stack.to_string()).collect(),
            LanesBy::Node => moves.iter().map(|one| one.node.to_string()).collect(),
        };
        let commits: usize = undo.plan.repositories.iter().map(|one| one.commits.len()).sum();
        let why = if undo.reason.is_empty() { String::new() } else { format!(": {}", undo.reason) };
        let state = match undo.state {
            UndoState::Planned => "planned",
            UndoState::Conflicted => "conflicted",
            UndoState::RollingOut => "rolling_out",
            UndoState::Verified => "verified",
            UndoState::Failed { .. } => "failed",
        };
        GraphItem {
            kind: GraphKind::Undo,
            id: undo.id.to_string(),
            lanes: lanes.into_iter().collect(),
            at: undo.created_at,
            until: undo.finished_at,
            state: state.to_owned(),
            title: format!(
                "{} took back {commits} commit{}{why}",
                undo.by,
                if commits == 1 { "" } else { "s" }
            ),
            refs: Refs { undo: Some(undo.id), ..taken_back(&undo.selector) },
            undo: undo.state == UndoState::Verified,
        }
    }

    fn entry(&self, kind: GraphKind, entry: LedgerEntry) -> GraphItem {
        let node = entry.refs.node.map(|node| self.name(node));
        let (state, title) = match &entry.event {
            Some(Event::DriftReported { detail }) => ("drift".to_owned(), detail.clone()),
            Some(Event::RepositoryHealthChanged { health } | Event::BranchChanged { health, .. }) => {
                health_line(health)
            }
            Some(Event::RepositoryWarned { warnings, .. }) => {
                let first = warnings.first().map(|one| one.message.clone()).unwrap_or_default();
                ("warned".to_owned(), format!("To look at: {first}"))
            }
            Some(Event::ConstraintSet { effect, reason, .. }) => {
                let word = serde_json::to_value(effect).ok();
                let word = word.as_ref().and_then(|value| value["effect"].as_str()).unwrap_or("limit");
                ("set".to_owned(), format!("A {word} was set: {reason}"))
            }
            Some(Event::ConstraintLifted { reason, .. }) => {
                ("lifted".to_owned(), format!("Lifted: {reason}"))
            }
            Some(Event::NodeJoined { name }) => ("joined".to_owned(), format!("{name} joined")),
            Some(Event::NodeRevoked { name }) => ("revoked".to_owned(), format!("{name} was taken out")),
            _ => (entry.kind.clone(), entry.kind.replace('_', " ")),
        };
        let lanes = match self.by {
            LanesBy::Stack => entry.refs.stack.iter().map(ToString::to_string).collect(),
            LanesBy::Node => node.into_iter().collect(),
        };
        let (id, at) = (entry.seq.to_string(), entry.at);
        GraphItem { kind, id, lanes, at, until: None, state, title, refs: entry.refs, undo: false }
    }

    fn stack_lanes<'a>(&self, stacks: impl IntoIterator<Item = &'a StackName>) -> Vec<String> {
        match self.by {
            LanesBy::Stack => stacks.into_iter().map(ToString::to_string).collect(),
            LanesBy::Node => Vec::new(),
        }
    }

    fn push(&mut self, item: GraphItem) {
        let over = item.until.unwrap_or(item.at);
        if over >= self.span.since && item.at < self.span.until {
            self.items.push(item);
        }
    }

    fn note(&mut self, kind: GraphKind, found: usize) {
        if found >= OF_A_KIND as usize {
            self.truncated.insert(kind);
        }
    }

    fn name(&self, node: NodeId) -> String {
        self.names.get(&node).map(ToString::to_string).unwrap_or_default()
    }

    async fn learn(&mut self, store: &mut Reader, ids: impl Iterator<Item = NodeId>) -> Result<(), ApiError> {
        let unknown = distinct(ids.filter(|id| !self.names.contains_key(id)));
        let found = nodes::many(store, &unknown).await?;
        self.names.extend(found.into_iter().map(|node| (node.id, node.name)));
        Ok(())
    }
}

/// What an undo took back, where that is one thing.
fn taken_back(selector: &UndoSelector) -> Refs {
    match selector {
        UndoSelector::Conversation { conversation, .. } => {
            Refs { conversation: Some(*conversation), ..Refs::default() }
        }
        UndoSelector::Deployment { deployment } => Refs { deployment: Some(*deployment), ..Refs::default() },
        UndoSelector::Time { .. }
        | UndoSelector::Commit { .. }
        | UndoSelector::Last
        | UndoSelector::Undo { .. } => Refs::default(),
    }
}

fn health_line(health: &RepositoryHealth) -> (String, String) {
    let title = match health {
        RepositoryHealth::New => "Not fetched yet".to_owned(),
        RepositoryHealth::Ok => "It can be fetched".to_owned(),
        RepositoryHealth::Unreachable { message, .. } | RepositoryHealth::Invalid { message, .. } => {
            message.clone()
        }
        RepositoryHealth::Rewritten { .. } => "Its history was rewritten".to_owned(),
    };
    let state = serde_json::to_value(health).ok();
    (state.and_then(|value| value["state"].as_str().map(str::to_owned)).unwrap_or_default(), title)
}

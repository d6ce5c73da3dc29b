//! Puts a history into a database, in the order of time.

use std::{collections::HashMap, path::Path};

use backstay_store::{
    Result, Store, Tx, changes, conversations, deployments, ledger, nodes, releases, repositories, rollouts,
    stacks, tool_events,
};
use backstay_testkit::TestWorld;
use backstay_types::{
    Change, CommitId, ConversationId, Deployment, DeploymentId, Digest, Event, ForeignId, Link, LinkSource,
    Person, Refs, Release, ReleaseId, RolloutId, Timestamp,
};

use super::{
    after,
    fleet::Fleet,
    history::{Happening, History, Outcome, What},
    rows,
};

/// How many entries go into one transaction.
const BATCH: usize = 1000;
/// Under which name entries are sealed. Its lease has long run out when a hub takes over.
const HOLDER: &str = "seed";

/// Writes all of it, and what there is at the end, `now`.
pub(super) async fn write(
    path: &Path,
    world: &TestWorld,
    fleet: &Fleet,
    history: &History,
    now: Timestamp,
) -> Result<()> {
    let since = world.now();
    let store = Store::open(&path.display().to_string(), world.world()).await?;
    let mut writer = Writer {
        world,
        fleet,
        history,
        since,
        conversations: vec![None; history.happenings.len().min(history.commits.len())],
        releases: vec![None; history.rollouts.len()],
        rollouts: vec![None; history.rollouts.len()],
        deployments: vec![None; history.deployments.len()],
        runs: HashMap::new(),
        position: 0,
        generation: 0,
    };
    // A segment of the ledger is a day: what is sealed together is of one.
    let day = |happening: &Happening| after(since, happening.at).as_second().div_euclid(86_400);
    let days = history.happenings.chunk_by(|one, next| day(one) == day(next));
    for batch in days.flat_map(|day| day.chunks(BATCH)) {
        let mut tx = store.begin().await?;
        for happening in batch {
            writer.tell(&mut tx, *happening).await?;
        }
        tx.commit().await?;
        while ledger::seal(&store, HOLDER).await? != ledger::Sealed::Nothing {}
    }
    world.set(now);
    let mut tx = store.begin().await?;
    writer.end(&mut tx, now).await?;
    tx.commit().await?;
    store.maintain().await?;
    store.close().await;
    Ok(())
}

/// What has been written so far, by its place in the history.
pub(super) struct Writer<'a> {
    pub(super) world: &'a TestWorld,
    pub(super) fleet: &'a Fleet,
    pub(super) history: &'a History,
    pub(super) since: Timestamp,
    conversations: Vec<Option<ConversationId>>,
    pub(super) releases: Vec<Option<ReleaseId>>,
    pub(super) rollouts: Vec<Option<RolloutId>>,
    pub(super) deployments: Vec<Option<DeploymentId>>,
    /// The deployment that last succeeded, and the one before it, by stack and node.
    pub(super) runs: HashMap<(usize, usize), (usize, Option<usize>)>,
    position: i64,
    generation: u64,
}

impl Writer<'_> {
    /// Writes what happened, and its entry.
    async fn tell(&mut self, tx: &mut Tx, happening: Happening) -> Result<()> {
        let at = after(self.since, happening.at);
        self.world.set(at);
        match happening.what {
            What::Repository => {
                repositories::insert(tx, &self.fleet.repository, None).await?;
                tx.record(
                    Event::RepositoryAdded { name: self.fleet.repository.name.to_string() },
                    Refs { repository: Some(self.fleet.repository.id), ..Refs::default() },
                )?;
            }
            What::Joined(node) => self.joined(tx, node).await?,
            What::Opened(place) => self.opened(tx, place, at).await?,
            What::Closed(place) => self.closed(tx, place, at).await?,
            What::Commit(place) => self.commit(tx, place, at).await?,
            What::Release(place) => self.release(tx, place, at).await?,
            What::Rollout(place) => self.rollout(tx, place, at).await?,
            What::RolloutEnded(place) => {
                let (state, reason) = rows::rollout_end(self.history.rollouts[place].end);
                let reason = reason.to_owned();
                tx.record(Event::RolloutStateChanged { state, reason }, self.rollout_refs(place))?;
            }
            What::Planned(place) => {
                self.desired(tx, self.history.deployments[place].node)?;
            }
            What::Started(place) => {
                tx.record(Event::DeploymentStarted, self.deployment_refs(place))?;
            }
            What::Finished(place) => self.finished(tx, place).await?,
            What::Drift(node, away) => {
                let detail = if away { "web is not running; started again" } else { "web runs as it should" };
                let refs = Refs { node: Some(self.fleet.nodes[node].id), ..self.some_stack(node) };
                tx.record(Event::DriftReported { detail: detail.to_owned() }, refs)?;
            }
            What::Desired(node) => self.desired(tx, node)?,
        }
        Ok(())
    }

    async fn joined(&self, tx: &mut Tx, place: usize) -> Result<()> {
        let node = &self.fleet.nodes[place];
        nodes::insert(tx, node, Digest::of(node.id.to_string().as_bytes())).await?;
        let refs = Refs { node: Some(node.id), ..Refs::default() };
        tx.record(Event::NodeJoined { name: node.name.clone() }, refs).map(drop)
    }

    async fn opened(&mut self, tx: &mut Tx, place: usize, at: Timestamp) -> Result<()> {
        let tool = rows::tool(place);
        let foreign = ForeignId {
            tool: tool.to_owned(),
            kind: "session_id".to_owned(),
            value: format!("session-{place}"),
        };
        let id = conversations::resolve(tx, tool, &[foreign], at).await?.id;
        conversations::set_title(tx, id, &rows::title(place)).await?;
        let events: Vec<_> = rows::tool_events(place, id, at, &self.world.world());
        tool_events::insert(tx, &events).await?;
        self.conversations[place] = Some(id);
        let refs = Refs { conversation: Some(id), ..Refs::default() };
        tx.record(Event::ConversationOpened { tool: tool.to_owned() }, refs).map(drop)
    }

    async fn closed(&self, tx: &mut Tx, place: usize, at: Timestamp) -> Result<()> {
        let Some(id) = self.conversations[place] else { return Ok(()) };
        conversations::heard(tx, id, at).await?;
        conversations::end(tx, id, at).await?;
        let (tool_events, digest) = tool_events::digest(tx, id).await?;
        let refs = Refs { conversation: Some(id), ..Refs::default() };
        tx.record(Event::ConversationClosed { reason: "exit".to_owned(), tool_events, digest }, refs)
            .map(drop)
    }

    async fn commit(&mut self, tx: &mut Tx, place: usize, at: Timestamp) -> Result<()> {
        let conversation = self.conversations[self.history.commits[place].conversation];
        let stack =
            self.history.rollouts.get(place).map(|rollout| self.fleet.stacks[rollout.stack].name.clone());
        let subject = rows::subject(place, stack.as_ref());
        let author = Person { name: "Assistant".to_owned(), email: "assistant@localhost".to_owned() };
        let link = |conversation| Link { conversation, source: LinkSource::Trailer };
        let change = Change {
            repository: self.fleet.repository.id,
            commit: commit_id(place),
            parents: (self.position > 0).then(|| commit_id(place.wrapping_sub(1))).into_iter().collect(),
            author: author.clone(),
            authored_at: at,
            committed_at: at,
            seen_at: at,
            subject: subject.clone(),
            stacks: stack.clone().into_iter().collect(),
            links: conversation.into_iter().map(link).collect(),
            reverts: Vec::new(),
        };
        self.position += 1;
        let known = changes::KnownChange {
            change,
            undo: None,
            patch_digest: None,
            position: Some(self.position),
            landed_at: None,
        };
        changes::insert(tx, &known).await?;
        if let Some(id) = conversation {
            conversations::heard(tx, id, at).await?;
        }
        let refs = Refs { conversation, stack, ..self.commit_refs(place) };
        tx.record(Event::ChangeSeen { subject, author: author.name }, refs).map(drop)
    }

    async fn release(&mut self, tx: &mut Tx, place: usize, at: Timestamp) -> Result<()> {
        let stack = self.fleet.stacks[self.history.rollouts[place].stack].name.clone();
        let release = Release {
            id: self.world.world().mint(),
            path: format!("stacks/{stack}"),
            stack: stack.clone(),
            tree: tree(place),
            repository: self.fleet.repository.id,
            commit: commit_id(place),
            bytes: 4_096,
            created_at: at,
            part: None,
            layout: None,
            parts: std::collections::BTreeMap::new(),
        };
        releases::ensure(tx, &release).await?;
        releases::add_commit(tx, release.id, release.repository, &release.commit).await?;
        self.releases[place] = Some(release.id);
        let refs = Refs { release: Some(release.id), stack: Some(stack), ..self.commit_refs(place) };
        tx.record(Event::ReleaseCreated { tree: release.tree }, refs).map(drop)
    }

    /// The rollout's row and those of its deployments as they are at the end.
    async fn rollout(&mut self, tx: &mut Tx, place: usize, at: Timestamp) -> Result<()> {
        let id = self.world.world().mint();
        self.rollouts[place] = Some(id);
        let told = self.history.rollouts[place].clone();
        let rollout = rows::rollout(self, place, id, at);
        rollouts::insert(tx, &rollout).await?;
        let mut written: Vec<Deployment> = Vec::new();
        for number in told.deployments.clone() {
            let deployment = self.history.deployments[number];
            self.world.set(after(self.since, deployment.planned));
            let id = self.world.world().mint();
            self.deployments[number] = Some(id);
            let key = (told.stack, deployment.node);
            let before = self.runs.get(&key).map(|(current, _)| *current);
            let previous = before.map(|number| tree(self.history.deployments[number].rollout));
            written.push(rows::deployment(self, number, id, previous));
            if deployment.outcome == Outcome::Succeeded {
                self.runs.insert(key, (number, before));
            }
        }
        self.world.set(at);
        deployments::insert(tx, &written).await?;
        let reason = rollout.reason;
        tx.record(Event::RolloutStarted { reason }, self.rollout_refs(place)).map(drop)
    }

    async fn finished(&self, tx: &mut Tx, place: usize) -> Result<()> {
        let told = self.history.deployments[place];
        let mut steps = Digest::of(b"");
        if let Some(id) = self.deployments[place].filter(|_| place.is_multiple_of(10)) {
            for step in rows::steps(told, self.since) {
                deployments::add_step(tx, id, &step).await?;
            }
            steps = deployments::steps_digest(tx, id).await?;
        }
        let state = rows::state(told.outcome, rows::reason(told.node));
        tx.record(Event::DeploymentFinished { state, steps }, self.deployment_refs(place)).map(drop)
    }

    fn desired(&mut self, tx: &mut Tx, node: usize) -> Result<()> {
        self.generation += 1;
        let digest = Digest::of(&self.generation.to_le_bytes());
        let refs = Refs { node: Some(self.fleet.nodes[node].id), ..Refs::default() };
        tx.record(Event::DesiredChanged { generation: self.generation, digest }, refs).map(drop)
    }

    async fn end(&self, tx: &mut Tx, now: Timestamp) -> Result<()> {
        for place in 0..self.fleet.stacks.len() {
            stacks::put(tx, &rows::stack(self, place, now)).await?;
        }
        for chunk in rows::soft(self, now).chunks(1000) {
            nodes::flush_soft(tx, chunk).await?;
        }
        let newest = (0..self.history.commits.len()).max_by_key(|&place| self.history.commits[place].at);
        let repository = self.fleet.repository.id;
        repositories::set_tip(tx, repository, None, &commit_id(newest.unwrap_or(0))).await?;
        repositories::set_fetched(tx, repository, now).await
    }

    fn commit_refs(&self, place: usize) -> Refs {
        let repository = Some(self.fleet.repository.id);
        Refs { repository, commit: Some(commit_id(place)), ..Refs::default() }
    }

    fn rollout_refs(&self, place: usize) -> Refs {
        let stack = self.fleet.stacks[self.history.rollouts[place].stack].name.clone();
        let (release, rollout) = (self.releases[place], self.rollouts[place]);
        Refs { stack: Some(stack), release, rollout, ..self.commit_refs(place) }
    }

    fn deployment_refs(&self, place: usize) -> Refs {
        let told = self.history.deployments[place];
        let node = Some(self.fleet.nodes[told.node].id);
        let deployment = self.deployments[place];
        Refs { deployment, node, repository: None, commit: None, ..self.rollout_refs(told.rollout) }
    }

    fn some_stack(&self, node: usize) -> Refs {
        let stack = self.fleet.stacks.iter().find(|stack| stack.nodes.binary_search(&node).is_ok());
        Refs { stack: stack.map(|stack| stack.name.clone()), ..Refs::default() }
    }

    /// What a node runs of a stack, and what it ran before.
    pub(super) fn running(&self, stack: usize, node: usize) -> Option<(usize, Option<usize>)> {
        self.runs.get(&(stack, node)).copied()
    }

    /// Whether a node's newest deployment of a stack is under way.
    pub(super) fn is_deploying(&self, stack: usize, node: usize) -> bool {
        let last = self.history.rollouts.iter().rev().find(|rollout| rollout.stack == stack);
        let of_node = last.and_then(|rollout| {
            self.history.deployments[rollout.deployments.clone()].iter().find(|one| one.node == node)
        });
        of_node.is_some_and(|one| one.outcome == Outcome::Running)
    }
}

/// The id of a commit. There is no Git behind it.
pub(super) fn commit_id(place: usize) -> CommitId {
    let text = Digest::of(format!("commit {place}").as_bytes()).as_bytes()[..20].iter().fold(
        String::with_capacity(40),
        |mut text, byte| {
            use std::fmt::Write as _;
            let _ = write!(text, "{byte:02x}");
            text
        },
    );
    text.parse().expect("forty digits")
}

/// The tree of a rollout's release.
pub(super) fn tree(rollout: usize) -> Digest {
    Digest::of(format!("tree {rollout}").as_bytes())
}

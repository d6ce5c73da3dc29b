//! A fleet: one repository, three nodes, and a hand that plays their agents.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use backstay_api::{
    agent::{Report, ReportBody},
    statement::{DesiredAction, DesiredStack, SignedStatement, Statement},
};
use backstay_engine::{
    Engine, NewRepository, Presence, Said, Settings, WantedUndo,
    backups::{BackupRules, Ceiling, DrillRhythm, Keep, Rhythm, UpkeepRules},
};
use backstay_store::{Store, desired, ledger, nodes, repositories, undos};
use backstay_testkit::{BareRepository, CommitSpec, WorkTree};
use backstay_types::{
    CommitId, ConversationId, Deployment, DeploymentId, DeploymentState, Digest, FailureKind, FixedClock,
    HostFacts, Labels, Meaning, Node, NodeId, PushState, Repository, RepositoryId, Secret, SeededEntropy,
    StackName, Step, Timestamp, Undo, UndoId, UndoScope, UndoSelector, UndoState, World,
};
use ed25519_dalek::SigningKey;
use tempfile::TempDir;

/// Everyone is there; some may have turned unhealthy.
#[derive(Debug, Default)]
pub(crate) struct Everyone {
    pub(crate) sick: Mutex<HashMap<NodeId, Timestamp>>,
    /// What some said last of their one stack.
    pub(crate) said: Mutex<HashMap<NodeId, Said>>,
}

impl Presence for Everyone {
    fn is_online(&self, _: NodeId) -> bool {
        true
    }

    fn is_silent(&self, _: NodeId) -> bool {
        false
    }

    fn unhealthy_since(&self, node: NodeId) -> Option<Timestamp> {
        self.sick.lock().unwrap().get(&node).copied()
    }

    fn said(&self, node: NodeId, _: &StackName) -> Option<Said> {
        self.said.lock().unwrap().get(&node).copied()
    }

    fn unseal(&self, _: &str) -> Option<Secret> {
        None
    }
}

/// The stack of all tests.
pub(crate) const COMPOSE: &str = "services:\n  web:\n    image: web:1\n    environment:\n      GREETING: hello\n      COLOUR: blue\n      SIZE: small\n      SHAPE: round\n      SOUND: quiet\n";

pub(crate) struct Fleet {
    _dir: TempDir,
    pub(crate) engine: Engine,
    pub(crate) presence: Arc<Everyone>,
    pub(crate) store: Store,
    pub(crate) world: World,
    pub(crate) clock: Arc<FixedClock>,
    key: SigningKey,
    pub(crate) upstream: BareRepository,
    pub(crate) work: WorkTree,
    pub(crate) repository: RepositoryId,
    pub(crate) nodes: BTreeMap<String, NodeId>,
    /// Nodes that are away: they read nothing and report nothing.
    pub(crate) away: Vec<String>,
    /// Nodes whose disk is full.
    pub(crate) full: Vec<String>,
    /// What each node runs, by stack.
    pub(crate) runs: HashMap<(String, String), Digest>,
    /// What nodes do about data: they save and put back what they are asked to, and no stack runs on two of them.
    pub(crate) keepers: Option<crate::migrations::Keepers>,
    pub(crate) done: Vec<DeploymentId>,
}

impl Fleet {
    /// A fleet of three nodes on which the first commit has been rolled out.
    pub(crate) async fn new() -> Self {
        let mut fleet = Self::empty().await;
        fleet.work.write("stacks/web/compose.yaml", COMPOSE);
        fleet.commit("First", None);
        fleet.deploy().await;
        fleet
    }

    /// A fleet whose repository holds a stack that nobody has synced yet.
    pub(crate) async fn empty() -> Self {
        let dir = backstay_testkit::scratch_dir();
        let clock = Arc::new(FixedClock::new("2026-03-01T00:00:00Z".parse().unwrap()));
        let world = World::new(Arc::clone(&clock) as _, Arc::new(SeededEntropy::new(1)));
        let store = Store::open(dir.path().join("hub.db").to_str().unwrap(), world.clone()).await.unwrap();
        let key = SigningKey::from_bytes(&[7; 32]);
        let mut settings = Settings::new(dir.path().join("data"));
        settings.backups = Some(crate::backups::rules());
        let presence = Arc::new(Everyone::default());
        let engine =
            Engine::new(store.clone(), world.clone(), key.clone(), Arc::clone(&presence) as _, settings);
        let upstream = BareRepository::create(&dir.path().join("upstream.git"));
        let work = WorkTree::clone_from(&upstream.url(), &dir.path().join("work"));
        work.write("stacks/web/compose.yaml", COMPOSE);
        work.write("README.md", "A fleet.\n");
        work.commit(&CommitSpec::new("Start"));
        work.push();
        let new = NewRepository {
            name: "fleet".parse().unwrap(),
            endpoints: vec![upstream.url()],
            branch: Some("main".to_owned()),
            stacks_path: None,
            sealed_credential: None,
        };
        let repository = engine.add_repository(new).await.unwrap().id;
        let mut fleet = Self {
            _dir: dir,
            engine,
            presence,
            store,
            world,
            clock,
            key,
            upstream,
            work,
            repository,
            nodes: BTreeMap::new(),
            away: Vec::new(),
            full: Vec::new(),
            runs: HashMap::new(),
            keepers: None,
            done: Vec::new(),
        };
        for name in ["one", "two", "three"] {
            fleet.join(name).await;
        }
        fleet.play(|_, _| true).await;
        fleet
    }

    /// The hub goes and is started again on what it had stored.
    pub(crate) async fn restart(&mut self) {
        self.world = World::new(Arc::clone(&self.clock) as _, Arc::new(SeededEntropy::new(2)));
        let path = self._dir.path().join("hub.db");
        self.store = Store::open(path.to_str().unwrap(), self.world.clone()).await.unwrap();
        let settings = Settings::new(self._dir.path().join("data"));
        let presence = Arc::clone(&self.presence) as _;
        self.engine =
            Engine::new(self.store.clone(), self.world.clone(), self.key.clone(), presence, settings);
    }

    /// Backups are set up from now on.
    pub(crate) fn set_up_backups(&mut self) {
        let day = Duration::from_secs(86_400);
        let rules = BackupRules {
            rhythm: Rhythm { every: day, jitter: Duration::from_secs(60), parallel: 2 },
            keep: Keep { days: 1, hourly: 0, daily: 0, weekly: 0, monthly: 0, at_least: 0 },
            upkeep: UpkeepRules { read_all_every: day, second: false },
            ceiling: Ceiling::default(),
            drills: DrillRhythm { every: Duration::ZERO, parallel: 2 },
            deadline: day,
        };
        self.set_up_backups_by(rules);
    }

    /// The same, by these rules.
    pub(crate) fn set_up_backups_by(&mut self, rules: BackupRules) {
        let settings = Settings { backups: Some(rules), ..Settings::new(self._dir.path().join("data")) };
        let presence = Arc::clone(&self.presence) as _;
        self.engine =
            Engine::new(self.store.clone(), self.world.clone(), self.key.clone(), presence, settings);
    }

    /// A hub on what is stored that fetches this often, when it runs.
    pub(crate) fn polling(&self, poll_every: Duration) -> Engine {
        let settings = Settings { poll_every, ..Settings::new(self._dir.path().join("data")) };
        let presence = Arc::clone(&self.presence) as _;
        Engine::new(self.store.clone(), self.world.clone(), self.key.clone(), presence, settings)
    }

    /// The repository as it is stored.
    pub(crate) async fn repository(&self) -> Repository {
        repositories::get(&mut self.store.read(), self.repository).await.unwrap().unwrap()
    }

    /// The hub's clock is set back.
    pub(crate) fn set_back(&self, hours: u64) {
        let now = self.world.now();
        self.clock.set(now.checked_sub(Duration::from_secs(hours * 3600)).unwrap());
    }

    pub(crate) async fn join(&mut self, name: &str) {
        let node = Node {
            id: self.world.mint(),
            name: name.parse().unwrap(),
            labels: Labels::parse([format!("ring={name}").as_str()]).unwrap(),
            joined_at: self.world.now(),
            revoked_at: None,
        };
        let mut tx = self.store.begin().await.unwrap();
        nodes::insert(&mut tx, &node, Digest::of(name.as_bytes())).await.unwrap();
        tx.commit().await.unwrap();
        self.nodes.insert(name.to_owned(), node.id);
    }

    /// A node says what its machine is.
    pub(crate) async fn say(&self, name: &str, facts: HostFacts) {
        let state = nodes::SoftState {
            node: self.nodes[name],
            last_seen_at: self.world.now(),
            facts: Some(facts),
            observed: None,
            safety: None,
        };
        let mut tx = self.store.begin().await.unwrap();
        nodes::flush_soft(&mut tx, &[state]).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Commits what is in the work tree and pushes it, as a conversation would.
    pub(crate) fn commit(&self, subject: &str, by: Option<ConversationId>) -> CommitId {
        let mut spec = CommitSpec::new(subject);
        if let Some(id) = by {
            spec = spec.trailer("Backstay-Conversation", &id.to_string());
        }
        let commit = self.work.commit(&spec);
        self.work.push();
        commit.parse().unwrap()
    }

    /// Changes one word of the stack.
    pub(crate) fn change(&self, from: &str, to: &str, by: ConversationId) -> CommitId {
        let path = "stacks/web/compose.yaml";
        let text = self.work.read(path);
        assert!(text.contains(from), "{from} in {text}");
        self.work.write(path, &text.replace(from, to));
        self.commit(&format!("{from} becomes {to}"), Some(by))
    }

    /// Time passes.
    pub(crate) fn later(&self) -> Timestamp {
        let now = self.world.now();
        self.clock.set(now.checked_add(Duration::from_secs(60)).unwrap());
        self.world.now()
    }

    /// Fetches, and lets all nodes do what they are told, with success.
    pub(crate) async fn deploy(&mut self) -> Repository {
        self.later();
        let repository = self.engine.sync_repository(self.repository).await.unwrap();
        self.play(|_, _| true).await;
        repository
    }

    /// Plays the agents until nothing is left to do; `outcome` says whether a release becomes healthy on a node.
    pub(crate) async fn play(&mut self, outcome: impl Fn(&str, Digest) -> bool) {
        for _ in 0..50 {
            self.engine.reconcile().await.unwrap();
            let mut moved = false;
            let here: Vec<_> =
                self.nodes.clone().into_iter().filter(|(name, _)| !self.away.contains(name)).collect();
            for (name, id) in here {
                moved |= self.keep(id, None).await;
                for line in self.statement(id).await.map(|s| s.stacks).unwrap_or_default() {
                    moved |= self.obey(&name, id, &line, &outcome).await;
                }
            }
            if !moved {
                return;
            }
        }
        panic!("the fleet does not come to rest");
    }

    /// A node begins what it is told, and is at it.
    pub(crate) async fn begin(&self, name: &str) {
        let id = self.nodes[name];
        let line = self.statement(id).await.unwrap().stacks.pop().unwrap();
        let previous = self.runs.get(&(name.to_owned(), line.stack.to_string())).copied();
        let body = ReportBody::DeploymentStarted { deployment: line.deployment, previous };
        let report = Report { id: self.world.mint(), at: self.world.now(), body };
        self.engine.take_reports(id, vec![report]).await.unwrap();
    }

    /// A node does what it was told, with success, and the hub does not hear of it.
    pub(crate) async fn obey_unheard(&mut self, name: &str) -> (NodeId, Vec<Report>) {
        let id = self.nodes[name];
        let line = self.statement(id).await.unwrap().stacks.pop().unwrap();
        let place = (name.to_owned(), line.stack.to_string());
        let previous = self.runs.insert(place, line.tree);
        let deployment = line.deployment;
        self.done.push(deployment);
        let bodies = [
            ReportBody::DeploymentStarted { deployment, previous },
            ReportBody::DeploymentFinished {
                deployment,
                state: DeploymentState::Succeeded,
                containers: Vec::new(),
            },
        ];
        let reports = bodies.map(|body| Report { id: self.world.mint(), at: self.world.now(), body });
        (id, reports.to_vec())
    }

    /// A node cannot take away what it is told to.
    pub(crate) async fn fail_removal(&mut self, name: &str) {
        let id = self.nodes[name];
        let line = self.statement(id).await.unwrap().stacks.pop().unwrap();
        assert_eq!(line.action, DesiredAction::Remove);
        let deployment = line.deployment;
        self.done.push(deployment);
        let state = DeploymentState::Failed {
            step: Step::Activate,
            failure: FailureKind::Unhealthy,
            reason: "it does not end".to_owned(),
        };
        let body = ReportBody::DeploymentFinished { deployment, state, containers: Vec::new() };
        let report = Report { id: self.world.mint(), at: self.world.now(), body };
        self.engine.take_reports(id, vec![report]).await.unwrap();
    }

    async fn obey(
        &mut self,
        name: &str,
        id: NodeId,
        line: &DesiredStack,
        healthy: &impl Fn(&str, Digest) -> bool,
    ) -> bool {
        let place = (name.to_owned(), line.stack.to_string());
        if self.done.contains(&line.deployment) {
            return false;
        }
        if self.keepers.is_some() && (line.data.is_some() || line.save) && !self.keep(id, Some(line)).await {
            return false;
        }
        self.done.push(line.deployment);
        let before = self.runs.get(&place).copied();
        let deployment = line.deployment;
        let state = match before {
            _ if line.action == DesiredAction::Remove => DeploymentState::Succeeded,
            _ if self.full.iter().any(|full| full == name) => DeploymentState::Failed {
                step: Step::Fetch,
                failure: FailureKind::DiskFull,
                reason: "no space left".to_owned(),
            },
            Some(before) if before == line.tree => DeploymentState::Succeeded,
            _ if healthy(name, line.tree) => DeploymentState::Succeeded,
            _ => DeploymentState::RolledBack {
                step: Step::Probe,
                failure: FailureKind::Unhealthy,
                reason: "the page says no".to_owned(),
            },
        };
        if line.action == DesiredAction::Remove {
            self.runs.remove(&place);
        } else if state == DeploymentState::Succeeded {
            self.runs.insert(place, line.tree);
        }
        if self.keepers.is_some() {
            let run = self.runs.keys().filter(|(_, stack)| stack == line.stack.as_str()).collect::<Vec<_>>();
            assert!(run.len() < 2, "it runs on several: {run:?}");
        }
        let bodies = [
            ReportBody::DeploymentStarted { deployment, previous: before },
            ReportBody::DeploymentFinished { deployment, state, containers: Vec::new() },
        ];
        let reports =
            bodies.map(|body| Report { id: self.world.mint(), at: self.world.now(), body }).to_vec();
        let taken = self.engine.take_reports(id, reports.clone()).await.unwrap();
        // Agents repeat what was not acknowledged; nothing may come of it.
        assert_eq!(self.engine.take_reports(id, reports).await.unwrap(), taken);
        true
    }

    /// A node's statement, verified as its agent would.
    pub(crate) async fn statement(&self, node: NodeId) -> Option<Statement> {
        let row = desired::get(&mut self.store.read(), node).await.unwrap()?;
        let signed: SignedStatement = serde_json::from_str(&row.statement).unwrap();
        Some(signed.open(&self.key.verifying_key()).unwrap())
    }

    /// The stack's text as a node runs it.
    pub(crate) async fn running(&self, node: &str) -> String {
        let tree = self.runs[&(node.to_owned(), "web".to_owned())];
        let pack = self.engine.pack(tree).await.unwrap();
        let mut files = Vec::new();
        backstay_types::tree::unpack(&pack[..], tree, &mut files).unwrap();
        let file = files.into_iter().find(|f| f.path == "compose.yaml").unwrap();
        String::from_utf8(file.content).unwrap()
    }

    /// That every node runs the stack with all of these words and none of those.
    pub(crate) async fn assert_all_run(&self, with: &[&str], without: &[&str]) {
        for node in self.nodes.keys().filter(|n| !self.away.contains(n)) {
            self.assert_runs(node, with, without).await;
        }
    }

    pub(crate) async fn assert_runs(&self, node: &str, with: &[&str], without: &[&str]) {
        let text = self.running(node).await;
        assert!(with.iter().all(|word| text.contains(word)), "{node} lacks one of {with:?}:\n{text}");
        assert!(!without.iter().any(|word| text.contains(word)), "{node} has one of {without:?}:\n{text}");
    }

    pub(crate) fn conversation(&self) -> ConversationId {
        self.world.mint()
    }

    pub(crate) fn only_its(&self, conversation: ConversationId) -> WantedUndo {
        want(UndoSelector::Conversation { conversation, meaning: Meaning::OnlyIts })
    }

    /// Undoes, lets the nodes follow, and waits for the push.
    pub(crate) async fn undo(&mut self, want: WantedUndo) -> Undo {
        self.later();
        let undo = self.engine.create_undo(want, "test").await.unwrap();
        self.play(|_, _| true).await;
        self.settled_push(undo.id).await
    }

    /// The undo once its pushes have come to something.
    pub(crate) async fn settled_push(&self, id: UndoId) -> Undo {
        for _ in 0..200 {
            let undo = undos::get(&mut self.store.read(), id).await.unwrap().unwrap();
            let open = |r: &backstay_types::RepositoryUndo| r.commit.is_some() && r.push == PushState::NotYet;
            if !undo.plan.repositories.iter().any(open) {
                return undo;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the push came to nothing");
    }

    /// How many events there are, sealed.
    pub(crate) async fn events(&self) -> u64 {
        ledger::seal(&self.store, "test").await.unwrap();
        ledger::head(&mut self.store.read()).await.unwrap().seq
    }

    pub(crate) async fn undo_state(&self, id: UndoId) -> UndoState {
        undos::get(&mut self.store.read(), id).await.unwrap().unwrap().state
    }

    pub(crate) fn assert_verified(&self, undo: &Undo) {
        assert_eq!(undo.state, UndoState::Verified, "{undo:#?}");
    }

    pub(crate) async fn deployments(&self) -> Vec<Deployment> {
        let filter = backstay_store::deployments::Filter::default();
        backstay_store::deployments::list(&mut self.store.read(), &filter, None, 1000).await.unwrap()
    }
}

pub(crate) fn want(selector: UndoSelector) -> WantedUndo {
    WantedUndo {
        selector,
        scope: UndoScope::default(),
        reason: "because".to_owned(),
        include_guesses: Vec::new(),
        resolutions: BTreeMap::new(),
        with_data: false,
        without_data: Vec::new(),
        shared_data: Vec::new(),
        confirm: Vec::new(),
    }
}

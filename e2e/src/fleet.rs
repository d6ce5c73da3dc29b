//! Hub, nodes, upstream and work tree together.

use std::{fmt::Write as _, path::Path, sync::Mutex, thread, time::Duration};

use backstay_api::{Empty, v1};
use backstay_testkit::{
    BareRepository, CommitSpec, Docker, GitServer, Part, SshServer, WorkTree, eventually_within, find_tool,
    left_out, scratch_dir,
};
use backstay_types::{ConversationId, StackHealth, TreeDigest};
use serde_json::Value;
use tempfile::TempDir;

use crate::{Api, Cli, Hub, Node, Place, stacks};

/// The name of the repository in the hub.
pub const REPOSITORY: &str = "fleet";

/// So many nodes join at once.
const AT_ONCE: usize = 6;

/// How long a fleet may take to come to rest.
const SETTLE: Duration = Duration::from_secs(60);

/// Where the upstream repository is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Upstream {
    /// A bare repository on this machine.
    #[default]
    Local,
    /// A Git host over HTTP.
    Http,
    /// A folder of this machine that the hub reaches over ssh.
    Ssh,
}

/// A fleet to set up.
#[derive(Debug, Default)]
pub struct FleetBuilder {
    upstream: Upstream,
    database: Option<String>,
    containers: bool,
    as_shipped: bool,
    settings: Vec<(String, String)>,
    agent_settings: Vec<(String, String)>,
    loaded: bool,
    nodes: usize,
}

impl FleetBuilder {
    /// Where the upstream repository is.
    #[must_use]
    pub fn upstream(mut self, upstream: Upstream) -> Self {
        self.upstream = upstream;
        self
    }

    /// A database for the hub other than SQLite.
    #[must_use]
    pub fn database(mut self, url: &str) -> Self {
        self.database = Some(url.to_owned());
        self
    }

    /// Gives each node a container engine.
    #[must_use]
    pub fn containers(mut self) -> Self {
        self.containers = true;
        self
    }

    /// Leaves the settings of hub and agents as they are shipped, instead of hurrying them for tests.
    #[must_use]
    pub fn as_shipped(mut self) -> Self {
        self.as_shipped = true;
        self
    }

    /// Gives the hub a setting by a variable of its environment.
    #[must_use]
    pub fn hub_setting(mut self, variable: &str, value: &str) -> Self {
        self.settings.push((variable.to_owned(), value.to_owned()));
        self
    }

    /// Gives every agent a setting by a variable of its environment.
    #[must_use]
    pub fn agent_setting(mut self, variable: &str, value: &str) -> Self {
        self.agent_settings.push((variable.to_owned(), value.to_owned()));
        self
    }

    /// Has every agent started by the loader, as where it was installed, so that it can be brought another version.
    #[must_use]
    pub fn loaded(mut self) -> Self {
        self.loaded = true;
        self
    }

    /// Lets the hub be reached from other places in the network too.
    #[must_use]
    pub fn reachable(self) -> Self {
        self.hub_setting("BACKSTAY_HUB_LISTEN", &format!("0.0.0.0:{}", crate::hub::PORT))
    }

    /// Starts everything; nothing is committed yet. `None` where a real part is missing.
    pub fn start(self) -> Option<Fleet> {
        left_out::require(Part::Busybox, find_tool("busybox").ok_or_else(|| "not installed".to_owned()))?;
        let engines =
            (0..self.nodes).map(|_| if self.containers { Docker::require().map(Some) } else { Some(None) });
        let engines = engines.collect::<Option<Vec<_>>>()?;
        let git = if self.upstream == Upstream::Http { Some(GitServer::require()?) } else { None };
        let ssh = if self.upstream == Upstream::Ssh { Some(SshServer::require()?) } else { None };
        let dir = scratch_dir();
        let bare = match &git {
            Some(server) => server.repository(REPOSITORY),
            None => BareRepository::create(&dir.path().join("fleet.git")),
        };
        let url =
            git.as_ref().map_or_else(|| bare.dir().display().to_string(), |server| server.url(REPOSITORY));
        let tree = WorkTree::clone_from(&url, &dir.path().join("work"));
        let url = ssh.as_ref().map_or(url, |server| server.url(bare.dir()));
        let hub = Hub::start(dir.path(), self.database.as_deref(), !self.as_shipped, &self.settings);
        let (api, cli) = (hub.api(), hub.cli());
        let join = |(index, docker): (usize, _)| {
            let (hurried, loaded) = (!self.as_shipped, self.loaded);
            let settings = self.agent_settings.clone();
            let place = Place { docker, hurried, loaded, settings, ..Place::default() };
            Node::join(hub.url(), &api, dir.path(), &name_of(index), place)
        };
        let nodes = side_by_side(engines.into_iter().enumerate().collect(), join);
        Some(Fleet { nodes, api, cli, hub, tree, bare, git, ssh, url, dir })
    }
}

/// A fleet on this machine. Dropped, all of it ends.
#[derive(Debug)]
pub struct Fleet {
    /// The nodes: `alpha`, `beta`, `gamma`, `delta`, `node-5` and so on.
    pub nodes: Vec<Node>,
    /// The hub's API.
    pub api: Api,
    /// The command line.
    pub cli: Cli,
    /// The hub.
    pub hub: Hub,
    /// Where people and assistants commit.
    pub tree: WorkTree,
    /// The upstream repository.
    pub bare: BareRepository,
    /// The Git host, when upstream is one.
    pub git: Option<GitServer>,
    /// The ssh server, when upstream is reached so. It lets nobody in until it is told to.
    pub ssh: Option<SshServer>,
    url: String,
    dir: TempDir,
}

impl Fleet {
    /// A fleet of so many nodes, to be set up.
    pub fn of(nodes: usize) -> FleetBuilder {
        FleetBuilder { nodes, ..FleetBuilder::default() }
    }

    /// A fleet whose nodes run the stack of processes (see [`stacks`]), at rest. `None` where a part is missing.
    pub fn of_processes(nodes: usize) -> Option<Self> {
        Self::of(nodes).start().map(Self::with_process_stack)
    }

    /// Commits the stack of processes, adds the repository to the hub, and waits for rest.
    #[must_use]
    pub fn with_process_stack(self) -> Self {
        stacks::write_process_stack(&self.tree);
        self.following("Add web")
    }

    /// Commits what was written, adds the repository to the hub, and waits for rest.
    #[must_use]
    pub fn following(self, subject: &str) -> Self {
        self.commit(subject, None);
        self.follow();
        self.settle();
        self
    }

    /// A folder for the test's own files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Joins another node by way of `url`, where the hub is reached too.
    pub fn join(&mut self, name: &str, url: &str, docker: Option<Docker>) {
        self.join_at(name, url, Place { docker, ..Place::default() });
    }

    /// Joins another node that is there, by way of `url`.
    pub fn join_at(&mut self, name: &str, url: &str, place: Place) {
        self.nodes.push(Node::join(url, &self.api, self.dir.path(), name, place));
    }

    /// Where upstream is, as the hub knows it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Adds the repository to the hub.
    pub fn follow(&self) {
        let body = v1::AddRepositoryRequest {
            name: REPOSITORY.to_owned(),
            endpoints: vec![self.url.clone()],
            branch: Some("main".to_owned()),
            stacks_path: None,
            credential: None,
        };
        self.api.call::<v1::AddRepository>(&Empty {}, &Empty {}, &body);
    }

    /// Commits what was written, names the conversation in the trailer, pushes, and gives the commit.
    pub fn commit(&self, subject: &str, conversation: Option<ConversationId>) -> String {
        let id = self.commit_here(subject, conversation);
        self.tree.push();
        id
    }

    /// [`Fleet::commit`] without the push.
    pub fn commit_here(&self, subject: &str, conversation: Option<ConversationId>) -> String {
        let mut commit = CommitSpec::new(subject);
        if let Some(id) = conversation {
            commit = commit.trailer("Backstay-Conversation", &id.to_string());
        }
        self.tree.commit(&commit)
    }

    /// Changes a line of the stack's file on behalf of a conversation, pushes, and waits until all nodes run it.
    pub fn change(&self, conversation: ConversationId, line: usize, text: &str) -> String {
        stacks::set_line(&self.tree, line, text);
        let commit = self.commit(&format!("Set line {line} to {text}"), Some(conversation));
        self.deployed(&commit);
        commit
    }

    /// Waits until the hub has seen a commit and the fleet is at rest.
    pub fn deployed(&self, commit: &str) {
        eventually_within(SETTLE, "the hub to see a commit", || {
            let seen = self.api.sync(REPOSITORY).tip.map(|tip| tip.to_string());
            if seen.as_deref() == Some(commit) { Ok(()) } else { Err(format!("its tip is {seen:?}")) }
        });
        self.settle();
    }

    /// Waits until every node runs what it should, committed and healthy.
    pub fn settle(&self) {
        eventually_within(SETTLE, "the fleet to come to rest", || {
            self.nodes.iter().try_for_each(|node| self.at_rest(node))
        });
    }

    /// Whether a node runs what it should, and why not.
    fn at_rest(&self, node: &Node) -> Result<(), String> {
        let view = self.api.node(node.name());
        if view.desired.is_empty() {
            return Err(format!("{} has nothing to run", node.name()));
        }
        for desired in &view.desired {
            let observed = view.observed.iter().find(|observed| observed.stack == desired.stack);
            let fits = observed.is_some_and(|observed| {
                observed.current == Some(desired.tree) && observed.health == StackHealth::Healthy
            });
            let open = self.api.deployments(node.name(), desired.stack.as_str());
            let open = open.iter().find(|found| !found.deployment.state.is_final());
            if !fits || open.is_some() {
                let mut text = format!("{}: wants {:?}, sees {observed:?}", node.name(), desired);
                let _ = write!(text, ", open: {open:?}");
                return Err(text);
            }
        }
        Ok(())
    }

    /// Waits until all nodes serve this as the stack's file.
    pub fn all_serve(&self, conf: &str) {
        for node in &self.nodes {
            self.serves(node, conf);
        }
    }

    /// Waits until a node serves this as the stack's file.
    pub fn serves(&self, node: &Node, conf: &str) {
        eventually_within(SETTLE, &format!("{} to serve the file", node.name()), || {
            let found = node.get("app.conf")?;
            if found == conf { Ok(()) } else { Err(format!("it serves:\n{found}")) }
        });
    }

    /// `backstay rollback ARGS`, waits until it is verified, takes the undo commit into the work
    /// tree, and gives the undo.
    pub fn rollback(&self, args: &[&str]) -> Value {
        let undo = self.cli.json(&[&["rollback"], args, &["--yes"]].concat());
        self.settle();
        self.tree.pull();
        undo
    }

    /// What runs now on a node.
    ///
    /// # Panics
    /// When it runs nothing.
    pub fn running_tree(&self, node: &Node) -> TreeDigest {
        let observed = self.api.node(node.name()).observed;
        observed.first().and_then(|stack| stack.current).expect("a node that runs something")
    }

    /// The upstream file as it is now.
    pub fn upstream_conf(&self) -> String {
        self.bare.file("main", stacks::CONF).map(|text| text + "\n").unwrap_or_default()
    }
}

/// The name of a node by its place in the fleet.
fn name_of(index: usize) -> String {
    let greek = ["alpha", "beta", "gamma", "delta"].get(index);
    greek.map_or_else(|| format!("node-{}", index + 1), |name| (*name).to_owned())
}

/// Does something with each, some at a time; gives what came of it in the order in which they were.
fn side_by_side<T: Send, R: Send>(all: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let waiting = Mutex::new(all.into_iter().enumerate());
    let next = || waiting.lock().expect("nobody died of it").next();
    let worker = || {
        let mut done = Vec::new();
        while let Some((place, one)) = next() {
            done.push((place, work(one)));
        }
        done
    };
    let mut done: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a node that joins")).collect()
    });
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, result)| result).collect()
}

//! A hub that can be told where to die, with an upstream repository and a node that the test plays itself.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use backstay_api::{Empty, Endpoint, agent, agent::CheckInRequest, v1};
use backstay_client::{Client, ClientError, Options};
use backstay_testkit::{BareRepository, CommitSpec, Port, Program, Ready, WorkTree, eventually_within, run};
use backstay_types::{FailingStack, HostFacts, Labels, NodeSafety, SafeMode, Secret, Timestamp};
use tempfile::TempDir;

use crate::support::program;

const CONF: &str = "stacks/web/app.conf";
const LINES: &str = "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\n";
const COMPOSE: &str = "services:\n  web:\n    image: example/web:1\n";

/// A hub and what is around it. Dropped, all of it goes.
pub(super) struct Place {
    hub: Program,
    point: PathBuf,
    runtime: tokio::runtime::Runtime,
    pub(super) upstream: BareRepository,
    pub(super) tree: WorkTree,
    /// What `prepare` made and `act` needs.
    pub(super) notes: RefCell<BTreeMap<&'static str, String>>,
    pub(super) port: Port,
    pub(super) dir: TempDir,
}

impl Place {
    /// Everything but the running hub.
    pub(super) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("bst-killed-").tempdir().unwrap();
        let (port, point) = (Port::take(), dir.path().join("die-at"));
        // Backups are set up, and there is no program that could make any: whoever looks after them fails and goes on.
        let settings = format!(
            "[backup]\ntarget = {{ folder = \"{0}/backups\" }}\nprogram = \"{0}/none\"\nevery = \"720h\"\njitter = \"720h\"\n",
            dir.path().display()
        );
        fs::write(dir.path().join("settings.toml"), settings).unwrap();
        let hub = Program::at(program(), "hub", dir.path())
            .args(["hub"])
            .env("BACKSTAY_CONFIG", dir.path().join("settings.toml"))
            .env("BACKSTAY_HUB_LISTEN", port.address())
            .env("BACKSTAY_HUB_DATA_DIR", dir.path().join("hub"))
            .env("BACKSTAY_SOURCE_POLL_EVERY", "1h")
            .env("BACKSTAY_CRASH_AT", &point)
            .ready(Ready::Http(format!("{}/readyz", port.url())));
        let upstream = BareRepository::create(&dir.path().join("fleet.git"));
        let tree = WorkTree::clone_from(&upstream.url(), &dir.path().join("fleet"));
        tree.write("stacks/web/compose.yaml", COMPOSE).write(CONF, LINES);
        tree.commit(&CommitSpec::new("Add web"));
        tree.push();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { hub, point, runtime, upstream, tree, notes: RefCell::default(), port, dir }
    }

    /// Starts the hub; nothing kills it from now on but the test. A node that has joined says what it runs.
    pub(super) fn start(&mut self) {
        let _ = fs::remove_file(&self.point);
        self.hub.start();
        if self.notes.borrow().contains_key("online") {
            self.hello();
        }
    }

    /// The hub dies when it next comes to this point.
    pub(super) fn die_at(&self, point: &str) {
        // Whole or not at all: the hub may look at any moment.
        let new = self.point.with_extension("new");
        fs::write(&new, point).unwrap();
        fs::rename(new, &self.point).unwrap();
    }

    pub(super) fn wait_killed(&mut self, point: &str) {
        if self.hub.is_running() || self.hub.pid().is_some() {
            let status = self.hub.wait_for_end(Duration::from_secs(15));
            assert_eq!(status.signal(), Some(9), "at {point}: {status}");
        }
    }

    /// Starts the hub where it is expected to die on the way.
    pub(super) fn start_to_die(&self) {
        let mut command = std::process::Command::new(program());
        command.arg("hub").env("BACKSTAY_HUB_LISTEN", self.port.address());
        command.env("BACKSTAY_HUB_DATA_DIR", self.dir.path().join("hub"));
        command.env("BACKSTAY_CONFIG", self.dir.path().join("settings.toml"));
        let log = fs::File::create(self.dir.path().join("dying.log")).unwrap();
        let status = command.env("BACKSTAY_CRASH_AT", &self.point).stderr(log).status().unwrap();
        assert_eq!(status.signal(), Some(9), "{status}");
    }

    pub(super) fn kill(&mut self) {
        self.hub.kill();
    }

    pub(super) fn note(&self, name: &'static str) -> String {
        self.notes.borrow().get(name).cloned().unwrap_or_else(|| panic!("no {name}"))
    }

    pub(super) fn keep(&self, name: &'static str, value: impl ToString) {
        self.notes.borrow_mut().insert(name, value.to_string());
    }

    fn admin_token(&self) -> PathBuf {
        self.dir.path().join("hub/admin.token")
    }

    /// Calls an endpoint with a credential; the administrator's when there is none.
    pub(super) fn call_as<E: Endpoint>(
        &self,
        credential: Option<&str>,
        path: &E::Path,
        query: &E::Query,
        body: &E::Request,
    ) -> Result<E::Response, ClientError> {
        let admin = || fs::read_to_string(self.admin_token()).unwrap_or_default().trim().to_owned();
        let credential = credential.map_or_else(admin, str::to_owned);
        let options = Options { timeout: Duration::from_secs(10), ..Options::default() };
        let client = Client::with_options(&self.port.url(), Some(Secret::new(credential)), options).unwrap();
        self.runtime.block_on(client.call::<E>(path, query, body))
    }

    pub(super) fn call<E: Endpoint>(
        &self,
        path: &E::Path,
        query: &E::Query,
        body: &E::Request,
    ) -> Result<E::Response, ClientError> {
        self.call_as::<E>(None, path, query, body)
    }

    /// Calls as the node.
    pub(super) fn call_as_node<E: Endpoint>(
        &self,
        path: &E::Path,
        body: &E::Request,
    ) -> Result<E::Response, ClientError>
    where
        E::Query: Default,
    {
        self.call_as::<E>(Some(&self.note("credential")), path, &E::Query::default(), body)
    }

    /// Joins the node `n1` with the join token of the notes.
    pub(super) fn try_join(&self) -> Result<(), ClientError> {
        let body = agent::JoinRequest {
            token: Secret::new(self.note("join token")),
            name: "n1".parse().unwrap(),
            labels: Labels::parse(["role=web"]).unwrap(),
            facts: HostFacts::default(),
        };
        let joined = self.call_as::<agent::JoinNode>(Some("none"), &Empty {}, &Empty {}, &body)?;
        self.keep("credential", joined.credential.expose());
        Ok(())
    }

    /// A node that has joined and said what it runs.
    pub(super) fn join(&self) {
        self.join_token();
        self.try_join().unwrap();
        self.hello();
        self.keep("online", "yes");
    }

    pub(super) fn join_token(&self) {
        let body = v1::CreateJoinTokenRequest::default();
        let made = self.call::<v1::CreateJoinToken>(&Empty {}, &Empty {}, &body).unwrap();
        self.keep("join token", made.token.expose());
    }

    /// The node says everything.
    pub(super) fn hello(&self) {
        let body = CheckInRequest {
            have: None,
            hold_ms: 0,
            observed: Some(Vec::new()),
            facts: Some(HostFacts::default()),
            figures: None,
            safety: self.notes.borrow().get("safe mode").map(|_| in_safe_mode()),
            nonce: None,
        };
        self.call_as_node::<agent::CheckIn>(&Empty {}, &body).unwrap();
    }

    /// Adds the repository.
    pub(super) fn try_follow(&self) -> Result<(), ClientError> {
        let body = v1::AddRepositoryRequest {
            name: "fleet".to_owned(),
            endpoints: vec![self.upstream.url()],
            branch: Some("main".to_owned()),
            stacks_path: None,
            credential: None,
        };
        self.call::<v1::AddRepository>(&Empty {}, &Empty {}, &body).map(drop)
    }

    pub(super) fn try_sync(&self) -> Result<(), ClientError> {
        let path = v1::RepositoryPath { repository: "fleet".to_owned() };
        self.call::<v1::SyncRepository>(&path, &Empty {}, &Empty {}).map(drop)
    }

    /// The repository as the hub knows it.
    pub(super) fn repository(&self) -> Option<backstay_types::Repository> {
        self.call::<v1::ListRepositories>(&Empty {}, &Empty {}, &Empty {}).unwrap().items.pop()
    }

    /// Changes a line, for a conversation when there is one, and pushes; gives the commit.
    pub(super) fn change(&self, from: &str, to: &str, conversation: Option<&str>) -> String {
        self.tree.write(CONF, &self.tree.read(CONF).replace(from, to));
        let mut commit = CommitSpec::new(to);
        if let Some(id) = conversation {
            commit = commit.trailer("Backstay-Conversation", id);
        }
        let id = self.tree.commit(&commit);
        self.tree.push_as_maintainer();
        id
    }

    /// The conversation of a session, minted at first sight.
    pub(super) fn conversation(&self, session: &str) -> Result<String, ClientError> {
        let id = backstay_types::ForeignId {
            tool: "openclaw".to_owned(),
            kind: "session_id".to_owned(),
            value: session.to_owned(),
        };
        let body = v1::ResolveConversationRequest { id };
        let found = self.call::<v1::ResolveConversation>(&Empty {}, &Empty {}, &body)?;
        Ok(found.id.to_string())
    }

    /// The position of the ledger, once all that was recorded is sealed; 0 where no hub runs yet.
    pub(super) fn position(&mut self) -> u64 {
        if !self.hub.is_running() {
            return 0;
        }
        let head = || self.call::<v1::GetHub>(&Empty {}, &Empty {}, &Empty {}).unwrap().ledger.seq;
        let mut last = head();
        loop {
            std::thread::sleep(Duration::from_millis(150));
            let now = head();
            if now == last {
                return now;
            }
            last = now;
        }
    }

    pub(super) fn eventually(&self, what: &str, mut look: impl FnMut() -> bool) {
        let look = || if look() { Ok(()) } else { Err("not yet".to_owned()) };
        eventually_within(Duration::from_secs(15), what, look);
    }

    /// The ledger has so many entries of a kind since a position, and its chain holds.
    pub(super) fn ledger_says(&self, kind: &str, wanted: usize, since: u64) {
        if !kind.is_empty() {
            let query = v1::TimelineQuery {
                kind: Some(kind.to_owned()),
                after: Some(since),
                ..v1::TimelineQuery::default()
            };
            let entries = || self.call::<v1::ListTimeline>(&Empty {}, &query, &Empty {}).unwrap().items.len();
            self.eventually("the ledger has it", || entries() >= wanted);
            std::thread::sleep(Duration::from_millis(150));
            assert_eq!(entries(), wanted, "entries of {kind}");
        }
        let mut verify = std::process::Command::new(program());
        verify.args(["--hub", &self.port.url(), "--token-file"]).arg(self.admin_token());
        run(verify.args(["audit", "verify"]));
    }
}

/// All sources below a folder.
pub(super) fn sources(folder: &Path, look: &mut dyn FnMut(&Path, &str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, look);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            look(&path, &fs::read_to_string(&path).unwrap());
        }
    }
}

/// What a node in safe mode says.
fn in_safe_mode() -> NodeSafety {
    let failing =
        FailingStack { stack: "one".parse().unwrap(), reason: "it failed".to_owned(), stopped: false };
    let mode = SafeMode {
        id: "01a1fdbf-f5f4-7476-9a3a-9e5b4972cf32".parse().unwrap(),
        since: Timestamp::UNIX_EPOCH,
        stacks: vec![failing],
        minimal_stack: true,
    };
    NodeSafety { safe_mode: Some(mode), ..NodeSafety::default() }
}

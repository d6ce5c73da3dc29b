//! The hub under test, and how to talk to it.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use backstay_api::{
    Empty, Method, Role,
    agent::{CheckIn, CheckInRequest, CheckInResponse, JoinNode, JoinRequest, JoinResponse},
    v1::{
        AddRepository, AddRepositoryRequest, CreateJoinToken, CreateJoinTokenRequest, CreateOpenLink,
        CreateToken, CreateTokenRequest, CreateUser, CreateUserRequest, CreatedToken, TokenKind,
    },
};
use backstay_client::{Client, ClientError, Options};
use backstay_config::Settings;
use backstay_hub::Hub;
use backstay_types::{
    Clock, ErrorCode, HostFacts, Labels, Repository, Secret, SeededEntropy, Timestamp, World,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A clock that runs from noon on, and can be moved on by hand.
#[derive(Debug)]
pub(crate) struct TestClock {
    from: Timestamp,
    started: Instant,
    moved: Mutex<Duration>,
}

impl TestClock {
    /// Moves it on.
    pub(crate) fn advance(&self, by: Duration) {
        *self.moved.lock().unwrap() += by;
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        self.from.checked_add(self.started.elapsed() + *self.moved.lock().unwrap()).unwrap()
    }
}

/// A hub with its folder.
pub(crate) struct TestHub {
    pub(crate) hub: Hub,
    pub(crate) clock: Arc<TestClock>,
    pub(crate) folder: TempDir,
    world: World,
    settings: Settings,
}

impl TestHub {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let from = "2026-01-01T12:00:00Z".parse().unwrap();
        let clock = Arc::new(TestClock { from, started: Instant::now(), moved: Mutex::default() });
        let world = World::new(clock.clone(), Arc::new(SeededEntropy::new(1)));
        let mut settings = Settings::default();
        settings.hub.listen = "127.0.0.1:0".parse().unwrap();
        settings.hub.data_dir = folder.path().join("hub");
        settings.poll.hold = Duration::from_secs(20);
        settings.poll.interval = Duration::from_secs(10);
        settings.poll.jitter = Duration::ZERO;
        change(&mut settings);
        let hub = Hub::start(settings.clone(), world.clone()).await.unwrap();
        Self { hub, clock, folder, world, settings }
    }

    /// A second hub beside this one: the same keys and database, a folder of its own.
    pub(crate) async fn beside(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = self.settings.clone();
        settings.hub.data_dir = folder.path().join("hub");
        std::fs::create_dir(&settings.hub.data_dir).unwrap();
        for name in ["signing.key", "sealing.key"] {
            // Copies keep the mode, which the hub insists on.
            std::fs::copy(self.hub.data_dir().join(name), settings.hub.data_dir.join(name)).unwrap();
        }
        let world = World::new(self.clock.clone(), Arc::new(SeededEntropy::new(2)));
        let hub = Hub::start(settings.clone(), world.clone()).await.unwrap();
        Self { hub, clock: self.clock.clone(), folder, world, settings }
    }

    /// Stops and starts again on the same folder.
    pub(crate) async fn restart(self) -> Self {
        let Self { hub, clock, folder, world, settings } = self;
        hub.stop().await;
        let hub = Hub::start(settings.clone(), world.clone()).await.unwrap();
        Self { hub, clock, folder, world, settings }
    }

    pub(crate) fn settings(&self) -> Settings {
        self.settings.clone()
    }

    pub(crate) fn world(&self) -> World {
        self.world.clone()
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A client with the hub's own token.
    pub(crate) fn admin(&self) -> Client {
        self.client(Some(self.hub.admin_token().clone()))
    }

    pub(crate) fn client(&self, credential: Option<Secret>) -> Client {
        let options = Options { timeout: Duration::from_secs(30), ..Options::default() };
        Client::with_options(&self.hub.url(), credential, options).unwrap()
    }

    /// A new API token.
    pub(crate) async fn token(&self, role: Role) -> Secret {
        self.create_token(TokenKind::Api { role }).await.secret
    }

    pub(crate) async fn create_token(&self, kind: TokenKind) -> CreatedToken {
        let request = CreateTokenRequest { name: "test".into(), kind, expires_in_seconds: None };
        self.admin().call::<CreateToken>(&Empty {}, &Empty {}, &request).await.unwrap()
    }

    pub(crate) async fn join_token(&self) -> Secret {
        let request = CreateJoinTokenRequest::default();
        let made = self.admin().call::<CreateJoinToken>(&Empty {}, &Empty {}, &request).await.unwrap();
        made.token
    }

    /// Lets a node join, and gives it back as an agent.
    pub(crate) async fn join(&self, name: &str) -> Agent {
        self.join_as(name, "role=web").await
    }

    /// Lets a node join with a label of its own.
    pub(crate) async fn join_as(&self, name: &str, label: &str) -> Agent {
        let labels = Labels::parse([label]).unwrap();
        let joined = self.try_join_as(name, labels, self.join_token().await).await.unwrap();
        let client = self.client(Some(joined.credential.clone()));
        Agent { joined, client }
    }

    pub(crate) async fn try_join(&self, name: &str, token: Secret) -> Result<JoinResponse, ClientError> {
        self.try_join_as(name, Labels::parse(["role=web"]).unwrap(), token).await
    }

    async fn try_join_as(
        &self,
        name: &str,
        labels: Labels,
        token: Secret,
    ) -> Result<JoinResponse, ClientError> {
        let request = JoinRequest { token, name: name.parse().unwrap(), labels, facts: HostFacts::default() };
        self.client(None).call::<JoinNode>(&Empty {}, &Empty {}, &request).await
    }

    /// A new user with this role, signed in. The password is `the password of NAME`.
    pub(crate) async fn user(&self, name: &str, role: Role) -> Browser {
        let request = CreateUserRequest { name: name.parse().unwrap(), role };
        let made = self.admin().call::<CreateUser>(&Empty {}, &Empty {}, &request).await.unwrap();
        let password = json!({ "password": format!("the password of {name}") });
        let (status, browser, view) = Browser::by_link(self, code_of(&made.link), password).await;
        assert_eq!(status, 200, "{view}");
        browser.unwrap()
    }

    /// A Git repository with a stack, known to the hub as `fleet`.
    pub(crate) async fn repository(&self) -> (Git, Repository) {
        self.repository_with("[[assign]]\nstack = \"shop\"\nnodes = \"role=web\"\n").await
    }

    /// The same with a `fleet.toml` of the test's own.
    pub(crate) async fn repository_with(&self, fleet: &str) -> (Git, Repository) {
        let git = Git::new(&self.path().join("fleet"));
        git.commit("fleet.toml", fleet, "Assign the shop");
        git.commit(
            "stacks/shop/compose.yaml",
            "services:\n  web:\n    image: example/web:1\n",
            "Add the shop",
        );
        let request = AddRepositoryRequest {
            name: "fleet".into(),
            endpoints: vec![git.0.display().to_string()],
            branch: Some("main".into()),
            stacks_path: None,
            credential: None,
        };
        let added = self.admin().call::<AddRepository>(&Empty {}, &Empty {}, &request).await.unwrap();
        (git, added)
    }
}

/// A browser that is signed in.
#[derive(Debug, Clone)]
pub(crate) struct Browser {
    /// The hub's address: the origin of its page.
    pub(crate) hub: String,
    /// The session's cookie.
    pub(crate) cookie: Secret,
}

impl Browser {
    /// Opened on the hub's own machine.
    pub(crate) async fn open(hub: &TestHub) -> Self {
        let made = hub.admin().call::<CreateOpenLink>(&Empty {}, &Empty {}, &Empty {}).await.unwrap();
        let (status, browser, view) = Self::by_link(hub, code_of(&made.link), json!({})).await;
        assert_eq!(status, 200, "{view}");
        browser.unwrap()
    }

    /// Signs in by a link's code, with what else it takes.
    pub(crate) async fn by_link(hub: &TestHub, code: &str, mut with: Value) -> (u16, Option<Self>, Value) {
        with["code"] = code.into();
        Self::sign_in_at(hub, "/api/v1/session/link", &with).await
    }

    /// Signs in by name and password.
    pub(crate) async fn by_password(hub: &TestHub, name: &str, password: &str) -> (u16, Option<Self>, Value) {
        let body = json!({ "name": name, "password": password });
        Self::sign_in_at(hub, "/api/v1/session", &body).await
    }

    async fn sign_in_at(hub: &TestHub, path: &str, body: &Value) -> (u16, Option<Self>, Value) {
        let url = hub.hub.url();
        let request = http().post(format!("{url}{path}")).header("origin", &url).json(body);
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let cookie = response.headers().get("set-cookie").map(|value| value.to_str().unwrap().to_owned());
        let cookie = cookie.map(|text| {
            let (pair, rest) = text.split_once("; ").unwrap();
            assert_eq!(rest, "Path=/; Max-Age=2592000; Secure; HttpOnly; SameSite=Strict");
            Secret::new(pair.strip_prefix("__Host-backstay=").unwrap())
        });
        let browser = cookie.map(|cookie| Self { hub: url, cookie });
        (status, browser, response.json().await.unwrap())
    }

    /// Asks as the hub's page does; the status and what came.
    pub(crate) async fn send(&self, method: Method, path: &str, body: &str) -> (u16, Value) {
        self.send_from(method, path, body, &[("origin", &self.hub), ("sec-fetch-site", "same-origin")]).await
    }

    /// Asks with headers of the test's own.
    pub(crate) async fn send_from(
        &self,
        method: Method,
        path: &str,
        body: &str,
        headers: &[(&str, &str)],
    ) -> (u16, Value) {
        let url = format!("{}{path}", self.hub);
        let request = match method {
            Method::Get => http().get(url),
            Method::Post => http().post(url).header("content-type", "application/json").body(body.to_owned()),
            Method::Delete => http().delete(url),
        };
        let request = request.header("cookie", format!("__Host-backstay={}", self.cookie.expose()));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }
}

/// The code in a link.
pub(crate) fn code_of(link: &Secret) -> &str {
    link.expose().split_once("/#/link/").unwrap().1
}

/// A node's side.
pub(crate) struct Agent {
    pub(crate) joined: JoinResponse,
    pub(crate) client: Client,
}

impl Agent {
    /// Checks in and waits for the answer for as long as the hub holds it.
    pub(crate) async fn check_in(&self, request: CheckInRequest) -> CheckInResponse {
        let hold = Duration::from_millis(request.hold_ms);
        self.client.call_held::<CheckIn>(&Empty {}, &Empty {}, &request, hold).await.unwrap()
    }

    /// Says what it runs (nothing) and asks without being held.
    pub(crate) async fn say_hello(&self) -> CheckInResponse {
        self.check_in(hello(0)).await
    }

    /// Says that it runs this stack and nothing else.
    pub(crate) async fn runs_stack(&self, stack: &str) -> CheckInResponse {
        let observed = serde_json::json!([{
            "stack": stack, "current": "7".repeat(64), "previous": null, "deployment": null, "health": "healthy",
            "detail": "", "can_return": true, "containers": [],
        }]);
        let observed = Some(serde_json::from_value(observed).unwrap());
        self.check_in(CheckInRequest { observed, ..hello(0) }).await
    }
}

/// A check-in that says everything and has nothing.
pub(crate) fn hello(hold_ms: u64) -> CheckInRequest {
    CheckInRequest {
        have: None,
        hold_ms,
        observed: Some(Vec::new()),
        facts: Some(HostFacts::default()),
        figures: None,
        safety: None,
        nonce: None,
    }
}

/// A client that sends what no typed client would.
pub(crate) fn http() -> reqwest::Client {
    // The first provider stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

/// The code of the problem that a call ended in.
pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, ClientError>) -> ErrorCode {
    let error = result.unwrap_err();
    error.problem().unwrap_or_else(|| panic!("{error:?}")).code
}

/// A Git repository on disk.
pub(crate) struct Git(pub(crate) std::path::PathBuf);

impl Git {
    fn new(path: &Path) -> Self {
        std::fs::create_dir(path).unwrap();
        let git = Self(path.to_owned());
        git.run(&["init", "--quiet", "--initial-branch=main"]);
        git
    }

    /// Writes a file and commits it.
    pub(crate) fn commit(&self, file: &str, content: &str, message: &str) -> String {
        let path = self.0.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self.run(&["add", "--all"]);
        self.run(&["commit", "--quiet", "--message", message]);
        self.run(&["rev-parse", "HEAD"])
    }

    pub(crate) fn run(&self, args: &[&str]) -> String {
        let output = std::process::Command::new("git")
            .current_dir(&self.0)
            .args(["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"])
            .args(args)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

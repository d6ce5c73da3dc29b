//! The composition root: everything is made and wired here, and nowhere else.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use backstay_api::{
    Role,
    statement::key_fingerprint,
    v1::{CreateTokenRequest, TokenKind},
};
use backstay_config::Settings;
use backstay_engine::Engine;
use backstay_store::{Store, hub_state, nodes, tokens};
use backstay_types::{Event, Refs, Secret, TokenId, World};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    HubError,
    app::{App, HubPresence},
    auth::{Kind, Presented, SignIn},
    background,
    backups::{self, Backups},
    data_dir::DataDir,
    http::{self, Hosts, Kept},
    keys::{Keys, write_private},
    live::{Feed, Follows, Live, Questions, Roster, Shared, Waiters},
    metrics::Metrics,
    packs::Packs,
    room::Room,
    server, telemetry,
    telemetry::Telemetry,
};

/// The file in the data folder that holds the hub's own admin token.
pub const ADMIN_TOKEN_FILE: &str = "admin.token";
/// The file in the data folder that holds the address under which this machine reaches the hub.
pub const URL_FILE: &str = "hub.url";
/// Names this hub among several on one database.
const ID_FILE: &str = "hub.id";
/// How much disk packs may take.
const PACK_BYTES: u64 = 4 << 30;
/// How long handlers and the engine get to come to their end.
const GRACE: Duration = Duration::from_secs(20);

/// Runs a hub until `shutdown`.
///
/// # Errors
/// When it cannot be started.
pub async fn run(
    settings: Settings,
    world: World,
    shutdown: impl Future<Output = ()>,
) -> Result<(), HubError> {
    let hub = Hub::start(settings, world).await?;
    shutdown.await;
    tracing::info!("the hub is stopping");
    hub.stop().await;
    Ok(())
}

/// A running hub. [`Hub::stop`] it; dropped, it stops without letting anything finish.
#[derive(Debug)]
pub struct Hub {
    app: Arc<App>,
    address: SocketAddr,
    admin_token: Secret,
    server: JoinHandle<()>,
    sealer: JoinHandle<()>,
    background: TaskTracker,
    data_dir: DataDir,
}

impl Hub {
    /// Starts a hub: data folder, keys, database, engine, listener. When this returns, it serves.
    ///
    /// # Errors
    /// When any of these cannot be had; nothing runs then.
    pub async fn start(settings: Settings, world: World) -> Result<Self, HubError> {
        let data_dir = DataDir::hold(&settings.hub.data_dir)?;
        if backups::is_half(data_dir.path()) {
            return Err(HubError::Restore(format!(
                "{}: a restore was cut off while it put a hub here: run `backstay hub restore` again, it begins anew",
                data_dir.path().display()
            )));
        }
        let keys = Arc::new(Keys::load(data_dir.path(), &world)?);
        let id = instance_id(data_dir.path(), &world)?;
        let location = database_location(&settings, data_dir.path())?;
        let store = Store::open(location.expose(), world.clone()).await?;
        check_key(&store, &keys, data_dir.path()).await?;
        let app = Arc::new(compose(settings, world, store, keys, &data_dir, id.clone()).await?);
        let router = http::router(app.clone())?;
        let listener = server::bind(app.settings.hub.listen).await?;
        let address = local_address(&listener, app.settings.hub.listen)?;
        // Where this machine reaches it, also when it listens on all addresses.
        let _ = app.address.set(reachable(address));
        let admin_token = admin_token(&app, data_dir.path()).await?;
        let url = data_dir.path().join(URL_FILE);
        write_private(&url, url_of(address).as_bytes())
            .map_err(|source| HubError::DataDir { path: url, source })?;
        let (sealer, background) = spawn_background(&app, id);
        let room = Room::new(app.settings.hub.max_connections);
        let server = tokio::spawn(server::serve(listener, router, room, app.stopping.clone()));
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "other machines can reach the hub; put a proxy that speaks TLS before it");
        }
        tracing::info!(%address, data_dir = %data_dir.path().display(), "the hub serves");
        Ok(Self { app, address, admin_token, server, sealer, background, data_dir })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How this machine reaches it, such as `http://127.0.0.1:8484`.
    pub fn url(&self) -> String {
        url_of(self.address)
    }

    /// The token in the file `admin.token` of the data folder.
    pub fn admin_token(&self) -> &Secret {
        &self.admin_token
    }

    /// The data folder.
    pub fn data_dir(&self) -> &Path {
        self.data_dir.path()
    }

    /// Stops: held requests are answered, what is under way comes to its end, everything is flushed.
    pub async fn stop(self) {
        let Self { app, server, sealer, background, data_dir, .. } = self;
        app.stopping.cancel();
        app.waiters.wake_all();
        // A task that panicked has said so already.
        let _ = server.await;
        app.tasks.close();
        background.close();
        let rest = async { tokio::join!(app.tasks.wait(), background.wait()) };
        if tokio::time::timeout(GRACE, rest).await.is_err() {
            tracing::warn!("some work did not end in time; it is taken up at the next start");
        }
        sealer.abort();
        let _ = sealer.await;
        app.store.close().await;
        drop(data_dir);
    }
}

/// Makes the parts and wires them.
async fn compose(
    settings: Settings,
    world: World,
    store: Store,
    keys: Arc<Keys>,
    data_dir: &DataDir,
    holder: String,
) -> Result<App, HubError> {
    let started_at = world.now();
    let poll = &settings.poll;
    let known = nodes::all_soft(&mut store.read()).await?;
    let live = Arc::new(Live::new(started_at, poll.hold, poll.interval + poll.jitter, known));
    let presence = HubPresence { live: live.clone(), keys: keys.clone(), world: world.clone() };
    let engine_settings = backstay_engine::Settings {
        data_dir: data_dir.path().to_owned(),
        poll_every: settings.source.poll_every,
        statement_life: poll.statement_valid,
        publish: backstay_engine::Publish {
            to: settings.source.publish_to.clone(),
            every: settings.source.publish_every,
        },
        backups: backups::rules(&settings.backup),
        holder,
    };
    let kept_backups = Backups::new(&settings.backup, data_dir.path(), &world)?;
    let engine =
        Engine::new(store.clone(), world.clone(), keys.signing.clone(), Arc::new(presence), engine_settings);
    let head = *store.tail().borrow();
    let telemetry = Telemetry::open(&settings.telemetry, data_dir.path(), &world);
    Ok(App {
        hosts: hosts(&settings),
        sign_in: SignIn::new(&world),
        world,
        settings,
        store,
        engine,
        keys,
        live,
        waiters: Waiters::default(),
        questions: Questions::default(),
        roster: Roster::default(),
        feed: Feed::default(),
        overview: Shared::default(),
        kept: Kept::default(),
        follows: Follows::default(),
        packs: Packs::new(data_dir.folder("packs")?, PACK_BYTES),
        backups: kept_backups,
        telemetry,
        metrics: Metrics::new(),
        sealed: watch::Sender::new(head),
        tasks: TaskTracker::new(),
        stopping: CancellationToken::new(),
        address: OnceLock::new(),
        started_at,
    })
}

/// The sealer apart from the rest: it is stopped last, so that what others record on their way out is sealed too.
fn spawn_background(app: &Arc<App>, id: String) -> (JoinHandle<()>, TaskTracker) {
    let store = app.store.clone();
    let sealer = tokio::spawn(async move {
        store.run(&id).await;
    });
    let tracker = TaskTracker::new();
    tracker.spawn(background::tail::follow(app.clone()));
    tracker.spawn(background::beat::beat(app.clone()));
    tracker.spawn(background::flush::flush(app.clone()));
    tracker.spawn(background::housekeeping::keep_house(app.clone()));
    tracker.spawn(backups::work(app.clone()));
    tracker.spawn(backups::watch_second(app.clone()));
    tracker.spawn(telemetry::keep(app.clone()));
    tracker.spawn(telemetry::keep_own(app.clone()));
    tracker.spawn(telemetry::keep_logs(app.clone()));
    tracker.spawn(backups::watch_targets(app.clone()));
    let engine = app.engine.clone();
    tracker.spawn(engine.run(app.stopping.clone().cancelled_owned()));
    (sealer, tracker)
}

fn hosts(settings: &Settings) -> Hosts {
    let public = settings.hub.public_url.as_ref().and_then(|url| url.host_str().map(str::to_owned));
    Hosts::new(settings.hub.allowed_hosts.iter().cloned().chain(public))
}

/// Where the database is. It may hold a password.
pub(crate) fn database_location(settings: &Settings, data_dir: &Path) -> Result<Secret, HubError> {
    match (&settings.hub.database_url, &settings.hub.database_url_file) {
        (Some(url), _) => Ok(url.clone()),
        (None, Some(path)) => {
            let read = fs::read_to_string(path);
            let text = read.map_err(|source| HubError::DatabaseUrl { path: path.clone(), source })?;
            Ok(Secret::new(text.trim()))
        }
        (None, None) => Ok(Secret::new(data_dir.join("hub.db").display().to_string())),
    }
}

/// Binds the database to the key that its nodes trust. The first start of a restored hub raises the epoch: agents have
/// heard later things than its database knows of, and would refuse what it says.
async fn check_key(store: &Store, keys: &Keys, data_dir: &Path) -> Result<(), HubError> {
    let ours = key_fingerprint(&keys.signing.verifying_key()).to_string();
    let mut tx = store.begin().await?;
    let kept = hub_state::set_once(&mut tx, "signing_key", &ours).await?;
    let restored = backups::restored(data_dir);
    if let Some(restored) = &restored {
        let epoch = hub_state::raise_epoch(&mut tx).await?;
        let event = Event::HubRestored { snapshot: restored.snapshot, epoch };
        tx.record(event, Refs::default())?;
    }
    tx.commit().await?;
    if restored.is_some() {
        backups::taken_up(data_dir);
    }
    if kept == ours { Ok(()) } else { Err(HubError::ForeignKey) }
}

/// This hub's name among several, the same after a restart.
fn instance_id(data_dir: &Path, world: &World) -> Result<String, HubError> {
    let path = data_dir.join(ID_FILE);
    let failed = |path: &PathBuf, source| HubError::DataDir { path: path.clone(), source };
    match fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&path, error)),
        _ => {
            let id = world.mint::<TokenId>().to_string();
            write_private(&path, id.as_bytes()).map_err(|source| failed(&path, source))?;
            Ok(id)
        }
    }
}

/// The token for who owns the data folder: the one in the file, or a new one when that does not work.
async fn admin_token(app: &App, data_dir: &Path) -> Result<Secret, HubError> {
    let path = data_dir.join(ADMIN_TOKEN_FILE);
    let failed = |source| HubError::DataDir { path: path.clone(), source };
    match fs::read_to_string(&path) {
        Ok(text) => {
            let token = Secret::new(text.trim());
            if works(app, &token).await? {
                return Ok(token);
            }
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Err(_) => {}
    }
    let request = CreateTokenRequest {
        name: "local admin".to_owned(),
        kind: TokenKind::Api { role: Role::Admin },
        expires_in_seconds: None,
    };
    let created = http::create_token(app, request, "the hub").await;
    let created = created.map_err(|error| HubError::AdminToken(error.problem().clone()))?;
    write_private(&path, created.secret.expose().as_bytes()).map_err(failed)?;
    Ok(created.secret)
}

async fn works(app: &App, token: &Secret) -> Result<bool, HubError> {
    let Some(presented) = Presented::<TokenId>::read(Kind::Api, token) else { return Ok(false) };
    let found = tokens::get(&mut app.store.read(), presented.id).await?;
    Ok(found
        .is_some_and(|(token, secret)| token.works_at(app.world.now()) && presented.matches(&secret.hash)))
}

fn local_address(listener: &TcpListener, asked: SocketAddr) -> Result<SocketAddr, HubError> {
    listener.local_addr().map_err(|source| HubError::Listen { address: asked, source })
}

/// An address that this machine can use, also when the hub listens on all.
fn url_of(address: SocketAddr) -> String {
    format!("http://{}", reachable(address))
}

fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = if address.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address.ip() };
    SocketAddr::new(ip, address.port())
}

//! PostgreSQL: one server that all tests of all processes share, a database for each test; or a server of one's own.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::{
    fs::{FlockOperation, flock},
    process::{Signal, geteuid},
};

use crate::{
    command::{capture, run},
    docker::Docker,
    image,
    left_out::{Part, require},
    paths::{cache_dir, find_tool, run_dir, scratch_dir, write},
    port::Port,
    process::{self, processes_under},
};

const OLDEST: u32 = 16;
/// Speed over safety: what is in these clusters is thrown away.
const SETTINGS: &str =
    "\nfsync = off\nfull_page_writes = off\nmax_connections = 300\nshared_buffers = 32MB\n";

/// A database of the shared server, for one test. Dropped, it is removed.
#[derive(Debug)]
pub struct Database {
    tools: Tools,
    server: String,
    name: String,
}

impl Database {
    /// Makes an empty database, starting the shared server when it does not
    /// run, or notes that the test is left out.
    ///
    /// # Panics
    /// When what is installed does not start; with `CI=true` when it is missing.
    pub fn require() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let tools = require(Part::Postgres, Tools::find())?;
        let server = shared_server(&tools);
        let name = format!("t{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // A process of this number may have been killed before it could remove its own.
        tools.sql(&server, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        tools.sql(&server, &format!("CREATE DATABASE {name} STRATEGY = FILE_COPY"));
        Some(Self { tools, server, name })
    }

    /// `postgres://…`, for clients.
    pub fn url(&self) -> String {
        format!("{}/{}", self.server, self.name)
    }

    /// What a program that runs `pg_dump` and its like has to have as `PATH` and `LD_LIBRARY_PATH`.
    pub fn programs(&self) -> (String, String) {
        let path = std::env::var("PATH").unwrap_or_default();
        let home = self.tools.home.display();
        (format!("{home}/bin:{path}"), format!("{home}/lib"))
    }

    /// Runs SQL in it and gives the rows as lines, columns separated by `|`.
    ///
    /// # Panics
    /// When it fails.
    pub fn sql(&self, sql: &str) -> String {
        self.tools.psql(&self.url(), sql)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The server may have been stopped meanwhile; then there is nothing to remove.
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let _ = capture(&mut self.tools.psql_command(&format!("{}/postgres", self.server), &drop));
    }
}

/// A server of the test's own, to stop and start. Dropped, it ends.
#[derive(Debug)]
pub struct PostgresServer {
    tools: Tools,
    cluster: Cluster,
    _port: Port,
    _dir: tempfile::TempDir,
}

impl PostgresServer {
    /// Starts a server, or notes that the test is left out.
    ///
    /// # Panics
    /// When what is installed does not start; with `CI=true` when it is missing.
    pub fn require() -> Option<Self> {
        let tools = require(Part::Postgres, Tools::find())?;
        let (dir, port) = (scratch_dir(), Port::take());
        let cluster = Cluster { dir: dir.path().join("pg"), port: port.number() };
        tools.open_to_server(dir.path());
        cluster.init(&tools);
        cluster.start(&tools);
        Some(Self { tools, cluster, _port: port, _dir: dir })
    }

    /// `postgres://…`, for clients; the database is `postgres`.
    pub fn url(&self) -> String {
        format!("{}/postgres", self.cluster.url())
    }

    /// Starts a server from a data folder that was restored; it is copied first.
    ///
    /// # Panics
    /// When it cannot be copied, or does not start.
    pub fn from_folder(data: &Path) -> Option<Self> {
        let tools = require(Part::Postgres, Tools::find())?;
        let (dir, port) = (scratch_dir(), Port::take());
        let cluster = Cluster { dir: dir.path().join("pg"), port: port.number() };
        tools.open_to_server(dir.path());
        fs::create_dir_all(&cluster.dir).expect("create a cluster's folder");
        tools.own(&cluster.dir);
        run(Command::new("cp").arg("-a").arg(data).arg(cluster.data()));
        if let Some((uid, gid)) = tools.user {
            run(Command::new("chown").args(["-R", &format!("{uid}:{gid}")]).arg(cluster.data()));
        }
        run(Command::new("chmod").arg("700").arg(cluster.data()));
        cluster.start(&tools);
        Some(Self { tools, cluster, _port: port, _dir: dir })
    }

    /// Stops it at once, as a crash would.
    pub fn stop(&self) {
        self.cluster.stop(&self.tools);
    }

    /// Lets it hang: connections are there, and nobody answers, until [`PostgresServer::resume`].
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        for pid in processes_under(&self.cluster.dir) {
            process::send(pid, signal);
        }
    }

    /// Starts it again on the same port.
    pub fn start(&self) {
        self.cluster.start(&self.tools);
    }

    /// As [`Database::sql`].
    ///
    /// # Panics
    /// When it fails.
    pub fn sql(&self, sql: &str) -> String {
        self.tools.psql(&self.url(), sql)
    }

    /// The same in another database.
    ///
    /// # Panics
    /// When it fails.
    pub fn sql_in(&self, database: &str, sql: &str) -> String {
        self.tools.psql(&format!("{}/{database}", self.cluster.url()), sql)
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // One that hangs could not be told to end.
        self.resume();
        self.stop();
    }
}

/// Where programs and libraries are in the image.
const IN_IMAGE: &str = "/usr/pg";
/// Makes the cluster at the first start. The server takes the place of the shell, so that it hears the engine's signals.
const START: &str = r#"set -e
chown postgres /data
as() { exec su postgres -s /bin/sh -c "$1"; }
if [ ! -e /data/cluster/PG_VERSION ]; then
  (as 'initdb --username=postgres --auth=trust --encoding=UTF8 --locale=C --no-sync --pgdata /data/cluster >/dev/null')
  echo 'host all all all trust' >>/data/cluster/pg_hba.conf
fi
as 'exec postgres -D /data/cluster -h 0.0.0.0 -k /tmp'
"#;

impl Docker {
    /// Makes an image with a PostgreSQL server, whose data is at `/data`: a user `postgres` without a password, and
    /// `pg_dump` and its like for those who work in the container. Its `stop_signal` has to be `SIGINT`, as always with
    /// this server. Or notes that the test is left out.
    ///
    /// # Panics
    /// When the image cannot be made; with `CI=true` when PostgreSQL is missing.
    pub fn postgres_image(&self, reference: &str) -> Option<String> {
        let tools = require(Part::Postgres, Tools::find())?;
        let dir = scratch_dir();
        let root = dir.path();
        let links = ["sh", "su", "chown", "cat", "ls", "echo", "sleep", "mkdir", "rm", "env", "id"];
        image::busybox(root, &["data", "etc", "tmp", "lib64", &IN_IMAGE[1..]], &links);
        let user = "root:x:0:0::/:/bin/sh\npostgres:x:999:999::/tmp:/bin/sh\n";
        write(&root.join("etc/passwd"), user);
        write(&root.join("etc/group"), "root:x:0:\npostgres:x:999:\n");
        write(&root.join("start"), START);
        let home = root.join(&IN_IMAGE[1..]);
        for folder in ["bin", "lib", "share"] {
            run(Command::new("cp").arg("-a").arg(tools.home.join(folder)).arg(&home));
        }
        for library in tools.libraries() {
            fs::copy(&library, root.join("lib64").join(library.file_name().expect("a file's name")))
                .expect("copy a library");
        }
        run(Command::new("chmod").args(["1777"]).arg(root.join("tmp")));
        let lines = [
            r#"ENTRYPOINT ["/bin/sh","/start"]"#.to_owned(),
            format!("ENV PATH={IN_IMAGE}/bin:/bin"),
            format!("ENV LD_LIBRARY_PATH={IN_IMAGE}/lib:/lib64"),
            "ENV PGHOST=/tmp PGUSER=postgres".to_owned(),
            "HEALTHCHECK --interval=1s CMD pg_isready".to_owned(),
        ];
        Some(image::import(self, root, reference, &lines.each_ref().map(String::as_str)))
    }
}

/// The shared server's URL, without a database. It goes on after the test; `backstay-parts stop` ends it.
fn shared_server(tools: &Tools) -> String {
    let dir = run_dir().join("postgres");
    fs::create_dir_all(&dir).expect("create a folder for PostgreSQL");
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("lock"));
    let lock = lock.expect("open PostgreSQL's lock");
    flock(&lock, FlockOperation::LockExclusive).expect("lock PostgreSQL's start");
    let remembered = fs::read_to_string(dir.join("port")).ok().and_then(|text| text.trim().parse().ok());
    if let Some(port) = remembered {
        let cluster = Cluster { dir: dir.join("pg"), port };
        if cluster.answers(tools) {
            return cluster.url();
        }
    }
    // The port's own lock ends with this process, but the server then holds the port itself.
    let port = Port::take();
    let cluster = Cluster { dir: dir.join("pg"), port: port.number() };
    cluster.stop(tools);
    let _ = fs::remove_dir_all(&cluster.dir);
    cluster.init(tools);
    cluster.start(tools);
    write(&dir.join("port"), port.number().to_string());
    cluster.url()
}

/// Ends the shared server, if it runs.
pub(crate) fn stop_shared() {
    let dir = run_dir().join("postgres");
    if let Ok(tools) = Tools::find()
        && dir.join("port").exists()
    {
        Cluster { dir: dir.join("pg"), port: 0 }.stop(&tools);
        let _ = fs::remove_file(dir.join("port"));
    }
}

#[derive(Debug)]
struct Cluster {
    dir: PathBuf,
    port: u16,
}

impl Cluster {
    fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}", self.port)
    }

    fn init(&self, tools: &Tools) {
        fs::create_dir_all(&self.dir).expect("create a cluster's folder");
        tools.own(&self.dir);
        let data = self.data();
        run(tools
            .as_server("initdb")
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"])
            .arg("--pgdata")
            .arg(&data));
        let file = data.join("postgresql.conf");
        let settings = fs::read_to_string(&file).expect("read the server's settings") + SETTINGS;
        fs::write(&file, settings).expect("write the server's settings");
    }

    fn start(&self, tools: &Tools) {
        let options = format!("-h 127.0.0.1 -p {} -k {}", self.port, self.dir.display());
        run(tools
            .as_server("pg_ctl")
            .args(["--wait", "--silent", "--log"])
            .arg(self.dir.join("log"))
            .arg("--pgdata")
            .arg(self.data())
            .args(["--options", &options, "start"]));
    }

    /// Whether it runs or not, it does not afterwards.
    fn stop(&self, tools: &Tools) {
        let mut stop = tools.as_server("pg_ctl");
        stop.args(["--wait", "--silent", "--mode=immediate", "--pgdata"]).arg(self.data()).arg("stop");
        let _ = capture(&mut stop);
    }

    fn answers(&self, tools: &Tools) -> bool {
        capture(&mut tools.psql_command(&format!("{}/postgres", self.url()), "SELECT 1")).is_ok()
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }
}

/// The server's programs, and the user they run as.
#[derive(Debug)]
struct Tools {
    home: PathBuf,
    /// The server refuses root; as root it is run as the system's `postgres`.
    user: Option<(u32, u32)>,
}

impl Tools {
    fn find() -> Result<Self, String> {
        let home = newest_home()?;
        let user = if geteuid().is_root() { Some(postgres_user()?) } else { None };
        let tools = Self { home, user };
        capture(tools.as_server("postgres").arg("--version")).map_err(|failed| {
            format!("{failed}\nThe user postgres must be able to enter {}", tools.home.display())
        })?;
        Ok(tools)
    }

    /// The libraries of the system that the programs need, with the one that loads them.
    fn libraries(&self) -> BTreeSet<PathBuf> {
        let own = self.home.join("lib");
        let mut found = BTreeSet::new();
        for name in ["postgres", "psql", "initdb", "pg_dump", "pg_isready", "pg_restore"] {
            let mut ldd = Command::new("ldd");
            let said = run(ldd.arg(self.home.join("bin").join(name)).env("LD_LIBRARY_PATH", &own));
            let paths = said.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
            found.extend(paths.filter(|path| !path.starts_with(&own)));
        }
        found
    }

    fn tool(&self, name: &str) -> Command {
        let mut command = Command::new(self.home.join("bin").join(name));
        command.env("LD_LIBRARY_PATH", self.home.join("lib"));
        command
    }

    fn as_server(&self, name: &str) -> Command {
        let mut command = if let Some((uid, gid)) = self.user {
            let mut setpriv = Command::new("setpriv");
            setpriv.args([format!("--reuid={uid}"), format!("--regid={gid}")]).arg("--clear-groups");
            setpriv.arg(self.home.join("bin").join(name)).env("LD_LIBRARY_PATH", self.home.join("lib"));
            setpriv
        } else {
            self.tool(name)
        };
        // The shell's own folder may be closed to the server's user.
        command.current_dir("/");
        command
    }

    fn psql_command(&self, url: &str, sql: &str) -> Command {
        let mut psql = self.tool("psql");
        psql.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]);
        psql.args([url, "--command", sql]).current_dir("/");
        psql
    }

    fn psql(&self, url: &str, sql: &str) -> String {
        run(&mut self.psql_command(url, sql))
    }

    fn sql(&self, server: &str, sql: &str) {
        self.psql(&format!("{server}/postgres"), sql);
    }

    fn own(&self, path: &Path) {
        if let Some((uid, gid)) = self.user {
            chown(path, Some(uid), Some(gid)).expect("give a folder to the server's user");
        }
    }

    /// Lets the server's user pass through a folder of ours.
    fn open_to_server(&self, path: &Path) {
        use std::os::unix::fs::PermissionsExt;
        if self.user.is_some() {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("open a folder");
        }
    }
}

/// The newest PostgreSQL of the cache, else the system's.
fn newest_home() -> Result<PathBuf, String> {
    let versions = |dir: PathBuf| {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())))
    };
    let cached = versions(cache_dir().join("postgres"));
    let system = versions("/usr/lib/postgresql".into());
    let fit = cached
        .chain(system)
        .filter(|(version, home)| *version >= OLDEST && home.join("bin/initdb").is_file());
    fit.max_by_key(|(version, _)| *version).map(|(_, home)| home).or_else(home_on_path).ok_or_else(|| {
        format!("no PostgreSQL {OLDEST} or later in {}", cache_dir().join("postgres").display())
    })
}

fn home_on_path() -> Option<PathBuf> {
    let postgres = find_tool("postgres")?;
    let version = capture(Command::new(&postgres).arg("--version")).ok()?;
    let major: u32 = version.split_whitespace().nth(2)?.split('.').next()?.parse().ok()?;
    (major >= OLDEST).then(|| postgres.parent()?.parent().map(Path::to_owned))?
}

fn postgres_user() -> Result<(u32, u32), String> {
    let users = fs::read_to_string("/etc/passwd").map_err(|error| format!("/etc/passwd: {error}"))?;
    let line = users.lines().find(|line| line.starts_with("postgres:"));
    let fields: Vec<_> = line.ok_or("there is no user postgres to run the server as")?.split(':').collect();
    let id = |at: usize| fields.get(at).and_then(|text| text.parse().ok());
    id(2).zip(id(3)).ok_or_else(|| "the user postgres in /etc/passwd has no ids".to_owned())
}

//! Databases and commands, on their way to files and back.

use std::{fs, fs::File, path::Path, time::Duration};

use backstay_manifest::{CommandSource, PostgresSource};

use super::{
    BackupError,
    exec::{HOOK, Run, Scene, output},
};
use crate::runtime::compose::Engine;

/// How long a dump may take.
const DUMP: Duration = Duration::from_secs(4 * 3600);
/// Roles and tablespaces of a whole server.
const GLOBALS: &str = "globals.sql";

/// A PostgreSQL server, and how its programs are called.
#[derive(Debug)]
pub(super) struct Postgres<'a> {
    scene: &'a Scene,
    item: &'a str,
    before: Vec<String>,
    programs: String,
    arguments: Vec<String>,
    source: &'a PostgresSource,
}

/// The container of a service that runs.
pub(super) async fn container(project: &str, service: &str) -> Result<String, BackupError> {
    let all = Engine::new().containers(project).await;
    let all = all.map_err(BackupError::io(format!("service `{service}`: the container engine")))?;
    let found = all.into_iter().find(|container| container.service == service && container.running);
    found.map(|container| container.id).ok_or_else(|| {
        BackupError::Prepare(format!("service `{service}` does not run: it has to be asked for its data"))
    })
}

fn inside(container: &str) -> Vec<String> {
    ["docker", "exec", "--interactive", container].map(str::to_owned).to_vec()
}

impl<'a> Postgres<'a> {
    pub(super) async fn new(
        scene: &'a Scene,
        project: &str,
        item: &'a str,
        source: &'a PostgresSource,
    ) -> Result<Self, BackupError> {
        let before = match &source.service {
            Some(service) => inside(&container(project, service).await?),
            None => Vec::new(),
        };
        let programs = match &source.programs {
            Some(folder) => format!("{}/", scene.fill(folder)?.trim_end_matches('/')),
            None => String::new(),
        };
        let mut arguments =
            vec!["--username".to_owned(), scene.fill(&source.user)?, "--no-password".to_owned()];
        for (name, value) in [("--host", &source.host), ("--port", &source.port)] {
            if let Some(value) = value {
                arguments.extend([name.to_owned(), scene.fill(value)?]);
            }
        }
        Ok(Self { scene, item, before, programs, arguments, source })
    }

    /// A program of PostgreSQL's, connected to the server.
    fn call(&self, program: &str, arguments: &[&str]) -> Run<'a> {
        let mut run = self.plain(program, &[]);
        run.argv.extend(self.arguments.iter().cloned());
        run.argv.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        Run { limit: DUMP, ..run }
    }

    /// The same, without a server.
    fn plain(&self, program: &str, arguments: &[&str]) -> Run<'a> {
        let mut argv = self.before.clone();
        argv.push(format!("{}{program}", self.programs));
        argv.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        Run::new(self.item, argv)
    }

    async fn text(&self, run: Run<'a>) -> Result<String, BackupError> {
        let out = self.scene.run(run).await?;
        Ok(String::from_utf8_lossy(&out).trim().to_owned())
    }

    /// Runs SQL in a database; what it answers, unaligned.
    pub(super) async fn sql(&self, database: &str, sql: &str) -> Result<String, BackupError> {
        let arguments = [
            "--dbname",
            database,
            "--no-psqlrc",
            "--tuples-only",
            "--no-align",
            "--set",
            "ON_ERROR_STOP=1",
            "--command",
            sql,
        ];
        self.text(self.call("psql", &arguments)).await
    }

    fn home(&self) -> &str {
        self.source.database.as_deref().unwrap_or("postgres")
    }

    /// A `pg_dump` that is older than its server fails half-way, or leaves things out.
    async fn check_version(&self) -> Result<(), BackupError> {
        let server = self.sql(self.home(), "show server_version_num").await?;
        let server = server.parse::<u32>().map(|number| number / 10_000).unwrap_or(0);
        let said = self.text(self.plain("pg_dump", &["--version"])).await?;
        let mut numbers = said.split(|c: char| !c.is_ascii_digit()).filter(|number| !number.is_empty());
        let program: u32 = numbers.next().and_then(|number| number.parse().ok()).unwrap_or(0);
        if program >= server {
            return Ok(());
        }
        Err(BackupError::Prepare(format!(
            "{}: the server is PostgreSQL {server} and `pg_dump` is of {program}: expected one at least as new, named by `programs`",
            self.item
        )))
    }

    /// Dumps into a folder: `<database>.dump` each.
    pub(super) async fn dump(&self, folder: &Path) -> Result<(), BackupError> {
        self.check_version().await?;
        let databases = match &self.source.database {
            Some(database) => vec![self.scene.fill(database)?],
            None => {
                let sql = "select datname from pg_database where datallowconn and not datistemplate order by datname";
                let roles = self.call("pg_dumpall", &["--globals-only"]);
                self.scene.run(Run { stdout: Some(output(&folder.join(GLOBALS))?), ..roles }).await?;
                self.sql(self.home(), sql).await?.lines().map(str::to_owned).collect()
            }
        };
        if databases.is_empty() {
            return Err(BackupError::Prepare(format!("{}: the server has no database", self.item)));
        }
        for database in databases {
            let file = folder.join(file_of(&database)?);
            let dump = self.call("pg_dump", &["--format", "custom", "--dbname", &database]);
            self.scene.run(Run { stdout: Some(output(&file)?), ..dump }).await?;
            self.check(&file).await?;
        }
        Ok(())
    }

    /// Whether a dump can be read to its end, and holds what every database has.
    pub(super) async fn check(&self, file: &Path) -> Result<(), BackupError> {
        let read = File::open(file).map_err(BackupError::io(file.display()))?;
        let list = self.plain("pg_restore", &["--list"]);
        let list = self.text(Run { stdin: Some(read), ..list }).await?;
        if list.contains("TOC Entries:") {
            return Ok(());
        }
        Err(BackupError::Prepare(format!("{}: {} is no dump", self.item, file.display())))
    }

    /// Loads a dump into a new database beside the others. What goes wrong leaves nothing.
    pub(super) async fn load(&self, file: &Path, database: &str, new: &str) -> Result<(), BackupError> {
        self.load_as(file, database, new, false).await
    }

    /// The same; `ownerless` on a server that does not have the roles that the dump speaks of.
    pub(super) async fn load_as(
        &self,
        file: &Path,
        database: &str,
        new: &str,
        ownerless: bool,
    ) -> Result<(), BackupError> {
        self.check(file).await?;
        let home = self.maintenance(database);
        self.sql(home, &format!("drop database if exists {}", quoted(new))).await?;
        let owner =
            format!("select pg_get_userbyid(datdba) from pg_database where datname = {}", literal(database));
        let owner = self.sql(home, &owner).await?;
        let owner = if owner.is_empty() { String::new() } else { format!(" owner {}", quoted(&owner)) };
        self.sql(home, &format!("create database {}{owner} template template0", quoted(new))).await?;
        let read = File::open(file).map_err(BackupError::io(file.display()))?;
        let mut arguments = vec!["--exit-on-error", "--single-transaction", "--dbname", new];
        if ownerless {
            arguments.extend(["--no-owner", "--no-privileges"]);
        }
        let restore = self.call("pg_restore", &arguments);
        let loaded = self.scene.run(Run { stdin: Some(read), ..restore }).await;
        if loaded.is_err() {
            let _ = self.sql(home, &format!("drop database if exists {}", quoted(new))).await;
        }
        loaded.map(drop)
    }

    /// A database to be connected to while another is renamed.
    fn maintenance(&self, database: &str) -> &'static str {
        if database == "postgres" { "template1" } else { "postgres" }
    }

    /// Whether there is such a database.
    async fn has(&self, home: &str, database: &str) -> Result<bool, BackupError> {
        let sql = format!("select count(*) from pg_database where datname = {}", literal(database));
        Ok(self.sql(home, &sql).await? == "1")
    }

    /// Puts `new` in the place of a database, which is kept as `old`. Done again it does nothing.
    pub(super) async fn swap(&self, database: &str, new: &str, old: &str) -> Result<(), BackupError> {
        let home = self.maintenance(database);
        if !self.has(home, new).await? {
            return Ok(());
        }
        if self.has(home, database).await? {
            self.rename(home, database, old).await?;
        }
        crate::crash::crash_point("restore.database.half");
        self.rename(home, new, database).await
    }

    /// Puts the one that was kept back. Done again it does nothing.
    pub(super) async fn swap_back(&self, database: &str, new: &str, old: &str) -> Result<(), BackupError> {
        let home = self.maintenance(database);
        if self.has(home, old).await? {
            if self.has(home, database).await? {
                self.rename(home, database, new).await?;
            }
            self.rename(home, old, database).await?;
        }
        self.forget(database, new).await
    }

    /// Takes away a database that is not needed any more.
    pub(super) async fn forget(&self, database: &str, gone: &str) -> Result<(), BackupError> {
        let home = self.maintenance(database);
        if self.has(home, gone).await? {
            self.part(home, gone).await?;
            self.sql(home, &format!("drop database if exists {}", quoted(gone))).await?;
        }
        Ok(())
    }

    async fn rename(&self, home: &str, from: &str, to: &str) -> Result<(), BackupError> {
        let sql = format!("alter database {} rename to {}", quoted(from), quoted(to));
        let mut last = Ok(String::new());
        // Whoever connects again in between keeps it from being renamed.
        for _ in 0..50 {
            self.part(home, from).await?;
            last = self.sql(home, &sql).await;
            if last.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        last.map(drop)
    }

    /// Ends all connections to a database.
    async fn part(&self, home: &str, database: &str) -> Result<(), BackupError> {
        let sql = format!(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = {} and pid <> pg_backend_pid()",
            literal(database)
        );
        self.sql(home, &sql).await.map(drop)
    }

    /// Makes the roles of a dump of all databases on a new server. Whether there are any in the folder; those that the
    /// server began with stay.
    pub(super) async fn load_globals(&self, folder: &Path) -> Result<bool, BackupError> {
        let file = folder.join(GLOBALS);
        let read = match File::open(&file) {
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(BackupError::restore(file.display())(error)),
        };
        let arguments = ["--dbname", self.home(), "--no-psqlrc", "--quiet", "--file", "-"];
        let run = self.call("psql", &arguments);
        self.scene.run(Run { stdin: Some(read), ..run }).await.map(|_| true)
    }

    /// Waits until a server that was just made is the one that stays: images of PostgreSQL set themselves up with one that
    /// listens nowhere.
    pub(super) async fn settled(&self, patience: Duration) -> Result<(), BackupError> {
        let since = std::time::Instant::now();
        loop {
            self.ready(patience.saturating_sub(since.elapsed())).await?;
            let listens = self.sql("template1", "show listen_addresses").await;
            if listens.is_ok_and(|at| !at.is_empty()) || since.elapsed() > patience {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// Waits until the server takes connections and has come to an end with recovering.
    pub(super) async fn ready(&self, patience: Duration) -> Result<(), BackupError> {
        let since = std::time::Instant::now();
        loop {
            let answer = self.sql("template1", "select pg_is_in_recovery()").await;
            match answer {
                Ok(said) if said == "f" => return Ok(()),
                Err(error) if since.elapsed() > patience => return Err(error),
                Ok(_) if since.elapsed() > patience => {
                    return Err(BackupError::Prepare(format!(
                        "{}: the server is still recovering",
                        self.item
                    )));
                }
                _ => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }
}

/// The databases that a folder holds dumps of.
pub(super) fn dumped(folder: &Path) -> Result<Vec<String>, BackupError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(BackupError::restore(folder.display()))? {
        let entry = entry.map_err(BackupError::restore(folder.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        found.extend(name.strip_suffix(".dump").map(str::to_owned));
    }
    found.sort();
    Ok(found)
}

fn file_of(database: &str) -> Result<String, BackupError> {
    if database.contains(['/', '\0']) || database.starts_with('.') {
        return Err(BackupError::Prepare(format!(
            "database `{}` cannot be a file's name",
            database.escape_debug()
        )));
    }
    Ok(format!("{database}.dump"))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Has a command print into a file of a folder, or fill the folder.
pub(super) async fn command(
    scene: &Scene,
    project: &str,
    item: &str,
    source: &CommandSource,
    folder: &Path,
) -> Result<(), BackupError> {
    let mut run = run_of(project, item, source, &source.command, folder).await?;
    if !source.folder {
        run.stdout = Some(output(&folder.join("output"))?);
    }
    scene.run(run).await.map(drop)
}

/// Gives a command back what it printed, or the folder that it filled.
pub(super) async fn restore_command(
    scene: &Scene,
    project: &str,
    item: &str,
    source: &CommandSource,
    folder: &Path,
) -> Result<(), BackupError> {
    let mut run = run_of(project, item, source, &source.restore, folder).await?;
    if !source.folder {
        let file = folder.join("output");
        run.stdin = Some(File::open(&file).map_err(BackupError::restore(file.display()))?);
    }
    scene.run(run).await.map(drop)
}

/// A command of an item, told its folder; one that prints or reads runs in its service, where it has one.
async fn run_of<'a>(
    project: &str,
    item: &'a str,
    source: &CommandSource,
    argv: &[String],
    folder: &Path,
) -> Result<Run<'a>, BackupError> {
    let mut run = Run { limit: DUMP, ..Run::new(item, argv.to_vec()) };
    if source.folder {
        run.variables.push(("BACKSTAY_FOLDER", folder.display().to_string()));
    } else if let Some(service) = &source.service {
        run.argv = [inside(&container(project, service).await?), argv.to_vec()].concat();
    }
    Ok(run)
}

/// OpenClaw's own backup, which is safe while it runs, and which it verifies.
pub(super) async fn openclaw(
    scene: &Scene,
    project: &str,
    item: &str,
    service: Option<&str>,
    folder: &Path,
) -> Result<(), BackupError> {
    let create =
        |to: &str| ["openclaw", "backup", "create", "--output", to, "--verify"].map(str::to_owned).to_vec();
    let Some(service) = service else {
        return scene
            .run(Run { limit: DUMP, ..Run::new(item, create(&folder.display().to_string())) })
            .await
            .map(drop);
    };
    let id = container(project, service).await?;
    let within = |argv: Vec<String>| Run { limit: DUMP, ..Run::new(item, [inside(&id), argv].concat()) };
    let made = scene.run(within(["mktemp", "-d"].map(str::to_owned).to_vec())).await?;
    let made = String::from_utf8_lossy(&made).trim().to_owned();
    if !made.starts_with('/') || made.contains(['\n', ':']) {
        return Err(BackupError::Prepare(format!("{item}: the service made no folder for its backup")));
    }
    let created = scene.run(within(create(&made))).await;
    let copied = match created {
        Ok(_) => {
            let argv =
                ["docker", "cp", &format!("{id}:{made}/."), &folder.display().to_string()].map(str::to_owned);
            scene.run(Run::new(item, argv.to_vec())).await.map(drop)
        }
        Err(error) => Err(error),
    };
    let removed = Run { limit: HOOK, ..within(["rm", "-rf", &made].map(str::to_owned).to_vec()) };
    let _ = scene.run(removed).await;
    copied?;
    // A backup that says that it is well and holds nothing is none.
    let holds = fs::read_dir(folder).map_err(BackupError::io(folder.display()))?.next().is_some();
    if holds { Ok(()) } else { Err(BackupError::Prepare(format!("{item}: its backup is empty"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted() {
        assert_eq!((quoted("a\"b"), literal("it's")), ("\"a\"\"b\"".to_owned(), "'it''s'".to_owned()));
        assert!(file_of("../x").is_err() && file_of("shop").is_ok());
    }
}

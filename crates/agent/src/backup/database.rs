//! Databases and commands, on their way to files and back.

mod command;
mod roles;

use std::{fs, fs::File, path::Path, time::Duration};

use backstay_manifest::{PostgresMethod, PostgresSource};

pub(super) use self::command::{command, openclaw, restore_command};
use self::{
    command::Inside,
    roles::{missing_roles, owner_in},
};
use super::{
    BackupError,
    exec::{Run, Scene, output},
};
use crate::runtime::compose::Engine;

/// How long a dump may take.
const DUMP: Duration = Duration::from_secs(4 * 3600);
/// How databases begin that restores and drills make beside a stack's own.
const OWN: [&str; 3] = ["backstay_new", "backstay_old", "backstay_drill"];
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

    /// Saves into a folder: `<database>.dump` each with the roles that own what is in them, or the server's files.
    pub(super) async fn save(&self, folder: &Path) -> Result<(), BackupError> {
        match self.source.method {
            PostgresMethod::Dump => self.dump(folder).await,
            PostgresMethod::Base => self.base(folder).await,
        }
    }

    async fn dump(&self, folder: &Path) -> Result<(), BackupError> {
        self.check_version().await?;
        self.globals(&folder.join(GLOBALS)).await?;
        let databases = match &self.source.database {
            Some(database) => vec![self.scene.fill(database)?],
            None => {
                let sql = "select datname from pg_database where datallowconn and not datistemplate \
                           and datname !~ '^backstay_(new|old|drill)(_|$)' order by datname";
                self.sql(self.home(), sql).await?.lines().map(str::to_owned).collect()
            }
        };
        if databases.is_empty() {
            return Err(BackupError::Prepare(format!("{}: the server has no database", self.item)));
        }
        for database in databases {
            let file = folder.join(file_of(&database)?);
            // The repository packs what it keeps, and keeps only once what two dumps share: packed dumps share nothing.
            let dump =
                self.call("pg_dump", &["--format", "custom", "--compress", "0", "--dbname", &database]);
            self.scene.run(Run { stdout: Some(output(&file)?), ..dump }).await?;
            self.check(&file).await?;
        }
        Ok(())
    }

    /// Whether the one database that is meant is not there.
    pub(super) async fn is_gone(&self) -> Result<bool, BackupError> {
        let Some(database) = &self.source.database else { return Ok(false) };
        let database = self.scene.fill(database)?;
        Ok(!self.has(self.maintenance(&database), &database).await?)
    }

    /// Roles and tablespaces; without the roles' passwords where the user may not read these.
    async fn globals(&self, file: &Path) -> Result<(), BackupError> {
        let all = self.call("pg_dumpall", &["--globals-only"]);
        if self.scene.run(Run { stdout: Some(output(file)?), ..all }).await.is_ok() {
            return Ok(());
        }
        let some = self.call("pg_dumpall", &["--globals-only", "--no-role-passwords"]);
        self.scene.run(Run { stdout: Some(output(file)?), ..some }).await.map(drop)
    }

    /// Copies all of the server's files with the log that makes them one whole, and has that checked.
    async fn base(&self, folder: &Path) -> Result<(), BackupError> {
        let Some(service) = &self.source.service else {
            return self.base_into(&folder.display().to_string()).await;
        };
        let inside = Inside::new(self.scene, self.item, self.before.clone()).await?;
        let copied = match self.base_into(&inside.folder).await {
            Ok(()) => inside.copy_to(folder).await,
            Err(error) => Err(error),
        };
        inside.remove().await;
        copied.map_err(|error| BackupError::Prepare(format!("service `{service}`: {error}")))
    }

    async fn base_into(&self, folder: &str) -> Result<(), BackupError> {
        let copy = ["--pgdata", folder, "--wal-method=stream", "--checkpoint=fast"];
        self.scene.run(self.call("pg_basebackup", &copy)).await?;
        let check = Run { limit: DUMP, ..self.plain("pg_verifybackup", &["--quiet", folder]) };
        self.scene.run(check).await.map(drop)
    }

    /// Adds the roles of a saved server that this one does not have. Those that it has stay as they are: their passwords
    /// are in use.
    pub(super) async fn add_roles(&self, saved: &Path) -> Result<(), BackupError> {
        let file = saved.join(GLOBALS);
        // Older snapshots of one database have none.
        let Ok(text) = fs::read_to_string(&file) else { return Ok(()) };
        let home = self.maintenance(self.home());
        let known = self.sql(home, "select quote_ident(rolname) from pg_roles").await?;
        let missing = missing_roles(&text, &known.lines().collect());
        if missing.is_empty() {
            return Ok(());
        }
        let failed = || BackupError::restore(file.display());
        let add = saved.join("missing-roles.sql");
        fs::write(&add, missing).map_err(failed())?;
        let read = File::open(&add).map_err(failed())?;
        let arguments =
            ["--dbname", home, "--no-psqlrc", "--quiet", "--single-transaction", "--set", "ON_ERROR_STOP=1"];
        let added = self.scene.run(Run { stdin: Some(read), ..self.call("psql", &arguments) }).await;
        // Passwords may lie in it.
        fs::remove_file(&add).map_err(failed())?;
        added.map(drop)
    }

    /// Whether a dump can be read to its end, and holds what every database has.
    pub(super) async fn check(&self, file: &Path) -> Result<String, BackupError> {
        let read = File::open(file).map_err(BackupError::io(file.display()))?;
        // Without `--create` it leaves out the database itself.
        let list = self.plain("pg_restore", &["--list", "--create"]);
        let list = self.text(Run { stdin: Some(read), ..list }).await?;
        if list.contains("TOC Entries:") {
            return Ok(list);
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
        let list = self.check(file).await?;
        let home = self.maintenance(database);
        self.sql(home, &format!("drop database if exists {}", quoted(new))).await?;
        let owner =
            format!("select pg_get_userbyid(datdba) from pg_database where datname = {}", literal(database));
        let owner = self.sql(home, &owner).await?;
        // A database that is not there: its owner is who owned the saved one, where there is such a role.
        let owner = match owner_in(&list, database).filter(|_| owner.is_empty()) {
            Some(saved) => {
                let known = format!("select rolname from pg_roles where rolname = {}", literal(saved));
                self.sql(home, &known).await?
            }
            None => owner,
        };
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
        // The stack's own database may not be there yet.
        let arguments = ["--dbname", "template1", "--no-psqlrc", "--quiet", "--file", "-"];
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

    /// Whether it takes connections, within some time.
    pub(super) async fn answers(&self, patience: Duration) -> Result<(), BackupError> {
        let since = std::time::Instant::now();
        loop {
            match self.sql("template1", "select 1").await {
                Ok(_) => return Ok(()),
                Err(error) if since.elapsed() > patience => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
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
        // What restores and drills had made beside the stack's own is nobody's data.
        let own = |name: &&str| !OWN.iter().any(|own| name.starts_with(own));
        found.extend(name.strip_suffix(".dump").filter(own).map(str::to_owned));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted() {
        assert_eq!((quoted("a\"b"), literal("it's")), ("\"a\"\"b\"".to_owned(), "'it''s'".to_owned()));
        assert!(file_of("../x").is_err() && file_of("shop").is_ok());
    }
}

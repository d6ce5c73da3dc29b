//! What of a stack is saved, and how it is made to stand still for it.

use std::{collections::BTreeSet, time::Duration};

use backstay_types::StackName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Compose, PathPattern, Runtime, StackManifest, code, compose::MountPlan, read::Table};

/// How long a deployment waits for its snapshot when nothing is said.
const WAIT: Duration = Duration::from_secs(10 * 60);
/// How long a stack may stand still for a copy when nothing is said.
const LONGEST_STILL: Duration = Duration::from_secs(30);
/// Names longer than this are cut or refused.
const LONGEST_NAME: usize = 64;

/// What a stack has saved: `[backups]` and the `[[backup]]` items.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Backups {
    /// Nothing of it is saved.
    #[serde(default)]
    pub off: bool,
    /// Whether a deployment fails that could not have a snapshot first; otherwise it goes on and says why it had none.
    #[serde(default)]
    pub require: bool,
    /// How long a deployment waits for its snapshot.
    #[serde(with = "crate::duration::text")]
    #[schemars(with = "String")]
    pub wait: Duration,
    /// How long the stack may be paused or stopped for a copy. When that does not do, it goes on running and the item fails.
    #[serde(with = "crate::duration::text")]
    #[schemars(with = "String")]
    pub longest_still: Duration,
    /// How far a drill of it goes; as far as its runtime allows when nothing is said.
    #[serde(default)]
    pub drill: Option<DrillMode>,
    /// Which way changes to the data's schema go.
    #[serde(default)]
    pub migrations: Migrations,
    /// Paths of the node that services write to, absolute, and that are left out on purpose: nothing warns of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_saved: Vec<String>,
    /// What is saved, in the order of `stack.toml`. Empty: what the node finds by itself.
    #[serde(default)]
    pub items: Vec<BackupItem>,
}

/// How far a drill goes: trying whether a snapshot can be put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DrillMode {
    /// The stack is started with the restored data, cut off from everything, beside the one that runs, and probed.
    Start,
    /// Files are compared, databases checked and dumps loaded; nothing is started.
    Files,
    /// There are no drills of it.
    Off,
}

/// Which way a stack's releases can change the schema of its data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Migrations {
    /// An earlier release works with what a later one has written, or nothing is said of it.
    #[default]
    Reversible,
    /// An earlier release does not work with what a later one has written: only with the data from before.
    ForwardOnly,
}

/// `[[backup]]`: one thing that is saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupItem {
    /// Its name, unique in the stack: its folder in snapshots.
    pub name: String,
    /// What it is.
    #[serde(flatten)]
    pub what: BackupSource,
    /// What makes it stand still while it is copied.
    pub consistency: Consistency,
    /// Run before it is read: a program and its arguments.
    #[serde(default)]
    pub before: Vec<String>,
    /// Run as soon as it was read, also when that failed: a program and its arguments.
    #[serde(default)]
    pub after: Vec<String>,
    /// What is left out, below the item's folder. A restore leaves it as it is.
    #[serde(default)]
    pub exclude: Vec<PathPattern>,
    /// Other stacks of the node that use the same data: what is put back is put back for them too.
    #[serde(default)]
    pub shared_with: Vec<StackName>,
    /// An older copy of it could make a validator sign twice: no restore or undo puts it back without a typed
    /// confirmation.
    #[serde(default)]
    pub double_sign: bool,
    /// The line in `stack.toml`; 0 when it was not declared.
    #[serde(default)]
    pub line: u32,
}

/// What is saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "source", rename_all = "snake_case")]
pub enum BackupSource {
    /// A named volume of the Compose file.
    Volume {
        /// Its name there.
        volume: String,
    },
    /// A file or folder.
    Path {
        /// Below the stack's state folder, or absolute; below the volume when there is one.
        path: String,
        /// The named volume that it is in.
        #[serde(default)]
        volume: Option<String>,
    },
    /// A SQLite database, by its online backup.
    Sqlite {
        /// As in [`BackupSource::Path`].
        path: String,
        /// The named volume that it is in.
        #[serde(default)]
        volume: Option<String>,
    },
    /// Databases of a PostgreSQL server, by `pg_dump`, or all of the server by `pg_basebackup`.
    Postgres(PostgresSource),
    /// What a command prints, or the folder that it fills.
    Command(CommandSource),
    /// An OpenClaw gateway, by its own backup.
    Openclaw {
        /// The Compose service that it runs in; on the node when absent.
        #[serde(default)]
        service: Option<String>,
    },
}

impl BackupSource {
    /// Why it cannot be put back where it came from, only into a folder; nothing when it can.
    pub fn not_in_place(&self) -> Option<&'static str> {
        match self {
            Self::Openclaw { .. } => Some("OpenClaw's own backup is not put back in place"),
            Self::Postgres(source) if source.method == PostgresMethod::Base => Some(
                "a base backup takes the place of a server's whole data folder, which only its owner can exchange",
            ),
            Self::Command(source) if source.restore.is_empty() => {
                Some("it has no `restore`, a command that takes it back")
            }
            _ => None,
        }
    }
}

/// How a PostgreSQL server is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PostgresSource {
    /// The Compose service that it runs in; its own programs are used then.
    #[serde(default)]
    pub service: Option<String>,
    /// The database; all of them when absent.
    #[serde(default)]
    pub database: Option<String>,
    /// The user.
    pub user: String,
    /// The host, or the folder of its socket; without a service.
    #[serde(default)]
    pub host: Option<String>,
    /// The port. `${NAME}` stands for a value of the stack's environment, here and in the other texts.
    #[serde(default)]
    pub port: Option<String>,
    /// The folder of `pg_dump` and its like; where programs are found otherwise when absent.
    #[serde(default)]
    pub programs: Option<String>,
    /// How it is saved.
    #[serde(default)]
    pub method: PostgresMethod,
}

/// How a PostgreSQL server is saved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PostgresMethod {
    /// Each database by `pg_dump`, and roles: put back in place, into a newer server too.
    #[default]
    Dump,
    /// All of the server, file by file, by `pg_basebackup`: for what is too large for dumps. Put back into a folder from
    /// which a server of the same version starts.
    Base,
}

/// A command whose output is saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommandSource {
    /// Program and arguments; never a shell's line.
    pub command: Vec<String>,
    /// The Compose service in which it is run; on the node, in the release's folder, when absent.
    #[serde(default)]
    pub service: Option<String>,
    /// It fills the folder that `BACKSTAY_FOLDER` names, instead of printing.
    #[serde(default)]
    pub folder: bool,
    /// Takes the data back: gets on its standard input what `command` printed, or the folder that it filled.
    #[serde(default)]
    pub restore: Vec<String>,
}

/// What makes data stand still while it is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// Nothing: it is read as it is, while it may change.
    None,
    /// `before` does, and `after` ends it.
    Hook,
    /// What uses it is frozen for as long as the copy takes.
    Pause,
    /// What uses it is stopped for as long as the copy takes.
    Stop,
}

impl Default for Backups {
    fn default() -> Self {
        Self {
            off: false,
            require: false,
            wait: WAIT,
            longest_still: LONGEST_STILL,
            drill: None,
            migrations: Migrations::default(),
            not_saved: Vec::new(),
            items: Vec::new(),
        }
    }
}

impl Backups {
    /// Whether it is what holds when nothing is said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl StackManifest {
    /// What is saved of it: what it declares, or, when it declares nothing, all named volumes and all that it keeps in
    /// its state folder.
    pub fn saved(&self, compose: Option<(&Compose, &MountPlan)>) -> Vec<BackupItem> {
        if self.backups.off || !self.backups.items.is_empty() {
            return self.backups.items.clone();
        }
        let consistency = Consistency::of(Some(&self.runtime));
        let Some((compose, plan)) = compose else {
            let what = BackupSource::Path { path: String::new(), volume: None };
            return vec![BackupItem::found("state", what, consistency)];
        };
        let mounted: BTreeSet<_> = compose
            .services
            .values()
            .flat_map(|service| service.volumes.iter().map(|(name, _)| name))
            .collect();
        let volumes = mounted.into_iter().map(|volume| {
            let what = BackupSource::Volume { volume: volume.clone() };
            BackupItem::found(volume, what, consistency)
        });
        let paths = plan.state.iter().map(|path| {
            let what = BackupSource::Path { path: path.clone(), volume: None };
            BackupItem::found(path, what, consistency)
        });
        let mut items: Vec<BackupItem> = Vec::new();
        for mut item in volumes.chain(paths) {
            while items.iter().any(|other| other.name == item.name) {
                item.name.push('_');
            }
            items.push(item);
        }
        items
    }
}

impl BackupItem {
    /// An item that nobody declared.
    pub fn found(name: &str, what: BackupSource, consistency: Consistency) -> Self {
        Self {
            name: usable_name(name),
            what,
            consistency,
            before: Vec::new(),
            after: Vec::new(),
            exclude: Vec::new(),
            shared_with: Vec::new(),
            double_sign: false,
            line: 0,
        }
    }
}

impl BackupSource {
    /// The named volume that it is, or is in.
    pub fn volume(&self) -> Option<&str> {
        match self {
            Self::Volume { volume } => Some(volume),
            Self::Path { volume, .. } | Self::Sqlite { volume, .. } => volume.as_deref(),
            _ => None,
        }
    }

    /// The Compose service that is asked for it.
    pub fn service(&self) -> Option<&str> {
        match self {
            Self::Postgres(source) => source.service.as_deref(),
            Self::Command(source) => source.service.as_deref(),
            Self::Openclaw { service } => service.as_deref(),
            _ => None,
        }
    }

    /// The key that says what it is.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Volume { .. } => "volume",
            Self::Path { .. } => "path",
            Self::Sqlite { .. } => "sqlite",
            Self::Postgres(_) => "postgres",
            Self::Command(_) => "command",
            Self::Openclaw { .. } => "openclaw",
        }
    }

    /// Whether it is copied as files, and has to stand still for that.
    pub fn is_files(&self) -> bool {
        matches!(self, Self::Volume { .. } | Self::Path { .. })
    }

    fn default_name(&self) -> String {
        let name = match self {
            Self::Volume { volume } => volume,
            Self::Path { path, .. } | Self::Sqlite { path, .. } => path,
            Self::Postgres(source) => source.database.as_deref().unwrap_or("postgres"),
            Self::Command(source) => source
                .command
                .first()
                .map_or("command", |program| program.rsplit('/').next().unwrap_or_default()),
            Self::Openclaw { .. } => "openclaw",
        };
        usable_name(name)
    }
}

/// Makes a name of any text: what may not be in one becomes `-`.
fn usable_name(text: &str) -> String {
    let usable = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let name: String = text.trim_matches(['/', '.']).chars().map(usable).take(LONGEST_NAME).collect();
    let name = name.trim_start_matches(['.', '-']);
    if name.is_empty() { "state".to_owned() } else { name.to_owned() }
}

/// Reads `[backups]` and the `[[backup]]` tables of a stack.
pub(crate) fn read(root: &mut Table<'_, '_>, runtime: Option<&Runtime>) -> Backups {
    let mut backups = root.table("backups").map(|table| read_all(table, runtime)).unwrap_or_default();
    let mut names = BTreeSet::new();
    for table in root.tables("backup") {
        let Some(item) = read_one(table, runtime) else { continue };
        if !names.insert(item.name.clone()) {
            let message = format!("two items are called `{}`: expected different names", item.name);
            root.report(root.problem("backup", code::DUPLICATE_NAME, message).at(item.line, 0));
        }
        backups.items.push(item);
    }
    if backups.off && !backups.items.is_empty() {
        let message = "`[backups]` says `off = true`: expected no `[[backup]]` beside it";
        root.wrong::<()>("backup", code::BAD_BACKUP, message);
    }
    backups
}

fn read_all(mut table: Table<'_, '_>, runtime: Option<&Runtime>) -> Backups {
    let mut backups = Backups {
        off: table.boolean("off").unwrap_or_default(),
        require: table.boolean("require").unwrap_or_default(),
        drill: table.choice("drill", &DRILLS),
        migrations: read_migrations(&mut table),
        not_saved: read_not_saved(&mut table),
        ..Backups::default()
    };
    if backups.drill == Some(DrillMode::Start) && !matches!(runtime, Some(Runtime::Compose(_)) | None) {
        let message = "only a stack under Compose is started in a drill: nothing would keep processes and units from the \
                       data and ports of those that run; expected \"files\" or \"off\"";
        table.wrong::<()>("drill", code::BAD_BACKUP, message);
    }
    if backups.off && backups.require {
        let message = "nothing is saved (`off`): expected no `require` beside it";
        table.wrong::<()>("require", code::BAD_BACKUP, message);
    }
    for (key, value) in [("wait", &mut backups.wait), ("longest_still", &mut backups.longest_still)] {
        match table.duration(key) {
            Some(Duration::ZERO) => {
                table.wrong::<()>(key, code::WRONG_VALUE, "expected more than nothing");
            }
            Some(duration) => *value = duration,
            None => {}
        }
    }
    table.finish();
    backups
}

const DRILLS: [(&str, DrillMode); 3] =
    [("start", DrillMode::Start), ("files", DrillMode::Files), ("off", DrillMode::Off)];

fn read_migrations(table: &mut Table<'_, '_>) -> Migrations {
    let choices = [("reversible", Migrations::Reversible), ("forward_only", Migrations::ForwardOnly)];
    table.choice("migrations", &choices).unwrap_or_default()
}

fn read_not_saved(table: &mut Table<'_, '_>) -> Vec<String> {
    let mut paths = Vec::new();
    for path in table.strings("not_saved").unwrap_or_default() {
        if path.starts_with('/') && !path.split('/').any(|part| part == "..") {
            paths.push(path);
        } else {
            let message = format!("`{}`: expected an absolute path, without `..`", path.escape_debug());
            table.wrong::<()>("not_saved", code::WRONG_VALUE, message);
        }
    }
    paths
}

fn read_shared(table: &mut Table<'_, '_>) -> Vec<StackName> {
    let mut stacks = Vec::new();
    for text in table.strings("shared_with").unwrap_or_default() {
        match text.parse() {
            Ok(stack) => stacks.push(stack),
            Err(_) => {
                let message = format!("`{}`: expected the name of another stack", text.escape_debug());
                table.wrong::<()>("shared_with", code::WRONG_VALUE, message);
            }
        }
    }
    stacks
}

fn read_one(mut table: Table<'_, '_>, runtime: Option<&Runtime>) -> Option<BackupItem> {
    let line = table.line();
    let what = read_source(&mut table);
    let name = table.string("name");
    if let Some(name) = name.as_deref().filter(|name| *name != usable_name(name)) {
        let message = format!(
            "`{}`: expected a-z, A-Z, 0-9, `.`, `_` and `-`, beginning with a letter or digit, at most {LONGEST_NAME} in all",
            name.escape_debug()
        );
        table.wrong::<()>("name", code::WRONG_VALUE, message);
    }
    let (before, after) = (read_hook(&mut table, "before"), read_hook(&mut table, "after"));
    let files = what.as_ref().is_none_or(BackupSource::is_files);
    let (consistency, exclude) = if files {
        (read_consistency(&mut table, runtime, &before), read_exclude(&mut table))
    } else {
        (Consistency::None, Vec::new())
    };
    let shared_with = read_shared(&mut table);
    let double_sign = table.boolean("double_sign").unwrap_or_default();
    table.finish();
    let what = what?;
    Some(BackupItem {
        name: name.unwrap_or_else(|| what.default_name()),
        what,
        consistency,
        before,
        after,
        exclude,
        shared_with,
        double_sign,
        line,
    })
}

fn read_hook(table: &mut Table<'_, '_>, key: &'static str) -> Vec<String> {
    let hook = table.strings(key);
    if hook.as_ref().is_some_and(Vec::is_empty) {
        table.wrong::<()>(key, code::WRONG_VALUE, "expected a program and its arguments");
    }
    hook.unwrap_or_default()
}

fn read_consistency(table: &mut Table<'_, '_>, runtime: Option<&Runtime>, before: &[String]) -> Consistency {
    let choices = [
        ("none", Consistency::None),
        ("hook", Consistency::Hook),
        ("pause", Consistency::Pause),
        ("stop", Consistency::Stop),
    ];
    let hooked = !before.is_empty();
    match table.choice("consistency", &choices) {
        Some(Consistency::Hook) if !hooked => {
            let message = "`hook`: expected `before`, which makes it stand still";
            table.wrong::<()>("consistency", code::BAD_BACKUP, message);
            Consistency::Hook
        }
        Some(Consistency::Stop) if matches!(runtime, Some(Runtime::Process { .. })) => {
            let message = "processes are not stopped for a copy: expected `pause`, `hook` or `none`";
            table.wrong::<()>("consistency", code::BAD_BACKUP, message);
            Consistency::Stop
        }
        Some(said) => said,
        None if hooked => Consistency::Hook,
        None => Consistency::of(runtime),
    }
}

impl Consistency {
    /// What holds when nothing is said. Units of systemd can only be frozen on some systems, so they are not.
    pub fn of(runtime: Option<&Runtime>) -> Self {
        match runtime {
            Some(Runtime::Systemd { .. }) => Self::None,
            _ => Self::Pause,
        }
    }
}

fn read_exclude(table: &mut Table<'_, '_>) -> Vec<PathPattern> {
    let mut patterns = Vec::new();
    for text in table.strings("exclude").unwrap_or_default() {
        match PathPattern::new(&text) {
            Ok(pattern) => patterns.push(pattern),
            Err(_) => {
                let message = format!(
                    "`{}`: expected a path below what is saved, such as \"cache\" or \"**/*.tmp\"",
                    text.escape_debug()
                );
                table.wrong::<()>("exclude", code::WRONG_VALUE, message);
            }
        }
    }
    patterns
}

fn read_source(table: &mut Table<'_, '_>) -> Option<BackupSource> {
    const KINDS: [&str; 6] = ["volume", "path", "sqlite", "postgres", "command", "openclaw"];
    // A path may say in which volume it is.
    let is_path = table.has("path") || table.has("sqlite");
    let present: Vec<&'static str> =
        KINDS.into_iter().filter(|kind| table.has(kind) && !(is_path && *kind == "volume")).collect();
    let [kind] = present[..] else {
        let expected = "exactly one of `volume`, `path`, `sqlite`, `postgres`, `command` and `openclaw`";
        match present.get(1) {
            None => table.missing("volume", expected),
            Some(second) => {
                let message = format!("expected {expected}, found {}", present.join(" and "));
                table.wrong::<()>(second, code::WRONG_VALUE, message);
            }
        }
        // The keys of none are unknown, which says nothing more.
        let rest = ["restore", "folder", "service", "consistency", "exclude"];
        for key in rest {
            let _ = table.has(key);
        }
        return None;
    };
    match kind {
        "volume" => table.string("volume").map(|volume| BackupSource::Volume { volume }),
        "path" => {
            let (path, volume) = read_path(table, "path")?;
            Some(BackupSource::Path { path, volume })
        }
        "sqlite" => {
            let (path, volume) = read_path(table, "sqlite")?;
            Some(BackupSource::Sqlite { path, volume })
        }
        "postgres" => table.table("postgres").and_then(read_postgres).map(BackupSource::Postgres),
        "command" => read_command(table).map(BackupSource::Command),
        _ => table.table("openclaw").map(|mut inner| {
            let service = inner.string("service");
            inner.finish();
            BackupSource::Openclaw { service }
        }),
    }
}

fn read_path(table: &mut Table<'_, '_>, key: &'static str) -> Option<(String, Option<String>)> {
    let (path, volume) = (table.string(key), table.string("volume"));
    let path = path?;
    let bad = path.is_empty()
        || path.contains(['\0', '\\', '$'])
        || path.split('/').any(|part| part == "..")
        || (volume.is_some() && path.starts_with('/'));
    if bad {
        let message = match volume {
            Some(_) => "expected a path below the volume, without `..`",
            None => "expected a path below the stack's state folder, or an absolute one, without `..`",
        };
        return table.wrong(key, code::WRONG_VALUE, message);
    }
    let absolute = if path.starts_with('/') { "/" } else { "" };
    let parts: Vec<_> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.is_empty() && (!absolute.is_empty() || key == "sqlite") {
        return table.wrong(key, code::WRONG_VALUE, "expected a path to a file or folder");
    }
    Some((format!("{absolute}{}", parts.join("/")), volume))
}

fn read_postgres(mut table: Table<'_, '_>) -> Option<PostgresSource> {
    let source = PostgresSource {
        service: table.string("service"),
        database: table.string("database"),
        user: table.string("user").unwrap_or_else(|| "postgres".to_owned()),
        host: table.string("host"),
        port: table.string("port"),
        programs: table.string("programs"),
        method: table
            .choice("method", &[("dump", PostgresMethod::Dump), ("base", PostgresMethod::Base)])
            .unwrap_or_default(),
    };
    if source.method == PostgresMethod::Base && source.database.is_some() {
        let message = "a base backup is of the whole server: expected no `database` beside it";
        table.wrong::<()>("method", code::BAD_BACKUP, message);
    }
    for (key, text) in [("database", source.database.as_deref()), ("user", Some(source.user.as_str()))] {
        if text.is_some_and(|text| text.is_empty() || text.starts_with('-') || text.contains(['\0', '='])) {
            table.wrong::<()>(key, code::WRONG_VALUE, "expected a name, without `=` or a `-` at its front");
        }
    }
    if source.service.is_some() {
        for key in ["host", "programs"] {
            if table.has(key) {
                let message = "the server is asked inside its service: expected none beside `service`";
                table.wrong::<()>(key, code::BAD_BACKUP, message);
            }
        }
    }
    table.finish();
    Some(source)
}

fn read_command(table: &mut Table<'_, '_>) -> Option<CommandSource> {
    let source = CommandSource {
        command: table.strings("command")?,
        service: table.string("service"),
        folder: table.boolean("folder").unwrap_or_default(),
        restore: read_hook(table, "restore"),
    };
    if source.command.is_empty() {
        return table.wrong("command", code::WRONG_VALUE, "expected a program and its arguments");
    }
    if source.folder && source.service.is_some() {
        let message = "a folder is filled on the node: expected no `service` beside it";
        return table.wrong("folder", code::BAD_BACKUP, message);
    }
    Some(source)
}

#[cfg(test)]
#[path = "backup_tests.rs"]
mod tests;

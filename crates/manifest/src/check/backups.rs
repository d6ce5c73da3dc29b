//! What is saved of a stack, and could not be relied on.

use std::path::Path;

use backstay_types::{Labels, NodeName, StackName, tree::in_folder};

use crate::{
    BackupItem, BackupSource, Backups, Compose, Fleet, Problem, Stack, code,
    compose::{ImageRef, Place},
    problem::nearest,
};

/// How files of SQLite are usually called.
const SQLITE: [&str; 5] = [".sqlite", ".sqlite3", ".db", ".db3", ".s3db"];
/// Images, by a part of the last part of their names, that run a PostgreSQL server.
const POSTGRES: [&str; 5] = ["postgres", "postgis", "pgvector", "timescaledb", "pg_auto_failover"];
/// Where such images keep their data.
const POSTGRES_DATA: &str = "/var/lib/postgresql";

/// Of the system's, not of a stack's.
const NO_DATA: [&str; 8] =
    ["/dev", "/proc", "/sys", "/run", "/var/run", "/tmp", "/etc/localtime", "/etc/timezone"];

pub(super) fn doubtful(stack: &Stack) -> Vec<Problem> {
    let backups = &stack.manifest.backups;
    if backups.off {
        return Vec::new();
    }
    let file = in_folder(&stack.path, "stack.toml");
    let mut problems = Vec::new();
    for item in &backups.items {
        problems.extend(stack.compose.as_ref().and_then(|compose| unknown(item, compose, &file)));
        problems.extend(plain_sqlite(item, &file));
    }
    if let Some(compose) = &stack.compose {
        if backups.items.is_empty() {
            problems.extend(found_sqlite(compose));
        }
        problems.extend(plain_postgres(&backups.items, compose));
        problems.extend(unsaved(backups, compose));
    }
    problems
}

/// Folders of the node that a service writes to, which are neither saved nor said to be left out: only volumes and what is
/// in the state folder are saved by themselves.
fn unsaved(backups: &Backups, compose: &Compose) -> Vec<Problem> {
    let meets =
        |one: &str, other: &str| Path::new(one).starts_with(other) || Path::new(other).starts_with(one);
    let known = |source: &str| {
        let declared = |item: &BackupItem| match &item.what {
            BackupSource::Path { path, volume: None } | BackupSource::Sqlite { path, volume: None } => {
                path.starts_with('/') && meets(source, path)
            }
            _ => false,
        };
        backups.items.iter().any(declared) || backups.not_saved.iter().any(|path| meets(source, path))
    };
    let binds = compose
        .services
        .iter()
        .flat_map(|(name, service)| service.binds.iter().map(move |bind| (name, bind)));
    let told = binds.filter(|(_, bind)| !bind.read_only && is_data(&bind.source) && !known(&bind.source));
    told.map(|(service, bind)| {
        let source = &bind.source;
        let message =
            format!("`{source}` is a folder of the node that `{service}` writes to, and is not saved");
        let hint = format!(
            "declare it in stack.toml: [[backup]] with `path = \"{source}\"`; or say that it is left out: \
             `not_saved = [\"{source}\"]` in [backups]"
        );
        Problem::warning(code::UNSAFE_BACKUP, &compose.file, message)
            .at(bind.line, bind.column)
            .field(format!("services.{service}.volumes"))
            .hint(hint)
    })
    .collect()
}

/// Whether a path of the node may hold data, and is none of what programs talk through or learn the time from.
fn is_data(path: &str) -> bool {
    path.starts_with('/')
        && !path.contains('$')
        && !path.ends_with(".sock")
        && !NO_DATA.iter().any(|folder| Path::new(path).starts_with(folder))
}

/// Volumes that several stacks mount, of which none says so: with `nodes` where any of these runs both.
pub(super) fn shared(fleet: &Fleet, nodes: Option<&[(NodeName, Labels)]>) -> Vec<Problem> {
    let meet = |one: &StackName, other: &StackName| {
        let runs = |stack: &StackName, (name, labels): &(NodeName, Labels)| {
            fleet.manifest.is_assigned(stack, name, labels)
        };
        nodes.is_none_or(|nodes| nodes.iter().any(|node| runs(one, node) && runs(other, node)))
    };
    let mut problems = Vec::new();
    for (place, (name, stack)) in fleet.stacks.iter().enumerate() {
        for (other, of_other) in fleet.stacks.iter().skip(place + 1) {
            let says = |one: &Stack, named: &StackName| {
                one.manifest.backups.items.iter().any(|item| item.shared_with.contains(named))
            };
            if says(stack, other) || says(of_other, name) || !meet(name, other) {
                continue;
            }
            let Some((compose, volume)) = same_volume(stack, of_other) else { continue };
            let message = format!(
                "`{other}` mounts the volume `{volume}` too: what is put back for one is put back for both"
            );
            let hint = format!("say so in a [[backup]] of stack.toml: `shared_with = [\"{other}\"]`");
            let field = format!("volumes.{volume}");
            problems
                .push(Problem::warning(code::SHARED_DATA, &compose.file, message).field(field).hint(hint));
        }
    }
    problems
}

/// A volume of the same name, with the Compose file of the first stack.
fn same_volume<'a>(one: &'a Stack, other: &Stack) -> Option<(&'a Compose, &'a str)> {
    let (one, other) = (one.compose.as_ref()?, other.compose.as_ref()?);
    let of_other: Vec<_> = other.volumes.values().flatten().collect();
    let same = one.volumes.values().flatten().find(|volume| of_other.contains(volume))?;
    Some((one, same))
}

/// A volume or a service that the Compose file does not have.
fn unknown(item: &BackupItem, compose: &Compose, file: &str) -> Option<Problem> {
    let mounted = compose.services.values().flat_map(|service| service.volumes.iter().map(|(name, _)| name));
    let volumes: Vec<_> = compose.volumes.keys().chain(mounted).map(String::as_str).collect();
    let services: Vec<_> = compose.services.keys().map(String::as_str).collect();
    let (what, name, known) = match (item.what.volume(), item.what.service()) {
        (Some(volume), _) if !volumes.contains(&volume) => ("volume", volume, volumes),
        (_, Some(service)) if !services.contains(&service) => ("service", service, services),
        _ => return None,
    };
    let message = format!("no {what} is called `{name}` in {}: it could not be saved", compose.file);
    let problem =
        Problem::warning(code::BAD_BACKUP, file, message).at(item.line, 0).field(format!("backup.{what}"));
    Some(match nearest(name, known) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None => problem,
    })
}

fn is_sqlite(path: &str) -> bool {
    SQLITE.iter().any(|ending| path.ends_with(ending))
}

/// A database that is copied as if it were any file.
fn plain_sqlite(item: &BackupItem, file: &str) -> Option<Problem> {
    let BackupSource::Path { path, .. } = &item.what else { return None };
    if !is_sqlite(path) {
        return None;
    }
    let message =
        format!("`{path}` looks like a SQLite database: a copy of the file lacks what is in its WAL");
    let problem = Problem::warning(code::UNSAFE_BACKUP, file, message).at(item.line, 0).field("backup.path");
    Some(problem.hint("`sqlite = …` instead of `path = …` saves it by its online backup"))
}

/// The same, where nothing is declared and the file is mounted by its name.
fn found_sqlite(compose: &Compose) -> Vec<Problem> {
    let binds =
        compose.services.iter().flat_map(|(name, service)| service.binds.iter().map(move |b| (name, b)));
    let doubtful = binds.filter(|(_, bind)| !bind.read_only && is_sqlite(&bind.source));
    doubtful
        .map(|(service, bind)| {
            let message = format!(
                "`{}` looks like a SQLite database and is saved as any file: a copy lacks what is in its WAL",
                bind.source
            );
            Problem::warning(code::UNSAFE_BACKUP, &compose.file, message)
                .at(bind.line, bind.column)
                .field(format!("services.{service}.volumes"))
                .hint("declare it in stack.toml: [[backup]] with `sqlite = …`")
        })
        .collect()
}

/// A PostgreSQL server whose files are saved and whose databases are not.
fn plain_postgres(items: &[BackupItem], compose: &Compose) -> Vec<Problem> {
    let saved = |volume: &String| {
        let is_it =
            |item: &BackupItem| matches!(&item.what, BackupSource::Volume { volume: v } if v == volume);
        items.is_empty() || items.iter().any(is_it)
    };
    let dumped = |service: &str| {
        items.iter().any(
            |item| matches!(&item.what, BackupSource::Postgres(p) if p.service.as_deref() == Some(service)),
        )
    };
    let mut problems = Vec::new();
    for (name, service) in &compose.services {
        let Some(image) = service.image.as_ref().filter(|image| is_postgres(image)) else { continue };
        let data = service.volumes.iter().find(|(volume, to)| to.starts_with(POSTGRES_DATA) && saved(volume));
        let Some((volume, _)) = data.filter(|_| !dumped(name)) else { continue };
        let message = format!(
            "`{name}` is a PostgreSQL server: its volume `{volume}` is saved as files, which only the same version can read"
        );
        problems.push(
            Problem::warning(code::UNSAFE_BACKUP, &compose.file, message)
                .at(image.line, image.column)
                .field(format!("services.{name}"))
                .hint(format!(
                    "declare it in stack.toml: [[backup]] with `postgres = {{ service = \"{name}\" }}`"
                )),
        );
    }
    problems
}

fn is_postgres(image: &Place<String>) -> bool {
    let name = ImageRef::parse(&image.value).name;
    let last = name.rsplit('/').next().unwrap_or(name);
    POSTGRES.iter().any(|known| last.contains(known))
}

#[cfg(test)]
mod tests {
    use backstay_types::{Labels, NodeName};

    use crate::{Entry, Listing, check, discover};

    fn told(compose: &str, stack: &str) -> Vec<String> {
        told_of(&[("stacks/web/compose.yaml", compose), ("stacks/web/stack.toml", stack)], None)
    }

    fn told_of(files: &[(&str, &str)], nodes: Option<&[(NodeName, Labels)]>) -> Vec<String> {
        let entry = |(path, text): &(&str, &str)| Entry {
            path: (*path).to_owned(),
            mode: 0o100_644,
            size: text.len() as u64,
        };
        let entries: Vec<_> = files.iter().map(entry).collect();
        let read = |wanted: &str| {
            files.iter().find(|(path, _)| *path == wanted).map(|(_, text)| text.as_bytes().to_vec())
        };
        let repository = "r".parse().unwrap();
        let fleet =
            discover(Listing { repository: &repository, stacks_path: None, entries: &entries }, &read);
        let now = "2026-11-21T10:00:00Z".parse().unwrap();
        check::check(&fleet.unwrap(), &entries, &read, nodes, now).iter().map(ToString::to_string).collect()
    }

    const COMPOSE: &str = "services:\n  db:\n    image: docker.io/library/postgres:16.4\n    volumes: ['pg:/var/lib/postgresql/data']\n    healthcheck: {test: [CMD, 'true']}\n  web:\n    image: web:1\n    volumes: ['files:/data', './app.db:/app.db']\nvolumes: {pg: {}, files: {}}\n";

    #[test]
    fn what_nobody_declared_and_could_not_be_relied_on() {
        assert_eq!(
            told(COMPOSE, ""),
            [
                "stacks/web/compose.yaml:8:30: services.web.volumes: `./app.db` looks like a SQLite database and is saved as any file: a copy lacks what is in its WAL (BS9022)",
                "stacks/web/compose.yaml:3:12: services.db: `db` is a PostgreSQL server: its volume `pg` is saved as files, which only the same version can read (BS9022)",
            ]
        );
        assert!(told(COMPOSE, "[backups]\noff = true\n").is_empty());
    }

    #[test]
    fn what_is_declared_and_is_not_there() {
        let stack = "[[backup]]\nvolume = \"file\"\n[[backup]]\npostgres = { service = \"bd\" }\n\
                     [[backup]]\npath = \"app.db\"\n[[backup]]\nvolume = \"pg\"\n";
        assert_eq!(
            told(COMPOSE, stack),
            [
                "stacks/web/stack.toml:1: backup.volume: no volume is called `file` in stacks/web/compose.yaml: it could not be saved (BS9021)",
                "stacks/web/stack.toml:3: backup.service: no service is called `bd` in stacks/web/compose.yaml: it could not be saved (BS9021)",
                "stacks/web/stack.toml:5: backup.path: `app.db` looks like a SQLite database: a copy of the file lacks what is in its WAL (BS9022)",
                "stacks/web/compose.yaml:3:12: services.db: `db` is a PostgreSQL server: its volume `pg` is saved as files, which only the same version can read (BS9022)",
            ]
        );
        let good = "[[backup]]\nvolume = \"files\"\n[[backup]]\nsqlite = \"app.db\"\n\
                    [[backup]]\npostgres = { service = \"db\" }\n[[backup]]\nvolume = \"pg\"\n";
        assert!(told(COMPOSE, good).is_empty());
    }

    #[test]
    fn folders_of_the_node_are_not_saved_without_a_word() {
        let compose = "services:\n  web:\n    image: web:1\n    volumes:\n    - /srv/photos:/photos\n    - /srv/films:/films:ro\n    \
            - /var/run/docker.sock:/var/run/docker.sock\n    - ./files:/files\n    healthcheck: {test: [CMD, 'true']}\n";
        let warned = [
            "stacks/web/compose.yaml:5:7: services.web.volumes: `/srv/photos` is a folder of the node that `web` writes to, and is not saved (BS9022)",
        ];
        assert_eq!(told(compose, ""), warned);
        assert_eq!(told(compose, "[[backup]]\npath = \"files\"\n"), warned);
        assert_eq!(told(compose, "[[backup]]\npath = \"/srv/photos2\"\n"), warned);
        for says in [
            "[[backup]]\npath = \"/srv/photos\"\n",
            "[[backup]]\npath = \"/srv\"\n",
            "[[backup]]\npath = \"/srv/photos/of-people\"\n",
            "[backups]\nnot_saved = [\"/srv/photos\"]\n",
            "[backups]\noff = true\n",
        ] {
            assert!(told(compose, says).is_empty(), "{says}: {:?}", told(compose, says));
        }
    }

    #[test]
    fn a_volume_that_two_stacks_mount_is_said_to_be_shared() {
        let web = "services:\n  web:\n    image: web:1\n    volumes: ['files:/data']\n    healthcheck: {test: [CMD, 'true']}\n\
            volumes: {files: {name: the-files}}\n";
        let other = "services:\n  reports:\n    image: web:1\n    volumes: ['the-files:/data']\n    healthcheck: {test: [CMD, 'true']}\n\
            volumes: {the-files: {external: true}}\n";
        let files = |fleet, says| {
            [
                ("fleet.toml", fleet),
                ("stacks/reports/compose.yaml", other),
                ("stacks/web/compose.yaml", web),
                ("stacks/web/stack.toml", says),
            ]
        };
        let all = "[[assign]]\nstack = \"web\"\nnodes = \"\"\n";
        let warned = [
            "stacks/reports/compose.yaml: volumes.the-files: `web` mounts the volume `the-files` too: what is put back for one is put back for both (BS9061)",
        ];
        assert_eq!(told_of(&files(all, ""), None), warned);
        let says = "[[backup]]\nvolume = \"files\"\nshared_with = [\"reports\"]\n";
        assert!(told_of(&files(all, says), None).is_empty());
        // Where no node runs both there is nothing that they could share.
        let node = |name: &str| {
            let label = format!("name={name}");
            (name.parse().unwrap(), Labels::parse([label.as_str()]).unwrap())
        };
        let nodes = [node("a"), node("b")];
        let apart = "[[assign]]\nstack = \"web\"\nnodes = \"name=a\"\n[[assign]]\nstack = \"reports\"\nnodes = \"name=b\"\n";
        assert!(told_of(&files(apart, ""), Some(&nodes)).is_empty());
        let both = "[[assign]]\nstack = \"web\"\nnodes = \"\"\n[[assign]]\nstack = \"reports\"\nnodes = \"name=b\"\n";
        assert_eq!(told_of(&files(both, ""), Some(&nodes)), warned);
    }
}

use super::*;
use crate::{Problem, Variables, compose::classify};

fn read(text: &str) -> Result<StackManifest, Vec<Problem>> {
    StackManifest::parse("stacks/web/stack.toml", text.as_bytes(), Some("compose.yaml"))
}

fn items(text: &str) -> Vec<BackupItem> {
    read(text).unwrap().backups.items
}

#[test]
fn reads_every_kind_with_its_defaults() {
    let all = items(
        "[[backup]]\nvolume = \"data\"\nexclude = [\"cache\", \"**/*.tmp\"]\n\
         [[backup]]\npath = \"./uploads/\"\nconsistency = \"none\"\n\
         [[backup]]\nsqlite = \"app.db\"\nvolume = \"data\"\n\
         [[backup]]\npostgres = { service = \"db\", database = \"shop\", user = \"shop\" }\n\
         [[backup]]\nname = \"ledger\"\ncommand = [\"./dump\", \"--all\"]\nrestore = [\"./load\"]\n\
         [[backup]]\nopenclaw = {}\nbefore = [\"./quiet\"]\nafter = [\"./loud\"]\n\
         [[backup]]\npath = \"/srv/x\"\nbefore = [\"./freeze\"]\n",
    );
    let names: Vec<_> = all.iter().map(|item| item.name.as_str()).collect();
    assert_eq!(names, ["data", "uploads", "app.db", "shop", "ledger", "openclaw", "srv-x"]);
    assert_eq!((all[0].consistency, all[0].line), (Consistency::Pause, 1));
    assert!(all[0].exclude[0].matches("cache/a/b") && all[0].exclude[1].matches("deep/x.tmp"));
    assert_eq!(all[1].what, BackupSource::Path { path: "uploads".to_owned(), volume: None });
    assert_eq!(all[1].consistency, Consistency::None);
    assert_eq!(
        all[2].what,
        BackupSource::Sqlite { path: "app.db".to_owned(), volume: Some("data".to_owned()) }
    );
    assert_eq!(all[6].consistency, Consistency::Hook, "a hook is there for it");
    assert_eq!(all[6].what, BackupSource::Path { path: "/srv/x".to_owned(), volume: None });
}

#[test]
fn reads_what_holds_for_all_and_raises_the_schema() {
    let manifest = read("exclusive = true\n[backups]\nrequire = true\nwait = \"3m\"\n").unwrap();
    assert!(manifest.exclusive && manifest.backups.require);
    assert_eq!(manifest.backups.wait, Duration::from_secs(180));
    assert_eq!(manifest.schema(), 4);
    assert_eq!(read("[[backup]]\nvolume = \"data\"\n").unwrap().schema(), 4);
    assert_eq!(read("").unwrap().schema(), 1, "agents of before may run it");
    let json = serde_json::to_string(&manifest).unwrap();
    assert_eq!(serde_json::from_str::<StackManifest>(&json).unwrap(), manifest);
}

#[test]
fn reads_what_restores_and_undos_have_to_know() {
    let manifest = read(
        "[backups]\nmigrations = \"forward_only\"\n\
         [[backup]]\npath = \"keys\"\ndouble_sign = true\nshared_with = [\"signer-b\", \"web3\"]\n\
         [[backup]]\nvolume = \"data\"\n",
    )
    .unwrap();
    assert_eq!(manifest.backups.migrations, Migrations::ForwardOnly);
    let [keys, data] = &manifest.backups.items[..] else { panic!() };
    assert!(keys.double_sign && !data.double_sign && data.shared_with.is_empty());
    assert_eq!(keys.shared_with, ["signer-b".parse().unwrap(), "web3".parse::<StackName>().unwrap()]);
    assert_eq!(read("").unwrap().backups.migrations, Migrations::Reversible);
}

#[test]
fn what_is_wrong_is_told_with_line_and_expectation() {
    let item = |rest: &str| format!("[[backup]]\n{rest}\n");
    for (text, code, line, part) in [
        (item("name = \"x\""), code::MISSING_KEY, 1, "exactly one of"),
        (item("volume = \"a\"\ncommand = [\"x\"]"), code::WRONG_VALUE, 3, "volume and command"),
        (item("path = \"../x\""), code::WRONG_VALUE, 2, "without `..`"),
        (item("path = \"/x\"\nvolume = \"v\""), code::WRONG_VALUE, 2, "below the volume"),
        (item("path = \"/\""), code::WRONG_VALUE, 2, "a file or folder"),
        (item("path = \"x\"\nshared_with = [\"No Name\"]"), code::WRONG_VALUE, 3, "another stack"),
        ("[backups]\nmigrations = \"down\"\n".to_owned(), code::WRONG_VALUE, 2, "forward_only"),
        (item("sqlite = \".\""), code::WRONG_VALUE, 2, "a file or folder"),
        (item("sqlite = \"a\"\nconsistency = \"stop\""), code::UNKNOWN_KEY, 3, "consistency"),
        (item("volume = \"a\"\nconsistency = \"puase\""), code::WRONG_VALUE, 3, "`pause`"),
        (item("volume = \"a\"\nconsistency = \"hook\""), code::BAD_BACKUP, 3, "`before`"),
        (item("volume = \"a\"\nexclude = [\"/x\"]"), code::WRONG_VALUE, 3, "below what is saved"),
        (item("volume = \"a\"\nbefor = [\"x\"]"), code::UNKNOWN_KEY, 3, "befor"),
        (item("volume = \"a\"\nbefore = []"), code::WRONG_VALUE, 3, "a program"),
        (item("volume = \"a\"\nname = \"-x\""), code::WRONG_VALUE, 3, "beginning with"),
        (item("postgres = { service = \"db\", host = \"x\" }"), code::BAD_BACKUP, 2, "inside its service"),
        (item("postgres = { databse = \"db\" }"), code::UNKNOWN_KEY, 2, "databse"),
        (item("postgres = { user = \"-x\" }"), code::WRONG_VALUE, 2, "a name"),
        (item("command = []"), code::WRONG_VALUE, 2, "a program"),
        (item("command = [\"x\"]\nservice = \"s\"\nfolder = true"), code::BAD_BACKUP, 4, "on the node"),
        (item("volume = \"a\"") + &item("path = \"a\""), code::DUPLICATE_NAME, 3, "different names"),
        (
            "[backups]\noff = true\n".to_owned() + &item("volume = \"a\""),
            code::BAD_BACKUP,
            3,
            "no `[[backup]]`",
        ),
        ("[backups]\noff = true\nrequire = true\n".to_owned(), code::BAD_BACKUP, 3, "no `require`"),
        ("[backups]\nwait = \"0s\"\n".to_owned(), code::WRONG_VALUE, 2, "more than nothing"),
        ("[backups]\nnot_saved = [\"photos\"]\n".to_owned(), code::WRONG_VALUE, 2, "absolute path"),
        ("[backups]\nlongest = \"1s\"\n".to_owned(), code::UNKNOWN_KEY, 2, "longest"),
        ("[backups]\ndrill = \"yes\"\n".to_owned(), code::WRONG_VALUE, 2, "`start`"),
        (
            "exclusive = true\n[backups]\ndrill = \"start\"\n".to_owned(),
            code::BAD_BACKUP,
            1,
            "never runs twice",
        ),
        ("exclusive = \"yes\"\n".to_owned(), code::WRONG_TYPE, 1, "true or false"),
    ] {
        let problems = read(&text).unwrap_err();
        assert_eq!(problems.len(), 1, "{text}: {problems:?}");
        let problem = &problems[0];
        assert_eq!((problem.code, problem.line), (code, Some(line)), "{text}: {problem}");
        assert!(problem.message.contains(part), "{text}: {problem}");
    }
    let near = read(&item("volume = \"a\"\nconsistancy = \"pause\"")).unwrap_err();
    assert_eq!(near[0].hint.as_deref(), Some("did you mean `consistency`?"));
    let process = "runtime = \"process\"\n[[process]]\nname = \"a\"\ncommand = [\"x\"]\n[[backup]]\npath = \".\"\nconsistency = \"stop\"\n";
    let problems = StackManifest::parse("stack.toml", process.as_bytes(), None).unwrap_err();
    assert_eq!(problems[0].code, code::BAD_BACKUP, "{problems:?}");
    let process =
        process.replace("[[backup]]\npath = \".\"\nconsistency = \"stop\"", "[backups]\ndrill = \"start\"");
    let problems = StackManifest::parse("stack.toml", process.as_bytes(), None).unwrap_err();
    assert!(problems[0].message.contains("only a stack under Compose"), "{problems:?}");
    let process = process.replace("\"start\"", "\"files\"");
    let manifest = StackManifest::parse("stack.toml", process.as_bytes(), None).unwrap();
    assert_eq!((manifest.backups.drill, manifest.schema()), (Some(DrillMode::Files), 4));
}

#[test]
fn what_nobody_declared_is_found() {
    let text = "services:\n  web:\n    image: web:1\n    volumes: ['data:/data', './files:/files', '/srv:/srv', './data:/d']\n  db:\n    image: db:1\n    volumes: ['data:/data', 'pg:/pg']\nvolumes: {data: {}, pg: {}, unused: {}}\n";
    let compose = Compose::parse("compose.yaml", text.as_bytes(), &Variables::partial([].into())).unwrap();
    let manifest = read("").unwrap();
    let plan = classify(&compose, &[], &manifest.parts).unwrap();
    let found = manifest.saved(Some((&compose, &plan)));
    let named: Vec<_> = found.iter().map(|item| (item.name.as_str(), item.what.key())).collect();
    assert_eq!(named, [("data", "volume"), ("pg", "volume"), ("data_", "path"), ("files", "path")]);
    assert!(found.iter().all(|item| item.consistency == Consistency::Pause));
    assert!(read("[backups]\noff = true\n").unwrap().saved(Some((&compose, &plan))).is_empty());
    let declared = read("[[backup]]\nvolume = \"pg\"\n").unwrap();
    assert_eq!(declared.saved(Some((&compose, &plan))).len(), 1);
}

//! Stacks that move from node to node: hub, agents and the program that does the work together. What was written until the stop
//! is there, nothing runs twice, and all of it comes back.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use backstay_e2e::{DIR, Fleet, Node, stacks};
use backstay_testkit::{Image, eventually, eventually_within};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(120);
const ON_ALPHA: &str = "[[assign]]\nstack = \"web\"\nnodes = \"name=alpha\"\n";
const ON_BETA: &str = "[[assign]]\nstack = \"web\"\nnodes = \"name=beta\"\n";

/// A process of the stack that writes all the time, and goes on from what it finds.
const COUNTER: &str = "\n[[process]]\nname = \"counter\"\ncommand = [\"./count\"]\nstop_grace = \"1s\"\n";
const COUNT: &str = r#"#!/bin/sh
notes=$BACKSTAY_STATE_DIR/notes
mkdir -p "$notes"
last=$(cat "$notes/counter" 2>/dev/null || echo 0)
echo "$last" > "$notes/began"
while :; do
  last=$((last + 1))
  echo "$last" > "$notes/counter.new" && mv "$notes/counter.new" "$notes/counter"
  sleep 0.01
done
"#;

/// A stack of processes that keeps notes, on the first of two nodes.
fn keeping_notes(more: &str) -> Option<Fleet> {
    let target = format!("{{ folder = \"{DIR}/backups\" }}");
    let fleet = Fleet::of(2).hub_setting("BACKSTAY_BACKUP_TARGET", &target).start()?;
    stacks::write_process_stack(&fleet.tree);
    let manifest = fleet.tree.read("stacks/web/stack.toml");
    let backup = "[[backup]]\npath = \"notes\"\nexclude = [\"cache\", \"counter.new\"]\n";
    let manifest = format!("{manifest}{COUNTER}\n{backup}{more}");
    fleet.tree.write("stacks/web/stack.toml", &manifest).write_executable("stacks/web/count", COUNT);
    fleet
        .tree
        .write_executable("stacks/web/export", "#!/bin/sh\nexec cat \"$BACKSTAY_STATE_DIR/ledger\"\n")
        .write_executable("stacks/web/import", "#!/bin/sh\nexec cat > \"$BACKSTAY_STATE_DIR/ledger\"\n")
        .write("fleet.toml", ON_ALPHA);
    fleet.commit("Add web", None);
    fleet.follow();
    is_deployed(&fleet, "alpha");
    note(&fleet, 0, "first", "one");
    note(&fleet, 0, "cache", "left out");
    Some(fleet)
}

/// Waits until the hub has heard that a node runs the stack.
fn is_deployed(fleet: &Fleet, node: &str) {
    eventually_within(LIMIT, "it to be deployed", || {
        let newest = fleet.api.deployments(node, "web").into_iter().next().ok_or("nothing yet".to_owned())?;
        match newest.deployment.state {
            backstay_types::DeploymentState::Succeeded => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
}

fn notes(fleet: &Fleet, node: usize) -> PathBuf {
    fleet.nodes[node].data().join("stacks/web/state/notes")
}

fn note(fleet: &Fleet, node: usize, name: &str, text: &str) {
    let dir = notes(fleet, node);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(name), text).unwrap();
}

fn read(fleet: &Fleet, node: usize, name: &str) -> Option<String> {
    fs::read_to_string(notes(fleet, node).join(name)).ok()
}

fn counted(fleet: &Fleet, node: usize, name: &str) -> u64 {
    eventually(name, || {
        let text = read(fleet, node, name).unwrap_or_default();
        text.trim().parse().map_err(|_| format!("{name} of node {node} says `{text}`"))
    })
}

fn runs(node: &Node) -> bool {
    node.get("/healthz").is_ok()
}

/// Watches that never both nodes serve, until it is dropped.
struct NeverBoth {
    over: Arc<AtomicBool>,
    watch: Option<thread::JoinHandle<u32>>,
}

impl NeverBoth {
    fn watch(fleet: &Fleet) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ports: Vec<u16> = fleet.nodes.iter().map(Node::port).collect();
        let seen = over.clone();
        let watch = thread::spawn(move || {
            let answers = |port: &u16| {
                std::net::TcpStream::connect_timeout(
                    &std::net::SocketAddr::from(([127, 0, 0, 1], *port)),
                    Duration::from_millis(200),
                )
                .is_ok()
            };
            let mut both = 0;
            while !seen.load(Ordering::Relaxed) {
                both += u32::from(ports.iter().all(answers));
                thread::sleep(Duration::from_millis(5));
            }
            both
        });
        Self { over, watch: Some(watch) }
    }

    fn check(mut self) {
        self.over.store(true, Ordering::Relaxed);
        assert_eq!(self.watch.take().unwrap().join().unwrap(), 0, "it ran on both at once");
    }
}

fn passage(view: &Value) -> &Value {
    &view["stacks"][0]
}

fn migration(fleet: &Fleet, id: &str) -> Value {
    fleet.cli.json(&["migrate", "show", id])
}

/// All that moved was read on both nodes and is the same.
fn are_equal(view: &Value, items: &[&str]) {
    let checks = passage(view)["checks"].as_array().unwrap();
    let names: Vec<_> = checks.iter().map(|check| check["item"].as_str().unwrap()).collect();
    assert_eq!(names, items, "{view:#}");
    for check in checks {
        assert!(check["from"].is_string() && check["from"] == check["to"], "{view:#}");
    }
}

/// Waits until the first stack is at a step, at which something keeps it.
fn comes_to(fleet: &Fleet, id: &str, step: &str) {
    eventually_within(LIMIT, step, || {
        let view = migration(fleet, id);
        if passage(&view)["step"] == step { Ok(()) } else { Err(format!("{view:#}")) }
    });
}

fn ended(fleet: &Fleet, id: &str) -> Value {
    eventually_within(LIMIT, "the migration to end", || {
        let view = migration(fleet, id);
        if view["state"] == "running" { Err(format!("{view:#}")) } else { Ok(view) }
    })
}

#[test]
fn a_stack_moves_with_what_was_written_until_the_stop_and_comes_back_with_what_was_written_since() {
    let ledger = "[[backup]]\nname = \"ledger\"\ncommand = [\"./export\"]\nrestore = [\"./import\"]\n";
    let Some(fleet) = keeping_notes(ledger) else { return };
    fs::write(notes(&fleet, 0).with_file_name("ledger"), "12 in, 7 out\n").unwrap();
    let said = fleet.cli.run(&["migrate", "alpha", "beta", "--dry-run"]);
    for words in [
        "`ledger` is asked for its data just before",
        "`notes`, without cache",
        "stands still",
        ".env.template",
        "the data on alpha",
        "Nothing was changed",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let both = NeverBoth::watch(&fleet);
    let before = counted(&fleet, 0, "counter");
    let view = fleet.cli.json(&["migrate", "alpha", "beta", "--yes"]);
    let id = view["id"].as_str().unwrap().to_owned();
    assert_eq!(view["state"], "done", "{view:#}");
    assert_eq!(passage(&view)["step"], "switched");
    are_equal(&view, &["notes", "ledger"]);
    both.check();
    assert!(runs(&fleet.nodes[1]) && !runs(&fleet.nodes[0]));
    assert_eq!(read(&fleet, 1, "first").as_deref(), Some("one"));
    // The stack wrote all the time: it went on there from the last that it wrote before its stop.
    let last = counted(&fleet, 0, "counter");
    assert!(last > before, "it stood still from the start: {before}, {last}");
    assert_eq!(counted(&fleet, 1, "began"), last, "what was written until the stop has not come along");
    let told = fs::read_to_string(notes(&fleet, 1).with_file_name("ledger")).unwrap();
    assert_eq!(told, "12 in, 7 out\n", "what a command told is given to the one that takes it back");
    assert_eq!(read(&fleet, 1, "cache"), None, "what is left out does not move");
    assert_eq!(read(&fleet, 0, "first").as_deref(), Some("one"), "what was there stays there");
    assert!(!fleet.nodes[1].data().join("backups/ahead/web").exists());
    let shown = fleet.cli.run(&["migrate", "show", &id]);
    for words in ["compared, equal", "backstay migrate --back", "Not in fleet.toml yet"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }

    // A release goes where the stack is now.
    stacks::set_line(&fleet.tree, 2, "moved");
    fleet.commit("Change a line", None);
    fleet.api.sync(backstay_e2e::REPOSITORY);
    fleet.serves(&fleet.nodes[1], &stacks::conf(&[(2, "moved")]));
    is_deployed(&fleet, "beta");
    assert!(!runs(&fleet.nodes[0]));

    let both = NeverBoth::watch(&fleet);
    note(&fleet, 1, "second", "of beta");
    let back = fleet.cli.json(&["migrate", "--back", &id, "--yes"]);
    assert_eq!((&back["state"], &back["back_of"]), (&"done".into(), &id.clone().into()), "{back:#}");
    both.check();
    assert!(runs(&fleet.nodes[0]) && !runs(&fleet.nodes[1]));
    assert_eq!(read(&fleet, 0, "second").as_deref(), Some("of beta"));
    assert_eq!(read(&fleet, 0, "cache").as_deref(), Some("left out"), "what is left out stays as it is");
    let list = fleet.cli.run(&["migrate", "list", "--node", "beta"]);
    assert_eq!(list.matches("done").count(), 2, "{list}");
    fleet.cli.run(&["audit", "verify"]);
}

#[test]
fn what_does_not_start_there_runs_again_where_it_was() {
    let Some(fleet) = keeping_notes("") else { return };
    // Beta lacks the values that the release needs.
    fs::remove_file(fleet.dir().join("beta/env/web.env")).unwrap();
    let both = NeverBoth::watch(&fleet);
    let output = fleet.cli.output(&["migrate", "alpha", "beta", "--yes"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("BS9054") && said.contains("beta"), "{said}");
    both.check();
    eventually_within(LIMIT, "alpha to serve", || fleet.nodes[0].get("/healthz"));
    assert_eq!(read(&fleet, 0, "first").as_deref(), Some("one"));
    assert!(!runs(&fleet.nodes[1]));
    let list = fleet.cli.json(&["migrate", "list"]);
    assert_eq!(
        (&list[0]["state"], &list[0]["stacks"][0]["step"]),
        (&"failed".into(), &"stayed".into()),
        "{list:#}"
    );
    // What was said of where it runs is what fleet.toml says, and lifted.
    eventually("nothing to be left of it", || {
        let view = fleet.cli.json(&["migrate", "list"]);
        match view[0]["unsaid"].as_array().unwrap().iter().all(|line| line.as_str().unwrap().contains("beta"))
        {
            true => Ok(()),
            false => Err(format!("{view:#}")),
        }
    });
    fleet.cli.run(&["audit", "verify"]);
}

#[test]
fn nothing_starts_there_while_nobody_knows_that_it_has_stopped() {
    let Some(mut fleet) = keeping_notes("") else { return };
    let both = NeverBoth::watch(&fleet);
    // Without beta's agent it gets no further than to be copied.
    fleet.nodes[1].kill_agent();
    let id = fleet.cli.json(&["migrate", "alpha", "beta", "--yes", "--no-wait"])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    comes_to(&fleet, &id, "fetching");
    // Alpha's agent is cut off, and what it runs goes on.
    fleet.nodes[0].kill_agent();
    fleet.nodes[1].start_agent();
    comes_to(&fleet, &id, "stopping");
    assert!(runs(&fleet.nodes[0]) && !runs(&fleet.nodes[1]));
    fleet.hub.kill();
    fleet.hub.restart();
    (fleet.api, fleet.cli) = (fleet.hub.api(), fleet.hub.cli());
    // Beta's agent has heard what it is to run from the hub that came back, and that is nothing.
    eventually_within(LIMIT, "beta to be heard from", || {
        let nodes = fleet.cli.json(&["nodes", "list"]);
        let beta = nodes.as_array().unwrap().iter().find(|node| node["name"] == "beta").unwrap();
        if beta["state"] == "online" { Ok(()) } else { Err(format!("{beta:#}")) }
    });
    let view = migration(&fleet, &id);
    assert_eq!(passage(&view)["step"], "stopping", "{view:#}");
    assert!(!runs(&fleet.nodes[1]), "{view:#}");
    let said = passage(&view)["waits"].as_str().unwrap();
    assert!(said.contains("alpha"), "whom it waits for: {said}");
    fleet.nodes[0].start_agent();
    let view = ended(&fleet, &id);
    assert_eq!(view["state"], "done", "{view:#}");
    both.check();
    assert_eq!(read(&fleet, 1, "first").as_deref(), Some("one"));
    // fleet.toml says the same, and what the hub said is lifted.
    fleet.tree.write("fleet.toml", ON_BETA);
    fleet.commit("Say where it runs", None);
    fleet.api.sync(backstay_e2e::REPOSITORY);
    eventually("nothing to be unsaid", || {
        let view = migration(&fleet, &id);
        if view["unsaid"].as_array().unwrap().is_empty() { Ok(()) } else { Err(format!("{view:#}")) }
    });
    assert!(runs(&fleet.nodes[1]) && !runs(&fleet.nodes[0]));
    fleet.cli.run(&["audit", "verify"]);
}

#[test]
fn of_a_node_that_is_gone_the_newest_proven_snapshot_moves_by_typed_words_alone() {
    let Some(mut fleet) = keeping_notes("double_sign = true\n") else { return };
    fleet.cli.run(&["backup", "now", "alpha"]);
    fleet.cli.run(&["backup", "verify", "alpha"]);
    fleet.nodes[0].lose();
    fleet.cli.run(&["nodes", "revoke", "alpha", "--yes"]);
    for (args, code) in [
        (&["migrate", "alpha", "beta", "--yes"][..], "BS9056"),
        (&["migrate", "alpha", "beta", "--yes", "--from-gone", "yes"], "BS9056"),
        (&["migrate", "alpha", "beta", "--yes", "--from-gone", "alpha"], "alpha/web"),
    ] {
        let output = fleet.cli.output(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(code), "{args:?}: {said}");
    }
    assert!(!runs(&fleet.nodes[1]));
    let all = ["migrate", "alpha", "beta", "--yes", "--from-gone", "alpha", "--confirm", "alpha/web"];
    let view = fleet.cli.json(&all);
    assert_eq!(view["state"], "done", "{view:#}");
    assert_eq!(read(&fleet, 1, "first").as_deref(), Some("one"));
}

#[test]
fn volumes_move_from_one_engine_to_another_and_back() {
    let target = format!("{{ folder = \"{DIR}/backups\" }}");
    let fleet = Fleet::of(2).containers().hub_setting("BACKSTAY_BACKUP_TARGET", &target).start();
    let Some(fleet) = fleet else { return };
    for node in &fleet.nodes {
        node.docker().image("web:v1", &Image::web("v1"));
    }
    let compose = "services:\n  web:\n    image: web:v1\n    ports: ['127.0.0.1:${PORT}:8080']\n    \
                   volumes: ['notes:/data']\nvolumes:\n  notes: {}\n";
    fleet
        .tree
        .write("stacks/web/compose.yaml", compose)
        .write("stacks/web/.env.template", "PORT=\n")
        .write("fleet.toml", ON_ALPHA);
    fleet.commit("Add web", None);
    fleet.follow();
    is_deployed(&fleet, "alpha");
    let volume = |node: usize| {
        let at = ["volume", "inspect", "-f", "{{.Mountpoint}}", "web_notes"];
        PathBuf::from(fleet.nodes[node].docker().run(&at).trim())
    };
    let large: String = (0..100_000).map(|n| format!("{n}\n")).collect();
    fs::write(volume(0).join("mine"), "of alpha").unwrap();
    fs::write(volume(0).join("large"), &large).unwrap();
    let view = fleet.cli.json(&["migrate", "alpha", "beta", "--yes"]);
    assert_eq!(view["state"], "done", "{view:#}");
    let check = &passage(&view)["checks"][0];
    assert!(check["from"].is_string() && check["from"] == check["to"], "{view:#}");
    assert_eq!(fs::read_to_string(volume(1).join("mine")).unwrap(), "of alpha");
    assert_eq!(fs::read_to_string(volume(1).join("large")).unwrap(), large);
    assert!(fleet.nodes[0].docker().containers().iter().all(|one| one.service != "web"));
    assert!(fleet.nodes[1].get("").is_ok());
    // A volume that Compose itself made, with its labels.
    let labels = ["volume", "inspect", "-f", "{{index .Labels \"com.docker.compose.project\"}}", "web_notes"];
    assert_eq!(fleet.nodes[1].docker().run(&labels).trim(), "web");

    fs::write(volume(1).join("mine"), "of beta").unwrap();
    let id = view["id"].as_str().unwrap();
    let back = fleet.cli.json(&["migrate", "--back", id, "--yes"]);
    assert_eq!(back["state"], "done", "{back:#}");
    assert_eq!(fs::read_to_string(volume(0).join("mine")).unwrap(), "of beta");
    assert!(fleet.nodes[0].get("").is_ok());
    assert!(fleet.nodes[1].docker().containers().iter().all(|one| one.service != "web"));
}

/// Both in one transaction, all the time, once they are there.
const WRITER: &str = "while true; do psql -h db -U clerk -d orders -qc 'begin; insert into a select coalesce(max(n), 0) + 1 \
                      from a; insert into b select max(n) from a; commit' || sleep 0.3; done";

/// The other node has neither the server's data nor the database nor the role that owns it.
#[test]
fn a_database_moves_to_a_fresh_server_with_what_was_written_until_the_stop() {
    let target = format!("{{ folder = \"{DIR}/backups\" }}");
    let fleet = Fleet::of(2).containers().hub_setting("BACKSTAY_BACKUP_TARGET", &target).start();
    let Some(fleet) = fleet else { return };
    for node in &fleet.nodes {
        if node.docker().postgres_image("db:16").is_none() {
            return;
        }
    }
    let compose = format!(
        "services:\n  db:\n    image: db:16\n    stop_signal: SIGINT\n    volumes: ['pg:/data']\n  writer:\n    \
         image: db:16\n    healthcheck: {{disable: true}}\n    stop_grace_period: 1s\n    entrypoint: [\"sh\", \"-c\", \
         \"trap 'exit 0' TERM; {WRITER}\"]\nvolumes: {{pg: {{}}}}\n"
    );
    let manifest = "[[probe]]\ncontainer = true\nevery = \"200ms\"\nwithin = \"60s\"\n[[backup]]\nname = \"orders\"\n\
                    postgres = { service = \"db\", database = \"orders\" }\n";
    fleet
        .tree
        .write("stacks/web/compose.yaml", &compose)
        .write("stacks/web/stack.toml", manifest)
        .write("fleet.toml", ON_ALPHA);
    fleet.commit("Add web", None);
    fleet.follow();
    is_deployed(&fleet, "alpha");
    let ask = |node: usize, database: &str, sql: &str| {
        let args = ["exec", "web-db-1", "psql", "-XAtqd", database, "-c", sql];
        fleet.nodes[node].docker().try_run(&args).map_err(|failed| failed.to_string())
    };
    let sql = |node: usize, database: &str, text: &str| {
        eventually_within(LIMIT, text, || ask(node, database, text)).trim().to_owned()
    };
    // Both have all numbers from 1 on, without one missing: how many these are.
    let last = |node: usize| -> u64 {
        let counts = sql(
            node,
            "orders",
            "select (select count(*) from a), (select coalesce(max(n), 0) from a), (select count(*) from b)",
        );
        let counts: Vec<u64> = counts.split('|').map(|n| n.parse().unwrap()).collect();
        assert!(counts[0] == counts[1] && counts[0] == counts[2], "both or neither, and all: {counts:?}");
        counts[0]
    };
    sql(0, "postgres", "create role clerk login");
    sql(0, "postgres", "create database orders owner clerk");
    sql(0, "orders", "set role clerk; create table a (n bigint primary key); create table b (n bigint)");
    let goes_on = |node: usize| {
        let from = last(node);
        eventually_within(LIMIT, "it to write", || {
            let now = last(node);
            if now > from + 3 { Ok(now) } else { Err(format!("{from}, {now}")) }
        })
    };
    let before = goes_on(0);
    let view = fleet.cli.json(&["migrate", "alpha", "beta", "--yes"]);
    assert_eq!(view["state"], "done", "{view:#}");
    are_equal(&view, &["orders"]);
    assert!(last(1) >= before, "what was committed before the stop is there: {before}");
    // The writer goes on there, as the role that came along, behind the last that it wrote on alpha.
    let moved = goes_on(1);
    assert_eq!(sql(1, "orders", "select tableowner from pg_tables where tablename = 'a'"), "clerk");
    assert!(fleet.nodes[0].docker().containers().is_empty(), "nothing of it is left running");
    let back = fleet.cli.json(&["migrate", "--back", view["id"].as_str().unwrap(), "--yes"]);
    assert_eq!(back["state"], "done", "{back:#}");
    assert!(last(0) >= moved, "what was written on beta came back: {moved}");
    goes_on(0);
}

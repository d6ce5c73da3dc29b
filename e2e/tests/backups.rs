//! Backups by hub, agent and the program that does the work together: saved, proven, put back; whatever dies meanwhile.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{fs, path::PathBuf, process::Command};

use backstay_api::{
    Empty,
    v1::{
        BackupJobPath, BackupJobView, GetBackupJob, ListSnapshots, RestoreFrom, RestoreRequest, SnapshotView,
        SnapshotsQuery, StartBackup, StartBackupRequest, StartDrill, StartDrillRequest, StartRestore,
    },
};
use backstay_e2e::{DIR, Fleet, FleetBuilder, stacks::set_line};
use backstay_testkit::{Database, Image, Restic, eventually};
use backstay_types::{
    BackupJobId,
    backup::{BackupJobState, BackupReason, Destination, DrillResult, DrillStart, DrillVerdict, Proof},
};
use serde_json::Value;

/// A fleet whose stack keeps notes, saved to a folder of the hub's machine.
fn keeping_notes(nodes: usize) -> Option<Fleet> {
    keeping_notes_with(nodes, |fleet| fleet)
}

fn keeping_notes_with(nodes: usize, change: impl FnOnce(FleetBuilder) -> FleetBuilder) -> Option<Fleet> {
    let target = format!("{{ folder = \"{DIR}/backups\" }}");
    let fleet = Fleet::of(nodes).hub_setting("BACKSTAY_BACKUP_TARGET", &target);
    let fleet = change(fleet).start()?.with_process_stack();
    let manifest = fleet.tree.read("stacks/web/stack.toml");
    fleet.tree.write("stacks/web/stack.toml", &format!("{manifest}\n[[backup]]\npath = \"notes\"\n"));
    let commit = fleet.commit("Save the notes", None);
    fleet.deployed(&commit);
    for node in 0..nodes {
        note(&fleet, node, "first", "one");
    }
    Some(fleet)
}

fn notes(fleet: &Fleet, node: usize) -> PathBuf {
    fleet.nodes[node].data().join("stacks/web/state/notes")
}

fn note(fleet: &Fleet, node: usize, name: &str, text: &str) {
    let dir = notes(fleet, node);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(name), text).unwrap();
}

/// What is in the notes, by name.
fn read(fleet: &Fleet, node: usize) -> Vec<(String, String)> {
    let entries = fs::read_dir(notes(fleet, node)).unwrap().map(|entry| entry.unwrap());
    let mut found: Vec<_> = entries
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap()))
        .collect();
    found.sort();
    found
}

fn of(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn back_up(fleet: &Fleet, node: &str) -> BackupJobId {
    let request = StartBackupRequest { node: Some(node.to_owned()), ..StartBackupRequest::default() };
    fleet.api.call::<StartBackup>(&Empty {}, &Empty {}, &request).jobs[0].job.id
}

fn restore(fleet: &Fleet, from: RestoreFrom, destination: Destination) -> BackupJobId {
    let request = RestoreRequest {
        id: None,
        node: Some("alpha".to_owned()),
        stack: Some("web".parse().unwrap()),
        from,
        items: Vec::new(),
        paths: Vec::new(),
        on: None,
        destination,
        dry_run: false,
        confirm: None,
    };
    fleet.api.call::<StartRestore>(&Empty {}, &Empty {}, &request).job.unwrap().job.id
}

fn job(fleet: &Fleet, id: BackupJobId) -> BackupJobView {
    fleet.api.call::<GetBackupJob>(&BackupJobPath { job: id }, &Empty {}, &Empty {})
}

/// Waits for a job's end, which must be a good one.
fn done(fleet: &Fleet, id: BackupJobId) -> BackupJobView {
    let ended = eventually("the job to end", || {
        let found = job(fleet, id);
        if found.job.state.is_final() { Ok(found) } else { Err(format!("{found:#?}")) }
    });
    assert_eq!(ended.job.state, BackupJobState::Done, "{ended:#?}");
    ended
}

fn snapshots(fleet: &Fleet, node: &str, proof: Option<Proof>) -> Vec<SnapshotView> {
    let query = SnapshotsQuery { node: Some(node.to_owned()), proof, ..SnapshotsQuery::default() };
    fleet.api.call::<ListSnapshots>(&Empty {}, &query, &Empty {}).items
}

/// The newest snapshot of a node, once the hub has read it back.
fn proven(fleet: &Fleet, node: &str, reason: BackupReason) -> SnapshotView {
    eventually("the snapshot to be proven", || {
        let all = snapshots(fleet, node, None);
        let newest = all.into_iter().find(|found| found.kept.snapshot.tags.reason == reason);
        let newest = newest.ok_or("there is none".to_owned())?;
        let proof = newest.kept.snapshot.proof;
        if proof >= Proof::Verified { Ok(newest) } else { Err(format!("it is {proof:?}")) }
    })
}

#[test]
fn what_was_lost_comes_back_and_so_does_what_was_there_instead() {
    let Some(fleet) = keeping_notes(1) else { return };
    note(&fleet, 0, "second", "two");
    done(&fleet, back_up(&fleet, "alpha"));
    proven(&fleet, "alpha", BackupReason::Manual);

    fs::remove_file(notes(&fleet, 0).join("second")).unwrap();
    note(&fleet, 0, "third", "three");
    done(&fleet, restore(&fleet, RestoreFrom::Latest, Destination::InPlace));
    assert_eq!(read(&fleet, 0), of(&[("first", "one"), ("second", "two")]));
    fleet.nodes[0].get("/healthz").unwrap();

    // The safety snapshot holds what the restore took away.
    let safety = proven(&fleet, "alpha", BackupReason::Safety);
    let from = RestoreFrom::Snapshot(safety.kept.snapshot.id.to_string());
    let folder = fleet.dir().join("looked-at");
    let to = Destination::Folder { path: folder.display().to_string() };
    done(&fleet, restore(&fleet, from.clone(), to));
    let found = Command::new("find").arg(&folder).args(["-name", "third"]).output().unwrap();
    assert_eq!(String::from_utf8(found.stdout).unwrap().lines().count(), 1);
    done(&fleet, restore(&fleet, from, Destination::InPlace));
    assert_eq!(read(&fleet, 0), of(&[("first", "one"), ("third", "three")]));
}

#[test]
fn a_drill_shows_that_the_newest_snapshot_comes_back_and_touches_nothing() {
    let Some(fleet) = keeping_notes(1) else { return };
    note(&fleet, 0, "second", "two");
    done(&fleet, back_up(&fleet, "alpha"));
    let snapshot = proven(&fleet, "alpha", BackupReason::Manual).kept.snapshot;
    note(&fleet, 0, "first", "changed since");
    let request = StartDrillRequest { node: Some("alpha".to_owned()), ..StartDrillRequest::default() };
    let id = fleet.api.call::<StartDrill>(&Empty {}, &Empty {}, &request).jobs[0].job.id;
    let report = done(&fleet, id).job.result.unwrap().work.unwrap().drill.unwrap();
    assert_eq!((report.verdict, report.snapshot), (DrillVerdict::Passed, snapshot.id), "{report:#?}");
    assert_eq!((report.files, report.bytes), (snapshot.files, snapshot.bytes));
    assert!(report.checks.iter().all(|check| check.result == DrillResult::Passed), "{report:#?}");
    assert!(matches!(&report.start, DrillStart::No { why } if why.contains("process")), "{report:#?}");
    let found = snapshots(&fleet, "alpha", Some(Proof::Drilled));
    assert_eq!(found.iter().map(|one| one.kept.snapshot.id).collect::<Vec<_>>(), [snapshot.id]);
    assert_eq!(read(&fleet, 0), of(&[("first", "changed since"), ("second", "two")]));
    assert!(!fleet.nodes[0].data().join("backups/drill").exists());
    let log = fleet.cli.run(&["timeline", "--kind", "drill_finished"]);
    assert!(log.contains("passed: restored and compared"), "{log}");
    fleet.cli.run(&["audit", "verify"]);
}

#[test]
fn a_deployment_has_a_snapshot_from_just_before() {
    let Some(fleet) = keeping_notes(1) else { return };
    let a = fleet.api.conversation("session-a");
    note(&fleet, 0, "first", "as it was");
    set_line(&fleet.tree, 2, "A2");
    let commit = fleet.commit("Change a line", Some(a));
    fleet.deployed(&commit);
    let snapshot = proven(&fleet, "alpha", BackupReason::Deployment);
    let newest = fleet.api.deployments("alpha", "web").remove(0);
    let tags = &snapshot.kept.snapshot.tags;
    assert_eq!(tags.deployment, Some(newest.deployment.id));
    assert_eq!(tags.conversation, Some(a));
    assert_eq!(tags.stack.as_ref().map(ToString::to_string).as_deref(), Some("web"));

    note(&fleet, 0, "first", "spoilt by the release");
    done(&fleet, restore(&fleet, RestoreFrom::BeforeDeployment(newest.deployment.id), Destination::InPlace));
    assert_eq!(read(&fleet, 0), of(&[("first", "as it was")]));
}

#[test]
fn an_undo_takes_the_data_back_and_its_undo_brings_it_again() {
    let Some(fleet) = keeping_notes(2) else { return };
    let a = fleet.api.conversation("session-a").to_string();
    note(&fleet, 0, "first", "as it was");
    set_line(&fleet.tree, 2, "A2");
    let commit = fleet.commit("Change a line", Some(a.parse().unwrap()));
    fleet.deployed(&commit);
    let from = proven(&fleet, "alpha", BackupReason::Deployment).kept.snapshot;
    proven(&fleet, "beta", BackupReason::Deployment);
    let before = fleet.running_tree(&fleet.nodes[0]);
    note(&fleet, 0, "first", "changed by the release");
    note(&fleet, 0, "second", "new");

    let ways = ["rollback", "--conversation", &a, "--with-data"];
    let said = fleet.cli.run(&[&ways[..], &["--dry-run"]].concat());
    let id = from.id.digest().short();
    for words in
        ["alpha/web", "beta/web", &id, "is taken back; a safety snapshot keeps it until", "stands still"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(read(&fleet, 0), of(&[("first", "changed by the release"), ("second", "new")]));

    let undo = fleet.rollback(&ways[1..]);
    assert_eq!(undo["state"]["state"], "verified", "{undo:#}");
    assert_ne!(fleet.running_tree(&fleet.nodes[0]), before);
    assert_eq!(read(&fleet, 0), of(&[("first", "as it was")]));
    assert_eq!(read(&fleet, 1), of(&[("first", "one")]));
    fleet.nodes[0].get("/healthz").unwrap();

    proven(&fleet, "alpha", BackupReason::Safety);
    proven(&fleet, "beta", BackupReason::Safety);
    note(&fleet, 0, "first", "meanwhile");
    let again = fleet.rollback(&["--undo", undo["id"].as_str().unwrap(), "--with-data"]);
    assert_eq!(again["state"]["state"], "verified", "{again:#}");
    assert_eq!(fleet.running_tree(&fleet.nodes[0]), before);
    assert_eq!(read(&fleet, 0), of(&[("first", "changed by the release"), ("second", "new")]));
    fleet.cli.run(&["audit", "verify"]);
}

#[test]
fn what_could_sign_twice_is_put_back_by_typed_words_alone() {
    let Some(fleet) = keeping_notes(1) else { return };
    let manifest = fleet.tree.read("stacks/web/stack.toml");
    fleet.tree.write("stacks/web/stack.toml", &format!("{manifest}double_sign = true\n"));
    let commit = fleet.commit("Mark the notes", None);
    fleet.deployed(&commit);
    done(&fleet, back_up(&fleet, "alpha"));
    proven(&fleet, "alpha", BackupReason::Manual);
    note(&fleet, 0, "first", "signed since");
    let refused = fleet.cli.output(&["restore", "alpha/web", "--yes"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("BS9043") && said.contains("alpha/web"), "{said}");
    let refused = fleet.cli.output(&["restore", "alpha/web", "--yes", "--confirm", "yes"]);
    assert!(!refused.status.success(), "another text will not do");
    assert_eq!(read(&fleet, 0), of(&[("first", "signed since")]));
    fleet.cli.run(&["restore", "alpha/web", "--yes", "--confirm", "alpha/web"]);
    assert_eq!(read(&fleet, 0), of(&[("first", "one")]));
}

#[test]
fn a_hub_or_an_agent_that_dies_in_a_backup_loses_nothing() {
    let Some(mut fleet) = keeping_notes(1) else { return };
    for round in 0..4 {
        // Enough that it takes a moment, other in each round.
        let text: String = (0..200_000).map(|n| format!("{round} {}\n", n * (round + 1))).collect();
        note(&fleet, 0, "large", &text);
        let id = back_up(&fleet, "alpha");
        eventually("it to begin", || match job(&fleet, id).job.state {
            BackupJobState::Queued => Err("it waits".to_owned()),
            _ => Ok(()),
        });
        if round % 2 == 0 {
            fleet.nodes[0].kill_agent();
            fleet.nodes[0].start_agent();
        } else {
            fleet.hub.kill();
            fleet.hub.restart();
        }
        // It may have failed, honestly; then the next one does it.
        let ended = eventually("the job to end", || {
            let found = job(&fleet, id);
            if found.job.state.is_final() { Ok(found) } else { Err(format!("{found:#?}")) }
        });
        if ended.job.state != BackupJobState::Done {
            done(&fleet, back_up(&fleet, "alpha"));
        }
        proven(&fleet, "alpha", BackupReason::Manual);
        fs::write(notes(&fleet, 0).join("large"), "lost").unwrap();
        done(&fleet, restore(&fleet, RestoreFrom::Latest, Destination::InPlace));
        assert_eq!(fs::read_to_string(notes(&fleet, 0).join("large")).unwrap(), text);
    }
    fleet.cli.run(&["audit", "verify"]);
}

#[test]
fn restic_reads_what_was_saved_with_the_owners_key_alone() {
    let Some(restic) = Restic::require() else { return };
    let Some(fleet) = keeping_notes(1) else { return };
    let key = fleet.dir().join("recovery.key");
    fleet.cli.run(&["backup", "recovery-key", "make", "--out", &key.display().to_string()]);
    done(&fleet, back_up(&fleet, "alpha"));
    proven(&fleet, "alpha", BackupReason::Manual);
    let opened = eventually("the password to be sealed", || {
        let asked =
            ["--json", "backup", "open", "alpha", "--recovery-key", &key.display().to_string(), "--print"];
        let output = fleet.cli.output(&asked);
        serde_json::from_slice::<Value>(&output.stdout)
            .map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())
    });
    let (place, password) = (opened["place"].as_str().unwrap(), opened["password"].as_str().unwrap());
    let run = |args: &[&str]| {
        let mut command = Command::new(restic.path());
        command.args(["--no-cache", "-r", place]).args(args).env("RESTIC_PASSWORD", password);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(run(&["snapshots"]).contains("alpha"));
    run(&["check", "--read-data"]);
    let out = fleet.dir().join("by-restic");
    run(&["restore", "latest", "--target", &out.display().to_string()]);
    let found = Command::new("grep").args(["-rl", "one"]).arg(&out).output().unwrap();
    assert!(String::from_utf8(found.stdout).unwrap().contains("first"));
}

/// The hub's machine is lost, `lose` loses its database too; a new one gets all of it back with the owner's key, and the
/// agent, which nobody touches, goes on: it takes what the restored hub says, whose epoch is higher.
fn loses_its_hub(mut fleet: Fleet, variables: &[(&str, &str)], lose: impl FnOnce()) {
    let key = fleet.dir().join("recovery.key").display().to_string();
    fleet.cli.run(&["backup", "recovery-key", "make", "--out", &key]);
    done(&fleet, back_up(&fleet, "alpha"));
    let before = proven(&fleet, "alpha", BackupReason::Manual);
    fleet.cli.run(&["backup", "now", "--own-state"]);
    let sealed = fleet.dir().join("backups/recovery/hub.age");
    eventually("the hub's password to be sealed", || {
        sealed.is_file().then_some(()).ok_or("it is not there".to_owned())
    });
    let pid = fleet.nodes[0].pid();
    fleet.hub.kill();
    let data = fleet.dir().join("hub");
    fs::remove_dir_all(&data).unwrap();
    lose();

    let mut restore = fleet.cli.command(&["hub", "restore", "--recovery-key", &key]);
    restore.arg("--from").arg(fleet.dir().join("backups")).env("BACKSTAY_HUB_DATA_DIR", &data);
    let restored = restore.envs(variables.iter().copied()).output().unwrap();
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    fleet.hub.restart_on(&data);
    (fleet.api, fleet.cli) = (fleet.hub.api(), fleet.hub.cli());

    // It runs what is committed now, and its backups go on in the repository that was there.
    set_line(&fleet.tree, 2, "after the loss");
    let commit = fleet.commit("Change a line after the loss", None);
    fleet.deployed(&commit);
    assert_eq!(fleet.nodes[0].pid(), pid, "nobody has started the agent again");
    note(&fleet, 0, "second", "two");
    done(&fleet, back_up(&fleet, "alpha"));
    proven(&fleet, "alpha", BackupReason::Manual);
    done(&fleet, restore_from(&fleet, &before));
    assert_eq!(read(&fleet, 0), of(&[("first", "one")]));
    fleet.cli.run(&["audit", "verify"]);
}

fn restore_from(fleet: &Fleet, snapshot: &SnapshotView) -> BackupJobId {
    let from = RestoreFrom::Snapshot(snapshot.kept.snapshot.id.to_string());
    restore(fleet, from, Destination::InPlace)
}

#[test]
fn a_hub_whose_machine_is_lost_comes_back_and_its_agent_goes_on() {
    let Some(fleet) = keeping_notes(1) else { return };
    loses_its_hub(fleet, &[], || {});
}

#[test]
fn a_hub_on_postgresql_whose_machine_and_database_are_lost_comes_back() {
    let Some(database) = Database::require() else { return };
    let (path, libraries) = database.programs();
    let (url, with) = (database.url(), [("PATH", path.as_str()), ("LD_LIBRARY_PATH", libraries.as_str())]);
    let fleet = keeping_notes_with(1, |fleet| {
        let fleet = fleet.database(&url);
        with.iter().fold(fleet, |fleet, (name, value)| fleet.hub_setting(name, value))
    });
    let Some(fleet) = fleet else { return };
    let variables = [with.as_slice(), &[("BACKSTAY_HUB_DATABASE_URL", url.as_str())]].concat();
    loses_its_hub(fleet, &variables, || {
        database.sql("DROP SCHEMA public CASCADE");
        database.sql("CREATE SCHEMA public");
    });
}

#[test]
fn what_one_node_had_is_put_in_the_place_of_what_another_has() {
    let Some(fleet) = keeping_notes(2) else { return };
    note(&fleet, 0, "second", "two");
    note(&fleet, 1, "own", "of beta");
    done(&fleet, back_up(&fleet, "alpha"));
    proven(&fleet, "alpha", BackupReason::Manual);
    let ran = fleet.cli.json(&["restore", "alpha/web", "--on", "beta", "--yes"]);
    assert_eq!(
        (&ran["of_node"], &ran["node_name"], &ran["job"]["state"]),
        (&"alpha".into(), &"beta".into(), &"done".into()),
        "{ran}"
    );
    assert_eq!(read(&fleet, 1), of(&[("first", "one"), ("second", "two")]));
    fleet.nodes[1].get("/healthz").unwrap();
    // What beta had is in its own repository, and comes back from there.
    let safety = proven(&fleet, "beta", BackupReason::Safety).kept.snapshot.id.to_string();
    fleet.cli.run(&["restore", "beta", "--snapshot", &safety, "--yes"]);
    assert_eq!(read(&fleet, 1), of(&[("first", "one"), ("own", "of beta")]));
    // Nothing is left of what was read of alpha's repository, and into a folder it goes without touching anything.
    assert!(!fleet.nodes[1].data().join("backups/lent-cache").exists());
    let folder = fleet.dir().join("of-alpha").display().to_string();
    fleet.cli.run(&["restore", "alpha", "--on", "beta", "--to", &folder, "--yes"]);
    let found = Command::new("find").arg(&folder).args(["-name", "second"]).output().unwrap();
    assert_eq!(String::from_utf8(found.stdout).unwrap().lines().count(), 1);
    assert_eq!(read(&fleet, 1), of(&[("first", "one"), ("own", "of beta")]));
    fleet.cli.run(&["audit", "verify"]);
}

#[test]
fn a_machine_that_takes_a_lost_ones_name_gets_its_data_by_itself() {
    let Some(mut fleet) = keeping_notes(1) else { return };
    note(&fleet, 0, "second", "two");
    done(&fleet, back_up(&fleet, "alpha"));
    proven(&fleet, "alpha", BackupReason::Manual);
    let replaced = fleet.cli.json(&["nodes", "replace", "alpha", "--yes"]);
    assert_eq!(replaced["restores"][0]["waits"], true, "{replaced}");
    let token = replaced["token"]["token"].as_str().unwrap();
    let again = fleet.cli.json(&["nodes", "replace", "alpha", "--yes"]);
    assert_eq!(again["restores"].as_array().unwrap().len(), 0, "it waits already: {again}");
    let url = fleet.hub.url().to_owned();
    fleet.nodes[0].lose_and_join(&url, token);
    let job = replaced["restores"][0]["job"]["id"].as_str().unwrap().parse().unwrap();
    done(&fleet, job);
    // It is ready; the stack's first deployment puts it in place before it starts.
    eventually("it runs, with its data", || fleet.nodes[0].get("/healthz"));
    assert_eq!(read(&fleet, 0), of(&[("first", "one"), ("second", "two")]));
}

/// The way to move a stack by hand: its data goes to a node of another container engine, into volumes of that one's own.
#[test]
fn volumes_of_one_engine_are_put_in_the_place_of_anothers() {
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
        .write("stacks/web/stack.toml", "[[backup]]\nvolume = \"notes\"\n")
        .write("stacks/web/.env.template", "PORT=\n");
    let fleet = fleet.following("Add web");
    let volume = |node: usize| {
        let at = ["volume", "inspect", "-f", "{{.Mountpoint}}", "web_notes"];
        PathBuf::from(fleet.nodes[node].docker().run(&at).trim())
    };
    fs::write(volume(0).join("mine"), "of alpha").unwrap();
    fs::write(volume(1).join("own"), "of beta").unwrap();
    done(&fleet, back_up(&fleet, "alpha"));
    proven(&fleet, "alpha", BackupReason::Manual);
    fleet.cli.run(&["restore", "alpha/web", "--on", "beta", "--yes"]);
    let names = |node: usize| {
        let mut names: Vec<_> = fs::read_dir(volume(node))
            .unwrap()
            .map(|one| one.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert!(names(1).contains(&"mine".to_owned()) && !names(1).contains(&"own".to_owned()), "{:?}", names(1));
    assert_eq!(fs::read_to_string(volume(1).join("mine")).unwrap(), "of alpha");
    assert_eq!(fs::read_to_string(volume(0).join("mine")).unwrap(), "of alpha", "alpha keeps what it has");
}

//! Backups: the repository that only takes new files, orders for nodes, and repositories looked after by the program that
//! works on them.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use age::secrecy::ExposeSecret as _;
use backstay_api::{
    Empty,
    agent::{
        BackupJobPath, FinishBackup, NextBackup, NextBackupRequest, NextBackupResponse, SendBackupProgress,
    },
    v1::{self, BackupHealth},
};
use backstay_client::ClientError;
use backstay_config::TargetSettings;
use backstay_testkit::{
    Restic,
    left_out::{Part, leave_out},
};
use backstay_types::{
    Digest, ErrorCode, Secret,
    backup::{
        BackupPhase, BackupProgress, BackupReason, BackupTask, BackupWork, Destination, Proof, Snapshot,
        SnapshotTags, WorkOutcome,
        job::{Done, Job, Line, Repository, Root, SnapshotMade, SnapshotTask, Source, Target, Task},
    },
};
use tokio::io::AsyncWriteExt as _;

use crate::harness::{Agent, TestHub, code, hello, http};

pub(crate) const REPOSITORY: &str = "/agent/v1/repository/";

/// The program that works on repositories, where it was built; a test that needs it is left out without it.
pub(crate) fn program() -> Option<PathBuf> {
    let named = std::env::var_os("BACKSTAY_BACKUP_PROGRAM").map(PathBuf::from);
    let beside = || {
        let own = std::env::current_exe().ok()?;
        Some(own.parent()?.parent()?.join("backstay-backup"))
    };
    let found = named.or_else(beside).filter(|path| path.is_file());
    if found.is_none() {
        leave_out(Part::BackupProgram, "cargo build -p backstay-backup");
    }
    found
}

pub(crate) async fn hub_with(change: impl FnOnce(&mut backstay_config::BackupSettings)) -> TestHub {
    let target = tempfile::tempdir().unwrap().keep();
    TestHub::with(|settings| {
        settings.backup.target = Some(TargetSettings::Folder(target));
        settings.backup.program = program();
        // Nobody's turn comes by itself.
        settings.backup.every = Duration::from_secs(30 * 86_400);
        settings.backup.jitter = Duration::from_secs(30 * 86_400);
        change(&mut settings.backup);
    })
    .await
}

pub(crate) fn target(hub: &TestHub) -> PathBuf {
    match hub.settings().backup.target.unwrap() {
        TargetSettings::Folder(path) => path,
        TargetSettings::S3(_) => unreachable!(),
    }
}

pub(crate) async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(Duration::from_secs(90), what, look).await
}

pub(crate) async fn eventually_within<T>(
    limit: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    while start.elapsed() < limit {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("after {limit:?} it did not come to pass: {what}");
}

/// A request for a file of a node's repository, as restic's protocol has it.
pub(crate) fn file(
    hub: &TestHub,
    agent: &Agent,
    method: reqwest::Method,
    path: &str,
) -> reqwest::RequestBuilder {
    let url = format!("{}{REPOSITORY}{path}", hub.hub.url());
    http().request(method, url).bearer_auth(agent.joined.credential.expose())
}

pub(crate) async fn put(hub: &TestHub, agent: &Agent, path: &str, content: &[u8]) -> u16 {
    let request = file(hub, agent, reqwest::Method::POST, path).body(content.to_vec());
    request.send().await.unwrap().status().as_u16()
}

pub(crate) async fn get(hub: &TestHub, agent: &Agent, path: &str) -> (u16, Vec<u8>) {
    let response = file(hub, agent, reqwest::Method::GET, path).send().await.unwrap();
    (response.status().as_u16(), response.bytes().await.unwrap().to_vec())
}

/// How many entries of a kind there are about the node; the hub saves its own state too.
pub(crate) async fn events(hub: &TestHub, kind: &str) -> usize {
    let node = Some("web-1".to_owned());
    let query = v1::TimelineQuery { kind: Some(kind.to_owned()), node, ..Default::default() };
    let entries = hub.admin().call::<v1::ListTimeline>(&Empty {}, &query, &Empty {}).await.unwrap();
    entries.items.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_adds_files_named_by_their_content_and_changes_none() {
    let hub = hub_with(|_| {}).await;
    let agent = hub.join("web-1").await;
    let content = vec![7u8; 300_000];
    let name = Digest::of(&content).to_string();
    assert_eq!(get(&hub, &agent, "data/").await, (200, b"[]".to_vec()));
    assert_eq!(put(&hub, &agent, &format!("data/{name}"), &content).await, 200);
    assert_eq!(get(&hub, &agent, &format!("data/{name}")).await, (200, content.clone()));
    // As restic itself lays it out, so that it reads the target too.
    let node = agent.joined.node;
    let path = target(&hub).join(format!("nodes/{node}/data/{}/{name}", &name[..2]));
    assert_eq!(std::fs::read(&path).unwrap(), content);
    // A part, its size, and the list with sizes.
    let part =
        file(&hub, &agent, reqwest::Method::GET, &format!("data/{name}")).header("range", "bytes=10-19");
    let part = part.send().await.unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(part.headers()["content-range"], "bytes 10-19/300000");
    assert_eq!(part.bytes().await.unwrap().len(), 10);
    let head = file(&hub, &agent, reqwest::Method::HEAD, &format!("data/{name}")).send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.headers()["content-length"].to_str().unwrap()), (200, "300000"));
    let list = file(&hub, &agent, reqwest::Method::GET, "data/")
        .header("accept", "application/vnd.x.restic.rest.v2");
    let list: serde_json::Value = list.send().await.unwrap().json().await.unwrap();
    assert_eq!(list, serde_json::json!([{ "name": name, "size": 300_000 }]));
    assert_eq!(get(&hub, &agent, &format!("data/{}", Digest::of(b"other"))).await.0, 404);
    // Content that is not what its name says is not taken in, nor is anything left of it.
    let other = Digest::of(b"other").to_string();
    assert_eq!(put(&hub, &agent, &format!("index/{other}"), b"something else").await, 422);
    assert_eq!(get(&hub, &agent, &format!("index/{other}")).await.0, 404);
    // The same again is well; another content under the same name, a deletion, a key, the config are not.
    assert_eq!(put(&hub, &agent, &format!("data/{name}"), &content).await, 200);
    assert_eq!(put(&hub, &agent, &format!("data/{name}"), b"short").await, 403);
    let delete = |path: String| {
        let request = file(&hub, &agent, reqwest::Method::DELETE, &path);
        async move { request.send().await.unwrap().status().as_u16() }
    };
    for path in [format!("data/{name}"), "config".to_owned(), String::new(), format!("snapshots/{name}")] {
        assert_eq!(delete(path.clone()).await, 403, "{path}");
    }
    let key = Digest::of(b"key").to_string();
    assert_eq!(put(&hub, &agent, &format!("keys/{key}"), b"key").await, 403);
    assert_eq!(put(&hub, &agent, "config", b"config").await, 403);
    // Locks come and go.
    let lock = Digest::of(b"lock").to_string();
    assert_eq!(put(&hub, &agent, &format!("locks/{lock}"), b"lock").await, 200);
    assert_eq!(delete(format!("locks/{lock}")).await, 200);
    assert_eq!(get(&hub, &agent, &format!("locks/{lock}")).await.0, 404);
    assert_eq!(std::fs::read(&path).unwrap(), content, "nothing of all that has changed it");
    // It was seven times; the ledger tells once.
    eventually("it is in the ledger", async || {
        (events(&hub, "backup_write_refused").await == 1).then_some(())
    })
    .await;
    let metrics =
        http().get(format!("{}/metrics", hub.hub.url())).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("backstay_repository_writes_refused_total 7\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_reaches_its_own_repository_and_nobody_else_reaches_any() {
    let hub = hub_with(|_| {}).await;
    let (one, two) = (hub.join("one").await, hub.join("two").await);
    let name = Digest::of(b"secret").to_string();
    assert_eq!(put(&hub, &one, &format!("data/{name}"), b"secret").await, 200);
    assert_eq!(get(&hub, &two, &format!("data/{name}")).await.0, 404);
    let ways = [
        format!("../{}/data/{name}", one.joined.node),
        format!("..%2f{}%2fdata%2f{name}", one.joined.node),
        format!("nodes/{}/data/{name}", one.joined.node),
        format!("data/..%2f..%2f{}%2fdata%2f{name}", one.joined.node),
        format!("data/{}/{name}", &name[..2]),
    ];
    for way in ways {
        let (status, body) = get(&hub, &two, &way).await;
        assert!(status >= 400 && body != b"secret", "{way}: {status}");
    }
    let url = format!("{}{REPOSITORY}data/{name}", hub.hub.url());
    assert_eq!(http().get(&url).send().await.unwrap().status(), 401);
    let admin = http().get(&url).bearer_auth(hub.hub.admin_token().expose());
    assert_eq!(admin.send().await.unwrap().status(), 403, "a person's token is for the API");
    let basic = http().get(&url).basic_auth("anything", Some(one.joined.credential.expose()));
    assert_eq!(basic.send().await.unwrap().status(), 200, "as restic shows it");
    // Whose credential was taken away adds nothing any more.
    let path = v1::NodePath { node: "one".to_owned() };
    hub.admin().call::<v1::RevokeNode>(&path, &Empty {}, &Empty {}).await.unwrap();
    assert_eq!(put(&hub, &one, &format!("data/{}", Digest::of(b"x")), b"x").await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_cut_off_leaves_nothing() {
    let hub = hub_with(|_| {}).await;
    let agent = hub.join("web-1").await;
    let content = vec![1u8; 1 << 20];
    let name = Digest::of(&content).to_string();
    let address = hub.hub.address();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST {REPOSITORY}data/{name} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\n\
         content-length: {}\r\n\r\n",
        agent.joined.credential.expose(),
        content.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&content[..500_000]).await.unwrap();
    drop(stream);
    let spool = hub.hub.data_dir().join("backup-spool");
    eventually("the spool is empty", async || {
        (std::fs::read_dir(&spool).unwrap().count() == 0).then_some(())
    })
    .await;
    assert_eq!(get(&hub, &agent, &format!("data/{name}")).await.0, 404);
    assert_eq!(put(&hub, &agent, &format!("data/{name}"), &content).await, 200, "and it can be sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_target_there_are_no_backups() {
    let hub = TestHub::start().await;
    let agent = hub.join("web-1").await;
    assert_eq!(get(&hub, &agent, "config").await.0, 409);
    let next = next(&agent).await.unwrap();
    assert!(!next.set_up && next.order.is_none());
    let request = v1::StartBackupRequest { all: true, ..Default::default() };
    let started = hub.admin().call::<v1::StartBackup>(&Empty {}, &Empty {}, &request).await;
    assert_eq!(code(started), ErrorCode::BS9011);
    let view = hub.admin().call::<v1::GetBackups>(&Empty {}, &Empty {}, &Empty {}).await.unwrap();
    assert!(view.settings.is_none() && view.warnings.is_empty());
}

pub(crate) async fn next(agent: &Agent) -> Result<NextBackupResponse, ClientError> {
    agent.client.call::<NextBackup>(&Empty {}, &Empty {}, &NextBackupRequest::default()).await
}

pub(crate) async fn start(hub: &TestHub, node: &str) -> v1::BackupJobView {
    let request = v1::StartBackupRequest { node: Some(node.to_owned()), ..Default::default() };
    let mut started = hub.admin().call::<v1::StartBackup>(&Empty {}, &Empty {}, &request).await.unwrap();
    assert_eq!(started.count, 1);
    started.jobs.remove(0)
}

/// What a node's own program makes of a folder, through the hub.
pub(crate) async fn save(
    hub: &TestHub,
    agent: &Agent,
    password: &Secret,
    folder: &std::path::Path,
) -> SnapshotMade {
    try_save(hub, agent, password, folder, None).await.unwrap()
}

/// The same, or what the program says; no faster than so many bytes a second.
pub(crate) async fn try_save(
    hub: &TestHub,
    agent: &Agent,
    password: &Secret,
    folder: &std::path::Path,
    bytes_per_second: Option<u64>,
) -> Result<SnapshotMade, String> {
    let url = format!("{}{REPOSITORY}", hub.hub.url());
    let target = Target::Rest { url, credential: agent.joined.credential.clone(), ca_file: None };
    let root = Root {
        name: "data".to_owned(),
        from: Source::Path { path: folder.display().to_string(), exclude: Vec::new() },
    };
    let task = Task::Snapshot(SnapshotTask {
        roots: vec![root],
        host: "web-1".to_owned(),
        tags: vec!["backstay:stack=shop".to_owned(), "backstay:reason=manual".to_owned()],
        at: hub.world().now(),
    });
    let repository = Repository { target, password: password.clone(), cache: None };
    match run(&Job { repository, bytes_per_second, task }).await? {
        Done::Snapshot(made) => Ok(made),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn run(job: &Job) -> Result<Done, String> {
    let mut child = tokio::process::Command::new(program().unwrap())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&serde_json::to_vec(job).unwrap()).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    match serde_json::from_str(text.lines().last().unwrap_or_default()) {
        Ok(Line::Done(done)) => Ok(*done),
        other => Err(format!("{other:?}")),
    }
}

pub(crate) fn told(made: &SnapshotMade, hub: &TestHub) -> WorkOutcome {
    let tags = SnapshotTags {
        node: None,
        node_name: None,
        stack: Some("shop".parse().unwrap()),
        tree: None,
        deployment: None,
        conversation: None,
        reason: BackupReason::Manual,
    };
    let snapshot = Snapshot {
        id: made.id,
        at: hub.world().now(),
        tags,
        // More than a node can know.
        proof: Proof::Drilled,
        files: made.files,
        bytes: made.bytes,
        added_bytes: made.added_bytes,
        manifest: made.manifest,
    };
    WorkOutcome { snapshots: vec![snapshot], ..WorkOutcome::default() }
}

/// The order of a node, once its repository is made.
pub(crate) async fn ordered(hub: &TestHub, agent: &Agent) -> backstay_types::backup::BackupOrder {
    let held = agent.check_in(hello(0)).await;
    let _ = held;
    eventually("an order", async || match next(agent).await {
        Ok(next) => next.order,
        Err(error) => {
            assert_eq!(error.problem().unwrap().code, ErrorCode::BS9012, "{error}");
            let _ = hub;
            None
        }
    })
    .await
}

pub(crate) async fn snapshots(hub: &TestHub) -> Vec<v1::SnapshotView> {
    let query = v1::SnapshotsQuery { node: Some("web-1".to_owned()), ..Default::default() };
    hub.admin().call::<v1::ListSnapshots>(&Empty {}, &query, &Empty {}).await.unwrap().items
}

pub(crate) async fn job(hub: &TestHub, id: backstay_types::BackupJobId) -> v1::BackupJobView {
    let path = v1::BackupJobPath { job: id };
    hub.admin().call::<v1::GetBackupJob>(&path, &Empty {}, &Empty {}).await.unwrap()
}

pub(crate) async fn ended(hub: &TestHub, id: backstay_types::BackupJobId) -> v1::BackupJobView {
    eventually("the job ends", async || {
        let view = job(hub, id).await;
        view.job.state.is_final().then_some(view)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_from_the_order_to_the_proof_and_a_copy() {
    if program().is_none() {
        return;
    }
    let second = tempfile::tempdir().unwrap();
    let second_path = second.path().to_owned();
    let hub = hub_with(|backup| backup.second = Some(TargetSettings::Folder(second_path))).await;
    let agent = hub.join("web-1").await;
    agent.say_hello().await;
    // The check-in that is held ends with the order.
    let held = tokio::spawn({
        let client = agent.client.clone();
        async move {
            let request =
                backstay_api::agent::CheckInRequest { observed: None, facts: None, ..hello(20_000) };
            let hold = Duration::from_secs(20);
            client
                .call_held::<backstay_api::agent::CheckIn>(&Empty {}, &Empty {}, &request, hold)
                .await
                .unwrap()
        }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let job = start(&hub, "web-1").await.job;
    assert_eq!(start(&hub, "web-1").await.job.id, job.id, "not a second one");
    let told_at_once = tokio::time::timeout(Duration::from_secs(10), held).await.unwrap().unwrap();
    assert!(told_at_once.backup);
    let order = ordered(&hub, &agent).await;
    assert_eq!(order.job, job.id);
    assert!(matches!(&order.work, BackupWork::Save(work) if work.reason == BackupReason::Manual));
    assert_eq!(next(&agent).await.unwrap().order.unwrap(), order, "the same until the outcome was taken");
    assert!(!agent.say_hello().await.backup, "who has asked is not told again");

    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("orders"), vec![42u8; 100_000]).unwrap();
    let path = BackupJobPath { job: job.id };
    let progress = BackupProgress {
        phase: BackupPhase::Saving,
        stack: None,
        files: 1,
        files_total: Some(2),
        bytes: 5,
        bytes_total: None,
    };
    let go_on = agent.client.call::<SendBackupProgress>(&path, &Empty {}, &progress).await.unwrap();
    assert!(go_on.go_on);
    assert_eq!(self::job(&hub, job.id).await.job.progress.unwrap(), progress);
    let made = save(&hub, &agent, &order.password, data.path()).await;
    let outcome = told(&made, &hub);
    for _ in 0..2 {
        agent.client.call::<FinishBackup>(&path, &Empty {}, &outcome).await.unwrap();
    }
    // The hub reads it back, copies it, and reads the copy back.
    let kept = eventually("it is proven and copied", async || {
        snapshots(&hub).await.into_iter().find(|one| one.kept.snapshot.proof == Proof::Replicated)
    })
    .await;
    assert_eq!(kept.kept.snapshot.id, made.id);
    assert!(kept.kept.verified_at.is_some() && kept.kept.copy.is_some());
    assert_eq!(kept.kept.snapshot.tags.node, Some(agent.joined.node));
    eventually("the outcome is told", async || (events(&hub, "backup_made").await > 0).then_some(())).await;
    assert_eq!(events(&hub, "backup_made").await, 1, "it was taken once");
    assert!(second.path().join(format!("nodes/{}/config", agent.joined.node)).is_file());
    let status = v1::BackupStatusQuery { node: Some("web-1".to_owned()), ..Default::default() };
    let status = eventually("it is good", async || {
        let page = hub.admin().call::<v1::ListBackupStatus>(&Empty {}, &status, &Empty {}).await.unwrap();
        page.items.into_iter().find(|one| one.state == BackupHealth::Good)
    })
    .await;
    assert_eq!(status.stacks[0].proven.as_ref().unwrap().id, made.id);
    assert_eq!(status.last_90_days, v1::BackupRate { done: 1, failed: 0 });

    // What is in it, asked through the hub.
    let path = v1::SnapshotPath { snapshot: made.id.to_string()[..12].to_owned() };
    let request = v1::SnapshotFilesRequest { path: String::new(), recursive: true };
    let asked = hub.admin().call::<v1::AskSnapshotFiles>(&path, &Empty {}, &request).await.unwrap();
    ended(&hub, asked.job.id).await;
    let path = v1::BackupJobPath { job: asked.job.id };
    let files = hub.admin().call::<v1::GetSnapshotFiles>(&path, &Empty {}, &Empty {}).await.unwrap();
    assert!(files.files.iter().any(|file| file.path == "data/orders" && file.bytes == 100_000), "{files:?}");

    // A prune takes nothing away that is kept, and says why.
    let request = v1::PruneBackupsRequest { node: "web-1".to_owned(), dry_run: false };
    let plan = hub.admin().call::<v1::PruneBackups>(&Empty {}, &Empty {}, &request).await.unwrap();
    assert!(plan.snapshots[0].stays && plan.snapshots[0].reason.contains("newest proven"));
    let done = ended(&hub, plan.job.job.id).await.job.result.unwrap();
    assert!(done.failed.is_none() && done.pruned.is_some(), "{done:?}");

    // A restore is ordered as asked, and only of what is proven.
    let request = v1::RestoreRequest {
        id: None,
        node: Some("web-1".to_owned()),
        stack: Some("shop".parse().unwrap()),
        from: v1::RestoreFrom::Latest,
        items: Vec::new(),
        paths: vec!["data/orders".to_owned()],
        on: None,
        destination: Destination::Folder { path: "/tmp/orders".to_owned() },
        dry_run: true,
        confirm: None,
    };
    let dry = hub.admin().call::<v1::StartRestore>(&Empty {}, &Empty {}, &request).await.unwrap();
    assert!(dry.job.is_none() && dry.lost.is_empty());
    let request = v1::RestoreRequest { dry_run: false, ..request };
    let view = hub.admin().call::<v1::StartRestore>(&Empty {}, &Empty {}, &request).await.unwrap();
    let order = ordered(&hub, &agent).await;
    assert_eq!(order.job, view.job.unwrap().job.id);
    assert!(matches!(&order.work, BackupWork::Restore(work) if work.snapshot == made.id));
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_found_told_and_nothing_is_pruned() {
    if program().is_none() {
        return;
    }
    let hub = hub_with(|_| {}).await;
    let agent = hub.join("web-1").await;
    agent.say_hello().await;
    let job = start(&hub, "web-1").await.job;
    let order = ordered(&hub, &agent).await;
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("orders"), vec![1u8; 200_000]).unwrap();
    let made = save(&hub, &agent, &order.password, data.path()).await;
    let path = BackupJobPath { job: job.id };
    agent.client.call::<FinishBackup>(&path, &Empty {}, &told(&made, &hub)).await.unwrap();
    eventually("it is proven", async || {
        snapshots(&hub).await.into_iter().find(|one| one.kept.snapshot.proof >= Proof::Verified)
    })
    .await;
    // A bit flips in a pack of data.
    let repository = target(&hub).join(format!("nodes/{}/data", agent.joined.node));
    let packs = std::fs::read_dir(&repository)
        .unwrap()
        .flat_map(|dir| std::fs::read_dir(dir.unwrap().path()).unwrap());
    for pack in packs.map(|entry| entry.unwrap().path()) {
        let mut bytes = std::fs::read(&pack).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&pack, bytes).unwrap();
    }
    let request = v1::VerifyBackupsRequest { node: "web-1".to_owned(), snapshot: None };
    let asked = hub.admin().call::<v1::VerifyBackups>(&Empty {}, &Empty {}, &request).await.unwrap();
    let result = ended(&hub, asked.job.id).await.job.result.unwrap();
    assert!(!result.problems.is_empty() && result.failed.is_some(), "{result:?}");
    let kept = snapshots(&hub).await.remove(0).kept;
    assert!(kept.damaged_at.is_some() && kept.snapshot.proof < Proof::Verified);
    eventually("it is told", async || (events(&hub, "backup_repository_checked").await == 1).then_some(()))
        .await;
    let restore = v1::RestoreRequest {
        id: None,
        node: None,
        stack: None,
        from: v1::RestoreFrom::Snapshot(made.id.to_string()),
        items: Vec::new(),
        paths: Vec::new(),
        on: None,
        destination: Destination::InPlace,
        dry_run: false,
        confirm: None,
    };
    let refused = hub.admin().call::<v1::StartRestore>(&Empty {}, &Empty {}, &restore).await;
    assert_eq!(code(refused), ErrorCode::BS9017);
    tokio::time::sleep(Duration::from_secs(6)).await;
    let view = hub.admin().call::<v1::GetBackups>(&Empty {}, &Empty {}, &Empty {}).await.unwrap();
    let of_node: Vec<_> = view.warnings.iter().filter(|one| one.node.is_some()).collect();
    assert!(of_node.len() == 1 && of_node[0].text.contains("1 snapshot lost data"), "{of_node:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn restic_reads_a_repository_through_the_hub_and_cannot_take_anything_away() {
    let Some(restic) = Restic::require() else { return };
    if program().is_none() {
        return;
    }
    let hub = hub_with(|_| {}).await;
    let agent = hub.join("web-1").await;
    agent.say_hello().await;
    start(&hub, "web-1").await;
    let order = ordered(&hub, &agent).await;
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("orders"), b"hello from restic").unwrap();
    let address = hub.hub.address();
    let url = format!("rest:http://agent:{}@{address}{REPOSITORY}", agent.joined.credential.expose());
    let cache = tempfile::tempdir().unwrap();
    let program = restic.path();
    let restic = async |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(program);
        command.args(["--repo", &url, "--cache-dir", cache.path().to_str().unwrap()]).args(arguments);
        let output = command.env("RESTIC_PASSWORD", order.password.expose()).output().await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), text + &String::from_utf8_lossy(&output.stderr))
    };
    let (ok, said) = restic(&["backup", data.path().to_str().unwrap()]).await;
    assert!(ok, "{said}");
    let (ok, said) = restic(&["check", "--read-data"]).await;
    assert!(ok, "{said}");
    let out = tempfile::tempdir().unwrap();
    let (ok, said) = restic(&["restore", "latest", "--target", out.path().to_str().unwrap()]).await;
    assert!(ok, "{said}");
    let restored = out.path().join(data.path().strip_prefix("/").unwrap()).join("orders");
    assert_eq!(std::fs::read(restored).unwrap(), b"hello from restic");
    let (ok, said) = restic(&["forget", "latest", "--prune"]).await;
    assert!(!ok || said.contains("403") || said.contains("Forbidden"), "{said}");
    let (ok, said) = restic(&["snapshots", "--json"]).await;
    assert!(ok && said.contains("orders") || said.contains("short_id"), "{said}");
    // What nobody told of is found in the repository, and taken in.
    hub.clock.advance(Duration::from_secs(90_000));
    agent.say_hello().await;
    eventually("it is adopted", async || (!snapshots(&hub).await.is_empty()).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_cancelled_and_what_a_node_tells_of_an_unknown_job_counts() {
    let hub = hub_with(|_| {}).await;
    let agent = hub.join("web-1").await;
    agent.say_hello().await;
    let first = start(&hub, "web-1").await.job;
    let path = v1::BackupJobPath { job: first.id };
    let cancelled = hub.admin().call::<v1::CancelBackupJob>(&path, &Empty {}, &Empty {}).await.unwrap();
    assert_eq!(cancelled.job.state, backstay_types::backup::BackupJobState::Cancelled);
    assert!(matches!(cancelled.job.task, BackupTask::Save(_)));
    let again = hub.admin().call::<v1::CancelBackupJob>(&path, &Empty {}, &Empty {}).await.unwrap();
    assert_eq!(again.job, cancelled.job);
    // A node tells of a job that this hub does not know: it was restored from an earlier backup. What was saved counts.
    let path = BackupJobPath { job: hub.world().mint() };
    let outcome = WorkOutcome { failed: Some("the disk is full".into()), ..WorkOutcome::default() };
    agent.client.call::<FinishBackup>(&path, &Empty {}, &outcome).await.unwrap();
    let query = v1::BackupJobsQuery { node: Some("web-1".to_owned()), ..Default::default() };
    let jobs = hub.admin().call::<v1::ListBackupJobs>(&Empty {}, &query, &Empty {}).await.unwrap();
    assert_eq!(jobs.items.len(), 2);
    eventually("it is in the ledger", async || (events(&hub, "backup_failed").await == 1).then_some(()))
        .await;
}

/// The hub saves itself; its machine is lost; another one gets all of it back with the recovery key, and the node that had
/// joined the first is heard by the second.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_hub_comes_back_with_the_recovery_key_alone() {
    if program().is_none() {
        return;
    }
    let key = age::x25519::Identity::generate();
    let recipient = key.to_public().to_string();
    let secret = |key: &age::x25519::Identity| key.to_string().expose_secret().to_owned();
    let (identity, other) = (secret(&key), secret(&age::x25519::Identity::generate()));
    let hub = hub_with(|_| {}).await;
    let agent = hub.join("web-1").await;
    agent.say_hello().await;
    let request = v1::SetRecoveryKeyRequest { recipient, replace: false };
    hub.admin().call::<v1::SetRecoveryKey>(&Empty {}, &Empty {}, &request).await.unwrap();
    let request = v1::StartBackupRequest { hub: true, ..Default::default() };
    let started = hub.admin().call::<v1::StartBackup>(&Empty {}, &Empty {}, &request).await.unwrap();
    let done = ended(&hub, started.jobs[0].job.id).await;
    assert_eq!(done.job.state, backstay_types::backup::BackupJobState::Done, "{:?}", done.job.result);
    let sealed = target(&hub).join("recovery/hub.age");
    eventually("its password is sealed beside it", async || sealed.is_file().then_some(())).await;

    let mut settings = hub.settings();
    let world = hub.world();
    let lost = hub.folder;
    hub.hub.stop().await;
    drop(lost);
    let new = tempfile::tempdir().unwrap();
    settings.hub.data_dir = new.path().join("hub");
    let wanted = |key: &str| backstay_hub::WantedHub {
        settings: settings.clone(),
        recovery_key: Secret::new(key),
        at: world.now(),
    };
    let refused = backstay_hub::restore_hub(wanted(&other), world.clone(), |_| {}).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::BS9019, "{refused}");
    backstay_hub::restore_hub(wanted(&identity), world.clone(), |_| {}).await.unwrap();
    let again = backstay_hub::restore_hub(wanted(&identity), world.clone(), |_| {}).await.unwrap_err();
    assert!(again.to_string().contains("there is a hub in this folder"), "{again}");
    assert!(settings.hub.data_dir.join("settings.restored.toml").is_file());

    let restored = backstay_hub::Hub::start(settings.clone(), world.clone()).await.unwrap();
    let options = backstay_client::Options::default();
    let credential = Some(agent.joined.credential.clone());
    let client = backstay_client::Client::with_options(&restored.url(), credential, options).unwrap();
    let agent = Agent { joined: agent.joined, client };
    // With the credential that the lost one gave.
    agent.say_hello().await;
    let admin = backstay_client::Client::with_options(
        &restored.url(),
        Some(restored.admin_token().clone()),
        backstay_client::Options::default(),
    )
    .unwrap();
    let node = v1::NodePath { node: "web-1".to_owned() };
    assert!(admin.call::<v1::GetNode>(&node, &Empty {}, &Empty {}).await.is_ok());
    let query = v1::TimelineQuery { kind: Some("hub_restored".to_owned()), ..Default::default() };
    eventually("the ledger says so", async || {
        let found = admin.call::<v1::ListTimeline>(&Empty {}, &query, &Empty {}).await.unwrap();
        (found.items.len() == 1).then_some(())
    })
    .await;
    restored.stop().await;
    let started_again = backstay_hub::Hub::start(settings, world).await.unwrap();
    started_again.stop().await;
}

/// A job lends another node's repository for reading, while it runs, to the node that does it.
#[tokio::test(flavor = "multi_thread")]
async fn another_nodes_repository_is_read_for_a_job_while_that_runs_and_never_written() {
    if program().is_none() {
        return;
    }
    let hub = hub_with(|_| {}).await;
    let (one, two, three) = (hub.join("web-1").await, hub.join("two").await, hub.join("three").await);
    one.say_hello().await;
    let saved = start(&hub, "web-1").await.job;
    let order = ordered(&hub, &one).await;
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("orders"), b"what one had").unwrap();
    let made = save(&hub, &one, &order.password, data.path()).await;
    let path = BackupJobPath { job: saved.id };
    one.client.call::<FinishBackup>(&path, &Empty {}, &told(&made, &hub)).await.unwrap();
    eventually("it is proven", async || {
        snapshots(&hub).await.into_iter().find(|one| one.kept.snapshot.proof >= Proof::Verified)
    })
    .await;

    let request = v1::RestoreRequest {
        id: None,
        node: Some("web-1".to_owned()),
        stack: Some("shop".parse().unwrap()),
        from: v1::RestoreFrom::Latest,
        items: Vec::new(),
        paths: Vec::new(),
        on: Some("two".to_owned()),
        destination: Destination::InPlace,
        confirm: None,
        dry_run: true,
    };
    let refused = hub.admin().call::<v1::StartRestore>(&Empty {}, &Empty {}, &request).await;
    assert_eq!(code(refused), ErrorCode::BS9053, "two has nothing of it that could be replaced");
    let destination = Destination::Folder { path: "/tmp/orders".to_owned() };
    let request = v1::RestoreRequest { destination, dry_run: false, ..request };
    let view = hub.admin().call::<v1::StartRestore>(&Empty {}, &Empty {}, &request).await.unwrap();
    assert_eq!(view.of_node.as_ref().map(ToString::to_string).as_deref(), Some("web-1"));
    let id = view.job.unwrap().job.id;
    let lent = |agent: &Agent, job: backstay_types::BackupJobId, method, path: &str| {
        let url = format!("{}/agent/v1/backups/{job}/repository/{path}", hub.hub.url());
        http().request(method, url).bearer_auth(agent.joined.credential.expose()).send()
    };
    let get = reqwest::Method::GET;
    assert_eq!(lent(&two, id, get.clone(), "config").await.unwrap().status(), 403, "it has not begun");
    let order = ordered(&hub, &two).await;
    assert!(matches!(&order.work, BackupWork::Restore(work) if work.of_node == Some(one.joined.node)));
    assert_eq!(lent(&two, id, get.clone(), "config").await.unwrap().status(), 200);
    assert_eq!(lent(&two, id, reqwest::Method::HEAD, "config").await.unwrap().status(), 200);
    for (agent, why) in [(&three, "another node"), (&one, "its owner: it is no job of its own")] {
        assert_eq!(lent(agent, id, get.clone(), "config").await.unwrap().status(), 403, "{why}");
    }
    assert_eq!(lent(&two, saved.id, get.clone(), "config").await.unwrap().status(), 403, "another job");
    let name = Digest::of(b"new").to_string();
    for (method, path) in [
        (reqwest::Method::POST, format!("data/{name}")),
        (reqwest::Method::POST, format!("locks/{name}")),
        (reqwest::Method::DELETE, format!("snapshots/{}", made.id)),
        (reqwest::Method::DELETE, format!("locks/{name}")),
        (reqwest::Method::POST, "config".to_owned()),
    ] {
        assert_eq!(lent(&two, id, method.clone(), &path).await.unwrap().status(), 403, "{method} {path}");
    }
    let ways =
        ["..%2fconfig", "nodes/x/config", "%2e%2e%2f%2e%2e%2frepository%2fconfig", "data/..%2f..%2fconfig"];
    for way in ways {
        let status = lent(&two, id, get.clone(), way).await.unwrap().status();
        assert!(status.is_client_error(), "{way}: {status}");
    }
    // What it needs of it stays for as long as that takes.
    let request = v1::PruneBackupsRequest { node: "web-1".to_owned(), dry_run: true };
    let plan = hub.admin().call::<v1::PruneBackups>(&Empty {}, &Empty {}, &request).await.unwrap();
    assert!(plan.snapshots[0].reason.contains(&id.to_string()), "{:?}", plan.snapshots);

    let out = tempfile::tempdir().unwrap();
    let url = format!("{}/agent/v1/backups/{id}/repository/", hub.hub.url());
    let target = Target::Rest { url, credential: two.joined.credential.clone(), ca_file: None };
    let into = out.path().display().to_string();
    let task = Task::Restore(backstay_types::backup::job::RestoreTask {
        snapshot: made.id,
        places: vec![backstay_types::backup::job::Place { path: "data".to_owned(), into }],
        delete_others: false,
        reuse: false,
        keep_free: 0,
    });
    let password = order.other_password.unwrap();
    let repository = Repository { target, password, cache: None };
    let job = Job { repository, bytes_per_second: None, task };
    run(&job).await.unwrap();
    assert_eq!(std::fs::read(out.path().join("orders")).unwrap(), b"what one had");

    let outcome = WorkOutcome::default();
    two.client.call::<FinishBackup>(&BackupJobPath { job: id }, &Empty {}, &outcome).await.unwrap();
    assert_eq!(lent(&two, id, get.clone(), "config").await.unwrap().status(), 403, "it has ended");
    // So it is for one that is cancelled while it runs, and for one whose time is over.
    for cancelled in [true, false] {
        let view =
            hub.admin().call::<v1::StartRestore>(&Empty {}, &Empty {}, &request_of(&made)).await.unwrap();
        let id = view.job.unwrap().job.id;
        assert_eq!(ordered(&hub, &two).await.job, id);
        assert_eq!(lent(&two, id, get.clone(), "config").await.unwrap().status(), 200);
        if cancelled {
            let path = v1::BackupJobPath { job: id };
            hub.admin().call::<v1::CancelBackupJob>(&path, &Empty {}, &Empty {}).await.unwrap();
        } else {
            hub.clock.advance(hub.settings().backup.deadline + Duration::from_secs(1));
        }
        assert_eq!(lent(&two, id, get.clone(), "config").await.unwrap().status(), 403, "{cancelled}");
        two.client.call::<FinishBackup>(&BackupJobPath { job: id }, &Empty {}, &outcome).await.unwrap();
    }
}

fn request_of(made: &SnapshotMade) -> v1::RestoreRequest {
    v1::RestoreRequest {
        id: None,
        node: None,
        stack: None,
        from: v1::RestoreFrom::Snapshot(made.id.to_string()),
        items: Vec::new(),
        paths: Vec::new(),
        on: Some("two".to_owned()),
        destination: Destination::Folder { path: "/tmp/orders".to_owned() },
        confirm: None,
        dry_run: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_is_counted_at_once() {
    if program().is_none() {
        return;
    }
    let hub = hub_with(|_| {}).await;
    let agent = hub.join("web-1").await;
    let done = async || {
        let query = v1::BackupStatusQuery { node: Some("web-1".to_owned()), ..Default::default() };
        let page = hub.admin().call::<v1::ListBackupStatus>(&Empty {}, &query, &Empty {}).await.unwrap();
        page.items[0].last_90_days.done
    };
    let job = start(&hub, "web-1").await.job;
    ordered(&hub, &agent).await;
    // Somebody has just looked, and it was looked for all who ask in the next seconds.
    assert_eq!(done().await, 0);
    let path = BackupJobPath { job: job.id };
    agent.client.call::<FinishBackup>(&path, &Empty {}, &WorkOutcome::default()).await.unwrap();
    assert_eq!(done().await, 1);
    hub.hub.stop().await;
}

//! What a fake hub says about backups, and the program that a node is given for them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::{Path as UrlPath, State},
    http::StatusCode,
    routing::post,
};
use backstay_api::{
    Empty,
    agent::{BackupGoOn, NextBackupRequest, NextBackupResponse},
    statement::{DesiredAction, DesiredStack},
};
use backstay_types::{
    BackupJobId, DeploymentId, RolloutKind, Secret,
    backup::{
        BackupOrder, BackupProgress, BackupReason, BackupWork, Destination, DrillWork, RestoreWork, SaveWork,
        Snapshot, SnapshotId, WorkOutcome,
    },
};

use super::{FakeHub, Node, Stack, hub::Shared};

/// What the hub wants, and what it was told.
#[derive(Debug, Default)]
pub(crate) struct Backups {
    /// Whether backups are set up.
    pub(crate) set_up: bool,
    pub(crate) order: Option<BackupOrder>,
    /// For deployments that wait, whatever else is under way.
    before: BTreeMap<DeploymentId, BackupOrder>,
    /// Whose progress it was told of, each time.
    progress: Vec<BackupJobId>,
    pub(crate) outcomes: Vec<(BackupJobId, WorkOutcome)>,
    /// Deployments that asked.
    pub(crate) asked: Vec<DeploymentId>,
    pub(crate) cancel: bool,
    /// Jobs that should end.
    cancelled: BTreeSet<BackupJobId>,
    /// Deployments that come with data.
    pub(crate) with_data: BTreeMap<DeploymentId, SnapshotId>,
    /// Deployments that take a stack away which moves.
    pub(crate) leaving: BTreeSet<DeploymentId>,
}

pub(super) fn routes(router: Router<Arc<Shared>>) -> Router<Arc<Shared>> {
    router
        .route("/agent/v1/backups/next", post(next))
        .route("/agent/v1/backups/{job}/progress", post(progress))
        .route("/agent/v1/backups/{job}/outcome", post(outcome))
}

async fn next(
    State(shared): State<Arc<Shared>>,
    Json(request): Json<NextBackupRequest>,
) -> Result<Json<NextBackupResponse>, StatusCode> {
    let mut inner = shared.lock();
    if inner.deaf {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    let backups = &mut inner.backups;
    if let Some(before) = request.before {
        backups.asked.push(before.deployment);
        let deployment = before.deployment;
        let work = match backups.with_data.get(&deployment) {
            Some(snapshot) => Some(BackupWork::Restore(RestoreWork {
                snapshot: *snapshot,
                stack: before.stack,
                items: Vec::new(),
                paths: Vec::new(),
                destination: Destination::WithDeployment { deployment },
                of_node: None,
            })),
            None => backups.set_up.then(|| {
                let last = backups.leaving.contains(&deployment);
                BackupWork::Save(SaveWork {
                    stacks: vec![before.stack],
                    reason: if last { BackupReason::Migration } else { BackupReason::Deployment },
                    deployment: Some(deployment),
                    conversation: None,
                    last,
                })
            }),
        };
        let order = work.map(|work| backups.before.entry(deployment).or_insert_with(|| order(work)).clone());
        return Ok(Json(NextBackupResponse { order, set_up: backups.set_up }));
    }
    let next = backups.order.clone().or_else(|| backups.before.values().next().cloned());
    Ok(Json(NextBackupResponse { order: next, set_up: backups.set_up }))
}

async fn progress(
    State(shared): State<Arc<Shared>>,
    UrlPath(job): UrlPath<BackupJobId>,
    Json(_): Json<BackupProgress>,
) -> Json<BackupGoOn> {
    let mut inner = shared.lock();
    let backups = &mut inner.backups;
    backups.progress.push(job);
    Json(BackupGoOn { go_on: !backups.cancel && !backups.cancelled.contains(&job) })
}

async fn outcome(
    State(shared): State<Arc<Shared>>,
    UrlPath(job): UrlPath<BackupJobId>,
    Json(outcome): Json<WorkOutcome>,
) -> Result<Json<Empty>, StatusCode> {
    let mut inner = shared.lock();
    if inner.deaf {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    let backups = &mut inner.backups;
    backups.order.take_if(|order| order.job == job);
    backups.before.retain(|_, order| order.job != job);
    backups.outcomes.push((job, outcome));
    if inner.forgetful {
        return Err(StatusCode::BAD_GATEWAY);
    }
    Ok(Json(Empty {}))
}

fn order(work: BackupWork) -> BackupOrder {
    let world = backstay_agent::system();
    BackupOrder {
        job: world.mint(),
        password: Secret::new("password"),
        other_password: None,
        deadline: world.now() + std::time::Duration::from_secs(600),
        bytes_per_second: Some(1 << 30),
        work,
    }
}

impl FakeHub {
    /// Wants all that a node runs to be saved.
    pub(crate) fn want_backup(&self) -> BackupJobId {
        let save = SaveWork {
            stacks: Vec::new(),
            reason: BackupReason::Schedule,
            deployment: None,
            conversation: None,
            last: false,
        };
        self.want(BackupWork::Save(save))
    }

    /// Wants the stack `web` restored.
    pub(crate) fn want_restore(&self, snapshot: SnapshotId, items: &[&str], to: Destination) -> BackupJobId {
        let items = items.iter().map(|item| (*item).to_owned()).collect();
        let stack = "web".parse().unwrap();
        self.want(BackupWork::Restore(RestoreWork {
            snapshot,
            stack,
            of_node: None,
            items,
            paths: Vec::new(),
            destination: to,
        }))
    }

    /// Wants the stack `web` drilled.
    pub(crate) fn want_drill(&self, snapshot: &Snapshot, bytes: u64, files_only: bool) -> BackupJobId {
        self.want(BackupWork::Drill(DrillWork {
            snapshot: snapshot.id,
            stack: "web".parse().unwrap(),
            bytes,
            manifest: snapshot.manifest,
            files_only,
        }))
    }

    fn want(&self, work: BackupWork) -> BackupJobId {
        let order = order(work);
        let job = order.job;
        let mut inner = self.inner();
        (inner.backups.set_up, inner.backups.order) = (true, Some(order));
        drop(inner);
        self.wake();
        job
    }

    /// Answers what it is told of progress with: end it.
    pub(crate) fn cancel_backups(&self) {
        self.inner().backups.cancel = true;
    }

    /// Answers what it is told of the progress of one job with: end it.
    pub(crate) fn cancel_backup(&self, job: BackupJobId) {
        self.inner().backups.cancelled.insert(job);
    }

    /// How often it was told of the progress of a job.
    pub(crate) fn progress_of(&self, job: BackupJobId) -> usize {
        self.inner().backups.progress.iter().filter(|of| **of == job).count()
    }

    /// Offers a stack and states that the node should run it with the data of a snapshot.
    pub(crate) fn deploy_with_data(&self, stack: &Stack, snapshot: SnapshotId) -> DeploymentId {
        let desired = DesiredStack { data: Some(snapshot), kind: RolloutKind::Rollback, ..self.offer(stack) };
        let deployment = desired.deployment;
        self.inner().backups.with_data.insert(deployment, snapshot);
        self.state(vec![desired]);
        deployment
    }

    /// States that a stack moves away: it is saved once more, and goes.
    pub(crate) fn leave(&self, stack: &Stack) -> DeploymentId {
        let desired = DesiredStack { action: DesiredAction::Remove, save: true, ..self.offer(stack) };
        let deployment = desired.deployment;
        self.inner().backups.leaving.insert(deployment);
        self.state(vec![desired]);
        deployment
    }

    /// All outcomes that it was told, the newest last.
    pub(crate) fn all_outcomes(&self) -> Vec<WorkOutcome> {
        self.inner().backups.outcomes.iter().map(|(_, outcome)| outcome.clone()).collect()
    }

    pub(crate) fn set_up_backups(&self) {
        self.inner().backups.set_up = true;
    }

    /// How a job ended, as the hub was told; each time that it was.
    pub(crate) fn outcomes(&self, job: BackupJobId) -> Vec<WorkOutcome> {
        let inner = self.inner();
        inner
            .backups
            .outcomes
            .iter()
            .filter(|(of, _)| *of == job)
            .map(|(_, outcome)| outcome.clone())
            .collect()
    }
}

/// Where the program keeps what it saved.
#[derive(Debug, Clone)]
pub(crate) struct Repository {
    pub(crate) dir: PathBuf,
}

impl Repository {
    /// Gives a node the program.
    pub(crate) fn give(node: &mut Node) -> Self {
        let dir = node.root().join("repository");
        fs::create_dir_all(&dir).unwrap();
        let program =
            Path::new(env!("CARGO_BIN_EXE_backstay-agent")).with_file_name("examples/pretend-backup");
        assert!(program.exists(), "build it: cargo build -p backstay-agent --examples");
        // The true one, in a folder's repository.
        let truly = std::env::var("BACKSTAY_TEST_BACKUP").unwrap_or_default();
        let path = node.root().join("backup-program");
        let text = format!("#!/bin/sh\nexec {} {} {truly}\n", program.display(), dir.display());
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        node.settings.push_str(&format!("\nbackup_program = \"{}\"", path.display()));
        Self { dir }
    }

    pub(crate) fn mode(&self, mode: &str) {
        fs::write(self.dir.join("mode"), mode).unwrap();
    }

    /// The jobs that it was given.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }
}

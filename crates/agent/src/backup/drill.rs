//! Drills: a snapshot is restored to scratch, compared, and, where that is allowed, started beside the stack that runs.
//!
//! What is about to be made is written down before it is made, so that nothing of a drill stays behind, whatever becomes of
//! the agent: an agent that starts takes everything away first, and is asked for the drill once more.

pub(super) mod compare;
mod data;
mod start;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use backstay_agent_core::Committed;
use backstay_manifest::{BackupSource, DrillMode, PostgresMethod};
use backstay_types::{
    BackupJobId, ErrorCode, StackName, TreeDigest,
    backup::{
        BackupOrder, BackupPhase, DrillCheck, DrillCheckKind, DrillReport, DrillResult, DrillStart,
        DrillVerdict, DrillWork, WorkOutcome,
        job::{Done, FailedKind, Job, Place, RestoreTask, Restored, Task},
    },
};
use serde::{Deserialize, Serialize};

use super::{BackupError, DataPlan, database::Postgres, desk::Desk, keeper::millis, progress::Progress};
use crate::{
    crash::crash_point,
    disk::{self, WorkLock},
    runtime::compose::{Compose, Scratch},
};

/// How long to wait before it is tried again to take something away, and how often, before other work goes on.
const AGAIN: Duration = Duration::from_secs(5);
const TRIES: u32 = 6;
/// So many paths are told of a check.
const TOLD: usize = 20;
/// A dump takes so much more room once it is loaded.
const UNPACKED: u64 = 4;

/// What a drill has made, or is about to, as it stands in `agent.db`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Drilling {
    pub(super) job: BackupJobId,
    pub(super) stack: StackName,
    pub(super) tree: TreeDigest,
    pub(super) plan: DataPlan,
    pub(super) scratch: Scratch,
    /// Databases of scratch on servers that the stack declares: item and name.
    pub(super) databases: Vec<(String, String)>,
    /// Whether the engine was asked for anything.
    pub(super) started: bool,
}

/// Why a drill did not come to its end.
enum Stop {
    /// It is not to be drilled.
    Off(String),
    /// It says nothing about the snapshot, and is tried again later.
    PutOff(String),
    /// The snapshot, or what was started with it, is not as it should be.
    Failed(String),
}

impl From<BackupError> for Stop {
    fn from(error: BackupError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// The folder of scratch.
fn folder(desk: &Desk) -> PathBuf {
    desk.layout().backups().join("drill")
}

/// A drill, to its end; everything that it made is taken away again.
pub(super) async fn run(
    desk: &Desk,
    order: &BackupOrder,
    work: &DrillWork,
    progress: &Progress,
) -> WorkOutcome {
    let since = Instant::now();
    let mut report = DrillReport::new(work);
    let ended = match recover(desk).await {
        true => whole(desk, order, work, &mut report, progress).await,
        false => Err(Stop::PutOff("what an earlier drill has made cannot be taken away".to_owned())),
    };
    progress.phase(BackupPhase::Clearing, &work.stack);
    clear(desk).await;
    report.total_ms = millis(since.elapsed());
    concluded(report, ended)
}

/// One that has to make way.
pub(super) async fn put_off(desk: &Desk, work: &DrillWork, why: &str) -> WorkOutcome {
    clear(desk).await;
    concluded(DrillReport::new(work), Err(Stop::PutOff(why.to_owned())))
}

fn concluded(mut report: DrillReport, ended: Result<(), Stop>) -> WorkOutcome {
    let coded = |why: String, code: ErrorCode| format!("{why} ({code})");
    let first = report.first_failure();
    let (verdict, why) = match (ended, first) {
        (Ok(()), None) => (DrillVerdict::Passed, None),
        (Ok(()), Some(why)) | (Err(Stop::Failed(why)), _) => {
            (DrillVerdict::Failed, Some(coded(why, ErrorCode::BS9031)))
        }
        (Err(Stop::PutOff(why)), _) => (DrillVerdict::PutOff, Some(coded(why, ErrorCode::BS9034))),
        (Err(Stop::Off(why)), _) => (DrillVerdict::Off, Some(why)),
    };
    (report.verdict, report.why) = (verdict, why.clone());
    let failed = why.filter(|_| matches!(verdict, DrillVerdict::Failed | DrillVerdict::PutOff));
    WorkOutcome { failed, drill: Some(Box::new(report)), ..WorkOutcome::default() }
}

/// Takes away what an earlier drill has left. Whether nothing is left.
pub(super) async fn recover(desk: &Desk) -> bool {
    clear(desk).await
}

/// Takes everything away that a drill has made. An engine that is away must not keep the node from being saved: what is
/// left is noted, and tried again before anything else is done.
async fn clear(desk: &Desk) -> bool {
    let state = match desk.store.drill() {
        Ok(Some(state)) => state,
        Ok(None) => return true,
        Err(error) => {
            tracing::error!(error, "what a drill has made cannot be told");
            return false;
        }
    };
    crash_point("drill.clearing");
    for _ in 1..TRIES {
        let Err(why) = clear_once(desk, &state).await else { return true };
        tracing::error!(job = %state.job, stack = %state.stack, why, "what a drill has made cannot be taken away; trying again");
        tokio::time::sleep(AGAIN).await;
    }
    clear_once(desk, &state).await.is_ok()
}

async fn clear_once(desk: &Desk, state: &Drilling) -> Result<(), String> {
    try_clear(desk, state).await?;
    crash_point("drill.cleared");
    desk.store.not_drilling()
}

async fn try_clear(desk: &Desk, state: &Drilling) -> Result<(), String> {
    let layout = desk.layout().clone();
    // What an agent that died had begun to start goes on without it.
    let cleared = tokio::task::spawn_blocking(move || WorkLock::clear_drill(&layout)).await;
    cleared.map_err(|error| error.to_string())?.map_err(|error| format!("the drill's lock: {error}"))?;
    if state.started {
        Compose::clear_drill(&state.scratch).await.map_err(|failed| failed.reason)?;
    }
    let scene = desk.scene(&state.stack, state.tree);
    for (item, name) in &state.databases {
        let Some(source) = data::postgres(&state.plan, item) else { continue };
        // A server that is away is no reason to do nothing else for ever; its database is told.
        let gone = async {
            let server = Postgres::new(&scene, &state.plan.project, item, source).await?;
            server.forget(name, name).await
        };
        if let Err(error) = gone.await {
            tracing::warn!(%error, database = name, item, "a database of a drill cannot be removed");
        }
    }
    let removed = disk::remove_dir(&state.scratch.dir);
    removed.map(drop).map_err(|error| format!("{}: {error}", state.scratch.dir.display()))
}

/// What is known of the stack before anything is done.
struct Drill<'a> {
    desk: &'a Desk,
    work: &'a DrillWork,
    committed: Committed,
    state: Drilling,
    progress: &'a Progress,
}

async fn whole(
    desk: &Desk,
    order: &BackupOrder,
    work: &DrillWork,
    report: &mut DrillReport,
    progress: &Progress,
) -> Result<(), Stop> {
    let committed = desk
        .committed(&work.stack)
        .map_err(|_| Stop::Off(format!("stack `{}` does not run on this node any more", work.stack)))?;
    let plan =
        desk.plan(&work.stack, committed.tree).await.map_err(|error| Stop::PutOff(error.to_string()))?;
    if plan.backups.drill == Some(DrillMode::Off) {
        return Err(Stop::Off("the stack says `drill = \"off\"`".to_owned()));
    }
    room(desk, work, &plan)?;
    let project = format!("{}-drill-{}", plan.project, data::short(order.job));
    let state = Drilling {
        job: order.job,
        stack: work.stack.clone(),
        tree: committed.tree,
        plan,
        scratch: Scratch { dir: folder(desk), project },
        databases: Vec::new(),
        started: false,
    };
    desk.store.drilling(&state).map_err(Stop::PutOff)?;
    crash_point("drill.noted");
    let mut drill = Drill { desk, work, committed, state, progress };
    drill.fetch(order, report).await?;
    crash_point("drill.fetched");
    progress.phase(BackupPhase::Comparing, &work.stack);
    drill.compare(order, report).await?;
    drill.check_databases(report).await;
    crash_point("drill.compared");
    match drill.may_start() {
        Ok(()) => {
            // What is damaged already would only fail again, and worse to read.
            if report.first_failure().is_none() {
                drill.start(report).await?;
            }
        }
        Err(why) => report.start = DrillStart::No { why },
    }
    if report.start != DrillStart::Yes && report.first_failure().is_none() {
        drill.load_beside(report).await;
    }
    crash_point("drill.tried");
    Ok(())
}

/// Whether there is room for all of it.
fn room(desk: &Desk, work: &DrillWork, plan: &DataPlan) -> Result<(), Stop> {
    let dir = desk.layout().data();
    let (free, _) =
        disk::free(dir).map_err(|error| Stop::PutOff(format!("free space cannot be told: {error}")))?;
    let loads = plan.backups.items.iter().any(|item| !item.what.is_files());
    let times = if loads { 1 + UNPACKED } else { 1 };
    let needed = work.bytes.saturating_mul(times).saturating_add(desk.margin());
    if free >= needed {
        return Ok(());
    }
    let code = ErrorCode::BS9032;
    Err(Stop::PutOff(format!(
        "{free} bytes are free at {}, {needed} are needed to restore {} bytes to scratch ({code})",
        dir.display(),
        work.bytes
    )))
}

impl Drill<'_> {
    /// Restores all of the snapshot. A damaged file is named, and costs that file only.
    async fn fetch(&self, order: &BackupOrder, report: &mut DrillReport) -> Result<(), Stop> {
        self.progress.phase(BackupPhase::Restoring, &self.work.stack);
        let into = self.state.scratch.data();
        disk::private_dir(&self.state.scratch.dir)
            .map_err(|error| Stop::PutOff(format!("{}: {error}", self.state.scratch.dir.display())))?;
        let all = Place { path: String::new(), into: into.display().to_string() };
        let task = RestoreTask {
            snapshot: self.work.snapshot,
            places: vec![all],
            delete_others: false,
            reuse: false,
            keep_free: self.desk.margin(),
        };
        let (repository, bytes_per_second) = (self.desk.repository(order), self.desk.bytes_per_second(order));
        let job = Job { repository, bytes_per_second, task: Task::Restore(task) };
        let since = Instant::now();
        let restored = self.desk.program.run(&job, self.progress).await;
        report.restore_ms = millis(since.elapsed());
        match restored {
            Ok(Done::Restore(Restored { files, bytes, damaged, .. })) => {
                (report.files, report.bytes) = (files, bytes);
                if damaged.is_empty() {
                    return Ok(());
                }
                let paths: Vec<_> = damaged.iter().map(|one| format!("{} ({})", one.at, one.what)).collect();
                let first = paths.first().map_or("", |path| path);
                let why = format!("{} files are damaged in the snapshot, such as {first}", paths.len());
                let paths = paths.into_iter().take(TOLD).collect();
                report.checks.push(check(DrillCheckKind::Files, "files", DrillResult::Failed { why, paths }));
                Ok(())
            }
            Ok(_) => Err(Stop::PutOff("the program did something else than it was asked".to_owned())),
            Err(refusal) => {
                let says_nothing = !matches!(
                    refusal.kind,
                    Some(FailedKind::Damaged | FailedKind::NoSnapshot | FailedKind::NoRepository)
                );
                let text = BackupError::from(refusal).to_string();
                Err(if says_nothing { Stop::PutOff(text) } else { Stop::Failed(text) })
            }
        }
    }

    /// Whether the stack may be started, or why not.
    fn may_start(&self) -> Result<(), String> {
        let plan = &self.state.plan;
        if plan.exclusive {
            return Err("the stack is `exclusive`: it never runs twice".to_owned());
        }
        if self.work.files_only {
            return Err("only files were asked for".to_owned());
        }
        if plan.backups.drill == Some(DrillMode::Files) {
            return Err("the stack says `drill = \"files\"`".to_owned());
        }
        if plan.runtime != "compose" {
            return Err(format!(
                "it runs under `{}`: nothing would keep a second one from the data and ports of the first",
                plan.runtime
            ));
        }
        let is_base = |what: &BackupSource| matches!(what, BackupSource::Postgres(of) if of.method == PostgresMethod::Base);
        if plan.backups.items.iter().any(|item| is_base(&item.what)) {
            return Err("a server that is saved file by file is not put into one of scratch".to_owned());
        }
        if self.committed.prepared.is_none() {
            return Err("it was found here and has not been deployed yet".to_owned());
        }
        Ok(())
    }
}

fn check(kind: DrillCheckKind, what: &str, result: DrillResult) -> DrillCheck {
    DrillCheck { kind, what: what.to_owned(), result }
}

/// How something went that is an error when it did not go well.
fn result_of(result: Result<(), String>) -> DrillResult {
    match result {
        Ok(()) => DrillResult::Passed,
        Err(why) => DrillResult::Failed { why, paths: Vec::new() },
    }
}

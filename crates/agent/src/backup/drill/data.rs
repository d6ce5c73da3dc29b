//! The data itself: files against the snapshot's list, databases by their own means.

use std::path::Path;

use backstay_manifest::{BackupItem, BackupSource, PostgresMethod, PostgresSource};
use backstay_types::{
    BackupJobId, Digest,
    backup::{
        BackupOrder, DrillCheckKind, DrillReport, DrillResult,
        job::{Done, Job, Task},
    },
};

use super::{Drill, Stop, TOLD, check, result_of};
use crate::backup::{
    BackupError, DataPlan,
    chore::{self, Chore},
    database::{self, Postgres},
    exec::Scene,
};

/// The last digits of a job's id: for names.
pub(super) fn short(job: BackupJobId) -> String {
    let text = job.to_string();
    text.rsplit('-').next().unwrap_or(&text).to_owned()
}

/// How the server of an item is reached.
pub(super) fn postgres<'a>(plan: &'a DataPlan, item: &str) -> Option<&'a PostgresSource> {
    plan.backups.items.iter().find(|known| known.name == item).and_then(|item| match &item.what {
        BackupSource::Postgres(source) => Some(source),
        _ => None,
    })
}

impl Drill<'_> {
    /// All that was restored, against what was to be saved; where that is not equal, against the snapshot's own list, which
    /// names what differs.
    pub(super) async fn compare(&self, order: &BackupOrder, report: &mut DrillReport) -> Result<(), Stop> {
        let root = self.state.scratch.data();
        let nice = self.desk.nice();
        let surveyed = chore::run(&Chore::Survey { root: root.clone() }, nice).await?;
        let chore::Done::Surveyed(survey) = surveyed else { return Err(Stop::PutOff(odd())) };
        (report.files, report.bytes, report.digest) = (survey.files, survey.bytes, Some(survey.digest));
        // What the program could not restore was told already, file by file.
        if !report.checks.is_empty() {
            return Ok(());
        }
        let result = if survey.manifest == self.work.manifest {
            DrillResult::Passed
        } else {
            self.compare_with_list(order, &root, survey.manifest).await?
        };
        report.checks.push(check(DrillCheckKind::Files, "files", result));
        Ok(())
    }

    async fn compare_with_list(
        &self,
        order: &BackupOrder,
        root: &Path,
        manifest: Digest,
    ) -> Result<DrillResult, Stop> {
        let task = Task::Files { snapshot: self.work.snapshot, path: String::new(), recursive: true };
        let (repository, bytes_per_second) = (self.desk.repository(order), self.desk.bytes_per_second(order));
        let job = Job { repository, bytes_per_second, task };
        let listed = self.desk.program.run(&job, self.progress).await;
        let Done::Files { files } = listed.map_err(|refusal| Stop::PutOff(refusal.message))? else {
            return Err(Stop::PutOff(odd()));
        };
        let chore = Chore::Differences { root: root.to_owned(), list: files, most: TOLD };
        let chore::Done::Differences { paths, count } = chore::run(&chore, self.desk.nice()).await? else {
            return Err(Stop::PutOff(odd()));
        };
        if count == 0 {
            tracing::info!(%manifest, "what was restored is as the snapshot's list says, though not as it was noted");
            return Ok(DrillResult::Passed);
        }
        let first = paths.first().cloned().unwrap_or_default();
        Ok(DrillResult::Failed { why: format!("{count} paths are not as the snapshot says: {first}"), paths })
    }

    fn items(&self) -> impl Iterator<Item = &BackupItem> {
        self.state.plan.backups.items.iter()
    }

    /// Databases by their own means. What cannot be asked is said.
    pub(super) async fn check_databases(&self, report: &mut DrillReport) {
        let scene = self.desk.scene(&self.state.stack, self.state.tree);
        for item in self.items() {
            let folder = self.state.scratch.data().join(&item.name);
            let asked = match &item.what {
                BackupSource::Sqlite { path, .. } => {
                    let name = Path::new(path).file_name().unwrap_or_default();
                    let path = folder.join(name);
                    path.is_file().then_some(path).map(|path| Asked::Sqlite(Chore::CheckSqlite { path }))
                }
                BackupSource::Postgres(source) if source.method == PostgresMethod::Base => {
                    let why = "a server's files are compared only: they were verified when they were saved";
                    let result = DrillResult::LeftOut { why: why.to_owned() };
                    report.checks.push(check(DrillCheckKind::Database, &item.name, result));
                    continue;
                }
                BackupSource::Postgres(source) => folder.is_dir().then_some(Asked::Postgres(source)),
                _ => continue,
            };
            let result = match asked {
                None => DrillResult::LeftOut {
                    why: "the snapshot has no such item: it is older than that".to_owned(),
                },
                Some(Asked::Sqlite(chore)) => {
                    let checked = chore::run(&chore, self.desk.nice()).await;
                    result_of(checked.map(drop).map_err(|error| error.to_string()))
                }
                Some(Asked::Postgres(source)) => self.check_dumps(&scene, item, source, &folder).await,
            };
            report.checks.push(check(DrillCheckKind::Database, &item.name, result));
        }
    }

    /// Whether dumps can be read to their ends.
    async fn check_dumps(
        &self,
        scene: &Scene,
        item: &BackupItem,
        source: &PostgresSource,
        folder: &Path,
    ) -> DrillResult {
        let server = match Postgres::new(scene, &self.state.plan.project, &item.name, source).await {
            Ok(server) => server,
            // Without the service there is no `pg_restore` to ask.
            Err(error) => return DrillResult::LeftOut { why: error.to_string() },
        };
        let read = async {
            let names = database::dumped(folder)?;
            if names.is_empty() {
                return Err(BackupError::Restore(format!("{}: there is no dump in the snapshot", item.name)));
            }
            for name in names {
                server.check(&folder.join(format!("{name}.dump"))).await?;
            }
            Ok(())
        };
        result_of(read.await.map_err(|error| error.to_string()))
    }

    /// Loads dumps into databases of scratch on the servers that the stack declares.
    pub(super) async fn load_beside(&mut self, report: &mut DrillReport) {
        let scene = self.desk.scene(&self.state.stack, self.state.tree);
        let plan = self.state.plan.clone();
        for item in &plan.backups.items {
            let folder = self.state.scratch.data().join(&item.name);
            let (BackupSource::Postgres(source), true) = (&item.what, folder.is_dir()) else { continue };
            if source.method == PostgresMethod::Base {
                continue;
            }
            let result = if plan.exclusive {
                DrillResult::LeftOut {
                    why: "the stack is `exclusive`: only its files are looked at".to_owned(),
                }
            } else {
                match Postgres::new(&scene, &plan.project, &item.name, source).await {
                    Err(error) => DrillResult::LeftOut { why: error.to_string() },
                    Ok(server) => {
                        let loaded = self.load_all(&server, &item.name, &folder).await;
                        result_of(loaded.map_err(|error| error.to_string()))
                    }
                }
            };
            report.checks.push(check(DrillCheckKind::Load, &item.name, result));
        }
    }

    async fn load_all(
        &mut self,
        server: &Postgres<'_>,
        item: &str,
        folder: &Path,
    ) -> Result<(), BackupError> {
        for (n, name) in database::dumped(folder)?.into_iter().enumerate() {
            let new = format!("backstay_drill_{}_{n}", short(self.state.job));
            self.state.databases.push((item.to_owned(), new.clone()));
            self.desk.store.drilling(&self.state).map_err(BackupError::Restore)?;
            server.load(&folder.join(format!("{name}.dump")), &name, &new).await?;
            crate::crash::crash_point("drill.loaded");
            server.forget(&name, &new).await?;
        }
        Ok(())
    }
}

enum Asked<'a> {
    Sqlite(Chore),
    Postgres(&'a PostgresSource),
}

fn odd() -> String {
    "a program did something else than it was asked".to_owned()
}

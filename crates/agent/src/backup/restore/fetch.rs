//! Fetching what is put back beside its place. Nothing that runs is touched.

use std::{fs, path::Path};

use backstay_manifest::{BackupItem, BackupSource, PostgresMethod};
use backstay_types::{
    StackName,
    backup::{
        BackupOrder, BackupPhase, Destination, ItemOutcome, ItemResult, Proof, RestoreWork,
        job::{Done, Job, Place as Wanted, RestoreTask, Restored, Task},
    },
};

use super::{Base, Restoring, ahead, others, place};
use crate::{
    backup::{
        BackupError, DataPlan,
        chore::{self, Chore},
        database,
        desk::Desk,
        leave,
        plan::inside,
        progress::Progress,
    },
    crash::crash_point,
};

/// Fetches a part of a snapshot. A file that is damaged there is a failure that names it.
pub(super) async fn fetch(
    desk: &Desk,
    order: &BackupOrder,
    work: &RestoreWork,
    places: Vec<Wanted>,
    progress: &Progress,
) -> Result<Restored, (String, Vec<String>)> {
    // Into the place of what was fetched ahead, only what differs from that comes.
    let reuse = work.of_node.is_some() && matches!(work.destination, Destination::WithDeployment { .. });
    let keep_free = desk.margin();
    let task = RestoreTask { snapshot: work.snapshot, places, delete_others: reuse, reuse, keep_free };
    let (repository, bytes_per_second) = (desk.source(order, work), desk.bytes_per_second(order));
    let job = Job { repository, bytes_per_second, task: Task::Restore(task) };
    match desk.program.run(&job, progress).await {
        Ok(Done::Restore(restored)) if restored.damaged.is_empty() => Ok(restored),
        Ok(Done::Restore(restored)) => {
            let paths: Vec<_> = restored.damaged.into_iter().take(20).map(|problem| problem.at).collect();
            let why = format!(
                "{} files are damaged in the snapshot, such as {}",
                paths.len(),
                paths.first().map_or("", |path| path)
            );
            Err((BackupError::Restore(why).to_string(), paths))
        }
        Ok(_) => Err((
            BackupError::Restore("the program did something else than it was asked".to_owned()).to_string(),
            Vec::new(),
        )),
        Err(refusal) => {
            let paths = refusal.paths.iter().take(20).cloned().collect();
            Err((BackupError::Restore(refusal.message).to_string(), paths))
        }
    }
}

/// What came of fetching an item.
pub(super) fn outcome_of(
    stack: &StackName,
    item: &str,
    fetched: &Result<Restored, (String, Vec<String>)>,
) -> ItemOutcome {
    let result = match fetched {
        Ok(restored) => ItemResult::Done {
            files: restored.files,
            bytes: restored.bytes,
            proof: Proof::Verified,
            digest: Some(restored.digest),
        },
        Err((why, paths)) => ItemResult::Failed { why: why.clone(), paths: paths.clone() },
    };
    ItemOutcome { stack: stack.clone(), item: item.to_owned(), result }
}

/// The items that are put back, each with the paths of it that are meant; all of it when there are none.
fn wanted<'a>(
    plan: &'a DataPlan,
    work: &RestoreWork,
) -> Result<Vec<(&'a BackupItem, Vec<String>)>, BackupError> {
    let find = |name: &str| {
        plan.backups.items.iter().find(|item| item.name == name).ok_or_else(|| {
            let known: Vec<_> = plan.backups.items.iter().map(|item| item.name.as_str()).collect();
            let known = known.join(", ");
            BackupError::Restore(format!(
                "the stack has no item `{name}` now, only {known}: restore it into a folder"
            ))
        })
    };
    let mut all: Vec<(&BackupItem, Vec<String>)> = Vec::new();
    for name in &work.items {
        all.push((find(name)?, Vec::new()));
    }
    for path in &work.paths {
        let (name, below) = path.split_once('/').unwrap_or((path, ""));
        let item = find(name)?;
        let below = below.trim_end_matches('/');
        if !below.is_empty() && below.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(BackupError::Restore(format!("`{path}`: expected a path inside the snapshot")));
        }
        match all.iter_mut().find(|(known, _)| known.name == item.name) {
            Some((_, paths)) if !paths.is_empty() && !below.is_empty() => paths.push(below.to_owned()),
            Some((_, paths)) => paths.clear(),
            None if below.is_empty() => all.push((item, Vec::new())),
            None => all.push((item, vec![below.to_owned()])),
        }
    }
    if work.items.is_empty() && work.paths.is_empty() {
        all = plan.backups.items.iter().map(|item| (item, Vec::new())).collect();
    }
    // A folder before the databases that are in it.
    all.sort_by_key(|(item, _)| !item.what.is_files());
    Ok(all)
}

/// Fetches everything beside its place. Nothing that runs is touched.
pub(super) async fn fetch_all(
    desk: &Desk,
    order: &BackupOrder,
    work: &RestoreWork,
    state: &mut Restoring,
    progress: &Progress,
) -> Result<(), String> {
    progress.phase(BackupPhase::Restoring, &work.stack);
    let plan = state.plan.clone();
    let items = wanted(&plan, work).map_err(|error| error.to_string())?;
    for (item, _) in &items {
        refuse(item).map_err(|error| error.to_string())?;
    }
    let names: Vec<_> = items.iter().map(|(item, _)| item.name.as_str()).collect();
    others::find_others(desk, state, &names).await.map_err(|error| error.to_string())?;
    desk.store.restoring(state)?;
    for (item, paths) in items {
        let fetched = fetch_item(desk, order, work, state, (item, &paths), progress).await;
        let fetched = match fetched {
            Ok(fetched) => fetched,
            Err(error) => Err((error.to_string(), Vec::new())),
        };
        let outcome = outcome_of(&work.stack, &item.name, &fetched);
        state.outcome.items.push(outcome);
        fetched.map_err(|(why, _)| format!("{}: {why}", item.name))?;
        crash_point("restore.fetched");
    }
    Ok(())
}

/// What cannot be put back in place.
fn refuse(item: &BackupItem) -> Result<(), BackupError> {
    let why = match &item.what {
        BackupSource::Openclaw { .. } => "OpenClaw's own backup is not put back in place",
        BackupSource::Postgres(source) if source.method == PostgresMethod::Base => {
            "a base backup takes the place of a server's whole data folder, which only its owner can exchange"
        }
        BackupSource::Command(source) if source.restore.is_empty() => {
            "it has no `restore`, a command that takes it back"
        }
        _ => return Ok(()),
    };
    Err(BackupError::Restore(format!("item `{}`: {why}: restore it into a folder", item.name)))
}

type Fetched = Result<Restored, (String, Vec<String>)>;

/// Fetches one item to where it can be put in place from.
async fn fetch_item(
    desk: &Desk,
    order: &BackupOrder,
    work: &RestoreWork,
    state: &mut Restoring,
    (item, paths): (&BackupItem, &[String]),
    progress: &Progress,
) -> Result<Fetched, BackupError> {
    let staged = desk.layout().staging().join("restore").join(&item.name);
    let whole = |into: &Path| Wanted { path: item.name.clone(), into: into.display().to_string() };
    match &item.what {
        BackupSource::Postgres(source) => {
            let mut fetched = fetch(desk, order, work, vec![whole(&staged)], progress).await;
            read_back(state, &mut fetched, &staged, None).await?;
            if fetched.is_ok() {
                let scene = desk.scene(&state.stack, state.committed.tree);
                let server = database::Postgres::new(&scene, &state.plan.project, &item.name, source).await?;
                server.add_roles(&staged).await?;
                for name in database::dumped(&staged)? {
                    let short = order.job.to_string();
                    let short = short.rsplit('-').next().unwrap_or(&short);
                    let base = Base {
                        item: item.name.clone(),
                        new: format!("backstay_new_{short}_{}", state.databases.len()),
                        old: format!("backstay_old_{short}_{}", state.databases.len()),
                        name,
                    };
                    server.load(&staged.join(format!("{}.dump", base.name)), &base.name, &base.new).await?;
                    state.databases.push(base);
                    desk.store.restoring(state).map_err(BackupError::Restore)?;
                }
            }
            Ok(fetched)
        }
        BackupSource::Command(_) => {
            // It is given to the command once the stack runs again, so it has to outlive the agent.
            let kept = state.kept(desk).join(&item.name);
            let _ = fs::remove_dir_all(&kept);
            let mut fetched = fetch(desk, order, work, vec![whole(&kept)], progress).await;
            read_back(state, &mut fetched, &kept, None).await?;
            state.commands.push((item.name.clone(), kept));
            Ok(fetched)
        }
        BackupSource::Openclaw { .. } => {
            Err(BackupError::Restore("it cannot be put back in place".to_owned()))
        }
        BackupSource::Volume { .. } | BackupSource::Path { .. } | BackupSource::Sqlite { .. } => {
            if let BackupSource::Sqlite { .. } = &item.what
                && let Some((root, path)) = state.plan.locate(desk.layout(), &state.stack, &item.what).await?
                && let Some((outer, inner)) = place::nested(&mut state.places, &root.join(&path))
            {
                // What was fetched may hold links, which would lead to what runs.
                inside(&outer, &inner)?;
                let into = outer.join(inner);
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let wanted =
                    Wanted { path: format!("{}/{name}", item.name), into: into.display().to_string() };
                let mut fetched = fetch(desk, order, work, vec![wanted], progress).await;
                read_back(state, &mut fetched, &into, Some(name)).await?;
                if fetched.is_ok() {
                    chore::run(&Chore::CheckSqlite { path: into.clone() }, desk.nice()).await?;
                    place::dress(&root.join(&path), &into)?;
                }
                return Ok(fetched);
            }
            let places = place::of(desk, state, item, paths, order.job).await?;
            let wanted = places
                .iter()
                .map(|(path, place)| Wanted { path: path.clone(), into: place.new.display().to_string() });
            let wanted: Vec<_> = wanted.collect();
            // What is fetched is known before it is there, so that it is taken away whatever happens.
            state.places.extend(places.iter().map(|(_, place)| place.clone()));
            desk.store.restoring(state).map_err(BackupError::Restore)?;
            if let (true, [(_, place)]) = (state.first, &places[..]) {
                ahead::take(desk, &state.stack, &item.name, &place.new);
            }
            let mut fetched = fetch(desk, order, work, wanted, progress).await;
            if let [(path, place)] = &places[..] {
                let name = path.strip_prefix(&format!("{}/", item.name)).map(str::to_owned);
                read_back(state, &mut fetched, &place.new, name.filter(|_| place.new.is_file())).await?;
            }
            if fetched.is_ok() {
                for (_, place) in &places {
                    if matches!(item.what, BackupSource::Sqlite { .. }) {
                        chore::run(&Chore::CheckSqlite { path: place.new.clone() }, desk.nice()).await?;
                    }
                    let known = state.places.iter_mut().find(|known| known.new == place.new);
                    if let Some(known) = known {
                        known.fetched()?;
                    }
                }
            }
            Ok(fetched)
        }
    }
}

/// Reads back from disk what was fetched of a stack that first starts here: that is compared with what was left elsewhere.
async fn read_back(
    state: &Restoring,
    fetched: &mut Fetched,
    root: &Path,
    name: Option<String>,
) -> Result<(), BackupError> {
    if let (true, Ok(restored)) = (state.first, fetched)
        && (name.is_some() || root.is_dir())
    {
        let survey = leave::survey(root.to_owned(), Vec::new(), name, 0).await?;
        restored.digest = survey.digest;
        (restored.files, restored.bytes) = (survey.files, survey.bytes);
    }
    Ok(())
}

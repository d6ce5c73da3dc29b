//! What is done with a repository, by the program that can.

use std::{collections::HashMap, time::Duration};

use backstay_engine::{
    EngineError,
    backups::{Chore, Upkeep, Whose, Work},
};
use backstay_objects::{ObjectError, Objects};
use backstay_store::backups::{repositories::KeptRepository, snapshots};
use backstay_types::{
    Digest, Secret,
    backup::{
        BackupJob, BackupPhase, BackupProgress, BackupReason, BackupResult, BackupTask, Proof,
        RepositoryFacts, Snapshot, SnapshotId, SnapshotTags,
        job::{Done, FailedKind, FileEntry, Job, Line, Listed, Problem, Repository, Task},
    },
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use tokio::time::Instant;

use super::{
    ChildError, For, Place, TargetError, context, folder_of, name_of, open_password, own_state,
    recovery_file, repair::is_of_snapshot, seal,
};
use crate::app::App;

/// How often it is noted how far a job is.
const NOTED: Duration = Duration::from_secs(5);
/// The most files that a list has.
const FILES: usize = 50_000;

impl From<EngineError> for ChildError {
    fn from(error: EngineError) -> Self {
        Self::Hub(error.to_string())
    }
}

impl From<backstay_store::StoreError> for ChildError {
    fn from(error: backstay_store::StoreError) -> Self {
        Self::Hub(error.to_string())
    }
}

impl From<TargetError> for ChildError {
    fn from(error: TargetError) -> Self {
        Self::Hub(error.to_string())
    }
}

impl From<ObjectError> for ChildError {
    fn from(error: ObjectError) -> Self {
        Self::Hub(error.to_string())
    }
}

/// Does what is to be done. What came of a job is told there, too.
///
/// # Errors
/// When it came to nothing and is worth trying again.
pub(crate) async fn perform(app: &App, work: Work) -> Result<(), ChildError> {
    let Some(place) = &app.backups.place else { return Ok(()) };
    let Work { whose, repository, chore } = work;
    let repository = match repository {
        Some(repository) => repository,
        None => new_passwords(app, whose).await?,
    };
    let password = open_password(&app.keys, whose, &repository.sealed);
    let password =
        password.ok_or_else(|| ChildError::Hub("the repository's password does not open".to_owned()))?;
    let hand = Hand { app, place, whose, repository, password, job: None };
    match chore {
        Chore::Upkeep(upkeep) => match hand.upkeep(upkeep).await {
            Err(ChildError::Failed(failed)) if failed.kind == FailedKind::NoRepository => {
                hand.not_found().await
            }
            done => done,
        },
        Chore::Job(job) => {
            let Some(job) = app.engine.begin_upkeep(job.id).await? else { return Ok(()) };
            let hand = Hand { job: Some(job.clone()), ..hand };
            hand.job(&job).await
        }
    }
}

/// Passwords for a repository that is about to be made.
async fn new_passwords(app: &App, whose: Whose) -> Result<KeptRepository, ChildError> {
    let sealed = || {
        let password = Secret::new(BASE64_URL_SAFE_NO_PAD.encode(app.world.random::<32>()));
        app.keys
            .seal(&password, &context(whose), &app.world)
            .map_err(|error| ChildError::Hub(error.to_string()))
    };
    Ok(app.engine.keep_passwords(whose, &sealed()?, &sealed()?).await?)
}

/// A repository in hand.
pub(super) struct Hand<'a> {
    pub(super) app: &'a App,
    pub(super) place: &'a Place,
    pub(super) whose: Whose,
    pub(super) repository: KeptRepository,
    password: Secret,
    /// The job that is told how far it is.
    job: Option<BackupJob>,
}

impl Hand<'_> {
    async fn upkeep(&self, upkeep: Upkeep) -> Result<(), ChildError> {
        match upkeep {
            Upkeep::Make => self.make().await,
            Upkeep::MakeSecond => self.make_second().await,
            Upkeep::Seal => self.seal(self.place.objects(), false).await,
            Upkeep::SealSecond => match self.place.second_objects() {
                Some(objects) => self.seal(objects, true).await,
                None => Ok(()),
            },
            Upkeep::Verify(ids) => self.verify(&ids).await.map(drop),
            Upkeep::Copy(ids) => self.copy(&ids).await,
            Upkeep::Repair => self.repair().await,
            Upkeep::List => self.list().await,
            Upkeep::Check(part, parts) => self.check(Some((part, parts))).await.map(drop),
            Upkeep::CheckSecond(part, parts) => self.check_second((part, parts)).await,
            Upkeep::Prune => self.prune(false).await.map(drop),
        }
    }

    async fn make(&self) -> Result<(), ChildError> {
        self.place.is_known(self.app, false, For::Make).await?;
        let node = open_password(&self.app.keys, self.whose, &self.repository.node_sealed);
        let passwords = self.whose.and(node).into_iter().collect();
        match self.run(self.first(), Task::Init { passwords }).await? {
            Done::Init { .. } => {}
            _ => return Err(ChildError::OtherAnswer),
        }
        let now = self.app.world.now();
        self.app.engine.note_repository(self.whose, |facts| facts.made_at = Some(now)).await?;
        // Where only its config was gone, its snapshots are still there.
        self.look_again().await
    }

    async fn make_second(&self) -> Result<(), ChildError> {
        let Some(second) = self.second() else { return Ok(()) };
        self.place.is_known(self.app, true, For::Make).await?;
        match self.run(second, Task::Init { passwords: Vec::new() }).await? {
            Done::Init { .. } => {}
            _ => return Err(ChildError::OtherAnswer),
        }
        let now = self.app.world.now();
        Ok(self.app.engine.note_repository(self.whose, |facts| facts.second_made_at = Some(now)).await?)
    }

    /// Puts the password beside the repository so that its owner alone can open it.
    async fn seal(&self, objects: &Objects, second: bool) -> Result<(), ChildError> {
        let Some(recipient) = self.app.engine.recovery_key().await? else { return Ok(()) };
        let sealed = seal(&self.password, &recipient).map_err(ChildError::Hub)?;
        let name = recovery_file(self.whose)?;
        self.place.is_known(self.app, second, For::Make).await?;
        objects.replace(&name, sealed).await?;
        let set = move |facts: &mut RepositoryFacts| match second {
            true => facts.second_sealed_to = Some(recipient),
            false => facts.sealed_to = Some(recipient),
        };
        Ok(self.app.engine.note_repository(self.whose, set).await?)
    }

    /// Reads snapshots back; gives the bytes that were read and what is wrong.
    async fn verify(&self, ids: &[SnapshotId]) -> Result<(u64, Vec<Problem>), ChildError> {
        let (mut right, mut wrong, mut problems, mut read) = (Vec::new(), Vec::new(), Vec::new(), 0);
        let (mut stuck, mut why) = (Vec::new(), String::new());
        for id in ids {
            match self.run(self.first(), Task::Verify { snapshot: *id }).await {
                Ok(Done::Verify { bytes }) => {
                    right.push(*id);
                    read += bytes;
                }
                Ok(_) => return Err(ChildError::OtherAnswer),
                Err(ChildError::Failed(failed)) if is_of_snapshot(failed.kind) => {
                    wrong.push(*id);
                    let whole = Problem { at: format!("snapshot {id}"), what: failed.message };
                    problems.extend(std::iter::once(whole).chain(failed.problems));
                }
                // One that takes too long, or too much memory, keeps no other from being proven.
                Err(error) if error.is_of_one() => {
                    why = if stuck.is_empty() { error.to_string() } else { why };
                    stuck.push(*id);
                }
                // What was read back so far counts.
                Err(error) => {
                    self.app.engine.note_verified(self.whose, &right, None).await?;
                    return Err(error);
                }
            }
        }
        self.app.engine.note_verified(self.whose, &right, None).await?;
        if !problems.is_empty() {
            self.app.engine.note_checked(self.whose, &problems, &wrong, false, |_| {}).await?;
        }
        match stuck.as_slice() {
            [] => Ok((read, problems)),
            _ => Err(ChildError::Stuck { snapshots: stuck, what: "read back", why }),
        }
    }

    /// Takes in what a node never told; what of it was never proven goes.
    async fn list(&self) -> Result<(), ChildError> {
        let Done::List { snapshots } = self.run(self.first(), Task::List).await? else {
            return Err(ChildError::OtherAnswer);
        };
        let found = snapshots.iter().map(|listed| told_by_tags(listed, self.whose)).collect();
        let unproven = self.app.engine.note_listed(self.whose, found).await?;
        self.forget(&unproven).await
    }

    async fn forget(&self, ids: &[SnapshotId]) -> Result<(), ChildError> {
        // Of what has a copy that cannot be forgotten now, nothing is: none is left there that nobody knows.
        let kept = self.forget_copies(ids).await?;
        let ids: Vec<_> = ids.iter().copied().filter(|id| !kept.contains(id)).collect();
        if ids.is_empty() {
            return Ok(());
        }
        match self.run(self.first(), Task::Forget { snapshots: ids.clone() }).await? {
            Done::Forget { .. } => {
                Ok(self.app.engine.note_pruned(self.whose, &ids, None, None, false).await?)
            }
            _ => Err(ChildError::OtherAnswer),
        }
    }

    /// Checks the structure and a part of the data. Where something is wrong, every snapshot is read back, so that it is
    /// known which of them can still be restored.
    async fn check(&self, read: Option<(u32, u32)>) -> Result<(u64, Vec<Problem>), ChildError> {
        let except = self.damaged().await?;
        let (bytes, problems) = match self.run(self.first(), Task::Check { read, except }).await {
            Ok(Done::Check { bytes, problems }) => (bytes, problems),
            Ok(_) => return Err(ChildError::OtherAnswer),
            Err(ChildError::Failed(failed)) if failed.kind == FailedKind::Damaged => {
                (0, vec![Problem { at: name_of(self.whose), what: failed.message }])
            }
            Err(error) => return Err(error),
        };
        let now = self.app.world.now();
        let whole = matches!(read, Some((0, 1)));
        let note = move |facts: &mut RepositoryFacts| {
            facts.checked_at = Some(now);
            if let Some((part, parts)) = read {
                facts.next_part = if part + 1 >= parts { 0 } else { part + 1 };
                facts.parts = parts;
                if part + 1 >= parts {
                    facts.read_all_at = Some(now);
                }
            }
        };
        self.app.engine.note_checked(self.whose, &problems, &[], whole, note).await?;
        if problems.is_empty() {
            self.look_again().await?;
        } else {
            let all = snapshots::of(&mut self.app.store.read(), self.whose).await?;
            let ids: Vec<_> = all.iter().map(|one| one.snapshot.id).collect();
            Box::pin(self.verify(&ids)).await?;
        }
        Ok((bytes, problems))
    }

    /// Forgets by plan and takes away what nothing needs; or says what that would come to.
    async fn prune(&self, dry_run: bool) -> Result<BackupResult, ChildError> {
        let squeezed = self.app.engine.no_room(self.whose).await?.is_some();
        let fates = self.app.engine.retention_of(self.whose).await?;
        let gone: Vec<_> =
            fates.iter().filter(|(_, fate)| !fate.stays).map(|(one, _)| one.snapshot.id).collect();
        if !dry_run {
            self.forget(&gone).await?;
        }
        let damaged = fates.iter().filter(|(one, fate)| fate.stays && one.damaged_at.is_some()).count();
        if damaged > 0 {
            // What these lack is missed by whatever looks for what is needed.
            if !dry_run {
                let now = self.app.world.now();
                let files = self.place.objects().list_below(&folder_of(self.whose)?).await?;
                let bytes = files.iter().map(|file| file.bytes).sum();
                let note = |facts: &mut RepositoryFacts| {
                    facts.bytes = bytes;
                    facts.pruned_at = Some(now);
                    facts.squeezed_at = squeezed.then_some(now);
                };
                self.app.engine.note_repository(self.whose, note).await?;
            }
            let failed = format!(
                "{damaged} snapshots lost data: until retention lets them go, what nobody needs is not taken away"
            );
            return Ok(BackupResult { forgotten: gone, failed: Some(failed), ..BackupResult::default() });
        }
        let pruned = match self.run(self.first(), Task::Prune { dry_run }).await {
            Ok(Done::Prune(pruned)) => pruned,
            Ok(_) => return Err(ChildError::OtherAnswer),
            Err(ChildError::Failed(failed))
                if failed.kind == FailedKind::Damaged && !failed.problems.is_empty() =>
            {
                // An index that is not true: what somebody added is taken out before anything is taken away.
                self.app.engine.note_checked(self.whose, &failed.problems, &[], false, |_| {}).await?;
                return Err(ChildError::Failed(failed));
            }
            Err(error) => return Err(error),
        };
        if !dry_run {
            self.prune_second().await?;
            let files = self.place.objects().list_below(&folder_of(self.whose)?).await?;
            let bytes = files.iter().map(|file| file.bytes).sum();
            self.app.engine.note_pruned(self.whose, &[], Some(&pruned), Some(bytes), squeezed).await?;
        }
        Ok(BackupResult { forgotten: gone, pruned: Some(pruned), ..BackupResult::default() })
    }

    /// Does what somebody asked for and tells what came of it, whatever that is.
    async fn job(&self, job: &BackupJob) -> Result<(), ChildError> {
        let done = self.result_of(job).await;
        if matches!(&done, Err(ChildError::Failed(failed)) if failed.kind == FailedKind::NoRepository) {
            self.app.engine.suspect_repository(self.whose).await?;
        }
        let (result, files) = match done {
            Ok(done) => done,
            Err(error) => {
                let failed = Some(error.to_string());
                let problems = match error {
                    ChildError::Failed(failed) => failed.problems,
                    _ => Vec::new(),
                };
                (BackupResult { failed, problems, ..BackupResult::default() }, None)
            }
        };
        self.app.engine.end_upkeep(job.id, result, files.as_deref()).await?;
        self.app.backups.last_look.forget();
        Ok(())
    }

    async fn result_of(&self, job: &BackupJob) -> Result<(BackupResult, Option<Vec<FileEntry>>), ChildError> {
        let checked = |(bytes, problems): (u64, Vec<Problem>)| {
            let failed = (!problems.is_empty()).then(|| "the repository is damaged".to_owned());
            BackupResult { bytes_read: Some(bytes), failed, problems, ..BackupResult::default() }
        };
        let result = match &job.task {
            BackupTask::Verify { snapshots } if !snapshots.is_empty() => {
                checked(self.verify(snapshots).await?)
            }
            BackupTask::Verify { .. } => {
                let checked = checked(self.check(Some((0, 1))).await?);
                let all = snapshots::of(&mut self.app.store.read(), self.whose).await?;
                let unproven = all.iter().filter(|one| one.snapshot.proof < Proof::Verified);
                let ids: Vec<_> = unproven.map(|one| one.snapshot.id).collect();
                self.verify(&ids).await?;
                if self.repository.facts.second_made_at.is_some() {
                    self.check_second((0, 1)).await?;
                }
                checked
            }
            BackupTask::Check { read } => checked(self.check(*read).await?),
            BackupTask::Prune { dry_run } => self.prune(*dry_run).await?,
            BackupTask::Files { snapshot, path, recursive } => {
                let task = Task::Files { snapshot: *snapshot, path: path.clone(), recursive: *recursive };
                let Done::Files { mut files } = self.run(self.first(), task).await? else {
                    return Err(ChildError::OtherAnswer);
                };
                let count = files.len() as u64;
                files.truncate(FILES);
                return Ok((BackupResult { files: Some(count), ..BackupResult::default() }, Some(files)));
            }
            BackupTask::Save(work) => own_state::save(self, work, job).await?,
            BackupTask::Restore(_) | BackupTask::Drill(_) => {
                return Err(ChildError::Hub("a node does this".to_owned()));
            }
        };
        Ok((result, None))
    }

    pub(super) fn first(&self) -> Repository {
        self.place.repository(self.whose, self.password.clone())
    }

    pub(super) fn second(&self) -> Option<Repository> {
        self.place.second_repository(self.whose, self.password.clone())
    }

    /// Runs the program; the job, when it is one, is told how far it is.
    pub(super) async fn run(&self, repository: Repository, task: Task) -> Result<Done, ChildError> {
        let job = Job { repository, bytes_per_second: None, task };
        let noted = std::sync::Mutex::new(Instant::now());
        let told = |line: Line| {
            let due = {
                let mut noted = noted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let due = noted.elapsed() >= NOTED;
                if due {
                    *noted = Instant::now();
                }
                due
            };
            async move {
                let Some(job) = self.job.as_ref().filter(|_| due) else { return true };
                let noted = self.app.engine.upkeep_progress(job.id, progress(line)).await;
                noted.unwrap_or(true)
            }
        };
        self.place.child().run(&job, told).await
    }
}

fn progress(line: Line) -> Option<BackupProgress> {
    let Line::Progress { files, files_total, bytes, bytes_total } = line else { return None };
    let phase = BackupPhase::Verifying;
    Some(BackupProgress { phase, stack: None, files, files_total, bytes, bytes_total })
}

/// A snapshot as its tags tell of it: what a node would have told, as far as that can be known.
fn told_by_tags(listed: &Listed, whose: Whose) -> Snapshot {
    let tags: HashMap<&str, &str> =
        listed.tags.iter().filter_map(|tag| tag.strip_prefix("backstay:")?.split_once('=')).collect();
    let reason = tags.get("reason").map(|word| serde_json::Value::String((*word).to_owned()));
    let reason = reason.and_then(|word| serde_json::from_value(word).ok());
    let parsed = |key: &str| tags.get(key).copied();
    Snapshot {
        id: listed.id,
        at: listed.at,
        tags: SnapshotTags {
            // Whoever wrote the tag: it is in this repository.
            node: whose,
            node_name: parsed("node_name").and_then(|text| text.parse().ok()),
            stack: parsed("stack").and_then(|text| text.parse().ok()),
            tree: parsed("tree").and_then(|text| text.parse().ok()),
            deployment: parsed("deployment").and_then(|text| text.parse().ok()),
            conversation: parsed("conversation").and_then(|text| text.parse().ok()),
            reason: reason.unwrap_or(BackupReason::Schedule),
        },
        proof: Proof::Created,
        files: 0,
        bytes: 0,
        added_bytes: 0,
        manifest: Digest::from_bytes([0; 32]),
    }
}

#[cfg(test)]
mod tests {
    use backstay_types::{Id as _, NodeId};

    use super::*;

    #[test]
    fn what_tags_say_is_taken_but_for_whose_it_is() {
        let node = NodeId::from_uuid(uuid::Uuid::from_u128(1));
        let other = NodeId::from_uuid(uuid::Uuid::from_u128(2));
        let tag = |text: &str| text.to_owned();
        let listed = Listed {
            id: SnapshotId::new(Digest::of(b"x")),
            at: backstay_types::Timestamp::UNIX_EPOCH,
            host: "n".to_owned(),
            tags: vec![
                tag("backstay:stack=web"),
                tag(&format!("backstay:node={other}")),
                tag("backstay:reason=deployment"),
                tag("mine"),
                tag("backstay:deployment=nonsense"),
            ],
            paths: Vec::new(),
            original: None,
        };
        let told = told_by_tags(&listed, Some(node));
        assert_eq!(told.tags.node, Some(node));
        assert_eq!(told.tags.stack.as_ref().unwrap().as_str(), "web");
        assert_eq!((told.tags.reason, told.tags.deployment), (BackupReason::Deployment, None));
        assert_eq!(told.proof, Proof::Created);
    }
}

//! Where a stack that moves to another node goes next. It runs on one of the two, or on neither; never on both: whoever is to
//! start it waits for the word of the other's agent that it is away, or for that of a person who typed that it is gone.

use backstay_types::{
    Deployment, DeploymentState, ItemCheck, Migration, MigrationStep, Passage, StackName, TWO_EPOCHS,
    Timestamp,
    backup::{BackupJob, BackupJobState, ItemResult, SnapshotId, WorkOutcome},
};

/// What is known about a stack that moves.
#[derive(Debug, Clone, Copy)]
pub struct MigrationFacts<'a> {
    /// The hub's time.
    pub now: Timestamp,
    /// The migration.
    pub migration: &'a Migration,
    /// The stack's way so far.
    pub passage: &'a Passage,
    /// Where it comes from.
    pub from: &'a Whereabouts,
    /// Where it goes to.
    pub to: &'a Whereabouts,
    /// The copy that is made while it runs.
    pub copy: Option<&'a BackupJob>,
    /// That copy fetched to the other node.
    pub ahead: Option<&'a BackupJob>,
    /// The newest save of the deployment that takes it away.
    pub last: Option<&'a BackupJob>,
    /// The data put in place before it starts.
    pub restore: Option<&'a BackupJob>,
    /// The newest proven snapshot; only asked for where the node that it leaves is gone.
    pub proven: Option<SnapshotId>,
}

/// What is known of a stack on a node.
#[derive(Debug, Clone, Default)]
pub struct Whereabouts {
    /// The node's newest attempt.
    pub latest: Option<Deployment>,
    /// Whether that takes the stack away.
    pub removal: bool,
    /// Whether the node runs the stack, as far as it has told.
    pub runs: bool,
}

impl Whereabouts {
    /// Whether nothing of the stack runs there, by the word of the agent: it was never told to, or has told that it took all
    /// of it away. What was given up before anybody heard of it is no such word, nor is a way back that failed.
    pub fn is_away(&self) -> bool {
        let taken = |latest: &Deployment| self.removal && latest.state == DeploymentState::Succeeded;
        !self.runs && self.latest.as_ref().is_none_or(taken)
    }

    /// Whether the stack runs there and nothing is under way.
    fn is_settled(&self) -> bool {
        self.runs && self.latest.as_ref().is_none_or(|latest| latest.state.is_final())
    }

    /// The newest attempt, if it was made at `since` or later.
    fn attempt(&self, since: Timestamp) -> Option<&Deployment> {
        self.latest.as_ref().filter(|latest| latest.created_at >= since)
    }
}

/// What is to be done for a stack that moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MigrationAct {
    /// Have it copied where it runs.
    Copy,
    /// Have that copy fetched to the other node.
    Fetch(SnapshotId),
    /// Have it stopped, saved and taken away where it runs.
    TakeAway,
    /// Have its data put in place on the other node, and start it there.
    Start(Option<SnapshotId>),
    /// See to it that it does not run on the other node.
    KeepOff,
    /// Start it where it was.
    Resume,
    /// End the jobs that it waits for.
    EndJobs,
}

/// The next step of a stack that moves: its way as it is now, and what is to be done for that.
#[derive(Debug, Clone, PartialEq)]
pub struct MigrationNext {
    /// Its way.
    pub passage: Passage,
    /// What is to be done, in this order.
    pub acts: Vec<MigrationAct>,
}

/// Decides the next step. Deciding again, without anything having happened, decides nothing more.
pub fn next_step(facts: &MigrationFacts<'_>) -> MigrationNext {
    let way = Way { facts, next: facts.passage.clone(), acts: Vec::new() };
    match facts.passage.step {
        MigrationStep::Waiting => way.waiting(),
        MigrationStep::Copying => way.copying(),
        MigrationStep::Fetching => way.fetching(),
        MigrationStep::Stopping => way.stopping(),
        MigrationStep::Resting => way.resting(),
        MigrationStep::Starting => way.starting(),
        MigrationStep::GoingBack => way.going_back(),
        MigrationStep::Resuming => way.resuming(),
        MigrationStep::Switched | MigrationStep::Stayed => way.done(),
    }
}

struct Way<'a> {
    facts: &'a MigrationFacts<'a>,
    next: Passage,
    acts: Vec<MigrationAct>,
}

/// How a job stands that a step waits for.
enum Job<'a> {
    Open(String),
    Done(Option<&'a WorkOutcome>),
    Failed(String),
}

impl Way<'_> {
    fn done(self) -> MigrationNext {
        MigrationNext { passage: self.next, acts: self.acts }
    }

    fn to(mut self, step: MigrationStep, acts: &[MigrationAct]) -> MigrationNext {
        self.next.step = step;
        self.next.since = self.facts.now;
        self.next.waits = None;
        self.acts.extend(acts);
        self.done()
    }

    fn wait(mut self, what: impl Into<String>) -> MigrationNext {
        self.next.waits = Some(what.into());
        self.done()
    }

    /// It does not go on; what is said first counts.
    fn fails(mut self, why: impl Into<String>) -> Self {
        self.next.failed.get_or_insert(why.into());
        self
    }

    fn cancelled(&self) -> Option<String> {
        self.facts.migration.cancelled_by.as_ref().map(|by| format!("cancelled by {by}"))
    }

    fn from(&self) -> &str {
        self.facts.migration.from.name.as_str()
    }

    fn other(&self) -> &str {
        self.facts.migration.to.name.as_str()
    }

    fn waiting(self) -> MigrationNext {
        if let Some(why) = self.cancelled() {
            return self.fails(why).to(MigrationStep::Stayed, &[]);
        }
        match self.facts.migration.from_gone {
            true => self.to(MigrationStep::Stopping, &[MigrationAct::TakeAway]),
            false => self.to(MigrationStep::Copying, &[MigrationAct::Copy]),
        }
    }

    fn copying(self) -> MigrationNext {
        if let Some(why) = self.cancelled() {
            return self.fails(why).to(MigrationStep::Stayed, &[MigrationAct::EndJobs]);
        }
        match self.copied() {
            Job::Open(what) => self.wait(what),
            Job::Failed(why) => {
                self.fails(format!("it could not be copied: {why}")).to(MigrationStep::Stayed, &[])
            }
            Job::Done(work) => match snapshot_of(work, &self.next.stack) {
                Some(snapshot) => self.to(MigrationStep::Fetching, &[MigrationAct::Fetch(snapshot)]),
                None => self.to(MigrationStep::Stopping, &[MigrationAct::TakeAway]),
            },
        }
    }

    /// How the copy stands. Another stack that could not be saved by the same job is no matter of this one's.
    fn copied(&self) -> Job<'_> {
        let work = self.facts.copy.and_then(|job| job.result.as_ref()?.work.as_ref());
        match standing(self.facts.copy, self.from()) {
            Job::Failed(_) if snapshot_of(work, &self.next.stack).is_some() => Job::Done(work),
            other => other,
        }
    }

    fn fetching(self) -> MigrationNext {
        if let Some(why) = self.cancelled() {
            return self.fails(why).to(MigrationStep::Stayed, &[MigrationAct::EndJobs]);
        }
        match standing(self.facts.ahead, self.other()) {
            Job::Open(what) => self.wait(what),
            Job::Failed(why) => {
                let why = format!("its data could not be fetched to {}: {why}", self.other());
                self.fails(why).to(MigrationStep::Stayed, &[])
            }
            Job::Done(_) => self.to(MigrationStep::Stopping, &[MigrationAct::TakeAway]),
        }
    }

    fn stopping(mut self) -> MigrationNext {
        if let Some(why) = self.cancelled() {
            return self.fails(why).to(MigrationStep::Resuming, &[MigrationAct::Resume]);
        }
        if self.facts.migration.from_gone {
            self.next.snapshot = self.facts.proven;
            self.next.stopped_at = Some(self.facts.now);
            return self.start();
        }
        let (from, since) = (self.facts.from, self.next.since);
        if let Some(attempt) = from.attempt(since).filter(|_| from.removal) {
            self.next.stop = Some(attempt.id);
            if let Some(why) = failure(&attempt.state) {
                let why = format!("{} did not let it go: {why}", self.from());
                return self.fails(why).to(MigrationStep::Resuming, &[MigrationAct::Resume]);
            }
        }
        if !from.is_away() {
            let what = format!("{} stops it, saves it once more and takes it away", self.from());
            return self.wait(what);
        }
        self.next.stopped_at =
            from.latest.as_ref().and_then(|latest| latest.finished_at).or(Some(self.facts.now));
        let saved = match self.facts.last.map(|job| standing(Some(job), self.from())) {
            Some(Job::Open(what)) => return self.wait(what),
            Some(Job::Done(work)) => Ok(snapshot_of(work, &self.next.stack)),
            Some(Job::Failed(why)) => Err(why),
            None => Err("nobody has asked for it".to_owned()),
        };
        match saved {
            Ok(snapshot) => {
                self.next.snapshot = snapshot;
                self.start()
            }
            Err(why) => {
                let why = format!("there is no last snapshot of it: {why}");
                self.fails(why).to(MigrationStep::Resuming, &[MigrationAct::Resume])
            }
        }
    }

    /// It may be started on the other node, at once or after a rest. Where somebody said that its keys are nowhere else, that
    /// has been said with these words.
    fn start(mut self) -> MigrationNext {
        if self.next.double_sign && !self.facts.migration.from_gone {
            self.rest(self.next.stopped_at);
            return self.to(MigrationStep::Resting, &[]);
        }
        let snapshot = self.next.snapshot;
        self.to(MigrationStep::Starting, &[MigrationAct::Start(snapshot)])
    }

    fn rest(&mut self, from: Option<Timestamp>) {
        let from = from.unwrap_or(self.facts.now);
        self.next.rest_until = from.checked_add(TWO_EPOCHS).ok();
    }

    /// Until when its keys rest, in words, while they do.
    fn rests(&self) -> Option<String> {
        let until = self.next.rest_until.filter(|until| self.facts.now < *until)?;
        Some(format!("its keys rest for two epochs, until {}", until.strftime("%H:%M:%S UTC")))
    }

    fn resting(self) -> MigrationNext {
        if let Some(why) = self.cancelled() {
            return self.fails(why).to(MigrationStep::Resuming, &[MigrationAct::Resume]);
        }
        if let Some(until) = self.rests() {
            return self.wait(until);
        }
        let snapshot = self.next.snapshot;
        self.to(MigrationStep::Starting, &[MigrationAct::Start(snapshot)])
    }

    fn starting(mut self) -> MigrationNext {
        self.next.rest_until = None;
        if let Some(why) = self.cancelled() {
            return self.fails(why).to(MigrationStep::GoingBack, &[MigrationAct::KeepOff]);
        }
        let (to, since) = (self.facts.to, self.next.since);
        let attempt = to.attempt(since).filter(|_| !to.removal);
        self.next.start = attempt.map(|attempt| attempt.id);
        if let Some(why) = attempt.and_then(|attempt| failure(&attempt.state)) {
            let why = format!("it does not run on {}: {why}", self.other());
            return self.fails(why).to(MigrationStep::GoingBack, &[MigrationAct::KeepOff]);
        }
        let Some(attempt) = attempt.filter(|one| one.state == DeploymentState::Succeeded && to.runs) else {
            let job = self.facts.restore.filter(|job| !job.state.is_final());
            return match job.map(|job| standing(Some(job), self.other())) {
                Some(Job::Open(what)) => self.wait(what),
                _ => {
                    let what = format!("{} starts it", self.other());
                    self.wait(what)
                }
            };
        };
        self.next.started_at = attempt.finished_at.or(Some(self.facts.now));
        self.next.checks = checks(self.facts.last, self.facts.restore);
        if self.next.snapshot.is_some()
            && self.facts.restore.is_none_or(|job| job.state != BackupJobState::Done)
        {
            let why = "it runs without its data having been put in place";
            return self.fails(why).to(MigrationStep::GoingBack, &[MigrationAct::KeepOff]);
        }
        if let Some(other) = self.next.checks.iter().find(|check| !check.is_equal()) {
            let why = format!("`{}` arrived other than it was left", other.item);
            return self.fails(why).to(MigrationStep::GoingBack, &[MigrationAct::KeepOff]);
        }
        self.to(MigrationStep::Switched, &[])
    }

    fn going_back(mut self) -> MigrationNext {
        if self.facts.to.is_away() || self.facts.migration.to_gone {
            // What it may have signed there is not known here.
            if self.next.double_sign && self.next.start.is_some() && self.next.rest_until.is_none() {
                self.rest(None);
            }
            return match self.rests() {
                Some(until) => self.wait(until),
                None => self.to(MigrationStep::Resuming, &[MigrationAct::Resume]),
            };
        }
        let what = format!("{} is to say that nothing of it runs there", self.other());
        self.wait(what)
    }

    fn resuming(mut self) -> MigrationNext {
        let (from, since) = (self.facts.from, self.next.since);
        if self.facts.migration.from_gone {
            return self.to(MigrationStep::Stayed, &[]);
        }
        if let Some(why) = from.attempt(since).filter(|_| !from.removal).and_then(|one| failure(&one.state)) {
            let also = format!("; and it does not start again on {}: {why}", self.from());
            self.next.failed = Some(self.next.failed.take().unwrap_or_default() + &also);
            return self.to(MigrationStep::Stayed, &[]);
        }
        if from.is_settled() {
            self.next.started_at = self.next.stopped_at.and(Some(self.facts.now));
            return self.to(MigrationStep::Stayed, &[]);
        }
        let what = format!("{} starts it again", self.from());
        self.wait(what)
    }
}

fn standing<'a>(job: Option<&'a BackupJob>, node: &str) -> Job<'a> {
    let Some(job) = job else { return Job::Failed("its job is not known any more".to_owned()) };
    let work = job.result.as_ref().and_then(|result| result.work.as_ref());
    match job.state {
        BackupJobState::Queued => Job::Open(format!("{node} has not asked for it yet")),
        BackupJobState::Running => Job::Open(match &job.progress {
            Some(progress) => format!("{node} is at it: {} bytes so far", progress.bytes),
            None => format!("{node} is at it"),
        }),
        BackupJobState::Done => Job::Done(work),
        BackupJobState::Cancelled => Job::Failed("it was cancelled".to_owned()),
        BackupJobState::Failed => {
            let why = job.result.as_ref().and_then(|result| result.failed.clone());
            Job::Failed(why.unwrap_or_else(|| "nobody says why".to_owned()))
        }
    }
}

/// The snapshot of a stack: a job that was there already may have saved others too.
fn snapshot_of(work: Option<&WorkOutcome>, stack: &StackName) -> Option<SnapshotId> {
    let snapshots = work.map(|work| work.snapshots.as_slice()).unwrap_or_default();
    snapshots.iter().find(|one| one.tags.stack.as_ref() == Some(stack)).map(|one| one.id)
}

fn failure(state: &DeploymentState) -> Option<String> {
    match state {
        DeploymentState::RolledBack { reason, .. }
        | DeploymentState::Failed { reason, .. }
        | DeploymentState::Broken { reason, .. } => Some(reason.clone()),
        _ => None,
    }
}

/// What was left and what arrived, item by item.
fn checks(last: Option<&BackupJob>, restore: Option<&BackupJob>) -> Vec<ItemCheck> {
    let items = |job: Option<&BackupJob>| {
        let work = job.and_then(|job| job.result.as_ref()?.work.clone());
        let items = work.map(|work| work.items).unwrap_or_default();
        items.into_iter().filter_map(|item| match item.result {
            ItemResult::Done { files, bytes, digest, .. } => Some((item.item, files, bytes, digest)),
            ItemResult::Failed { .. } => None,
        })
    };
    let left: Vec<_> = items(last).collect();
    let one = |(item, files, bytes, to): (String, u64, u64, _)| {
        let from = left.iter().find(|(name, ..)| *name == item).and_then(|(_, _, _, digest)| *digest);
        ItemCheck { item, files, bytes, from, to }
    };
    items(restore).map(one).collect()
}

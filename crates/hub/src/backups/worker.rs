//! Who looks after repositories: one hub at a time, a few repositories at once, each left alone for a while after a failure.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use backstay_engine::{
    EngineError,
    backups::{Chore, Resting, Upkeep, UpkeepKind, Whose},
};
use backstay_types::backup::SnapshotId;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{ChildError, chores};
use crate::app::App;

/// How often it looks at least.
const LOOK: Duration = Duration::from_secs(2);
/// Of its time, it spends at most one part in so many on looking.
const SPARING: u32 = 20;
/// How many repositories are worked on at once.
const AT_ONCE: usize = 2;
/// How often it is looked whose turn it is to be drilled: that is a look at every stack of every node.
const DRILLS: Duration = Duration::from_secs(60);
/// After a failure; twice as long after each further one.
const PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// The same for a snapshot that takes too long or too much: each attempt costs as much again.
const SNAPSHOT_PAUSE: Duration = Duration::from_secs(3600);
const LONGEST_SNAPSHOT_PAUSE: Duration = Duration::from_secs(4 * 86_400);
/// After so many failures in a row, what does not go is told where it can be seen.
const TOLD: u32 = 3;

/// Gives nodes their turns and looks after repositories until the hub stops.
pub(crate) async fn work(app: Arc<App>) {
    if app.backups.place.is_none() {
        return;
    }
    let mut worker = Worker::default();
    loop {
        let began = Instant::now();
        if let Err(error) = worker.look(&app).await {
            tracing::warn!(%error, code = %error.code(), "backups could not be looked after; trying again");
        }
        let pause = (began.elapsed() * SPARING).max(LOOK);
        tokio::select! {
            _ = timeout(pause, app.backups.wake.notified()) => {}
            Some(ended) = worker.running.join_next(), if !worker.running.is_empty() => worker.ended(ended.ok()),
            () = app.stopping.cancelled() => break,
        }
        // Who is woken often does not look often.
        sleep(Duration::from_millis(50)).await;
    }
    worker.running.shutdown().await;
}

/// What failed and is left alone for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Failing {
    /// Everything: a job could not be told the end of.
    All,
    /// This kind of work.
    Kind(UpkeepKind),
    /// Reading back this snapshot.
    Unread(SnapshotId),
    /// Copying this snapshot.
    Uncopied(SnapshotId),
}

impl Failing {
    fn is_second(self) -> bool {
        match self {
            Self::Kind(kind) => kind.is_second(),
            Self::Uncopied(_) => true,
            Self::All | Self::Unread(_) => false,
        }
    }
}

/// Something that was done.
#[derive(Debug)]
struct Ended {
    whose: Whose,
    /// What; absent when it was a job.
    upkeep: Option<Upkeep>,
    result: Result<(), ChildError>,
}

/// What is to be told of a repository: whether of the second target, and what does not go.
type Told = (Whose, bool, Option<String>);

#[derive(Debug, Default)]
struct Worker {
    running: JoinSet<Ended>,
    busy: HashSet<Whose>,
    /// What failed: how often in a row, and until when it is left alone.
    pauses: HashMap<(Whose, Failing), (u32, Instant)>,
    /// What is to be told.
    told: Vec<Told>,
    /// When it was last looked whose turn it is to be drilled.
    drills_at: Option<Instant>,
}

impl Worker {
    async fn look(&mut self, app: &Arc<App>) -> Result<(), EngineError> {
        while let Some(ended) = self.running.try_join_next() {
            self.ended(ended.ok());
        }
        while let Some((whose, second, why)) = self.told.pop() {
            app.engine.note_trouble(whose, second, why.as_deref()).await?;
        }
        app.engine.schedule_backups().await?;
        let often = DRILLS.min(app.settings.backup.drill_every / 8);
        if self.drills_at.is_none_or(|at| at.elapsed() >= often) {
            app.engine.schedule_drills().await?;
            self.drills_at = Some(Instant::now());
        }
        tell_nodes(app).await?;
        // At another target than the known one everything would seem to be gone.
        let not_used = app.backups.not_used.get(false).is_some();
        if not_used || app.engine.upkeep_lease().await?.is_none() || self.running.len() >= AT_ONCE {
            return Ok(());
        }
        let (left_alone, resting) = self.resting();
        for work in app.engine.upkeep_work(&left_alone, &resting).await? {
            if self.running.len() >= AT_ONCE {
                break;
            }
            let (app, whose) = (app.clone(), work.whose);
            let upkeep = match &work.chore {
                Chore::Upkeep(upkeep) => Some(upkeep.clone()),
                Chore::Job(_) => None,
            };
            self.busy.insert(whose);
            self.running.spawn(async move {
                let result = chores::perform(&app, work).await;
                app.backups.wake.notify_one();
                Ended { whose, upkeep, result }
            });
        }
        Ok(())
    }

    /// Who is left alone, and what of the others.
    fn resting(&self) -> (HashSet<Whose>, HashMap<Whose, Resting>) {
        let now = Instant::now();
        let (mut alone, mut resting) = (self.busy.clone(), HashMap::<Whose, Resting>::new());
        for (whose, failing) in
            self.pauses.iter().filter(|(_, (_, until))| *until > now).map(|(failing, _)| *failing)
        {
            let of = resting.entry(whose).or_default();
            match failing {
                Failing::All => alone.insert(whose),
                Failing::Kind(kind) => of.kinds.insert(kind),
                Failing::Unread(id) => of.unread.insert(id),
                Failing::Uncopied(id) => of.uncopied.insert(id),
            };
        }
        (alone, resting)
    }

    fn ended(&mut self, ended: Option<Ended>) {
        let Some(Ended { whose, upkeep, result }) = ended else {
            // One panicked; which is not known, so that all are looked at anew.
            self.busy.clear();
            return;
        };
        self.busy.remove(&whose);
        let kind = upkeep.as_ref().map_or(Failing::All, |upkeep| Failing::Kind(upkeep.kind()));
        let of: fn(SnapshotId) -> Failing =
            if kind.is_second() { Failing::Uncopied } else { Failing::Unread };
        let about = match upkeep {
            Some(Upkeep::Verify(ids) | Upkeep::Copy(ids)) => ids,
            _ => Vec::new(),
        };
        match result {
            Ok(()) => {
                if self.pauses.remove(&(whose, kind)).is_some() && kind.is_second() {
                    self.second_is_back();
                }
                for id in about {
                    self.pauses.remove(&(whose, of(id)));
                }
                // As long as anything else of it fails, that is told.
                let is_same = |(one, failing): &(Whose, Failing)| {
                    *one == whose && failing.is_second() == kind.is_second()
                };
                if !self.pauses.keys().any(is_same) {
                    self.told.push((whose, kind.is_second(), None));
                }
            }
            Err(ChildError::Stuck { snapshots, what, why }) => {
                self.pauses.remove(&(whose, kind));
                for id in about.iter().filter(|id| !snapshots.contains(id)) {
                    self.pauses.remove(&(whose, of(*id)));
                }
                for id in &snapshots {
                    self.failed(whose, of(*id), (SNAPSHOT_PAUSE, LONGEST_SNAPSHOT_PAUSE));
                }
                let error = ChildError::Stuck { snapshots, what, why };
                tracing::warn!(repository = %super::name_of(whose), %error, "others go on");
                self.told.push((whose, kind.is_second(), Some(error.to_string())));
            }
            Err(error) => {
                let (failed, pause) = self.failed(whose, kind, (PAUSE, LONGEST_PAUSE));
                let repository = super::name_of(whose);
                tracing::warn!(%repository, %error, ?pause, "a repository could not be looked after");
                if kind.is_second() || failed >= TOLD {
                    self.told.push((whose, kind.is_second(), Some(error.to_string())));
                }
            }
        }
    }

    /// What ended the failures of one repository at the second target, such as that its disk is there again, may have
    /// ended those of all. A success that follows no failure says nothing of the kind: with many nodes these never
    /// end, and what fails for a reason of its own would never be left alone.
    fn second_is_back(&mut self) {
        let now = Instant::now();
        for ((_, failing), (_, until)) in &mut self.pauses {
            if matches!(failing, Failing::Kind(kind) if kind.is_second()) {
                *until = now;
            }
        }
    }

    /// Leaves something alone for a while. Gives how often it failed in a row, and for how long that is.
    fn failed(
        &mut self,
        whose: Whose,
        what: Failing,
        (shortest, longest): (Duration, Duration),
    ) -> (u32, Duration) {
        let failed = self.pauses.get(&(whose, what)).map_or(0, |(failed, _)| *failed) + 1;
        let pause = shortest.saturating_mul(1 << (failed - 1).min(16)).min(longest);
        self.pauses.insert((whose, what), (failed, Instant::now() + pause));
        (failed, pause)
    }
}

/// Lets the check-ins of nodes end that have an order.
async fn tell_nodes(app: &App) -> Result<(), EngineError> {
    for node in app.backups.hints.set(app.engine.nodes_with_orders().await?) {
        app.waiters.wake(node);
    }
    Ok(())
}

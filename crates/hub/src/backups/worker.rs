//! Who looks after repositories: one hub at a time, a few repositories at once, each left alone for a while after a failure.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use backstay_engine::{EngineError, backups::Whose};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::chores;
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
const PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

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

#[derive(Debug, Default)]
struct Worker {
    running: JoinSet<(Whose, Result<(), String>)>,
    busy: HashSet<Whose>,
    /// Who failed: how often in a row, and until when it is left alone.
    pauses: HashMap<Whose, (u32, Instant)>,
    /// When it was last looked whose turn it is to be drilled.
    drills_at: Option<Instant>,
}

impl Worker {
    async fn look(&mut self, app: &Arc<App>) -> Result<(), EngineError> {
        while let Some(ended) = self.running.try_join_next() {
            self.ended(ended.ok());
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
        let now = Instant::now();
        let mut left_alone = self.busy.clone();
        left_alone.extend(self.pauses.iter().filter(|(_, (_, until))| *until > now).map(|(whose, _)| *whose));
        for work in app.engine.upkeep_work(&left_alone).await? {
            if self.running.len() >= AT_ONCE {
                break;
            }
            let (app, whose) = (app.clone(), work.whose);
            self.busy.insert(whose);
            self.running.spawn(async move {
                let done = chores::perform(&app, work).await;
                app.backups.wake.notify_one();
                (whose, done.map_err(|error| error.to_string()))
            });
        }
        Ok(())
    }

    fn ended(&mut self, ended: Option<(Whose, Result<(), String>)>) {
        let Some((whose, result)) = ended else {
            // One panicked; which is not known, so that all are looked at anew.
            self.busy.clear();
            return;
        };
        self.busy.remove(&whose);
        match result {
            Ok(()) => {
                self.pauses.remove(&whose);
            }
            Err(error) => {
                let failed = self.pauses.get(&whose).map_or(0, |(failed, _)| *failed) + 1;
                let pause = PAUSE.saturating_mul(1 << (failed - 1).min(10)).min(LONGEST_PAUSE);
                self.pauses.insert(whose, (failed, Instant::now() + pause));
                let whose = super::name_of(whose);
                tracing::warn!(repository = %whose, %error, ?pause, "a repository could not be looked after");
            }
        }
    }
}

/// Lets the check-ins of nodes end that have an order.
async fn tell_nodes(app: &App) -> Result<(), EngineError> {
    for node in app.backups.hints.set(app.engine.nodes_with_orders().await?) {
        app.waiters.wake(node);
    }
    Ok(())
}

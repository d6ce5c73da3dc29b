//! The store's own work: sealing what was recorded, and following what others have sealed.

use std::{convert::Infallible, time::Duration};

use sqlx::{PgPool, postgres::PgListener};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{Result, Store, dialect, ledger, ledger::Sealed, store::Db};

/// The least time between two seals: under load, entries are sealed in batches.
const GAP: Duration = Duration::from_millis(20);
/// How often to look for what other processes recorded.
const POLL: Duration = Duration::from_millis(50);
/// How often to look at the head when nobody has said that it moved, and for a free lease.
const TAIL_POLL: Duration = Duration::from_millis(250);
/// How long to wait after an error.
const RETRY: Duration = Duration::from_secs(1);

impl Store {
    /// Seals what is recorded whenever the lease can be had, and feeds [`Store::tail`]; until it is dropped. Run it
    /// once for each process. `holder` names this hub, not this process: restarted under the same name, it goes on
    /// at once; under another, it waits until the old lease has run out.
    pub async fn run(&self, holder: &str) -> Infallible {
        match self.db() {
            Db::Sqlite { .. } => self.seal_for_ever(holder, None).await,
            Db::Postgres(pool) => {
                tokio::select! {
                    never = self.seal_for_ever(holder, Some(POLL)) => never,
                    never = self.follow(pool) => never,
                }
            }
        }
    }

    async fn seal_for_ever(&self, holder: &str, poll: Option<Duration>) -> Infallible {
        let mut commits = self.commits();
        loop {
            commits.mark_unchanged();
            let earliest_next = Instant::now() + GAP;
            let wait = match ledger::seal(self, holder).await {
                Ok(Sealed::Entries(_)) => Some(GAP),
                Ok(Sealed::Nothing) => poll,
                Ok(Sealed::Elsewhere) => Some(TAIL_POLL),
                Err(error) => {
                    tracing::warn!(%error, "the ledger could not be sealed; trying again");
                    // Also when more is recorded meanwhile: a busy hub would ask, and say so, all the time.
                    sleep(RETRY).await;
                    continue;
                }
            };
            tokio::select! {
                _ = commits.changed() => {}
                () = sleep(wait.unwrap_or(Duration::MAX)) => {}
            }
            sleep_until(earliest_next).await;
        }
    }

    /// Follows the head as other hubs move it.
    async fn follow(&self, pool: &PgPool) -> Infallible {
        let mut listener = None;
        loop {
            if let Err(error) = self.follow_once(pool, &mut listener).await {
                tracing::debug!(%error, "the ledger's head could not be followed; trying again");
                listener = None;
                sleep(RETRY).await;
            }
        }
    }

    async fn follow_once(&self, pool: &PgPool, listener: &mut Option<PgListener>) -> Result<()> {
        let listening = match listener {
            Some(listening) => listening,
            None => listener.insert(dialect::listen(pool).await?),
        };
        tokio::select! {
            heard = listening.recv() => drop(heard?),
            () = sleep(TAIL_POLL) => {}
        }
        let head = ledger::head(&mut self.read()).await?;
        self.raise_head(head.seq);
        Ok(())
    }
}

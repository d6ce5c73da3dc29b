//! Fills a hub's database with a month of a large fleet, through the store's own functions.
//!
//! `fleet` says who runs what, `history` what happened, `write` puts it into the database in the order of time, so
//! that the ledger's chain and its segments are as a hub would have made them. The same sizes give the same fleet.

mod fleet;
mod history;
mod rows;
mod write;

use std::{path::Path, time::Instant};

use backstay_testkit::TestWorld;
use backstay_types::{Timestamp, World};
use tokio::runtime::Runtime;

use fleet::Fleet;
use history::History;

/// How many days are told.
pub(crate) const DAYS: i64 = 30;

/// How much there is of everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Nodes.
    pub(crate) nodes: usize,
    /// Deployments of all stacks.
    pub(crate) deployments: usize,
    /// Entries of the ledger.
    pub(crate) events: usize,
    /// Conversations.
    pub(crate) conversations: usize,
}

impl Sizes {
    /// What the page's goals are about.
    pub(crate) const LARGE: Self =
        Self { nodes: 10_000, deployments: 100_000, events: 1_000_000, conversations: 2_000 };
}

/// Makes `hub.db` in `data_dir`, which must not have one.
///
/// # Errors
/// When the database cannot be written, or there is one.
pub(crate) fn seed(data_dir: &Path, sizes: Sizes) -> Result<(), String> {
    let path = data_dir.join("hub.db");
    if path.exists() {
        return Err(format!("{} is there already", path.display()));
    }
    std::fs::create_dir_all(data_dir).map_err(|error| format!("{}: {error}", data_dir.display()))?;
    let started = Instant::now();
    let (world, now) = (TestWorld::new("2026-01-01T00:00:00Z", 1), backstay_agent::system().now());
    let runtime = Runtime::new().map_err(|error| error.to_string())?;
    runtime.block_on(fill(&path, &world, now, sizes)).map_err(|error| error.to_string())?;
    eprintln!("{sizes:?} in {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

async fn fill(path: &Path, world: &TestWorld, now: Timestamp, sizes: Sizes) -> backstay_store::Result<()> {
    world.set(after(now, -DAYS * 86_400_000));
    let fleet = Fleet::of(sizes, &world.world());
    let history = History::of(&fleet, sizes, &world.world());
    write::write(path, world, &fleet, &history, now).await
}

/// A time so many milliseconds later.
fn after(at: Timestamp, millis: i64) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond() + millis).unwrap_or(at)
}

/// Numbers that only look random.
#[derive(Debug, Clone)]
pub(crate) struct Dice(World);

impl Dice {
    /// Dice of this world.
    pub(crate) fn of(world: &World) -> Self {
        Self(world.clone())
    }

    /// A number below `most`.
    pub(crate) fn below(&self, most: usize) -> usize {
        let number = u64::from_le_bytes(self.0.random());
        usize::try_from(number % most.max(1) as u64).unwrap_or(0)
    }

    /// Whether something happens that happens so many times in a thousand.
    pub(crate) fn in_thousand(&self, times: usize) -> bool {
        self.below(1000) < times
    }
}

#[cfg(test)]
mod tests {
    use backstay_store::{Store, deployments, ledger};

    use super::*;

    #[test]
    fn a_small_fleet_is_as_large_as_asked_and_its_ledger_holds() {
        let dir = tempfile::tempdir().unwrap();
        let sizes = Sizes { nodes: 200, deployments: 1_000, events: 6_000, conversations: 30 };
        seed(dir.path(), sizes).unwrap();
        assert!(seed(dir.path(), sizes).is_err(), "never over another one");
        Runtime::new().unwrap().block_on(async {
            let path = dir.path().join("hub.db").display().to_string();
            let store = Store::open(&path, backstay_agent::system()).await.unwrap();
            let found = ledger::verify(&mut store.snapshot().await.unwrap(), 1, None).await.unwrap();
            assert_eq!((found.flaw, found.entries), (None, 6_000));
            let mut read = store.read();
            assert!(ledger::segments(&mut read, 0, 100).await.unwrap().len() >= 29, "a segment a day");
            assert_eq!(
                deployments::list(&mut read, &deployments::Filter::default(), None, 5_000)
                    .await
                    .unwrap()
                    .len(),
                1_000
            );
        });
    }
}

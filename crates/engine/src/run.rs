//! The engine's own life: planning whenever something was stored, fetching on a schedule.

use std::{collections::HashMap, future::Future, sync::PoisonError, time::Duration};

use backstay_store::repositories;
use backstay_types::{Repository, RepositoryId, Timestamp, TreeDigest};
use tokio::time::{Instant, sleep, timeout};

use crate::{Engine, EngineError, Push, mirrors::blocking, warnings::Look};

/// Planning looks at least this often, whether anything was stored or not: time alone can end a constraint.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The longest that it waits to look though nothing was stored, when the fleet is so large that a look takes long.
const LONGEST_LOOK: Duration = Duration::from_secs(60);
/// Of its time, planning spends at most one part in so many on looking when nothing was stored.
const SPARING: u32 = 40;
/// The most that planning waits before it looks again, though something was stored.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// After an error.
const REST: Duration = Duration::from_secs(1);

impl Engine {
    /// Plans and polls until `shutdown`. Errors are logged and met by trying again.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        tokio::select! {
            () = shutdown => {}
            () = self.plan_for_ever() => {}
            () = self.poll_for_ever() => {}
            () = self.publish_for_ever() => {}
        }
    }

    /// Says that something may have to be planned.
    pub fn wake(&self) {
        self.inner.wake.notify_one();
    }

    async fn plan_for_ever(&self) {
        loop {
            let began = Instant::now();
            if let Err(error) = self.reconcile().await {
                tracing::error!(%error, code = %error.code(), "planning failed");
                sleep(REST).await;
            }
            // Planning holds the database's writer. While a large fleet reports, what it reports goes first.
            let took = began.elapsed();
            sleep((took * 2).min(LONGEST_PAUSE)).await;
            let quiet = (took * SPARING).clamp(LOOK_EVERY, LONGEST_LOOK);
            let _ = timeout(self.until_look().min(quiet), self.inner.wake.notified()).await;
        }
    }

    /// Notes when something begins or ends by itself: a window, a freeze, a pin.
    pub(crate) fn note_look(&self, at: Option<Timestamp>) {
        *self.inner.look_at.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// How long nothing begins or ends by itself.
    fn until_look(&self) -> Duration {
        let at = *self.inner.look_at.lock().unwrap_or_else(PoisonError::into_inner);
        let left = at.map(|at| at.duration_since(self.inner.world.now()));
        left.map_or(Duration::MAX, |left| Duration::try_from(left).unwrap_or_default())
    }

    async fn poll_for_ever(&self) {
        let mut due: HashMap<RepositoryId, Instant> = HashMap::new();
        loop {
            let known = repositories::list(&mut self.inner.store.read()).await.unwrap_or_default();
            let now = Instant::now();
            for repository in known {
                let next = due.entry(repository.id).or_insert(now);
                if *next <= now {
                    *next = now + self.inner.settings.poll_every;
                    self.poll(repository);
                }
            }
            sleep(REST.min(self.inner.settings.poll_every)).await;
        }
    }

    /// Fetches one repository beside the others: a slow one holds nobody up.
    fn poll(&self, repository: Repository) {
        let engine = self.clone();
        tokio::spawn(async move {
            let polled = async {
                engine.fetch(repository.id).await?;
                engine.look_over(repository.id, Look::WhenDue).await?;
                engine.push_pending(repository.id).await
            };
            if let Err(error) = polled.await {
                tracing::warn!(repository = %repository.name, %error, "polling failed");
            }
        });
    }

    /// Fetches the repositories that a push concerns. Gives how many there were.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sync_matching(&self, push: &Push) -> Result<usize, EngineError> {
        let known = repositories::list(&mut self.inner.store.read()).await?;
        let mut matched = 0;
        for repository in known {
            let concerns =
                repository.endpoints.iter().any(|own| push.urls.iter().any(|url| same_place(own, url)));
            if !concerns {
                continue;
            }
            let branch = match &push.branch {
                Some(branch) if *branch != repository.branch => {
                    let followed = self.followed_of(repository.id).await?;
                    followed.iter().any(|(_, followed)| followed == branch)
                }
                _ => true,
            };
            if branch {
                matched += 1;
                self.sync_repository(repository.id).await?;
            }
        }
        Ok(matched)
    }

    /// A release's files as a pack, made from the mirror.
    ///
    /// # Errors
    /// When no release has this tree, or the mirror cannot be read.
    pub async fn pack(&self, tree: TreeDigest) -> Result<Vec<u8>, EngineError> {
        let releases = backstay_store::releases::with_tree(&mut self.inner.store.read(), tree).await?;
        let release = releases.into_iter().next().ok_or_else(|| EngineError::not_found("release", tree))?;
        let repository = self.repository(release.repository).await?;
        let mirror = self.inner.mirrors.of(&repository)?;
        blocking(move || mirror.pack(&release.commit, &release.path)).await
    }
}

/// Whether two addresses name the same repository: host and path, whatever the protocol, user and `.git`.
fn same_place(one: &str, other: &str) -> bool {
    place(one) == place(other)
}

fn place(address: &str) -> String {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let rest = match rest.split_once('@') {
        Some((user, rest)) if !user.contains('/') => rest,
        _ => rest,
    };
    // `host:path` as ssh writes it, and `host:port/path` as a URL does.
    let place = match rest.split_once(':') {
        Some((host, path))
            if path.split('/').next().is_some_and(|p| p.bytes().all(|b| b.is_ascii_digit())) =>
        {
            format!("{host}/{}", path.split_once('/').map_or("", |(_, path)| path))
        }
        Some((host, path)) => format!("{host}/{path}"),
        None => rest.to_owned(),
    };
    place.trim_end_matches('/').trim_end_matches(".git").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_repository_has_many_addresses() {
        let same = [
            "https://git.example.com/team/fleet.git",
            "https://user@git.example.com/team/fleet",
            "git@git.example.com:team/fleet.git",
            "ssh://git@git.example.com:2222/team/fleet.git/",
        ];
        assert!(same.iter().all(|address| same_place(same[0], address)));
        assert!(!same_place(same[0], "https://git.example.com/team/other.git"));
        assert!(same_place("/srv/git/fleet.git", "file:///srv/git/fleet.git"));
    }
}

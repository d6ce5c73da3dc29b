//! Signed statements pushed to Git, for agents that cannot reach the hub. They hold no secrets: names of stacks, trees
//! and commits, and where these are fetched.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use backstay_source::{Endpoint, Pushed, Statements};
use backstay_store::{desired, leases, nodes, repositories};
use backstay_types::{NodeId, Repository, Timestamp};
use tokio::time::sleep;

use crate::{Engine, EngineError, mirrors::blocking};

/// All is written anew so often, so that what nobody asks for any more is gone.
const WHOLE_EVERY: Duration = Duration::from_secs(24 * 3600);
/// A row may come to be seen a little later than its time says.
const OVERLAP: Duration = Duration::from_secs(10);
/// How long a push may take.
const PUSH: Duration = Duration::from_secs(300);

/// Where statements are pushed, and how often.
#[derive(Debug, Clone)]
pub struct Publish {
    /// The names of repositories.
    pub to: Vec<String>,
    /// How often what has changed is pushed.
    pub every: Duration,
}

impl Default for Publish {
    /// Nowhere.
    fn default() -> Self {
        Self { to: Vec::new(), every: Duration::from_secs(30) }
    }
}

/// What was published by this process.
#[derive(Debug, Default)]
struct Published {
    /// Statements up to this time are written.
    until: Option<Timestamp>,
    /// When all was written.
    whole_at: Option<Instant>,
    /// Which repositories do not have what is written; what each said last.
    behind: BTreeMap<String, String>,
}

impl Engine {
    pub(crate) async fn publish_for_ever(&self) {
        let Publish { to, every } = &self.inner.settings.publish;
        if to.is_empty() {
            return std::future::pending().await;
        }
        let mut published = Published::default();
        for name in to {
            published.behind.insert(name.clone(), String::new());
        }
        loop {
            if let Err(error) = self.publish(&mut published).await {
                tracing::warn!(%error, code = %error.code(), "statements could not be published");
            }
            sleep(*every).await;
        }
    }

    /// Writes and pushes what has changed.
    async fn publish(&self, published: &mut Published) -> Result<(), EngineError> {
        let now = self.inner.world.now();
        if !self.is_publisher(now).await? {
            // Another hub does it. When that one is gone, this one begins with all.
            *published = Published { behind: self.all_behind(), ..Published::default() };
            return Ok(());
        }
        let whole = published.whole_at.is_none_or(|at| at.elapsed() > WHOLE_EVERY);
        let since = published.until.filter(|_| !whole).unwrap_or(Timestamp::MIN);
        let statements = self.statements_since(since).await?;
        if whole || !statements.is_empty() {
            let dir = self.inner.settings.data_dir.join("statements.git");
            let changed =
                blocking(move || Statements::open_or_init(dir)?.write(&statements, whole, now)).await?;
            if whole {
                published.whole_at = Some(Instant::now());
            }
            if changed > 0 {
                tracing::debug!(refs = changed, "statements are written");
                let behind = self.all_behind();
                published.behind.extend(
                    behind
                        .into_iter()
                        .filter(|(name, _)| !published.behind.contains_key(name))
                        .collect::<Vec<_>>(),
                );
            }
        }
        published.until = Some(now.checked_sub(OVERLAP).unwrap_or(now));
        for name in published.behind.keys().cloned().collect::<Vec<_>>() {
            match self.push_statements(&name).await? {
                None => drop(published.behind.remove(&name)),
                Some(message) => {
                    let said = published.behind.entry(name.clone()).or_default();
                    if *said != message {
                        tracing::warn!(
                            repository = name,
                            message,
                            "statements cannot be pushed; it is tried again"
                        );
                        *said = message;
                    }
                }
            }
        }
        Ok(())
    }

    fn all_behind(&self) -> BTreeMap<String, String> {
        self.inner.settings.publish.to.iter().map(|name| (name.clone(), String::new())).collect()
    }

    /// Whether this hub is the one that plans, or nobody is known to: two that publish at once write the same.
    async fn is_publisher(&self, now: Timestamp) -> Result<bool, EngineError> {
        let lease = leases::get(&mut self.inner.store.read(), crate::reconcile::LEASE).await?;
        let other =
            lease.filter(|lease| lease.holder != self.inner.settings.holder && lease.expires_at > now);
        Ok(other.is_none())
    }

    /// The statements that were written since a time; none for a node that was revoked.
    async fn statements_since(
        &self,
        since: Timestamp,
    ) -> Result<BTreeMap<NodeId, Option<String>>, EngineError> {
        let mut store = self.inner.store.read();
        let mut found: BTreeMap<_, _> = desired::since(&mut store, since)
            .await?
            .into_iter()
            .map(|d| (d.node, Some(d.statement)))
            .collect();
        for node in nodes::revoked_since(&mut store, since).await? {
            found.insert(node, None);
        }
        Ok(found)
    }

    /// Pushes to a repository. What it said, when it does not have it now.
    async fn push_statements(&self, name: &str) -> Result<Option<String>, EngineError> {
        let known = repositories::list(&mut self.inner.store.read()).await?;
        let Some(repository) = known.into_iter().find(|repository| repository.name.as_str() == name) else {
            return Ok(Some("there is no repository of this name".to_owned()));
        };
        let Some(endpoint) = first(&repository) else {
            return Ok(Some("it has no address that can be used".to_owned()));
        };
        let credential = self.credential(repository.id).await?;
        let dir = self.inner.settings.data_dir.join("statements.git");
        let engine = Arc::clone(&self.inner);
        let pushed = blocking(move || {
            Statements::open_or_init(dir)?.push(&endpoint, credential.as_ref(), engine.mirrors.ssh(), PUSH)
        });
        Ok(match pushed.await? {
            Pushed::Done => None,
            Pushed::Moved => Some("its refs moved meanwhile".to_owned()),
            Pushed::Refused { message } | Pushed::Unreachable { message } => Some(message),
        })
    }
}

fn first(repository: &Repository) -> Option<Endpoint> {
    repository.endpoints.first().and_then(|text| Endpoint::parse(text).ok())
}

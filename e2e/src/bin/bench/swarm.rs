//! Simulated agents by the thousand: they speak the real protocol over real connections and run nothing.

use std::{sync::Arc, time::Duration};

use backstay_agent::simulated::Simulated;
use backstay_api::{
    Empty,
    v1::{CreateJoinToken, CreateJoinTokenRequest},
};
use backstay_e2e::Fleet;
use backstay_types::{Labels, Secret};
use tokio::{
    runtime::Runtime,
    sync::Semaphore,
    task::{AbortHandle, JoinSet},
};

/// How many join at once.
const AT_ONCE: usize = 32;

/// Agents that run until this is dropped.
pub(crate) struct Swarm {
    runtime: Runtime,
    agents: JoinSet<()>,
    gate: Arc<Semaphore>,
}

impl Swarm {
    /// None yet.
    pub(crate) fn new() -> Result<Self, String> {
        let runtime = Runtime::new().map_err(|error| error.to_string())?;
        Ok(Self { runtime, agents: JoinSet::new(), gate: Arc::new(Semaphore::new(AT_ONCE)) })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.agents.len()
    }

    /// Has agents join until there are `size`.
    pub(crate) fn grow(&mut self, fleet: &Fleet, size: usize) -> Result<(), String> {
        for number in self.agents.len()..size {
            let (token, gate, hub) = (token(fleet), self.gate.clone(), fleet.hub.url().to_owned());
            let name = format!("node-{number:05}").parse().map_err(|_| "a name")?;
            let live = async move {
                let permit = gate.acquire_owned().await;
                let world = backstay_agent::system();
                let agent = Simulated::join(&hub, token, name, Labels::default(), world).await;
                drop(permit);
                let ended = match agent {
                    Ok(agent) => agent.run(Duration::ZERO).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = ended {
                    eprintln!("a simulated agent ended: {error}");
                }
            };
            self.agents.spawn_on(live, self.runtime.handle());
        }
        Ok(())
    }

    /// Runs something beside them.
    pub(crate) fn beside(&self, work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.runtime.spawn(work).abort_handle()
    }
}

/// A new one-time token.
pub(crate) fn token(fleet: &Fleet) -> Secret {
    fleet.api.call::<CreateJoinToken>(&Empty {}, &Empty {}, &CreateJoinTokenRequest::default()).token
}

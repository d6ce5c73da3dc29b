//! The emergency stop: nothing forward begins anywhere until it is lifted. What runs keeps running, what an agent is at
//! comes to its end, and undos go through.

use backstay_store::{Executor, Tx, hub_state};
use backstay_types::{Event, Refs, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Engine, EngineError};

const KEY: &str = "emergency_stop";

/// A stop that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmergencyStop {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub at: Timestamp,
}

/// The stop, when one is in force. What cannot be read stops everything: unknown is not "go on".
pub(crate) async fn in_force(ex: &mut impl Executor) -> Result<Option<EmergencyStop>, EngineError> {
    let Some(text) = hub_state::get(ex, KEY).await?.filter(|text| !text.is_empty()) else { return Ok(None) };
    Ok(Some(serde_json::from_str(&text).map_err(backstay_store::StoreError::from)?))
}

impl Engine {
    /// The stop, when one is in force.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn emergency_stop(&self) -> Result<Option<EmergencyStop>, EngineError> {
        in_force(&mut self.inner.store.read()).await
    }

    /// Stops everything, or lifts the stop. Asked twice, it is done once.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn set_emergency_stop(&self, stopped: bool, reason: &str, by: &str) -> Result<(), EngineError> {
        let mut tx = self.inner.store.begin().await?;
        if set(&mut tx, stopped, reason, by, self.inner.world.now()).await? {
            tx.commit().await?;
            self.changed_by_hand();
        }
        Ok(())
    }
}

/// Stops everything, or lifts the stop. Whether it was otherwise before.
pub(crate) async fn set(
    tx: &mut Tx,
    stopped: bool,
    reason: &str,
    by: &str,
    at: Timestamp,
) -> Result<bool, EngineError> {
    if in_force(tx).await?.is_some() == stopped {
        return Ok(false);
    }
    let stop = EmergencyStop { by: by.to_owned(), reason: reason.to_owned(), at };
    let text = match stopped {
        true => serde_json::to_string(&stop).map_err(backstay_store::StoreError::from)?,
        false => String::new(),
    };
    hub_state::set(tx, KEY, &text).await?;
    let event = Event::EmergencyStopSet { stopped, reason: reason.to_owned(), by: by.to_owned() };
    tx.record(event, Refs::default())?;
    Ok(true)
}

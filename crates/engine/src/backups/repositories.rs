//! Repositories: their passwords, the recovery key, and holds on their snapshots.

use backstay_store::{
    backups::{
        repositories::{self, KeptRepository},
        snapshots::{self, InRepository},
    },
    hub_state,
};
use backstay_types::{
    Event, Refs,
    backup::{RepositoryFacts, SnapshotHold},
};

use serde::{Deserialize, Serialize};

use super::{Whose, refs};
use crate::{Engine, EngineError};

const RECOVERY_KEY: &str = "backup_recovery_key";

/// By what a target is known again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownTarget {
    /// What its own file says.
    pub id: String,
    /// Whether that file was seen there: until then it is being written.
    pub written: bool,
}

impl KnownTarget {
    fn kept(&self) -> Result<String, EngineError> {
        Ok(serde_json::to_string(self).map_err(backstay_store::StoreError::from)?)
    }
}

fn target_key(place: &str) -> String {
    format!("backup_target {place}")
}

impl Engine {
    /// Keeps the passwords of a repository that is about to be made, unless there are some; gives those that stand.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn keep_passwords(
        &self,
        whose: Whose,
        sealed: &str,
        node_sealed: &str,
    ) -> Result<KeptRepository, EngineError> {
        let mut tx = self.inner.store.begin().await?;
        let kept = repositories::keep(&mut tx, whose, sealed, node_sealed).await?;
        tx.commit().await?;
        Ok(kept)
    }

    /// Changes what is known about a repository.
    ///
    /// # Errors
    /// When there is none, or the store fails.
    pub async fn note_repository(
        &self,
        whose: Whose,
        change: impl FnOnce(&mut RepositoryFacts) + Send,
    ) -> Result<(), EngineError> {
        let mut tx = self.inner.store.begin().await?;
        let kept = repositories::get(&mut tx, whose).await?;
        let mut facts = kept.ok_or_else(|| EngineError::not_found("repository", "of the node"))?.facts;
        change(&mut facts);
        repositories::set_facts(&mut tx, whose, &facts).await?;
        tx.wake();
        tx.commit().await?;
        Ok(())
    }

    /// The public part of the owner's recovery key, when one is set.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn recovery_key(&self) -> Result<Option<String>, EngineError> {
        Ok(hub_state::get(&mut self.inner.store.read(), RECOVERY_KEY).await?)
    }

    /// Says to which key passwords are sealed from now on. Asked twice, it is done once.
    ///
    /// # Errors
    /// When there is another one and it is not to be replaced, or the store fails.
    pub async fn set_recovery_key(
        &self,
        recipient: &str,
        replace: bool,
        by: &str,
    ) -> Result<(), EngineError> {
        let mut tx = self.inner.store.begin().await?;
        let known = hub_state::get(&mut tx, RECOVERY_KEY).await?;
        if known.as_deref() == Some(recipient) {
            return Ok(());
        }
        if let Some(known) = known.filter(|_| !replace) {
            return Err(EngineError::OtherRecoveryKey(known));
        }
        hub_state::set(&mut tx, RECOVERY_KEY, recipient).await?;
        let event = Event::RecoveryKeySet { recipient: recipient.to_owned(), by: by.to_owned() };
        tx.record(event, Refs::default())?;
        tx.commit().await?;
        Ok(())
    }

    /// By which id a target is known; nothing when it was never used.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn known_target(&self, place: &str) -> Result<Option<KnownTarget>, EngineError> {
        let kept = hub_state::get(&mut self.inner.store.read(), &target_key(place)).await?;
        Ok(kept.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Gives a target that was never used an id, before it is written there; the one that it has when another hub was
    /// faster.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn name_target(&self, place: &str, id: String) -> Result<String, EngineError> {
        let named = KnownTarget { id, written: false };
        let mut tx = self.noting().await?;
        let kept = hub_state::set_once(&mut tx, &target_key(place), &named.kept()?).await?;
        tx.commit().await?;
        Ok(serde_json::from_str::<KnownTarget>(&kept).map_or(named.id, |kept| kept.id))
    }

    /// Keeps by which id a target is known.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn know_target(&self, place: &str, known: &KnownTarget) -> Result<(), EngineError> {
        let mut tx = self.noting().await?;
        hub_state::set(&mut tx, &target_key(place), &known.kept()?).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Takes what is at a target now for what should be there.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn accept_target(&self, place: &str, by: &str) -> Result<(), EngineError> {
        let mut tx = self.inner.store.begin().await?;
        hub_state::remove(&mut tx, &target_key(place)).await?;
        let event = Event::BackupTargetAccepted { place: place.to_owned(), by: by.to_owned() };
        tx.record(event, Refs::default())?;
        tx.commit().await?;
        Ok(())
    }

    /// Keeps a snapshot whatever retention says, or lets it decide again.
    ///
    /// # Errors
    /// When there is no such snapshot, or the store fails.
    pub async fn hold_snapshot(
        &self,
        of: &InRepository,
        hold: Option<SnapshotHold>,
        by: &str,
    ) -> Result<(), EngineError> {
        if of.kept.hold == hold {
            return Ok(());
        }
        let mut tx = self.inner.store.begin().await?;
        let snapshot = of.kept.snapshot.id;
        snapshots::set_hold(&mut tx, of.whose, snapshot, hold.as_ref()).await?;
        let event = Event::SnapshotHeld {
            snapshot,
            held: hold.is_some(),
            reason: hold.map(|hold| hold.reason).unwrap_or_default(),
            by: by.to_owned(),
        };
        tx.record(event, refs(of.whose, of.kept.snapshot.tags.stack.as_ref()))?;
        tx.commit().await?;
        Ok(())
    }

    /// Records that a node tried to change what is in its repository.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn note_refused_write(
        &self,
        node: backstay_types::NodeId,
        what: &str,
        times: u64,
    ) -> Result<(), EngineError> {
        let mut tx = self.inner.store.begin().await?;
        let event = Event::BackupWriteRefused { what: what.to_owned(), times };
        tx.record(event, refs(Some(node), None))?;
        tx.commit().await?;
        Ok(())
    }
}

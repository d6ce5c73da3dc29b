//! How the rest of the agent asks for snapshots and has things done about data.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use backstay_types::{DeploymentId, StackName, Timestamp, backup::SnapshotId};
use tokio::sync::{Notify, mpsc, oneshot};

use super::exchange::Errand;

/// The hub's time, by the machine's clock and how far that was from it.
#[derive(Debug, Clone, Default)]
pub(crate) struct HubClock(Arc<AtomicI64>);

impl HubClock {
    /// The hub said what time it is.
    pub(crate) fn heard(&self, ours: Timestamp, theirs: Timestamp) {
        let ahead = i64::try_from(ours.duration_since(theirs).as_millis()).unwrap_or(0);
        self.0.store(ahead, Ordering::Relaxed);
    }

    pub(super) fn now(&self, ours: Timestamp) -> Timestamp {
        let ahead = self.0.load(Ordering::Relaxed);
        let by = Duration::from_millis(ahead.unsigned_abs());
        if ahead >= 0 { ours - by } else { ours + by }
    }
}

/// How the rest of the agent asks for snapshots and says that there is something to do.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    before: mpsc::Sender<Before>,
    errands: mpsc::Sender<(Errand, oneshot::Sender<Result<String, String>>)>,
    pub(crate) due: Arc<Notify>,
    pub(crate) clock: HubClock,
}

/// A deployment that waits for a snapshot.
#[derive(Debug)]
pub(crate) struct Before {
    pub(super) stack: StackName,
    pub(super) deployment: DeploymentId,
    /// The snapshot whose data is to come with it.
    pub(super) data: Option<SnapshotId>,
    pub(super) reply: oneshot::Sender<Result<String, Unsaved>>,
}

/// Why there is no snapshot, or no data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unsaved {
    pub(crate) why: String,
    /// It may be otherwise soon.
    pub(crate) temporary: bool,
}

impl From<String> for Unsaved {
    fn from(why: String) -> Self {
        Self { why, temporary: false }
    }
}

impl From<&str> for Unsaved {
    fn from(why: &str) -> Self {
        why.to_owned().into()
    }
}

impl Unsaved {
    pub(super) fn for_now(why: impl Into<String>) -> Self {
        Self { why: why.into(), temporary: true }
    }
}

/// What the rest of the agent asks.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(super) before: mpsc::Receiver<Before>,
    pub(super) errands: mpsc::Receiver<(Errand, oneshot::Sender<Result<String, String>>)>,
}

impl Handle {
    pub(crate) fn new() -> (Self, Asked) {
        let ((before, asked), (errands, sent)) = (mpsc::channel(4), mpsc::channel(4));
        let handle = Self { before, errands, due: Arc::default(), clock: HubClock::default() };
        (handle, Asked { before: asked, errands: sent })
    }

    /// Has something done about the data of a deployment; what was done, or why not.
    pub(crate) async fn errand(&self, errand: Errand) -> Result<String, String> {
        let gone = || "the agent is ending".to_owned();
        let (reply, answer) = oneshot::channel();
        self.errands.send((errand, reply)).await.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Has the data of a stack saved before a deployment; what was saved, or why not. Nobody saves any more when this is
    /// dropped.
    ///
    /// With `data`, that of this snapshot is made ready beside its place besides, and what runs is stopped at the end.
    pub(crate) async fn before(
        &self,
        stack: &StackName,
        deployment: DeploymentId,
        data: Option<SnapshotId>,
    ) -> Result<String, Unsaved> {
        let gone = || Unsaved::for_now("the agent is ending");
        let (reply, answer) = oneshot::channel();
        let before = Before { stack: stack.clone(), deployment, data, reply };
        self.before.send(before).await.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

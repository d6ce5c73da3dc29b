//! News for all who follow events: made once, passed to each. Without followers nothing is made.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use backstay_types::{ConversationId, DeploymentId};
use tokio::sync::{Notify, broadcast};

use crate::http::ServerEvent;

/// How many messages a slow follower may be behind; one that is further behind reads the ledger.
const BACKLOG: usize = 1024;

/// A message.
#[derive(Debug, Clone)]
pub(crate) struct News {
    /// The ledger position that it is about.
    pub(crate) seq: Option<u64>,
    /// As it goes out.
    pub(crate) event: Arc<ServerEvent>,
}

/// Passes news on.
#[derive(Debug)]
pub(crate) struct Feed {
    sender: broadcast::Sender<News>,
    followed: Notify,
    touched: Mutex<TouchedIds>,
}

/// What got more known since the last message about it.
#[derive(Debug, Default)]
pub(crate) struct TouchedIds {
    pub(crate) deployments: BTreeSet<DeploymentId>,
    pub(crate) conversations: BTreeSet<ConversationId>,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            sender: broadcast::Sender::new(BACKLOG),
            followed: Notify::default(),
            touched: Mutex::default(),
        }
    }
}

impl Feed {
    /// Everything from now on.
    pub(crate) fn follow(&self) -> broadcast::Receiver<News> {
        let receiver = self.sender.subscribe();
        self.followed.notify_waiters();
        receiver
    }

    /// Whether anyone follows.
    pub(crate) fn is_followed(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    /// Waits until someone follows.
    pub(crate) async fn until_followed(&self) {
        loop {
            let told = self.followed.notified();
            if self.is_followed() {
                return;
            }
            told.await;
        }
    }

    /// Tells everyone.
    pub(crate) fn tell(&self, seq: Option<u64>, event: ServerEvent) {
        // Nobody left to hear it is no failure.
        let _ = self.sender.send(News { seq, event: Arc::new(event) });
    }

    /// More is known of these; told with the next beat.
    pub(crate) fn touch(
        &self,
        deployments: impl IntoIterator<Item = DeploymentId>,
        conversations: impl IntoIterator<Item = ConversationId>,
    ) {
        if self.is_followed() {
            let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
            touched.deployments.extend(deployments);
            touched.conversations.extend(conversations);
        }
    }

    /// What was touched since it was asked last.
    pub(crate) fn take_touched(&self) -> TouchedIds {
        std::mem::take(&mut *self.touched.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

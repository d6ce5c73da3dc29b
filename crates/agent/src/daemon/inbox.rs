//! Statements that came by hand: `backstay-agent apply` lays one down and says so by a hang-up signal.

use std::{fs, io, path::PathBuf};

use backstay_agent_core::Input;
use backstay_api::statement::SignedStatement;
use ed25519_dalek::VerifyingKey;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
};

use super::Event;
use crate::{AgentError, disk::Layout};

/// Looks for them.
#[derive(Debug)]
pub(super) struct Inbox {
    path: PathBuf,
    key: VerifyingKey,
}

impl Inbox {
    pub(super) fn new(layout: &Layout, key: VerifyingKey) -> Self {
        Self { path: layout.inbox(), key }
    }

    /// Looks at the start, and whenever it is told to, until nobody listens.
    pub(super) async fn run(self, events: mpsc::Sender<Event>) -> Result<(), AgentError> {
        let mut hang_up = signal(SignalKind::hangup()).map_err(AgentError::io("signals"))?;
        loop {
            if let Some(input) = self.read() {
                let (done, dealt_with) = oneshot::channel();
                if events.send(Event::Statement(input, done)).await.is_err() {
                    return Ok(());
                }
                // It goes only when it is in the journal, or was refused there.
                if dealt_with.await.is_ok() {
                    let _ = fs::remove_file(&self.path);
                }
            }
            if hang_up.recv().await.is_none() {
                return Ok(());
            }
        }
    }

    fn read(&self) -> Option<Input> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(%error, "what came by hand cannot be read");
                return None;
            }
        };
        let signed: Result<SignedStatement, _> = serde_json::from_slice(&bytes);
        let opened =
            signed.map_err(|e| e.to_string()).and_then(|s| s.open(&self.key).map_err(|e| e.to_string()));
        Some(match opened {
            Ok(statement) => Input::Statement(Box::new(statement)),
            Err(reason) => Input::Unreadable { reason: format!("by hand: {reason}") },
        })
    }
}

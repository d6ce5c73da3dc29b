//! A node with data to be saved, and what is saved of it.

use backstay_api::{Empty, v1};
use backstay_config::BackupSettings;
use tempfile::TempDir;

use crate::{
    backups::hub_with,
    harness::{Agent, TestHub},
};

/// Bytes that do not compress, other ones for each seed.
pub(crate) fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(length).collect()
}

/// A hub with these settings for backups, the node `web-1` that was heard from, and an empty folder of it.
pub(crate) async fn node_with_folder(change: impl FnOnce(&mut BackupSettings)) -> (TestHub, Agent, TempDir) {
    let hub = hub_with(change).await;
    let agent = hub.join("web-1").await;
    agent.say_hello().await;
    (hub, agent, tempfile::tempdir().unwrap())
}

/// Gives the hub a recovery key, made here.
pub(crate) async fn recovery_key(hub: &TestHub) -> age::x25519::Identity {
    let key = age::x25519::Identity::generate();
    let request = v1::SetRecoveryKeyRequest { recipient: key.to_public().to_string(), replace: false };
    hub.admin().call::<v1::SetRecoveryKey>(&Empty {}, &Empty {}, &request).await.unwrap();
    key
}

//! `backstay backup`: what is saved, how far it is proven, and what to do about it.

mod accept_target;
mod drill;
mod follow;
mod hold;
mod identity;
mod jobs;
mod list;
mod now;
mod open;
mod recovery_key;
mod status;
mod upkeep;

use backstay_types::backup::SnapshotId;
use clap::Subcommand;

pub(crate) use follow::{ended_well, follow, until_ended};

use super::{Outcome, done};
use crate::context::Context;

/// Backups.
#[derive(Debug, Subcommand)]
pub(crate) enum Backup {
    /// Make backups now, and follow them until they end
    Now(now::Now),
    /// Snapshots, newest first
    List(list::List),
    /// One snapshot
    Show(list::Show),
    /// How backups stand: at a glance and by node, what needs a person first; or of one node
    Status(status::Status),
    /// Jobs about backups, newest first; or one with what came of it
    Jobs(jobs::Jobs),
    /// End a job that waits or runs
    Cancel(jobs::Cancel),
    /// Read snapshots back at the target
    Verify(upkeep::Verify),
    /// Try now whether snapshots can be put back, and follow that until it ends
    Drill(drill::Drill),
    /// Forget what retention does not keep, and free what no snapshot needs
    Prune(upkeep::Prune),
    /// What a snapshot holds
    Files(list::Files),
    /// Keep a snapshot whatever retention says
    Hold(hold::Hold),
    /// Let retention decide about a snapshot again
    Release(hold::Release),
    /// Begin anew at a target that the hub does not know again, since it was emptied on purpose
    AcceptTarget(accept_target::AcceptTarget),
    /// The owner's recovery key, which opens all backups without any hub: make, show or check it
    RecoveryKey(recovery_key::RecoveryKey),
    /// Open a repository with the recovery key: where it is, its password, and how restic reads it
    Open(open::Open),
}

impl Backup {
    pub(crate) async fn run(self, cx: &Context) -> Outcome {
        match self {
            Self::Now(command) => command.run(cx).await,
            Self::List(command) => command.run(cx).await,
            Self::Show(command) => command.run(cx).await,
            Self::Status(command) => command.run(cx).await,
            Self::Jobs(command) => command.run(cx).await,
            Self::Cancel(command) => command.run(cx).await,
            Self::Verify(command) => command.run(cx).await,
            Self::Drill(command) => command.run(cx).await,
            Self::Prune(command) => command.run(cx).await,
            Self::Files(command) => command.run(cx).await,
            Self::Hold(command) => command.run(cx).await,
            Self::Release(command) => command.run(cx).await,
            Self::AcceptTarget(command) => command.run(cx).await,
            Self::RecoveryKey(command) => command.run(cx).await,
            Self::Open(command) => command.run(cx).await,
        }
    }
}

/// The first digits of a snapshot's id, as every command takes them.
pub(crate) fn short(id: SnapshotId) -> String {
    id.digest().short()
}

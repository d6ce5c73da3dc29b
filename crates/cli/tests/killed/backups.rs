//! The ways in which the hub comes to write about backups.

use backstay_api::{
    Empty,
    agent::{BackupJobPath as AgentJobPath, FinishBackup},
    v1,
};
use backstay_client::ClientError;
use backstay_types::{
    BackupJobId, Digest, Id as _,
    backup::{
        BackupJobState, BackupReason, BackupTaskKind, Proof, Snapshot, SnapshotId, SnapshotTags, WorkOutcome,
    },
};

use super::{
    place::Place,
    ways::{Again, Way},
};

/// The same for all who run in this process.
fn recipient() -> String {
    static KEY: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    KEY.get_or_init(|| age::x25519::Identity::generate().to_public().to_string()).clone()
}

fn joined(place: &mut Place) {
    place.start();
    place.join();
}

fn jobs(place: &Place) -> Vec<v1::BackupJobView> {
    let query = v1::BackupJobsQuery { node: Some("n1".to_owned()), ..Default::default() };
    place.call::<v1::ListBackupJobs>(&Empty {}, &query, &Empty {}).unwrap().items
}

fn start(place: &Place) -> Result<(), ClientError> {
    let body = v1::StartBackupRequest { node: Some("n1".to_owned()), ..Default::default() };
    place.call::<v1::StartBackup>(&Empty {}, &Empty {}, &body).map(drop)
}

pub(super) const START_BACKUP: Way = Way {
    endpoints: &["StartBackup"],
    prepare: joined,
    act: start,
    count: |place| jobs(place).len(),
    again: Again::Same,
    event: "",
};

pub(super) const CANCEL_BACKUP: Way = Way {
    endpoints: &["CancelBackupJob"],
    prepare: |place| {
        joined(place);
        start(place).unwrap();
        let id = jobs(place)[0].job.id;
        place.keep("job", id);
    },
    act: |place| {
        let path = v1::BackupJobPath { job: place.note("job").parse().unwrap() };
        place.call::<v1::CancelBackupJob>(&path, &Empty {}, &Empty {}).map(drop)
    },
    count: |place| jobs(place).iter().filter(|view| view.job.state == BackupJobState::Cancelled).count(),
    again: Again::Same,
    event: "backup_cancelled",
};

/// A node tells what it saved, always in the same words.
fn finish(place: &Place) -> Result<(), ClientError> {
    let job = BackupJobId::from_uuid(uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001));
    let tags = SnapshotTags {
        node: None,
        node_name: None,
        stack: Some("web".parse().unwrap()),
        tree: None,
        deployment: None,
        conversation: None,
        reason: BackupReason::Schedule,
    };
    let digest = Digest::of(b"a snapshot");
    let snapshot = Snapshot {
        id: SnapshotId::new(digest),
        at: "2026-01-01T12:00:00Z".parse().unwrap(),
        tags,
        proof: Proof::Matched,
        files: 1,
        bytes: 1,
        added_bytes: 1,
        manifest: digest,
    };
    let body = WorkOutcome { snapshots: vec![snapshot], ..WorkOutcome::default() };
    place.call_as_node::<FinishBackup>(&AgentJobPath { job }, &body).map(drop)
}

fn snapshots(place: &Place) -> Vec<v1::SnapshotView> {
    let query = v1::SnapshotsQuery::default();
    place.call::<v1::ListSnapshots>(&Empty {}, &query, &Empty {}).unwrap().items
}

fn snapshot() -> v1::SnapshotPath {
    v1::SnapshotPath { snapshot: Digest::of(b"a snapshot").to_string() }
}

fn saved(place: &mut Place) {
    joined(place);
    finish(place).unwrap();
}

pub(super) const FINISH_BACKUP: Way = Way {
    endpoints: &["FinishBackup"],
    prepare: joined,
    act: finish,
    count: |place| snapshots(place).len(),
    again: Again::Same,
    event: "backup_made",
};

fn hold(place: &Place) -> Result<(), ClientError> {
    let body = v1::HoldSnapshotRequest { reason: "it is the last".to_owned(), until: None };
    place.call::<v1::HoldSnapshot>(&snapshot(), &Empty {}, &body).map(drop)
}

fn held(place: &Place) -> usize {
    snapshots(place).iter().filter(|one| one.kept.hold.is_some()).count()
}

pub(super) const HOLD_SNAPSHOT: Way = Way {
    endpoints: &["HoldSnapshot"],
    prepare: saved,
    act: hold,
    count: held,
    again: Again::Same,
    event: "snapshot_held",
};

pub(super) const RELEASE_SNAPSHOT: Way = Way {
    endpoints: &["ReleaseSnapshot"],
    prepare: |place| {
        saved(place);
        hold(place).unwrap();
    },
    act: |place| place.call::<v1::ReleaseSnapshot>(&snapshot(), &Empty {}, &Empty {}).map(drop),
    count: |place| 1 - held(place),
    again: Again::Same,
    event: "snapshot_held",
};

/// All that is asked of those who look after repositories.
pub(super) const ASK_UPKEEP: Way = Way {
    endpoints: &["VerifyBackups", "PruneBackups", "AskSnapshotFiles"],
    prepare: saved,
    act: |place| {
        let body = v1::VerifyBackupsRequest { node: "n1".to_owned(), snapshot: None };
        place.call::<v1::VerifyBackups>(&Empty {}, &Empty {}, &body)?;
        let body = v1::PruneBackupsRequest { node: "n1".to_owned(), dry_run: true };
        place.call::<v1::PruneBackups>(&Empty {}, &Empty {}, &body)?;
        let body = v1::SnapshotFilesRequest::default();
        place.call::<v1::AskSnapshotFiles>(&snapshot(), &Empty {}, &body).map(drop)
    },
    count: |place| {
        let asked = [BackupTaskKind::Verify, BackupTaskKind::Prune, BackupTaskKind::Files];
        let all = jobs(place);
        let of = |kind| all.iter().filter(|view| view.job.task.kind() == kind).count();
        asked.into_iter().map(of).min().unwrap_or_default()
    },
    again: Again::Same,
    event: "",
};

pub(super) const ACCEPT_TARGET: Way = Way {
    endpoints: &["AcceptBackupTarget"],
    prepare: |place| {
        place.start();
        // It is known, and then it is not there.
        let file = place.dir.path().join("backups/backstay-target.json");
        place.eventually("the target is in use", || file.is_file());
        std::fs::remove_file(&file).unwrap();
        place.eventually("it is missed", || {
            let view = place.call::<v1::GetBackups>(&Empty {}, &Empty {}, &Empty {}).unwrap();
            view.settings.unwrap().target.not_used.is_some()
        });
    },
    act: |place| {
        let body = v1::AcceptTargetRequest::default();
        place.call::<v1::AcceptBackupTarget>(&Empty {}, &Empty {}, &body).map(drop)
    },
    count: |place| {
        let kind = Some("backup_target_accepted".to_owned());
        let query = v1::TimelineQuery { kind, ..Default::default() };
        usize::from(!place.call::<v1::ListTimeline>(&Empty {}, &query, &Empty {}).unwrap().items.is_empty())
    },
    again: Again::Same,
    event: "backup_target_accepted",
};

pub(super) const SET_RECOVERY_KEY: Way = Way {
    endpoints: &["SetRecoveryKey"],
    prepare: Place::start,
    act: |place| {
        let body = v1::SetRecoveryKeyRequest { recipient: recipient(), replace: false };
        place.call::<v1::SetRecoveryKey>(&Empty {}, &Empty {}, &body).map(drop)
    },
    count: |place| {
        let key = place.call::<v1::GetRecoveryKey>(&Empty {}, &Empty {}, &Empty {}).unwrap();
        usize::from(key.recipient == Some(recipient()))
    },
    again: Again::Same,
    event: "recovery_key_set",
};

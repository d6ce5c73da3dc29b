//! Stacks that move from node to node.

use backstay_api::{Empty, agent, v1};
use backstay_client::ClientError;
use backstay_types::{
    HostFacts, Id as _, Labels, MigrationId, MigrationState, Secret,
    backup::{BackupReason, BackupTask},
};

use super::{
    place::Place,
    ways::{Again, Way, report, with_deployment},
};

/// `web` runs on `n1` alone, and `n2` has joined.
fn ready(place: &mut Place) {
    with_deployment(place);
    report(place).unwrap();
    place.tree.write("fleet.toml", "[[assign]]\nstack = \"web\"\nnodes = \"name=n1\"\n");
    place.tree.commit(&backstay_testkit::CommitSpec::new("On n1"));
    place.tree.push();
    place.try_sync().unwrap();
    let made = place
        .call::<v1::CreateJoinToken>(&Empty {}, &Empty {}, &v1::CreateJoinTokenRequest::default())
        .unwrap();
    let body = agent::JoinRequest {
        token: Secret::new(made.token.expose()),
        name: "n2".parse().unwrap(),
        labels: Labels::parse(["role=web"]).unwrap(),
        facts: HostFacts::default(),
    };
    place.call_as::<agent::JoinNode>(Some("none"), &Empty {}, &Empty {}, &body).unwrap();
}

fn id() -> MigrationId {
    MigrationId::from_uuid(uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0002))
}

fn start(place: &Place) -> Result<(), ClientError> {
    let body = v1::MigrationRequest {
        id: Some(id()),
        from: Some("n1".to_owned()),
        to: Some("n2".to_owned()),
        ..v1::MigrationRequest::default()
    };
    place.call::<v1::StartMigration>(&Empty {}, &Empty {}, &body).map(drop)
}

fn all(place: &Place) -> Vec<v1::MigrationView> {
    place.call::<v1::ListMigrations>(&Empty {}, &v1::MigrationsQuery::default(), &Empty {}).unwrap().items
}

pub(super) const MIGRATE: Way = Way {
    endpoints: &["StartMigration"],
    prepare: ready,
    act: start,
    count: |place| all(place).len(),
    again: Again::Same,
    event: "migration_started",
};

/// What the reconciler does first.
pub(super) const MIGRATE_ON: Way = Way {
    endpoints: &["StartMigration"],
    prepare: ready,
    act: start,
    count: |place| {
        let query = v1::BackupJobsQuery { node: Some("n1".to_owned()), ..Default::default() };
        let jobs = place.call::<v1::ListBackupJobs>(&Empty {}, &query, &Empty {}).unwrap().items;
        let of_move = |view: &&v1::BackupJobView| matches!(&view.job.task, BackupTask::Save(work) if work.reason == BackupReason::Migration);
        jobs.iter().filter(of_move).count()
    },
    again: Again::Same,
    event: "migration_started",
};

pub(super) const ABORT_MIGRATION: Way = Way {
    endpoints: &["AbortMigration"],
    prepare: |place| {
        ready(place);
        start(place).unwrap();
    },
    act: |place| {
        let path = v1::MigrationPath { migration: id() };
        let body = v1::AbortMigrationRequest::default();
        place.call::<v1::AbortMigration>(&path, &Empty {}, &body).map(drop)
    },
    count: |place| {
        let cancelled = |view: &&v1::MigrationView| {
            view.migration.cancelled_by.is_some() || view.state == MigrationState::Cancelled
        };
        all(place).iter().filter(cancelled).count()
    },
    again: Again::Same,
    event: "migration_cancelled",
};

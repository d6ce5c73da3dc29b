//! Nodes that follow another branch.

use backstay_api::{Empty, v1};
use backstay_client::ClientError;
use backstay_types::RepositoryHealth;

use super::{
    place::Place,
    ways::{Again, Way, with_deployment},
};

const FILE: &str = "stacks/web/tried";

/// Commits to the branch and pushes it; the deployed one is checked out again.
fn push(place: &Place, text: &str) {
    place.tree.write(FILE, text);
    place.tree.commit(&backstay_testkit::CommitSpec::new(text));
    place.tree.push_as_maintainer();
}

fn ready(place: &mut Place) {
    with_deployment(place);
    place.tree.branch("try", "main");
    push(place, "1");
    // The first poll of a repository comes within a second; the next in an hour.
    std::thread::sleep(std::time::Duration::from_millis(1500));
}

fn follow(place: &Place) -> Result<(), ClientError> {
    let body = v1::CreateConstraintRequest {
        effect: v1::NewEffect::Follow { stack: "web".parse().unwrap(), branch: "try".to_owned() },
        nodes: Some("name=n1".to_owned()),
        reason: "to try it".to_owned(),
        from: None,
        until: None,
    };
    place.call::<v1::CreateConstraint>(&Empty {}, &Empty {}, &body).map(drop)
}

fn branches(place: &Place) -> Vec<v1::BranchView> {
    place.call::<v1::ListBranches>(&Empty {}, &Empty {}, &Empty {}).unwrap().items
}

pub(super) const FOLLOW: Way = Way {
    endpoints: &["CreateConstraint"],
    prepare: ready,
    act: follow,
    count: |place| {
        let query = v1::ConstraintsQuery { all: Some(true), ..Default::default() };
        place.call::<v1::ListConstraints>(&Empty {}, &query, &Empty {}).unwrap().items.len()
    },
    again: Again::Same,
    event: "constraint_set",
};

pub(super) const BRANCH_MOVED: Way = Way {
    endpoints: &["SyncRepository"],
    prepare: |place| {
        ready(place);
        follow(place).unwrap();
        push(place, "2");
    },
    act: Place::try_sync,
    count: |place| {
        let head = place.tree.head();
        branches(place).iter().filter(|one| one.tip.as_str() == head).count()
    },
    again: Again::Same,
    event: "",
};

pub(super) const BRANCH_GONE: Way = Way {
    endpoints: &["SyncRepository"],
    prepare: |place| {
        ready(place);
        follow(place).unwrap();
        place.tree.git(&["push", "--quiet", "origin", "--delete", "try"]);
    },
    act: Place::try_sync,
    count: |place| {
        let gone = |one: &&v1::BranchView| matches!(one.health, RepositoryHealth::Unreachable { .. });
        branches(place).iter().filter(gone).count()
    },
    again: Again::Same,
    event: "",
};

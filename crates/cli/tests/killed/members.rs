//! The ways in which the hub comes to write about nodes that have joined.

use backstay_api::{Empty, v1};
use backstay_client::ClientError;
use backstay_types::{ErrorCode, NodeState};

use super::{
    place::Place,
    ways::{Again, Way, nodes, report, with_deployment},
};

fn joined(place: &mut Place) {
    place.start();
    place.join();
}

fn labels() -> v1::LabelsRequest {
    v1::LabelsRequest {
        set: [("ring".to_owned(), "canary".to_owned())].into(),
        remove: vec!["role".to_owned()],
        ..v1::LabelsRequest::default()
    }
}

/// Nodes that have the new label and no longer the old one: never one of the two.
fn labelled(place: &Place) -> usize {
    let all = nodes(place);
    let is = |node: &&v1::NodeView, key: &str| node.node.labels.get(key).is_some();
    assert!(all.iter().all(|node| is(&node, "ring") != is(&node, "role")));
    all.iter().filter(|node| is(node, "ring")).count()
}

pub(super) const LABEL: Way = Way {
    endpoints: &["LabelNode"],
    prepare: joined,
    act: |place| {
        let path = v1::NodePath { node: "n1".to_owned() };
        place.call::<v1::LabelNode>(&path, &Empty {}, &labels()).map(drop)
    },
    count: labelled,
    again: Again::Same,
    event: "node_labelled",
};

pub(super) const LABEL_MANY: Way = Way {
    endpoints: &["LabelNodes"],
    prepare: joined,
    act: |place| {
        let body = v1::LabelNodesRequest { nodes: "name=n1".to_owned(), labels: labels() };
        place.call::<v1::LabelNodes>(&Empty {}, &Empty {}, &body).map(drop)
    },
    count: labelled,
    again: Again::Same,
    event: "node_labelled",
};

fn n1() -> v1::NodePath {
    v1::NodePath { node: "n1".to_owned() }
}

fn decommission(place: &Place, keep_running: bool) -> Result<(), ClientError> {
    let body = v1::DecommissionRequest { reason: "it is old".to_owned(), keep_running, dry_run: false };
    place.call::<v1::DecommissionNode>(&n1(), &Empty {}, &body).map(drop)
}

/// A node that runs something, which it has to lose first.
fn with_something(place: &mut Place) {
    with_deployment(place);
    report(place).unwrap();
}

fn leaving(place: &Place) -> usize {
    nodes(place).iter().filter(|node| node.decommissioning.is_some()).count()
}

pub(super) const DECOMMISSION: Way = Way {
    endpoints: &["DecommissionNode"],
    prepare: with_something,
    act: |place| decommission(place, false),
    count: leaving,
    again: Again::Same,
    event: "constraint_set",
};

pub(super) const DECOMMISSION_AT_ONCE: Way = Way {
    endpoints: &["DecommissionNode"],
    prepare: |place| {
        with_something(place);
        place.notes.borrow_mut().remove("online");
    },
    act: |place| decommission(place, true),
    count: |place| nodes(place).iter().filter(|node| node.state == NodeState::Revoked).count(),
    again: Again::Refused(ErrorCode::BS4005),
    event: "node_decommissioned",
};

pub(super) const CANCEL_DECOMMISSION: Way = Way {
    endpoints: &["CancelDecommission"],
    prepare: |place| {
        with_something(place);
        decommission(place, false).unwrap();
    },
    act: |place| {
        let body = v1::LiftRequest { reason: "it is needed".to_owned() };
        place.call::<v1::CancelDecommission>(&n1(), &Empty {}, &body).map(drop)
    },
    count: |place| usize::from(leaving(place) == 0),
    again: Again::Refused(ErrorCode::BS4005),
    event: "constraint_lifted",
};

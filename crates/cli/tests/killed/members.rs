//! The ways in which the hub comes to write about nodes that have joined.

use backstay_api::{Empty, v1};

use super::{
    place::Place,
    ways::{Again, Way, nodes},
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

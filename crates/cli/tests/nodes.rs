//! What becomes of nodes, by the program and a real hub.

use backstay_api::{
    Empty,
    agent::{CheckIn, CheckInRequest, JoinNode, JoinRequest},
};
use backstay_client::{Client, Options};
use backstay_types::{HostFacts, Labels, Secret};

use crate::hub::Fleet;

/// An agent's part, played.
struct Member {
    runtime: tokio::runtime::Runtime,
    client: Client,
}

impl Member {
    /// Joins, and says that it is there.
    fn join(fleet: &Fleet, name: &str, label: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = |secret| Client::with_options(&fleet.url(), secret, Options::default()).unwrap();
        let facts = HostFacts { hostname: format!("{name}.example"), ..HostFacts::default() };
        let token = fleet.json(&["nodes", "token"])["token"].as_str().unwrap().to_owned();
        let (name, labels) = (name.parse().unwrap(), Labels::parse([label]).unwrap());
        let request = JoinRequest { token: Secret::new(token), name, labels, facts: facts.clone() };
        let joined = runtime.block_on(client(None).call::<JoinNode>(&Empty {}, &Empty {}, &request)).unwrap();
        let member = Self { runtime, client: client(Some(joined.credential)) };
        let hello = CheckInRequest {
            have: None,
            hold_ms: 0,
            observed: Some(Vec::new()),
            facts: Some(facts),
            figures: None,
            safety: None,
            nonce: None,
        };
        member.runtime.block_on(member.client.call::<CheckIn>(&Empty {}, &Empty {}, &hello)).unwrap();
        member
    }
}

#[test]
fn labels_of_nodes_are_looked_at_and_changed() {
    let fleet = Fleet::following();
    Member::join(&fleet, "n1", "ring=stable");
    Member::join(&fleet, "n2", "ring=stable");
    let wanted = fleet.run(&["nodes", "label", "--where", "ring=stable", "ring=canary", "--dry-run"]);
    assert!(
        wanted.contains("ring=canary (was stable)") && wanted.contains("2 nodes would change"),
        "{wanted}"
    );
    let ring = |node: &str| fleet.json(&["nodes", "show", node])["labels"]["ring"].clone();
    assert_eq!((ring("n1"), ring("n2")), ("stable".into(), "stable".into()));

    let done = fleet.run(&["nodes", "label", "n1", "ring=canary", "region=eu", "--reason", "a try"]);
    assert!(done.contains("1 node changed"), "{done}");
    assert_eq!((ring("n1"), ring("n2")), ("canary".into(), "stable".into()));
    fleet.run(&["nodes", "label", "n1", "region-"]);
    assert!(fleet.json(&["nodes", "show", "n1"])["labels"].get("region").is_none());
    let rows = fleet.json(&["nodes", "list", "--nodes", "ring=canary"]);
    assert_eq!(rows.as_array().unwrap().len(), 1, "selectors see it at once");
    fleet.eventually("the ledger has who and why", || {
        fleet.run(&["timeline", "--node", "n1"]).contains("ring=canary: a try")
    });
    for (wrong, says) in [
        (&["nodes", "label", "ring=canary"][..], "expected a node's name"),
        (&["nodes", "label", "n1", "ring"], "`ring` is no label"),
        (&["nodes", "label", "n1", "ring=a b"], "is not a label"),
        (&["nodes", "label", "--where", "ring=gone", "a=b"], "matches none of 2 nodes"),
    ] {
        let ran = fleet.try_run(wrong);
        assert!(ran.code != 0 && ran.err.contains(says), "{wrong:?}: {}", ran.err);
    }
}

//! What becomes of nodes, by the program and a real hub.

use backstay_api::{
    Empty,
    agent::{
        CheckIn, CheckInRequest, JoinNode, JoinRequest, Report, ReportBody, ReportsRequest, SendReports,
    },
};
use backstay_client::{Client, Options};
use backstay_types::{
    DeploymentId, DeploymentState, HostFacts, Id as _, Labels, ReportId, Secret, Timestamp,
};

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

    /// Says that a deployment has succeeded.
    fn succeed(&self, deployment: DeploymentId) {
        let report = |n: u128, body| Report {
            id: ReportId::from_uuid(uuid::Uuid::from_u128(deployment.uuid().as_u128() ^ n)),
            at: Timestamp::UNIX_EPOCH,
            body,
        };
        let (state, containers) = (DeploymentState::Succeeded, Vec::new());
        let reports = vec![
            report(1, ReportBody::DeploymentStarted { deployment, previous: None }),
            report(2, ReportBody::DeploymentFinished { deployment, state, containers }),
        ];
        let request = ReportsRequest { reports };
        self.runtime.block_on(self.client.call::<SendReports>(&Empty {}, &Empty {}, &request)).unwrap();
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

#[test]
fn a_node_is_taken_out_of_the_fleet() {
    let fleet = Fleet::following();
    let member = Member::join(&fleet, "n1", "ring=stable");
    let mut told = None;
    fleet.eventually("it is to run the stack", || {
        told = fleet.json(&["deployments"])[0]["id"].as_str().map(|id| id.parse().unwrap());
        told.is_some()
    });
    member.succeed(told.unwrap());
    let looked = fleet.run(&["nodes", "decommission", "n1", "--dry-run"]);
    assert!(looked.contains("volume web_pages") && looked.contains("Data and volumes stay"), "{looked}");
    let ran = fleet.try_run(&["nodes", "decommission", "n1", "--reason", "old"]);
    assert!(ran.code != 0 && ran.err.contains("BS8010"), "nobody is there to say yes: {}", ran.err);
    assert!(fleet.json(&["nodes", "show", "n1"]).get("decommissioning").is_none());

    fleet.run(&["nodes", "decommission", "n1", "--reason", "old", "--yes"]);
    assert!(fleet.run(&["nodes", "list"]).contains("decommissioning"));
    assert!(fleet.run(&["nodes", "show", "n1"]).contains(": old"));
    assert!(fleet.run(&["why", "n1/web"]).contains("the node is being taken out"));
    let id = fleet.json(&["maintenance", "list", "--all"]);
    assert!(id.as_array().unwrap().is_empty(), "it is no maintenance: {id}");
    fleet.run(&["nodes", "decommission", "n1", "--cancel", "--reason", "needed"]);
    assert!(!fleet.run(&["nodes", "list"]).contains("decommissioning"));
    let ran = fleet.try_run(&["nodes", "decommission", "n1", "--cancel", "--reason", "needed"]);
    assert!(ran.err.contains("BS4005"), "{}", ran.err);

    fleet.run(&["nodes", "decommission", "n1", "--keep-running", "--reason", "sold", "--yes"]);
    assert_eq!(fleet.json(&["nodes", "show", "n1"])["state"], "revoked");
    fleet.eventually("the ledger has who and why", || {
        fleet.run(&["timeline", "--node", "n1"]).contains("what it ran keeps running: sold")
    });
}

#[test]
fn the_inventory_is_shown_and_taken_elsewhere() {
    let fleet = Fleet::following();
    let member = Member::join(&fleet, "n1", "ring=stable");
    Member::join(&fleet, "n2", "ring=canary");
    let mut told = Vec::new();
    fleet.eventually("both are to run the stack", || {
        told = fleet.json(&["deployments"]).as_array().unwrap().clone();
        told.len() == 2
    });
    let mine = told.iter().find(|one| one["node_name"] == "n1").unwrap_or_else(|| panic!("{told:#?}"));
    member.succeed(mine["id"].as_str().unwrap().parse().unwrap());
    fleet.eventually("what runs is known", || fleet.run(&["nodes", "inventory"]).contains("web@"));

    let all = fleet.json(&["nodes", "inventory"]);
    assert_eq!((all[0]["name"].as_str(), all[1]["name"].as_str()), (Some("n1"), Some("n2")));
    assert_eq!(all[0]["facts"]["hostname"], "n1.example");
    let tip = fleet.json(&["repos", "list"])[0]["tip"].clone();
    assert_eq!(all[0]["stacks"][0]["commit"], tip);
    assert!(all[0]["stacks"][0]["since"].is_string() && all[0]["pending"].as_array().unwrap().is_empty());
    assert!(all[1]["stacks"].as_array().unwrap().is_empty());
    assert_eq!(all[1]["pending"][0]["stack"], "web");
    let one = fleet.run(&["nodes", "inventory", "--where", "ring=canary", "--format", "json"]);
    assert!(one.contains("n2") && !one.contains("n1.example"), "{one}");

    let file = fleet.path("inventory.csv");
    fleet.run(&["nodes", "inventory", "--format", "csv", "--output", file.to_str().unwrap()]);
    let csv = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<_> = csv.split("\r\n").collect();
    assert!(lines[0].starts_with("name,id,state,labels,"), "{csv}");
    assert!(lines[1].starts_with("n1,") && lines[1].contains(tip.as_str().unwrap()), "{csv}");
    assert!(
        lines[2].starts_with("n2,") && lines[2].contains("ring=canary") && lines[2].contains("web@"),
        "{csv}"
    );
    let fields = lines[0].split(',').count();
    assert!(lines[1..3].iter().all(|line| line.split(',').count() == fields), "{csv}");
    assert_eq!((lines.len(), lines[3]), (4, ""), "{csv}");
}

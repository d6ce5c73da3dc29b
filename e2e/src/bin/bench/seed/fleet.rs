//! Who runs what.

use backstay_types::{
    Digest, HostFacts, Labels, Node, NodeId, NodeName, Repository, RepositoryHealth, StackName, Timestamp,
    World,
};

use super::{Dice, Sizes};

/// A stack, the nodes that run it, and how often it is released.
#[derive(Debug)]
pub(super) struct Stack {
    pub(super) name: StackName,
    /// As in `fleet.toml`.
    pub(super) selector: String,
    /// Places in [`Fleet::nodes`].
    pub(super) nodes: Vec<usize>,
    /// How many of all deployments are its own.
    pub(super) deployments: usize,
}

/// Nodes and stacks.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) repository: Repository,
    pub(super) nodes: Vec<Node>,
    pub(super) stacks: Vec<Stack>,
}

/// Name, first and last node in thousandths of the fleet, share of the deployments in thousandths.
const LARGE: [(&str, usize, usize, usize); 4] =
    [("edge", 0, 550, 386), ("sensors", 550, 850, 210), ("camera", 0, 100, 140), ("gateway", 850, 880, 120)];
/// Most stacks are of customers, each on a few nodes of its own.
const CUSTOMERS: usize = 60;
/// Where their nodes begin and end, in thousandths. Behind them are nodes that run nothing.
const OF_CUSTOMERS: (usize, usize) = (880, 998);
const REGIONS: [&str; 4] = ["eu-central", "eu-west", "us-east", "ap-south"];
const HARDWARE: [&str; 4] = ["pi-4", "pi-5", "vm-small", "vm-large"];

impl Fleet {
    /// A fleet of this size.
    pub(super) fn of(sizes: Sizes, world: &World) -> Self {
        let at = world.now();
        let repository = Repository {
            id: world.mint(),
            name: "fleet".parse().expect("a name"),
            // Nothing is there: the hub finds that upstream is away, and goes on with what it knows.
            endpoints: vec!["/var/empty/fleet.git".to_owned()],
            branch: "main".to_owned(),
            stacks_path: None,
            tip: None,
            health: RepositoryHealth::Ok,
            fetched_at: Some(at),
            created_at: at,
            warnings: Vec::new(),
        };
        let stacks = stacks(sizes);
        let nodes = (0..sizes.nodes).map(|number| node(number, sizes.nodes, &stacks, at, world)).collect();
        Self { repository, nodes, stacks }
    }

    /// Whether a node has joined and said nothing yet.
    pub(super) fn is_silent(&self, node: usize) -> bool {
        node >= self.nodes.len() * OF_CUSTOMERS.1 / 1000
    }
}

fn stacks(sizes: Sizes) -> Vec<Stack> {
    let stack = |name: String, nodes: std::ops::Range<usize>, deployments| Stack {
        selector: format!("runs-{name}=yes"),
        name: name.parse().expect("a name"),
        nodes: nodes.collect(),
        deployments,
    };
    let place = |thousandth: usize| sizes.nodes * thousandth / 1000;
    let mut all: Vec<_> = LARGE
        .iter()
        .map(|(name, from, to, share)| {
            stack((*name).to_owned(), place(*from)..place(*to), sizes.deployments * share / 1000)
        })
        .collect();
    let left = sizes.deployments - all.iter().map(|stack| stack.deployments).sum::<usize>();
    let (first, end) = (place(OF_CUSTOMERS.0), place(OF_CUSTOMERS.1));
    let count = CUSTOMERS.min((end - first) / 4).max(1);
    let cut = |from: usize, to: usize, i: usize| from + (to - from) * i / count;
    all.extend((0..count).map(|i| {
        let nodes = cut(first, end, i)..cut(first, end, i + 1);
        stack(format!("customer-{:02}", i + 1), nodes, cut(0, left, i + 1) - cut(0, left, i))
    }));
    all
}

fn node(number: usize, all: usize, stacks: &[Stack], joined_at: Timestamp, world: &World) -> Node {
    let dice = Dice::of(world);
    let thousandth = number * 1000 / all;
    let runs: Vec<_> = stacks.iter().filter(|stack| stack.nodes.binary_search(&number).is_ok()).collect();
    let ring = match thousandth % 100 {
        0 => "sandbox",
        1..=4 => "canary",
        5..=24 => "early",
        _ => "general",
    };
    let role = runs.first().map_or("spare", |stack| stack.name.as_str()).to_owned();
    let mut labels = Labels::default();
    let mut label = |key: &str, value: &str| labels.insert(key, value).expect("a label");
    label("role", &role);
    label("ring", ring);
    label("region", REGIONS[dice.below(REGIONS.len())]);
    label("hardware", HARDWARE[dice.below(HARDWARE.len())]);
    for stack in runs {
        label(&format!("runs-{}", stack.name), "yes");
    }
    let name: NodeName = format!("{role}-{number:05}").parse().expect("a name");
    Node { id: world.mint::<NodeId>(), name, labels, joined_at, revoked_at: None }
}

/// What a node says of itself.
pub(super) fn facts(node: &Node) -> HostFacts {
    let digest = Digest::of(node.name.as_str().as_bytes());
    let free = u64::from(digest.as_bytes()[0]) * 200_000_000;
    HostFacts {
        os: "linux".to_owned(),
        arch: if node.labels.get("hardware").is_some_and(|h| h.starts_with("pi")) {
            "aarch64"
        } else {
            "x86_64"
        }
        .to_owned(),
        hostname: node.name.to_string(),
        agent_version: if digest.as_bytes()[1] < 24 { "0.0.9" } else { env!("CARGO_PKG_VERSION") }.to_owned(),
        manifest_schema: 1,
        runtimes: vec!["compose".to_owned(), "process".to_owned()],
        disk_free_bytes: free,
        disk_total_bytes: 64_000_000_000,
        cpus: 4,
        memory_bytes: 4_000_000_000,
        ..HostFacts::default()
    }
}

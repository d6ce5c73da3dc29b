//! A large fleet in one transaction, and read whole.

use std::time::{Duration, Instant};

use backstay_store::{
    deployments,
    desired::{self, Desired, DesiredStack},
    leases, ledger, nodes,
    nodes::SoftState,
};
use backstay_types::*;

use crate::fixture::{Fixture, both, digest, stack};

const NODES: usize = 10_000;
/// Far above what it takes: what is caught here is a step for each row where there should be one for many.
const LIMIT: Duration = Duration::from_secs(60);

async fn ten_thousand_nodes_move_in_one_transaction(t: Fixture) {
    let began = Instant::now();
    let rollout = t.rollout(&t.release(t.mint(), "web", "1"), Cause::Undo { undo: t.mint() });
    let fleet: Vec<NodeId> = (0..NODES).map(|_| t.mint()).collect();
    let planned: Vec<Deployment> = fleet.iter().map(|node| t.deployment(*node, &rollout)).collect();
    let at = t.later();
    let desired: Vec<Desired> = fleet
        .iter()
        .map(|node| Desired {
            node: *node,
            epoch: 1,
            generation: 1,
            digest: digest("d"),
            statement: "x".repeat(1500),
            updated_at: at,
        })
        .collect();
    let stacks: Vec<DesiredStack> = planned
        .iter()
        .map(|d| DesiredStack {
            node: d.node,
            stack: stack("web"),
            release: d.release,
            deployment: d.id,
            reason: "the branch asks for it".into(),
        })
        .collect();
    let soft: Vec<SoftState> = fleet
        .iter()
        .map(|node| SoftState {
            node: *node,
            last_seen_at: at,
            facts: Some(HostFacts::default()),
            observed: None,
            safety: None,
        })
        .collect();
    let mut tx = t.begin().await;
    let lease = leases::acquire(&mut tx, "plan", "h", at, Duration::from_secs(9)).await.unwrap().unwrap();
    deployments::insert(&mut tx, &planned).await.unwrap();
    desired::replace(&mut tx, &lease, &desired, &stacks).await.unwrap();
    nodes::flush_soft(&mut tx, &soft).await.unwrap();
    for node in &fleet {
        let changed = Event::DesiredChanged { generation: 1, digest: digest("d") };
        tx.record(changed, Refs { node: Some(*node), ..Refs::default() }).unwrap();
    }
    tx.commit().await.unwrap();
    let wrote = began.elapsed();
    t.seal().await;
    let sealed = began.elapsed();
    let read = &mut t.store.read();
    assert_eq!(deployments::latest_of_all(read, Some(&stack("web"))).await.unwrap().len(), NODES);
    assert_eq!(deployments::open(read).await.unwrap().len(), NODES);
    assert_eq!(desired::versions(read).await.unwrap().len(), NODES);
    assert_eq!(desired::many(read, &fleet).await.unwrap().len(), NODES);
    assert_eq!(nodes::all_soft(read).await.unwrap().len(), NODES);
    assert_eq!(ledger::head(read).await.unwrap().seq, NODES as u64);
    println!(
        "{NODES} nodes on {:?}: written after {wrote:?}, sealed {sealed:?}, read {:?}",
        t.store.backend(),
        began.elapsed()
    );
    assert!(began.elapsed() < LIMIT, "{:?}", began.elapsed());
}

both!(ten_thousand_nodes_move_in_one_transaction);

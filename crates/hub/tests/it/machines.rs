//! What machines measure: kept in memory, shown for one node, counted for all.

use backstay_api::{
    Empty,
    agent::CheckInRequest,
    v1::{GetNode, NodePath},
};
use backstay_types::{ContainerFigures, HostCondition, HostFacts, HostFigures, Room, Throttling};

use crate::harness::{TestHub, hello, http};

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_shown_for_a_node_and_only_counted_in_the_metrics() {
    let hub = TestHub::start().await;
    let agent = hub.join("pi-1").await;
    let one = ContainerFigures {
        stack: "web".parse().unwrap(),
        service: "web".into(),
        cpu_percent: Some(12.5),
        memory_bytes: Some(1 << 20),
    };
    let figures = HostFigures {
        disk: Some(Room { total: 100, free: 5 }),
        throttling: Some(Throttling::from_bits(0x50005)),
        containers: vec![one; 500],
        ..HostFigures::default()
    };
    let facts = HostFacts { model: "Raspberry Pi 4 Model B".into(), cpus: 4, ..HostFacts::default() };
    agent.check_in(CheckInRequest { facts: Some(facts), figures: Some(figures.clone()), ..hello(0) }).await;
    // Without figures the last ones stay.
    agent.check_in(CheckInRequest { facts: None, observed: None, ..hello(0) }).await;

    let path = NodePath { node: "pi-1".into() };
    let node = hub.admin().call::<GetNode>(&path, &Empty {}, &Empty {}).await.unwrap();
    let shown = node.figures.unwrap();
    assert_eq!((shown.disk, shown.throttling), (figures.disk, figures.throttling));
    assert_eq!(shown.containers.len(), 64, "an agent cannot fill the hub's memory");
    assert!(node.figures_at.is_some());
    let conditions = [HostCondition::DiskOver90, HostCondition::UnderVoltage, HostCondition::Throttled];
    assert_eq!(node.conditions, conditions);

    let text = http().get(format!("{}/metrics", hub.hub.url())).send().await.unwrap().text().await.unwrap();
    assert!(text.contains("backstay_hosts{condition=\"under_voltage\"} 1\n"), "{text}");
    assert!(!text.contains("pi-1"), "metrics name no node");
}

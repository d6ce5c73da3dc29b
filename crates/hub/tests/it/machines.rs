//! What machines measure: kept in memory, shown for one node, counted for all.

use backstay_api::{
    Empty,
    agent::CheckInRequest,
    v1::{AttentionKind, DriftQuery, GetNode, GetOverview, ListDrift, NodePath},
};
use backstay_types::{
    ContainerFigures, Drift, DriftPart, DriftState, HostCondition, HostFacts, HostFigures, ObservedStack,
    Room, StackHealth, Throttling, Timestamp,
};

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
    let facts = HostFacts {
        model: "Raspberry Pi 4 Model B".into(),
        cpus: 4,
        network: "192.168.7.0/24".into(),
        seen_from: "203.0.113.0/24".into(),
        ..HostFacts::default()
    };
    agent.check_in(CheckInRequest { facts: Some(facts), figures: Some(figures.clone()), ..hello(0) }).await;
    // Without figures the last ones stay.
    agent.check_in(CheckInRequest { facts: None, observed: None, ..hello(0) }).await;

    let path = NodePath { node: "pi-1".into() };
    let node = hub.admin().call::<GetNode>(&path, &Empty {}, &Empty {}).await.unwrap();
    let shown = node.figures.unwrap();
    assert_eq!((shown.disk, shown.throttling), (figures.disk, figures.throttling));
    assert_eq!(shown.containers.len(), 64, "an agent cannot fill the hub's memory");
    assert!(node.figures_at.is_some());
    let facts = node.facts.unwrap();
    assert_eq!(facts.network, "192.168.7.0/24");
    assert_eq!(facts.seen_from, "127.0.0.0/24", "as the hub sees it, whatever the node says");
    let conditions = [HostCondition::DiskOver90, HostCondition::UnderVoltage, HostCondition::Throttled];
    assert_eq!(node.conditions, conditions);

    let text = http().get(format!("{}/metrics", hub.hub.url())).send().await.unwrap().text().await.unwrap();
    assert!(text.contains("backstay_hosts{condition=\"under_voltage\"} 1\n"), "{text}");
    assert!(!text.contains("pi-1"), "metrics name no node");
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_listed_and_what_was_given_up_needs_a_person() {
    let hub = TestHub::start().await;
    let agent = hub.join("pi-1").await;
    hub.join("pi-2").await.say_hello().await;
    let drift = |name: &str, state| Drift {
        part: DriftPart::File,
        name: name.into(),
        detail: "its mode is 0777 instead of 0644".into(),
        since: Timestamp::UNIX_EPOCH,
        heals: 3,
        state,
    };
    let stack = ObservedStack {
        stack: "web".parse().unwrap(),
        current: None,
        previous: None,
        deployment: None,
        health: StackHealth::Healthy,
        detail: String::new(),
        can_return: false,
        figures: Default::default(),
        containers: Vec::new(),
        drift: vec![drift("a", DriftState::Left), drift("b", DriftState::Escalated)],
    };
    agent.check_in(CheckInRequest { observed: Some(vec![stack]), ..hello(0) }).await;

    let list = async |node: Option<&str>| {
        let query = DriftQuery { node: node.map(Into::into) };
        let page = hub.admin().call::<ListDrift>(&Empty {}, &query, &Empty {}).await.unwrap();
        page.items.into_iter().map(|one| (one.name.to_string(), one.drift.name)).collect::<Vec<_>>()
    };
    let both = [("pi-1".to_owned(), "b".to_owned()), ("pi-1".to_owned(), "a".to_owned())];
    assert_eq!(list(None).await, both);
    assert_eq!(list(Some("pi-2")).await, []);
    let overview = hub.admin().call::<GetOverview>(&Empty {}, &Empty {}, &Empty {}).await.unwrap();
    let found: Vec<_> =
        overview.attention.iter().filter(|one| one.kind == AttentionKind::DriftEscalated).collect();
    assert_eq!(found.len(), 1);
    assert!(found[0].summary.contains("`b`: its mode is 0777"), "{}", found[0].summary);
}

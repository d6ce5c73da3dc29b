//! Simulated agents: the real protocol and the real decisions, nothing to run.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{thread, time::Duration};

use backstay_agent::simulated::Simulated;
use backstay_types::{DeploymentState, Labels, Secret};
use support::{FakeHub, eventually, process_stack};

#[test]
fn a_simulated_agent_deploys_and_goes_back_like_a_real_one() {
    let hub = FakeHub::start();
    let (url, token) = (hub.url.clone(), Secret::new(hub.token()));
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = backstay_agent::system();
            let name = "sim-1".parse().unwrap();
            let agent = Simulated::join(&url, token, name, Labels::default(), world).await.unwrap();
            agent.run(Duration::ZERO).await.unwrap();
        });
    });
    let (a, b) = (process_stack("a", "true"), process_stack("b", "true"));
    for stack in [&a, &b, &a] {
        let deployment = hub.deploy(stack);
        let end = eventually("the deployment's end", || hub.ends(deployment).pop());
        assert_eq!(end, DeploymentState::Succeeded);
    }
    let observed = eventually("it is seen", || {
        let observed = hub.check_ins().into_iter().rev().find_map(|check_in| check_in.observed)?;
        observed.into_iter().find(|stack| stack.current == Some(a.tree()) && stack.can_return)
    });
    assert_eq!(observed.previous, Some(b.tree()));
    // It says of its machine what a real one does.
    let (facts, figures) = eventually("facts and figures are told", || {
        let check_ins = hub.check_ins();
        let facts = check_ins.iter().find_map(|check_in| check_in.facts.clone())?;
        Some((facts, check_ins.into_iter().find_map(|check_in| check_in.figures)?))
    });
    assert_eq!((facts.hostname.as_str(), facts.cpus), ("sim-1", 4));
    assert!(facts.disk_free_bytes > 0 && facts.memory_bytes > 0, "{facts:?}");
    assert!(
        figures.cpu_percent.is_some() && figures.memory.is_some() && figures.disk.is_some(),
        "{figures:?}"
    );
}

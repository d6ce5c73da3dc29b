//! Whatever happens in whatever order: what must hold.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::{collections::BTreeMap, time::Duration};

use backstay_agent_core::{Phase, Task};
use backstay_api::{
    agent::ReportBody,
    statement::{DesiredStack, Statement},
};
use backstay_types::{DeploymentId, FailureKind, LeaveSafeMode, RolloutKind, Step};
use proptest::prelude::*;
use support::{Node, remove, rollback, run};

const STACKS: [&str; 2] = ["api", "web"];
const TREES: [&str; 4] = ["a", "b", "c", "d"];

/// Something that happens.
#[derive(Debug, Clone)]
enum Event {
    /// A stack should run a tree; the others stay as they were stated.
    Wanted { stack: usize, tree: usize, back: bool },
    /// A stack should go.
    Unwanted { stack: usize },
    /// The running task ends well.
    Done,
    /// The running task fails.
    Failed(FailureKind),
    /// The power goes.
    Restart { reboot: bool },
    /// Time passes; statements expire after an hour.
    Pass { seconds: u64 },
    /// The hub renews what it stated.
    Renewed,
}

fn event() -> impl Strategy<Value = Event> {
    let failure = prop_oneof![
        Just(FailureKind::Unavailable),
        Just(FailureKind::Unhealthy),
        Just(FailureKind::Start),
        Just(FailureKind::DiskFull)
    ];
    prop_oneof![
        3 => (0..2usize, 0..4usize, any::<bool>()).prop_map(|(stack, tree, back)| Event::Wanted { stack, tree, back }),
        1 => (0..2usize).prop_map(|stack| Event::Unwanted { stack }),
        12 => Just(Event::Done),
        3 => failure.prop_map(Event::Failed),
        3 => any::<bool>().prop_map(|reboot| Event::Restart { reboot }),
        2 => prop_oneof![Just(1), Just(30), Just(300), Just(4000)].prop_map(|seconds| Event::Pass { seconds }),
        1 => Just(Event::Renewed),
    ]
}

struct Run {
    node: Node,
    wanted: BTreeMap<usize, DesiredStack>,
    deployments: u128,
}

impl Run {
    fn want(&mut self, stack: usize, desired: impl FnOnce(&str, u128) -> DesiredStack) {
        self.deployments += 1;
        self.wanted.insert(stack, desired(STACKS[stack], self.deployments));
        let stacks = self.wanted.values().cloned().collect();
        self.node.state(stacks);
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Wanted { stack, tree, back } => self.want(stack, |name, n| {
                let desired = run(name, TREES[tree], n);
                if back { rollback(desired) } else { desired }
            }),
            Event::Unwanted { stack } => self.want(stack, remove),
            Event::Done if self.node.running.is_some() => self.node.succeed(),
            Event::Failed(kind) if self.node.running.is_some() => self.node.fail(Step::Activate, kind),
            Event::Done | Event::Failed(_) => {}
            Event::Restart { reboot } => self.node.restart(reboot),
            Event::Pass { seconds } => self.node.pass(Duration::from_secs(seconds)),
            Event::Renewed => self.renew(),
        }
    }

    fn renew(&mut self) {
        let Some(held) = self.node.journal.held.clone() else { return };
        let renewed = self.node.make(held.stacks, held.epoch, held.generation, support::HOUR);
        self.node.give(renewed);
    }

    /// What must hold at any time.
    fn check(&self) -> Result<(), TestCaseError> {
        let node = &self.node;
        // Nothing is known that is not durable.
        prop_assert_eq!(node.core.journal(), &node.journal);
        for (stack, record) in &node.journal.stacks {
            // The links are what the journal says, at the latest when a task runs.
            if node.running.is_some() {
                let links = node.links.get(stack).copied().unwrap_or_default();
                prop_assert_eq!(links, node.journal.links(stack), "{}", node.log);
            }
            // What runs or ran can be run again.
            prop_assert!(record.committed.is_some() || record.previous.is_none());
        }
        // In safe mode nothing forward is begun but another release of what failed.
        if let (Some(mode), Some(operation)) = (&node.journal.safety.safe_mode, &node.journal.operation)
            && matches!(operation.phase, Phase::Fetching(_))
            && operation.target.kind == RolloutKind::Update
            && node.begun_in_safe_mode(mode.id, operation.target.deployment)
        {
            let record = &node.journal.stacks[&operation.target.stack];
            let same = record.committed.as_ref().is_some_and(|c| c.tree == operation.target.tree);
            let newer = mode.stacks.contains_key(&operation.target.stack)
                && !record.trouble.trees.contains(&operation.target.tree);
            prop_assert!(same || newer, "{}", node.log);
        }
        if let Some((_, Task::Prune { stack, keep, .. })) = &node.running {
            let record = &node.journal.stacks[stack];
            for kept in record.committed.iter().chain(&record.previous) {
                prop_assert!(keep.contains(&kept.tree), "the way back is pruned");
            }
        }
        if let Some((_, Task::Activate { target, .. })) = &node.running {
            let phase = node.journal.operation.as_ref().map(|o| (&o.phase, o.target.deployment));
            prop_assert!(matches!(phase, Some((Phase::Activating(_), d)) if d == target.deployment));
        }
        self.check_reports()
    }

    fn check_reports(&self) -> Result<(), TestCaseError> {
        let mut begun: Vec<DeploymentId> = Vec::new();
        let mut ended: Vec<DeploymentId> = Vec::new();
        for report in &self.node.told {
            match &report.body {
                ReportBody::DeploymentStarted { deployment, .. } => {
                    prop_assert!(!begun.contains(deployment), "it began twice");
                    begun.push(*deployment);
                }
                ReportBody::DeploymentFinished { deployment, state, .. } => {
                    prop_assert!(begun.contains(deployment), "it ended before it began");
                    prop_assert!(!ended.contains(deployment), "it ended twice");
                    prop_assert!(state.is_final());
                    ended.push(*deployment);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn it_holds_at_all_times_and_comes_to_rest(events in prop::collection::vec(event(), 0..60)) {
        let mut run = Run { node: Node::new(), wanted: BTreeMap::new(), deployments: 0 };
        for event in &events {
            run.happen(event);
            run.check()?;
        }
        // From now on all goes well: what is wanted, and was not tried in vain, runs.
        run.renew();
        for _ in 0..40 {
            run.node.settle();
            run.check()?;
            run.node.pass(Duration::from_secs(60));
            run.renew();
        }
        // An operator leads it out of safe mode, where it came to that; then the rest is done too.
        if let Some(mode) = run.node.journal.safety.safe_mode.clone() {
            prop_assert!(!run.node.safety().safe_mode.unwrap().reason().is_empty());
            let held = run.node.journal.held.clone().unwrap();
            let word = LeaveSafeMode { safe_mode: mode.id, by: "op".into(), reason: "mended".into() };
            let renewed = run.node.make(held.stacks, held.epoch, held.generation, support::HOUR);
            run.node.pass(Duration::from_secs(1));
            run.node.give(Statement { leave_safe_mode: Some(word), issued_at: run.node.now(), ..renewed });
            for _ in 0..40 {
                run.node.settle();
                run.check()?;
                run.node.pass(Duration::from_secs(60));
                run.renew();
            }
        }
        prop_assert!(run.node.journal.safety.safe_mode.is_none());
        run.node.settle();
        prop_assert!(run.node.journal.operation.is_none(), "{}", run.node.log);
        for desired in run.wanted.values() {
            let record = &run.node.journal.stacks[&desired.stack];
            prop_assert!(record.is_settled(desired.deployment), "{}", run.node.log);
        }
        // A stack's last wish that did not fail is what runs.
        for desired in run.wanted.values() {
            let record = &run.node.journal.stacks[&desired.stack];
            if record.ended.as_ref().is_none_or(|ended| ended.deployment != desired.deployment) {
                prop_assert_eq!(record.committed.as_ref().map(|c| c.tree), Some(desired.tree));
            }
        }
    }
}

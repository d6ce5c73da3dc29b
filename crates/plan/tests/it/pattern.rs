//! What failures have in common: found when it is there, and not when it is not.

use std::collections::{BTreeMap, BTreeSet};

use backstay_plan::pattern::{OtherFailure, Tried, TriedOutcome, analyse, facts_of, findings};
use backstay_types::{
    Change, CommitId, ConversationId, FailureKind, HostFacts, Id as _, Labels, Link, LinkSource, Person,
    RepositoryId, StackName, Step, Sureness, Timestamp,
};
use proptest::prelude::*;

fn node(n: usize, failed: bool, facts: &[(&str, String)]) -> Tried {
    let fact = |(what, value): &(&str, String)| ((*what).to_owned(), BTreeSet::from([value.clone()]));
    Tried {
        node: format!("node-{n}").parse().unwrap(),
        facts: facts.iter().map(fact).collect::<BTreeMap<_, _>>(),
        began: None,
        took: 3,
        outcome: match failed {
            false => TriedOutcome::Succeeded,
            true => TriedOutcome::Failed {
                step: Step::Probe,
                failure: FailureKind::Unhealthy,
                reason: format!("node-{n}: port {} is closed", 8000 + n),
            },
        },
    }
}

fn web() -> StackName {
    "web".parse().unwrap()
}

fn change(text: &str, links: &[(u128, LinkSource)]) -> Change {
    let link = |(id, source): &(u128, LinkSource)| Link { conversation: conversation(*id), source: *source };
    Change {
        repository: RepositoryId::from_uuid(uuid::Uuid::from_u128(1)),
        commit: commit(text),
        parents: Vec::new(),
        author: Person { name: "a".to_owned(), email: "a@example.com".to_owned() },
        authored_at: Timestamp::UNIX_EPOCH,
        committed_at: Timestamp::UNIX_EPOCH,
        seen_at: Timestamp::UNIX_EPOCH,
        subject: String::new(),
        stacks: Vec::new(),
        links: links.iter().map(link).collect(),
        reverts: Vec::new(),
    }
}

fn commit(text: &str) -> CommitId {
    text.repeat(40).parse().unwrap()
}

fn conversation(id: u128) -> ConversationId {
    ConversationId::from_uuid(uuid::Uuid::from_u128(id))
}

/// A fleet in which those that failed have `arch=arm` and hardly anyone else has.
fn planted() -> impl Strategy<Value = (Vec<Tried>, Vec<Tried>)> {
    (3..20_usize, 8..40_usize, any::<u64>()).prop_flat_map(|(failed, good, seed)| {
        let fact = move |n: usize| {
            // Some other fact that has nothing to do with it.
            let region = ["eu", "us", "ap"][(n.wrapping_mul(7919) ^ seed as usize) % 3];
            let arch = if n < failed { "arm" } else { "x86" };
            [("arch", arch.to_owned()), ("label region", region.to_owned()), ("label id", n.to_string())]
        };
        let all: Vec<_> = (0..failed + good).map(|n| node(n, n < failed, &fact(n))).collect();
        (Just(all.clone()), Just(all).prop_shuffle())
    })
}

proptest! {
    #[test]
    fn what_all_that_failed_have_and_no_other_comes_first((all, shuffled) in planted()) {
        let found = analyse(&web(), &all, &[], &[], Timestamp::UNIX_EPOCH);
        let first = &found.apart[0];
        prop_assert_eq!((first.what.as_str(), first.value.as_str()), ("arch", "arm"));
        prop_assert_eq!((first.failed, first.succeeded), (first.of_failed, 0));
        prop_assert_eq!((first.of_failed, first.of_succeeded), (found.failed, found.succeeded));
        prop_assert!(found.apart.iter().all(|feature| feature.what != "label id"));
        prop_assert_eq!(found.errors.len(), 1);
        prop_assert_eq!(&found.errors[0].reason, "<node>: port N is closed");
        prop_assert_eq!(found.errors[0].nodes, found.failed);
        // The order in which nodes are looked at changes nothing.
        prop_assert_eq!(analyse(&web(), &shuffled, &[], &[], Timestamp::UNIX_EPOCH), found);
    }

    #[test]
    fn what_everybody_has_and_what_one_alone_has_sets_nothing_apart(good in 0..30_usize, failed in 0..30_usize) {
        let same = |n: usize| [("os", "linux".to_owned()), ("label id", n.to_string())];
        let all: Vec<_> = (0..good + failed).map(|n| node(n, n < failed, &same(n))).collect();
        let found = analyse(&web(), &all, &[], &[], Timestamp::UNIX_EPOCH);
        prop_assert_eq!(found.apart, Vec::new());
        prop_assert_eq!((found.failed, found.succeeded), (failed as u64, good as u64));
    }

    #[test]
    fn figures_are_of_the_nodes_that_were_given(facts in prop::collection::vec((any::<bool>(), 0..3_u8, 0..3_u8), 0..60)) {
        let all: Vec<_> = facts
            .iter()
            .enumerate()
            .map(|(n, (failed, a, b))| node(n, *failed, &[("label a", a.to_string()), ("arch", b.to_string())]))
            .collect();
        for feature in analyse(&web(), &all, &[], &[], Timestamp::UNIX_EPOCH).apart {
            let have = |wanted: bool| {
                let holds = |t: &&Tried| t.facts[&feature.what].contains(&feature.value);
                all.iter().filter(holds).filter(|t| (t.outcome != TriedOutcome::Succeeded) == wanted).count() as u64
            };
            prop_assert_eq!((feature.failed, feature.succeeded), (have(true), have(false)));
            prop_assert!(feature.failed >= 2 && feature.lift > 1.0 && feature.chance <= 0.1);
            prop_assert!(feature.failed * 4 >= feature.of_failed * 3);
        }
    }
}

#[test]
fn a_single_failure_is_no_pattern_and_neither_is_failure_everywhere() {
    let arm = |n, failed| node(n, failed, &[("arch", "arm".to_owned())]);
    let x86 = |n| node(n, false, &[("arch", "x86".to_owned())]);
    let mut all = vec![arm(0, true)];
    all.extend((1..50).map(x86));
    assert!(analyse(&web(), &all, &[], &[], Timestamp::UNIX_EPOCH).apart.is_empty());
    let all: Vec<_> = (0..9).map(|n| arm(n, true)).collect();
    let found = analyse(&web(), &all, &[], &[], Timestamp::UNIX_EPOCH);
    assert!(found.apart.is_empty());
    assert!(findings(&found).iter().any(|line| line.contains("nothing sets them apart")));
}

#[test]
fn a_fact_that_is_not_known_counts_for_nobody() {
    let mut all: Vec<_> = (0..4).map(|n| node(n, true, &[("arch", "arm".to_owned())])).collect();
    all.extend((4..8).map(|n| node(n, false, &[("arch", "x86".to_owned())])));
    all.extend((8..40).map(|n| node(n, false, &[])));
    let found = analyse(&web(), &all, &[], &[], Timestamp::UNIX_EPOCH);
    assert_eq!((found.apart[0].succeeded, found.apart[0].of_succeeded), (0, 4));
}

#[test]
fn those_that_began_late_are_told_apart() {
    let at = |n: usize, failed, began| Tried { began: Some(began), ..node(n, failed, &[]) };
    let mut all: Vec<_> = (0..20).map(|n| at(n, false, n as u64)).collect();
    all.extend((20..24).map(|n| at(n, true, 3600 + n as u64)));
    let found = analyse(&web(), &all, &[], &[], Timestamp::UNIX_EPOCH);
    assert_eq!(found.apart.len(), 1);
    assert_eq!(
        (found.apart[0].what.as_str(), found.apart[0].value.as_str()),
        ("began", "3620 s after the rollout or later")
    );
}

#[test]
fn one_conversation_alone_is_sure_and_guesses_are_nobodys_blame() {
    let (trailer, event, guess) = (LinkSource::Trailer, LinkSource::Event, LinkSource::Guess);
    let look = |brought: &[Change]| {
        let found = analyse(&web(), &[], &[], brought, Timestamp::UNIX_EPOCH);
        let blamed = found.blamed.iter().map(|b| (b.conversation, b.source, b.commits.len(), b.sure));
        (blamed.collect::<Vec<_>>(), found.unlinked)
    };
    let alone = look(&[change("a", &[(1, event)]), change("b", &[(1, trailer)])]);
    assert_eq!(alone, (vec![(conversation(1), trailer, 2, Sureness::Only)], vec![]));
    let two = look(&[change("a", &[(1, event), (2, trailer)])]);
    let one_of = |id, source| (conversation(id), source, 1, Sureness::OneOf);
    assert_eq!(two, (vec![one_of(1, event), one_of(2, trailer)], vec![]));
    let with_other = look(&[change("a", &[(1, event)]), change("b", &[(2, guess)])]);
    assert_eq!(with_other, (vec![one_of(1, event)], vec![commit("b")]));
}

#[test]
fn failures_that_share_a_network_are_said_to() {
    let host = |network: &str, link: &str, seen_from: &str| HostFacts {
        os: "linux".to_owned(),
        network: network.to_owned(),
        link: link.to_owned(),
        seen_from: seen_from.to_owned(),
        ..HostFacts::default()
    };
    let on = |n: usize, failed: bool, host: &HostFacts| Tried {
        facts: facts_of(&Labels::default(), [], Some(host)),
        ..node(n, failed, &[])
    };
    // All at home have the same network inside; who is behind one address is told apart by that alone.
    let cellar = host("192.168.1.0/24", "wifi", "203.0.113.0/24");
    let attic = host("192.168.1.0/24", "wifi", "198.51.100.0/24");
    let tried: Vec<_> =
        (0..5).map(|n| on(n, true, &cellar)).chain((5..15).map(|n| on(n, false, &attic))).collect();
    let found = analyse(&web(), &tried, &[], &[], Timestamp::UNIX_EPOCH);
    let apart: Vec<_> = found.apart.iter().map(|one| (one.what.as_str(), one.value.as_str())).collect();
    assert_eq!(apart, [("seen from network", "203.0.113.0/24")]);
    let said = findings(&found);
    assert!(
        said[2].starts_with("seen from network 203.0.113.0/24: 5 of 5 that failed, 0 of 10 that succeeded"),
        "{said:?}"
    );

    let office = host("10.1.0.0/16", "ethernet", "203.0.113.0/24");
    let tried: Vec<_> =
        (0..5).map(|n| on(n, true, &office)).chain((5..15).map(|n| on(n, false, &attic))).collect();
    let found = analyse(&web(), &tried, &[], &[], Timestamp::UNIX_EPOCH).apart;
    let has = |what: &str, value: &str| found.iter().any(|one| one.what == what && one.value == value);
    assert!(has("network", "10.1.0.0/16") && has("link", "ethernet"), "{found:?}");
}

#[test]
fn what_else_a_node_runs_may_set_the_failed_apart() {
    let runs = |n: usize, failed: bool, others: &[&str]| Tried {
        facts: facts_of(&Labels::default(), others.iter().map(|stack| stack.parse().unwrap()), None),
        ..node(n, failed, &[])
    };
    let with_proxy = (0..5).map(|n| runs(n, true, &["metrics", "proxy"]));
    // Those that run nothing else are known to run no proxy.
    let without = (5..12).map(|n| runs(n, false, &["metrics"])).chain((12..15).map(|n| runs(n, false, &[])));
    let tried: Vec<_> = with_proxy.chain(without).collect();
    let found = analyse(&web(), &tried, &[], &[], Timestamp::UNIX_EPOCH);
    let apart: Vec<_> = found.apart.iter().map(|one| (one.what.as_str(), one.value.as_str())).collect();
    assert_eq!(apart, [("also runs stack", "proxy")], "every other runs `metrics` too: {found:#?}");
    assert_eq!((found.apart[0].of_failed, found.apart[0].of_succeeded), (5, 10));
}

#[test]
fn the_same_failure_in_other_stacks_is_named_with_its_nodes() {
    let other = |stack: &str, n: usize, reason: &str| OtherFailure {
        stack: stack.parse().unwrap(),
        node: format!("node-{n}").parse().unwrap(),
        step: Step::Probe,
        failure: FailureKind::Unhealthy,
        reason: reason.to_owned(),
    };
    let tried: Vec<_> = (0..3).map(|n| node(n, true, &[])).collect();
    let mut others: Vec<_> =
        (1..8).map(|n| other("db", n, &format!("node-{n}: port {n} is closed"))).collect();
    others.push(other("db", 1, "node-1: port 99 is closed"));
    others.push(other("cache", 9, "node-9: port 1 is closed"));
    others.push(other("mail", 9, "node-9: port 1 is busy"));
    others.push(OtherFailure { failure: FailureKind::Start, ..other("mail", 9, "node-9: port 1 is closed") });
    others.push(other("web", 9, "node-9: port 1 is closed"));
    let found = analyse(&web(), &tried, &others, &[], Timestamp::UNIX_EPOCH);
    let elsewhere: Vec<_> = found.errors[0]
        .elsewhere
        .iter()
        .map(|one| (one.stack.as_str(), one.nodes, one.names.len()))
        .collect();
    assert_eq!(elsewhere, [("db", 7, 5), ("cache", 1, 1)]);
    others.reverse();
    assert_eq!(analyse(&web(), &tried, &others, &[], Timestamp::UNIX_EPOCH), found);
    let said = findings(&found);
    assert!(said.contains(&"stack db failed in that way too, on 7 nodes".to_owned()), "{said:?}");
    assert!(said.contains(&"stack cache failed in that way too, on 1 node".to_owned()), "{said:?}");
}

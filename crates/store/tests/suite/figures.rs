//! Figures for lists and monitoring.

use std::{collections::HashMap, time::Duration};

use backstay_store::{
    changes::{self, KnownChange},
    deployments, desired,
    desired::{Desired, DesiredStack},
    figures::{self, ConversationFigures},
    leases, releases, undone,
};
use backstay_types::*;

use crate::fixture::{Fixture, both, commit, digest, known, stack};

async fn what_conversations_led_to(t: Fixture) {
    let (repository, a, b, guessed) = (t.mint(), t.mint(), t.mint(), t.mint());
    let mut tx = t.begin().await;
    let link = |conversation, source| Link { conversation, source };
    for (digits, links) in [
        ("a", vec![link(a, LinkSource::Trailer), link(b, LinkSource::Note)]),
        ("b", vec![link(a, LinkSource::Trailer)]),
        ("c", vec![link(guessed, LinkSource::Guess)]),
    ] {
        let change = Change { links, ..t.change(repository, digits) };
        changes::insert(&mut tx, &known(change)).await.unwrap();
    }
    let release = releases::ensure(&mut tx, &t.release(repository, "web", "1")).await.unwrap().0;
    for digits in ["b", "c"] {
        releases::add_commit(&mut tx, release.id, repository, &commit(digits)).await.unwrap();
    }
    let rollout = t.rollout(&release, Cause::Change { repository, commit: commit("b") });
    let all = [0, 1, 2].map(|_| t.deployment(t.mint(), &rollout));
    deployments::insert(&mut tx, &all).await.unwrap();
    let broken =
        DeploymentState::Broken { step: Step::Return, failure: FailureKind::Start, reason: String::new() };
    deployments::finish(&mut tx, all[0].id, &broken, t.later(), &[]).await.unwrap();
    deployments::finish(&mut tx, all[1].id, &DeploymentState::Succeeded, t.later(), &[]).await.unwrap();
    let figures = figures::of_conversations(&mut tx, &[a, b, guessed, t.mint()]).await.unwrap();
    let expected = |changes| ConversationFigures { changes, deployments: 3, failures: 1 };
    assert_eq!(figures, HashMap::from([(a, expected(2)), (b, expected(1))]));
    let behind = figures::conversations_of_releases(&mut tx, &[release.id, t.mint()]).await.unwrap();
    assert_eq!(behind, HashMap::from([(release.id, vec![a, b])]));
    let states = figures::latest_deployments_by_state(&mut tx).await.unwrap();
    let states: Vec<_> = states.iter().map(|(state, n)| (state.as_str(), *n)).collect();
    assert_eq!(states, [("broken", 1), ("pending", 1), ("succeeded", 1)]);
}

async fn what_several_nodes_should_run(t: Fixture) {
    let (a, b, c) = (t.mint(), t.mint(), t.mint());
    let mut tx = t.begin().await;
    let lease =
        leases::acquire(&mut tx, "plan", "h", t.world.now(), Duration::from_secs(9)).await.unwrap().unwrap();
    let nodes = [a, b, c].map(|node| Desired {
        node,
        epoch: 1,
        generation: 1,
        digest: digest("d"),
        statement: "{}".into(),
        updated_at: t.later(),
    });
    let row = |node, name| DesiredStack {
        node,
        stack: stack(name),
        release: t.mint(),
        deployment: t.mint(),
        reason: "asked for".into(),
    };
    let rows = [row(a, "web"), row(a, "api"), row(b, "web"), row(c, "web")];
    desired::replace(&mut tx, &lease, &nodes, &rows).await.unwrap();
    let found = figures::desired_of_nodes(&mut tx, &[a, b]).await.unwrap();
    let of_a = vec![rows[1].clone(), rows[0].clone()];
    assert_eq!(found, HashMap::from([(a, of_a), (b, vec![rows[2].clone()])]));
}

async fn what_waits_to_be_sealed(t: Fixture) {
    let none = figures::unsealed(&mut t.store.read()).await.unwrap();
    assert_eq!((none.entries, none.oldest), (0, None));
    t.record(2).await;
    let oldest = t.world.now();
    t.later();
    t.record(1).await;
    let waiting = figures::unsealed(&mut t.store.read()).await.unwrap();
    assert_eq!(waiting.entries, 3);
    assert!(waiting.oldest.unwrap() <= oldest);
    t.seal().await;
    assert_eq!(figures::unsealed(&mut t.store.read()).await.unwrap(), none);
}

async fn what_is_undone(t: Fixture) {
    let (repository, a, b, other, guessed) = (t.mint(), t.mint(), t.mint(), t.mint(), t.mint());
    let trailer = |conversation| Link { conversation, source: LinkSource::Trailer };
    let mut tx = t.begin().await;
    let mut position = 0;
    let mut made = async |digits: &str, links: Vec<Link>, reverts: &[&str], on_branch: bool| {
        position += 1;
        let reverts = reverts.iter().map(|digits| commit(digits)).collect();
        let change = Change { links, reverts, ..t.change(repository, digits) };
        let known = KnownChange { position: on_branch.then_some(position), ..known(change) };
        changes::insert(&mut tx, &known).await.unwrap();
        let mut all: Vec<_> = undone(&mut tx, &[a, b, other, guessed]).await.unwrap().into_iter().collect();
        all.sort();
        all
    };
    let guess = Link { conversation: guessed, source: LinkSource::Guess };
    assert!(made("a1", vec![trailer(a), guess], &[], true).await.is_empty());
    made("a2", vec![trailer(a)], &[], true).await;
    made("b1", vec![trailer(b)], &[], true).await;
    assert!(made("c1", vec![trailer(other)], &[], false).await.is_empty(), "it never was on the branch");
    assert!(made("d1", vec![], &["a1"], true).await.is_empty(), "a part of it");
    assert!(made("d2", vec![], &["a2"], false).await.is_empty(), "not on the branch");
    assert_eq!(made("d3", vec![], &["a2"], true).await, [a]);
    assert_eq!(made("d4", vec![], &["b1", "a1"], true).await, [a, b], "by whatever commit");
    assert_eq!(made("d5", vec![], &["d3"], true).await, [b], "what was brought again is not undone");
    assert_eq!(made("d6", vec![], &["d5"], true).await, [a, b]);
    assert_eq!(made("d7", vec![trailer(b)], &[], true).await, [a], "and went on after that");
    // Messages that claim a circle.
    made("e1", vec![], &["e2", "d7"], true).await;
    made("e2", vec![], &["e1"], true).await;
}

both!(what_conversations_led_to, what_several_nodes_should_run, what_waits_to_be_sealed, what_is_undone);

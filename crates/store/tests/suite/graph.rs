//! What is drawn, what is searched, and figures by hour.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use backstay_store::{
    changes::{self, KnownChange},
    conversations, deployments,
    graph::{self, Counted, Span},
    nodes, releases, rollouts, search,
};
use backstay_types::*;

use crate::fixture::{Fixture, both, commit, digest, known, stack};

fn span(since: Timestamp, until: Timestamp) -> Span {
    Span { since, until, stack: None, node: None }
}

fn rolled_back() -> DeploymentState {
    DeploymentState::RolledBack { step: Step::Probe, failure: FailureKind::Unhealthy, reason: "ill".into() }
}

async fn deployments_come_one_by_one_or_counted(t: Fixture) {
    let repository = t.mint();
    let mut tx = t.begin().await;
    let release = releases::ensure(&mut tx, &t.release(repository, "web", "1")).await.unwrap().0;
    let rollout = t.rollout(&release, Cause::Change { repository, commit: commit("a") });
    let (one, two) = (t.mint(), t.mint());
    let start = t.later();
    let mut all = Vec::new();
    for number in 0..6 {
        let deployment = t.deployment(if number % 2 == 0 { one } else { two }, &rollout);
        deployments::insert(&mut tx, std::slice::from_ref(&deployment)).await.unwrap();
        let state = if number == 3 { rolled_back() } else { DeploymentState::Succeeded };
        deployments::finish(&mut tx, deployment.id, &state, t.later(), &[]).await.unwrap();
        all.push(deployment);
        t.world.advance(Duration::from_secs(600));
    }
    let whole = span(start, t.later());
    let ids = |found: Vec<Deployment>| found.into_iter().map(|one| one.id).collect::<Vec<_>>();
    let newest_first: Vec<_> = all.iter().rev().map(|one| one.id).collect();
    assert_eq!(ids(graph::deployments(&mut tx, &whole, 10).await.unwrap()), newest_first);
    assert_eq!(ids(graph::deployments(&mut tx, &whole, 2).await.unwrap()), newest_first[..2]);
    let narrow = Span { node: Some(two), stack: Some(stack("web")), ..whole.clone() };
    let of_two = [all[5].id, all[3].id, all[1].id];
    assert_eq!(ids(graph::deployments(&mut tx, &narrow, 10).await.unwrap()), of_two);
    let none = Span { stack: Some(stack("other")), ..whole.clone() };
    assert!(graph::deployments(&mut tx, &none, 10).await.unwrap().is_empty());
    let cut = span(all[2].created_at, all[4].created_at);
    assert_eq!(ids(graph::deployments(&mut tx, &cut, 10).await.unwrap()), [all[3].id, all[2].id]);
    assert!(graph::has_more_than(&mut tx, &whole, 5).await.unwrap());
    assert!(!graph::has_more_than(&mut tx, &whole, 6).await.unwrap());

    for seconds in [86_400 * 365 * 100, 86_400 * 365 * 100 + 1] {
        let by_stack = graph::counted(&mut tx, &whole, false, seconds).await.unwrap();
        let [Counted { lane, count: 6, failures: 1, .. }] = &by_stack[..] else { panic!("{by_stack:?}") };
        assert_eq!(lane, "web");
    }
    assert!(graph::counted(&mut tx, &none, false, 3600).await.unwrap().is_empty());
    let by_node = graph::counted(&mut tx, &whole, true, 60).await.unwrap();
    assert_eq!(by_node.len(), 6, "each in a minute of its own: {by_node:?}");
    let failed: Vec<_> = by_node.iter().filter(|one| one.failures > 0).collect();
    assert_eq!((failed.len(), failed[0].lane.as_str()), (1, two.uuid().to_string().as_str()));
    assert!(
        failed[0].at <= all[3].created_at && all[3].created_at.duration_since(failed[0].at).as_secs() < 60
    );
    assert!(by_node.is_sorted_by_key(|one| one.at));

    let hours = deployments::by_hour(&mut tx, start).await.unwrap();
    assert_eq!(hours.iter().map(|hour| hour.deployments).sum::<u64>(), 6);
    assert_eq!(hours.iter().map(|hour| hour.failures).sum::<u64>(), 1);
    assert!(hours.iter().all(|hour| hour.at.as_second() % 3600 == 0));
    let later = t.later() + Duration::from_secs(3600);
    assert!(deployments::by_hour(&mut tx, later).await.unwrap().is_empty());
}

/// What is counted with every write is what there is.
async fn hours_hold_what_the_deployments_do(t: Fixture) {
    let repository = t.mint();
    let start = t.later();
    for number in 0..40_u64 {
        let mut tx = t.begin().await;
        let name = if number % 3 == 0 { "api" } else { "web" };
        let release = releases::ensure(&mut tx, &t.release(repository, name, "1")).await.unwrap().0;
        let rollout = t.rollout(&release, Cause::Change { repository, commit: commit("a") });
        let several: Vec<_> = (0..=number % 4).map(|_| t.deployment(t.mint(), &rollout)).collect();
        deployments::insert(&mut tx, &several).await.unwrap();
        if number % 7 == 0 {
            // What is not kept was not counted either.
            drop(tx);
        } else {
            for one in several.iter().skip(1) {
                let state = if number % 5 == 0 { rolled_back() } else { DeploymentState::Succeeded };
                deployments::finish(&mut tx, one.id, &state, t.later(), &[]).await.unwrap();
            }
            tx.commit().await.unwrap();
        }
        t.world.advance(Duration::from_secs(1200));
    }
    let mut tx = t.begin().await;
    let whole = span(start, t.later() + Duration::from_secs(3600));
    let sums = |all: Vec<Counted>| {
        let mut sums: BTreeMap<(String, i64), (u64, u64)> = BTreeMap::new();
        for one in all {
            let sum = sums.entry((one.lane, one.at.as_second() / 3600)).or_default();
            *sum = (sum.0 + one.count, sum.1 + one.failures);
        }
        sums
    };
    let kept = sums(graph::counted(&mut tx, &whole, false, 3600).await.unwrap());
    let read = sums(graph::counted(&mut tx, &whole, false, 60).await.unwrap());
    assert!(kept.len() > 10 && kept.values().any(|(_, failures)| *failures > 0), "{kept:?}");
    assert_eq!(kept, read);
}

async fn what_else_is_drawn(t: Fixture) {
    let (repository, talk, quiet) = (t.mint(), t.mint(), t.mint());
    let mut tx = t.begin().await;
    conversations::ensure(&mut tx, quiet, "openclaw", t.later()).await.unwrap();
    let start = t.later();
    conversations::ensure(&mut tx, talk, "openclaw", t.later()).await.unwrap();
    let link = Link { conversation: talk, source: LinkSource::Trailer };
    let change =
        Change { links: vec![link], stacks: vec![stack("web"), stack("api")], ..t.change(repository, "a1") };
    let guessed = Link { conversation: talk, source: LinkSource::Guess };
    let other = Change { links: vec![guessed], stacks: vec![stack("db")], ..t.change(repository, "b1") };
    for (position, change) in [(1, &change), (2, &other)] {
        let known = KnownChange { position: Some(position), ..known(change.clone()) };
        changes::insert(&mut tx, &known).await.unwrap();
    }
    let off = Change { ..t.change(repository, "c1") };
    changes::insert(&mut tx, &known(off)).await.unwrap();
    let mut release = releases::ensure(&mut tx, &t.release(repository, "web", "1")).await.unwrap().0;
    release.commit = commit("a1");
    let rollout = t.rollout(&release, Cause::Change { repository, commit: commit("a1") });
    rollouts::insert(&mut tx, &rollout).await.unwrap();
    let until = t.later();
    let window = span(start, until);
    let heard = graph::conversations(&mut tx, &window, 10).await.unwrap();
    assert_eq!(heard.iter().map(|one| one.id).collect::<Vec<_>>(), [talk]);
    let stacks = graph::stacks_of(&mut tx, &[talk, quiet]).await.unwrap();
    assert_eq!(stacks.len(), 1);
    assert_eq!(stacks[&talk], BTreeSet::from([stack("api"), stack("web")]), "a guess does not count");
    let always = span(Timestamp::UNIX_EPOCH, "9000-01-01T00:00:00Z".parse().unwrap());
    let drawn = graph::changes(&mut tx, &always, 10).await.unwrap();
    let drawn: BTreeSet<_> = drawn.into_iter().map(|known| known.change.commit).collect();
    assert_eq!(drawn, BTreeSet::from([commit("a1"), commit("b1")]), "only what is on the branch");
    assert!(graph::halted(&mut tx, &always, 10).await.unwrap().is_empty());
    let halted = RolloutState::Halted;
    rollouts::transition(&mut tx, rollout.id, RolloutState::Running, halted, "ill", t.later()).await.unwrap();
    assert_eq!(graph::halted(&mut tx, &always, 10).await.unwrap()[0].id, rollout.id);
    let of_other = Span { stack: Some(stack("db")), ..always.clone() };
    assert!(graph::halted(&mut tx, &of_other, 10).await.unwrap().is_empty());
    tx.commit().await.unwrap();

    t.record(3).await;
    t.seal().await;
    let kind = "deployment_started";
    let mut read = t.store.read();
    assert_eq!(graph::entries(&mut read, &always, kind, 2).await.unwrap().len(), 2);
    assert_eq!(graph::entries(&mut read, &always, kind, 10).await.unwrap().len(), 3);
    assert!(graph::entries(&mut read, &span(t.later(), t.later()), kind, 10).await.unwrap().is_empty());
    assert!(graph::entries(&mut read, &always, "drift_reported", 10).await.unwrap().is_empty());
}

async fn a_text_is_found_wherever_it_stands(t: Fixture) {
    let (repository, talk) = (t.mint(), t.mint());
    let mut tx = t.begin().await;
    let node = t.node("web-1_50");
    nodes::insert(&mut tx, &node, digest("n")).await.unwrap();
    nodes::insert(&mut tx, &t.node("db-2"), digest("m")).await.unwrap();
    conversations::ensure(&mut tx, talk, "openclaw", t.later()).await.unwrap();
    conversations::set_title(&mut tx, talk, "Make the Shop FASTER").await.unwrap();
    let foreign =
        ForeignId { tool: "openclaw".into(), kind: "session_key".into(), value: "agent:main:42".into() };
    conversations::attach(&mut tx, talk, &foreign).await.unwrap();
    let change = Change { subject: "Tune 100% of it".into(), ..t.change(repository, "abcdef") };
    changes::insert(&mut tx, &known(change.clone())).await.unwrap();
    let release = releases::ensure(&mut tx, &t.release(repository, "web", "1")).await.unwrap().0;
    let rollout = t.rollout(&release, Cause::Change { repository, commit: commit("a") });
    rollouts::insert(&mut tx, &rollout).await.unwrap();
    let deployment = t.deployment(node.id, &rollout);
    deployments::insert(&mut tx, std::slice::from_ref(&deployment)).await.unwrap();

    for text in ["web-1", "EB-1_5", "_50", "-1_5"] {
        assert_eq!(search::nodes(&mut tx, text, 9).await.unwrap().len(), 1, "{text}");
    }
    assert_eq!(search::nodes(&mut tx, "role\":\"WEB", 9).await.unwrap().len(), 2, "by a label");
    for text in ["web%1", "web_1_50", "%", "' OR 1=1 --", "\\"] {
        assert!(search::nodes(&mut tx, text, 9).await.unwrap().is_empty(), "{text}");
    }
    for text in ["shop faster", "openclaw", "main:42", &talk.uuid().to_string()[20..]] {
        assert_eq!(search::conversations(&mut tx, text, 9).await.unwrap().len(), 1, "{text}");
    }
    assert!(search::conversations(&mut tx, "nothing of it", 9).await.unwrap().is_empty());
    for text in ["100% of", "TUNE", "abcdef", "ABCDEF"] {
        assert_eq!(search::changes(&mut tx, text, 9).await.unwrap().len(), 1, "{text}");
    }
    assert!(
        search::changes(&mut tx, "bcdef", 9).await.unwrap().is_empty(),
        "a commit begins with its digits"
    );
    let tree = release.tree.to_string();
    assert_eq!(search::releases(&mut tx, &tree[..8], 9).await.unwrap(), [(release.id, repository)]);
    let id = deployment.id.uuid().to_string();
    for text in [&id, &id[28..], &id[..13]] {
        assert_eq!(search::deployments(&mut tx, text, 9).await.unwrap().len(), 1, "{text}");
    }
    assert!(
        search::deployments(&mut tx, &id[32..], 9).await.unwrap().is_empty(),
        "too few digits say nothing"
    );
    assert!(search::undos(&mut tx, &id, 9).await.unwrap().is_empty());
    let rollout = rollout.id.uuid().to_string();
    assert_eq!(search::rollouts(&mut tx, &rollout[24..], 9).await.unwrap().len(), 1);
}

both!(
    deployments_come_one_by_one_or_counted,
    hours_hold_what_the_deployments_do,
    what_else_is_drawn,
    a_text_is_found_wherever_it_stands
);

//! Labels that change after a node has joined.

use backstay_api::v1::LabelledNode;
use backstay_engine::{EngineError, Labelled, NewLabels};
use backstay_store::{nodes, rollouts};
use backstay_types::{Labels, RolloutKind, RolloutState};

use crate::fleet::Fleet;

fn ring(value: &str) -> NewLabels {
    let set = Labels::parse([format!("ring={value}").as_str()]).unwrap();
    NewLabels { set, ..NewLabels::default() }
}

async fn label(fleet: &Fleet, whom: &str, labels: &NewLabels, dry_run: bool) -> Vec<LabelledNode> {
    let whom = Labelled::Matching(whom.parse().unwrap());
    fleet.engine.label(&whom, labels, (Some("moved house"), "op"), dry_run).await.unwrap()
}

async fn ring_of(fleet: &Fleet, node: &str) -> Option<String> {
    let node = nodes::get(&mut fleet.store.read(), fleet.nodes[node]).await.unwrap().unwrap();
    node.labels.get("ring").map(str::to_owned)
}

#[tokio::test]
async fn a_node_comes_to_run_what_its_new_labels_are_assigned() {
    let mut fleet = Fleet::empty().await;
    fleet.work.write(
        "fleet.toml",
        "[[assign]]\nstack = \"web\"\nnodes = \"ring=one\"\n[prune]\nenabled = true\nmax = \"100%\"\n",
    );
    fleet.commit("One is enough", None);
    fleet.deploy().await;
    assert!(fleet.runs.keys().all(|(node, _)| node == "one"), "{:?}", fleet.runs);

    let told = label(&fleet, "ring in (two,three)", &ring("one"), true).await;
    assert_eq!(told.iter().map(|one| one.node.as_str()).collect::<Vec<_>>(), ["three", "two"]);
    for one in &told {
        let [moved] = &one.stacks[..] else { panic!("{one:?}") };
        assert_eq!((moved.stack.as_str(), &moved.before, moved.taken_away), ("web", &None, false));
        assert!(moved.after.as_ref().unwrap().commit.is_some(), "{moved:?}");
    }
    assert_eq!(ring_of(&fleet, "two").await.as_deref(), Some("two"), "nothing was changed");
    let before = fleet.events().await;

    assert_eq!(label(&fleet, "ring in (two,three)", &ring("one"), false).await, told, "as was said");
    assert_eq!(fleet.events().await, before + 2, "an entry for each");
    fleet.play(|_, _| true).await;
    fleet.assert_all_run(&["hello"], &[]).await;
    let newest = rollouts::list(&mut fleet.store.read(), None, None, 1).await.unwrap().remove(0);
    assert_eq!((newest.kind, newest.state), (RolloutKind::Update, RolloutState::Succeeded));

    let settled = fleet.events().await;
    label(&fleet, "name=two", &ring("one"), false).await;
    assert_eq!(fleet.events().await, settled, "asked twice, it is done once");
    // Two loses it again, as is allowed here in so many words.
    let off = NewLabels { remove: ["ring".to_owned()].into(), ..NewLabels::default() };
    let told = label(&fleet, "name=two", &off, false).await;
    assert!(told[0].stacks[0].taken_away && told[0].stacks[0].after.is_none(), "{told:?}");
    assert_eq!(ring_of(&fleet, "two").await, None);
    fleet.play(|_, _| true).await;
    assert!(!fleet.runs.contains_key(&("two".to_owned(), "web".to_owned())));
}

#[tokio::test]
async fn a_rollout_under_way_keeps_its_waves() {
    let mut fleet = Fleet::new().await;
    fleet.work.write("fleet.toml", "[rollout]\nwaves = [\"ring=one\", \"100%\"]\nsoak = \"1h\"\n");
    fleet.commit("In waves", None);
    fleet.deploy().await;
    let a = fleet.conversation();
    fleet.change("blue", "green", a);
    fleet.deploy().await;
    fleet.assert_runs("one", &["green"], &[]).await;
    fleet.assert_runs("two", &["blue"], &[]).await;
    label(&fleet, "name=two", &ring("one"), false).await;
    label(&fleet, "name=one", &ring("two"), false).await;
    fleet.play(|_, _| true).await;
    fleet.assert_runs("two", &["blue"], &["green"]).await;
    fleet.assert_runs("one", &["green"], &[]).await;
    let newest = rollouts::list(&mut fleet.store.read(), None, None, 1).await.unwrap().remove(0);
    assert_eq!((newest.state, newest.wave), (RolloutState::Running, 0));
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_changes_nothing() {
    let fleet = Fleet::new().await;
    let before = fleet.events().await;
    let both = NewLabels { remove: ["ring".to_owned()].into(), ..ring("x") };
    let whom = Labelled::One(fleet.nodes["one"]);
    for labels in [&both, &NewLabels::default()] {
        let refused = fleet.engine.label(&whom, labels, (None, "op"), false).await;
        assert!(matches!(refused, Err(EngineError::Invalid(_))), "{refused:?}");
    }
    let nobody = Labelled::Matching("ring=nobody".parse().unwrap());
    let refused = fleet.engine.label(&nobody, &ring("x"), (None, "op"), false).await;
    assert!(matches!(refused, Err(EngineError::Invalid(_))), "{refused:?}");
    assert_eq!(fleet.events().await, before);
}

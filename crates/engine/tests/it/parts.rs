//! A stack in parts, on real repositories: each goes out, stops and comes back by itself.

use std::collections::BTreeSet;

use backstay_engine::WantedUndo;
use backstay_store::{deployments, releases, rollouts};
use backstay_types::{
    PartName, RepositoryHealth, Rollout, RolloutKind, RolloutState, UndoScope, UndoSelector, tree::TreeFile,
};

use crate::fleet::{COMPOSE, Fleet, want};

const PARTS: &str = "[[part]]\nname = \"policy\"\npaths = [\"policy\"]\napply = \"reload\"\nreload = [\"true\"]\n\
    [[part]]\nname = \"plugin\"\npaths = [\"plugin\"]\n[[part.requires]]\npart = \"upstream\"\n\
    [[part]]\nname = \"upstream\"\npaths = [\"upstream\"]\n";

pub(crate) async fn claw() -> Fleet {
    let mut fleet = Fleet::empty().await;
    fleet.work.write("stacks/web/stack.toml", PARTS);
    fleet.work.write("stacks/web/compose.yaml", COMPOSE);
    for part in ["policy", "plugin", "upstream"] {
        fleet.work.write(&format!("stacks/web/{part}/text"), "1");
    }
    fleet.commit("Parts", None);
    fleet.deploy().await;
    fleet
}

/// What a node has in its parts.
async fn runs(fleet: &Fleet, node: &str) -> [String; 3] {
    let tree = fleet.runs[&(node.to_owned(), "web".to_owned())];
    let pack = fleet.engine.pack(tree).await.unwrap();
    let mut files: Vec<TreeFile> = Vec::new();
    backstay_types::tree::unpack(&pack[..], tree, &mut files).unwrap();
    ["policy", "plugin", "upstream"].map(|part| {
        let file = files.iter().find(|file| file.path == format!("{part}/text"));
        file.map_or_else(String::new, |file| String::from_utf8(file.content.clone()).unwrap())
    })
}

async fn all_run(fleet: &Fleet, expected: [&str; 3]) {
    for node in fleet.nodes.keys().filter(|node| !fleet.away.contains(node)) {
        assert_eq!(runs(fleet, node).await, expected, "{node}");
    }
}

async fn rollouts_of(fleet: &Fleet, part: Option<&str>) -> Vec<Rollout> {
    let all = rollouts::list(&mut fleet.store.read(), None, None, 99).await.unwrap();
    all.into_iter().filter(|r| r.part.as_ref().map(PartName::as_str) == part).collect()
}

fn write(fleet: &Fleet, part: &str, text: &str) {
    fleet.work.write(&format!("stacks/web/{part}/text"), text);
}

#[tokio::test]
async fn each_part_has_its_own_rollouts_and_a_new_node_gets_all_at_once() {
    let mut fleet = claw().await;
    all_run(&fleet, ["1", "1", "1"]).await;
    let at_first = rollouts_of(&fleet, None).await.len();
    assert!(rollouts_of(&fleet, Some("policy")).await.is_empty(), "all came together");

    write(&fleet, "policy", "2");
    let a = fleet.conversation();
    fleet.commit("Stricter", Some(a));
    fleet.deploy().await;
    all_run(&fleet, ["2", "1", "1"]).await;
    let policy = rollouts_of(&fleet, Some("policy")).await;
    assert_eq!((policy.len(), policy[0].state), (1, RolloutState::Succeeded));
    assert_eq!(rollouts_of(&fleet, None).await.len(), at_first, "nothing else moved");
    let filter = deployments::Filter { conversation: Some(a), ..deployments::Filter::default() };
    let its = deployments::list(&mut fleet.store.read(), &filter, None, 99).await.unwrap();
    assert_eq!(its.len(), 3, "what it brought is found by its conversation");

    fleet.join("four").await;
    fleet.play(|_, _| true).await;
    all_run(&fleet, ["2", "1", "1"]).await;
    assert_eq!(rollouts_of(&fleet, Some("policy")).await.len(), 1);
}

#[tokio::test]
async fn one_that_fails_goes_back_and_holds_up_no_other() {
    let mut fleet = claw().await;
    write(&fleet, "upstream", "bad");
    fleet.commit("A bump", None);
    fleet.later();
    fleet.engine.sync_repository(fleet.repository).await.unwrap();
    fleet.play(|_, _| false).await;
    all_run(&fleet, ["1", "1", "1"]).await;
    let upstream = rollouts_of(&fleet, Some("upstream")).await;
    assert_eq!(upstream[0].state, RolloutState::Halted);

    // The tip has the bad bump; another part goes out all the same, beside what ran.
    write(&fleet, "policy", "2");
    fleet.commit("Stricter", None);
    fleet.deploy().await;
    all_run(&fleet, ["2", "1", "1"]).await;
    // One that comes after it waits, and says for what.
    write(&fleet, "plugin", "2");
    fleet.commit("For the bump", None);
    fleet.deploy().await;
    all_run(&fleet, ["2", "1", "1"]).await;
    // A new node gets what is good, not the tip.
    fleet.join("four").await;
    fleet.play(|_, _| true).await;
    all_run(&fleet, ["2", "1", "1"]).await;

    write(&fleet, "upstream", "2");
    fleet.commit("A better bump", None);
    fleet.deploy().await;
    all_run(&fleet, ["2", "2", "2"]).await;
}

#[tokio::test]
async fn what_is_put_together_is_a_commit_with_the_parts_of_each() {
    let mut fleet = claw().await;
    fleet.away = vec!["one".to_owned()];
    write(&fleet, "upstream", "2");
    write(&fleet, "policy", "2");
    fleet.commit("Both", None);
    fleet.deploy().await;
    all_run(&fleet, ["2", "1", "2"]).await;
    let tried = fleet.deployments().await;
    let of_two: Vec<_> = tried.iter().filter(|d| d.node == fleet.nodes["two"]).collect();
    let trees: BTreeSet<_> = of_two.iter().map(|d| d.release).collect();
    assert!(trees.len() >= 3, "one part after the other: {of_two:#?}");
    let between = releases::get(&mut fleet.store.read(), of_two[1].release).await.unwrap().unwrap();
    let files = fleet.engine.release_files(&between).await.unwrap();
    assert!(files.iter().any(|file| file.path == "stack.toml") && between.parts.len() == 4);

    // Whose lines run is known through it: of the file that came later, and of the one that did not.
    fleet.away = Vec::new();
    write(&fleet, "upstream", "bad");
    fleet.commit("Bad", None);
    fleet.later();
    fleet.engine.sync_repository(fleet.repository).await.unwrap();
    let two = fleet.nodes["two"];
    fleet.play(|_, _| false).await;
    write(&fleet, "policy", "3");
    let a = fleet.conversation();
    let stricter = fleet.commit("Stricter", Some(a));
    fleet.deploy().await;
    assert_eq!(runs(&fleet, "two").await, ["3", "1", "2"]);
    let stack = "web".parse().unwrap();
    let explained = fleet.engine.explain_file(two, &stack, "policy/text").await.unwrap();
    assert_eq!(explained.lines[0].0, stricter);
    assert!(explained.conversations.is_empty() || explained.conversations[0].id == a);
    let explained = fleet.engine.explain_file(two, &stack, "upstream/text").await.unwrap();
    assert_eq!(explained.changes[0].subject, "Both");
}

#[tokio::test]
async fn a_conversation_about_one_part_is_taken_back_in_that_part() {
    let mut fleet = claw().await;
    let (a, b) = (fleet.conversation(), fleet.conversation());
    write(&fleet, "policy", "2");
    fleet.commit("Stricter", Some(a));
    fleet.deploy().await;
    write(&fleet, "upstream", "2");
    fleet.commit("A bump", Some(b));
    fleet.deploy().await;
    all_run(&fleet, ["2", "1", "2"]).await;
    let undo = fleet.undo(fleet.only_its(a)).await;
    fleet.assert_verified(&undo);
    all_run(&fleet, ["1", "1", "2"]).await;
    let policy = rollouts_of(&fleet, Some("policy")).await;
    assert_eq!(policy[0].kind, RolloutKind::Rollback);
    assert_eq!(rollouts_of(&fleet, Some("upstream")).await.len(), 1, "the bump stays as it is");
}

#[tokio::test]
async fn to_a_time_all_parts_are_what_they_were_then() {
    for exact in [false, true] {
        let mut fleet = claw().await;
        write(&fleet, "policy", "2");
        fleet.commit("Stricter", None);
        fleet.deploy().await;
        let then = fleet.later();
        for (part, text) in [("upstream", "2"), ("policy", "3")] {
            write(&fleet, part, text);
            fleet.commit("More", None);
            fleet.deploy().await;
        }
        all_run(&fleet, ["3", "1", "2"]).await;
        let undo = fleet.undo(want(UndoSelector::Time { to: then, exact })).await;
        fleet.assert_verified(&undo);
        all_run(&fleet, ["2", "1", "1"]).await;
    }
}

/// Content of a part that was superseded in its first wave is no better known on the way back.
#[tokio::test]
async fn a_part_goes_back_in_waves_to_what_never_proved_itself() {
    let mut fleet = claw().await;
    let waves = "[rollout]\nwaves = [\"ring=one\", \"ring=two\", \"100%\"]\nsoak = \"1h\"\n";
    fleet.work.write("fleet.toml", &format!("{waves}[[assign]]\nstack = \"web\"\nnodes = \"\"\n"));
    fleet.commit("In waves", None);
    fleet.deploy().await;
    let (a, b) = (fleet.conversation(), fleet.conversation());
    for (text, by) in [("2", a), ("3", b)] {
        write(&fleet, "policy", text);
        fleet.commit("Stricter", Some(by));
        fleet.deploy().await;
    }
    assert_eq!(runs(&fleet, "one").await, ["3", "1", "1"]);
    assert_eq!(runs(&fleet, "two").await, ["1", "1", "1"]);
    fleet.undo(fleet.only_its(b)).await;
    assert_eq!(runs(&fleet, "one").await, ["2", "1", "1"], "it runs what is undone");
    for node in ["two", "three"] {
        assert_eq!(runs(&fleet, node).await, ["1", "1", "1"], "{node} has its wave to come");
    }
    for _ in 0..4 {
        for _ in 0..61 {
            fleet.later();
        }
        fleet.play(|_, _| true).await;
    }
    all_run(&fleet, ["2", "1", "1"]).await;
    // What did well everywhere is gone back to at once.
    let c = fleet.conversation();
    fleet.work.pull();
    write(&fleet, "policy", "4");
    fleet.commit("Stricter still", Some(c));
    fleet.deploy().await;
    let undo = fleet.undo(fleet.only_its(c)).await;
    fleet.assert_verified(&undo);
    all_run(&fleet, ["2", "1", "1"]).await;
}

/// Nobody runs what is taken back, and nobody moves: another part's release is banned, which keeps the branch's tree from
/// ever being run.
#[tokio::test]
async fn an_undo_of_a_part_that_failed_ends_beside_another_that_is_banned() {
    let mut fleet = claw().await;
    write(&fleet, "upstream", "bad");
    fleet.commit("A bump", None);
    fleet.later();
    fleet.engine.sync_repository(fleet.repository).await.unwrap();
    fleet.play(|_, _| false).await;
    let a = fleet.conversation();
    write(&fleet, "policy", "bad");
    fleet.commit("Stricter", Some(a));
    fleet.later();
    fleet.engine.sync_repository(fleet.repository).await.unwrap();
    fleet.play(|_, _| false).await;
    all_run(&fleet, ["1", "1", "1"]).await;
    let undo = fleet.undo(fleet.only_its(a)).await;
    fleet.assert_verified(&undo);
    all_run(&fleet, ["1", "1", "1"]).await;
}

/// Nodes that do not run a stack divided yet get what an undo leaves of it in waves, as long as no rollout has shown how it
/// does.
#[tokio::test]
async fn all_parts_come_in_waves_where_they_never_proved_themselves() {
    let mut fleet = Fleet::empty().await;
    fleet.away = vec!["two".to_owned()];
    fleet.work.write("stacks/web/stack.toml", PARTS);
    fleet.work.write("stacks/web/compose.yaml", COMPOSE);
    for part in ["policy", "plugin", "upstream"] {
        write(&fleet, part, "1");
    }
    let waves = "[rollout]\nwaves = [\"ring in (one,two)\", \"100%\"]\nsoak = \"1h\"\n";
    fleet.work.write("fleet.toml", &format!("{waves}[[assign]]\nstack = \"web\"\nnodes = \"\"\n"));
    fleet.commit("Parts", None);
    fleet.deploy().await;
    let a = fleet.conversation();
    write(&fleet, "policy", "2");
    fleet.commit("Stricter", Some(a));
    fleet.deploy().await;
    assert_eq!(runs(&fleet, "one").await, ["2", "1", "1"]);
    assert_eq!(runs(&fleet, "three").await, ["", "", ""], "it has its wave to come");
    fleet.undo(fleet.only_its(a)).await;
    assert_eq!(runs(&fleet, "one").await, ["1", "1", "1"], "it runs what is undone");
    assert_eq!(runs(&fleet, "three").await, ["", "", ""], "it has its wave to come");
    fleet.away = Vec::new();
    for _ in 0..4 {
        for _ in 0..61 {
            fleet.later();
        }
        fleet.play(|_, _| true).await;
    }
    all_run(&fleet, ["1", "1", "1"]).await;
}

#[tokio::test]
async fn one_part_of_a_commit_about_several_is_taken_back() {
    let mut fleet = claw().await;
    let a = fleet.conversation();
    write(&fleet, "policy", "2");
    write(&fleet, "upstream", "2");
    fleet.commit("Both", Some(a));
    fleet.deploy().await;
    all_run(&fleet, ["2", "1", "2"]).await;
    let scope =
        UndoScope { nodes: None, stack: Some("web".parse().unwrap()), part: Some("policy".parse().unwrap()) };
    let undo = fleet.undo(WantedUndo { scope: scope.clone(), ..fleet.only_its(a) }).await;
    fleet.assert_verified(&undo);
    all_run(&fleet, ["1", "1", "2"]).await;
    // What stands of it may be planned: a new node gets it.
    fleet.join("four").await;
    fleet.play(|_, _| true).await;
    all_run(&fleet, ["1", "1", "2"]).await;
    let odd = UndoScope { part: Some("polcy".parse().unwrap()), ..scope };
    let refused =
        fleet.engine.create_undo(WantedUndo { scope: odd, ..want(UndoSelector::Last) }, "test").await;
    assert!(refused.unwrap_err().to_string().contains("expected one of policy, plugin, upstream, base"));
    fleet.work.pull();
    // All of it at once: what needs another goes back before it.
    write(&fleet, "plugin", "3");
    write(&fleet, "upstream", "3");
    let b = fleet.conversation();
    fleet.commit("Both again", Some(b));
    fleet.deploy().await;
    all_run(&fleet, ["1", "3", "3"]).await;
    let undo = fleet.undo(fleet.only_its(b)).await;
    fleet.assert_verified(&undo);
    all_run(&fleet, ["1", "1", "2"]).await;
}

#[tokio::test]
async fn a_stack_that_is_divided_anew_moves_as_a_whole() {
    let mut fleet = Fleet::new().await;
    for part in ["policy", "plugin", "upstream"] {
        write(&fleet, part, "1");
    }
    fleet.commit("Files", None);
    fleet.deploy().await;
    fleet.work.write("stacks/web/stack.toml", PARTS);
    write(&fleet, "policy", "2");
    fleet.commit("Parts", None);
    fleet.deploy().await;
    all_run(&fleet, ["2", "1", "1"]).await;
    write(&fleet, "policy", "3");
    fleet.commit("One part", None);
    fleet.deploy().await;
    all_run(&fleet, ["3", "1", "1"]).await;
    assert_eq!(rollouts_of(&fleet, Some("policy")).await.len(), 1);
    let wider = PARTS.replace("paths = [\"plugin\"]", "paths = [\"plugin\", \"more\"]");
    fleet.work.write("stacks/web/stack.toml", &wider);
    write(&fleet, "plugin", "2");
    fleet.commit("Divided otherwise", None);
    fleet.deploy().await;
    all_run(&fleet, ["3", "2", "1"]).await;
    assert_eq!(rollouts_of(&fleet, Some("plugin")).await.len(), 0, "all of it went together");
}

/// The waves and the share by which the newest rollout of a stack, or of a part of it, went out.
async fn went_out_by(fleet: &Fleet, part: Option<&str>) -> (Vec<String>, Option<u32>) {
    let newest = rollouts_of(fleet, part).await.into_iter().max_by_key(|rollout| rollout.id).unwrap();
    (newest.strategy.waves, newest.max_updating)
}

#[tokio::test]
async fn a_stack_goes_out_by_its_assignments_channel_and_a_part_by_its_own_first() {
    const FLEET: &str = "[[assign]]\nstack = \"web\"\nnodes = \"\"\nchannel = \"careful\"\n\
        [rollout]\nmax_updating = 3\n\
        [[channel]]\nname = \"careful\"\nwaves = [\"ring=one\", \"100%\"]\nmax_updating = 1\n\
        [[channel]]\nname = \"quick\"\nwaves = [\"50%\", \"100%\"]\n";
    let careful = (vec!["ring=one".to_owned(), "100%".to_owned()], Some(1));
    let mut fleet = Fleet::empty().await;
    fleet.work.write("fleet.toml", FLEET);
    fleet.work.write("stacks/web/compose.yaml", &COMPOSE.replace("blue", "red"));
    fleet.commit("Carefully", None);
    fleet.deploy().await;
    assert_eq!(went_out_by(&fleet, None).await, careful);
    let named = fleet.engine.stack_channel(&"web".parse().unwrap()).await.unwrap();
    assert_eq!(named.as_deref(), Some("careful"));

    let parts = PARTS.replace("apply = \"reload\"", "channel = \"quick\"\napply = \"reload\"");
    fleet.work.write("stacks/web/stack.toml", &parts);
    for part in ["policy", "plugin", "upstream"] {
        write(&fleet, part, "1");
    }
    fleet.commit("Parts", None);
    fleet.deploy().await;
    for part in ["policy", "plugin"] {
        write(&fleet, part, "2");
        fleet.commit(part, None);
        fleet.deploy().await;
    }
    assert_eq!(went_out_by(&fleet, Some("plugin")).await, careful, "it names none");
    let quick = (vec!["50%".to_owned(), "100%".to_owned()], Some(3));
    assert_eq!(went_out_by(&fleet, Some("policy")).await, quick);

    // Wrong or two at once: nothing of that goes out, and the repository says why.
    for (from, to, why) in [
        ("channel = \"careful\"", "channel = \"carefull\"", "no channel is called `carefull`"),
        (
            "[rollout]",
            "[[assign]]\nstack = \"web\"\nnodes = \"ring=one\"\nchannel = \"quick\"\n[rollout]",
            "(line 4)",
        ),
    ] {
        fleet.work.write("fleet.toml", &FLEET.replace(from, to));
        fleet.commit("Wrong", None);
        let repository = fleet.engine.sync_repository(fleet.repository).await.unwrap();
        let RepositoryHealth::Invalid { message, .. } = repository.health else { panic!("{repository:?}") };
        assert!(message.contains("fleet.toml:") && message.contains(why), "{message}");
    }
}

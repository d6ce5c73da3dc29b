//! Nodes that follow another branch, on real repositories: what they get, what stops it, and how they come back.

use std::time::Duration;

use backstay_engine::{EngineError, FollowedBranch, LimitEffect, NewLimit};
use backstay_store::{constraints, desired, releases, rollouts};
use backstay_types::{
    CommitId, Constraint, ConversationId, Digest, ErrorCode, Event, ReleaseStanding, RepositoryHealth,
    Rollout, RolloutState, UndoScope,
};

use crate::{
    fleet::{COMPOSE, Fleet},
    limits::limit,
};

const BRANCH: &str = "try/it";
const FILE: &str = "stacks/web/compose.yaml";

fn follow() -> LimitEffect {
    LimitEffect::Follow { stack: "web".parse().unwrap(), branch: BRANCH.to_owned() }
}

impl Fleet {
    /// Changes one word of the stack on the branch, which begins where the deployed one is, and pushes it.
    fn try_out(&self, from: &str, to: &str, by: Option<ConversationId>) -> CommitId {
        if self.work.try_git(&["rev-parse", "--verify", "--quiet", BRANCH]).is_err() {
            self.work.branch(BRANCH, "main");
        }
        self.work.switch(BRANCH);
        let text = self.work.read(FILE);
        assert!(text.contains(from), "{from} in {text}");
        self.work.write(FILE, &text.replace(from, to));
        let commit = self.commit(&format!("Try {to}"), by);
        self.work.switch("main");
        commit
    }

    async fn follow(&mut self, nodes: &str) -> Constraint {
        let set = self.engine.limit(limit(follow(), Some(nodes)), "ada").await.unwrap();
        self.later();
        self.play(|_, _| true).await;
        set
    }

    async fn followed(&self) -> FollowedBranch {
        let mut found = self.engine.followed_branches().await.unwrap();
        assert_eq!(found.len(), 1);
        found.remove(0)
    }

    async fn rollouts_on(&self, branch: Option<&str>) -> Vec<Rollout> {
        let all = rollouts::list(&mut self.store.read(), None, None, 99).await.unwrap();
        all.into_iter().filter(|one| one.branch.as_deref() == branch).collect()
    }

    /// Why a node should run what it is told to.
    async fn reason(&self, node: &str) -> String {
        let rows = desired::stacks_of(&mut self.store.read(), self.nodes[node]).await.unwrap();
        rows.into_iter().find(|row| row.stack.as_str() == "web").unwrap().reason
    }
}

#[tokio::test]
async fn named_nodes_run_the_branch_the_others_do_not_and_lifting_brings_them_back() {
    let mut fleet = Fleet::new().await;
    let talk = fleet.conversation();
    let tip = fleet.try_out("blue", "green", Some(talk));
    let set = fleet.follow("name=two").await;
    fleet.assert_runs("two", &["green", "hello"], &["blue"]).await;
    fleet.assert_runs("one", &["blue"], &["green"]).await;
    let line = fleet.statement(fleet.nodes["two"]).await.unwrap().stacks.remove(0);
    assert_eq!((line.commit, line.conversations), (tip.clone(), vec![talk]));
    assert_eq!(fleet.reason("two").await, "follows branch `try/it`, set by ada: the fair");
    let known = fleet.followed().await;
    assert_eq!((&known.row.tip, known.nodes, &known.standing), (&tip, 1, &ReleaseStanding::Eligible));

    // Each goes on with its own branch.
    fleet.change("hello", "welcome", fleet.conversation());
    fleet.deploy().await;
    fleet.assert_runs("one", &["welcome", "blue"], &[]).await;
    fleet.assert_runs("two", &["hello", "green"], &[]).await;
    fleet.try_out("quiet", "loud", None);
    fleet.deploy().await;
    fleet.assert_runs("two", &["green", "loud"], &[]).await;
    fleet.assert_runs("three", &["blue", "quiet"], &["green", "loud"]).await;
    let own = fleet.rollouts_on(Some(BRANCH)).await;
    assert_eq!(own.len(), 2);
    assert!(own.iter().all(|one| one.state == RolloutState::Succeeded && one.strategy.waves.is_empty()));
    assert!(
        own[0].reason.contains("of branch `try/it`") || own[0].reason.contains("1 of 1"),
        "{}",
        own[0].reason
    );
    assert_eq!(fleet.told("branch_changed").await.len(), 2);
    let events = fleet.events().await;
    fleet.deploy().await;
    assert_eq!(fleet.events().await, events, "what is as it was is not told again");

    fleet.engine.lift(set.id, "it was tried", "ada").await.unwrap();
    fleet.play(|_, _| true).await;
    fleet.assert_all_run(&["welcome", "blue", "quiet"], &["green", "loud"]).await;
    assert!(fleet.engine.followed_branches().await.unwrap().is_empty());
    // Nobody follows it: it is not read any more.
    fleet.try_out("small", "large", None);
    fleet.deploy().await;
    assert_eq!(fleet.told("branch_changed").await.len(), 2);
    fleet.assert_all_run(&["small"], &["large"]).await;
}

#[tokio::test]
async fn it_ends_by_itself_and_survives_a_restart() {
    let mut fleet = Fleet::new().await;
    fleet.try_out("blue", "green", None);
    let until = fleet.world.now().checked_add(Duration::from_secs(3600)).unwrap();
    let new = NewLimit { until: Some(until), ..limit(follow(), Some("name=two")) };
    let set = fleet.engine.limit(new.clone(), "ada").await.unwrap();
    assert_eq!(fleet.engine.limit(new, "ada").await.unwrap().id, set.id, "asked twice, set once");
    fleet.play(|_, _| true).await;
    fleet.assert_runs("two", &["green"], &[]).await;
    fleet.restart().await;
    fleet.deploy().await;
    fleet.assert_runs("two", &["green"], &[]).await;
    fleet.clock.set(until);
    fleet.play(|_, _| true).await;
    fleet.assert_all_run(&["blue"], &["green"]).await;
    let lifted = fleet.told("constraint_lifted").await;
    assert!(
        matches!(&lifted[..], [one] if matches!(&one.event, Some(Event::ConstraintLifted { reason, .. }) if reason == "its time ran out"))
    );
    let again = NewLimit { until: Some(until), ..limit(follow(), Some("name=two")) };
    assert_eq!(fleet.engine.limit(again, "ada").await.unwrap_err().code(), ErrorCode::BS4007);
}

#[tokio::test]
async fn what_cannot_be_followed_is_refused_with_its_code_and_nothing_is_set() {
    let fleet = Fleet::new().await;
    fleet.work.branch("broken", "main").write("stacks/web/stack.toml", "runtime = \"no such\"\n");
    fleet.commit("Break it", None);
    fleet
        .work
        .branch("bare", "main")
        .remove("stacks/web/compose.yaml")
        .write("stacks/api/compose.yaml", COMPOSE);
    fleet.commit("Take it away", None);
    let refused = async |stack: &str, branch: &str, nodes: Option<&str>| {
        let effect = LimitEffect::Follow { stack: stack.parse().unwrap(), branch: branch.to_owned() };
        fleet.engine.limit(limit(effect, nodes), "ada").await.unwrap_err()
    };
    let two = Some("name=two");
    for (error, code, says) in [
        (refused("nothing", BRANCH, two).await, ErrorCode::BS4004, "there is no stack `nothing`"),
        (refused("web", BRANCH, Some("name=nobody")).await, ErrorCode::BS4007, "matches none of 3 nodes"),
        (refused("web", BRANCH, None).await, ErrorCode::BS4007, "expected which nodes"),
        (refused("web", BRANCH, two).await, ErrorCode::BS2002, "couldn't find remote ref"),
        (refused("web", "-x", two).await, ErrorCode::BS2004, "-x"),
        (refused("web", "main", two).await, ErrorCode::BS4019, "it is what `fleet` deploys"),
        (refused("web", "broken", two).await, ErrorCode::BS4019, "runtime"),
        (refused("web", "bare", two).await, ErrorCode::BS4019, "has no stack `web`"),
    ] {
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
    assert!(constraints::set_at(&mut fleet.store.read(), fleet.world.now()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_branch_that_is_deleted_or_broken_upstream_takes_nothing_away() {
    let mut fleet = Fleet::new().await;
    fleet.try_out("blue", "green", None);
    fleet.follow("name=two").await;
    fleet.work.git(&["push", "--quiet", "origin", "--delete", BRANCH]);
    for _ in 0..2 {
        fleet.deploy().await;
    }
    fleet.assert_runs("two", &["green"], &[]).await;
    let RepositoryHealth::Unreachable { code, .. } = fleet.followed().await.row.health else { panic!() };
    assert_eq!(code, "BS2002");
    assert_eq!(fleet.repository().await.health, RepositoryHealth::Ok, "the deployed branch is well");
    assert_eq!(fleet.told("branch_changed").await.len(), 2, "told once");

    fleet.work.git(&["push", "--quiet", "origin", BRANCH]);
    fleet.deploy().await;
    assert_eq!(fleet.followed().await.row.health, RepositoryHealth::Ok);
    fleet.work.switch(BRANCH);
    fleet.work.write("stacks/web/stack.toml", "runtime = \"no such\"\n");
    fleet.commit("Break it", None);
    fleet.deploy().await;
    assert!(matches!(fleet.followed().await.row.health, RepositoryHealth::Invalid { .. }));
    fleet.work.remove("stacks/web/stack.toml").remove(FILE).write("stacks/api/compose.yaml", COMPOSE);
    fleet.commit("Take it away", None);
    fleet.deploy().await;
    let RepositoryHealth::Invalid { code, .. } = fleet.followed().await.row.health else { panic!() };
    assert_eq!(code, "BS4019");
    fleet.assert_runs("two", &["green"], &[]).await;
    fleet.assert_runs("one", &["blue"], &[]).await;
    fleet.work.git(&["revert", "--no-edit", "HEAD", "HEAD~1"]);
    fleet.work.push().switch("main");
    fleet.try_out("quiet", "loud", None);
    fleet.deploy().await;
    fleet.assert_runs("two", &["green", "loud"], &[]).await;
}

#[tokio::test]
async fn a_rewritten_branch_waits_until_someone_sets_it_again() {
    let mut fleet = Fleet::new().await;
    fleet.try_out("blue", "green", None);
    fleet.follow("name=two").await;
    fleet.work.switch(BRANCH).reset("main");
    fleet.work.write(FILE, &COMPOSE.replace("blue", "red"));
    fleet.work.commit(&backstay_testkit::CommitSpec::new("Another try"));
    fleet.work.push_force().switch("main");
    fleet.deploy().await;
    fleet.assert_runs("two", &["green"], &["red"]).await;
    assert!(matches!(fleet.followed().await.row.health, RepositoryHealth::Rewritten { .. }));
    fleet.follow("name=two").await;
    fleet.assert_runs("two", &["red"], &["green"]).await;
    assert_eq!(fleet.followed().await.row.health, RepositoryHealth::Ok);
    // Set back to where the deployed branch is.
    fleet.work.switch(BRANCH).reset("main").push_force().switch("main");
    fleet.deploy().await;
    fleet.assert_runs("two", &["red"], &[]).await;
    fleet.follow("name=two").await;
    fleet.assert_runs("two", &["blue"], &["red"]).await;
}

#[tokio::test]
async fn a_bad_release_goes_back_on_its_node_is_not_tried_again_and_stops_nobody_else() {
    let mut fleet = Fleet::new().await;
    fleet.try_out("blue", "green", None);
    fleet.engine.limit(limit(follow(), Some("name in (two,three)")), "ada").await.unwrap();
    let bad = release_of(&fleet).await;
    fleet.play(|_, tree| tree != bad).await;
    fleet.assert_all_run(&["blue"], &["green"]).await;
    let attempts = fleet.deployments().await.len();
    fleet.later();
    fleet.play(|_, tree| tree != bad).await;
    assert_eq!(fleet.deployments().await.len(), attempts, "once is enough");
    let [stopped] = &fleet.rollouts_on(Some(BRANCH)).await[..] else { panic!("one rollout") };
    assert_eq!(stopped.state, RolloutState::Halted);
    let ReleaseStanding::Banned { reason } = fleet.followed().await.standing else { panic!() };
    assert!(reason.contains("failed on"), "{reason}");
    assert!(fleet.reason("two").await.contains("branch `try/it`, which it follows, is banned"));

    fleet.change("hello", "welcome", fleet.conversation());
    fleet.deploy().await;
    fleet.assert_runs("one", &["welcome"], &[]).await;
    assert!(fleet.rollouts_on(None).await.iter().all(|one| one.state == RolloutState::Succeeded));
    fleet.assert_runs("two", &["hello"], &[]).await;
    fleet.try_out("green", "olive", None);
    fleet.deploy().await;
    fleet.assert_runs("two", &["olive", "hello"], &[]).await;
    fleet.assert_runs("one", &["blue", "welcome"], &[]).await;
}

/// The tree that the branch asks for.
async fn release_of(fleet: &Fleet) -> Digest {
    let id = fleet.followed().await.row.release;
    releases::get(&mut fleet.store.read(), id).await.unwrap().unwrap().tree
}

#[tokio::test]
async fn an_undo_reaches_who_follows_a_branch_that_has_what_it_takes_back() {
    let mut fleet = Fleet::new().await;
    let talk = fleet.conversation();
    fleet.change("hello", "welcome", talk);
    fleet.deploy().await;
    fleet.try_out("quiet", "loud", None);
    fleet.follow("name=two").await;
    fleet.assert_runs("two", &["loud", "welcome"], &[]).await;

    let planned = fleet.engine.plan_undo(&fleet.only_its(talk)).await.unwrap();
    assert_eq!(planned.nodes.len(), 3, "{planned:#?}");
    let undo = fleet.undo(fleet.only_its(talk)).await;
    fleet.assert_verified(&undo);
    fleet.assert_all_run(&["hello", "quiet"], &["welcome", "loud"]).await;
    let known = fleet.followed().await;
    assert!(matches!(known.standing, ReleaseStanding::Held { .. }), "{known:#?}");
    assert!(fleet.reason("two").await.contains("whose release is held"), "{}", fleet.reason("two").await);

    // The branch takes the undo in: its node comes back to it.
    fleet.work.pull().switch(BRANCH);
    fleet.work.merge("main");
    fleet.work.push().switch("main");
    fleet.deploy().await;
    fleet.assert_runs("two", &["loud", "hello"], &["welcome"]).await;
    fleet.assert_runs("one", &["quiet", "hello"], &[]).await;

    // What came to the deployed branch alone does not concern it.
    let other = fleet.conversation();
    fleet.change("blue", "green", other);
    fleet.deploy().await;
    let undo = fleet.undo(fleet.only_its(other)).await;
    fleet.assert_verified(&undo);
    assert!(undo.plan.nodes.iter().all(|one| one.node.as_str() != "two"), "{:#?}", undo.plan.nodes);
    fleet.assert_runs("two", &["loud", "blue"], &[]).await;
}

#[tokio::test]
async fn a_hold_on_its_own_commit_sends_a_node_to_what_the_fleet_runs_until_it_is_lifted() {
    let mut fleet = Fleet::new().await;
    let own = fleet.try_out("blue", "green", None);
    fleet.follow("name=two").await;
    let hold = fleet.engine.hold_commit(fleet.repository, own, "not now", None, "ada").await.unwrap();
    fleet.play(|_, _| true).await;
    fleet.assert_all_run(&["blue"], &["green"]).await;
    // A commit of the deployed branch that the branch does not have is nothing to it.
    fleet.engine.lift(hold.id, "now", "ada").await.unwrap();
    let later = fleet.change("hello", "welcome", fleet.conversation());
    fleet.deploy().await;
    fleet.engine.hold_commit(fleet.repository, later, "not this", None, "ada").await.unwrap();
    fleet.play(|_, _| true).await;
    fleet.assert_runs("two", &["green", "hello"], &[]).await;
    let release = fleet.followed().await;
    assert_eq!(release.standing, ReleaseStanding::Eligible);
}

#[tokio::test]
async fn a_scoped_undo_pins_who_follows_a_branch() {
    let mut fleet = Fleet::new().await;
    let talk = fleet.conversation();
    fleet.change("hello", "welcome", talk);
    fleet.deploy().await;
    fleet.try_out("blue", "green", None);
    fleet.follow("name=two").await;
    let mut want = fleet.only_its(talk);
    want.scope = UndoScope { nodes: Some("name=two".to_owned()), ..UndoScope::default() };
    let undo = fleet.undo(want).await;
    fleet.assert_verified(&undo);
    fleet.assert_runs("two", &["hello", "blue"], &["welcome", "green"]).await;
    fleet.assert_runs("one", &["welcome"], &[]).await;
}

#[tokio::test]
async fn what_is_merged_comes_to_the_fleet_as_its_own_with_its_conversation() {
    let mut fleet = Fleet::new().await;
    let talk = fleet.conversation();
    fleet.try_out("blue", "green", Some(talk));
    fleet.follow("name=two").await;
    fleet.later();
    fleet.work.git(&["merge", "--quiet", "--ff-only", BRANCH]);
    fleet.work.push();
    fleet.deploy().await;
    fleet.assert_all_run(&["green"], &["blue"]).await;
    let line = fleet.statement(fleet.nodes["one"]).await.unwrap().stacks.remove(0);
    assert_eq!(line.conversations, [talk], "it is the fleet's own rollout that brings it");
    let of_fleet = fleet.rollouts_on(None).await;
    assert_eq!(of_fleet[0].release, line.release);
    assert_eq!(fleet.deployments().await.iter().filter(|one| one.release == line.release).count(), 3);
    // And it is undone like anything else.
    let undo = fleet.undo(fleet.only_its(talk)).await;
    fleet.assert_verified(&undo);
    fleet.assert_all_run(&["blue"], &["green"]).await;
}

#[tokio::test]
async fn a_stack_in_parts_follows_as_a_whole_and_comes_back_part_by_part() {
    let mut fleet = crate::parts::claw().await;
    fleet.work.branch(BRANCH, "main");
    fleet.work.write("stacks/web/policy/text", "9").write(FILE, &COMPOSE.replace("blue", "green"));
    fleet.commit("Try another policy", None);
    fleet.work.switch("main");
    let set = fleet.follow("name=two").await;
    fleet.assert_runs("two", &["green"], &[]).await;
    // The fleet's parts go on without it.
    fleet.work.write("stacks/web/plugin/text", "2");
    fleet.commit("A better plugin", None);
    fleet.deploy().await;
    fleet.assert_runs("two", &["green"], &[]).await;
    let tree = |fleet: &Fleet, node: &str| fleet.runs[&(node.to_owned(), "web".to_owned())];
    assert_ne!(tree(&fleet, "one"), tree(&fleet, "two"));
    fleet.engine.lift(set.id, "it was tried", "ada").await.unwrap();
    fleet.play(|_, _| true).await;
    assert_eq!(tree(&fleet, "one"), tree(&fleet, "two"));
    fleet.assert_runs("two", &["blue"], &["green"]).await;
}

#[tokio::test]
async fn the_rules_of_the_deployed_branch_hold_and_a_stop_stops_it() {
    let mut fleet = Fleet::new().await;
    fleet.work.write("fleet.toml", "[rollout]\nwaves = [\"ring=one\", \"100%\"]\nsoak = \"1h\"\n");
    fleet.commit("In waves", None);
    fleet.deploy().await;
    fleet.try_out("blue", "green", None);
    fleet.engine.set_emergency_stop(true, "smoke", "ada").await.unwrap();
    fleet.follow("name=two").await;
    fleet.assert_all_run(&["blue"], &["green"]).await;
    fleet.engine.set_emergency_stop(false, "no fire", "ada").await.unwrap();
    fleet.play(|_, _| true).await;
    fleet.assert_runs("two", &["green"], &[]).await;
    let error = fleet.engine.limit(limit(follow(), Some("a in (")), "ada").await.unwrap_err();
    assert!(matches!(error, EngineError::Invalid(_)), "{error}");
}

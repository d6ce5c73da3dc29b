//! New agents for nodes, wave by wave, and bundles.

use std::time::Duration;

use backstay_api::{
    Binary, Empty,
    agent::{AgentBuildPath, CheckInRequest, GetAgentBuild, Report, ReportBody, ReportsRequest, SendReports},
    bundle::{Head, PartContent},
    statement::{DesiredAgent, SignedStatement, Statement, statement_place},
    v1::{
        AgentsView, AttentionKind, BundleRequest, ConstraintPath, CreateConstraint, CreateConstraintRequest,
        DecisionsQuery, EmergencyStopRequest, ExportBundle, GetAgentDecisions, GetAgents, GetOverview,
        HaltAgents, HaltAgentsRequest, LiftConstraint, LiftRequest, NewEffect, NodePath, RepositoryPath,
        RevokeNode, SetEmergencyStop, SyncRepository, UpdateAgents, UpdateAgentsRequest, UploadAgent,
        UploadAgentQuery,
    },
};
use backstay_types::{AgentOutcome, AgentUpdateState, Digest, ErrorCode};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use ed25519_dalek::VerifyingKey;

use crate::harness::{Agent, TestHub, code, hello};

/// What passes for a program.
fn program(end: &str) -> Vec<u8> {
    let mut program = vec![0; 64];
    program[..4].copy_from_slice(b"\x7fELF");
    program[18] = 62;
    program.extend_from_slice(end.as_bytes());
    program
}

async fn upload(
    hub: &TestHub,
    version: &str,
    program: Vec<u8>,
) -> Result<Digest, backstay_client::ClientError> {
    let query = UploadAgentQuery { version: version.into(), arch: "x86_64".into() };
    let build = hub.admin().call::<UploadAgent>(&Empty {}, &query, &Binary(program)).await?;
    Ok(build.sha256)
}

async fn begin(hub: &TestHub, version: &str, waves: &[u8]) -> Result<(), backstay_client::ClientError> {
    let request =
        UpdateAgentsRequest { version: version.into(), waves: waves.to_vec(), soak_seconds: Some(0) };
    hub.admin().call::<UpdateAgents>(&Empty {}, &Empty {}, &request).await.map(drop)
}

async fn view(hub: &TestHub) -> AgentsView {
    hub.admin().call::<GetAgents>(&Empty {}, &Empty {}, &Empty {}).await.unwrap()
}

fn key(agent: &Agent) -> VerifyingKey {
    let bytes = BASE64_STANDARD.decode(&agent.joined.hub_key).unwrap();
    VerifyingKey::from_bytes(&bytes.try_into().unwrap()).unwrap()
}

/// The agent that a node is asked to run.
async fn asked(agent: &Agent) -> Option<DesiredAgent> {
    let answer = agent.check_in(CheckInRequest { ..hello(0) }).await;
    let statement: Statement = answer.statement?.open(&key(agent)).unwrap();
    statement.agent
}

async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..200 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it did not come to pass: {what}");
}

async fn answer(hub: &TestHub, agent: &Agent, desired: &DesiredAgent, outcome: AgentOutcome) {
    let (update, version) = (desired.update, desired.version.clone());
    let body = ReportBody::AgentUpdate { update, version, outcome };
    let report = Report { id: hub.world().mint(), at: hub.world().now(), body };
    let request = ReportsRequest { reports: vec![report] };
    agent.client.call::<SendReports>(&Empty {}, &Empty {}, &request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_agent_goes_out_wave_by_wave() {
    let hub = TestHub::start().await;
    let agents = [hub.join("n-1").await, hub.join("n-2").await];
    for agent in &agents {
        agent.say_hello().await;
    }
    let sha256 = upload(&hub, "2.0.0", program("a")).await.unwrap();
    assert_eq!(upload(&hub, "2.0.0", program("a")).await.unwrap(), sha256, "the same again is kept once");
    assert_eq!(code(upload(&hub, "2.0.0", program("b")).await), ErrorCode::BS4005);
    assert_eq!(code(upload(&hub, "3", b"#!/bin/sh".to_vec()).await), ErrorCode::BS4007);
    assert_eq!(code(begin(&hub, "9", &[100]).await), ErrorCode::BS4004);
    assert_eq!(code(begin(&hub, "2.0.0", &[50, 20]).await), ErrorCode::BS4007);
    begin(&hub, "2.0.0", &[50, 100]).await.unwrap();
    assert_eq!(code(begin(&hub, "2.0.0", &[100]).await), ErrorCode::BS4005, "one at a time");

    let first = eventually("one node is asked", async || {
        for (at, agent) in agents.iter().enumerate() {
            if let Some(desired) = asked(agent).await {
                return Some((at, desired));
            }
        }
        None
    })
    .await;
    let (at, desired) = first;
    let other = &agents[1 - at];
    assert_eq!(asked(other).await, None, "the other one has its wave to come");
    assert_eq!(desired.builds[0].sha256, sha256);
    let path = AgentBuildPath { sha256 };
    let given = agents[at].client.call::<GetAgentBuild>(&path, &Empty {}, &Empty {}).await.unwrap();
    assert_eq!(given.0, program("a"));

    answer(&hub, &agents[at], &desired, AgentOutcome::Updated).await;
    let desired = eventually("the other is asked", async || asked(other).await).await;
    answer(&hub, other, &desired, AgentOutcome::Left { reason: "no loader".into() }).await;
    let done = eventually("it is done", async || {
        let view = view(&hub).await;
        view.update.as_ref().is_some_and(|update| update.state == AgentUpdateState::Done).then_some(view)
    })
    .await;
    assert_eq!((done.updated, done.not_updated.len()), (1, 1));
    let replay = DecisionsQuery { replay: Some(true) };
    let decided =
        hub.admin().call::<GetAgentDecisions>(&Empty {}, &replay, &Empty {}).await.unwrap().decisions;
    let seen: Vec<_> = decided.iter().map(|one| (one.decision.state, one.decision.wave, one.same)).collect();
    let (running, done) = (AgentUpdateState::Running, AgentUpdateState::Done);
    assert_eq!(seen, [(running, 0, None), (running, 1, Some(true)), (done, 1, Some(true))], "{decided:#?}");
    assert!(decided[0].decision.by.is_some() && decided[0].decision.inputs.is_null());
    let opened = &decided[1].decision;
    assert_eq!((&opened.inputs["asked"], &opened.inputs["answered"]), (&1.into(), &1.into()), "{opened:#?}");
    assert_eq!(opened.reason, "1 of 1 nodes answered and none too many failed");
    // Who joins later is asked, too.
    let late = hub.join("n-3").await;
    late.say_hello().await;
    eventually("a late one is asked", async || asked(&late).await).await;
}

async fn set_stop(hub: &TestHub, stopped: bool) {
    let request = EmergencyStopRequest { stopped, reason: "smoke".into() };
    hub.admin().call::<SetEmergencyStop>(&Empty {}, &Empty {}, &request).await.unwrap();
}

async fn limit(hub: &TestHub, effect: NewEffect, nodes: &str) -> ConstraintPath {
    let nodes = Some(nodes.to_owned());
    let request = CreateConstraintRequest { effect, nodes, reason: "exams".into(), from: None, until: None };
    let made = hub.admin().call::<CreateConstraint>(&Empty {}, &Empty {}, &request).await.unwrap();
    ConstraintPath { constraint: made.id }
}

async fn lift(hub: &TestHub, path: &ConstraintPath) {
    let request = LiftRequest { reason: "over".into() };
    hub.admin().call::<LiftConstraint>(path, &Empty {}, &request).await.unwrap();
}

/// What an update says of itself, once it says this.
async fn says(hub: &TestHub, words: &str) {
    eventually(words, async || view(hub).await.update.filter(|update| update.reason.contains(words))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emergency_stop_a_freeze_and_updates_that_are_off_hold_for_agents_too() {
    let hub = TestHub::start().await;
    let (one, two) = (hub.join("n-1").await, hub.join("n-2").await);
    let off = limit(&hub, NewEffect::UpdatesOff { stack: None }, "name=n-2").await;
    let freeze = limit(&hub, NewEffect::Freeze { stack: None }, "name=n-1").await;
    set_stop(&hub, true).await;
    upload(&hub, "2", program("a")).await.unwrap();
    begin(&hub, "2", &[100]).await.unwrap();
    says(&hub, "it waits: everything is stopped: smoke").await;
    assert_eq!((asked(&one).await, asked(&two).await), (None, None));
    set_stop(&hub, false).await;
    says(&hub, "it waits: frozen by").await;
    assert_eq!((asked(&one).await, asked(&two).await), (None, None));
    lift(&hub, &freeze).await;
    let desired = eventually("n-1 is asked", async || asked(&one).await).await;
    assert_eq!(asked(&two).await, None, "its updates are off");
    answer(&hub, &one, &desired, AgentOutcome::Updated).await;
    eventually("it is done without who keeps what it runs", async || {
        view(&hub).await.update.filter(|update| update.state == AgentUpdateState::Done)
    })
    .await;
    assert_eq!(asked(&two).await, None, "also then");
    lift(&hub, &off).await;
    eventually("n-2 is asked", async || asked(&two).await).await;
    // It is away, or between two looks, when everything is stopped: it does not begin meanwhile.
    set_stop(&hub, true).await;
    eventually("n-2 is asked no more", async || asked(&two).await.is_none().then_some(())).await;
    assert!(asked(&one).await.is_some(), "it has it");
    set_stop(&hub, false).await;
    eventually("n-2 is asked again", async || asked(&two).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_stops_it_and_so_does_a_person() {
    let hub = TestHub::start().await;
    let agent = hub.join("n-1").await;
    agent.say_hello().await;
    upload(&hub, "2", program("a")).await.unwrap();
    begin(&hub, "2", &[100]).await.unwrap();
    let desired = eventually("it is asked", async || asked(&agent).await).await;
    answer(&hub, &agent, &desired, AgentOutcome::Failed { reason: "it did not start".into() }).await;
    let halted = eventually("it stops", async || {
        let update = view(&hub).await.update.unwrap();
        (update.state == AgentUpdateState::Halted).then_some(update)
    })
    .await;
    assert!(halted.reason.contains("failed on 1 of 1"), "{}", halted.reason);
    assert_eq!(view(&hub).await.not_updated[0].node.as_str(), "n-1");
    let needs = async || {
        let overview = hub.admin().call::<GetOverview>(&Empty {}, &Empty {}, &Empty {}).await.unwrap();
        let of_agents = overview.attention.into_iter().filter(|one| one.kind == AttentionKind::AgentsHalted);
        of_agents.map(|one| one.summary).collect::<Vec<_>>()
    };
    // The overview is made anew at most every other moment.
    let said = eventually("it needs a person", async || needs().await.pop()).await;
    assert!(said.starts_with("The update of agents to 2 stopped: it failed on 1 of 1"), "{said}");
    let halt = async || {
        let request = HaltAgentsRequest { reason: "smoke".into() };
        hub.admin().call::<HaltAgents>(&Empty {}, &Empty {}, &request).await
    };
    assert_eq!(code(halt().await), ErrorCode::BS4005, "none runs");
    begin(&hub, "2", &[100]).await.unwrap();
    assert_eq!(halt().await.unwrap().reason, "smoke");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_holds_what_the_node_should_run_and_lasts() {
    let hub = TestHub::start().await;
    let agent = hub.join_as("n-1", "role=web").await;
    agent.say_hello().await;
    let path = NodePath { node: "n-1".into() };
    let (_git, _repository) = hub.repository().await;
    let export =
        async |request: BundleRequest| hub.admin().call::<ExportBundle>(&path, &Empty {}, &request).await;
    let bundle = eventually("there is something to run", async || {
        let bundle = export(BundleRequest::default()).await.ok()?.0;
        let head = Head::read(&mut &bundle[..], &key(&agent)).unwrap();
        (!head.parts.is_empty()).then_some(bundle)
    })
    .await;
    let mut rest = &bundle[..];
    let head = Head::read(&mut rest, &key(&agent)).unwrap();
    let statement = head.statement.open(&key(&agent)).unwrap();
    assert_eq!((head.node, statement.node), (agent.joined.node, agent.joined.node));
    let lasts = statement.expires_at.duration_since(hub.world().now());
    assert!(lasts.as_hours() > 29 * 24, "{lasts:?}");
    for part in &head.parts {
        let (content, more) = rest.split_at(part.bytes as usize);
        assert_eq!(Digest::of(content), part.sha256);
        let PartContent::Pack { tree } = part.content else { panic!("{part:?}") };
        assert_eq!(tree, statement.stacks[0].tree);
        rest = more;
    }
    assert!(rest.is_empty());
    let short = BundleRequest { valid_seconds: Some(1), ..BundleRequest::default() };
    assert_eq!(code(export(short).await), ErrorCode::BS4007);
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_are_pushed_to_the_repository_and_gone_with_their_node() {
    let hub = TestHub::with(|settings| {
        settings.source.publish_to = vec!["fleet".into()];
        settings.source.publish_every = Duration::from_millis(200);
    })
    .await;
    let agent = hub.join_as("n-1", "role=web").await;
    agent.say_hello().await;
    let (git, _repository) = hub.repository().await;
    let (name, file) = statement_place(agent.joined.node);
    let read = || {
        let listed = git.run(&["for-each-ref", "--format=%(refname)", &name]);
        if listed.is_empty() {
            return None;
        }
        let signed: SignedStatement =
            serde_json::from_str(&git.run(&["show", &format!("{name}:{file}")])).ok()?;
        Some(signed.open(&key(&agent)).unwrap())
    };
    let first = eventually("it is there", async || read().filter(|s| !s.stacks.is_empty())).await;
    let answer = agent.check_in(hello(0)).await;
    assert_eq!(answer.statement.unwrap().open(&key(&agent)).unwrap().generation, first.generation);
    let fleet = "[[assign]]\nstack = \"shop\"\nnodes = \"role=web\"\n[[assign]]\nstack = \"blog\"\nnodes = \"role=web\"\n";
    git.commit("stacks/blog/compose.yaml", "services:\n  web:\n    image: web:2\n", "Another stack");
    git.commit("fleet.toml", fleet, "For the same nodes");
    let path = RepositoryPath { repository: "fleet".into() };
    hub.admin().call::<SyncRepository>(&path, &Empty {}, &Empty {}).await.unwrap();
    eventually("a newer one takes its place", async || read().filter(|s| s.generation > first.generation))
        .await;
    assert_eq!(git.run(&["rev-list", "--count", &name]), "1", "nothing of the one before is left");
    hub.admin().call::<RevokeNode>(&NodePath { node: "n-1".into() }, &Empty {}, &Empty {}).await.unwrap();
    eventually("it is gone", async || {
        let files = git.run(&["for-each-ref", "--format=%(refname)", &name]);
        let gone = files.is_empty() || git.run(&["ls-tree", "--name-only", &name]).is_empty();
        gone.then_some(())
    })
    .await;
}

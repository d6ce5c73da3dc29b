//! Joining, held check-ins, reports, packs, questions.

use std::time::{Duration, Instant};

use backstay_api::{
    Empty, Role,
    agent::{
        Answer, AnswerPath, CheckInRequest, GetPack, Have, LogLine, PackPath, Report, ReportBody,
        ReportsRequest, SendAnswer, SendReports,
    },
    statement::{Statement, key_fingerprint},
    v1::{GetLogs, GetNode, ListNodes, LogsPath, LogsQuery, NodePath, NodeView, NodesQuery, RevokeNode},
};
use backstay_types::{ErrorCode, NodeState, ReportId, Secret, tree};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use ed25519_dalek::VerifyingKey;

use crate::harness::{Agent, TestHub, code, hello, http};

async fn node(hub: &TestHub, name: &str) -> NodeView {
    let path = NodePath { node: name.into() };
    hub.admin().call::<GetNode>(&path, &Empty {}, &Empty {}).await.unwrap()
}

fn hub_key(agent: &Agent) -> VerifyingKey {
    let bytes = BASE64_STANDARD.decode(&agent.joined.hub_key).unwrap();
    VerifyingKey::from_bytes(&bytes.try_into().unwrap()).unwrap()
}

/// Checks in until there is a statement.
async fn statement(agent: &Agent) -> Statement {
    agent.say_hello().await;
    let answer = agent.check_in(CheckInRequest { observed: None, facts: None, ..hello(15_000) }).await;
    answer.statement.expect("a statement").open(&hub_key(agent)).unwrap()
}

/// Gives the planner time to give a node nothing.
async fn statement_for_nothing(agent: &Agent) {
    agent.say_hello().await;
    let answer = agent.check_in(CheckInRequest { observed: None, facts: None, ..hello(1_000) }).await;
    let stacks = answer.statement.map(|signed| signed.open(&hub_key(agent)).unwrap().stacks);
    assert_eq!(stacks.unwrap_or_default(), []);
}

fn have(statement: &Statement) -> Have {
    let Statement { epoch, generation, digest, issued_at, .. } = *statement;
    Have { epoch, generation, digest, issued_at }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_token_works_once_and_pins_the_hubs_key() {
    let hub = TestHub::start().await;
    let token = hub.join_token().await;
    let joined = hub.try_join("web-1", token.clone()).await.unwrap();
    let agent = Agent { client: hub.client(Some(joined.credential.clone())), joined };
    let pin = token.expose().rsplit('.').next().unwrap().to_owned();
    assert_eq!(pin, key_fingerprint(&hub_key(&agent)).to_string());
    assert_eq!(code(hub.try_join("web-2", token.clone()).await), ErrorCode::BS4010);
    // Its answer was lost, and it asks again: the credential of the lost answer is worth nothing then.
    let again = hub.try_join("web-1", token.clone()).await.unwrap();
    assert_eq!(again.node, agent.joined.node);
    let nothing = ReportsRequest { reports: vec![] };
    let lost = agent.client.call::<SendReports>(&Empty {}, &Empty {}, &nothing).await;
    assert_eq!(code(lost), ErrorCode::BS4002);
    // Once it was heard from, nobody gets in with that token any more.
    Agent { client: hub.client(Some(again.credential.clone())), joined: again }.say_hello().await;
    assert_eq!(code(hub.try_join("web-1", token).await), ErrorCode::BS4010);
    assert_eq!(node(&hub, "web-1").await.node.id, agent.joined.node);
    assert_eq!(node(&hub, "web-1").await.state, NodeState::Online);

    let late = hub.join_token().await;
    hub.clock.advance(Duration::from_secs(3601));
    assert_eq!(code(hub.try_join("web-2", late).await), ErrorCode::BS4010);
    for text in ["", "bsj", "bsj.a.b.c", agent.joined.credential.expose()] {
        assert_eq!(code(hub.try_join("web-2", Secret::new(text)).await), ErrorCode::BS4010);
    }
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_with_one_token_one_gets_in() {
    let hub = TestHub::start().await;
    let token = hub.join_token().await;
    let (a, b, c) = tokio::join!(
        hub.try_join("a", token.clone()),
        hub.try_join("b", token.clone()),
        hub.try_join("c", token.clone())
    );
    assert_eq!([a, b, c].iter().filter(|joined| joined.is_ok()).count(), 1);
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_taken_until_it_is_revoked_and_keeps_its_id() {
    let hub = TestHub::start().await;
    let first = hub.join("web-1").await;
    let spare = hub.join_token().await;
    assert_eq!(code(hub.try_join("web-1", spare.clone()).await), ErrorCode::BS4005);
    let path = NodePath { node: "web-1".into() };
    hub.admin().call::<RevokeNode>(&path, &Empty {}, &Empty {}).await.unwrap();
    assert_eq!(node(&hub, "web-1").await.state, NodeState::Revoked);
    let refused =
        first.client.call::<SendReports>(&Empty {}, &Empty {}, &ReportsRequest { reports: vec![] }).await;
    assert_eq!(code(refused), ErrorCode::BS4002);
    // The refusal did not use the token up.
    let again = hub.try_join("web-1", spare).await.unwrap();
    assert_eq!(again.node, first.joined.node);
    assert_ne!(again.credential.expose(), first.joined.credential.expose());
    assert_eq!(node(&hub, "web-1").await.state, NodeState::Joined);
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_check_in_is_answered_at_once_when_there_is_something_to_run() {
    let hub = TestHub::start().await;
    let agent = hub.join("web-1").await;
    let other = hub.join("web-2").await;
    assert_eq!(node(&hub, "web-1").await.state, NodeState::Joined);
    agent.say_hello().await;
    other.say_hello().await;
    let waiting = async {
        let answer = agent.check_in(CheckInRequest { observed: None, facts: None, ..hello(20_000) }).await;
        (answer, Instant::now())
    };
    let push = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(node(&hub, "web-1").await.state, NodeState::Online);
        let added = hub.repository().await;
        (added, Instant::now())
    };
    let ((answer, woken), ((git, repository), pushed)) = tokio::join!(waiting, push);
    let first = answer.statement.expect("a statement").open(&hub_key(&agent)).unwrap();
    assert_eq!(first.node, agent.joined.node);
    assert_eq!(first.stacks[0].stack.as_str(), "shop");
    let late = woken.saturating_duration_since(pushed);
    assert!(late < Duration::from_secs(2), "woken {late:?} after the repository was read");

    // The other node's statement is signed for itself.
    let foreign = statement(&other).await;
    assert_eq!(foreign.node, other.joined.node);

    // With what it has, it waits again, until the next commit.
    let waits = CheckInRequest { have: Some(have(&first)), observed: None, facts: None, ..hello(20_000) };
    let waiting = async { (agent.check_in(waits).await, Instant::now()) };
    let push = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        git.commit("stacks/shop/compose.yaml", "services:\n  web:\n    image: example/web:2\n", "Update");
        let path = backstay_api::v1::RepositoryPath { repository: repository.name.to_string() };
        hub.admin().call::<backstay_api::v1::SyncRepository>(&path, &Empty {}, &Empty {}).await.unwrap();
        Instant::now()
    };
    let ((answer, woken), pushed) = tokio::join!(waiting, push);
    let second = answer.statement.expect("a newer statement").open(&hub_key(&agent)).unwrap();
    assert!(second.generation > first.generation);
    assert!(woken.saturating_duration_since(pushed) < Duration::from_secs(2));
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_ends_by_itself_and_never_lasts_longer_than_the_hub_allows() {
    let hub = TestHub::with(|settings| settings.poll.hold = Duration::from_millis(400)).await;
    let agent = hub.join("web-1").await;
    let first = agent.check_in(CheckInRequest { observed: None, ..hello(60_000) }).await;
    assert!(first.resend, "it has not said what it runs: asked to, and not held for it");
    let asked = Instant::now();
    let answer = agent.check_in(hello(60_000)).await;
    assert!((400..5_000).contains(&asked.elapsed().as_millis()), "{:?}", asked.elapsed());
    assert!(!answer.resend && answer.statement.is_none());
    assert_eq!((answer.cadence.hold_ms, answer.cadence.interval_ms), (400, 10_000));
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_may_wait_and_all_are_let_go_when_the_hub_stops() {
    let hub = TestHub::start().await;
    let agent = hub.join("web-1").await;
    agent.say_hello().await;
    let waits = || CheckInRequest { observed: None, facts: None, ..hello(20_000) };
    let clients: Vec<_> = (0..300).map(|_| hub.client(Some(agent.joined.credential.clone()))).collect();
    let held: Vec<_> = clients
        .into_iter()
        .map(|client| {
            let agent = Agent { client, joined: agent.joined.clone() };
            let request = waits();
            tokio::spawn(async move { agent.check_in(request).await })
        })
        .collect();
    let metrics = format!("{}/metrics", hub.hub.url());
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let text = http().get(&metrics).send().await.unwrap().text().await.unwrap();
        if text.contains("backstay_check_ins_held 300\n") {
            break;
        }
        assert!(Instant::now() < deadline, "{text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let stopped = Instant::now();
    hub.hub.stop().await;
    for check_in in held {
        assert!(check_in.await.unwrap().statement.is_none());
    }
    assert!(stopped.elapsed() < Duration::from_secs(8), "{:?}", stopped.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_makes_a_node_offline_and_a_word_brings_it_back() {
    let hub = TestHub::start().await;
    let agent = hub.join("web-1").await;
    agent.say_hello().await;
    assert_eq!(node(&hub, "web-1").await.state, NodeState::Online);
    // Two intervals of 10 s, and a hold of 20 s.
    hub.clock.advance(Duration::from_secs(38));
    assert_eq!(node(&hub, "web-1").await.state, NodeState::Online);
    hub.clock.advance(Duration::from_secs(3));
    assert_eq!(node(&hub, "web-1").await.state, NodeState::Offline);
    agent.say_hello().await;
    assert_eq!(node(&hub, "web-1").await.state, NodeState::Online);
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_is_for_nodes_that_should_run_it() {
    let hub = TestHub::start().await;
    let agent = hub.join("web-1").await;
    let (_, _) = hub.repository().await;
    let wanted = statement(&agent).await.stacks.remove(0);
    let pack = PackPath { pack: format!("{}.pack", wanted.tree) };
    let mut download = agent
        .client
        .download::<GetPack>(&pack, &Empty {}, &Empty {}, Duration::from_secs(10), 1 << 20)
        .await
        .unwrap();
    let mut bytes = Vec::new();
    while let Some(chunk) = download.chunk().await.unwrap() {
        bytes.extend_from_slice(chunk.as_ref());
    }
    let mut files: Vec<tree::TreeFile> = Vec::new();
    tree::unpack(bytes.as_slice(), wanted.tree, &mut files).unwrap();
    assert_eq!(files[0].path, "compose.yaml");

    let url = format!("{}/agent/v1/trees/{}", hub.hub.url(), pack.pack);
    let get = |credential: &Secret| http().get(&url).bearer_auth(credential.expose());
    let first = get(&agent.joined.credential).send().await.unwrap();
    assert_eq!(first.headers()["cache-control"], "private, max-age=31536000, immutable");
    let tag = first.headers()["etag"].clone();
    let again = get(&agent.joined.credential).header("if-none-match", tag).send().await.unwrap();
    assert_eq!(again.status().as_u16(), 304);

    let outsider = hub.join_as("other", "role=db").await;
    statement_for_nothing(&outsider).await;
    assert_eq!(get(&outsider.joined.credential).send().await.unwrap().status().as_u16(), 404);
    assert_eq!(get(&hub.token(Role::Admin).await).send().await.unwrap().status().as_u16(), 403);
    for name in ["..%2f..%2fsigning.key", "x.pack", "", &"0".repeat(64), &format!("{}.pack", "0".repeat(64))]
    {
        let url = format!("{}/agent/v1/trees/{name}", hub.hub.url());
        let response = http().get(url).bearer_auth(agent.joined.credential.expose()).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 404, "{name}");
    }
    let path = NodePath { node: "web-1".into() };
    hub.admin().call::<RevokeNode>(&path, &Empty {}, &Empty {}).await.unwrap();
    assert_eq!(get(&agent.joined.credential).send().await.unwrap().status().as_u16(), 401);
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_are_acknowledged_each_time_and_taken_once() {
    let hub = TestHub::start().await;
    let agent = hub.join("web-1").await;
    let report = |number| Report {
        id: backstay_types::Id::from_uuid(uuid::Uuid::from_u128(number)),
        at: hub.world().now(),
        body: ReportBody::StatementRefused { reason: "expired".into() },
    };
    let send = async |reports: Vec<Report>| {
        let request = ReportsRequest { reports };
        agent.client.call::<SendReports>(&Empty {}, &Empty {}, &request).await
    };
    let ids = |numbers: &[u128]| -> Vec<ReportId> {
        numbers.iter().map(|n| backstay_types::Id::from_uuid(uuid::Uuid::from_u128(*n))).collect()
    };
    assert_eq!(send(vec![report(1), report(2)]).await.unwrap().accepted, ids(&[1, 2]));
    assert_eq!(send(vec![report(2), report(3)]).await.unwrap().accepted, ids(&[2, 3]));
    assert_eq!(send(Vec::new()).await.unwrap().accepted, ids(&[]));
    assert_eq!(code(send((0..501).map(report).collect()).await), ErrorCode::BS4007);
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_asked_through_the_nodes_own_check_in() {
    let hub = TestHub::start().await;
    let agent = hub.join("web-1").await;
    agent.say_hello().await;
    let admin = hub.admin();
    let path = LogsPath { node: "web-1".into(), stack: "shop".parse().unwrap() };
    let query = LogsQuery { service: None, lines: Some(5) };
    let asking = admin.call::<GetLogs>(&path, &query, &Empty {});
    let answering = async {
        let answer = agent.check_in(CheckInRequest { observed: None, facts: None, ..hello(10_000) }).await;
        let line = LogLine { service: "web".into(), at: None, text: "hello".into() };
        let path = AnswerPath { request: answer.requests[0].id };
        let stranger = hub.join("web-2").await;
        let forged = Answer::Failed { reason: "forged".into() };
        assert_eq!(
            code(stranger.client.call::<SendAnswer>(&path, &Empty {}, &forged).await),
            ErrorCode::BS4004
        );
        let lines = Answer::Logs { lines: vec![line] };
        agent.client.call::<SendAnswer>(&path, &Empty {}, &lines).await.unwrap();
        assert_eq!(code(agent.client.call::<SendAnswer>(&path, &Empty {}, &lines).await), ErrorCode::BS4004);
    };
    let (logs, ()) = tokio::join!(asking, answering);
    assert_eq!(logs.unwrap().lines[0].text, "hello");
    hub.clock.advance(Duration::from_secs(3600));
    assert_eq!(code(admin.call::<GetLogs>(&path, &query, &Empty {}).await), ErrorCode::BS4009);
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_listed_by_selector_and_page() {
    let hub = TestHub::start().await;
    for name in ["c", "a", "b"] {
        hub.join(name).await;
    }
    let admin = hub.admin();
    let list = async |selector: Option<&str>, limit, cursor| {
        let query = NodesQuery { selector: selector.map(str::to_owned), limit, cursor };
        admin.call::<ListNodes>(&Empty {}, &query, &Empty {}).await
    };
    let names = |page: &backstay_api::v1::Page<NodeView>| -> Vec<String> {
        page.items.iter().map(|view| view.node.name.to_string()).collect()
    };
    let first = list(None, Some(2), None).await.unwrap();
    assert_eq!(names(&first), ["a", "b"]);
    let rest = list(None, Some(2), first.next).await.unwrap();
    assert_eq!((names(&rest), rest.next), (vec!["c".to_owned()], None));
    assert_eq!(names(&list(Some("name in (a,c)"), None, None).await.unwrap()), ["a", "c"]);
    assert_eq!(names(&list(Some("role=db"), None, None).await.unwrap()), [""; 0]);
    assert_eq!(code(list(Some("role in"), None, None).await), ErrorCode::BS4007);
    hub.hub.stop().await;
}

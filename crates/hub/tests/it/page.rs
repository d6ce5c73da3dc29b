//! What the page asks: what happens, the fleet at a glance, rows, a search, and what may be added.

use std::time::{Duration, Instant};

use backstay_api::{
    Empty, Role,
    agent::CheckInRequest,
    v1::{
        AddRepositoryRequest, AttentionKind, CheckRepository, ConstraintsQuery, CreateConstraint,
        CreateConstraintRequest, CreateToken, CreateTokenRequest, EventsQuery, FollowEvents, GetGraph,
        GetOverview, GetRelease, GetReleaseFile, GetStack, GraphQuery, HitKind, ListConstraints,
        ListDeliveries, ListNodeRows, ListTimeline, ListWebhooks, NewEffect, NodeMark, NodeRowsQuery,
        NodeSort, ReleaseFileQuery, ReleasePath, Search, SearchQuery, StackPath, TestWebhook, TimelineQuery,
        TokenKind, WebhookPath,
    },
};
use backstay_client::{Client, EventStream};
use backstay_types::{
    Drift, DriftPart, DriftState, ErrorCode, NodeState, ObservedStack, StackHealth, Timestamp, TreeDigest,
};
use serde_json::Value;

use crate::harness::{Agent, TestHub, code, hello, http};

const QUIET: Duration = Duration::from_secs(30);

async fn events(client: &Client, after: Option<u64>) -> EventStream {
    let query = EventsQuery { after };
    client.follow::<FollowEvents>(&Empty {}, &query, &Empty {}, QUIET).await.unwrap()
}

/// The next event of this name; others before it are let go.
async fn next(stream: &mut EventStream, name: &str) -> Value {
    let found = async {
        loop {
            let event = stream.next().await.unwrap().expect("the stream goes on");
            if event.name == name {
                return serde_json::from_str(&event.data).unwrap();
            }
        }
    };
    tokio::time::timeout(QUIET, found).await.unwrap_or_else(|_| panic!("no event `{name}`"))
}

fn observed(tree: TreeDigest, health: StackHealth) -> ObservedStack {
    ObservedStack {
        stack: "shop".parse().unwrap(),
        current: Some(tree),
        previous: None,
        deployment: None,
        health,
        detail: "as the test says".into(),
        can_return: false,
        drift: Vec::new(),
        figures: Default::default(),
        containers: Vec::new(),
    }
}

impl Agent {
    async fn runs(&self, tree: TreeDigest, health: StackHealth) {
        self.check_in(CheckInRequest { observed: Some(vec![observed(tree, health)]), ..hello(0) }).await;
    }
}

async fn rows(hub: &TestHub, query: NodeRowsQuery) -> Vec<String> {
    let found = hub.admin().call::<ListNodeRows>(&Empty {}, &query, &Empty {}).await.unwrap();
    found.rows.into_iter().map(|row| row.name.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_go_on_where_the_reader_was_and_tell_all_once() {
    let hub = TestHub::start().await;
    let viewer = hub.client(Some(hub.token(Role::Viewer).await));
    let mut live = events(&viewer, None).await;
    let start = next(&mut live, "hello").await["seq"].as_u64().unwrap();
    hub.join("web-1").await;
    let mut seen = Vec::new();
    while seen.last().is_none_or(|entry: &Value| entry["kind"] != "node_joined") {
        seen.push(next(&mut live, "entry").await);
    }
    let numbers: Vec<_> = seen.iter().map(|entry| entry["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (numbers[0]..).take(numbers.len()).collect::<Vec<_>>(), "each once, in order");
    assert!(numbers[0] > start);
    let joined = seen.pop().unwrap();
    assert_eq!(joined["node_name"], "web-1", "people know names");

    // Who was away gets what it missed, by the position that it had.
    hub.join("web-2").await;
    let last = next(&mut live, "entry").await["seq"].as_u64().unwrap();
    let mut again = events(&viewer, Some(start)).await;
    let mut told = Vec::new();
    while told.last() != Some(&last) {
        told.push(next(&mut again, "entry").await["seq"].as_u64().unwrap());
    }
    assert_eq!(told, (start + 1..=last).collect::<Vec<_>>(), "each once, in order");
    let url = format!("{}/api/v1/events?after=0", hub.hub.url());
    let request = http().get(&url).bearer_auth(hub.hub.admin_token().expose());
    let mut raw = request.header("last-event-id", last.to_string()).send().await.unwrap();
    assert_eq!(raw.headers()["content-type"], "text/event-stream");
    assert!(!raw.headers().contains_key("content-encoding"));
    let mut text = String::new();
    while !text.contains("event: hello") {
        text += std::str::from_utf8(&raw.chunk().await.unwrap().unwrap()).unwrap();
    }
    assert!(
        text.contains(&format!("id: {last}")) && !text.contains("event: entry"),
        "the header goes first: {text}"
    );

    // A position that the hub does not have: what is shown may be of another past.
    let mut lost = events(&viewer, Some(1_000_000)).await;
    assert!(next(&mut lost, "reset").await["seq"].as_u64().unwrap() >= last);
    let wrong = http().get(&url).bearer_auth(hub.hub.admin_token().expose()).header("last-event-id", "x");
    assert_eq!(wrong.send().await.unwrap().status().as_u16(), 422);
    hub.hub.stop().await;
    let end = async { while let Ok(Some(_)) = live.next().await {} };
    tokio::time::timeout(QUIET, end).await.expect("it ends with the hub");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_recorded_is_told_too() {
    let hub = TestHub::start().await;
    let agent = hub.join("web-1").await;
    let mut live = events(&hub.admin(), None).await;
    next(&mut live, "hello").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    agent.runs(TreeDigest::from_bytes([1; 32]), StackHealth::Degraded).await;
    let told = next(&mut live, "nodes").await;
    assert_eq!(
        (&told["changed"][0]["name"], &told["changed"][0]["state"]),
        (&"web-1".into(), &"online".into())
    );
    assert_eq!((&told["changed"][0]["health"], &told["more"]), (&"degraded".into(), &false.into()));
    // What departs there comes and goes while the stack is no better: who looks at it is told of both.
    let tree = TreeDigest::from_bytes([1; 32]);
    let drift = Drift {
        part: DriftPart::File,
        name: "page.conf".to_owned(),
        detail: "another SHA-256".to_owned(),
        since: Timestamp::UNIX_EPOCH,
        heals: 0,
        state: DriftState::Healing,
    };
    for drift in [vec![drift], Vec::new()] {
        let one = ObservedStack { drift, ..observed(tree, StackHealth::Degraded) };
        agent.check_in(CheckInRequest { observed: Some(vec![one]), ..hello(0) }).await;
        let told = next(&mut live, "nodes").await;
        assert_eq!(
            (&told["changed"][0]["name"], &told["changed"][0]["health"]),
            (&"web-1".into(), &"degraded".into())
        );
    }
    hub.clock.advance(Duration::from_secs(3600));
    let told = next(&mut live, "nodes").await;
    assert_eq!(told["changed"][0]["state"], "offline");
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_right_to_follow_it() {
    let hub = TestHub::start().await;
    let made = hub.create_token(TokenKind::Api { role: Role::Viewer }).await;
    let mut live = events(&hub.client(Some(made.secret)), None).await;
    next(&mut live, "hello").await;
    let path = backstay_api::v1::TokenPath { token: made.token.id };
    hub.admin().call::<backstay_api::v1::RevokeToken>(&path, &Empty {}, &Empty {}).await.unwrap();
    let end = async { while let Ok(Some(_)) = live.next().await {} };
    tokio::time::timeout(QUIET, end).await.expect("whose token is gone is told no more");
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_overview_says_what_runs_and_what_needs_a_person() {
    let hub = TestHub::start().await;
    let admin = hub.admin();
    let ask = async || admin.call::<GetOverview>(&Empty {}, &Empty {}, &Empty {}).await.unwrap();
    let empty = ask().await;
    assert!(empty.stacks.is_empty() && empty.attention.is_empty() && empty.repositories == 0);
    assert_eq!(empty.hours.len(), 48);
    let (one, two) = (hub.join("web-1").await, hub.join("web-2").await);
    hub.repository().await;
    let wanted = ask().await.stacks[0].tree.unwrap();
    let other = TreeDigest::from_bytes([7; 32]);
    one.runs(wanted, StackHealth::Healthy).await;
    two.runs(other, StackHealth::Down).await;
    let found = ask().await;
    assert_eq!(found.nodes["online"], 2);
    assert_eq!((found.health["healthy"], found.health["down"]), (1, 1));
    let shop = &found.stacks[0];
    assert_eq!((shop.repository.as_str(), shop.subject.as_deref()), ("fleet", Some("Add the shop")));
    assert_eq!(shop.versions.iter().map(|version| version.nodes).collect::<Vec<_>>(), [1, 1]);
    assert!(!found.latest.iter().any(|entry| entry.entry.kind == "release_created"));
    assert!(found.latest.iter().any(|entry| entry.entry.kind == "node_joined"));
    let [unwell] = &found.attention[..] else { panic!("{:?}", found.attention) };
    assert_eq!(unwell.kind, AttentionKind::StackUnwell);
    assert!(unwell.summary.contains("shop on web-2") && unwell.summary.contains("as the test says"));
    hub.clock.advance(Duration::from_secs(3600));
    let kinds: Vec<_> = ask().await.attention.iter().map(|one| one.kind).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == AttentionKind::NodesOffline).count(), 2, "{kinds:?}");
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_of_nodes_is_filtered_sorted_and_given_in_parts() {
    let hub = TestHub::start().await;
    let (tree, other) = (TreeDigest::from_bytes([1; 32]), TreeDigest::from_bytes([0xab; 32]));
    for number in 0..5 {
        let agent = hub.join_as(&format!("n{number}"), if number < 2 { "role=db" } else { "role=web" }).await;
        match number {
            0 => agent.runs(tree, StackHealth::Healthy).await,
            1 => agent.runs(other, StackHealth::Down).await,
            2 => agent.runs(other, StackHealth::Healthy).await,
            _ => {}
        }
    }
    let all = NodeRowsQuery::default;
    assert_eq!(rows(&hub, all()).await, ["n0", "n1", "n2", "n3", "n4"]);
    let cases = [
        (NodeRowsQuery { selector: Some("role=db".into()), ..all() }, vec!["n0", "n1"]),
        (NodeRowsQuery { q: Some("ROLE=W".into()), ..all() }, vec!["n2", "n3", "n4"]),
        (NodeRowsQuery { q: Some("n3".into()), ..all() }, vec!["n3"]),
        (NodeRowsQuery { state: Some(NodeState::Joined), ..all() }, vec!["n3", "n4"]),
        (NodeRowsQuery { health: Some(StackHealth::Healthy), ..all() }, vec!["n0", "n2"]),
        (NodeRowsQuery { tree: Some("abab".into()), ..all() }, vec!["n1", "n2"]),
        (NodeRowsQuery { stack: Some("none".parse().unwrap()), ..all() }, vec![]),
        (
            NodeRowsQuery { sort: Some(NodeSort::Name), descending: Some(true), limit: Some(2), ..all() },
            vec!["n4", "n3"],
        ),
        (NodeRowsQuery { sort: Some(NodeSort::Health), limit: Some(1), ..all() }, vec!["n1"]),
        (NodeRowsQuery { sort: Some(NodeSort::State), limit: Some(1), ..all() }, vec!["n3"]),
        (NodeRowsQuery { offset: Some(3), ..all() }, vec!["n3", "n4"]),
        (NodeRowsQuery { offset: Some(30), ..all() }, vec![]),
    ];
    for (query, names) in cases {
        assert_eq!(rows(&hub, query.clone()).await, names, "{query:?}");
    }
    let query = NodeRowsQuery { offset: Some(1), limit: Some(1), ..all() };
    let part = hub.admin().call::<ListNodeRows>(&Empty {}, &query, &Empty {}).await.unwrap();
    assert_eq!((part.total, part.offset, part.rows.len()), (5, 1, 1));
    assert_eq!((part.rows[0].health, part.rows[0].stacks[0].wanted), (Some(StackHealth::Down), false));
    limited_nodes_are_marked(&hub).await;
    let wrong = NodeRowsQuery { selector: Some("==".into()), ..all() };
    let refused = hub.admin().call::<ListNodeRows>(&Empty {}, &wrong, &Empty {}).await;
    assert_eq!(code(refused), ErrorCode::BS4007);
    hub.hub.stop().await;
}

async fn limited_nodes_are_marked(hub: &TestHub) {
    let limit = |effect, nodes: Option<&str>| CreateConstraintRequest {
        effect,
        nodes: nodes.map(str::to_owned),
        reason: "as the test says".into(),
        from: None,
        until: None,
    };
    for new in [
        limit(NewEffect::Maintenance, Some("role=db")),
        limit(NewEffect::UpdatesOff { stack: None }, Some("name=n1")),
        limit(NewEffect::Freeze { stack: None }, None),
    ] {
        hub.admin().call::<CreateConstraint>(&Empty {}, &Empty {}, &new).await.unwrap();
    }
    let only = |mark| NodeRowsQuery { only: Some(mark), ..NodeRowsQuery::default() };
    assert_eq!(rows(hub, only(NodeMark::Maintenance)).await, ["n0", "n1"]);
    assert_eq!(rows(hub, only(NodeMark::UpdatesOff)).await, ["n1"]);
    assert_eq!(rows(hub, only(NodeMark::Frozen)).await, [""; 0], "a freeze of everyone is no mark");
    let of = async |node: &str| {
        let query = ConstraintsQuery { node: Some(node.into()), ..ConstraintsQuery::default() };
        hub.admin().call::<ListConstraints>(&Empty {}, &query, &Empty {}).await.unwrap().items.len()
    };
    assert_eq!((of("n0").await, of("n1").await, of("n4").await), (2, 3, 1), "and reaches each");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_finds_things_by_what_people_call_them() {
    let hub = TestHub::start().await;
    let admin = hub.admin();
    hub.join("shop-1").await;
    let (git, _) = hub.repository().await;
    let tip = git.commit("stacks/shop/note", "x", "Note what the shop sells");
    let path = backstay_api::v1::RepositoryPath { repository: "fleet".into() };
    admin.call::<backstay_api::v1::SyncRepository>(&path, &Empty {}, &Empty {}).await.unwrap();
    let ask = async |text: &str| {
        let query = SearchQuery { q: text.into(), limit: None };
        admin.call::<Search>(&Empty {}, &query, &Empty {}).await.map(|found| found.hits)
    };
    let hits = ask("shop").await.unwrap();
    assert_eq!((hits[0].kind, hits[0].id.as_str()), (HitKind::Stack, "shop"), "an exact name goes first");
    let kinds: Vec<_> = hits.iter().map(|hit| hit.kind).collect();
    assert!(kinds.contains(&HitKind::Node) && kinds.contains(&HitKind::Commit), "{hits:?}");
    let hits = ask(&tip[..9]).await.unwrap();
    assert_eq!((hits[0].kind, hits[0].repository.as_deref()), (HitKind::Commit, Some("fleet")));
    assert!(ask("nothing is called so").await.unwrap().is_empty());
    assert_eq!(code(ask(" ").await), ErrorCode::BS4007);
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_and_a_release_say_what_is_in_them_and_who_runs_them() {
    let hub = TestHub::start().await;
    let admin = hub.admin();
    let agent = hub.join("web-1").await;
    let (git, _) = hub.repository().await;
    git.commit("stacks/shop/.env", "TOKEN=ghp_0123456789012345678901234567890123456\n", "Forget a token");
    let path = backstay_api::v1::RepositoryPath { repository: "fleet".into() };
    admin.call::<backstay_api::v1::SyncRepository>(&path, &Empty {}, &Empty {}).await.unwrap();
    let stack = StackPath { stack: "shop".parse().unwrap() };
    let ask = async || admin.call::<GetStack>(&stack, &Empty {}, &Empty {}).await.unwrap();
    let found = ask().await;
    assert_eq!((found.assignment.as_str(), found.present, found.history.len()), ("role=web", true, 2));
    assert_eq!(found.history[0].subject, "Forget a token");
    let (newest, older) = (&found.history[0].release, &found.history[1].release);
    agent.runs(older.tree, StackHealth::Healthy).await;
    let found = ask().await;
    assert_eq!((found.history[0].nodes, found.history[1].nodes), (0, 1));
    assert_eq!((found.runs[0].node.as_str(), found.runs[0].tree), ("web-1", Some(older.tree)));
    let path = ReleasePath { release: newest.id };
    let detail = admin.call::<GetRelease>(&path, &Empty {}, &Empty {}).await.unwrap();
    let names: Vec<_> = detail.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!((names, detail.before.unwrap().id, detail.total), (vec![".env", "compose.yaml"], older.id, 0));
    assert_eq!(detail.changes[0].subject, "Forget a token");
    let file = |path: &str| ReleaseFileQuery { path: path.into() };
    let shown = admin.call::<GetReleaseFile>(&path, &file(".env"), &Empty {}).await.unwrap();
    assert_eq!(shown.text.as_deref(), Some("TOKEN=[hidden]\n"), "what looks like a secret is not shown");
    for wrong in ["nothing", "../fleet.toml", "/etc/passwd", ""] {
        let refused = admin.call::<GetReleaseFile>(&path, &file(wrong), &Empty {}).await;
        assert!(matches!(code(refused), ErrorCode::BS2008 | ErrorCode::BS2009), "{wrong}");
    }
    let query = backstay_api::v1::ReleaseDiffQuery {
        from: older.tree.to_string(),
        to: newest.tree.to_string()[..12].into(),
    };
    let diff = admin.call::<backstay_api::v1::GetReleaseDiff>(&stack, &query, &Empty {}).await.unwrap();
    assert_eq!((diff.files.len(), diff.files[0].path.as_str()), (1, ".env"));
    assert_eq!(diff.files[0].hunks[0].lines[0].text, "TOKEN=[hidden]");
    let same = backstay_api::v1::ReleaseDiffQuery { from: "feed".into(), ..query };
    assert_eq!(
        code(admin.call::<backstay_api::v1::GetReleaseDiff>(&stack, &same, &Empty {}).await),
        ErrorCode::BS4004
    );
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_is_drawn_for_a_window_of_time() {
    let hub = TestHub::start().await;
    let admin = hub.admin();
    hub.join("web-1").await.say_hello().await;
    hub.repository().await;
    let since = "2026-01-01T11:00:00Z".parse().unwrap();
    let query = GraphQuery {
        since,
        until: "2026-01-01T13:00:00Z".parse().unwrap(),
        lanes: None,
        stack: None,
        node: None,
        conversation: None,
    };
    let deadline = Instant::now() + QUIET;
    let graph = loop {
        let graph = admin.call::<GetGraph>(&Empty {}, &query, &Empty {}).await.unwrap();
        if !graph.lanes.is_empty() {
            break graph;
        }
        assert!(Instant::now() < deadline, "{graph:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(graph.lanes[0].name, "shop");
    let words: Vec<_> = graph.items.iter().map(|item| item.state.as_str()).collect();
    assert!(words.contains(&"joined") && words.contains(&"pending"), "{words:?}");
    assert!(graph.items.is_sorted_by_key(|item| item.at));
    let by_node = GraphQuery { lanes: Some(backstay_api::v1::LanesBy::Node), ..query.clone() };
    let graph = admin.call::<GetGraph>(&Empty {}, &by_node, &Empty {}).await.unwrap();
    assert_eq!(graph.lanes[0].name, "web-1");
    let backwards = GraphQuery { until: since, ..query };
    assert_eq!(code(admin.call::<GetGraph>(&Empty {}, &backwards, &Empty {}).await), ErrorCode::BS4007);
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_tested_over_the_hubs_own_address() {
    let hub = TestHub::start().await;
    let admin = hub.admin();
    let path = |source: &str| WebhookPath { source: source.into() };
    let test = async |source: &str| admin.call::<TestWebhook>(&path(source), &Empty {}, &Empty {}).await;
    assert_eq!(code(test("github").await), ErrorCode::BS6004);
    assert_eq!(code(test("fax").await), ErrorCode::BS4004);
    for source in ["openclaw", "claude-code", "github", "gitlab", "gitea", "cloudevents"] {
        let kind = TokenKind::Webhook { source: source.into() };
        let request = CreateTokenRequest { name: source.into(), kind, expires_in_seconds: None };
        admin.call::<CreateToken>(&Empty {}, &Empty {}, &request).await.unwrap();
        let said = test(source).await.unwrap();
        assert!(said.ok && said.status == 200, "{source}: {said:?}");
        let query = backstay_api::v1::DeliveriesQuery { source: Some(source.into()), ..Default::default() };
        let kept = admin.call::<ListDeliveries>(&Empty {}, &query, &Empty {}).await.unwrap().items;
        assert_eq!((kept.len(), Some(kept[0].id)), (1, said.delivery), "{source}");
    }
    let listed = admin.call::<ListWebhooks>(&Empty {}, &Empty {}, &Empty {}).await.unwrap().items;
    assert_eq!(listed.len(), 6);
    assert!(
        listed.iter().all(|one| (one.secrets, one.deliveries, one.unrecognised) == (1, 1, 0)),
        "{listed:?}"
    );
    let query = TimelineQuery { kind: Some("conversation_opened".into()), ..Default::default() };
    let opened = admin.call::<ListTimeline>(&Empty {}, &query, &Empty {}).await.unwrap().items;
    assert!(opened.is_empty(), "a test is nobody's conversation");
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_is_looked_at_before_it_is_followed() {
    let hub = TestHub::start().await;
    let admin = hub.admin();
    hub.join("web-1").await;
    hub.join_as("db-1", "role=db").await;
    let (git, _) = hub.repository().await;
    git.commit("stacks/mail/compose.yaml", "services:\n  m:\n    image: example/mail\n", "Mail");
    let ask = async |name: &str, endpoint: &str| {
        let request = AddRepositoryRequest {
            name: name.into(),
            endpoints: vec![endpoint.into()],
            branch: None,
            stacks_path: None,
            credential: None,
        };
        admin.call::<CheckRepository>(&Empty {}, &Empty {}, &request).await
    };
    let place = git.0.display().to_string();
    let found = ask("other", &place).await.unwrap();
    assert_eq!((found.branch.as_str(), found.tip.is_some()), ("main", true));
    let by: Vec<_> =
        found.stacks.iter().map(|one| (one.stack.as_str(), one.assignment.as_str(), one.nodes)).collect();
    assert_eq!(by, [("mail", "no nodes", 0), ("shop", "role=web", 1)]);
    let text = format!("{:?}", found.stacks);
    assert!(text.contains("in another repository already") && text.contains("BS1202"), "{text}");
    assert!(ask("fleet", &place).await.unwrap().problems.iter().any(|one| one.contains("followed already")));
    git.commit("stacks/mail/compose.yaml", "services: [", "Break it");
    let broken = ask("other", &place).await.unwrap();
    assert!(
        broken.stacks.is_empty() && broken.problems[0].contains("stacks/mail/compose.yaml:1"),
        "{broken:?}"
    );
    assert_eq!(
        code(ask("other", &hub.path().join("nothing").display().to_string()).await),
        ErrorCode::BS2002
    );
    assert_eq!(code(ask("other", "ftp://example.org/x").await), ErrorCode::BS2004);
    let left = std::fs::read_dir(hub.hub.data_dir().join("mirrors")).unwrap().count();
    assert_eq!(left, 1, "nothing is kept of what was only looked at");
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_are_smaller_for_those_who_take_that() {
    let hub = TestHub::start().await;
    for number in 0..10 {
        hub.join(&format!("node-with-a-rather-long-name-{number}")).await;
    }
    let ask = async |encoding: &str| {
        let url = format!("{}/api/v1/node-rows", hub.hub.url());
        let request = http().get(url).bearer_auth(hub.hub.admin_token().expose());
        let answer = request.header("accept-encoding", encoding).send().await.unwrap();
        let used = answer.headers().get("content-encoding").map(|value| value.to_str().unwrap().to_owned());
        (used, answer.bytes().await.unwrap().len())
    };
    let (plain, gzip, brotli) = (ask("identity").await, ask("gzip").await, ask("br, gzip").await);
    assert_eq!((plain.0, gzip.0.as_deref(), brotli.0.as_deref()), (None, Some("gzip"), Some("br")));
    assert!(gzip.1 * 2 < plain.1 && brotli.1 * 2 < plain.1, "{} {} {}", plain.1, gzip.1, brotli.1);
    hub.hub.stop().await;
}

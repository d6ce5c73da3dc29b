//! What people and programs ask: the hub, its documentation, its figures, lists, the ledger.

use std::time::{Duration, Instant};

use backstay_api::{
    Empty, Role,
    v1::{
        ExportLedger, GetHub, GetOverview, GetRelated, LedgerQuery, ListConstraints, ListConversations,
        ListDeployments, ListNodes, ListReleases, ListRepositories, ListRollouts, ListStacks, ListTimeline,
        ListTokens, ListUndos, NodesQuery, Paging, RelatedQuery, ResolveConversation,
        ResolveConversationRequest, RevokeToken, StackPath, TimelineQuery, TokenKind, TokenPath,
    },
};
use backstay_types::{Digest, ErrorCode, ForeignId, LedgerHead, chain_hash};
use serde_json::Value;

use crate::harness::{TestHub, code, http};

#[tokio::test(flavor = "multi_thread")]
async fn the_public_pages_stand_on_their_own() {
    let hub = TestHub::start().await;
    let get = |path: &str| http().get(format!("{}{path}", hub.hub.url())).send();
    let alive: Value = get("/healthz").await.unwrap().json().await.unwrap();
    assert_eq!(alive["ok"], true);
    let ready = get("/readyz").await.unwrap();
    assert_eq!(ready.status().as_u16(), 200);
    let document: Value = get("/openapi.json").await.unwrap().json().await.unwrap();
    assert_eq!(document, backstay_api::openapi());
    let page = get("/docs").await.unwrap();
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    assert!(page.headers()["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    assert!(page.text().await.unwrap().contains("/api/v1/undos/{undo}/resolve"));
    hub.join("web-1").await;
    hub.repository().await;
    let metrics = get("/metrics").await.unwrap();
    assert!(metrics.headers()["content-type"].to_str().unwrap().starts_with("application/openmetrics-text"));
    let text = metrics.text().await.unwrap();
    for line in [
        "backstay_nodes{state=\"joined\"} 1",
        "backstay_repositories{state=\"ok\"} 1",
        "backstay_http_requests_total{endpoint=\"JoinNode\",status=\"200\"} 1",
        "backstay_ledger_head ",
        "backstay_ledger_seal_lag_seconds ",
        "backstay_check_ins_held 0",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("web-1") && !text.contains("fleet"), "names do not belong here: {text}");
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_shown_without_secrets_and_stop_when_they_are_taken_away() {
    let hub = TestHub::start().await;
    let admin = hub.admin();
    let made = hub.create_token(TokenKind::Api { role: Role::Viewer }).await;
    hub.create_token(TokenKind::Webhook { source: "github".into() }).await;
    hub.join_token().await;
    let viewer = hub.client(Some(made.secret.clone()));
    let view = viewer.call::<GetHub>(&Empty {}, &Empty {}, &Empty {}).await.unwrap();
    assert_eq!(view.database, "sqlite");
    let listed = admin.call::<ListTokens>(&Empty {}, &Empty {}, &Empty {}).await.unwrap().items;
    let names: Vec<_> = listed.iter().map(|token| token.name.as_str()).collect();
    assert_eq!(names, ["test", "test", "local admin"]);
    let path = TokenPath { token: made.token.id };
    admin.call::<RevokeToken>(&path, &Empty {}, &Empty {}).await.unwrap();
    assert_eq!(code(viewer.call::<GetHub>(&Empty {}, &Empty {}, &Empty {}).await), ErrorCode::BS4002);
    assert_eq!(code(admin.call::<RevokeToken>(&path, &Empty {}, &Empty {}).await), ErrorCode::BS4005);
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_there_for_a_fleet_that_has_something_to_run() {
    let hub = TestHub::start().await;
    let agent = hub.join("web-1").await;
    agent.say_hello().await;
    let (_, repository) = hub.repository().await;
    let admin = hub.admin();
    let view = async || admin.call::<ListNodes>(&Empty {}, &NodesQuery::default(), &Empty {}).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while view().await.items[0].desired.is_empty() {
        assert!(Instant::now() < deadline, "nothing was planned");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let node = view().await.items.remove(0);
    let tip = repository.tip.clone().unwrap();
    assert_eq!((node.desired[0].stack.as_str(), &node.desired[0].commit), ("shop", &tip));

    let repositories = admin.call::<ListRepositories>(&Empty {}, &Empty {}, &Empty {}).await.unwrap().items;
    assert_eq!(repositories[0].name, repository.name);
    let warnings: Vec<_> = repositories[0].warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].starts_with("stacks/shop/compose.yaml: no service has a `healthcheck`"),
        "{warnings:?}"
    );
    let overview = admin.call::<GetOverview>(&Empty {}, &Empty {}, &Empty {}).await.unwrap();
    assert_eq!(overview.warnings, 1);
    let stacks = admin.call::<ListStacks>(&Empty {}, &Empty {}, &Empty {}).await.unwrap().items;
    assert_eq!((stacks[0].stack.as_str(), stacks[0].repository.as_str()), ("shop", "fleet"));
    let rollouts = admin.call::<ListRollouts>(&Empty {}, &Default::default(), &Empty {}).await.unwrap().items;
    assert_eq!(rollouts.len(), 1);
    assert_eq!((rollouts[0].tree, rollouts[0].deployments["pending"]), (node.desired[0].tree, 1));
    let deployments = admin.call::<ListDeployments>(&Empty {}, &Default::default(), &Empty {}).await.unwrap();
    assert_eq!(deployments.items[0].node_name.as_str(), "web-1");
    let path = StackPath { stack: "shop".parse().unwrap() };
    let releases = admin.call::<ListReleases>(&path, &Paging::default(), &Empty {}).await.unwrap().items;
    assert_eq!(releases[0].release.tree, node.desired[0].tree);
    let query = RelatedQuery { commit: Some(tip.short().to_owned()), ..Default::default() };
    let related = admin.call::<GetRelated>(&Empty {}, &query, &Empty {}).await.unwrap().items;
    for kind in ["commit", "release", "rollout", "deployment", "node"] {
        assert!(related.iter().any(|item| item.kind == kind), "{kind}: {related:?}");
    }
    assert!(related.is_sorted_by_key(|item| item.at));
    assert!(
        admin.call::<ListUndos>(&Empty {}, &Paging::default(), &Empty {}).await.unwrap().items.is_empty()
    );
    let none = admin.call::<ListConstraints>(&Empty {}, &Default::default(), &Empty {}).await.unwrap();
    assert!(none.items.is_empty());
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_says_how_many_nodes_it_has_not_reached() {
    let hub = TestHub::start().await;
    for name in ["a", "b", "c"] {
        hub.join(name).await.say_hello().await;
    }
    hub.repository_with("[rollout]\nmax_updating = 1\n").await;
    let admin = hub.admin();
    let list =
        async || admin.call::<ListRollouts>(&Empty {}, &Default::default(), &Empty {}).await.unwrap().items;
    let deadline = Instant::now() + Duration::from_secs(60);
    while list().await.is_empty() {
        assert!(Instant::now() < deadline, "nothing was planned");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let rollout = list().await.remove(0);
    assert_eq!((rollout.deployments["pending"], rollout.waiting), (1, 2));
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations_are_paged_from_the_one_heard_from_last() {
    let hub = TestHub::start().await;
    let admin = hub.admin();
    for number in 0..5 {
        let id = ForeignId { tool: "openclaw".into(), kind: "session_id".into(), value: number.to_string() };
        let request = ResolveConversationRequest { id };
        let first = admin.call::<ResolveConversation>(&Empty {}, &Empty {}, &request).await.unwrap();
        let again = admin.call::<ResolveConversation>(&Empty {}, &Empty {}, &request).await.unwrap();
        assert_eq!(first.id, again.id);
    }
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let query = Paging { limit: Some(2), cursor };
        let page = admin.call::<ListConversations>(&Empty {}, &query, &Empty {}).await.unwrap();
        seen.extend(page.items.into_iter().map(|view| view.conversation.foreign_ids[0].value.clone()));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["4", "3", "2", "1", "0"]);
    hub.hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timeline_can_be_followed_and_the_chain_checked_away_from_the_hub() {
    let hub = TestHub::start().await;
    let admin = hub.admin();
    let head = async || admin.call::<GetHub>(&Empty {}, &Empty {}, &Empty {}).await.unwrap().ledger;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let LedgerHead { seq, .. } = head().await;
    let query = TimelineQuery { after: Some(seq), wait_ms: Some(20_000), ..Default::default() };
    let follow = async {
        let page =
            admin.call_held::<ListTimeline>(&Empty {}, &query, &Empty {}, Duration::from_secs(20)).await;
        (page.unwrap().items, Instant::now())
    };
    let act = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        hub.join("web-1").await;
        Instant::now()
    };
    let ((items, told), acted) = tokio::join!(follow, act);
    assert!(items[0].entry.seq == seq + 1);
    assert!(told.saturating_duration_since(acted) < Duration::from_secs(1));

    // Both entries of the join are sealed by now.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let query = LedgerQuery { after: None, limit: Some(2) };
    let mut chain = Digest::from_bytes([0; 32]);
    let mut position = 0;
    loop {
        let query = LedgerQuery { after: Some(position), ..query.clone() };
        let export = admin.call::<ExportLedger>(&Empty {}, &query, &Empty {}).await.unwrap();
        for row in &export.rows {
            position += 1;
            assert_eq!(row.seq, position);
            chain = chain_hash(chain, row.seq, row.id, &row.kind, &row.refs, row.at, row.body_hash);
            assert_eq!(chain, row.hash);
        }
        if export.rows.is_empty() {
            break;
        }
    }
    assert_eq!(position, 3, "the hub's own token, the join token, the node");
    assert_eq!(head().await, LedgerHead { seq: position, hash: chain });
    hub.hub.stop().await;
}
